#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Read the recorded answers with Python's own JSON and write what they say to expected.tsv.

    python3 tests/cases/recorded/expect.py > tests/cases/recorded/expected.tsv

This is a second reading, made without the program, that the unit test of the openai dialect is
held against. One answer a line, columns: id, operation, streamed, kind of usage (seen, none),
input, cached, cache write, output, reasoning, audio input, audio output, units, ended, failed,
finish, events of the stream.
"""

import json
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).parent
FILES = {"openai-chat": "chat", "mistral-chat": "chat", "openai-completions": "completion",
         "openai-responses": "response", "openai-embeddings": "embedding",
         "openai-images": "image", "openai-audio": None, "openai-other": "object",
         "rerank": "rerank"}
LAST = ("response.completed", "response.incomplete", "response.failed", "response.cancelled",
        "response.done", "transcript.text.done", "speech.audio.done",
        "image_generation.completed", "image_edit.completed")
TYPED = ("response", "image", "speech", "transcription")


def events_of(body):
    """(name, data) of each event; blocks end in an empty line, the rest behind the last is dropped."""
    text = body.replace("\r\n", "\n").replace("\r", "\n")
    for block in text.split("\n\n")[:-1]:
        name, data = "", []
        for line in block.split("\n"):
            field, _, value = line.partition(":")
            value = value[1:] if value.startswith(" ") else value
            if field == "event":
                name = value
            elif field == "data":
                data.append(value)
        yield name, "\n".join(data) if data else None


def whole(value):
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def dig(usage, *paths):
    for path in paths:
        at = usage
        for name in path.split("."):
            at = at.get(name) if isinstance(at, dict) else None
        if whole(at) is not None:
            return at
    return None


def read_usage(usage, operation, seen):
    """The figures of one usage object, or what was <seen> before when it says nothing."""
    given = dig(usage, "prompt_tokens", "input_tokens")
    output = dig(usage, "completion_tokens", "output_tokens")
    total = dig(usage, "total_tokens")
    units = dig(usage, "seconds", "prompt_audio_seconds", "search_units")
    if given is None and output is None and total is None and units is None:
        return seen
    if output is None and operation in ("chat", "completion", "response"):
        return dict(seen, partial=True)
    details = ("prompt_tokens_details", "input_tokens_details", "input_token_details")
    made = ("completion_tokens_details", "output_tokens_details")
    cached = dig(usage, *(d + ".cached_tokens" for d in details), "prompt_cache_hit_tokens",
                 "cached_tokens", "num_cached_tokens", "cache_read_input_tokens") or 0
    written = dig(usage, *(d + ".cache_write_tokens" for d in details),
                  "cache_creation_input_tokens") or 0
    reasoning = dig(usage, *(m + ".reasoning_tokens" for m in made), "reasoning_tokens") or 0
    audio = dig(usage, *(d + ".audio_tokens" for d in details)) or 0
    spoken = dig(usage, *(m + ".audio_tokens" for m in made)) or 0
    if given is None and output is None:
        given = total or 0
    given, output = given or 0, output or 0
    if reasoning > output:  # not counted in; the price charged in the recording agrees
        return read_usage(dict(usage, completion_tokens=output + reasoning, total_tokens=None),
                          operation, seen)
    if total is not None and total > given + output:
        missing = total - given - output
        if reasoning == missing:
            output += reasoning
        elif usage.get("prompt_audio_seconds"):
            audio = missing
            given += missing
    cached = min(cached, given)
    written = min(written, given)
    return {"seen": True, "input": given, "cached": cached, "written": written,
            "output": output, "reasoning": min(reasoning, output), "audio": audio, "spoken": spoken,
            "units": units or 0}


def chunk_usage(chunk):
    if isinstance(chunk.get("usage"), dict):
        return chunk["usage"]
    groq = chunk.get("x_groq")
    if isinstance(groq, dict) and isinstance(groq.get("usage"), dict):
        return groq["usage"]
    for choice in (chunk.get("choices") or [])[:1]:
        if isinstance(choice.get("usage"), dict):
            return choice["usage"]
    return None


def read_stream(body, operation):
    seen, ended, failed, finish, count = {}, False, False, "", 0
    for name, data in events_of(body):
        count += 1
        if data is None:
            continue
        if data == "[DONE]":
            ended = True
            continue
        try:
            event = json.loads(data)
        except ValueError:
            continue
        kind = (name or event.get("type") or "") if operation in TYPED else ""
        if name == "error" or kind == "error" or event.get("error") and not kind:
            failed = True
        elif kind in LAST:
            response = event.get("response") or {}
            usage = response.get("usage") if kind.startswith("response.") else event.get("usage")
            if isinstance(usage, dict):
                seen = read_usage(usage, operation, seen)
            finish = kind.split(".")[-1] if kind.startswith("response.") else "completed"
            finish = (response.get("incomplete_details") or {}).get("reason") or finish
            failed, ended = kind == "response.failed", True
        elif not kind:
            usage = chunk_usage(event)
            if usage:
                seen = read_usage(usage, operation, seen)
            for choice in event.get("choices") or []:
                if choice.get("finish_reason"):
                    finish, ended = choice["finish_reason"], True
    return seen, ended, failed, finish, count


def read_body(body, operation):
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        return {}, True, False, "", 0
    usage = answer.get("usage")
    seen = read_usage(usage, operation, {}) if isinstance(usage, dict) else {}
    status = answer.get("status")
    return (seen, True, bool(answer.get("error")), status if isinstance(status, str) else "", 0)


def main():
    for file, operation in FILES.items():
        for line in (HERE / (file + ".jsonl")).open(encoding="utf-8"):
            record = json.loads(line)
            answer = record["response"]
            if answer["status"] >= 400 or answer.get("encoding") == "base64":
                continue
            what = operation or ("speech" if "speech" in record["endpoint"] else "transcription")
            streamed = re.match(r"text/event-stream", answer["headers"].get("content-type", "")) \
                or record["streaming"] and answer["body"].lstrip().startswith(("data:", "event:", ":"))
            read = read_stream if streamed else read_body
            seen, ended, failed, finish, count = read(answer["body"], what)
            figures = [seen.get(k, 0) for k in ("input", "cached", "written", "output", "reasoning",
                                                "audio", "spoken", "units")]
            print(record["id"], what, int(bool(streamed)), "seen" if seen.get("seen") else "none",
                  *figures, int(ended), int(failed), finish[:31] or "-", count, sep="\t")


if __name__ == "__main__":
    sys.exit(main())
