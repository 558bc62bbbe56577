# SPDX-License-Identifier: Apache-2.0
"""The Redis client against real servers; see driver.py and ../redis_servers.py."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from redis_servers import Redis  # noqa: E402


@pytest.fixture(scope="module")
def redis():
    with Redis() as server:
        yield server
