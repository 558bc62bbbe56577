# SPDX-License-Identifier: Apache-2.0
"""Each case of dashboard.test.mjs is one here: Chromium against the real program, with calls that were made."""

import re

import pytest
from looking import WEB

NAMES = re.findall(r"^test\('(.+?)',", (WEB / "dashboard.test.mjs").read_text(), re.M)


@pytest.mark.parametrize("name", NAMES)
def test_case(browsed, name):
    assert name in browsed, f"it did not run; those did: {sorted(browsed)}"
    assert browsed[name]["passed"] and not browsed[name]["skipped"], browsed[name]["words"]
