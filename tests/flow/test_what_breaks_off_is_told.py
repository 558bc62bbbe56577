# SPDX-License-Identifier: Apache-2.0
"""A stream that breaks off behind its head of 200 is told of as other failures of a target are."""

import threading

import pytest
from harness import Sluice, chat_chunk, config_for, eventually, merged
from raw_client import Closed

BREAKS = ["closes", "resets", "ends", "says an error"]
BEGUN = threading.Event()  # the client has the head


def breaking(how):
    def answer(call):
        call.begin_stream()
        call.event(chat_chunk({"content": "half"}))
        BEGUN.wait(30)
        if how == "says an error":
            call.event({"error": {"message": "no more", "type": "server_error"}})
        if how in ("ends", "says an error"):
            call.end_stream()
        elif how == "resets":
            call.reset()
        else:
            call.close()

    return answer


def read_broken(gate):
    """One call whose stream breaks; its request's id."""
    BEGUN.clear()
    client, response = gate.open_stream()
    assert response.status == 200
    BEGUN.set()
    with client:
        try:
            for _ in client.pieces(response):
                pass
        except Closed:
            pass
    return response.header("x-request-id")


@pytest.mark.parametrize("how", BREAKS)
def test_a_circuit_that_broken_streams_open_is_in_the_log(upstream, how):
    upstream.answer = breaking(how)
    config = merged(config_for(upstream), {"server": {"workers": 1}})
    with Sluice(config) as gate:
        for _ in range(8):
            read_broken(gate)
        eventually(lambda: [line for line in gate.log_lines() if "fast-1 is left alone" in line.get("msg", "")],
                   what="the log says that its circuit is open")


@pytest.mark.parametrize("how", BREAKS)
def test_its_access_line_is_a_warning(gate, upstream, how):
    upstream.answer = breaking(how)
    line = gate.access_line(read_broken(gate))
    assert line["level"] == "warn" and line["status"] == 200 and line["outcome"] == "partial", line


def test_one_that_its_client_leaves_is_none(gate, upstream):
    upstream.answer = breaking("closes")
    BEGUN.clear()
    client, response = gate.open_stream()
    client.close()
    line = gate.access_line(response.header("x-request-id"))
    BEGUN.set()
    assert line["level"] == "info" and line["status"] == 499, line
