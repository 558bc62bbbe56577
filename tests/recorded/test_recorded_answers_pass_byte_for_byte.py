# SPDX-License-Identifier: Apache-2.0
"""Every recorded exchange of the OpenAI dialect, relayed: the client gets the recorded bytes, the
ledger has the recorded usage.

The upstream answers each request in three framings - with a length, in chunks that are cut at awkward
places, ended by the close - and for a sample in chunks of one byte. What the tokens must be stands in
tests/cases/recorded/expected.tsv, which was read from the recordings without this program.
"""

import base64
import contextlib
import json
import threading
import time
from pathlib import Path

import pytest
from harness import KEY_ACME, Client, Sluice, Upstream, config_for, eventually, framed, model_for, request_bytes

FOLDER = Path(__file__).resolve().parent.parent / "cases" / "recorded"
FILES = ("openai-chat", "openai-responses", "openai-embeddings", "openai-completions", "mistral-chat")
ENDPOINTS = {"chat/completions", "responses", "embeddings", "completions"}
FRAMINGS = ("length", "chunked", "close")
# Ends of events and of their lines, bytes of UTF-8 and of escapes fall on cuts of these lengths.
SIZES = [1, 2, 3, 5, 1, 7, 1, 1, 11, 13, 4, 17, 64, 6, 250, 8, 1000]
CLIENTS = 6
FRAMING_FIELDS = {"content-length", "transfer-encoding", "connection", "keep-alive"}


class Record:
    def __init__(self, line):
        self.id = line["id"]
        self.operation = line["endpoint"]
        request, response = line["request"], line["response"]
        body = request["body"] if isinstance(request["body"], dict) else {}
        self.request = {"model": line["model"] or "unknown", **body}
        if line["streaming"]:
            self.request["stream"] = True
        self.asked = bool((self.request.get("stream_options") or {}).get("include_usage"))
        self.status = response["status"]
        self.headers = [(k, v) for k, v in response["headers"].items() if k not in FRAMING_FIELDS]
        self.body = base64.b64decode(response["body"]) if response["encoding"] == "base64" else response["body"].encode()
        self.is_stream = "event-stream" in (response["headers"].get("content-type") or "")

    def expected(self):
        """The bytes the client must get: without the usage chunk that only the gateway asked for."""
        hides = self.request.get("stream") is True and not self.asked and self.operation in ("chat/completions", "completions")
        if not hides or not self.is_stream:
            return self.body
        out = []
        for block in split_events(self.body):
            out.append(b"" if is_usage_chunk(block) else block)
        return b"".join(out)


def split_events(body):
    """The body cut behind each empty line; joined it is the body again."""
    blocks, start, at = [], 0, 0
    empty = True
    while at < len(body):
        end = at
        while end < len(body) and body[end] not in b"\r\n":
            end += 1
        empty = end == at
        end += 2 if body[end : end + 2] == b"\r\n" else 1 if end < len(body) else 0
        if empty:
            blocks.append(body[start:end])
            start = end
        at = end
    return [*blocks, body[start:]] if start < len(body) else blocks


def is_usage_chunk(block):
    data = [line[5:].strip() for line in block.replace(b"\r\n", b"\n").split(b"\n") if line.startswith(b"data:")]
    try:
        chunk = json.loads(b"\n".join(data))
    except ValueError:
        return False
    return isinstance(chunk, dict) and not chunk.get("choices") and isinstance(chunk.get("usage"), dict) and bool(chunk["usage"])


def load():
    records, left_out = [], 0
    for name in FILES:
        with open(FOLDER / f"{name}.jsonl", encoding="utf-8") as lines:
            for text in lines:
                line = json.loads(text)
                if line["endpoint"] in ENDPOINTS and line["request"]["method"] == "POST":
                    records.append(Record(line))
                else:
                    left_out += 1
    assert len(records) >= 1530 and left_out <= 15, (len(records), left_out)
    return records


def golden():
    """{id: (operation, usage was seen, input, cached, output, ended, failed)}"""
    out = {}
    for line in (FOLDER / "expected.tsv").read_text().splitlines():
        cells = line.split("\t")
        out[cells[0]] = (cells[1], cells[3] == "seen", int(cells[4]), int(cells[5]), int(cells[7]), cells[12] == "1", cells[13] == "1")
    return out


RECORDS = {record.id: record for record in load()}


def answer(call):
    """The record and its framing are named in a header that is passed on."""
    name, _, framing = call.header("x-stainless-record").partition("/")
    record = RECORDS[name]
    sizes = [1] if framing == "bytes" else SIZES
    kind = "chunked" if framing == "bytes" else framing
    data = framed(f"HTTP/1.1 {record.status} OK", record.headers, record.body, kind, sizes=sizes)
    step = 700 if kind == "chunked" else 5000
    for at in range(0, len(data), step):
        call.send(data[at : at + step])
    if kind == "close":
        call.close()


class Replay:
    """All exchanges, by a few clients side by side; keeps what each got."""

    def __init__(self, gate):
        self.gate, self.lock = gate, threading.Lock()
        self.work = [(record, framing) for framing in FRAMINGS for record in RECORDS.values()]
        small = [record for record in RECORDS.values() if len(record.body) < 12000]
        self.work += [(record, "bytes") for record in small[::8]]
        self.total = len(self.work)
        self.got, self.wrong = {}, []

    def run(self):
        threads = [threading.Thread(target=self._client) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _client(self):
        client = None
        while True:
            with self.lock:
                if not self.work or len(self.wrong) > 100:
                    break
                record, framing = self.work.pop()
            try:
                client = client or Client(self.gate.address(), timeout=60)
                reply = client.send(self._bytes(record, framing)).read_response("POST")
                self._judge(record, framing, reply)
                if reply.closes:
                    client.close()
                    client = None
            except Exception as error:
                with self.lock:
                    self.wrong.append(f"{record.id} {framing}: {error!r}")
                if client:
                    client.close()
                client = None
        if client:
            client.close()

    @staticmethod
    def _bytes(record, framing):
        path = f"/v1/{record.operation}"
        head = {"Authorization": f"Bearer {KEY_ACME}", "x-stainless-record": f"{record.id}/{framing}"}
        return request_bytes("POST", path, head, record.request)

    def _judge(self, record, framing, reply):
        expected = record.expected()
        problem = None
        if reply.status != record.status:
            problem = f"status {reply.status} for {record.status}: {reply.body[:300]!r}"
        elif reply.body != expected:
            at = next((i for i, (a, b) in enumerate(zip(reply.body, expected)) if a != b), min(len(reply.body), len(expected)))
            problem = f"differs at {at}: got {len(reply.body)} bytes {reply.body[at - 40 : at + 60]!r}, not {len(expected)} {expected[at - 40 : at + 60]!r}"
        elif (wanted := dict(record.headers).get("content-type")) and reply.header("content-type") != wanted:
            problem = f"content-type {reply.header('content-type')}"
        with self.lock:
            self.got[(record.id, framing)] = reply.header("x-request-id")
            if problem:
                self.wrong.append(f"{record.id} {framing}: {problem}")


@pytest.fixture(scope="module")
def replay():
    with Upstream(answer) as upstream:
        config = config_for(upstream, telemetry={"log": {"level": "warn"}},
                            ledger={"unknown_price": "zero"})  # of the dearer tiers that some calls ask for
        config["models"] = [model_for("any", aliases=["*"])]
        with Sluice(config) as gate:
            played = Replay(gate)
            begin = time.monotonic()
            played.run()
            played.seconds = time.monotonic() - begin
            assert not upstream.violations and not upstream.failures, (upstream.violations, upstream.failures)

            def drained():
                with contextlib.suppress(Exception):
                    rows = gate.ledger_rows()
                    return rows if len(rows) >= len(played.got) else None

            rows = eventually(drained, within=60, every=0.1, what="all rows are drained")
            played.rows = {row["id"]: row for row in rows}
            yield played


def test_every_byte_arrives(replay):
    assert not replay.wrong, f"{len(replay.wrong)} of {replay.total}: " + "\n".join(replay.wrong[:20])
    assert len(replay.got) == replay.total


def test_every_usage_is_booked(replay):
    wanted, wrong, checked = golden(), [], 0
    for (name, framing), request_id in replay.got.items():
        record, row = RECORDS[name], replay.rows.get(request_id)
        if row is None:
            wrong.append(f"{name} {framing}: no row")
            continue
        if record.status != 200:
            if row["outcome"] != "refused" or row["cost_nanos"] != 0 or row["status"] != record.status:
                wrong.append(f"{name} {framing}: {row}")
            continue
        if name not in wanted:
            continue
        operation, seen, given, cached, made, ended, failed = wanted[name]
        checked += 1
        if not seen:
            if row["counted"] == "provider":
                wrong.append(f"{name} {framing}: counted by nobody knows whom: {row}")
        elif (row["input_tokens"], row["cached_tokens"], row["output_tokens"]) != (given, cached, made):
            wrong.append(f"{name} {framing}: {row['input_tokens'], row['cached_tokens'], row['output_tokens']} for {given, cached, made}")
        if ended and not failed and row["outcome"] != "complete":
            wrong.append(f"{name} {framing}: {row['outcome']}")
    assert not wrong, f"{len(wrong)} of {checked}: " + "\n".join(wrong[:20])
    assert checked > 3 * 1300


def test_each_exchange_is_booked_once(replay):
    assert len(set(replay.got.values())) == len(replay.got) == len(replay.rows)
    assert {replay.rows[i]["id"] for i in replay.got.values()} == set(replay.rows)
