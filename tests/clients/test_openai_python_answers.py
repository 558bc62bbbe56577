# SPDX-License-Identifier: Apache-2.0
"""openai for Python: what an application asks of models, streamed and not."""

import base64
import json
import math
import struct
from typing import Literal

import httpx
import openai
import pytest
from harness import KEY_ACME
from pydantic import BaseModel
from questions import HELLO, WEATHER, WEATHER_FUNCTION, WEATHER_TOOL, sound, text_of

PNG = ("pixel.png", base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mMwTpsJAAICATNoejH4AAAAAElFTkSuQmCC"), "image/png")


class Forecast(BaseModel):
    city: str
    sky: Literal["clear", "clouds"]
    degrees: int
    hours: list[int]


def ask(client, model="fast", messages=HELLO, **fields):
    return client.chat.completions.create(model=model, messages=messages, **fields)


# ------------------------------------------------------------------------------- chat


def test_chat(client, mock):
    answer = ask(client)
    choice = answer.choices[0]
    assert answer.object == "chat.completion" and choice.finish_reason == "stop"
    assert choice.message.role == "assistant" and choice.message.content
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
    assert mock.stats("mock")["whole"] == 1


def test_chat_is_booked_as_the_sdk_saw_it(client, gate):
    raw = client.chat.completions.with_raw_response.create(model="fast", messages=HELLO)
    usage = raw.parse().usage
    row = gate.ledger_row(raw.headers["x-request-id"])
    assert (row["input_tokens"], row["output_tokens"]) == (usage.prompt_tokens, usage.completion_tokens)
    assert (row["model"], row["tenant"], row["outcome"], row["counted"]) == ("fast", "acme", "complete", "provider")


def test_the_request_id_reaches_the_application(client):
    answer = ask(client)
    assert answer._request_id.startswith("req_")


def test_headers_say_what_happened(client):
    raw = client.chat.completions.with_raw_response.create(model="fast", messages=HELLO)
    assert raw.headers["x-sluice-model"] == "fast" and raw.headers["x-sluice-provider"] == "mock"
    assert float(raw.headers["x-sluice-cost-usd"]) > 0


def test_fields_that_the_sdk_does_not_know_pass(client):
    answer = ask(client, extra_body={"an_unknown_field": {"deep": [1, 2.5, None]}}, seed=7, user="u-1")
    assert answer.choices[0].message.content


def test_a_conversation_with_every_kind_of_message(client):
    answer = ask(client, messages=[
        {"role": "system", "content": "You keep a lock."},
        {"role": "user", "content": [{"type": "text", "text": "What is this? ☃ \u0000 \U0001f6a4"},
                                     {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
        {"role": "assistant", "content": "A boat."},
        {"role": "user", "content": "Sure?"}])
    assert answer.choices[0].message.content


def test_max_tokens_ends_for_length(client):
    answer = ask(client, max_completion_tokens=3)
    assert answer.choices[0].finish_reason == "length" and answer.usage.completion_tokens == 3


@pytest.mark.parametrize("n", [1, 3])
def test_parallel_choices(client, n):
    answer = ask(client, n=n, temperature=1)
    assert [choice.index for choice in answer.choices] == list(range(n))
    assert all(choice.message.content for choice in answer.choices)


def test_a_prompt_of_a_megabyte(client):
    answer = ask(client, messages=[{"role": "user", "content": "word " * 200_000}])
    assert answer.usage.prompt_tokens >= 200_000


def test_an_answer_of_eight_megabytes(client):
    assert len(ask(client, "mock/big-8").choices[0].message.content) > 7_000_000


# ------------------------------------------------------------------------------- streamed chat


def test_a_stream_says_what_the_whole_answer_says(client):
    whole = ask(client)
    chunks = list(ask(client, stream=True))
    assert text_of(chunks) == whole.choices[0].message.content
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"


def test_a_stream_has_no_usage_that_was_not_asked_for(client, gate):
    raw = client.chat.completions.with_raw_response.create(model="fast", messages=HELLO, stream=True)
    chunks = list(raw.parse())
    assert chunks and all(chunk.usage is None and chunk.choices for chunk in chunks)
    row = gate.ledger_row(raw.headers["x-request-id"])
    assert row["counted"] == "provider" and row["output_tokens"] > 0, "we have asked for it ourselves"


def test_a_stream_ends_with_the_usage_that_was_asked_for(client, gate):
    raw = client.chat.completions.with_raw_response.create(
        model="fast", messages=HELLO, stream=True, stream_options={"include_usage": True})
    *chunks, last = raw.parse()
    assert last.choices == [] and all(chunk.usage is None for chunk in chunks)
    row = gate.ledger_row(raw.headers["x-request-id"])
    assert (row["input_tokens"], row["output_tokens"]) == (last.usage.prompt_tokens, last.usage.completion_tokens)


def test_the_streaming_helper(client):
    with client.chat.completions.stream(model="fast", messages=HELLO) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion()
    assert "content.delta" in kinds and kinds[-1] in ("content.done", "chunk")
    assert final.choices[0].message.content and final.choices[0].finish_reason == "stop"


def test_a_stream_of_parallel_choices(client):
    said = {}
    for chunk in ask(client, n=2, stream=True):
        for choice in chunk.choices:
            said[choice.index] = said.get(choice.index, "") + (choice.delta.content or "")
    assert sorted(said) == [0, 1] and all(said.values())


def test_a_stream_of_ten_thousand_tokens(client):
    chunks = list(ask(client, "mock/tokens-10000", stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].usage.completion_tokens == 10_000
    assert sum(1 for chunk in chunks if chunk.choices and chunk.choices[0].delta.content) == 10_000


# ------------------------------------------------------------------------------- tools


def test_a_tool_is_called_and_its_result_is_taken(client):
    first = ask(client, messages=WEATHER, tools=[WEATHER_TOOL])
    choice = first.choices[0]
    assert choice.finish_reason == "tool_calls"
    call = choice.message.tool_calls[0]
    arguments = json.loads(call.function.arguments)
    assert call.function.name == "get_weather" and set(arguments) == {"city", "unit"}
    second = ask(client, tools=[WEATHER_TOOL], messages=[
        *WEATHER, choice.message, {"role": "tool", "tool_call_id": call.id, "content": "12 degrees"}])
    assert second.choices[0].finish_reason == "stop" and second.choices[0].message.content


def test_a_tool_call_is_streamed(client):
    name, arguments, finish = "", "", None
    for chunk in ask(client, messages=WEATHER, tools=[WEATHER_TOOL], stream=True):
        choice = chunk.choices[0]
        for call in choice.delta.tool_calls or []:
            name += call.function.name or ""
            arguments += call.function.arguments or ""
        finish = choice.finish_reason or finish
    assert (name, finish) == ("get_weather", "tool_calls")
    assert set(json.loads(arguments)) == {"city", "unit"}


@pytest.mark.parametrize("choice, called", [
    ("none", False), ("required", True), ({"type": "function", "function": {"name": "get_weather"}}, True)])
def test_tool_choice(client, choice, called):
    answer = ask(client, messages=WEATHER if choice == "none" else HELLO, tools=[WEATHER_TOOL], tool_choice=choice)
    assert bool(answer.choices[0].message.tool_calls) == called


# ------------------------------------------------------------------------------- structured output


def test_structured_output_is_parsed(client):
    answer = client.chat.completions.parse(model="fast", messages=HELLO, response_format=Forecast)
    assert isinstance(answer.choices[0].message.parsed, Forecast)


def test_structured_output_is_streamed(client):
    with client.chat.completions.stream(model="fast", messages=HELLO, response_format=Forecast) as stream:
        final = stream.get_final_completion()
    assert isinstance(final.choices[0].message.parsed, Forecast)


def test_json_schema_by_hand(client):
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"],
              "additionalProperties": False}
    answer = ask(client, response_format={"type": "json_schema", "json_schema": {
        "name": "person", "strict": True, "schema": schema}})
    assert isinstance(json.loads(answer.choices[0].message.content)["name"], str)


# ------------------------------------------------------------------------------- completions


def test_completions(client):
    answer = client.completions.create(model="fast", prompt="A lock is", max_tokens=5)
    assert answer.choices[0].text and answer.usage.completion_tokens <= 5


def test_completions_are_streamed(client):
    whole = client.completions.create(model="fast", prompt="A lock is")
    chunks = client.completions.create(model="fast", prompt="A lock is", stream=True)
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == whole.choices[0].text


# ------------------------------------------------------------------------------- embeddings


def test_embeddings(client, gate):
    raw = client.embeddings.with_raw_response.create(model="embed", input=["one", "two", "three"])
    answer = raw.parse()
    assert [item.index for item in answer.data] == [0, 1, 2]
    vector = answer.data[0].embedding
    assert len(vector) == 1536 and math.isclose(sum(x * x for x in vector), 1, rel_tol=1e-3)
    assert gate.ledger_row(raw.headers["x-request-id"])["input_tokens"] == answer.usage.prompt_tokens > 0


def test_embeddings_in_base64_are_those_in_floats(client):
    fields = {"model": "embed", "input": "one", "dimensions": 16}
    floats = client.embeddings.create(**fields, encoding_format="float").data[0].embedding
    coded = client.embeddings.create(**fields, encoding_format="base64").data[0].embedding
    decoded = struct.unpack("<16f", base64.b64decode(coded)) if isinstance(coded, str) else coded
    assert decoded == pytest.approx(floats, abs=1e-6)


def test_embeddings_of_tokens_and_of_one_word(client):
    assert len(client.embeddings.create(model="embed", input=[[1, 2, 3], [4]], dimensions=8).data) == 2
    assert len(client.embeddings.create(model="embed", input="one", dimensions=8).data[0].embedding) == 8


def test_embeddings_of_a_thousand_texts(client):
    answer = client.embeddings.create(model="embed", input=[f"text {i}" for i in range(1000)], dimensions=64)
    assert len(answer.data) == 1000 and answer.data[999].index == 999


# ------------------------------------------------------------------------------- models


def test_models_are_listed(client):
    names = [model.id for model in client.models.list()]
    assert {"fast", "embed", "image", "audio"} <= set(names)
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", ["fast", "mock/tokens-5"])
def test_a_model_is_retrieved(client, name):
    model = client.models.retrieve(name)
    assert model.id == name and model.object == "model"


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("nobody")
    assert caught.value.code == "model_not_found" and caught.value.param == "model"


# ------------------------------------------------------------------------------- responses


def test_a_response_and_its_life(client):
    made = client.responses.create(model="fast", input="Say hello.", store=True)
    assert made.status == "completed" and made.output_text
    assert client.responses.retrieve(made.id).output_text == made.output_text
    assert client.responses.input_items.list(made.id).object == "list"
    client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_a_response_is_booked(client, gate):
    raw = client.responses.with_raw_response.create(model="fast", input="Say hello.")
    usage = raw.parse().usage
    row = gate.ledger_row(raw.headers["x-request-id"])
    assert (row["input_tokens"], row["output_tokens"]) == (usage.input_tokens, usage.output_tokens)


def test_a_response_is_streamed(client, gate):
    whole = client.responses.create(model="fast", input="Say hello.")
    raw = client.responses.with_raw_response.create(model="fast", input="Say hello.", stream=True)
    events = list(raw.parse())
    kinds = [event.type for event in events]
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == whole.output_text
    assert [event.sequence_number for event in events] == list(range(len(events)))
    usage = events[-1].response.usage
    row = gate.ledger_row(raw.headers["x-request-id"])
    assert (row["input_tokens"], row["output_tokens"]) == (usage.input_tokens, usage.output_tokens)


def test_a_streamed_response_can_be_retrieved(client):
    with client.responses.stream(model="fast", input="Say hello.", store=True) as stream:
        stream.until_done()
        made = stream.get_final_response()
    assert client.responses.retrieve(made.id).id == made.id


def test_a_response_calls_a_function(client):
    made = client.responses.create(model="fast", input="What is the weather in Delft?", tools=[WEATHER_FUNCTION])
    call = made.output[0]
    assert (call.type, call.name) == ("function_call", "get_weather")
    assert set(json.loads(call.arguments)) == {"city", "unit"}
    after = client.responses.create(model="fast", tools=[WEATHER_FUNCTION], previous_response_id=made.id, input=[
        {"type": "function_call_output", "call_id": call.call_id, "output": "12 degrees"}])
    assert after.output_text


def test_a_response_is_parsed(client):
    made = client.responses.parse(model="fast", input="The weather?", text_format=Forecast)
    assert isinstance(made.output_parsed, Forecast)


# ------------------------------------------------------------------------------- everything else


@pytest.mark.parametrize("fields", [{"model": "moderation"}, {}], ids=["model", "no-model"])
def test_moderations(client, fields):
    answer = client.moderations.create(input=["I want to hurt", "a kind word"], **fields)
    assert answer.results[0].flagged and answer.results[0].categories.violence


def test_an_image_is_made(client, gate):
    raw = client.images.with_raw_response.generate(model="image", prompt="A lock gate", n=2)
    answer = raw.parse()
    assert len(answer.data) == 2 and base64.b64decode(answer.data[0].b64_json).startswith(b"\x89PNG")
    assert gate.ledger_row(raw.headers["x-request-id"])["output_tokens"] == answer.usage.output_tokens


def test_an_image_by_its_address(client):
    answer = client.images.generate(model="image", prompt="A lock gate", response_format="url")
    assert answer.data[0].url.startswith("https://")


def test_an_image_is_streamed(client):
    kinds = [event.type for event in client.images.generate(model="image", prompt="A gate", stream=True)]
    assert kinds == ["image_generation.partial_image", "image_generation.completed"]


def test_an_image_is_edited(client):
    answer = client.images.edit(model="image", image=PNG, mask=PNG, prompt="More water")
    assert answer.data[0].b64_json


@pytest.mark.filterwarnings("ignore:deprecated")
def test_an_image_is_varied(client):
    assert client.images.create_variation(model="image", image=PNG).data[0].b64_json


def test_speech(client):
    answer = client.audio.speech.create(model="audio", voice="alloy", input="Hello there.", response_format="wav")
    assert answer.content.startswith(b"RIFF") and len(answer.content) > 1000


def test_speech_is_streamed_to_a_file(client, tmp_path):
    path = tmp_path / "hello.wav"
    with client.audio.speech.with_streaming_response.create(model="audio", voice="alloy", input="Hello.") as answer:
        answer.stream_to_file(path)
    assert path.read_bytes().startswith(b"RIFF")


def test_a_transcription(client):
    answer = client.audio.transcriptions.create(model="audio", file=sound(2))
    assert answer.text and answer.usage.seconds >= 2


@pytest.mark.parametrize("shape", ["text", "verbose_json"])
def test_a_transcription_in_another_shape(client, shape):
    answer = client.audio.transcriptions.create(model="audio", file=sound(), response_format=shape)
    assert answer.strip() if shape == "text" else answer.duration >= 1


def test_a_transcription_is_streamed(client):
    events = list(client.audio.transcriptions.create(model="audio", file=sound(), stream=True))
    assert events[-1].type == "transcript.text.done"
    assert "".join(event.delta for event in events[:-1]) == events[-1].text


def test_a_transcription_of_ten_megabytes(client, gate):
    raw = client.audio.transcriptions.with_raw_response.create(model="audio", file=sound(600))
    assert raw.parse().text
    assert gate.ledger_row(raw.headers["x-request-id"])["model"] == "audio"


@pytest.mark.filterwarnings("ignore:deprecated")
def test_a_translation(client):
    assert client.audio.translations.create(model="audio", file=sound()).text


def test_rerank(base_url):
    with httpx.Client(headers={"Authorization": f"Bearer {KEY_ACME}"}, timeout=20) as http:
        answer = http.post(f"{base_url}/rerank", json={"model": "fast", "query": "lock gate", "top_n": 2,
                                                       "documents": ["a tree", "the lock gate", "a gate"]})
    assert answer.status_code == 200, answer.text
    assert [item["index"] for item in answer.json()["results"]] == [1, 2]


# ------------------------------------------------------------------------------- where it is asked


@pytest.mark.parametrize("path", ["", "/openai/v1", "/openai"], ids=["root", "openai-v1", "openai"])
def test_other_base_urls(base_url, path):
    with openai.OpenAI(base_url=base_url.removesuffix("/v1") + path, api_key=KEY_ACME, max_retries=0) as other:
        assert ask(other).choices[0].message.content
        assert "".join(text_of(ask(other, stream=True)))


def test_over_tls(tls_url, authority, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    with openai.OpenAI(base_url=tls_url, api_key=KEY_ACME, max_retries=0) as secure:
        assert text_of(ask(secure, stream=True)) == ask(secure).choices[0].message.content
        with secure.realtime.connect(model="fast") as connection:
            assert connection.recv().type == "session.created"


def test_a_certificate_of_nobody_is_refused(tls_url):
    with openai.OpenAI(base_url=tls_url, api_key=KEY_ACME, max_retries=0) as secure:
        with pytest.raises(openai.APIConnectionError):
            ask(secure)


def test_one_connection_serves_many_calls(base_url, gate):
    with openai.OpenAI(base_url=base_url, api_key=KEY_ACME, max_retries=0) as fresh:
        before = gate.metric("sluice_connections_accepted_total")
        for _ in range(20):
            ask(fresh, max_tokens=1)
        used = gate.metric("sluice_connections_accepted_total") - before
    assert used <= 2, "one of ours, one of the look at the metrics"
