# SPDX-License-Identifier: Apache-2.0
"""Every key goes to its node, wherever its slot moves."""

import threading
import time

import pytest
from driver import Driver, Error, Fault
from harness import Authority, eventually, temporary_folder
from redis_servers import Cluster


@pytest.fixture(scope="module")
def shared():
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def cluster():
    """For tests that end nodes."""
    with Cluster() as cluster:
        yield cluster


def complete(client, cluster):
    """All masters are connected."""
    eventually(lambda: all(client.life_of(key) for key in KEYS), 20)
    return client


def life_of(server):
    return int(server.information()["run_id"][:16], 16)


KEYS = ["key%d" % i for i in range(60)]


@pytest.mark.parametrize("mode", ["auto", "cluster"])
def test_keys_of_all_slots(shared, mode):
    with Driver(shared.url(), mode=mode) as client:
        complete(client.wait_up(), shared)
        assert [client.take(name) for name in [client.send("SET", key, key) for key in KEYS]] == ["OK"] * 60
        assert [client.ask("GET", key) for key in KEYS] == [key.encode() for key in KEYS]
        for key in KEYS:
            owner = shared.owner(shared.slot(key))
            assert client.life_of(key) == life_of(owner)
            assert owner.command("GET", key) == key.encode()
        assert client.ask("DBSIZE", key="") > 0
        refused = client.ask("MGET", "a", "b")
        assert isinstance(refused, Error) and refused.startswith("CROSSSLOT")
        assert client.eval("return redis.call('GET', KEYS[1]) .. ARGV[1]", ["key7"], "!") == b"key7!"


def test_tags_are_cut_out_of_keys_as_the_server_does(shared):
    keys = ["{a}b", "x{a}y", "{}a", "{}{a}", "{a", "a}", "}{a}", "{{a}}", "{a}{b}", "", "{", "a{b}c}", "ü{ö}"]
    with Driver(shared.url()) as client:
        complete(client.wait_up(), shared)
        for key in filter(None, keys):
            assert client.life_of(key) == life_of(shared.owner(shared.slot(key))), key
            assert client.ask("SET", key, 1) == "OK"


def test_one_life_of_all_that_changes_with_any(cluster):
    with Driver(cluster.url()) as client:
        complete(client.wait_up(), cluster)
        before, mine = client.life, client.life_of("key1")
        other = next(key for key in KEYS if client.life_of(key) != mine)
        cluster.owner(cluster.slot("key1")).restart()
        eventually(lambda: client.life_of("key1") not in (0, mine), 20)
        eventually(lambda: client.life != before)
        assert client.up and client.life_of(other)


def test_moved_and_asked_under_load_every_command_is_done_once(shared):
    """INCR by INCR, while the slots of their keys go back and forth."""
    keys = ["{tag%d}n" % i for i in range(4)]
    for key in keys:
        shared.owner(shared.slot(key)).command("SET", key, 0)
    with Driver(shared.url()) as client:
        complete(client.wait_up(), shared)
        stop, names = threading.Event(), []

        def load():
            while not stop.is_set():
                for key in keys:
                    names.append(client.send("INCR", key, timeout_us=5000000))
                time.sleep(0.001)

        thread = threading.Thread(target=load)
        thread.start()
        for turn in range(3):
            for key in keys:
                slot = shared.slot(key)
                to = next(each for each in shared.masters() if each is not shared.owner(slot))
                with shared.moving(slot, to) as source:
                    time.sleep(0.05)
                    shared.move_keys(slot, source, to)
                    time.sleep(0.05)  # now it is asked for there
                time.sleep(0.05)
        stop.set()
        thread.join()
        answers = [client.take(name) for name in names]
        assert all(isinstance(answer, int) for answer in answers), {repr(a) for a in answers if not isinstance(a, int)}
        total = sum(int(shared.owner(shared.slot(key)).command("GET", key)) for key in keys)
        assert total == len(names) > 500
        assert client.figures()["faults"] == 0


def test_ask_is_followed_without_a_change_of_the_map(shared):
    key = "{asked}n"
    slot = shared.slot(key)
    to = next(each for each in shared.masters() if each is not shared.owner(slot))
    with Driver(shared.url()) as client:
        complete(client.wait_up(), shared)
        before = client.life_of(key)
        with shared.moving(slot, to):
            assert client.ask("INCR", key) == 1  # new keys are made where the slot goes
            assert client.ask("INCR", key) == 2
            assert client.eval("return redis.call('INCR', KEYS[1])", [key]) == 3
            assert client.life_of(key) == before
        assert client.ask("INCR", key) == 4
        eventually(lambda: client.life_of(key) == life_of(to))


def test_tryagain_is_tried_again_until_the_keys_are_together(shared):
    first, second = "{split}a", "{split}b"
    slot = shared.slot(first)
    source = shared.owner(slot)
    to = next(each for each in shared.masters() if each is not source)
    for key in (first, second):
        source.command("SET", key, key)
    with Driver(shared.url()) as client:
        complete(client.wait_up(), shared)
        with shared.moving(slot, to):
            source.command("MIGRATE", "127.0.0.1", to.port, first, 0, 5000)
            late = client.ask("MGET", first, second, timeout_us=150000)
            assert isinstance(late, Error) and late.startswith("TRYAGAIN") or late == Fault.AWAY
            waits = client.send("MGET", first, second, timeout_us=10000000)
            time.sleep(0.3)
            assert client.answers[waits].empty()
            source.command("MIGRATE", "127.0.0.1", to.port, second, 0, 5000)
            assert client.take(waits) == [first.encode(), second.encode()]


def test_an_ordered_failover_of_a_node(cluster):
    with Driver(cluster.url()) as client:
        complete(client.wait_up(), cluster)
        old = cluster.owner(cluster.slot("key1"))
        new = cluster.failover(old)
        eventually(lambda: client.ask("SET", "key1", "x") == "OK", 10)
        assert new.command("GET", "key1") == b"x"
        eventually(lambda: client.life_of("key1") == life_of(new))


def test_a_node_that_dies_is_replaced_and_the_others_go_on(cluster):
    with Driver(cluster.url()) as client:
        complete(client.wait_up(), cluster)
        old = cluster.owner(cluster.slot("key1"))
        other = next(key for key in KEYS if cluster.owner(cluster.slot(key)) is not old)
        old.kill()
        eventually(lambda: client.ask("SET", "key1", "x") == Fault.REFUSED)
        assert client.up and client.ask("SET", other, "y") == "OK"
        eventually(lambda: client.ask("SET", "key1", "x") == "OK", 30, every=0.1)
        assert cluster.owner(cluster.slot("key1")) is not old
        old.start()
        cluster.wait_ready(30)
        assert client.ask("SET", "key1", "z") == "OK"


def test_a_node_that_hangs_keeps_nobody_waiting(cluster):
    with Driver(cluster.url(), timeout_us=100000) as client:
        complete(client.wait_up(), cluster)
        old = cluster.owner(cluster.slot("key1"))
        other = next(key for key in KEYS if cluster.owner(cluster.slot(key)) is not old)
        old.stop()
        assert client.ask("INCR", "key1") == Fault.UNKNOWN
        assert client.ask("INCR", "key1") == Fault.REFUSED
        assert client.up and client.ask("SET", other, "y") == "OK"
        eventually(lambda: client.ask("SET", "key1", "x") == "OK", 30, every=0.1)
        old.cont()


def test_all_nodes_go_and_come_back(cluster):
    with Driver(cluster.url()) as client:
        complete(client.wait_up(), cluster)
        for server in cluster.servers:
            server.stop()
        client.wait_down(20)
        assert client.ask("SET", "key1", 1) == Fault.REFUSED
        for server in cluster.servers:
            server.cont()
        eventually(lambda: client.up and client.ask("SET", "key1", 1) == "OK", 20)


def test_the_node_of_the_url_may_go_once_the_others_are_known(cluster):
    with Driver(cluster.url()) as client:
        complete(client.wait_up(), cluster)
        cluster.servers[0].kill()
        eventually(lambda: client.ask("SET", "key1", 1) == "OK" and client.ask("SET", "key2", 1) == "OK"
                   and client.ask("SET", "key3", 1) == "OK", 30, every=0.1)
        for server in cluster.alive():
            server.drop_clients()
        eventually(lambda: client.up and all(client.ask("SET", key, 1) == "OK" for key in KEYS), 20)


def test_a_url_that_names_a_replica(shared):
    with Driver(shared.servers[-1].url()) as client:
        complete(client.wait_up(), shared)
        assert all(client.ask("SET", key, 1) == "OK" for key in KEYS)


def test_listening_at_any_node(cluster):
    with Driver(cluster.url()) as client:
        client.listen("news")
        eventually(lambda: b"" in client.messages)
        complete(client.wait_up(), cluster)
        for i, server in enumerate(cluster.servers):
            eventually(lambda i=i, server=server: server.command("PUBLISH", "news", "n%d" % i) is not None
                       and b"n%d" % i in client.messages)
        where = next(server for server in cluster.servers if server.command("PUBSUB", "NUMSUB", "news")[1])
        before = client.messages.count(b"")
        where.kill()
        eventually(lambda: client.messages.count(b"") > before, 20)
        last = next(server for server in cluster.alive() if server.command("ROLE")[0] == b"master")
        eventually(lambda: last.command("PUBLISH", "news", "again") is not None and b"again" in client.messages)


def test_a_password_and_tls():
    authority = Authority(temporary_folder("sluice-ca-"))
    with Cluster(replicas=0, password="word", tls=authority) as cluster:
        with Driver(cluster.url(), ca_file=authority.file) as client:
            complete(client.wait_up(), cluster)
            assert all(client.ask("SET", key, 1) == "OK" for key in KEYS)


def test_a_cluster_has_one_database(shared):
    with Driver(shared.url(db=1)) as client:
        client.wait_log("SELECT: ERR SELECT is not allowed in cluster mode")
    with Driver(shared.url(db=1), mode="cluster") as client:
        eventually(lambda: client.fault)
        assert "database 0" in client.fault


def test_a_server_that_is_no_cluster(redis):
    with Driver(redis.url(), mode="cluster") as client:
        client.wait_log("is no node of a Cluster")
        assert not client.up


def test_a_node_spoken_to_as_a_single_server(shared):
    with Driver(shared.url(), mode="single") as client:
        client.wait_up()
        answers = {client.ask("SET", key, 1).split()[0] for key in KEYS}
        assert answers == {"OK", "MOVED"}
        assert client.life_of("key1") == client.life == life_of(shared.servers[0])
