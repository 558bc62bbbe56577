# SPDX-License-Identifier: Apache-2.0
"""IPv4, IPv6, unix sockets; each serves what it is told to and nothing else."""

import os

import pytest
from harness import KEY_ACME, config_for, free_port, sse_events, temporary_folder

FOLDER = temporary_folder("sluice-sock-")


def configure(upstream):
    config = config_for(upstream)
    config["server"]["listeners"] = [
        {"name": "api", "address": f"127.0.0.1:{free_port()}", "serve": ["api", "health"]},
        {"name": "six", "address": f"[::1]:{free_port('::1')}", "serve": ["api", "health"]},
        {"name": "sock", "address": f"unix:{FOLDER}/api.sock", "serve": ["api", "health"]},
        {"name": "ops", "address": f"127.0.0.1:{free_port()}", "serve": ["metrics", "health"]},
    ]
    return config


@pytest.mark.parametrize("name", ["api", "six", "sock"])
def test_it_answers(gate, name):
    assert gate.get("/livez", listener=name, key=None).status == 200
    answer = gate.post("/v1/chat/completions", {"model": "fast", "messages": [], "stream": True}, listener=name)
    assert answer.status == 200 and sse_events(answer.body)[-1] == "[DONE]"


def test_each_listener_serves_what_it_is_told(gate):
    assert gate.get("/metrics", listener="ops", key=None).status == 200
    assert gate.get("/livez", listener="ops", key=None).status == 200
    for name in ("api", "six", "sock"):
        assert gate.get("/metrics", listener=name, key=None).status in (401, 404)
        assert gate.get("/metrics", listener=name, key=KEY_ACME).status == 404
    assert gate.post("/v1/chat/completions", {"model": "fast", "messages": []}, listener="ops").status == 404


@pytest.mark.parametrize("path", ["/admin/v1/overview", "/admin/v1/config", "/ui", "/admin", "/admin/v1"])
@pytest.mark.parametrize("name", ["api", "ops", "sock"])
def test_no_listener_here_serves_the_admin(gate, path, name):
    for key in (None, KEY_ACME):
        assert gate.get(path, listener=name, key=key).status in (401, 404)


def test_the_socket_file_is_not_for_the_world(gate):
    assert os.stat(f"{FOLDER}/api.sock").st_mode & 0o002 == 0
