# SPDX-License-Identifier: Apache-2.0
"""/ui/: which files, in which form, with which headers, and where not; and what the session's cookie opens."""

import contextlib
import gzip
import json
import re

import pytest
from harness import KEY_ACME, ROOT, Sluice, config_for, eventually, free_port, sha256_hash
from redis_servers import Redis

pytestmark = pytest.mark.threads
ADMIN, VIEWER, LEAD = "sk-admin-5ecre7-10", "sk-viewer-5ecre7-11", "sk-lead-5ecre7-12"
OURS = ("x-sluice-dashboard", "1")
DIST = ROOT / "web/dist"


def keys():
    return [{"name": "ops", "hash": sha256_hash(ADMIN), "role": "admin"},
            {"name": "grafana", "hash": sha256_hash(VIEWER), "role": "viewer"},
            {"name": "acme-lead", "hash": sha256_hash(LEAD), "role": "tenant", "tenant": "acme"}]


def configure(upstream):
    config = config_for(upstream)
    config["server"]["listeners"] += [
        {"name": "ops", "address": f"127.0.0.1:{free_port()}", "serve": ["ui"]},
        {"name": "bare", "address": f"127.0.0.1:{free_port()}", "serve": ["admin"]}]
    config["server"]["cors"] = {"allow_origins": ["https://tool.example"]}
    config["admin"] = {"keys": keys(), "session_ttl": "1h"}
    return config


def get(gate, path, *headers, listener="ops", method="GET", key=None, body=None):
    return gate.request(method, path, body, key=key, headers=list(headers), listener=listener)


def sign_in(gate, key=ADMIN, listener="ops"):
    answer = get(gate, "/admin/v1/session", method="POST", key=key, listener=listener)
    assert answer.status == 200, answer
    return ("Cookie", answer.header("set-cookie").partition(";")[0])


# ----------------------------------------------------------------------- the files


def test_the_page_and_its_files_are_what_was_built(gate):
    page = get(gate, "/ui/")
    assert page.status == 200 and page.body == (DIST / "index.html").read_bytes()
    assert page.header("content-type") == "text/html; charset=utf-8"
    assert page.header("cache-control") == "no-cache"
    names = re.findall(r'"\./(assets/[^"]+)"', page.text)
    assert len(names) == 3
    for name in names:
        whole = (DIST / name).read_bytes()
        plain = get(gate, f"/ui/{name}")
        assert plain.body == whole and plain.header("content-encoding") is None
        assert plain.header("cache-control") == "public, max-age=31536000, immutable"
        assert plain.header("vary") == "accept-encoding"
        zipped = get(gate, f"/ui/{name}", ("Accept-Encoding", "gzip"))
        assert zipped.header("content-encoding") == "gzip" and gzip.decompress(zipped.body) == whole
        brotli = get(gate, f"/ui/{name}", ("Accept-Encoding", "gzip, deflate, br"))
        assert brotli.header("content-encoding") == "br" and brotli.body == (DIST / f"{name}.br").read_bytes()
        head = get(gate, f"/ui/{name}", ("Accept-Encoding", "br"), method="HEAD")
        assert head.status == 200 and head.body == b"" and head.header("content-length") == str(len(brotli.body))


@pytest.mark.parametrize("path, status", [("/ui/", 200), ("/ui", 308), ("/ui/nothing", 404), ("/ui/index.html", 404)])
def test_every_answer_is_careful(gate, path, status):
    answer = get(gate, path)
    assert answer.status == status, answer
    policy = answer.header("content-security-policy")
    assert policy.startswith("default-src 'none'; ") and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert answer.header("x-content-type-options") == "nosniff"
    assert answer.header("referrer-policy") == "no-referrer"
    assert answer.header("location") == ("ui/" if status == 308 else None)


@pytest.mark.parametrize("path", ["/ui/assets/", "/ui//", "/ui/../ui/", "/ui/%2e%2e/", "/ui/assets/%2e%2e/index.html",
                                  "/ui/.git/config", "/ui/assets/index.js", "/uix", "/ui/\\..\\x", "/ui/web/dist/index.html"])
def test_what_is_not_in_the_table_is_not_there(gate, path):
    assert get(gate, path).status in (400, 404)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_is_sent_to_it(gate, method):
    assert get(gate, "/ui/", method=method, body={} if method != "DELETE" else None).status == 405


@pytest.mark.parametrize("listener", ["api", "bare"])
@pytest.mark.parametrize("path", ["/ui", "/ui/", "/ui/assets/x.js"])
def test_it_is_only_where_it_is_served(gate, listener, path):
    assert get(gate, path, listener=listener).status in (400, 404)


# ----------------------------------------------------------------------- the session


def test_a_session_stands_for_its_key(gate):
    for key, name, role, tenant in ((ADMIN, "ops", "admin", None), (VIEWER, "grafana", "viewer", None), (LEAD, "acme-lead", "tenant", "acme")):
        cookie = sign_in(gate, key)
        who = get(gate, "/admin/v1/session", cookie, OURS).json
        assert (who["name"], who["role"], who["tenant"]) == (name, role, tenant) and who["until"] > 0
        assert get(gate, "/admin/v1/overview", cookie, OURS).status == (403 if role == "tenant" else 200)
        assert get(gate, "/admin/v1/keys", cookie, OURS).status == 200
        made = get(gate, "/admin/v1/keys", cookie, OURS, method="POST", body={"tenant": "acme", "name": f"by-{name}"})
        assert made.status == (403 if role == "viewer" else 201), made


def test_its_cookie_is_kept_from_scripts_and_other_sites(gate):
    answer = get(gate, "/admin/v1/session", method="POST", key=ADMIN)
    value, *flags = answer.header("set-cookie").split("; ")
    assert re.fullmatch(r"sluice_session=[0-9]+-[0-9a-f]{16}-[0-9a-f]{64}", value)
    assert flags == ["Path=/", "Max-Age=3600", "HttpOnly", "SameSite=Strict"]
    assert answer.header("cache-control") == "no-store" and ADMIN not in answer.text
    assert ADMIN not in gate.log() and value not in gate.log()


def test_the_cookie_is_for_tls_where_there_is_some(upstream):
    config = configure(upstream)
    config["server"]["listeners"][1]["trusted_proxies"] = ["127.0.0.0/8"]
    with Sluice(config) as gate:
        for proto, flag in (("https", "; Secure"), ("http", "SameSite=Strict")):
            answer = get(gate, "/admin/v1/session", ("X-Forwarded-Proto", proto), ("X-Forwarded-For", "10.1.2.3"), method="POST", key=ADMIN)
            assert answer.header("set-cookie").endswith(flag), answer


@pytest.mark.parametrize("headers", [
    [], [("x-sluice-dashboard", "0")], [OURS, ("Sec-Fetch-Site", "cross-site")], [OURS, ("Sec-Fetch-Site", "same-site")],
    [OURS, ("Sec-Fetch-Site", "none")]])
def test_only_our_own_pages_may_use_it(gate, headers):
    cookie = sign_in(gate)
    for method, path in (("GET", "/overview"), ("POST", "/config/reload"), ("POST", "/drain"), ("DELETE", "/session")):
        assert get(gate, "/admin/v1" + path, cookie, *headers, method=method).status == 401
    assert get(gate, "/admin/v1/overview", cookie, OURS, ("Sec-Fetch-Site", "same-origin")).status == 200


def test_a_page_of_an_allowed_origin_gets_no_credentials(gate):
    asked = gate.request("OPTIONS", "/admin/v1/keys", key=None, listener="ops", headers=[
        ("Origin", "https://tool.example"), ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "x-sluice-dashboard")])
    assert asked.header("access-control-allow-credentials") is None


def test_it_is_for_the_dashboards_listener(gate):
    cookie = sign_in(gate)
    for listener in ("bare", "api"):
        assert get(gate, "/admin/v1/overview", cookie, OURS, listener=listener).status in (401, 404)
    assert get(gate, "/admin/v1/session", method="POST", key=ADMIN, listener="bare").status == 404
    assert get(gate, "/admin/v1/session", key=ADMIN, listener="bare").json["until"] is None
    assert get(gate, "/v1/models", cookie, OURS, listener="api").status == 401, "and for no client's path"


def test_no_other_key_signs_in(gate):
    for key in (KEY_ACME, "sk-wrong-5ecre7", None):
        answer = get(gate, "/admin/v1/session", method="POST", key=key)
        assert answer.status == 401 and answer.header("set-cookie") is None


def test_a_changed_cookie_opens_nothing(gate):
    name, value = sign_in(gate)
    until, number, mac = value.removeprefix("sluice_session=").split("-")
    for bad in (f"{int(until) + 1}-{number}-{mac}", f"{until}-{mac}", f"{until}-{number[::-1]}-{mac}", f"{until}-{number}-{mac[:-1]}",
                f"{until}-{number}-{mac[:-1]}{'0' if mac[-1] != '0' else '1'}", f"{until}-", "", "x"):
        assert get(gate, "/admin/v1/overview", (name, f"sluice_session={bad}"), OURS).status == 401
    beside = (name, f"a=b; sluice_session=0-{mac}; {value}")
    assert get(gate, "/admin/v1/overview", beside, OURS).status == 200, "the good one of two"


def test_a_session_does_not_make_itself_longer(gate):
    answer = get(gate, "/admin/v1/session", sign_in(gate), OURS, method="POST")
    assert answer.status == 403 and answer.header("set-cookie") is None


def test_a_key_that_is_sent_counts_and_not_the_cookie(gate):
    cookie = sign_in(gate)
    assert get(gate, "/admin/v1/overview", cookie, OURS, key="sk-wrong-5ecre7").status == 401
    assert get(gate, "/admin/v1/session", cookie, OURS, key=VIEWER).json["role"] == "viewer"


def test_signing_out_takes_the_cookie_away(gate):
    answer = get(gate, "/admin/v1/session", sign_in(gate), OURS, method="DELETE")
    assert answer.status == 204 and answer.header("set-cookie").startswith("sluice_session=; Path=/; Max-Age=0; ")


def test_it_lasts_over_a_restart_and_ends_with_its_key(upstream):
    config = configure(upstream)
    with Sluice(config) as gate:
        cookie, other = sign_in(gate), sign_in(gate, VIEWER)
        secret = gate.state / "session_secret"
        assert secret.stat().st_mode & 0o777 == 0o600
        gate.stop()
        config["admin"]["keys"] = keys()[1:]
        gate.write(config)
        gate.start()
        assert get(gate, "/admin/v1/session", other, OURS).status == 200
        assert get(gate, "/admin/v1/session", cookie, OURS).status == 401, "its key is gone"
        config["admin"]["session_ttl"] = "5m"
        gate.write(config)
        assert get(gate, "/admin/v1/config/reload", method="POST", key=VIEWER).status == 403
        assert gate.cli("reload").returncode == 0
        assert get(gate, "/admin/v1/session", other, OURS).status == 401, "sessions last shorter now"
        gate.stop()
        secret.unlink()
        config["admin"]["session_ttl"] = "1h"
        gate.write(config)
        gate.start()
        assert get(gate, "/admin/v1/session", other, OURS).status == 401, "another secret"


def test_nothing_is_kept_where_no_dashboard_is_served(upstream):
    config = configure(upstream)
    config["server"]["listeners"][1]["serve"] = ["admin"]
    with Sluice(config) as gate:
        assert not (gate.state / "session_secret").exists()
        assert json.loads((ROOT / "gateway/openapi.json").read_text())["paths"]["/session"]


# ----------------------------------------------------------------------- several of them


def test_a_session_is_good_at_all_that_share_a_redis(upstream):
    with contextlib.ExitStack() as stack:
        redis = Redis()
        stack.callback(redis.end)
        config = {**configure(upstream), "store": {"type": "redis", "redis": {"url": redis.url()}}}
        one = stack.enter_context(Sluice(config))
        other = stack.enter_context(Sluice({**config, "server": configure(upstream)["server"]}))

        def good(cookie, gate):
            return get(gate, "/admin/v1/session", cookie, OURS).status == 200

        def shared():
            """What either gives opens the other, too."""
            return good(sign_in(one), other) and good(sign_in(other), one)

        eventually(shared, what="they have one secret")
        cookie = sign_in(one)
        one.stop()
        assert good(cookie, other)
        one.start()
        eventually(lambda: good(cookie, one), what="it knows the secret again")
        secret = redis.command("GET", "sluice:session_secret")
        assert re.fullmatch(rb"[0-9a-f]{64}", secret if isinstance(secret, bytes) else secret.encode())
        redis.command("DEL", "sluice:session_secret")
        eventually(lambda: not good(cookie, one) and not good(cookie, other), 40, what="all sessions have ended")
        eventually(shared, what="they have one secret again")


def test_signing_out_ends_copies_of_the_cookie(gate):
    cookie, other = sign_in(gate), sign_in(gate, VIEWER)
    assert get(gate, "/admin/v1/session", cookie, OURS, method="DELETE").status == 204
    assert get(gate, "/admin/v1/session", cookie, OURS).status == 401
    assert get(gate, "/admin/v1/session", other, OURS).status == 200


def test_every_answer_of_the_api_is_careful(gate):
    cookie = sign_in(gate)
    for answer in (get(gate, "/admin/v1/overview", cookie, OURS), get(gate, "/admin/v1/overview"), get(gate, "/admin/v1/nothing", key=ADMIN),
                   get(gate, "/admin/v1/overview", key=LEAD), get(gate, "/admin/v1/overview", method="POST", key=ADMIN, body={}),
                   get(gate, "/admin/v1/usage", key=ADMIN)):
        assert answer.header("x-content-type-options") == "nosniff", answer
        assert answer.header("referrer-policy") == "no-referrer"
        assert answer.header("content-security-policy") == "default-src 'none'; frame-ancestors 'none'"
        assert answer.fields.all("cache-control") == ["no-store"]
