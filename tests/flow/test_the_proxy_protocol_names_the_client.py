# SPDX-License-Identifier: Apache-2.0
"""PROXY v1 and v2 (haproxy's proxy-protocol.txt) where the listener says so, and only there."""

import socket
import struct

import pytest
from harness import chat_request, config_for, free_port
from raw_client import ProtocolError

MAGIC = b"\r\n\r\n\0\r\nQUIT\n"


def configure(upstream):
    config = config_for(upstream)
    config["server"]["listeners"] = [
        {"name": kind, "address": f"127.0.0.1:{free_port()}", "serve": ["api", "health"], "proxy_protocol": kind}
        for kind in ("none", "v1", "v2", "any")]
    return config


def v2(command=1, family=0x11, source="203.0.113.7", extra=b"", length=None):
    if family == 0x11:
        addresses = socket.inet_aton(source) + socket.inet_aton("198.51.100.1") + struct.pack(">HH", 4242, 80)
    elif family == 0x21:
        addresses = (socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, "2001:db8::1")
                     + struct.pack(">HH", 4242, 80))
    else:
        addresses = b""
    payload = addresses + extra
    return MAGIC + bytes([0x20 | command, family]) + struct.pack(">H", len(payload) if length is None else length) + payload


V1 = b"PROXY TCP4 203.0.113.7 198.51.100.1 4242 80\r\n"
GOOD = {
    "v1": (("v1", "any"), V1, "203.0.113.7"),
    "v1 of IPv6": (("v1", "any"), b"PROXY TCP6 2001:db8::7 2001:db8::1 4242 80\r\n", "2001:db8::7"),
    "v1 unknown": (("v1", "any"), b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    "v1 unknown with words": (("v1", "any"), b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "127.0.0.1"),
    "v2": (("v2", "any"), v2(), "203.0.113.7"),
    "v2 of IPv6": (("v2", "any"), v2(family=0x21, source="2001:db8::7"), "2001:db8::7"),
    "v2 local": (("v2", "any"), v2(command=0, family=0), "127.0.0.1"),
    "v2 with extensions": (("v2", "any"), v2(extra=b"\x04\x00\x03abc"), "203.0.113.7"),
}


def ask(gate, listener, preface, size=None):
    with gate.connect(listener, timeout=10) as client:
        data = preface + chat_request()
        client.send_cut(data, size) if size else client.send(data)
        return client.read_response()


@pytest.mark.parametrize("size", [None, 1], ids=["whole", "bytes"])
@pytest.mark.parametrize("case", GOOD)
def test_the_address_is_believed(gate, case, size):
    listeners, preface, peer = GOOD[case]
    for listener in listeners:
        answer = ask(gate, listener, preface, size)
        assert answer.status == 200, answer
        line = gate.access_line(answer.header("x-request-id"))
        assert peer in (line.get("peer"), line.get("client"), line.get("remote")), line


BAD = {
    "nothing": (("v1", "v2", "any"), b""),
    "v1 to v2": (("v2",), V1),
    "v2 to v1": (("v1",), v2()),
    "v1 to none": (("none",), V1),
    "v2 to none": (("none",), v2()),
    "v1 twice": (("v1", "any"), V1 + V1),
    "v1 too long": (("v1", "any"), b"PROXY TCP4 " + b"1" * 200 + b"\r\n"),
    "v1 of no address": (("v1", "any"), b"PROXY TCP4 203.0.113.999 1.1.1.1 1 2\r\n"),
    "v1 of no port": (("v1", "any"), b"PROXY TCP4 203.0.113.7 1.1.1.1 1 99999\r\n"),
    "v1 with LF only": (("v1", "any"), V1.replace(b"\r\n", b"\n")),
    "v2 of version 3": (("v2", "any"), v2().replace(MAGIC + b"\x21", MAGIC + b"\x31")),
    "v2 too short": (("v2", "any"), MAGIC + b"\x21\x11\x00\x04\x01\x02\x03\x04"),
}


@pytest.mark.parametrize("case", BAD)
def test_anything_else_is_refused(gate, upstream, case):
    listeners, preface = BAD[case]
    for listener in listeners:
        try:
            assert ask(gate, listener, preface).status == 400
        except (ProtocolError, ConnectionError):
            pass  # closed without a word
        assert not upstream.calls
