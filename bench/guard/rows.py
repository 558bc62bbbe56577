# SPDX-License-Identifier: Apache-2.0
"""What is counted: for each row the gateway that it runs in, a batch of calls, and of what it is the price."""

import itertools
import json

from lockstep import Broken

QUESTION = "Explain what a reverse proxy does, and why one would want it in front of a model. " * 11  # some 900 bytes
PIECES = ("A reverse", " proxy takes", " questions for", " a server", " that stands", " behind it", ".", " So")
USAGE = {"prompt_tokens": 200, "completion_tokens": 100, "total_tokens": 300}

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
KEY, KEY_OF_MANY = "sk-guard-0123456789abcdef0123456789abcdef", "sk-guard-many-6789abcdef0123456789abcdef"

# Everything on, as in bench/targets/full, but for the store: that one is a row's.
CONFIG = """
version: 1
server:
  listeners: [{{name: api, address: "127.0.0.1:{port}", serve: [api, metrics, health]}}]
  shutdown: {{drain_delay: 0s, grace: 1s}}
  workers: 1
store: {store}
ledger: {{path: "{folder}/ledger", sync: os}}
cache: {{exact: {{enabled: true, ttl: 24h}}}}
providers:
  - {{name: openai, type: openai, base_url: "http://127.0.0.1:{provider}/v1", api_key: sk-provider-0000000000000000}}
  - {{name: anthropic, type: anthropic, base_url: "http://127.0.0.1:{provider}", api_key: sk-provider-0000000000000000}}
  - {{name: gemini, type: gemini, base_url: "http://127.0.0.1:{provider}", api_key: sk-provider-0000000000000000}}
models:
  - name: gpt
    targets:
      - {{id: first, provider: openai, model: gpt, weight: 60, price: {{input: 0.15, cached_input: 0.075, output: 0.60}}}}
      - {{id: second, provider: openai, model: gpt, weight: 30, price: {{input: 0.15, cached_input: 0.075, output: 0.60}}}}
      - {{id: third, provider: openai, model: gpt, weight: 10, price: {{input: 0.15, cached_input: 0.075, output: 0.60}}}}
  - {{name: claude, targets: [{{id: fourth, provider: anthropic, model: claude, price: {{input: 3, output: 15}}}}]}}
  - {{name: gemini, targets: [{{id: fifth, provider: gemini, model: gemini, price: {{input: 0.3, output: 2.5}}}}]}}
tenants:
  - name: bench
    models: [gpt, claude, gemini]
    limits: {{requests_per_minute: 1000000000, tokens_per_minute: 1000000000000}}
    budget: {{amount: 1000000.00 USD, period: month}}
    keys:
      - {{name: load, hash: "{hash}", limits: {{requests_per_minute: 1000000000, concurrent: 30000}}}}
  - name: many
    models: [gpt]
    users: {{limits: {{requests_per_minute: 1000}}, budget: {{amount: 100.00 USD, period: month}}}}
    keys:
      - {{name: load, hash: "{hash_of_many}"}}
telemetry:
  log: {{level: info, format: json, file: "{folder}/access.log"}}
  access_log: {{enabled: true, sample: 1.0}}
  metrics: {{enabled: true}}
"""
STRANGERS = itertools.count()
STORES = {
    "embedded": '{{type: embedded, embedded: {{path: "{folder}/state.db"}}}}',
    "redis": '{{type: redis, redis: {{url: "unix://{folder}/redis.sock", timeout: 5s}}}}',
}


def packed(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def event(value, name=None):
    return (b"event: " + name.encode() + b"\n" if name else b"") + b"data: " + packed(value) + b"\n\n"


def question(model, stream, **more):
    fields = {"model": model, "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 100, **more}
    return {**fields, "stream": True} if stream else fields


# ------------------------------------------------------------------------- whole answers

ANSWER = packed({
    "id": "chatcmpl-0123456789", "object": "chat.completion", "created": 1700000000, "model": "gpt", "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "".join(PIECES) * 6}, "finish_reason": "stop"}],
    "usage": USAGE})


def chat(client, provider, calls):
    for _ in range(calls):
        client.ask(CHAT, question("gpt", False, temperature=1))
        provider.wait_for_question(client)
        provider.answer(ANSWER)
        if client.read_answer()[1] != ANSWER:
            raise Broken("the answer is not what the provider said")


def strangers(client, provider, calls):
    """Each call by an end user who has never called, so that nothing is at hand of what is left to them."""
    for _ in range(calls):
        user = f"user-{next(STRANGERS):07}"
        client.ask(CHAT, question("gpt", False, temperature=1, user=user), KEY_OF_MANY)
        provider.wait_for_question(client)
        provider.answer(ANSWER)
        client.read_answer()


def keep(client, provider):
    """The answer that hit() is about."""
    client.ask(CHAT, question("gpt", False, temperature=0))
    provider.wait_for_question(client)
    provider.answer(ANSWER)
    client.read_answer()


def hit(client, provider, calls):
    for _ in range(calls):
        client.ask(CHAT, question("gpt", False, temperature=0))
        fields, body = client.read_answer()
        if fields.get(b"x-sluice-cache") != b"hit" or body != ANSWER:
            raise Broken("the answer is not the one that was kept")


# ------------------------------------------------------------------------- streams


def of_openai(chunks):
    """(first events, an event for each chunk, last events) of a chat completion."""
    def chunk(**delta):
        return event({"id": "chatcmpl-0123456789", "object": "chat.completion.chunk", "created": 1700000000,
                      "model": "gpt", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})

    last = {"id": "chatcmpl-0123456789", "object": "chat.completion.chunk", "created": 1700000000, "model": "gpt"}
    return ([chunk(role="assistant", content="")],
            [chunk(content=PIECES[i % len(PIECES)]) for i in range(chunks)],
            [event({**last, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
             + event({**last, "choices": [], "usage": USAGE}) + b"data: [DONE]\n\n"])


def of_anthropic(chunks):
    def named(kind, **fields):
        return event({"type": kind, **fields}, kind)

    message = {"id": "msg_0123456789", "type": "message", "role": "assistant", "model": "claude", "content": [],
               "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 200, "output_tokens": 1}}
    return ([named("message_start", message=message)
             + named("content_block_start", index=0, content_block={"type": "text", "text": ""})],
            [named("content_block_delta", index=0, delta={"type": "text_delta", "text": PIECES[i % len(PIECES)]})
             for i in range(chunks)],
            [named("content_block_stop", index=0)
             + named("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None},
                     usage={"output_tokens": 100}) + named("message_stop")])


def of_gemini(chunks):
    def part(text, **more):
        return event({"candidates": [{"content": {"parts": [{"text": text}], "role": "model"}, "index": 0, **more}],
                      "usageMetadata": {"promptTokenCount": 200, "candidatesTokenCount": 100, "totalTokenCount": 300},
                      "modelVersion": "gemini", "responseId": "r0123456789"})

    return ([part("Well. ")], [part(PIECES[i % len(PIECES)]) for i in range(chunks)],
            [part("", finishReason="STOP")])


def stream(path, model, said):
    """A batch of streams in which each chunk has arrived before the next is sent."""
    def run(client, provider, chunks):
        first, each, last = said(chunks)
        client.ask(path, question(model, True))
        provider.wait_for_question(client)
        provider.begin_stream()
        for data in first:  # may be held back until the answer says something
            provider.send_chunk(data)
        for place, data in enumerate(each):
            provider.send_chunk(data)
            client.read_until(PIECES[place % len(PIECES)].encode())
        for data in last:
            provider.send_chunk(data)
        provider.end_stream()
        client.read_until(b"0\r\n\r\n")

    return run


class Row:
    """A batch(client, provider, n) of n units in two sizes, so that what is not a unit cancels; and what
    it needs once before."""

    def __init__(self, name, what, batch, prepare=None, store="embedded", sizes=(20, 320), rest=0.1, pairs=5):
        self.name, self.what, self.batch, self.prepare = name, what, batch, prepare
        self.store, self.sizes = store, sizes
        self.rest = rest  # seconds after a batch, in which what its calls leave to be done is done
        self.pairs = pairs  # of batches


CHUNKS = (20, 1520)
ROWS = (
    Row("chat", "a call that is passed through, everything on", chat),
    Row("cache hit", "a call that is answered from the cache", hit, keep),
    Row("chunk", "a chunk that is passed through", stream(CHAT, "gpt", of_openai), sizes=CHUNKS),
    Row("chunk of Anthropic for OpenAI", "for a client that speaks OpenAI's dialect",
        stream(CHAT, "claude", of_anthropic), sizes=CHUNKS),
    Row("chunk of OpenAI for Anthropic", "for a client that speaks Anthropic's dialect",
        stream(MESSAGES, "gpt", of_openai), sizes=CHUNKS),
    Row("chunk of Gemini for OpenAI", "for a client that speaks OpenAI's dialect",
        stream(CHAT, "gemini", of_gemini), sizes=CHUNKS),
    Row("Redis at hand", "a call as in chat, but limits and budget are in Redis: claimed ahead", chat, store="redis",
        sizes=(20, 620)),
    Row("Redis asked", "a call for which Redis is asked", strangers, store="redis", sizes=(20, 420),
        rest=2.5, pairs=3),  # what is claimed for an end user is given back when nobody has wanted it for a second
)
