# SPDX-License-Identifier: Apache-2.0
"""A second `run` on the same state directory is refused with a word, and disturbs nobody."""

from pathlib import Path

import pytest
from harness import Sluice, config_for, run_cli, temporary_folder, to_yaml


def test_the_second_is_refused(upstream, tmp_path):
    with Sluice(config_for(upstream)) as gate:
        path = tmp_path / "second.yaml"
        path.write_text(to_yaml(config_for(upstream)))
        done = run_cli("run", "-c", path, env=gate.env, timeout=30)
        assert done.returncode not in (0, None) and str(gate.state) in done.stderr + done.stdout, done
        assert gate.chat().status == 200
        assert gate.cli("status").returncode == 0, "the admin socket is still the first one's"


def test_the_same_address_is_refused(upstream, tmp_path):
    with Sluice(config_for(upstream)) as gate:
        path = tmp_path / "second.yaml"
        path.write_text(to_yaml(gate.config))
        done = run_cli("run", "-c", path, env={"STATE_DIRECTORY": str(tmp_path)}, timeout=30)
        assert done.returncode == 1 and gate.config["server"]["listeners"][0]["address"] in done.stderr, done
        for _ in range(20):
            assert gate.chat().status == 200


def test_after_the_first_has_gone_the_second_starts(upstream):
    with Sluice(config_for(upstream)) as gate:
        gate.kill()
        gate.start()
        assert gate.chat().status == 200
        gate.may_crash = True


def test_a_state_directory_that_cannot_be_written(upstream, tmp_path):
    path = tmp_path / "sluice.yaml"
    path.write_text(to_yaml(config_for(upstream)))
    blocked = tmp_path / "file"
    blocked.write_text("")
    done = run_cli("run", "-c", path, env={"STATE_DIRECTORY": str(blocked / "state")}, timeout=30)
    assert done.returncode == 1 and "set STATE_DIRECTORY" in done.stderr, done
    done = run_cli("run", "-c", path, env={"STATE_DIRECTORY": str(blocked)}, timeout=30)
    assert done.returncode == 1 and "Not a directory; set STATE_DIRECTORY" in done.stderr, done


@pytest.mark.parametrize("name, words", [
    ("file", "what is there is no socket, and stays"),
    ("folder/api.sock", "the directory has to be there"),
    ("taken", "is another sluice running?"),
])
def test_a_socket_that_cannot_be_made(upstream, name, words):
    import socket

    tmp_path = Path(temporary_folder("sluice-sock-"))
    (tmp_path / "file").write_text("precious")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "taken"))
        other.listen()
        listener = {"name": "api", "address": f"unix:{tmp_path}/{name}", "serve": ["api"]}
        path = tmp_path / "sluice.yaml"
        path.write_text(to_yaml(config_for(upstream, server={"listeners": [listener]})))
        done = run_cli("run", "-c", path, env={"STATE_DIRECTORY": str(tmp_path / "state")}, timeout=30)
    assert done.returncode == 1 and f"cannot listen on unix:{tmp_path}/{name}" in done.stderr and words in done.stderr, done
    assert (tmp_path / "file").read_text() == "precious"


def test_a_stale_socket_file_is_replaced(upstream):
    import socket

    config = config_for(upstream)
    with Sluice(config) as gate:
        gate.kill()
        assert (gate.state / "admin.sock").exists()
        stale = socket.socket(socket.AF_UNIX)
        (gate.state / "admin.sock").unlink()
        stale.bind(str(gate.state / "admin.sock"))
        stale.close()
        gate.start()
        assert gate.cli("status").returncode == 0
        gate.may_crash = True
