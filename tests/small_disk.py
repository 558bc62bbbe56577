# SPDX-License-Identifier: Apache-2.0
"""A folder whose disk can be filled and emptied."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

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
ssize_t write(int fd, const void *data, size_t bytes)
{
    ssize_t (*next)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    return is_full(fd) ? (errno = ENOSPC, -1) : next(fd, data, bytes);
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
