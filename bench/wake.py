#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How long is it from the moment a model server says for the first time that it is well until the first call that waited reaches it?

    bench/wake.py [WAKES]

Starts build/sluice with a deployment of build/tests/fakellm that sleeps, and wakes it, so often, each time with 50 calls that wait. The server itself takes both times, on one
clock: sluice's probe has been answered, the first call has come. Needs `make all fakes` and the packages of the tests.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
os.environ.setdefault("SLUICE_BINARY", str(ROOT / "build" / "sluice"))

from deployed import Desk, deployed, server_for  # noqa: E402
from harness import Background, Sluice  # noqa: E402

CALLS = 50


def main(wakes=60):
    server = server_for("qwen", "--load-ms", 200, scaling={"parallel": 8, "min": 0}, stop={"drain": "1s", "grace": "500ms"}, hold={"timeout": "50s"})
    waits = []
    for _ in range(wakes):
        with Sluice(deployed(server)) as gate:
            calls = [Background(lambda: gate.chat("qwen", options={"timeout": 60})) for _ in range(CALLS)]
            assert all(call.result().status == 200 for call in calls)
            [stats] = Desk(gate).stats()
            waits.append(stats["waited_us"])
    waits.sort()
    print(f"{wakes} wakes, {CALLS} calls wait at each: from the first good probe to the first call, ms: "
          f"median {waits[wakes // 2] / 1000:.1f}, p90 {waits[wakes * 9 // 10] / 1000:.1f}, most {waits[-1] / 1000:.1f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
