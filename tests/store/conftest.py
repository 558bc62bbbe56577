# SPDX-License-Identifier: Apache-2.0
"""The counters that replicas share in Redis: the scripts by themselves (scripts.py), and nodes that
reserve and settle against real servers (nodes.py)."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from nodes import Redis  # noqa: E402


@pytest.fixture
def redis():
    with Redis() as server:
        yield server
