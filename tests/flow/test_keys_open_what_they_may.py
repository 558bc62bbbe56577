# SPDX-License-Identifier: Apache-2.0
"""Where a key is read, what it opens, and what a second one does."""

import json

import pytest
from harness import (
    KEY_ACME,
    KEY_ACME_FAST,
    KEY_EXPIRED,
    KEY_GLOBEX,
    KEY_WRONG,
    Sluice,
    config_for,
    eventually,
    merged,
    run_cli,
    sha256_hash,
)

BODY = {"model": "fast", "messages": []}


@pytest.mark.parametrize("headers", [
    {"Authorization": f"Bearer {KEY_ACME}"}, {"authorization": f"bearer {KEY_ACME}"}, {"AUTHORIZATION": f"BEARER {KEY_ACME}"},
    {"x-api-key": KEY_ACME}, {"api-key": KEY_ACME}, {"x-goog-api-key": KEY_ACME},
    {"Authorization": f"Bearer {KEY_ACME}", "x-api-key": KEY_ACME}])
def test_where_it_is_read(gate, headers):
    assert gate.post("/v1/chat/completions", BODY, key=None, headers=headers).status == 200


@pytest.mark.parametrize("headers", [
    [("Authorization", f"Bearer {KEY_ACME}"), ("Authorization", f"Bearer {KEY_ACME}")],
    [("Authorization", f"Bearer {KEY_ACME}"), ("authorization", f"Bearer {KEY_WRONG}")],
    [("x-api-key", KEY_ACME), ("x-api-key", KEY_ACME)],
    [("Authorization", f"Bearer {KEY_ACME}"), ("x-api-key", KEY_GLOBEX)],
    [("Authorization", f"Bearer {KEY_ACME}"), ("x-api-key", KEY_WRONG)],
    [("Authorization", f"Bearer {KEY_ACME}"), ("x-api-key", "")],
    [("Authorization", f"Bearer  {KEY_ACME}")], [("Authorization", KEY_ACME)], [("Authorization", "Bearer")],
    [("Authorization", "Bearer ")], [("Authorization", f"Bearer {KEY_ACME} x")], [("Authorization", f"Bearer {KEY_ACME},x")],
    [("Authorization", f"Basic {KEY_ACME}")], [("Authorization", f"Bearer\t{KEY_ACME}")], [("x-api-key", f"Bearer {KEY_ACME}")],
    [("Authorization", f'Bearer "{KEY_ACME}"')], [("Authorization", f"Bearer {KEY_ACME}\xa0")], [("Proxy-Authorization", f"Bearer {KEY_ACME}")],
    [("Cookie", f"api_key={KEY_ACME}")], [("Authorization", f"Bearer {sha256_hash(KEY_ACME)}")],
    [("Authorization", f"Bearer {sha256_hash(KEY_ACME)[7:]}")], [("Authorization", f"Bearer {KEY_ACME[:20]}")],
    [("Authorization", "Bearer " + "a" * 513)], [("Authorization", "Bearer %")], [("Authorization", "Bearer *")],
    [("Authorization", "Bearer ' OR 1=1 --")], [("Authorization", "Bearer null")], [("Authorization", "Bearer undefined")],
    [("Authorization", "Bearer acme")], [("Authorization", "Bearer main")], [("Authorization", "Bearer local")]])
def test_what_opens_nothing(gate, upstream, headers):
    answer = gate.post("/v1/chat/completions", BODY, key=None, headers=headers)
    assert answer.status == 401 or (answer.status == 400 and len(headers) > 1), answer
    assert not upstream.calls


def test_what_a_key_may_call(gate):
    assert gate.chat("fast", key=KEY_ACME_FAST).status == 200
    assert gate.chat("slow", key=KEY_ACME_FAST).status == 403
    assert gate.chat("slow", key=KEY_ACME).status == 200
    assert gate.chat("slow", key=KEY_GLOBEX).status == 403
    assert gate.chat("fast", key=KEY_EXPIRED).status == 401


def test_without_keys_only_loopback_is_served(upstream):
    """anonymous: true is for one's own machine."""
    config = config_for(upstream, anonymous=True, tenants=[])
    with Sluice(config) as gate:
        for key in (None, "sk-anything", KEY_WRONG):
            assert gate.chat(key=key).status == 200
        rows = gate.usage(by="tenant")
        assert [row["tenant"] for row in rows] == ["local"], rows


def strangers(gate, status):
    """They get it, whichever worker they meet."""
    eventually(lambda: all(gate.chat(key=key).status == status for key in (None, "sk-anything", KEY_WRONG, None, None, None)),
               what=f"callers without a key get {status}")


def test_the_first_tenant_that_is_made_asks_all_for_a_key(upstream):
    """Nobody's budget holds a caller without a key: it is for who has nobody to tell apart."""
    needed, over = "a key is needed from now on", "no key is needed any more"
    with Sluice(config_for(upstream, tenants=[])) as gate:
        strangers(gate, 200)
        (gate.directory / "request.json").write_text(json.dumps(BODY))
        assert gate.cli("explain", gate.directory / "request.json").returncode == 0
        assert needed not in gate.log()
        assert run_cli("-c", gate.file, "tenants", "set", "api1", "--models", "fast", env=gate.env).returncode == 0
        strangers(gate, 401)
        eventually(lambda: gate.log().count(needed) == 1, what="the log says so, once")
        asked = gate.cli("explain", gate.directory / "request.json")
        assert asked.returncode != 0 and "whose call" in asked.stderr, asked
        key = run_cli("-c", gate.file, "keys", "create", "k", "--tenant", "api1", env=gate.env).stdout.strip()
        assert gate.chat(key=key).status == 200
        assert gate.cli("reload").returncode == 0
        strangers(gate, 401)
        gate.stop()
        gate.start()
        assert gate.chat(key=None).status == 401 and gate.chat(key=key).status == 200, "nor from the first call on"
        strangers(gate, 401)
        gate.write(merged(gate.config, {"anonymous": True}))
        assert gate.cli("reload").returncode == 0
        strangers(gate, 200)
        gate.write({name: value for name, value in gate.config.items() if name != "anonymous"})
        assert gate.cli("reload").returncode == 0
        strangers(gate, 401)
        (item,) = json.loads(run_cli("-c", gate.file, "keys", "ls", "--format", "json", env=gate.env).stdout)
        assert run_cli("-c", gate.file, "keys", "revoke", item["id"], env=gate.env).returncode == 0
        strangers(gate, 401)
        assert run_cli("-c", gate.file, "tenants", "rm", "api1", env=gate.env).returncode == 0
        strangers(gate, 200)
        assert gate.chat(key=key).status == 401, "what was revoked opens nothing, all the same"
        eventually(lambda: gate.log().count(over) == 1 and gate.log().count(needed) == 2, what="and what was after each start")
        assert {row["tenant"] for row in gate.usage(by="tenant")} == {"local", "api1"}


def test_without_keys_a_listener_for_the_world_refuses_to_start(upstream, tmp_path):
    from harness import to_yaml

    for changes in ({"anonymous": True, "tenants": []}, {"tenants": []}, {"anonymous": True}):
        config = config_for(upstream, **changes)
        port = config["server"]["listeners"][0]["address"].rpartition(":")[2]
        config["server"]["listeners"][0].update(address=f"0.0.0.0:{port}", serve=["api", "health"])
        path = tmp_path / "sluice.yaml"
        path.write_text(to_yaml(config))
        done = run_cli("run", "-c", path, env={"STATE_DIRECTORY": str(tmp_path)}, timeout=20)
        assert done.returncode == 78, done
        assert "anonymous" in done.stderr or "key" in done.stderr


def test_hash_key_writes_what_the_configuration_wants():
    done = run_cli("hash-key", stdin=KEY_ACME + "\n")
    assert done.returncode == 0 and sha256_hash(KEY_ACME) in done.stdout, done
    assert KEY_ACME not in done.stdout + done.stderr
