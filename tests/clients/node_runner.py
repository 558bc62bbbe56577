# SPDX-License-Identifier: Apache-2.0
"""Runs a file of node/ and tells how each of its cases ended, so that each is a case here."""

import functools
import hashlib
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

NODE = Path(__file__).parent / "node"
FILE_SECONDS = 120
# test('name', ...), also with `${…}` in its name; such a case is one for each name that was run.
CASE = re.compile(r"^ *test\((['`])(.+?)\1,", re.M)
OTHERS = re.compile(r"(?i)openai_|node_|ai_|.*_proxy$")  # what is not for a test to know


def installed():
    """`npm ci`, once for each lock file."""
    mark = hashlib.sha256((NODE / "package-lock.json").read_bytes()).hexdigest()
    stamp = NODE / "node_modules" / ".stamp"
    if not stamp.exists() or stamp.read_text() != mark:
        done = subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=NODE, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=170)
        assert done.returncode == 0, done.stdout[-4000:]
        stamp.write_text(mark)


@functools.cache
def _run(file, environment):
    installed()
    keep = {name: value for name, value in os.environ.items() if not OTHERS.match(name)}
    done = subprocess.run(["node", f"--test-reporter={NODE / 'lines.mjs'}", file], cwd=NODE, text=True,
                          timeout=FILE_SECONDS, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=keep | dict(environment))
    results = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"name":')]
    assert results, f"{file} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return results


def cases(file):
    """Every case of a file as a parameter: its name as it is written."""
    names = [name for _, name in CASE.findall((NODE / file).read_text())]
    assert names and len(names) == len(set(names)), file
    return [pytest.param(file, name, id=name) for name in names]


def check(file, name, **environment):
    """Fail unless the case ran (the file runs once for each environment) and passed."""
    results = _run(file, tuple(sorted(environment.items())))
    pattern = re.compile(".+".join(map(re.escape, re.split(r"\$\{.*?\}", name))))
    ours = [result for result in results if pattern.fullmatch(result["name"])]
    assert ours, f"it did not run; those did: {sorted(result['name'] for result in results)}"
    bad = [f"{result['name']}\n{result['words']}" for result in ours if not result["passed"] or result["skipped"]]
    assert not bad, "\n".join(bad)
