# SPDX-License-Identifier: Apache-2.0
"""Files, batches and stored responses: a foreign id is 404, a list shows one's own."""

import itertools

import pytest
from harness import KEY_ACME, KEY_ACME_FAST, KEY_GLOBEX, KEY_WRONG, request_bytes

pytestmark = pytest.mark.threads
BOUNDARY = "xxBOUNDARYxx"
TYPE = ("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
COUNT = itertools.count(1)
LINE = '{"url": "/v1/chat/completions", "body": {"model": "upstream-model", "max_tokens": 9}}'


class Store:
    """A provider that keeps files, batches and responses, and knows nothing of tenants."""

    def __init__(self):
        self.made = {}

    def __call__(self, call):
        kind, _, rest = call.path.removeprefix("/v1/").partition("/")
        name, _, action = rest.partition("/")
        if call.method == "POST" and not rest:
            prefix = {"files": "file-", "batches": "batch_", "responses": "resp_"}[kind]
            made = {"id": f"{prefix}{next(COUNT):06d}", "object": kind.removesuffix("s"), "created_at": 1,
                    "status": "in_progress" if kind == "batches" else "completed"}
            self.made[made["id"]] = made
            call.respond(200, made)
        elif call.method == "GET" and not rest:
            data = [item for item in self.made.values() if item["object"] in kind]
            call.respond(200, {"object": "list", "data": data, "has_more": False, "first_id": data and data[0]["id"]})
        elif name not in self.made:
            call.respond(404, {"error": {"message": f"no {name}", "type": "invalid_request_error", "param": None, "code": None}})
        elif call.method == "DELETE":
            del self.made[name]
            call.respond(200, {"id": name, "deleted": True})
        else:
            call.respond(200, self.made[name] | {"action": action})


@pytest.fixture(autouse=True)
def store(upstream, watched):
    upstream.answer = Store()
    return upstream.answer


def upload(gate, key=KEY_ACME):
    body = (f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n{LINE}\r\n'
            f"--{BOUNDARY}--\r\n").encode()
    with gate.connect() as client:
        answer = client.send(request_bytes("POST", "/v1/files", [("Authorization", f"Bearer {key}"), TYPE], body)).read_response()
    assert answer.status == 200, answer
    return answer.json["id"]


def batch(gate, key=KEY_ACME, file=None):
    return gate.post("/v1/batches", {"input_file_id": file or upload(gate, key), "endpoint": "/v1/chat/completions",
                                     "completion_window": "24h"}, key=key)


def response(gate, key=KEY_ACME, **fields):
    return gate.post("/v1/responses", {"model": "fast", "input": "x", "store": True, **fields}, key=key)


def make(gate, kind, key=KEY_ACME):
    if kind == "files":
        return upload(gate, key)
    answer = batch(gate, key) if kind == "batches" else response(gate, key)
    assert answer.status == 200, answer
    return answer.json["id"]


WAYS = {
    "files": [("GET", ""), ("GET", "/content"), ("DELETE", "")],
    "batches": [("GET", ""), ("POST", "/cancel")],
    "responses": [("GET", ""), ("GET", "/input_items"), ("POST", "/cancel"), ("DELETE", "")],
}
ALL = [(kind, method, action) for kind, ways in WAYS.items() for method, action in ways]


def ask(gate, method, path, key):
    return gate.request(method, path, b"" if method == "POST" else None, key=key)


@pytest.mark.parametrize("kind, method, action", ALL)
def test_ones_own(gate, upstream, kind, method, action):
    name = make(gate, kind)
    answer = ask(gate, method, f"/v1/{kind}/{name}{action}", KEY_ACME)
    assert answer.status == 200, answer
    assert upstream.last().target == f"/v1/{kind}/{name}{action}"


@pytest.mark.parametrize("kind, method, action", ALL)
def test_a_foreign_one_is_not_there(gate, upstream, kind, method, action):
    name = make(gate, kind, KEY_GLOBEX)
    before = len(upstream.calls)
    foreign = ask(gate, method, f"/v1/{kind}/{name}{action}", KEY_ACME)
    nobodys = ask(gate, method, f"/v1/{kind}/{name[:-1]}x{action}", KEY_ACME)
    assert foreign.status == nobodys.status == 404, (foreign, nobodys)
    assert foreign.error["type"] == "invalid_request_error"
    assert foreign.error["message"].replace(name, "").replace(foreign.header("x-request-id"), "") == nobodys.error[
        "message"].replace(name[:-1] + "x", "").replace(nobodys.header("x-request-id"), "")
    assert len(upstream.calls) == before, "the provider was asked for a foreign object"
    assert ask(gate, "GET", f"/v1/{kind}/{name}", KEY_GLOBEX).status == 200


def test_another_key_of_the_same_tenant_sees_it(gate):
    name = upload(gate, KEY_ACME)
    assert ask(gate, "GET", f"/v1/files/{name}", KEY_ACME_FAST).status == 200


def test_a_wrong_key_sees_nothing(gate):
    name = upload(gate)
    assert ask(gate, "GET", f"/v1/files/{name}", KEY_WRONG).status == 401
    assert ask(gate, "GET", f"/v1/files/{name}", None).status == 401


@pytest.mark.parametrize("kind", ["files", "batches"])
def test_a_list_shows_ones_own(gate, upstream, kind):
    ours, theirs = make(gate, kind), make(gate, kind, KEY_GLOBEX)
    for key, seen, unseen in ((KEY_ACME, ours, theirs), (KEY_GLOBEX, theirs, ours)):
        answer = gate.get(f"/v1/{kind}?limit=50", key=key)
        assert answer.status == 200, answer
        ids = [item["id"] for item in answer.json["data"]]
        assert seen in ids and unseen not in ids, ids
        assert unseen not in answer.text
    assert upstream.last().target == f"/v1/{kind}?limit=50"


def test_what_was_deleted_is_gone(gate, upstream):
    name = upload(gate)
    assert ask(gate, "DELETE", f"/v1/files/{name}", KEY_ACME).status == 200
    assert ask(gate, "GET", f"/v1/files/{name}", KEY_ACME).status == 404


def test_a_foreign_file_cannot_be_used(gate, upstream):
    """Not by a batch either."""
    theirs = upload(gate, KEY_GLOBEX)
    before = len(upstream.calls)
    answer = batch(gate, KEY_ACME, file=theirs)
    assert answer.status == 404, answer
    assert len(upstream.calls) == before


def test_a_foreign_conversation_cannot_be_continued(gate, upstream):
    theirs = make(gate, "responses", KEY_GLOBEX)
    before = len(upstream.calls)
    answer = response(gate, KEY_ACME, previous_response_id=theirs)
    assert answer.status == 404, answer
    assert len(upstream.calls) == before
    assert response(gate, KEY_GLOBEX, previous_response_id=theirs).status == 200


def test_a_conversation_goes_on_with_the_model_that_is_asked_for(gate, upstream):
    first = response(gate, KEY_ACME, model="slow")
    assert upstream.last().json["model"] == "other-model"
    answer = response(gate, KEY_ACME_FAST, previous_response_id=first.json["id"])  # this key may not call "slow"
    assert answer.status == 200 and answer.header("x-sluice-target") == "fast-1", answer
    assert upstream.last().json["model"] == "upstream-model"


def test_a_conversation_stays_with_its_provider(upstream):
    from harness import Sluice, Upstream, config_for, model_for, provider_for

    with Upstream(Store()) as other:
        providers = [provider_for(upstream), provider_for(other, "other")]
        models = [model_for("fast"), model_for("slow", provider="other")]
        with Sluice(config_for(upstream, providers=providers, models=models)) as gate:
            first = response(gate, KEY_ACME)
            answer = response(gate, KEY_ACME, model="slow", previous_response_id=first.json["id"])
            assert (answer.status, answer.json["error"]["param"]) == (400, "previous_response_id"), answer
            assert not other.calls


@pytest.mark.parametrize("name", ["..", "%2e%2e", "a%2fb", "a/b/c", "file-%00", "*", "{id}", "file-1;x", "file-1?x=/../", "a" * 300, "%66ile-1"])
def test_an_id_is_a_name_not_a_path(gate, upstream, name):
    answer = gate.get(f"/v1/files/{name}")
    assert answer.status in (400, 404), answer
    assert not upstream.calls


def test_owners_survive_a_restart(gate, upstream, store):
    from harness import Sluice, config_for

    with Sluice(config_for(upstream)) as first:
        name = upload(first, KEY_ACME)
        directory = first.directory
        first.stop()
        second = Sluice(config_for(upstream), directory=directory)
        with second:
            assert ask(second, "GET", f"/v1/files/{name}", KEY_ACME).status == 200
            assert ask(second, "GET", f"/v1/files/{name}", KEY_GLOBEX).status == 404
