# SPDX-License-Identifier: Apache-2.0
"""Keys made through one gateway open all that share its Redis, and end on all; whatever Redis
forgets, a key that was revoked stays so."""

import json
import threading
import time

import pytest
from harness import KEY_ACME, Sluice, Upstream, config_for, eventually, free_port
from redis_servers import Redis

pytestmark = pytest.mark.threads
ADMIN = "sk-admin-5ecre7-00"
SOON = 2  # seconds; it takes a few milliseconds, but other things may run on the machine


def configured(redis, upstream):
    config = config_for(upstream, store={"type": "redis", "redis": {"url": redis.url()}})
    config["server"]["listeners"].append(
        {"name": "ops", "address": f"127.0.0.1:{free_port()}", "serve": ["admin"]})
    return config


class Pair:
    """Two gateways and a Redis."""

    def __init__(self):
        self.redis, self.upstream = Redis(), Upstream().__enter__()
        self.gates = [self.open() for _ in range(2)]

    def open(self, directory=None):
        return Sluice(configured(self.redis, self.upstream), env={"SLUICE_ADMIN_KEY": ADMIN}, directory=directory)

    def __enter__(self):
        return self

    def __exit__(self, *what):
        try:
            for gate in self.gates:
                gate.__exit__(*what)
        finally:
            self.upstream.__exit__(None, None, None)
            self.redis.end()


@pytest.fixture()
def pair():
    with Pair() as both:
        yield both


def ask(gate, method, path, body=None):
    return gate.request(method, "/admin/v1" + path, body, key=ADMIN, listener="ops")


def make(gate, name, **fields):
    answer = ask(gate, "POST", "/keys", {"tenant": "acme", "name": name, **fields})
    assert answer.status == 201, answer
    return answer.json


def opens(gate, secret):
    return gate.chat(key=secret).status == 200


def wait_open(gate, secret, within=SOON):
    eventually(lambda: opens(gate, secret), within, what="it opens")


def wait_shut(gate, secret, within=SOON):
    eventually(lambda: gate.chat(key=secret).status == 401, within, what="it opens nothing")


def wait_back(gate, name):
    """The gateway writes to Redis again."""
    eventually(lambda: ask(gate, "POST", "/keys", {"name": name, "tenant": "acme"}).status in (201, 409), 20, every=0.1,
               what="Redis is back")


def test_what_one_makes_and_ends_holds_for_both(pair):
    one, two = pair.gates
    key = make(one, "ci")
    wait_open(two, key["secret"])
    assert ask(two, "GET", f"/keys/{key['id']}").json["name"] == "ci"
    turned = ask(two, "POST", f"/keys/{key['id']}/rotate", {"overlap": "0"}).json
    wait_open(one, turned["secret"])
    wait_shut(one, key["secret"])
    assert ask(one, "DELETE", f"/keys/{key['id']}").status == 200
    wait_shut(two, turned["secret"])
    assert ask(two, "GET", f"/keys/{key['id']}").json["revoked_at"]
    assert ask(two, "POST", f"/keys/{key['id']}/rotate", {}).status == 409


def test_a_tenant_switched_off_is_off_everywhere(pair):
    one, two = pair.gates
    assert ask(one, "POST", "/tenants", {"name": "search", "parent": "acme"}).status == 201
    key = make(two, "k", tenant="search")
    wait_open(one, key["secret"])
    assert ask(one, "PATCH", "/tenants/search", {"off": True}).status == 200
    wait_shut(two, key["secret"])
    assert ask(two, "PATCH", "/tenants/search", {"off": None}).status == 200
    wait_open(one, key["secret"])


def test_a_name_is_given_once(pair):
    """Both are asked for the same name at the same time, again and again."""
    statuses = {}

    def work(gate):
        for i in range(20):
            status = ask(gate, "POST", "/keys", {"name": f"n{i}", "tenant": "acme"}).status
            statuses.setdefault(i, []).append(status)

    threads = [threading.Thread(target=work, args=[gate]) for gate in pair.gates * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(sorted(got) == [201, 409, 409, 409] for got in statuses.values()), statuses
    for gate in pair.gates:
        names = [key["name"] for key in ask(gate, "GET", "/keys?tenant=acme&limit=500").json["data"] if key["origin"] == "api"]
        assert sorted(names) == sorted(f"n{i}" for i in range(20))


def test_while_redis_is_away_keys_open_and_nothing_is_changed(pair):
    one, two = pair.gates
    key = make(one, "ci")
    wait_open(two, key["secret"])
    pair.redis.stop()
    began = time.monotonic()
    answers = [ask(one, "POST", "/keys", {"name": "other", "tenant": "acme"}),
               ask(one, "DELETE", f"/keys/{key['id']}")]
    assert [answer.status for answer in answers] == [503, 503] and time.monotonic() - began < 15, answers
    assert opens(one, key["secret"]) and opens(two, key["secret"])
    pair.redis.cont()
    wait_back(one, "after")
    wait_back(two, "after")
    # What was asked for meanwhile may have been done, or not; but on both the same.
    eventually(lambda: opens(one, key["secret"]) == opens(two, key["secret"]), SOON)


def test_a_gateway_that_starts_without_redis_knows_its_keys(pair):
    one, two = pair.gates
    key, gone = make(one, "ci"), make(one, "gone")
    wait_open(two, key["secret"])
    assert ask(one, "DELETE", f"/keys/{gone['id']}").status == 200
    wait_shut(two, gone["secret"])
    time.sleep(0.5)  # it is written down behind our back
    directory = two.directory
    assert two.stop() == 0
    pair.redis.stop()
    again = pair.gates[1] = pair.open(directory)
    assert opens(again, key["secret"]) and not opens(again, gone["secret"])
    pair.redis.cont()
    wait_back(again, "after")
    assert opens(again, key["secret"])


def test_an_emptied_redis_gets_its_keys_back(pair):
    one, two = pair.gates
    keys = [make(one, f"n{i}", limits={"requests_per_minute": 1000}) for i in range(120)]
    wait_open(two, keys[-1]["secret"])
    assert ask(two, "DELETE", f"/keys/{keys[0]['id']}").status == 200
    wait_shut(one, keys[0]["secret"])
    pair.redis.flushall()

    def is_whole():
        return pair.redis.command("HLEN", "sluice:{roster}:keys") == len(keys)

    eventually(is_whole, 10, what="all are there again")
    for gate in pair.gates:
        assert opens(gate, keys[1]["secret"]) and opens(gate, keys[-1]["secret"]) and not opens(gate, keys[0]["secret"])
    new = make(two, "new")
    wait_open(one, new["secret"])


def saved(redis):
    parts = {name: redis.command("DUMP", f"sluice:{{roster}}:{name}") for name in ("version", "tenants", "keys", "log")}
    return {name: dump for name, dump in parts.items() if dump}


def put_back(redis, parts, *more):
    """At once, with <more> commands behind it: the gateways write, too, as soon as they see it."""
    with redis.connect() as connection:
        connection.command("MULTI")
        connection.command("DEL", *(f"sluice:{{roster}}:{name}" for name in ("version", "tenants", "keys", "log")))
        for name, dump in parts.items():
            connection.command("RESTORE", f"sluice:{{roster}}:{name}", 0, dump)
        for words in more:
            connection.command(*words)
        assert len(connection.command("EXEC")) == 1 + len(parts) + len(more)


def written_by(other, number):
    """A tenant, as another gateway would write it."""
    record = json.dumps({"name": f"t{other}"})
    return [("HSET", "sluice:{roster}:version", "number", number, "tag", f"other{other}"),
            ("LPUSH", "sluice:{roster}:log", f"{number} other{other} t t{other}"),
            ("HSET", "sluice:{roster}:tenants", f"t{other}", f"{number}\n{record}")]


@pytest.mark.parametrize("others", [0, 3])
def test_changes_that_a_failover_loses_come_again(pair, others):
    """Redis goes back to where it was; and perhaps somebody who had not heard writes there first."""
    one, two = pair.gates
    revoked, patched = make(one, "revoked"), make(one, "patched")
    wait_open(two, patched["secret"])
    before, number = saved(pair.redis), int(pair.redis.command("HGET", "sluice:{roster}:version", "number"))
    assert ask(one, "DELETE", f"/keys/{revoked['id']}").status == 200
    assert ask(one, "PATCH", f"/keys/{patched['id']}", {"models": ["slow"]}).status == 200
    made = make(two, "made")
    wait_open(one, made["secret"])
    wait_shut(two, revoked["secret"])
    more = [words for i in range(others) for words in written_by(i, number + 1 + i)]
    put_back(pair.redis, before, *more)

    def is_whole():
        stored = pair.redis.command("HGETALL", "sluice:{roster}:keys")
        records = [json.loads(value.partition(b"\n")[2]) for value in stored[1::2]]
        return {record["name"]: [bool(record.get("revoked_at")), record.get("models")] for record in records} == {
            "revoked": [True, None], "patched": [False, ["slow"]], "made": [False, None]}

    eventually(is_whole, 10, what="what was lost is there again")
    for gate in pair.gates:
        assert not opens(gate, revoked["secret"]) and opens(gate, made["secret"])
        assert gate.chat("fast", key=patched["secret"]).status == 403
        for i in range(others):
            eventually(lambda gate=gate, i=i: ask(gate, "GET", f"/tenants/t{i}").status == 200, 5)


def test_the_files_keys_need_no_redis(pair):
    pair.redis.kill()
    assert all(gate.chat(key=KEY_ACME).status == 200 for gate in pair.gates)
    assert all(ask(gate, "POST", "/keys", {"name": "x", "tenant": "acme"}).status == 503 for gate in pair.gates)
