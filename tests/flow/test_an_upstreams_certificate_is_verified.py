# SPDX-License-Identifier: Apache-2.0
"""Chain, name and date; our own certificate where the upstream asks; sessions are resumed."""

import ssl

import pytest
from harness import Authority, Upstream, config_for, eventually, model_for, provider_for, temporary_folder

pytestmark = pytest.mark.threads
FOLDER = temporary_folder("sluice-tls-")
OURS, OTHER = Authority(f"{FOLDER}/ours"), Authority(f"{FOLDER}/other")
CLIENT = OURS.issue("client")
CERTIFICATES = {
    "good": OURS.issue("good"),
    "by-address": OURS.issue("by-address", alternative="IP:127.0.0.1"),
    "wrong-name": OURS.issue("wrong-name", alternative="DNS:elsewhere.test"),
    "wrong-address": OURS.issue("wrong-address", alternative="IP:127.0.0.2"),
    "common-name-only": OURS.issue("localhost", alternative="DNS:other.test"),
    "expired": OURS.issue("expired", days=-1),
    "unknown-ca": OTHER.issue("unknown"),
    "client-only": OURS.issue("client-only", usage="clientAuth"),
    "mutual": OURS.issue("mutual"),
    "old-version": OURS.issue("old-version"),
}
LET_IN = {"good", "by-address", "mutual"}
SERVERS = {}


def tls_server(name):
    out = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    out.load_cert_chain(*CERTIFICATES[name])
    if name == "mutual":
        out.verify_mode = ssl.CERT_REQUIRED
        out.load_verify_locations(OURS.file)
    return out


def configure(upstream):
    config = config_for(upstream)
    config["server"]["workers"] = 1
    for name in CERTIFICATES:
        if name == "old-version":
            continue
        SERVERS[name] = Upstream(tls=tls_server(name))
        host = "127.0.0.1" if "address" in name else "localhost"
        tls = {"ca_file": str(OURS.file)}
        if name == "mutual":
            tls.update(cert_file=CLIENT[0], key_file=CLIENT[1])
        config["providers"].append(
            provider_for(f"https://{host}:{SERVERS[name].port}/v1", name, tls=tls))
        config["models"].append(model_for(name, name))
    # the same server, but nobody told us of its authority
    config["providers"].append(provider_for(f"https://localhost:{SERVERS['good'].port}/v1", "no-ca"))
    config["models"].append(model_for("no-ca", "no-ca"))
    # and one that asks for a certificate that we do not show
    config["providers"].append(provider_for(f"https://localhost:{SERVERS['mutual'].port}/v1", "no-cert",
                                            tls={"ca_file": str(OURS.file)}))
    config["models"].append(model_for("no-cert", "no-cert"))
    return config


@pytest.fixture(scope="module", autouse=True)
def servers(gate):
    yield
    for server in SERVERS.values():
        server.stop()


@pytest.mark.parametrize("name", sorted(set(CERTIFICATES) - {"old-version"}) + ["no-ca", "no-cert"])
def test_a_certificate(gate, name):
    answer = gate.chat(name)
    if name in LET_IN:
        assert answer.status == 200, answer
    else:
        assert answer.status in (502, 503), answer
        assert answer.error["type"] == "server_error"
        assert not any(server.calls for key, server in SERVERS.items() if key == name)


def test_a_stream_over_tls(gate):
    assert gate.chat("good", stream=True).body.endswith(b"data: [DONE]\n\n")


def test_sessions_are_resumed(gate):
    """A full handshake is paid once, not for every connection."""
    server = SERVERS["good"]

    def answer(call):
        call.respond(200, {"a": 1}, headers={"Connection": "close"})
        call.close()

    server.forget()
    server.connections.clear()
    server.answer = answer
    for _ in range(6):
        assert gate.chat("good").status == 200
    resumed = [connection.tls_resumed for connection in server.connections]
    assert len(resumed) >= 5 and sum(resumed) >= 4, resumed


def test_connections_are_kept(gate):
    server = SERVERS["good"]
    server.forget()
    for _ in range(10):
        assert gate.chat("good").status == 200
    assert len({id(call.connection) for call in server.calls}) <= 2


def test_a_cut_of_tls_without_goodbye_is_a_cut(gate):
    """Truncation: an answer that ends with its connection needs TLS' own close_notify."""
    server = SERVERS["good"]
    server.forget()

    def answer(call):
        call.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n\r\n{\"half\":")
        call.reset()

    server.answer = answer
    with gate.connect() as client:
        from harness import chat_request
        from raw_client import Closed

        client.send(chat_request({"model": "good", "messages": []}))
        try:
            answer = client.read_response()
            assert answer.status == 502, answer
        except Closed:
            pass
    server.forget()
    eventually(lambda: gate.chat("good").status == 200)
