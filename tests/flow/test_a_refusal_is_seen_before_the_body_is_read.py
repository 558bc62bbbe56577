# SPDX-License-Identifier: Apache-2.0
"""401, 403, 404, 413 and their like are written at once and outlive the body that is coming."""

import select
import socket

import pytest
from harness import KEY_ACME, KEY_WRONG, request_bytes

BIG = 20 << 20
CHAT = "/v1/chat/completions"

REFUSALS = {
    "a wrong key": (CHAT, KEY_WRONG, 401, "invalid_api_key"),
    "no key": (CHAT, None, 401, "invalid_api_key"),
    "an unknown path": ("/v1/nothing/here", KEY_ACME, 404, None),
    "a wrong method": ("/v1/models", KEY_ACME, 405, None),
    "a media type": (CHAT, KEY_ACME, 415, None),
    "a body too large": (CHAT, KEY_ACME, 413, "request_too_large"),
}


def head(case, length=BIG, extra=()):
    path, key, _, _ = REFUSALS[case]
    fields = [("Content-Type", "text/plain" if case == "a media type" else "application/json")]
    if key:
        fields.append(("Authorization", f"Bearer {key}"))
    if case == "a body too large":
        length = 40 << 20
    fields.append(("Content-Length", str(length)))
    return request_bytes("POST", path, fields + list(extra), b""), length


def check(answer, case):
    _, _, status, code = REFUSALS[case]
    assert answer.status == status, answer
    assert answer.error["code"] == code and answer.error["type"] == "invalid_request_error", answer


@pytest.mark.parametrize("case", REFUSALS)
def test_by_a_client_that_sends_everything_first(gate, case):
    """Like the HTTP libraries below the SDKs: an error of writing is kept until the answer was read."""
    start, length = head(case)
    with gate.connect() as client:
        try:
            client.send(start)
            for _ in range(length >> 16):
                client.send(b" " * 65536)
        except (BrokenPipeError, ConnectionResetError):
            pass
        check(client.read_response(), case)


@pytest.mark.parametrize("case", REFUSALS)
def test_by_a_client_that_reads_while_it_writes(gate, case):
    start, length = head(case)
    data = memoryview(start + b" " * length)
    with gate.connect() as client:
        client.sock.setblocking(False)
        while data:
            readable, writable, _ = select.select([client.sock], [client.sock], [], 10)
            assert readable or writable
            if readable:
                break
            try:
                data = data[client.sock.send(data[: 1 << 16]) :]
            except BlockingIOError:
                pass
        check(client.read_response(), case)


def test_a_small_refused_body_needs_no_new_connection_or_says_so(gate):
    with gate.connect() as client:
        answer = client.request("POST", CHAT, {"Authorization": f"Bearer {KEY_WRONG}"}, {"model": "fast"})
        assert answer.status == 401
        if answer.closes:
            assert client.read_to_close(within=5) == b""
        else:
            assert client.request("GET", "/livez").status == 200


def test_a_chunked_body_with_a_wrong_key(gate):
    fields = [("Transfer-Encoding", "chunked"), ("Authorization", f"Bearer {KEY_WRONG}")]
    with gate.connect() as client:
        try:
            client.send(request_bytes("POST", CHAT, fields, b""))
            for _ in range(BIG >> 16):
                client.send(b"10000\r\n" + b" " * 65536 + b"\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert client.read_response().status == 401


def test_a_chunked_body_that_grows_too_large(gate, upstream):
    fields = [("Transfer-Encoding", "chunked"), ("Authorization", f"Bearer {KEY_ACME}"),
              ("Content-Type", "application/json")]
    with gate.connect() as client:
        try:
            client.send(request_bytes("POST", CHAT, fields, b""))
            for _ in range((40 << 20) >> 16):
                client.send(b"10000\r\n" + b" " * 65536 + b"\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass
        answer = client.read_response()
        assert answer.status == 413 and answer.error["code"] == "request_too_large", answer
    assert not upstream.calls


def test_a_refused_client_is_not_kept_for_ever(gate):
    """It is discarded for at most 2 s and 256 KiB, then closed."""
    start, _ = head("a wrong key")
    with gate.connect() as client:
        client.send(start)
        assert client.read_response().status == 401
        assert client.read_to_close(within=10) == b""


EXPECT = [("Expect", "100-continue")]


@pytest.mark.parametrize("case", ["a wrong key", "no key", "an unknown path", "a body too large"])
def test_no_100_for_who_is_refused(gate, case):
    start, _ = head(case, extra=EXPECT)
    with gate.connect() as client:
        client.send(start)
        answer = client.read_response()
        assert not answer.interim
        check(answer, case)


def test_100_for_who_is_let_in(gate, upstream):
    body = b'{"model":"fast","messages":[]}'
    fields = [("Authorization", f"Bearer {KEY_ACME}"), ("Content-Type", "application/json"),
              ("Content-Length", str(len(body))), *EXPECT]
    with gate.connect() as client:
        client.send(request_bytes("POST", CHAT, fields, b""))
        assert client.read_head().status == 100
        client.send(body)
        assert client.read_response().status == 200
    assert "expect" not in upstream.last().fields


def test_a_body_that_does_not_wait_for_its_100(gate, upstream):
    fields = [("Authorization", f"Bearer {KEY_ACME}"), ("Content-Type", "application/json"), *EXPECT]
    with gate.connect() as client:
        answer = client.request("POST", CHAT, fields, b'{"model":"fast","messages":[]}')
        assert answer.status == 200 and all(i.status == 100 for i in answer.interim)
        assert client.request("GET", "/livez").status == 200


@pytest.mark.parametrize("expectation, status", [("100-Continue", 200), ("200-ok", 417), ("100-continue, x", 417)])
def test_expectations(gate, expectation, status):
    fields = [("Authorization", f"Bearer {KEY_ACME}"), ("Content-Type", "application/json"),
              ("Expect", expectation)]
    with gate.connect() as client:
        assert client.request("POST", CHAT, fields, b'{"model":"fast","messages":[]}').status == status


def test_a_client_that_half_closes_after_a_refusal(gate):
    with gate.connect() as client:
        client.send(request_bytes("POST", CHAT, {"Content-Length": "100"}, b""))
        client.sock.shutdown(socket.SHUT_WR)
        assert client.read_response().status == 401
