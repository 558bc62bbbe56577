# SPDX-License-Identifier: Apache-2.0
"""A hostile or broken upstream costs its own call, in the caller's dialect, and nothing else."""

import pytest
from harness import SANITIZED, chat_request, eventually, framed
from raw_client import Closed

OK = b"HTTP/1.1 200 OK\r\n"
JSON = b"Content-Type: application/json\r\n"

BROKEN = {
    "no status line": b"hello\r\n\r\n",
    "binary": b"\x16\x03\x01\x00\x02\x02\x28",
    "HTTP/0.9": b"<html></html>",
    "HTTP/2 words": b"HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "HTTP/1.2": b"HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "HTTP/11.1": b"HTTP/11.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "status 99": b"HTTP/1.1 99 Low\r\nContent-Length: 2\r\n\r\n{}",
    "status 600": b"HTTP/1.1 600 High\r\nContent-Length: 2\r\n\r\n{}",
    "status 20": b"HTTP/1.1 20 Short\r\nContent-Length: 2\r\n\r\n{}",
    "status 2000": b"HTTP/1.1 2000 Long\r\nContent-Length: 2\r\n\r\n{}",
    "status abc": b"HTTP/1.1 abc Odd\r\nContent-Length: 2\r\n\r\n{}",
    "status +200": b"HTTP/1.1 +200 Odd\r\nContent-Length: 2\r\n\r\n{}",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}",
    "bare CR": b"HTTP/1.1 200 OK\rContent-Length: 2\r\r{}",
    "NUL in a value": OK + b"X: a\0b\r\nContent-Length: 2\r\n\r\n{}",
    "NUL in the reason": b"HTTP/1.1 200 O\0K\r\nContent-Length: 2\r\n\r\n{}",
    "folded line": OK + b"X: a\r\n b\r\nContent-Length: 2\r\n\r\n{}",
    "folded first line": OK + b" X: a\r\nContent-Length: 2\r\n\r\n{}",
    "space before colon": OK + b"Content-Length : 2\r\n\r\n{}",
    "no colon": OK + b"Content-Length 2\r\n\r\n{}",
    "empty name": OK + b": x\r\nContent-Length: 2\r\n\r\n{}",
    "two lengths that differ": OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
    "a list of lengths": OK + b"Content-Length: 2, 2\r\n\r\n{}",
    "length and chunked": OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "length +2": OK + b"Content-Length: +2\r\n\r\n{}",
    "length -2": OK + b"Content-Length: -2\r\n\r\n{}",
    "length 0x2": OK + b"Content-Length: 0x2\r\n\r\n{}",
    "length 2.0": OK + b"Content-Length: 2.0\r\n\r\n{}",
    "length 2^64": OK + b"Content-Length: 18446744073709551616\r\n\r\n{}",
    "empty length": OK + b"Content-Length:\r\n\r\n{}",
    "gzip coding": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "identity coding": OK + b"Transfer-Encoding: identity\r\n\r\n{}",
    "chunked twice": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "xchunked": OK + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "unasked 101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "1xx flood": b"HTTP/1.1 102 Processing\r\n\r\n" * 1000 + OK + b"Content-Length: 2\r\n\r\n{}",
    "1xx with a body": b"HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\nhello" + OK + b"Content-Length: 2\r\n\r\n{}",
    "10 MB head": OK + b"".join(b"X-%d: %s\r\n" % (i, b"y" * 1000) for i in range(10000)) + b"Content-Length: 2\r\n\r\n{}",
    "10 MB line": OK + b"X: " + b"y" * (10 << 20) + b"\r\nContent-Length: 2\r\n\r\n{}",
    "10000 fields": OK + b"X: y\r\n" * 10000 + b"Content-Length: 2\r\n\r\n{}",
    "redirect": b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
    "nothing": b"",
    "half a head": OK + b"Content-Len",
    "chunk size x": OK + JSON + b"Transfer-Encoding: chunked\r\n\r\nx\r\n{}\r\n0\r\n\r\n",
    "chunk size 0x2": OK + JSON + b"Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n",
    "chunk size of 20 digits": OK + JSON + b"Transfer-Encoding: chunked\r\n\r\n00000000000000000002\r\n{}\r\n0\r\n\r\n",
    "no first chunk size": OK + JSON + b"Transfer-Encoding: chunked\r\n\r\n\r\n{}\r\n0\r\n\r\n",
}

# The head was good, so the client may have it already: then it must see a cut.
LATE = {
    "chunk too long": OK + JSON + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}x\r\n0\r\n\r\n",
    "chunk line with LF": OK + JSON + b"Transfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n",
    "second size bad": OK + JSON + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n-1\r\n\r\n",
    "2^64 chunk": OK + JSON + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n10000000000000000\r\n",
    "endless extension": OK + JSON + b"Transfer-Encoding: chunked\r\n\r\n2;" + b"x" * 100000,
    "bad trailer": OK + JSON + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nbad trailer\r\n\r\n",
    "endless trailers": OK + JSON + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n" + b"X: y\r\n" * 100000 + b"\r\n",
    "endless size": OK + JSON + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n" + b"0" * 100000,
}

FINE = {
    "no reason": b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\n{}",
    "no reason, no space": b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\n{}",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "HTTP/1.0 to the end": b"HTTP/1.0 200 OK\r\n\r\n{}",
    "an early 100": b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\n{}",
    "early hints": b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\n{}",
    "Chunked": OK + b"Transfer-Encoding: Chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "capital digits": OK + b"Transfer-Encoding: chunked\r\n\r\n002\r\n{}\r\n000\r\n\r\n",
    "trailers": OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-Sum: 1\r\n\r\n",
    "64 fields": OK + b"".join(b"X-%d: y\r\n" % i for i in range(64)) + b"Content-Length: 2\r\n\r\n{}",
    "latin-1 value": OK + b"X: \xe9\r\nContent-Length: 2\r\n\r\n{}",
}


def broken(data):
    def answer(call):
        for at in range(0, len(data), 65536):
            call.send(data[at : at + 65536])
        call.close()

    return answer


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("case", BROKEN)
def test_broken(gate, upstream, case, stream):
    upstream.answer = broken(BROKEN[case])
    answer = gate.chat(stream=stream)
    assert answer.status == 502 or (case in ("nothing", "half a head") and answer.status == 503), answer
    assert answer.error["type"] == "server_error", answer
    assert answer.error["code"] in ("upstream_invalid", "upstream_unavailable"), answer
    row = gate.ledger_row(answer.header("x-request-id"))
    assert row["outcome"] == "refused" and row["cost_nanos"] == 0, row


@pytest.mark.parametrize("case", LATE)
def test_broken_behind_a_good_head(gate, upstream, case):
    upstream.answer = broken(LATE[case])
    with gate.connect() as client:
        client.send(chat_request())
        try:
            answer = client.read_response()
            assert answer.status == 502, answer
        except Closed:
            pass


@pytest.mark.parametrize("case", FINE)
def test_what_servers_do_and_may(gate, upstream, case):
    upstream.answer = broken(FINE[case])
    # A call that meets a connection which is being closed may have been read there: it is not made twice.
    eventually(lambda: gate.metric("sluice_upstream_idle_connections") == 0, what="the one before has closed its own")
    answer = gate.chat()
    assert answer.status == 200 and answer.body == b"{}", answer


@pytest.mark.parametrize("status", [204, 205])
def test_an_answer_without_a_body(gate, upstream, status):
    upstream.answer = broken(b"HTTP/1.1 %d OK\r\nContent-Length: 0\r\n\r\n" % status)
    with gate.connect() as client:
        client.send(chat_request())
        assert client.read_response().status in (status, 200, 502)
        upstream.forget()
        eventually(lambda: client.send(chat_request()).read_response().status == 200,
                   what="the connection serves on; a circuit that the broken ones have opened closes")


def test_an_upstream_that_answers_before_it_has_read(gate, upstream):
    """413 in the middle of a large body, as servers do."""

    def on_head(call):
        call.respond(413, {"error": {"message": "too large for me"}})
        call.connection.sock.settimeout(5)
        try:
            while call.connection.sock.recv(65536):
                pass
        except OSError:
            pass
        return False

    upstream.on_head = on_head
    answer = gate.chat(pad="x" * 8_000_000)
    assert answer.status in (413, 502, 503), answer


def test_an_answer_without_end_is_relayed_in_bounded_memory(gate, upstream):
    def answer(call):
        call.begin_stream()
        for _ in range(2000):
            call.chunk(b"data: " + b"x" * 16000)  # one event that never ends
        call.close()

    upstream.answer = answer
    before = gate.rss()
    client, response = gate.open_stream()
    peak = 0
    with client:
        try:
            for _ in client.pieces(response):
                peak = max(peak, gate.rss() - before)
        except Closed:
            pass
    assert peak < (64 if SANITIZED else 8) << 20, peak


def test_the_gateway_serves_on(gate, upstream):
    eventually(lambda: gate.chat().status == 200)
    for framing in ("length", "chunked"):
        data = framed("HTTP/1.1 200 OK", [], b"{}", framing)
        upstream.answer = lambda call: call.send(data)
        # A connection on which an earlier case left its upstream deaf may be met first.
        eventually(lambda: gate.chat().body == b"{}")
