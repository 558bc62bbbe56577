# SPDX-License-Identifier: Apache-2.0
"""Servers written in Go read the names of JSON in any case: what is not read here does not pass."""

import json

import pytest
from harness import Sluice, config_for

RULE = {"name": "words", "type": "contains", "terms": ["blue whale"], "action": "block"}


@pytest.mark.parametrize("name", ["Model", "MODEL", "mode\\u004c", "Max_Tokens", "max_to\u212aens", "u\u017fer", "N"])
def test_a_name_in_another_case_is_refused(gate, upstream, name):
    body = f'{{"model":"fast","messages":[],"{name}":"slow"}}'.encode()
    answer = gate.post("/v1/chat/completions", body)
    assert answer.status == 400, answer
    assert answer.json["error"]["param"] in ("model", "max_tokens", "user", "n")
    assert "just these letters" in answer.json["error"]["message"]
    assert len(upstream.calls) == 0


def test_what_only_looks_alike_passes(gate, upstream):
    for fields in ({"Modell": "x"}, {"metadata": {"Model": "x"}}, {"topK": 3, "\u212aelvin": 1}):
        body = json.dumps({"model": "fast", "messages": [], **fields}, ensure_ascii=False).encode()
        assert gate.post("/v1/chat/completions", body).status == 200


@pytest.mark.parametrize("body", [
    {"Messages": [{"role": "user", "content": "a blue whale"}]},
    {"messages": [{"role": "user", "Content": "a blue whale"}]},
    {"me\u017fsages": [{"CONTENT": [{"type": "text", "Text": "a blue whale"}]}]},
])
def test_guardrails_look_at_names_in_any_case(upstream, body):
    with Sluice(config_for(upstream, guardrails=[RULE])) as gate:
        answer = gate.post("/v1/chat/completions", {"model": "fast", **body})
        assert answer.status == 400
        # "messages" in another case is refused for that, whatever is said in it
        assert answer.json["error"]["code"] == ("content_policy_violation" if "messages" in body else None)
        assert len(upstream.calls) == 0
