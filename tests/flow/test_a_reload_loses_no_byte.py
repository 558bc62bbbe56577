# SPDX-License-Identifier: Apache-2.0
"""SIGHUP and `sluice reload`: a new file counts for new calls, an open stream notices nothing."""

import json
import os
import re
import signal
import threading
import time

import pytest
from harness import (
    KEY_ACME,
    KEY_GLOBEX,
    SANITIZED,
    Sluice,
    chat_chunk,
    config_for,
    eventually,
    merged,
    model_for,
    run_cli,
    sha256_hash,
    sse_events,
)
from raw_client import Client
from redis_servers import Redis

pytestmark = pytest.mark.threads
STREAMS = 60 if SANITIZED else 200
RELOADS = 30 if SANITIZED else 100


def configure(upstream):
    return config_for(upstream)


def reloads(gate):
    return gate.metric("sluice_config_last_reload_success_timestamp_seconds")


def reload_by_signal(gate):
    before = len([line for line in gate.log_lines() if "reload" in json.dumps(line).lower()])
    gate.signal(signal.SIGHUP)
    eventually(lambda: len([line for line in gate.log_lines() if "reload" in json.dumps(line).lower()]) > before,
               what="a word about the reload")


class Ticker:
    """Holds many streams and writes to all of them in turn, each event numbered."""

    def __init__(self):
        self.calls, self.lock = [], threading.Lock()
        self.end = threading.Event()
        self.ticks = 0

    def __call__(self, call):
        call.begin_stream()
        call.event(chat_chunk({"content": "#begin#"}))
        done = threading.Event()
        with self.lock:
            self.calls.append((call, done, self.ticks))
        done.wait(120)

    def tick(self, last=False):
        with self.lock:
            for call, done, _ in self.calls:
                call.event(chat_chunk({"content": f"#{self.ticks}#"}))
                if last:
                    call.event("[DONE]")
                    call.end_stream()
                    done.set()
            self.ticks += 1


def test_many_reloads_under_many_streams(gate, upstream):
    upstream.answer = ticker = Ticker()
    streams = [gate.open_stream() for _ in range(STREAMS)]
    upstream.wait(lambda: len(ticker.calls) == STREAMS, within=30)
    variants = [gate.config, merged(gate.config, {"server": {"timeouts": {"stream_idle": "100s"}}})]
    for i in range(RELOADS):
        gate.write(variants[i % 2])
        if i % 2:
            assert gate.cli("reload").returncode == 0
        else:
            gate.signal(signal.SIGHUP)
        if i % 4 == 0:
            ticker.tick()
    ticker.tick(last=True)
    for client, response in streams:
        with client:
            events = sse_events(b"".join(client.pieces(response)))
        numbers = [json.loads(e)["choices"][0]["delta"]["content"] for e in events[:-1]]
        assert numbers == ["#begin#", *(f"#{i}#" for i in range(ticker.ticks))] and events[-1] == "[DONE]"
    assert gate.chat(key=None).status == 401
    upstream.forget()
    assert gate.chat().status == 200
    eventually(lambda: gate.metric("sluice_inflight_requests") == 0)


@pytest.mark.parametrize("how", ["signal", "command"])
def test_a_broken_file_keeps_the_old_one(gate, how):
    good = gate.config
    for bad in ("server: [", "nonsense: 1\n", "providers:\n  - name: up\n    type: nobody\n", "", "\0\1"):
        gate.write(bad)
        if how == "command":
            done = gate.cli("reload")
            assert done.returncode == 1 and done.stderr, bad
        else:
            gate.signal(signal.SIGHUP)
        gate.config = good
        eventually(lambda: gate.metric("sluice_config_last_reload_successful") == 0)
        assert gate.chat().status == 200
    gate.write(good)
    assert gate.cli("reload").returncode == 0
    assert gate.metric("sluice_config_last_reload_successful") == 1


def test_the_words_of_a_broken_file_reach_the_caller(gate):
    good = gate.config
    gate.write("providers:\n  - name: up\n    type: openai\n    base_ulr: http://127.0.0.1:1/v1\n")
    done = gate.cli("reload")
    gate.write(good)
    assert done.returncode == 1
    assert "base_ulr" in done.stdout + done.stderr and "base_url" in done.stdout + done.stderr
    assert gate.cli("reload").returncode == 0


def test_a_new_key_works_and_a_revoked_one_stops(gate):
    good, new = gate.config, "sk-new-5ecre7-0000000000000000"
    tenants = json.loads(json.dumps(good["tenants"]))
    tenants[1]["keys"] = [{"name": "other", "hash": sha256_hash(new)}]
    assert gate.chat(key=new).status == 401 and gate.chat(key=KEY_GLOBEX).status == 200
    kept = gate.connect()
    head = {"Authorization": f"Bearer {KEY_GLOBEX}"}
    assert kept.request("GET", "/v1/models", head).status == 200
    gate.write(merged(good, {"tenants": tenants}))
    assert gate.cli("reload").returncode == 0
    assert gate.chat(key=new).status == 200
    assert gate.chat(key=KEY_GLOBEX).status == 401
    assert kept.request("GET", "/v1/models", head).status == 401, "also on a connection that was open"
    kept.close()
    gate.write(good)
    assert gate.cli("reload").returncode == 0
    assert gate.chat(key=new).status == 401 and gate.chat(key=KEY_GLOBEX).status == 200


def test_a_new_model_and_a_new_price(gate, upstream):
    good = gate.config
    dear = model_for("dear")
    dear["targets"][0]["price"] = {"input": 1000, "output": 1000}
    gate.write(merged(good, {"models": good["models"] + [dear]}))
    assert gate.cli("reload").returncode == 0
    answer = gate.chat("dear")
    assert answer.status == 200
    assert gate.ledger_row(answer.header("x-request-id"))["cost_nanos"] == 18 * 1_000_000
    gate.write(good)
    assert gate.cli("reload").returncode == 0
    assert gate.chat("dear").status == 404


def test_what_is_in_force_is_shown_though_the_file_has_changed(gate):
    good = gate.config
    gate.write(merged(good, {"server": {"limits": {"max_body_bytes": "13MiB"}}}))
    shown = {how: run_cli("-c", gate.file, "config", "show", *how, env={"STATE_DIRECTORY": str(gate.state)}) for how in ((), ("--effective",), ("--effective", "--origin"))}
    gate.write(good)
    assert all(done.returncode == 0 for done in shown.values()), shown
    assert "13MiB" in shown[()].stdout, "the file"
    assert "13MiB" not in shown[("--effective",)].stdout, "what runs"
    assert "sluice.yaml:" not in shown[("--effective",)].stdout and "sluice.yaml:" in shown[("--effective", "--origin")].stdout


def test_an_open_stream_keeps_the_rights_it_began_with(gate, upstream):
    good = gate.config
    upstream.answer = ticker = Ticker()
    client, response = gate.open_stream(key=KEY_ACME)
    upstream.wait(lambda: len(ticker.calls) == 1)
    tenants = [good["tenants"][1]]
    gate.write(merged(good, {"tenants": tenants}))
    assert gate.cli("reload").returncode == 0
    assert gate.chat(key=KEY_ACME).status == 401
    ticker.tick(last=True)
    with client:
        assert b"[DONE]" in b"".join(client.pieces(response))
    gate.write(good)
    assert gate.cli("reload").returncode == 0
    row = gate.ledger_row(response.header("x-request-id"))
    assert row["tenant"] == "acme" and row["outcome"] == "complete"


def test_without_its_last_key_a_tenant_still_keeps_strangers_out(gate):
    good = gate.config
    assert gate.chat(key=None).status == 401
    gate.write(merged(good, {"tenants": [{**tenant, "keys": []} for tenant in good["tenants"]]}))
    assert gate.cli("reload").returncode == 0
    assert [gate.chat(key=key).status for key in (None, "any", KEY_ACME)] == [401, 401, 401]
    gate.write({name: value for name, value in good.items() if name != "tenants"})
    assert gate.cli("reload").returncode == 0
    assert gate.chat(key=None).status == 200, "where nobody is named, on loopback anybody may call"
    gate.write(merged({name: value for name, value in good.items() if name != "tenants"}, {"anonymous": False}))
    assert gate.cli("reload").returncode == 0
    assert gate.chat(key=None).status == 401
    gate.write(good)
    assert gate.cli("reload").returncode == 0
    assert gate.chat(key=KEY_ACME).status == 200


def test_an_added_listener(gate):
    from harness import free_port

    good = gate.config
    more = json.loads(json.dumps(good["server"]["listeners"]))
    more.append({"name": "second", "address": f"127.0.0.1:{free_port()}", "serve": ["api", "health"]})
    gate.write(merged(good, {"server": {"listeners": more}}))
    done = gate.cli("reload")
    said = (done.stdout + done.stderr + gate.log()).lower()
    try:
        eventually(lambda: gate.get("/livez", listener="second", key=None).status == 200, within=3)
    except (AssertionError, OSError):
        assert "restart" in said, "a listener that needs a restart must be said to"
    assert gate.chat().status == 200
    gate.write(good)
    gate.cli("reload")
    assert gate.chat().status == 200


def test_what_waits_for_a_restart_is_not_forgotten(gate):
    """Until it is taken back: neither by a reload of something else, nor by one that fails."""
    good = gate.config

    def waiting():
        with Client(str(gate.state / "admin.sock")) as client:
            return client.request("GET", "/admin/v1/overview").json["reload"]["needs_restart"]

    gate.write(merged(good, {"server": {"workers": 7}}))
    assert gate.cli("reload").returncode == 0 and waiting() == ["server.workers"]
    gate.write(merged(good, {"server": {"workers": 7}, "telemetry": {"log": {"level": "info"}}}))
    assert gate.cli("reload").returncode == 0 and waiting() == ["server.workers"]
    gate.write("version: 1\nnonsense: true\n")
    assert gate.cli("reload").returncode != 0 and waiting() == ["server.workers"]
    assert "not in force before a restart: server.workers\n" in gate.cli("status").stdout
    gate.write(good)
    assert gate.cli("reload").returncode == 0 and waiting() == []
    assert "before a restart" not in gate.cli("status").stdout


def test_what_holds_redis_waits_for_a_restart(upstream):
    """It is named, and a service that is replaced does not take it up unasked."""
    with Redis() as redis, Sluice(config_for(upstream, store={"type": "redis", "redis": {"url": redis.url()}})) as gate:
        good = gate.config

        def waiting(**store):
            gate.write(merged(good, {"store": store}))
            done = gate.cli("reload")
            assert done.returncode == 0
            named = re.search("not in force before a restart: (.*)", done.stderr)
            return named and named[1]

        for change in ({"url": f"redis://:other@127.0.0.1:{redis.port}/0"}, {"key_prefix": "other:"}, {"timeout": "77ms"},
                       {"replicas_max": 7}, {"url": "redis://127.0.0.1", "sentinel": {"master": "m", "addresses": ["127.0.0.1:1"]}}):
            assert waiting(redis=change) == "store.redis (but on_error)", change
        assert waiting(redis={"on_error": {"limits": "closed"}}) is None
        assert waiting(retention={"requests": "3d"}) == "store.retention (of usage)"
        assert waiting(retention={"content": "3d"}) is None
        assert waiting(type="embedded") == "store.type"
        before = len(gate.log())
        os.kill(gate.worker_pid, signal.SIGKILL)
        eventually(lambda: "Redis counts" in gate.log()[before:], 60, what="the next service is with Redis, too")


def test_reloads_leak_nothing(gate):
    for _ in range(5):
        gate.cli("reload")
    time.sleep(0.2)
    descriptors, memory = gate.descriptors(), gate.rss()
    for _ in range(20 if SANITIZED else 50):
        assert gate.cli("reload").returncode == 0
    assert gate.descriptors() <= descriptors + 5
    assert gate.rss() - memory < (64 if SANITIZED else 2) << 20
