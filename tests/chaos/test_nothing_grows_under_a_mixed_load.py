# SPDX-License-Identifier: Apache-2.0
"""A minute of bench/soak.py: what was taken while it served all kinds of calls is given back."""

import os
import subprocess
import sys

from harness import BINARY, ROOT, SANITIZED

# What is met for the first time is made while it is measured (histograms, series, pages of the database):
# an hour of `make bench-soak` knows more of slow leaks, this one of quick ones.
FIRST_TIMES_MIB = 1000 if SANITIZED else 4  # a sanitizer keeps what was freed, and finds leaks by itself


def test_what_a_mixed_load_took_is_given_back():
    words = ["--minutes", "1", "--rate", "40" if SANITIZED else "100", "--slack", str(FIRST_TIMES_MIB)]
    done = subprocess.run([sys.executable, ROOT / "bench" / "soak.py", *words], env=dict(os.environ, SLUICE_BINARY=BINARY),
                          capture_output=True, text=True, timeout=280)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
