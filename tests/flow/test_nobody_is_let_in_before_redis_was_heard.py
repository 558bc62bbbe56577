# SPDX-License-Identifier: Apache-2.0
"""Tenants and keys that are in Redis only are not known before it has answered once: until then
nobody is taken for the caller of a sluice that has none."""

import contextlib

import pytest
from harness import KEY_ACME, KEY_WRONG, Sluice, config_for, eventually, free_port, merged, run_cli
from redis_servers import Redis

pytestmark = pytest.mark.threads
AWAY = "store_unavailable"
UNHEARD, OPEN, NEEDED = "Redis has never answered here", "no key is needed", "a key is needed from now on"


@contextlib.contextmanager
def redis_at(port, start=True):
    redis = Redis(port=port, start=start)
    try:
        yield redis
    finally:
        redis.end()


@pytest.fixture()
def later():
    """A Redis that is not there yet."""
    with redis_at(free_port(), start=False) as redis:
        yield redis


def configured(upstream, redis, **changes):
    return config_for(upstream, store={"type": "redis", "redis": {"url": redis.url()}}, **{"tenants": [], **changes})


def got(gate, key):
    answer = gate.chat(key=key)
    return answer.status if answer.status == 200 else (answer.status, answer.error["code"])


def whoever(gate, expected, keys=(None, "sk-anything", KEY_WRONG)):
    """They get it, whichever worker they meet."""
    eventually(lambda: all(got(gate, key) == expected for key in keys * 3), 20, what=f"strangers get {expected}")


def test_it_waits_for_redis_to_say_that_there_is_nobody(upstream, later):
    with Sluice(configured(upstream, later)) as gate:
        for key in (None, "sk-anything", KEY_WRONG) * 3:
            assert got(gate, key) == (503, AWAY)
        assert upstream.calls == []
        assert gate.request("GET", "/v1/models", key=None).status == 503
        assert gate.log().count(f"{UNHEARD} (127.0.0.1:{later.port}/0)") == 1 and OPEN not in gate.log()
        gate.write(merged(gate.config, {"limits": {"default": {"requests_per_minute": 600}}}))
        assert gate.cli("reload").returncode == 0
        for key in (None, "sk-anything", KEY_WRONG) * 3:
            assert got(gate, key) == (503, AWAY), "whatever a reload changes"
        later.start()
        whoever(gate, 200)
        eventually(lambda: gate.log().count(OPEN) == 1, what="the log says so")


def test_who_is_in_redis_only_is_not_passed_over(upstream, later):
    later.start()
    with Sluice(configured(upstream, later)) as old:
        assert run_cli("-c", old.file, "tenants", "set", "api1", "--models", "fast", env=old.env).returncode == 0
        key = run_cli("-c", old.file, "keys", "create", "k", "--tenant", "api1", env=old.env).stdout.strip()
    later.stop()
    with Sluice(configured(upstream, later)) as gate:
        for shown in (None, "sk-anything", key) * 3:
            assert got(gate, shown) == (503, AWAY)
        later.cont()
        whoever(gate, (401, "invalid_api_key"))
        whoever(gate, 200, keys=(key,))
        eventually(lambda: gate.log().count(NEEDED) == 1, what="the log says so")
        assert OPEN not in gate.log()


def test_a_start_without_redis_knows_that_there_was_nobody(upstream, later):
    later.start()
    with Sluice(configured(upstream, later)) as gate:
        whoever(gate, 200)
        gate.stop()
        later.kill()
        gate.start()
        whoever(gate, 200)
        assert UNHEARD not in gate.log()


def test_what_it_had_by_itself_says_nothing_of_redis(upstream, later):
    """A sluice without tenants that joins others, on the same volume; and one that was alone in between."""
    alone = {"store": {"type": "embedded"}}
    config = configured(upstream, later)
    with Sluice(merged(config, alone)) as gate:
        whoever(gate, 200)
        for times in (1, 2):
            gate.stop()
            gate.write(config)
            gate.start()
            whoever(gate, (503, AWAY))
            assert gate.log().count(UNHEARD) == times
            if times == 1:
                later.start()
                whoever(gate, 200)
                gate.stop()
                later.kill()
                gate.write(merged(config, alone))
                gate.start()
                whoever(gate, 200)


def test_the_files_keys_open_and_others_are_told_to_come_again(upstream, later):
    from harness import tenants

    with Sluice(configured(upstream, later, tenants=tenants())) as gate:
        assert got(gate, KEY_ACME) == 200
        assert got(gate, None) == (401, "invalid_api_key")
        assert got(gate, KEY_WRONG) == (503, AWAY)
        later.start()
        whoever(gate, (401, "invalid_api_key"))
