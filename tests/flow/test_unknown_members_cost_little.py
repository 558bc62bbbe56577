# SPDX-License-Identifier: Apache-2.0
"""What a call has that nobody knows is named when it crosses to another dialect; however much it is, that is cheap."""

from pathlib import Path

from harness import SANITIZED, Sluice, config_for, merged, provider_for

PARTS, NAMES = 1000 if SANITIZED else 4000, 200


def peak(gate):
    """The most that a process of <gate> has had in memory, in bytes."""
    children = Path(f"/proc/{gate.process.pid}/task/{gate.process.pid}/children").read_text().split()
    lines = [line for pid in children for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    return max(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def test_many_members_in_many_parts(upstream):
    upstream.answer = lambda call: call.respond(200, {
        "id": "m", "type": "message", "role": "assistant", "content": [{"type": "text", "text": "x"}], "model": "m",
        "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1}})
    members = ",".join(f'"{chr(97 + i % 26)}{i // 26}":1' for i in range(NAMES))
    part = '{"type":"text","text":"x",' + members + "}"
    body = '{"model":"fast","max_tokens":5,"messages":[{"role":"user","content":[' + ",".join([part] * PARTS) + "]}]}"
    with Sluice(config_for(upstream, providers=[merged(provider_for(upstream), {"type": "anthropic"})])) as gate:
        before = peak(gate)
        answer = gate.post("/v1/chat/completions", body)
        assert answer.status == 200, answer
        assert "messages[0].content[0].a0" in answer.header("x-sluice-dropped")
        assert SANITIZED or peak(gate) - before < 6 * len(body)
        assert gate.chat().status == 200
