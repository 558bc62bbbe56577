# SPDX-License-Identifier: Apache-2.0
"""Instructions of the worker for each unit of a row, by function."""

import contextlib
import hashlib
import platform
import random
import re
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import callgrind
import lockstep
import rows

WARM_UP = 150  # units: until what is learnt, pooled and allocated once is there
PORTS = range(18000, 32000)  # below those that the kernel hands out by itself


def free_port():
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe:
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise callgrind.Failed("no free port")


def hash_of(key):
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


def answers(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 2) as probe:
        probe.settimeout(10)
        probe.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return b" 200 " in probe.recv(100)
    return False


class Bench:
    """A gateway under callgrind with its provider, and its Redis when the rows are of that."""

    def __init__(self, binary, store, preload=None, gateway=callgrind.Gateway):
        with contextlib.ExitStack() as parts:
            self.build(parts, binary, store, preload, gateway)
            self.parts = parts.pop_all()

    def build(self, parts, binary, store, preload, gateway):
        folder = Path(parts.enter_context(tempfile.TemporaryDirectory(prefix="guard-", ignore_cleanup_errors=True)))
        (folder / "state").mkdir()
        self.provider = lockstep.Provider()
        parts.callback(self.provider.close)
        if store == "redis":
            parts.callback(end, start_redis(folder))
        port = free_port()
        names = {"folder": folder, "port": port, "provider": self.provider.port,
                 "hash": hash_of(rows.KEY), "hash_of_many": hash_of(rows.KEY_OF_MANY)}
        (folder / "sluice.yaml").write_text(rows.CONFIG.format(store=rows.STORES[store].format(**names), **names))
        self.gateway = gateway(binary, folder, preload)
        parts.callback(self.gateway.close)
        self.gateway.wait_until(lambda: answers(port))
        self.client = lockstep.Client(port, rows.KEY)
        parts.callback(self.client.close)

    def batch(self, row, units):
        row.batch(self.client, self.provider, units)
        time.sleep(row.rest)
        return self.gateway.costs()

    def costs(self, row):
        """{function: instructions for a unit}."""
        if row.prepare:
            row.prepare(self.client, self.provider)
        self.batch(row, WARM_UP)
        small, big = row.sizes
        batches = [(self.batch(row, small), self.batch(row, big)) for _ in range(row.pairs)]
        # The cheapest of each size: disturbance only makes dearer.
        least = min((pair[0] for pair in batches), key=lambda costs: costs.total())
        most = min((pair[1] for pair in batches), key=lambda costs: costs.total())
        most.subtract(least)
        return {name: count / (big - small) for name, count in most.items() if count > 0}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.parts.close()


def end(process):
    process.terminate()
    process.wait()


def start_redis(folder):
    path = folder / "redis.sock"
    process = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no"],
                               cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        callgrind.until(path.exists, "redis-server did not start", process)
    except callgrind.Failed:
        end(process)
        raise
    return process


def first_line(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")[0]


def tools(binary):
    """What the figures depend on besides the sources: other tools, other figures."""
    compiler = re.search(rb"(?:GCC|clang)[^\0]{5,80}", Path(binary).read_bytes())
    flags = Path("/proc/cpuinfo").read_text().split()
    return {
        "compiler": compiler[0].decode(errors="replace") if compiler else "unknown",
        "libc": " ".join(platform.libc_ver()),
        "machine": platform.machine() + (" with AVX2" if "avx2" in flags else ""),
        "openssl": first_line("openssl", "version").split(" ")[1],
        "valgrind": first_line("valgrind", "--version"),
    }
