#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`make bench`: what does sluice cost next to a plain reverse proxy, on this machine, right now?

    bench/run.py [--seconds 5] [--rounds 3] [--scenario chat,paced,reload] [--json FILE]

Between a load generator and an upstream stand sluice in several shapes, nginx and haproxy, each with one
worker. They take turns - A B C, C B A, A B C - so that a machine that drifts does so for all of them.
Compare only figures of one run. README.md says what each scenario is.
"""

import argparse
import json
import os
import re
import resource
import shutil
import sys
import tempfile
from pathlib import Path

import rows
from servers import CORES, FILES_MAX, LOADS, SLUICE


def machine():
    model = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    return f"{model[1] if model else os.uname().machine}, {len(CORES)} processors, Linux {os.uname().release}"


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=5, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scenario", default=",".join(rows.SCENARIOS), help="some of the default, with commas between")
    parser.add_argument("--rate", type=int, default=5000, help="calls a second in the scenario rate")
    parser.add_argument("--streams", type=int, default=9500, help="in the scenario held")
    parser.add_argument("--json", help="write all measurements there too")
    return parser.parse_args()


def failed(results):
    """Did a call of sluice's fail? The peers' are in the table."""
    return any(run.get("bad") for table in results.values() for who, runs in table.items() if who.split(",")[0] not in rows.PEERS
               for run in runs)


def main():
    args = options()
    names = args.scenario.split(",")
    if set(names) - set(rows.SCENARIOS):
        sys.exit(f"bench: scenarios are {', '.join(rows.SCENARIOS)}")
    if not SLUICE.exists() or not (LOADS / "load").exists() or not shutil.which("wrk"):
        sys.exit("bench: needs build/sluice, build/bench/load (make all loads) and wrk")
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES_MAX, FILES_MAX))
    args.streams = min(args.streams, (FILES_MAX - 1000) // 2)
    print(machine())
    if len(CORES) < 2:
        print("one processor only: load and proxy share it")
    results = {}
    for name in names:
        words, scenario = rows.SCENARIOS[name]
        with tempfile.TemporaryDirectory(prefix="bench.") as folder:
            results[name] = scenario(f"{name}: {words}", Path(folder), args)
    if args.json:
        Path(args.json).write_text(json.dumps(dict(machine=machine(), results=results), indent=1))
    return 1 if failed(results) else 0


if __name__ == "__main__":
    sys.exit(main())
