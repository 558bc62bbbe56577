# SPDX-License-Identifier: Apache-2.0
"""The ledger's disk fills up under load: 503 `ledger_full`, and service again when there is space."""

import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from books import chaos_config, check_books, provider_calls
from harness import Mock, Sluice, config_for, eventually, is_alive
from load import Load, ask, assert_no_nonsense

MODELS = {"plain": "mock/tokens-12", "paced": "mock/rate-100+tokens-30"}
LONG = {"user": "u" * 250}  # long lines, so that the room that was kept in advance is soon gone


@pytest.fixture
def small_disk():
    """A file system of 24 MiB; needs the right to mount, which the tests' container has."""
    folder = tempfile.mkdtemp(prefix="sluice-disk-")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)
    os.rmdir(folder)


def fill(folder):
    path = Path(folder) / "filler"
    with open(path, "wb", buffering=0) as filler:
        for size in (1 << 20, 65536, 4096, 1):
            try:
                while True:
                    filler.write(bytes(size))
            except OSError:
                pass
    return path


def is_ready(gate):
    try:
        return gate.get("/readyz", key=None, timeout=3).status == 200
    except Exception:
        return False


@pytest.mark.parametrize("killed", [False, True], ids=["full", "full-and-killed"])
def test_a_full_disk(small_disk, killed):
    quick = [ask("plain" + "x" * 240, **LONG), ask("plain" + "x" * 240, stream=True, **LONG)]
    asks = 9 * quick + [ask("paced", stream=True)]
    with Mock() as mock:
        config = chaos_config(mock, config_for, MODELS, ledger={"path": f"{small_disk}/ledger"},
                              store={"embedded": {"path": f"{small_disk}/sluice.db"}}, server={"workers": 1})
        config["models"][0]["aliases"] = ["plain*"]
        with Sluice(config) as gate, Load(gate.address(), asks, callers=32, think=0.004) as load:
            eventually(lambda: load.counts[200] > 100)
            filler = fill(small_disk)
            full = time.monotonic()
            eventually(lambda: load.counts[503] > 50, within=120, what="calls are refused")
            refused_after = time.monotonic() - full
            eventually(lambda: not is_ready(gate), what="/readyz says so")
            assert gate.get("/livez", key=None).status == 200
            if killed:
                child = gate.children()[0]
                os.kill(child, signal.SIGKILL)
                eventually(lambda: not is_alive(child))
                time.sleep(2)
                assert gate.process.poll() is None, "the supervisor goes on trying"
            os.unlink(filler)
            begun = time.monotonic()
            before = load.counts[200]
            eventually(lambda: load.counts[200] > before + 200, within=30, what="space again, calls again")
            again_after = time.monotonic() - begun
            eventually(lambda: is_ready(gate), what="/readyz says so, too")
            answers = load.stop()
            assert_no_nonsense(answers)
            refused = [answer for answer in answers if answer.whole and answer.status != 200]
            odd = [a for a in refused if (a.status, a.error["code"]) != (503, "overloaded") or "disk" not in a.error["message"]]
            assert refused and not odd, odd[:3]
            calls = provider_calls(mock)
            made = {call["request_id"] for call in calls}
            assert not [answer for answer in refused if answer.id in made], "refused, and made nevertheless"
            if killed:
                eventually(lambda: sum(entry.is_dir() for entry in Path(small_disk, "ledger").iterdir()) == 1, within=40, every=0.1)
            assert gate.stop() == 0
            outcomes = check_books(gate, calls, answers, lost_allowed=killed)
            assert killed or outcomes["partial"] == 0, outcomes
    print(f"\nrefused after {refused_after:.1f} s, again after {again_after:.1f} s; "
          f"{len(refused)} refused, {len(calls)} made, ledger: {dict(outcomes)}")
