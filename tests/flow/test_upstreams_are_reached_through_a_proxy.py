# SPDX-License-Identifier: Apache-2.0
"""HTTPS_PROXY and NO_PROXY, and a proxy of the provider's own."""

import base64
import contextlib
import socket
import ssl
import threading

import pytest
from harness import Authority, Sluice, Upstream, config_for, model_for, provider_for, temporary_folder

FOLDER = temporary_folder("sluice-proxy-")
OURS = Authority(FOLDER)
CERTIFICATE = OURS.issue("server", alternative="DNS:localhost,DNS:model.test,IP:127.0.0.1")


class ConnectProxy:
    """A proxy that knows CONNECT only, and remembers who asked for what. Names resolve to us."""

    def __init__(self, refuse=None):
        self.heads, self.refuse = [], refuse
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        head = b""
        while b"\r\n\r\n" not in head:
            piece = sock.recv(4096)
            if not piece:
                return
            head += piece
        self.heads.append(head.decode())
        if self.refuse:
            sock.sendall(self.refuse)
            sock.close()
            return
        port = int(head.split(b" ")[1].rpartition(b":")[2])
        onward = socket.create_connection(("127.0.0.1", port))
        sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        threading.Thread(target=self._pump, args=(sock, onward), daemon=True).start()
        self._pump(onward, sock)

    @staticmethod
    def _pump(source, sink):
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                sink.sendall(piece)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="module")
def server():
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*CERTIFICATE)
    with Upstream(tls=tls) as upstream:
        yield upstream


def config(server, host="model.test", **changes):
    out = config_for(server)
    out["providers"] = [provider_for(f"https://{host}:{server.port}/v1", tls={"ca_file": str(OURS.file)}, **changes)]
    out["models"] = [model_for()]
    return out


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy"])
def test_the_environments_proxy(server, variable):
    with ConnectProxy() as proxy, Sluice(config(server), env={variable: f"http://127.0.0.1:{proxy.port}"}) as gate:
        assert gate.chat().status == 200
        assert gate.chat(stream=True).body.endswith(b"[DONE]\n\n")
        assert proxy.heads and proxy.heads[0].startswith(f"CONNECT model.test:{server.port} HTTP/1.1\r\n")
        assert f"Host: model.test:{server.port}" in proxy.heads[0]
        assert "sk-" not in "".join(proxy.heads), "no key is shown to the proxy"


def test_a_proxy_that_wants_a_password(server):
    with ConnectProxy() as proxy:
        with Sluice(config(server), env={"HTTPS_PROXY": f"http://user:p%40ss@127.0.0.1:{proxy.port}"}) as gate:
            assert gate.chat().status == 200
        allowed = [base64.b64encode(word).decode() for word in (b"user:p@ss", b"user:p%40ss")]
        assert any(f"Basic {word}" in proxy.heads[0] for word in allowed), proxy.heads


@pytest.mark.parametrize("no_proxy", ["localhost", "*", ".localhost,localhost", "other.test, localhost"])
def test_no_proxy(server, no_proxy):
    with ConnectProxy() as proxy:
        env = {"HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}", "NO_PROXY": no_proxy}
        with Sluice(config(server, host="localhost"), env=env) as gate:
            assert gate.chat().status == 200
        assert not proxy.heads


def test_no_proxy_of_others(server):
    with ConnectProxy() as proxy:
        env = {"HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}", "NO_PROXY": "other.test,el.test"}
        with Sluice(config(server), env=env) as gate:
            assert gate.chat().status == 200
        assert proxy.heads


def test_the_providers_own_proxy_wins(server):
    with ConnectProxy() as own, ConnectProxy() as other:
        env = {"HTTPS_PROXY": f"http://127.0.0.1:{other.port}"}
        with Sluice(config(server, proxy=f"http://127.0.0.1:{own.port}"), env=env) as gate:
            assert gate.chat().status == 200
        assert own.heads and not other.heads


@pytest.mark.parametrize("refusal", [
    b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 407 Auth\r\nContent-Length: 0\r\n\r\n", b"garbage\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"])
def test_a_proxy_that_refuses(server, refusal):
    with ConnectProxy(refusal) as proxy, Sluice(config(server), env={"HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}"}) as gate:
        answer = gate.chat()
        assert answer.status in (502, 503) and answer.error["type"] == "server_error", answer


def test_a_certificate_is_verified_through_the_proxy(server):
    with ConnectProxy() as proxy:
        with Sluice(config(server, host="wrong.test"), env={"HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}"}) as gate:
            before = len(server.calls)
            assert gate.chat().status in (502, 503)
            assert len(server.calls) == before
