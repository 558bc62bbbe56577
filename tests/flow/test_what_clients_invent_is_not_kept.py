# SPDX-License-Identifier: Apache-2.0
"""Names that clients make up - users, sessions, tags, models, paths, keys - are as many as they like, and what is kept of them is bounded."""

from pathlib import Path

import pytest
from harness import KEY_ACME, SANITIZED, Client, Sluice, config_for, eventually

CALLS, AT_ONCE = 2_000 if SANITIZED else 20_000, 50  # of each round; pipelined
KEPT = 192 << 20  # bytes that a sanitizer keeps of what was freed, and of who freed it
EACH = 40  # bytes that one name may leave behind: less than an entry of a table with the name in it
EACH_SERIES = 400  # the same where a name has series of metrics, some 24 KB: 500 of them leave gaps of their own
PRICE = {"input": 1, "output": 2}


def call(headers="", model="mock", more=""):
    body = f'{{"model":"{model}","max_tokens":1,"messages":[{{"role":"user","content":"hi"}}]{more}}}'
    return (f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY_ACME}\r\nContent-Type: application/json\r\n{headers}"
            f"Content-Length: {len(body)}\r\n\r\n{body}").encode()


def named(name):
    """A good call with a new name wherever a call can have one."""
    return call(headers=f"x-sluice-tags: team={name}, {name}=v\r\nX-Session-Id: {name}\r\nX-Request-Id: {name}\r\nUser-Agent: {name}\r\nX-{name}: 1\r\n",
                more=f',"user":"{name}","prompt_cache_key":"{name}","metadata":{{"session_id":"{name}","{name}":"1"}}')


def look(path="/v1/models", key=KEY_ACME):
    """Without a body, so that the connection may go on when it is refused."""
    return f"GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\r\n".encode()


KINDS = {
    "names": (named, 200),
    "models": (lambda name: call(model=name), 404),
    "models of a provider": (lambda name: call(model=f"llm/{name}"), 503),
    "paths": (lambda name: look(path=f"/v1/{name}"), 404),
    "keys": (lambda name: look(key=f"sk-{name}"), 401),
}


def configure():
    base = config_for("http://127.0.0.1:9/v1")
    base["models"] = [{"name": "mock", "targets": [{"id": "mock", "provider": "mock", "model": "mock/tokens-1", "price": PRICE}]}]
    base["providers"] = [{"name": "mock", "type": "mock"}, {"name": "llm", "type": "openai", "base_url": "http://127.0.0.1:9/v1", "api_key": "sk-up"}]
    base["routing"] = {"unknown_model": "passthrough", "default_policy": "own",
                       "policies": [{"name": "own", "strategy": "score", "sticky": {"by": "user", "ttl": "1h"}}]}
    base["tenants"][0] |= {"may_set": ["tags"], "limits": {"requests_per_minute": 1_000_000_000}}
    base["telemetry"] = {"log": {"level": "warn"}, "access_log": {"enabled": False}}
    return base


def allocated(gate):
    """Bytes of the service that are in no file."""
    return sum(int(line.split()[1]) * 1024 for pid in gate.children() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
               if line.startswith("Anonymous:"))


def ask(gate, make, status, name):
    """A round of calls, each with a name of its own."""
    with Client(gate.address(), timeout=60) as client:
        for first in range(0, CALLS, AT_ONCE):
            client.send(b"".join(make(f"{name}{number}") for number in range(first, first + AT_ONCE)))
            for _ in range(AT_ONCE):
                assert client.read_response().status == status


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_name_each_time(kind):
    make, status = KINDS[kind]
    each = EACH_SERIES if status == 503 else EACH
    with Sluice(configure()) as gate:
        ask(gate, make, status, "first")  # fills what is bounded: 500 names of a label are told apart
        ask(gate, make, status, "again")
        before = allocated(gate)
        ask(gate, make, status, "other")
        most = KEPT if SANITIZED else CALLS * each
        eventually(lambda: allocated(gate) - before < most, within=60, what="what the calls needed is given back")
