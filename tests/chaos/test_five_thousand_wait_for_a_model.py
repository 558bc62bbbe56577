# SPDX-License-Identifier: Apache-2.0
"""5,000 calls wait for a model that loads: each costs little more than its body, and nothing of them stays behind."""

import os
import resource
import socket

import pytest
from books import rss_bytes
from deployed import Desk, deployed, server_for
from harness import SANITIZED, Sluice, chat_request, eventually

COUNT = 1000 if SANITIZED else 5000
BYTES_PER_CALL = 8 << 10  # beside its body


def open_calls(gate, count, request):
    calls = []
    for _ in range(count):
        call = socket.create_connection(gate.address(), timeout=20)
        call.sendall(request)
        calls.append(call)
    return calls


@pytest.mark.timeout(180)
def test_five_thousand_wait():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4 * COUNT) if hard != resource.RLIM_INFINITY else 4 * COUNT, hard))
    server = server_for("qwen", "--load-ms", 600000, hold={"max_requests": 2 * COUNT, "max_bytes": "256MiB", "timeout": "10m"}, probe={"start_timeout": "20m"},
                        stop={"drain": "1s", "grace": "100ms"})
    with Sluice(deployed(server, server={"limits": {"max_connections": 4 * COUNT}})) as gate:
        body = {"model": "qwen", "messages": [{"role": "user", "content": "x" * int(os.environ.get("BODY_BYTES", "100"))}]}
        request = chat_request(body)
        desk = Desk(gate)

        def held():
            return desk.show()["queue"]["held"]

        for call in open_calls(gate, 200, request):  # what the first ones allocate for good
            call.close()
        eventually(lambda: held() == 0, 20, what="they have left")
        before, descriptors = rss_bytes(gate), gate.descriptors()
        calls = open_calls(gate, COUNT, request)
        eventually(lambda: held() == COUNT, 60, what="all wait")
        each = (rss_bytes(gate) - before) / COUNT
        print(f"{COUNT} held calls of {len(request)} bytes: {each:.0f} bytes of memory each")
        assert gate.chat("fast", options={"timeout": 20}).status in (502, 503), "the others are not kept waiting (there is no provider here)"
        for call in calls:
            call.close()
        eventually(lambda: held() == 0 and gate.descriptors() <= descriptors + 20, 30, what="nothing of them is left")
        if not SANITIZED:
            assert each - len(request) <= BYTES_PER_CALL, f"{each:.0f} bytes for each call"
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
