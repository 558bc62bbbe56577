# SPDX-License-Identifier: Apache-2.0
"""LangChain's OpenAI classes: base_url changed, nothing else."""

import asyncio

import openai
import pytest
from harness import KEY_ACME, KEY_GLOBEX, KEY_WRONG
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from pydantic import BaseModel


class Boat(BaseModel):
    """A boat in the lock."""

    name: str
    tons: int


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"12 degrees in {city}"


def options(base_url, key=KEY_ACME):
    return {"base_url": base_url, "api_key": key, "max_retries": 0, "timeout": 20}


@pytest.fixture
def chat(base_url):
    return ChatOpenAI(model="fast", **options(base_url))


def test_invoke(chat):
    answer = chat.invoke([SystemMessage("You keep a lock."), HumanMessage("Hello")])
    assert answer.content and answer.response_metadata["finish_reason"] == "stop"
    usage = answer.usage_metadata
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0


def test_stream(chat):
    chunks = list(chat.stream("Hello"))
    assert len(chunks) > 3 and "".join(chunk.content for chunk in chunks) == chat.invoke("Hello").content


def test_a_stream_tells_its_usage(base_url):
    chat = ChatOpenAI(model="fast", stream_usage=True, **options(base_url))
    whole = None
    for chunk in chat.stream("Hello"):
        whole = chunk if whole is None else whole + chunk
    assert whole.usage_metadata["output_tokens"] > 0


def test_asynchronous_stream_and_batch(chat):
    async def everything():
        streamed = [chunk.content async for chunk in chat.astream("Hello")]
        answers = await chat.abatch([f"Hello {i}" for i in range(20)])
        return "".join(streamed), answers

    streamed, answers = asyncio.run(everything())
    assert streamed == chat.invoke("Hello").content
    assert len(answers) == 20 and all(answer.content for answer in answers)


def test_a_chain(chat):
    chain = ChatPromptTemplate.from_messages([("system", "Be brief."), ("user", "{words}")]) | chat | StrOutputParser()
    assert chain.invoke({"words": "Hello"})
    assert "".join(chain.stream({"words": "Hello"})) == chain.invoke({"words": "Hello"})


def test_a_tool_and_its_result(chat):
    with_tools = chat.bind_tools([get_weather])
    messages = [HumanMessage("What is the weather in Delft?")]
    first = with_tools.invoke(messages)
    assert [call["name"] for call in first.tool_calls] == ["get_weather"] and "city" in first.tool_calls[0]["args"]
    messages += [first, get_weather.invoke(first.tool_calls[0])]
    assert with_tools.invoke(messages).content


def test_a_tool_call_is_streamed(chat):
    whole = None
    for chunk in chat.bind_tools([get_weather]).stream("What is the weather in Delft?"):
        whole = chunk if whole is None else whole + chunk
    assert [call["name"] for call in whole.tool_calls] == ["get_weather"]


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output(chat, method):
    assert isinstance(chat.with_structured_output(Boat, method=method).invoke("Which boat is it?"), Boat)


def test_the_responses_api(base_url):
    chat = ChatOpenAI(model="fast", use_responses_api=True, **options(base_url))
    answer = chat.invoke("Hello")
    assert answer.text and answer.usage_metadata["output_tokens"] > 0
    assert "".join(chunk.text for chunk in chat.stream("Hello")) == answer.text


def test_completions(base_url):
    model = OpenAI(model="fast", **options(base_url))
    assert model.invoke("A lock is") and "".join(model.stream("A lock is"))


def test_embeddings(base_url):
    # Its own count of tokens would fetch a word list of OpenAI's: off, as for every other provider.
    model = OpenAIEmbeddings(model="embed", check_embedding_ctx_length=False, **options(base_url))
    vectors = model.embed_documents(["one", "two"])
    assert len(vectors) == 2 and len(vectors[0]) == 1536
    assert model.embed_query("one") == pytest.approx(vectors[0], abs=1e-6)


@pytest.mark.parametrize("key, model, error", [
    (KEY_WRONG, "fast", openai.AuthenticationError), (KEY_GLOBEX, "embed", openai.PermissionDeniedError),
    (KEY_ACME, "nobody", openai.NotFoundError), (KEY_ACME, "mock/429", openai.RateLimitError),
    (KEY_ACME, "mock/500", openai.InternalServerError)])
def test_errors(base_url, key, model, error):
    with pytest.raises(error):
        ChatOpenAI(model=model, **options(base_url, key)).invoke("Hello")


def test_a_stream_that_breaks_raises(base_url):
    with pytest.raises(openai.APIError):
        list(ChatOpenAI(model="mock/reset-mid-5+rate-50", **options(base_url)).stream("Hello"))


def test_a_stream_that_is_left_ends_the_upstream_call(base_url, mock):
    model = "mock/rate-20+tokens-100000"
    stream = ChatOpenAI(model=model, **options(base_url)).stream("Hello")
    next(stream)
    stream.close()
    mock.ended_as(model, "cut")
