# SPDX-License-Identifier: Apache-2.0
"""What nobody uses is not begun, and what a crowd needed is given back when it has gone."""

from pathlib import Path

from harness import SANITIZED, eventually
from raw_upstream import openai_answer, stream_chat

DESCRIPTORS_AT_REST = 36  # with two workers, the log and what comes from outside
ANON_KB_AT_REST = 8 << 10  # of both processes; a sanitizer's own memory is more than that
STREAMS = 200


def anonymous_kb(gate):
    files = [Path(f"/proc/{pid}/status").read_text() for pid in [gate.process.pid, *gate.children()]]
    lines = [line for text in files for line in text.splitlines() if line.startswith("RssAnon")]
    assert len(lines) == 2
    return sum(int(line.split()[1]) for line in lines)


def databases(gate):
    return {file.name for file in gate.state.rglob("*.db")}


def test_files_are_made_with_what_is_in_them(gate, upstream):
    assert "sluice.db" in databases(gate) and not databases(gate) & {"answers.db", "deployments.db"}
    first = gate.chat(headers={"Idempotency-Key": "one"})
    eventually(lambda: "answers.db" in databases(gate), what="the answer is kept")
    assert gate.stop() == 0
    gate.start()
    again = gate.chat(headers={"Idempotency-Key": "one"})
    assert first.status == again.status == 200 and first.body == again.body and len(upstream.calls) == 1
    assert "deployments.db" not in databases(gate)


def test_few_descriptors_are_open_at_rest(gate):
    assert gate.descriptors() <= DESCRIPTORS_AT_REST


def crowd(gate, upstream):
    """Streams that are open at once, and leave; returns what was held with them."""
    upstream.answer = lambda call: stream_chat(call, pause=60)
    clients = [gate.open_stream()[0] for _ in range(STREAMS)]
    held = anonymous_kb(gate)
    for client in clients:
        client.close()
    upstream.answer = openai_answer
    return held


def test_a_crowd_leaves_nothing_behind(gate, upstream):
    """The second one: what is made with the first call of many is there by then, and is no stream's."""
    assert gate.chat().status == 200
    if not SANITIZED:
        assert anonymous_kb(gate) <= ANON_KB_AT_REST
    first = crowd(gate, upstream)
    if not SANITIZED:
        eventually(lambda: anonymous_kb(gate) < first - STREAMS, within=20, what="the first crowd's memory is given back")
    before = anonymous_kb(gate)
    held = crowd(gate, upstream)
    assert SANITIZED or held > before + STREAMS, "it was a crowd"
    if not SANITIZED:
        eventually(lambda: anonymous_kb(gate) < (before + held) / 2, within=20, what="and the second one's")
    assert gate.chat().status == 200
