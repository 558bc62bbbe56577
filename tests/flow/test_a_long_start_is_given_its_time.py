# SPDX-License-Identifier: Apache-2.0
"""What systemd is told (sd_notify, Type=notify) while sluice starts and is upgraded in place."""

import contextlib
import os
import socket
import sqlite3
import sys
import time

import pytest
from harness import Sluice, chat_body, config_for, eventually

pytestmark = pytest.mark.threads


@contextlib.contextmanager
def systemd(folder):
    """Its end of $NOTIFY_SOCKET."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"{folder}/notify")
        listening.settimeout(60)
        yield listening


def words(listening):
    return listening.recv(4096).decode().split("\n")[0]


@pytest.fixture()
def gate(upstream, tmp_path):
    with Sluice(config_for(upstream), env={"NOTIFY_SOCKET": f"{tmp_path}/notify"}) as gate:  # nobody listens yet
        gate.stop()
        yield gate


def test_a_start_that_takes_long_asks_for_more_time(gate, tmp_path):
    """TimeoutStartSec is a minute and a half unless a unit says more; a ledger may take longer."""
    ledger = sqlite3.connect(gate.database, isolation_level=None)
    ledger.execute("BEGIN EXCLUSIVE")  # the start waits for it
    with systemd(tmp_path) as listening:
        gate.start(wait=False)
        assert [words(listening) for _ in range(3)] == ["EXTEND_TIMEOUT_USEC=30000000"] * 3
        ledger.execute("ROLLBACK")
        said = []
        while not said or said[-1] != "READY=1":
            said.append(words(listening))
        assert set(said[:-1]) <= {"EXTEND_TIMEOUT_USEC=30000000"}
        os.kill(gate.process.pid, 1)  # HUP: nothing is asked for any more
        assert words(listening) == "RELOADING=1" and words(listening) == "READY=1"


def test_one_that_dies_asks_for_no_more(gate, tmp_path):
    ledger = sqlite3.connect(gate.database, isolation_level=None)
    ledger.execute("BEGIN EXCLUSIVE")
    with systemd(tmp_path) as listening:
        gate.may_crash = True
        gate.start(wait=False)
        assert words(listening) == "EXTEND_TIMEOUT_USEC=30000000"
        (first,) = gate.children()
        os.kill(first, 9)
        eventually(lambda: gate.children() not in ([], [first]), what="another is started")
        listening.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while words(listening):  # what was said before
                pass
        time.sleep(2.5)  # it would have asked again
        ledger.execute("ROLLBACK")
        gate.wait_ready()
        assert words(listening) == "READY=1"


def test_all_is_said_by_the_main_process(upstream, tmp_path):
    """NotifyAccess=main: of what others say systemd takes note of nothing. An upgrade in place changes neither the pid nor
    who speaks; the watchdog of the unit is fed behind it, too."""
    upstream.answer = lambda call: call.respond(200, chat_body())
    env = {"NOTIFY_SOCKET": f"{tmp_path}/notify", "WATCHDOG_USEC": "2000000"}
    with systemd(tmp_path) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        size = socket.CMSG_SPACE(12)
        with Sluice(config_for(upstream), env=env) as gate:
            def hear(until):
                said = []
                while not said or said[-1][0] != until:
                    data, control, _, _ = listening.recvmsg(4096, size)
                    pid = int.from_bytes(control[0][2][:4], sys.byteorder)
                    lines = data.decode().split("\n")
                    assert pid == gate.process.pid and not any(line.startswith("MAINPID=") for line in lines), lines
                    said.append((lines[0], lines[1:]))
                return said

            hear("READY=1")
            assert gate.cli("upgrade", timeout=120).returncode == 0
            assert hear("READY=1")[-1][1] == ["STATUS=serving"]
            eventually(lambda: "the supervisor is sluice" in gate.log())
            hear("WATCHDOG=1")
            hear("WATCHDOG=1")
            gate.signal(1)
            hear("RELOADING=1")
            assert hear("READY=1")[-1][1] == ["STATUS=serving, configuration reloaded"]
            good = gate.config
            gate.write("server: [")
            gate.config = good
            assert gate.cli("upgrade", timeout=120).returncode == 1
            assert "FAILED" in hear("READY=1")[-1][1][0]
            gate.write(good)
            gate.signal(15)
            hear("STOPPING=1")
            gate.process.wait(60)
