# SPDX-License-Identifier: Apache-2.0
"""Keys and tenants over their lives: by the API and by the commands; in pages; and what is refused."""

import json
from urllib.parse import quote, quote_plus

import pytest
from harness import KEY_ACME, Client, Sluice, config_for, eventually, free_port, run_cli, sha256_hash
from test_the_admin_api_answers_as_it_is_described import check_answer

pytestmark = pytest.mark.threads
ADMIN, LEAD = "sk-admin-5ecre7-00", "sk-lead-5ecre7-01"
ENVIRONMENT = {"SLUICE_ADMIN_KEY": ADMIN}
ODD = "R&D 50% s\u00f8k?"


def configure(upstream):
    config = config_for(upstream)
    config["server"]["listeners"].append(
        {"name": "ops", "address": f"127.0.0.1:{free_port()}", "serve": ["admin"]})
    config["tenants"].append({"name": ODD, "models": ["fast"]})
    config["admin"] = {"keys": [
        {"name": "acme-lead", "hash": sha256_hash(LEAD), "role": "tenant", "tenant": "acme"}]}
    return config


def path_of(place):
    """The path in the document that stands for this one."""
    parts = place.partition("?")[0].split("/")
    if len(parts) > 2 and parts[1] != "config":
        parts[2] = "{id}"
    return "/".join(parts)


def ask(gate, place, method="GET", body=None, key=ADMIN):
    """Ask, and hold the answer against the document."""
    answer = gate.request(method, "/admin/v1" + place, body, key=key, listener="ops")
    if answer.status != 204:
        check_answer(answer, path_of(place), method.lower())
    return answer


def command(gate, *words):
    return run_cli("-c", gate.file, *words, env=gate.env)


def make_key(gate, name, tenant="acme", key=ADMIN, **fields):
    answer = ask(gate, "/keys", "POST", {"name": name, "tenant": tenant, **fields}, key)
    assert answer.status == 201, answer
    return answer.json


def walk(gate, place, limit, key=ADMIN):
    items, after, pages = [], "", 0
    while True:
        mark = "&" if "?" in place else "?"
        page = ask(gate, f"{place}{mark}limit={limit}{after}", key=key).json
        items += page["data"]
        pages += 1
        if page["next"] is None:
            return items, pages
        after = "&after=" + quote(page["next"], safe="")


# ------------------------------------------------------------------------------- the life of a key


def test_a_key_by_its_commands(gate):
    made = command(gate, "tenants", "set", "search", "--parent", "acme", "--budget", "500 USD/month", "--tags", "team=search")
    assert made.returncode == 0 and "search" in made.stdout, made
    made = command(gate, "keys", "create", "ci", "--tenant", "search", "--models", "fast", "--expires", "90d")
    assert made.returncode == 0 and made.stdout.count("\n") == 1 and "only now" in made.stderr, made
    secret = made.stdout.strip()
    assert secret not in made.stderr
    assert gate.chat(key=secret).status == 200
    assert gate.chat(key=secret, model="slow").status == 403
    row = gate.ledger_row(gate.chat(key=secret).header("x-request-id"))
    assert (row["tenant"], row["key"]) == ("search", "ci") and "team=search" in row["tags"], row

    listed = json.loads(command(gate, "keys", "ls", "--tenant", "search", "--format", "json").stdout)
    assert [item["name"] for item in listed] == ["ci"] and "secret" not in listed[0]
    assert secret.startswith(listed[0]["prefix"])
    place = listed[0]["id"]
    shown = command(gate, "keys", "show", place)
    assert shown.returncode == 0 and "search" in shown.stdout and secret not in shown.stdout

    rotated = command(gate, "keys", "rotate", place, "--overlap", "1h")
    second = rotated.stdout.strip()
    assert rotated.returncode == 0 and second not in ("", secret), rotated
    assert gate.chat(key=secret).status == gate.chat(key=second).status == 200, "both are good for a while"

    revoked = command(gate, "keys", "revoke", place)
    assert revoked.returncode == 0, revoked
    assert gate.chat(key=secret).status == gate.chat(key=second).status == 401, "at once"
    listed = json.loads(command(gate, "keys", "ls", "--tenant", "search", "--format", "json").stdout)
    assert listed == [], "only with --revoked"
    assert command(gate, "keys", "show", place).returncode == 0, "but shown when it is asked for"
    assert ask(gate, "/keys?revoked=perhaps").status == 400
    gone = json.loads(command(gate, "keys", "ls", "--tenant", "search", "--revoked", "--format", "json").stdout)
    assert [item["id"] for item in gone] == [place] and gone[0]["revoked_at"]

    removed = command(gate, "tenants", "rm", "search")
    assert removed.returncode == 0, removed
    assert command(gate, "tenants", "show", "search").returncode == 5


def test_a_key_over_tcp(gate):
    url = "http://%s:%d" % gate.address("ops")
    made = run_cli("--admin", url, "keys", "create", "remote", "--tenant", "acme", "--format", "json", env=ENVIRONMENT)
    assert made.returncode == 0, made
    key = json.loads(made.stdout)
    assert gate.chat(key=key["secret"]).status == 200
    assert run_cli("--admin", url, "keys", "revoke", key["id"], env={"SLUICE_ADMIN_KEY": "sk-wrong"}).returncode == 5
    assert gate.chat(key=key["secret"]).status == 200
    assert run_cli("--admin", url, "keys", "revoke", key["id"], env=ENVIRONMENT).returncode == 0
    assert gate.chat(key=key["secret"]).status == 401


@pytest.mark.parametrize("overlap", ["0", "0s"])
def test_rotating_without_overlap_ends_the_secret_before(gate, overlap):
    key = make_key(gate, f"rotated-{overlap}")
    place = f"/keys/{key['id']}"
    assert ask(gate, place + "/rotate", "POST", {"overlap": 0}).status == 400  # not taken for the default
    assert gate.chat(key=key["secret"]).status == 200
    new = ask(gate, place + "/rotate", "POST", {"overlap": overlap}).json
    assert gate.chat(key=key["secret"]).status == 401 and gate.chat(key=new["secret"]).status == 200
    assert new["rotated_at"] and new["id"] == key["id"]
    ask(gate, place, "DELETE")


def test_changes_are_in_force_at_once(gate):
    key = make_key(gate, "changed", limits={"requests_per_minute": 2})
    place = f"/keys/{key['id']}"
    assert [gate.chat(key=key["secret"]).status for _ in range(3)] == [200, 200, 429]
    changed = ask(gate, place, "PATCH", {"limits": {"requests_per_minute": 5}, "tags": {"env": "prod"}})
    assert changed.status == 200 and changed.json["limits"] == {"requests_per_minute": 5}, changed
    assert [gate.chat(key=key["secret"]).status for _ in range(4)] == [200, 200, 200, 429]
    assert ask(gate, place, "PATCH", {"models": ["slow"]}).json["models"] == ["slow"]
    assert gate.chat(key=key["secret"]).status == 403
    assert ask(gate, place, "PATCH", {"expires_at": "2020-01-01"}).status == 200
    assert gate.chat(key=key["secret"]).status == 401
    assert ask(gate, place).json["tags"] == {"env": "prod"}
    ask(gate, place, "DELETE")


def test_a_tenant_that_is_off_opens_nothing(gate):
    assert ask(gate, "/tenants", "POST", {"name": "paused", "models": ["*"]}).status == 201
    key = make_key(gate, "ci", "paused")
    assert gate.chat(key=key["secret"]).status == 200
    assert ask(gate, "/tenants/paused", "PATCH", {"off": True}).json["off"] is True
    assert gate.chat(key=key["secret"]).status == 401
    assert ask(gate, "/tenants/paused", "DELETE").status == 409, "it has a key"
    ask(gate, f"/keys/{key['id']}", "DELETE")
    assert ask(gate, "/tenants/paused", "DELETE").status == 204
    assert ask(gate, "/tenants/paused").status == 404


def test_what_was_made_is_there_after_a_restart(gate):
    key = make_key(gate, "lasting")
    gate.stop()
    gate.start()
    assert gate.chat(key=key["secret"]).status == 200
    assert ask(gate, f"/keys/{key['id']}").json["name"] == "lasting"
    ask(gate, f"/keys/{key['id']}", "DELETE")
    gate.stop()
    gate.start()
    assert gate.chat(key=key["secret"]).status == 401, "and what was revoked is not"


def test_what_was_made_is_there_after_a_reload(gate):
    key = make_key(gate, "reloaded")
    assert ask(gate, "/config/reload", "POST", b"").status == 200
    assert gate.chat(key=key["secret"]).status == 200 and gate.chat().status == 200
    ask(gate, f"/keys/{key['id']}", "DELETE")


def test_names_of_the_file_may_have_unusual_characters(gate):
    place = "/tenants/" + quote(ODD, safe="")
    assert ask(gate, place).json["name"] == ODD
    key = make_key(gate, "ci", ODD)
    assert gate.chat(key=key["secret"]).status == 200
    seen = ask(gate, "/keys?tenant=" + quote_plus(ODD)).json["data"]
    assert [item["name"] for item in seen] == ["ci"]
    shown = command(gate, "tenants", "show", ODD)
    assert shown.returncode == 0 and ODD in shown.stdout, shown
    assert command(gate, "keys", "revoke", key["id"]).returncode == 0
    assert ask(gate, place + "x").status == 404


# ------------------------------------------------------------------------------- lists


def test_pages_walk_over_all_keys(gate):
    wanted = set()
    with Client(gate.address("ops")) as client:
        for i in range(1200):
            answer = client.request("POST", "/admin/v1/keys", {"Authorization": f"Bearer {ADMIN}"},
                                    {"name": f"many-{i}", "tenant": "globex"})
            assert answer.status == 201, answer
            wanted.add(answer.json["id"])
    rows, pages = walk(gate, "/keys?tenant=globex", 100)
    ids = [row["id"] for row in rows if row["name"].startswith("many-")]
    assert len(ids) == len(set(ids)) and set(ids) == wanted
    assert pages == -(-len(rows) // 100)
    assert len(walk(gate, "/keys", 500)[0]) >= 1204, "those of the file are there, too"
    with Client(gate.address("ops")) as client:
        for place in wanted:
            answer = client.request("DELETE", f"/admin/v1/keys/{place}", {"Authorization": f"Bearer {ADMIN}"})
            assert answer.status == 200, answer


def test_no_secret_is_ever_shown_again(gate):
    key = make_key(gate, "secret")
    for place in ("/keys?limit=500", f"/keys/{key['id']}", "/config", "/events?limit=500", "/requests"):
        assert key["secret"] not in gate.get("/admin/v1" + place, key=ADMIN, listener="ops").text
    assert gate.chat(key=key["secret"]).status == 200
    ask(gate, f"/keys/{key['id']}", "DELETE")
    assert key["secret"] not in gate.log()
    for file in gate.state.rglob("*"):
        assert not file.is_file() or key["secret"].encode() not in file.read_bytes(), file


# ------------------------------------------------------------------------------- what the file has


def test_what_the_file_has_is_shown_and_not_changed(gate):
    keys = {row["id"]: row for row in walk(gate, "/keys?tenant=acme", 500)[0]}
    assert keys["acme:main"]["origin"] == "file" and keys["acme:fast-only"]["models"] == ["fast"]
    for method, place, body in (
            ("PATCH", "/keys/acme:main", {"models": ["fast"]}), ("DELETE", "/keys/acme:main", None),
            ("POST", "/keys/acme:main/rotate", {}), ("PATCH", "/tenants/acme", {"off": True}), ("DELETE", "/tenants/acme", None),
            ("POST", "/keys", {"name": "main", "tenant": "acme"}), ("POST", "/tenants", {"name": "acme"})):
        assert ask(gate, place, method, body).status == 409, place
    assert gate.chat(key=KEY_ACME).status == 200


# ------------------------------------------------------------------------------- what is wrong


@pytest.mark.parametrize("body, word", [
    (b"{", "JSON"), (b"[]", "object"), ({}, "name"), ({"name": "x"}, "tenant"), ({"name": "", "tenant": "acme"}, "name"),
    ({"name": "x", "tenant": "nobody"}, "tenant"), ({"name": "x", "tenant": "acme", "nonsense": 1}, "nonsense"),
    ({"name": "x" * 129, "tenant": "acme"}, "name"), ({"name": "a\nb", "tenant": "acme"}, "name"),
    ({"name": "x", "tenant": "acme", "limits": {"requests_per_week": 1}}, "requests_per_week"),
    ({"name": "x", "tenant": "acme", "limits": {"concurrent": -1}}, "concurrent"),
    ({"name": "x", "tenant": "acme", "limits": {"concurrent": 1.5}}, "concurrent"),
    ({"name": "x", "tenant": "acme", "budget": {"amount": "12 EUR"}}, "amount"),
    ({"name": "x", "tenant": "acme", "budget": {"amount": "12 USD", "period": "fortnight"}}, "period"),
    ({"name": "x", "tenant": "acme", "expires_at": "soon"}, "expires_at"),
    ({"name": "x", "tenant": "acme", "expires_at": "2020-01-01"}, "is past"),
    ({"name": "x", "tenant": "acme", "models": "fast"}, "models"), ({"name": 5, "tenant": "acme"}, "name")])
def test_a_bad_body_is_a_problem(gate, body, word):
    answer = ask(gate, "/keys", "POST", body)
    assert answer.status in (400, 404) and answer.header("content-type") == "application/problem+json", answer
    assert word in answer.json.get("field", "") + answer.json["detail"], answer


@pytest.mark.parametrize("place", ["/keys/key_none", "/keys/x", "/keys/acme:none", "/tenants/none"])
def test_what_is_not_there(gate, place):
    assert ask(gate, place).status == 404
    assert ask(gate, place, "PATCH", {}).status == 404
    assert ask(gate, place, "DELETE").status == 404


def test_commands_say_what_is_wrong(gate):
    for args, code, word in (
            (("keys", "create", "x", "--tenant", "nobody"), (1, 5), "nobody"), (("keys", "show", "key_none"), (5,), "not found"),
            (("keys", "create", "x", "--tenant", "acme", "--expires", "2020-01-01"), (1,), "is past"),
            (("keys", "create", "x"), (2,), "--tenant"), (("keys", "show"), (2,), "which key"),
            (("keys", "create", "x", "--tenant", "acme", "--limits", "60"), (2,), "no limit"),
            (("keys", "create", "main", "--tenant", "acme"), (1,), "409"), (("tenants", "rm", "acme"), (1,), "409")):
        done = command(gate, *args)
        assert done.returncode in code and word in done.stderr and done.stdout == "", done


# ------------------------------------------------------------------------------- the role tenant


def test_a_tenants_admin_keeps_to_its_own(gate):
    foreign = make_key(gate, "foreign", "globex")
    assert "globex" not in {row["tenant"] for row in walk(gate, "/keys", 500, LEAD)[0]}
    assert "globex" not in {row["name"] for row in walk(gate, "/tenants", 500, LEAD)[0]}
    for method, place, body in (
            ("GET", f"/keys/{foreign['id']}", None), ("GET", "/tenants/globex", None), ("DELETE", f"/keys/{foreign['id']}", None),
            ("PATCH", f"/keys/{foreign['id']}", {"models": ["fast"]}), ("POST", f"/keys/{foreign['id']}/rotate", {}),
            ("PATCH", "/tenants/globex", {"off": True}), ("DELETE", "/tenants/globex", None),
            ("PATCH", "/keys/globex:main", {}), ("DELETE", "/keys/globex:main", None), ("GET", "/keys/globex:main", None)):
        assert ask(gate, place, method, body, LEAD).status == 404, place
    assert ask(gate, "/keys", "POST", {"name": "x", "tenant": "globex"}, LEAD).status in (400, 403, 404)
    assert ask(gate, "/tenants", "POST", {"name": "x"}, LEAD).status in (400, 403)
    assert ask(gate, "/tenants", "POST", {"name": "x", "parent": "globex"}, LEAD).status in (400, 403, 404)

    assert ask(gate, "/tenants", "POST", {"name": "team", "parent": "acme"}, LEAD).status == 201
    own = make_key(gate, "own", "team", LEAD)
    assert gate.chat(key=own["secret"]).status == 200
    seen = {row["name"]: row for row in walk(gate, "/tenants", 500, LEAD)[0]}
    assert {"acme", "team"} <= set(seen) and all(name == "acme" or row["parent"] == "acme" for name, row in seen.items())
    assert ask(gate, f"/keys/{own['id']}", "DELETE", key=LEAD).status == 200
    assert gate.chat(key=own["secret"]).status == 401
    assert ask(gate, "/tenants/team", "DELETE", key=LEAD).status == 204
    ask(gate, f"/keys/{foreign['id']}", "DELETE")


def test_many_changes_at_once(gate):
    """Keys are made and revoked while others call: nobody sees half of it."""
    import threading

    bad = []

    def churn(n):
        for i in range(15):
            key = make_key(gate, f"churn-{n}-{i}")
            if gate.chat(key=key["secret"]).status != 200:
                bad.append(("made", n, i))
            ask(gate, f"/keys/{key['id']}", "DELETE")
            if gate.chat(key=key["secret"]).status != 401:
                bad.append(("revoked", n, i))
            if gate.chat().status != 200:
                bad.append(("file", n, i))

    threads = [threading.Thread(target=churn, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not bad, bad
    assert eventually(lambda: ask(gate, "/overview").json["keys"]["up"])


def test_limits_of_other_models_take_no_room(gate):
    """A call may meet 64 limits; those of models that it does not ask for are none of them."""
    one = {f"{kind}_per_{span}": 1000000 for kind in ("requests", "tokens", "input_tokens", "output_tokens")
           for span in ("second", "minute", "hour", "day")}
    limits = {"models": {name: one for name in ("fast", "slow")}}
    made = ask(gate, "/tenants", "POST", {"name": "many", "models": ["*"], "limits": limits,
                                          "users": {"limits": limits}})
    assert made.status == 201, made
    key = make_key(gate, "ci", "many", limits=limits)
    assert gate.chat(key=key["secret"], user="ann").status == 200
    refused = ask(gate, "/tenants/many", "PATCH", {"limits": {**one, "concurrent": 9, **limits}})
    assert refused.status == 400 and "64" in refused.json["detail"], refused


def test_others_may_reach_it_before_there_is_a_key(upstream):
    """A file without keys is for loopback, unless it says that nobody gets in without one."""
    config = {**config_for(upstream), "tenants": []}
    config["server"]["listeners"][0].update(address=f"0.0.0.0:{free_port()}", serve=["api", "health"])
    with Sluice(config, begin=False) as gate:
        done = run_cli("check", gate.file, env=gate.env)
        assert done.returncode == 1 and "anonymous: false" in done.stderr, done
        gate.write({**config, "anonymous": False})
        gate.start()
        assert gate.chat(key="").status == 401 and gate.chat(key=KEY_ACME).status == 401
        assert command(gate, "tenants", "set", "acme", "--models", "fast").returncode == 0
        secret = command(gate, "keys", "create", "ci", "--tenant", "acme").stdout.strip()
        assert gate.chat(key=secret).status == 200
        assert gate.chat(key="").status == 401 and gate.chat(key=KEY_ACME).status == 401
        assert command(gate, "keys", "revoke", json.loads(command(gate, "keys", "ls", "--format", "json").stdout)[0]["id"]).returncode == 0
        eventually(lambda: gate.chat(key=secret).status == 401, what="it is revoked")
        assert gate.chat(key="").status == 401
