# SPDX-License-Identifier: Apache-2.0
"""`sluice backup` beside a running gateway and without one; `sluice restore` into an empty place: each call once."""

import io
import json
import os
import sqlite3
import tarfile
import threading

import pytest
from harness import SANITIZED, Sluice, Upstream, chat_body, config_for, eventually

pytestmark = pytest.mark.threads
COST = 11 * 1000 + 7 * 4000  # nano-dollars of the usual answer


@pytest.fixture()
def used():
    with Upstream() as upstream, Sluice(config_for(upstream)) as gate:
        for _ in range(5):
            assert gate.chat("fast").status == 200
        yield gate


def backup(gate, name="backup.tar", *options):
    path = gate.directory / name
    done = gate.cli("backup", path, *options)
    assert done.returncode == 0, done.stderr
    return path


def restored(gate, path):
    """Another gateway, on what was restored."""
    other = Sluice(gate.config, begin=False)
    done = other.cli("restore", path, "--into", other.state)
    assert done.returncode == 0, done.stderr
    return other, done


def ids_of(gate):
    def all_there():  # what dead processes left is gone, and its own lines are booked
        return len(list((gate.state / "ledger").glob("*-*"))) == 1 and gate.metric("sluice_ledger_undrained_lines") == 0

    eventually(all_there, 150, what="everything is drained")  # which has the lowest priority
    ids = [row["id"] for row in gate.ledger_rows()]
    assert len(ids) == len(set(ids)), "a call stands twice"
    return set(ids)


@pytest.mark.parametrize("running", [True, False])
def test_what_was_called_is_there_again(used, running):
    before = used.usage(by="tenant,model")
    if not running:
        used.stop()
    path = backup(used)
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert [file for file in os.listdir(used.directory) if "part" in file] == []
    used.stop()
    other, done = restored(used, path)
    assert f"restored into {other.state}" in done.stderr
    assert other.usage(by="tenant,model") == before  # the files alone
    other.start()
    assert other.usage(by="tenant,model") == before
    assert other.chat("fast").status == 200
    assert other.usage(by="tenant")[0]["requests"] == before[0]["requests"] + 1
    other.stop()


def test_under_load_each_call_is_in_it_once(used):
    """Backups while calls come and segments are drained; every one is a prefix of what happened."""
    over, made = threading.Event(), []

    def load():
        while not over.is_set():
            answer = used.chat("fast")
            assert answer.status == 200
            made.append(answer.header("x-request-id"))

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    archives = []
    try:
        for i in range(3 if SANITIZED else 6):
            count = len(made)
            archives.append((count, backup(used, f"{i}.tar")))
            eventually(lambda: len(made) > count + 50, within=30)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    everything = ids_of(used)
    used.stop()
    for least, path in archives:
        other, _ = restored(used, path)
        other.start()
        ids = ids_of(other)
        rows = other.usage(by="outcome")
        assert sum(row["requests"] for row in rows) == len(ids) and ids <= everything
        assert ids >= set(made[:least]), "a call that was over before the backup is missing"
        complete = sum(row["cost_nanos"] for row in rows if row["outcome"] == "complete")
        lost = sum(row["requests"] for row in rows if row["outcome"] == "lost")
        # Workers' journals are copied one after the other: a client may have had one call in each.
        assert complete == (len(ids) - lost) * COST and lost <= 4 * 2
        other.stop()


def test_a_call_that_ran_is_lost_in_the_backup(upstream):
    held = threading.Event()

    def hold(call):
        held.wait(20)
        call.respond(200, chat_body())

    upstream.answer = hold
    with Sluice(config_for(upstream)) as gate:
        answers = []
        thread = threading.Thread(target=lambda: answers.append(gate.chat("fast")))
        thread.start()
        eventually(lambda: gate.metric("sluice_inflight_requests") == 1, what="the call runs")
        path = backup(gate)
        held.set()
        thread.join()
        assert answers[0].status == 200
        gate.stop()
        other, _ = restored(gate, path)
        other.start()
        eventually(lambda: [row["lost"] for row in other.usage(by="tenant")] == [1], what="it is booked as lost")
        other.stop()


def test_what_is_there_is_not_overwritten(used):
    path = backup(used)
    done = used.cli("backup", path)
    assert done.returncode == 1 and "is there already" in done.stderr
    backup(used, path.name, "--force")
    done = used.cli("restore", path)
    assert done.returncode == 1 and "a sluice runs on" in done.stderr
    used.chat("fast")
    used.stop()
    done = used.cli("restore", path)
    assert done.returncode == 1 and "--force" in done.stderr
    assert used.usage(by="tenant")[0]["requests"] == 6
    done = used.cli("restore", path, "--force")
    assert done.returncode == 0, done.stderr
    assert used.usage(by="tenant")[0]["requests"] == 5
    aside = [file for file in os.listdir(used.state) if ".before-" in file]
    assert any(file.startswith("sluice.db.before-") for file in aside), aside
    used.start()


def rewritten(path, change):
    """The archive with its files changed."""
    out = io.BytesIO()
    with tarfile.open(path) as tar, tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as new:
        files = {member.name: tar.extractfile(member).read() for member in tar}
        for name, data in change(files).items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            new.addfile(member, io.BytesIO(data))
    path.write_bytes(out.getvalue())


def with_flipped_bit(files):
    data = bytearray(files["sluice.db"])
    data[len(data) // 2] ^= 1
    return {**files, "sluice.db": bytes(data)}


def with_newer_format(files):
    return {**files, "backup.json": files["backup.json"].replace(b'"format":2', b'"format":9')}


@pytest.mark.parametrize("change, words", [
    (with_flipped_bit, "a file is damaged: sluice.db"),
    (with_newer_format, "of a format that this program does not know"),
    (lambda files: {**files, "../../evil": b"x"}, "a file that no backup has"),
    (lambda files: {**files, "ledger/../x-1.journal": b"x"}, "a file that no backup has"),
    (lambda files: {**files, "ledger/0006611f6a54b3dd-8c53b5ed/0-1.journal": b"x"}, "does not name"),
    (lambda files: {name: data for name, data in files.items() if name != "sluice.db"}, "a file is missing: sluice.db"),
    (lambda files: {name: data for name, data in files.items() if name != "backup.json"}, "it has no backup.json")])
def test_a_damaged_backup_is_refused(used, tmp_path, change, words):
    path = backup(used)
    rewritten(path, lambda files: files)  # another tar's writing is fine
    done = used.cli("restore", path, "--into", tmp_path / "good")
    assert done.returncode == 0, done.stderr
    rewritten(path, change)
    done = used.cli("restore", path, "--into", tmp_path / "state")
    assert done.returncode == 1 and words in done.stderr, done.stderr
    assert not (tmp_path / "state" / "sluice.db").exists()


@pytest.mark.parametrize("length", [0, 100, 511, 512, 1000, 60000])
def test_a_backup_that_is_cut_off_is_refused(used, tmp_path, length):
    path = backup(used)
    path.write_bytes(path.read_bytes()[:length])
    done = used.cli("restore", path, "--into", tmp_path / "state")
    assert done.returncode == 1 and "cut off" in done.stderr, done.stderr


def test_a_newer_database_is_refused(used, tmp_path):
    used.stop()
    with sqlite3.connect(used.database) as database:
        database.execute("PRAGMA user_version = 99")
    done = used.cli("restore", backup(used), "--into", tmp_path / "state")
    assert done.returncode == 1 and "newer than this program" in done.stderr, done.stderr
    with sqlite3.connect(used.database) as database:
        database.execute("PRAGMA user_version = 3")


def test_any_tar_reads_it(used):
    with tarfile.open(backup(used)) as tar:
        names = tar.getnames()
        manifest = json.load(tar.extractfile("backup.json"))
    assert names[-1] == "backup.json" and "sluice.db" in names and "ledger/node" in names
    assert [file["name"] for file in manifest["files"]] == names[:-1]
    assert manifest["format"] == 2 and manifest["made_at"].endswith("Z")


def test_what_is_needed_is_said(used, tmp_path):
    assert used.cli("backup").returncode == 2
    assert used.cli("restore").returncode == 2
    done = used.cli("restore", "/nowhere")
    assert done.returncode == 1 and "No such file" in done.stderr
    done = used.cli("restore", tmp_path)
    assert done.returncode == 1, done.stderr
    done = used.cli("backup", "/nowhere/backup.tar")
    assert done.returncode == 1 and "/nowhere/backup.tar" in done.stderr
