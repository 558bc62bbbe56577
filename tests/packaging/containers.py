# SPDX-License-Identifier: Apache-2.0
"""Containers for the tests: built, started, asked from within their own network, and removed again."""

import contextlib
import ctypes
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

import harness
from raw_client import Client

HERE = Path(__file__).resolve().parent
LABEL = "sluice-packaging-test"  # on everything that is started here, so that nothing of it is left
CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def in_network_of(pid):
    """Sockets that this thread opens meanwhile are in the network namespace of that process."""

    def enter(descriptor):
        if LIBC.setns(descriptor, CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    with open("/proc/thread-self/ns/net", "rb") as ours, open(f"/proc/{pid}/ns/net", "rb") as theirs:
        enter(theirs.fileno())
        try:
            yield
        finally:
            enter(ours.fileno())


class Engine:
    """tests/packaging/container-engine, with files of its own."""

    def __init__(self):
        self.directory = tempfile.TemporaryDirectory(prefix="sluice-engine-")
        self.env = {**os.environ, "CONTAINER_ENGINE_DIR": self.directory.name}
        done = self._script("start", timeout=500)
        assert done.returncode == 0, done.stderr
        self.socket = Path(self.directory.name) / "docker.sock"
        self.sweep()

    def _script(self, *args, timeout=120, **options):
        # Files, not pipes: what stays running in the background would keep a pipe open for ever.
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            done = subprocess.run([str(HERE / "container-engine"), *map(str, args)], env=self.env, cwd=harness.ROOT,
                                  stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=timeout, **options)
            for stream in (out, err):
                stream.seek(0)
            done.stdout, done.stderr = out.read().decode(errors="replace"), err.read().decode(errors="replace")
        return done

    def try_podman(self, *args, **options):
        return self._script("podman", *args, **options)

    def podman(self, *args, **options):
        done = self.try_podman(*args, **options)
        assert done.returncode == 0, f"podman {' '.join(map(str, args))}\n{done.stdout[-6000:]}{done.stderr[-6000:]}"
        return done.stdout.strip()

    def build(self, tag, file, context, *args):
        """Build with all that was built before; the network is the host's, for apt-get."""
        self.podman("build", "--format", "docker", "--layers", "--network=host", "-t", tag, "-f", file, *args, context,
                    timeout=560)
        return tag

    def inspect(self, what, kind="image"):
        return json.loads(self.podman(kind, "inspect", what))[0]

    def sweep(self):
        """Remove containers and volumes that a test that was killed may have left."""
        self.try_podman("rm", "--force", "--time", "0", "--volumes", "--ignore",
                        *self.podman("ps", "-aq", "--filter", f"label={LABEL}").split(), "none")
        for volume in self.podman("volume", "ls", "-q", "--filter", f"label={LABEL}").split():
            self.try_podman("volume", "rm", "--force", volume)

    def close(self):
        try:
            self.sweep()
        finally:
            self._script("stop")
            self.directory.cleanup()


class Container:
    """A running container in a network of its own, which only has a loopback device."""

    def __init__(self, engine, image, *command, options=()):
        self.engine = engine
        self.id = engine.podman("run", "--detach", "--network=none", "--label", LABEL, *options, image, *command)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            print(f"log of the container:\n{self.log()[-6000:]}")
        self.engine.try_podman("rm", "--force", "--time", "1", "--volumes", self.id)

    @property
    def state(self):
        return self.engine.inspect(self.id, "container")["State"]

    @property
    def pid(self):
        return self.state["Pid"]

    def log(self):
        done = self.engine.try_podman("logs", self.id)
        return done.stdout + done.stderr

    def execute(self, *command, check=True, **options):
        done = self.engine.try_podman("exec", self.id, *command, **options)
        assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout if check else done

    def stop(self, seconds=60):
        """SIGTERM, as `docker stop` sends it; (exit code, seconds it took)."""
        begun = time.monotonic()
        self.engine.podman("stop", "--time", seconds, self.id, timeout=seconds + 60)
        return self.state["ExitCode"], time.monotonic() - begun

    # ------------------------------------------------------------------ asking it

    def connect(self, port):
        with in_network_of(self.pid):
            return Client(("127.0.0.1", port))

    def get(self, path, port=8080):
        with self.connect(port) as client:
            return client.request("GET", path)

    def chat(self, key, model="mock", **fields):
        body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], **fields}
        with self.connect(8080) as client:
            return client.request("POST", "/v1/chat/completions", [("Authorization", f"Bearer {key}")], body)

    def wait_ready(self, port=8080, within=20):
        def is_ready():
            state = self.state
            assert state["Running"], f"ended with {state['ExitCode']}:\n{self.log()}"
            with contextlib.suppress(OSError, AssertionError):
                return self.get("/readyz", port).status == 200

        harness.eventually(is_ready, within, every=0.05, what="ready")
        return self

    def usage(self):
        """The rows of `sluice usage` in there."""
        return json.loads(self.execute("sluice", "usage", "--by", "tenant,model", "--format", "json"))
