# SPDX-License-Identifier: Apache-2.0
"""What is changed by the API of one gateway holds at all of them: at once, and when Redis comes back."""

import time

import pytest
from replicas import Fleet, shared, tenant
from harness import SANITIZED, Client, Upstream, eventually, request_bytes
from link import Link
from redis_servers import Redis

pytestmark = pytest.mark.threads
AT_ONCE = 0.2 * (5 if SANITIZED else 1)  # seconds, for a third of them: others may use the machine
LATE = 10.0  # for each, also after Redis has come back


@pytest.fixture(scope="module")
def nodes():
    """Three gateways; the way of the last one to Redis can be cut."""
    with Upstream() as upstream, Redis() as redis, Link(("127.0.0.1", redis.port)) as link, \
            Fleet(2, [tenant("acme")], {"fast": "m"}, shared(redis, timeout="1s"), upstream) as near, \
            Fleet(1, [tenant("acme")], {"fast": "m"}, shared(link.url, timeout="1s"), upstream) as far:
        gates = near.gates + far.gates
        for gate in gates:
            eventually(lambda gate=gate: gate.metric("sluice_replicas") == 3, 20, what="they know each other")
        yield gates, link, redis


def admin(gate, method, path, body=None):
    with Client(str(gate.state / "admin.sock")) as client:
        client.send(request_bytes(method, f"/admin/v1/{path}", (), body))
        return client.read_response(method)


def make_key(gate, name, **fields):
    answer = admin(gate, "POST", "keys", {"name": name, "tenant": "acme", **fields})
    assert answer.status == 201, answer
    return answer.json


def seconds_until(gates, key, *wanted, within=5):
    """Until each of them has answered one of the statuses to that key."""
    begun = time.monotonic()
    for gate in gates:
        eventually(lambda gate=gate: gate.chat(key=key).status in wanted, within, every=0.002)
    return time.monotonic() - begun


def of_a_third(times):
    return sorted(times)[len(times) // 3 - 1]


def test_revocations_are_seen_at_once(nodes):
    gates, _, _ = nodes
    seen, gone = [], []
    for i in range(6):
        key = make_key(gates[i % 3], f"k{i}")
        seen.append(seconds_until(gates, key["secret"], 200))
        assert admin(gates[(i + 1) % 3], "DELETE", f"keys/{key['id']}").status == 200
        gone.append(seconds_until(gates, key["secret"], 401))
    assert of_a_third(seen) < AT_ONCE and of_a_third(gone) < AT_ONCE, (seen, gone)
    assert max(seen + gone) < LATE, (seen, gone)


def test_a_rotated_key_without_overlap_ends_everywhere(nodes):
    gates, _, _ = nodes
    old = make_key(gates[0], "turned")
    seconds_until(gates, old["secret"], 200)
    new = admin(gates[1], "POST", f"keys/{old['id']}/rotate", {"overlap": "0"}).json
    assert seconds_until(gates, new["secret"], 200) < LATE
    assert seconds_until(gates, old["secret"], 401) < LATE


def test_changed_limits_are_seen_at_once(nodes):
    gates, _, _ = nodes
    took = []
    for i in range(4):
        key = make_key(gates[0], f"limited{i}", limits={"requests_per_minute": 1000})
        seconds_until(gates, key["secret"], 200)
        assert admin(gates[i % 3], "PATCH", f"keys/{key['id']}", {"limits": {"requests_per_minute": 1}}).status == 200
        took.append(seconds_until(gates, key["secret"], 429))
        # And back: what was counted stays counted.
        admin(gates[0], "PATCH", f"keys/{key['id']}", {"limits": {"requests_per_minute": 2000}})
        took.append(seconds_until(gates, key["secret"], 200))
    assert of_a_third(took) < AT_ONCE and max(took) < LATE, took


def test_a_tenant_that_is_off_is_off_everywhere(nodes):
    gates, _, _ = nodes
    assert admin(gates[0], "POST", "tenants", {"name": "guest", "models": ["*"]}).status == 201
    key = admin(gates[0], "POST", "keys", {"name": "g", "tenant": "guest"}).json["secret"]
    seconds_until(gates, key, 200)
    assert admin(gates[1], "PATCH", "tenants/guest", {"off": True}).status == 200
    assert seconds_until(gates, key, 401, 403) < LATE


@pytest.mark.parametrize("how", ["hang", "cut"])
def test_who_was_away_learns_it_when_redis_is_back(nodes, how):
    """The far gateway has lost Redis: it goes on with what it knew, and knows again within a second."""
    gates, link, _ = nodes
    keys = [make_key(gates[0], f"away-{how}-{i}") for i in range(3)]
    for key in keys:
        seconds_until(gates, key["secret"], 200)
    getattr(link, how)()
    try:
        for key in keys:
            assert admin(gates[0], "DELETE", f"keys/{key['id']}").status == 200
        seconds_until(gates[:2], keys[0]["secret"], 401)
        eventually(lambda: gates[2].metric("sluice_store_up") == 0, 10)
        assert gates[2].chat(key=keys[0]["secret"]).status == 200
        answer = admin(gates[2], "DELETE", f"keys/{keys[1]['id']}")
        assert answer.status == 503, answer
    finally:
        link.mend()
    eventually(lambda: gates[2].metric("sluice_store_up") == 1, 10, every=0.005)
    took = [seconds_until(gates[2:], key["secret"], 401) for key in keys]
    assert sum(took) < LATE, took


@pytest.mark.parametrize("how", ["flushall", "restart"])
def test_what_was_revoked_stays_so_when_redis_forgets(nodes, how):
    gates, _, redis = nodes
    kept, gone = make_key(gates[0], f"kept-{how}"), make_key(gates[0], f"gone-{how}")
    seconds_until(gates, kept["secret"], 200)
    assert admin(gates[1], "DELETE", f"keys/{gone['id']}").status == 200
    seconds_until(gates, gone["secret"], 401)
    getattr(redis, how)()
    for _ in range(30):
        for gate in gates:
            assert gate.chat(key=gone["secret"]).status == 401
            assert gate.chat(key=kept["secret"]).status == 200
        time.sleep(0.1)
    fresh = eventually(lambda: admin(gates[2], "POST", "keys", {"name": f"fresh-{how}", "tenant": "acme"}), 5)
    assert fresh.status == 201, fresh
    seconds_until(gates, fresh.json["secret"], 200)
    seconds_until(gates, gone["secret"], 401)
