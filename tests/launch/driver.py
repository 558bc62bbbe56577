# SPDX-License-Identifier: Apache-2.0
"""A launcher in a process of its own, spoken with from Python.

    with Driver("docker", endpoint="unix:/run/docker.sock") as launcher:
        launcher.start("r1", image="localhost/fake", command=["/fakellm", "--port", "{port}"])
        launcher.wait("r1", "running")
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness import ALIVE, BINARY, CRASH, clean_environment, eventually  # noqa: E402

DRIVER = Path(BINARY).parent / "tests" / "launch" / "driver"
FAKE = Path(BINARY).parent / "tests" / "fakellm"


class Driver:
    def __init__(self, kind, owner="tests", deployment="fake", **options):
        self.deployment = deployment
        self.folder = tempfile.TemporaryDirectory()
        words = [f"owner={owner}", f"state={self.folder.name}"]
        words += [f"{name}={value}" for name, value in options.items() if value]
        self.process = subprocess.Popen([str(DRIVER), kind, *words], env=clean_environment(), text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        ALIVE.append(self)
        self.said, self.log_lines, self.started = [], [], {}
        self.threads = [threading.Thread(target=self._read, daemon=True),
                        threading.Thread(target=self._read_log, daemon=True)]
        for thread in self.threads:
            thread.start()

    def _read(self):
        for line in self.process.stdout:
            self.said.append(json.loads(line))

    def _read_log(self):
        for line in self.process.stderr:
            self.log_lines.append(line)

    def log(self):
        return "".join(self.log_lines)

    def write(self, **order):
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    # ---------------------------------------------------------------- orders

    def start(self, replica, **spec):
        self.started[replica] = spec
        self.write(do="start", replica=replica, **{"deployment": self.deployment, "revision": 1, "digest": 7, **spec})

    def adopt(self, replica, **spec):
        self.write(do="adopt", replica=replica, **{"deployment": self.deployment, **spec})

    def stop(self, replica, grace_ms=1000):
        self.write(do="stop", replica=replica, grace_ms=grace_ms)

    def forget(self, replica):
        self.write(do="forget", replica=replica)

    # ---------------------------------------------------------------- what it said

    def all(self, say, replica=None):
        return [each for each in list(self.said) if each["say"] == say and replica in (None, each.get("replica"))]

    def reports(self, replica):
        return self.all("report", replica)

    def stages(self, replica):
        """The stages it went through, each once in a row."""
        stages = [each["stage"] for each in self.reports(replica)]
        return [stage for i, stage in enumerate(stages) if i == 0 or stage != stages[i - 1]]

    def lines(self, replica, error=None):
        return [each["line"] for each in self.all("line", replica) if error in (None, bool(each["error"]))]

    def last(self, replica):
        reports = self.reports(replica)
        return reports[-1] if reports else None

    def until(self, condition, what, within=60):
        try:
            return eventually(condition, within)
        except AssertionError:
            said = "\n".join(json.dumps(each) for each in self.said[-30:])
            raise AssertionError(f"not in {within} s: {what}\n{said}\n{self.log()[-4000:]}") from None

    def wait(self, replica, stage, within=60):
        """Its last report, once that is of this stage."""
        self.until(lambda: self._is(replica, stage), f"{replica} is {stage}", within)
        return self.last(replica)

    def _is(self, replica, stage):
        last = self.last(replica) or {}
        if last.get("stage") == "ended" != stage and last["reason"] == "port_taken":
            self.said.remove(last)  # several engines choose from the same ports; as the fleet does
            self.forget(replica)
            self.start(replica, **self.started[replica])
        return last.get("stage") == stage

    def wait_line(self, replica, words, within=60):
        self.until(lambda: any(words in line for line in self.lines(replica)), f"{words!r} in the log", within)

    def wait_looked(self, reachable, within=60):
        self.until(lambda: self.all("looked") and self.all("looked")[-1]["reachable"] == int(reachable),
                   f"looked: {reachable}", within)
        return self

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def connections(self):
        """Sockets alone."""
        folder = f"/proc/{self.process.pid}/fd"
        found = 0
        for name in os.listdir(folder):
            try:
                found += os.readlink(f"{folder}/{name}").startswith("socket:")
            except FileNotFoundError:
                pass
        return found

    # ---------------------------------------------------------------- its life

    def close(self):
        """As the end of the gateway: what runs goes on. The driver must end well."""
        if not self.process.stdin.closed:
            try:
                self.process.stdin.close()
            except BrokenPipeError:
                pass
        try:
            status = self.process.wait(20)
        finally:
            self.kill()
        for thread in self.threads:
            thread.join(5)
        assert not CRASH.search(self.log()), self.log()[-4000:]
        assert status == (1 if self.all("fault") else 0), f"it ended with {status}:\n{self.log()[-4000:]}"
        assert self.all("closed") or self.all("fault")
        return self

    def kill(self):
        self.process.kill()
        self.process.wait(10)
        if self in ALIVE:
            ALIVE.remove(self)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind:
            self.kill()
        else:
            self.close()
        self.folder.cleanup()
