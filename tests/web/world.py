# SPDX-License-Identifier: Apache-2.0
"""A gateway with something to show: two tenants, models of several providers (the mock), budgets, a model server of
its own, and traffic. For the tests of the dashboard, and for the picture in README.md:

    tests/web/world.py MINUTES PICTURE.png     traffic for so long, then a picture of the overview
"""

import contextlib
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from deployed import server_for  # noqa: E402
from harness import Client, Sluice, free_port, sha256_hash  # noqa: E402

WEB = Path(__file__).resolve().parent
KEYS = {name: f"sk-{name}-5ecre7-0123456789abcdef" for name in ("acme-web", "acme-batch", "globex-app", "initech-crm")}
ADMIN, VIEWER, LEAD = "sk-admin-5ecre7-web", "sk-viewer-5ecre7-web", "sk-lead-5ecre7-web"


def target(name, provider, model, price_in, price_out, **changes):
    price = {"input": price_in, "cached_input": price_in / 10, "output": price_out}
    return {"id": name, "provider": provider, "model": model, "price": price, **changes}


def key(name):
    return {"name": name.partition("-")[2], "hash": sha256_hash(KEYS[name])}


def configure(port=None, budget="0.65 USD", **admin):
    """The whole configuration; `admin` is laid over its section of that name."""
    return {
        "version": 1,
        "server": {
            "listeners": [
                {"name": "api", "address": f"127.0.0.1:{free_port()}", "serve": ["api", "health", "metrics"]},
                {"name": "ops", "address": f"127.0.0.1:{port or free_port()}", "serve": ["ui", "metrics", "health"]},
                {"name": "bare", "address": f"127.0.0.1:{free_port()}", "serve": ["admin"]},
            ],
            "shutdown": {"drain_delay": "0s", "grace": "2s"},
            "workers": 2,
        },
        "admin": {
            "keys": [
                {"name": "ops", "hash": sha256_hash(ADMIN), "role": "admin"},
                {"name": "grafana", "hash": sha256_hash(VIEWER), "role": "viewer"},
                {"name": "acme-lead", "hash": sha256_hash(LEAD), "role": "tenant", "tenant": "acme"},
            ],
            **admin,
        },
        "providers": [{"name": name, "type": "mock", "retry": {"attempts": 1}} for name in ("openai", "anthropic", "groq")],
        "models": [
            {"name": "fast", "description": "Short answers", "aliases": ["quick"], "targets": [
                target("fast-groq", "groq", "mock/slow-90ms+rate-300+tokens-60", 0.11, 0.34),
                target("fast-openai", "openai", "mock/slow-210ms+rate-120+tokens-60", 0.15, 0.6)]},
            {"name": "smart", "description": "Long thoughts", "targets": [
                target("smart-anthropic", "anthropic", "mock/slow-450ms+rate-90+tokens-160+cached-40", 3, 15),
                target("smart-openai", "openai", "mock/slow-380ms+rate-80+tokens-160", 2.5, 10)]},
            {"name": "shaky", "description": "One of its targets fails now and then", "targets": [
                target("shaky-a", "openai", "mock/503+odds-70", 0.5, 1.5),
                target("shaky-b", "groq", "mock/slow-150ms+tokens-30", 0.6, 1.8)]},
            {"name": "broken", "targets": [target("broken-1", "groq", "mock/500", 0.5, 1.5)]},
        ],
        "tenants": [
            {"name": "acme", "models": ["*"], "keys": [key("acme-web"), key("acme-batch")],
             "budget": {"amount": budget, "period": "day"}, "limits": {"requests_per_minute": 6000, "concurrent": 40}},
            {"name": "globex", "models": ["fast", "smart"], "keys": [key("globex-app")],
             "budget": {"amount": "2.00 USD", "period": "month"}},
            {"name": "initech", "models": ["*"], "keys": [key("initech-crm")], "limits": {"tokens_per_minute": 40000}},
        ],
        "deployments": {
            "nodes": [{"name": "local", "launcher": "process", "memory": "8GiB", "cpus": 4}],
            "models": [server_for("qwen", "--log", "listening",
                                  resources={"memory": "1GiB"}, scaling={"min": 1, "max": 3, "parallel": 8})],
        },
    }


def start(**options):
    return Sluice(configure(**options))


def ask(gate, who, model, words="How does a sluice gate work?", stream=True, timeout=30):
    body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": words}]}
    if stream:
        body["stream_options"] = {"include_usage": True}
    with Client(gate.address("api"), timeout=timeout) as client:
        return client.request("POST", "/v1/chat/completions",
                              [("Authorization", f"Bearer {KEYS[who]}")], body).status


# ----------------------------------------------------------------------- the picture

MIX = [("acme-web", "fast", 9), ("acme-web", "smart", 4), ("acme-batch", "smart", 3), ("globex-app", "fast", 7),
       ("globex-app", "smart", 2), ("initech-crm", "fast", 4), ("initech-crm", "shaky", 2), ("initech-crm", "qwen", 2),
       ("initech-crm", "broken", 0.25)]


def load(gate, until, number):
    """One caller among several: comes and goes, now more, now less."""
    chance = random.Random(number)
    while time.monotonic() < until:
        tide = 0.55 + 0.45 * abs(((time.monotonic() / 240 + number / 9) % 2) - 1)
        who, model, _ = chance.choices(MIX, [weight for _, _, weight in MIX])[0]
        with contextlib.suppress(OSError):
            ask(gate, who, model, "word " * chance.randint(8, 600))
        time.sleep(chance.expovariate(1.6 * tide))


def shoot(gate, *arguments, **env):
    subprocess.run(["node", str(WEB / "shoot.mjs"), f"http://127.0.0.1:{gate.address('ops')[1]}/ui/", *arguments],
                   check=True, env={**os.environ, "KEY": ADMIN, **env})


def main(minutes, picture):
    with start(budget=f"{0.105 * float(minutes):.2f} USD") as gate:  # nearly used up at the end
        print("dashboard", f"http://127.0.0.1:{gate.address('ops')[1]}/ui/#key={ADMIN}", flush=True)
        until = time.monotonic() + 60 * float(minutes)
        threads = [threading.Thread(target=load, args=(gate, until, n)) for n in range(5)]
        for thread in threads:
            thread.start()
        time.sleep(max(0, until - time.monotonic() - 3))  # while calls still run
        shoot(gate, picture, "#/?since=15m", "1440x1160")
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
