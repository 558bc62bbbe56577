# SPDX-License-Identifier: Apache-2.0
"""Azure OpenAI: deployments below a version of the API, or models below /openai/v1; the key in a header of its own."""

import json

import pytest
from harness import Sluice, config_for, eventually, model_for, provider_for
from raw_upstream import chat_body

OLD, NEW = "2024-10-21", None


def configure(upstream, version=OLD, base=""):
    azure = provider_for(upstream, "azure", type="azure-openai", base_url=upstream.url.removesuffix("/v1") + base, api_key="azure-key")
    if version:
        azure["api_version"] = version
    return config_for(upstream, providers=[azure], models=[model_for("fast", "azure", "my deployment/4o")])


CASES = {
    "deployments": (OLD, "", "/openai/deployments/my%20deployment%2F4o/chat/completions?api-version=2024-10-21"),
    "models": (NEW, "", "/openai/v1/chat/completions"),
    "the base URL of newer SDKs": (NEW, "/openai/v1", "/openai/v1/chat/completions"),
    "models of Foundry": ("2024-05-01-preview", "/models", "/models/chat/completions?api-version=2024-05-01-preview"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_call_goes_where_azure_has_it(upstream, case):
    version, base, expected = CASES[case]
    upstream.answer = lambda call: call.respond(200, chat_body())
    with Sluice(configure(upstream, version, base)) as gate:
        assert gate.chat().status == 200
        sent = upstream.last()
        assert sent.target == expected
        assert sent.header("api-key") == "azure-key" and not sent.header("authorization")
        got = gate.post("/v1/messages", {"model": "fast", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]})
        assert got.status == 200 and got.json["type"] == "message", got
        assert upstream.last().target == expected
        assert chat_body()["choices"][0]["message"]["content"] == got.json["content"][0]["text"]


def test_files_belong_to_the_resource(upstream):
    upstream.answer = lambda call: call.respond(200, chat_body())
    with Sluice(configure(upstream)) as gate:
        gate.get("/v1/files?limit=3")
        assert upstream.last().target == "/openai/files?limit=3&api-version=2024-10-21"


def test_a_version_with_other_bytes_is_escaped(upstream):
    upstream.answer = lambda call: call.respond(200, chat_body())
    with Sluice(configure(upstream, "1 &x=2")) as gate:
        assert gate.chat().status == 200
        assert upstream.last().target.endswith("?api-version=1%20%26x%3D2")


@pytest.mark.parametrize("version", [OLD, NEW])
def test_what_we_ask_ourselves_goes_there_too(upstream, version):
    """The embedding model of the cache, and batches that are looked at until they have ended."""
    batch = {"id": "batch_1", "object": "batch", "status": "in_progress", "endpoint": "/v1/chat/completions", "input_file_id": "file-1"}
    answers = {"/embeddings": {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [1.0, 0.0]}],
                               "usage": {"prompt_tokens": 3, "total_tokens": 3}},
               "/batches/batch_1": batch, "/batches": batch,
               "/files": {"id": "file-1", "object": "file", "bytes": 9, "purpose": "batch"}}

    def answer(call):
        found = [body for end, body in answers.items() if call.path.endswith(end)]
        call.respond(200, json.dumps(found[0]).encode() if found else chat_body())

    upstream.answer = answer
    config = configure(upstream, version)
    config["models"].append(model_for("embed", "azure", "small embedder"))
    config["cache"] = {"semantic": {"enabled": True, "model": "embed"}}
    config["batches"] = {"poll": "1s"}
    query = f"?api-version={version}" if version else ""
    with Sluice(config) as gate:
        assert gate.chat(temperature=0, messages=[{"role": "user", "content": "hi"}]).status == 200
        place = "/openai/deployments/small%20embedder/embeddings" if version else "/openai/v1/embeddings"
        assert place + query in [call.target for call in upstream.calls]

        line = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions",
                "body": {"model": "my deployment/4o", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}}
        form = (b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
                b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n' + json.dumps(line).encode() + b"\n\r\n--x--\r\n")
        sent = gate.post("/v1/files", form, headers={"Content-Type": "multipart/form-data; boundary=x"})
        assert sent.status == 200 and sent.json["id"] == "file-1", sent
        made = gate.post("/v1/batches", {"input_file_id": "file-1", "endpoint": "/v1/chat/completions", "completion_window": "24h"})
        assert made.status == 200, made
        place = ("/openai" if version else "/openai/v1") + "/batches/batch_1" + query
        eventually(lambda: [c for c in upstream.calls if (c.method, c.target) == ("GET", place)], what="it is looked at")
        assert all(call.header("api-key") == "azure-key" for call in upstream.calls)
