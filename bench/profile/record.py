#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`make profile`: how often does each branch of the program go which way when usual calls come?

A copy of the sources is built so that it counts, and serves the rows of bench/guard, some scenarios of
bench/run.py and a minute of bench/soak.py. What it has counted goes to bench/profile/gcc-N.tar.gz, from which
`make` optimises: bench/README.md says more.
"""

import gzip
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "bench" / "guard"))

import callgrind  # noqa: E402
import measure  # noqa: E402
import rows  # noqa: E402

SCENARIOS = "chat,large,cold,stream,hit,tls,handshakes,paced,rate"
UNITS = 3000  # of each row
STOP_SECONDS = 60


class Gateway:
    """As that of callgrind, but by itself."""

    def __init__(self, binary, folder, _preload=None):
        self.folder = folder
        environment = {**os.environ, "SLUICE_WATCHDOG_MS": "0", "STATE_DIRECTORY": str(folder / "state")}
        with open(folder / "log", "wb") as log:
            self.process = subprocess.Popen([binary, "-c", folder / "sluice.yaml", "run"], cwd=folder, env=environment,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def wait_until(self, ready):
        callgrind.until(ready, "sluice did not start", self.process)

    def close(self):
        self.process.terminate()  # what it has counted is written when it ends in peace
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def copy_sources(folder):
    """What git knows of, and nothing that has been built; the program's names must be as in any other build."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    for name in names.decode().split("\0")[:-1]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)


def serve_rows(binary):
    for row in rows.ROWS:
        with measure.Bench(binary, row.store, gateway=Gateway) as bench:
            if row.prepare:
                row.prepare(bench.client, bench.provider)
            for _ in range(UNITS // row.sizes[1] + 1):
                row.batch(bench.client, bench.provider, row.sizes[1])
        print(f"served: {row.name}", flush=True)


def pack(counted, archive):
    """The same counts give the same bytes."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(counted.rglob("*.gcda")):
            data = path.read_bytes()
            entry = tarfile.TarInfo(str(path.relative_to(counted)))
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    with open(archive, "wb") as file, gzip.GzipFile("", "wb", 9, file, 0) as packed:
        packed.write(plain.getvalue())


def main():
    version = subprocess.run(["gcc", "-dumpversion"], capture_output=True, text=True, check=True).stdout.split(".")[0].strip()
    with tempfile.TemporaryDirectory(prefix="profile.") as name:
        folder = Path(name)
        copy_sources(folder)
        subprocess.run(["make", "PROFILE=record", "all", "loads"], cwd=folder, check=True)
        build = folder / "build"
        environment = {**os.environ, "SLUICE_BINARY": str(build / "sluice")}
        serve_rows(build / "sluice")
        subprocess.run([sys.executable, "bench/run.py", "--rounds", "1", "--seconds", "2", "--scenario", SCENARIOS],
                       cwd=folder, env=environment, check=True)
        # Its verdict is about memory, which counting takes.
        subprocess.run([sys.executable, "bench/soak.py", "--minutes", "1", "--rate", "60"], cwd=folder, env=environment, check=False)
        archive = HERE / f"gcc-{version}.tar.gz"
        pack(build, archive)
        print(f"wrote {archive.relative_to(ROOT)}, {archive.stat().st_size} bytes")


if __name__ == "__main__":
    main()
