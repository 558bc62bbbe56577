# SPDX-License-Identifier: Apache-2.0
"""What clients of LiteLLM and Portkey send already is understood: tags, metadata, the user, the cache,
time-outs. It only narrows."""

import contextlib
import json
import time

import pytest
from harness import KEY_ACME, KEY_GLOBEX, Sluice, chat_body, config_for
from raw_upstream import openai_answer

pytestmark = pytest.mark.threads
CONFIG = {"cache": {"exact": {"enabled": True, "ttl": "1h", "max_temperature": 1}}}


def configured(upstream, **tenant):
    config = config_for(upstream, **CONFIG)
    config["tenants"][0] |= {"may_set": ["tags"], **tenant}
    return config


def configure(upstream):
    return configured(upstream)


def late(seconds):
    def answer(call):
        time.sleep(seconds)
        with contextlib.suppress(OSError):
            call.respond(200, chat_body("late"))
    return answer


def tags_of(gate, headers, key=KEY_ACME):
    answer = gate.chat(headers=headers, key=key)
    assert answer.status == 200, answer
    return gate.ledger_row(answer.header("x-request-id"))["tags"]


META = json.dumps({"team": "search", "n": 7, "yes": True, "none": None, "deep": {"a": 1}, "a,b": "c", "e": "f,g", "h": "\u00e9",
                   "esc": "a\"b"})


@pytest.mark.parametrize("headers, tags", [
    ({"x-litellm-tags": "prod, blue"}, "prod,blue"),
    ({"X-LiteLLM-Spend-Logs-Metadata": META}, 'team=search,n=7,yes=true,esc=a"b'),
    ({"x-portkey-metadata": META}, 'team=search,n=7,yes=true,esc=a"b'),
    ({"x-portkey-trace-id": "t-1"}, "trace_id=t-1"),
    ({"x-sluice-tags": "a=b", "x-litellm-tags": "c", "x-portkey-trace-id": "t"}, "a=b,c,trace_id=t"),
    ({"x-portkey-metadata": "{not json"}, ""),
    ({"x-portkey-metadata": "[1]"}, ""),
    ({"x-litellm-tags": "x" * 300}, ""),
    ({"x-litellm-tags": ",".join(["x" * 100] * 3)}, ",".join(["x" * 100] * 2)),
])
def test_tags(gate, headers, tags):
    assert tags_of(gate, headers) == tags


def test_tags_only_where_the_tenant_may_set_them(gate):
    assert tags_of(gate, {"x-litellm-tags": "prod", "x-portkey-metadata": META}, KEY_GLOBEX) == ""


@pytest.mark.parametrize("headers", [{"x-litellm-customer-id": "ann"}, {"x-litellm-end-user-id": "ann"},
                                     {"x-portkey-metadata": '{"_user":"ann"}'}])
def test_the_user_where_the_body_names_none(gate, headers):
    def user(**fields):
        return gate.ledger_row(gate.chat(headers=headers, **fields).header("x-request-id"))["user"]
    assert user() == "ann" and user(user="bob") == "bob"


def test_the_user_has_limits(upstream):
    with Sluice(configured(upstream, users={"limits": {"requests_per_hour": 1}})) as gate:
        ann = {"x-litellm-customer-id": "ann"}
        assert [gate.chat(headers=ann).status for _ in range(2)] == [200, 429]
        assert gate.chat(headers={"x-litellm-customer-id": "bob"}).status == 200


def test_the_cache(gate, upstream):
    def said(text, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        body = {"model": "fast", "temperature": 0, "messages": [{"role": "user", "content": text}]}
        return gate.post("/v1/chat/completions", body, headers=headers).header("x-sluice-cache")

    assert [said("a"), said("a"), said("a", x_portkey_cache_force_refresh="true")] == ["miss", "hit", "bypass"]
    assert said("a", x_portkey_cache_force_refresh="false") == "hit"
    one = {"x_portkey_cache_namespace": "one"}
    assert [said("a", **one), said("a", **one), said("a")] == ["miss", "hit", "hit"]
    assert said("a", x_portkey_cache_namespace="two") == "miss"


@pytest.mark.parametrize("headers, stream", [
    ({"x-litellm-timeout": "0.3"}, False), ({"x-litellm-timeout": "0.3"}, True), ({"x-portkey-request-timeout": "300"}, False),
    ({"x-litellm-timeout": "60", "x-litellm-stream-timeout": "0.3"}, True),
])
def test_no_longer_than_the_client_waits(upstream, headers, stream):
    upstream.answer = late(8)
    with Sluice(configured(upstream)) as gate:
        begun = time.monotonic()
        answer = gate.chat(stream=stream, headers=headers)
        assert answer.status == 504 and time.monotonic() - begun < 7.8
        assert answer.error["code"] == "upstream_timeout" and "client" in answer.error["message"]
        assert len(upstream.calls) == 1
        assert gate.ledger_row(answer.header("x-request-id"))["fault"] == "too_late"
        upstream.answer = openai_answer
        for _ in range(3):
            assert gate.chat().status == 200, "the target is not blamed"


@pytest.mark.parametrize("wish", ["600", "0", "-1", "x", "1e3", "", "9" * 30])
def test_a_wish_makes_nothing_longer(upstream, wish):
    upstream.answer = late(6)
    config = configured(upstream)
    config["providers"][0]["timeouts"]["total"] = "500ms"
    with Sluice(config) as gate:
        answer = gate.chat(headers={"x-litellm-timeout": wish})
        assert (answer.status, gate.ledger_row(answer.header("x-request-id"))["fault"]) == (504, "target_slow")


def test_a_stream_that_has_begun_goes_on(upstream):
    def slow(call):
        call.begin_stream()
        call.event({"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}]})
        time.sleep(0.8)
        call.event({"choices": [{"index": 0, "delta": {"content": "b"}, "finish_reason": "stop"}]})
        call.event("[DONE]")
        call.end_stream()

    upstream.answer = slow
    with Sluice(configured(upstream)) as gate:
        answer = gate.chat(stream=True, headers={"x-litellm-timeout": "0.4"})
        assert answer.status == 200 and b"[DONE]" in answer.body


def test_none_of_them_goes_up(gate, upstream):
    gate.chat(headers={"x-litellm-tags": "a", "x-portkey-metadata": "{}", "x-portkey-api-key": "k", "x-litellm-timeout": "9"})
    names = {name.lower() for name, _ in upstream.last().fields}
    assert not [name for name in names if name.startswith(("x-litellm", "x-portkey"))]
