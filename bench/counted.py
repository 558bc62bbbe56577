# SPDX-License-Identifier: Apache-2.0
"""Instructions per call, by callgrind: one connection, one call after the other, counted from when all is warm."""

import re
import socket
import subprocess
import time
from pathlib import Path

from servers import program

WORKER = "exchange_run"  # only a worker's thread calls it
WARM = 3000  # calls before any is counted: what is made for the first call of each caller is there


def valgrind(folder):
    """The command that runs a program under callgrind, which begins to count when it is told to."""
    return [program("valgrind"), "--tool=callgrind", "--trace-children=yes", "--instr-atstart=no", "--separate-threads=yes",
            f"--callgrind-out-file={folder}/counted.%p"]


def tell(pid, *words):
    subprocess.run([program("vgdb"), f"--pid={pid}", *words], check=True, timeout=300, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)


class Caller:
    """One connection, on which callers take turns."""

    def __init__(self, port, folder):
        self.socket = socket.create_connection(("127.0.0.1", port), 120)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.callers = [line.split() for line in (folder / "callers").read_text().splitlines()]
        self.body = (folder / "body.json").read_text()
        self.at = 0

    def call(self):
        key, model = self.callers[self.at % len(self.callers)]
        self.at += 1
        body = self.body.replace("MODEL", model, 1)
        self.socket.sendall(f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                            f"Authorization: Bearer {key}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        got = b""
        while b"\r\n\r\n" not in got:
            got += self.part()
        head, _, rest = got.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"bench: a call was refused: {got.decode(errors='replace')[:600]}")
        length = int(re.search(rb"(?i)content-length: *(\d+)", head)[1])
        while len(rest) < length:
            rest += self.part()

    def part(self):
        part = self.socket.recv(65536)
        if not part:
            raise SystemExit("bench: the connection was closed")
        return part

    def calls(self, number):
        for _ in range(number):
            self.call()


def serving(pids):
    """The process that has the worker: the other one is the supervisor."""
    for pid in pids:
        if any(path.read_text().startswith("worker-") for path in Path(f"/proc/{pid}/task").glob("*/comm")):
            return pid
    raise SystemExit("bench: there is no worker")


def dumped(folder, pid):
    """Instructions of the worker's thread, and of all others."""
    worker = helpers = 0
    for path in Path(folder).glob(f"counted.{pid}.*"):
        text = path.read_text(errors="replace")
        total = int(re.search(r"^summary: (\d+)", text, re.M)[1]) if "\nsummary:" in text else 0
        if re.search(rf"\b{WORKER}\b", text):
            worker += total
        else:
            helpers += total
    return worker, helpers


def dump(folder, pid):
    """What was counted; a dump begins anew, so that another one, should it be needed, adds to the first."""
    for _ in range(5):
        tell(pid, "dump")
        time.sleep(0.5)
        worker, helpers = dumped(folder, pid)
        if worker:
            return worker, helpers
    raise SystemExit(f"bench: callgrind has seen no worker:\n{(folder / 'sluice.out').read_text(errors='replace')[-3000:]}")


def count_instructions(start, crowd, folder, number):
    """start(command before the program's) gives a server. Per call: of the worker, of the helper threads."""
    server = start(valgrind(folder))
    try:
        pid = serving(server.pids())
        crowd.warm(server.port, folder, server.name)
        caller = Caller(server.port, folder)
        caller.calls(WARM)
        tell(pid, "instrumentation", "on")
        caller.calls(50)
        time.sleep(2)
        tell(pid, "zero")
        caller.calls(number)
        time.sleep(2)  # until the ledger's thread has booked them
        worker, helpers = dump(folder, pid)
        return dict(worker=round(worker / number), helpers=round(helpers / number))
    finally:
        server.stop()
