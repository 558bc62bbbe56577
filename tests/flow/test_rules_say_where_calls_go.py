# SPDX-License-Identifier: Apache-2.0
"""routing.rules, tags, residency, capabilities: each condition, and what is done with those that meet it."""

import json
import time

import pytest
from harness import (
    KEY_ACME,
    KEY_ACME_FAST,
    KEY_GLOBEX,
    Client,
    Sluice,
    Upstream,
    config_for,
    eventually,
    provider_for,
    sha256_hash,
)
from raw_upstream import openai_answer

KEY_TAGGED = "sk-tagged-5ecre7-00112233"
KEY_EU, KEY_TEAM, KEY_PLAIN = "sk-eu-5ecre7-0011223344", "sk-team-5ecre7-0011223344", "sk-plain-5ecre7-001122"
PICTURE = [{"role": "user", "content": [
    {"type": "text", "text": "what is it?"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]}]
TOOL = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]


def target(name, provider="up", price=1, **more):
    return {"id": name, "provider": provider, "model": f"at-{name}", "price": {"input": price, "output": price}, **more}


def day_of(offset):
    return ["mon", "tue", "wed", "thu", "fri", "sat", "sun"][(time.gmtime().tm_wday + offset) % 7]


def rules():
    return [
        {"name": "by key", "when": {"key": ["fast-only"]}, "use": {"targets": ["b"]}},
        {"name": "by tag", "when": {"tags": {"team": "sea*"}, "model": ["fast", "timed"]}, "use": {"targets": ["b"]}},
        {"name": "by header", "when": {"header": {"X-Region": "eu-*"}, "model": ["fast"]}, "use": {"targets": ["c"]}},
        {"name": "long prompts", "when": {"input_tokens": ">2000", "model": ["fast"]}, "use": {"model": "large"}},
        {"name": "by user", "when": {"user": ["vip-*"]}, "use": {"targets": ["b"]}},
        {"name": "with pictures", "when": {"capability": ["vision"], "model": ["fast"]}, "use": {"targets": ["c"]}},
        {"name": "today", "when": {"model": ["timed"], "time": {"days": [day_of(0)]}}, "use": {"targets": ["t2"]}},
        {"name": "not today", "when": {"model": ["timed-2"], "time": {"days": [day_of(2)], "zone": "Europe/Berlin"}},
         "use": {"targets": ["u2"]}},
        {"name": "cheap", "when": {"model": ["priced"]}, "use": {"max_cost": "0.0001 USD"}},
        {"name": "none is cheap", "when": {"model": ["dear"]}, "use": {"max_cost": "0.000001 USD"}},
        {"name": "by policy", "when": {"model": ["ordered"]}, "use": {"policy": "in-order"}},
        {"name": "chain", "when": {"model": ["down"]}, "use": {"fallback": ["down-2", "b"]}},
        {"name": "canary", "when": {"sample": 0.2, "model": ["mixed"]}, "use": {"targets": ["m2"]}},
        {"name": "eu data", "when": {"tenant": ["eu"], "header": {"x-strict": "1"}}, "use": {"targets": ["c"]}},
    ]


def configure(up, broken):
    config = config_for(up)
    config["providers"] = [provider_for(up, "up"), provider_for(up, "eu", tags=["eu", "gdpr"]),
                           provider_for(broken, "broken", retry={"attempts": 3})]
    config["models"] = [
        {"name": "fast", "aliases": ["quick"], "targets": [target("a"), target("b", priority=2), target("c", priority=3)]},
        {"name": "large", "targets": [target("l")]},
        {"name": "timed", "targets": [target("t1"), target("t2", priority=2)]},
        {"name": "timed-2", "targets": [target("u1"), target("u2", priority=2)]},
        {"name": "priced", "targets": [target("p-dear", price=1000), target("p-cheap", priority=2)]},
        {"name": "mixed-price", "targets": [target("v-dear", price=1000), target("v-cheap", priority=2)]},
        {"name": "dear", "targets": [target("d1", price=1000)]},
        {"name": "thrifty", "policy": "thrift", "targets": [target("th-dear", price=1000), target("th-cheap", priority=2)]},
        {"name": "too-thrifty", "policy": "thrift", "targets": [target("tt", price=1000)]},
        {"name": "ordered", "targets": [target("o1"), target("o2")]},
        {"name": "down", "targets": [target("x1", "broken")]},
        {"name": "down-2", "targets": [target("x2", "broken")]},
        {"name": "down-dear", "policy": "dear-first", "targets": [target("x3", "broken")]},
        {"name": "mixed", "targets": [target("m1"), target("m2", priority=2)]},
        {"name": "resident", "targets": [target("r-us"), target("r-eu", "eu", priority=2)]},
        {"name": "us-only", "targets": [target("us", tags=["us"])]},
        {"name": "able", "targets": [target("blind", capabilities=["chat", "tools"]),
                                     target("sees", priority=2, capabilities=["chat", "vision", "audio"])]},
        {"name": "seen", "targets": [target("seen-1", capabilities=["chat"]),
                                     target("seen-2", priority=2, capabilities=["chat", "vision", "json_schema"])]},
        {"name": "short", "targets": [target("s-short", context_window=200),
                                      target("s-long", priority=2, context_window=100000)]},
        {"name": "tiny", "policy": "to-large", "targets": [target("tiny", context_window=100)]},
        {"name": "tiniest", "targets": [target("tiniest", context_window=100)]},
    ]
    config["routing"] = {"policies": [{"name": "in-order", "strategy": "priority"},
                                      {"name": "to-large", "fallback": ["large"]},
                                      {"name": "dear-first", "fallback": ["dear", "b"]},
                                      {"name": "thrift", "strategy": "priority", "max_cost": "0.0001 USD"}],
                         "rules": rules()}
    config["tenants"] += [
        {"name": "eu", "models": ["*"], "residency": ["eu"],
         "keys": [{"name": "main", "hash": sha256_hash(KEY_EU)}]},
        {"name": "eu-team", "parent": "eu", "models": ["*"], "tags": {"team": "search"}, "may_set": ["policy", "explain"],
         "residency": ["gdpr"], "keys": [{"name": "main", "hash": sha256_hash(KEY_TEAM)}]},
        {"name": "tagged", "models": ["*"], "tags": {"team": "search"},
         "keys": [{"name": "main", "hash": sha256_hash(KEY_TAGGED)}]},
        {"name": "plain", "models": ["*"], "may_set": ["policy", "explain"],
         "keys": [{"name": "main", "hash": sha256_hash(KEY_PLAIN)}]},
    ]
    return config


@pytest.fixture(scope="module")
def gate():
    def broken(call):
        call.respond(500, b'{"error":{"message":"no"}}')

    with Upstream() as up, Upstream(broken) as down, Sluice(configure(up, down)) as running:
        running.up = up
        yield running


def target_of(answer, status=200):
    assert answer.status == status, (answer.status, answer.body)
    return answer.header("x-sluice-target")


def test_what_meets_no_rule_goes_where_its_model_says(gate):
    assert target_of(gate.chat("fast")) == "a"


def test_a_key_a_tag_a_header_a_user_are_looked_at(gate):
    assert target_of(gate.chat("fast", key=KEY_ACME_FAST)) == "b"
    assert target_of(gate.chat("fast", headers={"x-region": "eu-west"})) == "c"
    assert target_of(gate.chat("quick", headers={"X-REGION": "eu-west"})) == "c", "an alias is the model"
    assert target_of(gate.chat("fast", headers={"x-region": "us-east"})) == "a"
    assert target_of(gate.chat("fast", user="vip-7")) == "b"
    assert target_of(gate.chat("fast", user="other")) == "a"


def test_the_length_of_the_prompt_is_looked_at(gate):
    long = [{"role": "user", "content": "many words of it " * 4000}]
    assert target_of(gate.chat("fast", messages=long)) == "l"


def test_what_is_needed_is_looked_at(gate):
    assert target_of(gate.chat("fast", messages=PICTURE)) == "c"


def test_the_day_in_its_zone_is_looked_at(gate):
    assert target_of(gate.chat("timed")) == "t2"
    assert target_of(gate.chat("timed-2")) == "u1"


def test_what_costs_more_than_the_rule_allows_is_left_out(gate):
    assert target_of(gate.chat("priced", max_tokens=20)) == "p-cheap"
    answer = gate.chat("dear", max_tokens=20)
    assert answer.status == 400 and b"none is cheap" in answer.body, answer.body


def test_a_rule_names_the_policy(gate):
    assert {target_of(gate.chat("ordered")) for _ in range(12)} == {"o1"}


def test_a_chain_is_gone_through_to_its_end(gate):
    answer = gate.chat("down")
    assert target_of(answer) == "b"
    assert answer.header("x-sluice-attempts") == "3"


def test_a_fallback_that_is_too_dear_is_followed_by_the_next(gate):
    answer = gate.chat("down-dear", key=KEY_PLAIN, max_tokens=20, headers={"x-sluice-max-cost": "0.0001"})
    assert target_of(answer) == "b"


@pytest.mark.parametrize("fault", [(500, []), (429, [("Retry-After", "600")])], ids=["dead", "resting"])
def test_a_fallback_serves_all_calls_of_a_model_that_does_not(fault):
    status, headers = fault
    with Upstream() as up, Upstream(lambda call: call.respond(status, b'{"error":{"message":"no"}}', headers)) as down:
        config = config_for(up)
        config["providers"] = [provider_for(up, "up"), provider_for(down, "down", retry={"attempts": 2}, breaker={"open_for": "5m"})]
        config["models"] = [{"name": "ill", "policy": "falls", "targets": [target("ill", "down")]},
                            {"name": "well", "targets": [target("well")]}]
        config["routing"] = {"policies": [{"name": "falls", "fallback": ["well"]}]}
        with Sluice(config) as gate:
            assert {target_of(gate.chat("ill")) for _ in range(40)} == {"well"}
            assert len(down.calls) <= 10, "one that rests is left alone"
            _, said = explain(gate, {"model": "ill", "messages": [{"role": "user", "content": "Hi"}]},
                              tenant="acme", key="main")
            assert said["choice"] == "well" and said["falls_back_on"] == "well", said


def test_a_canary_keeps_its_share_and_its_conversations(gate):
    chosen = {}
    for i in range(150):
        messages = [{"role": "user", "content": f"conversation {i}"}]
        chosen[i] = target_of(gate.chat("mixed", messages=messages))
    share = sum(one == "m2" for one in chosen.values()) / len(chosen)
    assert 0.08 < share < 0.34, share  # 0.2 and 4 standard deviations
    for i in list(chosen)[:25]:
        turns = [{"role": "user", "content": f"conversation {i}"}, {"role": "assistant", "content": "yes"},
                 {"role": "user", "content": "and now?"}]
        assert target_of(gate.chat("mixed", messages=turns)) == chosen[i], "a conversation does not change sides"


def test_data_stays_where_the_tenant_says(gate):
    assert target_of(gate.chat("resident")) == "r-us"
    assert target_of(gate.chat("resident", key=KEY_EU)) == "r-eu"
    refused = gate.chat("us-only", key=KEY_EU)
    assert refused.status == 403, refused.body
    refused = gate.chat("fast", key=KEY_EU, headers={"x-strict": "1"})
    assert refused.status == 403, "no rule and no header takes it elsewhere"
    refused = gate.chat("down", key=KEY_EU)
    assert refused.status == 403, "nor does a fallback"


def test_a_tenant_inherits_where_its_data_stays(gate):
    assert target_of(gate.chat("resident", key=KEY_TEAM)) == "r-eu"
    assert gate.chat("fast", key=KEY_TEAM).status == 403, "whatever rules say"


def test_a_rule_that_leaves_nobody_says_so(gate):
    refused = gate.chat("timed", key=KEY_TAGGED)
    assert refused.status == 403 and b"by tag" in refused.body, refused.body
    assert target_of(gate.chat("fast", key=KEY_TAGGED)) == "b"


def test_a_target_that_cannot_is_left_out(gate):
    assert target_of(gate.chat("able")) == "blind"
    assert target_of(gate.chat("able", messages=PICTURE)) == "sees"
    assert target_of(gate.chat("able", tools=TOOL)) == "blind"
    refused = gate.chat("able", messages=PICTURE, tools=TOOL)
    assert refused.status == 400 and b"takes pictures" in refused.body, refused.body


def test_a_fallback_that_rests_is_asked_after_those_that_do_not():
    """And not left out: its circuit is open, but it is well again, and the one that was thought well is not."""
    with Upstream() as up, Upstream(lambda call: call.respond(500, b"{}")) as down, Upstream(lambda call: call.respond(500, b"{}")) as again:
        config = config_for(up)
        config["providers"] = [provider_for(one, name, retry={"attempts": 4}, breaker={"open_for": "5m"})
                               for name, one in [("down", down), ("again", again)]]
        config["models"] = [{"name": name, "policy": policy, "targets": [target(name, provider)]} for name, policy, provider in [
            ("ill", "falls", "down"), ("rests", "balanced", "again"), ("late", "balanced", "down")]]
        config["routing"] = {"policies": [{"name": "falls", "fallback": ["rests", "late"]}]}
        with Sluice(config) as gate:
            for _ in range(8):
                gate.chat("rests")
            again.answer = openai_answer
            assert target_of(gate.chat("ill")) == "rests"


def with_spare(servers, homes, retry=None, breaker=None):
    """The model "fast" has the <homes> and falls back on the last server."""
    *_, spare = servers
    config = config_for(servers[spare])
    config["providers"] = [provider_for(one, name, retry={"attempts": 3, **(retry or {})}, breaker=breaker or {})
                           for name, one in servers.items()]
    config["models"] = [
        {"name": "fast", "policy": "falls", "targets": [target(name, name, priority=i) for i, name in enumerate(homes, 1)]},
        {"name": spare, "targets": [target(spare, spare)]}]
    config["routing"] = {"policies": [{"name": "falls", "strategy": "priority", "fallback": [spare]}]}
    return config


def fail(call):
    call.respond(500, b"{}")


def test_its_own_targets_that_rest_are_asked_when_the_fallback_fails():
    with Upstream(fail) as home, Upstream() as spare:
        config = with_spare({"home": home, "spare": spare}, ["home"], breaker={"open_for": "5m"})
        with Sluice(config) as gate:
            for _ in range(8):
                assert target_of(gate.chat("fast")) == "spare"
            assert len(home.calls) <= 3, "its circuit is open"
            home.answer, spare.answer = openai_answer, fail
            for stream in (False, True):
                answer = gate.chat("fast", stream=stream)
                assert target_of(answer) == "home" and answer.header("x-sluice-attempts") == "2", answer


def test_a_fallback_that_is_well_is_asked_before_one_of_its_own_is_waited_for():
    def busy_for_long(call):
        call.respond(429, b"{}", headers=[("retry-after", "25")])

    with Upstream(fail) as one, Upstream(busy_for_long) as two, Upstream() as spare:
        config = with_spare({"one": one, "two": two, "spare": spare}, ["one", "two"], retry={"max_backoff": "30s"})
        config["providers"][0]["health"] = {"mode": "none"}
        with Sluice(config) as gate:
            assert target_of(gate.chat("fast")) == "spare"
            answer = gate.chat("fast", options={"timeout": 20})
            assert target_of(answer) == "spare" and (len(one.calls), len(two.calls)) == (2, 1), answer


def test_its_own_target_is_waited_for_when_the_fallback_fails():
    def busy_for_a_while(call):
        call.respond(429, b"{}", headers=[("retry-after", "2")])

    with Upstream(busy_for_a_while) as home, Upstream() as spare:
        with Sluice(with_spare({"home": home, "spare": spare}, ["home"])) as gate:
            assert target_of(gate.chat("fast")) == "spare"
            asked = time.monotonic()
            home.answer, spare.answer = openai_answer, fail
            assert target_of(gate.chat("fast")) == "home"
            assert time.monotonic() - asked > 1, "it had asked to be left alone"


TOO_LONG = {"error": {"message": "8192 tokens at most.", "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status, body", [(400, TOO_LONG), (500, {"error": {"message": "B is ill."}}), (429, {"error": {"message": "B is busy."}})])
def test_the_error_of_a_fallback_stays_its_own_where_one_of_the_models_own_is_too_dear(status, body, stream):
    """It was not asked for its price, and not because it rests: nobody is left to be asked."""
    with Upstream(fail) as home, Upstream() as dear, Upstream(lambda call: call.respond(status, json.dumps(body).encode())) as spare:
        config = with_spare({"home": home, "dear": dear, "spare": spare}, ["home", "dear"])
        config["models"][0]["targets"][1]["price"] = {"input": 100_000, "output": 1_000_000}
        config["routing"]["policies"][0]["max_cost"] = "0.01 USD"
        with Sluice(config) as gate:
            answer = gate.chat("fast", stream=stream)
            assert answer.status == status and body["error"]["message"] in answer.error["message"], answer
            assert answer.error.get("code") == body["error"].get("code") and not dear.calls, answer


SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
OF_OTHER_DIALECTS = [
    ("/v1/messages", {"max_tokens": 9, "messages": [{"role": "user", "content": [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}]}]}),
    ("/v1/responses", {"input": [{"role": "user", "content": [
        {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo="}]}]}),
    ("/v1beta/models/seen:generateContent", {"contents": [{"role": "user", "parts": [
        {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}]}]}),
    ("/v1beta/models/seen:generateContent", {"contents": [{"role": "user", "parts": [
        {"fileData": {"mimeType": "image/png", "fileUri": "https://example.com/a.png"}}]}]}),
    ("/api/chat", {"stream": False, "messages": [{"role": "user", "content": "x", "images": ["iVBORw0KGgo="]}]}),
    ("/api/generate", {"stream": False, "prompt": "x", "images": ["iVBORw0KGgo="]}),
    ("/api/chat", {"stream": False, "messages": [{"role": "user", "content": "x"}], "format": SCHEMA}),
]


@pytest.mark.parametrize("case", range(len(OF_OTHER_DIALECTS)))
def test_what_is_needed_is_seen_in_every_dialect(gate, case):
    path, body = OF_OTHER_DIALECTS[case]
    answer = gate.post(path, body if "v1beta" in path else {"model": "seen", **body})
    assert answer.header("x-sluice-target") == "seen-2", (answer.status, answer.body)
    _, said = explain(gate, {"model": "seen", **body}, path=path, tenant="acme", key="main")
    assert said["choice"] == "seen-2", said


def test_a_prompt_goes_to_a_window_it_fits(gate):
    long = [{"role": "user", "content": "many words of it " * 200}]
    assert target_of(gate.chat("short")) == "s-short"
    assert target_of(gate.chat("short", messages=long)) == "s-long"
    answer = gate.chat("tiny", messages=long)
    assert target_of(answer) == "l" and answer.header("x-sluice-attempts") == "1"
    assert target_of(gate.chat("tiniest", messages=long)) == "tiniest", "it says itself that it is too long"


def test_the_caller_names_the_policy_where_it_may(gate):
    assert {target_of(gate.chat("mixed", key=KEY_PLAIN, headers={"x-sluice-policy": "in-order"}))
            for _ in range(3)} <= {"m1", "m2"}
    refused = gate.chat("fast", key=KEY_PLAIN, headers={"x-sluice-policy": "nonsense"})
    assert refused.status == 400, refused.body
    assert gate.chat("fast", key=KEY_ACME, headers={"x-sluice-policy": "nonsense"}).status == 200, "not heard"


def test_the_caller_may_ask_for_less_and_not_for_more(gate):
    dear = {"model": "mixed-price", "max_tokens": 20, "key": KEY_PLAIN}
    assert target_of(gate.chat(**dear)) == "v-dear"
    assert target_of(gate.chat(**dear, headers={"x-sluice-max-cost": "0.0001"})) == "v-cheap"
    assert gate.chat(**dear, headers={"x-sluice-max-cost": "0.00000001"}).status == 400
    assert gate.chat(**dear, headers={"x-sluice-max-cost": "much"}).status == 400
    assert gate.chat("dear", key=KEY_PLAIN, max_tokens=20, headers={"x-sluice-max-cost": "9"}).status == 400
    assert target_of(gate.chat(**{**dear, "key": KEY_ACME}, headers={"x-sluice-max-cost": "0.0001"})) == "v-dear"


def test_a_policy_bounds_what_a_call_may_cost(gate):
    assert target_of(gate.chat("thrifty", max_tokens=20)) == "th-cheap"
    refused = gate.chat("too-thrifty", max_tokens=20)
    assert refused.status == 400 and "may cost" in refused.error["message"], refused
    free = gate.chat("mixed-price", key=KEY_PLAIN, max_tokens=20)
    assert target_of(free) == "v-dear"
    chosen = gate.chat("mixed-price", key=KEY_PLAIN, max_tokens=20, headers={"x-sluice-policy": "thrift"})
    assert target_of(chosen) == "v-cheap"
    narrower = gate.chat("thrifty", key=KEY_PLAIN, max_tokens=20, headers={"x-sluice-max-cost": "0.00000001"})
    assert narrower.status == 400
    wider = gate.chat("thrifty", key=KEY_PLAIN, max_tokens=20, headers={"x-sluice-max-cost": "9"})
    assert target_of(wider) == "th-cheap"


def test_other_dialects_are_explained(gate):
    body = {"model": "fast", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    status, said = explain(gate, body, path="/v1/messages", tenant="acme", key="main", headers={"x-region": "eu-1"})
    assert status == 200 and said["choice"] == "c", said
    body = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
    status, said = explain(gate, body, path="/v1beta/models/fast:generateContent", tenant="acme", key="main")
    assert status == 200 and said["choice"] == "a", said
    for path in ("/v1/models", "/nowhere", "/v1/files", "no path", "/v1/chat/completions HTTP/1.1\r\nx: y"):
        assert explain(gate, body, path=path, tenant="acme")[0] == 400, path
    assert explain(gate, body, tenant="nobody")[0] == 404
    assert explain(gate, body, tenant="acme", key="nobody")[0] == 404
    assert explain(gate, body, tenant="acme", headers={"a\r\nb": "c"})[0] == 400


def test_the_caller_is_told_why_where_it_may(gate):
    answer = gate.chat("fast", key=KEY_PLAIN, headers={"x-sluice-explain": "1", "x-region": "eu-1"})
    decision = json.loads(answer.header("x-sluice-decision"))
    assert answer.header("x-sluice-rule") == "by header"
    assert decision["choice"] == answer.header("x-sluice-target") == "c"
    assert {one["target"]: one.get("strike") for one in decision["candidates"]} == {"a": "rule", "b": "rule", "c": None}
    assert len(answer.header("x-sluice-decision")) < 8192
    quiet = gate.chat("fast", headers={"x-sluice-explain": "1"})
    assert quiet.header("x-sluice-decision") is None


def explain(gate, body, **more):
    with Client(str(gate.state / "admin.sock")) as client:
        answer = client.request("POST", "/admin/v1/explain", [("Content-Type", "application/json")],
                                json.dumps({"body": body, **more}))
    return answer.status, json.loads(answer.body)


def test_explain_refuses_what_it_does_not_know(gate):
    status, said = explain(gate, {"model": "fast"}, tenant="acme", tenat="globex")
    assert status == 400 and said["field"] == "tenat", said


CASES = [
    ({"model": "fast"}, {}, KEY_ACME, "acme", "main"),
    ({"model": "fast"}, {"x-region": "eu-9"}, KEY_ACME, "acme", "main"),
    ({"model": "fast"}, {}, KEY_ACME_FAST, "acme", "fast-only"),
    ({"model": "fast", "messages": [{"role": "user", "content": "word " * 9000}]}, {}, KEY_ACME, "acme", "main"),
    ({"model": "fast", "messages": PICTURE}, {}, KEY_ACME, "acme", "main"),
    ({"model": "timed"}, {}, KEY_ACME, "acme", "main"),
    ({"model": "priced", "max_tokens": 20}, {}, KEY_ACME, "acme", "main"),
    ({"model": "dear", "max_tokens": 20}, {}, KEY_ACME, "acme", "main"),
    ({"model": "resident"}, {}, KEY_EU, "eu", "main"),
    ({"model": "us-only"}, {}, KEY_EU, "eu", "main"),
    ({"model": "able", "messages": PICTURE}, {}, KEY_ACME, "acme", "main"),
    ({"model": "tiny", "messages": [{"role": "user", "content": "word " * 900}]}, {}, KEY_ACME, "acme", "main"),
    ({"model": "large", "max_tokens": 3}, {}, KEY_GLOBEX, "globex", "main"),
    ({"model": "nonsense"}, {}, KEY_ACME, "acme", "main"),
]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_explain_says_what_then_happens(gate, case):
    body, headers, key, tenant, name = CASES[case]
    body = {"messages": [{"role": "user", "content": "Hi"}], **body}
    before = len(gate.up.calls)
    status, said = explain(gate, body, tenant=tenant, key=name, headers=headers)
    assert status == 200, said
    assert len(gate.up.calls) == before, "nothing is sent"
    answer = gate.post("/v1/chat/completions", body, key=key, headers=headers)
    if "refused" in said:
        assert answer.status == said["refused"]["status"], (said, answer.body)
        assert json.loads(answer.body)["error"]["message"].startswith(said["refused"]["message"]), said
    else:
        assert target_of(answer) == said["choice"], said
        assert said["candidates"] and said["tokens"]["input"] > 0


def test_the_command_line_explains(gate, tmp_path):
    file = tmp_path / "request.json"
    file.write_text(json.dumps({"model": "fast", "messages": [{"role": "user", "content": "Hi"}]}))
    done = gate.cli("explain", str(file), "--tenant", "acme", "--headers", "x-region: eu-1")
    assert done.returncode == 0, done.stderr
    assert "by header" in done.stdout and "choice    c" in done.stdout, done.stdout
    done = gate.cli("explain", str(file), "--tenant", "acme", "--format", "json")
    assert json.loads(done.stdout)["choice"] == "a"
    assert gate.cli("explain", str(file), "--tenant", "nobody").returncode == 5


def admin(gate, path, body):
    with Client(str(gate.state / "admin.sock")) as client:
        answer = client.request("POST", "/admin/v1" + path, [("Content-Type", "application/json")], json.dumps(body))
    assert answer.status // 100 == 2, answer.body
    return json.loads(answer.body)


def test_a_tenant_that_is_made_inherits_where_its_data_stays(gate):
    admin(gate, "/tenants", {"name": "eu-made", "parent": "eu", "models": ["*"]})
    made = admin(gate, "/keys", {"name": "k", "tenant": "eu-made"})
    secret = made.get("secret") or made.get("key")
    answer = eventually(lambda: (lambda a: a if a.status != 401 else None)(gate.chat("resident", key=secret)), 5)
    assert target_of(answer) == "r-eu"
    assert gate.chat("us-only", key=secret).status == 403
