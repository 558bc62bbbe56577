# SPDX-License-Identifier: Apache-2.0
"""Spans for an OpenTelemetry collector: OTLP over HTTP in JSON, read as strictly as its protobuf is."""

import base64
import json
import re
import threading

import pytest
from google.protobuf import json_format
from harness import Sluice, chat_request, config_for, eventually, merged, model_for, run_cli
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from raw_upstream import Upstream, chat_body, chat_chunk, openai_answer, stream_chat

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SERVER, CLIENT = 2, 3


def value_of(value):
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [value_of(each) for each in value.array_value.values]
    return getattr(value, kind)


def attributes_of(span):
    values = {each.key: value_of(each.value) for each in span.attributes}
    assert len(values) == len(span.attributes), "a key stands twice"
    return values


class Collector:
    """Takes what it is sent, or answers with the next of `statuses`."""

    def __init__(self):
        self.spans, self.resources, self.statuses, self.requests = [], [], [], []
        self.partial = None
        self.server = Upstream(answer=self.answer)

    @property
    def url(self):
        return "http://{}:{}".format(*self.server.address)

    def answer(self, call):
        self.requests.append(call)
        if self.statuses:
            status, headers = self.statuses.pop(0)
            call.respond(status, {}, headers)
            return
        self.take(call.body)
        call.respond(200, self.partial or {})

    def take(self, body):
        document = json.loads(body)
        for span in (s for r in document["resourceSpans"] for c in r["scopeSpans"] for s in c["spans"]):
            for name, digits in (("traceId", 32), ("spanId", 16), ("parentSpanId", 16)):
                if name in span:  # OTLP has them in hexadecimal, JSON of protobuf in base64
                    assert re.fullmatch(f"[0-9a-f]{{{digits}}}", span[name]) and int(span[name], 16)
                    span[name] = base64.b64encode(bytes.fromhex(span[name])).decode()
            for name in ("startTimeUnixNano", "endTimeUnixNano"):
                assert isinstance(span[name], str)
        request = json_format.Parse(json.dumps(document), ExportTraceServiceRequest())
        for resource in request.resource_spans:
            self.resources.append(attributes_of(resource.resource))
            for scope in resource.scope_spans:
                assert scope.scope.name == "sluice"
                self.spans += scope.spans

    def of(self, request_id):
        """The span of a call, and those of its tries."""
        calls = [s for s in self.spans if attributes_of(s).get("sluice.request_id") == request_id]
        if not calls:
            return None
        assert len(calls) == 1
        tries = [s for s in self.spans if s.parent_span_id == calls[0].span_id]
        for span in tries:
            assert calls[0].start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
            assert span.end_time_unix_nano <= calls[0].end_time_unix_nano + 1_000_000
            assert span.kind == CLIENT and span.trace_id == calls[0].trace_id
        return calls[0], sorted(tries, key=lambda s: attributes_of(s)["sluice.attempt"])

    def wait(self, answer):
        return eventually(lambda: self.of(answer.header("x-request-id")), what="the spans of a call")


@pytest.fixture
def collector():
    with Collector().server as server:
        yield server.answer.__self__


def gate_for(upstream, collector, env=None, **tracing):
    config = config_for(upstream, telemetry={"tracing": {"endpoint": collector.url, "sample": 1, **tracing}})
    return Sluice(config, env=env or {})


def test_a_call_and_its_try_are_told(upstream, collector):
    with gate_for(upstream, collector, headers={"x-collector-key": "secret"}) as gate:
        answer = gate.chat()
        span, (attempt,) = collector.wait(answer)
        assert span.kind == SERVER and span.name == "POST /chat/completions" and not span.parent_span_id
        told = attributes_of(span)
        assert told["http.response.status_code"] == 200 and told["client.address"] == "127.0.0.1"
        assert told["sluice.tenant"] == "acme" and told["sluice.key"] == "main" and told["sluice.model"] == "fast"
        assert told["sluice.target"] == "fast-1" and told["sluice.cost_usd"] == pytest.approx(0.000039)
        assert attempt.name == "chat upstream-model"
        told = attributes_of(attempt)
        assert told["gen_ai.operation.name"] == "chat" and told["gen_ai.request.model"] == "upstream-model"
        assert told["gen_ai.usage.input_tokens"] == 11 and told["gen_ai.usage.output_tokens"] == 7
        assert told["server.address"] == "127.0.0.1"
        assert told["server.port"] == upstream.address[1] and "error.type" not in told
        assert collector.resources[0]["service.name"] == "sluice"
        assert collector.requests[0].path == "/v1/traces"
        assert collector.requests[0].header("x-collector-key") == "secret"
        sent = upstream.calls[-1].header("traceparent")
        assert sent == f"00-{span.trace_id.hex()}-{attempt.span_id.hex()}-01"
        assert gate.access_line(answer.header("x-request-id"))["trace_id"] == span.trace_id.hex()
        eventually(lambda: gate.metric("sluice_spans_sent_total") == 2)


def test_a_trace_goes_on_as_its_caller_says(upstream, collector):
    with gate_for(upstream, collector, sample=0) as gate:
        assert gate.chat().status == 200
        assert gate.chat(headers={"traceparent": f"00-{TRACE}-{PARENT}-00"}).status == 200
        assert upstream.calls[-1].header("traceparent") == f"00-{TRACE}-{PARENT}-00"
        span, (attempt,) = collector.wait(gate.chat(headers={"traceparent": f"00-{TRACE}-{PARENT}-01"}))
        assert span.trace_id.hex() == TRACE and span.parent_span_id.hex() == PARENT
        assert upstream.calls[-1].header("traceparent") == f"00-{TRACE}-{attempt.span_id.hex()}-01"
        assert len(collector.spans) == 2
        for broken in (f"00-{TRACE}-{PARENT}", f"ff-{TRACE}-{PARENT}-01", f"00-{'0' * 32}-{PARENT}-01",
                       f"00-{TRACE.upper()}-{PARENT}-01", "x"):
            assert gate.chat(headers={"traceparent": broken}).status == 200
        assert gate.stop() == 0  # which sends what there is
        assert len(collector.spans) == 2


def test_every_try_has_a_span(upstream, collector):
    def answer(call):
        if call.json["model"] == "bad":
            call.respond(503, {"error": {"message": "no"}})
        else:
            openai_answer(call)

    upstream.answer = answer
    providers = [{"name": "up", "type": "openai", "base_url": upstream.url, "api_key": "k", "retry": {"attempts": 1}}]
    models = [model_for("fast", targets=[{"id": "first", "provider": "up", "model": "bad", "priority": 1,
                                          "price": {"input": 1, "output": 1}},
                                         {"id": "second", "provider": "up", "model": "good", "priority": 2,
                                          "price": {"input": 1, "output": 1}}])]
    config = merged(config_for(upstream, telemetry={"tracing": {"endpoint": collector.url, "sample": 1}}),
                    {"models": models, "providers": providers, "routing": {"policies": [{"name": "p", "strategy": "priority"}], "default_policy": "p"}})
    with Sluice(config) as gate:
        _, tries = collector.wait(gate.chat())
        told = [attributes_of(each) for each in tries]
        assert [each["sluice.target"] for each in told][-1] == "second" and told[0]["sluice.target"] == "first"
        assert tries[0].status.code == 2 and told[0]["error.type"]
        assert tries[-1].status.code == 0 and "error.type" not in told[-1]
        assert [each["sluice.attempt"] for each in told] == list(range(1, len(told) + 1))


def test_refusals_and_calls_that_are_left_are_told(upstream, collector):
    go = threading.Event()

    def answer(call):
        go.wait(30)
        openai_answer(call)

    with gate_for(upstream, collector) as gate:
        span, tries = collector.wait(gate.chat(model="none"))
        assert attributes_of(span)["http.response.status_code"] == 404 and span.status.code == 0 and not tries
        upstream.answer = answer
        client = gate.connect()
        client.send(chat_request())
        upstream.wait(lambda: upstream.calls)
        client.close()
        left = eventually(lambda: [s for s in collector.spans
                                   if attributes_of(s).get("http.response.status_code") == 499])
        assert attributes_of(left[0])["error.type"] == "client_gone"
        go.set()


@pytest.mark.parametrize("says", [False, True], ids=["closes", "says an error"])
def test_a_stream_that_breaks_off_is_an_error_of_both_spans(upstream, collector, says):
    begun = threading.Event()

    def answer(call):
        call.begin_stream()
        call.event(chat_chunk({"content": "half"}))
        begun.wait(30)
        if says:
            call.event({"error": {"message": "no more", "type": "server_error"}})
            call.end_stream()
        else:
            call.close()

    upstream.answer = answer
    with gate_for(upstream, collector) as gate:
        client, response = gate.open_stream()
        begun.set()
        with client:
            assert b"error" in b"".join(client.pieces(response))
        span, (attempt,) = collector.wait(response)
        assert span.status.code == attempt.status.code == 2
        assert (attributes_of(span)["error.type"] == attributes_of(attempt)["error.type"]
                == ("target_error" if says else "target_cut"))
        assert attributes_of(span)["http.response.status_code"] == 200


def test_what_is_not_taken_is_sent_again(upstream, collector):
    collector.statuses = [(503, [("retry-after", "1")]), (429, [])]
    with gate_for(upstream, collector) as gate:
        answer = gate.chat()
        collector.wait(answer)
        assert len(collector.requests) == 3
        assert len({request.body for request in collector.requests}) == 1
        collector.statuses = [(400, [])]
        gate.chat()
        eventually(lambda: gate.metric("sluice_spans_dropped_total") == 2)
        collector.partial = {"partialSuccess": {"rejectedSpans": "1", "errorMessage": "no"}}
        collector.wait(gate.chat())
        eventually(lambda: gate.metric("sluice_spans_dropped_total") == 3)
        assert gate.metric("sluice_spans_sent_total") == 3
        assert any("does not take spans" in line.get("msg", "") for line in gate.log_lines())


def test_calls_do_not_wait_for_a_collector(upstream, collector):
    go = threading.Event()
    collector.server.answer = lambda call: go.wait(60)
    with gate_for(upstream, collector) as gate:
        for _ in range(20):
            assert gate.chat().status == 200
        go.set()
    with Sluice(config_for(upstream, telemetry={"tracing": {"endpoint": "http://127.0.0.1:9", "sample": 1}})) as gate:
        assert gate.chat().status == 200
        assert gate.cli("reload").returncode == 0
        assert gate.chat().status == 200


def test_a_reload_changes_where_spans_go(upstream, collector):
    with Sluice(config_for(upstream)) as gate:
        assert gate.chat().status == 200
        gate.write(merged(gate.config, {"telemetry": {"tracing": {"endpoint": collector.url, "sample": 1}}}))
        assert gate.cli("reload").returncode == 0
        eventually(lambda: gate.chat().status == 200 and collector.spans, every=0.3)
        gate.chat()
        gate.write(merged(gate.config, {"telemetry": {"tracing": {"endpoint": ""}}}))
        assert gate.cli("reload").returncode == 0
        eventually(lambda: gate.chat().status == 200 and not upstream.calls[-1].header("traceparent"))


def test_variables_win_over_the_file(upstream, collector):
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url + "/", "OTEL_SERVICE_NAME": "gate",
           "OTEL_RESOURCE_ATTRIBUTES": "service.name=other,deployment.environment.name=a%20b",
           "OTEL_EXPORTER_OTLP_HEADERS": "x-key=a%3Db", "OTEL_TRACES_SAMPLER": "parentbased_always_on"}
    config = config_for(upstream, telemetry={"tracing": {"endpoint": "http://127.0.0.1:9", "sample": 0}})
    with Sluice(config, env=env) as gate:
        collector.wait(gate.chat())
        assert collector.requests[0].header("x-key") == "a=b" and collector.requests[0].path == "/v1/traces"
        assert collector.resources[0]["service.name"] == "gate"
        assert collector.resources[0]["deployment.environment.name"] == "a b"
        shown = run_cli("config", "show", "-c", gate.file, "--origin", env=env)
        assert "OTEL_EXPORTER_OTLP_ENDPOINT" in shown.stdout, shown.stderr
    with Sluice(config, env={**env, "OTEL_SDK_DISABLED": "true"}) as gate:
        before = len(collector.requests)
        assert gate.chat().status == 200
        assert gate.stop() == 0
        assert len(collector.requests) == before
    env = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": collector.url + "/mine", "OTEL_TRACES_SAMPLER": "traceidratio"}
    with Sluice(config, env=env) as gate:
        collector.wait(gate.chat())
        assert collector.requests[-1].path == "/mine"


def test_the_last_spans_are_sent_before_the_end(upstream, collector):
    with gate_for(upstream, collector) as gate:
        answers = [gate.chat() for _ in range(8)]
        gate.stop()
    for answer in answers:
        collector.wait(answer)


def test_variables_for_other_programs_keep_nobody_from_starting(upstream):
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4317", "OTEL_EXPORTER_OTLP_HEADERS": "host=x,content-length=3",
           "OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2"}
    with Sluice(config_for(upstream), env=env) as gate:
        assert gate.chat().status == 200 and not upstream.calls[-1].header("traceparent")
        told = run_cli("check", gate.file, env=env)
        assert told.returncode == 0
        for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_TRACES_SAMPLER_ARG"):
            assert f"{name} is passed over" in told.stderr


# --------------------------------------------------------------------------------- what is said

TOOLS = [{"type": "function", "function": {"name": "look", "description": "d", "parameters": {"type": "object"}}}]
SPOKEN = [
    {"role": "system", "content": "Be \"brief\"."},
    {"role": "user", "content": [{"type": "text", "text": "what\nis é?"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
    {"role": "assistant", "content": None,
     "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"a": [1, "x"]}'}}]},
    {"role": "tool", "tool_call_id": "c1", "content": "42"},
]
CONTENT = ("gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions", "gen_ai.tool.definitions")


def content_of(collector, answer):
    """What is said in the spans of a call; in that of a try only."""
    call, tries = collector.wait(answer)
    assert not set(CONTENT) & set(attributes_of(call))
    told = attributes_of(tries[-1])
    return {name.removeprefix("gen_ai."): json.loads(told[name]) for name in CONTENT if name in told}, told.get("sluice.content_cut", False)


def says(*words):
    """An upstream that says them, each in a chunk of its own where it streams."""
    def answer(call):
        if call.json.get("stream"):
            stream_chat(call, words)
        else:
            call.respond(200, chat_body("".join(words)))
    return answer


def said(text, reason="stop"):
    return [{"role": "assistant", "parts": [{"type": "text", "content": text}], "finish_reason": reason}]


def test_what_is_said_is_told_only_if_asked_for(upstream, collector):
    with gate_for(upstream, collector) as gate:
        assert content_of(collector, gate.chat()) == ({}, False)


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_said_is_told(upstream, collector, stream):
    upstream.answer = says("Hel", "lo", " there")
    with gate_for(upstream, collector, capture_content=True) as gate:
        answer = gate.post("/v1/chat/completions", {"model": "fast", "messages": SPOKEN, "tools": TOOLS, "stream": stream})
        content, cut = content_of(collector, answer)
        assert not cut and set(content) == {"input.messages", "output.messages", "tool.definitions"}
        assert content["tool.definitions"] == [{"type": "function", "name": "look", "description": "d", "parameters": {"type": "object"}}]
        assert content["input.messages"] == [
            {"role": "system", "parts": [{"type": "text", "content": 'Be "brief".'}]},
            {"role": "user", "parts": [{"type": "text", "content": "what\nis é?"},
                                       {"type": "blob", "modality": "image", "mime_type": "image/png", "content": "", "bytes": 3}]},
            {"role": "assistant", "parts": [{"type": "tool_call", "id": "c1", "name": "look", "arguments": {"a": [1, "x"]}}]},
            {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "42"}]},
        ]
        assert content["output.messages"] == said("Hello there")


@pytest.mark.parametrize("stream", [False, True])
def test_it_is_told_as_the_client_says_and_hears_it(upstream, collector, stream):
    """Of Anthropic's client, whose target speaks OpenAI's words."""
    upstream.answer = says("Hel", "lo", " there")
    with gate_for(upstream, collector, capture_content=True) as gate:
        body = {"model": "fast", "max_tokens": 9, "system": "Be brief.", "messages": [{"role": "user", "content": "x"}], "stream": stream}
        content, cut = content_of(collector, gate.post("/v1/messages", body))
        assert not cut and content["system_instructions"] == [{"type": "text", "content": "Be brief."}]
        assert content["input.messages"] == [{"role": "user", "parts": [{"type": "text", "content": "x"}]}]
        assert content["output.messages"] == said("Hello there")


def test_calls_of_tools_are_told(upstream, collector):
    call = {"id": "c2", "type": "function", "function": {"name": "look", "arguments": '{"b":1}'}}
    body = {"id": "x", "object": "chat.completion", "model": "m", "choices": [
        {"index": 0, "message": {"role": "assistant", "content": None, "tool_calls": [call]}, "finish_reason": "tool_calls"}]}
    upstream.answer = lambda call: call.respond(200, body)
    with gate_for(upstream, collector, capture_content=True) as gate:
        content, _ = content_of(collector, gate.chat())
        assert content["output.messages"] == [
            {"role": "assistant", "parts": [{"type": "tool_call", "id": "c2", "name": "look", "arguments": {"b": 1}}],
             "finish_reason": "tool_call"}]


@pytest.mark.parametrize("stream", [False, True])
def test_what_a_guardrail_took_out_is_not_told(upstream, collector, stream):
    upstream.answer = says("call me at ", "bob@exam", "ple.com now")
    rule = {"type": "regex", "patterns": ["[a-z]+@example\\.com"], "action": "redact", "stream_window": 128}
    guards = [{**rule, "name": "asked", "stage": "request"}, {**rule, "name": "answered", "stage": "response"}]
    config = config_for(upstream, guardrails=guards,
                        telemetry={"tracing": {"endpoint": collector.url, "sample": 1, "capture_content": True}})
    with Sluice(config) as gate:
        answer = gate.post("/v1/chat/completions", {"model": "fast", "stream": stream,
                                                    "messages": [{"role": "user", "content": "I am eve@example.com."}]})
        content, _ = content_of(collector, answer)
        text = json.dumps(content)
        assert content["input.messages"] and content["output.messages"], content
        assert "eve@" not in text and "bob@" not in text and text.count("REDACTED") == 2, text
        assert "I am" in text and "call me" in text


def test_what_no_guardrail_has_decided_on_is_not_told(upstream, collector):
    """Its client leaves while a webhook thinks about the answer."""
    asked, go_on = threading.Event(), threading.Event()

    def judge(call):
        asked.set()
        go_on.wait(30)
        call.respond(200, {"action": "allow"})

    upstream.answer = says("the answer is 42")
    with Upstream(answer=judge) as hook:
        guard = {"name": "hook", "type": "webhook", "stage": "response", "action": "block", "timeout": "30s",
                 "url": "http://{}:{}/x".format(*hook.address)}
        config = config_for(upstream, guardrails=[guard],
                            telemetry={"tracing": {"endpoint": collector.url, "sample": 1, "capture_content": True}})
        with Sluice(config) as gate:
            try:
                with gate.connect() as client:
                    client.send(chat_request({"model": "fast", "messages": [{"role": "user", "content": "x"}]}))
                    assert asked.wait(30)
                eventually(lambda: any("gen_ai.input.messages" in attributes_of(span) for span in collector.spans), what="the call is told")
                assert not any("gen_ai.output.messages" in attributes_of(span) for span in collector.spans)
            finally:
                go_on.set()


def test_tenants_may_forbid_it(upstream, collector):
    from harness import KEY_ACME, sha256_hash
    tenants = [{"name": "org", "models": ["*"], "capture": "none"},
               {"name": "acme", "parent": "org", "keys": [{"name": "main", "hash": sha256_hash(KEY_ACME)}]}]
    config = config_for(upstream, tenants=tenants,
                        telemetry={"tracing": {"endpoint": collector.url, "sample": 1, "capture_content": True}})
    with Sluice(config) as gate:
        assert content_of(collector, gate.chat()) == ({}, False)


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_long_is_cut_and_the_last_messages_stay(upstream, collector, stream):
    upstream.answer = says(*['\\"é😀' * 20] * 1000)
    messages = [{"role": "user", "content": f"{i} " + 'x"' * 1000} for i in range(40)]
    with gate_for(upstream, collector, capture_content=True) as gate:
        answer = gate.post("/v1/chat/completions", {"model": "fast", "messages": messages, "stream": stream})
        content, cut = content_of(collector, answer)
        assert cut
        told = content["input.messages"]
        assert 5 < len(told) < 20 and told[-1]["parts"][0]["content"].startswith("39 ")
        (message,) = content["output.messages"]
        assert 2000 < len(message["parts"][0]["content"]) < 33_000


def test_an_answer_that_breaks_off_is_told_as_far_as_it_came(upstream, collector):
    def cut(call):
        call.begin_stream()
        call.event(json.dumps({"id": "x", "object": "chat.completion.chunk", "model": "m",
                               "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hel"}, "finish_reason": None}]}))
        call.close()

    upstream.answer = cut
    with gate_for(upstream, collector, capture_content=True) as gate:
        content, _ = content_of(collector, gate.chat(stream=True))
        assert content["output.messages"] == said("Hel", "error")


def test_prompts_of_completions_and_responses_are_told(upstream, collector):
    with gate_for(upstream, collector, capture_content=True) as gate:
        content, _ = content_of(collector, gate.post("/v1/responses", {"model": "fast", "instructions": "Be brief.", "input": "x"}))
        assert content["system_instructions"] == [{"type": "text", "content": "Be brief."}]
        assert content["input.messages"] == [{"role": "user", "parts": [{"type": "text", "content": "x"}]}]
        content, _ = content_of(collector, gate.post("/v1/completions", {"model": "fast", "prompt": "once"}))
        assert content["input.messages"][-1]["parts"] == [{"type": "text", "content": "once"}]
