# SPDX-License-Identifier: Apache-2.0
"""What a case of the hostile suite is, and the words that the tables are written with.

A case is bytes and what may come of them. `expect` is the set of statuses that the first answer may
have; "close" in it allows a close without an answer. Unless `reach` says otherwise nothing may reach
the upstream. `answers` is how many final answers there must be in all: behind every doubtful framing
stands a whole request (SMUGGLED) that must never be executed.
"""

import json
from dataclasses import dataclass

KEY = "sk-acme-5ecre7-0123456789abcdef"
MARK = "SMUGGLED"
BODY = b'{"model":"fast","messages":[]}'
LENGTH = str(len(BODY)).encode()


@dataclass
class Case:
    id: str
    data: bytes
    expect: set
    reach: tuple = (0,)  # how many calls may arrive upstream
    answers: tuple = (1,)
    closes: bool = False  # the gateway must say that it closes
    note: str = ""
    forwarded: bytes = None  # the body that must have arrived, if one did


class Family:
    """A table; ids are its letter and a running number."""

    def __init__(self, letter):
        self.letter, self.cases = letter, []

    def add(self, note, data, expect, **more):
        expect = expect if isinstance(expect, set) else {expect}
        self.cases.append(Case(f"{self.letter}{len(self.cases) + 1:03d}", data, expect, note=note, **more))

    def refuse(self, note, data, expect=400, **more):
        """In doubt about the framing: refused, and the connection closed."""
        more.setdefault("closes", True)
        self.add(note, data, expect, **more)


def raw(line=b"POST /v1/chat/completions HTTP/1.1", fields=(), body=b"", host=b"Host: a", auth=True, json=True):
    """A request from raw lines."""
    lines = [line]
    if host:
        lines.append(host)
    if auth:
        lines.append(b"Authorization: Bearer " + KEY.encode())
    if json:
        lines.append(b"Content-Type: application/json")
    lines += fields
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def chat(body=BODY, fields=(), **more):
    """A well-formed chat with its true length."""
    return raw(fields=[b"Content-Length: %d" % len(body), *fields], body=body, **more)


def get(path=b"/v1/models", fields=(), **more):
    return raw(b"GET " + path + b" HTTP/1.1", fields, json=False, **more)


SMUGGLED = chat(json.dumps({"model": "fast", "messages": [MARK]}).encode())
