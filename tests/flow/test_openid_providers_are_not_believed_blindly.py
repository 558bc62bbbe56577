# SPDX-License-Identifier: Apache-2.0
"""Signing in to the dashboard by an OpenID provider that answers whatever it likes: what is believed, and what an
operator reads when it is not. With a real provider: tests/web."""

import base64
import contextlib
import hashlib
import hmac
import json
import re
import signal
import ssl
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from harness import Authority, Sluice, config_for, eventually, free_port, temporary_folder
from test_a_token_is_a_key import Signer, encoded

pytestmark = pytest.mark.threads
OURS = ("x-sluice-dashboard", "1")
SECRET = "5ecre7-of-the-client"
STEPS = {"/.well-known/openid-configuration": "offer", "/token": "token", "/keys": "keys", "/me": "me"}


class Provider:
    """An issuer. `claims` are laid over those of its ID token, `header` over its header; `answers` (by step) are functions
    that answer in the place of what it would."""

    def __init__(self, signer, certificate=None):
        provider = self

        class Answers(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
                step = STEPS.get(self.path)
                provider.asked.append((step, dict(self.headers), dict(urllib.parse.parse_qsl(body))))
                with contextlib.suppress(OSError):
                    provider.answers.get(step, getattr(provider, step))(self)

            do_POST = do_GET

            def log_message(self, *_):
                pass

        self.signer = signer
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            context.set_alpn_protocols(["h2", "http/1.1"])
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        self.reset()

    def reset(self):
        self.claims, self.header, self.answers, self.asked, self.nonce, self.more, self.forge = {}, {}, {}, [], "", {}, None

    def offer(self, handler):
        say(handler, {"issuer": self.url, "authorization_endpoint": self.url + "/auth", "token_endpoint": self.url + "/token",
                      "jwks_uri": self.url + "/keys", "userinfo_endpoint": self.url + "/me", **self.more})

    def id_token(self):
        now = int(time.time())
        changes = {"iss": self.url, "aud": "us", "sub": "ada", "iat": now, "exp": now + 300, "nonce": self.nonce, "tenant": None,
                   "sluice_role": "admin", **self.claims}
        if self.forge:
            return self.forge({name: value for name, value in changes.items() if value is not None})
        return self.signer.token(self.header.items(), **changes)

    def token(self, handler):
        say(handler, {"token_type": "Bearer", "access_token": "at", "id_token": self.id_token()})

    def keys(self, handler):
        say(handler, {"keys": [self.signer.jwk]})

    def me(self, handler):
        say(handler, {"sub": "ada", "sluice_role": "viewer"})

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(10)


def say(handler, document, status=200, **headers):
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def configure(upstream, provider, **changes):
    config = config_for(upstream)
    config["server"]["listeners"] += [{"name": "ops", "address": f"127.0.0.1:{free_port()}", "serve": ["ui"]}]
    config["server"]["workers"] = 1  # what one has learnt of the issuer is seen to be kept
    config["admin"] = {"oidc": {"issuer": provider.url, "client_id": "us", "client_secret": SECRET, **changes}}
    return config


@pytest.fixture(scope="module")
def signer():
    return Signer("first")


@pytest.fixture(scope="module")
def provider(signer):
    one = Provider(signer)
    yield one
    one.close()


@pytest.fixture(scope="module")
def opened(upstream, provider):
    with Sluice(configure(upstream, provider)) as gate:
        yield gate


@pytest.fixture()
def gate(opened, provider):
    provider.reset()
    return opened


def get(gate, path, *headers, method="GET"):
    here = [] if any(name == "Host" for name, _ in headers) else [("Host", f"127.0.0.1:{gate.address('ops')[1]}")]
    return gate.request(method, path, None, key=None, headers=[*here, *headers], listener="ops")


def begin(gate, *headers):
    """The cookie of the sign-in, and what the browser is sent to the issuer with."""
    answer = get(gate, "/ui/oidc/begin", *headers)
    assert answer.status == 303, answer
    return answer.header("set-cookie").partition(";")[0], dict(urllib.parse.parse_qsl(answer.header("location").partition("?")[2]))


def come_back(gate, cookie, **query):
    return get(gate, "/ui/oidc/callback?" + urllib.parse.urlencode(query), *([("Cookie", cookie)] if cookie else []))


def sign_in(gate, provider, **query):
    cookie, sent = begin(gate)
    provider.nonce = sent["nonce"]
    return come_back(gate, cookie, **{"code": "c0de", "state": sent["state"], **query})


def session_of(answer):
    return [value.partition(";")[0] for value in answer.fields.all("set-cookie") if value.startswith("sluice_session=")]


def reload(gate, config):
    gate.write(config)
    gate.signal(signal.SIGHUP)


def refused(gate, answer, status, words):
    assert answer.status == status and words in answer.text, answer
    assert not session_of(answer) and SECRET not in answer.text and "c0de" not in answer.text
    assert answer.header("content-type") == "text/html; charset=utf-8" and answer.header("cache-control") == "no-store"
    assert "default-src 'none'" in answer.header("content-security-policy")


def failed(gate, answer, status, *words):
    """Why, only the log says, of a request that the page names."""
    name = answer.header("x-request-id")
    refused(gate, answer, status, f"Request {name}")
    lines = eventually(lambda: [line for line in gate.log().splitlines() if "a sign-in failed" in line and name in line])
    assert all(word in lines[0] for word in words), lines


def test_a_sign_in_is_asked_and_answered_as_it_should(gate, provider):
    cookie, sent = begin(gate)
    name, _, ticket = cookie.partition("=")
    assert name == "sluice_sign_in" and re.fullmatch(r"[0-9]+(-[0-9a-f]{64}){2}", ticket)
    here = f"http://127.0.0.1:{gate.address('ops')[1]}/ui/oidc/callback"
    assert sent == {"response_type": "code", "client_id": "us", "redirect_uri": here, "scope": "openid profile email", "state": sent["state"],
                    "nonce": sent["nonce"], "code_challenge": sent["code_challenge"], "code_challenge_method": "S256"}
    assert len({sent["state"], sent["nonce"], sent["code_challenge"]}) == 3 and ticket not in sent.values()
    provider.nonce = sent["nonce"]
    answer = come_back(gate, cookie, code="c0de", state=sent["state"])
    assert answer.status == 303 and answer.header("location") == "../#signed-in", answer
    cookies = answer.fields.all("set-cookie")
    assert cookies[0].startswith("sluice_sign_in=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax")
    assert re.fullmatch(r"sluice_session=o\.[^;]+; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict", cookies[1])
    who = get(gate, "/admin/v1/session", ("Cookie", session_of(answer)[0]), OURS).json
    assert (who["name"], who["role"]) == ("oidc:ada", "admin")
    step, headers, form = next(asked for asked in provider.asked if asked[0] == "token")
    assert headers["Authorization"] == "Basic " + base64.b64encode(f"us:{SECRET}".encode()).decode()
    assert form == {"grant_type": "authorization_code", "code": "c0de", "redirect_uri": here, "code_verifier": form["code_verifier"]}
    assert encoded(hashlib.sha256(form["code_verifier"].encode()).digest()) == sent["code_challenge"]
    assert "c0de" not in gate.log() and SECRET not in gate.log() and ticket not in gate.log()


def test_what_is_known_of_the_issuer_is_kept(gate, provider):
    for _ in range(3):
        assert sign_in(gate, provider).status == 303
    steps = [step for step, _, _ in provider.asked]
    assert steps.count("token") == 3 and steps.count("offer") <= 1 and steps.count("keys") <= 1


def test_everybody_may_know_that_it_is_there(gate, provider):
    answer = get(gate, "/ui/sign-in.json")
    assert answer.json == {"oidc": {"issuer": provider.url, "name": "127.0.0.1", "begin": "oidc/begin"}}
    assert answer.header("cache-control") == "no-store"
    for listener, path in (("api", "/ui/sign-in.json"), ("api", "/ui/oidc/begin")):
        assert gate.request("GET", path, None, key=None, listener=listener).status in (400, 404)


def test_without_it_nobody_can(upstream):
    config = config_for(upstream)
    config["server"]["listeners"] += [{"name": "ops", "address": f"127.0.0.1:{free_port()}", "serve": ["ui"]}]
    config["admin"] = {"key": "sk-admin-5ecre7-oidc"}
    with Sluice(config) as gate:
        assert get(gate, "/ui/sign-in.json").json == {"oidc": None}
        for path in ("/ui/oidc/begin", "/ui/oidc/callback?code=a&state=b"):
            assert get(gate, path).status == 404


def unsigned(claims):
    return f"{encoded({'alg': 'none'})}.{encoded(claims)}."


def by_public_key(signer):
    """Signed by HMAC with what everybody can fetch: the oldest trick there is."""
    def forge(claims):
        text = f"{encoded({'alg': 'HS256', 'kid': 'first'})}.{encoded(claims)}"
        return text + "." + encoded(hmac.new(json.dumps(signer.jwk).encode(), text.encode(), hashlib.sha256).digest())
    return forge



@pytest.mark.parametrize("claims, words", [
    ({"nonce": "another"}, "nonce"), ({"nonce": None}, "nonce"), ({"aud": "they"}, "aud"), ({"aud": ["us", "they"]}, "azp"),
    ({"azp": "they"}, "azp"), ({"iss": "https://id.example"}, "iss"), ({"exp": 1700000000}, "expired"), ({"iat": 1700000000}, "too old"),
    ({"iat": 4000000000, "exp": 4000000300}, "future"), ({"sub": None}, "sub"), ({"exp": None}, "exp")])
def test_a_token_for_somebody_else_is_not_believed(gate, provider, claims, words):
    provider.claims = claims
    failed(gate, sign_in(gate, provider), 403, words)


def test_how_a_token_is_signed_is_not_its_own_to_say(gate, provider, signer):
    for forge, words in ((unsigned, "no signed token"), (by_public_key(signer), "not signed in a way that is accepted")):
        provider.forge = forge
        failed(gate, sign_in(gate, provider), 403, words)
    provider.forge = None
    provider.header = {"alg": "RS512"}  # its key says that it is for RS256
    failed(gate, sign_in(gate, provider), 403, "no key that it is signed with")


def test_another_ones_key_does_not_sign_for_it(gate, provider):
    other = Signer("first")
    provider.forge = lambda claims: other.token(**claims)
    failed(gate, sign_in(gate, provider), 403, "signature")


def test_keys_that_have_changed_are_fetched_once(gate, provider, signer):
    assert sign_in(gate, provider).status == 303
    provider.asked.clear()
    provider.signer = Signer("second")
    try:
        assert sign_in(gate, provider).status == 303
        assert [step for step, _, _ in provider.asked] == ["token", "keys"]
    finally:
        provider.signer = signer
    provider.header = {"kid": "nobody's"}
    provider.asked.clear()
    failed(gate, sign_in(gate, provider), 403, "no key that it is signed with")
    assert [step for step, _, _ in provider.asked] == ["token", "keys"]


def test_an_answer_counts_once_and_in_its_own_browser(gate, provider):
    cookie, sent = begin(gate)
    other, _ = begin(gate)
    provider.nonce = sent["nonce"]
    for wrong, state in ((None, sent["state"]), (other, sent["state"]), (cookie, "x"), (cookie, ""), (cookie + "0", sent["state"])):
        refused(gate, come_back(gate, wrong, code="c0de", state=state), 400, "not one of yours")
    refused(gate, get(gate, f"/ui/oidc/callback?code=a&state={sent['state']}&state={sent['state']}", ("Cookie", cookie)), 400, "not one of yours")
    assert [step for step, _, _ in provider.asked if step == "token"] == [], "nobody was asked for it"
    assert come_back(gate, cookie, code="c0de", state=sent["state"]).status == 303
    refused(gate, come_back(gate, cookie, code="c0de", state=sent["state"]), 400, "not one of yours")


def test_a_look_at_it_does_not_use_it_up(gate, provider):
    cookie, sent = begin(gate)
    provider.nonce = sent["nonce"]
    path = f"/ui/oidc/callback?code=c0de&state={sent['state']}"
    for looked_at in (path, "/ui/oidc/begin"):
        answer = get(gate, looked_at, ("Cookie", cookie), method="HEAD")
        assert answer.status == 200 and answer.header("set-cookie") is None, answer
    assert get(gate, path, ("Cookie", cookie)).status == 303


def test_an_old_sign_in_is_over(gate, provider):
    def ticket(made_s):
        said = f"{made_s}-" + "0" * 64
        secret = bytes.fromhex((gate.state / "session_secret").read_text().rpartition(":")[2])
        return f"{said}-{hmac.new(secret, f'sluice ticket {said}'.encode(), hashlib.sha256).hexdigest()}"

    old = ticket(int(time.time()) - 601)
    state = encoded(hashlib.sha256(f"sluice oidc state {old}".encode()).digest())
    refused(gate, come_back(gate, f"sluice_sign_in={old}", code="c0de", state=state), 400, "not one of yours")
    young = ticket(int(time.time()))
    state = encoded(hashlib.sha256(f"sluice oidc state {young}".encode()).digest())
    provider.nonce = encoded(hashlib.sha256(f"sluice oidc nonce {young}".encode()).digest())
    assert come_back(gate, f"sluice_sign_in={young}", code="c0de", state=state).status == 303, "so it was its age"


def test_what_the_issuer_says_against_it_is_shown_as_text(gate, provider):
    answer = sign_in(gate, provider, error="access_denied", error_description="<script>alert(1)</script>")
    refused(gate, answer, 403, "access_denied: &lt;script&gt;")
    assert "<script" not in answer.text
    refused(gate, sign_in(gate, provider, code=""), 400, "no code")


def test_another_issuers_answer_is_not_taken(upstream, signer):
    """Mix-up (RFC 9207): who says in his answers who he is must say it, and rightly."""
    provider = Provider(signer)
    provider.more = {"authorization_response_iss_parameter_supported": True}
    try:
        with Sluice(configure(upstream, provider)) as gate:
            refused(gate, sign_in(gate, provider, iss="https://evil.example"), 403, "was not asked")
            failed(gate, sign_in(gate, provider), 502, "does not name it")
            assert sign_in(gate, provider, iss=provider.url).status == 303
    finally:
        provider.close()


def endless(handler):
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    piece = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
    while True:
        handler.wfile.write(piece)


def cut(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b"{")
    handler.wfile.flush()
    handler.close_connection = True
    handler.connection.close()


BAD = {
    "two megabytes": (lambda handler: say(handler, b" " * (2 << 20)), "too long"),
    "no end": (endless, "too long"),
    "a redirect to itself": (lambda handler: say(handler, {}, 302, Location=handler.path), "302"),
    "an error": (lambda handler: say(handler, {"error": "server_error"}, 500), "500"),
    "half of it": (cut, ""),
    "no JSON": (lambda handler: say(handler, b"<html>"), ""),
    "another shape": (lambda handler: say(handler, []), ""),
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("step, where", [("token", "token endpoint"), ("me", "UserInfo endpoint")])
def test_bad_answers_end_the_sign_in(gate, provider, step, where, what):
    bad, words = BAD[what]
    if step == "me":
        provider.claims = {"sluice_role": None}
    provider.answers = {step: bad}
    answer = sign_in(gate, provider)
    failed(gate, answer, 502, where, words)


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("step, where", [("offer", "openid-configuration"), ("keys", "jwks_uri")])
def test_bad_answers_of_what_is_kept_do_too(upstream, signer, step, where, what):
    provider = Provider(signer)
    bad, words = BAD[what]
    provider.answers = {step: bad}
    try:
        with Sluice(configure(upstream, provider)) as gate:
            answer = get(gate, "/ui/oidc/begin") if step == "offer" else sign_in(gate, provider)
            failed(gate, answer, 502, where, words)
            provider.answers = {}
            assert sign_in(gate, provider).status == 303, "and it is asked anew"
    finally:
        provider.close()


@pytest.mark.parametrize("more, words", [({"issuer": "https://id.example"}, "byte for byte"), ({"token_endpoint": "http://id.example/t"}, "token_endpoint"),
                                         ({"jwks_uri": None}, "jwks_uri"), ({"authorization_endpoint": "javascript:alert(1)"}, "authorization_endpoint")])
def test_an_offer_that_cannot_be_used_is_not(upstream, signer, more, words):
    provider = Provider(signer)
    provider.more = more
    try:
        with Sluice(configure(upstream, provider)) as gate:
            failed(gate, get(gate, "/ui/oidc/begin"), 502, words)
    finally:
        provider.close()


def test_nobody_at_home_is_said_so(upstream, signer):
    provider = Provider(signer)
    provider.close()
    with Sluice(configure(upstream, provider)) as gate:
        failed(gate, get(gate, "/ui/oidc/begin"), 502, "openid-configuration")


def test_an_issuers_certificate_is_verified(upstream, signer):
    authority = Authority(temporary_folder("sluice-oidc-") + "/ours")
    provider = Provider(signer, authority.issue("issuer"))
    try:
        with Sluice(configure(upstream, provider, ca_file=str(authority.file))) as gate:
            assert sign_in(gate, provider).status == 303
        with Sluice(configure(upstream, provider)) as gate:
            failed(gate, get(gate, "/ui/oidc/begin"), 502, "openid-configuration")
    finally:
        provider.close()


def test_userinfo_is_asked_where_the_token_says_too_little(gate, provider):
    provider.claims = {"sluice_role": None}
    answer = sign_in(gate, provider)
    assert get(gate, "/admin/v1/session", ("Cookie", session_of(answer)[0]), OURS).json["role"] == "viewer"
    assert next(headers for step, headers, _ in provider.asked if step == "me")["Authorization"] == "Bearer at"
    provider.answers = {"me": lambda handler: say(handler, {"sub": "eve", "sluice_role": "admin"})}
    failed(gate, sign_in(gate, provider), 502, "somebody else")


def test_who_has_no_role_is_told_why(gate, provider):
    for role, words in (("developer", "none of what the claim sluice_role has gives a role: developer"), ([], "none of what"),
                        (["tenant:a", "tenant:b"], "more than one tenant"), (["<b>", "x" * 400], "&lt;b&gt;")):
        provider.claims = {"sluice_role": role}
        refused(gate, sign_in(gate, provider), 403, words)


def test_a_list_of_roles_says_who_is_what(upstream, provider):
    provider.reset()
    roles = [{"value": "ada@example.com", "role": "admin"}, {"value": "lea@example.com", "role": "tenant", "tenant": "acme"}]
    with Sluice(configure(upstream, provider, role_claim="email", roles=roles)) as gate:
        for claims, role in (({"email": "ada@example.com", "email_verified": True}, "admin"), ({"email": "lea@example.com", "email_verified": True}, "tenant")):
            provider.claims = claims
            answer = sign_in(gate, provider)
            who = get(gate, "/admin/v1/session", ("Cookie", session_of(answer)[0]), OURS).json
            assert (who["role"], who["name"]) == (role, "oidc:" + claims["email"])
        provider.answers = {"me": lambda handler: say(handler, {"sub": "ada", "email": "ada@example.com"})}
        provider.claims = {"email": "ada@example.com"}
        refused(gate, sign_in(gate, provider), 403, "not verified")


def test_other_settings_end_its_sessions(upstream, provider):
    provider.reset()
    config = configure(upstream, provider)
    with Sluice(config) as gate:
        cookie = ("Cookie", session_of(sign_in(gate, provider))[0])
        assert get(gate, "/admin/v1/session", cookie, OURS).status == 200
        config["admin"]["oidc"]["roles"] = [{"value": "ops", "role": "admin"}]
        reload(gate, config)
        eventually(lambda: get(gate, "/admin/v1/session", cookie, OURS).status == 401, what="they have ended")
        refused(gate, sign_in(gate, provider), 403, "none of what")
        del config["admin"]["oidc"]["roles"]
        reload(gate, config)
        eventually(lambda: get(gate, "/admin/v1/session", cookie, OURS).status == 200, what="they are good again")


def test_behind_a_proxy_with_tls_everything_is_of_tls(upstream, provider):
    provider.reset()
    config = configure(upstream, provider)
    config["server"]["listeners"][-1]["trusted_proxies"] = ["127.0.0.0/8"]
    config["server"]["base_path"] = "/gateway"
    tls = ("X-Forwarded-Proto", "https"), ("X-Forwarded-For", "10.1.2.3"), ("Host", "ai.example")
    with Sluice(config) as gate:
        cookie, sent = begin(gate, *tls)
        assert cookie.startswith("__Host-sluice_sign_in=")
        assert sent["redirect_uri"] == "https://ai.example/gateway/ui/oidc/callback"
        provider.nonce = sent["nonce"]
        answer = get(gate, f"/ui/oidc/callback?code=c&state={sent['state']}", ("Cookie", cookie), *tls)
        assert answer.status == 303, answer
        cookies = answer.fields.all("set-cookie")
        assert cookies[1].startswith("__Host-sluice_session=o.") and all(one.endswith("; Secure") for one in cookies)
        session = cookies[1].partition(";")[0]
        assert get(gate, "/admin/v1/session", ("Cookie", session), OURS, *tls).status == 200
        assert get(gate, "/admin/v1/session", ("Cookie", session), OURS).status == 401, "only over TLS"
        plain = session.replace("__Host-", "")
        assert get(gate, "/admin/v1/session", ("Cookie", plain), OURS, *tls).status == 401, "and nobody else can have set it"
