# SPDX-License-Identifier: Apache-2.0
"""Sixteen ways in which a provider fails, each met by a client of OpenAI's and one of Anthropic's, streamed and whole:
there is an answer, or an error that cannot be taken for one; and the ledger holds what the providers counted."""

import itertools
import json
import time

import pytest
from harness import KEY_ACME, PRICE, Mock, Sluice, chat_request, config_for, eventually, provider_for, sse_events
from raw_client import Closed, request_bytes

SEQUENCE = itertools.count(1000)
CLIENTS = ("openai", "anthropic")
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
EITHER = pytest.mark.parametrize("client", CLIENTS)
STREAMED = pytest.mark.parametrize("stream", [True], ids=["streamed"])

# A model of the gateway's for each word of the mock's: two targets, the second at another provider.
WORDS = {
    "limited": "429-retry-after-7",
    "limited-briefly": "429-retry-after-1+first-1",
    "limited-silently": "429",
    "single-500": "500+first-1",
    "dead": "503",
    "reset": "reset",
    "silent": "stall-head",
    "slow": "slow-20s",
    "late": "late-20s",
    "cut": "cut-5+tokens-40+rate-200",
    "stalled": "stall-5+tokens-40+rate-200",
    "bad-event": "bad-event-3+tokens-12",
    "no-done": "no-done+tokens-12",
    "short": "short+tokens-12+rate-200",
    "error-first": "error-mid-1",
    "too-long": "context",
    "filtered": "filter",
    "flapping": "503+flap-2s",
}


def target(name, provider, model, priority, **more):
    return {"id": f"{name}-{provider}", "provider": provider, "model": model, "priority": priority, "price": PRICE, **more}


def word_for(words):
    """A name of its own at the mock, which counts by names."""
    return f"mock/{words}" if "tokens" in words else f"mock/{words}+tokens-{next(SEQUENCE) % 400 + 9}"


def models():
    found = []
    for name, words in WORDS.items():
        for variant in itertools.product(CLIENTS, ("whole", "streamed")):
            full = "-".join((name, *variant))
            word, other = word_for(words), word_for(words)
            found.append({"name": full, "targets": [
                target(full, "first", word, 1, context_window=8000),
                target(full, "second", "mock/tokens-20", 2, context_window=100000, prefill="assistant")]})
            found.append({"name": f"alone-{full}", "targets": [target(f"alone-{full}", "first", other, 1)]})
            if name == "cut":
                found.append({"name": f"refused-{full}", "targets": [
                    target(f"refused-{full}", "first", word, 1),
                    target(f"refused-{full}", "second", "mock/no-prefill", 2, prefill="assistant"),
                    target(f"refused-{full}", "third", "mock/tokens-20", 3, prefill="assistant")]})
                found.append({"name": f"refused-by-all-{full}", "targets": [
                    target(f"refused-by-all-{full}", "first", word, 1),
                    target(f"refused-by-all-{full}", "second", "mock/no-prefill", 2, prefill="assistant")]})
    both = {"name": "all-dead", "targets": [target("all-dead", "first", "mock/503", 1),
                                            target("all-dead", "second", "mock/503", 2)]}
    return [*found, both]


@pytest.fixture(scope="module")
def mocks():
    with Mock() as first, Mock() as second:
        yield {"first": first, "second": second, "third": second}


@pytest.fixture(scope="module")
def gate(mocks):
    retry = {"attempts": 2, "backoff": "20ms", "max_backoff": "2s"}
    config = config_for(mocks["first"].url, models=models())
    config["server"]["timeouts"] = {"stream_idle": "700ms"}
    config["providers"] = [
        provider_for(mock.url, name, retry=retry, timeouts={"connect": "1s", "first_byte": "400ms"},
                     breaker={"open_for": "300ms"})
        for name, mock in mocks.items()]
    with Sluice(config) as sluice:
        yield sluice


# ------------------------------------------------------------------------------------- clients


class Answer:
    def __init__(self, status=0):
        self.status, self.text, self.whole, self.error, self.seconds, self.headers = status, "", False, None, 0, {}

    def __repr__(self):
        return f"<{self.status} whole={self.whole} error={self.error} {self.text!r} in {self.seconds:.2f} s>"


def body_of(client, model, stream):
    body = {"model": model, "messages": [{"role": "user", "content": "Say something, please."}], "stream": stream}
    return {**body, "max_tokens": 64} if client == "anthropic" else body


def read_events(client, answer, data):
    for event in sse_events(data):
        if event == "[DONE]":
            continue
        event = json.loads(event)
        if event.get("error"):
            answer.error = event["error"]
        elif client == "openai":
            for choice in event.get("choices", []):
                answer.text += choice["delta"].get("content") or ""
                answer.whole = answer.whole or bool(choice["finish_reason"])
        elif event["type"] == "content_block_delta":
            answer.text += event["delta"]["text"]
        elif event["type"] == "message_stop":
            answer.whole = True
    answer.whole = answer.whole and not answer.error


def read_body(client, answer, data):
    body = json.loads(data)
    if "error" in body:
        answer.error = body["error"]
    elif client == "openai":
        answer.text, answer.whole = body["choices"][0]["message"]["content"], True
    else:
        answer.text, answer.whole = "".join(block["text"] for block in body["content"]), True


def ask(gate, client, model, stream, within=30):
    """One call, read to its end, however that comes."""
    path = "/v1/messages" if client == "anthropic" else "/v1/chat/completions"
    begun = time.monotonic()
    with gate.connect(timeout=within) as connection:
        fields = [("Authorization", f"Bearer {KEY_ACME}"), ("anthropic-version", "2023-06-01")]
        connection.send(request_bytes("POST", path, fields, body_of(client, model, stream)))
        response = connection.begin_response("POST")
        answer, pieces = Answer(response.status), []
        try:
            for piece in connection.pieces(response):
                pieces.append(piece)
        except Closed:
            answer.error = answer.error or "cut"
    answer.seconds, answer.headers = time.monotonic() - begun, response
    data = b"".join(pieces)
    if response.header("content-type", "").startswith("text/event-stream"):
        read_events(client, answer, data)
    elif not answer.error:
        read_body(client, answer, data)
    return answer


def name_of(fault, client, stream):
    return f"{fault}-{client}-{'streamed' if stream else 'whole'}"


def stats(mock):
    import urllib.request

    with urllib.request.urlopen(mock.url.replace("/v1", "/__mock/stats"), timeout=10) as answer:
        return json.load(answer)


def received(gate, mocks, provider, model):
    """Calls that a provider has got for one model of the gateway's."""
    for one in gate.config["models"]:
        for its in one["targets"]:
            if one["name"] == model and its["provider"] == provider:
                return stats(mocks[provider])["models"].get(its["model"], {}).get("received", 0)
    raise KeyError(model)


def assert_rescued(answer, attempts=2):
    assert answer.status == 200 and answer.whole and answer.text and not answer.error, answer
    assert answer.headers.header("x-sluice-attempts") == str(attempts), answer.headers


# ------------------------------------------------------------------------------ before the first byte


@EITHER
@BOTH
def test_01_a_429_with_retry_after_is_cured_by_another_target_and_the_first_is_left_alone(gate, mocks, client, stream):
    model = name_of("limited", client, stream)
    assert_rescued(ask(gate, client, model, stream))
    for _ in range(5):
        assert_rescued(ask(gate, client, model, stream), attempts=1)
    assert received(gate, mocks, "first", model) == 1


@EITHER
@BOTH
def test_01_a_short_retry_after_is_waited_for_where_there_is_no_other_target(gate, mocks, client, stream):
    model = "alone-" + name_of("limited-briefly", client, stream)
    answer = ask(gate, client, model, stream)
    assert_rescued(answer)
    assert answer.seconds >= 0.95, answer


@EITHER
@BOTH
def test_01_a_long_retry_after_is_told_to_the_client_where_there_is_no_other_target(gate, mocks, client, stream):
    model = "alone-" + name_of("limited", client, stream)
    answers = [ask(gate, client, model, stream) for _ in range(9)]
    assert {answer.status for answer in answers} == {429}, answers
    assert all(1 <= int(answer.headers.header("retry-after")) <= 8 for answer in answers), answers
    assert received(gate, mocks, "first", model) == 3, "it was asked again before its time"


@EITHER
@BOTH
def test_02_a_429_without_a_word_is_cured_by_another_target(gate, mocks, client, stream):
    model = name_of("limited-silently", client, stream)
    for _ in range(4):
        answer = ask(gate, client, model, stream)
        assert answer.status == 200 and answer.whole, answer
    assert received(gate, mocks, "first", model) <= 2


@EITHER
@BOTH
def test_03_a_single_500_is_cured_by_another_target_or_by_the_same_one(gate, mocks, client, stream):
    assert_rescued(ask(gate, client, name_of("single-500", client, stream), stream))
    model = "alone-" + name_of("single-500", client, stream)
    mocks_reset(mocks)
    assert_rescued(ask(gate, client, model, stream))


def mocks_reset(mocks):
    import urllib.request

    for name in ("first", "second"):
        request = urllib.request.Request(mocks[name].url.replace("/v1", "/__mock/reset"), data=b"", method="POST")
        urllib.request.urlopen(request, timeout=10).read()


@EITHER
@BOTH
def test_04_of_fifteen_calls_a_dead_target_gets_three_at_most(gate, mocks, client, stream):
    model = name_of("dead", client, stream)
    for _ in range(15):
        answer = ask(gate, client, model, stream)
        assert answer.status == 200 and answer.whole, answer
    assert received(gate, mocks, "first", model) <= 3


@EITHER
@BOTH
def test_05_a_reset_is_cured_by_another_target(gate, client, stream):
    assert_rescued(ask(gate, client, name_of("reset", client, stream), stream))


@EITHER
@BOTH
def test_06_no_answer_at_all_is_cured_by_another_target_in_time(gate, client, stream):
    answer = ask(gate, client, name_of("silent", client, stream), stream)
    assert_rescued(answer)
    assert answer.seconds < 10, answer


@pytest.mark.parametrize("fault", ["slow", "late"])
@EITHER
@STREAMED
def test_07_a_first_token_that_does_not_come_is_cured_by_another_target(gate, client, stream, fault):
    answer = ask(gate, client, name_of(fault, client, stream), stream)
    assert_rescued(answer)
    assert answer.seconds < 10, answer


# ------------------------------------------------------------------------------ in the middle


@pytest.mark.parametrize("fault", ["cut", "stalled", "short"])
@EITHER
@STREAMED
def test_08_09_a_stream_that_breaks_off_is_continued_by_a_target_that_can(gate, client, stream, fault):
    model = name_of(fault, client, stream)
    answer = ask(gate, client, model, stream)
    assert answer.status == 200 and answer.whole and not answer.error, answer
    row = gate.ledger_row(answer.headers.header("x-request-id"))
    assert (row["attempts"], row["target"], row["outcome"]) == (2, f"{model}-second", "complete"), row


@pytest.mark.parametrize("fault", ["cut", "stalled", "short"])
@EITHER
@STREAMED
def test_08_09_a_stream_that_breaks_off_for_good_ends_in_an_error(gate, client, stream, fault):
    answer = ask(gate, client, "alone-" + name_of(fault, client, stream), stream)
    assert answer.status == 200 and answer.text and not answer.whole and isinstance(answer.error, dict), answer
    assert answer.seconds < 10, answer


@pytest.mark.parametrize("fault", ["cut", "stalled", "short", "error-first"])
@EITHER
@pytest.mark.parametrize("stream", [False], ids=["whole"])
def test_08_09_a_whole_answer_that_breaks_off_is_cured_by_another_target(gate, client, stream, fault):
    answer = ask(gate, client, name_of(fault, client, stream), stream)
    assert_rescued(answer)


@EITHER
@STREAMED
def test_10_a_malformed_event_does_not_reach_the_client(gate, client, stream):
    answer = ask(gate, client, "alone-" + name_of("bad-event", client, stream), stream)
    assert answer.whole or answer.error, answer


@EITHER
@STREAMED
def test_11_a_stream_without_done_is_whole_when_it_has_a_finish(gate, client, stream):
    answer = ask(gate, client, "alone-" + name_of("no-done", client, stream), stream)
    assert answer.whole and len(answer.text) > 10, answer


# ------------------------------------------------------------------------------ refusals


@EITHER
@BOTH
def test_12_a_call_that_is_too_long_goes_to_a_target_with_a_longer_window(gate, client, stream):
    assert_rescued(ask(gate, client, name_of("too-long", client, stream), stream))
    answer = ask(gate, client, "alone-" + name_of("too-long", client, stream), stream)
    assert answer.status == 400 and "context" in json.dumps(answer.error), answer


@EITHER
@BOTH
def test_13_a_call_that_a_content_filter_refuses_goes_to_another_provider(gate, client, stream):
    assert_rescued(ask(gate, client, name_of("filtered", client, stream), stream))
    answer = ask(gate, client, "alone-" + name_of("filtered", client, stream), stream)
    assert answer.status == 400 and answer.error, answer


@EITHER
@STREAMED
def test_14_a_target_that_does_not_go_on_with_an_answer_does_not_end_the_call(gate, client, stream):
    answer = ask(gate, client, "refused-" + name_of("cut", client, stream), stream)
    assert answer.status == 200 and answer.whole and not answer.error, answer
    answer = ask(gate, client, "refused-by-all-" + name_of("cut", client, stream), stream)
    assert answer.status == 200 and answer.text and not answer.whole and isinstance(answer.error, dict), answer


# ------------------------------------------------------------------------------ with time


def test_15_a_target_that_comes_and_goes_is_used_while_it_is_there(gate, mocks):
    client, end = "openai", time.monotonic() + 4.5
    model = name_of("flapping", client, False)
    calls = used = 0
    while time.monotonic() < end:
        answer = ask(gate, client, model, False)
        assert answer.status == 200 and answer.whole, answer
        used += answer.headers.header("x-sluice-target") == f"{model}-first"
        calls += 1
        time.sleep(0.02)
    wasted = received(gate, mocks, "first", model) - used
    assert used > calls / 6, f"{used} of {calls}"
    assert wasted <= 3 * 4, f"{wasted} of {calls}"


def test_when_all_fail_there_is_no_storm(gate, mocks):
    """And when they are back there is no wave: nothing is waiting."""
    before = sum(stats(mocks[name])["models"].get("mock/503", {}).get("received", 0) for name in ("first", "second"))
    for _ in range(100):
        answer = ask(gate, "openai", "all-dead", False)
        assert answer.status in (502, 503) and answer.error, answer
    after = sum(stats(mocks[name])["models"]["mock/503"]["received"] for name in ("first", "second"))
    assert after - before <= 120


def test_16_the_ledger_holds_what_the_providers_counted(mocks):
    """Across all faults: tries that failed are booked where the provider has counted them."""
    config = config_for(mocks["first"].url, models=models())
    config["server"]["timeouts"] = {"stream_idle": "700ms"}
    config["providers"] = [
        provider_for(mock.url, name, retry={"attempts": 2, "backoff": "20ms", "max_backoff": "2s"},
                     timeouts={"connect": "1s", "first_byte": "400ms"}, breaker={"open_for": "600ms"})
        for name, mock in mocks.items()]
    mocks_reset(mocks)
    faults = [fault for fault in WORDS if fault not in ("flapping", "stalled", "silent", "slow", "late")]
    with Sluice(config) as gate:
        for fault in faults:
            for stream in (False, True):
                ask(gate, "openai", name_of(fault, "openai", stream), stream)
        assert gate.stop() == 0
        rows = gate.ledger_rows()
    seen = [stats(mocks[name]) for name in ("first", "second")]
    eventually(lambda: all(not one["in_flight"] for one in seen))
    counted = [row for row in rows if row["counted"] == "provider"]
    assert len({row["id"] for row in rows}) == len(rows) >= 2 * len(faults)
    whole = sum(one["whole"] for one in seen)
    assert len(counted) == whole, (len(counted), whole)
    calls = [call for name in ("first", "second") for call in calls_of(mocks[name])]
    good = [call for call in calls if call["outcome"] == "whole"]
    assert sum(row["output_tokens"] for row in counted) == sum(call["completion_tokens"] for call in good)
    assert sum(row["input_tokens"] for row in counted) == sum(call["prompt_tokens"] for call in good)
    for row in rows:
        assert row["cost_nanos"] == row["input_tokens"] * 1000 + row["output_tokens"] * 4000, row
    estimated = [row for row in rows if row["counted"] == "estimate"]
    assert {row["outcome"] for row in estimated} == {"partial"} and all("abandoned=1" in row["tags"] for row in estimated), [
        (row["model"], row["outcome"], row["tags"], row["fault"]) for row in estimated]
    broken = [call["model"] for call in calls if call["outcome"] == "broken" and call["completion_tokens"] and "reset" not in call["model"]]
    assert sorted(row["upstream_model"] for row in estimated) == sorted(broken)


def calls_of(mock):
    import urllib.request

    with urllib.request.urlopen(mock.url.replace("/v1", "/__mock/calls?since=0"), timeout=10) as answer:
        return json.load(answer)["calls"]
