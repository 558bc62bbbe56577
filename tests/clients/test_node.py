# SPDX-License-Identifier: Apache-2.0
"""The SDKs for Node against the mock: each case of node/*.test.mjs is one here."""

import pytest
from harness import KEY_ACME, KEY_GLOBEX, KEY_WRONG
from node_runner import cases, check


@pytest.fixture(scope="module")
def world(base_url, tls_url, authority, mock):
    return {"SLUICE_URL": base_url, "SLUICE_TLS_URL": tls_url, "NODE_EXTRA_CA_CERTS": str(authority.file),
            "MOCK_URL": mock.url.removesuffix("/v1"), "KEY_ACME": KEY_ACME, "KEY_GLOBEX": KEY_GLOBEX,
            "KEY_WRONG": KEY_WRONG}


@pytest.mark.parametrize("file, name", cases("openai.test.mjs"))
def test_openai_for_node(world, gate, file, name):
    check(file, name, **world)


@pytest.mark.parametrize("file, name", cases("ai_sdk.test.mjs"))
def test_the_vercel_ai_sdk(world, gate, file, name):
    check(file, name, **world)
