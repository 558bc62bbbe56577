# SPDX-License-Identifier: Apache-2.0
"""Configurations of LiteLLM, Bifrost and Portkey become files that `sluice check` accepts, and that serve.

A case is a folder of tests/cases/convert, named by the gateway: `input`, what is written to stdout (`output`) and to
stderr (`words`). What must not be repeated has "not-for-you" in it.
"""

import re
import subprocess
from pathlib import Path

import pytest
from harness import BINARY, Mock, Sluice, clean_environment, free_port, run_cli, sha256_hash

ROOT = Path(__file__).resolve().parents[2]
CASES = sorted(folder.name for folder in (ROOT / "tests/cases/convert").iterdir())


def convert(gateway, file):
    return subprocess.run([BINARY, "config", "convert", gateway, file], cwd=ROOT, env=clean_environment(),
                          capture_output=True, text=True, timeout=60)


def variables_of(yaml):
    """What the user is told to set, and what the other file took from the environment."""
    values = {}
    for name in set(re.findall(r"\$\{(\w+)\}", re.sub(r"\$\$", "", yaml))):
        values[name] = sha256_hash(name) if name.endswith("_HASH") else "http://127.0.0.1:1/v1" if name.endswith("_URL") else "x"
    return values


@pytest.mark.parametrize("case", CASES)
def test_a_case(case, tmp_path):
    folder = Path("tests/cases/convert") / case
    done = convert(case.split("-")[0], folder / "input")
    assert done.returncode == 0, done
    assert done.stdout == (ROOT / folder / "output").read_text()
    assert done.stderr == (ROOT / folder / "words").read_text()
    assert "not-for-you" in (ROOT / folder / "input").read_text()
    assert "not-for-you" not in done.stdout + done.stderr
    file = tmp_path / "sluice.yaml"
    file.write_text(done.stdout)
    checked = run_cli("check", file, env={"STATE_DIRECTORY": str(tmp_path), **variables_of(done.stdout)})
    assert checked.returncode == 0, checked


# What is taken over, or is always so: the other settings must be told of.
TAKEN = """routing_strategy num_retries cooldown_time cache_responses disable_cooldowns redis_host redis_port redis_password
model_group_alias fallbacks default_fallbacks drop_params request_timeout json_logs set_verbose callbacks cache_params max_budget
budget_duration max_parallel_requests max_request_size_mb maximum_spend_logs_retention_period reject_clientside_metadata_tags
background_health_checks""".split()


@pytest.mark.parametrize("case", ["litellm", "litellm-settings"])
def test_no_setting_of_litellms_is_left_out_in_silence(case):
    folder = ROOT / "tests/cases/convert" / case
    words, section = (folder / "words").read_text(), ""
    walked = ("router_settings", "litellm_settings", "general_settings")
    for number, line in enumerate((folder / "input").read_text().splitlines(), 1):
        if match := re.match(r"(\w+):", line):
            section = match[1]
            assert section in ("model_list", *walked) or f":{number}: {section}: left out" in words, line
        elif section in walked and (match := re.match(r"  (\w+):", line)):
            assert match[1] in TAKEN or f":{number}: {section}/{match[1]}" in words, line


HOSTILE = {
    "control characters": 'model_list:\n  - "a\\u001b[31mb": 1\nrouter_settings: {"\\u001b[2Jx": 1}\n',
    "everything of another kind": "model_list: {a: 1}\nrouter_settings: [1]\nlitellm_settings: text\ngeneral_settings: [[]]\n",
    "lists of another kind": "model_list: [[1], {litellm_params: [a]}, {model_name: [x], litellm_params: {model: {a: 1}}}]\n"
                             "router_settings: {fallbacks: {a: b}, model_group_alias: [x], routing_strategy: [1]}\n"
                             "litellm_settings: {callbacks: {a: 1}, cache_params: [1], default_fallbacks: {a: [b]}}\n",
    "a name that ends the comment": "model_list:\n  - model_name: \"a\\n- b: c\"\n    litellm_params: {model: \"openai/x\\n#\"}\n",
    "numbers": "model_list: [{model_name: a, litellm_params: {model: gpt-4o, rpm: -1, weight: 1e99, timeout: 1e9999, order: x,"
               " input_cost_per_token: 99999999999999999999999}}]\n",
    "nothing": "",
}


@pytest.mark.parametrize("gateway", ["litellm", "bifrost", "portkey"])
@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_strange_ends_in_words(gateway, case, tmp_path):
    file = tmp_path / "theirs"
    file.write_text(HOSTILE[case])
    done = convert(gateway, file)
    assert done.returncode == 0, done
    assert "\x1b" not in done.stdout + done.stderr
    (tmp_path / "sluice.yaml").write_text(done.stdout)
    checked = run_cli("check", "--format", "json", tmp_path / "sluice.yaml", env={"STATE_DIRECTORY": str(tmp_path)})
    assert "is no YAML" not in checked.stdout and checked.returncode in (0, 1), checked
    if checked.returncode:
        assert "needs a hand" in done.stderr, (done, checked)


@pytest.mark.parametrize("text", ["a: [1", "- 1\n", "\0"])
def test_what_cannot_be_read_is_a_failure(text, tmp_path):
    file = tmp_path / "theirs"
    file.write_text(text)
    done = convert("litellm", file)
    assert done.returncode == 1 and not done.stdout and str(file) in done.stderr, done
    done = convert("litellm", tmp_path / "none")
    assert done.returncode == 1 and not done.stdout and "cannot be read" in done.stderr, done


def test_a_file_that_is_too_large_is_a_failure(tmp_path):
    file = tmp_path / "theirs"
    file.write_text("#" * ((10 << 20) + 1))
    done = convert("portkey", file)
    assert done.returncode == 1 and not done.stdout and "10 MiB" in done.stderr, done


@pytest.mark.parametrize("words", [[], ["litellm"], ["kong", "file"], ["file", "litellm"]])
def test_a_slip_is_a_misuse(words):
    done = run_cli("config", "convert", *words)
    assert done.returncode == 2 and "litellm, bifrost or portkey" in done.stderr, done


LITELLM = """\
model_list:
  - model_name: steady
    litellm_params: {{model: openai/mock-1, api_base: "{url}", api_key: os.environ/UPSTREAM_KEY}}
  - model_name: shaky
    litellm_params: {{model: openai/mock/503, api_base: "{url}", api_key: os.environ/UPSTREAM_KEY}}
  - model_name: any-*
    litellm_params: {{model: openai/any-*, api_base: "{url}", api_key: os.environ/UPSTREAM_KEY}}
  - model_name: openai/*
    litellm_params: {{model: openai/*, api_base: "{url}", api_key: os.environ/UPSTREAM_KEY}}
router_settings:
  num_retries: 0
  model_group_alias: {{gpt-4: steady}}
  fallbacks: [{{shaky: [steady]}}]
general_settings:
  master_key: sk-master-of-all
"""


def test_a_converted_file_serves(tmp_path):
    with Mock() as mock:
        file = tmp_path / "config.yaml"
        file.write_text(LITELLM.format(url=mock.url))
        done = convert("litellm", file)
        assert done.returncode == 0 and "sk-master" not in done.stdout + done.stderr, done
        env = {"UPSTREAM_KEY": "up", "LITELLM_MASTER_KEY_HASH": sha256_hash("sk-master-of-all"), "SLUICE_LISTEN": str(port := free_port())}
        with Sluice(done.stdout, env=env, begin=False) as gate:
            gate.config = {"server": {"listeners": [{"name": "api", "address": f"127.0.0.1:{port}"}]}}
            gate.start()

            def ask(model, key="sk-master-of-all"):
                return gate.chat(model, key=key)

            for model, target in [("steady", "steady"), ("gpt-4", "steady"), ("shaky", "steady"), ("any-thing", "any")]:
                answer = ask(model)
                assert answer.status == 200 and answer.header("x-sluice-target") == target, (model, answer)
            assert ask("openai/mock-1").status == 200
            assert ask("unheard-of").status == 404
            assert ask("steady", key="another").status == 401
