# SPDX-License-Identifier: Apache-2.0
"""Gateways that a browser looks at."""

import http.server
import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import world  # noqa: E402
from harness import free_port  # noqa: E402
from looking import CALLS, Control, address, fill, provider, run  # noqa: E402


@pytest.fixture(scope="session")
def used():
    with world.start() as gate:
        fill(gate)
        yield gate


@pytest.fixture(scope="session")
def read_only():
    with world.start(read_only=True) as gate:
        yield gate


@pytest.fixture(scope="session")
def control(used):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Control)
    server.gate = used
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="session")
def by_oidc():
    """One that an OpenID provider signs in to."""
    port = free_port()
    with provider([f"http://127.0.0.1:{port}/ui/oidc/callback"]) as issuer, world.start(port=port, oidc={
            "issuer": issuer, "client_id": "basic", "client_secret": "a secret + / with % signs", "role_claim": "roles",
            "scopes": ["openid", "profile", "email", "groups"]}) as gate:
        yield gate


@pytest.fixture(scope="session")
def browsed(used, read_only, by_oidc, control):
    """How the cases of dashboard.test.mjs ended, by name."""
    results = run((("URL", address(used, "ops") + "/ui/"), ("API", address(used, "api")), ("READ_ONLY_URL", address(read_only, "ops") + "/ui/"),
                   ("OIDC_URL", address(by_oidc, "ops") + "/ui/"), ("CONTROL", control), ("ADMIN", world.ADMIN), ("VIEWER", world.VIEWER), ("LEAD", world.LEAD),
                   ("CLIENT", world.KEYS["acme-web"]), ("CALLS", str(sum(count for _, _, count in CALLS)))))
    return {result["name"]: result for result in results}
