# SPDX-License-Identifier: Apache-2.0
"""Idempotency-Key: the same key and body join the running call or have its answer again, paid once."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import (
    KEY_ACME,
    KEY_ACME_FAST,
    KEY_GLOBEX,
    Sluice,
    chat_body,
    chat_request,
    config_for,
    eventually,
    read_stream,
    sse_events,
    stream_chat,
)
from raw_upstream import openai_answer

pytestmark = pytest.mark.threads


def keyed(key="abc", **more):
    return {"Idempotency-Key": key, **more}


def slow(call, seconds=0.4):
    time.sleep(seconds)
    call.respond(200, chat_body("slow words"))


def test_a_second_call_has_the_answer_of_the_first(gate, upstream):
    first = gate.chat(headers=keyed("one"))
    second = gate.chat(headers=keyed("one"))
    assert first.status == second.status == 200 and first.body == second.body
    assert len(upstream.calls) == 1
    assert second.header("x-sluice-cache") == "hit"
    row = gate.ledger_row(second.header("x-request-id"))
    assert (row["cost_nanos"], row["input_tokens"], row["output_tokens"]) == (0, 0, 0), row
    assert row["saved_nanos"] == gate.ledger_row(first.header("x-request-id"))["cost_nanos"] > 0
    assert second.header("x-request-id") != first.header("x-request-id")


def test_calls_at_once_are_one(gate, upstream):
    upstream.answer = slow
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: gate.chat(headers=keyed("many")), range(16)))
    assert {a.status for a in answers} == {200} and len({a.body for a in answers}) == 1
    assert len(upstream.calls) == 1


@pytest.mark.parametrize("usage", [False, True])
def test_streams_are_joined_live(gate, upstream, usage):
    go = threading.Event()

    def answer(call):
        call.begin_stream()
        call.event({"choices": [{"index": 0, "delta": {"content": "first"}, "finish_reason": None}]})
        go.wait(10)
        stream_chat_rest(call)

    def stream_chat_rest(call):
        call.event({"choices": [{"index": 0, "delta": {"content": "last"}, "finish_reason": "stop"}]})
        if (call.json.get("stream_options") or {}).get("include_usage"):
            call.event({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}})
        call.event("[DONE]")
        call.end_stream()

    upstream.answer = answer
    options = {"stream_options": {"include_usage": True}} if usage else {}
    body = {"model": "fast", "messages": [], "stream": True, **options}
    clients = []
    for _ in range(3):
        client = gate.connect()
        client.send(chat_request(body, headers=keyed(f"stream{usage}")))
        clients.append((client, client.begin_response("POST")))
    pieces = [next(client.pieces(response)) for client, response in clients]
    assert all(b"first" in piece for piece in pieces), pieces  # while the call still runs
    go.set()
    wholes = [piece + read_stream(client, response) for piece, (client, response) in zip(pieces, clients)]
    assert len(set(wholes)) == 1 and wholes[0].endswith(b"data: [DONE]\n\n")
    assert (b'"usage"' in wholes[0]) == usage
    assert len(upstream.calls) == 1
    for client, _ in clients:
        client.close()


def test_another_body_is_a_conflict(gate, upstream):
    assert gate.chat(headers=keyed("conflict")).status == 200
    answer = gate.chat(headers=keyed("conflict"), temperature=0.5)
    assert answer.status == 409
    assert answer.json["error"]["code"] == "idempotency_conflict"
    assert answer.header("x-should-retry") == "false"  # SDKs repeat a 409 by themselves
    assert len(upstream.calls) == 1


def test_tenants_do_not_meet(gate, upstream):
    assert gate.chat(headers=keyed("shared")).status == 200
    other = gate.chat(headers=keyed("shared"), key=KEY_GLOBEX)
    assert other.status == 200 and other.header("x-sluice-cache") is None
    assert len(upstream.calls) == 2


def test_a_call_goes_on_when_its_client_has_gone(gate, upstream):
    upstream.answer = slow
    client = gate.connect()
    client.send(chat_request(headers=keyed("gone")))
    upstream.wait_calls(1)
    client.close()
    again = gate.chat(headers=keyed("gone"), messages=[])
    assert again.status == 200 and "slow words" in again.text
    assert len(upstream.calls) == 1
    eventually(lambda: gate.usage_total("requests", tenant="acme") > 0)


def test_a_failed_call_may_be_tried_again(gate, upstream):
    upstream.answer = lambda call: call.respond(500, {"error": {"message": "broken"}})
    assert gate.chat(headers=keyed("failed")).status == 500
    upstream.answer = openai_answer
    assert gate.chat(headers=keyed("failed")).status == 200
    upstream.answer = lambda call: call.respond(400, {"error": {"message": "bad"}})
    assert gate.chat(headers=keyed("bad")).status == 400
    upstream.answer = openai_answer
    assert gate.chat(headers=keyed("bad")).status == 400  # an answer, too


def test_a_broken_stream_is_tried_again_by_those_who_wait(gate, upstream):
    seen = []

    def answer(call):
        seen.append(call)
        if len(seen) == 1:
            time.sleep(0.3)
            call.reset()
        else:
            stream_chat(call)

    upstream.answer = answer
    body = {"model": "fast", "messages": [], "stream": True}
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: gate.post("/v1/chat/completions", body, headers=keyed("broken")), range(4)))
    good = [a for a in answers if a.status == 200]
    assert len(good) >= 3 and all(sse_events(a.body) for a in good), answers
    assert len(seen) == 2


def test_a_stop_ends_a_call_that_goes_on_alone(upstream):
    upstream.answer = lambda call: call.wait_gone(20)
    config = config_for(upstream, server={**config_for(upstream)["server"], "shutdown": {"drain_delay": "0s", "grace": "1s"}})
    with Sluice(config) as gate:
        clients = []
        for name in ("alone", "alone", "other"):
            client = gate.connect()
            client.send(chat_request(headers=keyed(name)))
            clients.append(client)
        upstream.wait_calls(2)
        for client in clients[1:]:
            client.close()
        assert gate.stop() == 0
        clients[0].close()


def test_an_answer_outlives_a_restart(upstream):
    upstream.answer = openai_answer
    with Sluice(config_for(upstream)) as gate:
        first = gate.chat(headers=keyed("kept"))
        assert first.status == 200
        gate.stop()
        gate.start()
        again = gate.chat(headers=keyed("kept"))
        assert again.body == first.body and again.header("x-sluice-cache") in ("hit", "join")
        assert gate.chat(headers=keyed("kept"), temperature=1).status == 409


def test_tenants_do_not_meet_at_the_provider(gate, upstream):
    """It knows one account: the same key of two tenants must be two there, and that of one always the same. (Of
    uploads, because nothing is kept of those here.)"""
    upstream.answer = lambda call: call.respond(200, {"id": "file-1", "object": "file"})
    form = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n{}\r\n--x--\r\n'
    seen = []
    for key, name in ((KEY_ACME, "k1"), (KEY_GLOBEX, "k1"), (KEY_ACME, "k2"), (KEY_ACME_FAST, "k1")):
        headers = keyed(name) | {"Content-Type": "multipart/form-data; boundary=x"}
        assert gate.post("/v1/files", form, key=key, headers=headers).status == 200
        seen.append(upstream.last().fields.all("idempotency-key"))
    assert all(len(names) == 1 and names[0] not in ("k1", "k2") for names in seen), seen
    acme, globex, other, same = (names[0] for names in seen)
    assert acme == same and len({acme, globex, other}) == 3
