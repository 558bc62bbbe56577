# SPDX-License-Identifier: Apache-2.0
"""Each limit and budget that a call would meet: how much is left, what the call would hold, and whether it would be let in. Asking
holds nothing, and is right: what then happens is what was said."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import Upstream, chat_body, eventually
from raw_client import Client
from redis_servers import Redis
from replicas import Fleet, key_of, shared, tenant

pytestmark = pytest.mark.threads
USAGE = {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30}
SPENT = 20 * 1000 + 10 * 4000  # nano-dollars of a call (harness.PRICE)
BODY = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 50}
LIMITS = {"limits": {"requests_per_minute": 3, "concurrent": 2},
          "budgets": [{"amount": "0.01 USD", "period": "total"}]}


@pytest.fixture(params=["embedded", "redis"])
def store(request):
    if request.param == "embedded":
        yield None
        return
    with Redis() as server:
        yield server


def fleet_of(redis, upstream, count, **changes):
    tenants = [tenant("acme", may_set=["explain"], **changes),
               {**tenant("inner", parent="acme"), "keys": [{**tenant("inner")["keys"][0], "limits": {"tokens_per_minute": 1000}}]}]
    return Fleet(count, tenants, {"fast": "m"}, shared(redis) if redis else None, upstream)


def explain(gate, name="acme", key="main", **fields):
    with Client(str(gate.state / "admin.sock")) as client:
        answer = client.request("POST", "/admin/v1/explain", [("Content-Type", "application/json")],
                                json.dumps({"tenant": name, "key": key, "body": {"model": "fast", **BODY, **fields}}))
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def limits_of(said):
    return {one["id"]: one for one in said["limits"]}


def call(gate, name="acme", **fields):
    return gate.post("/v1/chat/completions", {"model": "fast", **BODY, **fields}, key=key_of(name))


def answering(call_):
    call_.respond(200, chat_body(usage=USAGE))


def test_each_limit_with_what_is_left_of_it(store):
    with Upstream(answering) as upstream, fleet_of(store, upstream, 2 if store else 1, **LIMITS) as fleet:
        if store:
            fleet.wait_together()
        first, last = fleet.gates[0], fleet.gates[-1]
        for _ in range(5):  # asking takes nothing
            whole = explain(first, "inner")
        said, tokens = limits_of(whole), whole["tokens"]
        names = {"k/inner/main:tokens_per_minute", "t/acme:requests_per_minute", "t/acme:concurrent", "t/acme:budget_total"}
        assert set(said) == names
        assert said["t/acme:requests_per_minute"]["left"] == 3
        assert said["t/acme:budget_total"] | {"reserves": 0} == {
            "id": "t/acme:budget_total", "limit": "budget_total", "model": "", "unit": "nanos", "exceeded": "reject",
            "amount": 10_000_000, "left": 10_000_000, "reserves": 0, "admitted": True}
        assert said["t/acme:budget_total"]["reserves"] == tokens["input_bound"] * 1000 + tokens["output_bound"] * 4000
        assert said["k/inner/main:tokens_per_minute"]["left"] == 1000
        for number, gate in enumerate((first, last)):
            assert call(gate, "inner").status == 200
            left = {"t/acme:requests_per_minute": 2 - number, "t/acme:concurrent": 2,
                    "t/acme:budget_total": 10_000_000 - SPENT * (number + 1), "k/inner/main:tokens_per_minute": 1000 - 30 * (number + 1)}
            for asked in fleet.gates:  # with Redis: once what was held too much has been given back
                eventually(lambda asked=asked, left=left: {
                    name: one["left"] for name, one in limits_of(explain(asked, "inner")).items()} == left, 8, every=0.1)


def test_what_would_be_refused_is_said_and_then_is(store):
    with Upstream(answering) as upstream, fleet_of(store, upstream, 1, **LIMITS) as fleet:
        gate = fleet.gates[0]
        if store:
            fleet.wait_together()
        for _ in range(3):
            assert "refused" not in explain(gate)
            assert call(gate).status == 200
        said = explain(gate)
        assert limits_of(said)["t/acme:requests_per_minute"]["admitted"] is False
        assert limits_of(said)["t/acme:budget_total"]["admitted"] is True
        refused = call(gate)
        assert refused.status == said["refused"]["status"] == 429
        ours, theirs = (words.partition(";")[0] for words in (said["refused"]["message"], refused.error["message"]))
        assert ours == theirs


def test_a_call_that_is_too_dear_for_a_budget(store):
    budget = {"budgets": [{"amount": "0.001 USD", "period": "day"}]}
    with Upstream(answering) as upstream, fleet_of(store, upstream, 1, **budget) as fleet:
        gate = fleet.gates[0]
        if store:
            fleet.wait_together()
        said = explain(gate, max_tokens=3)
        assert "refused" not in said and limits_of(said)["t/acme:budget_per_day"]["admitted"] is True
        said = explain(gate, n=8)
        assert limits_of(said)["t/acme:budget_per_day"]["admitted"] is False
        refused = call(gate, n=8)
        assert (refused.status, said["refused"]["status"]) == (429, 429)
        assert refused.error["message"].startswith(said["refused"]["message"]), (said, refused.error)


def test_what_others_hold_is_seen(store):
    with Upstream(lambda call_: (time.sleep(2), answering(call_))) as upstream, \
            fleet_of(store, upstream, 2 if store else 1, **LIMITS) as fleet, ThreadPoolExecutor(1) as pool:
        if store:
            fleet.wait_together()
        running = pool.submit(call, fleet.gates[0])
        upstream.wait_calls(1)
        time.sleep(0.5 if store else 0)
        said = limits_of(explain(fleet.gates[-1]))
        assert said["t/acme:concurrent"]["left"] <= 1
        assert said["t/acme:budget_total"]["left"] < 10_000_000
        assert running.result().status == 200


def test_without_the_store_it_is_not_known():
    with Redis() as redis, Upstream(answering) as upstream, fleet_of(redis, upstream, 1, **LIMITS) as fleet:
        fleet.wait_together()
        gate = fleet.gates[0]
        redis.kill()
        fleet.wait_store(0)
        begun = time.monotonic()
        said = explain(gate)
        assert time.monotonic() - begun < 15
        assert {(one["left"], one["admitted"]) for one in said["limits"]} == {(None, None)}
        assert said["choice"] == "fast-1" and "refused" not in said


def test_the_command_line_and_the_header_say_it_too(tmp_path):
    with Upstream(answering) as upstream, fleet_of(None, upstream, 1, **LIMITS) as fleet:
        gate = fleet.gates[0]
        file = tmp_path / "request.json"
        file.write_text(json.dumps({"model": "fast", **BODY}))
        done = gate.cli("explain", str(file), "--tenant", "acme", "--key", "main")
        assert done.returncode == 0, done.stderr
        line = next(line for line in done.stdout.splitlines() if "budget_total" in line)
        assert "$0.010000" in line and line.endswith("yes"), done.stdout
        answer = gate.post("/v1/chat/completions", {"model": "fast", **BODY}, key=key_of("acme"), headers={"x-sluice-explain": "1"})
        said = {one["id"]: one for one in json.loads(answer.header("x-sluice-limits"))}
        assert said["t/acme:requests_per_minute"]["left"] == 2
        assert said["t/acme:budget_total"]["reserves"] > 50 * 4000
        quiet = call(gate)
        assert quiet.status == 200 and quiet.header("x-sluice-limits") is None
