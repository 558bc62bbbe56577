# SPDX-License-Identifier: Apache-2.0
"""`sluice logs`, `trace` and `top`: the last calls, those that come, one of them, and who spends."""

import json
import subprocess
import threading

from harness import BINARY, PRICE, Sluice, clean_environment, config_for, eventually, provider_for
from raw_upstream import openai_answer


def configure(upstream):
    config = config_for(upstream)
    config["tenants"][0]["tags"] = {"team": "search"}
    return config


def ids(done):
    assert done.returncode == 0, done.stderr
    return [json.loads(line)["id"] for line in done.stdout.splitlines()]


def test_the_last_calls_are_shown_the_oldest_first(gate):
    made = [gate.chat().header("x-request-id") for _ in range(5)]
    refused = gate.chat({"model": "none", "messages": []}).header("x-request-id")
    shown = gate.cli("logs", "--format", "json", "--filter", "model=fast")
    assert set(ids(shown)[-5:]) == set(made)
    assert len(ids(gate.cli("logs", "--format", "json", "-n", "2"))) == 2
    assert refused in ids(gate.cli("logs", "--format", "json", "--filter", "status=4xx"))
    assert not set(made) & set(ids(gate.cli("logs", "--format", "json", "--filter", "status=4xx,tenant=acme")))
    table = gate.cli("logs").stdout
    assert table.splitlines()[0].startswith("started (UTC)")
    assert all(one in table for one in [*made, refused])


def test_one_call_is_told_whole(gate):
    answer = gate.chat()
    told = gate.cli("trace", answer.header("x-request-id"))
    assert told.returncode == 0, told.stderr
    for words in ("200, complete", "tenant acme, key main", "tags team=search", "chat of fast, in the words of openai",
                  "to fast-1 of up as upstream-model", "11 in, 7 out; counted by provider", "price version"):
        assert words in told.stdout, told.stdout
    raw = json.loads(gate.cli("trace", answer.header("x-request-id"), "--format", "json").stdout)
    assert raw["id"] == answer.header("x-request-id") and raw["target"] == "fast-1"


def test_what_a_try_failed_of_before_another_one_is_no_error_of_the_call(upstream):
    def answer(call):
        if call.json["model"] == "bad":
            call.respond(503, {"error": {"message": "no"}})
        else:
            openai_answer(call)

    upstream.answer = answer
    targets = [{"id": name, "provider": "up", "model": name, "priority": priority, "price": PRICE}
               for priority, name in enumerate(("bad", "good"), 1)]
    provider = provider_for(upstream, retry={"attempts": 2, "backoff": "1ms"})
    with Sluice(config_for(upstream, providers=[provider], models=[{"name": "fast", "targets": targets}])) as gate:
        saved = gate.chat()
        assert saved.status == 200
        told = gate.cli("trace", saved.header("x-request-id")).stdout
        assert "200, complete" in told and "after target_error" in told and ", error" not in told, told
        upstream.answer = lambda call: call.respond(503, {"error": {"message": "no"}})
        told = gate.cli("trace", gate.chat().header("x-request-id")).stdout
        assert ", error target_error" in told, told


def test_what_is_not_there_or_not_meant_is_said(gate):
    assert gate.cli("trace", "req_nothing").returncode == 5
    for arguments in (("trace",), ("logs", "--filter", "nam=3"), ("logs", "--filter", "tenant"), ("logs", "-n", "0"),
                      ("logs", "--format", "csv"), ("trace", "x", "--format", "csv")):
        done = gate.cli(*arguments)
        assert done.returncode == 2 and done.stderr and not done.stdout, arguments


def test_followed_calls_are_shown_once_each(gate):
    before = gate.chat().header("x-request-id")
    follower = subprocess.Popen([BINARY, "logs", "-c", str(gate.file), "-f", "-n", "1", "--format", "json"],
                                stdout=subprocess.PIPE, text=True, env=clean_environment(gate.env))
    try:
        assert json.loads(follower.stdout.readline())["id"] == before
        made = {gate.chat().header("x-request-id") for _ in range(30)}
        shown = [json.loads(follower.stdout.readline())["id"] for _ in range(30)]
        assert set(shown) == made
        last = gate.chat().header("x-request-id")
        assert json.loads(follower.stdout.readline())["id"] == last
    finally:
        follower.kill()
        follower.communicate()


def test_who_spends_is_on_top(gate, upstream):
    upstream.answer = openai_answer
    for _ in range(3):
        gate.chat()
    shown = eventually(lambda: [line.split() for line in gate.cli("top", "--by", "tenant").stdout.splitlines()
                                if line.startswith("acme")])
    calls = int(shown[0][1])
    assert calls >= 3 and float(shown[0][-1]) > 0
    assert "fast-1" in gate.cli("top").stdout
    assert gate.cli("top", "--by", "nobody").returncode != 0



def test_many_calls_are_shown_once_each(gate):
    body, threads = {"model": "fast", "messages": []}, []
    for _ in range(8):
        threads.append(threading.Thread(target=lambda: [gate.post("/v1/chat/completions", body) for _ in range(300)]))
        threads[-1].start()
    for thread in threads:
        thread.join()
    follower = subprocess.Popen([BINARY, "logs", "-c", str(gate.file), "-f", "-n", "10000", "--format", "json"],
                                stdout=subprocess.PIPE, text=True, env=clean_environment(gate.env))
    try:
        shown = [json.loads(follower.stdout.readline())["id"] for _ in range(2400)]
        last = gate.chat().header("x-request-id")
        while shown[-1] != last:
            shown.append(json.loads(follower.stdout.readline())["id"])
        assert len(shown) == len(set(shown))
    finally:
        follower.kill()
        follower.communicate()
