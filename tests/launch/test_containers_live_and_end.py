# SPDX-License-Identifier: Apache-2.0
"""What becomes of a container is told as it is: on both engines."""

import json
import os
import time
import urllib.request

from harness import eventually

IMAGE = "localhost/fake"
SERVER = ["/fakellm", "--host", "0.0.0.0", "--port", "{port}"]
MIB = 1 << 20


def start(launcher, replica="r1", *options, **spec):
    launcher.start(replica, **{"image": IMAGE, "command": [*SERVER, *options], **spec})


def is_serving(report):
    """It runs a moment before it listens, and listens before its model is loaded."""
    def ask():
        try:
            with urllib.request.urlopen(f"http://{report['host']}:{report['port']}/health", timeout=5) as answer:
                return json.loads(answer.read())["status"] == "ok"
        except OSError:
            return False
    return eventually(ask)


def container_of(engine, replica="r1"):
    found = [each for each in engine.containers() if each["Labels"].get("sluice.replica") == replica]
    assert len(found) == 1, found
    return engine.inspect(found[0]["Id"])


def test_a_container_lives_serves_and_ends(launcher, engine):
    start(launcher)
    running = launcher.wait("r1", "running")
    assert launcher.stages("r1") == ["placing", "running"]
    assert running["host"] == "127.0.0.1" and is_serving(running)
    launcher.stop("r1", grace_ms=5000)
    ended = launcher.wait("r1", "ended")
    assert (ended["reason"], ended["exit"], ended["signal"], ended["final"]) == ("exit", 0, 0, 0)
    launcher.forget("r1")
    eventually(lambda: not engine.containers(), what="it is removed")
    assert launcher.stages("r1") == ["placing", "running", "ended"]


def test_it_is_bounded_and_labelled(launcher, engine, tmp_path):
    adapter = tmp_path / "legal.gguf"
    adapter.write_bytes(b"x")
    start(launcher, memory=64 * MIB, cpus_milli=500, env={"SECRET": "a b=c", "PORT": "{port}"},
          adapters=[str(adapter)], revision=3, digest=0xABCDEF)
    running = launcher.wait("r1", "running")
    said = container_of(engine)
    host, config = said["HostConfig"], said["Config"]
    assert host["Memory"] == 64 * MIB and host["NanoCpus"] == 500000000 and 0 < host["PidsLimit"] <= 4096
    assert host["SecurityOpt"] and "no-new-privileges" in host["SecurityOpt"][0]
    assert host["RestartPolicy"]["Name"] in ("no", "") and not host["AutoRemove"] and not host["Privileged"]
    assert "SECRET=a b=c" in config["Env"]
    own = running["port"] if engine.kind == "podman" else 8080  # in the host's network each has its own
    assert f"PORT={own}" in config["Env"] and str(own) in config["Cmd"]
    labels = {name: value for name, value in config["Labels"].items() if name.startswith("sluice.")}
    assert labels == {"sluice.owner": "tests", "sluice.deployment": "fake", "sluice.replica": "r1",
                      "sluice.revision": "3", "sluice.digest": "0000000000abcdef", "sluice.port": str(own)}
    mounts = [(each["Source"], each["Destination"], each["RW"]) for each in said["Mounts"]]
    assert (str(adapter), str(adapter), False) in mounts
    status = open(f"/proc/{said['State']['Pid']}/status").read()
    assert "CapEff:\t0000000000000000" in status and "NoNewPrivs:\t1" in status
    if engine.kind == "docker":
        assert host["Init"] and host["PortBindings"]["8080/tcp"][0]["HostIp"] == "127.0.0.1"


def test_what_it_writes_is_heard_line_by_line(launcher):
    start(launcher, "r1", "--print-env", "GREETING", "--log-every-ms", "20", env={"GREETING": "Grüße € \t end"})
    launcher.wait_line("r1", "Grüße € \t end")
    launcher.wait_line("r1", "line 9")
    numbers = [int(line.split()[-1]) for line in launcher.lines("r1") if ": line " in line]
    assert numbers == list(range(1, len(numbers) + 1)), "each once and in order"


def test_its_last_lines_come_before_its_end(launcher):
    start(launcher, "r1", "--exit-at-once", "1", "--exit-code", "3")
    ended = launcher.wait("r1", "ended")
    assert (ended["reason"], ended["exit"], ended["signal"], ended["oom"]) == ("exit", 3, 0, 0)
    said = [each["say"] for each in launcher.said if each.get("replica") == "r1"]
    assert launcher.lines("r1") and said[-1] == "report", "no line behind the end"


def test_a_signal_is_told_as_one(launcher):
    start(launcher, "r1", "--crash-after-ms", "300", "--segv", "1")
    launcher.wait("r1", "running")
    ended = launcher.wait("r1", "ended")
    assert (ended["reason"], ended["signal"], ended["exit"]) == ("signal", 11, -1)


def test_who_ignores_the_term_is_killed_in_time(launcher):
    start(launcher, "r1", "--ignore-term", "1")
    launcher.wait("r1", "running")
    launcher.wait_line("r1", "loaded")
    begun = time.monotonic()
    launcher.stop("r1", grace_ms=1000)
    ended = launcher.wait("r1", "ended")
    assert 0.9 <= time.monotonic() - begun and ended["signal"] == 9


def test_a_shorter_grace_counts(launcher):
    start(launcher, "r1", "--ignore-term", "1")
    launcher.wait("r1", "running")
    launcher.wait_line("r1", "loaded")
    launcher.stop("r1", grace_ms=60000)
    time.sleep(0.5)
    launcher.stop("r1", grace_ms=0)
    assert launcher.wait("r1", "ended", within=15)["signal"] == 9


def test_too_much_memory_is_told_apart(launcher, engine):
    """Where the engine knows: podman does not always, and then it says so."""
    start(launcher, "r1", "--grow-mb", "200", memory=48 * MIB)
    ended = launcher.wait("r1", "ended", within=30)
    assert (ended["final"], ended["signal"], ended["exit"]) == (0, 9, -1)
    if engine.kind == "docker" or ended["oom"]:
        assert (ended["reason"], ended["oom"]) == ("oom_killed", 1)
    else:
        assert ended["reason"] == "signal" and "memory" in ended["words"]


def test_memory_is_measured(launcher):
    start(launcher, "r1", "--load-mb", "40")
    launcher.wait("r1", "running")
    launcher.until(lambda: launcher.last("r1")["memory"] > 40 * MIB, "its memory is told", within=30)
    assert launcher.last("r1")["memory"] < 100 * MIB


def test_a_program_that_is_not_there_is_final(launcher):
    start(launcher, command=["/no/such/program"])
    ended = launcher.wait("r1", "ended")
    assert (ended["reason"], ended["final"], ended["exit"]) == ("exec_failed", 1, -1)
    assert "no/such/program" in ended["words"]


def test_an_image_that_is_no_name_is_final(launcher):
    for image in ("", "../../containers/x", "a b", "http://x/y", "x?tag=y"):
        launcher.start(f"r{len(image)}", image=image)
        ended = launcher.wait(f"r{len(image)}", "ended")
        assert (ended["reason"], ended["final"]) == ("image_missing", 1), image


def test_a_source_that_is_missing_is_told(launcher, engine, tmp_path):
    """Docker refuses it; podman makes an empty folder of it, which is at least no crash of ours."""
    start(launcher, adapters=[f"{tmp_path}/none"])
    if engine.kind == "podman":
        launcher.wait("r1", "running")
        return
    ended = launcher.wait("r1", "ended")
    assert (ended["reason"], ended["exit"]) == ("bad_spec", -1) and f"{tmp_path}/none" in ended["words"]


def test_a_name_that_is_taken_is_told(launcher, engine):
    engine.ask("POST", "/containers/create?name=sluice-tests-fake-r1", {"Image": IMAGE, "Cmd": ["/fakellm"]})
    start(launcher)
    ended = launcher.wait("r1", "ended")
    assert (ended["reason"], ended["final"]) == ("name_taken", 0)
    launcher.forget("r1")
    time.sleep(0.3)
    assert len(engine.containers()) == 1, "it belongs to somebody else"


def test_what_an_earlier_life_has_left_gives_way(launcher, engine):
    engine.ask("POST", "/containers/create?name=sluice-tests-fake-r1", {
        "Image": IMAGE, "Cmd": ["/fakellm"],
        "Labels": {"sluice.owner": "tests", "sluice.deployment": "fake", "sluice.replica": "r1",
                   "sluice.revision": "9", "sluice.digest": "0000000000000009", "sluice.port": "8080"}})
    start(launcher)
    launcher.wait("r1", "running")
    assert container_of(engine)["Config"]["Labels"]["sluice.revision"] == "1"


def test_one_that_somebody_removes_has_ended(launcher, engine):
    start(launcher)
    launcher.wait("r1", "running")
    engine.ask("DELETE", f"/containers/{container_of(engine)['Id']}?force=true")
    ended = launcher.wait("r1", "ended")
    assert ended["reason"] in ("removed", "signal")
    launcher.forget("r1")


def test_a_stop_at_any_moment_leaves_nothing(launcher, engine):
    for i in range(12):
        start(launcher, f"r{i}")
        time.sleep(0.03 * i)
        launcher.stop(f"r{i}", grace_ms=500)
    for i in range(12):
        launcher.wait(f"r{i}", "ended")
        launcher.forget(f"r{i}")
    eventually(lambda: not engine.containers(), 20, what="all are removed")


def test_twenty_lives_leak_no_descriptor(launcher, engine):
    def live(replica):
        start(launcher, replica)
        launcher.wait(replica, "running")
        launcher.stop(replica, grace_ms=500)
        launcher.wait(replica, "ended")
        launcher.forget(replica)

    live("first")
    eventually(lambda: not engine.containers(), what="it is removed")
    before = launcher.descriptors()
    for i in range(20):
        live(f"r{i}")
    eventually(lambda: not engine.containers(), what="all are removed")
    # A few connections are kept for what is asked next.
    eventually(lambda: launcher.descriptors() <= before + 4, what="descriptors are given back")


def test_what_runs_goes_on_when_we_end(engine, launcher):
    start(launcher)
    running = launcher.wait("r1", "running")
    launcher.close()
    assert is_serving(running)
    assert os.path.exists(f"/proc/{container_of(engine)['State']['Pid']}")
