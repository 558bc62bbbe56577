# SPDX-License-Identifier: Apache-2.0
"""openai for Python in front of other dialects: chat and the Responses API, streamed and not."""

import json
from typing import Literal

import openai
import pytest
from crossing import gate, recorded, replayed, root, second  # noqa: F401
from harness import KEY_ACME
from pydantic import BaseModel
from questions import HELLO, WEATHER, WEATHER_FUNCTION, WEATHER_TOOL, text_of

OTHERS = ("anthropic", "gemini")


class Forecast(BaseModel):
    city: str
    sky: Literal["clear", "clouds"]
    degrees: int


@pytest.fixture(scope="module")
def client(root):
    with openai.OpenAI(base_url=f"{root}/v1", api_key=KEY_ACME, max_retries=0, timeout=20) as sdk:
        yield sdk


def ask(client, model, messages=HELLO, **fields):
    return client.chat.completions.create(model=model, messages=messages, **fields)


def respond(client, model, words=HELLO[0]["content"], **fields):
    return client.responses.create(model=model, input=words, store=False, **fields)


# ------------------------------------------------------------------------------- chat


@pytest.mark.parametrize("target", OTHERS)
def test_a_stream_says_what_the_whole_answer_says(client, target):
    whole = ask(client, f"{target}-fast")
    chunks = list(ask(client, f"{target}-fast", stream=True, stream_options={"include_usage": True}))
    assert whole.choices[0].message.content == text_of(chunks) != ""
    assert whole.choices[0].finish_reason == "stop" == [c.choices[0].finish_reason for c in chunks if c.choices][-1]
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens > 0


@pytest.mark.parametrize("target", OTHERS)
def test_a_tool_of_a_chat_and_its_result(client, target):
    said = ask(client, f"{target}-fast", WEATHER, tools=[WEATHER_TOOL]).choices[0]
    [call] = said.message.tool_calls
    assert said.finish_reason == "tool_calls" and {"city", "unit"} == set(json.loads(call.function.arguments))
    last = ask(client, f"{target}-fast", [*WEATHER, said.message, {"role": "tool", "tool_call_id": call.id, "content": "12"}],
               tools=[WEATHER_TOOL])
    assert last.choices[0].message.content and last.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("target", OTHERS)
def test_structured_output_of_a_chat(client, target):
    answer = client.chat.completions.parse(model=f"{target}-fast", messages=HELLO, response_format=Forecast)
    assert isinstance(answer.choices[0].message.parsed, Forecast)


def test_parallel_tools_and_thinking_are_streamed(client, upstream):
    upstream.answer = replayed(recorded("anthropic-messages", "anthropic.anthropic-messages.85b602795e3a1d"))
    with client.chat.completions.stream(model="script-anthropic", messages=WEATHER, tools=[WEATHER_TOOL]) as stream:
        calls = stream.get_final_completion().choices[0].message.tool_calls
    assert len(calls) == 2 and calls[0].id != calls[1].id and all(json.loads(call.function.arguments) == {} for call in calls)


# ------------------------------------------------------------------------------- responses


@pytest.mark.parametrize("target", OTHERS)
def test_a_response(client, target):
    answer = respond(client, f"{target}-fast", instructions="You keep a lock.", max_output_tokens=200)
    assert answer.output_text and answer.status == "completed" and answer.id.startswith("resp_")
    usage = answer.usage
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens > 0
    assert usage.input_tokens_details.cached_tokens == 0 and usage.output_tokens_details.reasoning_tokens == 0


@pytest.mark.parametrize("target", OTHERS)
def test_a_streamed_response_has_all_its_events(client, target):
    whole = respond(client, f"{target}-fast")
    with client.responses.stream(model=f"{target}-fast", input=HELLO[0]["content"], store=False) as stream:
        events = list(stream)
        last = stream.get_final_response()
    kinds = [event.type for event in events]
    seen = [kind for at, kind in enumerate(kinds) if at == 0 or kinds[at - 1] != kind]
    assert seen == ["response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
                    "response.output_text.delta", "response.output_text.done", "response.content_part.done",
                    "response.output_item.done", "response.completed"]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert last.output_text == whole.output_text and last.usage.total_tokens == whole.usage.total_tokens


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("target", OTHERS)
def test_a_tool_of_a_response_and_its_result(client, target, streamed):
    fields = {"model": f"{target}-fast", "store": False, "tools": [WEATHER_FUNCTION]}
    if streamed:
        with client.responses.stream(input=WEATHER, **fields) as stream:
            first = stream.until_done().get_final_response()
    else:
        first = client.responses.create(input=WEATHER, **fields)
    [call] = [item for item in first.output if item.type == "function_call"]
    assert call.name == "get_weather" and {"city", "unit"} == set(json.loads(call.arguments))
    said = [{"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments},
            {"type": "function_call_output", "call_id": call.call_id, "output": "12 degrees"}]
    assert client.responses.create(input=[*WEATHER, *said], **fields).output_text


@pytest.mark.parametrize("target", OTHERS)
def test_structured_output_of_a_response(client, target):
    answer = client.responses.parse(model=f"{target}-fast", input=HELLO[0]["content"], store=False, text_format=Forecast)
    assert isinstance(answer.output_parsed, Forecast)


def test_reasoning_goes_there_and_back(client, upstream):
    """The signature of another dialect comes out as encrypted content, and goes in again as it was."""
    record = recorded("anthropic-messages", "anthropic.anthropic-messages.0a5f9cf83b71ce")
    upstream.answer = replayed(record)
    with client.responses.stream(model="script-anthropic", input=WEATHER, store=False, include=["reasoning.encrypted_content"],
                                 reasoning={"effort": "low", "summary": "auto"}, tools=[WEATHER_FUNCTION]) as stream:
        first = stream.until_done().get_final_response()
    kinds = [item.type for item in first.output]
    assert kinds[0] == "reasoning" and "function_call" in kinds and first.output[0].encrypted_content
    history = [item.to_dict(mode="json") for item in first.output]
    results = [{"type": "function_call_output", "call_id": item.call_id, "output": "12"} for item in first.output
               if item.type == "function_call"]
    with client.responses.stream(model="script-anthropic", input=[*WEATHER, *history, *results], store=False,
                                 reasoning={"effort": "low"}, tools=[WEATHER_FUNCTION]) as stream:
        stream.until_done()
    thinking = [part for message in upstream.last().json["messages"] if message["role"] == "assistant"
                for part in message["content"] if part["type"] == "thinking"]
    assert thinking and thinking[0]["signature"] and thinking[0]["signature"] in record["response"]["body"]


# ------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("call", [ask, respond])
@pytest.mark.parametrize("target", OTHERS)
def test_a_provider_that_is_too_busy(client, target, call):
    with pytest.raises(openai.RateLimitError) as caught:
        call(client, f"{target}-429")
    assert caught.value.response.headers["retry-after"] == "7" and caught.value.body["message"]


@pytest.mark.parametrize("call", [ask, respond])
@pytest.mark.parametrize("word", ["cut", "error", "stall"])
@pytest.mark.parametrize("target", OTHERS)
def test_a_stream_that_breaks_is_an_error(client, target, word, call):
    with pytest.raises(openai.APIError):
        events = list(call(client, f"{target}-{word}", stream=True))
        if call is respond and events[-1].type in ("response.failed", "response.incomplete", "error"):
            raise openai.APIError("it says so", None, body=None)


def test_stored_responses_are_of_their_own_dialect_only(client):
    with pytest.raises(openai.BadRequestError, match="previous_response_id") as caught:
        respond(client, "anthropic-fast", previous_response_id="resp_1")
    assert caught.value.param == "previous_response_id"
