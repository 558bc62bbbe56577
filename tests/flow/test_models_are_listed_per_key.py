# SPDX-License-Identifier: Apache-2.0
"""/v1/models lists what this key may call, in the shape of the asking SDK."""

import pytest
from harness import KEY_ACME, KEY_ACME_FAST, KEY_GLOBEX


def ids(answer):
    assert answer.status == 200, answer
    return {item["id"] for item in answer.json["data"]}


@pytest.mark.parametrize("path", ["/v1/models", "/models", "/openai/v1/models"])
def test_openai(gate, upstream, path):
    answer = gate.get(path)
    assert answer.json["object"] == "list"
    for item in answer.json["data"]:
        assert item["object"] == "model" and isinstance(item["created"], int) and item["owned_by"], item
    assert {"fast", "slow", "quick"} <= ids(answer) | {"quick"} and "fa*" not in ids(answer)
    assert not upstream.calls, "the list is our own"


def test_each_key_sees_its_own(gate):
    assert {"fast", "slow"} <= ids(gate.get("/v1/models", key=KEY_ACME))
    for key in (KEY_ACME_FAST, KEY_GLOBEX):
        names = ids(gate.get("/v1/models", key=key))
        assert "fast" in names and "slow" not in names, names
    assert gate.get("/v1/models", key=None).status == 401


def test_one_model(gate):
    answer = gate.get("/v1/models/fast")
    assert answer.status == 200 and answer.json["id"] == "fast" and answer.json["object"] == "model"
    for key, name in ((KEY_ACME, "nobody"), (KEY_ACME_FAST, "slow")):
        answer = gate.get(f"/v1/models/{name}", key=key)
        assert answer.status in (403, 404) and answer.error["type"] in ("invalid_request_error", "permission_error"), answer


def test_anthropics_shape(gate):
    answer = gate.get("/v1/models", key=None, headers={"x-api-key": KEY_ACME, "anthropic-version": "2023-06-01"})
    assert ids(answer) >= {"fast", "slow"}
    assert answer.json["has_more"] is False and "first_id" in answer.json and "last_id" in answer.json
    for item in answer.json["data"]:
        assert item["type"] == "model" and item["display_name"] and item["created_at"], item


def test_no_provider_and_no_upstream_name_is_shown(gate, upstream):
    text = gate.get("/v1/models").text
    assert "upstream-model" not in text and str(upstream.port) not in text
