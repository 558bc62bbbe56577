# SPDX-License-Identifier: Apache-2.0
"""Official SDKs against the real program: only their base URL, key and model are ours.

Behind the gateway stands `sluice mock` as a server of its own; its counters are the provider's word
on how many calls there were and how they ended. What goes wrong is asked for in the model's name.
"""

import json
import os
import urllib.request

import openai
import pytest
from harness import KEY_ACME, Authority, Mock, Sluice, config_for, eventually, free_port, merged, model_for, provider_for

# SDKs take these from the environment: the tests' own words alone must count.
for name in [name for name in os.environ if name.startswith(("OPENAI_", "LANGCHAIN_", "LANGSMITH_"))]:
    del os.environ[name]
for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
    os.environ.pop(name, None)

MODELS = {  # what is called: where it runs
    "fast": ("mock", "mock"),
    "smollm2": ("mock", "mock"),  # as the documentation calls it
    "embed": ("mock", "mock-embedding"),
    "image": ("mock", "mock-image"),
    "audio": ("mock", "mock-audio"),
    "moderation": ("mock", "mock"),
    "any": ("mock", "*"),  # mock/WORD: the mock does what the word says
    "tried": ("persistent", "mock/503"),  # the gateway itself tries again: elsewhere, ...
    "again": ("persistent", "mock/500"),  # ... and there, when there is nowhere else
    "hasty": ("hasty", "mock/stall-head"),  # given up by the gateway after 300 ms
    "gone": ("gone", "mock"),  # nobody listens there
}


def configuration(mock, certificate=None):
    config = config_for(mock.url)
    if certificate:
        config["server"]["listeners"].append({
            "name": "tls", "address": f"127.0.0.1:{free_port()}", "serve": ["api"],
            "tls": {"cert_file": certificate[0], "key_file": certificate[1]}})
    config["server"]["timeouts"] = {"stream_idle": "2s"}
    config["providers"] = [
        provider_for(mock.url, "mock"),
        provider_for(mock.url, "persistent", retry={"attempts": 1, "backoff": "10ms"}),
        provider_for(mock.url, "hasty", timeouts={"first_byte": "300ms"}),
        provider_for("http://127.0.0.1:9/v1", "gone"),
    ]
    config["models"] = [model_for(name, *place) for name, place in MODELS.items()]
    tried = next(model for model in config["models"] if model["name"] == "tried")
    tried["targets"].append(merged(tried["targets"][0], {"id": "tried-2"}))
    config["models"] = [merged(model, {"aliases": ["mock/*"]}) if model["name"] == "any" else model
                        for model in config["models"]]
    return config


class Provider(Mock):
    """The mock, and what it has counted."""

    def _ask(self, method, path):
        request = urllib.request.Request(self.url.removesuffix("/v1") + path, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def stats(self, model=None):
        stats = self._ask("GET", "/__mock/stats")
        nothing = dict.fromkeys(("received", "in_flight", "whole", "cut", "broken", "refused"), 0)
        return stats if model is None else stats["models"].get(model, nothing)

    def reset(self):
        self._ask("POST", "/__mock/reset")

    def ended_as(self, model, outcome, calls=1):
        """Wait until so many calls of the model have ended like that."""
        eventually(lambda: self.stats(model)[outcome] == calls,
                   what=f"{calls} calls of {model} {outcome}; {self.stats(model)}")


@pytest.fixture(scope="module")
def mock():
    with Provider() as server:
        yield server


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def certificate(authority):
    return authority.issue("gate")


@pytest.fixture(scope="module")
def gate(mock, certificate):
    with Sluice(configuration(mock, certificate)) as sluice:
        yield sluice


@pytest.fixture(autouse=True)
def counted_anew(request):
    if "mock" in request.fixturenames:
        request.getfixturevalue("mock").reset()


@pytest.fixture(scope="module")
def base_url(gate):
    host, port = gate.address()
    return f"http://{host}:{port}/v1"


@pytest.fixture(scope="module")
def tls_url(gate):
    return f"https://localhost:{gate.address('tls')[1]}/v1"


@pytest.fixture(scope="module")
def client(base_url):
    with openai.OpenAI(base_url=base_url, api_key=KEY_ACME, max_retries=0, timeout=20) as sdk:
        yield sdk
