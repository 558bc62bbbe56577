# SPDX-License-Identifier: Apache-2.0
"""Files, batches and stored responses on several gateways with one Redis: each knows whose they are, whoever made
them, and what is another tenant's is not there through any of them."""

import contextlib
import itertools
import json
import time

import pytest
from harness import (
    KEY_ACME, KEY_GLOBEX, SANITIZED, Sluice, chat_body, config_for, eventually, request_bytes, sha256_hash,
)
from redis_servers import Cluster, Redis
from replicas import shared

pytestmark = pytest.mark.threads
BOUNDARY = "xxBOUNDARYxx"
TYPE = ("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
COUNT = itertools.count(1)
CALL = {"model": "upstream-model", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9}
LINE = json.dumps({"custom_id": "one", "method": "POST", "url": "/v1/chat/completions", "body": CALL})
YOUNG = 5  # seconds for which what Redis does not know is not believed to be nobody's
INPUT, OUTPUT = 1000, 4000


class Provider:
    """It keeps files, batches and responses, and knows nothing of tenants."""

    def __init__(self):
        self.made = {}

    def __call__(self, call):
        kind, _, rest = call.path.removeprefix("/v1/").partition("/")
        name, _, _ = rest.partition("/")
        if kind == "chat":
            call.respond(200, chat_body())
        elif call.method == "POST" and not rest:
            prefix = {"files": "file-", "batches": "batch_", "responses": "resp_"}[kind]
            made = {"id": f"{prefix}{next(COUNT):06d}", "object": kind.removesuffix("es" if kind == "batches" else "s"),
                    "created_at": 1, "status": "in_progress" if kind == "batches" else "completed"}
            self.made[made["id"]] = made
            call.respond(200, made)
        elif call.method == "GET" and not rest:
            data = [item for item in self.made.values() if item["object"] == kind.removesuffix("es" if kind == "batches" else "s")]
            call.respond(200, {"object": "list", "data": data, "has_more": False})
        elif name not in self.made:
            call.respond(404, {"error": {"message": f"no {name}", "type": "invalid_request_error"}})
        elif call.method == "DELETE":
            del self.made[name]
            call.respond(200, {"id": name, "deleted": True})
        else:
            call.respond(200, self.made[name])

    def end(self, name):
        self.made[name] |= {"status": "completed", "request_counts": {"total": 1, "completed": 1, "failed": 0},
                            "usage": {"input_tokens": 30, "output_tokens": 20, "total_tokens": 50}}


@contextlib.contextmanager
def two(redis, upstream, **changes):
    """Two gateways that are sure of what Redis does not know."""
    tenants = [{"name": name, "models": ["*"], "keys": [{"name": "main", "hash": sha256_hash(key)}]}
               for name, key in (("acme", KEY_ACME), ("globex", KEY_GLOBEX))]
    with contextlib.ExitStack() as stack:
        gates = [stack.enter_context(Sluice(config_for(
            upstream, tenants=tenants, **changes,
            store=shared(redis)))) for _ in range(2)]
        for gate in gates:
            eventually(lambda gate=gate: get(gate, "files", "file-nobodys") == 404, 20, what="it is sure")
        yield gates


@pytest.fixture(autouse=True)
def provider(upstream, watched):
    upstream.answer = Provider()
    return upstream.answer


@pytest.fixture(scope="module")
def calm(upstream):
    """Two that nothing befalls."""
    upstream.answer = Provider()
    with Redis() as server, two(server, upstream, batches={"poll": "1h"}) as both:
        yield both


@pytest.fixture
def redis():
    with Redis() as server:
        yield server


@pytest.fixture
def gates(redis, upstream):
    with two(redis, upstream) as both:
        yield both


def upload(gate, key=KEY_ACME):
    body = (f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n{LINE}\r\n'
            f"--{BOUNDARY}--\r\n").encode()
    with gate.connect() as client:
        answer = client.send(request_bytes("POST", "/v1/files", [("Authorization", f"Bearer {key}"), TYPE], body)).read_response()
    assert answer.status == 200, answer
    return answer.json["id"]


def submit(gate, file, key=KEY_ACME):
    return gate.post("/v1/batches", {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}, key=key)


def respond(gate, key=KEY_ACME, **fields):
    return gate.post("/v1/responses", {"model": "fast", "input": "x", "store": True, **fields}, key=key)


def make(gate, kind, key=KEY_ACME):
    if kind == "files":
        return upload(gate, key)
    answer = submit(gate, upload(gate, key), key) if kind == "batches" else respond(gate, key)
    assert answer.status == 200, answer
    return answer.json["id"]


def get(gate, kind, name, key=KEY_ACME):
    return gate.get(f"/v1/{kind}/{name}", key=key).status


def name_file(gate, file, key=KEY_ACME):
    """The status of a chat that names the file."""
    part = [{"type": "file", "file": {"file_id": file}}, {"type": "text", "text": "Hi"}]
    return gate.chat(key=key, messages=[{"role": "user", "content": part}]).status


KINDS = ["files", "batches", "responses"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_one_has_made_its_owner_uses_through_the_other(calm, kind):
    """At once: the other knows before the client does."""
    for i in range(5 if SANITIZED else 30):
        name = make(calm[i % 2], kind)
        assert get(calm[1 - i % 2], kind, name) == 200
    assert get(calm[0], kind, name, KEY_GLOBEX) == get(calm[1], kind, name, KEY_GLOBEX) == 404


def test_a_foreign_one_is_not_there_through_the_other_either(calm, upstream):
    names = {kind: make(calm[0], kind) for kind in KINDS}
    before = len(upstream.calls)
    for gate in calm:
        for kind, name in names.items():
            assert get(gate, kind, name, KEY_GLOBEX) == 404
            assert gate.request("DELETE", f"/v1/{kind}/{name}", key=KEY_GLOBEX).status in (404, 405)
        assert name_file(gate, names["files"], KEY_GLOBEX) == 404
        assert submit(gate, names["files"], KEY_GLOBEX).status == 404
        assert respond(gate, KEY_GLOBEX, previous_response_id=names["responses"]).status == 404
    assert len(upstream.calls) == before, "the provider was asked"
    for gate in calm:
        assert name_file(gate, names["files"]) == 200
        assert respond(gate, previous_response_id=names["responses"]).status == 200
        assert name_file(gate, "file-of-the-console") == 200, "what was uploaded elsewhere may be named"


def test_a_list_shows_what_was_made_through_both(calm):
    for kind in ("files", "batches"):
        ours = [make(calm[0], kind), make(calm[1], kind)]
        make(calm[0], kind, KEY_GLOBEX), make(calm[1], kind, KEY_GLOBEX)
        for gate in calm:
            seen = [item["id"] for item in gate.get(f"/v1/{kind}").json["data"]]
            assert set(ours) <= set(seen)
            theirs = [item["id"] for item in gate.get(f"/v1/{kind}", key=KEY_GLOBEX).json["data"]]
            assert theirs and not set(theirs) & set(seen)


def test_what_was_deleted_through_one_is_gone_everywhere(gates, redis, provider):
    name = upload(gates[0])
    assert gates[1].request("DELETE", f"/v1/files/{name}").status == 200
    assert get(gates[1], "files", name) == 404 and get(gates[0], "files", name) == 404
    redis.flushall()
    provider.made[name] = {"id": name, "object": "file"}  # who asks for it hears of the ledger, not of the provider
    eventually(lambda: told(redis, name) == b"", 20, what="Redis is told again that it is gone")
    eventually(lambda: get(gates[1], "files", name) == 404, 20, what="it is sure again")


def told(redis, name):
    """What Redis knows of it: None = nothing, b"" = it is gone."""
    value = redis.command("GET", "sluice:{ledger}:object:" + name)
    return value and value.partition(b" ")[2]


def test_while_redis_is_away_nobody_says_whose_it_is(gates, redis):
    name, other = upload(gates[0]), upload(gates[1])
    redis.kill()
    assert get(gates[0], "files", name) == 200, "its own it knows"
    assert get(gates[1], "files", name) == 503
    assert name_file(gates[1], name, KEY_GLOBEX) == 503
    assert name_file(gates[1], other) in (200, 503)  # 503: by a limit of the call
    made = upload(gates[0])
    redis.start()
    eventually(lambda: get(gates[1], "files", name) == 200, 20, what="it is known again")
    eventually(lambda: get(gates[1], "files", made) == 200, 20, what="what was made meanwhile is known")
    asked = [name_file(gates[1], each, KEY_GLOBEX) for each in (name, made) * 10]
    assert set(asked) <= {404, 503}, asked  # 503: Redis was too late for a limit of the call
    eventually(lambda: name_file(gates[1], name, KEY_GLOBEX) == name_file(gates[1], made, KEY_GLOBEX) == 404, 20)


def test_what_redis_forgets_it_is_told_again_and_nobody_slips_in_meanwhile(gates, redis):
    names = [upload(gates[0]) for _ in range(20)]
    for _ in range(2):
        redis.flushall()
        until, seen = time.monotonic() + YOUNG + 3, set()
        while time.monotonic() < until:
            for name in names[::7]:
                seen |= {name_file(gates[1], name, KEY_GLOBEX), get(gates[1], "files", name, KEY_GLOBEX)}
        assert seen <= {404, 503} and 404 in seen, seen
        assert [get(gates[1], "files", name) for name in names] == [200] * len(names)


def test_a_killed_one_has_told_what_its_clients_know(gates, redis):
    names = {kind: make(gates[0], kind) for kind in KINDS}
    gates[0].kill()
    for kind, name in names.items():
        assert get(gates[1], kind, name) == 200
        assert get(gates[1], kind, name, KEY_GLOBEX) == 404
    redis.flushall()  # and it cannot tell
    assert get(gates[1], "files", names["files"]) == 503
    gates[0].start()
    for kind, name in names.items():
        eventually(lambda kind=kind, name=name: get(gates[1], kind, name) == 200, 20, what="it has told again")


def test_what_was_made_while_redis_was_away_survives_a_kill(gates, redis):
    redis.kill()
    name = upload(gates[0])
    gates[0].kill()
    redis.start()
    gates[0].start()
    eventually(lambda: get(gates[1], "files", name) == 200, 20, what="it has told what it had noted")
    assert get(gates[1], "files", name, KEY_GLOBEX) == 404


def test_a_batch_that_is_polled_through_the_other_is_booked_once(redis, upstream, provider):
    with two(redis, upstream, batches={"poll": "1s"}) as gates:
        file = upload(gates[0])
        name = submit(gates[1], file).json["id"]  # the file's facts come from the other, too
        for gate in gates:
            assert gate.get(f"/v1/batches/{name}").json["status"] == "in_progress"
        provider.end(name)
        for gate in gates * 3:
            assert gate.get(f"/v1/batches/{name}").json["status"] == "completed"
        cost = 30 * INPUT + 20 * OUTPUT
        for gate in gates:
            eventually(lambda gate=gate: gate.usage_total("cost_nanos", operation="batch") == cost, 20,
                       what="each of them says what it cost")
        time.sleep(2.5)
        assert [len(gate.ledger_rows(name)) for gate in gates] == [0, 1]
        assert all(gate.usage_total("cost_nanos", operation="batch") == cost for gate in gates)


def test_on_a_cluster_that_loses_a_master(upstream):
    """Also what its replica had not heard of comes back."""
    with Cluster() as cluster, two(cluster, upstream) as gates:
        names = {kind: make(gates[0], kind) for kind in KINDS}
        cluster.owner(cluster.slot("sluice:{ledger}:objects")).kill()
        last = upload(gates[0])
        for kind, name in (*names.items(), ("files", last)):
            assert get(gates[1], kind, name, KEY_GLOBEX) in (404, 503)
            eventually(lambda kind=kind, name=name: get(gates[1], kind, name) == 200, 30, what="it is known")
            eventually(lambda kind=kind, name=name: get(gates[1], kind, name, KEY_GLOBEX) == 404, 30, what="and whose")


def test_the_ledger_alone_answers_without_redis(upstream, provider):
    """store: memory, as ever: what is not found is nobody's at once."""
    with Sluice(config_for(upstream)) as gate:
        assert get(gate, "files", "file-nobodys") == 404
        assert get(gate, "files", upload(gate)) == 200
