# SPDX-License-Identifier: Apache-2.0
"""`sluice usage rerate`: the difference is shown, then applied, beside a running gateway and without one."""

import json

import pytest
from harness import Sluice, Upstream, config_for, run_cli

pytestmark = pytest.mark.threads
OLD, NEW = 11 * 1000 + 7 * 4000, 11 * 2000 + 7 * 8000  # nano-dollars of the usual answer


@pytest.fixture()
def used():
    with Upstream() as upstream, Sluice(config_for(upstream)) as gate:
        for model in ["fast", "fast", "quick", "slow"]:
            assert gate.chat(model).status == 200
        yield gate


def prices(gate, text):
    path = gate.directory / "prices"
    path.write_text(text)
    return path


def command(gate, *options):
    return run_cli("-c", gate.file, "usage", "rerate", *options, env=gate.env)


def rerate(gate, *options, since="1h"):
    done = command(gate, "--since", since, "--format", "json", *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def costs(gate):
    return {row["model"]: row["cost_nanos"] for row in gate.usage(by="model")}


@pytest.mark.parametrize("running", [True, False])
def test_the_difference_is_shown_and_then_applied(used, running):
    if not running:
        used.stop()
    path = prices(used, "# what it should have been\nfast-1: {input: 2, output: 8}\n")
    shown, words = rerate(used, "--prices", path)
    assert shown == {"applied": False, "unpriced": 1, "models": [
        {"model": "fast", "calls": 2, "changed": 2, "old_nanos": 2 * OLD, "new_nanos": 2 * NEW},
        {"model": "quick", "calls": 1, "changed": 1, "old_nanos": OLD, "new_nanos": NEW}]}
    assert "nothing was changed" in words and "1 calls have no price" in words
    assert costs(used) == {"fast": 2 * OLD, "quick": OLD, "slow": OLD}
    applied, words = rerate(used, "--prices", path, "--apply", "--why", "the contract of May")
    assert applied["applied"] and "3 calls were changed" in words
    assert costs(used) == {"fast": 2 * NEW, "quick": NEW, "slow": OLD}
    rows = used.sql("SELECT * FROM rerated ORDER BY row")
    assert [(row["old_cost_nanos"], row["new_cost_nanos"], row["why"]) for row in rows] == [
        (OLD, NEW, "the contract of May")] * 3
    assert all(row["old_version"] != row["new_version"] for row in rows)
    assert sorted(row["cost_nanos"] for row in used.ledger_rows()) == [OLD, NEW, NEW, NEW]
    again, words = rerate(used, "--prices", path, "--apply")
    assert [model["changed"] for model in again["models"]] == [0, 0]
    assert len(used.sql("SELECT * FROM rerated")) == 3
    if not running:
        used.start()


def test_a_running_gateway_counts_on(used):
    rerate(used, "--prices", prices(used, '{"fast-1": {"input": 2, "output": 8}}'), "--apply")
    assert used.chat("fast").status == 200
    assert costs(used) == {"fast": 2 * NEW + OLD, "quick": NEW, "slow": OLD}


def test_other_names_and_times(used):
    by_model = prices(used, "other-model: {input: 0, output: 1}\n")
    shown, _ = rerate(used, "--prices", by_model)
    assert [model["model"] for model in shown["models"]] == ["slow"]
    by_alias = prices(used, "quick: {request: 1}\n")
    shown, _ = rerate(used, "--prices", by_alias)
    assert [(model["model"], model["new_nanos"]) for model in shown["models"]] == [("quick", 1_000_000_000)]
    _, words = rerate(used, "--prices", by_alias, "--until", "30m")
    assert "no call of this time" in words
    _, words = rerate(used, "--prices", by_alias, since="2020-01-01")
    assert "single calls are kept since" in words


@pytest.mark.parametrize("text, words", [
    ("fast-1: {inputs: 2}\n", 'did you mean "input"'),
    ("fast-1: 3\n", "a price is a mapping"),
    ("fast-1: {input: dear}\n", "decimal number"),
    ("fast-1: {input: -1}\n", "decimal number"),
    ("fast-1: {}\n", "a price is a mapping"),
    ("[1, 2]\n", "mapping"),
    ("", "there is no price in it"),
    ("fast-1: {input: 1\n", "")])
def test_a_bad_file_says_where(used, text, words):
    path = prices(used, text)
    done = command(used, "--prices", path, "--since", "1h")
    assert done.returncode == 1 and f"{path}" in done.stderr and words in done.stderr, done.stderr


def test_what_is_needed_is_said(used):
    path = prices(used, "fast-1: {input: 1}\n")
    for options, words in [(["--since", "1h"], "--prices FILE"), (["--prices", path], "--since"),
                           (["--prices", path, "--since", "soon"], "is no time"),
                           (["--prices", path, "--since", "1h", "--format", "xml"], "--format")]:
        done = command(used, *options)
        assert done.returncode == 2 and words in done.stderr, done.stderr
    done = command(used, "--prices", "/nowhere", "--since", "1h")
    assert done.returncode == 1 and "cannot be read" in done.stderr
