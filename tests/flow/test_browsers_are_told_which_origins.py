# SPDX-License-Identifier: Apache-2.0
"""CORS (Fetch standard): off by default, exact origins when on, credentials never."""

import pytest
from harness import Sluice, config_for

ORIGIN = "https://ui.example"
CONFIG = {"server": {"cors": {"allow_origins": [ORIGIN, "http://localhost:3000"]}}}
CHAT = "/v1/chat/completions"


def preflight(gate, origin, path=CHAT):
    return gate.request("OPTIONS", path, key=None, headers={
        "Origin": origin, "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,x-stainless-lang"})


@pytest.mark.parametrize("origin", [ORIGIN, "http://localhost:3000"])
def test_a_preflight_needs_no_key(gate, upstream, origin):
    answer = preflight(gate, origin)
    assert answer.status in (200, 204), answer
    assert answer.header("access-control-allow-origin") == origin
    assert "POST" in answer.header("access-control-allow-methods")
    allowed = answer.header("access-control-allow-headers").lower()
    assert allowed == "*" or all(name in allowed for name in ("authorization", "content-type", "x-stainless-lang"))
    assert "origin" in (answer.header("vary") or "").lower()
    assert "access-control-allow-credentials" not in answer.fields
    assert not upstream.calls


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_says_so(gate, stream):
    answer = gate.chat(stream=stream, headers={"Origin": ORIGIN})
    assert answer.status == 200 and answer.header("access-control-allow-origin") == ORIGIN
    assert "x-request-id" in (answer.header("access-control-expose-headers") or "").lower()


def test_an_error_says_so_too(gate):
    answer = gate.chat(key=None, headers={"Origin": ORIGIN})
    assert answer.status == 401 and answer.header("access-control-allow-origin") == ORIGIN


@pytest.mark.parametrize("origin", [
    "https://evil.example", "null", "https://ui.example.evil.test", "http://ui.example", "https://ui.example:444", "https://UI.example.", "*"])
def test_other_origins_hear_nothing(gate, origin):
    for answer in (preflight(gate, origin), gate.chat(headers={"Origin": origin})):
        assert "access-control-allow-origin" not in answer.fields, answer


def test_off_by_default(upstream):
    with Sluice(config_for(upstream)) as gate:
        assert preflight(gate, ORIGIN).status in (401, 404, 405)
        assert "access-control-allow-origin" not in gate.chat(headers={"Origin": ORIGIN}).fields
