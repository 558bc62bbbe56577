# SPDX-License-Identifier: Apache-2.0
"""boto3, unchanged, in front of targets that speak Converse, signed for or not, and of others."""

import json
import struct
import zlib

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, EventStreamError
from harness import KEY_ACME, KEY_WRONG, Sluice, config_for, free_port, model_for, provider_for
from raw_upstream import chat_body, stream_chat

ACCESS, SECRET, SESSION = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "c2Vzc2lvbg=="
PRICE = {"input": 1, "output": 10}
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
CALL = {"toolUse": {"toolUseId": "tooluse_1", "name": "weather", "input": {"city": "K\u00f6ln"}}}
ANSWER = {
    "output": {"message": {"role": "assistant", "content": [
        {"reasoningContent": {"reasoningText": {"text": "Let me see.", "signature": "c2ln"}}},
        {"text": "It is \u00fc\u2603."},
        CALL,
    ]}},
    "stopReason": "tool_use",
    "usage": {"inputTokens": 20, "outputTokens": 30, "totalTokens": 58, "cacheReadInputTokens": 5, "cacheWriteInputTokens": 3},
    "metrics": {"latencyMs": 7},
}
EVENTS = [
    ("messageStart", {"role": "assistant", "p": "abcd"}),
    ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hel"}, "p": "ab"}),
    ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "lo"}}),
    ("contentBlockStop", {"contentBlockIndex": 0}),
    ("contentBlockStart", {"contentBlockIndex": 1, "start": {"toolUse": {"toolUseId": "tooluse_1", "name": "weather"}}}),
    ("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"toolUse": {"input": '{"city":"K\u00f6ln"}'}}}),
    ("contentBlockStop", {"contentBlockIndex": 1}),
    ("messageStop", {"stopReason": "tool_use"}),
    ("metadata", {"usage": ANSWER["usage"], "metrics": {"latencyMs": 7}}),
]
HELLO = [{"role": "user", "content": [{"text": "hi"}]}]
TOOLS = {"tools": [{"toolSpec": {"name": "weather", "description": "The weather", "inputSchema": {
    "json": {"type": "object", "properties": {"city": {"type": "string"}}}}}}]}


def frame(kind, name, body):
    headers = b""
    first = ":event-type" if kind == "event" else ":exception-type"
    for key, value in ((first, name), (":content-type", "application/json"), (":message-type", kind)):
        headers += bytes([len(key)]) + key.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
    payload = json.dumps(body).encode()
    head = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    head += struct.pack(">I", zlib.crc32(head))
    whole = head + headers + payload
    return whole + struct.pack(">I", zlib.crc32(whole))


STREAM = b"".join(frame("event", *row) for row in EVENTS)


def is_signed(call):
    """Does botocore come to the same signature?"""
    credentials = Credentials(ACCESS, SECRET, SESSION)
    given = call.header("authorization")
    signed = given.split("SignedHeaders=")[1].split(",")[0].split(";")
    request = AWSRequest(call.method, f"http://{call.header('host')}{call.target}", data=call.body,
                         headers={name: call.header(name) for name in signed})
    request.context["timestamp"] = call.header("x-amz-date")
    auth = SigV4Auth(credentials, "bedrock", "eu-west-1")
    words = auth.string_to_sign(request, auth.canonical_request(request))
    return given.endswith(f"Signature={auth.signature(words, request)}") and {"host", "x-amz-date", "x-amz-security-token"} <= set(signed)


def answer(call):
    if "/chat/completions" in call.path and call.json["model"] == "breaks":
        call.begin_stream()
        call.event({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{"index": 0, "delta": {"content": "Hel"}, "finish_reason": None}]})
        call.event({"error": {"message": "It broke.", "type": "server_error"}})
        return call.end_stream()
    if "/chat/completions" in call.path:
        return stream_chat(call) if call.json.get("stream") else call.respond(200, chat_body("Hello"))
    if "throttled" in call.path:
        return call.respond(429, {"message": "Too many requests, please wait."}, headers={"x-amzn-errortype": "ThrottlingException"})
    if call.path.endswith("/converse"):
        return call.respond(200, ANSWER)
    call.head(200, [("content-type", "application/vnd.amazon.eventstream"), ("transfer-encoding", "chunked")])
    if "broken" in call.path:
        call.chunk(frame("event", *EVENTS[0]) + frame("event", *EVENTS[1]))
        call.chunk(frame("exception", "modelStreamErrorException", {"message": "It broke."}))
    else:
        for at in range(0, len(STREAM), 77):
            call.chunk(STREAM[at : at + 77])
    return call.end_stream()


MODELS = {"fast": ("up", "gpt"), "breaks": ("up", "breaks"), "guarded": ("signed", CLAUDE), "claude": ("signed", CLAUDE), "borne": ("borne", CLAUDE), "broken": ("signed", "broken"), "throttled": ("borne", "throttled")}


@pytest.fixture(autouse=True)
def fresh(watched, upstream):
    upstream.answer = answer


@pytest.fixture(scope="module")
def gate(upstream, certificate):
    root = upstream.url.removesuffix("/v1")
    aws = {"type": "bedrock", "base_url": root, "region": "eu-west-1"}
    providers = [
        provider_for(upstream),
        provider_for(upstream, "borne", **aws),
        provider_for(upstream, "signed", **aws, api_key="", access_key=ACCESS, secret_key=SECRET, session_token=SESSION),
    ]
    models = [model_for(name, targets=[{"id": name, "provider": place, "model": model, "price": PRICE}]) for name, (place, model) in MODELS.items()]
    rules = [{"name": stage, "stage": stage, "type": "contains", "terms": terms, "action": "block", "models": ["guarded"]}
             for stage, terms in (("request", ["sesame"]), ("response", ["it is", "hello"]))]
    config = config_for(upstream, providers=providers, models=models, guardrails=rules)
    config["server"]["listeners"].append({  # boto3 bears no key without TLS
        "name": "tls", "address": f"127.0.0.1:{free_port()}", "serve": ["api"],
        "tls": {"cert_file": certificate[0], "key_file": certificate[1]}})
    with Sluice(config) as one:
        yield one


def client_for(gate, authority, monkeypatch, key=KEY_ACME):
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", key)
    host, port = gate.address("tls")
    return boto3.client("bedrock-runtime", region_name="eu-west-1", endpoint_url=f"https://{host}:{port}", verify=str(authority.file),
                        config=Config(retries={"total_max_attempts": 1}, read_timeout=20))


@pytest.fixture
def client(gate, authority, monkeypatch):
    return client_for(gate, authority, monkeypatch)


def gathered(got):
    """What the events of a stream say: text, calls, and the rest."""
    blocks, rest = {}, {}
    for event in got["stream"]:
        (name, value), = event.items()
        if name == "contentBlockStart":
            blocks[value["contentBlockIndex"]] = [value["start"]["toolUse"]["name"], ""]
        elif name == "contentBlockDelta":
            block = blocks.setdefault(value["contentBlockIndex"], [None, ""])
            block[1] += value["delta"].get("text") or value["delta"].get("toolUse", {}).get("input") or ""
        else:
            rest[name] = value
    return [blocks[index] for index in sorted(blocks)], rest


@pytest.mark.parametrize("model", ["claude", "borne"])
def test_an_answer_of_bedrock_is_what_bedrock_said(client, gate, upstream, model):
    got = client.converse(modelId=model, messages=HELLO, inferenceConfig={"maxTokens": 50}, toolConfig=TOOLS)
    assert got["output"] == ANSWER["output"] and got["usage"] == ANSWER["usage"] and got["metrics"] == ANSWER["metrics"]
    call = upstream.calls[-1]
    assert call.target == "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse"
    assert call.json["messages"] == HELLO and call.json["toolConfig"] == TOOLS
    assert is_signed(call) if model == "claude" else call.header("authorization").startswith("Bearer ")
    row = gate.ledger_row(got["ResponseMetadata"]["HTTPHeaders"]["x-request-id"])
    assert (row["input_tokens"], row["cached_tokens"], row["cache_write_tokens"], row["output_tokens"]) == (28, 5, 3, 30)


def test_a_stream_of_bedrock_is_what_bedrock_said(client, gate, upstream):
    got = client.converse_stream(modelId="claude", messages=HELLO)
    blocks, rest = gathered(got)
    assert blocks == [[None, "Hello"], ["weather", '{"city":"K\u00f6ln"}']]
    assert rest["messageStop"]["stopReason"] == "tool_use" and rest["metadata"]["usage"] == ANSWER["usage"]
    assert upstream.calls[-1].path.endswith("/converse-stream") and is_signed(upstream.calls[-1])
    row = gate.ledger_row(got["ResponseMetadata"]["HTTPHeaders"]["x-request-id"])
    assert (row["input_tokens"], row["output_tokens"], row["counted"]) == (28, 30, "provider")


def test_the_frames_of_a_stream_pass_as_they_came(gate, upstream):
    got = gate.post("/model/claude/converse-stream", {"messages": HELLO})
    assert got.status == 200 and got.header("content-type") == "application/vnd.amazon.eventstream"
    assert got.body == STREAM


def test_another_targets_answer(client):
    got = client.converse(modelId="fast", messages=HELLO, system=[{"text": "Be kind."}], inferenceConfig={"maxTokens": 50, "temperature": 0.5})
    assert got["output"]["message"] == {"role": "assistant", "content": [{"text": "Hello"}]}
    assert got["stopReason"] == "end_turn" and got["usage"]["outputTokens"] > 0 and got["metrics"]["latencyMs"] == 0
    blocks, rest = gathered(client.converse_stream(modelId="fast", messages=HELLO))
    assert blocks[0][1].startswith("Hello") and rest["messageStop"]["stopReason"] == "end_turn" and rest["metadata"]["usage"]["outputTokens"] > 0


def test_a_client_of_another_dialect_asks_bedrock(gate, upstream):
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]
    got = gate.chat("claude", max_tokens=50, tools=tools)
    assert got.status == 200, got
    message = got.json["choices"][0]["message"]
    assert message["content"] == "It is \u00fc\u2603." and json.loads(message["tool_calls"][0]["function"]["arguments"]) == {"city": "K\u00f6ln"}
    assert got.json["usage"]["prompt_tokens"] == 28 and is_signed(upstream.calls[-1])
    assert upstream.calls[-1].json["inferenceConfig"]["maxTokens"] == 50
    streamed = gate.chat("claude", stream=True, max_tokens=50)
    rows = [json.loads(line[6:]) for line in streamed.body.decode().splitlines() if line.startswith("data: {")]
    assert "".join(row["choices"][0]["delta"].get("content") or "" for row in rows if row["choices"]) == "Hello"


def test_errors_are_the_exceptions_that_boto3_knows(gate, client, authority, monkeypatch):
    with pytest.raises(client.exceptions.ThrottlingException, match="Too many requests"):
        client.converse(modelId="throttled", messages=HELLO)
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.converse(modelId="nobody", messages=HELLO)
    with pytest.raises(ClientError, match="AccessDenied"):
        client_for(gate, authority, monkeypatch, KEY_WRONG).converse(modelId="claude", messages=HELLO)


def test_an_error_within_a_stream_is_raised(client):
    with pytest.raises(EventStreamError, match="It broke"):
        gathered(client.converse_stream(modelId="broken", messages=HELLO))


def test_an_error_within_another_targets_stream_is_raised(client):
    """Within the stream, or in its place: when it comes in one piece with what was before it, nothing has left yet."""
    with pytest.raises(ClientError, match="It broke"):
        gathered(client.converse_stream(modelId="breaks", messages=HELLO))


@pytest.mark.parametrize("block", [{"text": "sesame"}, {"toolResult": {"toolUseId": "t", "content": [{"json": {"a": ["sesame"]}}]}},
                                   {"toolResult": {"toolUseId": "t", "content": [{"text": "Sesame!"}]}}])
def test_a_guardrail_looks_into_what_is_asked(client, upstream, block):
    with pytest.raises(client.exceptions.ValidationException, match="guardrail"):
        client.converse(modelId="guarded", messages=[{"role": "user", "content": [block]}])
    assert not upstream.calls


def test_a_guardrail_looks_into_answers_and_streams(client, upstream):
    with pytest.raises(client.exceptions.ValidationException, match="guardrail"):
        client.converse(modelId="guarded", messages=HELLO)
    assert len(upstream.calls) == 1
    with pytest.raises(ClientError, match="guardrail"):  # behind messageStart, which has no text
        gathered(client.converse_stream(modelId="guarded", messages=HELLO))
    assert len(upstream.calls) == 2
