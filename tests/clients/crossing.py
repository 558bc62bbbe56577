# SPDX-License-Identifier: Apache-2.0
"""One gateway with every way an answer can come: SDKs of all dialects ask it the same.

A model's name says where it runs and what happens there, as in `anthropic-429`:

- `mock-…`: the mock, which speaks OpenAI's dialect;
- `anthropic-…`, `gemini-…`: a second gateway, asked in that dialect, in front of the same mock: each call is
  translated there and back twice;
- `script-DIALECT`: a server that answers as the test tells it, in its own dialect; what it has not is left out;
- `strict-anthropic`, `strict-gemini`: the same ones, and what they have not is refused.
"""

import json
from pathlib import Path

import pytest
from harness import KEY_ACME, Sluice, config_for, free_port, model_for, provider_for

TARGETS = ("mock", "anthropic", "gemini")
SCRIPTS = ("openai", "anthropic", "gemini")
HAPPENS = {  # what it is called here: what the mock is asked for
    "fast": "mock",
    "reasons": "mock/reasoning-9+cached-2",
    "429": "mock/429-retry-after-7",
    "500": "mock/500",
    "stall": "mock/stall",
    "cut": "mock/cut",
    "error": "mock/error-mid",
    "endless": "mock/rate-20+tokens-100000",
    "embed": "mock-embedding",
}
RECORDED = Path(__file__).resolve().parent.parent / "cases" / "recorded"


def second_gateway(mock):
    """The one behind: it is known by its key, and by names that the first one does not have."""
    config = config_for(mock.url)
    config["providers"] = [provider_for(mock.url, "mock")]
    config["models"] = [model_for(name_behind(target, name), "mock", upstream)
                        for target in TARGETS[1:] for name, upstream in HAPPENS.items()]
    return config


def name_behind(target, name):
    """What a model of Anthropic's can do is known by its name."""
    return f"claude-sonnet-4-5-{name}" if target == "anthropic" else f"second-{name}"


def first_gateway(mock, second, upstream):
    config = config_for(mock.url)
    config["server"]["timeouts"] = {"stream_idle": "2s"}
    root = upstream.url.removesuffix("/v1")
    behind = "http://{}:{}".format(*second.address())
    config["providers"] = [
        provider_for(mock.url, "mock"),
        *[provider_for(behind, name, type=name, api_key=KEY_ACME) for name in ("anthropic", "gemini")],
        provider_for(upstream.url, "script-openai"),
        *[provider_for(root, f"script-{name}", type=name, lenient=True) for name in ("anthropic", "gemini")],
        *[provider_for(root, f"strict-{name}", type=name) for name in ("anthropic", "gemini")],
    ]
    config["models"] = [
        *[model_for(f"strict-{name}", f"strict-{name}", f"{name}-x") for name in ("anthropic", "gemini")],
        *[model_for(f"mock-{name}", "mock", place) for name, place in HAPPENS.items()],
        *[model_for(f"{target}-{name}", target, name_behind(target, name)) for target in TARGETS[1:] for name in HAPPENS],
        *[model_for(f"script-{name}", f"script-{name}", f"{name}-x") for name in SCRIPTS],
    ]
    return config


@pytest.fixture(scope="module")
def second(mock):
    with Sluice(second_gateway(mock)) as sluice:
        yield sluice


@pytest.fixture(scope="module")
def gate(mock, second, upstream):
    with Sluice(first_gateway(mock, second, upstream)) as sluice:
        yield sluice


@pytest.fixture(scope="module")
def root(gate):
    """What SDKs are told that put the version into the path themselves."""
    return "http://{}:{}".format(*gate.address())


def nowhere():
    return f"http://127.0.0.1:{free_port()}"


def recorded(file, identity):
    """One recorded exchange."""
    for line in (RECORDED / f"{file}.jsonl").open():
        if f'"id": "{identity}"' in line[:200]:
            return json.loads(line)
    raise AssertionError(f"no {identity} in {file}")


def replayed(record):
    """A script that answers with what was recorded."""
    response = record["response"]
    kind = response["headers"].get("content-type", "application/json")

    def answer(call):
        body = response["body"].encode()
        if "event-stream" not in kind:
            call.respond(response["status"], body)
            return
        call.begin_stream()
        for at in range(0, len(body), 97):  # across the ends of lines and events
            call.chunk(body[at:at + 97])
        call.end_stream()

    return answer
