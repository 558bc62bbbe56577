# SPDX-License-Identifier: Apache-2.0
"""The user of Redis that docs/OPERATIONS.md writes down may do all that is asked of it, and no more is asked."""

import re
from concurrent.futures import ThreadPoolExecutor

from harness import ROOT, eventually, free_port
from redis_servers import Redis
from replicas import Fleet, counters, key_of, shared, tenant

ADMIN = "sk-admin-5ecre7-00"
KEY = key_of("acme")


def rules_of_the_manual():
    line = re.search(r"^ +user sluice on >password (.+)$", (ROOT / "docs" / "OPERATIONS.md").read_text(), re.MULTILINE)
    assert line, "no such user in the manual"
    return line[1].strip()


class WithAdmin(Fleet):
    def config(self, number):
        config = super().config(number)
        config["server"]["listeners"].append({"name": "ops", "address": f"127.0.0.1:{free_port()}", "serve": ["admin"]})
        return config


def ask(gate, method, path, body=None):
    return gate.request(method, "/admin/v1" + path, body, key=ADMIN, listener="ops")


def test_the_user_of_the_manual_is_enough(upstream):
    with Redis(users={"gate": "on >word " + rules_of_the_manual()}) as redis:
        store = shared(redis.url(user="gate", password="word"))
        acme = tenant("acme", limits={"requests_per_minute": 1000, "concurrent": 50}, budget={"amount": "5 USD"})
        changes = {"cache": {"exact": {"enabled": True}}, "ledger": {"sync": "store"}}
        with WithAdmin(2, [acme], {"fast": "m"}, store, upstream, [{"SLUICE_ADMIN_KEY": ADMIN}] * 2, **changes) as fleet:
            fleet.wait_together()
            first, second = fleet.gates
            with ThreadPoolExecutor(8) as pool:
                good = list(pool.map(lambda i: fleet.gates[i % 2].chat(key=KEY).status, range(40)))
            assert good == [200] * 40
            same = [gate.chat(key=KEY, headers=[("Idempotency-Key", "once")], temperature=0).body for gate in fleet.gates]
            assert same[0] == same[1]
            made = ask(first, "POST", "/keys", {"tenant": "acme", "name": "made"})
            assert made.status == 201, made
            eventually(lambda: second.chat(key=made.json["secret"]).status == 200, 10)
            assert fleet.used("requests", tenant="acme") >= 42
            eventually(lambda: counters(redis)["t/acme:requests_per_minute"][0] >= 41, 10)
            with redis.connect() as connection:
                assert connection.command("ACL", "LOG") == [], "it was refused something"
                for words in (["ROLE"], ["CLUSTER", "SLOTS"], ["COMMAND", "INFO", "VADD"], ["ASKING"]):
                    assert connection.command("ACL", "DRYRUN", "gate", *words) == b"OK", words
                for words in (["FLUSHALL"], ["CONFIG", "GET", "*"], ["GET", "other"]):
                    assert connection.command("ACL", "DRYRUN", "gate", *words) != b"OK", words
