# SPDX-License-Identifier: Apache-2.0
"""The real program under callgrind, and what each function of its worker has cost since the last look."""

import collections
import os
import re
import subprocess
import time
from pathlib import Path

READY_SECONDS = 120
DUMP_SECONDS = 60
WORKER = "loop_run"  # where its thread waits

# glibc and OpenSSL choose by what the processor has; here they are to choose the same on all.
SAME_EVERYWHERE = {
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX2,-AVX,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM,-RTM,-SSE4_2",
    "OPENSSL_ia32cap": "~0x5200080200000000:~0xffffffffffffffff",
}
DIGITS = set("0123456789+-*")
CLONE = re.compile(r"(\.(constprop|part|isra|cold|lto_priv|localalias)(\.\d+)?)+$|'\d+$|@.*$")


class Failed(Exception):
    """It did not start, or gave no figures."""


def until(ready, otherwise, process):
    deadline = time.monotonic() + READY_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise Failed(otherwise)
        time.sleep(0.1)


def function_name(name, thing, ours):
    """Without what a compiler adds; those of libraries with the library's name, and all unnamed ones together."""
    name = CLONE.sub("", CLONE.sub("", name))
    if thing == ours:
        return name
    library = re.sub(r"[-.]so.*$|-[\d.]+$", "", thing)
    return f"{library}:{'?' if name.startswith('0x') else name}"


def read_profile(path, ours):
    """What callgrind wrote on one thread, as a Counter {function: instructions of its own}."""
    costs = collections.Counter()
    names = {}  # "(17)" stands for the name that came with it first, for functions and for objects
    thing = function = ""
    inclusive = False  # the line behind calls= is the cost of the called, which has its own lines

    def full(kind, text):
        number, _, name = text.partition(" ")
        return names.setdefault((kind, number), name)

    for line in path.read_text(errors="replace").splitlines():
        if line[:1] in DIGITS:
            if function and not inclusive:
                costs[function] += int(line.split()[1])
            inclusive = False
            continue
        key, _, value = line.partition("=")
        if key in ("ob", "cob"):
            name = Path(full("ob", value)).name
            thing = name if key == "ob" else thing
        elif key in ("fn", "cfn"):
            name = full("fn", value)
            function = function_name(name, thing, ours) if key == "fn" else function
        inclusive = key == "calls"
    return costs


class Gateway:
    """A gateway under callgrind, in a folder that holds its sluice.yaml."""

    def __init__(self, binary, folder, preload=None):
        self.binary, self.folder = Path(binary).resolve(), folder
        self.dumps = 0
        self.worker = None
        environment = {**os.environ, **SAME_EVERYWHERE, "SLUICE_WATCHDOG_MS": "0",
                       "STATE_DIRECTORY": str(self.folder / "state")}
        if preload:
            environment["LD_PRELOAD"] = str(preload)
        fixed = ["setarch", os.uname().machine, "-R"]  # the same addresses each time
        with open(self.folder / "valgrind.log", "wb") as log:
            self.process = subprocess.Popen(
                [*fixed, "valgrind", "--tool=callgrind", "--separate-threads=yes", "--fair-sched=yes", "--trace-children=yes",
                 f"--vgdb-prefix={self.folder}/vgdb", f"--callgrind-out-file={self.folder}/out.%p",
                 str(self.binary), "-c", str(self.folder / "sluice.yaml"), "run"],
                cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def wait_until(self, ready):
        try:
            until(ready, "sluice did not start", self.process)
        except Failed as failed:
            raise Failed(f"{failed}:\n{(self.folder / 'valgrind.log').read_text()[-3000:]}") from None

    def serving(self):
        """The process that serves: the first starts it and waits."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0]) if children else self.process.pid

    def costs(self):
        """What the worker has run since the last call of this. The first tells which thread that is: the one
        that has gone round its loop most, so let it have calls before."""
        pid = self.serving()
        self.dumps += 1
        asked = subprocess.run(["vgdb", f"--vgdb-prefix={self.folder}/vgdb", f"--pid={pid}", "dump"],
                               capture_output=True, text=True, timeout=DUMP_SECONDS)
        files = list(self.folder.glob(f"out.{pid}.{self.dumps}-{self.worker or '*'}"))
        if asked.returncode or not files:
            raise Failed(f"callgrind gave no figures: {asked.stdout}{asked.stderr}")
        threads = {file.name.rsplit("-", 1)[1]: read_profile(file, self.binary.name) for file in files}
        self.worker = self.worker or max(threads, key=lambda thread: threads[thread][WORKER])
        for file in self.folder.glob(f"out.{pid}.*"):
            file.unlink()
        return threads[self.worker]

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
