# SPDX-License-Identifier: Apache-2.0
"""The tools judge the gateway, so they are judged first, against little servers of their own."""

import hashlib
import socket
import threading

import pytest
from harness import Authority, Client, Upstream, chunked, framed, raw_answer, request_bytes, sse_events, to_yaml
from raw_client import Closed, ProtocolError, body_framing, parse_fields

BROKEN_ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nhi",
    b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi",
    b"HTTP/1.1 200 OK\r\nX : 1\r\nContent-Length: 2\r\n\r\nhi",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=1\r\nhi\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhiXX0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhi",
    b"HTTP/2 200 OK\r\n\r\n",
]
CUT_ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Le",
]


def ask(upstream, data=None):
    with Client(upstream.address, timeout=5) as client:
        client.send(data or request_bytes("POST", "/v1/chat/completions", body={"model": "m"}))
        return client.read_response("POST")


@pytest.mark.parametrize("answer", BROKEN_ANSWERS)
def test_the_client_refuses_broken_answers(answer):
    with Upstream(raw_answer(answer, then_close=True)) as upstream:
        with pytest.raises(ProtocolError):
            ask(upstream)


@pytest.mark.parametrize("answer", CUT_ANSWERS)
def test_the_client_sees_a_cut_answer(answer):
    with Upstream(raw_answer(answer, then_close=True)) as upstream:
        with pytest.raises(Closed):
            ask(upstream)


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_the_client_reads_all_framings(framing):
    data = framed("HTTP/1.1 200 OK", [("x", "1")], b"abcdef" * 100, framing, sizes=[1, 7, 64])
    with Upstream(raw_answer(data, then_close=framing == "close")) as upstream:
        answer = ask(upstream)
        assert answer.body == b"abcdef" * 100 and answer.framing == framing
        if framing == "chunked":
            assert answer.chunks[:3] == [1, 7, 64]


BROKEN_REQUESTS = [
    b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;a\r\na\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n",
    b"GET / HTTP/1.1\nHost: a\n\n",
]


@pytest.mark.parametrize("request_", BROKEN_REQUESTS)
def test_the_upstream_notes_broken_requests(request_):
    with Upstream() as upstream:
        with Client(upstream.address, timeout=5) as client:
            client.send(request_)
            client.half_close()
            client.read_to_close()
        assert upstream.violations


def test_the_upstream_keeps_what_it_was_sent():
    body = bytes(range(256)) * 4096
    head = [("Transfer-Encoding", "chunked"), ("Content-Type", "x/y")]
    with Upstream() as upstream:
        answer = ask(upstream, request_bytes("POST", "/v1/x?y=1", head, b"") + chunked(body, size=1000))
        assert answer.status == 200
        call = upstream.last()
        assert (call.method, call.target, call.body) == ("POST", "/v1/x?y=1", body)
        assert call.sha256 == hashlib.sha256(body).hexdigest() and not upstream.violations


def test_the_upstream_sees_a_client_leave():
    seen = []
    gone = threading.Event()

    def answer(call):
        call.begin_stream()
        call.event("one")
        seen.append(call.wait_gone(5))
        gone.set()

    with Upstream(answer) as upstream:
        client = Client(upstream.address, timeout=5)
        client.send(request_bytes("POST", "/", body={}))
        client.begin_response("POST")
        client.close()
        assert gone.wait(5) and seen[0] is not None and seen[0] < 5


def test_parsers():
    assert parse_fields(b"A: b\r\nC:  d e ") == [("A", "b"), ("C", "d e")]
    assert body_framing(parse_fields(b"Content-Length: 0")) == ("length", 0)
    assert chunked(b"abc", size=2) == b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    assert sse_events(b": ping\n\ndata: a\n\ndata: b\r\n\r\ndata:c\ndata: d\n\n") == ["a", "b", "c\nd"]
    for bad in (b" A: b", b"A b", b"A: b\r\n c", b"A\x00: b", b"A: b\x01"):
        with pytest.raises(ProtocolError):
            parse_fields(bad)


def test_yaml_is_written_as_people_write_it():
    value = {"a": {"b": [1, {"c": "d", "e": []}], "f": None}, "g": True}
    assert to_yaml(value).splitlines() == [
        "a:", "  b:", "    - 1", '    - c: "d"', "      e: []", "  f: null", "g: true"]


def test_certificates_are_good_expired_or_foreign(tmp_path):
    import ssl

    ours, other = Authority(tmp_path / "ours"), Authority(tmp_path / "other")
    cases = [(ours.issue("good"), True), (ours.issue("old", days=-1), False), (other.issue("foreign"), False),
             (ours.issue("wrong", alternative="DNS:elsewhere.test"), False)]
    for (cert, key), is_good in cases:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(cert, key)
        with Upstream(tls=server) as upstream:
            client = ssl.create_default_context(cafile=ours.file)
            if is_good:
                with Client(upstream.address, tls=client, server_name="localhost") as connection:
                    assert connection.request("GET", "/v1/x").status == 200
            else:
                with pytest.raises(ssl.SSLCertVerificationError):
                    Client(upstream.address, tls=client, server_name="localhost")


def test_a_free_port_is_free():
    from harness import free_port

    with socket.create_server(("127.0.0.1", free_port())):
        pass
