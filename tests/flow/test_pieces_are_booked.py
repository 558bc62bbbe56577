# SPDX-License-Identifier: Apache-2.0
"""What is charged by the piece - pictures, characters, seconds, searches - is booked also where the answer does not say
how many there were, and whoever gave the call up."""

import json

import pytest
from harness import KEY_ACME, PRICE, Sluice, config_for, eventually, provider_for, request_bytes, sha256_hash

UNIT = 100_000  # nano-dollars per piece
FORM = {"Content-Type": "multipart/form-data; boundary=x"}


def form(*fields):
    parts = [f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields]
    return ("".join(parts) + "--x--\r\n").encode()


def respond(**answer):
    return lambda call: call.respond(200, json.dumps(answer).encode())


def target(name="a", unit=UNIT, **more):
    return {"id": name, "provider": "up", "model": name, "price": {"unit": unit / 1e9}, **more}


def gate_for(upstream, *targets, budget=None, provider=None, **tenant):
    tenant = {"name": "acme", "models": ["*"], "keys": [{"name": "main", "hash": sha256_hash(KEY_ACME)}], **tenant}
    if budget is not None:
        tenant["budget"] = {"amount": f"{budget / 1e9:.9f} USD", "period": "month", **tenant.pop("on", {})}
    return Sluice(config_for(upstream, tenants=[tenant], models=[{"name": "fast", "targets": list(targets) or [target()]}],
                             providers=[provider_for(upstream, **(provider or {}))]))


def post(gate, path, body):
    return gate.post(path, body, headers=FORM if isinstance(body, bytes) else ())


def booked(gate, answer):
    assert answer.status == 200, answer
    return gate.ledger_row(answer.header("x-request-id"))


def begin(gate, path, body):
    client = gate.connect()
    kind = FORM["Content-Type"] if isinstance(body, bytes) else "application/json"
    client.send(request_bytes("POST", path, [("Authorization", f"Bearer {KEY_ACME}"), ("Content-Type", kind)], body))
    return client


PICTURES = ("/v1/images/generations", {"model": "fast", "prompt": "x", "n": 2})
WORDS = ("/v1/audio/speech", {"model": "fast", "input": "x" * 1000, "voice": "v"})
DOCUMENTS = ("/v1/rerank", {"model": "fast", "query": "q", "documents": ["a"] * 250})
SOUND = ("/v1/audio/transcriptions", form(("model", "fast"), ("file", "z" * 20_000)))
PAINTED = ("/v1/images/edits", form(("model", "fast"), ("n", "2"), ("image", "z")))


@pytest.mark.parametrize("call, pieces", [(PICTURES, 2), (WORDS, 1000), (DOCUMENTS, 3)], ids=["pictures", "words", "documents"])
def test_a_try_that_was_given_up_made_them(upstream, call, pieces):
    upstream.answer = lambda it: it.wait_gone(10) if it.json["model"] == "slow" else it.respond(200, b"{}")
    provider = {"timeouts": {"connect": "2s", "first_byte": "300ms"}, "retry": {"attempts": 2, "backoff": "1ms"}}
    with gate_for(upstream, target("slow", priority=1), target("ok", priority=2), provider=provider) as gate:
        answer = post(gate, *call)
        assert booked(gate, answer)["target"] == "ok"
        rows = eventually(lambda: len(gate.ledger_rows()) == 2 and gate.ledger_rows())
        assert [(row["units"], row["cost_nanos"]) for row in rows] == [(pieces, pieces * UNIT)] * 2


def test_tries_that_were_given_up_stay_within_a_budget(upstream):
    upstream.answer = lambda it: it.wait_gone(10) if it.json["model"] == "slow" else it.respond(200, b"{}")
    provider = {"timeouts": {"connect": "2s", "first_byte": "300ms"}, "retry": {"attempts": 2, "backoff": "1ms"},
                "health": {"mode": "none"}}
    with gate_for(upstream, target("slow", priority=1), target("ok", priority=2), provider=provider, budget=8 * UNIT) as gate:
        statuses = [post(gate, *PICTURES).status for _ in range(4)]
        assert statuses == [200, 200, 429, 429]
        assert len(upstream.calls) == 4 and gate.usage_total("cost_nanos") == 8 * UNIT


def test_a_background_response_that_was_given_up_is_booked_as_the_most(upstream):
    upstream.answer = lambda it: (it.wait_gone(10) if it.json["model"] == "slow" else
                                  it.respond(200, {"id": "resp_1", "object": "response", "status": "queued", "usage": None, "output": []}))
    provider = {"timeouts": {"connect": "2s", "first_byte": "300ms"}, "retry": {"attempts": 2, "backoff": "1ms"}}
    targets = [target("slow", priority=1), target("ok", priority=2)]
    with gate_for(upstream, *[{**t, "price": PRICE} for t in targets], provider=provider) as gate:
        answer = gate.post("/v1/responses", {"model": "fast", "input": "x", "background": True, "max_output_tokens": 10_000})
        assert booked(gate, answer)["target"] == "ok"
        rows = eventually(lambda: len(gate.ledger_rows()) == 2 and gate.ledger_rows())
        assert [row["output_tokens"] for row in rows] == [10_000, 10_000]


@pytest.mark.parametrize("budget", [None, 100_000_000_000], ids=["no budget", "budget"])
def test_the_most_of_a_background_response_is_the_same_with_a_budget(upstream, budget):
    """Three searches of the provider's may read the target's window each, and a prompt by its name is as long as that."""
    upstream.answer = respond(id="resp_1", object="response", status="queued", usage=None, output=[])
    window = 128_000
    body = {"model": "fast", "input": "x", "background": True, "max_output_tokens": 1000}
    with gate_for(upstream, target(price={**PRICE, "search": 0}, context_window=window), budget=budget) as gate:
        searching = gate.post("/v1/responses", {**body, "tools": [{"type": "web_search"}], "max_tool_calls": 3})
        assert 4 * window < booked(gate, searching)["input_tokens"] < 5 * window
        named = gate.post("/v1/responses", {**body, "prompt": {"id": "pmpt_1"}})
        assert window < booked(gate, named)["input_tokens"] < 2 * window


@pytest.mark.parametrize("answer", [{}, {"usage": {"total_tokens": 100}}], ids=["nothing", "tokens"])
def test_a_ranking_is_of_a_hundred_documents_each(upstream, answer):
    upstream.answer = respond(results=[], **answer)
    with gate_for(upstream) as gate:
        for documents, searches in ((1, 1), (100, 1), (101, 2)):
            said = gate.post("/v1/rerank", {"model": "fast", "query": "q", "documents": ["a"] * documents})
            assert booked(gate, said)["units"] == searches


def test_who_leaves_a_ranking_pays_for_it(upstream):
    def answer(call):
        call.head(200, {"content-type": "application/json", "content-length": "1000"})
        call.send(b'{"results":[')
        call.wait_gone(10)
    upstream.answer = answer
    with gate_for(upstream) as gate:
        client = begin(gate, *DOCUMENTS)
        upstream.wait_calls(1)
        client.close()
        row, = eventually(gate.ledger_rows)
        assert (row["outcome"], row["units"], row["cost_nanos"]) == ("partial", 3, 3 * UNIT)


@pytest.mark.parametrize("call, pieces", [
    (PICTURES, 2), (WORDS, 1000), (DOCUMENTS, len(json.dumps(DOCUMENTS[1])) // 300 + 1),
    (SOUND, len(SOUND[1]) // 256 + 1), (PAINTED, 2),
], ids=["pictures", "words", "documents", "sound", "a form of pictures"])
def test_what_was_open_when_all_ended_is_booked_as_it_was_held(upstream, call, pieces):
    upstream.answer = lambda it: it.wait_gone(30)
    with gate_for(upstream) as gate:
        client = begin(gate, *call)
        upstream.wait_calls(1)
        gate.kill()
        client.close()
        gate.may_crash = True
        gate.start()
        row, = eventually(gate.ledger_rows)
        assert row["outcome"] == "lost"
        assert (row["units"], row["cost_nanos"]) == (pieces, pieces * UNIT)


@pytest.mark.parametrize("call, answer, budget", [
    (SOUND, {"text": "hi", "usage": {"type": "duration", "seconds": 10}}, 1000),
    (DOCUMENTS, {"results": [], "meta": {"billed_units": {"search_units": 3}}}, 100),
], ids=["sound", "documents"])
def test_a_spent_budget_sends_them_to_the_cheapest(upstream, call, answer, budget):
    upstream.answer = respond(**answer)
    targets = target("dear", 10 * UNIT, priority=1), target("cheap", priority=2)
    with gate_for(upstream, *targets, budget=budget * UNIT, on={"on_exceeded": "degrade"}) as gate:
        asked = [post(gate, *call).header("x-sluice-target") for _ in range(4)]
        assert (asked[0], asked[-1]) == ("dear", "cheap"), asked


@pytest.mark.parametrize("fields", [
    (("model", "fast"), ("user", "bob"), ("n", "1"), ("image", "z")),
    (("model", "fast"), ("image", "z" * 300_000), ("n", "1"), ("user", "bob")),
], ids=["at once", "at the end"])
def test_the_user_of_a_form_has_limits(upstream, fields):
    upstream.answer = respond(created=1, data=[{"url": "x"}])
    budget = {"amount": f"{2.5 * UNIT / 1e9:.9f} USD", "period": "day"}
    with gate_for(upstream, users={"budget": budget}) as gate:
        answers = [post(gate, "/v1/images/edits", form(*fields)) for _ in range(4)]
        assert [answer.status for answer in answers] == [200, 200, 429, 429]
        assert booked(gate, answers[0])["user"] == "bob"
        other = tuple((name, "eve" if name == "user" else value) for name, value in fields)
        assert post(gate, "/v1/images/edits", form(*other)).status == 200
        assert all(b"bob" in call.body or b"eve" in call.body for call in upstream.calls)


def test_a_form_of_sound_goes_up_before_its_end_also_where_users_have_limits(upstream):
    users = {"limits": {"requests_per_day": 1}}
    body = form(("model", "fast"), ("user", "bob"), ("file", "z" * 300_000), ("user2", "x"))
    unsaid = form(("model", "fast"), ("file", "z" * 300_000), ("user", "bob"))
    upstream.answer = respond(text="hi", usage={"type": "duration", "seconds": 3})
    with gate_for(upstream, users=users) as gate:
        assert [post(gate, SOUND[0], body).status for _ in range(2)] == [200, 429]
        assert not booked(gate, post(gate, SOUND[0], unsaid))["user"], "it was let in before that was read"
    heads = []
    upstream.on_head = heads.append
    with gate_for(upstream, users=users) as gate:
        whole = request_bytes("POST", SOUND[0], [("Authorization", f"Bearer {KEY_ACME}"), ("Content-Type", FORM["Content-Type"])], unsaid)
        with gate.connect() as client:
            client.send(whole[:-100_000])
            eventually(lambda: heads)
            client.send(whole[-100_000:])
            assert client.read_response().status == 200


@pytest.mark.parametrize("user", [(("user", "a"), ("user", "b")), (("user", "a" * 256),), (("user", "a\0b"),)],
                         ids=["two", "too long", "a character that is none"])
def test_a_form_says_its_user_plainly(upstream, user):
    with gate_for(upstream) as gate:
        answer = post(gate, "/v1/images/edits", form(*user, ("model", "fast"), ("image", "z")))
        assert (answer.status, answer.json["error"]["param"]) == (400, "user"), answer
        assert not upstream.calls


@pytest.mark.parametrize("words", ["hi", "日本語" * 100, "\U0001f600 \\ \n"])
@pytest.mark.parametrize("escaped", [False, True])
def test_speech_is_booked_by_its_characters(upstream, words, escaped):
    upstream.answer = lambda call: call.respond(200, b"\0" * 3000, content_type="audio/mpeg")
    body = json.dumps({"model": "fast", "input": words, "voice": "v"}, ensure_ascii=escaped).encode()
    with gate_for(upstream) as gate:
        row = booked(gate, gate.post("/v1/audio/speech", body))
        assert (row["units"], row["cost_nanos"]) == (len(words), len(words) * UNIT)


@pytest.mark.parametrize("kind, seconds", [("audio/mpeg", 5), ("audio/wav", 80_000 / 48_000)])
def test_speech_in_tokens_is_booked_by_its_length(upstream, kind, seconds):
    upstream.answer = lambda call: call.respond(200, b"\0" * 80_000, content_type=kind)
    price = {"input": 0, "output": 10, "audio_output": 12}
    with gate_for(upstream, target(price=price)) as gate:
        row = booked(gate, gate.post("/v1/audio/speech", {"model": "fast", "input": "a sentence of five seconds", "voice": "v"}))
        assert row["output_tokens"] == row["audio_output_tokens"] == pytest.approx(20 * seconds, abs=1)
        assert row["cost_nanos"] == row["output_tokens"] * 12_000


def test_speech_that_tells_its_tokens_is_sound_and_within_the_budget(upstream):
    def answer(call):
        call.begin_stream()
        call.event({"type": "speech.audio.delta", "audio": "A" * 4000})
        call.event({"type": "speech.audio.done", "usage": {"input_tokens": 1000, "output_tokens": 6000, "total_tokens": 7000}})
        call.end_stream()
    upstream.answer = answer
    body = {"model": "fast", "input": "hello " * 600, "voice": "v", "stream_format": "sse"}
    price = {"input": 2.5, "output": 10, "audio_output": 12}
    costs = 1000 * 2500 + 6000 * 12_000
    with gate_for(upstream, target(price=price), budget=costs - 1) as gate:
        assert gate.post("/v1/audio/speech", body).status == 429
    with gate_for(upstream, target(price=price)) as gate:
        assert booked(gate, gate.post("/v1/audio/speech", body))["cost_nanos"] == costs


@pytest.mark.parametrize("words, tokens", [("hello " * 600, 3600 * 3), ("1234567890" * 300, 3000 * 8)], ids=["words", "digits"])
def test_speech_in_tokens_is_held_by_what_is_spoken(upstream, words, tokens):
    upstream.answer = lambda call: call.respond(200, b"\0" * 8000, content_type="audio/mpeg")
    body = {"model": "fast", "input": words, "voice": "v"}
    price = {"input": 0, "output": 10, "audio_output": 12}
    for budget, status in ((tokens * 12_000 - 1, 429), (tokens * 12_000, 200)):
        with gate_for(upstream, target(price=price), budget=budget) as gate:
            assert gate.post("/v1/audio/speech", body).status == status


@pytest.mark.parametrize("duration, seconds", [(8.47, 9), ("8.47", 9), (8, 8)])
def test_a_transcript_that_tells_its_duration(upstream, duration, seconds):
    upstream.answer = respond(task="transcribe", language="english", duration=duration, text="hi", segments=[])
    with gate_for(upstream) as gate:
        assert booked(gate, post(gate, *SOUND))["cost_nanos"] == seconds * UNIT


@pytest.mark.parametrize("path, body", [
    ("/v1/embeddings", {"input": [{"image": "https://x/a.png"}] * 2}),
    ("/v1/chat/completions", {"max_tokens": 10, "messages": [
        {"role": "user", "content": [{"type": "audio_url", "audio_url": {"url": "https://x/a.mp3"}}]}]}),
], ids=["pictures", "sound"])
def test_what_stands_elsewhere_is_held_for(upstream, path, body):
    with gate_for(upstream, target(price={"input": 1, "output": 4}), budget=80_000 * 1000) as gate:
        assert gate.post(path, {"model": "fast", **body}).status == 429
        assert not upstream.calls
