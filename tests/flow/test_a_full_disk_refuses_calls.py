# SPDX-License-Identifier: Apache-2.0
"""No room for the ledger: calls are refused with 503, not made and forgotten."""

import os
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest
from harness import Background, Sluice, chat_chunk, chat_request, config_for, eventually


# Where nothing can be mounted: a library in front of libc that says ENOSPC while a file is there.
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static int is_full(int fd)
{
    struct stat file;
    const char *flag = getenv("DISK_IS_FULL");
    return fd > 2 && flag && access(flag, F_OK) == 0 && fstat(fd, &file) == 0 && S_ISREG(file.st_mode);
}
int posix_fallocate(int fd, off_t at, off_t bytes)
{
    int (*next)(int, off_t, off_t) = dlsym(RTLD_NEXT, "posix_fallocate");
    return is_full(fd) ? ENOSPC : next(fd, at, bytes);
}
int posix_fallocate64(int fd, off_t at, off_t bytes) { return posix_fallocate(fd, at, bytes); }
int fallocate(int fd, int mode, off_t at, off_t bytes)
{
    int (*next)(int, int, off_t, off_t) = dlsym(RTLD_NEXT, "fallocate");
    return is_full(fd) ? (errno = ENOSPC, -1) : next(fd, mode, at, bytes);
}
int fallocate64(int fd, int mode, off_t at, off_t bytes) { return fallocate(fd, mode, at, bytes); }
ssize_t pwrite(int fd, const void *data, size_t bytes, off_t at)
{
    ssize_t (*next)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, "pwrite");
    return is_full(fd) ? (errno = ENOSPC, -1) : next(fd, data, bytes, at);
}
ssize_t pwrite64(int fd, const void *data, size_t bytes, off_t at) { return pwrite(fd, data, bytes, at); }
"""


class Disk:
    """A folder whose disk can be filled and emptied."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="sluice-disk-")
        self.flag = self.folder + ".full"
        mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", self.folder]
        self.is_mounted = subprocess.run(mount, capture_output=True).returncode == 0
        self.env = {}
        if not self.is_mounted:
            source, library = self.folder + ".c", self.folder + ".so"
            Path(source).write_text(SHIM)
            subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
            self.env = {"LD_PRELOAD": library, "DISK_IS_FULL": self.flag, "ASAN_OPTIONS": "verify_asan_link_order=0"}

    def fill(self):
        Path(self.flag).touch()
        if not self.is_mounted:
            return
        with open(self.folder + "/filler", "wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(65536))
            except OSError:
                pass

    def make_room(self):
        os.unlink(self.flag)
        if self.is_mounted:
            os.unlink(self.folder + "/filler")

    def end(self):
        if self.is_mounted:
            subprocess.run(["umount", "-l", self.folder], check=True)
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def disk():
    made = Disk()
    yield made
    made.end()


def start(upstream, disk):
    return Sluice(config_for(upstream, ledger={"path": f"{disk.folder}/ledger"}, server={"workers": 1},
                             store={"embedded": {"path": f"{disk.folder}/sluice.db"}}), env=disk.env)


def test_a_full_disk(upstream, disk):
    with start(upstream, disk) as gate:
        assert gate.chat().status == 200
        disk.fill()
        seen = []

        def use_up():
            """Long lines, so that the room that was kept in advance is soon gone."""
            body = {"model": "fa" + "x" * 250, "user": "u" * 250, "messages": []}
            with gate.connect() as client:
                while 503 not in seen and len(seen) < 50_000:
                    answer = client.send(chat_request(body)).read_response()
                    seen.append(answer.status)
                    if answer.status != 200:
                        return answer

        users = [Background(use_up) for _ in range(4)]
        answer = next(filter(None, [user.result(100) for user in users]))
        assert answer.status == 503 and answer.error["code"] == "overloaded", answer
        eventually(lambda: gate.chat().status == 503, within=30, every=0, what="no room for a short line either")
        before = len(upstream.calls)
        assert gate.chat().status == 503 and len(upstream.calls) == before, "refused, and not made"
        eventually(lambda: gate.get("/readyz", key=None).status == 503, what="/readyz says so")
        assert gate.get("/livez", key=None).status == 200
        disk.make_room()
        eventually(lambda: gate.chat().status == 200, within=30, what="room again, calls again")
        assert gate.usage_total("requests", outcome="complete") >= seen.count(200) + 1


def test_open_calls_are_settled_on_a_full_disk(upstream, disk):
    """Room for the end of a call is kept from its beginning."""

    go = threading.Event()

    def hold(call):
        call.begin_stream()
        call.event(chat_chunk({"content": "x"}))
        go.wait(60)
        call.event("[DONE]")
        call.end_stream()

    with start(upstream, disk) as gate:
        upstream.answer = hold
        streams = [gate.open_stream() for _ in range(20)]
        disk.fill()
        go.set()
        for client, response in streams:
            with client:
                assert b"".join(client.pieces(response)).endswith(b"[DONE]\n\n")
        disk.make_room()
        for _, response in streams:
            assert gate.ledger_row(response.header("x-request-id"), within=30)["outcome"] == "complete"
