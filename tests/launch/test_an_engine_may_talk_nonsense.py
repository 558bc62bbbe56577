# SPDX-License-Identifier: Apache-2.0
"""Whatever an engine answers, or does not, nothing crashes, hangs or grows: a socket that says what it
is told to, in the place of one."""

import json
import os
import socket
import struct
import tempfile
import threading
import time
from pathlib import Path

import pytest
from driver import Driver
from harness import eventually

ID = "a" * 64
PING = b"HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: 2\r\n\r\nOK"


def answer(body, status="200 OK", fields=""):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{fields}\r\n".encode() + body


def chunk(body):
    return b"%x\r\n%s\r\n" % (len(body), body)


STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
RUNS = answer({"Id": ID, "State": {"Status": "running", "Running": True}, "HostConfig": {}, "Config": {"Labels": {
    "sluice.owner": "tests", "sluice.deployment": "fake", "sluice.replica": "r1", "sluice.port": "8080"}},
    "NetworkSettings": {"Ports": {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "9"}]}}})
LIST = {"Id": ID, "State": "running", "Labels": {"sluice.owner": "tests", "sluice.deployment": "fake",
                                                 "sluice.replica": "r1", "sluice.port": "8080"}}


def quiet(peer):
    """A stream in which nothing happens, for as long as anybody listens."""
    peer.sendall(STREAM)
    peer.recv(1)


class FakeEngine:
    """<says>: {part of the path: bytes, a list of them, or a function that is given the connection}."""

    well = {"_ping": PING, "/events": quiet,
            "/containers/json": answer([]), "/images/": answer({"Id": "sha256:1"}),
            "/containers/create": answer({"Id": ID}, "201 Created"), "/start": answer(b"", "204 No Content"),
            "/logs": quiet, "/stats": answer({}),
            "/stop": answer(b"", "204 No Content"), "/kill": answer(b"", "204 No Content"), f"/{ID}/json": RUNS,
            "?force": answer(b"", "204 No Content")}

    def __init__(self, says):
        self.says = {**self.well, **says}
        self.asked = []
        self.ended = False

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "s"
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def _accept(self):
        while not self.ended:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer):
        with peer:
            try:
                while not self.ended and self._one(peer):
                    pass
            except OSError:
                pass

    def _one(self, peer):
        head = b""
        while b"\r\n\r\n" not in head:
            got = peer.recv(65536)
            if not got:
                return False
            head += got
        target = head.split(b" ")[1].decode()
        self.asked.append(target)
        says = next((self.says[part] for part in reversed(self.says) if part in target), answer({}, "404 Not Found"))
        if callable(says):
            says(peer)
            return False
        peer.sendall(says)
        return True

    def __exit__(self, *_):
        self.ended = True
        self.listener.close()
        self.folder.cleanup()


def endless(beginning, more, seconds=3):
    def send(peer):
        peer.sendall(beginning)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            peer.sendall(more)
    return send


def silence(peer):
    peer.recv(1)


NOISE = os.urandom(4096).replace(b"\n", b"")
# What the engine says, where; and what must come of it within the time of the test.
ODD = {
    "no_http": {"_ping": NOISE},
    "half_a_head": {"_ping": lambda peer: peer.sendall(PING[:20])},
    "an_error": {"_ping": answer({"message": "no\nway\x1b[31m"}, "500 Oops")},
    "no_list": {"/containers/json": answer({"a": 1})},
    "a_list_of_noise": {"/containers/json": answer(NOISE)},
    "an_endless_list": {"/containers/json": endless(STREAM, chunk(b"[" * 65536))},
    "a_list_that_breaks_off": {"/containers/json": lambda peer: peer.sendall(answer([LIST])[:-10])},
    "no_events": {"/events": answer({"message": "no"}, "400 Bad Request")},
}
SURVIVED = {  # the same, and a launch gets somewhere all the same
    "events_of_noise": {"/events": endless(STREAM, chunk(NOISE))},
    "an_endless_event": {"/events": endless(STREAM, chunk(b'{"Type":"' + b"x" * 65536))},
    "events_of_others": {"/events": endless(STREAM, chunk(b'{"Type":"image","Action":"pull","Actor":{}}\n[1]\nnull\n'
                                                          b'{"Type":"container","Action":7,"Actor":[]}\n'))},
    "a_flood_of_events": {"/events": endless(STREAM, chunk(json.dumps(
        {"Type": "container", "Action": "die", "Actor": {"ID": ID}, "timeNano": 1 << 62}).encode() + b"\n"))},
    "a_log_of_noise": {"/logs": endless(STREAM, chunk(NOISE))},
    "a_log_of_huge_frames": {"/logs": endless(STREAM, chunk(b"\x01\0\0\0\xff\xff\xff\xff" + NOISE))},
    "a_log_without_an_end_of_line": {"/logs": endless(STREAM, chunk(struct.pack(">BxxxI", 2, 4096) + b"y" * 4096))},
    "a_log_cut_anywhere": {"/logs": lambda peer: peer.sendall(STREAM + chunk(b"\x01\0\0\0\0\0\0\x09half"))},
    "no_log": {"/logs": answer({"message": "configured logging driver does not support reading"}, "501 No")},
    "stats_of_noise": {"/stats": answer(b'{"memory_stats":{"usage":"many"}}')},
}
NEVER_RUNS = {
    "a_container_without_an_id": {"/containers/create": answer({"Id": "../../etc"}, "201 Created")},
    "created_is_noise": {"/containers/create": answer(NOISE, "201 Created")},
    "a_start_that_fails": {"/start": answer({"message": "boom"}, "500 Oops")},
    "a_pull_of_noise": {"/images/": answer({}, "404 No"), "/images/create": endless(STREAM, chunk(NOISE), 1)},
    "a_pull_that_breaks_off": {"/images/": answer({}, "404 No"),
                               "/images/create": lambda peer: peer.sendall(STREAM + chunk(b'{"status":'))},
    "a_pull_that_lies": {"/images/": answer({}, "404 No"), "/images/create": answer({"status": "done"})},
}


@pytest.mark.parametrize("name", ODD)
def test_an_engine_that_cannot_be_understood_is_away(name):
    with FakeEngine(ODD[name]) as engine, Driver("docker", endpoint=f"unix:{engine.path}") as launcher:
        launcher.wait_looked(False)
        launcher.start("r1", image="fake")
        launcher.until(lambda: launcher.last("r1") and launcher.last("r1")["reason"] == "api_unreachable", "it waits")
        launcher.stop("r1")
        launcher.wait("r1", "ended")
        assert "\x1b" not in launcher.log() and "\n\n" not in launcher.log()


@pytest.mark.parametrize("name", SURVIVED)
def test_a_launch_gets_through(name):
    with FakeEngine(SURVIVED[name]) as engine, Driver("docker", endpoint=f"unix:{engine.path}") as launcher:
        launcher.start("r1", image="fake")
        launcher.until(lambda: any(each["stage"] == "running" for each in launcher.reports("r1")), "it runs")
        time.sleep(1)
        assert all(len(line) <= 8192 for line in launcher.lines("r1"))
        resident = int(Path(f"/proc/{launcher.process.pid}/statm").read_text().split()[1]) * 4096
        assert resident < 1 << 28, "it keeps nothing of it"


@pytest.mark.parametrize("name", NEVER_RUNS)
def test_a_launch_that_cannot_be_ends(name):
    with FakeEngine(NEVER_RUNS[name]) as engine, Driver("docker", endpoint=f"unix:{engine.path}") as launcher:
        launcher.start("r1", image="fake")
        ended = launcher.wait("r1", "ended", within=50)
        assert ended["exit"] == -1 and ended["words"] and ended["reason"]
        launcher.forget("r1")


def test_what_only_has_the_name_is_never_removed():
    """Nobody can say whose it is, or it is another's: also when ours is given up meanwhile."""
    others = answer({"Id": "b" * 64, "State": {"Status": "exited"}, "Config": {"Labels": {}}, "HostConfig": {}})
    for said in (answer(NOISE), others, silence):
        says = {"/containers/create": answer({"message": "taken"}, "409 Conflict"), "/sluice-tests-fake-r1/json": said}
        with FakeEngine(says) as engine, Driver("docker", endpoint=f"unix:{engine.path}") as launcher:
            launcher.start("r1", image="fake")
            eventually(lambda: any("/sluice-tests-fake-r1/json" in target for target in engine.asked))
            launcher.stop("r1", 0)
            engine.says["/sluice-tests-fake-r1/json"] = others
            launcher.wait("r1", "ended", within=60)
            launcher.forget("r1")
            time.sleep(0.2)
            assert not any("force" in target for target in engine.asked)


def test_an_engine_that_falls_silent_is_noticed():
    """It accepts, and never answers again: no end of a connection tells of it."""
    says = {}
    with FakeEngine(says) as engine, Driver("docker", endpoint=f"unix:{engine.path}") as launcher:
        launcher.wait_looked(True)
        launcher.start("r1", image="fake")
        launcher.wait("r1", "running")
        engine.says["_ping"] = silence
        launcher.wait("r1", "lost", within=40)
        engine.says["_ping"] = PING
        engine.says["/containers/json"] = answer([LIST])
        launcher.wait("r1", "running", within=30)


def test_a_stop_that_is_never_answered_becomes_a_kill():
    ended = answer({"Id": ID, "State": {"Status": "exited", "ExitCode": 137}, "Config": {}, "HostConfig": {}})
    with FakeEngine({"/stop": silence}) as engine, Driver("docker", endpoint=f"unix:{engine.path}") as launcher:
        launcher.start("r1", image="fake")
        launcher.wait("r1", "running")
        launcher.stop("r1", 500)
        eventually(lambda: any("/kill?signal=SIGKILL" in target for target in engine.asked), 10)
        engine.says[f"/{ID}/json"] = ended
        assert launcher.wait("r1", "ended")["signal"] == 9


@pytest.mark.parametrize("version, spoken", [("1.24", "/v1.24/"), ("1.41", "/v1.41/"), ("1.99", "/v1.51/"),
                                             ("nonsense", "/v1.40/"), ("1.", "/v1.40/")])
def test_the_older_version_is_spoken(version, spoken):
    ping = PING.replace(b"1.41", version.encode())
    with FakeEngine({"_ping": ping}) as engine, Driver("docker", endpoint=f"unix:{engine.path}") as launcher:
        launcher.wait_looked(True)
        asked = [target for target in engine.asked if target != "/_ping"]
        assert asked and all(target.startswith(spoken) for target in asked)


@pytest.mark.parametrize("endpoint", ["unix:", "unix:relative", "unix:/" + "x" * 120, "ftp://x", "tcp://", "http://",
                                      "tcp://a b:1", "unix:/s?x=1", "tcp://h:0", "https://h:99999"])
def test_an_endpoint_that_is_none_is_refused(endpoint):
    with Driver("docker", endpoint=endpoint) as launcher:
        launcher.until(lambda: launcher.all("fault"), "it is refused")
        assert "endpoint" in launcher.all("fault")[0]["words"] or launcher.all("fault")[0]["words"]
