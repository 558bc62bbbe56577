# SPDX-License-Identifier: Apache-2.0
"""A tenant that is made under the name of one that was deleted has nothing of that one: no counters,
no answers that were kept, no files."""

import contextlib
import sqlite3

import pytest
from harness import Sluice, config_for, eventually, free_port
from redis_servers import Redis
from test_objects_belong_to_their_tenant import Store, upload

pytestmark = pytest.mark.threads
ADMIN = "sk-admin-5ecre7-00"
LIMITS = {"requests_per_hour": 3}


def configure(upstream, **more):
    config = config_for(upstream, cache={"exact": {"enabled": True, "ttl": "1h", "max_temperature": 1}}, **more)
    config["server"]["listeners"].append(
        {"name": "ops", "address": f"127.0.0.1:{free_port()}", "serve": ["admin"]})
    return config


@pytest.fixture(params=["embedded", "redis"])
def gate(request, upstream):
    with contextlib.ExitStack() as stack:
        store = {}
        if request.param == "redis":
            redis = Redis()
            stack.callback(redis.end)
            store = {"store": {"type": "redis", "redis": {"url": redis.url()}}}
        yield stack.enter_context(Sluice(configure(upstream, **store), env={"SLUICE_ADMIN_KEY": ADMIN}))


def ask(gate, method, path, body=None, status=None):
    answer = gate.request(method, "/admin/v1" + path, body, key=ADMIN, listener="ops")
    assert status is None or answer.status == status, answer
    return answer


def make(gate, **more):
    """The tenant and its key; returns the secret and what names the key."""
    ask(gate, "POST", "/tenants", {"name": "again", "models": ["*"], **more}, 201)
    limits = {"limits": LIMITS} if "limits" in more else {}
    key = ask(gate, "POST", "/keys", {"name": "ci", "tenant": "again", **limits}, 201).json
    return key["secret"], key["id"]


def make_again(gate, place, **more):
    ask(gate, "DELETE", f"/keys/{place}", status=200)
    ask(gate, "DELETE", "/tenants/again", status=204)
    return make(gate, **more)


def used(gate, level):
    counters = ask(gate, "GET", "/limits?tenant=again").json["data"]
    return {c["used"] + c["held"] for c in counters if c["level"] == level}


def test_its_counters_begin_at_nothing(gate):
    users = {"limits": LIMITS}
    secret, place = make(gate, limits=LIMITS, users=users)
    assert [gate.chat(key=secret, user="ann").status for _ in range(4)] == [200] * 3 + [429]
    secret, place = make_again(gate, place, limits=LIMITS, users=users)
    answers = [gate.chat(key=secret, user="ann") for _ in range(4)]
    assert [answer.status for answer in answers] == [200] * 3 + [429]
    message = answers[3].error["message"]
    assert "'again'" in message or "'again/ci'" in message or "'again/ann'" in message, message
    for level in ("tenant", "key", "user"):
        assert 3 in used(gate, level)
    ask(gate, "PATCH", "/tenants/again", {"tags": {"a": "b"}}, 200)
    assert gate.chat(key=secret).status == 429, "changed it is the same one"


def test_its_counters_begin_at_nothing_after_a_restart(gate):
    secret, place = make(gate, limits=LIMITS)
    assert [gate.chat(key=secret).status for _ in range(3)] == [200] * 3
    secret, place = make_again(gate, place, limits=LIMITS)
    assert gate.stop() == 0
    with sqlite3.connect(gate.database) as db:  # as if the calls had been two minutes ago
        assert db.execute("UPDATE rollup_minute SET bucket = bucket - 120").rowcount > 0
    gate.start()
    assert [gate.chat(key=secret).status for _ in range(4)] == [200] * 3 + [429]


def test_what_it_uses_counts_above_it_whoever_it_is(gate):
    ask(gate, "POST", "/tenants", {"name": "above", "models": ["*"], "limits": {"requests_per_hour": 4}}, 201)
    secret, place = make(gate, parent="above")
    assert gate.chat(key=secret).status == 200
    secret, place = make_again(gate, place, parent="above")
    assert gate.chat(key=secret).status == 200
    assert gate.stop() == 0
    gate.start()
    assert [gate.chat(key=secret).status for _ in range(3)] == [200, 200, 429]


def test_it_gets_no_answers_of_before(gate, upstream):
    secret, place = make(gate)
    once = {"Idempotency-Key": "one"}
    first = gate.chat(key=secret, temperature=0)
    assert gate.chat(key=secret, temperature=0).header("x-sluice-cache") == "hit"
    assert gate.chat(key=secret, headers=once, seed=1).status == 200
    assert gate.chat(key=secret, headers=once, seed=1).header("x-sluice-cache") == "hit"
    asked = len(upstream.calls)
    secret, place = make_again(gate, place)
    assert gate.chat(key=secret, temperature=0).header("x-sluice-cache") == "miss"
    assert gate.chat(key=secret, headers=once, seed=1).header("x-sluice-cache") != "hit"
    assert len(upstream.calls) == asked + 2 and first.status == 200


def test_it_owns_nothing_of_before(gate, upstream):
    upstream.answer = Store()
    secret, place = make(gate)
    name = upload(gate, secret)
    assert gate.request("GET", f"/v1/files/{name}", key=secret).status == 200
    secret, place = make_again(gate, place)
    assert gate.request("GET", f"/v1/files/{name}", key=secret).status == 404
    assert gate.request("GET", "/v1/files", key=secret).json["data"] == []
    mine = upload(gate, secret)
    eventually(lambda: gate.request("GET", f"/v1/files/{mine}", key=secret).status == 200)


def spent(gate, tenant):
    counters = ask(gate, "GET", f"/limits?tenant={tenant}").json["data"]
    return next((c["used"] + c["held"] for c in counters if c["level"] == "tenant" and c["tenant"] == tenant), 0)


def test_what_it_used_stays_with_those_it_belonged_to(gate):
    """After its end and a restart, too; and when another has its name, which belongs to somebody else."""
    limits = {"limits": {"requests_per_day": 50}}
    for name in ("org", "other"):
        ask(gate, "POST", "/tenants", {"name": name, "models": ["*"], **limits}, 201)
    ask(gate, "POST", "/tenants", {"name": "team", "models": ["*"], "parent": "org"}, 201)
    secret, place = make(gate, parent="team")
    assert [gate.chat(key=secret).status for _ in range(5)] == [200] * 5
    ask(gate, "DELETE", f"/keys/{place}", status=200)
    ask(gate, "DELETE", "/tenants/again", status=204)
    ask(gate, "DELETE", "/tenants/team", status=204)
    eventually(lambda: spent(gate, "org") == 5, 10, what="all of it counts")
    gate.kill()
    gate.start()
    eventually(lambda: spent(gate, "org") == 5, 10, what="it counts after a restart")
    secret, place = make(gate, parent="other")
    assert gate.chat(key=secret).status == 200
    gate.kill()
    gate.start()
    gate.chat(key=secret)
    assert spent(gate, "other") in (2, 7), "what began in the hour in which it was made may count"
    assert spent(gate, "org") in (0, 5)
    # Redis may have what the dead process had of the other until that is used again.
    assert spent(gate, "other") + spent(gate, "org") >= 7, "nothing is forgotten"
