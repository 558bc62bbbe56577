# SPDX-License-Identifier: Apache-2.0
"""A stream is asked for its usage; the extra chunk is hidden from a client that did not ask."""

import json

import pytest
from harness import USAGE, chat_chunk, sse_events, stream_chat

ASKS = {
    "nothing": (None, False),
    "null": ("null", False),
    "empty": ("{}", False),
    "false": ('{"include_usage":false}', False),
    "escaped": (r'{"include\u005fusage":false}', False),
    "another": ('{"include_obfuscation":false}', False),
    "another and false": ('{ "include_usage" : false , "include_obfuscation":true }', False),
    "true": ('{"include_usage":true}', True),
    "true and another": ('{"include_obfuscation":false,"include_usage": true}', True),
}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
@pytest.mark.parametrize("ask", ASKS)
def test_the_usage_chunk(gate, upstream, path, ask):
    written, asked = ASKS[ask]
    upstream.answer = stream_chat
    option = f',"stream_options":{written}' if written else ""
    body = '{"model":"fast","messages":[],"stream":true%s,"x":1.50}' % option
    answer = gate.post(path, body, headers={"Content-Type": "application/json"})
    assert answer.status == 200 and answer.header("content-type").startswith("text/event-stream")
    sent = upstream.last().json
    assert sent["stream_options"]["include_usage"] is True
    original = json.loads(body)
    original["model"] = "upstream-model"
    others = {k: v for k, v in (original.pop("stream_options", None) or {}).items() if k != "include_usage"}
    assert {k: v for k, v in sent.pop("stream_options").items() if k != "include_usage"} == others
    assert sent == original and b'"x":1.50' in upstream.last().body
    events = sse_events(answer.body)
    assert events[-1] == "[DONE]"
    usages = [json.loads(event) for event in events[:-1] if json.loads(event).get("usage")]
    assert len(usages) == (1 if asked else 0), events
    row = gate.ledger_row(answer.header("x-request-id"))
    assert (row["input_tokens"], row["output_tokens"]) == (USAGE["prompt_tokens"], USAGE["completion_tokens"])


def test_a_client_that_asks_gets_the_stream_unchanged(gate, upstream):
    sent = []

    def answer(call):
        original, call.send = call.send, lambda data: (sent.append(data), original(data))
        stream_chat(call)

    upstream.answer = answer
    got = gate.chat(stream=True, stream_options={"include_usage": True})
    chunks = b"".join(sent).partition(b"\r\n\r\n")[2]
    body = b""
    while chunks:
        size, _, chunks = chunks.partition(b"\r\n")
        body, chunks = body + chunks[: int(size, 16)], chunks[int(size, 16) + 2 :]
    assert got.body == body


def test_usage_beside_content_is_not_hidden(gate, upstream):
    """Some servers put the usage into the last chunk that has a choice."""

    def answer(call):
        call.begin_stream()
        call.event(chat_chunk({"content": "all"}, finish="stop", usage=USAGE))
        call.event("[DONE]")
        call.end_stream()

    upstream.answer = answer
    got = gate.chat(stream=True)
    events = sse_events(got.body)
    assert len(events) == 2 and json.loads(events[0])["usage"] == USAGE
    assert gate.ledger_row(got.header("x-request-id"))["output_tokens"] == USAGE["completion_tokens"]


def test_an_unstreamed_call_is_not_asked(gate, upstream):
    got = gate.chat()
    assert "stream_options" not in upstream.last().json
    assert got.json["usage"] == USAGE


def test_responses_know_no_stream_options(gate, upstream):
    done = {"type": "response.completed", "response": {"id": "resp_2", "usage": {
        "input_tokens": 20, "output_tokens": 6, "input_tokens_details": {"cached_tokens": 4}}}}

    def answer(call):
        call.begin_stream()
        call.chunk(b'event: response.created\ndata: {"type":"response.created","response":{"id":"resp_2"}}\n\n')
        call.chunk(b"event: response.completed\ndata: " + json.dumps(done).encode() + b"\n\n")
        call.end_stream()

    upstream.answer = answer
    got = gate.post("/v1/responses", {"model": "fast", "input": "x", "stream": True})
    assert "stream_options" not in upstream.last().json
    assert [json.loads(e)["type"] for e in sse_events(got.body)] == ["response.created", "response.completed"]
    row = gate.ledger_row(got.header("x-request-id"))
    assert (row["input_tokens"], row["cached_tokens"], row["output_tokens"]) == (20, 4, 6)
