# SPDX-License-Identifier: Apache-2.0
"""The mixed load of bench/soak.py: what each kind of call does, and what it may be answered."""

import asyncio
import base64
import json
import os
import random
import struct
import time
from collections import Counter

from crowds import FIRST_KEY, secret
from loads import question
from soak_servers import ADMIN_KEY, CALLERS, TIGHT_KEY

OPEN_MAX = 400  # calls at once; further ones wait
KEPT_MAX = 16   # connections that are used again
PATIENCE = 30   # seconds for a whole exchange
WORDS = "the gateway forwards each request to a model and counts the tokens of its answer ".split()
CHAT, MESSAGES, RESPONSES, EMBEDDINGS = "/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/embeddings"
HUGE = question(100_000, model="fast").encode()


class Link:
    """A connection, and the bytes of one answer after the other."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.request_id, self.status, self.closes = None, None, False

    async def head(self):
        text = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = text.split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        self.status, self.request_id = int(first.split()[1]), fields.get("x-request-id")
        self.closes = fields.get("connection", "").lower() == "close"
        return fields

    async def body(self, fields):
        if "content-length" in fields:
            return await self.reader.readexactly(int(fields["content-length"]))
        whole = []
        while piece := await self.chunk():
            whole.append(piece)
        return b"".join(whole)

    async def chunk(self):
        size = int(await self.reader.readline(), 16)
        piece = await self.reader.readexactly(size)
        await self.reader.readexactly(2)
        return piece

    def close(self, reset=False):
        if reset:
            self.writer.transport.abort()
        else:
            self.writer.close()


class Cut(Exception):
    """The answer ended before it was whole."""


class Mix:
    """Calls at random times, `rate` a second on average, until stop(). What came of them is counted."""

    def __init__(self, port, rate, seed=1):
        self.port, self.rate, self.random = port, rate, random.Random(seed)
        self.kept, self.open = [], set()
        self.counts = Counter()   # of (kind, what came of it)
        self.booked = []          # ids of calls that were answered and have to be in the ledger
        self.unbooked = []        # ids of answers to what is no call of anybody
        self.unseen = 0           # calls whose id nobody saw: a row of theirs may be there
        self.wrong = []           # what should not have come
        self.users = 0

    # ------------------------------------------------------------------ one exchange

    async def connect(self):
        return Link(*await asyncio.open_connection("127.0.0.1", self.port))

    def question(self, model, **members):
        text = " ".join(self.random.choices(WORDS, k=self.random.randrange(20, 150)))
        body = {"model": model, "messages": [{"role": "user", "content": text}], **members}
        if self.random.random() < 0.02:
            self.users += 1
            body["user"] = f"user-{self.users}"
        return body

    def any_key(self):
        return secret(self.random.randrange(CALLERS)) if self.random.random() < 0.5 else FIRST_KEY

    def request(self, path, body, key=None, method="POST", more=""):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        return (f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key or self.any_key()}\r\n{more}"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body

    async def ask(self, path, body, fresh=False, **options):
        """(status, body) of an exchange, on a connection that is kept or on a fresh one."""
        link = None if fresh or not self.kept else self.kept.pop()
        link = link if link and not link.reader.at_eof() else await self.connect()
        try:
            link.writer.write(self.request(path, body, **options))
            fields = await link.head()
            self.note(link, path)
            try:
                answer = await link.body(fields)
            except (asyncio.IncompleteReadError, ConnectionError, ValueError):
                raise Cut(link.status) from None
        except BaseException:
            link.close(reset=True)
            raise
        if fresh or link.closes or len(self.kept) >= KEPT_MAX:
            link.close()
        else:
            self.kept.append(link)
        return link.status, answer

    def note(self, link, path):
        if path.startswith("/v1") and link.request_id:
            (self.unbooked if link.status == 401 else self.booked).append(link.request_id)

    # ------------------------------------------------------------------ kinds of calls: what came of each is returned

    async def chat(self, model="fast", **options):
        status, body = await self.ask(CHAT, self.question(model), **options)
        return status if status != 200 or json.loads(body)["choices"] else "no choices"

    async def chat_fresh(self):
        return await self.chat(fresh=True)

    async def stream(self, model="fast", end=b"[DONE]", fresh=False):
        status, body = await self.ask(CHAT, self.question(model, stream=True, stream_options={"include_usage": True}), fresh=fresh)
        return status if status != 200 or end in body[-400:] else "no end"

    async def stream_fresh(self):
        return await self.stream(fresh=True)

    async def to_claude(self):
        return await self.random.choice((self.chat, self.stream))("claude")

    async def to_gemini(self):
        return await self.random.choice((self.chat, self.stream))("gemini")

    async def from_claude(self):
        """Anthropic's clients: passed through to Anthropic's, or translated."""
        stream = self.random.random() < 0.7
        body = dict(self.question(self.random.choice(("fast", "claude", "gemini"))), max_tokens=50, stream=stream)
        body.pop("user", None)
        status, answer = await self.ask(MESSAGES, body)
        return status if status != 200 or (b"message_stop" if stream else b"stop_reason") in answer else "no end"

    async def from_gemini(self):
        text = self.question("")["messages"][0]["content"]
        how = self.random.choice(("generateContent", "streamGenerateContent?alt=sse"))
        path = f"/v1beta/models/{self.random.choice(('fast', 'claude', 'gemini'))}:{how}"
        status, answer = await self.ask(path, {"contents": [{"role": "user", "parts": [{"text": text}]}]})
        return status if status != 200 or b"finishReason" in answer else "no end"

    async def response(self):
        stream = self.random.random() < 0.5
        body = {"model": self.random.choice(("fast", "claude")), "input": "Say a word", "stream": stream, "store": False}
        status, answer = await self.ask(RESPONSES, body)
        return status if status != 200 or (b"response.completed" if stream else b'"output"') in answer else "no end"

    async def embed(self):
        status, body = await self.ask(EMBEDDINGS, {"model": "embed", "input": ["one", "two", str(self.random.random())]})
        return status if status != 200 or len(json.loads(body)["data"]) == 3 else "no vectors"

    async def huge(self):
        status, _ = await self.ask(CHAT, HUGE)
        return status

    async def cached(self):
        """One of a hundred questions now, one of another hundred a little later."""
        number = int(time.monotonic() / 20) * 100 + self.random.randrange(100)
        body = {"model": "cached", "temperature": 0, "stream": self.random.random() < 0.5,
                "messages": [{"role": "user", "content": f"question {number}"}]}
        status, _ = await self.ask(CHAT, body, key=FIRST_KEY)
        return status

    async def guarded(self):
        text = self.random.choice(("the blue whale", "write to someone@example.com", "nothing"))
        status, _ = await self.ask(CHAT, {"model": "guarded", "stream": self.random.random() < 0.5,
                                          "messages": [{"role": "user", "content": text}]})
        return "blocked" if status == 400 and "whale" in text else status

    async def chain(self):
        return await self.random.choice((self.chat, self.stream))("chain")

    async def fault(self):
        """A fault of the provider: refused, or begun and cut."""
        model = self.random.choice(("refusing", "resetting", "silent", "stalling", "cut", "torn", "garbled"))
        try:
            status, _ = await self.ask(CHAT, self.question(model, stream=self.random.random() < 0.5), fresh=True)
        except Cut as cut:
            return "cut" if cut.args[0] == 200 else f"cut {cut.args[0]}"
        return status

    async def wrong_key(self):
        status, _ = await self.ask(CHAT, self.question("fast"), key=f"sk-wrong-{self.random.random()}", fresh=self.random.random() < 0.5)
        return status

    async def too_many(self):
        return await self.chat(key=TIGHT_KEY)

    async def leave_early(self):
        """Before the answer, at any time from the first byte of the question on."""
        data = self.request(CHAT, self.question("late", stream=self.random.random() < 0.5))
        link = await self.connect()
        part = self.random.random() < 0.3
        link.writer.write(data[: self.random.randrange(1, len(data))] if part else data)
        self.unseen += 1
        await asyncio.sleep(self.random.uniform(0, 0.5))
        link.close(reset=self.random.random() < 0.5)
        return "left"

    async def leave_stream(self):
        """In the middle of a stream."""
        link = await self.connect()
        try:
            link.writer.write(self.request(CHAT, self.question(self.random.choice(("paced", "claude")), stream=True)))
            fields = await link.head()
            self.note(link, CHAT)
            if link.status != 200 or "content-length" in fields:
                return link.status
            for _ in range(self.random.randrange(1, 10)):
                if not await link.chunk():
                    break
        finally:
            link.close(reset=self.random.random() < 0.5)
        return "left"

    async def talk(self):
        """A conversation by WebSocket: two answers, and a good-bye or none."""
        link = await self.connect()
        key = base64.b64encode(os.urandom(16)).decode()
        try:
            link.writer.write(f"GET /v1/realtime?model=live HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {FIRST_KEY}\r\n"
                              f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode())
            await link.head()
            self.note(link, "/v1/realtime")
            if link.status != 101:
                return link.status
            for _ in range(2):
                await say(link, 1, b'{"type":"response.create"}')
                while b"response.done" not in await heard(link):
                    pass
                self.unseen += 1  # each answer has a row, with an id of its own
            if self.random.random() < 0.5:
                await say(link, 8, struct.pack(">H", 1000))
                await heard(link)
        finally:
            link.close(reset=self.random.random() < 0.3)
        return 101

    async def look(self):
        """What operators look at."""
        path = self.random.choice(("/metrics", "/admin/v1/usage?by=tenant,model&since=1h", "/admin/v1/requests?limit=20",
                                   "/admin/v1/limits", "/v1/models"))
        status, _ = await self.ask(path, b"", key=FIRST_KEY if path.startswith("/v1") else ADMIN_KEY, method="GET")
        if path.startswith("/v1"):
            self.unbooked.append(self.booked.pop())
        return status

    async def key_life(self):
        """A key is made, used, revoked, and opens nothing any more."""
        self.users += 1
        status, body = await self.ask("/admin/v1/keys", {"name": f"made-{self.users}", "tenant": "bench",
                                                         "limits": {"requests_per_minute": 100}}, key=ADMIN_KEY)
        if status != 201:
            return f"not made: {status}"
        made = json.loads(body)
        used = await self.chat(key=made["secret"])
        status, _ = await self.ask(f"/admin/v1/keys/{made['id']}", b"", key=ADMIN_KEY, method="DELETE")
        after = await self.chat(key=made["secret"])
        return f"{used} {status} {after}"

    # kind: (how many in a thousand, what may come)
    KINDS = {
        "chat": (180, {200}), "chat_fresh": (90, {200}), "stream": (120, {200}), "stream_fresh": (40, {200}),
        "to_claude": (60, {200}), "to_gemini": (60, {200}), "from_claude": (60, {200}), "from_gemini": (60, {200}),
        "response": (30, {200}), "embed": (60, {200}), "huge": (30, {200}), "cached": (60, {200}),
        "guarded": (30, {200, "blocked"}), "chain": (30, {200, 500, 502, 503}), "fault": (30, {200, 429, 500, 502, 503, 504, "cut"}),
        "wrong_key": (20, {401}), "too_many": (12, {200, 429}), "leave_early": (20, {"left"}),
        "leave_stream": (25, {"left", 200}), "talk": (5, {101}), "look": (8, {200}), "key_life": (0.4, {"200 200 401"}),
    }

    # ------------------------------------------------------------------ all of them

    async def one(self, kind):
        try:
            came = await asyncio.wait_for(getattr(self, kind)(), PATIENCE)
        except Exception as error:
            came = f"{type(error).__name__}: {error}"
        self.counts[kind, came] += 1
        if came not in self.KINDS[kind][1]:
            self.wrong.append((kind, came))

    async def run(self, seconds, still=lambda: True):
        """For so long, or as long as it is wanted; then until the last has its answer."""
        kinds, weights = list(self.KINDS), [weight for weight, _ in self.KINDS.values()]
        end = due = time.monotonic()
        end += seconds
        while time.monotonic() < end and still():
            due += self.random.expovariate(self.rate)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if len(self.open) >= OPEN_MAX:
                due = time.monotonic()
                continue
            task = asyncio.ensure_future(self.one(self.random.choices(kinds, weights)[0]))
            self.open.add(task)
            task.add_done_callback(self.open.discard)
        while self.open:
            await asyncio.wait(self.open)
        for link in self.kept:
            link.close()
        self.kept.clear()


async def say(link, opcode, payload):
    """A frame of a client, which is masked (RFC 6455)."""
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[at & 3] for at, byte in enumerate(payload))
    link.writer.write(bytes([0x80 | opcode, 0x80 | len(payload)]) + mask + masked)


async def heard(link):
    _, length = await link.reader.readexactly(2)
    if length & 0x7F == 126:
        length = struct.unpack(">H", await link.reader.readexactly(2))[0]
    return await link.reader.readexactly(length)
