# SPDX-License-Identifier: Apache-2.0
"""`sluice backup` beside a running gateway takes deployments made at run time, jobs, and records of decisions along; restored, they serve."""

import contextlib
import hashlib
import io
import json
import sqlite3
import tarfile
import threading

import pytest
from deployed import Desk, deployed, server_for
from harness import Sluice, Upstream, chat_body, eventually, run_cli

CALL = {"model": "fast", "messages": [{"role": "user", "content": "hi"}]}


def submit(gate, **fields):
    got = gate.post("/v1/jobs", {**CALL, **fields})
    assert got.status == 202, got
    return got.json["id"]


def job(gate, name, wait=0):
    got = gate.get(f"/v1/jobs/{name}" + (f"?wait={wait}" if wait else ""))
    assert got.status == 200, got
    return got.json


def names_in(path):
    with tarfile.open(path) as tar:
        return tar.getnames()


def backup(gate, name="backup.tar"):
    path = gate.directory / name
    done = gate.cli("backup", path)
    assert done.returncode == 0, done.stderr
    assert not [file for file in gate.directory.iterdir() if ".part" in file.name]
    return path


@pytest.fixture()
def used():
    """A gateway that runs a deployment made at run time, has a job that has ended, one that runs, and one that waits."""
    with Upstream() as upstream:
        held = threading.Event()

        def answer(call):
            if b"slow" in call.body:
                held.wait(30)
            call.respond(200, chat_body("Hello"))

        upstream.answer = answer
        with Sluice(deployed(upstream=upstream, jobs={"concurrency": 1, "per_tenant": 1})) as gate:
            assert Desk(gate).ask("POST", "/deployments", server_for("made", "--say", "made-one", token="5ecre7-of-its-own", tenant="acme")).status == 201
            assert Desk(gate).ask("POST", "/deployments/made/pin", {}).status == 200
            assert gate.chat("made").status == 200
            gate.ended = submit(gate)
            assert job(gate, gate.ended, wait=20)["status"] == "COMPLETED"
            gate.running = submit(gate, messages=[{"role": "user", "content": "slow"}])
            eventually(lambda: job(gate, gate.running)["status"] == "IN_PROGRESS", what="it runs")
            gate.waiting = submit(gate)
            eventually(lambda: list((gate.state / "decisions").glob("*.decisions")), 20, what="records are written")
            gate.held = held
            yield gate
            held.set()


def test_what_was_restored_serves(used):
    path = backup(used)
    assert {"deployments.db", "jobs/jobs.db", "jobs/link_key", "sluice.db"} < set(names_in(path)), names_in(path)
    assert any(name.startswith("decisions/") for name in names_in(path))
    used.held.set()
    used.stop()
    other = Sluice(used.config, begin=False)
    done = other.cli("restore", path, "--into", other.state)
    assert done.returncode == 0, done.stderr
    other.start()
    with other:
        assert other.chat("made").json["choices"][0]["message"]["content"].startswith("made-one")
        one = Desk(other).show("made")
        assert (one["origin"], one["version"], one["tenant"]) == ("api", 1, "acme")
        assert other.post("/d/made/v1/chat/completions", {"messages": []}, key="5ecre7-of-its-own").status == 200
        assert job(other, used.ended)["result"]["choices"][0]["message"]["content"] == "Hello"
        for name in (used.running, used.waiting):  # at least once: what ran at that moment is run again
            assert job(other, name, wait=30)["status"] == "COMPLETED", name
        kept = {row["id"] for row in other.ledger_rows()}
        assert job(other, used.ended)["request_id"] in kept, "the call of a job that has ended is in the ledger"
        policy = other.directory / "policy.yaml"
        policy.write_text("name: dear\nstrategy: cost\n")
        replayed = run_cli("replay", "-c", other.file, "--policy", str(policy), env=other.env)
        assert replayed.returncode == 0, replayed.stderr


def test_what_is_there_is_moved_aside_together(used):
    path = backup(used)
    used.held.set()
    used.stop()
    done = used.cli("restore", path)
    assert done.returncode == 1 and "--force" in done.stderr
    done = used.cli("restore", path, "--force")
    assert done.returncode == 0, done.stderr
    aside = sorted(str(file.relative_to(used.state)) for file in used.state.rglob("*.before-*"))
    for part in ("deployments.db", "decisions", "jobs/jobs.db", "jobs/link_key", "sluice.db"):
        assert any(name.startswith(f"{part}.before-") for name in aside), (part, aside)
    used.start()
    assert used.chat("made").status == 200
    assert job(used, used.waiting, wait=30)["status"] == "COMPLETED"


@pytest.mark.parametrize("part", ["deployments.db", "jobs/jobs.db"])
def test_a_place_that_has_some_of_it_is_not_free(used, part):
    path = backup(used)
    other = Sluice(used.config, begin=False)
    (other.state / part).parent.mkdir(parents=True, exist_ok=True)
    (other.state / part).write_bytes(b"")
    done = other.cli("restore", path, "--into", other.state)
    assert done.returncode == 1 and "--force" in done.stderr, done.stderr


def rewritten(path, change):
    """The archive with its files changed, its manifest put right."""
    out = io.BytesIO()
    with tarfile.open(path) as tar, tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as new:
        files = change({member.name: tar.extractfile(member).read() for member in tar})
        manifest = json.loads(files.pop("backup.json"))
        manifest["files"] = [{"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()]
        files["backup.json"] = json.dumps(manifest, separators=(",", ":")).encode()
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            new.addfile(member, io.BytesIO(data))
    path.write_bytes(out.getvalue())


def newer(data, folder):
    file = folder / "newer.db"
    file.write_bytes(data)
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA user_version = 99")
    return file.read_bytes()


def test_what_cannot_be_used_is_not_restored(used, tmp_path):
    path = backup(used)
    rewritten(path, lambda files: {**files, "jobs/jobs.db": newer(files["jobs/jobs.db"], tmp_path)})
    done = used.cli("restore", path, "--into", tmp_path / "a")
    assert done.returncode == 1 and "newer than this program" in done.stderr and not (tmp_path / "a" / "jobs" / "jobs.db").exists(), done.stderr
    path = backup(used, "other.tar")
    rewritten(path, lambda files: {**files, "deployments.db": files["deployments.db"][:5000]})
    done = used.cli("restore", path, "--into", tmp_path / "b")
    assert done.returncode == 1 and "nothing was restored" in done.stderr and not (tmp_path / "b" / "sluice.db").exists(), done.stderr
    for name in ("decisions/../evil", "decisions/evil", "jobs/other"):
        path = backup(used, f"{name.replace('/', '-')}.tar")
        rewritten(path, lambda files, name=name: {**files, name: b"x"})
        done = used.cli("restore", path, "--into", tmp_path / "c")
        assert done.returncode == 1 and "a file that no backup has" in done.stderr, done.stderr


def test_a_backup_of_the_first_format_is_restored_too(used, tmp_path):
    path = backup(used)
    ledger_only = lambda files: {name: data.replace(b'"format":2', b'"format":1') if name == "backup.json" else data  # noqa: E731
                                 for name, data in files.items() if name.startswith(("ledger/", "sluice.db", "backup.json"))}
    rewritten(path, ledger_only)
    done = used.cli("restore", path, "--into", tmp_path / "state")
    assert done.returncode == 0 and not (tmp_path / "state" / "deployments.db").exists(), done.stderr

