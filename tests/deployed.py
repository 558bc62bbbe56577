# SPDX-License-Identifier: Apache-2.0
"""Deployments for tests: a configuration whose model servers are build/tests/fakellm."""

import os
from pathlib import Path

from harness import BINARY, Client, config_for, eventually, is_alive

MARK = f"mark-{os.getpid()}-{os.urandom(4).hex()}"  # what servers of this run have in their command line
FAKE = str(Path(BINARY).parent / "tests" / "fakellm")


def server_for(name="qwen", *options, **changes):
    """One entry of deployments.models; `options` go behind fakellm's command line."""
    base = {
        "name": name,
        "command": [FAKE, "--port", "{port}", "--model", f"{name}-model", "--mark", MARK, *map(str, options)],
        "engine": "vllm",
        "probe": {"interval": "20ms", "liveness": "200ms"},
        "stop": {"drain": "5s", "grace": "2s"},
        "restart": {"backoff": "100ms", "max_backoff": "1s"},
    }
    for key, value in changes.items():
        base[key] = {**base[key], **value} if isinstance(base.get(key), dict) and isinstance(value, dict) else value
    return base


def deployed(*models, upstream="http://127.0.0.1:9/v1", nodes=None, **changes):
    """A configuration with these deployments."""
    config = config_for(upstream, **changes)
    listener = config["server"]["listeners"][0]
    listener["serve"] = ["api", "health", "metrics"]
    config["deployments"] = {"models": list(models), **config.get("deployments", {})}
    if nodes is not None:
        config["deployments"]["nodes"] = nodes
    return config


class Desk:
    """The admin API's side of the deployments of one gateway, asked on its socket."""

    def __init__(self, gate):
        self.gate = gate

    def ask(self, method, path, body=None, headers=(), timeout=30):
        with Client(str(self.gate.state / "admin.sock"), timeout=timeout) as client:
            return client.request(method, f"/admin/v1{path}", list(headers), body)

    def show(self, name="qwen"):
        answer = self.ask("GET", f"/deployments/{name}")
        assert answer.status == 200, answer
        return answer.json

    def until(self, state, name="qwen", within=20):
        states = [state] if isinstance(state, str) else state
        return eventually(lambda: (lambda one: one if one["state"] in states else None)(self.show(name)), within,
                          what=f"{name} is {state}: {self.show(name)}")

    def order(self, word, name="qwen", body=None):
        return self.ask("POST", f"/deployments/{name}/{word}", body if body is not None else {})

    def events(self, name="qwen"):
        return self.ask("GET", f"/deployments/{name}/events?limit=500").json["data"]

    def reasons(self, name="qwen"):
        return [event["reason"] for event in self.events(name)]

    def launches(self, name="qwen"):
        """How many servers were started."""
        return len({event["replica"] for event in self.events(name) if event["reason"] == "running"})

    def stats(self, name="qwen"):
        """What each ready server says of itself."""
        out = []
        for replica in self.show(name)["replicas"]:
            if replica["state"] != "ready":
                continue
            host, _, port = replica["address"].rpartition(":")
            with Client((host, int(port))) as client:
                out.append(client.request("GET", "/stats", [], None).json)
        return out


def pids(word=MARK):
    """The servers that this test run has started and that live; only those with `word` in their command line."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if MARK.encode() in words and word.encode() in words and is_alive(int(entry)):
            found.append(int(entry))
    return sorted(found)
