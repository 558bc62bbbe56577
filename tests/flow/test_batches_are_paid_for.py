# SPDX-License-Identifier: Apache-2.0
"""A batch holds what it may cost before it is submitted, and is booked, once, as what it did cost."""

import itertools
import json
import sqlite3
import threading
import time

import pytest
from harness import (
    KEY_ACME, KEY_ACME_FAST, KEY_GLOBEX, Mock, Sluice, chat_body, config_for, eventually, merged, model_for,
    provider_for, request_bytes, sha256_hash,
)
from redis_servers import Redis
from replicas import Fleet, key_of, shared
from replicas import tenant as replica_tenant

INPUT, OUTPUT = 1000, 4000  # nano-dollars per token (harness.PRICE)
FRAME = 512  # tokens that a provider may put around a call: docs/ESTIMATES.md
FORM = {"Content-Type": "multipart/form-data; boundary=x"}
CHAT = "/v1/chat/completions"
COUNT = itertools.count(1)


def body_of(model="upstream-model", max_tokens=100, **more):
    return {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": max_tokens, **more}


def lines_of(*bodies, url=CHAT):
    return b"".join(json.dumps({"custom_id": f"call-{i}", "method": "POST", "url": url, "body": body}).encode() + b"\n"
                    for i, body in enumerate(bodies))


def bound(*bodies):
    """The most that they may cost: each byte a token, the frame, all the output; each rounded up."""
    return sum((len(json.dumps(body)) + FRAME) * INPUT + body["max_tokens"] * body.get("n", 1) * OUTPUT + 1
               for body in bodies)


def used(input_tokens, output_tokens):
    return {"input_tokens": input_tokens, "output_tokens": output_tokens, "total_tokens": input_tokens + output_tokens,
            "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}


class Batches:
    """A provider of files and batches. A batch is what the test makes of it."""

    def __init__(self):
        self.files, self.batches, self.submitted = {}, {}, threading.Event()
        self.refuse = None

    def end(self, name, status="completed", usage=None, output=None, completed=None, failed=0):
        batch = self.batches[name]
        if output is not None:
            batch["output_file_id"] = f"file-out{next(COUNT)}"
            self.files[batch["output_file_id"]] = output
        lines = self.files[batch["input_file_id"]].count(b'"custom_id"')
        done = lines if completed is None else completed
        batch["request_counts"] = {"total": lines, "completed": done, "failed": failed}
        if usage:
            batch["usage"] = usage
        batch["status"] = status

    def polls(self, upstream, name):
        return len([c for c in upstream.calls if c.method == "GET" and c.path.endswith(name)])

    def __call__(self, call):
        kind, _, rest = call.path.removeprefix("/v1/").partition("/")
        name, _, action = rest.partition("/")
        if call.path == CHAT:
            call.respond(200, chat_body())
        elif kind == "uploads":
            made = {"id": "upload_1", "object": "upload", "status": "pending"}
            if action == "complete":
                self.files["file-parts"] = b""
                made |= {"status": "completed", "file": {"id": "file-parts", "object": "file"}}
            call.respond(200, made)
        elif call.method == "POST" and kind == "files":
            made = {"id": f"file-{next(COUNT)}", "object": "file"}
            self.files[made["id"]] = call.body.partition(b'name="file"')[2]
            call.respond(200, made)
        elif call.method == "POST" and kind == "batches" and not rest:
            self.submitted.set()
            if self.refuse:
                self.refuse(call)
                return
            made = {"id": f"batch_{next(COUNT)}", "object": "batch", "status": "validating",
                    "input_file_id": call.json["input_file_id"], "output_file_id": None}
            self.batches[made["id"]] = made
            call.respond(200, made)
        elif action == "content":
            call.respond(200, self.files[name]) if name in self.files else call.respond(404, {"error": {}})
        elif action == "cancel":
            self.end(name, "cancelled", completed=0)
            call.respond(200, self.batches[name])
        elif call.method == "GET" and kind == "batches" and not rest:
            call.respond(200, {"object": "list", "data": list(self.batches.values()), "has_more": False})
        elif name in self.batches:
            call.respond(200, self.batches[name])
        else:
            call.respond(404, {"error": {"message": "no"}})


@pytest.fixture
def provider(upstream):
    upstream.answer = Batches()
    return upstream.answer


def tenant(name="acme", key=KEY_ACME, nanos=None, **changes):
    one = {"name": name, "models": ["*"], "keys": [{"name": "main", "hash": sha256_hash(key)}]}
    if nanos is not None:
        one["budget"] = {"amount": f"{nanos / 1e9:.9f} USD", "period": "month"}
    return merged(one, changes)


def gate_for(upstream, *tenants, poll="1h", **changes):
    return Sluice(config_for(upstream, tenants=list(tenants), batches={"poll": poll}, **changes))


def form(file, purpose="batch", last=False):
    fields = [f'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n{purpose}\r\n'.encode(),
              b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n' + file + b"\r\n"]
    return b"".join(reversed(fields) if last else fields) + b"--x--\r\n"


def upload(gate, file, key=KEY_ACME, **how):
    answer = gate.post("/v1/files", form(file, **how), key=key, headers=FORM)
    assert answer.status == 200, answer
    return answer.json["id"]


def submit(gate, *bodies, key=KEY_ACME, file=None, url=CHAT, **more):
    file = file or upload(gate, lines_of(*bodies, url=url), key)
    return gate.post("/v1/batches", {"input_file_id": file, "endpoint": url, "completion_window": "24h", **more}, key=key)


def submission(file, key=KEY_ACME):
    return request_bytes("POST", "/v1/batches", [("Authorization", f"Bearer {key}")], {"input_file_id": file, "endpoint": CHAT})


def booked(gate, name, within=20):
    """The rows of a batch, as soon as it is booked."""
    return eventually(lambda: gate.ledger_rows(name), within, what=f"{name} is booked")


def is_full(answer):
    return (answer.status == 429 and answer.json["error"]["code"] == "insufficient_quota"
            and answer.header("x-should-retry") == "false")


# ----------------------------------------------------------------------------- what is held


def test_a_budget_that_pays_for_the_bound_to_the_nano_dollar_lets_it_in(upstream, provider):
    bodies = [body_of(max_tokens=50 + i, n=1 + i % 2) for i in range(3)]
    with gate_for(upstream, tenant(nanos=bound(*bodies)), tenant("globex", KEY_GLOBEX, bound(*bodies) - 1)) as gate:
        refused = submit(gate, *bodies, key=KEY_GLOBEX)
        assert is_full(refused), refused
        assert not provider.batches, "nothing was submitted"
        assert submit(gate, *bodies).status == 200
        assert is_full(gate.chat(max_tokens=1)), "all of it is held"
        assert is_full(gate.chat(key=KEY_GLOBEX, max_tokens=1000)) is False


@pytest.mark.parametrize("last", [False, True])
def test_the_file_is_read_wherever_it_is_cut(upstream, provider, last):
    bodies = [body_of(messages=[{"role": "user", "content": "an ä, " * 9_000}], max_tokens=20) for _ in range(3)]
    with gate_for(upstream, tenant(nanos=bound(*bodies) - 1), tenant("globex", KEY_GLOBEX, bound(*bodies))) as gate:
        for key, status in ((KEY_ACME, 429), (KEY_GLOBEX, 200)):
            file = upload(gate, lines_of(*bodies).rstrip(b"\n"), key, last=last)
            assert submit(gate, key=key, file=file).status == status


def test_every_level_holds_it(upstream, provider):
    body = body_of()
    parent = {"name": "org", "models": ["*"], "budget": {"amount": f"{bound(body) * 1.5 / 1e9:.9f} USD", "period": "total"}}
    team = tenant(parent="org")
    with gate_for(upstream, parent, team, tenant("globex", KEY_GLOBEX, parent="org")) as gate:
        first = submit(gate, body)
        assert first.status == 200, first
        assert is_full(submit(gate, body, key=KEY_GLOBEX)), "what another team of it holds counts"
        provider.end(first.json["id"], usage=used(1, 1))
        gate.get(f"/v1/batches/{first.json['id']}")
        booked(gate, first.json["id"])
        eventually(lambda: submit(gate, body, key=KEY_GLOBEX).status == 200)


def test_each_call_of_it_is_a_request_and_its_tokens_count(upstream, provider):
    bodies = [body_of() for _ in range(4)]
    limits = {"requests_per_day": 9}
    with gate_for(upstream, tenant(limits=limits), tenant("globex", KEY_GLOBEX, limits={
            "tokens_per_day": 2000, "strict": True})) as gate:
        assert submit(gate, *bodies).status == 200  # with its upload six
        too_many = submit(gate, *bodies)
        assert too_many.status == 429 and too_many.json["error"]["code"] == "rate_limit_exceeded", too_many
        refused = submit(gate, *bodies, key=KEY_GLOBEX)
        assert refused.status == 429 and refused.json["error"]["type"] == "tokens", refused
        assert submit(gate, bodies[0], key=KEY_GLOBEX).status == 200


@pytest.mark.parametrize("price, status", [({"input": "1", "output": "4"}, 429), ({"input": "1", "output": "0", "unit": "0.04"}, 200)])
def test_pictures_count_in_strict_windows_where_they_are_paid_in_tokens(upstream, provider, price, status):
    """As those of single calls: 8,192 tokens each, or none."""
    url = "/v1/images/generations"
    bodies = [{"model": "upstream-model", "prompt": "a cat"} for _ in range(8)]
    config = config_for(upstream, tenants=[tenant(limits={"tokens_per_day": 60_000, "strict": True})], batches={"poll": "1h"})
    for model in config["models"]:
        for target in model["targets"]:
            target["price"] = price
    with Sluice(config) as gate:
        assert submit(gate, *bodies, url=url).status == status


def test_windows_shorter_than_a_day_are_for_calls_that_somebody_waits_for(upstream, provider):
    """Also when all is counted again after a restart."""
    bodies = [body_of() for _ in range(20)]
    limits = {"requests_per_minute": 5, "requests_per_hour": 6, "tokens_per_minute": 2500, "strict": True}
    with gate_for(upstream, tenant(nanos=2 * bound(*bodies), limits=limits), poll="1s") as gate:
        name = submit(gate, *bodies).json["id"]  # with its upload two requests
        assert gate.chat(max_tokens=1).status == 200
        provider.end(name, usage=used(3000, 2000))
        row, = booked(gate, name)
        assert row["attempts"] == 20
        gate.kill()
        gate.start()
        assert gate.chat(max_tokens=1).status == 200, "what it used does not count"
        answers = [gate.chat(max_tokens=1).status for _ in range(3)]
        assert answers[-1] == 429, "what was called online does"


def test_a_refused_batch_holds_nothing(upstream, provider):
    body = body_of()
    provider.refuse = lambda call: call.respond(400, {"error": {"message": "no", "type": "invalid_request_error"}})
    with gate_for(upstream, tenant(nanos=bound(body), limits={"requests_per_day": 12})) as gate:
        for _ in range(3):
            assert submit(gate, body).status == 400
        provider.refuse = None
        assert submit(gate, body).status == 200


def test_a_batch_that_nobody_answered_for_is_booked_at_its_bound(upstream, provider):
    body = body_of()
    provider.refuse = lambda call: call.reset()
    with gate_for(upstream, tenant(nanos=10 * bound(body))) as gate:
        answer = submit(gate, body)
        assert answer.status >= 500
        row = gate.ledger_row(answer.header("x-request-id"))
        assert (row["outcome"], row["counted"], row["cost_nanos"]) == ("partial", "estimate", bound(body)), row


def test_a_client_that_leaves_does_not_lose_its_batch(upstream, provider):
    body, go = body_of(), threading.Event()

    def slow(call):
        provider.refuse = None
        go.wait(10)
        provider(call)

    provider.refuse = slow
    with gate_for(upstream, tenant(nanos=bound(body)), poll="1s") as gate:
        file = upload(gate, lines_of(body))
        client = gate.connect()
        client.send(submission(file))
        assert provider.submitted.wait(10)
        client.close()
        time.sleep(0.2)
        go.set()
        name = eventually(lambda: list(provider.batches))[0]
        provider.end(name, usage=used(30, 20))
        assert booked(gate, name)[0]["cost_nanos"] == 30 * INPUT + 20 * OUTPUT


# ----------------------------------------------------------------------------- what may be run


def two_models():
    return [model_for("fast"), model_for("slow", model="other-model"), model_for("lone", "else", model="lone-model")]


def gate_with_lists(upstream, *tenants, **changes):
    providers = [{"name": name, "type": "openai", "base_url": upstream.url, "api_key": "x"} for name in ("up", "else")]
    return gate_for(upstream, *tenants, providers=providers, models=two_models(), **changes)


def test_all_models_of_the_file_must_be_ones_that_the_key_may_call(upstream, provider):
    keys = [{"name": "main", "hash": sha256_hash(KEY_ACME)},
            {"name": "fast-only", "hash": sha256_hash(KEY_ACME_FAST), "models": ["fast"]}]
    with gate_with_lists(upstream, tenant(models=["fast", "slow"], keys=keys)) as gate:
        both = [body_of(), body_of("other-model")]
        denied = submit(gate, *both, key=KEY_ACME_FAST)
        assert denied.status == 403 and denied.json["error"]["code"] == "model_not_allowed", denied
        assert "other-model" in denied.json["error"]["message"]
        alias = submit(gate, body_of("fast"))
        assert alias.status == 404 and alias.json["error"]["code"] == "model_not_found", alias
        elsewhere = submit(gate, body_of("lone-model"))
        assert elsewhere.status == 404, "it is at another provider than the file"
        assert not provider.batches
        assert submit(gate, *both).status == 200
        assert submit(gate, body_of(), key=KEY_ACME_FAST).status == 200


@pytest.mark.parametrize("file, words", [
    (b"", "no call"),
    (b"not json\n", "line 1"),
    (b'{"url": "/v1/chat/completions"}\n', "line 1"),
    (lines_of(body_of()) + b'{"body": {}}\n', "line 2"),
    (lines_of(body_of()) + lines_of(body_of(), url="/v1/embeddings"), "line 2"),
    (lines_of(*[body_of(f"model-{i}") for i in range(5)]), "line 5"),
    (lines_of(body_of(n=100_000)), "line 1"),
    (lines_of(body_of(max_tokens="many")), "line 1"),
    (lines_of(body_of())[:-3] + b', "body": {"model": "other-model"}}\n', "line 1"),
    (lines_of(body_of(Max_Tokens=5000)), "line 1"),
    (lines_of(body_of(), body_of()).replace(b'"url"', b'"Body": {}, "url"', 2), "line 1"),
    (lines_of(body_of(content="x" * 4_200_000)), "line 1"),
])
def test_a_file_that_cannot_be_understood_is_not_run_under_a_budget(upstream, provider, file, words):
    with gate_for(upstream, tenant(nanos=10**12), tenant("globex", KEY_GLOBEX)) as gate:
        answer = submit(gate, file=upload(gate, file))
        assert answer.status == 400 and answer.json["error"]["param"] == "input_file_id", answer
        assert words in answer.json["error"]["message"]
        free = submit(gate, file=upload(gate, file, KEY_GLOBEX), key=KEY_GLOBEX)
        assert free.status == 200, "without limits nothing is exceeded"


def test_what_is_not_in_the_file_is_as_long_as_the_targets_window(upstream, provider):
    sound = [{"role": "user", "content": [{"type": "audio_url", "audio_url": {"url": "https://example.com/a"}}]}]
    models = [{"name": "fast", "context_window": 1000, "targets": [
        {"id": "one", "provider": "up", "model": "upstream-model", "price": {"input": 1, "output": 4}, "context_window": 100_000}]}]
    for nanos, status in ((10_000 * INPUT, 429), (150_000 * INPUT, 200)):
        with gate_for(upstream, tenant(nanos=int(nanos)), models=models) as gate:
            assert submit(gate, body_of(messages=sound)).status == status


def test_a_file_for_another_purpose_or_in_parts_is_not_run_under_a_budget(upstream, provider):
    with gate_for(upstream, tenant(nanos=10**12), tenant("globex", KEY_GLOBEX)) as gate:
        other = submit(gate, file=upload(gate, lines_of(body_of()), purpose="fine-tune"))
        assert other.status == 400 and "purpose=batch" in other.json["error"]["message"], other
        for key, status in ((KEY_ACME, 400), (KEY_GLOBEX, 200)):
            made = gate.post("/v1/uploads", {"purpose": "batch", "bytes": 1, "filename": "a", "mime_type": "x"}, key=key)
            whole = gate.post(f"/v1/uploads/{made.json['id']}/complete", {"part_ids": []}, key=key)
            assert submit(gate, file=whole.json["file"]["id"], key=key).status == status


@pytest.mark.parametrize("more", [{"file_id": "file-1"}, {"x": [{"file_ids": ["file-1"]}]}, {"previous_response_id": "resp_1"}])
def test_a_file_that_names_what_may_be_anothers_is_not_run(upstream, provider, more):
    with gate_for(upstream, tenant()) as gate:
        answer = submit(gate, body_of(), body_of(**more))
        assert answer.status == 400 and answer.json["error"]["param"] == "input_file_id", answer
        assert not provider.batches
        assert submit(gate, body_of()).status == 200


def test_the_endpoint_is_the_files(upstream, provider):
    with gate_for(upstream, tenant(nanos=10**12)) as gate:
        file = upload(gate, lines_of(body_of()))
        answer = gate.post("/v1/batches", {"input_file_id": file, "endpoint": "/v1/embeddings"})
        assert answer.status == 400 and answer.json["error"]["param"] == "endpoint"


def test_an_answer_without_a_longest_is_not_run_under_a_budget(upstream, provider):
    body = body_of()
    del body["max_tokens"]
    with gate_for(upstream, tenant(nanos=10**12)) as gate:
        answer = submit(gate, body)
        assert answer.status == 400 and "max_tokens" in answer.json["error"]["message"], answer
        embedding = {"model": "upstream-model", "input": "x"}
        assert submit(gate, embedding, url="/v1/embeddings").status == 200


# ----------------------------------------------------------------------------- what its calls search


RESPONSES = "/v1/responses"
SEARCHING = {"model": "upstream-model", "input": "x", "max_output_tokens": 100, "tools": [{"type": "web_search"}]}


def searching(price):
    return [merged(model_for("fast"), {"context_window": 1000, "targets": [
        {"id": "fast-1", "provider": "up", "model": "upstream-model", "price": price}]})]


def response_line(usage, searches=0, **more):
    items = [{"type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "q"}}] * searches
    body = {"id": "resp_1", "object": "response", "model": "upstream-model", "output": items, "usage": usage, **more}
    return json.dumps({"custom_id": "call-0", "response": {"status_code": 200, "body": body}}).encode() + b"\n"


def test_calls_that_may_search_are_kept_from_where_that_has_no_price(upstream, provider):
    with gate_for(upstream, tenant(nanos=10**12), models=searching({"input": 1, "output": 2})) as gate:
        refused = submit(gate, SEARCHING, url=RESPONSES)
        assert refused.status == 400 and "price.search" in refused.json["error"]["message"], refused
        assert not provider.batches, "nothing was submitted"
        assert submit(gate, {**SEARCHING, "tools": []}, url=RESPONSES).status == 200
    with gate_for(upstream, tenant(), models=searching({"input": 1, "output": 2, "search": 0})) as gate:
        assert submit(gate, SEARCHING, url=RESPONSES).status == 200, "free by its price"
    with gate_for(upstream, tenant(), models=searching({"input": 1, "output": 2})) as gate:
        assert submit(gate, SEARCHING, url=RESPONSES).status == 200, "no budget would have to pay for it"


@pytest.mark.parametrize("killed", [False, True])
def test_searches_are_held_and_booked(upstream, provider, killed):
    """Also where the usage of the whole batch is told: searches are in the file alone."""
    models = searching({"input": 0, "output": 0, "search": "0.01"})
    with gate_for(upstream, tenant(nanos=399_000_000), tenant("globex", KEY_GLOBEX, 450_000_000), models=models, poll="1s") as gate:
        gate.may_crash = killed
        bodies = [SEARCHING, {**SEARCHING, "max_tool_calls": 30}, {**SEARCHING, "tools": [{"type": "web_search"}] * 2}]
        assert is_full(submit(gate, *bodies, url=RESPONSES)), "each tool may search ten times"
        name = submit(gate, *bodies, key=KEY_GLOBEX, url=RESPONSES).json["id"]
        if killed:
            gate.kill()
            gate.start()
        assert is_full(submit(gate, SEARCHING, key=KEY_GLOBEX, url=RESPONSES)), "all of it is held"
        silent = response_line(None).replace(b"null", b"{}")
        provider.end(name, usage=used(1, 1), output=response_line(used(1000, 100), 7) + response_line(used(10, 10), 2) + silent)
        row, = booked(gate, name)
        assert row["cost_nanos"] == 90_000_000 + (400_000_000 + 3 + 2) // 3, row
        assert row["searches"] == 9 + (40 + 2) // 3


def test_tools_of_responses_are_booked_though_the_batch_tells_its_usage(upstream, provider):
    with gate_for(upstream, tenant(), models=searching({"input": 1, "output": 2, "image_output": 10, "search": 0}), poll="1s") as gate:
        name = submit(gate, {**SEARCHING, "tools": [{"type": "image_generation"}]}, url=RESPONSES).json["id"]
        provider.batches[name]["endpoint"] = RESPONSES
        made = {"image_gen": {"input_tokens": 50, "output_tokens": 1000}}
        provider.end(name, usage=used(30, 20), output=response_line(used(30, 20), tool_usage=made))
        row, = booked(gate, name)
        assert (row["input_tokens"], row["output_tokens"], row["image_output_tokens"]) == (80, 1020, 1000), row
        assert row["cost_nanos"] == 80 * 1000 + 20 * 2000 + 1000 * 10000


# ----------------------------------------------------------------------------- how it is settled


def output_of(*usages, model="upstream-model-2024-05-13"):
    rows = []
    for i, usage in enumerate(usages):
        body = {"model": usage.pop("model", model), "usage": usage} if usage else {"error": {"message": "no"}}
        rows.append({"id": f"r{i}", "custom_id": f"call-{i}", "error": None,
                     "response": {"status_code": 200 if usage else 400, "request_id": "q", "body": body}})
    return b"\n".join(json.dumps(row).encode() for row in rows)


def tokens(prompt, completion, **more):
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion, **more}


@pytest.mark.parametrize("kind, cost", [("openrouter", 1_500_000_000), ("openai", 2 * (1000 * INPUT + 10 * OUTPUT))])
def test_what_each_answer_says_that_it_costs_is_booked_where_it_is_more(upstream, provider, kind, cost):
    with gate_for(upstream, tenant(), providers=[provider_for(upstream, type=kind)], poll="1s") as gate:
        name = submit(gate, body_of(), body_of()).json["id"]
        provider.end(name, output=output_of(tokens(1000, 10, cost=0.75), tokens(1000, 10, cost=0.75)))
        row, = booked(gate, name)
        assert (row["cost_nanos"], row["input_tokens"]) == (cost, 2000), row


def test_it_is_booked_when_its_client_sees_that_it_has_ended(upstream, provider):
    body = body_of()
    with gate_for(upstream, tenant(nanos=bound(body))) as gate:
        name = submit(gate, body).json["id"]
        assert gate.get(f"/v1/batches/{name}").json["status"] == "validating"
        assert gate.ledger_rows(name) == [] and is_full(gate.chat())
        provider.end(name, usage=used(30, 20))
        assert gate.get(f"/v1/batches/{name}").json["status"] == "completed"
        row, = booked(gate, name)
        assert (row["operation"], row["tenant"], row["key"], row["model"], row["target"]) == (
            "batch", "acme", "main", "fast", "fast-1"), row
        assert (row["outcome"], row["counted"], row["finish"], row["attempts"]) == ("complete", "provider", "completed", 1)
        assert (row["input_tokens"], row["output_tokens"], row["cost_nanos"]) == (30, 20, 30 * INPUT + 20 * OUTPUT)
        eventually(lambda: gate.chat(max_tokens=1).status == 200, what="the rest is there again")
        assert gate.usage_total("cost_nanos", operation="batch") == row["cost_nanos"]


def test_it_is_booked_when_nobody_asks(upstream, provider):
    body = body_of()
    with gate_for(upstream, tenant(nanos=10 * bound(body)), poll="1s") as gate:
        name = submit(gate, body).json["id"]
        eventually(lambda: provider.polls(upstream, name) >= 2)
        provider.end(name, output=output_of(tokens(30, 20)))
        row, = booked(gate, name)
        assert row["cost_nanos"] == 30 * INPUT + 20 * OUTPUT
        seen = provider.polls(upstream, name)
        for _ in range(3):
            gate.get(f"/v1/batches/{name}")
            gate.get("/v1/batches")
        time.sleep(1.5)
        assert len(gate.ledger_rows(name)) == 1 and provider.polls(upstream, name) == seen + 3


def test_each_model_is_booked_at_its_own_price(upstream, provider):
    models = [model_for("fast"), merged(model_for("slow"), {"targets": [
        {"id": "slow-1", "provider": "up", "model": "other-model", "price": {"input": 7, "output": 9}}]})]
    with gate_for(upstream, tenant(), models=models, poll="1s") as gate:
        name = submit(gate, body_of(), body_of(), body_of("other-model")).json["id"]
        provider.end(name, usage=used(1, 1), output=output_of(
            tokens(10, 5), tokens(20, 6), tokens(40, 7, model="other-model")), failed=1, completed=3)
        eventually(lambda: len(gate.ledger_rows(name)) == 2)
        rows = {row["upstream_model"]: row for row in gate.ledger_rows(name)}
        assert rows["upstream-model"]["cost_nanos"] == 30 * INPUT + 11 * OUTPUT
        assert rows["other-model"]["cost_nanos"] == 40 * 7000 + 7 * 9000
        assert rows["other-model"]["model"] == "slow"


def test_a_call_that_nobody_counted_takes_its_share(upstream, provider):
    bodies = [body_of() for _ in range(4)]
    with gate_for(upstream, tenant(), poll="1s") as gate:
        name = submit(gate, *bodies).json["id"]
        silent = json.dumps({"response": {"status_code": 200, "body": {"model": "upstream-model"}}}).encode()
        provider.end(name, output=output_of(tokens(10, 5), {}) + b"\n" + silent + b"\nnot json\n")
        row, = booked(gate, name)
        assert row["counted"] == "estimate" and row["attempts"] == 4, row
        assert row["cost_nanos"] == 10 * INPUT + 5 * OUTPUT + (bound(*bodies) * 2 + 3) // 4


@pytest.mark.parametrize("status", ["cancelled", "expired", "failed"])
def test_what_ends_early_costs_what_was_made(upstream, provider, status):
    bodies = [body_of() for _ in range(3)]
    with gate_for(upstream, tenant(nanos=bound(*bodies)), poll="1s") as gate:
        nothing = submit(gate, *bodies).json["id"]
        if status == "cancelled":
            gate.post(f"/v1/batches/{nothing}/cancel", b"")
        else:
            provider.end(nothing, status, completed=0)
        row, = booked(gate, nothing)
        assert (row["outcome"], row["finish"], row["cost_nanos"], row["attempts"]) == ("partial", status, 0, 0), row
        eventually(lambda: gate.chat(max_tokens=1).status == 200, what="all of it is there again")
    with gate_for(upstream, tenant(), poll="1s") as gate:
        some = submit(gate, *bodies).json["id"]
        provider.end(some, status, output=output_of(tokens(10, 5)), completed=1)
        row, = booked(gate, some)
        assert (row["cost_nanos"], row["attempts"], row["outcome"]) == (10 * INPUT + 5 * OUTPUT, 1, "partial")


def test_an_output_that_is_gone_is_booked_at_the_bound(upstream, provider):
    body = body_of()
    with gate_for(upstream, tenant(), poll="1s") as gate:
        name = submit(gate, body).json["id"]
        provider.end(name, output=b"")
        del provider.files[provider.batches[name]["output_file_id"]]
        row, = booked(gate, name)
        assert (row["outcome"], row["counted"], row["cost_nanos"]) == ("lost", "estimate", bound(body)), row


@pytest.mark.parametrize("came, expected", [(1, 10 * INPUT + 5 * OUTPUT), (0, 0)])
def test_calls_whose_lines_are_not_in_the_file_take_their_share(upstream, provider, came, expected):
    bodies = [body_of() for _ in range(4)]
    with gate_for(upstream, tenant(), poll="1s") as gate:
        name = submit(gate, *bodies).json["id"]
        provider.end(name, output=output_of(*[tokens(10, 5)] * came), completed=3, failed=1)
        row, = booked(gate, name)
        assert (row["counted"], row["attempts"]) == ("estimate", 4), row
        assert row["cost_nanos"] == expected + -(-bound(*bodies) * (3 - came) // 4)


@pytest.mark.parametrize("completed", [4, None])
def test_a_file_without_a_length_that_breaks_off_is_read_again(upstream, provider, completed):
    lines = output_of(*[tokens(10, 5) for _ in range(4)]) + b"\n"
    broken = threading.Event()

    def answer(call):
        if not call.path.endswith("/content") or broken.is_set():
            provider(call)
            return
        call.send(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + lines.partition(b"\n")[0] + b"\n")
        call.close()
        broken.set()

    upstream.answer = answer
    with gate_for(upstream, tenant(), poll="1s") as gate:
        name = submit(gate, *[body_of() for _ in range(4)]).json["id"]
        provider.end(name, output=lines)
        if completed is None:
            del provider.batches[name]["request_counts"]
        row, = booked(gate, name)
        assert (row["counted"], row["cost_nanos"]) == ("provider", 4 * (10 * INPUT + 5 * OUTPUT)), row


@pytest.mark.parametrize("status, outcome", [("completed", "lost"), ("cancelled", "lost"), ("expired", "lost"), ("failed", "partial")])
def test_an_end_that_says_nothing_of_its_calls_is_booked_at_the_bound(upstream, provider, status, outcome):
    """Unless it has failed: then its file was refused, and nothing was made."""
    body = body_of()
    with gate_for(upstream, tenant(), poll="1s") as gate:
        name = submit(gate, body).json["id"]
        provider.batches[name]["status"] = status
        row, = booked(gate, name)
        assert (row["outcome"], row["cost_nanos"]) == (outcome, bound(body) if outcome == "lost" else 0), row


def test_answers_of_a_model_that_is_not_in_the_file_cost_what_the_dearest_does(upstream, provider):
    models = [model_for("fast"), merged(model_for("slow"), {"targets": [
        {"id": "slow-1", "provider": "up", "model": "other-model", "price": {"input": 7, "output": 9}}]})]
    with gate_for(upstream, tenant(), models=models, poll="1s") as gate:
        name = submit(gate, body_of(), body_of("other-model")).json["id"]
        provider.end(name, output=output_of(tokens(10, 5, model="gpt-x"), tokens(40, 7, model="gpt-x")))
        eventually(lambda: len(gate.ledger_rows(name)) == 2)
        rows = {row["upstream_model"]: row for row in gate.ledger_rows(name)}
        assert rows["upstream-model"]["cost_nanos"] == 0
        assert rows["other-model"]["cost_nanos"] == 50 * 7000 + 12 * 9000
        assert rows["other-model"]["counted"] == "estimate"


def test_pictures_are_paid_for_beside_their_tokens(upstream, provider):
    """As those of single calls."""
    url, body = "/v1/images/generations", {"model": "upstream-model", "prompt": "a cat", "n": 2}
    config = config_for(upstream, tenants=[tenant()], batches={"poll": "1s"})
    for target in (target for model in config["models"] for target in model["targets"]):
        target["price"] = {"input": "1", "output": "0", "unit": "0.04"}
    with Sluice(config) as gate:
        name = submit(gate, body, body, url=url).json["id"]
        provider.end(name, output=output_of(used(10, 100), used(10, 100)))
        row, = booked(gate, name)
        assert (row["units"], row["cost_nanos"]) == (4, 4 * 40_000_000 + 20 * INPUT), row


def test_a_provider_that_is_away_is_asked_again(upstream, provider):
    body, away = body_of(), [3]

    def flaky(call):
        if call.method == "GET" and away[0]:
            away[0] -= 1
            call.reset() if away[0] % 2 else call.respond(500, b"{}")
        else:
            provider(call)

    with gate_for(upstream, tenant(), poll="1s") as gate:
        name = submit(gate, body).json["id"]
        provider.end(name, usage=used(3, 2))
        upstream.answer = flaky
        assert booked(gate, name)[0]["cost_nanos"] == 3 * INPUT + 2 * OUTPUT
        assert away[0] == 0


def test_what_is_not_known_beforehand_is_booked_afterwards(upstream, provider):
    with gate_for(upstream, tenant(), poll="1s") as gate:
        name = submit(gate, file=upload(gate, lines_of(body_of(max_tokens="x")))).json["id"]
        provider.end(name, output=output_of(tokens(10, 5), tokens(1, 1)))
        row, = booked(gate, name)
        assert (row["cost_nanos"], row["attempts"]) == (11 * INPUT + 6 * OUTPUT, 2), row


def test_tenants_do_not_meet(upstream, provider):
    body = body_of()
    with gate_for(upstream, tenant(nanos=bound(body)), tenant("globex", KEY_GLOBEX, bound(body)), poll="1s") as gate:
        file = upload(gate, lines_of(body))
        assert submit(gate, file=file, key=KEY_GLOBEX).status == 404, "another tenant's file"
        mine = submit(gate, file=file).json["id"]
        theirs = submit(gate, body, key=KEY_GLOBEX).json["id"]
        assert gate.get(f"/v1/batches/{mine}", key=KEY_GLOBEX).status == 404
        provider.end(theirs, usage=used(5, 5))
        assert booked(gate, theirs)[0]["tenant"] == "globex"
        assert is_full(gate.chat(max_tokens=1)), "the first one's is still held"
        eventually(lambda: gate.chat(max_tokens=1, key=KEY_GLOBEX).status == 200)


# ----------------------------------------------------------------------------- over restarts


def drained(gate, name):
    try:
        return gate.sql("SELECT 1 FROM held WHERE id = ?", name)
    except sqlite3.Error:
        return []


@pytest.mark.parametrize("wait", [False, True])
def test_what_is_held_stays_so_over_a_kill(upstream, provider, wait):
    """Whether the ledger's line is in the database already, or only in the journal."""
    body = body_of()
    with gate_for(upstream, tenant(nanos=bound(body), limits={"requests_per_day": 8})) as gate:
        gate.may_crash = True
        name = submit(gate, body).json["id"]
        if wait:
            eventually(lambda: drained(gate, name))
        for _ in range(3):
            gate.kill()
            gate.start()
            assert is_full(gate.chat(max_tokens=1)), "no second budget"
        provider.end(name, usage=used(30, 20))
        gate.get(f"/v1/batches/{name}")
        row, = booked(gate, name)
        assert row["cost_nanos"] == 30 * INPUT + 20 * OUTPUT
        eventually(lambda: gate.chat(max_tokens=1).status == 200, what="the rest is there again")
        gate.kill()
        gate.start()
        assert len(booked(gate, name)) == 1
        lost = gate.usage_total("cost_nanos", outcome="lost")
        assert lost == 0 and gate.usage_total("cost_nanos", operation="batch") == row["cost_nanos"]


def test_what_ended_while_nobody_ran_is_booked_once(upstream, provider):
    body = body_of()
    with gate_for(upstream, tenant(nanos=2 * bound(body)), poll="1s") as gate:
        gate.may_crash = True
        name = submit(gate, body).json["id"]
        gate.kill()
        provider.end(name, usage=used(30, 20))
        for _ in range(8):
            gate.start()
            time.sleep(0.1)
            gate.kill()
        gate.start()
        assert len(booked(gate, name)) == 1
        assert gate.usage_total("cost_nanos", operation="batch") == 30 * INPUT + 20 * OUTPUT
        gate.stop()
        gate.start()
        time.sleep(1.5)
        assert len(gate.ledger_rows(name)) == 1 and drained(gate, name) == []


def test_an_unanswered_submission_is_lost_at_its_bound(upstream, provider):
    body = body_of()
    provider.refuse = lambda call: call.wait_gone(20)
    with gate_for(upstream, tenant(nanos=bound(body))) as gate:
        gate.may_crash = True
        file = upload(gate, lines_of(body))
        client = gate.connect()
        client.send(submission(file))
        assert provider.submitted.wait(10)
        gate.kill()
        client.close()
        gate.start()
        assert is_full(gate.chat(max_tokens=1)), "it may run"
        # Where the service sees its supervisor die it may have had the time to settle.
        eventually(lambda: gate.usage_total("cost_nanos", operation="batch") == bound(body))
        assert gate.usage_total("requests", outcome="lost") + gate.usage_total("requests", outcome="partial") == 1


def test_many_batches_are_each_booked_once_whenever_it_is_killed(upstream, provider):
    body, names = body_of(), []
    with gate_for(upstream, tenant(nanos=10**9), poll="1s") as gate:
        gate.may_crash = True
        file = upload(gate, lines_of(body))
        for _ in range(4):
            for _ in range(5):
                names.append(submit(gate, file=file).json["id"])
            for name in names[::2]:
                if provider.batches[name]["status"] == "validating":
                    provider.end(name, usage=used(10, 3))
                    gate.get(f"/v1/batches/{name}")
            gate.kill()
            gate.start()
        for name in names:
            if provider.batches[name]["status"] == "validating":
                provider.end(name, usage=used(10, 3))
        for name in names:
            assert len(booked(gate, name)) == 1
        assert gate.usage_total("cost_nanos", operation="batch") == len(names) * (10 * INPUT + 3 * OUTPUT)


# ----------------------------------------------------------------------------- with the mock


def test_the_mock_and_the_ledger_count_the_same():
    with Mock() as mock, gate_for(mock.url, tenant(nanos=10**12), models=[model_for("fast", model="mock-1")], poll="1s") as gate:
        name = submit(gate, *[body_of("mock-1", max_tokens=20) for _ in range(5)]).json["id"]
        row, = booked(gate, name)
        counted = gate.get(f"/v1/batches/{name}").json["usage"]
        assert (row["input_tokens"], row["output_tokens"]) == (counted["input_tokens"], counted["output_tokens"])
        assert row["attempts"] == 5 and row["cost_nanos"] == row["input_tokens"] * INPUT + row["output_tokens"] * OUTPUT


# ----------------------------------------------------------------------------- on several nodes


def test_what_one_node_holds_all_nodes_have(upstream, provider):
    body, key = body_of("m"), key_of("acme")
    budget = {"amount": f"{bound(body) / 1e9:.9f} USD", "period": "month"}
    model_budget = {"models": {"fast": {"budget": {"amount": f"{bound(body) / 1e9:.9f} USD", "period": "day"}}}}
    tenants = [replica_tenant("acme", budget=budget, limits=model_budget)]
    with Redis() as redis, Fleet(2, tenants, {"fast": "m"}, shared(redis), upstream) as fleet:
        fleet.wait_together()
        one, two = fleet.gates
        name = submit(one, body, key=key).json["id"]
        assert is_full(two.chat(key=key, max_tokens=1))
        redis.flushall()
        time.sleep(1)
        for _ in range(10):
            assert two.chat(key=key, max_tokens=1).status in (429, 503)
        one.may_crash = True
        one.kill()
        one.start()
        eventually(lambda: is_full(two.chat(key=key, max_tokens=1)))
        provider.end(name, usage=used(30, 20))
        one.get(f"/v1/batches/{name}", key=key)
        assert booked(one, name)[0]["cost_nanos"] == 30 * INPUT + 20 * OUTPUT
        eventually(lambda: two.chat(key=key, max_tokens=1).status == 200, what="the rest is there again, for all")
