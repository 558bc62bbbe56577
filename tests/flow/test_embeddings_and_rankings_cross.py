# SPDX-License-Identifier: Apache-2.0
"""Vectors and rankings are asked for in any dialect that has them, and made by a target of any other."""

import base64
import json
import struct

import pytest
from harness import Sluice, config_for, model_for, provider_for

JSON = [("Content-Type", "application/json")]
VECTORS = [[0.25, -0.5, 1e-05], [1, 2.5, -0.0078125]]
TEXTS = ["a \"b\" \u2603", "c"]


def openai_body(vectors=VECTORS):
    rows = [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(vectors)]
    return {"object": "list", "data": rows, "model": "upstream-model", "usage": {"prompt_tokens": 7, "total_tokens": 7}}


TARGETS = {
    "openai": ("/v1/embeddings", openai_body()),
    "gemini": ("/v1beta/models/upstream-model:batchEmbedContents", {"embeddings": [{"values": vector} for vector in VECTORS]}),
    "cohere": ("/v2/embed", {"id": "1", "texts": TEXTS, "embeddings": {"float": VECTORS}, "meta": {"billed_units": {"input_tokens": 7}}}),
}


def texts_sent(call, target):
    if target == "openai":
        return call.json["input"]
    if target == "cohere":
        assert call.json["input_type"] == "search_query" and call.json["embedding_types"] == ["float"]
        return call.json["texts"]
    assert {one["model"] for one in call.json["requests"]} == {"models/upstream-model"}
    return ["".join(part["text"] for part in one["content"]["parts"]) for one in call.json["requests"]]


def gemini_request(text):
    return {"model": "models/fast", "content": {"parts": [{"text": text}]}, "taskType": "RETRIEVAL_QUERY", "outputDimensionality": 3}


CLIENTS = {
    "openai": ("/v1/embeddings", {"model": "fast", "input": TEXTS, "dimensions": 3, "input_type": "query"}),
    "gemini": ("/v1beta/models/fast:batchEmbedContents", {"requests": [gemini_request(text) for text in TEXTS]}),
    "ollama": ("/api/embed", {"model": "fast", "input": TEXTS, "dimensions": 3, "input_type": "query"}),
    "cohere": ("/v2/embed", {"model": "fast", "texts": TEXTS, "output_dimension": 3, "input_type": "search_query",
                             "embedding_types": ["float"]}),
}


def vectors_of(client, body):
    if client == "openai":
        assert [row["index"] for row in body["data"]] == [0, 1] and body["model"]
        return [row["embedding"] for row in body["data"]]
    if client == "gemini":
        return [row["values"] for row in body["embeddings"]]
    return body["embeddings"] if client == "ollama" else body["embeddings"]["float"]


def gate_for(upstream, target, **changes):
    provider = provider_for(upstream, type=target, **changes)
    if target != "openai":
        provider["base_url"] = provider["base_url"].removesuffix("/v1")
    return Sluice(config_for(upstream, providers=[provider], models=[model_for()]))


@pytest.mark.parametrize("target", TARGETS)
def test_vectors_of_every_target_reach_every_client(upstream, target):
    path, answer = TARGETS[target]
    upstream.answer = lambda call: call.respond(200, answer)
    with gate_for(upstream, target) as gate:
        for client, (where, body) in CLIENTS.items():
            got = gate.post(where, body)
            assert got.status == 200 and vectors_of(client, got.json) == VECTORS, (client, got)
            call = upstream.last()
            assert call.path == path and texts_sent(call, target) == TEXTS, (client, call.path, call.json)
            row = gate.ledger_row(got.header("x-request-id"))
            assert row["operation"] == "embedding" and row["dialect"] == client and row["input_tokens"] > 0, row
            if target != "gemini":
                assert row["input_tokens"] == 7 and row["counted"] == "provider", row


def test_one_text_is_answered_as_one(upstream):
    upstream.answer = lambda call: call.respond(200, openai_body(VECTORS[:1]))
    with gate_for(upstream, "openai") as gate:
        got = gate.post("/v1beta/models/fast:embedContent", {"content": {"parts": [{"text": "x"}]}})
        assert got.json == {"embedding": {"values": VECTORS[0]}}, got
        got = gate.post("/api/embed", {"model": "fast", "input": "x"})
        assert got.json["embeddings"] == VECTORS[:1] and got.json["prompt_eval_count"] == 7, got
        assert upstream.last().json["input"] == ["x"]


def test_vectors_are_numbers_or_base64_as_it_was_asked(upstream):
    packed = [base64.b64encode(struct.pack("<3f", *vector)).decode() for vector in VECTORS]
    upstream.answer = lambda call: call.respond(200, TARGETS["cohere"][1])
    with gate_for(upstream, "cohere") as gate:
        got = gate.post("/v1/embeddings", {"model": "fast", "input": TEXTS, "encoding_format": "base64"})
        assert [row["embedding"] for row in got.json["data"]] == packed, got
    upstream.answer = lambda call: call.respond(200, openai_body(packed))
    with gate_for(upstream, "openai") as gate:
        got = gate.post("/v2/embed", {"model": "fast", "texts": TEXTS, "input_type": "clustering", "embedding_types": ["float", "base64"]})
        assert got.json["embeddings"]["base64"] == packed, got
        for have, want in zip(got.json["embeddings"]["float"], VECTORS, strict=True):
            assert have == pytest.approx(want, rel=1e-6)


def test_what_no_text_is_is_refused_by_name(upstream):
    with gate_for(upstream, "cohere") as gate:
        for body, param in (({"input": [1, 2]}, "input"), ({"input": 7}, "input"), ({"input": []}, "input"), ({}, "input"),
                            ({"input": "x", "dimensions": -1}, "dimensions")):
            got = gate.post("/v1/embeddings", {"model": "fast", **body})
            assert got.status == 400 and got.json["error"]["param"].startswith(param), (body, got)
    assert not upstream.calls
    with gate_for(upstream, "openai") as gate:
        got = gate.post("/v2/embed", {"model": "fast", "texts": ["x"], "input_type": "clustering", "embedding_types": ["int8"]})
        assert got.status == 400 and "embedding_types" in got.json["message"] and got.json["id"], got
        got = gate.post("/v2/embed", {"model": "nobody", "texts": ["x"]})
        assert got.status == 404 and "nobody" in got.json["message"], got


def test_a_broken_answer_is_no_answer(upstream):
    with gate_for(upstream, "cohere") as gate:
        for body in ({"id": "1"}, {"embeddings": 7}):
            upstream.answer = lambda call, body=body: call.respond(200, body)
            assert gate.post("/v1/embeddings", {"model": "fast", "input": "x"}).status == 502
        upstream.answer = lambda call: call.respond(400, {"id": "1", "message": "too long, all of it"})
        got = gate.post("/v1/embeddings", {"model": "fast", "input": "x"})
        assert got.status == 400 and got.json["error"]["message"].startswith("too long, all of it"), got


def test_cohere_passes_as_it_is(upstream):
    answer = json.dumps(TARGETS["cohere"][1], indent=3).encode()
    upstream.answer = lambda call: call.respond(200, answer, JSON)
    with gate_for(upstream, "cohere") as gate:
        got = gate.post("/v2/embed", {"model": "fast", "texts": TEXTS, "input_type": "search_query"})
        assert got.body == answer and upstream.last().path == "/v2/embed", got
        row = gate.ledger_row(got.header("x-request-id"))
        assert row["input_tokens"] == 7 and row["counted"] == "provider", row


RANKING = {"id": "r", "results": [{"index": 1, "relevance_score": 0.9812}, {"index": 0, "relevance_score": -4.5}],
           "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}}
ASKED = {"model": "fast", "query": "q?", "documents": ["x", {"text": "y"}], "top_n": 2}


def test_rankings_cross(upstream):
    upstream.answer = lambda call: call.respond(200, RANKING)
    with gate_for(upstream, "cohere") as gate:
        got = gate.post("/v1/rerank", {**ASKED, "return_documents": True})
        assert got.json["results"] == [{"index": 1, "relevance_score": 0.9812, "document": {"text": "y"}},
                                       {"index": 0, "relevance_score": -4.5, "document": {"text": "x"}}], got
        call = upstream.last()
        assert call.path == "/v2/rerank" and call.json == {"model": "upstream-model", "query": "q?", "documents": ["x", "y"], "top_n": 2}
        got = gate.post("/v2/rerank", ASKED)
        assert got.json == RANKING, got
    upstream.answer = lambda call: call.respond(200, {"model": "m", "results": RANKING["results"], "usage": {"total_tokens": 9}})
    with gate_for(upstream, "openai") as gate:
        got = gate.post("/v2/rerank", ASKED)
        assert got.json["results"] == RANKING["results"] and upstream.last().path == "/v1/rerank", got
        assert gate.ledger_row(got.header("x-request-id"))["input_tokens"] == 9
        got = gate.post("/v2/rerank", {"model": "fast", "query": "q", "documents": []})
        assert got.status == 400 and "documents" in got.json["message"], got


@pytest.mark.parametrize("kind, path", [("nvidia", "/v1/ranking"), ("nvidia-ranking", "/v1/retrieval/nvidia/llama-3_2-rerank/reranking")])
def test_nvidias_rankings_are_asked_for_in_its_own_words(upstream, kind, path):
    upstream.answer = lambda call: call.respond(200, {"rankings": [{"index": 1, "logit": 2.5}, {"index": 0, "logit": -3.25}]})
    models = [model_for(model="nvidia/llama-3.2-rerank")]
    with Sluice(config_for(upstream, providers=[provider_for(upstream, type=kind)], models=models)) as gate:
        for where in ("/v1/rerank", "/v2/rerank"):
            got = gate.post(where, {"model": "fast", "query": "q?", "documents": ["x", {"text": "y"}], "top_n": 1})
            assert got.json["results"] == [{"index": 1, "relevance_score": 2.5}], got
            call = upstream.last()
            assert call.path == path, call.path
            assert call.json == {"model": "nvidia/llama-3.2-rerank", "query": {"text": "q?"}, "passages": [{"text": "x"}, {"text": "y"}]}


def test_a_body_that_grows_beyond_its_bound_is_refused_and_not_cut(upstream):
    """Each question in a batch of Gemini's names the model; under a target's long name 6 MB become more than 64 MiB."""
    upstream.answer = lambda call: call.respond(200, TARGETS["gemini"][1])
    provider = provider_for(upstream, type="gemini")
    provider["base_url"] = provider["base_url"].removesuffix("/v1")
    models = [model_for(targets=[{"id": "long", "provider": "up", "model": "m" * 128, "price": {"input": 1, "output": 1}}])]
    with Sluice(config_for(upstream, providers=[provider], models=models)) as gate:
        for count, status in ((100, 200), (460_000, 413)):
            upstream.forget()
            body = b'{"requests":[' + b",".join([b'{"model":""}'] * count) + b"]}"
            got = gate.request("POST", "/v1beta/models/fast:batchEmbedContents", body, headers=JSON)
            assert got.status == status, got
            assert len(upstream.calls) == (status == 200)
        assert got.error["status"] == "INVALID_ARGUMENT" and "too long" in got.error["message"], got
        assert gate.ledger_row(got.header("x-request-id"))["cost_nanos"] == 0


@pytest.mark.parametrize("client", CLIENTS)
def test_what_no_target_has_is_not_to_be_tried_again(upstream, client):
    """SDKs send a call again after any 5xx."""
    with gate_for(upstream, "anthropic") as gate:
        path, body = CLIENTS[client]
        got = gate.post(path, body)
        assert got.status == 400 and "(embedding)" in got.text and "anthropic" in got.text and not upstream.calls, got
        if client == "openai":
            assert got.error["type"] == "invalid_request_error", got
        if client == "gemini":
            assert (got.error["code"], got.error["status"]) == (400, "INVALID_ARGUMENT"), got


def test_one_that_has_it_may_have_room_later(upstream):
    upstream.answer = lambda call: call.respond(200, openai_body())
    without = provider_for(upstream, "without", type="anthropic", base_url=upstream.url.removesuffix("/v1"))
    price = {"input": 1, "output": 1}
    model = model_for(targets=[{"id": "never", "provider": "without", "model": "x", "price": price},
                               {"id": "full", "provider": "up", "model": "y", "priority": 2, "price": price,
                                "limits": {"requests_per_minute": 1}}])
    with Sluice(config_for(upstream, providers=[provider_for(upstream), without], models=[model])) as gate:
        path, body = CLIENTS["openai"]
        assert gate.post(path, body).status == 200
        got = gate.post(path, body)
        assert got.status == 503 and got.error["code"] == "overloaded", got
