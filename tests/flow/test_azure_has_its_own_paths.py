# SPDX-License-Identifier: Apache-2.0
"""Azure OpenAI: deployments below a version of the API, or models below /openai/v1; the key in a header of its own."""


import pytest
from harness import Sluice, config_for, model_for, provider_for
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
