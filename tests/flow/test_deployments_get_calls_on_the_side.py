# SPDX-License-Identifier: Apache-2.0
"""A deployment can be a mirror, and the semantic cache's embedding model: where it has a free place; else it is left out and counted."""

import os
import signal

import pytest
from deployed import Desk, deployed, pids, server_for
from harness import Background, Sluice, chat_body, eventually, model_for

pytestmark = pytest.mark.threads


def mirroring(upstream, *options, **changes):
    rules = [{"name": "all", "when": {"model": ["fast"]}, "use": {"mirror": {"target": "shadow"}}}]
    return deployed(server_for("shadow", *options, **changes), upstream=upstream, routing={"rules": rules})


def rows_with(gate, tag, count):
    def find():
        rows = [row for row in gate.ledger_rows() if tag in row["tags"]]
        return rows if len(rows) >= count else None

    return eventually(find, 15, what=f"{count} rows with {tag}")


def test_a_mirror_gets_calls_while_it_runs_and_never_wakes(upstream):
    with Sluice(mirroring(upstream)) as gate:
        desk = Desk(gate)
        for _ in range(3):
            assert gate.chat("fast").status == 200
        eventually(lambda: gate.metric("sluice_mirrors_skipped_total") == 3, what="they are left out")
        assert gate.metric("sluice_mirrored_total") == 0 and desk.show("shadow")["state"] == "idle" and not pids()
        assert desk.order("start", "shadow").status == 200
        desk.until("ready", "shadow")
        assert gate.chat("fast", stream=True).status == 200
        [row] = rows_with(gate, "mirror=1", 1)
        assert (row["target"], row["upstream_model"], row["outcome"], row["input_tokens"]) == ("shadow", "shadow-model", "complete", 5), row
        assert eventually(lambda: desk.show("shadow")["queue"]["in_flight"] == 0, what="its place is given back")


def test_a_mirror_takes_no_place_from_those_who_wait(upstream):
    with Sluice(mirroring(upstream, "--first-ms", 600, scaling={"min": 1, "parallel": 1})) as gate:
        Desk(gate).until("ready", "shadow")
        calls = [Background(lambda: gate.chat("shadow", options={"timeout": 30})) for _ in range(2)]
        eventually(lambda: Desk(gate).show("shadow")["queue"]["held"] == 1, what="one waits")
        assert gate.chat("fast").status == 200
        eventually(lambda: gate.metric("sluice_mirrors_skipped_total") == 1, what="it is left out")
        assert [call.result().status for call in calls] == [200, 200]


def caching(upstream, *options, **changes):
    cache = {"exact": {"enabled": True}, "semantic": {"enabled": True, "threshold": 0.95, "model": "embed"}}
    return deployed(server_for("embed", *options, **changes), upstream=upstream, models=[model_for("fast")], cache=cache)


def ask(gate, text):
    return gate.post("/v1/chat/completions", {"model": "fast", "messages": [{"role": "user", "content": text}], "temperature": 0}, timeout=30)


def test_meanings_come_from_a_deployment(upstream):
    upstream.answer = lambda call: call.respond(200, chat_body("Hello"))
    with Sluice(caching(upstream, "--load-ms", 1500)) as gate:
        desk = Desk(gate)
        assert ask(gate, "1 is asleep").status == 200 and desk.show("embed")["ready"] == 0, "no call waits for it"
        assert gate.metric("sluice_semantic_skipped_total") == 1
        desk.until("ready", "embed")  # which the first question has woken
        assert ask(gate, "2 is asked first").header("x-sluice-cache") != "hit"
        like = ask(gate, "2 is asked again")
        assert like.header("x-sluice-cache") == "hit" and like.header("x-sluice-similarity"), like
        assert ask(gate, "3 is another").header("x-sluice-cache") != "hit"
        assert len(upstream.calls) == 3
        row = rows_with(gate, "semantic=1", 3)[0]
        assert (row["target"], row["upstream_model"], row["outcome"], row["operation"]) == ("embed", "embed-model", "complete", "embedding"), row
        assert desk.show("embed")["queue"]["in_flight"] == 0


def test_a_call_is_answered_though_the_meaning_never_comes(upstream):
    upstream.answer = lambda call: call.respond(200, chat_body("Hello"))
    with Sluice(caching(upstream, "--first-ms", 400, scaling={"min": 1, "parallel": 1})) as gate:
        Desk(gate).until("ready", "embed")
        first = Background(lambda: ask(gate, "1 takes the place"))
        eventually(lambda: Desk(gate).show("embed")["queue"]["in_flight"] == 1, what="it is asked")
        assert ask(gate, "2 finds none").status == 200
        assert gate.metric("sluice_semantic_skipped_total") == 1
        assert first.result().status == 200
        for pid in pids():
            os.kill(pid, signal.SIGKILL)
        assert ask(gate, "3 finds nobody").status == 200
