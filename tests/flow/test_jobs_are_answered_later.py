# SPDX-License-Identifier: Apache-2.0
"""A job is accepted now and answered later: whatever dies meanwhile, it is done, once, and is paid for once."""

import hashlib
import hmac
import json
import threading
import time

import pytest
from harness import KEY_ACME, KEY_ACME_FAST, KEY_GLOBEX, Sluice, Upstream, chat_body, config_for, eventually, merged, model_for, run_cli, tenants
from redis_servers import Redis
from replicas import shared

CALL = {"model": "fast", "messages": [{"role": "user", "content": "hi"}]}
SECRET = "hook-5ecre7-0123456789"


def submit(gate, key=KEY_ACME, headers=(), **fields):
    got = gate.post("/v1/jobs", {**CALL, **fields}, key=key, headers=headers)
    assert got.status in (200, 202), got
    return got.json["id"]


def job(gate, name, wait=0, key=KEY_ACME):
    got = gate.get(f"/v1/jobs/{name}" + (f"?wait={wait}" if wait else ""), key=key, timeout=70)
    assert got.status == 200, got
    return got.json


def ended(gate, name, within=15, key=KEY_ACME):
    return eventually(lambda: (found := job(gate, name, key=key)) and found["status"] not in ("IN_QUEUE", "IN_PROGRESS") and found,
                      within, what=f"job {name} has ended")


def rows_of(gate, outcome="complete"):
    return [row for row in gate.ledger_rows() if row["operation"] == "chat" and row["outcome"] == outcome]


class Slow:
    """A model that answers when it is told to."""

    def __init__(self, upstream):
        self.go, self.calls, self.gone = threading.Event(), [], threading.Event()
        upstream.answer = self

    def __call__(self, call):
        self.calls.append(call)
        while not self.go.wait(0.02):
            if call.wait_gone(0.02) is not None:
                self.gone.set()
                return
        call.respond(200, chat_body("Hello"))


def test_a_job_is_accepted_and_answered(gate, upstream):
    upstream.answer = lambda call: call.respond(200, chat_body("Hello \u2603"))
    got = gate.post("/v1/jobs", CALL)
    assert got.status == 202 and got.json["status"] == "IN_QUEUE" and got.json["object"] == "job", got
    found = job(gate, got.json["id"], wait=20)
    assert found["status"] == "COMPLETED" and found["http_status"] == 200, found
    assert found["result"]["choices"][0]["message"]["content"] == "Hello \u2603"
    row = gate.ledger_row(found["request_id"])
    assert row["outcome"] == "complete" and row["cost_nanos"] == found["cost_nanos"] > 0 and row["tenant"] == "acme"
    assert upstream.last().json["messages"] == CALL["messages"]
    assert "x-sluice-job" not in upstream.last().fields


def test_any_dialects_call_can_be_a_job(gate, upstream):
    upstream.answer = lambda call: call.respond(200, chat_body("Hello"))
    body = {"model": "fast", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}
    got = gate.post("/v1/jobs", {"path": "/v1/messages", "body": body})
    found = job(gate, got.json["id"], wait=20)
    assert found["status"] == "COMPLETED" and found["result"]["type"] == "message", found
    got = gate.post("/v1/jobs", {"path": "/v1beta/models/fast:generateContent", "body": {"contents": [{"parts": [{"text": "hi"}]}]}})
    found = job(gate, got.json["id"], wait=20)
    assert found["result"]["candidates"], found


@pytest.mark.parametrize("fields, param", [
    ({"path": "/v1/files"}, "path"), ({"path": "/v1/models"}, "path"), ({"path": "/v1/jobs"}, "path"), ({"path": "/v1/batches"}, "path"),
    ({"path": "/admin/v1/keys"}, "path"), ({"path": "/v1beta/models/fast:streamGenerateContent"}, "path"), ({"stream": True}, "stream"),
    ({"model": 3}, "model"), ({"expires_in": 0}, "expires_in"), ({"expires_in": "x"}, "expires_in"), ({"body": []}, "body"),
    ({"webhook_url": "http://example.com/"}, "webhook_url"), ({"path": "/v1/../v1/chat/completions"}, "path")])
def test_what_cannot_be_a_job_is_refused_by_name(gate, upstream, fields, param):
    before = gate.get("/v1/jobs").json["data"]
    got = gate.post("/v1/jobs", {**CALL, **fields})
    assert got.status == 400 and got.error["param"] == param, got
    assert gate.get("/v1/jobs").json["data"] == before and not upstream.calls


def test_keys_open_only_what_they_may(gate, upstream):
    upstream.answer = lambda call: call.respond(200, chat_body("Hello"))
    assert gate.post("/v1/jobs", {**CALL, "model": "slow"}, key=KEY_ACME_FAST).status == 403
    assert gate.post("/v1/jobs", {**CALL, "model": "nobody"}).status == 404
    assert gate.post("/v1/jobs", CALL, key=None).status == 401
    name = submit(gate)
    assert ended(gate, name)["status"] == "COMPLETED"
    for method, path in (("GET", f"/v1/jobs/{name}"), ("DELETE", f"/v1/jobs/{name}"), ("GET", f"/v1/status/{name}"),
                         ("GET", f"/v1/jobs/{name}/logs")):
        assert gate.request(method, path, key=KEY_GLOBEX).status == 404, path
    assert name not in [j["id"] for j in gate.get("/v1/jobs", key=KEY_GLOBEX).json["data"]]
    assert gate.get("/v1/jobs?limit=1").json["data"][0]["id"] == name
    # The header that names a job opens nothing from outside.
    got = gate.post("/v1/chat/completions", CALL, key=None, headers=[("x-sluice-job", name)])
    assert got.status == 401


def test_an_idempotency_key_makes_one_job(gate, upstream):
    upstream.answer = lambda call: call.respond(200, chat_body("Hello"))
    once = [("Idempotency-Key", "order-7")]
    first, second = submit(gate, headers=once), submit(gate, headers=once)
    other, theirs = submit(gate), submit(gate, KEY_GLOBEX, headers=once)
    assert first == second and first not in (other, theirs)
    assert gate.post("/v1/jobs", {**CALL, "temperature": 1}, headers=once).status == 409
    for name, key in ((first, KEY_ACME), (other, KEY_ACME), (theirs, KEY_GLOBEX)):  # or they run in the next test
        ended(gate, name, key=key)
    assert [j["id"] for j in gate.get("/v1/jobs").json["data"]].count(first) == 1


def test_a_killed_gateway_runs_its_jobs_again_and_books_each_try_once(upstream):
    slow = Slow(upstream)
    with Sluice(config_for(upstream, jobs={"per_tenant": 2})) as gate:
        names = [submit(gate) for _ in range(4)]
        eventually(lambda: len(slow.calls) == 2, what="two run")
        gate.kill()
        gate.start()
        slow.go.set()
        for name in names:
            assert ended(gate, name, 30)["status"] == "COMPLETED"
        assert len(slow.calls) == 6, "two tries were cut, and made again"
        done = eventually(lambda: len(rows_of(gate)) == 4 and len(rows_of(gate, "lost")) == 2 and rows_of(gate), what="all are drained")
        assert len({row["id"] for row in done}) == 4
        assert {job(gate, name)["request_id"] for name in names} == {row["id"] for row in done}


def test_what_has_ended_outlives_a_restart(upstream):
    upstream.answer = lambda call: call.respond(200, chat_body("Hello"))
    with Sluice(config_for(upstream)) as gate:
        name = submit(gate)
        before = ended(gate, name)
        gate.kill()
        gate.start()
        assert job(gate, name) == before and before["result"]
        assert len(upstream.calls) == 1


def test_a_drained_gateway_leaves_its_queue_for_the_next(upstream):
    slow = Slow(upstream)
    with Sluice(config_for(upstream, jobs={"concurrency": 1}, server={"shutdown": {"drain_delay": "0s", "grace": "1s"}})) as gate:
        names = [submit(gate) for _ in range(3)]
        eventually(lambda: slow.calls, what="one runs")
        assert gate.stop() == 0
        gate.start()
        slow.go.set()
        assert [ended(gate, name, 30)["status"] for name in names] == ["COMPLETED"] * 3


def test_a_long_poll_wakes_at_the_end(gate, upstream):
    slow = Slow(upstream)
    name = submit(gate)
    eventually(lambda: slow.calls, what="it runs")
    threading.Timer(0.3, slow.go.set).start()
    begun = time.monotonic()
    assert job(gate, name, wait=30)["status"] == "COMPLETED"
    assert time.monotonic() - begun < 20, "it did not wait for the time to be over"


def test_a_long_poll_ends_when_its_time_is_over_and_may_be_left(gate, upstream):
    slow = Slow(upstream)
    name = submit(gate)
    assert job(gate, name, wait=1)["status"] in ("IN_QUEUE", "IN_PROGRESS")
    with gate.connect() as client:
        client.send(f"GET /v1/jobs/{name}?wait=60 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY_ACME}\r\n\r\n".encode())
        time.sleep(0.1)
    slow.go.set()
    assert ended(gate, name)["status"] == "COMPLETED"


def test_polling_every_10_ms_is_answered_from_memory(gate, upstream):
    slow = Slow(upstream)
    name = submit(gate)
    with gate.connect() as client:
        for _ in range(50):
            client.send(f"GET /v1/status/{name} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY_ACME}\r\n\r\n".encode())
            assert json.loads(client.read_response().body)["status"] in ("IN_QUEUE", "IN_PROGRESS")
            time.sleep(0.01)
    slow.go.set()
    assert ended(gate, name)["status"] == "COMPLETED"


def test_a_running_job_that_is_cancelled_cancels_its_call_and_is_booked(gate, upstream):
    slow = Slow(upstream)
    name = submit(gate)
    eventually(lambda: slow.calls, what="it runs")
    got = gate.request("DELETE", f"/v1/jobs/{name}")
    assert got.status == 200, got
    found = ended(gate, name)
    assert found["status"] == "CANCELLED" and found["error"]["type"] == "cancelled", found
    assert slow.gone.wait(30), "the provider's connection was closed"
    row = gate.ledger_row(found["request_id"])
    assert row["outcome"] == "partial" and row["status"] == 499, row
    assert gate.request("DELETE", f"/v1/jobs/{name}").json["status"] == "CANCELLED"
    assert len(slow.calls) == 1


def test_a_waiting_job_that_is_cancelled_is_never_run(upstream):
    slow = Slow(upstream)
    with Sluice(config_for(upstream, jobs={"concurrency": 1})) as gate:
        first, second = submit(gate), submit(gate)
        eventually(lambda: slow.calls, what="one runs")
        assert gate.request("DELETE", f"/v1/jobs/{second}").json["status"] == "CANCELLED"
        slow.go.set()
        assert ended(gate, first)["status"] == "COMPLETED" and job(gate, second)["status"] == "CANCELLED"
        assert len(slow.calls) == 1


def test_a_job_that_waits_too_long_expires(upstream):
    slow = Slow(upstream)
    with Sluice(config_for(upstream, jobs={"concurrency": 1})) as gate:
        submit(gate)
        eventually(lambda: slow.calls, what="one runs")
        late = submit(gate, expires_in=1)
        found = ended(gate, late)
        assert found["status"] == "EXPIRED" and gate.get(f"/v1/status/{late}").json["status"] == "FAILED", found
        slow.go.set()


def test_results_are_kept_for_a_while(upstream):
    upstream.answer = lambda call: call.respond(200, chat_body("Hello"))
    with Sluice(config_for(upstream, jobs={"keep": "1s"})) as gate:
        name = submit(gate)
        eventually(lambda: gate.get(f"/v1/jobs/{name}").status == 404, what="it is forgotten")
        assert gate.get("/v1/jobs").json["data"] == []


def test_tenants_take_turns(upstream):
    order, go = [], threading.Event()

    def answer(call):
        order.append(call.json["messages"][0]["content"])
        go.wait(60)
        call.respond(200, chat_body("Hello"))

    upstream.answer = answer
    with Sluice(config_for(upstream, jobs={"concurrency": 1, "per_tenant": 1})) as gate:
        names = [submit(gate, messages=[{"role": "user", "content": "acme"}]) for _ in range(8)]
        few = [submit(gate, KEY_GLOBEX, messages=[{"role": "user", "content": "globex"}]) for _ in range(3)]
        go.set()
        for name in few:
            ended(gate, name, key=KEY_GLOBEX)
        for name in names:
            ended(gate, name)
    assert order.count("acme") == 8 and order.count("globex") == 3
    assert max(i for i, who in enumerate(order) if who == "globex") <= 8, order


def test_a_job_without_a_key_is_not_run_once_one_is_needed(upstream):
    slow = Slow(upstream)
    with Sluice(config_for(upstream, tenants=[], jobs={"concurrency": 1})) as gate:
        names = [submit(gate, None) for _ in range(2)]
        eventually(lambda: len(slow.calls) == 1, what="the first one runs")
        assert run_cli("-c", gate.file, "tenants", "set", "local", "--models", "*", env=gate.env).returncode == 0
        key = run_cli("-c", gate.file, "keys", "create", "see", "--tenant", "local", env=gate.env).stdout.strip()
        eventually(lambda: gate.get("/v1/models", key=None).status == 401)
        slow.go.set()
        found = [ended(gate, name, key=key) for name in names]
        assert [one["status"] for one in found] == ["COMPLETED", "FAILED"] and "opens nothing" in str(found[1]), found
        assert len(slow.calls) == 1


def test_only_so_many_of_a_tenant_run_at_once(upstream):
    slow = Slow(upstream)
    with Sluice(config_for(upstream, jobs={"concurrency": 8, "per_tenant": 2})) as gate:
        names = [submit(gate) for _ in range(5)] + [submit(gate, KEY_GLOBEX)]
        eventually(lambda: len(slow.calls) == 3, what="two of one, one of the other")
        time.sleep(0.2)
        assert len(slow.calls) == 3
        slow.go.set()
        for name in names[:5]:
            ended(gate, name)


def test_the_queue_is_bounded(upstream):
    slow = Slow(upstream)
    with Sluice(config_for(upstream, jobs={"concurrency": 1, "queue_max": 3, "queue_max_per_tenant": 2})) as gate:
        submit(gate)
        eventually(lambda: slow.calls, what="one runs")
        submit(gate)
        submit(gate)
        got = gate.post("/v1/jobs", CALL)
        assert got.status == 429 and "queue_max_per_tenant" in got.error["message"], got
        submit(gate, KEY_GLOBEX)
        got = gate.post("/v1/jobs", CALL, key=KEY_GLOBEX)
        assert got.status == 503 and got.header("retry-after"), got
        slow.go.set()


def test_a_rate_limit_makes_a_job_wait_and_a_spent_budget_fails_it(upstream):
    upstream.answer = lambda call: call.respond(200, chat_body("Hello"))
    limited = tenants()
    limited[0]["limits"] = {"requests_per_second": 1}
    limited[1]["budget"] = {"amount": "0.000001 USD", "period": "day"}
    with Sluice(config_for(upstream, tenants=limited)) as gate:
        names = [submit(gate) for _ in range(3)]
        poor = submit(gate, KEY_GLOBEX)
        for name in names:
            found = ended(gate, name, 20)
            assert found["status"] == "COMPLETED" and found["attempts"] == 0, found
        found = ended(gate, poor, key=KEY_GLOBEX)
        assert found["status"] == "FAILED" and found["error"]["type"] == "insufficient_credits" and found["http_status"] == 402, found
        got = gate.get(f"/v1/status/{poor}", key=KEY_GLOBEX).json
        assert got["status"] == "FAILED" and got["result"]["errorMessage"], got
        assert len(upstream.calls) == 3
        got = gate.post("/v1/generate", {"model": "fast", "prompt": "hi"}, key=KEY_GLOBEX)
        assert got.status == 402 and got.error["type"] == "insufficient_credits" and got.json["message"], got


def test_a_provider_that_fails_is_asked_again_a_few_times(upstream):
    upstream.answer = lambda call: call.respond(500, b'{"error": {"message": "Oh."}}')
    with Sluice(config_for(upstream, jobs={"attempts": 2})) as gate:
        found = ended(gate, submit(gate), 30)
        assert found["status"] == "FAILED" and found["attempts"] == 1 and found["error"]["message"], found


def test_what_a_provider_refuses_is_not_asked_again(gate, upstream):
    upstream.answer = lambda call: call.respond(400, b'{"error": {"message": "No such voice."}}')
    found = ended(gate, submit(gate))
    assert found["status"] == "FAILED" and found["http_status"] == 400 and "No such voice." in found["error"]["message"], found
    assert len(upstream.calls) == 1


def test_an_answer_that_is_too_large_fails_its_job(upstream):
    upstream.answer = lambda call: call.respond(200, chat_body("x" * 5000))
    with Sluice(config_for(upstream, jobs={"result_max": "2KiB"})) as gate:
        found = ended(gate, submit(gate))
        assert found["status"] == "FAILED" and "result_max" in found["error"]["message"], found


# ------------------------------------------------------------------------------- webhooks


def signature(gate, call, key=KEY_ACME):
    secret = gate.get("/v1/jobs/webhook_secret", key=key).json["secret"]
    words = call.header("x-sluice-timestamp").encode() + b"." + call.body
    return "sha256=" + hmac.new(secret.encode(), words, hashlib.sha256).hexdigest()


def test_a_webhook_is_signed_and_told_until_it_is_heard(upstream):
    with Upstream() as receiver:
        answers = iter([500, 503, 204])
        receiver.answer = lambda call: call.respond(next(answers), b"")
        upstream.answer = lambda call: call.respond(200, chat_body("Hello"))
        hook = {"secret": SECRET, "backoff": "50ms", "allow_private": True}
        with Sluice(config_for(upstream, jobs={"webhook": hook})) as gate:
            url = receiver.url.removesuffix("/v1") + "/told?by=sluice"
            name = submit(gate, webhook_url=url)
            eventually(lambda: len(receiver.calls) == 3, what="it was told three times")
            for call in receiver.calls:
                assert call.method == "POST" and call.target == "/told?by=sluice" and call.header("x-sluice-job") == name
                assert call.header("x-sluice-signature") == signature(gate, call)
                assert call.json["status"] == "COMPLETED" and call.json["result"]["choices"]
                assert abs(int(call.header("x-sluice-timestamp")) - time.time()) < 60
            assert signature(gate, call) != signature(gate, call, KEY_GLOBEX), "each tenant has a secret of its own"
            time.sleep(0.3)
            assert len(receiver.calls) == 3
    assert SECRET not in gate.log()


def test_a_webhook_never_goes_where_it_may_not(upstream):
    with Upstream() as receiver:
        upstream.answer = lambda call: call.respond(200, chat_body("Hello"))
        hook = {"secret": SECRET, "backoff": "20ms", "attempts": 2}
        with Sluice(config_for(upstream, jobs={"webhook": hook})) as gate:
            for url in (receiver.url.removesuffix("/v1") + "/x", "http://169.254.169.254/latest/", "http://[::ffff:127.0.0.1]:9/"):
                assert ended(gate, submit(gate, webhook_url=url))["status"] == "COMPLETED"
            eventually(lambda: gate.log().count("was not told in 2 tries") == 3, what="all were given up")
            assert not receiver.calls
            for url in ("ftp://example.com/", "http://user:pw@example.com/", "http+unix:///tmp/x:/y", "http://exa mple.com/", "x" * 3000):
                assert gate.post("/v1/jobs", {**CALL, "webhook_url": url}).status == 400, url


def test_a_webhook_that_was_not_told_yet_is_told_after_a_restart(upstream):
    with Upstream() as receiver:
        good = threading.Event()
        receiver.answer = lambda call: call.respond(200 if good.is_set() else 500, b"")
        upstream.answer = lambda call: call.respond(200, chat_body("Hello"))
        hook = {"secret": SECRET, "backoff": "30s", "allow_private": True}
        with Sluice(config_for(upstream, jobs={"webhook": hook})) as gate:
            submit(gate, webhook_url=receiver.url.removesuffix("/v1") + "/told")
            eventually(lambda: receiver.calls, what="it was tried")
            good.set()
            gate.kill()
            gate.start()
            eventually(lambda: len(receiver.calls) == 2, what="it was told after the start")
            assert receiver.last().json["status"] == "COMPLETED"


# ------------------------------------------------------------------------------- replicas


@pytest.fixture()
def pair(upstream):
    """Two replicas on one Redis."""
    with Redis() as redis:
        config = {"store": shared(redis), "jobs": {"lease": "3s", "per_tenant": 8}}
        with Sluice(config_for(upstream, **config)) as one, Sluice(config_for(upstream, **config)) as two:
            yield one, two


def test_replicas_know_each_others_jobs(pair, upstream):
    upstream.answer = lambda call: call.respond(200, chat_body("Hello"))
    names = [submit(gate) for gate in pair for _ in range(3)]
    for name in names:
        found = [ended(gate, name) for gate in pair]
        assert found[0] == found[1] and found[0]["status"] == "COMPLETED" and found[0]["result"]["choices"], found
    assert len(upstream.calls) == 6
    assert {j["id"] for j in pair[1].get("/v1/jobs").json["data"]} == set(names)
    assert pair[0].get(f"/v1/jobs/{names[0]}", key=KEY_GLOBEX).status == 404


def test_a_long_poll_at_another_replica_wakes(pair, upstream):
    slow = Slow(upstream)
    name = submit(pair[0])
    eventually(lambda: slow.calls, what="it runs")
    threading.Timer(0.3, slow.go.set).start()
    begun = time.monotonic()
    assert job(pair[1], name, wait=30)["status"] == "COMPLETED"
    assert time.monotonic() - begun < 20


def test_any_replica_cancels_a_job_that_runs_at_another(pair, upstream):
    slow = Slow(upstream)
    name = submit(pair[0])
    eventually(lambda: slow.calls, what="it runs")
    for gate in pair:
        gate.request("DELETE", f"/v1/jobs/{name}")
    assert ended(pair[1], name)["status"] == "CANCELLED"
    assert slow.gone.wait(30)


@pytest.mark.timeout(120)
def test_the_other_replica_finishes_what_a_killed_one_had_begun(pair, upstream):
    slow = Slow(upstream)
    names = [submit(pair[0]) for _ in range(6)]
    eventually(lambda: len(slow.calls) == 6, what="all run")
    pair[0].kill()
    slow.go.set()
    try:
        for name in names:
            found = ended(pair[1], name, 60)  # the dead one's claim on the answer lasts 30 s
            assert found["status"] == "COMPLETED", json.dumps(found)
    finally:
        pair[0].start()
    ids = {job(pair[1], name)["request_id"] for name in names}
    done = eventually(lambda: len(rows := rows_of(pair[1]) + rows_of(pair[0])) >= 6 and rows, what="the ledger has them")
    assert ids <= {row["id"] for row in done} and len(ids) == 6


def test_the_other_replica_tells_a_webhook_that_a_killed_one_had_not_told(upstream):
    with Redis() as redis, Upstream() as receiver:
        good = threading.Event()
        receiver.answer = lambda call: call.respond(200 if good.is_set() else 500, b"")
        upstream.answer = lambda call: call.respond(200, chat_body("Hello"))
        config = {"store": shared(redis), "jobs": {"webhook": {"secret": SECRET, "backoff": "600s", "allow_private": True}}}
        with Sluice(config_for(upstream, **config)) as one:
            name = submit(one, webhook_url=receiver.url.removesuffix("/v1") + "/told")
            eventually(lambda: receiver.calls, what="it was tried")
            with Sluice(config_for(upstream, **config)) as two:
                time.sleep(2)
                assert len(receiver.calls) == 1, "as long as the one that tells it lives, nobody else does"
                one.may_crash = True
                one.kill()
                good.set()
                eventually(lambda: len(receiver.calls) == 2, 30, what="the other one tells it")
                told = receiver.last()
                assert told.header("x-sluice-job") == name and told.header("x-sluice-signature") == signature(two, told)
                assert told.json["status"] == "COMPLETED" and told.json["result"]["choices"], told.json
                eventually(lambda: not redis.command("ZCARD", "sluice:{jobs}:tell"), what="nobody tells it again")


def test_jobs_wait_while_redis_is_away(upstream):
    upstream.answer = lambda call: call.respond(200, chat_body("Hello"))
    with Redis() as redis, Sluice(config_for(upstream, store=shared(redis))) as gate:
        assert ended(gate, submit(gate))["status"] == "COMPLETED"
        redis.kill()
        got = gate.post("/v1/jobs", CALL)
        assert got.status == 503, got
        redis.restart()
        name = eventually(lambda: (got := gate.post("/v1/jobs", CALL)).status == 202 and got.json["id"], 20, what="Redis is back")
        assert ended(gate, name)["status"] == "COMPLETED"


# ------------------------------------------------------------------------------- sizes


def test_a_payload_that_is_too_large_is_refused(upstream):
    with Sluice(config_for(upstream, jobs={"payload_max": "2KiB"})) as gate:
        assert gate.post("/v1/jobs", {**CALL, "user": "x" * 4000}).status == 413


def test_what_is_kept_is_bounded(upstream):
    upstream.answer = lambda call: call.respond(200, chat_body("x" * 600000))
    with Sluice(config_for(upstream, jobs={"disk_max": "1MiB"})) as gate:
        assert ended(gate, submit(gate))["status"] == "COMPLETED"
        assert ended(gate, submit(gate))["status"] == "COMPLETED"
        assert gate.post("/v1/jobs", CALL).status == 503


def test_a_configuration_says_how_many(upstream):
    slow = Slow(upstream)
    config = config_for(upstream, jobs={"concurrency": 1})
    with Sluice(config) as gate:
        names = [submit(gate), submit(gate)]
        eventually(lambda: len(slow.calls) == 1, what="one runs")
        gate.write(merged(config, {"jobs": {"concurrency": 4}}))
        assert gate.cli("reload").returncode == 0
        eventually(lambda: len(slow.calls) == 2, what="the other one runs, too")
        slow.go.set()
        for name in names:
            ended(gate, name)
    assert model_for("fast")
