# SPDX-License-Identifier: Apache-2.0
"""max_connections holds, and what it costs the others is nothing."""

import contextlib

from harness import Client, ProtocolError, chat_request, config_for, eventually

LIMIT = 24


def configure(upstream):
    return config_for(upstream, server={"limits": {"max_connections": LIMIT}, "workers": 1})


def test_the_limit(gate):
    kept = []
    turned_away = 0
    try:
        for _ in range(LIMIT * 2):
            client = Client(gate.address(), timeout=30)
            kept.append(client)
            with contextlib.suppress(OSError):
                client.send(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
        served = 0
        for client in kept:
            try:
                answer = client.read_response()
            except (OSError, ProtocolError):
                turned_away += 1
                continue
            if answer.status == 200:
                served += 1
            else:
                assert answer.status == 503 and answer.error["code"] == "overloaded", answer
                turned_away += 1
        assert served <= LIMIT and served >= LIMIT - 2, served
        assert turned_away == 2 * LIMIT - served
        # those inside are served on
        assert kept[0].send(chat_request()).read_response().status == 200
    finally:
        for client in kept:
            client.close()
    eventually(lambda: gate.chat().status == 200, what="room again")


def test_who_is_turned_away_hears_why(gate):
    crowd = [Client(gate.address(), timeout=30) for _ in range(LIMIT)]
    try:
        assert crowd[-1].send(chat_request()).read_response().status == 200
        with Client(gate.address(), timeout=30) as beyond:
            answer = beyond.read_response()
            assert answer.status == 503 and answer.error["code"] == "overloaded", answer
            assert answer.header("retry-after") == "1" and answer.closes
            assert not beyond.read_to_close()
    finally:
        for client in crowd:
            client.close()
    eventually(lambda: gate.chat().status == 200, what="room again")
