# SPDX-License-Identifier: Apache-2.0
"""A call that a provider would refuse for its size (`limits` in providers.json) goes to a target that has more room, or is refused
by the name of the limit; nothing of it is sent."""

import json
from pathlib import Path

import pytest
from harness import ROOT, Sluice, config_for, model_for, provider_for
from raw_upstream import chat_body

ROWS = {row["name"]: row for row in json.loads((Path(ROOT) / "providers" / "providers.json").read_text())}
LIMITS = {name: row["limits"] for name, row in ROWS.items() if "limits" in row}
USER = [{"role": "user", "content": "hi"}]
CLAUDE = {"id": "m", "type": "message", "role": "assistant", "model": "x", "content": [{"type": "text", "text": "Hello"}], "stop_reason": "end_turn",
          "stop_sequence": None, "usage": {"input_tokens": 3, "output_tokens": 2}}
VECTORS = {"object": "list", "model": "x", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}], "usage": {"prompt_tokens": 1, "total_tokens": 1}}
KINDS = ("groq", "deepseek", "mistral", "azure-openai", "voyage", "anthropic", "cohere", "vllm", "openai")


def answer(call):
    if call.path.endswith("/messages"):
        call.respond(200, json.dumps(CLAUDE).encode())
    elif "embed" in call.path:
        call.respond(200, json.dumps(VECTORS).encode())
    else:
        call.respond(200, chat_body("Hello"))


@pytest.fixture(scope="module")
def gate(upstream):
    root = upstream.url.removesuffix("/v1")
    providers = [provider_for(upstream, kind, type=kind, **({"base_url": root} if kind in ("anthropic", "cohere") else {})) for kind in KINDS]
    models = [model_for(kind, kind) for kind in KINDS]
    for kind in KINDS[:-2]:  # a second target that has no such limit
        models.append(model_for(f"{kind}-else", targets=[
            {"id": f"first-{kind}", "provider": kind, "model": "x", "priority": 0, "price": {"input": 1, "output": 1}},
            {"id": f"other-{kind}", "provider": "vllm", "model": "x", "priority": 1, "price": {"input": 1, "output": 1}}]))
    for model in models:
        if model["name"].endswith("-else"):
            model["policy"] = "priority"
    with Sluice(config_for(upstream, providers=providers, models=models, routing={"policies": [{"name": "priority", "strategy": "priority"}]}, server={"limits": {"max_body_bytes": "40MiB"}})) as one:
        yield one


@pytest.fixture(autouse=True)
def scripted(watched, upstream):
    upstream.answer = answer


def functions(count):
    return [{"type": "function", "function": {"name": f"f{i}", "parameters": {"type": "object", "properties": {}}}} for i in range(count)]


def tools(count):
    return [{"name": f"f{i}", "input_schema": {"type": "object", "properties": {}}} for i in range(count)]


def pictures(count):
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}] * count}]


def chat(gate, model, **more):
    return gate.post("/v1/chat/completions", {"model": model, "messages": USER, **more})


def claude(gate, model, **more):
    return gate.post("/v1/messages", {"model": model, "max_tokens": 9, "messages": USER, **more})


CALLS = {  # kind, limit: what asks for so many, as it is or from another dialect
    ("groq", "tools"): [lambda g, m, n: chat(g, m, tools=functions(n)), lambda g, m, n: claude(g, m, tools=tools(n))],
    ("deepseek", "tools"): [lambda g, m, n: chat(g, m, tools=functions(n)), lambda g, m, n: claude(g, m, tools=tools(n))],
    ("groq", "images"): [lambda g, m, n: chat(g, m, messages=pictures(n))],
    ("mistral", "images"): [lambda g, m, n: chat(g, m, messages=pictures(n))],
    ("anthropic", "images"): [lambda g, m, n: chat(g, m, messages=pictures(n))],
    ("voyage", "texts"): [lambda g, m, n: g.post("/v1/embeddings", {"model": m, "input": ["a"] * n})],
    ("cohere", "texts"): [lambda g, m, n: g.post("/v1/embeddings", {"model": m, "input": ["a"] * n})],
}


@pytest.mark.parametrize("kind, limit, way", [(*what, way) for what, ways in CALLS.items() for way in range(len(ways))])
def test_one_too_many_is_refused_by_name_or_goes_elsewhere(gate, upstream, kind, limit, way):
    ask, most = CALLS[kind, limit][way], LIMITS[kind][limit]
    ask(gate, kind, most)
    assert len(upstream.calls) == 1, "so many it takes"
    upstream.forget()
    got = ask(gate, kind, most + 1)
    assert got.status == 400 and f"at most {most} {limit}" in got.text and f"has {most + 1}" in got.text, got
    assert not upstream.calls
    if limit == "texts":
        return
    got = ask(gate, f"{kind}-else", most + 1)
    assert got.status == 200 and got.header("x-sluice-target") == f"other-{kind}", got
    assert len(upstream.calls) == 1


def test_a_body_that_is_too_long_is_413_or_goes_elsewhere(gate, upstream):
    most = LIMITS["anthropic"]["body_bytes"]
    long = [{"role": "user", "content": "x" * most}]
    for ask in (chat, claude):
        got = ask(gate, "anthropic", messages=long)
        assert got.status == 413 and f"at most {most} bytes" in got.text and "body_bytes" in got.text, got
        assert not upstream.calls
        got = ask(gate, "anthropic-else", messages=long)
        assert got.status == 200 and got.header("x-sluice-target") == "other-anthropic", got
        upstream.forget()


@pytest.mark.parametrize("kind", ["vllm", "openai"])
def test_a_server_of_ones_own_has_no_limits(gate, upstream, kind):
    """`openai` is also the type of whoever speaks its dialect at another place."""
    assert chat(gate, kind, tools=functions(300)).status == 200
    assert gate.post("/v1/embeddings", {"model": kind, "input": ["a"] * 3000}).status == 200
    assert len(upstream.calls) == 2


def test_tokens_are_one_text(gate, upstream):
    got = gate.post("/v1/embeddings", {"model": "azure-openai", "input": list(range(1, 3000))})
    assert got.status == 200, got
    assert gate.post("/v1/embeddings", {"model": "azure-openai", "input": [[1]] * 2049}).status == 400


def test_stop_sequences_are_as_many_as_the_row_says(gate, upstream):
    for kind in ("deepseek", "groq"):
        most = LIMITS[kind]["stops"]
        assert claude(gate, kind, stop_sequences=[f"s{i}" for i in range(most)]).status == 200
        assert len(upstream.last().json["stop"]) == most
        got = claude(gate, kind, stop_sequences=[f"s{i}" for i in range(most + 1)])
        assert got.status == 400 and f"stop[{most}]" in got.text, got


def test_explain_tells_whom_a_call_does_not_fit(gate):
    file = gate.directory / "request.json"
    file.write_text(json.dumps({"model": "groq-else", "messages": USER, "tools": functions(129)}))
    done = gate.cli("explain", file, "--tenant", "acme", "--key", "main")
    assert done.returncode == 0 and "cannot    first-groq: The target first-groq takes at most 128 tools (limit 'tools' of its provider), and the call has 129." in done.stdout, done
    assert "choice    other-groq" in done.stdout, done


def test_the_page_shows_them():
    page = (Path(ROOT) / "docs" / "PROVIDERS.md").read_text()
    for name, limits in LIMITS.items():
        cells = [limits.get(word) for word in ("body_bytes", "stops", "tools", "images", "texts", "documents")]
        shown = [f"{cells[0] >> 20} MiB" if cells[0] else "–", *(str(cell or "–") for cell in cells[1:])]
        assert f"| `{name}` | {' | '.join(shown)} |" in page, name
