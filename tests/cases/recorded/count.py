#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Read from the recorded answers how many tokens the provider counted, for the test of estimates.

    python3 tests/cases/recorded/count.py > tests/cases/recorded/counted.tsv

Columns: file, id, provider, model, input tokens, output tokens - of every recorded call that has a
request in JSON, an answer, and a count in it. Input includes what was read from or written to the
provider's cache and what its own tools read; output includes what was thought.
"""

import json
import pathlib
import sys

import expect

HERE = pathlib.Path(__file__).parent
OPENAI = {"openai-chat": "chat", "mistral-chat": "chat", "openai-completions": "completion",
          "openai-responses": "response", "openai-embeddings": "embedding"}


def datas(answer):
    """What a stream or a body says, one JSON object after the other."""
    if answer["body"].lstrip().startswith(("event:", "data:", ":")):
        texts = [data for _, data in expect.events_of(answer["body"] + "\n\n") if data]
    else:
        texts = [answer["body"]]
    for text in texts:
        try:
            value = json.loads(text)
        except ValueError:
            continue
        yield from value if isinstance(value, list) else [value]


def openai(answer, operation):
    streamed = answer["body"].lstrip().startswith(("event:", "data:", ":"))
    seen = (expect.read_stream if streamed else expect.read_body)(answer["body"], operation)[0]
    return (seen["input"], seen["output"]) if seen.get("seen") else None


def anthropic(answer):
    usage = {}
    for value in datas(answer):
        for holder in (value, value.get("message") or {}):
            given = holder.get("usage") if isinstance(holder, dict) else None
            usage.update({k: v for k, v in (given or {}).items() if v is not None})
    if "input_tokens" not in usage:
        return None
    cached = (usage.get("cache_creation_input_tokens") or 0) + (usage.get("cache_read_input_tokens") or 0)
    return usage["input_tokens"] + cached, usage.get("output_tokens") or 0


def gemini(answer):
    usage = {}
    for value in datas(answer):
        usage.update(value.get("usageMetadata") or {})
    if "promptTokenCount" not in usage:
        return None
    return (usage["promptTokenCount"] + usage.get("toolUsePromptTokenCount", 0),
            usage.get("candidatesTokenCount", 0) + usage.get("thoughtsTokenCount", 0))


def main():
    files = sorted([*OPENAI, "anthropic-messages", "gemini-generate"])
    for file in files:
        for line in (HERE / (file + ".jsonl")).open(encoding="utf-8"):
            record = json.loads(line)
            answer = record["response"]
            if not record["request_recorded"] or answer["status"] != 200 or answer["encoding"] != "utf8" \
                    or not isinstance(record["request"]["body"], dict):
                continue
            counted = openai(answer, OPENAI[file]) if file in OPENAI \
                else anthropic(answer) if file == "anthropic-messages" else gemini(answer)
            if counted and counted[0] > 0:
                print(file, record["id"], record["provider"], record["model"] or "-", *counted, sep="\t")


sys.exit(main())
