# SPDX-License-Identifier: Apache-2.0
"""ollama for Python, unchanged: chats, prompts and embeddings of a target of OpenAI's dialect."""

import ollama
import pytest
from crossing import gate, recorded, replayed, root, second  # noqa: F401
from harness import KEY_ACME

HELLO = [{"role": "user", "content": "Say hello to the lock keeper."}]


@pytest.fixture(scope="module")
def client(root):
    return ollama.Client(host=root, headers={"Authorization": f"Bearer {KEY_ACME}"}, timeout=20)


def test_a_chat(client):
    got = client.chat(model="mock-fast", messages=HELLO)
    assert got.message.content and got.done and got.eval_count > 0
    parts = list(client.chat(model="mock-fast", messages=HELLO, stream=True))
    assert "".join(part.message.content for part in parts) and [part.done for part in parts[-2:]] == [False, True]


def test_a_prompt(client):
    assert client.generate(model="mock-fast", prompt="Say hello.").response


def test_vectors(client):
    got = client.embed(model="mock-embed", input=["a", "b"])
    assert len(got.embeddings) == 2 and len(got.embeddings[0]) > 3


def test_what_is_known_of_models(client):
    shown = client.show("mock-fast")
    assert "completion" in shown.capabilities and shown.modelinfo["general.architecture"] and shown.details.families
    assert "mock-fast" in [model.model for model in client.list().models] and client.ps().models == []
    with pytest.raises(ollama.ResponseError) as error:
        client.show("nobody")
    assert error.value.status_code == 404 and "nobody" in error.value.error
    for asked in (client.pull, client.delete):
        with pytest.raises(ollama.ResponseError) as error:
            asked("mock-fast")
        assert error.value.status_code in (404, 405)


def test_errors(client):
    with pytest.raises(ollama.ResponseError) as error:
        client.chat(model="nobody", messages=HELLO)
    assert error.value.status_code == 404 and "nobody" in error.value.error
