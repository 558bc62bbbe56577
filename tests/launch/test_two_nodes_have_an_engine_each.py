# SPDX-License-Identifier: Apache-2.0
"""Two gateways that share a Redis, each with a container engine of its own: whoever leads uses its own, nothing is there
twice, and what a leader that died has left in its engine is looked after again when that one leads."""

import contextlib
import signal

from deployed import Desk, deployed
from engine import Engine
from harness import Sluice, eventually
from redis_servers import Redis
from replicas import shared

SERVER = {"name": "boxed", "launcher": "docker", "image": "localhost/fake", "engine": "openai", "scaling": {"min": 1},
          "command": ["/fakellm", "--host", "0.0.0.0", "--port", "{port}", "--say", "boxed", "--model", "boxed-model"],
          "probe": {"interval": "50ms", "liveness": "200ms"}, "stop": {"drain": "1s", "grace": "1s"},
          "restart": {"backoff": "100ms", "max_backoff": "500ms"}}


def begin(stack, redis, engine, directory=None):
    nodes = [{"name": "dock", "launcher": "docker", "endpoint": engine.endpoint}]
    gate = Sluice(deployed(SERVER, nodes=nodes, store=shared(redis)), directory=directory)
    stack.push(gate)
    return gate, Desk(gate)


def role(desk):
    return desk.ask("GET", "/deployments").json["cluster"]["role"]


def answers(gate):
    return gate.chat("boxed", options={"timeout": 40}).status == 200


def test_the_next_leader_starts_its_own_and_the_first_finds_what_it_left():
    with contextlib.ExitStack() as stack:
        redis, here, there = Redis(), stack.enter_context(Engine("podman")), stack.enter_context(Engine("podman"))
        stack.callback(redis.end)
        first, leads = begin(stack, redis, here)
        eventually(lambda: role(leads) == "leads", what="the first leads")
        second, follows = begin(stack, redis, there)
        eventually(lambda: answers(first) and answers(second), 40, what="both use the one that runs")
        [left] = here.containers()
        assert not there.containers()
        first.may_crash = True
        first.kill()
        eventually(lambda: role(follows) == "leads", 20, what="the second leads")
        assert answers(second)
        assert len(here.containers()) == 1 and len(there.containers()) <= 1
        first, leads = begin(stack, redis, here, first.directory)
        eventually(lambda: role(leads) == "follows", 20, what="the first follows")
        eventually(lambda: len(there.containers()) == 1, 20, what="its node does not look after it any more: the leader has its own")
        eventually(lambda: answers(first) and answers(second), 40, what="both use it")
        assert len(there.containers()) == 1
        second.stop()
        eventually(lambda: role(leads) == "leads", 20, what="the first leads again")
        eventually(lambda: answers(first), 40, what="it answers")
        assert [each["Id"] for each in here.containers()] == [left["Id"]], "what it left was found again"
        [other] = there.containers()  # nobody looks after it now
        second, follows = begin(stack, redis, there, second.directory)
        first.stop()
        eventually(lambda: role(follows) == "leads", 20, what="the second leads again")
        eventually(lambda: answers(second), 40, what="it answers")
        assert [each["Id"] for each in there.containers()] == [other["Id"]], "and has found what it had left"


def test_two_that_share_an_engine_and_end_at_once_leave_no_container():
    with contextlib.ExitStack() as stack:
        redis, engine = Redis(), stack.enter_context(Engine("podman"))
        stack.callback(redis.end)
        first, leads = begin(stack, redis, engine)
        eventually(lambda: role(leads) == "leads", what="the first leads")
        second, _ = begin(stack, redis, engine)
        eventually(lambda: answers(first) and answers(second), 40, what="both use the one that runs")
        assert len(engine.containers()) == 1
        for gate in (first, second):
            gate.process.send_signal(signal.SIGTERM)
        for gate in (first, second):
            gate.process.wait(30)
            assert gate.stop() == 0
        assert not engine.containers()
