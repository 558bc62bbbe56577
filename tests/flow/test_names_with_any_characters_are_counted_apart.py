# SPDX-License-Identifier: Apache-2.0
"""Names of tenants and keys may have slashes, colons and percent signs in them: none of them meets another's limit."""

import pytest
from harness import Client, Sluice, config_for, request_bytes, sha256_hash

pytestmark = pytest.mark.threads


def secret(tenant, key):
    return f"sk-{tenant}-{key}-5ecre7-0123456789".replace("/", "_s_").replace(":", "_c_").replace("%", "_p_")


def key(tenant, name, limits):
    return {"name": name, "hash": sha256_hash(secret(tenant, name)), "limits": limits}


FEW = {"requests_per_hour": 3}
TENANTS = [
    {"name": "a", "models": ["*"], "keys": [key("a", "b/c", FEW), key("a", "b%2fc", FEW)]},
    {"name": "a/b", "parent": "a", "keys": [key("a/b", "c", FEW), key("a/b", "d", {})], "limits": {"models": {"fast": {"requests_per_hour": 9}}}},
    {"name": "a/b:requests_per_hour", "parent": "a", "keys": [key("a/b:requests_per_hour", "d", {})], "limits": FEW},
    {"name": "a%2fb", "parent": "a", "keys": [key("a%2fb", "c", FEW)], "users": {"limits": {"requests_per_hour": 2}}},
]
KEYS = [(tenant["name"], each["name"]) for tenant in TENANTS for each in tenant["keys"]]


def limits_of(gate, tenant):
    with Client(str(gate.state / "admin.sock")) as client:
        client.send(request_bytes("GET", f"/admin/v1/limits?tenant={tenant.replace('%', '%25').replace('/', '%2F').replace(':', '%3A')}"))
        answer = client.read_response("GET")
    assert answer.status == 200, answer
    return answer.json["data"]


def test_each_has_its_own(upstream):
    with Sluice(config_for(upstream, tenants=TENANTS)) as gate:
        counted = {}
        for tenant, name in KEYS:
            user = {"user": "c"} if tenant == "a%2fb" else {}
            statuses = [gate.chat(key=secret(tenant, name), **user).status for _ in range(4)]
            counted[tenant, name] = statuses.count(200)
            refused = gate.chat(key=secret(tenant, name), **user)
            if refused.status == 429:
                message = refused.json["error"]["message"]
                assert any(f"'{words}'" in message for words in (f"{tenant}/{name}", tenant, f"{tenant}/c")), message
        assert counted == {("a", "b/c"): 3, ("a", "b%2fc"): 3, ("a/b", "c"): 3, ("a/b", "d"): 4,
                           ("a/b:requests_per_hour", "d"): 3, ("a%2fb", "c"): 2}, counted
        shown = {(item["tenant"], item["key"], item["user"], item["model"]): item["used"] for item in limits_of(gate, "a")}
        assert shown == {("a", "b/c", "", ""): 3, ("a", "b%2fc", "", ""): 3, ("a/b", "c", "", ""): 3, ("a/b", "", "", "fast"): 8,
                         ("a/b:requests_per_hour", "", "", ""): 3, ("a%2fb", "c", "", ""): 2, ("a%2fb", "", "c", ""): 2}, shown
        assert {item["tenant"] for item in limits_of(gate, "a/b")} == {"a/b"}
        # And the same after a restart, from the ledger.
        gate.stop()
        gate.start()
        for (tenant, name), used in counted.items():
            user = {"user": "c"} if tenant == "a%2fb" else {}
            assert gate.chat(key=secret(tenant, name), **user).status == (200 if used == 4 else 429), (tenant, name)
