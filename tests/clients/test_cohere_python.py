# SPDX-License-Identifier: Apache-2.0
"""cohere for Python, unchanged: chats, tools, embeddings and rankings of a target of OpenAI's dialect."""

import cohere
import pytest
from cohere.core.api_error import ApiError
from crossing import gate, recorded, replayed, root, second  # noqa: F401
from harness import KEY_ACME, KEY_WRONG

HELLO = [{"role": "user", "content": "Say hello to the lock keeper."}]
TOOL = {"type": "function", "function": {"name": "get_weather", "description": "d", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}


@pytest.fixture(scope="module")
def client(root):
    return cohere.ClientV2(api_key=KEY_ACME, base_url=root, timeout=20)


def test_a_chat(client):
    got = client.chat(model="mock-fast", messages=HELLO)
    assert got.message.content[0].text and got.finish_reason == "COMPLETE" and got.usage.tokens.output_tokens > 0


def test_a_stream(client):
    kinds, text = [], ""
    for event in client.chat_stream(model="mock-fast", messages=HELLO):
        kinds.append(event.type)
        if event.type == "content-delta":
            text += event.delta.message.content.text or ""
    assert text and kinds[:2] == ["message-start", "content-start"] and kinds[-2:] == ["content-end", "message-end"], kinds
    assert event.delta.finish_reason == "COMPLETE" and event.delta.usage.tokens.output_tokens > 0


def test_a_tool_is_called_and_answered(client):
    got = client.chat(model="mock-fast", messages=HELLO, tools=[TOOL], tool_choice="REQUIRED")
    [call] = got.message.tool_calls
    assert call.function.name == "get_weather" and got.finish_reason == "TOOL_CALL"
    history = [*HELLO, got.message, {"role": "tool", "tool_call_id": call.id, "content": "Sunny."}]
    assert client.chat(model="mock-fast", messages=history, tools=[TOOL]).message.content[0].text


def test_vectors_and_rankings(client):
    got = client.embed(model="mock-embed", texts=["a", "b"], input_type="search_query", embedding_types=["float"])
    assert len(got.embeddings.float_) == 2 and len(got.embeddings.float_[0]) == len(got.embeddings.float_[1]) > 3
    ranked = client.rerank(model="mock-fast", query="q", documents=["x", "y"], top_n=2)
    assert sorted(one.index for one in ranked.results) == [0, 1]


def test_errors(client, root):
    for sdk, model, status in ((client, "nobody", 404), (cohere.ClientV2(api_key=KEY_WRONG, base_url=root), "mock-fast", 401)):
        with pytest.raises(ApiError) as error:
            sdk.chat(model=model, messages=HELLO)
        assert error.value.status_code == status and error.value.body["message"]


def test_version_1_is_told_where_version_2_is(root):
    older = cohere.Client(api_key=KEY_ACME, base_url=root, timeout=20)
    ranked = older.rerank(model="mock-fast", query="q", documents=["x", "y"], top_n=2)
    assert sorted(one.index for one in ranked.results) == [0, 1]
    for ask in (lambda: older.chat(model="mock-fast", message="hi"), lambda: older.embed(model="mock-embed", texts=["a"], input_type="clustering")):
        with pytest.raises(ApiError) as error:
            ask()
        assert error.value.status_code == 404 and "/v2/chat" in str(error.value.body)
