# SPDX-License-Identifier: Apache-2.0
"""Where nobody can read what was spent, nothing is served: a budget that begins empty would be spent twice."""

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from harness import Sluice, Upstream, config_for, eventually, tenants
from raw_upstream import chat_body

# A library in front of libc: reads of the database's file fail within the bytes that a file names, while it is there.
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int is_bad(int fd, off_t at)
{
    char link[64], path[4096];
    long long from = 0, to = 0;
    const char *flag = getenv("READS_FAIL");
    FILE *file = flag && access(flag, F_OK) == 0 ? fopen(flag, "r") : NULL;
    if (!file)
        return 0;
    int bad = 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    path[len > 0 ? len : 0] = 0;
    const char *end = strstr(path, "/sluice.db");
    while (end && !end[10] && fscanf(file, "%lld %lld", &from, &to) == 2)
        bad = bad || (at >= from && at < to);
    fclose(file);
    return bad;
}
ssize_t pread(int fd, void *data, size_t bytes, off_t at)
{
    ssize_t (*next)(int, void *, size_t, off_t) = dlsym(RTLD_NEXT, "pread");
    return is_bad(fd, at) ? (errno = EIO, -1) : next(fd, data, bytes, at);
}
ssize_t pread64(int fd, void *data, size_t bytes, off_t at) { return pread(fd, data, bytes, at); }
"""

USAGE = {"prompt_tokens": 5000, "completion_tokens": 2000, "total_tokens": 7000}
BUDGET = 0.05  # USD: some calls that cost 0.013
WORDS = "not started: what limits and budgets have had cannot be read"


@pytest.fixture(scope="module")
def shim():
    folder = Path(tempfile.mkdtemp(prefix="sluice-reads-"))
    (folder / "shim.c").write_text(SHIM)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / "shim.so", folder / "shim.c", "-ldl"], check=True)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def gate(shim):
    """One that has spent what it may, has ended, and is started again by the test."""
    people = tenants()
    people[0]["budget"] = {"amount": f"{BUDGET} USD", "period": "month"}
    flag = shim / "bad"
    flag.unlink(missing_ok=True)
    env = {"LD_PRELOAD": str(shim / "shim.so"), "READS_FAIL": str(flag), "ASAN_OPTIONS": "verify_asan_link_order=0"}
    with Upstream() as upstream, Sluice(config_for(upstream, tenants=people), env=env) as gate:
        gate.flag = flag
        upstream.answer = lambda call: call.respond(200, chat_body(usage=USAGE))
        assert gate.chat(max_tokens=7).status == 200
        eventually(lambda: gate.chat(max_tokens=7).status == 429)
        assert gate.stop() == 0
        yield gate


def refused(gate):
    answer = gate.chat(max_tokens=7)
    assert answer.status == 429 and answer.error["code"] == "insufficient_quota", answer


def sums(gate):
    """The bytes of the database that the sums of the ledger begin in."""
    [size] = gate.sql("PRAGMA page_size")
    roots = gate.sql("SELECT rootpage FROM sqlite_schema WHERE name GLOB 'rollup_*'")
    assert roots
    return [((root["rootpage"] - 1) * size["page_size"], root["rootpage"] * size["page_size"]) for root in roots]


def begins_not(gate):
    before = len(gate.log())
    gate.start(wait=False)
    assert gate.process.wait(30) != 0
    gate.stop()
    return gate.log()[before:]


def test_a_start_that_cannot_read_what_was_spent(gate):
    gate.flag.write_text("".join(f"{begin} {end}\n" for begin, end in sums(gate)))
    said = begins_not(gate)
    assert WORDS in said and "disk I/O error" in said and "aside" not in said, said
    gate.flag.unlink()
    gate.start()
    refused(gate)


def test_a_service_that_is_replaced_waits_until_it_can_be_read(gate):
    gate.start()
    gate.flag.write_text("".join(f"{begin} {end}\n" for begin, end in sums(gate)))
    gate.may_crash = True
    os.kill(gate.worker_pid, signal.SIGKILL)
    eventually(lambda: gate.log().count(WORDS) >= 2, 20, what="its successors cannot begin")
    gate.flag.unlink()
    gate.wait_ready()
    refused(gate)
    assert "aside" not in gate.log()


def test_a_damage_that_is_found_by_then_is_no_reason_to_begin_empty_unseen(gate):
    parts = sums(gate)
    with open(gate.state / "sluice.db", "r+b") as file:
        for begin, end in parts:
            file.seek(begin)
            file.write(b"\x5a" * (end - begin))
    said = begins_not(gate)
    assert WORDS in said and "the next start moves the database aside" in said, said
    gate.start()
    assert "is damaged; it was moved to" in gate.log()
