# SPDX-License-Identifier: Apache-2.0
"""Closed standard descriptors, a bound of files' sizes, a signal that means something elsewhere: none of it does harm."""

import os
import signal
import subprocess

import pytest
from harness import BINARY, Sluice, clean_environment, config_for, eventually, run_cli, to_yaml


def shell(words):
    """Before the command: what a careless script does around it."""
    return ["/bin/sh", "-c", words, "sh"]


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_without_standard_descriptors_nothing_else_gets_the_log(upstream, closed):
    with Sluice(config_for(upstream), prefix=shell(f'exec "$@" {closed}')) as gate:
        assert gate.chat().status == 200
        gate.stop()
        assert gate.process.returncode == 0
        assert (gate.state / "sluice.lock").read_text() == f"{gate.process.pid}\n", "the log went into the lock"


def test_a_closed_standard_output_is_told(upstream, tmp_path):
    path = tmp_path / "sluice.yaml"
    path.write_text(to_yaml(config_for(upstream)))
    for words in (["version"], ["config", "schema"], ["config", "show", "-c", path]):
        done = subprocess.run(
            [*shell('exec "$@" >&-'), BINARY, *map(str, words)],
            env=clean_environment(), stderr=subprocess.PIPE, text=True, timeout=60)
        assert done.returncode == 1 and "cannot write to the standard output" in done.stderr, (words, done)


def test_a_bound_of_files_sizes_is_told_like_a_full_disk(upstream, tmp_path):
    """It stood in a circle: the service was ended by SIGXFSZ, and another began."""
    path = tmp_path / "sluice.yaml"
    path.write_text(to_yaml(config_for(upstream)))
    done = subprocess.run(
        [*shell('ulimit -f 1000 && exec "$@"'), BINARY, "run", "-c", str(path)],
        env=clean_environment({"STATE_DIRECTORY": str(tmp_path / "state")}),
        stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 1 and "File too large" in done.stderr, done


def test_a_signal_that_comes_before_the_configuration_is_read_waits(upstream, tmp_path):
    """A file of a key that somebody has yet to write holds up the start."""
    secret = tmp_path / "secret"
    os.mkfifo(secret)
    config = config_for(upstream)
    config["providers"][0].pop("api_key", None)
    config["providers"][0]["api_key_file"] = str(secret)
    with Sluice(config, wait=False) as gate:
        with open(secret, "w") as writer:  # opened when it is being read
            for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
                gate.signal(number)
            secret.unlink()
            secret.write_text("sk-upstream\n")  # for the reload
            writer.write("sk-upstream\n")
        gate.wait_ready()
        assert gate.chat().status == 200
        eventually(lambda: "not upgraded: no service is ready" in gate.log(), what="it was not lost")
        eventually(lambda: "generation 2" in gate.cli("status").stdout, what="nor was the reload")


def test_usr2_ends_nothing(upstream):
    with Sluice(config_for(upstream)) as gate:
        service = gate.worker_pid
        gate.signal(signal.SIGUSR2)
        eventually(lambda: "upgraded from" in gate.log(), what="it is told")
        eventually(lambda: service not in gate.children(), what="another serves")
        assert gate.process.poll() is None
        assert gate.chat().status == 200
    assert "USR2" in run_cli("help", "signals").stdout
