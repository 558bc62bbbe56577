# SPDX-License-Identifier: Apache-2.0
"""google-genai for Python, unchanged: the answer comes from OpenAI's dialect, or twice translated from others."""

from typing import Literal

import httpx
import pytest
from crossing import TARGETS, gate, recorded, replayed, root, second  # noqa: F401
from google import genai
from google.genai import errors, types
from harness import KEY_ACME, KEY_GLOBEX, KEY_WRONG
from pydantic import BaseModel

WORDS = "Say hello to the lock keeper."
DELFT = "What is the weather in Delft?"
WEATHER = types.Tool(function_declarations=[types.FunctionDeclaration(
    name="get_weather", description="The weather in a city", parameters=types.Schema(
        type="OBJECT", properties={"city": types.Schema(type="STRING")}, required=["city"]))])


class Forecast(BaseModel):
    city: str
    sky: Literal["clear", "clouds"]
    degrees: int


def sdk_for(root, key=KEY_ACME):
    return genai.Client(api_key=key, http_options=types.HttpOptions(base_url=root, timeout=20_000))


@pytest.fixture(scope="module")
def client(root):
    return sdk_for(root)


def ask(client, model, contents=WORDS, **config):
    return client.models.generate_content(model=model, contents=contents, config=types.GenerateContentConfig(**config))


def stream(client, model, contents=WORDS, **config):
    return client.models.generate_content_stream(model=model, contents=contents, config=types.GenerateContentConfig(**config))


@pytest.mark.parametrize("target", TARGETS)
def test_content(client, target):
    answer = ask(client, f"{target}-fast", system_instruction="You keep a lock.", temperature=0.5)
    assert answer.text and answer.candidates[0].finish_reason == types.FinishReason.STOP
    usage = answer.usage_metadata
    assert usage.total_token_count == usage.prompt_token_count + usage.candidates_token_count > 0
    assert answer.candidates[0].content.role == "model" and answer.response_id and answer.model_version


@pytest.mark.parametrize("target", TARGETS)
def test_a_stream_says_what_the_whole_content_says(client, target):
    whole = ask(client, f"{target}-fast")
    chunks = list(stream(client, f"{target}-fast"))
    assert "".join(chunk.text or "" for chunk in chunks) == whole.text
    assert chunks[-1].candidates[0].finish_reason == types.FinishReason.STOP
    assert chunks[-1].usage_metadata.total_token_count == whole.usage_metadata.total_token_count


@pytest.mark.parametrize("target", TARGETS)
def test_the_length_is_kept_and_told(client, target):
    answer = ask(client, f"{target}-fast", max_output_tokens=3)
    assert answer.candidates[0].finish_reason == types.FinishReason.MAX_TOKENS
    assert answer.usage_metadata.candidates_token_count == 3


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("target", TARGETS)
def test_a_tool_and_its_result(client, target, streamed):
    question = types.Content(role="user", parts=[types.Part(text=DELFT)])
    if streamed:
        said = [part for chunk in stream(client, f"{target}-fast", [question], tools=[WEATHER])
                for part in chunk.candidates[0].content.parts or []]
    else:
        said = ask(client, f"{target}-fast", [question], tools=[WEATHER]).candidates[0].content.parts
    [call] = [part.function_call for part in said if part.function_call]
    assert call.name == "get_weather" and "city" in call.args
    result = types.Part(function_response=types.FunctionResponse(id=call.id, name=call.name, response={"degrees": 12}))
    last = ask(client, f"{target}-fast", [question, types.Content(role="model", parts=said),
                                          types.Content(role="user", parts=[result])], tools=[WEATHER])
    assert last.text and last.candidates[0].finish_reason == types.FinishReason.STOP


@pytest.mark.parametrize("target", TARGETS)
def test_functions_are_called_by_the_sdk(client, target):
    asked = []

    def get_weather(city: str) -> str:
        """The weather in a city."""
        asked.append(city)
        return "12 degrees"

    assert ask(client, f"{target}-fast", DELFT, tools=[get_weather]).text and asked


@pytest.mark.parametrize("target", TARGETS)
def test_a_tool_that_must_be_called(client, target):
    mode = types.ToolConfig(function_calling_config=types.FunctionCallingConfig(mode="ANY", allowed_function_names=["get_weather"]))
    answer = ask(client, f"{target}-fast", tools=[WEATHER], tool_config=mode)
    assert [call.name for call in answer.function_calls] == ["get_weather"]


@pytest.mark.parametrize("target", TARGETS)
def test_structured_output(client, target):
    answer = ask(client, f"{target}-fast", response_mime_type="application/json", response_schema=Forecast)
    assert isinstance(answer.parsed, Forecast)


@pytest.mark.parametrize("target", TARGETS)
def test_structured_output_by_a_json_schema(client, target):
    answer = ask(client, f"{target}-fast", response_mime_type="application/json",
                 response_json_schema=Forecast.model_json_schema())
    assert Forecast.model_validate_json(answer.text)


@pytest.mark.parametrize("target", TARGETS)
def test_a_chat_keeps_what_was_said(client, target):
    chat = client.chats.create(model=f"{target}-fast")
    assert chat.send_message(WORDS).text
    assert "".join(chunk.text or "" for chunk in chat.send_message_stream("And again."))
    assert [turn.role for turn in chat.get_history(curated=True)].count("user") == 2


@pytest.mark.parametrize("target", TARGETS)
def test_tokens_are_counted_before_the_call(client, target):
    assert client.models.count_tokens(model=f"{target}-fast", contents=WORDS).total_tokens > 0


def test_embeddings(client, upstream):
    upstream.answer = lambda call: call.respond(200, {"embeddings": [{"values": [0.5, 1]}, {"values": [0.25, 2]}]})
    answer = client.models.embed_content(model="script-gemini", contents=["one", "two"])
    assert [row.values for row in answer.embeddings] == [[0.5, 1], [0.25, 2]]
    sent = upstream.last()
    assert sent.path == "/v1beta/models/gemini-x:batchEmbedContents"
    assert [request["model"] for request in sent.json["requests"]] == ["models/gemini-x"] * 2
    assert [request["content"]["parts"][0]["text"] for request in sent.json["requests"]] == ["one", "two"]


def test_embeddings_of_another_dialect(client):
    got = client.models.embed_content(model="mock-embed", contents=["one", "two"])
    assert len(got.embeddings) == 2 and all(one.values for one in got.embeddings)


def test_embeddings_that_the_target_has_not(client):
    with pytest.raises(errors.ClientError) as caught:
        client.models.embed_content(model="anthropic-fast", contents="one")
    assert (caught.value.code, caught.value.status) == (400, "INVALID_ARGUMENT")


def test_models_are_listed(client):
    names = [model.name for model in client.models.list(config={"page_size": 5})]
    assert {"models/mock-fast", "models/anthropic-fast", "models/script-gemini"} <= set(names)
    one = client.models.get(model="mock-fast")
    assert one.name == "models/mock-fast" and "generateContent" in one.supported_actions


@pytest.mark.parametrize("target", TARGETS)
def test_what_the_thinking_costs_is_told(client, target):
    usage = ask(client, f"{target}-reasons").usage_metadata
    assert usage.cached_content_token_count == 2
    if target != "anthropic":  # whose usage has no figure for it
        assert usage.thoughts_token_count == 9


@pytest.mark.parametrize("target", TARGETS)
def test_a_picture(client, target):
    answer = ask(client, f"{target}-fast", ["What is this? \u2603", types.Part.from_bytes(data=b"\x89PNG", mime_type="image/png")])
    assert answer.text


# ------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("target", TARGETS)
def test_a_provider_that_is_too_busy(client, target, streamed):
    with pytest.raises(errors.ClientError) as caught:
        list(stream(client, f"{target}-429")) if streamed else ask(client, f"{target}-429")
    assert (caught.value.code, caught.value.status) == (429, "RESOURCE_EXHAUSTED") and caught.value.message
    assert caught.value.response.headers["retry-after"] == "7"


@pytest.mark.parametrize("target", TARGETS)
def test_a_provider_that_fails(client, target):
    with pytest.raises(errors.ServerError) as caught:
        ask(client, f"{target}-500")
    assert (caught.value.code, caught.value.status) == (500, "INTERNAL")


def test_a_wrong_key(root):
    with pytest.raises(errors.ClientError) as caught:
        ask(sdk_for(root, KEY_WRONG), "mock-fast")
    assert (caught.value.code, caught.value.status) == (401, "UNAUTHENTICATED")


def test_a_model_that_is_not_there(client):
    with pytest.raises(errors.ClientError) as caught:
        ask(client, "nothing")
    assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")


def test_a_model_that_is_not_allowed(root):
    with pytest.raises(errors.ClientError) as caught:
        ask(sdk_for(root, KEY_GLOBEX), "mock-fast")
    assert (caught.value.code, caught.value.status) == (403, "PERMISSION_DENIED")


def test_a_tool_that_the_target_has_not(client, mock):
    with pytest.raises(errors.ClientError) as caught:
        ask(client, "mock-fast", tools=[types.Tool(url_context=types.UrlContext())])
    assert (caught.value.code, caught.value.status) == (400, "INVALID_ARGUMENT") and "tools" in caught.value.message
    assert mock.stats()["received"] == 0


@pytest.mark.parametrize("word", ["cut", "error", "stall"])
@pytest.mark.parametrize("target", TARGETS)
def test_a_stream_that_breaks_is_an_error_or_has_no_end(client, target, word):
    """This dialect has no word for the end but the finish reason: what has none is not whole."""
    ends = []
    try:
        for chunk in stream(client, f"{target}-{word}"):
            ends += [candidate.finish_reason for candidate in chunk.candidates or [] if candidate.finish_reason]
    except (errors.APIError, httpx.HTTPError):
        ends = []
    assert not ends


@pytest.mark.parametrize("target", TARGETS)
def test_a_client_that_leaves_stops_the_provider(client, mock, target):
    chunks = stream(client, f"{target}-endless")
    assert next(chunks).text
    chunks.close()
    mock.ended_as("mock/rate-20+tokens-100000", "cut")


# ------------------------------------------------------------------------------- recorded providers


def test_thinking_of_another_dialect(client, upstream):
    upstream.answer = replayed(recorded("anthropic-messages", "anthropic.anthropic-messages.0a5f9cf83b71ce"))
    chunks = list(stream(client, "script-anthropic", thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_budget=1024)))
    parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts or []]
    assert any(part.thought and part.text for part in parts) and any(part.thought_signature for part in parts)
    assert any(part.function_call for part in parts)
    assert upstream.last().json["thinking"]["budget_tokens"] == 1024


def test_parallel_tools_of_another_dialect(client, upstream):
    upstream.answer = replayed(recorded("anthropic-messages", "anthropic.anthropic-messages.85b602795e3a1d"))
    calls = [call for chunk in stream(client, "script-anthropic", DELFT, tools=[WEATHER]) for call in chunk.function_calls or []]
    assert len(calls) >= 2 and all(call.name for call in calls) and len({call.id for call in calls}) == len(calls)


@pytest.mark.parametrize("identity", ["gemini.gemini-generate.d98799c4e3b228", "gemini.gemini-generate.fdfae8906d1f69"])
def test_its_own_dialect_is_what_was_recorded(client, root, upstream, identity):
    record = recorded("gemini-generate", identity)
    upstream.answer = replayed(record)
    chunks = list(stream(client, "script-gemini"))
    assert chunks[-1].candidates[0].finish_reason
    got = httpx.post(f"{root}/v1beta/models/script-gemini:streamGenerateContent?alt=sse", headers={"x-goog-api-key": KEY_ACME},
                     json=record["request"]["body"])
    assert got.text == record["response"]["body"]
