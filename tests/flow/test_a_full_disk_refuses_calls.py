# SPDX-License-Identifier: Apache-2.0
"""No room for the ledger: calls are refused with 503, not made and forgotten."""

import threading

import pytest
from harness import Background, Sluice, chat_chunk, chat_request, config_for, eventually
from small_disk import Disk


@pytest.fixture
def disk():
    made = Disk()
    yield made
    made.end()


def start(upstream, disk):
    return Sluice(config_for(upstream, ledger={"path": f"{disk.folder}/ledger"}, server={"workers": 1},
                             store={"embedded": {"path": f"{disk.folder}/sluice.db"}}), env=disk.env)


def test_a_full_disk(upstream, disk):
    with start(upstream, disk) as gate:
        assert gate.chat().status == 200
        disk.fill()
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
        disk.make_room()
        eventually(lambda: gate.chat().status == 200, within=30, what="room again, calls again")
        assert gate.usage_total("requests", outcome="complete") >= seen.count(200) + 1


def test_open_calls_are_settled_on_a_full_disk(upstream, disk):
    """Room for the end of a call is kept from its beginning."""

    go = threading.Event()

    def hold(call):
        call.begin_stream()
        call.event(chat_chunk({"content": "x"}))
        go.wait(60)
        call.event("[DONE]")
        call.end_stream()

    with start(upstream, disk) as gate:
        upstream.answer = hold
        streams = [gate.open_stream() for _ in range(20)]
        disk.fill()
        go.set()
        for client, response in streams:
            with client:
                assert b"".join(client.pieces(response)).endswith(b"[DONE]\n\n")
        disk.make_room()
        for _, response in streams:
            assert gate.ledger_row(response.header("x-request-id"), within=30)["outcome"] == "complete"
