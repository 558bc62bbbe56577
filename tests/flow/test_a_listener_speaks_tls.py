# SPDX-License-Identifier: Apache-2.0
"""TLS 1.2 and up, ALPN, client certificates where asked for; a bad handshake harms nobody."""

import socket
import ssl
import time

import pytest
from harness import (
    KEY_ACME,
    Authority,
    ProtocolError,
    chat_request,
    config_for,
    eventually,
    free_port,
    sse_events,
    temporary_folder,
)

pytestmark = pytest.mark.threads
FOLDER = temporary_folder("sluice-tls-")
OURS, OTHER = Authority(f"{FOLDER}/ours"), Authority(f"{FOLDER}/other")
SERVER = OURS.issue("server")
FRIEND, STRANGER = OURS.issue("friend"), OTHER.issue("stranger")


def configure(upstream):
    config = config_for(upstream)
    tls = {"cert_file": SERVER[0], "key_file": SERVER[1]}

    def listener(name, **more):
        return {"name": name, "address": f"127.0.0.1:{free_port()}", "serve": ["api", "health"], "tls": {**tls, **more}}

    config["server"]["listeners"] += [
        listener("tls"), listener("tls13", min_version="1.3"), listener("mutual", client_ca_file=str(OURS.file))]
    config["server"]["timeouts"] = {"client_header": "2s"}
    return config


def context(certificate=None, highest=None, alpn=None):
    out = ssl.create_default_context(cafile=OURS.file)
    if certificate:
        out.load_cert_chain(*certificate)
    if highest:
        out.maximum_version = highest
    if alpn:
        out.set_alpn_protocols(alpn)
    return out


def ask(gate, name, tls):
    with gate.connect(name, tls=tls, server_name="localhost") as client:
        return client.send(chat_request()).read_response()


def test_a_call_over_tls(gate):
    answer = gate.post("/v1/chat/completions", {"model": "fast", "messages": [], "stream": True}, listener="tls",
                       tls=context(), server_name="localhost")
    assert answer.status == 200 and sse_events(answer.body)[-1] == "[DONE]"


def test_a_large_body_and_pipelining_over_tls(gate, upstream):
    body = {"model": "fast", "messages": [], "pad": "x" * 3_000_000}
    with gate.connect("tls", tls=context(), server_name="localhost") as client:
        client.send(chat_request(body) + chat_request())
        assert client.read_response().status == 200
        assert client.read_response().status == 200
    assert upstream.calls[0].length > 3_000_000


def come_back(gate, listener, tls, times):
    """How often a session is taken up again by a client that asks once on each connection."""
    session, again = None, 0
    for _ in range(times):
        with socket.create_connection(gate.address(listener), 10) as plain:
            with tls.wrap_socket(plain, server_hostname="localhost", session=session) as client:
                client.sendall(chat_request())
                assert b" 200 " in client.recv(65536)[:20]
                again += client.session_reused
                session = client.session
    return again


def test_who_comes_back_resumes_with_any_worker_and_after_a_reload(gate):
    """With TLS 1.2: its session is there with the handshake."""
    tls = context(highest=ssl.TLSVersion.TLSv1_2)
    assert come_back(gate, "tls", tls, 12) == 11
    assert gate.cli("reload").returncode == 0
    assert come_back(gate, "tls", tls, 12) == 11


def test_a_ticket_is_no_client_certificate(gate):
    tls = context(highest=ssl.TLSVersion.TLSv1_2)
    with socket.create_connection(gate.address("tls"), 10) as plain, tls.wrap_socket(plain, server_hostname="localhost") as client:
        session = client.session
    with socket.create_connection(gate.address("mutual"), 10) as plain:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            with tls.wrap_socket(plain, server_hostname="localhost", session=session) as client:
                client.sendall(chat_request())
                assert not client.recv(100)
                raise ConnectionError("it is closed")


@pytest.mark.parametrize("offered", [["http/1.1"], ["h3", "http/1.1"], []])
def test_alpn_is_http_1_1(gate, offered):
    """With h2 it would be that: test_a_client_speaks_http2.py."""
    with gate.connect("tls", tls=context(alpn=offered), server_name="localhost") as client:
        assert client.sock.selected_alpn_protocol() == ("http/1.1" if offered else None)
        assert client.send(chat_request()).read_response().status == 200


def test_versions(gate):
    assert ask(gate, "tls", context(highest=ssl.TLSVersion.TLSv1_2)).status == 200
    assert ask(gate, "tls13", context()).status == 200
    with pytest.raises((ssl.SSLError, ConnectionError)):
        ask(gate, "tls13", context(highest=ssl.TLSVersion.TLSv1_2))


def test_client_certificates(gate):
    assert ask(gate, "mutual", context(FRIEND)).status == 200
    for certificate in (None, STRANGER):
        with pytest.raises((OSError, ProtocolError)):  # TLS 1.3 tells a client only when it reads
            ask(gate, "mutual", context(certificate))


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\0" * 300, b"\0" * 64])
def test_what_is_no_tls_is_closed(gate, data):
    with gate.connect("tls", timeout=10) as client:
        client.send(data)
        client.read_to_close(within=10)
    assert ask(gate, "tls", context()).status == 200


def test_tls_on_the_plain_port_is_refused(gate):
    with pytest.raises((ssl.SSLError, ConnectionError)):
        gate.connect("api", tls=context(), server_name="localhost", timeout=10)
    assert gate.chat().status == 200


def test_a_handshake_that_stalls_is_ended(gate):
    stalled = [socket.create_connection(gate.address("tls")) for _ in range(50)]
    for sock in stalled[:25]:
        sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
    assert ask(gate, "tls", context()).status == 200
    begin = time.monotonic()
    for sock in stalled:
        sock.settimeout(20)
        try:
            while sock.recv(4096):
                pass
        except ConnectionError:
            pass
    assert time.monotonic() - begin < 20
    for sock in stalled:
        sock.close()


def test_a_client_that_leaves_a_tls_stream(gate, upstream):
    gone = []

    def answer(call):
        call.begin_stream()
        call.event({"choices": [{"delta": {"content": "x"}}]})
        gone.append(call.wait_gone(10))

    upstream.answer = answer
    client = gate.connect("tls", tls=context(), server_name="localhost")
    client.send(chat_request({"model": "fast", "messages": [], "stream": True}))
    client.begin_response("POST")
    client.close()
    eventually(lambda: gone)
    assert gone[0] is not None and gone[0] < 3


def test_new_certificates_come_with_a_reload(gate):
    import shutil

    fresh = OURS.issue("fresh", alternative="DNS:fresh.test")
    kept = [open(path, "rb").read() for path in SERVER]
    try:
        for new, old in zip(fresh, SERVER):
            shutil.copy(new, old)
        assert gate.cli("reload").returncode == 0
        with gate.connect("tls", tls=context(), server_name="fresh.test") as client:
            assert client.request("GET", "/v1/models", {"Authorization": f"Bearer {KEY_ACME}"}).status == 200
    finally:
        for path, data in zip(SERVER, kept):
            open(path, "wb").write(data)
        assert gate.cli("reload").returncode == 0
    assert ask(gate, "tls", context()).status == 200
