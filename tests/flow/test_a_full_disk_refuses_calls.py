# SPDX-License-Identifier: Apache-2.0
"""No room for the ledger: calls are refused with 503, not made and forgotten."""

import os
import subprocess
import tempfile

import pytest
from harness import Background, Sluice, chat_chunk, chat_request, config_for, eventually


@pytest.fixture
def small_disk():
    """A file system of 24 MiB; needs the right to mount, which the tests' container has."""
    folder = tempfile.mkdtemp(prefix="sluice-disk-")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)
    os.rmdir(folder)


def fill(folder):
    path = os.path.join(folder, "filler")
    with open(path, "wb") as filler:
        try:
            while True:
                filler.write(bytes(65536))
                filler.flush()
        except OSError:
            pass
    return path


def test_a_full_disk(upstream, small_disk):
    config = config_for(upstream, ledger={"path": f"{small_disk}/ledger"}, server={"workers": 1},
                        store={"embedded": {"path": f"{small_disk}/sluice.db"}})
    with Sluice(config) as gate:
        assert gate.chat().status == 200
        path = fill(small_disk)
        seen = []

        def use_up():
            """Long lines, so that the room that was kept in advance is soon gone."""
            body = {"model": "fa" + "x" * 250, "user": "u" * 250, "messages": []}
            with gate.connect() as client:
                while 503 not in seen and len(seen) < 50_000:
                    answer = client.send(chat_request(body)).read_response()
                    seen.append(answer.status)
                    if answer.status != 200:
                        return answer

        users = [Background(use_up) for _ in range(4)]
        answer = next(filter(None, [user.result(100) for user in users]))
        assert answer.status == 503 and answer.error["code"] == "overloaded", answer
        eventually(lambda: gate.chat().status == 503, within=30, every=0, what="no room for a short line either")
        before = len(upstream.calls)
        assert gate.chat().status == 503 and len(upstream.calls) == before, "refused, and not made"
        eventually(lambda: gate.get("/readyz", key=None).status == 503, what="/readyz says so")
        assert gate.get("/livez", key=None).status == 200
        os.unlink(path)
        eventually(lambda: gate.chat().status == 200, within=30, what="room again, calls again")
        assert gate.usage_total("requests", outcome="complete") >= seen.count(200) + 1


def test_open_calls_are_settled_on_a_full_disk(upstream, small_disk):
    """Room for the end of a call is kept from its beginning."""
    config = config_for(upstream, ledger={"path": f"{small_disk}/ledger"}, server={"workers": 1},
                        store={"embedded": {"path": f"{small_disk}/sluice.db"}})

    def hold(call):
        call.begin_stream()
        call.event(chat_chunk({"content": "x"}))
        call.connection.go.wait(60)
        call.event("[DONE]")
        call.end_stream()

    import threading

    go = threading.Event()

    def answer(call):
        call.connection.go = go
        hold(call)

    with Sluice(config) as gate:
        upstream.answer = answer
        streams = [gate.open_stream() for _ in range(20)]
        path = fill(small_disk)
        go.set()
        for client, response in streams:
            with client:
                assert b"".join(client.pieces(response)).endswith(b"[DONE]\n\n")
        os.unlink(path)
        for _, response in streams:
            assert gate.ledger_row(response.header("x-request-id"), within=30)["outcome"] == "complete"
