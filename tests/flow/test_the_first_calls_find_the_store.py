# SPDX-License-Identifier: Apache-2.0
"""Who is ready counts: the first call on each worker, of each tenant, is let in, also where Redis is far away."""

import pytest
from harness import KEY_ACME, KEY_GLOBEX, Sluice, config_for
from link import Link
from redis_servers import Redis

pytestmark = pytest.mark.threads
WORKERS = 4


def configured(upstream, url):
    config = config_for(upstream, store={"type": "redis", "redis": {"url": url}})
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
