# SPDX-License-Identifier: Apache-2.0
"""Same dialect in and out: the body is forwarded as it came, but for the model's name."""

import pytest
from harness import KEY_ACME, KEY_PROVIDER, chat_request, chunked, request_bytes

BODIES = [
    b'{"model":"fast","messages":[]}',
    b'{ "messages" : [ ] ,\r\n\t"model" :  "fast"  }\n',
    b'{"unknown":{"model":"inner","a":[1.50,1e400,-0,0.1E-7,12345678901234567890123]},"model":"fast"}',
    b'{"messages":[{"role":"user","content":"\\u00e9\\ud83d\\ude00\\/ \xc3\xa9 \xf0\x9f\x98\x80 \\u0000"}],"model":"fast","x":null}',
    b'{"a":1,"a":2,"model":"fast","z":{"model":3,"stream":"no"}}',
    b'{"model":"fast","":"","\\u0000":1,"tools":[{"type":"function","function":{"name":"f","parameters":{}}}]}',
    b'{"model":"fast","messages":[{"role":"user","content":"\\ud800 lone"}]}',
    b'{"model":"fast","pad":"' + b"x" * 300_000 + b'"}',
]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_the_body_but_for_the_model(gate, upstream, body):
    answer = gate.post("/v1/chat/completions", body, headers={"Content-Type": "application/json"})
    assert answer.status == 200, answer
    assert upstream.last().body == body.replace(b'"model":"fast"', b'"model":"upstream-model"').replace(
        b'"model" :  "fast"', b'"model" :  "upstream-model"')


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_chunked_body_arrives_whole(gate, upstream, size):
    body = BODIES[3]
    head = [("Transfer-Encoding", "chunked"), ("Content-Type", "application/json"),
            ("Authorization", f"Bearer {KEY_ACME}")]
    with gate.connect() as client:
        client.send(request_bytes("POST", "/v1/chat/completions", head, b"") + chunked(body, size=size))
        assert client.read_response().status == 200
        # the connection is in step: the next request works
        assert client.send(chat_request()).read_response().status == 200
    assert upstream.calls[0].body == body.replace(b'"fast"', b'"upstream-model"')


@pytest.mark.parametrize("size", [1, 3, 50])
def test_a_request_in_small_pieces_is_the_same_request(gate, upstream, size):
    request = chat_request({"model": "fast", "messages": [], "x": "y" * 40})
    with gate.connect() as client:
        client.send_cut(request, size)
        assert client.read_response().status == 200
    assert upstream.last().json == {"model": "upstream-model", "messages": [], "x": "y" * 40}


@pytest.mark.parametrize("path", [
    "/v1/chat/completions", "/chat/completions", "/openai/v1/chat/completions", "/openai/chat/completions"])
def test_paths_lead_to_the_same_place(gate, upstream, path):
    assert gate.post(path, {"model": "fast", "messages": []}).status == 200
    assert upstream.last().target == "/v1/chat/completions"


@pytest.mark.parametrize("path", [
    "/v1/completions", "/v1/embeddings", "/v1/moderations", "/v1/responses", "/v1/images/generations",
    "/v1/audio/speech", "/v1/rerank"])
def test_every_json_endpoint_passes(gate, upstream, path):
    body = b'{"input":"x","prompt":"x", "model":"fast" ,"unknown":[1.0]}'
    answer = gate.post(path, body, headers={"Content-Type": "application/json"})
    assert answer.status == 200, answer
    call = upstream.last()
    assert (call.method, call.target) == ("POST", path)
    assert call.body == body.replace(b'"fast"', b'"upstream-model"')


FORWARDED = {
    "anthropic-version": "2023-06-01", "anthropic-beta": "a-1,b-2", "openai-beta": "assistants=v2",
    "x-stainless-lang": "python", "x-stainless-retry-count": "0", "x-app": "cli", "user-agent": "Some/1.0 (x; y)",
    "x-claude-code-session": "abc", "x-goog-api-client": "gl-py/3", "accept": "application/json",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate": "a=b",
}
KEPT_BACK = {
    "cookie": "session=1", "x-api-key": KEY_ACME, "x-forwarded-for": "1.2.3.4", "x-forwarded-host": "evil.test",
    "x-forwarded-proto": "https", "forwarded": "for=1.2.3.4", "x-real-ip": "1.2.3.4", "via": "1.1 x",
    "x-sluice-tags": "a=b", "x-custom": "1", "accept-encoding": "gzip, br", "origin": "https://a.test",
    "referer": "https://a.test/", "proxy-authorization": "Basic eDp5", "keep-alive": "timeout=5",
    "te": "trailers", "x-portkey-custom-host": "http://evil.test", "x-litellm-api-base": "http://evil.test",
    "x-http-method-override": "DELETE", "x-original-url": "/admin", "range": "bytes=0-1",
    "OpenAI-Organization": "org-dearer", "openai-project": "proj_other",
}


def test_headers_pass_an_allowlist(gate, upstream):
    answer = gate.post("/v1/chat/completions", {"model": "fast", "messages": []},
                       headers=list(FORWARDED.items()) + list(KEPT_BACK.items()))
    assert answer.status == 200, answer
    call = upstream.last()
    for name, value in FORWARDED.items():
        assert call.fields.all(name) in ([value], []) if name.startswith("trace") else call.fields.all(name) == [value]
    for name in KEPT_BACK:
        if name != "accept-encoding":
            assert not call.fields.all(name), name
    assert call.fields.all("accept-encoding") in ([], ["identity"])
    assert call.fields.all("authorization") == [f"Bearer {KEY_PROVIDER}"]
    assert call.fields.all("host") == [f"127.0.0.1:{upstream.port}"]
    assert call.header("content-type") == "application/json"
    assert call.fields.all("content-length") == [str(call.length)]


def test_a_connection_header_names_nothing_we_forward(gate, upstream):
    head = [("Authorization", f"Bearer {KEY_ACME}"), ("Connection", "openai-beta"), ("openai-beta", "x"),
            ("Content-Type", "application/json")]
    body = b'{"model":"fast","messages":[]}'
    with gate.connect() as client:
        answer = client.request("POST", "/v1/chat/completions", head, body)
    assert answer.status in (200, 400)
    if answer.status == 200:
        assert "connection" not in [n.lower() for n, v in upstream.last().fields if v == "openai-beta"]
