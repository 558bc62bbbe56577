# SPDX-License-Identifier: Apache-2.0
"""Every case of every table, one connection each.

    python3 -m pytest tests/hostile -k F014          one case
"""

import importlib

import pytest
from asking import judge

FAMILIES = ("framing", "chunks", "host", "headers", "path", "method", "json", "credentials", "ssrf", "media", "pipeline")
CANARY = b"CANARYX-ADDRESS"
CASES = [case for name in FAMILIES for case in importlib.import_module(f"cases_{name}").CASES]
assert len(CASES) > 900 and len({case.id for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_case(gate, upstream, canary, case):
    at = f"127.0.0.1:{canary.port}".encode()
    assert len(at) == len(CANARY)
    judge(case, case.data.replace(CANARY, at), gate, upstream)
