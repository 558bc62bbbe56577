# SPDX-License-Identifier: Apache-2.0
"""One gateway for the whole suite, an upstream that notes what reaches it, a canary."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import harness  # noqa: E402


def configure(upstream):
    config = harness.config_for(upstream, server={
        "limits": {"max_body_bytes": "1MiB", "max_upload_bytes": "1MiB"},
        "timeouts": {"client_header": "5s", "client_body": {"total": "5s", "min_rate": "64KiB"}, "client_idle": "5s"},
    })
    config["models"] = [harness.model_for("fast"), harness.model_for("slow", model="other-model")]
    return config


@pytest.fixture(scope="session")
def upstream():
    with harness.Upstream() as server:
        yield server


@pytest.fixture(scope="session")
def canary():
    with harness.Upstream() as server:
        yield server


@pytest.fixture(scope="session")
def gate(upstream):
    with harness.Sluice(configure(upstream)) as sluice:
        yield sluice


@pytest.fixture(autouse=True)
def watched(gate, upstream):
    """Each case is watched by the suite itself; here only that the gateway lives."""
    upstream.forget()
    yield
    assert not upstream.failures, upstream.failures
    assert gate.process.poll() is None, f"the gateway ended:\n{gate.log()[-6000:]}"


@pytest.fixture(scope="module", autouse=True)
def family(gate, upstream, canary):
    """Behind each family: the service serves on, nothing crashed, nobody called the canary."""
    yield
    for _ in range(10):
        assert gate.chat().status == 200, "the service does not serve on"
    trace = gate.crash_trace()
    assert not trace, trace
    assert not [line for line in gate.log_lines() if line.get("level") == "error"], "an error was logged"
    assert not canary.connections, "somebody connected to the canary"
    harness.eventually(lambda: gate.metric("sluice_inflight_requests") == 0, what="no request hangs")
