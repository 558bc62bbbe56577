# SPDX-License-Identifier: Apache-2.0
"""The engine is killed and comes back: what runs goes on, and what was meant to happen happens once."""

import json
import os
import signal
import time
import urllib.request

import pytest
from driver import Driver
from engine import Engine
from harness import eventually

IMAGE = "localhost/fake"
SERVER = ["/fakellm", "--host", "0.0.0.0", "--port", "{port}"]


@pytest.fixture
def launcher(engine):
    with Driver("docker", endpoint=engine.endpoint) as driver:
        driver.wait_looked(True)
        yield driver
    if not engine.is_up():
        engine.start()
    for each in engine.containers():
        engine.ask("DELETE", f"/containers/{each['Id']}?force=true&v=true")


def start(launcher, replica="r1", *options):
    launcher.start(replica, image=IMAGE, command=[*SERVER, *options])


def is_serving(report):
    try:
        with urllib.request.urlopen(f"http://{report['host']}:{report['port']}/health", timeout=5) as answer:
            return json.loads(answer.read())["status"] == "ok"
    except OSError:
        return False


def ours(engine):
    return [each for each in engine.containers() if each["Labels"].get("sluice.owner")]


def pid_of(engine):
    return engine.inspect(ours(engine)[0]["Id"])["State"]["Pid"]


def test_what_runs_goes_on(launcher, engine):
    start(launcher, "r1", "--log-every-ms", "50")
    running = launcher.wait("r1", "running")
    pid = pid_of(engine)
    launcher.wait_line("r1", "line 3")
    engine.kill()
    launcher.wait("r1", "lost")
    launcher.wait_looked(False)
    assert os.path.exists(f"/proc/{pid}")
    if engine.kind == "podman":  # docker's own proxies for published ports die with it
        assert is_serving(running)
    engine.start()
    again = launcher.wait("r1", "running")
    launcher.wait_looked(True)
    assert launcher.stages("r1") == ["placing", "running", "lost", "running"]
    assert pid_of(engine) == pid and len(ours(engine)) == 1
    assert eventually(lambda: is_serving(again))
    before = len(launcher.lines("r1"))
    launcher.until(lambda: len(launcher.lines("r1")) > before + 5, "its log goes on")
    numbers = [int(line.split()[-1]) for line in launcher.lines("r1") if ": line " in line]
    assert numbers == sorted(set(numbers)), "no line twice"
    launcher.stop("r1", 500)
    launcher.wait("r1", "ended")


def test_what_ends_meanwhile_is_told_afterwards(launcher, engine):
    start(launcher)
    launcher.wait("r1", "running")
    pid = pid_of(engine)
    child = int(open(f"/proc/{pid}/task/{pid}/children").read().split()[0])
    engine.kill()
    launcher.wait("r1", "lost")
    os.kill(child, signal.SIGKILL)
    time.sleep(0.5)
    engine.start()
    ended = launcher.wait("r1", "ended")
    assert ended["reason"] in ("signal", "exit") and (ended["signal"] == 9 or engine.kind == "docker")
    launcher.forget("r1")
    eventually(lambda: not ours(engine), what="it is removed")


def test_a_start_waits_for_the_engine(launcher, engine):
    engine.kill()
    launcher.wait_looked(False)
    start(launcher)
    launcher.until(lambda: launcher.last("r1") and launcher.last("r1")["reason"] == "api_unreachable", "it waits")
    engine.start()
    launcher.wait("r1", "running")
    assert len(ours(engine)) == 1


def test_a_start_is_not_done_twice(launcher, engine):
    """The engine dies in the middle of many starts."""
    for i in range(8):
        start(launcher, f"r{i}")
    time.sleep(0.4)
    engine.kill()
    launcher.wait_looked(False)
    engine.start()
    for i in range(8):
        launcher.until(lambda: launcher.last(f"r{i}")["stage"] in ("running", "ended"), f"r{i} is somewhere")
    names = [each["Labels"]["sluice.replica"] for each in ours(engine)]
    assert len(names) == len(set(names))
    up = {f"r{i}" for i in range(8) if launcher.last(f"r{i}")["stage"] == "running"}
    alive = {each["Labels"]["sluice.replica"] for each in ours(engine) if each["State"] == "running"}
    assert up == alive


def test_a_stop_is_carried_out_when_it_is_back(launcher, engine):
    start(launcher)
    launcher.wait("r1", "running")
    start(launcher, "r2")
    launcher.wait("r2", "running")
    engine.kill()
    launcher.wait("r1", "lost")
    launcher.stop("r1", 500)
    engine.start()
    launcher.wait("r1", "ended")
    launcher.forget("r1")
    launcher.wait("r2", "running")
    eventually(lambda: len(ours(engine)) == 1, what="one is left")


def test_one_that_has_not_begun_ends_without_it(launcher, engine):
    engine.kill()
    launcher.wait_looked(False)
    start(launcher)
    launcher.stop("r1", 500)
    assert launcher.wait("r1", "ended")["reason"] == "stopped"
    launcher.forget("r1")
    engine.start()
    launcher.wait_looked(True)
    assert not ours(engine)


def test_what_is_forgotten_meanwhile_is_removed(launcher, engine):
    start(launcher, "r1", "--exit-at-once", "1")
    launcher.wait("r1", "ended")
    engine.kill()
    launcher.wait_looked(False)
    launcher.forget("r1")
    engine.start()
    launcher.wait_looked(True)
    eventually(lambda: not ours(engine), what="it is removed")


def test_half_of_a_container_does_not_hold_its_name():
    """podman is killed between a container's two halves: its storage has the name, and no list shows it."""
    with Engine("podman") as engine, Driver("docker", endpoint=engine.endpoint) as launcher:
        launcher.wait_looked(True)
        start(launcher, "r1")
        launcher.wait("r1", "running")
        name = engine.inspect(ours(engine)[0]["Id"])["Name"].lstrip("/")
        launcher.stop("r1", 500)
        launcher.wait("r1", "ended")
        launcher.forget("r1")
        eventually(lambda: not ours(engine), what="it is removed")
        known = engine.folder / "root" / "libpod" / "bolt_state.db"
        before = known.read_bytes()
        half = engine.ask("POST", f"/containers/create?name={name}", {"Image": IMAGE, "Cmd": ["/fakellm"]})[1]["Id"]
        engine.kill()
        launcher.wait_looked(False)
        known.write_bytes(before)
        engine.start()
        launcher.wait_looked(True)
        assert engine.inspect(half) is None, "the half that is listed is gone"
        start(launcher, "r1")
        launcher.wait("r1", "running")
        assert len(ours(engine)) == 1
        launcher.stop("r1", 500)
        launcher.wait("r1", "ended")


def test_an_engine_that_comes_late_is_looked_at():
    """Opened before the engine runs, as after a boot."""
    engine = Engine("podman")
    with Driver("docker", endpoint=engine.endpoint) as launcher:
        launcher.wait_looked(False)
        with engine:
            launcher.wait_looked(True)
            assert [each["reachable"] for each in launcher.all("looked")] == [0, 1]
