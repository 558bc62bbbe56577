# SPDX-License-Identifier: Apache-2.0
"""docs/OPERATIONS.md: its commands, options, settings, metrics and links are there."""

import re

import harness
import pytest

GUIDE = harness.ROOT / "docs" / "OPERATIONS.md"
TEXT = GUIDE.read_text()
COMMAND = re.compile(r"(?<![-\w/.])sluice (?!sluice)((?:config (?:show|diff|schema)|models ls|[a-z][a-z-]*)(?: --?[a-z]+(?: [\w.,:/-]+)?)*)")


def commands():
    """{command: options} of every `sluice …` in code."""
    code = re.findall(r"^    (.*)$", TEXT, re.M) + re.findall(r"`([^`\n]+)`", TEXT)
    found = {}
    for line in code:
        for match in COMMAND.finditer(line):
            words = match[1].split()
            name = " ".join(word for word in words[: 2 if words[0] in ("config", "models", "keys", "tenants", "limits") else 1])
            found.setdefault(name, set()).update(word for word in words if word.startswith("--"))
    return {name: options for name, options in found.items() if name not in ("apply", "exec", "on")}  # kubectl's, and Redis' of a user


def test_commands_and_options_exist():
    named = commands()
    assert {"check", "drain", "reload", "usage", "hash-key", "status", "config diff", "models ls"} <= set(named)
    for name, options in named.items():
        words = harness.run_cli("help", *name.split())
        assert words.returncode == 0 and words.stdout.startswith(("usage: sluice", f"{name} ")), name
        for option in options:
            assert option in words.stdout, f"sluice {name} {option}"


@pytest.mark.parametrize("block", re.findall(r"^```yaml\n(.*?)^```", TEXT, re.M | re.S))
def test_settings_exist(block, tmp_path):
    if block.startswith("scrape_configs"):
        return
    file = tmp_path / "sluice.yaml"
    file.write_text("version: 1\n" + block)
    words = harness.run_cli("check", file, env={"CREDENTIALS_DIRECTORY": str(tmp_path)}).stderr
    wrong = [line for line in words.splitlines() if "unknown key" in line or "must be" in line]
    assert not wrong, wrong


def test_metrics_exist():
    named = set(re.findall(r"\b(?:sluice|process)_[a-z_]+\b", TEXT))
    assert "sluice_ledger_full" in named
    # With a shared store, though nobody is there, and a deployment: then there are those of both, too.
    store = {"type": "redis", "redis": {"url": "redis://127.0.0.1:1"}}
    deployments = {"models": [{"name": "dep", "command": ["false"], "engine": "vllm"}]}
    config = harness.config_for("http://127.0.0.1:1/v1", store=store, deployments=deployments)
    with harness.Sluice(config) as gate:
        text = gate.get("/metrics", key=None).text
    assert not [name for name in named if f"# TYPE {name} " not in text]


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (GUIDE.parent / target).exists(), target
    headings = [line.lstrip("#")[1:] for line in TEXT.splitlines() if re.match("##+ ", line)]
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= anchors
