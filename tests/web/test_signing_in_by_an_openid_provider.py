# SPDX-License-Identifier: Apache-2.0
"""Signing in to the dashboard by a certified OpenID provider, without a browser: who may what, and who shows a secret how.
What a hostile one answers is in tests/flow."""

import html
import http.cookiejar
import json
import re
import urllib.error
import urllib.parse
import urllib.request

import pytest
import world
from harness import Sluice, eventually, free_port
from looking import provider

SECRET = "a secret + / with % signs"


class Browser:
    """Follows redirects, keeps cookies, fills in the forms of the issuer."""

    def __init__(self):
        self.jar = http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.jar), urllib.request.ProxyHandler({}))

    def open(self, url, form=None):
        data = urllib.parse.urlencode(form).encode() if form is not None else None
        try:
            answer = self.opener.open(url, data, timeout=60)
        except urllib.error.HTTPError as error:
            answer = error
        return answer.status, answer.geturl(), answer.read().decode()

    def sign_in(self, gate_url, who):
        """To the end of it: the status, address and text of the page we are on then."""
        status, url, text = self.open(gate_url + "/ui/oidc/begin")
        for _ in range(3):
            action = re.search(r'<form[^>]* action="([^"]+)"', text)
            if not action or url.startswith(gate_url):
                break
            fields = dict(re.findall(r'<input[^>]*name="([^"]+)"[^>]*value="([^"]*)"', text))
            if 'name="login"' in text:
                fields |= {"login": who, "password": "any"}
            status, url, text = self.open(urllib.parse.urljoin(url, html.unescape(action[1])), fields)
        return status, url, text

    def ask(self, gate_url, path, method="GET"):
        request = urllib.request.Request(gate_url + "/admin/v1" + path, method=method, headers={"x-sluice-dashboard": "1"})
        try:
            answer = self.opener.open(request, timeout=60)
        except urllib.error.HTTPError as error:
            answer = error
        body = answer.read()
        return answer.status, json.loads(body) if body else None


def configure(port, issuer, client="basic", secret=SECRET, **changes):
    return world.configure(port=port, oidc={"issuer": issuer, "client_id": client, "client_secret": secret, "role_claim": "roles",
                                            "scopes": ["openid", "profile", "email", "groups"], **changes})


@pytest.fixture(scope="module", params=["claims in the ID token", "claims by UserInfo"])
def issued(request):
    """Ports that the dashboard may have, and the issuer that knows them."""
    ports = [free_port() for _ in range(2)]
    with provider([f"http://127.0.0.1:{port}/ui/oidc/callback" for port in ports], CONFORM="no" if "ID" in request.param else "yes") as issuer:
        yield ports, issuer


@pytest.fixture(scope="module")
def gate(issued):
    ports, issuer = issued
    with Sluice(configure(ports[0], issuer)) as gate:
        gate.url = f"http://127.0.0.1:{ports[0]}"
        yield gate


@pytest.mark.parametrize("who, role, tenant", [("ada", "admin", None), ("vera", "viewer", None), ("lea", "tenant", "acme")])
def test_the_claim_says_the_role(gate, who, role, tenant):
    browser = Browser()
    status, url, _ = browser.sign_in(gate.url, who)
    assert status == 200 and url.startswith(gate.url + "/ui/"), (status, url)
    status, session = browser.ask(gate.url, "/session")
    assert status == 200 and (session["role"], session["tenant"]) == (role, tenant)
    assert session["name"] == ("oidc:ada@example.com" if who == "ada" else f"oidc:{who}"), "an address only where it is verified"
    assert session["until"] > 0
    assert browser.ask(gate.url, "/overview")[0] == (403 if role == "tenant" else 200)
    assert browser.ask(gate.url, "/config/reload", "POST")[0] == (200 if role == "admin" else 403)
    eventually(lambda: f"signed in as {role}" in gate.log(), what="the log has it")


@pytest.mark.parametrize("who, why", [("nobody", "none of what the claim roles has gives a role: developer"),
                                      ("none", "the issuer does not give the claim roles")])
def test_who_has_no_role_is_told_why(gate, who, why):
    browser = Browser()
    status, _, text = browser.sign_in(gate.url, who)
    assert status == 403 and why in text and who in text, text
    assert browser.ask(gate.url, "/session")[0] == 401
    assert not [cookie for cookie in browser.jar if cookie.name.endswith("sluice_session")]


def test_signing_out_ends_copies_of_the_cookie_too(gate):
    browser = Browser()
    browser.sign_in(gate.url, "ada")
    copies = [cookie for cookie in browser.jar if cookie.name == "sluice_session"]
    assert browser.ask(gate.url, "/session", "DELETE")[0] == 204
    assert browser.ask(gate.url, "/session")[0] == 401
    for cookie in copies:
        browser.jar.set_cookie(cookie)
    assert browser.ask(gate.url, "/session")[0] == 401


@pytest.mark.parametrize("client, secret, status, words", [
    ("elliptic", SECRET, 200, ""), ("public", "", 200, ""), ("basic", "wrong", 502, "invalid_client"),
    ("hmac", "a secret that is long enough for an HMAC, 32 bytes", 403, "not signed in a way that is accepted")])
def test_clients_of_all_kinds(issued, client, secret, status, words):
    ports, issuer = issued
    with Sluice(configure(ports[1], issuer, client, secret)) as gate:
        url = f"http://127.0.0.1:{gate.address('ops')[1]}"
        answer = Browser().sign_in(url, "ada")
        assert answer[0] == status, answer
        eventually(lambda: words in gate.log(), what="the log says why")
