# SPDX-License-Identifier: Apache-2.0
"""An answer that broke off is continued: what goes up, what comes down, what is booked; and fallbacks of a policy."""

import json
import threading

import pytest
from harness import (
    PRICE,
    Background,
    Sluice,
    Upstream,
    chat_body,
    chat_chunk,
    config_for,
    provider_for,
    sse_events,
    stream_chat,
)
from raw_client import Closed

pytestmark = pytest.mark.threads
SECOND = Upstream()
USAGE = {"prompt_tokens": 30, "completion_tokens": 5, "total_tokens": 35}


def configure(upstream):
    retry = {"attempts": 3, "backoff": "1ms"}
    config = config_for(upstream)
    config["providers"] = [provider_for(server, name, retry=retry, health={"mode": "none"}, timeouts={"first_byte": "2s"})
                           for name, server in (("first", upstream), ("second", SECOND))]

    def model(name, prefill, policy="plain", **more):
        second = {"id": f"{name}-2", "provider": "second", "model": "two", "priority": 2, "price": PRICE, "prefill": prefill}
        return {"name": name, "policy": policy, **more, "targets": [
            {"id": f"{name}-1", "provider": "first", "model": "one", "priority": 1, "price": PRICE}, second]}

    config["models"] = [
        model("assistant", "assistant"), model("prefix", "prefix"), model("continue", "continue"),
        model("none", "none"), model("forbidden", "assistant", "strict"),
        {"name": "falls-back", "policy": "falling", "targets": [
            {"id": "falls-1", "provider": "first", "model": "one", "price": PRICE}]},
        {"name": "spare", "targets": [{"id": "spare-1", "provider": "second", "model": "spare", "price": PRICE}]},
    ]
    config["routing"] = {"policies": [
        {"name": "plain", "strategy": "priority"}, {"name": "strict", "strategy": "priority", "resume": False},
        {"name": "falling", "strategy": "priority", "fallback": ["spare"]}]}
    return config


@pytest.fixture(autouse=True)
def fresh():
    SECOND.forget()
    SECOND.answer = go_on
    yield
    assert not SECOND.violations and not SECOND.failures


@pytest.fixture(scope="module", autouse=True)
def end():
    yield
    SECOND.stop()


def break_off(*deltas):
    def answer(call):
        call.begin_stream()
        call.event(chat_chunk({"role": "assistant", "content": ""}))
        for delta in deltas or ({"content": 'Once "upon'}, {"content": " a\n"}):
            call.event(chat_chunk(delta))
        import time

        time.sleep(0.1)
        call.reset()

    return answer


def going_on(*pieces):
    def answer(call):
        call.begin_stream()
        call.event(chat_chunk({"role": "assistant", "content": ""}))
        for piece in pieces:
            call.event(chat_chunk({"content": piece}))
        call.event({**chat_chunk({}), "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        call.event({**chat_chunk({}), "choices": [], "usage": USAGE})
        call.event("[DONE]")
        call.end_stream()

    return answer


go_on = going_on("time")


def read(gate, model, **fields):
    client, response = gate.open_stream(model, **{"messages": [{"role": "user", "content": "Tell"}], **fields})
    pieces = []
    with client:
        try:
            for piece in client.pieces(response):
                pieces.append(piece)
        except Closed:
            pass
    return response, [json.loads(event) if event != "[DONE]" else event for event in sse_events(b"".join(pieces))]


def text_of(events):
    return "".join(choice["delta"].get("content") or "" for event in events if event != "[DONE]"
                   for choice in event.get("choices", []))


@pytest.mark.parametrize("way", ["assistant", "prefix", "continue"])
def test_what_was_said_goes_up_and_what_comes_is_appended(gate, upstream, way):
    upstream.answer = break_off()
    response, events = read(gate, way)
    assert text_of(events) == 'Once "upon a\ntime' and events[-1] == "[DONE]", events
    roles = [event for event in events if event != "[DONE]" and event["choices"] and "role" in event["choices"][0]["delta"]]
    assert len(roles) == 1, "a second beginning"
    asked = SECOND.last().json
    said = 'Once "upon a' if way == "assistant" else 'Once "upon a\n'  # Claude takes no white space at the end
    last = {"role": "assistant", "content": said, **({"prefix": True} if way == "prefix" else {})}
    assert asked["messages"] == [{"role": "user", "content": "Tell"}, last] and asked["model"] == "two", asked
    assert (asked.get("continue_final_message"), asked.get("add_generation_prompt")) == (
        (True, False) if way == "continue" else (None, None))
    row = gate.ledger_row(response.header("x-request-id"))
    assert (row["target"], row["outcome"], row["attempts"], row["input_tokens"]) == (f"{way}-2", "complete", 2, 30), row


BLANKS = [  # what was said, what comes then in pieces, and what the client has
    ("a\n", ["\ntime"], "a\ntime"),
    ("a\n", ["\n", "\ntime"], "a\n\ntime"),
    ("a ", ["\ntime"], "a time"),
    ("a:\n    ", ["\n", "    b", " c"], "a:\n    b c"),
    ("a:\n  ", ["\n\n", "b"], "a:\n  b"),
    ("a\\n ", ["b"], "a\\n b"),
    ("a\t", ["\t", "", " b"], "a\t b"),
    ("a", [" b"], "a b"),
    (" \n", ["\n", "Once"], " \nOnce"),
]


@pytest.mark.parametrize("said, comes, whole", BLANKS)
def test_white_space_at_the_break_is_there_once(gate, upstream, said, comes, whole):
    upstream.answer = break_off({"content": said})
    SECOND.answer = going_on(*comes)
    _, events = read(gate, "assistant")
    assert text_of(events) == whole and events[-1] == "[DONE]", events
    last = SECOND.last().json["messages"][-1]
    if said.strip():
        assert last == {"role": "assistant", "content": said.rstrip()}, last
    else:  # nobody goes on with nothing
        assert last["role"] == "user", last


@pytest.mark.parametrize("delta", [{"role": "assistant", "content": "time"}, {"content": "time", "role": "assistant"}])
def test_who_speaks_is_said_once(gate, upstream, delta):
    """Also where the one that goes on says it together with its first words."""
    def answer(call):
        call.begin_stream()
        call.event(chat_chunk(delta))
        call.event(chat_chunk({}, "stop"))
        call.event("[DONE]")
        call.end_stream()

    upstream.answer, SECOND.answer = break_off(), answer
    _, events = read(gate, "assistant")
    assert text_of(events) == 'Once "upon a\ntime' and events[-1] == "[DONE]", events
    assert json.dumps(events).count('"role"') == 1, events


def test_a_message_of_anthropics_begins_once(gate, upstream):
    """What goes on is translated: all of it may come in one piece."""
    upstream.answer, SECOND.answer = break_off(), going_on("time", "!")
    answer = gate.post("/v1/messages", {"model": "assistant", "stream": True, "max_tokens": 99,
                                        "messages": [{"role": "user", "content": "Tell"}]})
    events = [json.loads(event) for event in sse_events(answer.body)]
    types = [event["type"] for event in events]
    assert (types.count("message_start"), types.count("content_block_start")) == (1, 1), types
    assert "".join(event["delta"]["text"] for event in events if event["type"] == "content_block_delta") == 'Once "upon a\ntime!'
    assert types[-1] == "message_stop", types


def test_a_target_in_anthropics_words_goes_on_without_white_space(upstream):
    def claude(call):
        call.begin_stream()
        for event in ({"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant", "model": "two", "content": [],
                                                            "stop_reason": None, "usage": {"input_tokens": 30, "output_tokens": 1}}},
                      {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
                      {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "\n    return 1"}},
                      {"type": "content_block_stop", "index": 0},
                      {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}}, {"type": "message_stop"}):
            call.chunk(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
        call.end_stream()

    config = configure(upstream)
    config["providers"][1] |= {"type": "anthropic", "base_url": SECOND.url.removesuffix("/v1")}
    config["models"] = [model for model in config["models"] if model["name"] in ("assistant", "spare")]
    upstream.answer = break_off({"content": "def f():\n"}, {"content": "    "})
    SECOND.answer = claude
    with Sluice(config) as gate:
        _, events = read(gate, "assistant")
    assert text_of(events) == "def f():\n    return 1" and events[-1] == "[DONE]", events
    last = SECOND.last().json["messages"][-1]
    assert last["role"] == "assistant" and "def f():" in json.dumps(last) and "\\n" not in json.dumps(last), last


@pytest.mark.parametrize("model", ["none", "forbidden"])
def test_where_it_is_not_known_or_not_allowed_the_stream_ends_in_an_error(gate, upstream, model):
    upstream.answer = break_off()
    _, events = read(gate, model)
    assert "error" in events[-1] and not SECOND.calls, events


CALL = {"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{"}}]}


@pytest.mark.parametrize("deltas", [[CALL], [{"content": "a"}, CALL], [{"reasoning_content": "hm"}, {"content": "a"}]])
def test_what_cannot_be_said_again_is_not_continued(gate, upstream, deltas):
    upstream.answer = break_off(*deltas)
    _, events = read(gate, "assistant")
    assert "error" in events[-1] and not SECOND.calls, events


def test_one_choice_of_several_is_not_continued(gate, upstream):
    """The others have not begun: nobody knows what stands before what they would go on with."""
    upstream.answer = break_off()
    _, events = read(gate, "assistant", n=2)
    assert not SECOND.calls and "error" in events[-1], events


def test_one_that_does_not_go_on_ends_it_well_formed(gate, upstream):
    upstream.answer = break_off()
    SECOND.answer = lambda call: call.respond(400, {"error": {"message": "does not support assistant message prefill"}})
    response, events = read(gate, "assistant")
    assert response.status == 200 and text_of(events[:-1]) == 'Once "upon a\n' and "error" in events[-1], events
    assert len(SECOND.calls) == 1


def test_one_that_breaks_off_again_ends_it_well_formed(gate, upstream):
    upstream.answer = break_off()
    SECOND.answer = break_off({"content": "time"})
    _, events = read(gate, "assistant")
    assert text_of(events[:-1]) == 'Once "upon a\ntime' and "error" in events[-1], events


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status, body", [(500, {}), (400, {"error": {"code": "context_length_exceeded"}}),
                                          (400, {"error": {"code": "content_filter"}})])
def test_a_policy_falls_back(gate, upstream, status, body, stream):
    upstream.answer = lambda call: call.respond(status, body)
    SECOND.answer = go_on if stream else lambda call: call.respond(200, chat_body("from the spare"))
    answer = gate.chat("falls-back", stream=stream)
    assert answer.status == 200, answer
    assert answer.header("x-sluice-target") == "spare-1" and answer.header("x-sluice-model") == "falls-back", answer
    row = gate.ledger_row(answer.header("x-request-id"))
    assert (row["model"], row["target"], row["attempts"]) == ("falls-back", "spare-1", 2), row


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize("code", ["context_length_exceeded", "content_filter"])
def test_a_policy_falls_back_on_a_refusal_inside_a_stream(gate, upstream, path, code):
    """In the client's words and in others: nothing of it has gone, and nobody has failed."""
    def refuse(call):
        call.begin_stream()
        call.event({"error": {"message": f"no: {code}", "type": "invalid_request_error", "code": code}})
        call.end_stream()

    def failures():
        return gate.metric("sluice_upstream_attempts_total", target="falls-1", result="target_error")

    upstream.answer, before = refuse, failures()
    for _ in range(4):  # so many failures would open a circuit
        answer = gate.post(path, {"model": "falls-back", "stream": True, "max_tokens": 9,
                                  "messages": [{"role": "user", "content": "Hi"}]})
        assert answer.status == 200 and b"time" in answer.body and b"error" not in answer.body, answer
        assert (answer.header("x-sluice-target"), answer.header("x-sluice-attempts")) == ("spare-1", "2"), answer
    assert failures() == before


def test_a_fallback_that_fails_too_ends_it(gate, upstream):
    upstream.answer = SECOND.answer = lambda call: call.respond(500, {"error": {"message": "x"}})
    answer = gate.chat("falls-back")
    assert answer.status in (500, 503) and len(upstream.calls) == 1 == len(SECOND.calls), answer


def test_a_fallback_that_cannot_go_on_does_not_begin_anew(upstream):
    """The one that could is full: what the fallback says does not belong behind what was said."""
    upstream.answer = break_off()
    free = threading.Event()

    def wait(call):
        free.wait(60)
        call.respond(200, chat_body("at last"))

    with Upstream(lambda call: stream_chat(call)) as spare:
        config = configure(upstream)
        config["providers"].append(provider_for(spare, "third"))
        config["models"][0]["policy"] = "falling"
        config["models"][0]["targets"][1]["limits"] = {"concurrent": 1}
        config["models"][-1]["targets"][0]["provider"] = "third"
        config["routing"]["rules"] = [{"when": {"user": ["waits"]}, "use": {"targets": ["assistant-2"]}}]
        SECOND.answer = wait
        with Sluice(config) as gate:
            first = Background(lambda: gate.chat("assistant", user="waits", options={"timeout": 60}))
            SECOND.wait_calls(1)
            _, events = read(gate, "assistant")
            free.set()
            assert first.result().status == 200
        assert text_of(events[:-1]).startswith('Once "upon a') and "error" in events[-1], events
        assert not spare.calls, spare.calls


def test_budgets_hold_with_fallbacks_and_resumed_answers(upstream):
    """What is held covers all of it; what there is no room for is not asked."""
    upstream.answer = break_off({"content": "word " * 50})
    config = configure(upstream)
    config["tenants"] = [{"name": "acme", "models": ["*"], "keys": config["tenants"][0]["keys"][:1],
                          "budget": {"amount": "0.004000000 USD", "period": "month"}}]
    with Sluice(config) as gate:
        for _ in range(12):
            read(gate, "assistant", max_tokens=200)
        assert gate.stop() == 0
        rows = gate.ledger_rows()
    assert 0 < sum(row["cost_nanos"] for row in rows) <= 4000000, rows
    assert any("abandoned=1" in row["tags"] for row in rows)
