# SPDX-License-Identifier: Apache-2.0
"""What the documentation tells people to type works as it stands: only address and key are put in."""

import os
import re
import subprocess
import sys

import pytest
from harness import KEY_ACME, ROOT
from node_runner import NODE, installed

HERE = "http://127.0.0.1:8080"
RUN = {"python": [sys.executable, "-"], "js": ["node", "--input-type=module", "-"], "curl": ["bash", "-s"]}


def snippets():
    """(language, text) of each block of CLIENTS.md, and of README.md's first steps."""
    for name in ("docs/CLIENTS.md", "README.md"):
        words = (ROOT / name).read_text()
        blocks = re.findall(r"^```(python|js)\n(.*?)^```", words, re.M | re.S)
        blocks += [("curl", block) for block in re.findall(r"^    curl .*\n(?:      .*\n)*", words, re.M)]
        title = name.rpartition("/")[2]
        for number, (language, text) in enumerate(blocks):
            yield pytest.param(language, text, id=f"{title}-{language}-{number}")


@pytest.mark.parametrize("language, text", list(snippets()))
def test_a_snippet(base_url, mock, language, text):
    assert HERE in text
    text = text.replace(HERE, base_url.removesuffix("/v1"))
    if language == "curl" and "Authorization" not in text:
        text = text.replace("curl ", f"curl -H 'Authorization: Bearer {KEY_ACME}' ", 1)
    text = re.sub(r"""(["'])any\1""", f"'{KEY_ACME}'", text).replace("Bearer any", f"Bearer {KEY_ACME}")
    if language == "js":
        installed()
    done = subprocess.run(RUN[language], input=text, text=True, capture_output=True, timeout=60, cwd=NODE,
                          env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")})
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(done.stdout.split()) > 3 and '"error"' not in done.stdout, done.stdout[-3000:]
    assert mock.stats("mock")["whole"] >= 1
