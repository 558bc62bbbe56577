# SPDX-License-Identifier: Apache-2.0
"""X-Forwarded-For and Forwarded of proxies that are trusted, and of nobody else."""

import copy
import subprocess
import threading

import pytest
from harness import BINARY, chat_request, config_for, eventually, free_port
from raw_upstream import openai_answer

LISTENERS = {"nobody": [], "these": ["127.0.0.0/8", "10.0.0.0/8"], "others": ["10.0.0.0/8", "::1"]}


def configure(upstream):
    config = config_for(upstream)
    config["server"]["listeners"] = [
        {"name": name, "address": f"127.0.0.1:{free_port()}", "serve": ["api", "health"], "trusted_proxies": trusted}
        for name, trusted in LISTENERS.items()]
    return config


def peer(gate, listener, headers):
    with gate.connect(listener, timeout=10) as client:
        client.send(chat_request(headers=headers))
        answer = client.read_response()
    assert answer.status == 200, answer
    return gate.access_line(answer.header("x-request-id"))["peer"]


@pytest.mark.parametrize("headers, client", [
    ([("X-Forwarded-For", "203.0.113.7")], "203.0.113.7"),
    ([("X-Forwarded-For", "198.51.100.1, 203.0.113.7, 10.0.0.2")], "203.0.113.7"),
    ([("X-Forwarded-For", "203.0.113.7"), ("X-Forwarded-For", "10.0.0.2")], "203.0.113.7"),
    ([("Forwarded", 'for="[2001:db8::7]:4711";proto=https')], "2001:db8::7"),
    ([("X-Forwarded-For", "unknown")], "127.0.0.1"),
    ([], "127.0.0.1"),
])
def test_who_is_trusted_is_believed(gate, headers, client):
    assert peer(gate, "these", headers) == client
    assert peer(gate, "nobody", headers) == "127.0.0.1"
    assert peer(gate, "others", headers) == "127.0.0.1"


def test_a_client_that_leaves_keeps_the_address_that_was_told(gate, upstream):
    go = threading.Event()

    def answer(call):
        go.wait(20)
        openai_answer(call)

    upstream.answer = answer
    try:
        with gate.connect("these", timeout=10) as client:
            client.send(chat_request(headers=[("X-Forwarded-For", "203.0.113.9")]))
            eventually(lambda: upstream.calls)
        eventually(lambda: [line for line in gate.access_lines() if line["peer"] == "203.0.113.9"])
    finally:
        go.set()


def test_a_reload_changes_who_is_believed(gate):
    told, before = [("X-Forwarded-For", "203.0.113.7")], gate.config
    other = copy.deepcopy(before)
    for listener in other["server"]["listeners"]:
        listener["trusted_proxies"] = LISTENERS["these" if listener["name"] == "nobody" else "nobody"]
    gate.write(other)
    assert gate.cli("reload").returncode == 0
    eventually(lambda: peer(gate, "nobody", told) == "203.0.113.7")
    eventually(lambda: peer(gate, "these", told) == "127.0.0.1")
    gate.write(before)
    assert gate.cli("reload").returncode == 0
    eventually(lambda: peer(gate, "these", told) == "203.0.113.7")


def test_what_is_no_network_is_told(tmp_path):
    path = tmp_path / "sluice.yaml"
    path.write_text("version: 1\nserver:\n  listeners:\n"
                    "    - {address: 127.0.0.1:8080, trusted_proxies: [10.0.0.0/8, 10.0.0.1/8, proxy.local, unix]}\n")
    told = subprocess.run([BINARY, "check", str(path)], capture_output=True, text=True, timeout=60)
    assert told.returncode == 1
    assert f'{path}:4:63: error: a proxy is written like 10.0.0.0/8, 2001:db8::1 or unix, not "10.0.0.1/8"' in told.stderr
    assert 'not "proxy.local"' in told.stderr
    assert told.stderr.count("error:") == 2
