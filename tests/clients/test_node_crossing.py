# SPDX-License-Identifier: Apache-2.0
"""The SDKs for Node that speak other dialects: each case of their files in node/ is one here."""

import pytest
from crossing import gate, root, second  # noqa: F401
from harness import KEY_ACME, KEY_WRONG
from node_runner import cases, check


@pytest.mark.parametrize("file, name", cases("dialects.test.mjs") + cases("embedders.test.mjs"))
def test_sdks_of_other_dialects(root, file, name):
    check(file, name, SLUICE_ROOT=root, KEY_ACME=KEY_ACME, KEY_WRONG=KEY_WRONG)
