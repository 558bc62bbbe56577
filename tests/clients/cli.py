# SPDX-License-Identifier: Apache-2.0
"""Claude Code and Codex as they come from npm, each in a home and a folder of its own; no model behind them but a script."""

import hashlib
import os
import subprocess
from pathlib import Path

FOLDER = Path(__file__).parent / "cli"
MODULES = FOLDER / "node_modules"
TURN_SECONDS = 100


def install():
    """`npm ci`, once for each lock file; the programs are in packages for the platform, no script of theirs is run."""
    mark = hashlib.sha256((FOLDER / "package-lock.json").read_bytes()).hexdigest()
    stamp = MODULES / ".stamp"
    if stamp.exists() and stamp.read_text() == mark:
        return
    done = subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=FOLDER, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=400)
    assert done.returncode == 0, done.stdout[-4000:]
    stamp.write_text(mark)


def program(pattern):
    [path] = MODULES.glob(pattern)
    return str(path)


def run(command, home, folder, environment):
    """What it wrote to its standard output; it gets PATH and what is given, nothing else of ours."""
    home.mkdir(exist_ok=True)
    done = subprocess.run(command, cwd=folder, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=TURN_SECONDS,
                          env={"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", **environment})
    assert done.returncode == 0, f"{done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def claude_code(prompt, base_url, key, model, home, folder):
    return run(
        [program("@anthropic-ai/claude-code-linux-*/claude"), "-p", prompt, "--output-format", "json", "--allowedTools", "Read", "--max-turns", "4"],
        home, folder,
        {"ANTHROPIC_BASE_URL": base_url, "ANTHROPIC_AUTH_TOKEN": key, "ANTHROPIC_MODEL": model,
         "ANTHROPIC_SMALL_FAST_MODEL": model, "ANTHROPIC_DEFAULT_HAIKU_MODEL": model, "ANTHROPIC_DEFAULT_SONNET_MODEL": model,
         "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1"})


def codex(prompt, base_url, key, model, home, folder, settings=""):
    (home / ".codex").mkdir(parents=True, exist_ok=True)
    (home / ".codex" / "config.toml").write_text(
        f'model = "{model}"\nmodel_provider = "sluice"\n{settings}approval_policy = "never"\nsandbox_mode = "danger-full-access"\n'
        f'[model_providers.sluice]\nname = "sluice"\nbase_url = "{base_url}"\nenv_key = "SLUICE_KEY"\nwire_api = "responses"\n'
        "request_max_retries = 0\nstream_max_retries = 0\n")
    return run([program("@openai/codex-linux-*/vendor/*/bin/codex"), "exec", "--json", "--skip-git-repo-check", prompt],
               home, folder, {"SLUICE_KEY": key})


if __name__ == "__main__":
    install()
