# SPDX-License-Identifier: Apache-2.0
"""What every test gets: the upstream and the gateway of its module, watched for crashes."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import harness  # noqa: E402


@pytest.fixture(scope="module")
def upstream():
    with harness.Upstream() as server:
        yield server


@pytest.fixture(scope="module")
def gate(request, upstream):
    """A gateway for the module; CONFIG in the module is laid over the usual configuration, or a
    function `configure(upstream)` gives the whole of it."""
    module = request.module
    if hasattr(module, "configure"):
        config = module.configure(upstream)
    else:
        config = harness.config_for(upstream, **getattr(module, "CONFIG", {}))
    with harness.Sluice(config, env=getattr(module, "ENVIRONMENT", None)) as sluice:
        yield sluice


@pytest.fixture(autouse=True)
def watched(request):
    """Begin with a clean upstream; fail when the gateway died, crashed, or sent it nonsense."""
    names = request.fixturenames
    upstream = request.getfixturevalue("upstream") if "upstream" in names else None
    gate = request.getfixturevalue("gate") if "gate" in names else None
    if upstream:
        upstream.forget()
    yield
    if upstream:
        assert not upstream.violations, f"the gateway broke HTTP upstream: {upstream.violations}"
        assert not upstream.failures, f"the upstream's script failed: {upstream.failures}"
    if gate:
        assert gate.process.poll() is None, f"the gateway ended:\n{gate.log()[-6000:]}"
        trace = gate.crash_trace(news_only=True)
        assert gate.may_crash or not trace, trace


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for gate in list(harness.ALIVE):
            if isinstance(gate, harness.Sluice):
                report.sections.append((f"log of {gate.directory}", gate.log()[-5000:]))
