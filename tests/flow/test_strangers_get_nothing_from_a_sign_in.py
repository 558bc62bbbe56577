# SPDX-License-Identifier: Apache-2.0
"""Anybody may begin to sign in by an OpenID provider: what that costs, and what somebody gets out of it who is not let
in, or has read what sluices share."""

import base64
import contextlib
import hashlib
import hmac
import http.client
import threading
import time

from harness import Authority, Sluice, config_for, eventually, free_port, request_bytes, sha256_hash, temporary_folder
from redis_servers import Redis
from test_a_token_is_a_key import encoded
from test_openid_providers_are_not_believed_blindly import (  # noqa: F401
    OURS, Provider, begin, come_back, configure, failed, gate, get, opened, provider, pytestmark, refused, reload, say, session_of, sign_in, signer)

# ruff: noqa: F811


def test_authorities_are_not_read_for_each_sign_in(upstream, signer):
    """With those of a system that takes longer than the whole rest of it."""
    authority = Authority(temporary_folder("sluice-oidc-") + "/ours")
    provider = Provider(signer, authority.issue("issuer"))
    try:
        with Sluice(configure(upstream, provider, ca_file=str(authority.file))) as gate:
            provider.claims = {"sluice_role": None}  # UserInfo is asked, too
            assert sign_in(gate, provider).status == 303
            authority.file.unlink()
            assert sign_in(gate, provider).status == 303, "its authorities were known already"
    finally:
        provider.close()


def state_of(ticket):
    return encoded(hashlib.sha256(f"sluice oidc state {ticket}".encode()).digest())


def test_who_has_not_begun_does_not_come_back(gate, provider):
    cookie, _ = begin(gate)
    ticket = cookie.partition("=")[2]
    for own in (f"{int(time.time())}-" + "0" * 64, f"{int(time.time())}-" + "0" * 64 + "-" + "0" * 64, ticket[:-64] + ticket[-64:].upper()):
        refused(gate, come_back(gate, f"sluice_sign_in={own}", code="c0de", state=state_of(own)), 400, "not one of yours")
    assert not [step for step, _, _ in provider.asked if step == "token"], "the issuer was not asked for it"
    assert come_back(gate, f"sluice_sign_in={ticket}", code="c0de", state=state_of(ticket)).status == 403, "so it was the ticket"


def test_one_address_does_not_keep_all_others_out(gate, provider):
    go_on = threading.Event()

    def wait(handler):
        go_on.wait(30)
        say(handler, {"error": "invalid_grant"}, 400)

    assert begin(gate)
    provider.answers = {"token": wait}
    waiting = []
    try:
        for _ in range(4):
            cookie, sent = begin(gate)
            waiting.append(gate.connect("ops"))
            waiting[-1].send(request_bytes("GET", f"/ui/oidc/callback?code=c0de&state={sent['state']}", [("Cookie", cookie)]))
        eventually(lambda: [step for step, _, _ in provider.asked].count("token") == 4, what="four are on their way")
        cookie, sent = begin(gate)  # which asks nobody for anything, and so is always free
        refused(gate, come_back(gate, cookie, code="c0de", state=sent["state"]), 503, "Too many")
        cookie, sent = begin(gate)
        elsewhere = http.client.HTTPConnection(*gate.address("ops"), timeout=60, source_address=("127.0.0.2", 0))
        elsewhere.request("GET", f"/ui/oidc/callback?code=c0de&state={sent['state']}", headers={"Cookie": cookie})
        eventually(lambda: [step for step, _, _ in provider.asked].count("token") == 5, what="who asks from elsewhere is let by")
        go_on.set()
        assert elsewhere.getresponse().status == 502
        elsewhere.close()
    finally:
        go_on.set()
        for client in waiting:
            client.close()


def test_a_code_is_shown_once_whatever_comes_meanwhile(upstream, provider):
    """Another configuration, by which what was known of the issuer is forgotten."""
    provider.reset()
    asked, go_on = threading.Event(), threading.Event()

    def wait(handler):
        asked.set()
        go_on.wait(30)
        provider.token(handler)

    config = configure(upstream, provider)
    with Sluice(config) as gate:
        cookie, sent = begin(gate)
        provider.nonce, provider.answers = sent["nonce"], {"token": wait}
        try:
            with gate.connect("ops") as client:
                client.send(request_bytes("GET", f"/ui/oidc/callback?code=c0de&state={sent['state']}", [("Cookie", cookie)]))
                assert asked.wait(30)
                config["admin"]["oidc"]["scopes"] = ["openid", "groups"]
                reload(gate, config)
                eventually(lambda: begin(gate)[1]["scope"] == "openid groups", what="it is in force")
                go_on.set()
                assert client.read_response().status == 303
        finally:
            go_on.set()
        assert [step for step, _, _ in provider.asked].count("token") == 1


def test_what_an_issuer_leads_to_is_not_repeated(gate, provider):
    provider.answers = {"token": lambda handler: say(handler, {"error": "x", "error_description": "words of an inner service"}, 400)}
    answer = sign_in(gate, provider)
    failed(gate, answer, 502, "words of an inner service")
    assert "words" not in answer.text


# ------------------------------------------------------------------- what sluices share


@contextlib.contextmanager
def shared(config):
    """A sluice with a Redis, and what it has put there."""
    with contextlib.ExitStack() as stack:
        redis = Redis()
        stack.callback(redis.end)
        gate = stack.enter_context(Sluice({**config, "store": {"type": "redis", "redis": {"url": redis.url()}}}))
        yield gate, bytes.fromhex(eventually(lambda: redis.command("GET", "sluice:session_secret")).decode())


def part(text):
    return f"{len(text)}:{text}".encode()


def forged(secret, issuer, client_secret):
    settings = hashlib.sha256(b"".join(map(part, (issuer, "us", client_secret, "sluice_role", "openid profile email")))).hexdigest()
    name = base64.b64encode(b"oidc:nobody").decode()
    said = f"o.{int(time.time()) + 3600}.{7:016x}.0.{name}."
    return f"sluice_session={said}.{hmac.new(secret, f'sluice person {said} {settings}'.encode(), hashlib.sha256).hexdigest()}"


def test_who_reads_redis_is_not_somebody_yet(upstream, provider):
    """A public client has no secret: everything else that its sessions are made of may be known."""
    provider.reset()
    config = configure(upstream, provider)
    with shared(config) as (gate, secret):
        good = lambda cookie: get(gate, "/admin/v1/session", ("Cookie", cookie), OURS).status == 200
        eventually(lambda: good(forged(secret, provider.url, config["admin"]["oidc"]["client_secret"])), what="that is how it is made")
    del config["admin"]["oidc"]["client_secret"]
    config["admin"]["keys"] = [{"name": "root", "hash": sha256_hash("sk-admin-5ecre7-root"), "role": "admin"}]
    with shared(config) as (gate, secret):
        def known():
            """A session of a key, made with what is shared, is good: so it is in use."""
            said = f"{int(time.time()) + 3600}-{7:016x}"
            words = f"sluice session {said} {config['admin']['keys'][0]['hash'].partition(':')[2]}"
            return good(f"sluice_session={said}-{hmac.new(secret, words.encode(), hashlib.sha256).hexdigest()}")

        eventually(known, what="the secret of all is in use")
        assert not good(forged(secret, provider.url, ""))
        assert good(session_of(sign_in(gate, provider))[0]), "who has signed in is in"


def test_who_looks_on_does_not_see_what_sessions_are_made_of(upstream):
    root, other, viewer = (f"sk-admin-5ecre7-{name}" for name in ("root", "other", "viewer"))
    config = config_for(upstream)
    config["server"]["listeners"] += [{"name": "ops", "address": f"127.0.0.1:{free_port()}", "serve": ["admin"]}]
    config["admin"] = {"keys": [{"name": "root", "hash": sha256_hash(root), "role": "admin"},
                                {"name": "viewer", "hash": sha256_hash(viewer), "role": "viewer"}]}
    with Sluice(config) as gate:
        config["admin"]["keys"][0]["hash"] = sha256_hash(other)
        gate.write(config)
        for path, words in (("config", "name: viewer"), ("config/diff", "admin.keys.root.hash")):
            answer = gate.request("GET", f"/admin/v1/{path}", None, key=viewer, listener="ops")
            assert answer.status == 200 and words in answer.text, answer
            for key in (root, other, viewer):
                assert sha256_hash(key).partition(":")[2] not in answer.text, path
