# SPDX-License-Identifier: Apache-2.0
"""anthropic for Python, unchanged: the answer comes from OpenAI's dialect, or twice translated from others."""

from typing import Literal

import anthropic
import pytest
from crossing import TARGETS, gate, recorded, replayed, root, second  # noqa: F401
from harness import KEY_ACME, KEY_GLOBEX, KEY_WRONG
from pydantic import BaseModel
from questions import HELLO, WEATHER, WEATHER_PARAMETERS

TOOL = {"name": "get_weather", "description": "The weather in a city", "input_schema": WEATHER_PARAMETERS}
ORDER = ("message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop")


class Forecast(BaseModel):
    city: str
    sky: Literal["clear", "clouds"]
    degrees: int


@pytest.fixture(scope="module")
def client(root):
    with anthropic.Anthropic(base_url=root, api_key=KEY_ACME, max_retries=0, timeout=20) as sdk:
        yield sdk


def ask(client, model, messages=HELLO, **fields):
    return client.messages.create(model=model, messages=messages, **{"max_tokens": 200, **fields})


@pytest.mark.parametrize("target", TARGETS)
def test_a_message(client, target):
    answer = ask(client, f"{target}-fast", system="You keep a lock.", stop_sequences=["never"])
    assert (answer.type, answer.role, answer.stop_reason) == ("message", "assistant", "end_turn")
    assert [block.type for block in answer.content] == ["text"] and answer.content[0].text
    assert answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0
    assert answer.id and answer.model and answer._request_id


@pytest.mark.parametrize("target", TARGETS)
def test_a_stream_says_what_the_whole_message_says(client, target):
    whole = ask(client, f"{target}-fast")
    with client.messages.stream(model=f"{target}-fast", max_tokens=200, messages=HELLO) as stream:
        words = "".join(stream.text_stream)
        last = stream.get_final_message()
    assert words == last.content[0].text == whole.content[0].text
    assert last.stop_reason == "end_turn" and last.usage.output_tokens == whole.usage.output_tokens


@pytest.mark.parametrize("target", TARGETS)
def test_the_events_come_in_their_order(client, target):
    kinds = [event.type for event in ask(client, f"{target}-fast", stream=True) if event.type != "ping"]
    seen = [kind for at, kind in enumerate(kinds) if at == 0 or kinds[at - 1] != kind]
    assert tuple(seen) == ORDER


@pytest.mark.parametrize("target", TARGETS)
def test_the_length_is_kept_and_told(client, target):
    answer = ask(client, f"{target}-fast", max_tokens=3)
    assert answer.stop_reason == "max_tokens" and answer.usage.output_tokens == 3


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("target", TARGETS)
def test_a_tool_and_its_result(client, target, stream):
    fields = {"model": f"{target}-fast", "max_tokens": 200, "tools": [TOOL]}
    if stream:
        with client.messages.stream(messages=WEATHER, **fields) as events:
            first = events.get_final_message()
    else:
        first = client.messages.create(messages=WEATHER, **fields)
    [call] = [block for block in first.content if block.type == "tool_use"]
    assert first.stop_reason == "tool_use" and call.name == "get_weather" and {"city", "unit"} == set(call.input) and call.id
    second_answer = client.messages.create(messages=[
        *WEATHER, {"role": "assistant", "content": first.content},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "12 degrees"}]}], **fields)
    assert second_answer.stop_reason == "end_turn" and second_answer.content[0].text


@pytest.mark.parametrize("target", TARGETS)
def test_the_tool_runner_runs_to_the_end(client, target):
    asked = []

    @anthropic.beta_tool
    def get_weather(city: str) -> str:
        """The weather in a city."""
        asked.append(city)
        return "12 degrees"

    last = client.beta.messages.tool_runner(
        model=f"{target}-fast", max_tokens=200, tools=[get_weather], messages=WEATHER, max_iterations=4).until_done()
    assert asked and last.stop_reason == "end_turn"


@pytest.mark.parametrize("target", TARGETS)
def test_a_tool_that_must_be_called(client, target):
    answer = ask(client, f"{target}-fast", tools=[TOOL], tool_choice={"type": "tool", "name": "get_weather"})
    assert answer.content[-1].type == "tool_use" and answer.content[-1].name == "get_weather"


@pytest.mark.parametrize("target", TARGETS)
def test_structured_output(client, target):
    answer = client.messages.parse(model=f"{target}-fast", max_tokens=200, messages=HELLO, output_format=Forecast)
    assert isinstance(answer.parsed_output, Forecast)


@pytest.mark.parametrize("target", TARGETS)
def test_tokens_are_counted_before_the_call(client, target):
    assert client.messages.count_tokens(model=f"{target}-fast", messages=HELLO, system="You keep a lock.").input_tokens > 0


def test_models_are_listed(client):
    names = [model.id for model in client.models.list()]
    assert {"mock-fast", "gemini-fast", "script-anthropic"} <= set(names)
    one = client.models.retrieve("mock-fast")
    assert one.id == "mock-fast" and one.type == "model" and one.display_name and one.created_at


@pytest.mark.parametrize("target", TARGETS)
def test_what_the_thinking_costs_is_told(client, target):
    answer = ask(client, f"{target}-reasons")
    assert answer.usage.output_tokens >= 9
    assert answer.usage.cache_read_input_tokens == 2


@pytest.mark.parametrize("target", TARGETS)
def test_a_conversation_with_every_kind_of_block(client, target):
    answer = ask(client, f"{target}-fast", tools=[TOOL], messages=[
        {"role": "user", "content": [
            {"type": "text", "text": "What is this? \u2603 \U0001f6a4", "cache_control": {"type": "ephemeral"}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Two calls."},
                                          {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Delft"}},
                                          {"type": "tool_use", "id": "toolu_2", "name": "get_weather", "input": {"city": "Gouda"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "12 degrees"},
                                     {"type": "tool_result", "tool_use_id": "toolu_2", "is_error": True,
                                      "content": [{"type": "text", "text": "no such city"}]},
                                     {"type": "text", "text": "Hello?"}]}])
    assert answer.content


# ------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("target", TARGETS)
def test_a_provider_that_is_too_busy(client, target):
    with pytest.raises(anthropic.RateLimitError) as caught:
        ask(client, f"{target}-429")
    assert caught.value.response.headers["retry-after"] == "7" and caught.value.type == "rate_limit_error"
    assert caught.value.body["type"] == "error" and caught.value.body["error"]["message"]


@pytest.mark.parametrize("target", TARGETS)
def test_a_provider_that_fails(client, target):
    with pytest.raises(anthropic.InternalServerError) as caught:
        ask(client, f"{target}-500")
    assert caught.value.body["error"]["type"] == "api_error"


def test_a_wrong_key(root):
    with anthropic.Anthropic(base_url=root, api_key=KEY_WRONG, max_retries=0) as other:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            ask(other, "mock-fast")
    assert caught.value.body["error"]["type"] == "authentication_error" and caught.value.request_id


def test_a_token_instead_of_a_key(root):
    with anthropic.Anthropic(base_url=root, auth_token=KEY_ACME, api_key=None, max_retries=0) as other:
        assert ask(other, "mock-fast").content


def test_a_model_that_is_not_there(client):
    with pytest.raises(anthropic.NotFoundError) as caught:
        ask(client, "nothing")
    assert caught.value.body["error"]["type"] == "not_found_error"


def test_a_path_that_is_not_there(client):
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.get("/v1/nothing", cast_to=object)
    assert caught.value.type == "not_found_error" and caught.value.body["request_id"] == caught.value.request_id


def test_a_model_that_is_not_allowed(root):
    with anthropic.Anthropic(base_url=root, api_key=KEY_GLOBEX, max_retries=0) as other:
        with pytest.raises(anthropic.PermissionDeniedError) as caught:
            ask(other, "mock-fast")
    assert caught.value.body["error"]["type"] == "permission_error"


def test_a_field_that_cannot_be(client):
    with pytest.raises(anthropic.BadRequestError) as caught:
        ask(client, "mock-fast", messages=[{"role": "user", "content": [{"type": "nothing"}]}])
    assert caught.value.body["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("word", ["cut", "error", "stall"])
@pytest.mark.parametrize("target", TARGETS)
def test_a_stream_that_breaks_is_an_error(client, target, word):
    with pytest.raises(anthropic.APIError):
        with client.messages.stream(model=f"{target}-{word}", max_tokens=200, messages=HELLO) as stream:
            stream.until_done()


@pytest.mark.parametrize("target", TARGETS)
def test_a_client_that_leaves_stops_the_provider(client, mock, target):
    with client.messages.stream(model=f"{target}-endless", max_tokens=90000, messages=HELLO) as stream:
        for _ in stream.text_stream:
            break
    mock.ended_as("mock/rate-20+tokens-100000", "cut")


def test_the_sdk_tries_again_by_itself(root, mock):
    with anthropic.Anthropic(base_url=root, api_key=KEY_ACME, max_retries=1, timeout=20) as other:
        with pytest.raises(anthropic.InternalServerError):
            ask(other, "mock-500")
    assert mock.stats("mock/500")["refused"] == 2


# ------------------------------------------------------------------------------- recorded providers


def test_thinking_of_another_dialect(client, upstream):
    upstream.answer = replayed(recorded("gemini-generate", "gemini.gemini-generate.d98799c4e3b228"))
    with client.messages.stream(model="script-gemini", max_tokens=2000, messages=HELLO,
                                thinking={"type": "enabled", "budget_tokens": 1024}) as stream:
        last = stream.get_final_message()
    kinds = [block.type for block in last.content]
    assert kinds[0] == "thinking" and "text" in kinds and last.content[0].thinking
    assert upstream.last().json["generationConfig"]["thinkingConfig"]["thinkingBudget"] == 1024


def test_parallel_tools_of_another_dialect(client, upstream):
    upstream.answer = replayed(recorded("gemini-generate", "gemini.gemini-generate.fdfae8906d1f69"))
    with client.messages.stream(model="script-gemini", max_tokens=2000, messages=WEATHER, tools=[TOOL]) as stream:
        last = stream.get_final_message()
    calls = [block for block in last.content if block.type == "tool_use"]
    assert calls and len({call.id for call in calls}) == len(calls) and last.stop_reason == "tool_use"


@pytest.mark.parametrize("identity", [
    "anthropic.anthropic-messages.0a5f9cf83b71ce", "anthropic.anthropic-messages.85b602795e3a1d",
    "anthropic.anthropic-messages.15aec04737e6cf"])
def test_its_own_dialect_is_what_was_recorded(client, upstream, identity):
    record = recorded("anthropic-messages", identity)
    upstream.answer = replayed(record)
    body = record["request"]["body"]
    raw = client.messages.with_raw_response.create(
        model="script-anthropic", stream=True, max_tokens=body["max_tokens"], messages=body["messages"], extra_body=body | {
            "model": "script-anthropic"})
    assert raw.http_response.read().decode() == record["response"]["body"]
    assert upstream.last().json == {**body, "model": "anthropic-x", "stream": True}


def test_files_are_refused_in_its_own_words(client, upstream):
    calls = len(upstream.calls)
    for ask_for in (lambda: client.beta.files.upload(file=("a.txt", b"x", "text/plain")), client.beta.files.list,
                    lambda: client.beta.files.delete("file_1")):
        with pytest.raises(anthropic.NotFoundError, match="Files API"):
            ask_for()
    assert len(upstream.calls) == calls
