# SPDX-License-Identifier: Apache-2.0
"""`sluice simulate` plays scenarios around the gateway's own picker."""

import json

import pytest
from harness import ROOT, run_cli

SMALL = """
name: small
judged: misses
objective: 1s
calls: {per_minute: 6000, for: 40s, input_tokens: 100}
answers: [{tokens: 20}]
targets:
- {first_token: 200ms, token: 1ms, count: 3, price: {output: 1}}
- {first_token: 200ms, token: 1ms, price: {output: 1}, trouble: {kind: slow, from: 10s, until: 30s, takes: 3s}}
routing:
  policies:
  - {name: blind, strategy: round_robin}
"""


def play(path, *args):
    done = run_cli("simulate", str(path), "--json", "--seeds", "3", *args)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(name="small")
def small_scenario(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


def test_the_built_in_policy_avoids_the_slow_target_and_round_robin_does_not(small):
    [game] = play(small, "--against", "round-robin,tower")
    ours, blind, tower = game["pickers"]
    assert (ours["picker"], blind["picker"], tower["picker"]) == ("sluice", "round-robin", "tower")
    assert blind["within"] < 0.92 and ours["within"] > 0.98
    assert blind["ours"] == "better" and blind["high"] < 0
    assert ours["calls"] == blind["calls"] > 3 * 3000


def test_the_same_seeds_give_the_same_figures(small):
    assert play(small) == play(small)
    assert play(small, "--first-seed", "9") != play(small)


def test_a_policy_of_the_scenario_is_read_as_in_a_configuration(small):
    [game] = play(small, "--policy", "blind", "--against", "round-robin")
    ours, rival = game["pickers"]
    assert abs(ours["within"] - rival["within"]) < 0.01


def test_a_table_names_the_verdict(small):
    done = run_cli("simulate", str(small), "--seeds", "3", "--against", "kong,round-robin")
    assert done.returncode == 0
    assert "kong" in done.stdout and "better -" in done.stdout


@pytest.mark.parametrize(
    "change, words",
    [
        (("name: small", "nam: small"), 'did you mean "name"'),
        (("judged: misses", "judged: mises"), "misses"),
        (("strategy: round_robin", "strategy: round_robbin"), "round_robin"),
        (("count: 3", "count: 65"), "at most 64 targets"),
        (("per_minute: 6000", "per_minute: 10000000, burst_times: 100"), "calls"),
    ],
)
def test_what_is_wrong_with_a_scenario_is_said(tmp_path, change, words):
    path = tmp_path / "wrong.yaml"
    path.write_text(SMALL.replace(*change))
    done = run_cli("simulate", str(path))
    assert done.returncode == 1
    assert words in done.stderr and "wrong.yaml:" in done.stderr


def test_names_that_nobody_has_are_refused(small):
    assert 'did you mean tower' in run_cli("simulate", str(small), "--against", "towr").stderr
    assert "no policy" in run_cli("simulate", str(small), "--policy", "none-such").stderr
    assert run_cli("simulate").returncode == 2


def test_all_scenarios_of_the_bench_can_be_read(tmp_path):
    paths = sorted((ROOT / "bench" / "scenarios").glob("*.yaml"))
    assert len(paths) >= 10
    for path in paths:
        short = tmp_path / path.name
        text = path.read_text()
        start = text.index("for: ") + len("for: ")
        end = min(text.index(mark, start) for mark in ",}" if mark in text[start:])
        short.write_text(text[:start] + "70s" + text[end:])
        [game] = play(short, "--seeds", "1", "--against", "random")
        assert game["pickers"][0]["calls"] > 0
