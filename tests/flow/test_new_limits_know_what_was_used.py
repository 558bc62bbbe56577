# SPDX-License-Identifier: Apache-2.0
"""A limit that comes while calls are made counts what was used before, as it would after a restart."""

import contextlib
import os
import threading
import time

import pytest
from harness import KEY_ACME, Sluice, chat_body, config_for, eventually, free_port, merged, sha256_hash
from redis_servers import Redis
from replicas import counters, shared

pytestmark = pytest.mark.threads
ADMIN = "sk-admin-5ecre7-0123456789"
COST = 20 * 1000 + 1000 * 4000  # nano-dollars of one call (harness.PRICE)
SLACK = 40_000  # what is thought of a prompt
BUDGET = {"amount": "0.0121 USD", "period": "month"}  # three calls


def tenant(name="acme", key=KEY_ACME, **changes):
    return merged({"name": name, "models": ["*"], "keys": [{"name": "main", "hash": sha256_hash(key)}]}, changes)


def answers(upstream):
    """Uses every token it may."""
    def answer(call):
        most = call.json["max_tokens"]
        call.respond(200, chat_body(usage={"prompt_tokens": 20, "completion_tokens": most, "total_tokens": 20 + most}))

    upstream.answer = answer


def ask(gate, count=1, **options):
    return [gate.chat(max_tokens=1000, **options).status for _ in range(count)]


def change(gate, **tenant_changes):
    gate.write(merged(gate.config, {"tenants": [tenant(**tenant_changes)]}))
    assert gate.cli("reload").returncode == 0


def with_admin(upstream):
    config = config_for(upstream)
    config["server"]["listeners"].append({"name": "ops", "address": f"127.0.0.1:{free_port()}", "serve": ["admin"]})
    return config


LEVELS = {"tenant": {"budget": BUDGET}, "key": {"keys": [{"name": "main", "hash": sha256_hash(KEY_ACME), "budget": BUDGET}]},
          "users": {"users": {"budget": BUDGET}}, "model": {"limits": {"models": {"fast": {"budget": BUDGET}}}}}


@pytest.mark.parametrize("level", LEVELS)
def test_a_budget_that_a_reload_brings(upstream, level):
    answers(upstream)
    with Sluice(config_for(upstream, tenants=[tenant()])) as gate:
        assert ask(gate, 3, user="somebody") == [200] * 3
        change(gate, **LEVELS[level])
        assert ask(gate, 1, user="somebody") == [429]
        change(gate, **merged(LEVELS[level], {"tags": {"nothing": "new"}}))
        assert ask(gate, 1, user="somebody") == [429]
        assert gate.stop() == 0
        gate.start()
        assert ask(gate, 1, user="somebody") == [429]
        assert gate.usage_total("cost_nanos") == 3 * COST


def test_what_is_counted_is_counted_once(upstream):
    answers(upstream)
    with Sluice(config_for(upstream, tenants=[tenant(budget={"amount": "1 USD", "period": "day"})])) as gate:
        assert ask(gate, 3) == [200] * 3
        change(gate, budget=BUDGET)
        assert ask(gate) == [429]
        change(gate, budget={**BUDGET, "amount": "0.0165 USD"})
        assert ask(gate) == [200]
        change(gate, budget={**BUDGET, "amount": "0.0165 USD"}, limits={"requests_per_hour": 5})
        assert ask(gate) == [429]
        change(gate, limits={"requests_per_hour": 5})
        assert ask(gate, 2) == [200, 429]


def test_a_budget_that_the_api_brings(upstream):
    answers(upstream)
    with Sluice(with_admin(upstream), env={"SLUICE_ADMIN_KEY": ADMIN}) as gate:
        def api(method, path, body):
            answer = gate.request(method, "/admin/v1" + path, body, key=ADMIN, listener="ops")
            assert answer.status in (200, 201), answer
            return answer.json

        api("POST", "/tenants", {"name": "search", "models": ["*"]})
        secret = api("POST", "/keys", {"name": "ci", "tenant": "search"})["secret"]
        eventually(lambda: gate.get("/v1/models", key=secret).status == 200)
        assert ask(gate, 3, key=secret) == [200] * 3
        api("PATCH", "/tenants/search", {"budget": BUDGET})
        assert ask(gate, key=secret) == [429]


def test_each_node_counts_what_it_has_booked(upstream):
    answers(upstream)
    with (Redis() as redis,
          Sluice(config_for(upstream, tenants=[tenant()], store=shared(redis))) as one,
          Sluice(config_for(upstream, tenants=[tenant()], store=shared(redis))) as other):
        for gate in (one, other):
            eventually(lambda gate=gate: gate.metric("sluice_store_up") == 1, what="the store is there")
        assert ask(one, 2) + ask(other, 1) == [200] * 3
        for gate in (one, other):
            change(gate, budget=BUDGET)
        eventually(lambda: [sums for sums, _ in counters(redis).values()] == [3 * COST], what="Redis has it from both")
        assert ask(one) + ask(other) == [429, 429], counters(redis)


@pytest.mark.parametrize("level", LEVELS)
def test_a_budget_that_was_away_counts_what_was_used_without_it(upstream, level):
    answers(upstream)
    with Sluice(config_for(upstream, tenants=[tenant(**LEVELS[level])])) as gate:
        assert ask(gate, 1, user="somebody") == [200]
        change(gate)
        assert ask(gate, 5, user="somebody") == [200] * 5
        change(gate, **LEVELS[level])
        assert ask(gate, 1, user="somebody") == [429]
        assert gate.usage_total("cost_nanos") == 6 * COST


def test_a_limit_that_was_away_counts_nothing_twice(upstream):
    answers(upstream)
    limits = {"limits": {"requests_per_day": 6}, "budget": {**BUDGET, "amount": f"{(6 * COST + SLACK) / 1e9:.9f} USD", "period": "24h"}}
    with Sluice(config_for(upstream, tenants=[tenant(**limits)])) as gate:
        assert ask(gate, 2) == [200] * 2
        for _ in range(3):
            change(gate)
            change(gate, **limits)
        assert ask(gate) == [200]
        change(gate)
        assert ask(gate) == [200]
        change(gate, **limits)
        assert ask(gate, 3) == [200, 200, 429]


def test_a_budget_goes_along_below_another_tenant_and_back(upstream):
    answers(upstream)
    with Sluice(config_for(upstream, tenants=[tenant(budget=BUDGET)])) as gate:
        def move(parent, amount):
            moved = tenant(budget={**BUDGET, "amount": f"{(amount * COST + SLACK) / 1e9:.9f} USD"}, **({"parent": parent} if parent else {}))
            gate.write(merged(gate.config, {"tenants": [{"name": "corp", "models": ["*"]}, moved]}))
            assert gate.cli("reload").returncode == 0

        assert ask(gate, 4) == [200] * 3 + [429]
        move("corp", 3)
        assert ask(gate, 2) == [429] * 2
        move("corp", 4)
        assert ask(gate, 2) == [200, 429]
        move(None, 5)
        assert ask(gate, 2) == [200, 429]
        assert gate.usage_total("cost_nanos") <= 5 * COST


def test_a_budget_that_the_api_takes_away_and_brings_back(upstream):
    answers(upstream)
    with Sluice(with_admin(upstream), env={"SLUICE_ADMIN_KEY": ADMIN}) as gate:
        def api(method, path, body):
            answer = gate.request(method, "/admin/v1" + path, body, key=ADMIN, listener="ops")
            assert answer.status in (200, 201), answer
            return answer.json

        api("POST", "/tenants", {"name": "search", "models": ["*"], "budget": BUDGET})
        secret = api("POST", "/keys", {"name": "ci", "tenant": "search"})["secret"]
        eventually(lambda: gate.get("/v1/models", key=secret).status == 200)
        assert ask(gate, key=secret) == [200]
        api("PATCH", "/tenants/search", {"budget": None})
        assert ask(gate, 3, key=secret) == [200] * 3
        api("PATCH", "/tenants/search", {"budget": BUDGET})
        assert ask(gate, key=secret) == [429]


KEY_LIMITS = {"budget": {"budget": BUDGET}, "requests": {"limits": {"requests_per_day": 3}},
              "model": {"limits": {"models": {"fast": {"requests_per_hour": 3}}}}}
NONE = {"budget": None, "limits": None}


@pytest.mark.parametrize("limits", KEY_LIMITS.values(), ids=KEY_LIMITS.keys())
def test_a_limit_of_a_key_that_the_api_brings_and_takes_away(upstream, limits):
    answers(upstream)
    with Sluice(with_admin(upstream), env={"SLUICE_ADMIN_KEY": ADMIN}) as gate:
        def api(method, path, body):
            answer = gate.request(method, "/admin/v1" + path, body, key=ADMIN, listener="ops")
            assert answer.status in (200, 201), answer
            return answer.json

        made = api("POST", "/keys", {"name": "ci", "tenant": "acme"})
        secret = made["secret"]
        eventually(lambda: gate.get("/v1/models", key=secret).status == 200)
        assert ask(gate, 2, key=secret) == [200] * 2
        api("PATCH", f"/keys/{made['id']}", limits)
        assert ask(gate, 2, key=secret) == [200, 429]
        api("PATCH", f"/keys/{made['id']}", NONE)
        assert ask(gate, 1, key=secret) == [200]
        api("PATCH", f"/keys/{made['id']}", limits)
        assert ask(gate, 1, key=secret) == [429]
        gate.stop()
        gate.start()
        assert ask(gate, 1, key=secret) == [429]


def test_a_limit_of_a_key_is_counted_by_each_node(upstream):
    answers(upstream)

    def config(redis):
        return merged(with_admin(upstream), {"store": shared(redis)})

    with (Redis() as redis,
          Sluice(config(redis), env={"SLUICE_ADMIN_KEY": ADMIN}) as one,
          Sluice(config(redis), env={"SLUICE_ADMIN_KEY": ADMIN}) as other):
        def api(method, path, body):
            answer = one.request(method, "/admin/v1" + path, body, key=ADMIN, listener="ops")
            assert answer.status in (200, 201), answer
            return answer.json

        for gate in (one, other):
            eventually(lambda gate=gate: gate.metric("sluice_store_up") == 1, what="the store is there")
        made = api("POST", "/keys", {"name": "ci", "tenant": "acme"})
        secret = made["secret"]
        for gate in (one, other):
            eventually(lambda gate=gate: gate.get("/v1/models", key=secret).status == 200)
        assert ask(one, 2, key=secret) + ask(other, 1, key=secret) == [200] * 3
        api("PATCH", f"/keys/{made['id']}", {"budget": BUDGET})
        eventually(lambda: [sums for sums, _ in counters(redis).values()] == [3 * COST], what="Redis has it from both")
        assert ask(one, key=secret) + ask(other, key=secret) == [429, 429], counters(redis)


def test_a_limit_of_users_that_the_api_brings(upstream):
    answers(upstream)
    with Sluice(with_admin(upstream), env={"SLUICE_ADMIN_KEY": ADMIN}) as gate:
        def api(method, path, body):
            answer = gate.request(method, "/admin/v1" + path, body, key=ADMIN, listener="ops")
            assert answer.status in (200, 201), answer
            return answer.json

        api("POST", "/tenants", {"name": "search", "models": ["*"]})
        secret = api("POST", "/keys", {"name": "ci", "tenant": "search"})["secret"]
        eventually(lambda: gate.get("/v1/models", key=secret).status == 200)
        assert ask(gate, 3, key=secret, user="somebody") == [200] * 3
        api("PATCH", "/tenants/search", {"users": {"limits": {"requests_per_day": 3}}})
        assert ask(gate, key=secret, user="somebody") + ask(gate, key=secret, user="other") == [429, 200]


@contextlib.contextmanager
def ledger_stands_still(gate):
    """Who opens its database from now on, waits until the end, and cannot read it."""
    database = gate.state / "sluice.db"
    aside = database.rename(database.with_suffix(".aside"))
    os.mkfifo(database)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.close(os.open(database, os.O_WRONLY | os.O_NONBLOCK))
        database.unlink()
        aside.rename(database)


def test_a_revoked_key_waits_for_no_count(upstream):
    answers(upstream)
    with Sluice(with_admin(upstream), env={"SLUICE_ADMIN_KEY": ADMIN}) as gate:
        def api(method, path, body=None):
            return gate.request(method, "/admin/v1" + path, body, key=ADMIN, listener="ops")

        made = [api("POST", "/keys", {"name": name, "tenant": "acme"}).json for name in ("one", "other")]
        secrets = [key["secret"] for key in made]
        for secret in secrets:
            eventually(lambda secret=secret: ask(gate, key=secret) == [200])
        gate.write(merged(gate.config, {"tenants": [tenant(budget=BUDGET), tenant("marker", KEY_ACME + "2")]}))
        reload = threading.Thread(target=lambda: gate.cli("reload"))
        with ledger_stands_still(gate):
            reload.start()
            eventually(lambda: api("GET", "/tenants/marker").status == 200, what="the file is read")
            time.sleep(0.3)
            assert api("DELETE", f"/keys/{made[0]['id']}").status == 200
            eventually(lambda: ask(gate, key=secrets[0]) == [401], what="it is refused")
            added = api("POST", "/keys", {"name": "third", "tenant": "acme"}).json["secret"]
            eventually(lambda: ask(gate, key=added) == [200], what="it is known")
            assert reload.is_alive()
            assert gate.get("/v1/models", key=KEY_ACME + "2").status == 401, "what the file has new is not in force"
        reload.join()
        assert gate.get("/v1/models", key=KEY_ACME + "2").status == 200
        assert ask(gate, key=secrets[0]) + ask(gate, key=secrets[1]) == [401, 200]


def test_a_key_of_the_name_of_a_revoked_one_goes_on_where_that_one_was(upstream):
    answers(upstream)
    with Sluice(with_admin(upstream), env={"SLUICE_ADMIN_KEY": ADMIN}) as gate:
        def make(**limits):
            answer = gate.request("POST", "/admin/v1/keys", {"name": "ci", "tenant": "acme", **limits}, key=ADMIN, listener="ops")
            assert answer.status == 201, answer
            eventually(lambda: gate.get("/v1/models", key=answer.json["secret"]).status == 200)
            return answer.json

        def revoke(key):
            assert gate.request("DELETE", f"/admin/v1/keys/{key['id']}", key=ADMIN, listener="ops").status == 200

        first = make()
        assert ask(gate, 3, key=first["secret"]) == [200] * 3
        revoke(first)
        second = make(limits={"requests_per_day": 4})
        assert ask(gate, 2, key=second["secret"]) == [200, 429]
        revoke(second)
        third = make(limits={"requests_per_day": 5}, budget={**BUDGET, "amount": "1 USD"})
        assert ask(gate, 2, key=third["secret"]) == [200, 429]
        gate.stop()
        gate.start()
        assert ask(gate, 1, key=third["secret"]) == [429]


def test_a_key_that_is_new_asks_no_ledger(upstream):
    with Sluice(with_admin(upstream), env={"SLUICE_ADMIN_KEY": ADMIN}) as gate, ledger_stands_still(gate):
        for name in ("one", "other"):
            answer = gate.request("POST", "/admin/v1/keys", {"name": name, "tenant": "acme", "budget": BUDGET}, key=ADMIN, listener="ops")
            assert answer.status == 201, answer


def test_a_tenant_that_the_api_makes_asks_no_ledger(upstream):
    answers(upstream)
    with Sluice(with_admin(upstream), env={"SLUICE_ADMIN_KEY": ADMIN}) as gate, ledger_stands_still(gate):
        answer = gate.request("POST", "/admin/v1/tenants", {"name": "search", "models": ["*"], "budget": BUDGET}, key=ADMIN, listener="ops")
        assert answer.status == 201, answer


def test_who_cannot_count_says_so(upstream):
    """The reload is in force, and the log and the events have that its limits begin at nothing."""
    answers(upstream)
    with Sluice(with_admin(upstream), env={"SLUICE_ADMIN_KEY": ADMIN}) as gate:
        assert ask(gate) == [200]
        database = gate.state / "sluice.db"
        aside = database.rename(database.with_suffix(".aside"))
        database.mkdir()
        gate.write(merged(gate.config, {"tenants": [tenant(budget=BUDGET)]}))
        assert gate.cli("reload").returncode == 0
        database.rmdir()
        aside.rename(database)
        events = gate.get("/admin/v1/events", key=ADMIN, listener="ops").json["data"]
        assert [event for event in events if event["kind"] == "ledger"], events
        eventually(lambda: "what new limits have had cannot be read" in gate.log(), what="the log says so")
        assert ask(gate) == [200]
