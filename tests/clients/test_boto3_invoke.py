# SPDX-License-Identifier: Apache-2.0
"""boto3's invoke_model, and Anthropic's client, in front of Claude at Bedrock, of other makers' models there, and of others."""

import base64
import json

import anthropic
import pytest
from botocore.exceptions import ClientError, EventStreamError
from harness import KEY_ACME, Sluice, config_for, free_port, model_for, provider_for
from raw_upstream import chat_body, stream_chat
from test_boto3 import ACCESS, CLAUDE, PRICE, SECRET, SESSION, client_for, frame, is_signed

ARN = "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.anthropic.claude-opus-4-6-v1"
USAGE = {"input_tokens": 20, "cache_creation_input_tokens": 3, "cache_read_input_tokens": 5, "output_tokens": 30}
THINKING = {"type": "thinking", "thinking": "Let me see.", "signature": "c2lnbmF0dXJl"}
ANSWER = (b'{"model":"claude-sonnet-4-5","id":"msg_bdrk_1","type":"message","role":"assistant", "content":[' + json.dumps(THINKING).encode()
          + b',{"type":"text","text":"It is \\u00fc\xe2\x98\x83."},{"type":"tool_use","id":"toolu_1","name":"weather","input":{"n":1.50}}],'
          b'"stop_reason":"tool_use","stop_sequence":null,"usage":' + json.dumps(USAGE).encode() + b',"news":[1,2.0]}')
EVENTS = [
    '{"type":"message_start","message":{"model":"claude-sonnet-4-5","id":"msg_bdrk_1","type":"message","role":"assistant","content":[],"stop_reason":null,"stop_sequence":null,'
    '"usage":{"input_tokens":20,"cache_creation_input_tokens":3,"cache_read_input_tokens":5,"output_tokens":1}}}',
    '{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}',
    '{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Let me see."}}',
    '{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"c2lnbmF0dXJl"}}',
    '{"type":"content_block_stop","index":0}',
    '{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}',
    '{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Hel"}}',
    '{"type":"content_block_delta", "index":1,"delta":{"type":"text_delta","text":"lo \u2603"},"news":[1,2.0]}',
    '{"type":"content_block_stop","index":1}',
    '{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":30}}',
    '{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":20,"outputTokenCount":30,"invocationLatency":7,"firstByteLatency":5,"cacheReadInputTokenCount":5,"cacheWriteInputTokenCount":3}}',
]
CALL = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 50, "system": "Be kind.", "messages": [{"role": "user", "content": "hi"}]}
TITAN = {"inputText": "hi", "textGenerationConfig": {"maxTokenCount": 20}}


def chunk(text):
    return frame("event", "chunk", {"bytes": base64.b64encode(text.encode()).decode(), "p": "abcd"})


STREAM = b"".join(chunk(event) for event in EVENTS)
TITAN_STREAM = chunk('{"outputText":"Hello","index":0,"totalOutputTextTokenCount":null,"completionReason":null,"inputTextTokenCount":4}') + chunk(
    '{"outputText":"!","index":0,"totalOutputTextTokenCount":9,"completionReason":"FINISH","inputTextTokenCount":null,'
    '"amazon-bedrock-invocationMetrics":{"inputTokenCount":4,"outputTokenCount":9,"invocationLatency":7,"firstByteLatency":5}}')


def answer(call):
    if call.path.endswith("/count-tokens"):
        return call.respond(200, {"inputTokens": 17})
    if call.path.endswith("/v1/messages/count_tokens"):
        return call.respond(200, {"input_tokens": 19})
    if call.path.endswith("/chat/completions"):
        return stream_chat(call) if call.json.get("stream") else call.respond(200, chat_body("Hello"))
    if call.path.endswith("/v1/messages") and call.json.get("stream"):
        call.begin_stream()
        for event in [*EVENTS[:1], '{"type":"ping"}', *EVENTS[1:-1], '{"type":"message_stop"}']:
            call.chunk(f"event: {json.loads(event)['type']}\ndata: {event}\n\n".encode())
        return call.end_stream()
    if call.path.endswith("/v1/messages"):
        return call.respond(200, ANSWER)
    if call.path.endswith("/invoke"):
        counts = {"x-amzn-bedrock-input-token-count": "4", "x-amzn-bedrock-output-token-count": "9"}
        body = ANSWER if "claude" in call.path else json.dumps({"results": [{"outputText": "Hello"}]}).encode()
        return call.respond(200, body, headers=counts)
    call.head(200, [("content-type", "application/vnd.amazon.eventstream"), ("transfer-encoding", "chunked"), ("x-amzn-bedrock-content-type", "application/json")])
    stream = STREAM if "claude" in call.path else TITAN_STREAM
    if "broken" in call.path:
        stream = chunk(EVENTS[0]) + frame("exception", "modelStreamErrorException", {"message": "It broke."})
    for at in range(0, len(stream), 77):
        call.chunk(stream[at : at + 77])
    return call.end_stream()


MODELS = {"claude": ("signed", CLAUDE), "profile": ("signed", ARN), "titan": ("signed", "amazon.titan-text-lite-v1"), "broken": ("signed", "claude-broken"),
          "nova": ("signed", "eu.amazon.nova-lite-v1:0"), "maker": ("anthropic", "claude-sonnet-4-5"), "fast": ("up", "gpt")}


@pytest.fixture(autouse=True)
def fresh(watched, upstream):
    upstream.answer = answer


@pytest.fixture(scope="module")
def gate(upstream, certificate):
    root = upstream.url.removesuffix("/v1")
    providers = [
        provider_for(upstream),
        provider_for(upstream, "anthropic", type="anthropic", base_url=root),
        provider_for(upstream, "signed", type="bedrock", base_url=root, region="eu-west-1", api_key="", access_key=ACCESS, secret_key=SECRET, session_token=SESSION),
    ]
    models = [model_for(name, targets=[{"id": name, "provider": place, "model": model, "price": PRICE}]) for name, (place, model) in MODELS.items()]
    config = config_for(upstream, providers=providers, models=models)
    config["server"]["listeners"].append({
        "name": "tls", "address": f"127.0.0.1:{free_port()}", "serve": ["api"], "tls": {"cert_file": certificate[0], "key_file": certificate[1]}})
    with Sluice(config) as one:
        yield one


@pytest.fixture
def client(gate, authority, monkeypatch):
    return client_for(gate, authority, monkeypatch)


@pytest.fixture
def claude(gate):
    host, port = gate.address()
    return anthropic.Anthropic(base_url=f"http://{host}:{port}", api_key=KEY_ACME, max_retries=0, timeout=20)


def row_of(gate, got):
    return gate.ledger_row(got["ResponseMetadata"]["HTTPHeaders"]["x-request-id"])


def events_of(got):
    return [json.loads(event["chunk"]["bytes"]) for event in got["body"]]


def text_of(events):
    return "".join(event["delta"].get("text", "") for event in events if event["type"] == "content_block_delta")


@pytest.mark.parametrize("model", ["claude", "profile"])
def test_a_body_of_the_models_maker_passes_as_it_is(client, gate, upstream, model):
    said = json.dumps({**CALL, "news": [1, 2.50]}).encode()
    got = client.invoke_model(modelId=model, body=said, guardrailIdentifier="g1", guardrailVersion="2", trace="ENABLED")
    assert got["body"].read() == ANSWER
    call = upstream.calls[-1]
    assert call.body == said and is_signed(call)
    assert call.target == f"/model/{MODELS[model][1].replace(':', '%3A').replace('/', '%2F')}/invoke"
    assert call.header("x-amzn-bedrock-guardrailidentifier") == "g1" and call.header("x-amzn-bedrock-trace") == "ENABLED"
    row = row_of(gate, got)
    assert (row["input_tokens"], row["cached_tokens"], row["cache_write_tokens"], row["output_tokens"], row["counted"]) == (28, 5, 3, 30, "provider")


def test_a_stream_of_the_models_maker_passes_as_it_is(client, gate, upstream):
    got = client.invoke_model_with_response_stream(modelId="claude", body=json.dumps(CALL))
    assert got["contentType"] == "application/json"
    assert [event["chunk"]["bytes"].decode() for event in got["body"]] == EVENTS
    assert upstream.calls[-1].path.endswith("/invoke-with-response-stream")
    row = row_of(gate, got)
    assert (row["input_tokens"], row["cached_tokens"], row["cache_write_tokens"], row["output_tokens"], row["finish"]) == (28, 5, 3, 30, "end_turn")
    raw = gate.post("/model/claude/invoke-with-response-stream", CALL)
    assert raw.status == 200 and raw.body == STREAM


def test_usage_of_other_makers_is_in_the_head_or_in_the_last_chunk(client, gate):
    got = client.invoke_model(modelId="titan", body=json.dumps(TITAN), contentType="application/json", accept="application/json")
    assert json.loads(got["body"].read())["results"][0]["outputText"] == "Hello"
    assert (row_of(gate, got)["input_tokens"], row_of(gate, got)["output_tokens"]) == (4, 9)
    got = client.invoke_model_with_response_stream(modelId="titan", body=json.dumps(TITAN))
    assert "".join(json.loads(event["chunk"]["bytes"])["outputText"] for event in got["body"]) == "Hello!"
    row = row_of(gate, got)
    assert (row["input_tokens"], row["output_tokens"], row["counted"], row["finish"]) == (4, 9, "provider", "FINISH")


def test_anthropics_clients_ask_claude_at_bedrock_as_anthropic_is_asked(claude, gate, upstream):
    cached = [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    history = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": [THINKING, {"type": "text", "text": "Yes?"}]}, {"role": "user", "content": "go on"}]
    got = claude.beta.messages.with_raw_response.create(
        model="claude", max_tokens=2000, messages=history, system=cached, thinking={"type": "enabled", "budget_tokens": 1024},
        betas=["interleaved-thinking-2025-05-14", "no-such-2025-01-01"], service_tier="auto")
    assert got.http_response.content == ANSWER
    call = upstream.calls[-1]
    assert call.target.endswith("%3A0/invoke") and is_signed(call) and not call.header("anthropic-beta")
    assert call.json == {"anthropic_version": "bedrock-2023-05-31", "anthropic_beta": ["interleaved-thinking-2025-05-14"], "max_tokens": 2000,
                         "messages": history, "system": cached, "thinking": {"type": "enabled", "budget_tokens": 1024}}
    assert got.headers["x-sluice-dropped"].split(",") == ["anthropic-beta.no-such-2025-01-01", "service_tier"]
    row = gate.ledger_row(got.headers["request-id"])
    assert (row["input_tokens"], row["cached_tokens"], row["cache_write_tokens"], row["output_tokens"]) == (28, 5, 3, 30)


def test_betas_in_several_headers_all_go_up(gate, upstream):
    headers = [("anthropic-beta", "effort-2025-11-24"), ("anthropic-beta", "context-1m-2025-08-07,compact-2026-01-12")]
    got = gate.post("/v1/messages", {"model": "claude", "max_tokens": 50, "messages": CALL["messages"]}, headers=headers)
    assert got.status == 200 and upstream.calls[-1].json["anthropic_beta"] == ["effort-2025-11-24", "context-1m-2025-08-07", "compact-2026-01-12"]


def test_anthropics_clients_get_the_events_that_bedrock_sent(claude, gate, upstream):
    with claude.messages.stream(model="claude", max_tokens=50, messages=CALL["messages"]) as stream:
        message = stream.get_final_message()
    assert message.content[0].signature == THINKING["signature"] and message.content[1].text == "Hello \u2603" and message.usage.output_tokens == 30
    assert upstream.calls[-1].path.endswith("/invoke-with-response-stream") and "stream" not in upstream.calls[-1].json
    raw = gate.post("/v1/messages", {"model": "claude", "stream": True, "max_tokens": 50, "messages": CALL["messages"]})
    assert raw.header("content-type").startswith("text/event-stream")
    assert raw.body.decode() == "".join(f"event: {json.loads(event)['type']}\ndata: {event}\n\n" for event in EVENTS)


def test_what_bedrock_cannot_take_as_it_is_is_refused(claude, upstream):
    picture = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
    with pytest.raises(anthropic.BadRequestError):
        claude.messages.create(model="claude", max_tokens=50, messages=[{"role": "user", "content": [picture]}])
    with pytest.raises(anthropic.BadRequestError, match=r"tools\[0\]"):
        claude.messages.create(model="claude", max_tokens=50, messages=CALL["messages"], tools=[{"type": "web_search_20250305", "name": "web_search"}])
    assert not upstream.calls


def test_a_body_of_anthropics_is_asked_of_anthropic(client, gate, upstream):
    said = {**CALL, "anthropic_beta": ["context-1m-2025-08-07"]}
    got = client.invoke_model(modelId="maker", body=json.dumps(said))
    assert got["body"].read() == ANSWER
    call = upstream.calls[-1]
    assert call.json == {"model": "claude-sonnet-4-5", **{name: CALL[name] for name in ("max_tokens", "system", "messages")}}
    assert call.header("anthropic-beta") == "context-1m-2025-08-07" and call.header("anthropic-version") == "2023-06-01"
    headers = got["ResponseMetadata"]["HTTPHeaders"]
    assert (headers["x-amzn-bedrock-input-token-count"], headers["x-amzn-bedrock-output-token-count"]) == ("20", "30")
    got = client.invoke_model_with_response_stream(modelId="maker", body=json.dumps(said))
    events = [event["chunk"]["bytes"].decode() for event in got["body"]]
    assert events[:-1] == EVENTS[:-1] and upstream.calls[-1].json["stream"] is True
    metrics = json.loads(events[-1])["amazon-bedrock-invocationMetrics"]
    assert metrics == {"inputTokenCount": 20, "outputTokenCount": 30, "cacheReadInputTokenCount": 5, "cacheWriteInputTokenCount": 3, "invocationLatency": 0, "firstByteLatency": 0}
    assert row_of(gate, got)["input_tokens"] == 28


def test_a_body_of_anthropics_is_asked_of_others(client, gate, upstream):
    got = json.loads(client.invoke_model(modelId="fast", body=json.dumps(CALL))["body"].read())
    assert got["content"] == [{"type": "text", "text": "Hello"}] and got["stop_reason"] == "end_turn" and got["usage"]["input_tokens"] == 11
    assert upstream.calls[-1].json["messages"][0] == {"role": "system", "content": "Be kind."}
    events = events_of(client.invoke_model_with_response_stream(modelId="fast", body=json.dumps(CALL)))
    assert text_of(events) == "Hello there" and events[0]["type"] == "message_start"
    assert events[-1]["amazon-bedrock-invocationMetrics"]["inputTokenCount"] == 11 and events[-1]["type"] == "message_stop"


def test_a_body_of_another_maker_is_not(client, upstream):
    with pytest.raises(client.exceptions.ValidationException, match="anthropic_version"):
        client.invoke_model(modelId="fast", body=json.dumps(TITAN))
    assert not upstream.calls


def test_an_error_within_a_stream_is_raised(client, claude):
    with pytest.raises(EventStreamError, match="It broke"):
        events_of(client.invoke_model_with_response_stream(modelId="broken", body=json.dumps(CALL)))
    with pytest.raises(anthropic.APIError, match="It broke"), claude.messages.stream(model="broken", max_tokens=5, messages=CALL["messages"]) as stream:
        stream.get_final_message()


def test_a_key_opens_no_more_here_than_elsewhere(client):
    with pytest.raises(ClientError, match="ResourceNotFound"):
        client.invoke_model(modelId="nobody", body=json.dumps(CALL))


COUNTED = {"converse": {"messages": [{"role": "user", "content": [{"text": "hi"}]}], "system": [{"text": "Be kind."}]}}


@pytest.mark.parametrize("said", [COUNTED, {"invokeModel": {"body": json.dumps(CALL)}}])
def test_tokens_are_counted_by_bedrock_and_by_others(client, upstream, said):
    assert client.count_tokens(modelId="claude", input=said)["inputTokens"] == 17
    call = upstream.calls[-1]
    assert call.target == "/model/anthropic.claude-sonnet-4-5-20250929-v1%3A0/count-tokens" and is_signed(call) and list(call.json["input"]) == list(said)
    assert client.count_tokens(modelId="profile", input=said)["inputTokens"] == 17
    assert upstream.calls[-1].target == "/model/anthropic.claude-opus-4-6-v1/count-tokens"
    assert client.count_tokens(modelId="maker", input=said)["inputTokens"] == 19
    assert upstream.calls[-1].json["model"] == "claude-sonnet-4-5" and upstream.calls[-1].json["messages"][0]["role"] == "user"
    upstream.forget()
    assert 0 < client.count_tokens(modelId="fast", input=said)["inputTokens"] < 150
    assert not upstream.calls


def test_tokens_of_anthropics_clients_are_counted_by_bedrock(claude, gate, upstream):
    thinking = {"type": "enabled", "budget_tokens": 1024}
    assert claude.messages.count_tokens(model="claude", messages=CALL["messages"], thinking=thinking).input_tokens == 17
    said = json.loads(base64.b64decode(upstream.calls[-1].json["input"]["invokeModel"]["body"]))
    assert said == {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 1025, "messages": CALL["messages"], "thinking": thinking}
    upstream.forget()
    got = gate.post("/v1/messages/count_tokens", {"model": "nova", "messages": CALL["messages"]})
    assert got.status == 200 and got.header("x-sluice-estimated") == "true" and not upstream.calls, "AWS counts for Claude only"


@pytest.mark.parametrize("said", [{}, {"input": {}}, {"input": {"invokeModel": {"body": "e30="}}}, {"input": {"invokeModel": {"body": "???"}}}, {"input": {"invokeModel": {"body": 1}}}])
def test_a_count_of_nothing_is_refused(gate, said):
    assert gate.post("/model/maker/count-tokens", said).status == 400
