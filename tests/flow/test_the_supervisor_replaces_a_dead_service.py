# SPDX-License-Identifier: Apache-2.0
"""Dead or stuck: a new process serves on the same sockets, and no connection is refused meanwhile."""

import contextlib
import os
import signal
import time

import pytest
from harness import SANITIZED, Sluice, chat_request, config_for, eventually, is_alive

pytestmark = pytest.mark.threads
SOON = 10.0 if SANITIZED else 3.0


@pytest.fixture(autouse=True)
def may_crash(gate):
    gate.may_crash = True


def ask(gate, within=20):
    """A connection made now, answered however long the replacement takes."""
    with gate.connect(timeout=within) as client:
        return client.send(chat_request()).read_response()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_service_that_dies(gate, number):
    old = gate.worker_pid
    assert old != gate.process.pid, "there is a supervisor"
    begin = time.monotonic()
    os.kill(old, number)
    eventually(lambda: not is_alive(old), within=30)
    assert ask(gate).status == 200, "a connection made meanwhile waits, it is not refused"
    took = time.monotonic() - begin
    assert gate.worker_pid != old and gate.process.poll() is None
    assert took < SOON, f"{took:.2f} s until it served again"


def test_again_and_again(gate):
    for _ in range(4):
        eventually(lambda: gate.worker_pid != gate.process.pid)
        os.kill(gate.worker_pid, signal.SIGKILL)
        eventually(lambda: ask(gate).status == 200, within=30)


def test_a_service_that_is_stuck(gate):
    old = gate.worker_pid
    os.kill(old, signal.SIGSTOP)
    try:
        eventually(lambda: not is_alive(old), within=60, every=0.1, what="the stopped process was ended")
    finally:
        if is_alive(old):
            os.kill(old, signal.SIGCONT)
    assert ask(gate).status == 200
    assert gate.worker_pid != old


def test_it_still_drains_after_a_death(gate):
    os.kill(gate.worker_pid, signal.SIGKILL)
    eventually(lambda: ask(gate).status == 200, within=30)
    gate.signal(signal.SIGHUP)
    assert ask(gate).status == 200


@pytest.fixture
def hanging(upstream):
    """One whose jobs cannot be opened: their key is a pipe into which nobody writes."""
    env = {"SLUICE_WATCHDOG_MS": "300", "ASAN_OPTIONS": "handle_abort=0"}  # the signal is to end it
    gate = Sluice(config_for(upstream), env=env, begin=False)
    gate.may_crash = True
    (gate.state / "jobs").mkdir()
    os.mkfifo(gate.state / "jobs" / "link_key")
    gate.start(wait=False)
    with gate:
        yield gate


def test_a_start_that_hangs(hanging):
    why = "the start hangs at jobs"
    eventually(lambda: why in hanging.log(), within=60, every=0.1)
    eventually(lambda: "was ended by signal 6 (SIGABRT); another is started in" in hanging.log())
    pipe = hanging.state / "jobs" / "pipe"
    os.rename(hanging.state / "jobs" / "link_key", pipe)
    with contextlib.suppress(OSError):  # the next one may wait for it already, or not yet
        os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
    hanging.wait_ready(within=60)


@pytest.fixture
def unread(upstream, tmp_path):
    """One whose log goes into a pipe that is full, and that nobody reads."""
    pipe = tmp_path / "log"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    env = {"ASAN_OPTIONS": "handle_segv=0", "TSAN_OPTIONS": "handle_segv=0"}  # they would write, and wait, themselves
    with Sluice(config_for(upstream), prefix=["sh", "-c", f'exec "$0" "$@" 2>"{pipe}"'], env=env) as gate:
        gate.may_crash = True
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(reader, bytes(512))
        yield gate
    os.close(reader)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_nobody_reads_the_log(unread, number):
    old = unread.worker_pid
    os.kill(old, number)
    eventually(lambda: not is_alive(old), within=30)
    assert ask(unread).status == 200, "another serves"
    assert unread.stop() == 0, "and it ends when it is told to"
