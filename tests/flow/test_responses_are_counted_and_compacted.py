# SPDX-License-Identifier: Apache-2.0
"""/v1/responses/input_tokens at every target, /v1/responses/compact at those that have it."""

import pytest
from harness import KEY_GLOBEX, Sluice, config_for, model_for, provider_for

COUNT = "/v1/responses/input_tokens"
COMPACT = "/v1/responses/compact"
INPUT = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello world, hello!"}]}]
PRICE = {"input": 1, "output": 10}
COMPACTED = {"id": "resp_c1", "object": "response.compaction", "created_at": 1, "output": [
    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello world, hello!"}]},
    {"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAAAsealed"}],
    "usage": {"input_tokens": 100, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 20,
              "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 120}}


def answer(call):
    if call.path.endswith("/input_tokens"):
        return call.respond(200, {"object": "response.input_tokens", "input_tokens": 77})
    if call.path.endswith("/compact"):
        return call.respond(200, COMPACTED)
    if call.path.endswith("/count_tokens"):
        return call.respond(200, {"input_tokens": 78})
    if call.path.endswith(":countTokens"):
        return call.respond(200, {"totalTokens": 79})
    return call.respond(200, {"id": "resp_1", "object": "response", "status": "completed", "output": [],
                              "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}})


def configure(upstream, **changes):
    root = upstream.url.removesuffix("/v1")
    providers = [provider_for(upstream), provider_for(upstream, "own", type="vllm"), provider_for(upstream, "compatible", type="groq"),
                 *(provider_for(upstream, name, type=name, base_url=root) for name in ("anthropic", "gemini"))]
    models = [model_for()] + [
        model_for(name, targets=[{"id": name, "provider": name, "model": f"{name}-x", "price": PRICE}])
        for name in ("own", "compatible", "anthropic", "gemini")]
    models.append(model_for("any", targets=[{"id": f"any-{name}", "provider": name, "model": "x", "priority": place, "price": PRICE}
                                            for place, name in enumerate(("anthropic", "up"))]))
    return config_for(upstream, providers=providers, models=models, **changes)


@pytest.fixture(autouse=True)
def fresh(watched, upstream):
    upstream.answer = answer


@pytest.mark.parametrize("model,tokens,path", [("fast", 77, COUNT), ("anthropic", 78, "/v1/messages/count_tokens"),
                                               ("gemini", 79, "/v1beta/models/gemini-x:countTokens")])
def test_the_target_counts_where_it_can(gate, upstream, model, tokens, path):
    got = gate.post(COUNT, {"model": model, "input": INPUT, "instructions": "Be short."})
    assert got.status == 200 and got.json == {"object": "response.input_tokens", "input_tokens": tokens}, got
    assert not got.header("x-sluice-estimated") and upstream.last().path == path
    said = upstream.last().body.decode()
    assert "Hello world" in said and "Be short." in said and "max_output_tokens" not in said
    assert gate.ledger_row(got.header("x-request-id"))["cost_nanos"] == 0


@pytest.mark.parametrize("model", ["own", "compatible"])
def test_it_is_counted_here_where_the_target_cannot(gate, upstream, model):
    got = gate.post(COUNT, {"model": model, "input": INPUT})
    assert got.status == 200 and got.json["object"] == "response.input_tokens", got
    assert 1 <= got.json["input_tokens"] <= 40 and got.header("x-sluice-estimated") == "true", got
    assert not upstream.calls


@pytest.mark.parametrize("model", ["fast", "anthropic", "gemini"])
@pytest.mark.parametrize("status", [404, 405, 501])
def test_it_is_counted_here_where_the_targets_server_knows_no_such_call(gate, upstream, model, status):
    """`type: openai` is also what somebody else's server is named by."""
    upstream.answer = lambda call: call.respond(status, {"detail": "Not Found"})
    got = gate.post(COUNT, {"model": model, "input": INPUT})
    assert got.status == 200 and got.json["object"] == "response.input_tokens", got
    assert 1 <= got.json["input_tokens"] <= 40 and got.header("x-sluice-estimated") == "true", got
    assert len(upstream.calls) == 1
    row = gate.ledger_row(got.header("x-request-id"))
    assert row["cost_nanos"] == 0 and row["status"] == 200, row
    upstream.answer = answer
    assert gate.post(COUNT, {"model": model, "input": INPUT}).json["input_tokens"] in (77, 78, 79)


def test_what_is_built_on_is_counted_by_who_has_it_only(gate, upstream):
    assert gate.post("/v1/responses", {"model": "fast", "input": "x"}).status == 200
    upstream.answer = lambda call: call.respond(404, {"error": {"message": "It is gone.", "code": "previous_response_not_found"}})
    got = gate.post(COUNT, {"model": "fast", "input": "y", "previous_response_id": "resp_1"})
    assert got.status == 404 and got.error["code"] == "previous_response_not_found", got


def test_a_call_that_cannot_be_read_is_not_counted(gate, upstream):
    assert gate.post(COUNT, {"model": "own", "input": 7}).status == 400
    got = gate.post(COUNT, {"input": "x"})
    assert got.status == 400 and got.error["param"] == "model", got
    assert not upstream.calls


@pytest.mark.parametrize("path", [COUNT, COMPACT])
def test_it_goes_on_from_ones_own_response_only(gate, upstream, path):
    made = gate.post("/v1/responses", {"model": "fast", "input": "x"})
    assert made.status == 200, made
    asked = {"model": "fast", "input": "y", "previous_response_id": "resp_1"}
    got = gate.post(path, asked)
    assert got.status == 200 and upstream.last().json["previous_response_id"] == "resp_1", got
    upstream.calls.clear()
    got = gate.post(path, asked, key=KEY_GLOBEX)
    assert got.status == 404 and not upstream.calls, got


def test_what_compacts_is_passed_through_and_booked(gate, upstream):
    asked = {"model": "fast", "input": INPUT, "instructions": "Be short.", "prompt_cache_key": "k"}
    got = gate.post(COMPACT, asked)
    assert got.status == 200 and got.json == COMPACTED, got
    assert upstream.last().path == COMPACT and upstream.last().json == {**asked, "model": "upstream-model"}
    row = gate.ledger_row(got.header("x-request-id"))
    assert (row["input_tokens"], row["output_tokens"]) == (100, 20) and row["cost_nanos"] > 0, row


@pytest.mark.parametrize("model", ["own", "compatible", "anthropic", "gemini"])
def test_what_does_not_compact_is_not_asked_to(gate, upstream, model):
    got = gate.post(COMPACT, {"model": model, "input": INPUT})
    assert got.status == 400 and got.error["type"] == "invalid_request_error" and "compact" in got.error["message"], got
    assert not upstream.calls


def test_one_of_several_that_compacts_is_asked(gate, upstream):
    got = gate.post(COMPACT, {"model": "any", "input": INPUT})
    assert got.status == 200 and got.header("x-sluice-target") == "any-up", got


def test_a_budget_puts_no_bound_into_it_that_is_not_known_there(upstream):
    """/v1/responses/compact has no max_output_tokens."""
    target = {"id": "t", "provider": "up", "model": "x", "price": PRICE, "params": {"max_tokens": 50}}
    whole = configure(upstream)
    whole["models"].append(model_for("bound", targets=[target]))
    whole["tenants"][0]["budget"] = {"amount": "0.01 USD", "period": "day"}
    with Sluice(whole) as gate:
        got = gate.post(COMPACT, {"model": "bound", "input": "x"})
        assert got.status in (200, 429), got
        if got.status == 200:
            assert upstream.last().json == {"model": "x", "input": "x"} and not got.header("x-sluice-max-tokens"), got
        got = gate.post("/v1/responses", {"model": "bound", "input": "x"})
        assert got.status == 200 and upstream.last().json["max_output_tokens"] > 0, got
