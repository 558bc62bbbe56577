# SPDX-License-Identifier: Apache-2.0
"""What people type: the README's words as they stand, help on a family of commands, slips, tables that are read."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from harness import BINARY, KEY_ACME, Sluice, clean_environment, config_for, free_port, run_cli, sha256_hash

ROOT = Path(__file__).resolve().parents[2]


def readme_section(title):
    """The YAML and the commands below a heading of the README."""
    text = (ROOT / "README.md").read_text().split(f"## {title}\n")[1].split("\n## ")[0]
    yaml = re.search(r"```yaml\n(.*?)```", text, re.DOTALL).group(1)
    return yaml, "".join(line[4:] for line in text.splitlines(keepends=True) if line.startswith("    "))


def test_the_readmes_minute_of_limits_goes_as_it_is_written(tmp_path):
    yaml, commands = readme_section("Keys, limits and budgets in a minute")
    (tmp_path / "limits.yaml").write_text(yaml)
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "sluice").symlink_to(BINARY)
    port = str(free_port())
    commands = commands.replace("127.0.0.1:8080", f"127.0.0.1:{port}")
    done = subprocess.run(
        ["bash", "-c", f"trap 'kill -INT %1; wait %1' EXIT\n{commands}"],
        cwd=tmp_path, env=clean_environment({"SLUICE_LISTEN": port}), capture_output=True, text=True, timeout=90)
    lines = done.stdout.splitlines()
    assert lines[:4] == ["200", "200", "200", "429"], done
    assert any("budget_per_day" in line and " USD " in line for line in lines), done.stdout
    assert done.returncode == 0, done


def test_the_call_of_the_page_on_jobs_is_accepted(upstream):
    text = (ROOT / "docs" / "JOBS.md").read_text().split("## Of one's own\n")[1].split("\n| ")[0]
    with Sluice(config_for(upstream, jobs={"webhook": {"secret": "s" * 32}})) as gate:
        url = "http://{}:{}".format(*gate.address())
        done = subprocess.run(
            ["bash", "-c", text.replace("https://gateway", url).replace("app.example.com", "app.invalid")],
            env=clean_environment({"KEY": KEY_ACME}), capture_output=True, text=True, timeout=60)
        assert json.loads(done.stdout).get("status") in ("IN_QUEUE", "IN_PROGRESS", "COMPLETED"), done


@pytest.mark.parametrize("port", ["abc", "0", "65536", "8080 "])
def test_make_run_refuses_what_is_no_port_before_it_builds(port, tmp_path):
    copy = tmp_path / "deploy" / "quickstart"
    copy.mkdir(parents=True)
    shutil.copy(ROOT / "deploy" / "quickstart" / "run", copy)
    done = subprocess.run([copy / "run"], env=clean_environment({"PORT": port, "MODEL": "none"}),
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and f"PORT={port} is no port" in done.stderr, done


@pytest.mark.parametrize("family", ["keys", "config", "deployments"])
@pytest.mark.parametrize("word", ["--help", "-h"])
def test_a_family_of_commands_has_help(family, word):
    done = run_cli(family, word)
    assert done.returncode == 0 and not done.stderr, done
    assert done.stdout.startswith("usage: ") and f"\n{family} {'diff' if family == 'config' else 'ls'} " in done.stdout


@pytest.mark.parametrize("words, says, code", [
    (["keys", "lss"], 'did you mean "keys ls"', 2),
    (["upgrad"], 'did you mean "upgrade"', 2),
    (["nonsense"], 'unknown command "nonsense"\n', 2),
    (["hash-key", "--new", "my-key"], "either --new or a KEY", 2),
    (["--admin", "foo", "status"], "does not begin with http://", 2),
    (["mock", "--address", "foo"], '--address is IP:PORT or unix:/PATH, not "foo"', 2),
    (["mock", "--address", "127.0.0.1:"], "--address is IP:PORT", 2),
    (["env", "claude-code", "--url", "127.0.0.1:8080"], '--url begins with http:// or https://, which clients need; not "127', 2),
    (["mock", "--first-byte", "5"], 'takes a time with its unit, at most 1h: 200ms or 1s, not "5"', 2),
    (["mock", "--first-byte", "2h"], 'at most 1h: 200ms or 1s, not "2h"', 2),
    (["explain", "/none.json"], "/none.json cannot be read: No such file or directory\n", 1),
    (["--admin", "http://127.0.0.1:1", "--admin-key-file", "/none", "status"], "/none: No such file or directory\n", 5),
])
def test_a_slip_is_answered_with_what_was_wrong(words, says, code):
    done = run_cli(*words)
    assert done.returncode == code and says in done.stderr, done
    assert "Is it running" not in done.stderr and "as root" not in done.stderr, done.stderr


@pytest.mark.parametrize("words, says", [
    (["reload"], "put the changed configuration in force"), (["trace"], "one call: "), (["restore"], "the ledger and the store from"),
    (["deployments", "stop"], "stop it"), (["version"], "which it is"), (["keys", "ls"], "keys of the file and of the store")])
def test_each_command_has_words_of_its_own(words, says):
    done = run_cli(*words, "--help")
    assert done.returncode == 0 and done.stdout.split("\n\n")[1].startswith(says), done.stdout


def test_codex_is_told_where_sluice_is():
    done = run_cli("env", "codex", "--shell", "sh", "--url", "https://ai.example/v1/")
    assert done.returncode == 0 and 'base_url = "https://ai.example/v1"' in done.stdout, done
    assert "export OPENAI_BASE_URL='https://ai.example/v1'" in done.stdout, done


def test_a_key_that_can_be_guessed_is_said_to_be_so():
    short, long = run_cli("hash-key", "hunter2"), run_cli("hash-key", "sk-0123456789abcd")
    assert short.returncode == 0 and "can be guessed" in short.stderr and short.stdout.startswith("sha256:"), short
    assert long.returncode == 0 and not long.stderr, long


def test_bash_completes_second_words_and_their_options():
    script = run_cli("completion", "bash").stdout
    for typed, wanted in ((["usage", ""], "rerate"), (["usage", "--b"], "--by"), (["usage", "rerate", "--pr"], "--prices"),
                          (["keys", "rot"], "rotate"), (["keys", "create", "x", "--te"], "--tenant"), (["tr"], "trace")):
        line = " ".join(f"'{word}'" for word in ["sluice", *typed])
        ask = f"{script}\nCOMP_WORDS=({line}); COMP_CWORD={len(typed)}; _sluice; echo \"${{COMPREPLY[@]}}\""
        done = subprocess.run(["bash", "-c", ask], env=clean_environment(), capture_output=True, text=True, timeout=60)
        assert wanted in done.stdout.split(), (typed, done)


def test_the_address_that_sdks_are_given_is_good_for_commands_too(upstream):
    with Sluice(config_for(upstream)) as gate:
        url = f"http://{gate.address()[0]}:{gate.address()[1]}"
        for end in ("", "/", "/v1", "/v1/"):
            done = run_cli("chat", "fast", "hi", "--no-stream", "--url", url + end, "--key", KEY_ACME)
            assert done.returncode == 0, done
            assert f"OPENAI_BASE_URL='{url}/v1'" in run_cli("env", "openai", "--shell", "sh", "--url", url + end).stdout


def test_a_limit_is_told_in_dollars_and_hours(upstream):
    with Sluice(config_for(upstream)) as gate:
        def ask(*words):
            done = run_cli("-c", gate.file, *words, env=gate.env)
            assert done.returncode == 0, done
            return done.stdout

        ask("tenants", "set", "poor", "--models", "fast", "--budget", "5 USD/day")
        key = ask("keys", "create", "ci", "--tenant", "poor").strip()
        assert gate.chat(key=key).status == 200
        table = ask("limits", "ls", "--tenant", "poor")
        assert re.search(r"budget_per_day +USD +5\.000000 +0\.\d{6} +0\.000000 +4\.\d{6} +\d+ (h|min|s)", table), table
        rows = ask("limits", "ls", "--tenant", "poor", "--format", "csv")
        assert ",budget_per_day,nanos,5000000000," in rows and "reset_ms" in rows, rows


def test_lists_of_tenants_and_keys_show_budgets_and_who_is_off(upstream):
    budgets = [{"amount": "1 USD", "period": "day"}, {"amount": "9.5 USD", "period": "month", "on_exceeded": "warn"}]
    tenant = {"name": "acme", "models": ["*"], "budgets": budgets, "keys": [{"name": "main", "hash": sha256_hash(KEY_ACME)}]}
    with Sluice(config_for(upstream, tenants=[tenant])) as gate:
        def ask(*words):
            return run_cli("-c", gate.file, *words, env=gate.env)

        none = ask("limits", "ls")
        assert (none.returncode, none.stdout) == (0, "") and "nothing is counted yet" in none.stderr, none
        assert ask("tenants", "set", "idle", "--off", "--budget", "3 USD/36h").returncode == 0
        rows = {row.split()[0]: row for row in ask("tenants", "ls").stdout.splitlines()}
        assert rows["name"].split()[-2:] == ["budget", "off"], rows
        assert "1.00 USD/day, 9.50 USD/month (warn)  false" in rows["acme"] and "3.00 USD/36h" in rows["idle"], rows
        assert rows["idle"].split()[-1] == "true", rows
        assert ask("keys", "create", "ci", "--tenant", "acme", "--budget", "0.25 USD/week").returncode == 0
        keys = {row.split()[2]: row for row in ask("keys", "ls").stdout.splitlines()}
        assert "0.25 USD/week" in keys["ci"] and "USD" not in keys["main"], keys
        for words in (["show", "ci"], ["rotate", "ci"], ["revoke", "ci"]):
            done = ask("keys", *words)
            assert done.returncode == 5 and "There is no key 'ci': keys are called by their id, or TENANT:NAME." in done.stderr, done
        assert ask("keys", "show", "acme:ci").returncode == 0
        assert ask("keys", "show", "acme:nope").stderr == "sluice: not found: There is no key 'acme:nope'.\n"


def test_an_answer_that_could_not_be_printed_is_no_success(upstream):
    with Sluice(config_for(upstream)) as gate, open("/dev/full", "w") as full:
        url = f"http://{gate.address()[0]}:{gate.address()[1]}"
        done = subprocess.run(
            [BINARY, "chat", "fast", "hi", "--no-stream", "--url", url, "--key", KEY_ACME],
            env=clean_environment(), stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
        assert done.returncode == 1 and "cannot write to the standard output" in done.stderr, done
