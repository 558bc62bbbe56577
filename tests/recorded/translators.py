# SPDX-License-Identifier: Apache-2.0
"""The translators, driven through build/tests/translate/driver, and the recordings they are held to."""

import base64
import json
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "tests" / "cases" / "recorded"
DRIVER = Path(os.environ.get("TRANSLATE_DRIVER", ROOT / "build" / "tests" / "translate" / "driver"))

# A file of recordings: its translator, and the endpoints that are conversations.
FILES = {
    "openai-chat": "openai-chat",
    "mistral-chat": "mistral-chat",
    "openai-completions": "openai-completion",
    "openai-responses": "openai-responses",
    "anthropic-messages": "anthropic",
    "gemini-generate": "gemini",
    "ollama": "ollama-chat",
    "cohere-v2": "cohere-chat",
    "bedrock-converse": "bedrock-converse",
    "bedrock-invoke": "bedrock-invoke",
}
# Those who have more than one kind of call that talks.
BY_ENDPOINT = {("ollama", "generate"): "ollama-generate"}
ENDPOINTS = {"converse", "invoke", "chat", "generate", "chat/completions", "completions", "responses", "messages", "generateContent", "streamGenerateContent"}
# What a client of a dialect asks when nobody cares: the smallest call.
SMALLEST = {
    "openai-chat": b'{"model":"m","messages":[{"role":"user","content":"x"}]}',
    "openai-completion": b'{"model":"m","prompt":"x"}',
    "openai-responses": b'{"model":"m","input":"x"}',
    "anthropic": b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"}]}',
    "gemini": b'{"contents":[{"role":"user","parts":[{"text":"x"}]}]}',
    "ollama-chat": b'{"model":"m","messages":[{"role":"user","content":"x"}]}',
    "ollama-generate": b'{"model":"m","prompt":"x"}',
    "cohere-chat": b'{"model":"m","messages":[{"role":"user","content":"x"}]}',
    "bedrock-converse": b'{"messages":[{"role":"user","content":[{"text":"x"}]}]}',
    "bedrock-invoke": b'{"anthropic_version":"bedrock-2023-05-31","max_tokens":9,"messages":[{"role":"user","content":"x"}]}',
}


# What speaks another dialect than its path.
MISLABELLED = {"ollama.ollama.2518176fea4d10", "ollama.ollama.6a83361411c329"}


class Driver:
    def __init__(self):
        self.child = subprocess.Popen([DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.stdin.close()
        self.child.wait(timeout=10)
        self.child.stdout.close()

    def ask(self, **what):
        self.child.stdin.write(json.dumps(what).encode() + b"\n")
        self.child.stdin.flush()
        line = self.child.stdout.readline()
        assert line, f"the driver ended, asked for {what.get('op')} from {what.get('from')} to {what.get('to')}"
        return json.loads(line)

    def answer(self, record, to, stream_out, **how):
        made = self.ask(
            op="answer",
            **{"from": record.words, "to": to},
            body=record.hex,
            stream_in=record.is_stream,
            stream_out=stream_out,
            request=SMALLEST[to].hex(),
            model="m",
            wants_usage=True,
            **how,
        )
        made["out"] = bytes.fromhex(made["out"])
        return made


def names():
    with Driver() as driver:
        return set(driver.ask(op="list")["names"])


NAMES = names()
CLIENTS = tuple(name for name in SMALLEST if name in NAMES)


class Record:
    """A recorded exchange."""

    def __init__(self, line, words):
        self.id, self.words, self.dialect = line["id"], words, line["dialect"]
        self.provider, self.model, self.path = line["provider"], line["model"], line["request"]["path"]
        self.features = set(line["features"])
        self.asked = line["request"]["body"] if line["request_recorded"] and isinstance(line["request"]["body"], dict) else None
        answer = line["response"]
        self.status = answer["status"]
        self.body = base64.b64decode(answer["body"]) if answer["encoding"] == "base64" else answer["body"].encode()
        self.hex = self.body.hex()
        self.streaming = bool(line["streaming"])
        start = self.body.lstrip()[:6]
        self.is_stream = self.streaming and (words.startswith(("ollama", "bedrock")) or start.startswith((b"data:", b"event:", b":", b"id:")))


def is_understood(name, line):
    """Of what makers have at Bedrock, Anthropic's is."""
    return name != "bedrock-invoke" or "anthropic_version" in (line["request"]["body"] or {})


def records(*files):
    out = []
    for name in files or [name for name in FILES if FILES[name] in NAMES]:
        with open(FOLDER / f"{name}.jsonl", encoding="utf-8") as lines:
            for text in lines:
                line = json.loads(text)
                if line["endpoint"] in ENDPOINTS and line["request"]["method"] == "POST" and line["id"] not in MISLABELLED and is_understood(name, line):
                    out.append(Record(line, BY_ENDPOINT.get((name, line["endpoint"]), FILES[name])))
    return out
