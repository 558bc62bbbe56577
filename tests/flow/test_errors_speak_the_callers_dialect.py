# SPDX-License-Identifier: Apache-2.0
"""Each case of the contract's table, in the shape that the path's SDK expects."""

import json

import pytest
from harness import KEY_ACME, KEY_ACME_FAST, KEY_EXPIRED, KEY_GLOBEX, KEY_WRONG, request_bytes

CHAT = "/v1/chat/completions"
BAD = "invalid_request_error"
JSON = ("Content-Type", "application/json")
AUTH = ("Authorization", f"Bearer {KEY_ACME}")
GOOD = b'{"model":"fast","messages":[]}'


def raw(method="POST", path=CHAT, fields=(AUTH, JSON), body=GOOD, **more):
    return request_bytes(method, path, list(fields), body, **more)


CASES = {
    "unknown path": (raw(path="/v1/nothing"), 404, BAD, None),
    "root": (raw("GET", "/", body=None), 404, BAD, None),
    "method": (raw("DELETE"), 405, BAD, None),
    "method of models": (raw("POST", "/v1/models"), 405, BAD, None),
    "length missing": (request_bytes("POST", CHAT, [AUTH, JSON]), 411, BAD, None),
    "URI too large": (raw(path=CHAT + "?" + "x" * 20000), 414, BAD, None),
    "head too large": (raw(fields=(AUTH, JSON, ("X", "y" * 80000))), 431, BAD, None),
    "too many fields": (raw(fields=(AUTH, JSON, *[("X", "y")] * 200)), 431, BAD, None),
    "media type": (raw(fields=(AUTH, ("Content-Type", "text/xml"))), 415, BAD, None),
    "content encoding": (raw(fields=(AUTH, JSON, ("Content-Encoding", "gzip"))), 415, BAD, None),
    "transfer encoding": (raw(fields=(AUTH, JSON, ("Transfer-Encoding", "gzip"))), 501, BAD, None),
    "expectation": (raw(fields=(AUTH, JSON, ("Expect", "x"))), 417, BAD, None),
    "version": (raw(version="HTTP/2.0"), 505, BAD, None),
    "bad JSON": (raw(body=b'{"model":'), 400, BAD, None),
    "no object": (raw(body=b'["model"]'), 400, BAD, None),
    "no body": (raw(body=b""), 400, BAD, None),
    "no key": (raw(fields=(JSON,)), 401, BAD, "invalid_api_key"),
    "wrong key": (raw(fields=(JSON, ("Authorization", f"Bearer {KEY_WRONG}"))), 401, BAD, "invalid_api_key"),
    "expired key": (raw(fields=(JSON, ("Authorization", f"Bearer {KEY_EXPIRED}"))), 401, BAD, "invalid_api_key"),
    "other scheme": (raw(fields=(JSON, ("Authorization", "Basic eDp5"))), 401, BAD, "invalid_api_key"),
    "model not allowed": (raw(fields=(JSON, ("Authorization", f"Bearer {KEY_ACME_FAST}")),
                              body=b'{"model":"slow","messages":[]}'), 403, "permission_error", "model_not_allowed"),
    "model not allowed to the tenant": (raw(fields=(JSON, ("Authorization", f"Bearer {KEY_GLOBEX}")),
                                            body=b'{"model":"slow","messages":[]}'), 403, "permission_error",
                                        "model_not_allowed"),
    "unknown model": (raw(body=b'{"model":"nobody","messages":[]}'), 404, BAD, "model_not_found"),
    "body too large": (request_bytes("POST", CHAT, [AUTH, JSON, ("Content-Length", "1000000000")]), 413, BAD, "request_too_large"),
}


@pytest.mark.parametrize("case", CASES)
def test_openai(gate, upstream, case):
    data, status, kind, code = CASES[case]
    with gate.connect() as client:
        answer = client.send(data).read_response()
    assert answer.status == status, answer
    assert answer.header("content-type").split(";")[0] == "application/json"
    assert set(answer.json) == {"error"} and set(answer.error) >= {"message", "type", "param", "code"}, answer
    assert answer.error["type"] == kind and answer.error["code"] == code, answer
    assert answer.error["message"]
    assert answer.header("x-request-id") and answer.header("request-id") == answer.header("x-request-id")
    assert not upstream.calls


@pytest.mark.parametrize("path, too_many", [
    ("/v1//chat/completions", True), (CHAT + "/", True), ("//v1/messages", True), ("/v1/./models", False), ("/v1/%6dodels", False)])
def test_a_slash_too_many_is_told(gate, path, too_many):
    """SDKs put paths behind what they are given as the base URL."""
    answer = gate.post(path, {"model": "fast", "messages": []})
    assert answer.status == 400 and ("a '/' too many" in answer.error["message"]) == too_many, answer


def test_a_message_names_the_request(gate):
    answer = gate.chat("nobody")
    assert "nobody" in answer.error["message"]
    answer = gate.chat(key=KEY_WRONG)
    assert KEY_WRONG not in answer.text and "sk-" not in answer.text


def test_every_failure_of_a_key_gets_the_same_answer(gate):
    answers = [gate.chat(key=key) for key in (KEY_WRONG, KEY_EXPIRED, KEY_ACME[:-1], KEY_ACME + "x", KEY_ACME.upper())]
    bodies = set()
    for answer in answers:
        error = answer.error
        bodies.add((answer.status, json.dumps(error).replace(answer.header("x-request-id"), "ID")))
    assert len(bodies) == 1, bodies


ANTHROPIC = ["/v1/messages", "/v1/messages/count_tokens", "/anthropic/v1/messages", "/anthropic/v1/messages/count_tokens"]


@pytest.mark.parametrize("path", ANTHROPIC)
def test_anthropic_paths(gate, upstream, path):
    for fields in ([("x-api-key", KEY_ACME), JSON], [JSON], [("x-api-key", KEY_WRONG), JSON]):
        with gate.connect() as client:
            fields = fields + [("anthropic-version", "2023-06-01")]
            body = b'{"model":"nobody","max_tokens":9,"messages":[{"role":"user","content":"x"}]}'
            answer = client.send(raw(path=path, fields=fields, body=body)).read_response()
        assert answer.status == 404 or (answer.status == 401 and ("x-api-key", KEY_ACME) not in fields), answer
        kind = {404: "not_found_error", 401: "authentication_error"}[answer.status]
        assert answer.status == 404 or "x-api-key" in answer.error["message"]
        assert answer.json["type"] == "error" and answer.error["type"] == kind, answer
        assert answer.error["message"] and answer.json["request_id"] == answer.header("request-id")
        if answer.status == 404:
            assert "nobody" in answer.error["message"], answer
    assert not upstream.calls


@pytest.mark.parametrize(("method", "path", "status"), [
    ("GET", "/v1/nothing", 404), ("POST", "/v1/skills", 404), ("POST", "/v1/models", 405), ("POST", "/v1/chat/nothing", 404)])
def test_a_path_that_is_not_there_is_told_in_anthropics_words(gate, method, path, status):
    fields = [("x-api-key", KEY_ACME), ("anthropic-version", "2023-06-01"), JSON]
    with gate.connect() as client:
        answer = client.send(raw(method, path, fields, b"{}")).read_response()
    kind = {404: "not_found_error", 405: "invalid_request_error"}[status]
    assert answer.status == status and answer.json["type"] == "error" and answer.error["type"] == kind, answer
    assert path in answer.error["message"] and answer.json["request_id"] == answer.header("request-id")


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/files"), ("POST", "/v1/files"), ("GET", "/v1/files/file_1"),
                                              ("DELETE", "/v1/files/file_1"), ("GET", "/v1/files/file_1/content")])
def test_anthropics_files_are_not_openais(gate, upstream, method, path):
    fields = [("x-api-key", KEY_ACME), ("anthropic-version", "2023-06-01"), ("anthropic-beta", "files-api-2025-04-14"),
              ("Content-Type", "multipart/form-data; boundary=x")]
    with gate.connect() as client:
        answer = client.send(raw(method, path, fields, b"--x--\r\n" if method == "POST" else None)).read_response()
    assert answer.status == 404 and answer.json["type"] == "error" and answer.error["type"] == "not_found_error", answer
    assert "Files API" in answer.error["message"] and answer.json["request_id"] == answer.header("request-id")
    assert not upstream.calls


GEMINI = [f"{prefix}/v1beta/models/gemini-2.5-pro:{verb}" for prefix in ("", "/gemini", "/genai")
          for verb in ("generateContent", "streamGenerateContent", "countTokens", "embedContent")]


@pytest.mark.parametrize("path", GEMINI)
def test_gemini_paths(gate, upstream, path):
    for fields, query, may_be_401 in (([("x-goog-api-key", KEY_ACME), JSON], "", False), ([JSON], f"?key={KEY_ACME}", False),
                                      ([JSON], "", True), ([JSON], f"?key={KEY_WRONG}", True)):
        with gate.connect() as client:
            answer = client.send(raw(path=path + query, fields=fields)).read_response()
        assert answer.status == 404 or (answer.status == 401 and may_be_401), answer
        word = {404: "NOT_FOUND", 401: "UNAUTHENTICATED"}[answer.status]
        assert answer.error["code"] == answer.status and answer.error["status"] == word, answer
        assert answer.error["message"]
        assert answer.error["details"] == [{"@type": "type.googleapis.com/google.rpc.RequestInfo",
                                            "requestId": answer.header("x-request-id")}]
        assert answer.status == 404 or "x-goog-api-key" in answer.error["message"]
    assert not upstream.calls


def test_a_query_key_is_for_gemini_only(gate):
    assert gate.get(f"/v1/models?key={KEY_ACME}", key=None).status == 401


def test_overload_is_said_in_the_callers_dialect(gate, upstream):
    upstream.answer = lambda call: call.close()
    answer = gate.chat()
    assert answer.status == 503 and answer.error["code"] == "upstream_unavailable", answer
