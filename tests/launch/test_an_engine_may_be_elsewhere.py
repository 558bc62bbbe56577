# SPDX-License-Identifier: Apache-2.0
"""The engine's API over TCP, and over TLS with certificates on both sides, as `dockerd -H tcp://…` has
it: a real engine behind a forwarder."""

import socket
import ssl
import threading

import pytest
from driver import Driver
from engine import Engine
from harness import Authority, eventually

SERVER = ["/fakellm", "--host", "0.0.0.0", "--port", "{port}"]


class Forwarder:
    """TCP or TLS in front, the engine's socket behind."""

    def __init__(self, engine, context=None):
        self.engine, self.context = engine, context

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def _accept(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._forward, args=(peer,), daemon=True).start()

    def _forward(self, peer):
        try:
            if self.context:
                peer = self.context.wrap_socket(peer, server_side=True)
            behind = socket.socket(socket.AF_UNIX)
            behind.connect(str(self.engine.socket))
        except OSError:
            peer.close()
            return
        threads = [threading.Thread(target=self._copy, args=pair, daemon=True)
                   for pair in ((peer, behind), (behind, peer))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        peer.close()
        behind.close()

    def _copy(self, source, sink):
        try:
            while piece := source.recv(65536):
                sink.sendall(piece)
        except OSError:
            pass
        for each in (source, sink):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def __exit__(self, *_):
        self.listener.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def podman():
    with Engine("podman") as engine:
        yield engine


def live(launcher, engine, forwarder):
    launcher.wait_looked(True)
    launcher.start("r1", image="localhost/fake", command=SERVER)
    running = launcher.wait("r1", "running")
    assert running["host"] in ("127.0.0.1", "localhost")
    launcher.wait_line("r1", "loaded")
    launcher.stop("r1", 500)
    launcher.wait("r1", "ended")
    launcher.forget("r1")
    eventually(lambda: not engine.containers(), what="it is removed")


def test_over_tcp(podman):
    with Forwarder(podman) as forwarder:
        with Driver("docker", endpoint=f"tcp://127.0.0.1:{forwarder.port}?network=host") as launcher:
            live(launcher, podman, forwarder)


def test_over_tls_with_certificates_on_both_sides(podman, authority):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.file)
    context.load_cert_chain(*authority.issue("server"))
    context.verify_mode = ssl.CERT_REQUIRED
    cert, key = authority.issue("client")
    with Forwarder(podman, context) as forwarder:
        with Driver("docker", endpoint=f"tcp://localhost:{forwarder.port}?network=host", ca_file=authority.file,
                    cert_file=cert, key_file=key) as launcher:
            live(launcher, podman, forwarder)
        with Driver("docker", endpoint=f"https://localhost:{forwarder.port}",  # nobody it knows
                    ca_file=authority.file) as launcher:
            launcher.wait_looked(False)


def test_a_server_that_is_not_trusted_is_told_nothing(podman, authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("server"))
    with Forwarder(podman, context) as forwarder:
        with Driver("docker", endpoint=f"https://localhost:{forwarder.port}") as launcher:
            launcher.wait_looked(False)
            assert "certificate" in launcher.log()


def test_files_that_are_not_there_are_a_fault(tmp_path):
    with Driver("docker", endpoint="tcp://localhost:2376", ca_file=tmp_path / "none.pem") as launcher:
        launcher.until(lambda: launcher.all("fault"), "it is refused")
