# SPDX-License-Identifier: Apache-2.0
"""A real model behind the gateway: llama.cpp's own server, as deploy/quickstart starts it.

It has to be there (`deploy/quickstart/model install`): without it these fail.
"""

import asyncio
import json
import re
import subprocess
import urllib.request

import anthropic
import openai
import pytest
from google import genai
from harness import KEY_ACME, KEY_WRONG, ROOT, Sluice, config_for, eventually, model_for, provider_for
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from node_runner import cases, check
from questions import text_of

START_SECONDS = 90
MODEL = "smollm2"
QUESTION = [{"role": "user", "content": "What does a lock keeper do?"}]
SAME = {"temperature": 0, "seed": 1, "max_tokens": 16, "extra_body": {"cache_prompt": False}}


class Server:
    """The model server in a process of its own."""

    def __init__(self, log):
        self.log = log
        self.process = subprocess.Popen([ROOT / "deploy/quickstart/model", "serve", "0"], stdout=log.open("wb"),
                                        stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        try:
            self.url = eventually(self._ready, START_SECONDS, every=0.1, what="the model server")
        except BaseException:
            self.stop()
            raise

    def _ready(self):
        words = self.log.read_text(errors="replace")
        assert self.process.poll() is None, f"the model server has ended:\n{words[-3000:]}"
        found = re.search(r"^ready (http://\S+)$", words, re.M)
        return found and found[1]

    def busy(self):
        """How many calls it works on now."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as answer:
            return int(re.search(r"^llamacpp:requests_processing (\d+)", answer.read().decode(), re.M)[1])

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("model") / "log")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def gate(server):
    config = config_for(server.url)
    config["providers"] = [provider_for(f"{server.url}/v1", "llama", type="llama-cpp",
                                        timeouts={"first_byte": "60s"})]
    config["models"] = [model_for(MODEL, "llama", MODEL)]
    with Sluice(config) as sluice:
        yield sluice


@pytest.fixture(scope="module")
def client(base_url):
    with openai.OpenAI(base_url=base_url, api_key=KEY_ACME, max_retries=0, timeout=60) as sdk:
        yield sdk


@pytest.fixture(scope="module")
def direct(server):
    """The same SDK, without the gateway."""
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0, timeout=60) as sdk:
        yield sdk


def ask(client, messages=QUESTION, **fields):
    return client.chat.completions.create(model=MODEL, messages=messages, **{"max_tokens": 16, **fields})


# ------------------------------------------------------------------------------- what it says


def test_the_model_has_its_name(client, direct):
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).id == MODEL
    assert [model.id for model in direct.models.list()] == [MODEL]


def test_chat(client, direct, gate):
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=QUESTION, **SAME)
    answer, same = raw.parse(), ask(direct, **SAME)
    assert answer.choices[0].message.content == same.choices[0].message.content
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (
        same.usage.prompt_tokens, same.usage.completion_tokens)
    row = gate.ledger_row(raw.headers["x-request-id"])
    assert (row["input_tokens"], row["output_tokens"], row["counted"]) == (
        answer.usage.prompt_tokens, answer.usage.completion_tokens, "provider")


def test_a_stream(client, direct, gate):
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=QUESTION, stream=True, **SAME)
    chunks = list(raw.parse())
    same = ask(direct, **SAME)
    assert text_of(chunks) == same.choices[0].message.content
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == same.choices[0].finish_reason
    assert all(chunk.usage is None and chunk.choices for chunk in chunks), "nobody has asked for usage"
    row = gate.ledger_row(raw.headers["x-request-id"])
    assert (row["input_tokens"], row["output_tokens"], row["counted"], row["outcome"]) == (
        same.usage.prompt_tokens, same.usage.completion_tokens, "provider", "complete")


def test_a_stream_in_the_words_of_anthropic(gate, direct):
    with anthropic.Anthropic(base_url="http://{}:{}".format(*gate.address()), api_key=KEY_ACME, max_retries=0) as sdk:
        with sdk.messages.stream(model=MODEL, max_tokens=16, messages=QUESTION, extra_body={"temperature": 0}) as stream:
            answer = stream.get_final_message()
    same = ask(direct, temperature=0)
    assert answer.content[0].text == same.choices[0].message.content and answer.stop_reason == "max_tokens"
    assert (answer.usage.input_tokens + (answer.usage.cache_read_input_tokens or 0), answer.usage.output_tokens) == (
        same.usage.prompt_tokens, same.usage.completion_tokens)


def test_a_stream_in_the_words_of_gemini(gate, direct):
    sdk = genai.Client(api_key=KEY_ACME, http_options={"base_url": "http://{}:{}".format(*gate.address())})
    chunks = list(sdk.models.generate_content_stream(model=MODEL, contents=QUESTION[0]["content"],
                                                     config={"temperature": 0, "max_output_tokens": 16}))
    same = ask(direct, temperature=0)
    assert "".join(chunk.text or "" for chunk in chunks) == same.choices[0].message.content
    assert chunks[-1].candidates[0].finish_reason.name == "MAX_TOKENS"
    usage = chunks[-1].usage_metadata
    assert (usage.prompt_token_count, usage.candidates_token_count) == (same.usage.prompt_tokens, same.usage.completion_tokens)


def test_a_stream_with_usage(client):
    *_, last = ask(client, stream=True, stream_options={"include_usage": True})
    assert last.choices == [] and 0 < last.usage.completion_tokens <= 16


def test_fields_of_llama_cpp_pass(client):
    answer = ask(client, extra_body={"top_k": 1, "cache_prompt": False, "timings_per_token": True})
    assert answer.model_extra["timings"]["predicted_n"] > 0


def test_structured_output(client):
    schema = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 12}, "tons": {"type": "integer", "maximum": 99}},
              "required": ["name", "tons"], "additionalProperties": False}
    answer = ask(client, [{"role": "user", "content": "Name a boat."}], max_tokens=120, response_format={
        "type": "json_schema", "json_schema": {"name": "boat", "strict": True, "schema": schema}})
    boat = json.loads(answer.choices[0].message.content)
    assert isinstance(boat["name"], str) and isinstance(boat["tons"], int)


def test_tools_are_offered(client):
    """It is too small to be relied on to call one; that it may is taken, and its answer is read."""
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}
    message = ask(client, [{"role": "user", "content": "What is the weather in Delft?"}], tools=[tool]).choices[0].message
    assert message.content or message.tool_calls


def test_completions(client, direct):
    fields = {"model": MODEL, "prompt": "A lock keeper is", **SAME}
    whole = client.completions.create(**fields).choices[0].text
    assert whole == direct.completions.create(**fields).choices[0].text
    assert "".join(chunk.choices[0].text for chunk in client.completions.create(**fields, stream=True)) == whole


def test_a_response(client):
    made = client.responses.create(model=MODEL, input="What does a lock keeper do?", max_output_tokens=16)
    assert made.output_text and made.usage.output_tokens <= 16
    events = list(client.responses.create(model=MODEL, input="Hello", max_output_tokens=8, stream=True))
    assert events[-1].type == "response.completed"
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta")


def test_embeddings(client, direct, gate):
    raw = client.embeddings.with_raw_response.create(model=MODEL, input=["a lock", "a boat"])
    answer, same = raw.parse(), direct.embeddings.create(model=MODEL, input=["a lock", "a boat"])
    assert [item.embedding for item in answer.data] == [pytest.approx(item.embedding, abs=1e-3) for item in same.data]
    assert gate.ledger_row(raw.headers["x-request-id"])["input_tokens"] == same.usage.prompt_tokens > 0


def test_many_streams_for_few_slots(base_url):
    async def one(client, number):
        stream = await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": f"Count from {number}."}], max_tokens=8, stream=True)
        return text_of([chunk async for chunk in stream])

    async def all_of_them():
        async with openai.AsyncOpenAI(base_url=base_url, api_key=KEY_ACME, max_retries=0, timeout=90) as client:
            return await asyncio.gather(*(one(client, i) for i in range(12)))

    assert all(asyncio.run(all_of_them()))


# ------------------------------------------------------------------------------- when it goes wrong


def test_a_wrong_key(base_url):
    with openai.OpenAI(base_url=base_url, api_key=KEY_WRONG, max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError):
            ask(stranger)


def test_a_model_that_is_not_there(client):
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="nobody", messages=QUESTION)


def test_a_prompt_that_is_too_long(client):
    with pytest.raises(openai.BadRequestError):
        ask(client, [{"role": "user", "content": "lock " * 6000}])


def test_a_field_that_it_refuses(client):
    with pytest.raises(openai.APIStatusError) as caught:
        ask(client, [{"role": "nobody", "content": 7}])
    assert caught.value.status_code in (400, 500)


def test_a_client_that_runs_out_of_patience(client, server, gate):
    """We hang up at once; this server looks up from an unstreamed answer only every few seconds."""
    with pytest.raises(openai.APITimeoutError):
        ask(client.with_options(timeout=0.5), max_tokens=150, extra_body={"ignore_eos": True})
    eventually(lambda: gate.access_lines()[-1].get("error.type") == "client_gone", 1)
    assert gate.metric("sluice_upstream_connections") == gate.metric("sluice_upstream_idle_connections")
    eventually(lambda: server.busy() == 0, 40, what="the model to be idle")


def test_a_stream_that_is_closed_stops_the_model(client, server, gate):
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=QUESTION, stream=True, max_tokens=1500, extra_body={"ignore_eos": True})
    stream = raw.parse()
    for _ in range(5):
        next(stream)
    assert server.busy() == 1
    stream.close()
    eventually(lambda: server.busy() == 0, 2, what="the model to be idle")
    row = gate.ledger_row(raw.headers["x-request-id"])
    assert row["outcome"] == "partial" and row["output_tokens"] > 0


# ------------------------------------------------------------------------------- other clients


def test_langchain(base_url):
    chat = ChatOpenAI(model=MODEL, base_url=base_url, api_key=KEY_ACME, max_retries=0, timeout=60, max_tokens=8)
    assert chat.invoke("Hello").usage_metadata["output_tokens"] > 0
    assert "".join(chunk.content for chunk in chat.stream("Hello"))
    embeddings = OpenAIEmbeddings(model=MODEL, base_url=base_url, api_key=KEY_ACME, check_embedding_ctx_length=False)
    assert len(embeddings.embed_query("a lock")) > 100


@pytest.mark.parametrize("file, name", cases("real_model.test.mjs"))
def test_node(base_url, gate, file, name):
    check(file, name, SLUICE_URL=base_url, KEY_ACME=KEY_ACME, KEY_WRONG=KEY_WRONG)
