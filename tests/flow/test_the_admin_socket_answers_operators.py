# SPDX-License-Identifier: Apache-2.0
"""STATE/admin.sock: for this user only, JSON, problems as RFC 9457 has them."""

import os
import stat

import pytest
from harness import KEY_ACME, SECRETS, Client, config_for, free_port

pytestmark = pytest.mark.threads
ADMIN_KEY = "sk-admin-5ecre7-0123456789abcdef"
ENVIRONMENT = {"SLUICE_ADMIN_KEY": ADMIN_KEY}


def configure(upstream):
    config = config_for(upstream)
    config["server"]["listeners"].append(
        {"name": "ops", "address": f"127.0.0.1:{free_port()}", "serve": ["admin", "metrics", "health"]})
    return config


def ask(gate, path, method="GET", headers=()):
    with Client(str(gate.state / "admin.sock")) as client:
        return client.request(method, path, headers, b"" if method == "POST" else None)


@pytest.mark.parametrize("page", ["overview", "models", "targets", "usage?by=tenant", "config/diff"])
def test_a_page(gate, page):
    gate.chat()
    answer = ask(gate, f"/admin/v1/{page}")
    assert answer.status == 200 and answer.header("content-type").startswith("application/json"), answer
    assert answer.json is not None
    for secret in [*SECRETS, ADMIN_KEY]:
        assert secret not in answer.text


def test_the_configuration_is_shown_without_secrets(gate):
    answer = ask(gate, "/admin/v1/config")
    assert answer.status == 200 and "providers" in answer.text
    for secret in [*SECRETS, ADMIN_KEY]:
        assert secret not in answer.text


def test_the_overview_counts(gate):
    before = ask(gate, "/admin/v1/overview").json
    assert before["state"] == "serving" and before["pid"] == gate.process.pid, before


@pytest.mark.parametrize("method, path, status", [
    ("GET", "/admin/v1/nothing", 404), ("POST", "/admin/v1/overview", 405), ("GET", "/admin/v1/drain", 405),
    ("GET", "/admin/v1/usage?by=nonsense", 400), ("GET", "/admin/v1/usage?since=x", 400)])
def test_a_problem(gate, method, path, status):
    answer = ask(gate, path, method)
    assert answer.status == status, answer
    assert answer.header("content-type").startswith("application/problem+json")
    assert answer.json["status"] == status and answer.json["title"], answer


def test_only_this_user_may(gate):
    mode = os.stat(gate.state / "admin.sock").st_mode
    assert stat.S_ISSOCK(mode) and not mode & 0o077, oct(mode)


def test_a_reload(gate):
    answer = ask(gate, "/admin/v1/config/reload", "POST")
    assert answer.status == 200 and answer.json["changes"] == 0, answer
    good = gate.config
    gate.write("version: 1\nnonsense: true\n")
    answer = ask(gate, "/admin/v1/config/reload", "POST")
    gate.write(good)
    assert answer.status == 422 and answer.json["errors"][0]["line"] == 2, answer
    assert ask(gate, "/admin/v1/config/reload", "POST").status == 200


@pytest.mark.parametrize("key, status", [
    (None, 401), (KEY_ACME, 401), (ADMIN_KEY[:-1], 401), (ADMIN_KEY + "x", 401), (ADMIN_KEY, 200)])
def test_a_listener_of_the_admin_wants_its_key(gate, key, status):
    answer = gate.get("/admin/v1/overview", key=key, listener="ops")
    assert answer.status == status, answer


def test_the_admins_key_opens_nothing_for_clients(gate):
    assert gate.chat(key=ADMIN_KEY).status == 401
    assert gate.get("/v1/models", key=ADMIN_KEY).status == 401
    assert gate.post("/v1/chat/completions", {"model": "fast", "messages": []}, key=ADMIN_KEY, listener="ops").status in (401, 404)
    assert gate.get("/admin/v1/overview", key=ADMIN_KEY).status in (401, 404), "not where clients ask"


def test_the_socket_serves_no_clients(gate):
    with Client(str(gate.state / "admin.sock")) as client:
        answer = client.request("POST", "/v1/chat/completions", {"Authorization": f"Bearer {KEY_ACME}"},
                                {"model": "fast", "messages": []})
        assert answer.status in (400, 401, 404), answer
