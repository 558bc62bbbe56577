# SPDX-License-Identifier: Apache-2.0
"""Tokens (JWT) of an identity provider open what their tenant may call; its keys are fetched, and
fetched again when they change. Signed by the openssl program."""

import base64
import contextlib
import json
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from harness import Sluice, WebSocket, config_for, eventually, sha256_hash, temporary_folder
from test_realtime_is_a_tunnel import Server, open_socket

ISSUER = "https://id.example"
SECRET = "sk-both-5ecre7-00"


def encoded(data):
    if not isinstance(data, bytes):
        data = json.dumps(data).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def openssl(*words, stdin=b""):
    return subprocess.run(["openssl", *map(str, words)], input=stdin, capture_output=True, check=True).stdout


class Signer:
    """An RSA key with a name."""

    def __init__(self, kid):
        self.kid = kid
        self.file = Path(temporary_folder("sluice-jwt-")) / "key.pem"
        self.file.write_bytes(openssl("genrsa", 2048))
        modulus = openssl("rsa", "-in", self.file, "-noout", "-modulus").strip().partition(b"=")[2]
        self.jwk = {"kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256", "e": "AQAB",
                    "n": encoded(bytes.fromhex(modulus.decode()))}

    def token(self, header=(), **changes):
        claims = {"iss": ISSUER, "aud": "sluice", "sub": "ada@example.com", "exp": int(time.time()) + 600, "tenant": "acme", **changes}
        head = {"alg": "RS256", "kid": self.kid, "typ": "JWT", **dict(header)}
        text = f"{encoded(head)}.{encoded({k: v for k, v in claims.items() if v is not None})}"
        return f"{text}.{encoded(openssl('dgst', '-sha256', '-sign', self.file, stdin=text.encode()))}"


class Issuer:
    """Publishes the keys in `self.keys`; `self.status` is what it answers with."""

    def __init__(self):
        issuer = self

        class Answers(BaseHTTPRequestHandler):
            def do_GET(self):
                issuer.asked += 1
                body = json.dumps({"keys": issuer.keys}).encode() if issuer.body is None else issuer.body
                self.send_response(issuer.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.keys, self.status, self.body, self.asked = [], 200, None, 0
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/keys"

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(10)


@pytest.fixture(scope="module")
def signer():
    return Signer("one")


@pytest.fixture
def issuer(signer):
    server = Issuer()
    server.keys = [signer.jwk]
    with contextlib.closing(server):
        yield server


def config_with(upstream, issuer, **changes):
    return config_for(upstream, jwt={"issuer": ISSUER, "audience": "sluice", "jwks_url": issuer.url, "refresh": "10s", **changes})


def opens(gate, token, model="fast"):
    return gate.chat(model, key=token).status


def test_a_subject_named_like_a_key_is_not_that_key(upstream, issuer, signer):
    """Neither in the ledger, nor in the limits of that key, which are counted from the ledger at the start."""
    config = config_with(upstream, issuer)
    config["tenants"][0]["keys"].append({"name": "both", "hash": sha256_hash(SECRET), "limits": {"requests_per_hour": 2}})
    with Sluice(config) as gate:
        token = signer.token(sub="both")
        eventually(lambda: opens(gate, token) == 200, what="the keys are there")
        rows = [gate.ledger_row(gate.chat(key=secret).header("x-request-id")) for secret in (token, SECRET)]
        assert [row["key"] for row in rows] == ["token:both", "both"]
        assert gate.stop() == 0
        gate.start()
        assert [opens(gate, SECRET) for _ in range(2)] == [200, 429]


def test_what_a_token_opens(upstream, issuer, signer):
    with Sluice(config_with(upstream, issuer)) as gate:
        eventually(lambda: opens(gate, signer.token()) == 200, what="the keys are there")
        answer = gate.chat("slow", key=signer.token(models=["slow"]))
        assert answer.status == 200, answer
        row = gate.ledger_row(answer.header("x-request-id"))
        assert (row["tenant"], row["key"]) == ("acme", "token:ada@example.com"), row
        assert opens(gate, signer.token(models=["slow"])) == 403
        assert opens(gate, signer.token(models=[])) == 403
        assert opens(gate, signer.token(tenant="globex"), "slow") == 403
        long = signer.token(padding="x" * 4000)
        assert len(long) > 5000 and opens(gate, long) == 200


def test_what_opens_nothing(upstream, issuer, signer):
    stranger = Signer("one")
    none = f"{encoded({'alg': 'none'})}.{signer.token().split('.')[1]}."
    head, claims, signature = signer.token().split(".")
    now = int(time.time())
    with Sluice(config_with(upstream, issuer)) as gate:
        eventually(lambda: opens(gate, signer.token()) == 200, what="the keys are there")
        before = len(upstream.calls)
        for token in (
                stranger.token(), none, f"{head}.{claims}.", f"{head}.{claims}", f"{head}.{claims}.{signature[:-4]}",
                f"{encoded({'alg': 'HS256', 'kid': 'one'})}.{claims}.{signature}",
                signer.token(exp=now - 3600), signer.token(exp=None), signer.token(nbf=now + 3600), signer.token(aud="other"),
                signer.token(aud=None), signer.token(iss="https://evil.example"), signer.token(tenant="nobody"),
                signer.token(tenant=None), signer.token(sub=None), signer.token(header={"typ": "logout+jwt"}),
                signer.token(padding="x" * 9000)):
            answer = gate.chat(key=token)
            assert answer.status == 401, (token, answer)
            assert token not in answer.text
        assert len(upstream.calls) == before
        assert signature not in gate.log()


def test_a_session_ends_with_its_token(upstream, issuer, signer):
    upstream.answer = Server()
    with Sluice(config_with(upstream, issuer)) as gate:
        eventually(lambda: gate.get("/v1/models", key=signer.token()).status == 200, what="the keys are there")
        client, answer = open_socket(gate, key=signer.token(exp=int(time.time()) - 54))  # a minute's leeway
        with contextlib.closing(client):
            assert answer.status == 101, answer
            socket = WebSocket(client)
            socket.read()

            def said():
                socket.send_text("usage")
                return socket.read()[1]
            assert b"response.done" in said()
            assert b"invalid_api_key" in eventually(lambda: b"response.done" not in (words := said()) and words, what="it has expired")


def test_new_keys_are_fetched_when_a_token_asks_for_them(upstream, issuer, signer):
    """At first there is another key: the first token of the new one waits for nobody, and is good
    a moment later. It is asked for at most every ten seconds."""
    other = Signer("two")
    with Sluice(config_with(upstream, issuer, refresh="1h")) as gate:
        eventually(lambda: opens(gate, signer.token()) == 200, what="the keys are there")
        issuer.keys = [other.jwk]
        token, asked = other.token(), issuer.asked
        assert opens(gate, token) in (401, 503)
        eventually(lambda: opens(gate, token) == 200, 30, every=0.2, what="the new key is known")
        assert issuer.asked <= asked + 2 * gate.config["server"]["workers"]
        # The old one is none of the issuer's any more, for workers that have fetched anew.
        eventually(lambda: opens(gate, signer.token()) != 200, 30, every=0.2, what="the old key has gone")


def test_an_issuer_that_is_away_changes_nothing(upstream, issuer, signer):
    with Sluice(config_with(upstream, issuer)) as gate:
        eventually(lambda: opens(gate, signer.token()) == 200, what="the keys are there")
        for status, body in ((500, b"sorry"), (200, b"<html>"), (302, b""), (200, b'{"keys":[]}')):
            issuer.status, issuer.body, asked = status, body, issuer.asked
            eventually(lambda: issuer.asked > asked, 30, what="it was asked again")
            assert opens(gate, signer.token()) == 200
        # Nor does a reload: what was fetched stays.
        gate.write(gate.config)
        assert gate.cli("reload").returncode == 0
        assert opens(gate, signer.token()) == 200


def test_without_an_issuer_keys_open_and_tokens_do_not(upstream, issuer, signer):
    issuer.status = 503
    with Sluice(config_with(upstream, issuer)) as gate:
        assert gate.chat().status == 200
        assert opens(gate, signer.token()) in (401, 503)
        issuer.status = 200
        eventually(lambda: opens(gate, signer.token()) == 200, 30, every=0.2, what="the keys have come")
