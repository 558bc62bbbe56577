# SPDX-License-Identifier: Apache-2.0
"""Lists of models in the words of Anthropic's and Gemini's clients: shapes, pages, single models, errors; and what asks at /."""

from urllib.parse import quote

import pytest
from harness import KEY_ACME, config_for, model_for

NAMES = [f"claude-{i}" for i in range(7)]
VERSION = {"anthropic-version": "2023-06-01"}


def configure(upstream):
    return config_for(upstream, models=[model_for(name, description="Claude, the first" if name == "claude-0" else None,
                                                  context_window=200000) if name == "claude-0" else model_for(name)
                                        for name in NAMES] + [model_for("org/model:1")])


def claude(gate, query="", path="/v1/models", key=KEY_ACME):
    return gate.get(path + query, key=None, headers={**VERSION, **({"x-api-key": key} if key else {})})


def ids(answer):
    assert answer.status == 200, answer
    return [item["id"] for item in answer.json["data"]]


@pytest.mark.parametrize("path", ["/v1/models", "/anthropic/v1/models"])
def test_anthropics_list_is_whole_unless_a_limit_is_asked_for(gate, path):
    answer = claude(gate, path=path)
    assert ids(answer) == NAMES + ["org/model:1"] and answer.json["has_more"] is False
    assert (answer.json["first_id"], answer.json["last_id"]) == (NAMES[0], "org/model:1")
    first = answer.json["data"][0]
    assert first["type"] == "model" and first["display_name"] == "Claude, the first" and first["created_at"].endswith("Z")
    assert first["max_input_tokens"] == 200000


def test_below_anthropic_no_header_is_needed(gate):
    assert gate.get("/anthropic/v1/models").json["data"][0]["type"] == "model"
    assert gate.get("/anthropic/v1/models/claude-1").json["display_name"] == "claude-1"


def test_pages_forwards(gate):
    seen, query = [], "?limit=3"
    for _ in range(3):
        answer = claude(gate, query)
        seen += ids(answer)
        more = answer.json["has_more"]
        query = f"?limit=3&after_id={quote(answer.json['last_id'], safe='')}"
    assert seen == NAMES + ["org/model:1"] and not more


def test_pages_backwards(gate):
    answer = claude(gate, "?limit=2&before_id=claude-4")
    assert ids(answer) == ["claude-2", "claude-3"] and answer.json["has_more"] is True
    answer = claude(gate, "?limit=5&before_id=claude-2")
    assert ids(answer) == ["claude-0", "claude-1"] and answer.json["has_more"] is False
    answer = claude(gate, "?after_id=org%2Fmodel:1")
    assert ids(answer) == [] and answer.json["first_id"] is None and answer.json["last_id"] is None and answer.json["has_more"] is False


@pytest.mark.parametrize("query", ["?limit=0", "?limit=x", "?limit=1&limit=2", "?after_id=nobody", "?before_id=nobody",
                                   "?after_id=claude-1&before_id=claude-3"])
def test_a_page_that_cannot_be_is_refused_in_its_shape(gate, query):
    answer = claude(gate, query)
    assert answer.status == 400 and answer.json["type"] == "error" and answer.error["type"] == "invalid_request_error", answer


def test_errors_have_anthropics_shape(gate):
    answer = claude(gate, key=None)
    assert answer.status == 401 and answer.json["type"] == "error" and answer.error["type"] == "authentication_error", answer
    answer = claude(gate, path="/v1/models/nobody")
    assert answer.status == 404 and answer.error["type"] == "not_found_error", answer
    assert claude(gate, path="/v1/models/org%2Fmodel:1").json["id"] == "org/model:1"


@pytest.mark.parametrize("root", ["/v1beta", "/v1alpha", "/gemini/v1beta", "/genai/v1", "/gemini/v1"])
def test_geminis_list_and_one_of_it(gate, root):
    answer = gate.get(f"{root}/models", key=None, headers={"x-goog-api-key": KEY_ACME})
    assert answer.status == 200 and "nextPageToken" not in answer.json, answer
    assert [item["name"] for item in answer.json["models"]] == [f"models/{name}" for name in NAMES + ["org/model:1"]]
    one = gate.get(f"{root}/models/claude-0?key={KEY_ACME}", key=None)
    assert one.status == 200 and one.json == answer.json["models"][0], one
    assert one.json["inputTokenLimit"] == 200000 and "generateContent" in one.json["supportedGenerationMethods"]
    answer = gate.get(f"{root}/models/nobody")
    assert answer.status == 404 and answer.error["status"] == "NOT_FOUND" and answer.error["code"] == 404, answer


def test_geminis_pages(gate):
    seen, query = [], "?pageSize=3"
    for _ in range(3):
        answer = gate.get("/v1beta/models" + query)
        seen += [item["name"] for item in answer.json["models"]]
        token = answer.json.get("nextPageToken")
        query = f"?pageSize=3&pageToken={quote(token or '', safe='')}"
    assert seen == [f"models/{name}" for name in NAMES + ["org/model:1"]] and not token
    answer = gate.get("/v1beta/models?pageToken=nobody")
    assert answer.status == 400 and answer.error["status"] == "INVALID_ARGUMENT", answer


@pytest.mark.parametrize("method, path", [("POST", "/upload/v1beta/files"), ("GET", "/v1beta/files"), ("GET", "/v1beta/files/x"),
                                          ("POST", "/v1beta/cachedContents")])
def test_what_gemini_has_and_we_have_not_is_404_in_its_shape(gate, upstream, method, path):
    answer = gate.request(method, path, body=b"{}" if method == "POST" else None, headers={"Content-Type": "application/json"})
    assert answer.status == 404 and answer.error["status"] == "NOT_FOUND" and answer.error["code"] == 404, answer
    assert not upstream.calls


def test_somebody_is_there(gate):
    """Claude Code asks before it begins."""
    assert gate.request("HEAD", "/", key=None).status == 200


def test_a_method_is_named_once(gate):
    answer = gate.request("DELETE", "/v1/models")
    assert answer.status == 405 and answer.header("allow") == "GET", answer
