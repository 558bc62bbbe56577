# SPDX-License-Identifier: Apache-2.0
"""Several gateways on one Redis: each of them answers for all, whatever dies or forgets."""

import json
import shutil
import tarfile
import time

import pytest
from fleet import COST, NODES, Fleet, own, shared
from harness import SANITIZED, Client, Sluice, Upstream, config_for, eventually, request_bytes, run_cli
from redis_servers import Redis

pytestmark = pytest.mark.threads
CALLS = 30 if SANITIZED else 60


@pytest.fixture()
def fleet():
    with Fleet() as fleet:
        yield fleet


def test_each_node_answers_for_all(fleet):
    made = fleet.load(CALLS)
    assert made == NODES * CALLS
    fleet.wait_total(made)
    for gate in fleet.gates:
        assert own(gate)[0]["requests"] == CALLS
        rows = {row["model"]: row["requests"] for row in gate.usage(by="model")}
        assert rows == {"fast": made // 2, "slow": made // 2}
        by_minute = gate.usage(by="minute,model")
        assert sum(row["requests"] for row in by_minute) == made
        assert sum(row["cost_nanos"] for row in gate.usage(by="hour")) == made * COST


def test_what_redis_forgets_is_told_again(fleet):
    made = fleet.load(10)
    fleet.wait_total(made)
    fleet.redis.flushall()
    fleet.wait_total(made)
    fleet.redis.restart()  # empty, too
    made += fleet.load(10)
    fleet.wait_total(made)


def test_calls_go_on_while_redis_is_away(fleet):
    made = fleet.load(10)
    fleet.redis.kill()
    made += fleet.load(10)
    for gate in fleet.gates:
        assert own(gate)[0]["requests"] == made / NODES
        done = gate.cli("usage", "--by", "tenant", "--since", "1d")
        assert done.returncode == 1 and "Redis is away" in done.stderr, (done.stdout, done.stderr)
    fleet.redis.start()
    fleet.wait_total(made)


def test_a_redis_that_takes_nothing_is_told_of(fleet):
    """It answers, but is full or has too few replicas: the metric that the alert goes by says so, until it is told again."""
    made = fleet.load(1)

    def wait_shared(up):
        eventually(lambda: all(gate.metric("sluice_ledger_shared_up") == up for gate in fleet.gates), 20, what=f"shared: {up}")

    for setting, bad, good in (("maxmemory", 1, 0), ("min-replicas-to-write", 1, 0)):
        wait_shared(1)
        fleet.redis.command("CONFIG", "SET", setting, bad)
        made += fleet.load(1)
        wait_shared(0)
        fleet.redis.command("CONFIG", "SET", setting, good)
        wait_shared(1)
    fleet.wait_total(made)


def test_a_stopped_redis_loses_and_doubles_nothing(fleet):
    """Commands that were sent before it stopped are done when it goes on, after others, or twice."""
    made = 0
    for _ in range(3):
        made += fleet.load(5)
        fleet.redis.stop()
        made += fleet.load(5)
        time.sleep(6)  # longer than a batch is waited for
        fleet.redis.cont()
    fleet.wait_total(made)
    assert calls_told(fleet.redis) == made


def test_a_killed_node_is_counted_and_comes_back(fleet):
    made = fleet.load(20)
    victim = fleet.gates[1]
    victim.kill()
    victim.start()
    made += fleet.load(5)
    fleet.wait_total(made)
    assert calls_told(fleet.redis) == made


def test_a_node_that_ends_has_told_all(fleet):
    made = fleet.load(CALLS)
    for gate in fleet.gates[1:]:
        gate.stop()
    fleet.wait_total(made, fleet.gates[:1], within=0.5)
    assert calls_told(fleet.redis) >= made - CALLS


def test_files_alone_are_this_node(fleet):
    made = fleet.load(4)
    fleet.wait_total(made)
    gate = fleet.gates[0]
    gate.stop()
    done = gate.cli("usage", "--by", "tenant", "--since", "1d", "--format", "json")
    assert done.returncode == 0 and "this node only" in done.stderr, done.stderr
    assert json.loads(done.stdout)[0]["requests"] == 4


def calls_told(redis):
    """How many single calls stand in the stream; each id once."""
    entries = redis.command("XRANGE", "sluice:{ledger}:calls", "-", "+")
    lines = [dict(zip(fields[::2], fields[1::2]))[b"line"] for _, fields in entries]
    assert len(lines) == len(set(lines)), "a call stands twice"
    return len(lines)


def ask(gate, path):
    with Client(str(gate.state / "admin.sock")) as client:
        client.send(request_bytes("GET", path))
        return client.read_response("GET")


def pages(gate, **parameters):
    """All calls that the admin API lists, page by page."""
    calls, after = [], None
    while True:
        query = "&".join(f"{name}={value}" for name, value in {**parameters, **({"after": after} if after else {})}.items())
        answer = ask(gate, f"/admin/v1/requests?{query}")
        assert answer.status == 200, answer
        calls += answer.json["data"]
        after = answer.json["next"]
        if not after:
            return calls


def test_calls_are_listed_of_all_nodes(fleet):
    made = fleet.load(15)
    fleet.wait_total(made)
    eventually(lambda: calls_told(fleet.redis) == made, what="the stream has all calls")
    gate = fleet.gates[0]
    newest = pages(gate, limit=7)
    ids = [call["id"] for call in newest]
    assert len(ids) == len(set(ids)) == made
    times = [call["started_at"] for call in newest]
    assert times[0] >= times[-1]
    oldest = pages(gate, limit=11, order="asc")
    assert sorted(call["id"] for call in oldest) == sorted(ids)
    assert len(pages(gate, model="slow", limit=4)) == 3 * 7
    assert len(pages(gate, nodes="this", limit=4)) == 15
    foreign = next(call for call in newest if call["id"] not in {c["id"] for c in pages(gate, nodes="this")})
    found = ask(gate, f"/admin/v1/requests/{foreign['id']}")
    assert found.status == 200 and found.json == {**foreign, "decision": None, "content": None}, "how it was chosen is known where it was"
    assert ask(gate, f"/admin/v1/requests/{foreign['id']}?nodes=this").status == 404
    assert ask(gate, "/admin/v1/requests/req_none").status == 404
    exported = gate.cli("export", "--format", "jsonl").stdout.splitlines()
    assert len(exported) == made
    fleet.redis.kill()
    answer = ask(gate, "/admin/v1/requests")
    assert answer.status == 200 and len(answer.json["data"]) == 15 and answer.json["up_to_date"] is False
    assert ask(gate, "/admin/v1/requests/req_none").status == 503
    fleet.redis.start()


@pytest.mark.parametrize("how", ["restore", "copy"])
def test_a_restored_ledger_replaces_what_redis_has_of_it(fleet, how):
    one = fleet.gates[0]
    made = fleet.load(5)
    fleet.wait_total(made)
    path = one.directory / "backup.tar"
    assert one.cli("backup", path).returncode == 0
    for _ in range(7):
        assert one.chat("fast").status == 200
    fleet.wait_total(made + 7)
    one.stop()
    if how == "restore":
        done = one.cli("restore", path, "--force")
        assert done.returncode == 0, done.stderr
    else:
        with tarfile.open(path) as tar:
            one.database.write_bytes(tar.extractfile("sluice.db").read())
        for name in ["sluice.db-wal", "sluice.db-shm"]:
            (one.state / name).unlink(missing_ok=True)
    one.start()
    fleet.wait_total(made)
    assert one.chat("fast").status == 200
    fleet.wait_total(made + 1)
    eventually(lambda: len(pages(fleet.gates[1], limit=50)) == made + 1, what="the lists say the same")


def test_rating_again_is_told(fleet):
    made = fleet.load(4)
    fleet.wait_total(made)
    one, other = fleet.gates[:2]
    prices = one.directory / "prices"
    prices.write_text("fast-1: {input: 2, output: 8}\n")
    done = run_cli("-c", one.file, "usage", "rerate", "--prices", prices, "--since", "1h", "--apply", env=one.env)
    assert done.returncode == 0, done.stderr
    eventually(lambda: other.usage(by="tenant")[0]["cost_nanos"] == (made + 2) * COST, what="the other node sees it")
    assert one.usage(by="tenant")[0]["cost_nanos"] == (made + 2) * COST


def test_a_ledger_begins_to_share_what_it_has():
    with Upstream() as upstream, Sluice(config_for(upstream)) as gate, Redis() as redis:
        for _ in range(6):
            assert gate.chat("fast").status == 200
        gate.stop()
        gate.write(shared(redis, upstream))
        gate.start()
        with Sluice(shared(redis, upstream)) as other:
            eventually(lambda: [row["requests"] for row in other.usage(by="tenant")] == [6], what="what it had is told")
        gate.stop()
        gate.write(config_for(upstream))
        gate.start()
        assert gate.chat("fast").status == 200
        gate.stop()
        gate.write(shared(redis, upstream))
        gate.start()
        with Sluice(shared(redis, upstream)) as other:
            eventually(lambda: [row["requests"] for row in other.usage(by="tenant")] == [7], what="and what came meanwhile")


@pytest.mark.parametrize("pause", [0, 0.3, 1.5])
def test_a_damaged_database_is_not_counted_twice(fleet, pause):
    """What Redis has of it stays; the new one books what the journals hold beyond that."""
    made = fleet.load(40)
    time.sleep(pause)
    victim = fleet.gates[0]
    victim.kill()
    victim.database.write_bytes(b"this is no database" * 1000)
    victim.database.with_name("sluice.db-wal").unlink()
    victim.start()
    eventually(lambda: "is damaged; it was moved to" in victim.log(), what="it says so")
    fleet.wait_total(made)
    events = ask(victim, "/admin/v1/events").json
    assert "moved to" in str(events), events
    assert victim.chat("fast").status == 200
    fleet.wait_total(made + 1)
    time.sleep(1.5)
    fleet.wait_total(made + 1)


def damage(gate):
    gate.database.write_bytes(b"this is no database" * 1000)
    gate.database.with_name("sluice.db-wal").unlink(missing_ok=True)


def begins_anew(fleet, gate, made):
    gate.start()
    assert "is damaged; it was moved to" in gate.log()
    fleet.wait_total(made)
    assert gate.chat("fast").status == 200
    fleet.wait_total(made + 1)


@pytest.mark.parametrize("kept", ["what was told before", "only the name"])
def test_what_redis_was_told_last_is_not_told_again(fleet, kept):
    """A kill between Redis' answer and the file that says so: the file knows less than Redis does."""
    victim = fleet.gates[0]
    told = victim.state / "ledger" / "told"
    made = fleet.load(10)
    fleet.wait_total(made)
    lines = told.read_bytes().splitlines(keepends=True)
    made += fleet.load(10)
    fleet.wait_total(made)
    victim.kill()
    told.write_bytes(b"".join(lines if kept == "what was told before" else lines[:1]))
    damage(victim)
    begins_anew(fleet, victim, made)


def test_a_journal_that_was_done_with_is_not_booked_again(fleet):
    """A kill between the last word about a journal and its removal; the file does not name it any more."""
    victim = fleet.gates[0]
    made = fleet.load(10)
    fleet.wait_total(made)
    (live,) = [path for path in (victim.state / "ledger").iterdir() if path.is_dir()]
    aside = victim.state / "aside"
    shutil.copytree(live, aside)
    victim.stop()
    aside.rename(live)
    damage(victim)
    begins_anew(fleet, victim, made)


def test_a_damaged_database_waits_for_no_redis(fleet):
    victim = fleet.gates[0]
    made = fleet.load(10)
    fleet.wait_total(made)
    victim.kill()
    damage(victim)
    fleet.redis.kill()
    victim.start()
    assert "Redis cannot be asked what it was told of the damaged database" in victim.log()
    assert victim.chat("fast").status == 200
