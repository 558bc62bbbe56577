# SPDX-License-Identifier: Apache-2.0
"""Every recorded embedding and ranking: the same numbers for clients of every dialect, the same bytes in its own."""

import base64
import json
import struct

import pytest
from harness import Sluice, Upstream, config_for, model_for, provider_for
from translators import FOLDER, Driver

EMBEDDINGS = {"openai-embeddings": "openai-embedding", "gemini-embed": "gemini-embedding", "cohere-embed": "cohere-embedding"}
RANKINGS = {"cohere-rerank": "cohere-ranking", "rerank": "openai-ranking"}
CLIENTS = {
    "openai-embedding": {"model": "m", "input": ["x"]},
    "gemini-embedding": {"requests": [{"model": "models/m", "content": {"parts": [{"text": "x"}]}}]},
    "cohere-embedding": {"model": "m", "texts": ["x"], "input_type": "clustering", "embedding_types": ["float"]},
    "ollama-embedding": {"model": "m", "input": ["x"]},
}
TYPES = {"openai-embedding": "openai", "gemini-embedding": "gemini", "cohere-embedding": "cohere", "ollama-embedding": "ollama",
         "openai-ranking": "openai", "cohere-ranking": "cohere"}


def load(files, good=True):
    for name, words in files.items():
        with open(FOLDER / f"{name}.jsonl", encoding="utf-8") as lines:
            for line in map(json.loads, lines):
                cohere_v1 = words.startswith("cohere") and line["request"]["path"].startswith("/v1")
                odd = cohere_v1 or "multimodal" in line["request"]["path"] or line["request"]["method"] != "POST"
                if not odd and (line["response"]["status"] == 200) == good:
                    yield words, line


def digits(text):
    """JSON with its numbers as they are written."""
    return json.loads(text, parse_float=str, parse_int=str)


def unpacked(vector):
    """Numbers as they are written; of base64 those that it is of."""
    if isinstance(vector, str):
        raw = base64.b64decode(vector)
        return [str(number) for number in struct.unpack(f"<{len(raw) // 4}f", raw[:len(raw) // 4 * 4])]
    return vector


def vectors_of(words, body):
    """All vectors that an answer has, in their order."""
    whole = digits(body)
    if words == "openai-embedding":
        return [unpacked(one["embedding"]) for one in whole["data"]]
    if words == "gemini-embedding":
        return [one["values"] for one in whole.get("embeddings", [whole.get("embedding")])]
    if words == "ollama-embedding":
        return whole["embeddings"]
    found = whole["embeddings"]
    return found["float"] if "float" in found else [unpacked(one) for one in found["base64"]]


def close(one, other):
    """Digit for digit; where one was packed into 32 bits, as near as those go."""
    return one == other or float(one) == pytest.approx(float(other), rel=2e-7, abs=1e-30)


def asked(driver, words, to, line, request):
    made = driver.ask(op="answer", **{"from": words, "to": to}, body=line["response"]["body"].encode().hex(), stream_in=False,
                      stream_out=False, request=json.dumps(request).encode().hex(), model="m", wants_usage=True)
    assert made["state"] == "ended", (line["id"], to, made.get("message"))
    return made, bytes.fromhex(made["out"]).decode()


def test_vectors_are_the_same_numbers_everywhere():
    count = 0
    with Driver() as driver:
        for words, line in load(EMBEDDINGS):
            body = line["response"]["body"]
            packed = words == "openai-embedding" and '"embedding":"' in body.replace(" ", "")
            want = vectors_of(words, body)
            if packed and line["provider"] == "perplexity":
                continue  # its base64 is of single bytes
            for to, request in CLIENTS.items():
                made, told = asked(driver, words, to, line, request)
                have = vectors_of(to, told)
                assert [len(vector) for vector in have] == [len(vector) for vector in want], (line["id"], to)
                for one, other in zip(have, want, strict=True):
                    same = all(map(close, one, other)) if packed else one == other
                    assert same, (line["id"], to)
                usage = json.loads(body).get("usage") or {}
                if "prompt_tokens" in usage:
                    assert made["usage"]["input"] == usage["prompt_tokens"], line["id"]
                count += 1
    assert count >= 4 * 45, count


def test_base64_is_made_and_unmade_of_the_same_numbers():
    count = 0
    with Driver() as driver:
        for words, line in load(EMBEDDINGS):
            if words == "openai-embedding":
                continue
            want = vectors_of(words, line["response"]["body"])
            _, told = asked(driver, words, "openai-embedding", line, {"input": ["x"], "encoding_format": "base64"})
            have = [one["embedding"] for one in json.loads(told)["data"]]
            assert have == [base64.b64encode(struct.pack(f"<{len(one)}f", *map(float, one))).decode() for one in want], line["id"]
            count += 1
    assert count >= 10, count


def test_calls_for_vectors_keep_their_texts():
    count = 0
    with Driver() as driver:
        for words, line in load(EMBEDDINGS):
            body = line["request"]["body"]
            if not line["request_recorded"] or not isinstance(body, dict):
                continue
            texts = texts_of(words, body)
            if not texts or not all(isinstance(text, str) and "\0" not in text for text in texts):
                continue  # tokens, or pictures among the texts
            for to, kind in TYPES.items():
                if not to.endswith("embedding"):
                    continue
                made = driver.ask(op="call", **{"from": words, "to": to}, body=json.dumps(body).encode().hex(), model="m", stream=False,
                                  target={"type": kind, "model": "m"})
                if made["ok"] and made["demands"]:
                    continue
                assert made["ok"], (line["id"], to, made)
                assert texts_of(to, json.loads(bytes.fromhex(made["body"]))) == texts, (line["id"], to)
                count += 1
    assert count >= 120, count


def texts_of(words, body):
    if words == "gemini-embedding":
        contents = [one.get("content") for one in body["requests"]] if "requests" in body else [body.get("content")]
        return ["".join(part.get("text", "\0") for part in (one or {}).get("parts", [])) for one in contents]
    texts = body.get("texts") if words == "cohere-embedding" else body.get("input")
    return [texts] if isinstance(texts, str) else texts


def places_of(body):
    whole = digits(body)
    return [(one["index"], one["relevance_score"]) for one in whole.get("results") or whole.get("data") or []]


def test_rankings_have_the_same_order_and_scores_everywhere():
    count = 0
    with Driver() as driver:
        for words, line in load(RANKINGS):
            for to in RANKINGS.values():
                _, told = asked(driver, words, to, line, {"query": "x", "documents": ["x"]})
                assert places_of(told) == places_of(line["response"]["body"]), (line["id"], to)
                count += 1
    assert count >= 30, count


@pytest.fixture(scope="module")
def server():
    with Upstream() as upstream:
        yield upstream


@pytest.mark.parametrize("files, kind", [({"gemini-embed": "gemini-embedding"}, "gemini"),
                                         ({"cohere-embed": "cohere-embedding", "cohere-rerank": "cohere-ranking"}, "cohere")])
def test_bytes_pass_as_they_are_in_their_own_dialect(server, files, kind):
    provider = provider_for(server, type=kind)
    provider["base_url"] = provider["base_url"].removesuffix("/v1")
    count = 0
    with Sluice(config_for(server, providers=[provider], models=[model_for("fast")])) as gate:
        for words, line in [*load(files), *load(files, good=False)]:
            request, response = line["request"], line["response"]
            if not line["request_recorded"] or not isinstance(request["body"], dict):
                continue
            body = response["body"].encode()
            server.answer = lambda call, status=response["status"], body=body: call.respond(status, body, [("Content-Type", "application/json")])
            path = request["path"].partition("?")[0]
            if words == "gemini-embedding":
                path = "/v1beta/models/fast:" + path.rpartition(":")[2]
            got = gate.post(path, {**request["body"], "model": "fast"} if kind == "cohere" else request["body"])
            assert (got.status, got.body) == (response["status"], body), line["id"]
            if kind == "cohere":
                assert server.last().json == {**request["body"], "model": "upstream-model"}, line["id"]
            count += 1
    assert count >= 8, count
