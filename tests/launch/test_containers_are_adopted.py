# SPDX-License-Identifier: Apache-2.0
"""After a restart of ours: what runs is found by its labels, and nothing of others is touched."""

import pytest
from driver import Driver
from harness import eventually

IMAGE = "localhost/fake"
SERVER = ["/fakellm", "--host", "0.0.0.0", "--port", "{port}"]


@pytest.fixture
def clean(engine):
    yield engine
    for each in engine.containers():
        engine.ask("DELETE", f"/containers/{each['Id']}?force=true&v=true")


def left_by_one_that_was_killed(engine, *replicas, options=(), owner="tests"):
    first = Driver("docker", endpoint=engine.endpoint, owner=owner)
    first.wait_looked(True)
    for replica in replicas:
        first.start(replica, image=IMAGE, command=[*SERVER, *options], revision=4, digest=99)
        first.wait(replica, "running")
    reports = {replica: first.last(replica) for replica in replicas}
    first.kill()
    return reports


def test_a_container_is_found_and_taken_over(clean):
    before = left_by_one_that_was_killed(clean, "r1", options=("--log-every-ms", "50"))["r1"]
    with Driver("docker", endpoint=clean.endpoint) as launcher:
        launcher.wait_looked(True)
        found = launcher.all("found")
        assert [(each["deployment"], each["replica"], each["revision"], each["digest"]) for each in found] == \
            [("fake", "r1", 4, 99)]
        launcher.adopt("r1", image=IMAGE, command=SERVER)
        running = launcher.wait("r1", "running")
        assert (running["host"], running["port"]) == (before["host"], before["port"])
        launcher.wait_line("r1", ": line ")
        launcher.stop("r1", 1000)
        assert launcher.wait("r1", "ended")["reason"] == "exit"
        launcher.forget("r1")
        eventually(lambda: not clean.containers(), what="it is removed")


def test_what_nobody_wants_is_stopped(clean):
    left_by_one_that_was_killed(clean, "r1", "r2")
    with Driver("docker", endpoint=clean.endpoint) as launcher:
        launcher.wait_looked(True)
        assert sorted(each["replica"] for each in launcher.all("found")) == ["r1", "r2"]
        launcher.stop("r2", 500)
        launcher.wait("r2", "ended")
        launcher.forget("r2")
        eventually(lambda: len(clean.containers()) == 1, what="the other one goes on")
        assert clean.containers()[0]["State"] == "running"


def test_what_has_ended_meanwhile_is_removed(clean):
    left_by_one_that_was_killed(clean, "r1", options=("--crash-after-ms", "200"))
    eventually(lambda: clean.containers()[0]["State"] != "running", what="it ends")
    with Driver("docker", endpoint=clean.endpoint) as launcher:
        launcher.wait_looked(True)
        assert not launcher.all("found")
        eventually(lambda: not clean.containers(), what="it is removed")


def test_others_are_not_touched(clean):
    left_by_one_that_was_killed(clean, "r1", owner="another")
    clean.ask("POST", "/containers/create?name=somebodys", {"Image": IMAGE, "Cmd": ["/fakellm"]})
    with Driver("docker", endpoint=clean.endpoint) as launcher:
        launcher.wait_looked(True)
        assert not launcher.all("found")
        launcher.start("r1", image=IMAGE, command=SERVER)  # of the same name, but ours
        launcher.wait("r1", "running")
    assert len(clean.containers()) == 3
