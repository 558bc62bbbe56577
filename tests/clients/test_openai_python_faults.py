# SPDX-License-Identifier: Apache-2.0
"""openai for Python when things go wrong: error classes, time-outs, retries, clients that leave."""

import os
import signal
import subprocess
import sys
import threading
import time

import openai
import pytest
from conftest import configuration
from harness import (
    KEY_ACME, KEY_ACME_FAST, KEY_EXPIRED, KEY_GLOBEX, KEY_WRONG, Sluice, Upstream, chat_body, config_for, eventually,
    free_port, stream_chat)
from questions import HELLO, sound, text_of

ENDLESS = "mock/rate-20+tokens-100000"


def ask(client, model="fast", **fields):
    return client.chat.completions.create(model=model, messages=HELLO, **fields)


def other(base_url, key=KEY_ACME, **options):
    return openai.OpenAI(base_url=base_url, api_key=key, **{"max_retries": 0, "timeout": 20, **options})


# ------------------------------------------------------------------------------- who may not

EVERYTHING = {
    "chat": lambda c: ask(c),
    "stream": lambda c: list(ask(c, stream=True)),
    "completion": lambda c: c.completions.create(model="fast", prompt="x"),
    "response": lambda c: c.responses.create(model="fast", input="x"),
    "retrieve": lambda c: c.responses.retrieve("resp_1"),
    "embedding": lambda c: c.embeddings.create(model="embed", input="x"),
    "moderation": lambda c: c.moderations.create(model="moderation", input="x"),
    "image": lambda c: c.images.generate(model="image", prompt="x"),
    "speech": lambda c: c.audio.speech.create(model="audio", voice="alloy", input="x"),
    "transcription": lambda c: c.audio.transcriptions.create(model="audio", file=sound()),
    "upload": lambda c: c.files.create(file=("a.jsonl", b"{}"), purpose="batch"),
    "files": lambda c: c.files.list(),
    "batches": lambda c: c.batches.list(),
    "models": lambda c: c.models.list(),
    "model": lambda c: c.models.retrieve("fast"),
}


@pytest.mark.parametrize("what", EVERYTHING)
def test_a_wrong_key(base_url, mock, what):
    with other(base_url, KEY_WRONG) as client, pytest.raises(openai.AuthenticationError) as caught:
        EVERYTHING[what](client)
    error = caught.value
    assert (error.status_code, error.code, error.type) == (401, "invalid_api_key", "invalid_request_error")
    assert error.request_id and KEY_WRONG not in str(error)
    assert mock.stats()["received"] == 0


@pytest.mark.parametrize("key", [KEY_EXPIRED, "x" * 4000, "two words"], ids=["expired", "long", "spaced"])
def test_other_keys_that_are_wrong(base_url, key):
    with other(base_url, key) as client, pytest.raises(openai.AuthenticationError):
        ask(client)


def test_a_wrong_key_with_twenty_megabytes_is_still_told(base_url):
    """Not a broken pipe: the answer is seen although the body was not read."""
    with other(base_url, KEY_WRONG) as client, pytest.raises(openai.AuthenticationError):
        client.chat.completions.create(model="fast", messages=[{"role": "user", "content": "x" * (20 << 20)}])
    with other(base_url, KEY_WRONG) as client, pytest.raises(openai.AuthenticationError):
        client.audio.transcriptions.create(model="audio", file=("a.wav", b"\0" * (20 << 20)))


@pytest.mark.parametrize("key, model", [(KEY_GLOBEX, "embed"), (KEY_ACME_FAST, "embed")], ids=["tenant", "key"])
def test_a_model_that_is_not_allowed(base_url, mock, key, model):
    with other(base_url, key) as client, pytest.raises(openai.PermissionDeniedError) as caught:
        client.embeddings.create(model=model, input="x")
    assert (caught.value.code, caught.value.type) == ("model_not_allowed", "permission_error")
    assert mock.stats()["received"] == 0


def test_a_model_that_is_not_there(client):
    with pytest.raises(openai.NotFoundError) as caught:
        ask(client, "nobody")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_a_path_that_is_not_there(client):
    with pytest.raises(openai.NotFoundError):
        client.get("/nothing/here", cast_to=object)


# ------------------------------------------------------------------------------- bad requests


@pytest.mark.parametrize("fields, param", [
    ({"n": "many"}, "n"), ({"max_tokens": "few"}, "max_tokens"), ({"stream": "perhaps"}, "stream")])
def test_a_field_of_the_wrong_kind(client, fields, param):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="fast", messages=HELLO, extra_body=fields)
    assert caught.value.param == param and caught.value.type == "invalid_request_error"


def test_a_body_that_is_too_large(base_url, mock):
    with other(base_url) as client, pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model="fast", messages=[{"role": "user", "content": "x" * (33 << 20)}])
    assert (caught.value.status_code, caught.value.code) == (413, "request_too_large")
    assert mock.stats()["received"] == 0


# ------------------------------------------------------------------------------- the provider's errors

CLASSES = {
    400: openai.BadRequestError, 404: openai.NotFoundError,
    409: openai.ConflictError, 422: openai.UnprocessableEntityError, 429: openai.RateLimitError,
    500: openai.InternalServerError, 502: openai.InternalServerError, 503: openai.InternalServerError,
    504: openai.InternalServerError, 529: openai.InternalServerError,
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("status", CLASSES)
def test_a_providers_error_has_its_class(client, mock, status, stream):
    with pytest.raises(CLASSES[status]) as caught:
        ask(client, f"mock/{status}", stream=stream)
    assert caught.value.status_code == status and caught.value.request_id
    assert mock.stats(f"mock/{status}")["refused"] == 1


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_provider_that_refuses_our_key(client, stream):
    """It is the operator's key that is bad there, not the application's."""
    with pytest.raises(openai.APIStatusError) as caught:
        ask(client, "mock/401", stream=stream)
    assert caught.value.status_code in (401, 502, 503)


def test_a_provider_that_is_gone(client):
    with pytest.raises(openai.InternalServerError) as caught:
        ask(client, "gone")
    assert (caught.value.status_code, caught.value.code) == (503, "upstream_unavailable")


@pytest.mark.parametrize("fault", ["reset", "reset-mid", "bad-head", "bad-chunk", "cut", "garbage", "error-mid"])
def test_an_answer_that_breaks_is_an_error(client, fault):
    with pytest.raises((openai.InternalServerError, openai.APIConnectionError)) as caught:
        ask(client, f"mock/{fault}")
    if isinstance(caught.value, openai.InternalServerError):
        assert caught.value.code in ("upstream_invalid", "upstream_unavailable")


@pytest.mark.parametrize("fault", ["reset-mid", "bad-chunk", "cut", "error-mid", "stall"])
def test_a_stream_that_breaks_is_an_error(client, mock, fault):
    """Never an end that looks like one."""
    model, words = f"mock/{fault}-5+rate-50", []
    with pytest.raises(openai.APIError):
        for chunk in ask(client, model, stream=True):
            words.append(chunk.choices[0].delta.content)
            assert chunk.choices[0].finish_reason is None
    assert 1 <= len([word for word in words if word]) <= 5
    eventually(lambda: mock.stats(model)["in_flight"] == 0, 2)


def test_a_streamed_response_that_breaks_is_an_error(client):
    kinds = []
    with pytest.raises(openai.APIError):
        for event in client.responses.create(model="mock/reset-mid-5+rate-50", input="x", stream=True):
            kinds.append(event.type)
            if event.type == "error":
                raise openai.APIError(event.message, request=None, body=None)
    assert "response.completed" not in kinds and "response.output_text.delta" in kinds


# ------------------------------------------------------------------------------- time-outs


def test_a_client_that_runs_out_of_patience(base_url, mock):
    begun = time.monotonic()
    with other(base_url, timeout=0.5) as client, pytest.raises(openai.APITimeoutError):
        ask(client, "mock/stall-head")
    assert time.monotonic() - begun < 15
    eventually(lambda: mock.stats("mock/stall-head")["in_flight"] == 0, what="the upstream call to end")


def test_a_client_that_runs_out_of_patience_in_a_stream(base_url, mock, gate):
    def booked():
        return [row for row in gate.ledger_rows() if row["upstream_model"] == "mock/stall"]

    before = len(booked())
    with other(base_url, timeout=0.5) as client, pytest.raises(openai.APITimeoutError):
        list(ask(client, "mock/stall", stream=True))
    eventually(lambda: mock.stats("mock/stall")["in_flight"] == 0, what="the upstream call to end")
    eventually(lambda: len(booked()) > before, what="it is booked")
    assert booked()[-1]["fault"] == "client_gone"  # and not as a stream that stands still


def test_a_time_out_for_one_call(client):
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.3).chat.completions.create(model="mock/slow-2s", messages=HELLO)
    assert ask(client, "mock/slow-200ms").choices


def test_a_gateway_that_runs_out_of_patience(client):
    begun = time.monotonic()
    with pytest.raises(openai.InternalServerError) as caught:
        ask(client, "hasty")
    assert (caught.value.status_code, caught.value.code) == (504, "upstream_timeout")
    assert 0.25 < time.monotonic() - begun < 15


# ------------------------------------------------------------------------------- connections


def test_nobody_listens():
    with other(f"http://127.0.0.1:{free_port()}/v1") as client, pytest.raises(openai.APIConnectionError) as caught:
        ask(client)
    assert not isinstance(caught.value, openai.APITimeoutError)


def test_a_gateway_that_is_killed_in_mid_stream(mock):
    with Sluice(configuration(mock)) as gate:
        gate.may_crash = True
        host, port = gate.address()
        with other(f"http://{host}:{port}/v1") as client:
            stream = ask(client, ENDLESS, stream=True)
            next(stream)
            gate.kill()
            with pytest.raises(Exception) as caught:
                list(stream)
            assert not isinstance(caught.value, AssertionError)
            with pytest.raises(openai.APIConnectionError):
                ask(client)


# ------------------------------------------------------------------------------- retries


@pytest.mark.parametrize("retries, calls", [(0, 1), (1, 2)])
def test_the_sdk_retries_as_often_as_it_was_told(base_url, mock, retries, calls):
    with other(base_url, max_retries=retries) as client, pytest.raises(openai.InternalServerError):
        ask(client, "mock/500")
    assert mock.stats("mock/500")["received"] == calls


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_sdk_does_not_multiply_our_retries(base_url, mock, stream):
    """The gateway tries both targets, and says `x-should-retry: false`."""
    with other(base_url, max_retries=3) as client, pytest.raises(openai.InternalServerError) as caught:
        ask(client, "tried", stream=stream)
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert mock.stats("mock/503")["received"] == 2


def test_the_only_target_is_tried_again_for_the_sdk(base_url, mock):
    """It is asked again after a back-off, and then the SDK is told not to do the same."""
    with other(base_url, max_retries=1) as client, pytest.raises(openai.InternalServerError) as caught:
        ask(client, "again")
    headers = caught.value.response.headers
    assert headers["x-sluice-attempts"] == "2"
    assert headers["x-should-retry"] == "false"
    assert mock.stats("mock/500")["received"] == 2


@pytest.mark.parametrize("what, error", [("mock/400", openai.BadRequestError), ("nobody", openai.NotFoundError)])
def test_the_sdk_does_not_retry_what_cannot_be_cured(base_url, mock, what, error):
    with other(base_url, max_retries=3) as client, pytest.raises(error):
        ask(client, what)
    assert mock.stats()["received"] <= 1


def test_the_sdk_waits_as_long_as_the_provider_asks(base_url, mock):
    begun = time.monotonic()
    with other(base_url, max_retries=1) as client, pytest.raises(openai.RateLimitError) as caught:
        ask(client, "mock/429-retry-after-1")
    assert caught.value.response.headers["retry-after"] == "1"
    assert mock.stats("mock/429-retry-after-1")["received"] == 2
    assert 1 <= time.monotonic() - begun < 20


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_retry_is_answered(stream):
    """A provider that is overloaded once, and says for how long."""

    def overloaded_once(call):
        if len(upstream.calls) == 1:
            call.respond(503, {"error": {"message": "busy", "type": "server_error", "param": None, "code": None}},
                         {"retry-after-ms": "50"})
        elif stream:
            stream_chat(call, ["Hello", " there"])
        else:
            call.respond(200, chat_body("Hello there"))

    with Upstream() as upstream, Sluice(config_for(upstream)) as gate:
        upstream.answer = overloaded_once
        host, port = gate.address()
        with other(f"http://{host}:{port}/v1", max_retries=1) as client:
            answer = ask(client, stream=stream)
            assert (text_of(answer) if stream else answer.choices[0].message.content) == "Hello there"
    assert len(upstream.calls) == 2


# ------------------------------------------------------------------------------- clients that leave


def test_a_stream_that_is_closed_ends_the_upstream_call(client, mock, gate):
    raw = client.chat.completions.with_raw_response.create(model=ENDLESS, messages=HELLO, stream=True)
    stream = raw.parse()
    for _ in range(3):
        next(stream)
    assert mock.stats(ENDLESS)["in_flight"] == 1
    stream.close()
    mock.ended_as(ENDLESS, "cut")
    row = gate.ledger_row(raw.headers["x-request-id"])
    assert row["outcome"] == "partial" and row["output_tokens"] > 0


def test_a_stream_in_a_with_block_ends_with_it(client, mock):
    with ask(client, ENDLESS, stream=True) as stream:
        next(stream)
    mock.ended_as(ENDLESS, "cut")


def test_a_streamed_response_that_is_closed_ends_the_upstream_call(client, mock):
    with client.responses.create(model=ENDLESS, input="x", stream=True) as stream:
        next(stream)
    mock.ended_as(ENDLESS, "cut")


def test_a_client_that_closes_while_it_waits(base_url, mock):
    """The answer has not begun: another thread closes the connections."""
    client = other(base_url)
    waiting = threading.Thread(target=lambda: pytest.raises(Exception, ask, client, "mock/slow-60s"), daemon=True)
    waiting.start()
    eventually(lambda: mock.stats("mock/slow-60s")["in_flight"] == 1, 10)
    for connection in client._client._transport._pool.connections:
        connection._connection._network_stream.get_extra_info("socket").shutdown(2)
    eventually(lambda: mock.stats("mock/slow-60s")["in_flight"] == 0, what="the upstream call to end")
    waiting.join(10)


PROGRAM = """
import sys, openai
client = openai.OpenAI(base_url=sys.argv[1], api_key=sys.argv[2])
stream = client.chat.completions.create(model=sys.argv[3], messages=[{"role": "user", "content": "x"}], stream=True)
for chunk in stream:
    print("chunk", flush=True)
"""


def test_a_program_that_is_killed_ends_the_upstream_call(base_url, mock):
    program = subprocess.Popen([sys.executable, "-c", PROGRAM, base_url, KEY_ACME, ENDLESS], stdout=subprocess.PIPE)
    try:
        assert program.stdout.readline() == b"chunk\n"
        os.kill(program.pid, signal.SIGKILL)
        mock.ended_as(ENDLESS, "cut")
    finally:
        program.kill()
        program.wait(10)
        program.stdout.close()


def test_after_all_that_it_still_serves(client, gate):
    assert ask(client).choices[0].message.content
    eventually(lambda: gate.metric("sluice_inflight_requests") == 0, 5)
