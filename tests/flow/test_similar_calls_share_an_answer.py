# SPDX-License-Identifier: Apache-2.0
"""The semantic cache: who asks nearly the same gets the answer that was given, and no one else's."""

import json
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import (
    KEY_ACME_FAST,
    KEY_GLOBEX,
    Sluice,
    chat_body,
    chat_request,
    config_for,
    eventually,
    free_port,
    model_for,
    provider_for,
    sse_events,
    tenants,
)
from raw_client import Client
from raw_upstream import Upstream, openai_answer
from redis_servers import Redis

pytestmark = pytest.mark.threads
PLACES = iter(range(1_000_000))
TOKENS = 7


def vector(text, dimensions=8):
    """A text begins with degrees: that is what it means."""
    angle = math.radians(float(text.split(maxsplit=1)[0]))
    return [math.cos(angle), math.sin(angle)] + [0.0] * (dimensions - 2)


def embed(call, dimensions=8):
    call.respond(200, {"object": "list", "model": "e", "data": [
        {"object": "embedding", "index": 0, "embedding": vector(call.json["input"], dimensions)}],
        "usage": {"prompt_tokens": TOKENS, "total_tokens": TOKENS}})


def answering(embedding=embed, other=openai_answer):
    return lambda call: embedding(call) if call.path.endswith("/embeddings") else other(call)


def chats(upstream):
    return [call for call in upstream.calls if call.path.endswith("/chat/completions")]


def embeddings(upstream):
    return [call for call in upstream.calls if call.path.endswith("/embeddings")]


def configure(upstream, semantic=None, **changes):
    models = [model_for("fast"), model_for("slow", model="other-model"), model_for("embed", model="embedding-model")]
    cache = {"exact": {"enabled": True}, "semantic": {"enabled": True, "threshold": 0.95, **(semantic or {})}}
    return config_for(upstream, **{"models": models, "cache": cache, **changes})


@pytest.fixture(autouse=True)
def chosen(request):
    """Every test begins with an upstream that knows what texts mean."""
    if "upstream" in request.fixturenames:
        request.getfixturevalue("watched")
        request.getfixturevalue("upstream").answer = answering()


@pytest.fixture
def place():
    """Another one for each test: what is not compared must be equal."""
    return next(PLACES)


def ask(gate, place, text, key=None, headers=(), **fields):
    body = {"model": "fast", "temperature": 0, "seed": place, "messages": [
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": text}], **fields}
    options = {"key": key} if key else {}
    answer = gate.post("/v1/chat/completions", body, headers=headers, **options)
    assert answer.status == 200, answer
    return answer


def said(answer):
    return answer.header("x-sluice-cache")


def kept(gate, place, text, **options):
    """Ask, and wait until what it means can be found."""
    finds = gate.metric("sluice_semantic_entries")
    answer = ask(gate, place, text, **options)
    assert said(answer) == "miss"
    eventually(lambda: gate.metric("sluice_semantic_entries") > finds, what="a meaning that is kept")
    return answer


def rows(gate, count=1, **where):
    """Booked calls, as soon as there are so many like that."""
    def find():
        found = [row for row in gate.ledger_rows() if all(row[name] == value for name, value in where.items())]
        return found if len(found) >= count else None

    return eventually(find, 15, what=f"{count} rows with {where}")


# ------------------------------------------------------------------------------- what is alike


def test_a_similar_call_is_given_the_answer(gate, upstream, place):
    hits = gate.metric("sluice_semantic_hits_total")
    first = kept(gate, place, "0 what is the capital of France?")
    second = ask(gate, place, "10 the capital of France, please")
    assert said(second) == "hit" and second.body == first.body and len(chats(upstream)) == 1
    assert abs(float(second.header("x-sluice-similarity")) - math.cos(math.radians(10))) < 0.002
    assert first.header("x-sluice-similarity") is None
    assert second.header("x-sluice-cost-usd") == "0.000000000" and second.header("x-sluice-target") == "fast-1"
    row = gate.ledger_row(second.header("x-request-id"))
    assert (row["cost_nanos"], row["input_tokens"], row["outcome"]) == (0, 0, "complete") and row["saved_nanos"] > 0
    assert gate.metric("sluice_semantic_hits_total") == hits + 1


def test_the_embedding_model_gets_the_last_message_and_our_credentials(gate, upstream, place):
    ask(gate, place, '0 "quoted"\n\u00e9 \U0001f600 text', headers={"OpenAI-Organization": "the-client", "X-Secret": "s"})
    call = embeddings(upstream)[0]
    assert call.json == {"model": "embedding-model", "input": '0 "quoted"\n\u00e9 \U0001f600 text'}
    assert call.header("authorization") == chats(upstream)[0].header("authorization")
    assert call.header("openai-organization") is None and call.header("x-secret") is None
    assert call.header("content-type") == "application/json"


def test_the_threshold_decides(gate, upstream, place):
    kept(gate, place, "0 question")
    assert said(ask(gate, place, "20 another")) == "miss"  # cos 20 degrees = 0.94
    assert said(ask(gate, place, "-17 nearly the same")) == "hit"  # cos 17 degrees = 0.956
    assert len(chats(upstream)) == 2


def test_an_equal_call_asks_no_embedding_model(gate, upstream, place):
    kept(gate, place, "0 question")
    answer = ask(gate, place, "0 question")
    assert said(answer) == "hit" and answer.header("x-sluice-similarity") is None and len(embeddings(upstream)) == 1
    assert said(ask(gate, place, "5 question")) == "hit"
    assert said(ask(gate, place, "5 question")) == "hit"  # equal to one that was given another's answer
    assert len(embeddings(upstream)) == 2 and len(chats(upstream)) == 1


@pytest.mark.parametrize("change", [
    {"model": "slow"}, {"max_tokens": 5}, {"tools": []}, {"temperature": 0.0001},
    {"messages": [{"role": "system", "content": "Be long."}, {"role": "user", "content": "1 question"}]},
    {"messages": [{"role": "user", "content": "0 x"}, {"role": "assistant", "content": "y"}, {"role": "user", "content": "1 question"}]}])
def test_all_the_rest_must_be_equal(gate, upstream, place, change):
    kept(gate, place, "0 question")
    assert said(ask(gate, place, "1 question", **change)) != "hit" and len(chats(upstream)) == 2


def test_tenants_do_not_share(gate, upstream, place):
    kept(gate, place, "0 question")
    assert said(ask(gate, place, "1 question", key=KEY_GLOBEX)) == "miss"
    assert said(ask(gate, place, "2 question", key=KEY_ACME_FAST)) == "hit"  # which may not call "embed" itself


def test_forms_are_converted(gate, upstream, place):
    first = kept(gate, place, "0 question")
    other = ask(gate, place, "1 question", stream=True)
    assert said(other) == "hit" and other.header("x-sluice-similarity").startswith("0.999")
    chunks = [json.loads(event) for event in sse_events(other.body) if event != "[DONE]"]
    content = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])
    assert content == first.json["choices"][0]["message"]["content"] and other.body.endswith(b"data: [DONE]\n\n")
    assert len(chats(upstream)) == 1


def test_calls_that_are_not_of_that_form_go_on(gate, upstream, place):
    picture = [{"type": "text", "text": "0 what is this?"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]
    ask(gate, place, None, messages=[{"role": "user", "content": picture}])
    ask(gate, place, None, messages=[{"role": "user", "content": "0 " + "long " * 4000}])
    ask(gate, place, "0 warm", temperature=1)
    assert len(chats(upstream)) == 3 and not embeddings(upstream)


def test_the_client_decides_per_call(gate, upstream, place):
    kept(gate, place, "0 question")
    assert said(ask(gate, place, "1 question", headers={"Cache-Control": "no-cache"})) == "bypass"
    assert said(ask(gate, place, "2 question", headers={"Cache-Control": "no-store"})) == "bypass"
    assert len(embeddings(upstream)) == 1 and len(chats(upstream)) == 3
    assert said(ask(gate, place, "3 question", headers={"Cache-Control": "max-age=60"})) == "hit"
    time.sleep(1.1)
    assert said(ask(gate, place, "4 question", headers={"Cache-Control": "max-age=1"})) == "miss"


def test_calls_at_once_ask_once(gate, upstream, place):
    go = threading.Event()

    def slow(call):
        go.wait(60)
        embed(call)

    upstream.answer = answering(slow)
    with ThreadPoolExecutor(10) as pool:
        asking = [pool.submit(ask, gate, place, "0 at once") for _ in range(10)]
        eventually(lambda: gate.metric("sluice_inflight_requests") == 10, what="all have come")
        go.set()
        answers = [each.result() for each in asking]
    words = [said(answer) for answer in answers]
    assert words.count("miss") == 1 and words.count("join") == 9, words
    assert len(embeddings(upstream)) == 1 and len(chats(upstream)) == 1
    eventually(lambda: said(ask(gate, place, "1 warm up")) == "hit")
    before = len(embeddings(upstream))
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: ask(gate, place, "2 at once"), range(10)))
    assert len(chats(upstream)) <= 2 and len(embeddings(upstream)) == before + 1
    assert {answer.body for answer in answers} == {ask(gate, place, "0 at once").body}


# ---------------------------------------------------------------------------------- its money


def test_the_question_is_booked_for_who_asked(upstream):
    with Sluice(configure(upstream)) as gate:
        first = ask(gate, 0, "0 question", headers={"X-Sluice-Tags": "team=search"})
        [row] = rows(gate, operation="embedding")
        assert (row["tenant"], row["key"], row["model"], row["upstream_model"]) == ("acme", "main", "embed", "embedding-model")
        assert (row["tags"].split(",")[0], row["outcome"], row["counted"]) == ("semantic=1", "complete", "provider")
        assert (row["input_tokens"], row["cost_nanos"], row["status"]) == (TOKENS, TOKENS * 1000, 200)
        assert row["id"] != first.header("x-request-id") and row["target"] == "embed-1"
        assert gate.usage_total("cost_nanos", model="embed") == TOKENS * 1000
        assert gate.metric("sluice_requests_total", model="embed", tenant="acme", outcome="complete") == 1


def spent(gate, kind="budget_per_day"):
    """(used, held) of the tenant's budget."""
    with Client(str(gate.state / "admin.sock")) as client:
        counters = client.request("GET", "/admin/v1/limits").json["data"]
    return next((one["used"], one["held"]) for one in counters if one["limit"] == kind)


def test_its_cost_is_held_and_settled(upstream):
    budget = [{**tenants()[0], "budget": {"amount": "1 USD", "period": "day"}}]
    with Sluice(configure(upstream, tenants=budget)) as gate:
        first = kept(gate, 0, "0 question")
        cost = gate.ledger_row(first.header("x-request-id"))["cost_nanos"]
        assert eventually(lambda: spent(gate)[1] == 0 and spent(gate)) == (cost + TOKENS * 1000, 0)
        assert said(ask(gate, 0, "1 question")) == "hit"
        assert eventually(lambda: spent(gate)[1] == 0 and spent(gate)) == (cost + 2 * TOKENS * 1000, 0)
        assert said(ask(gate, 0, "1 question")) == "hit"  # an equal one costs nothing
        assert spent(gate) == (cost + 2 * TOKENS * 1000, 0)


def test_who_has_no_money_asks_no_embedding_model(upstream):
    broke = [{**tenants()[0], "budget": {"amount": "0.000001 USD", "period": "day"}}]
    with Sluice(configure(upstream, tenants=broke)) as gate:
        answer = gate.chat(temperature=0, messages=[{"role": "user", "content": "0 question"}])
        assert answer.status == 429 and not upstream.calls


# ------------------------------------------------------------------------------- how long, how many


def test_an_answer_gets_old(upstream):
    with Sluice(configure(upstream, {"ttl": "5s"})) as gate:
        kept(gate, 0, "0 question")
        begun = time.monotonic()
        time.sleep(1)
        assert said(ask(gate, 0, "1 question")) == "hit"
        time.sleep(max(0, 5.3 - (time.monotonic() - begun)))
        assert said(ask(gate, 0, "2 question")) == "miss"
        assert said(ask(gate, 0, "1 question")) in ("hit", "miss")


def test_without_the_exact_cache(upstream):
    config = configure(upstream)
    config["cache"]["exact"]["enabled"] = False
    with Sluice(config) as gate:
        kept(gate, 0, "0 question")
        assert said(ask(gate, 0, "1 question")) == "hit" and len(chats(upstream)) == 1


def test_the_oldest_go_beyond_max_entries(upstream):
    with Sluice(configure(upstream, {"max_entries": 2})) as gate:
        for text in ("0 one", "90 two", "180 three"):
            before = gate.metric("sluice_semantic_misses_total")
            ask(gate, 0, text)
            assert gate.metric("sluice_semantic_misses_total") == before + 1
            time.sleep(0.1)
        eventually(lambda: gate.metric("sluice_semantic_entries") == 2, what="two are kept")
        assert said(ask(gate, 0, "181 three")) == "hit" and said(ask(gate, 0, "91 two")) == "hit"
        assert said(ask(gate, 0, "1 one")) == "miss"


def test_a_reload_changes_the_threshold_and_ends_it(upstream):
    config = configure(upstream)
    with Sluice(config) as gate:
        kept(gate, 0, "0 question")
        assert said(ask(gate, 0, "20 question")) == "miss"
        config["cache"]["semantic"]["threshold"] = 0.5
        gate.write(config)
        assert gate.cli("reload").returncode == 0
        eventually(lambda: said(ask(gate, 0, f"{40 + next(PLACES) / 1e6:.6f} question")) == "hit")
        config["cache"]["semantic"]["enabled"] = False
        gate.write(config)
        assert gate.cli("reload").returncode == 0
        eventually(lambda: said(ask(gate, 0, f"{1 + next(PLACES) / 1e6:.6f} question")) == "miss")


# -------------------------------------------------------------------------------- what may fail


def garbage(body, status=200):
    return lambda call: call.respond(status, body)


def cut(call):
    call.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"data\":[{")
    call.reset()


@pytest.mark.parametrize(("what", "embedding", "outcome"), [
    ("an error", garbage({"error": {"message": "no"}}, 500), "refused"),
    ("no room", garbage({"error": {"message": "later"}}, 429), "refused"),
    ("no JSON", garbage(b"<html>"), "complete"),
    ("no vector", garbage({"data": []}), "complete"),
    ("words", garbage({"data": [{"embedding": ["a", "b"]}]}), "complete"),
    ("nothing but zeros", garbage({"data": [{"embedding": [0, 0, 0]}]}), "complete"),
    ("too much", garbage({"data": [{"embedding": [0.125] * 400_000}]}), "complete"),
    ("half an answer", cut, "partial"),
    ("no answer", lambda call: call.reset(), "partial")])
def test_a_bad_embedding_model_harms_no_call(gate, upstream, place, what, embedding, outcome):
    failures = gate.metric("sluice_semantic_failures_total")
    upstream.answer = answering(embedding)
    answer = ask(gate, place, "0 question " + what, user=what)
    assert said(answer) == "miss" and len(chats(upstream)) == 1
    assert gate.metric("sluice_semantic_failures_total") == failures + 1
    [row] = rows(gate, operation="embedding", user=what)
    assert row["outcome"] == outcome and (row["cost_nanos"] > 0) == (outcome != "refused"), row
    upstream.answer = answering()
    assert said(ask(gate, place, "0 question " + what)) == "hit"  # the exact cache has it all the same


def test_an_embedding_model_that_is_away_harms_no_call(upstream):
    away = provider_for(f"http://127.0.0.1:{free_port()}/v1", name="away")
    models = [model_for("fast"), model_for("embed", provider="away")]
    with Sluice(configure(upstream, providers=[provider_for(upstream), away], models=models)) as gate:
        assert said(ask(gate, 0, "0 question")) == "miss" and gate.metric("sluice_semantic_failures_total") == 1


def test_a_slow_embedding_model_is_not_waited_for_long(gate, upstream, place):
    upstream.answer = answering(lambda call: call.wait_gone(20))
    begun = time.monotonic()
    assert said(ask(gate, place, "0 question")) == "miss"
    assert 4 < time.monotonic() - begun < 19


def test_other_dimensions_are_not_compared(gate, upstream, place):
    kept(gate, place, "0 question")
    upstream.answer = answering(lambda call: embed(call, 16))
    assert said(ask(gate, place, "1 question")) == "miss"
    assert said(ask(gate, place, "2 question")) in ("hit", "miss") and len(chats(upstream)) <= 3
    eventually(lambda: said(ask(gate, place, f"{3 + next(PLACES) / 1e6:.6f} question")) == "hit")


def test_a_client_that_leaves_ends_the_question(gate, upstream, place):
    begun, gone = threading.Event(), threading.Event()

    def stall(call):
        begun.set()
        if call.wait_gone(10):
            gone.set()

    upstream.answer = answering(stall)
    client = gate.connect()
    client.send(chat_request({"model": "fast", "temperature": 0, "seed": place, "user": "leaver", "messages": [
        {"role": "user", "content": "0 question"}]}))
    assert begun.wait(10)
    client.close()
    assert gone.wait(3)
    assert sorted((row["operation"], row["status"]) for row in rows(gate, 2, user="leaver")) == [("chat", 499), ("embedding", 499)]
    assert not chats(upstream)
    upstream.answer = answering()
    assert said(ask(gate, place, "0 question")) == "miss"


def test_a_stop_ends_the_question(upstream):
    begun = threading.Event()

    def stall(call):
        begun.set()
        call.wait_gone(20)

    upstream.answer = answering(stall)
    config = configure(upstream)
    config["server"]["shutdown"]["grace"] = "1s"
    with Sluice(config) as gate:
        client = gate.connect()
        client.send(chat_request({"model": "fast", "temperature": 0, "messages": [{"role": "user", "content": "0 question"}]}))
        assert begun.wait(10)
        gate.stop()
        assert gate.process.returncode == 0
        client.close()


def test_the_disk_is_waited_for(upstream):
    config = configure(upstream)
    config["ledger"] = {"sync": "disk"}
    with Sluice(config) as gate:
        kept(gate, 0, "0 question")
        assert said(ask(gate, 0, "1 question")) == "hit" and len(chats(upstream)) == 1


def test_a_target_that_is_off_is_not_asked():
    with Upstream(answering()) as upstream:
        models = [model_for("fast"), model_for("embed", targets=[{"id": "e", "provider": "up", "model": "who-knows"}])]
        config = configure(upstream, models=models, ledger={"unknown_price": "reject"})
        with Sluice(config) as gate:
            assert said(ask(gate, 0, "0 question")) == "miss" and not embeddings(upstream)


def test_replicas_share_the_answers(upstream):
    """A Redis without vector sets: meanings are each node's own, answers are everybody's."""
    with Redis() as redis:
        store = {"type": "redis", "redis": {"url": redis.url(), "timeout": "2s"}}
        with Sluice(configure(upstream, store=store)) as one, Sluice(configure(upstream, store=store)) as two:
            first = kept(one, 0, "0 question")
            assert said(ask(one, 0, "1 question")) == "hit"
            eventually(lambda: len(redis.command("KEYS", "*cache:*")) == 2, what="both answers in Redis")
            assert ask(two, 0, "1 question").body == first.body  # equal to one that was given another's
            assert len(chats(upstream)) == 1
            kept(two, 0, "90 other")
            redis.kill()
            assert said(ask(one, 0, "2 question")) == "hit" and said(ask(two, 0, "91 other")) == "hit"
            assert len(chats(upstream)) == 2
