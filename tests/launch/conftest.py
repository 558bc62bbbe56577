# SPDX-License-Identifier: Apache-2.0
"""The launchers of deployments, each against what it launches with; see driver.py and engine.py."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from driver import Driver  # noqa: E402
from engine import Engine  # noqa: E402


@pytest.fixture(scope="module", params=["docker", "podman"])
def engine(request):
    with Engine(request.param) as running:
        yield running


@pytest.fixture
def launcher(engine, request):
    """One that has looked; what it has started is removed afterwards."""
    with Driver("docker", endpoint=engine.endpoint) as driver:
        driver.wait_looked(True)
        yield driver
    for each in engine.containers():
        engine.ask("DELETE", f"/containers/{each['Id']}?force=true&v=true")
