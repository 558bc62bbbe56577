# SPDX-License-Identifier: Apache-2.0
"""admin, viewer, tenant: who sees what, and who changes what."""

import pytest
from harness import KEY_ACME, KEY_GLOBEX, Sluice, config_for, eventually, free_port, sha256_hash

pytestmark = pytest.mark.threads
ADMIN, VIEWER, LEAD, READER = ("sk-admin-5ecre7-00", "sk-viewer-5ecre7-01", "sk-lead-5ecre7-02", "sk-other-5ecre7-03")
KEY_SEARCH = "sk-search-5ecre7-0123456789abcdef"
PAGES = ["/overview", "/models", "/targets", "/events", "/openapi.json", "/config", "/config/diff", "/usage", "/series",
         "/requests", "/limits", "/tenants", "/keys"]
NOT_FOR_TENANTS = {"/overview", "/targets", "/events", "/config", "/config/diff"}


def configure(upstream):
    config = config_for(upstream)
    config["server"]["listeners"].append(
        {"name": "ops", "address": f"127.0.0.1:{free_port()}", "serve": ["admin"]})
    config["tenants"][0]["limits"] = {"requests_per_minute": 1000}
    config["tenants"][1]["limits"] = {"requests_per_minute": 1000}
    config["tenants"].append({
        "name": "search", "parent": "acme", "limits": {"requests_per_minute": 500},
        "keys": [{"name": "ci", "hash": sha256_hash(KEY_SEARCH), "limits": {"concurrent": 50}}]})
    config["admin"] = {"key": ADMIN, "keys": [
        {"name": "grafana", "hash": sha256_hash(VIEWER), "role": "viewer"},
        {"name": "acme-lead", "hash": sha256_hash(LEAD), "role": "tenant", "tenant": "acme"},
        {"name": "search-lead", "hash": sha256_hash(READER), "role": "tenant", "tenant": "search"}]}
    return config


def ask(gate, path, key=ADMIN, method="GET", body=None):
    return gate.request(method, "/admin/v1" + path, body, key=key, listener="ops")


@pytest.fixture(scope="module")
def used(gate):
    for key in (KEY_ACME, KEY_GLOBEX, KEY_GLOBEX, KEY_SEARCH, KEY_SEARCH, KEY_SEARCH):
        assert gate.chat(key=key).status == 200
    eventually(lambda: len(ask(gate, "/requests").json["data"]) == 6, what="six booked calls")
    return gate


@pytest.mark.parametrize("path", PAGES)
def test_who_may_look(used, path):
    assert ask(used, path, ADMIN).status == 200
    assert ask(used, path, VIEWER).status == 200
    answer = ask(used, path, LEAD)
    assert answer.status == (403 if path in NOT_FOR_TENANTS else 200), answer
    assert ask(used, path, KEY_ACME).status == 401, "a client's key opens nothing here"
    assert ask(used, path, None).status == 401


def test_what_would_have_been_is_nothing_for_tenants(used):
    body = {"policy": {"name": "cheap", "strategy": "cost"}}
    statuses = [ask(used, "/replay", key, "POST", body).status for key in (ADMIN, VIEWER, LEAD, KEY_ACME, None)]
    assert statuses == [200, 200, 403, 401, 401]


def test_hashes_of_keys_are_for_admins(used):
    """Who has one can try, at home, what might be the secret."""
    hashes = [sha256_hash(key) for key in (KEY_ACME, KEY_GLOBEX, KEY_SEARCH)]
    shown = ask(used, "/config", ADMIN).text
    assert all(hash in shown for hash in hashes) and "tenants:" in shown
    shown = ask(used, "/config", VIEWER).text
    assert "sha256:" not in shown and "name: ci" in shown and '"********"' in shown


def test_no_hash_is_in_what_a_reload_changes(upstream):
    config = configure(upstream)
    config["tenants"][0]["keys"][0]["hash"] = "${ACME_HASH:-" + sha256_hash(KEY_ACME) + "}"
    with Sluice(config) as gate:
        assert "sha256:" not in ask(gate, "/config", VIEWER).text
        config["tenants"][0]["keys"][0]["hash"] = sha256_hash("sk-another-5ecre7")
        gate.write(config)
        shown = ask(gate, "/config/diff", ADMIN).json["changed"]
        assert any("hash" in line for line in shown) and "sha256:" not in str(shown), shown
        assert ask(gate, "/config/reload", ADMIN, "POST", b"").status == 200
        assert "sha256:" not in str(ask(gate, "/events", VIEWER).json) and "sha256:" not in gate.log()


CHANGES = [("POST", "/config/reload", b""), ("POST", "/drain", b""), ("POST", "/keys", {"tenant": "acme", "name": "x"}),
           ("PATCH", "/keys/key_x", {}), ("DELETE", "/keys/key_x", None), ("POST", "/keys/key_x/rotate", {}),
           ("POST", "/tenants", {"name": "x"}), ("PATCH", "/tenants/acme", {}), ("DELETE", "/tenants/acme", None)]


@pytest.mark.parametrize("method, path, body", CHANGES)
def test_a_viewer_changes_nothing(used, method, path, body):
    answer = ask(used, path, VIEWER, method, body)
    assert answer.status == 403 and "viewer" in answer.json["detail"], answer
    assert answer.header("content-type") == "application/problem+json"


@pytest.mark.parametrize("path", ["/config/reload", "/drain"])
def test_a_tenants_admin_does_not_run_the_gateway(used, path):
    assert ask(used, path, LEAD, "POST", b"").status == 403


@pytest.mark.parametrize("key, counts", [
    (ADMIN, {"acme": 1, "globex": 2, "search": 3}), (VIEWER, {"acme": 1, "globex": 2, "search": 3}),
    (LEAD, {"acme": 1, "search": 3}), (READER, {"search": 3})])
def test_everybody_sees_the_calls_of_its_own(used, key, counts):
    rows = ask(used, "/usage?by=tenant", key).json
    assert {row["tenant"]: row["requests"] for row in rows} == counts
    calls = [row["tenant"] for row in ask(used, "/requests", key).json["data"]]
    assert {tenant: calls.count(tenant) for tenant in calls} == counts
    lines = ask(used, "/series?by=tenant", key).json["series"]
    assert {line["name"]: line["total"] for line in lines} == counts
    assert ask(used, "/usage?by=status", key).json[0]["requests"] == sum(counts.values())


@pytest.mark.parametrize("tenant, counts", [
    ("acme", {"acme": 1, "search": 3}), ("search", {"search": 3}), ("globex", {}), ("nobody", {})])
def test_no_parameter_widens_what_is_seen(used, tenant, counts):
    for path in ("/usage?by=tenant&", "/usage?by=model,tenant&"):
        rows = ask(used, f"{path}tenant={tenant}", LEAD).json
        assert {row["tenant"]: row["requests"] for row in rows} == counts
    assert len(ask(used, f"/requests?tenant={tenant}", LEAD).json["data"]) == sum(counts.values())
    seen = {row["tenant"] for row in ask(used, f"/requests?tenant={tenant}", READER).json["data"]}
    assert seen == ({"search"} if tenant in ("acme", "search") else set())


def test_a_foreign_call_does_not_exist(used):
    rows = {row["tenant"]: row["id"] for row in ask(used, "/requests").json["data"]}
    assert ask(used, "/requests/" + rows["acme"], LEAD).status == 200
    assert ask(used, "/requests/" + rows["search"], LEAD).status == 200
    assert ask(used, "/requests/" + rows["globex"], LEAD).status == 404
    assert ask(used, "/requests/" + rows["acme"], READER).status == 404


def test_counters_of_ones_own(used):
    def tenants(key, query=""):
        return {row["tenant"] for row in ask(used, "/limits" + query, key).json["data"]}

    assert tenants(ADMIN) == {"acme", "globex", "search"}
    assert tenants(ADMIN, "?tenant=acme") == tenants(LEAD) == {"acme", "search"}
    assert tenants(READER) == tenants(LEAD, "?tenant=search") == {"search"}
    assert tenants(LEAD, "?tenant=globex") == set()
    rows = {(row["level"], row["tenant"], row["key"], row["limit"]): row for row in ask(used, "/limits").json["data"]}
    row = rows["tenant", "acme", "", "requests_per_minute"]
    assert (row["used"], row["held"], row["left"], row["amount"]) == (4, 0, 996, 1000), row
    row = rows["key", "search", "ci", "concurrent"]
    assert (row["used"], row["held"], row["left"], row["unit"]) == (0, 0, 50, "calls"), row


def test_counters_come_in_pages(used):
    rows, after = [], ""
    while True:
        page = ask(used, f"/limits?limit=1{after}").json
        rows += page["data"]
        if page["next"] is None:
            break
        after = "&after=" + page["next"]
    assert rows == sorted(rows, key=lambda row: row["id"]) and len(rows) == len({row["id"] for row in rows}) >= 4


def test_a_tenant_sees_the_models_it_may_call(used):
    assert {model["name"] for model in ask(used, "/models", ADMIN).json["models"]} == {"fast", "slow"}
    seen = ask(used, "/models", LEAD).json["models"]
    assert {model["name"] for model in seen} == {"fast", "slow"} and all(model["targets"] == [] for model in seen)
    assert "upstream-model" not in ask(used, "/models", LEAD).text


def test_who_changed_what_is_noted(used):
    before = ask(used, "/events?limit=500").json["data"]
    assert ask(used, "/config/reload", ADMIN, "POST", b"").status == 200
    last = before[-1]["id"]
    news = ask(used, f"/events?after={last}").json["data"]
    assert [event["kind"] for event in news] == ["reload", "admin"], news
    assert news[1]["by"] == "admin" and "/config/reload" in news[1]["text"]
    assert before[0]["kind"] == "start"


def test_keys_change_with_a_reload(used):
    fresh = "sk-fresh-5ecre7-04"
    good = used.config
    changed = {**good, "admin": {"key": ADMIN, "keys": [{"name": "fresh", "hash": sha256_hash(fresh), "role": "viewer"}]}}
    try:
        used.write(changed)
        assert ask(used, "/config/reload", ADMIN, "POST", b"").status == 200
        eventually(lambda: ask(used, "/overview", fresh).status == 200, what="the new key")
        eventually(lambda: ask(used, "/overview", VIEWER).status == 401, what="the old key gone")
    finally:
        used.write(good)
        assert ask(used, "/config/reload", ADMIN, "POST", b"").status == 200


def test_read_only_stops_changes_of_keys_and_tenants(used):
    good = used.config
    try:
        used.write({**good, "admin": {**good["admin"], "read_only": True}})
        assert ask(used, "/config/reload", ADMIN, "POST", b"").status == 200
        for method, path, body in CHANGES[2:]:
            answer = ask(used, path, ADMIN, method, body)
            assert answer.status == 403 and "read_only" in answer.json["detail"], answer
        assert ask(used, "/keys").status == 200
    finally:
        used.write(good)
        assert ask(used, "/config/reload", ADMIN, "POST", b"").status == 200, "a reload still works"
