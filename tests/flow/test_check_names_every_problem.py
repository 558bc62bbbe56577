# SPDX-License-Identifier: Apache-2.0
"""All at once, with file, line and column, a word on what was meant, and an exit code."""

import json
import re

import pytest
from harness import KEY_PROVIDER, Authority, config_for, run_cli, sha256_hash, to_yaml

BAD = """\
version: 1
server:
  listeners:
    - name: api
      adress: 127.0.0.1:8080
  workers: many
  timeouts: {client_header: 10 parsecs}
providers:
  - name: up
    type: opnai
    base_ulr: http://127.0.0.1:1/v1
  - name: up
    type: openai
    api_key: ${SLUICE_TEST_UNSET_VARIABLE}
models:
  - name: fast
    targets:
      - {id: a, provider: upp, model: x}
tenants:
  - name: acme
    models: ["*"]
    keys: [{name: k, hash: "sha256:zz"}]
"""
WANTED = {
    5: "address", 6: "workers", 7: "client_header", 10: "openai", 11: "base_url", 12: "up", 14: "SLUICE_TEST_UNSET_VARIABLE",
    18: "up", 22: "hash",
}


def check(tmp_path, text, *args, name="sluice.yaml", env=None):
    path = tmp_path / name
    path.write_text(text)
    return run_cli("check", *args, path, env={"STATE_DIRECTORY": str(tmp_path), **(env or {})})


def good(**changes):
    return to_yaml(config_for("http://127.0.0.1:1/v1", **changes)) + "\n"


def test_a_good_file(tmp_path):
    done = check(tmp_path, good())
    assert done.returncode == 0, done
    assert KEY_PROVIDER not in done.stdout + done.stderr


def test_every_problem_at_once(tmp_path):
    done = check(tmp_path, BAD)
    assert done.returncode == 1
    found = {}
    for line in done.stderr.splitlines():
        if match := re.match(r".*sluice\.yaml:(\d+):(\d+): error: (.*)", line):
            found.setdefault(int(match[1]), "")
            found[int(match[1])] += match[3]
    for line, word in WANTED.items():
        assert word in found.get(line, ""), (line, word, done.stderr)
    assert done.stderr.count("did you mean") >= 3


def test_as_json(tmp_path):
    done = check(tmp_path, BAD, "--format", "json")
    assert done.returncode == 1
    problems = [json.loads(line) for line in done.stdout.splitlines()]
    assert {5, 10, 11} <= {problem["line"] for problem in problems}, problems
    assert all(problem["severity"] in ("error", "warning", "note") and problem["message"] for problem in problems)


BROKEN = {
    "no YAML": "a: [1,", "a list": "- 1\n", "empty": "", "a word": "hello", "a tab": "a:\n\tb: 1\n", "twice": "version: 1\nversion: 1\n",
    "NUL": "version: 1\0\n", "no version": "providers: []\n", "future": "version: 2\n", "binary": "\x01\x02",
    "a bomb": "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(8)),
    "deep": "a: " + "[" * 5000 + "]" * 5000,
}


def test_standard_input(tmp_path):
    """Commands read the configuration more than once, and a pipe gives it once."""
    env = {"STATE_DIRECTORY": str(tmp_path)}
    done = run_cli("check", "-", stdin=good(), env=env)
    assert done.returncode == 0 and done.stdout.startswith("/dev/stdin: ok"), done
    done = run_cli("check", "-", stdin=BAD, env=env)
    assert done.returncode == 1 and re.search(r"^/dev/stdin:5:\d+: error: .*address", done.stderr, re.M), done
    done = run_cli("check", "-c", "-", stdin=good(), env=env)
    assert done.returncode == 0, done
    done = run_cli("usage", "-c", "-", stdin=good(), env=env)
    assert "neither a database nor a ledger" in done.stderr and "/dev/stdin" not in done.stderr, done
    done = run_cli("run", "-c", "-", stdin=good(), env=env, timeout=20)
    assert done.returncode == 2 and "must name a file" in done.stderr, done
    done = run_cli("check", "-", stdin="", env=env)
    assert done.returncode == 1 and "version" in done.stderr, done


TABS = ["a:\n\tb: 1\n", "a:\n  b:\n  \tc: 1\n", "a:\n  b: 1\n\tc: 1\n", "\ta: 1\n"]


@pytest.mark.parametrize("text", TABS)
def test_tabs(tmp_path, text):
    done = check(tmp_path, text)
    line = 1 + text[:text.rindex("\t")].count("\n")
    assert re.search(rf"sluice\.yaml:{line}:\d+: error: YAML is indented with spaces, not tabs", done.stderr), done


def test_tabs_in_json_are_fine(tmp_path):
    done = check(tmp_path, json.dumps(config_for("http://127.0.0.1:1/v1"), indent="\t"))
    assert done.returncode == 0, done


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_no_configuration(tmp_path, case):
    done = check(tmp_path, BROKEN[case])
    assert done.returncode == 1 and "error" in done.stderr, done
    assert len(done.stderr) < 100_000


TARGET = {"id": "t", "provider": "up", "model": "m", "price": {"input": 1, "output": 1}}
PROTECTING = {
    "model limits": ("models", [{"name": "fast", "limits": {"requests_per_minute": 1}, "targets": [TARGET]}]),
}


@pytest.mark.parametrize("case", PROTECTING)
def test_what_protects_and_is_not_in_force_is_an_error(tmp_path, case):
    key, value = PROTECTING[case]
    text = good(**{key: value})
    done = check(tmp_path, text)
    assert done.returncode == 1 and "not in force" in done.stderr, done.stderr
    assert check(tmp_path, text, "--allow-inert").returncode == 0
    assert check(tmp_path, text, "--allow-inert", "--strict").returncode == 3


def test_what_is_of_later_work_is_a_warning(tmp_path):
    later = good(store={"redis": {"pool": 9}})
    done = check(tmp_path, later)
    assert done.returncode == 0 and "not yet in force" in done.stderr, done.stderr
    assert check(tmp_path, later, "--strict").returncode == 3


def test_the_network_is_never_touched(tmp_path):
    from harness import Upstream

    with Upstream() as server:
        assert check(tmp_path, to_yaml(config_for(server)), env={"HTTPS_PROXY": f"http://127.0.0.1:{server.port}"}).returncode == 0
        assert not server.connections


def test_run_refuses_what_check_refuses(tmp_path):
    path = tmp_path / "sluice.yaml"
    path.write_text(BAD)
    done = run_cli("run", "-c", path, env={"STATE_DIRECTORY": str(tmp_path)}, timeout=20)
    assert done.returncode == 78 and "base_url" in done.stderr, done
    done = run_cli("run", "-c", tmp_path / "none.yaml", env={"STATE_DIRECTORY": str(tmp_path)}, timeout=20)
    assert done.returncode == 78


def test_certificates_are_looked_at(tmp_path):
    """Where it is only checked they may not be there yet; where it shall run they must."""
    authority = Authority(str(tmp_path / "ours"))
    one, other = authority.issue("one"), authority.issue("other")

    def with_tls(cert, key):
        listener = {"name": "tls", "address": "127.0.0.1:0", "serve": ["api"], "tls": {"cert_file": str(cert), "key_file": str(key)}}
        return good(server={"listeners": [listener]})

    assert "one.pem" not in check(tmp_path, with_tls(*one)).stderr
    for cert, key, words in [(tmp_path / "none.pem", one[1], "none.pem: No such file"), (one[1], one[1], "no start line"), (one[0], other[1], "mismatch")]:
        done = check(tmp_path, with_tls(cert, key))
        assert done.returncode == 0 and words in done.stderr and ": warning: " in done.stderr, done
        assert check(tmp_path, with_tls(cert, key), "--strict").returncode == 3
        lines = check(tmp_path, with_tls(cert, key), "--format", "json").stdout.splitlines()
        assert any(words in json.loads(line)["message"] for line in lines)
        done = run_cli("run", "-c", tmp_path / "sluice.yaml", env={"STATE_DIRECTORY": str(tmp_path)}, timeout=20)
        assert done.returncode == 78 and words in done.stderr, done


def test_words_of_others_are_understood(tmp_path):
    text = """version: 1
providers: [{name: up, type: vllm, url: "http://127.0.0.1:1/v1"}]
models: [{name: m, targets: [{id: t, provider: up, model: x}]}]
tenants: [{name: acme, limits: {rpm: 5, tpm: 6}, keys: [{name: k, key: sk-plain}]}]
"""
    words = check(tmp_path, text).stderr
    for said, meant in [("url", "base_url"), ("rpm", "requests_per_minute"), ("tpm", "tokens_per_minute"), ("key", "hash")]:
        assert re.search(f'unknown key "{said}" at [^;]*; did you mean "{meant}"', words), words


def test_a_rule_for_a_model_that_is_not_there(tmp_path):
    def with_rule(*names):
        return good(routing={"rules": [{"when": {"model": list(names)}, "use": {"model": "slow"}}]})

    assert "there is no model" not in check(tmp_path, with_rule("slow", "quick", "fast-as-an-alias-has-it", "other/model", "some*")).stderr
    done = check(tmp_path, with_rule("slwo"))
    assert done.returncode == 0 and 'warning: there is no model "slwo"; did you mean "slow"?' in done.stderr, done


@pytest.mark.parametrize("what, slip, near, also_good", [
    ("tenant", "umberlla", "umbrella", ["umbrella", "umb*", "made-while-it-runs", "umbrella-eu"]),
    ("tenant", "UMBRELLA", "umbrella", ["*"]),
    ("key", "nightyl", "nightly", ["nightly", "night*", "made-while-it-runs", "x"]),
    ("tags", "taem", "team", ["team", "tier", "set-by-callers"])])
def test_a_rule_for_a_name_that_is_nearly_there(tmp_path, what, slip, near, also_good):
    def warned(names):
        rules = [{"when": {what: dict.fromkeys(names, "x") if what == "tags" else names}, "use": {"model": "slow"}}]
        config = config_for("http://127.0.0.1:1/v1", routing={"rules": rules})
        config["tenants"].append({"name": "umbrella", "tags": {"team": "a"},
                                  "keys": [{"name": "nightly", "hash": sha256_hash("sk-nightly"), "tags": {"tier": "gold"}}]})
        done = check(tmp_path, to_yaml(config) + "\n")
        assert done.returncode == 0, done
        return done.stderr

    assert " in the file" not in warned(also_good)
    assert f'warning: there is no {what.removesuffix("s")} "{slip}" in the file; did you mean "{near}"?' in warned([slip])


def test_answers_of_no_known_length_under_a_budget(tmp_path):
    def warned(budget, model="own-name", provider="openai", **target):
        one = {"id": "t", "provider": "p", "model": model, "price": {"input": 1, "output": 4}, **target}
        changes = {"providers": [{"name": "p", "type": provider, **({} if provider == "mock" else {"base_url": "http://127.0.0.1:1/v1", "api_key": "x"})}],
                   "models": [{"name": "m", "targets": [one]}], "routing": {},
                   "tenants": [{"name": "acme", "keys": [{"name": "k", "hash": sha256_hash("sk-acme")}], **budget}]}
        return "nobody knows how long the answers of \"t\" may be" in check(tmp_path, good(**changes)).stderr

    amount = {"amount": "5 USD", "period": "day"}
    for budget in ({"budget": amount}, {"users": {"budget": amount}}, {"limits": {"models": {"m": {"budget": amount}}}},
                   {"keys": [{"name": "k", "hash": sha256_hash("sk-acme"), "budget": amount}]}):
        assert warned(budget), budget
    assert not warned({}) and not warned({"budget": {**amount, "on_exceeded": "warn"}})
    assert not warned({"limits": {"models": {"other": {"budget": amount}}}})
    assert not warned({"budget": amount}, params={"max_tokens": 8192})
    for known in ("gpt-4o", "text-embedding-3-small", "gpt-image-1"):
        assert not warned({"budget": amount}, known), known
    assert not warned({"budget": amount}, price={"input": 0, "output": 0}) and not warned({"budget": amount}, provider="mock")


def test_fallbacks_are_there_and_bounded(tmp_path):
    def with_fallback(names, **rule):
        rules = [{"use": {"fallback": names}}] if rule else []
        return good(routing={"policies": [{"name": "p", "fallback": [] if rule else names}], "rules": rules})

    for rule in [{}, {"in": "a rule"}]:
        assert check(tmp_path, with_fallback(["slow"] * 64, **rule)).returncode == 0
        assert "at most 64 fallbacks" in check(tmp_path, with_fallback(["slow"] * 65, **rule)).stderr
        done = check(tmp_path, with_fallback(["slwo"], **rule))
        assert done.returncode == 1 and 'no target "slwo"; did you mean "slow"?' in done.stderr, done


def test_variables_and_files(tmp_path):
    secret = tmp_path / "key"
    secret.write_text("sk-from-a-file-5ecre7\n")
    text = good().replace(json.dumps(KEY_PROVIDER), "${PROVIDER_KEY}")
    assert check(tmp_path, text, env={"PROVIDER_KEY": "sk-x"}).returncode == 0
    done = check(tmp_path, text)
    assert done.returncode == 1 and "PROVIDER_KEY" in done.stderr
    assert check(tmp_path, good().replace(f"api_key: {json.dumps(KEY_PROVIDER)}", f"api_key_file: {secret}")).returncode == 0
    done = check(tmp_path, good().replace(f"api_key: {json.dumps(KEY_PROVIDER)}", "api_key_file: /nonexistent"))
    assert done.returncode == 1 and "/nonexistent" in done.stderr
    assert check(tmp_path, good().replace(json.dumps(KEY_PROVIDER), "${PROVIDER_KEY:-fallback}")).returncode == 0


def test_show_masks_secrets_and_names_origins(tmp_path):
    path = tmp_path / "sluice.yaml"
    path.write_text(good())
    done = run_cli("config", "show", "-c", path, "--effective", "--origin", env={"STATE_DIRECTORY": str(tmp_path)})
    assert done.returncode == 0, done
    assert KEY_PROVIDER not in done.stdout and KEY_PROVIDER[-8:] not in done.stdout
    assert "client_header" in done.stdout and "sluice.yaml:" in done.stdout and "default" in done.stdout


def test_the_schema_is_json():
    done = run_cli("config", "schema")
    schema = json.loads(done.stdout)
    assert done.returncode == 0 and "2020-12" in schema["$schema"]
    root = schema["allOf"][0] if "allOf" in schema else schema
    assert {"server", "providers", "models", "tenants", "ledger"} <= set(root["properties"])
    assert root["additionalProperties"] is False


def test_init_prints_a_file_that_check_accepts(tmp_path):
    done = run_cli("init")
    assert done.returncode == 0
    assert check(tmp_path, done.stdout, "--allow-inert").returncode == 0, check(tmp_path, done.stdout, "--allow-inert").stderr


@pytest.mark.parametrize("args, code", [
    ((), 2), (("nonsense",), 2), (("chekc",), 2), (("run", "--nonsense"), 2), (("help",), 0), (("--help",), 0), (("version",), 0),
    (("--version",), 0), (("help", "signals"), 0), (("completion", "bash"), 0), (("status", "-c", "/nonexistent/x.yaml"), 4)])
def test_exit_codes(args, code, tmp_path):
    done = run_cli(*args, env={"STATE_DIRECTORY": str(tmp_path)})
    assert done.returncode == code or (args[:1] == ("status",) and done.returncode in (1, 4, 78)), done
    if code == 2:
        assert done.stderr and not done.stdout
    if args == ("chekc",):
        assert "check" in done.stderr


def test_commands_for_a_running_gateway(gate):
    status = gate.cli("status")
    assert status.returncode == 0 and status.stdout, status
    assert json.loads(gate.cli("status", "--format", "json").stdout)
    assert gate.cli("healthcheck").returncode == 0
    listed = run_cli("models", "ls", "-c", gate.file, env=gate.env)
    assert listed.returncode == 0 and "fast" in listed.stdout, listed


def test_commands_without_a_gateway(tmp_path):
    path = tmp_path / "sluice.yaml"
    path.write_text(good())
    env = {"STATE_DIRECTORY": str(tmp_path)}
    for command in (("status",), ("reload",), ("drain",)):
        assert run_cli(*command, "-c", path, env=env).returncode == 4, command
    assert run_cli("healthcheck", "-c", path, env=env).returncode == 1
