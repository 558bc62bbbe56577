# SPDX-License-Identifier: Apache-2.0
"""Two tenants try every door that there is: of what one of them says, makes, uses or is called, no byte comes to the
other - alone, and through two gateways with one Redis."""

import contextlib
import itertools
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest
from harness import (
    Sluice,
    Upstream,
    chat_body,
    config_for,
    eventually,
    free_port,
    model_for,
    sha256_hash,
    stream_chat,
)
from redis_servers import Redis

pytestmark = pytest.mark.threads
COUNT = itertools.count(1)
ADMIN = "sk-admin-5ecre7-0123456789"
BOUNDARY = "xxBOUNDARYxx"


class Party:
    """A tenant; <words> are those that nobody else may ever read."""

    def __init__(self, tenant, key, moss):
        self.tenant, self.key_name, self.moss = tenant, key, moss
        self.key, self.lead = f"sk-{moss}-5ecre7-0123456789abcdef", f"sk-lead-{moss}-5ecre7-0123456789"
        self.model = f"only-for-{len(moss) * 7 + ord(moss[0])}"
        self.words = {moss}
        self.heard = []

    def says(self):
        return f"{self.moss} number {next(COUNT)}"

    def settings(self):
        return {"name": self.tenant, "models": ["fast", "slow", self.model], "tags": {"team": self.moss},
                "limits": {"requests_per_hour": 1_000_000}, "users": {"limits": {"requests_per_hour": 500_000}},
                "keys": [{"name": self.key_name, "hash": sha256_hash(self.key), "limits": {"tokens_per_hour": 100_000_000}}]}

    def role(self):
        return {"name": f"lead-{self.moss}", "hash": sha256_hash(self.lead), "role": "tenant", "tenant": self.tenant}


# Names that look like parts of one another, wherever they are joined by a slash or a colon.
OURS, THEIRS = Party("a", "b/c", "fern"), Party("a/b", "c", "moss")
BOTH = [(OURS, THEIRS), (THEIRS, OURS)]


class Provider:
    """One account of a provider for all: it says again what it is told, keeps what it is given, and knows no tenants."""

    def __init__(self):
        self.made, self.slow, self.chats = {}, 0, 0

    def __call__(self, call):
        place = call.path.removeprefix("/v1/")
        kind, _, rest = place.partition("/")
        if kind == "chat":
            self.chats += 1
            time.sleep(self.slow)
            words = f"you said: {call.json['messages'][-1]['content']}"
            if call.json.get("stream"):
                stream_chat(call, [words])
            else:
                call.respond(200, chat_body(words))
        elif kind == "embeddings":
            call.respond(200, {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [1.0, 0.0]}],
                               "usage": {"prompt_tokens": 3, "total_tokens": 3}})
        elif kind in ("files", "batches", "responses"):
            self.keep(call, kind, rest)
        else:
            call.respond(404, {"error": {"message": "nothing here"}})

    def keep(self, call, kind, rest):
        name, _, action = rest.partition("/")
        if call.method == "POST" and not rest:
            prefix = {"files": "file-", "batches": "batch_", "responses": "resp_"}[kind]
            made = {"id": f"{prefix}{next(COUNT):08d}", "object": kind.removesuffix("s"), "created_at": 1,
                    "status": "completed", "what": call.body.decode("latin-1")}
            self.made[made["id"]] = made
            call.respond(200, made)
        elif call.method == "GET" and not rest:
            items = [item for item in self.made.values() if item["object"] in kind]
            call.respond(200, {"object": "list", "data": items, "has_more": False,
                               "first_id": items and items[0]["id"], "last_id": items and items[-1]["id"]})
        elif name not in self.made:
            call.respond(404, {"error": {"message": "no such thing"}})
        else:
            call.respond(200, self.made[name] | {"action": action})


def configure(upstream, store):
    config = config_for(upstream, store=store)
    config["server"]["listeners"][0]["serve"] = ["api", "health"]
    config["server"]["listeners"].append(
        {"name": "ops", "address": f"127.0.0.1:{free_port()}", "serve": ["admin", "metrics"]})
    config["models"] = [model_for("fast"), model_for("slow", model="other-model"), model_for("embed", model="embedding-model"),
                        *(model_for(party.model) for party in (OURS, THEIRS))]
    config["tenants"] = [OURS.settings(), THEIRS.settings()]
    config["cache"] = {"exact": {"enabled": True}, "semantic": {"enabled": True, "threshold": 0.5, "model": "embed"}}
    config["admin"] = {"keys": [OURS.role(), THEIRS.role()]}
    config["telemetry"] = {"log": {"level": "debug", "format": "json"}, "access_log": {"enabled": True}}
    return config


def spoken(body):
    """A body without its escapes, as far as it is JSON."""
    with contextlib.suppress(ValueError, TypeError):
        return json.dumps(json.loads(body))
    return str(body or "")


class Place:
    """Where they meet: the gateways, and which of them each talks to."""

    def __init__(self, gates, provider):
        self.gates, self.provider = gates, provider
        self.turn = itertools.cycle(gates)

    def ask(self, party, method, path, body=None, headers=(), key=None, listener=None):
        """By each gateway in turn."""
        gate = next(self.turn)
        answer = gate.request(method, path, body, key=key or party.key, headers=headers, listener=listener)
        party.heard.append((f"{method} {path} {spoken(body)}", f"{list(answer.fields)} {answer.text}"))
        return answer

    def post(self, party, path, body, **options):
        return self.ask(party, "POST", path, body, **options)

    def chat(self, party, text, headers=(), **fields):
        body = {"model": "fast", "messages": [{"role": "user", "content": text}], **fields}
        return self.post(party, "/v1/chat/completions", body, headers=headers)

    def admin(self, party, method, path, body=None):
        return self.ask(party, method, "/admin/v1" + path, body, key=party.lead, listener="ops")

    def root(self, method, path, body=None):
        return self.gates[0].request(method, "/admin/v1" + path, body, key=ADMIN, listener="ops")

    def upload(self, party):
        line = {"custom_id": party.moss, "method": "POST", "url": "/v1/chat/completions", "body": {
            "model": "upstream-model", "max_tokens": 5, "messages": [{"role": "user", "content": party.says()}]}}
        body = (f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
                f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{party.moss}.jsonl"\r\n\r\n'
                f'{json.dumps(line)}\r\n--{BOUNDARY}--\r\n').encode()
        return self.made(party, "/v1/files", body, [("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")])

    def made(self, party, path, body, headers=()):
        answer = self.post(party, path, body, headers=headers)
        assert answer.status == 200, answer
        party.words.add(answer.json["id"])
        return answer.json["id"]

    def make(self, party, kind):
        if kind == "files":
            return self.upload(party)
        if kind == "batches":
            return self.made(party, "/v1/batches", {"input_file_id": self.upload(party), "endpoint": "/v1/chat/completions",
                                                    "completion_window": "24h", "metadata": {"of": party.moss}})
        return self.made(party, "/v1/responses", {"model": "fast", "input": party.says(), "store": True})


@pytest.fixture(scope="module", params=["alone", "redis"])
def place(request):
    with contextlib.ExitStack() as stack:
        provider = Provider()
        upstream = stack.enter_context(Upstream(provider))
        redis = stack.enter_context(Redis()) if request.param == "redis" else None
        store = {"type": "redis", "redis": {"url": redis.url(), "timeout": "2s"}} if redis else {"type": "embedded"}
        gates = [stack.enter_context(Sluice(configure(upstream, store), env={"SLUICE_ADMIN_KEY": ADMIN}))
                 for _ in range(2 if redis else 1)]
        for gate in gates:  # a Redis that has just begun is not yet believed to know all
            eventually(lambda gate=gate: gate.get("/v1/files/file-nobodys", key=OURS.key).status == 404, 20, what="it is sure")
        yield Place(gates, provider)


@pytest.fixture(autouse=True)
def nothing_crosses(place):
    """Whatever a test does: what one was told has no word of the other's in it."""
    for party in (OURS, THEIRS):
        party.heard.clear()
    place.provider.slow = 0
    yield
    assert OURS.heard or THEIRS.heard, "nobody asked anything"
    for party, other in BOTH:
        for asked, text in party.heard:
            found = {word for word in other.words if word in text and word not in asked}
            assert not found, f"{party.tenant} was told {found} when it asked {asked[:300]}: {text[:600]}"


def said(answer):
    return answer.header("x-sluice-cache")


# ------------------------------------------------------------------------------- answers that are kept


@pytest.mark.parametrize("first, second", BOTH, ids=["ours", "theirs"])
@pytest.mark.parametrize("stream", [False, True])
def test_an_equal_call_is_not_answered_from_the_others_cache(place, first, second, stream):
    text = f"the same for both {next(COUNT)}"
    fields = {"temperature": 0, "seed": next(COUNT), "user": "u", "stream": stream}
    assert said(place.chat(first, text, **fields)) == "miss"
    before = place.provider.chats
    for headers in ({}, {"Cache-Control": "max-age=60"}, {"X-Sluice-Tags": f"tenant={first.tenant}"}):
        fields["seed"] = next(COUNT)
        assert said(place.chat(first, text, headers, **fields)) == "miss"
        assert said(place.chat(second, text, headers, **fields)) == "miss"
    assert place.provider.chats == before + 6
    eventually(lambda: said(place.chat(first, text, **fields)) == "hit", 5, what="it is kept for who asked")


@pytest.mark.parametrize("first, second", BOTH, ids=["ours", "theirs"])
def test_a_similar_call_is_not_answered_from_the_others_cache(place, first, second):
    fields = {"temperature": 0, "seed": next(COUNT)}
    assert said(place.chat(first, f"What is {first.says()}?", **fields)) == "miss"
    eventually(lambda: said(place.chat(first, f"Say, what was {first.says()}?", **fields)) == "hit", 10,
               what="what means the same is found by who asked")
    before = place.provider.chats
    answer = place.chat(second, f"What is {second.says()}?", **fields)
    assert said(answer) == "miss" and second.moss in answer.text and place.provider.chats == before + 1


def test_equal_calls_at_once_are_not_joined(place):
    place.provider.slow = 2  # all six are there before the first is answered
    before, text, fields = place.provider.chats, f"at once {next(COUNT)}", {"temperature": 0, "seed": next(COUNT)}
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda party: place.chat(party, text, **fields), [OURS, THEIRS] * 3))
    assert {answer.status for answer in answers} == {200}
    ours, theirs = ([said(answer) for answer in answers[i::2]] for i in (0, 1))
    assert ours.count("miss") == theirs.count("miss") == 1, (ours, theirs)
    assert place.provider.chats == before + 2


@pytest.mark.parametrize("first, second", BOTH, ids=["ours", "theirs"])
@pytest.mark.parametrize("at_once", [False, True])
def test_an_idempotency_key_is_ones_own(place, first, second, at_once):
    key = {"Idempotency-Key": f"retry-{next(COUNT)}"}
    place.provider.slow = 0.4 if at_once else 0
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(place.chat, first, first.says(), key)
        time.sleep(0.1 if at_once else 0)
        answers = [one.result()] if not at_once else []
        answers.append(place.chat(second, second.says(), key))  # another body, and no conflict with one that is not there
        answers.append(one.result())
    assert {answer.status for answer in answers} == {200}, answers
    assert said(answers[-2]) is None
    assert place.chat(second, "another body", key).status == 409, "one's own is there"


# ------------------------------------------------------------------------------- what is made


WAYS = {
    "files": [("GET", ""), ("GET", "/content"), ("DELETE", "")],
    "batches": [("GET", ""), ("POST", "/cancel")],
    "responses": [("GET", ""), ("GET", "?stream=true"), ("GET", "/input_items"), ("POST", "/cancel"), ("DELETE", "")],
}
ALL = [(kind, method, action) for kind, ways in WAYS.items() for method, action in ways]
PREFIXES = ["/v1", "", "/openai/v1", "/openai"]


@pytest.mark.parametrize("first, second", BOTH, ids=["ours", "theirs"])
@pytest.mark.parametrize("kind, method, action", ALL)
def test_an_object_of_the_other_is_not_there(place, first, second, kind, method, action):
    name = place.make(first, kind)
    body = b"" if method == "POST" else None
    for prefix in PREFIXES:
        for headers in ([], [("X-Sluice-Tags", f"tenant={first.tenant}")], [("OpenAI-Project", first.tenant)]):
            answer = place.ask(second, method, f"{prefix}/{kind}/{name}{action}", body, headers)
            assert answer.status == 404, answer
    assert place.ask(first, "GET", f"/v1/{kind}/{name}").status == 200, "it is still there"


@pytest.mark.parametrize("kind", ["files", "batches"])
def test_lists_and_their_cursors(place, kind):
    names = {party: place.make(party, kind) for party in (OURS, THEIRS)}
    for party, other in BOTH:
        for query in ("", "?limit=100", f"?after={names[other]}", f"?before={names[other]}", "?purpose=batch", "?order=asc"):
            assert names[other] not in place.ask(party, "GET", f"/v1/{kind}{query}").text
            answer = place.ask(party, "GET", f"/v1/{kind}{query}")
            assert answer.status == 200, answer
            ids = {item["id"] for item in answer.json["data"]}
            assert names[party] in ids and names[other] not in ids
            assert answer.json["first_id"] in ids and answer.json["last_id"] in ids


def references(name):
    """Where a call may name a file."""
    part = {"type": "file", "file": {"file_id": name}}
    yield "/v1/chat/completions", {"model": "fast", "messages": [{"role": "user", "content": [part]}]}
    yield "/v1/responses", {"model": "fast", "input": [{"role": "user", "content": [{"type": "input_file", "file_id": name}]}]}
    yield "/v1/responses", {"model": "fast", "input": [{"role": "user", "content": [{"type": "input_image", "file_id": name}]}]}
    yield "/v1/responses", {"model": "fast", "input": "x", "tools": [
        {"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["file-none", name]}}]}
    yield "/v1/responses", {"model": "fast", "input": "x", "tools": [
        {"type": "image_generation", "input_image_mask": {"file_id": name}}]}
    yield "/v1/batches", {"input_file_id": name, "endpoint": "/v1/chat/completions", "completion_window": "24h"}


@pytest.mark.parametrize("first, second", BOTH, ids=["ours", "theirs"])
def test_a_file_of_the_other_cannot_be_named_in_a_call(place, first, second):
    name = place.upload(first)
    spelled = "".join(f"\\u{ord(c):04x}" for c in name)
    for number, (path, body) in enumerate(references(name)):
        plain = json.dumps(body)
        hidden = plain.replace('"file_id"', '"f\\u0069le\\u005fid"').replace('"file_ids"', '"\\u0066ile_id\\u0073"')
        for text in (plain, plain.replace(name, spelled), hidden):
            answer = place.post(second, path, text.encode())
            assert answer.status == 404, (number, answer)
            assert answer.error["type"] == "invalid_request_error"
        if path != "/v1/batches":
            assert place.post(first, path, plain.encode()).status == 200, number


@pytest.mark.parametrize("first, second", BOTH, ids=["ours", "theirs"])
def test_a_conversation_of_the_other_cannot_be_continued(place, first, second):
    name = place.make(first, "responses")
    for text in (name, "\\u0072" + name[1:]):
        body = '{"model": "fast", "input": "go on", "previous_response_id": "%s"}' % text
        assert place.post(second, "/v1/responses", body.encode()).status == 404
    body = {"model": "fast", "input": "go on", "previous_response_id": name}
    assert place.post(first, "/v1/responses", body).status == 200


# ------------------------------------------------------------------------------- models and limits


def test_models_of_the_other_are_not_named(place):
    for party, other in BOTH:
        listed = [model["id"] for model in place.ask(party, "GET", "/v1/models").json["data"]]
        assert party.model in listed and other.model not in listed
        assert place.ask(party, "GET", f"/v1/models/{other.model}").status in (403, 404)
        near = place.chat(party, "x", model=other.model[:-1])
        assert near.status == 404 and other.model not in near.text
        assert place.chat(party, "x", model=other.model).status == 403


def test_what_one_uses_is_not_taken_from_the_other(place):
    def left(party):
        answer = place.chat(party, party.says(), user="the-same-user")
        assert answer.status == 200, answer
        return int(answer.header("x-ratelimit-remaining-requests"))

    before = left(THEIRS)
    for _ in range(20):
        left(OURS)
    assert before - left(THEIRS) in range(0, 2 if len(place.gates) == 1 else 500)
    users = {OURS: 0, THEIRS: 0}
    for party in users:
        for _ in place.gates:  # each tells of its own
            rows = place.admin(party, "GET", "/limits?limit=500").json["data"]
            assert {row["tenant"] for row in rows} <= {party.tenant}
            users[party] += sum(row["used"] for row in rows if (row["user"], row["limit"]) == ("the-same-user", "requests_per_hour"))
    assert users[OURS] >= 20 > users[THEIRS] >= 2, users


# ------------------------------------------------------------------------------- usage and administration


@pytest.fixture(scope="module")
def used(place):
    """{party: id of a call of it}, booked, with an end user and tags of its own."""
    ids = {}
    for party in (OURS, THEIRS):
        answer = place.chat(party, party.says(), user=f"user-{party.moss}", headers={"X-Sluice-Tags": f"job={party.moss}"})
        ids[party] = answer.header("x-request-id")
        party.words.add(ids[party])
    for party in ids:
        eventually(lambda party=party: place.root("GET", f"/requests/{ids[party]}").status == 200, 15, what="it is booked")
    return ids


SEEN = ["/usage?by=tenant", "/usage?by=key", "/usage?by=user", "/usage?by=model,tenant,key,user", "/series?by=tenant", "/series?by=user",
        "/series?by=key", "/requests", "/requests?limit=500", "/limits?limit=500", "/tenants", "/keys", "/models", "/openapi.json"]


@pytest.mark.parametrize("path", SEEN)
def test_a_page_shows_ones_own(place, used, path):
    for party, other in BOTH:
        answer = place.admin(party, "GET", path)
        assert answer.status == 200, answer
        mark = "&" if "?" in path else "?"
        for name in ("tenant", "key", "user", "model", "tags"):
            for value in (other.tenant, f"{other.tenant}/{other.key_name}", other.key_name, f"user-{other.moss}", other.model, "%"):
                place.admin(party, "GET", f"{path}{mark}{name}={quote(value, safe='')}")
        if path.startswith("/usage?by=tenant"):
            assert {row["tenant"] for row in answer.json} == {party.tenant}


@pytest.mark.parametrize("path", ["/overview", "/targets", "/events", "/config", "/config/diff"])
def test_pages_of_all_are_not_for_tenants(place, used, path):
    for party in (OURS, THEIRS):
        assert place.admin(party, "GET", path).status == 403
        assert place.ask(party, "GET", "/admin/v1" + path, listener="ops").status == 401, "a client's key"
        assert place.ask(party, "GET", "/admin/v1" + path).status == 404, "not where clients are"
    for party in (OURS, THEIRS):
        assert place.ask(party, "GET", "/metrics").status == 404


def test_a_call_of_the_other_does_not_exist(place, used):
    for party, other in BOTH:
        answer = place.admin(party, "GET", f"/requests/{used[other]}")
        none = place.admin(party, "GET", f"/requests/{used[other][:-2]}zz")
        assert answer.status == none.status == 404
        assert answer.json["detail"].replace(used[other], "") == none.json["detail"].replace(used[other][:-2] + "zz", "")
        assert place.admin(party, "GET", f"/requests/{used[party]}").status == 200


def test_a_request_id_cannot_be_taken(place, used):
    for party, other in BOTH:
        answer = place.chat(party, party.says(), headers={"X-Request-Id": used[other], "Request-Id": used[other]})
        assert answer.status == 200 and answer.header("x-request-id") != used[other]
        assert place.root("GET", f"/requests/{used[other]}").json["tenant"] == other.tenant


def test_cursors_of_the_other_open_nothing(place, used):
    for path in ("/requests", "/limits", "/keys", "/tenants"):
        for party, other in BOTH:
            page = place.admin(other, "GET", f"{path}?limit=1").json
            cursors = [page["next"]] if page["next"] else []
            cursors += [f"{other.tenant}", f"t/{other.tenant}:", f"k/{other.tenant}/", "0", used[other]]
            for cursor in cursors:
                place.admin(party, "GET", f"{path}?limit=500&after={quote(str(cursor), safe='')}")


def test_nothing_of_the_other_can_be_changed(place, used):
    for party, other in BOTH:
        name = f"made-{other.moss}-{next(COUNT)}"
        other.words.add(name)
        made = place.root("POST", "/keys", {"tenant": other.tenant, "name": name})
        assert made.status == 201, made
        key = made.json
        for method, path, body in [
                ("GET", f"/keys/{key['id']}", None), ("PATCH", f"/keys/{key['id']}", {"models": ["*"]}),
                ("POST", f"/keys/{key['id']}/rotate", {}), ("DELETE", f"/keys/{key['id']}", None),
                ("GET", f"/keys/{quote(other.tenant + ':' + other.key_name, safe='')}", None),
                ("GET", f"/tenants/{quote(other.tenant, safe='')}", None),
                ("PATCH", f"/tenants/{quote(other.tenant, safe='')}", {"off": True}),
                ("DELETE", f"/tenants/{quote(other.tenant, safe='')}", None),
                ("POST", "/keys", {"tenant": other.tenant, "name": "mine"}),
                ("POST", "/tenants", {"name": f"below{next(COUNT)}", "parent": other.tenant}),
                ("POST", "/tenants", {"name": f"beside{next(COUNT)}"}),
                ("PATCH", f"/tenants/{quote(party.tenant, safe='')}", {"parent": other.tenant})]:
            answer = place.admin(party, method, path, body)
            assert answer.status in (400, 403, 404, 409), answer
            assert answer.status != 409 or "PATCH" in method, "that says that it is there"
        assert place.chat(other, other.says()).status == 200
        for gate in place.gates:
            eventually(lambda gate=gate: gate.chat(key=key["secret"]).status == 200, 5, what="the key is as it was")


def test_two_keys_in_one_call_are_refused(place):
    for party, other in BOTH:
        for headers in ([("x-api-key", other.key)], [("Authorization", f"Bearer {other.key}")]):
            assert place.chat(party, party.says(), headers=headers).status in (400, 401)


# ------------------------------------------------------------------------------- what is written down


def test_logs_and_metrics_mix_nothing_up(place, used):
    """An operator reads of both, but no line is of both, and none has what was said."""
    for gate in place.gates:
        for line in gate.access_lines():
            text = json.dumps(line)
            assert not (OURS.moss in text and THEIRS.moss in text), line
            assert line.get("tenant") != OURS.tenant or THEIRS.moss not in text
            assert line.get("tenant") != THEIRS.tenant or OURS.moss not in text
        log = gate.log()
        for party in (OURS, THEIRS):
            assert party.key not in log and party.lead not in log
            assert f"{party.moss} number" not in log, "what was said stands in the log"
        metrics = gate.get("/metrics", key=None, listener="ops").text
        assert not re.search(rf"user-|{OURS.moss} number|sk-|job=", metrics)
    for party in (OURS, THEIRS):
        place.chat(party, "and nothing more")
