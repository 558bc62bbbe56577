# SPDX-License-Identifier: Apache-2.0
"""Real container engines for a test: Docker's and podman's, each with a folder, a socket and (Docker)
a bridge of its own, beside whatever else runs on the machine. They need root.

    with Engine("docker") as engine:
        engine.ask("GET", "/containers/json")

There is one image in it, localhost/fake: a static model server (tests/models/fakellm.c). Where an
engine cannot run the test fails and says what the engine said.
"""

import contextlib
import http.client
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from driver import FAKE  # noqa: E402

BRIDGE, SUBNET = f"sluice{os.getpid()}", f"172.31.{os.getpid() % 250}.1/24"  # several may run at once
CONTAINERS_CONF = """[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
netns = "host"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
REGISTRIES_CONF = """[[registry]]
location = "127.0.0.1"
insecure = true
"""
KEEPERS = ("containerd-shim", "conmon", "podman", "runc")  # what engines start to keep their containers
POLICY = '{"default":[{"type":"insecureAcceptAnything"}]}'


class Connection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(str(self.path))


def run(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


class Engine:
    def __init__(self, kind):
        self.kind = kind
        self.folder = Path(tempfile.mkdtemp(prefix="engine-"))  # short: sockets have short names
        self.socket = self.folder / "s"
        self.process = None
        self.below = None  # Docker's containerd, which outlives it

    @property
    def endpoint(self):
        """podman has no network here but the host's."""
        return f"unix:{self.socket}" + ("?network=host" if self.kind == "podman" else "")

    # ---------------------------------------------------------------- start and stop

    def _docker(self):
        if run("ip", "link", "show", BRIDGE).returncode:
            for words in (["link", "add", BRIDGE, "type", "bridge"], ["addr", "add", SUBNET, "dev", BRIDGE],
                          ["link", "set", BRIDGE, "up"]):
                made = run("ip", *words)
                assert made.returncode == 0, f"no bridge for containers: {made.stdout}"
        return ["dockerd", "--data-root", self.folder / "data", "--exec-root", self.folder / "exec",
                "--pidfile", self.folder / "pid", "--containerd", self.folder / "c", "--host", f"unix://{self.socket}", "--storage-driver", "vfs",
                "--bridge", BRIDGE, "--iptables=false", "--ip6tables=false", "--ip-masq=false", "--live-restore",
                "--default-ulimit", "nofile=1024:1024", "--default-ulimit", "nproc=1024:1024",
                "--exec-opt", "native.cgroupdriver=cgroupfs"]

    def _podman(self):
        for name, words in (("containers.conf", CONTAINERS_CONF), ("registries.conf", REGISTRIES_CONF),
                            ("policy.json", POLICY)):
            (self.folder / name).write_text(words)
        return ["podman", "--root", self.folder / "root", "--runroot", self.folder / "run", "--storage-driver", "vfs",
                "--runtime", shutil.which("runc") or "/usr/sbin/runc", "system", "service", "--time=0",
                f"unix://{self.socket}"]

    def _containerd(self, log, environment):
        if self.kind != "docker" or self.below:
            return
        (self.folder / "containerd.toml").write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
        words = ["containerd", "--config", self.folder / "containerd.toml", "--root", self.folder / "c-data",
                 "--state", self.folder / "c-run", "--address", self.folder / "c"]
        self.below = subprocess.Popen([str(word) for word in words], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                      env=environment, start_new_session=True)

    def start(self):
        command = self._docker() if self.kind == "docker" else self._podman()
        environment = {**os.environ, "CONTAINERS_CONF": str(self.folder / "containers.conf"),
                       "CONTAINERS_REGISTRIES_CONF": str(self.folder / "registries.conf"),
                       "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
        self.socket.unlink(missing_ok=True)
        (self.folder / "pid").unlink(missing_ok=True)  # of one that was killed
        with open(self.folder / "log", "ab") as log:
            self._containerd(log, environment)
            self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, env=environment, start_new_session=True)
        deadline = time.monotonic() + 40
        while not self.is_up():
            assert self.process.poll() is None and time.monotonic() < deadline, \
                f"{self.kind} does not run on this machine:\n{self.log()[-3000:]}"
            time.sleep(0.1)
        return self

    def is_up(self):
        try:
            return self.ask("GET", "/_ping")[0] == 200
        except OSError:
            return False

    def log(self):
        return (self.folder / "log").read_text(errors="replace")

    def kill(self):
        """As a crash; containers go on."""
        self.process.kill()
        self.process.wait(10)

    def end(self):
        for process in filter(None, (self.process, self.below)):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait(10)

    def bury(self):
        """Docker's shims and podman's conmon have the folder in their words; they end by themselves a moment after
        their container, unless their engine ended before it could tell them to."""
        begun = time.monotonic()
        while left := [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if self.is_of_it(pid)]:
            if time.monotonic() > begun + 10:
                for pid in left:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            assert time.monotonic() < begun + 20, f"{left} cannot be ended"
            time.sleep(0.05)

    def is_of_it(self, pid):
        """What keeps a container, and what runs in one: its root is a folder of the engine's (docker-init, whose shim
        was ended before it could tell it to; a runc that was to become a server, which nobody will tell it now)."""
        folder = str(self.folder)
        try:
            mounts = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
            if any(line.split()[4] == "/" and folder in line for line in mounts):
                return True
            name = Path(f"/proc/{pid}/comm").read_text()
            return name.startswith(KEEPERS) and folder.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False

    def __enter__(self):
        try:
            self.start()
            self.add_image()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.process and self.process.poll() is not None and self.socket.exists():
            self.start()
        if self.is_up():
            for each in self.containers():
                self.ask("DELETE", f"/containers/{each['Id']}?force=true&v=true")
        self.end()
        try:
            self.bury()
        finally:
            self.clear()

    def clear(self):
        for line in reversed(Path("/proc/mounts").read_text().splitlines()):
            if line.split()[1].startswith(str(self.folder)):
                run("umount", "-l", line.split()[1])
        if self.kind == "docker":
            run("ip", "link", "del", BRIDGE)
        shutil.rmtree(self.folder, ignore_errors=True)

    # ---------------------------------------------------------------- asking it

    def ask(self, method, path, body=None, kind="application/json"):
        connection = Connection(self.socket)
        try:
            connection.request(method, f"/v1.41{path}" if path != "/_ping" else path,
                               json.dumps(body) if isinstance(body, dict) else body,
                               {"Content-Type": kind} if body else {})
            answer = connection.getresponse()
            raw = answer.read()
        finally:
            connection.close()
        try:
            return answer.status, json.loads(raw)
        except ValueError:
            return answer.status, raw

    def add_image(self):
        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w") as archive:
            archive.add(FAKE, "fakellm")
        status, said = self.ask("POST", "/images/create?fromSrc=-&repo=localhost/fake&tag=latest", tar.getvalue(),
                                "application/x-tar")
        assert status == 200 and self.ask("GET", "/images/localhost/fake:latest/json")[0] == 200, said

    def containers(self):
        return self.ask("GET", "/containers/json?all=true")[1]

    def inspect(self, name):
        status, said = self.ask("GET", f"/containers/{name}/json")
        return said if status == 200 else None
