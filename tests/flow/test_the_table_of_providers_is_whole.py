# SPDX-License-Identifier: Apache-2.0
"""docs/PROVIDERS.md shows what providers.json says, and every type of it can be configured."""

import json
from pathlib import Path

import pytest
from harness import ROOT, Sluice, config_for, model_for, provider_for, run_cli, temporary_folder, to_yaml
from raw_upstream import chat_body

ROWS = json.loads((Path(ROOT) / "providers" / "providers.json").read_text())


def shown(row):
    place = "of its `location`" if row.get("is_vertex") else "of its `region`" if row["dialect"] == "bedrock" else "(yours)"
    where = row["base_url"] or place
    key = f"`{row['key_variable']}`" if row["key_variable"] else "–"
    return f"| `{row['name']}` | {row['dialect']} | {where} | {'signs in' if row.get('is_vertex') else key} |"


def test_the_table_is_what_the_program_knows():
    lines = (Path(ROOT) / "docs" / "PROVIDERS.md").read_text().splitlines()
    begin = lines.index("| --- | --- | --- | --- |") + 1
    table = lines[begin:lines.index("", begin)]
    assert table == [shown(row) for row in ROWS]


def test_names_and_variables_are_given_once():
    for member in ("name", "key_variable"):
        values = [row[member] for row in ROWS if row[member]]
        assert len(values) == len(set(values)), member


def test_each_type_has_prices_in_the_catalogue():
    models = json.loads((Path(ROOT) / "providers" / "models.json").read_text())["models"]
    known = {name.partition("/")[0] for name in models}
    assert {row["catalogue"] for row in ROWS if row["catalogue"]} <= known


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_each_type_can_be_configured(row):
    provider = {"name": "up", "type": row["name"]}
    if row.get("is_vertex"):
        provider.update(location="global", project="mine")
    elif not row["base_url"] and not row["is_mock"]:
        provider["base_url"] = "https://models.example/v1"
    if row["needs_key"]:
        provider["api_key"] = "key"
    file = Path(temporary_folder("sluice-table-")) / "sluice.yaml"
    config = config_for("http://127.0.0.1:1/v1", providers=[provider], models=[model_for("m", "up", "some-model")])
    file.write_text(to_yaml(config) + "\n")
    done = run_cli("check", "-c", str(file))
    assert done.returncode == 0, done
    assert " is off" not in done.stdout + done.stderr, done


@pytest.mark.parametrize("kind", [row["name"] for row in ROWS if row.get("no_responses") and not row.get("is_vertex")])
def test_a_response_is_asked_for_as_a_chat_where_there_are_only_chats(upstream, kind):
    upstream.answer = lambda call: call.respond(200, chat_body())
    with Sluice(config_for(upstream, providers=[provider_for(upstream, type=kind)])) as gate:
        answer = gate.post("/v1/responses", {"model": "fast", "input": "hi"})
        assert answer.status == 200 and answer.json["object"] == "response", answer
        assert upstream.last().target == "/v1/chat/completions"


@pytest.mark.parametrize("kind", [row["name"] for row in ROWS if row["name"].endswith("-anthropic") and row["base_url"]])
def test_anthropics_dialect_beside_openais(upstream, kind):
    body = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [{"type": "text", "text": "Hello."}],
            "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 3, "output_tokens": 2}}
    upstream.answer = lambda call: call.respond(200, json.dumps(body).encode())
    provider = provider_for(upstream, type=kind, base_url=upstream.url.removesuffix("/v1") + "/anthropic", api_key="its-key")
    with Sluice(config_for(upstream, providers=[provider])) as gate:
        answer = gate.post("/v1/messages", {"model": "fast", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]})
        assert answer.status == 200 and answer.json == body, answer
        sent = upstream.last()
        assert (sent.target, sent.header("authorization"), sent.header("x-api-key")) == ("/anthropic/v1/messages", "Bearer its-key", None)
