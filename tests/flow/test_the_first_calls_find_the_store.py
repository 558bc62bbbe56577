# SPDX-License-Identifier: Apache-2.0
"""Who is ready counts: the first call on each worker, of each tenant, is let in, also where Redis is far away."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import KEY_ACME, KEY_GLOBEX, Sluice, config_for, eventually
from link import Link
from redis_servers import Redis

pytestmark = pytest.mark.threads
WORKERS = 4


def configured(upstream, url, timeout="50ms"):
    config = config_for(upstream, store={"type": "redis", "redis": {"url": url, "timeout": timeout}})
    config["server"]["workers"] = WORKERS
    for tenant in config["tenants"]:
        tenant["budget"] = {"amount": "5 USD", "period": "month"}
    return config


@pytest.fixture()
def redis():
    redis = Redis()
    yield redis
    redis.end()


@pytest.mark.parametrize("delay", [0, 0.009], ids=["near", "far"])
def test_the_first_calls_are_let_in(upstream, redis, delay):
    with Link(("127.0.0.1", redis.port), delay=delay) as link, Sluice(configured(upstream, link.url)) as gate:
        answers = [gate.chat("fast", key=key) for key in (KEY_ACME, KEY_GLOBEX) for _ in range(2 * WORKERS)]
        assert [answer.status for answer in answers] == [200] * len(answers), answers


def test_who_comes_while_it_starts_waits_in_the_kernel(upstream, redis):
    """A rolling restart, or a service that is replaced, refuses nobody for a store that is there."""
    with Link(("127.0.0.1", redis.port), delay=0.03) as link, Sluice(configured(upstream, link.url, "2s")) as gate:

        def ask(number):
            def answered():
                try:
                    return gate.chat("fast", key=(KEY_ACME, KEY_GLOBEX)[number % 2], options={"timeout": 60})
                except ConnectionRefusedError:  # nobody listens yet
                    return None
            return eventually(answered, 60).status

        def ask_while(begins):
            with ThreadPoolExecutor(8) as pool:
                first = [pool.submit(ask, number) for number in range(8)]
                begins()
                return [answer.result() for answer in first]

        gate.stop()
        assert ask_while(lambda: gate.start(wait=False)) == [200] * 8
        gate.wait_ready()
        os.kill(gate.worker_pid, signal.SIGKILL)
        eventually(lambda: gate.log().count("another is started") == 1, 60)
        assert ask_while(lambda: None) == [200] * 8


def test_a_redis_that_is_away_keeps_nobody_out(upstream, redis):
    """Nor waits anybody for long: it is away at the start already."""
    config = configured(upstream, "redis://127.0.0.1:1/0")
    config["tenants"][0]["budget"]["on_error"] = "open"
    with Sluice(config) as gate:
        assert gate.chat("fast", key=KEY_ACME).status == 200
