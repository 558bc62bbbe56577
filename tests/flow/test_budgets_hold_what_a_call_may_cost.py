# SPDX-License-Identifier: Apache-2.0
"""Before a call is sent, the most that it may cost is held: whatever it is, and however it says so."""

import json

import pytest
from harness import KEY_ACME, PRICE, Sluice, chat_body, chunked, config_for, merged, model_for, provider_for, sha256_hash

INPUT, OUTPUT = 1000, 4000  # nano-dollars per token (harness.PRICE)
UNIT = 100_000  # nano-dollars per picture, second, search
FORM = {"Content-Type": "multipart/form-data; boundary=x"}


def gate_for(upstream, nanos, **provider):
    pieces = {"id": "pieces-1", "provider": "up", "model": "pieces", "price": {"unit": UNIT / 1e9}}
    tenant = {"name": "acme", "models": ["*"], "keys": [{"name": "main", "hash": sha256_hash(KEY_ACME)}]}
    if nanos is not None:
        tenant["budget"] = {"amount": f"{nanos / 1e9:.9f} USD", "period": "month"}
    models = [model_for("fast"), merged(model_for("pieces"), {"targets": [pieces]})]
    return Sluice(config_for(upstream, tenants=[tenant], models=models, providers=[provider_for(upstream, **provider)]))


def form(*fields):
    parts = [f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields]
    return ("".join(parts) + "--x--\r\n").encode()


def respond(**answer):
    return lambda call: call.respond(200, json.dumps(answer).encode())


def test_a_response_in_the_background_is_booked_as_the_most_it_may_cost(upstream):
    upstream.answer = respond(id="resp_1", object="response", status="queued", usage=None, output=[])
    body = {"model": "fast", "input": "x", "background": True, "max_output_tokens": 1000}
    with gate_for(upstream, 1.9 * 1000 * OUTPUT) as gate:
        first = gate.post("/v1/responses", body)
        assert first.status == 200
        assert gate.ledger_row(first.header("x-request-id"))["cost_nanos"] >= 1000 * OUTPUT
        second = gate.post("/v1/responses", body)
        assert second.status == 429 or int(second.header("x-sluice-max-tokens")) < 1000


@pytest.mark.parametrize("nanos, words", [
    (1_000, "0.000001"), (1_500_000, "0.0015"), (20_000_000, "0.02"), (1, "0.000000001")])
def test_a_refusal_says_how_much_the_budget_is(upstream, nanos, words):
    with gate_for(upstream, nanos) as gate:
        answer = gate.post("/v1/chat/completions", {"model": "fast", "messages": [], "max_tokens": 30_000, "n": 128})
        assert answer.status == 429 and f"budget of {words} USD " in answer.error["message"], answer


@pytest.mark.parametrize("more,answers", [
    ({"prompt": ["a", "b", "c", "d"]}, 4),
    ({"prompt": [[1, 2], [3]], "n": 2}, 4),
    ({"prompt": [1, 2, 3]}, 1),
    ({"prompt": "a", "best_of": 5}, 5),
    ({"prompt": "a", "best_of": 2, "n": 3}, 3),
])
def test_every_prompt_and_every_candidate_is_an_answer(upstream, more, answers):
    def greedy(call):
        usage = {"prompt_tokens": 10, "completion_tokens": call.json["max_tokens"] * answers}
        call.respond(200, chat_body(usage={**usage, "total_tokens": sum(usage.values())}))

    upstream.answer = greedy
    amount = 5000 * OUTPUT
    with gate_for(upstream, amount) as gate:
        for _ in range(20):
            gate.post("/v1/completions", {"model": "fast", "max_tokens": 500, **more})
        spent = gate.usage_total("cost_nanos")
        assert 0.5 * amount < spent <= amount


@pytest.mark.parametrize("path,body,name", [
    ("/v1/responses", {"input": "x", "max_tokens": 1}, "max_output_tokens"),
    ("/v1/chat/completions", {"messages": [], "max_output_tokens": 1}, "max_completion_tokens"),
    ("/v1/completions", {"prompt": "x", "max_completion_tokens": 1}, "max_tokens"),
])
def test_a_name_that_the_operation_does_not_know_says_nothing(upstream, path, body, name):
    with gate_for(upstream, 1e9) as gate:
        answer = gate.post(path, {"model": "fast", **body})
        assert upstream.last().json[name] == int(answer.header("x-sluice-max-tokens")) > 64


NEWER, OLDER = "max_completion_tokens", "max_tokens"


@pytest.mark.parametrize("kind, fields, sent", [
    ("openai", {}, [NEWER]),
    ("ollama", {}, [OLDER]),
    ("ollama", {OLDER: 900}, [OLDER]),
    ("ollama", {NEWER: 900}, [OLDER]),
    ("ollama", {NEWER: None}, [OLDER]),
    ("ollama", {OLDER: None, NEWER: 900}, [OLDER]),
    ("ollama", {OLDER: -1}, [OLDER]),
    ("openai", {OLDER: 900}, [OLDER]),
    ("openai", {NEWER: None}, [NEWER]),
    ("openai", {OLDER: 900, NEWER: 901}, [OLDER, NEWER]),
])
@pytest.mark.parametrize("amount", [300 * OUTPUT, 10_000 * OUTPUT])
def test_an_answer_is_no_longer_than_the_target_was_told(upstream, kind, fields, sent, amount):
    """In a name that it knows, and only there where nobody else said one."""
    with gate_for(upstream, amount, type=kind) as gate:
        answer = gate.post("/v1/chat/completions", {"model": "fast", "messages": [], **fields})
        assert answer.status == 200, answer
        body = upstream.last().json
        lowered = answer.header("x-sluice-max-tokens")
        most = int(lowered or max(value or 0 for value in fields.values()))
        assert 0 < most <= amount / OUTPUT and (lowered or any(value and value > 0 for value in fields.values()))
        told = [name for name in sent if body.get(name) not in (None, -1)]
        assert told == sent and all(body[name] <= most for name in sent), body
        assert kind == "openai" or body.get(NEWER) in (None, fields.get(NEWER)), body
        assert upstream.last().body.count(b'"max_tokens"') <= 1 and upstream.last().body.count(b'"max_completion_tokens"') <= 1


def test_a_name_with_escapes_is_put_in_the_other_one(upstream):
    with gate_for(upstream, 10_000 * OUTPUT, type="vllm") as gate:
        body = b'{"model":"fast","messages":[],"max_completion\\u005ftokens" : 900 ,"seed":1}'
        assert gate.post("/v1/chat/completions", body).status == 200
        assert upstream.last().body == b'{"model":"upstream-model","messages":[],"max_tokens":900 ,"seed":1}'


def test_what_no_limit_asks_about_passes_as_it_is(upstream):
    with gate_for(upstream, None, type="ollama") as gate:
        assert gate.post("/v1/chat/completions", {"model": "fast", "messages": [], NEWER: 900}).status == 200
        assert upstream.last().json[NEWER] == 900 and OLDER not in upstream.last().json


@pytest.mark.parametrize("fields", [
    (("model", "pieces"), ("n", "4"), ("image", "z")),
    (("model", "pieces"), ("image", "z" * 400_000), ("n", "4")),
])
@pytest.mark.parametrize("coded", [False, True])
def test_pictures_of_a_form_are_held_for(upstream, fields, coded):
    upstream.answer = respond(data=[])
    amount = 140 * UNIT
    with gate_for(upstream, amount) as gate:
        for _ in range(8):
            body = form(*fields)
            if coded:
                gate.post("/v1/images/edits", chunked(body, 1000), headers={**FORM, "Transfer-Encoding": "chunked"})
            else:
                gate.post("/v1/images/edits", body, headers=FORM)
        spent = gate.usage_total("cost_nanos")
        assert 0 < spent <= amount and spent % (4 * UNIT) == 0


def test_a_form_says_how_many_once(upstream):
    with gate_for(upstream, None) as gate:
        answer = gate.post("/v1/images/edits", form(("model", "pieces"), ("n", "1"), ("n", "9")), headers=FORM)
        assert (answer.status, answer.json["error"]["param"]) == (400, "n"), answer


@pytest.mark.parametrize("usage", [None, {"type": "duration", "seconds": 60}])
def test_seconds_of_sound_are_held_and_booked(upstream, usage):
    upstream.answer = respond(text="hi", **({"usage": usage} if usage else {}))
    sound = form(("model", "pieces"), ("file", "z" * 200_000))
    bound = (len(sound) // 256 + 1) * UNIT
    with gate_for(upstream, 1.1 * bound) as gate:
        seconds = []
        for _ in range(50):
            answer = gate.post("/v1/audio/transcriptions", sound, headers=FORM)
            if answer.status != 200:
                break
            seconds.append(gate.ledger_row(answer.header("x-request-id"))["units"])
        assert (answer.status, answer.json["error"]["code"]) == (429, "insufficient_quota")
        assert f"which may cost {bound / 1e9:.9f}".rstrip("0") in answer.json["error"]["message"], answer
        assert set(seconds) == ({60} if usage else {len(sound) // 2000 + 1})


def test_searches_are_held_for(upstream):
    upstream.answer = respond(results=[], meta={"billed_units": {"search_units": 3}})
    body = {"model": "pieces", "query": "q", "documents": ["word"] * 300}
    with gate_for(upstream, 30 * UNIT) as gate:
        statuses = [gate.post("/v1/rerank", body).status for _ in range(12)]
        assert 0 < statuses.count(200) <= 10 and statuses[-1] == 429, statuses
        assert gate.usage_total("cost_nanos") <= 30 * UNIT


@pytest.mark.parametrize("path,body", [
    ("/v1/images/generations", {"prompt": "x"}),
    ("/v1/audio/speech", {"input": "x", "voice": "v"}),
])
def test_what_knows_no_longest_answer_is_not_told_one(upstream, path, body):
    with gate_for(upstream, 1e9) as gate:
        assert gate.post(path, {"model": "fast", **body}).status == 200
        assert set(upstream.last().json) == {"model", *body}


@pytest.mark.parametrize("path, body", [
    ("/v1/images/generations", {"prompt": "x", "n": 4}),
    ("/v1/images/generations", {"prompt": "x", "n": 4, "max_tokens": 1}),
    ("/v1/images/edits", form(("model", "fast"), ("image", "z"), ("n", "4"))),
    ("/v1/images/edits", form(("model", "fast"), ("image", "z" * 400_000), ("n", "4"))),
], ids=["said", "a length that says nothing", "form", "a form that says it later"])
@pytest.mark.parametrize("pays_for", [3.9, 11])
def test_pictures_that_are_counted_in_tokens_are_held_for(upstream, path, body, pays_for):
    """The largest that gpt-image-1 makes, at its best."""
    picture = 6240
    upstream.answer = respond(data=[], usage={"input_tokens": 20, "output_tokens": 4 * picture, "total_tokens": 20 + 4 * picture})
    amount = int(pays_for * picture * OUTPUT)
    with gate_for(upstream, amount) as gate:
        for _ in range(4):
            if isinstance(body, dict):
                gate.post(path, {"model": "fast", **body})
            else:
                gate.post(path, body, headers=FORM)
        spent = gate.usage_total("cost_nanos")
        assert spent <= amount and (spent > 0) == (pays_for > 4 and len(body) < 400_000)


@pytest.mark.parametrize("price, status", [({"unit": 0.04}, 200), (PRICE, 429)], ids=["by the piece", "in tokens"])
def test_pictures_count_in_strict_windows_where_they_are_paid_in_tokens(upstream, price, status):
    upstream.answer = respond(data=[])
    form_of_one = form(("model", "fast"), ("image", "z" * 400_000), ("n", "1"))
    config = config_for(upstream, tenants=[{"name": "acme", "models": ["*"], "limits": {"tokens_per_minute": 60_000, "strict": True},
                                            "keys": [{"name": "main", "hash": sha256_hash(KEY_ACME)}]}])
    config["models"] = [model_for("fast", targets=[{"id": "a", "provider": "up", "model": "m", "price": price}])]
    with Sluice(config) as gate:
        assert gate.post("/v1/images/edits", form_of_one, headers=FORM).status == status


CALLS = [("/v1/chat/completions", {"messages": []}), ("/v1/completions", {"prompt": "x"}), ("/v1/responses", {"input": "x", "store": False})]


def as_long_as_it_may(call):
    """One that answers with 10,000 tokens when nobody tells it a length, or says none of its own."""
    body = call.json
    if body["model"].startswith("broken"):
        call.respond(500, {"error": {"message": "no", "type": "server_error"}})
        return
    most = body.get("max_completion_tokens") or body.get("max_tokens") or body.get("max_output_tokens") or 10_000
    if call.path.endswith("/responses"):
        usage = {"input_tokens": 1, "output_tokens": most, "total_tokens": 1 + most}
        call.respond(200, {"id": "r", "object": "response", "status": "completed", "store": False, "output": [], "usage": usage})
    else:
        call.respond(200, chat_body(usage={"prompt_tokens": 1, "completion_tokens": most, "total_tokens": 1 + most}))


def spends_no_more(upstream, models, path, body, attempts=2, **routing):
    amount = 2_000 * OUTPUT
    upstream.answer = as_long_as_it_may
    config = config_for(upstream, models=models, routing=routing, tenants=[
        {"name": "acme", "models": ["*"], "budget": {"amount": f"{amount / 1e9:.9f} USD", "period": "day"},
         "keys": [{"name": "main", "hash": sha256_hash(KEY_ACME)}]}])
    config["providers"] = [provider_for(upstream, retry={"attempts": attempts, "backoff": "1ms", "max_backoff": "5ms"}, health={"mode": "none"})]
    with Sluice(config) as gate:
        answer = gate.post(path, {"model": "fast", **body})
        assert answer.status == 200, answer
        assert 0 < gate.usage_total("cost_nanos") <= amount


@pytest.mark.parametrize("length", [None, 0], ids=["unsaid", "zero"])
@pytest.mark.parametrize("path, body", CALLS, ids=["chat", "completions", "responses"])
def test_what_is_filled_in_is_told_wherever_it_is_reckoned_with(upstream, path, body, length):
    name = "max_output_tokens" if "input" in body else "max_tokens"
    models = [model_for("fast", targets=[{"id": "a", "provider": "up", "model": "m", "price": PRICE, "params": {"max_tokens": 100}}])]
    spends_no_more(upstream, models, path, {**body, **({} if length is None else {name: length})})


@pytest.mark.parametrize("longer", [{}, {"params": {"max_tokens": 5000}}], ids=["unknown", "longer"])
@pytest.mark.parametrize("path, body", CALLS, ids=["chat", "completions", "responses"])
def test_a_fallback_answers_no_longer_than_is_held(upstream, path, body, longer):
    models = [model_for("fast", policy="falls", targets=[
                  {"id": "a", "provider": "up", "model": "broken", "price": PRICE, "params": {"max_tokens": 100}}]),
              model_for("other", targets=[{"id": "b", "provider": "up", "model": "m", "price": PRICE, **longer}])]
    spends_no_more(upstream, models, path, body, policies=[{"name": "falls", "fallback": ["other"]}])


@pytest.mark.parametrize("last", [300, 10_000], ids=["short", "long"])
@pytest.mark.parametrize("said", [{}, {"max_tokens": 9000}], ids=["unsaid", "said"])
def test_every_fallback_is_held_for(upstream, last, said):
    """The second one is dear, and may answer as long as the first, which is cheap."""
    cheap = {**PRICE, "output": PRICE["output"] / 10}
    models = [model_for("fast", policy="falls", targets=[
                  {"id": "a", "provider": "up", "model": "broken", "price": PRICE, "params": {"max_tokens": 100}}]),
              model_for("b", targets=[{"id": "b", "provider": "up", "model": "broken b", "price": cheap, "params": {"max_tokens": 10_000}}]),
              model_for("c", targets=[{"id": "c", "provider": "up", "model": "m", "price": PRICE, "params": {"max_tokens": last}}])]
    spends_no_more(upstream, models, *CALLS[0][:1], {**CALLS[0][1], **said}, attempts=4, policies=[{"name": "falls", "fallback": ["b", "c"]}])
    told = upstream.last().json
    assert 64 <= (told.get("max_completion_tokens") or told["max_tokens"]) <= 2_000


def test_a_fallback_answers_as_long_as_it_does_where_that_can_be_paid(upstream):
    upstream.answer = as_long_as_it_may
    config = config_for(upstream, tenants=[
        {"name": "acme", "models": ["*"], "budget": {"amount": "1 USD", "period": "day"}, "keys": [{"name": "main", "hash": sha256_hash(KEY_ACME)}]}])
    config["models"] = [model_for("fast", policy="falls", targets=[
                            {"id": "a", "provider": "up", "model": "broken", "price": PRICE, "params": {"max_tokens": 100}}]),
                        model_for("other", targets=[{"id": "b", "provider": "up", "model": "m", "price": PRICE, "params": {"max_tokens": 5000}}])]
    config["routing"] = {"policies": [{"name": "falls", "fallback": ["other"]}]}
    config["providers"] = [provider_for(upstream, retry={"attempts": 2, "backoff": "1ms", "max_backoff": "5ms"})]
    with Sluice(config) as gate:
        answer = gate.chat()
        assert answer.status == 200 and answer.header("x-sluice-target") == "b", answer
        assert upstream.last().json["max_completion_tokens"] == 5000 and not answer.header("x-sluice-max-tokens")
