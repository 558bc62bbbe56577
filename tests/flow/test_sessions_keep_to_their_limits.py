# SPDX-License-Identifier: Apache-2.0
"""A session (/v1/realtime) lasts: what its responses use counts while it does, and whoever may call no more is cut."""

import contextlib

import pytest
from harness import KEY_ACME, KEY_GLOBEX, Sluice, WebSocket, config_for, eventually, merged, sha256_hash
from test_realtime_is_a_tunnel import Server, open_socket

pytestmark = pytest.mark.threads
COST = 10 * 500 + 90 * 1000 + 40 * 4000  # nano-dollars of one response (harness.PRICE)


def tenant(**changes):
    return merged({"name": "acme", "models": ["*"], "keys": [{"name": "main", "hash": sha256_hash(KEY_ACME)}]}, changes)


@contextlib.contextmanager
def session(gate):
    client, answer = open_socket(gate)
    assert answer.status == 101, answer
    socket = WebSocket(client)
    assert b"session.created" in socket.read()[1]
    try:
        yield socket
    finally:
        client.close()


def respond(socket, most):
    """How many responses there are, and what is said in place of the next one (None: there were all)."""
    for count in range(most):
        socket.send_text("usage")
        said = socket.read()[1]
        if b"response.done" not in said:
            return count, said
    return most, None


BUDGET = {"budget": {"amount": "0.020 USD", "period": "day"}}
LIMITED = [
    (BUDGET, b"insufficient_quota", 20000000 // COST),
    ({"limits": {"tokens_per_day": 10000, "strict": True}}, b"rate_limit_exceeded", 10000 // 140),
    ({"limits": {"output_tokens_per_day": 5000, "strict": True}}, b"rate_limit_exceeded", 5000 // 40),
    ({"limits": {"tokens_per_day": 10000}}, b"rate_limit_exceeded", 10000 // 140 + 1),
]


@pytest.mark.parametrize(("limits", "words", "most"), LIMITED, ids=["money", "strict", "strict-output", "plain"])
def test_a_session_ends_when_a_limit_is_reached(upstream, limits, words, most):
    upstream.answer = Server()
    with Sluice(config_for(upstream, tenants=[tenant(**limits)])) as gate, session(gate) as socket:
        count, said = respond(socket, 2 * most)
        assert said and words in said, (count, said)
        assert most - 3 <= count <= most, count
        eventually(lambda: gate.usage_total("output_tokens") == 40 * count, what="all of them are booked")


def test_two_sessions_share_one_budget(upstream):
    upstream.answer = Server()
    with (Sluice(config_for(upstream, tenants=[tenant(budget={"amount": "0.040 USD", "period": "day"})])) as gate,
          session(gate) as first, session(gate) as second):
        counts = {first: 0, second: 0}
        for _ in range(2 * 40000000 // COST):
            for socket in list(counts):
                socket.send_text("usage")
                if b"response.done" not in socket.read()[1]:
                    break
                counts[socket] += 1
            else:
                continue
            break
        assert sum(counts.values()) * COST <= 40000000, counts


@pytest.mark.parametrize("how", ["the key is gone", "it has another secret", "the tenant is gone"])
def test_a_session_ends_when_its_key_opens_nothing_any_more(upstream, how):
    upstream.answer = Server()
    other = {"name": "other", "models": ["*"], "keys": [{"name": "main", "hash": sha256_hash(KEY_GLOBEX)}]}
    now = {"the key is gone": [merged(other, {"name": "acme", "keys": [{"name": "new", "hash": sha256_hash(KEY_GLOBEX)}]})],
           "it has another secret": [merged(other, {"name": "acme"})], "the tenant is gone": [other]}[how]
    with Sluice(config_for(upstream, tenants=[tenant()])) as gate, session(gate) as socket:
        assert respond(socket, 2) == (2, None)
        gate.write(merged(gate.config, {"tenants": now}))
        assert gate.cli("reload").returncode == 0
        assert gate.get("/v1/models").status == 401
        count, said = respond(socket, 2)
        assert said and b"invalid_api_key" in said, (count, said)
        upstream.answer.gone.wait()


def test_a_reload_that_leaves_the_key_leaves_the_session(upstream):
    upstream.answer = Server()
    with Sluice(config_for(upstream, tenants=[tenant()])) as gate, session(gate) as socket:
        assert respond(socket, 2) == (2, None)
        gate.write(merged(gate.config, {"tenants": [tenant(**BUDGET)]}))
        assert gate.cli("reload").returncode == 0
        assert respond(socket, 5) == (5, None)

