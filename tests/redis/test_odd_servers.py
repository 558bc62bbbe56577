# SPDX-License-Identifier: Apache-2.0
"""Servers that say what no good server says: none makes the client hang, grow or lose an answer."""

import time

import pytest
from double import Double, Error, Raw
from driver import Driver, Fault
from harness import eventually

MEBIBYTE = 1 << 20


@pytest.fixture
def double():
    with Double() as double:
        yield double


@pytest.fixture
def client(double):
    with Driver(double.url) as client:
        yield client.wait_up()


def as_cluster(double, *rows):
    double.facts = b"redis_version:6.2.0\r\nredis_mode:cluster\r\nrun_id:%s\r\n" % (b"%040x" % (double.port + (1 << 100)))
    double.answers["CLUSTER"] = [list(row) for row in rows] or [
        [0, 16383, [b"127.0.0.1", double.port, b"id"]]]


GARBAGE = {
    "a map of RESP3": b"%1\r\n+a\r\n+b\r\n",
    "a null of RESP3": b"_\r\n",
    "a boolean of RESP3": b"#t\r\n",
    "a push of RESP3": b">2\r\n+message\r\n+x\r\n",
    "another protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "zeros": b"\0" * 100,
    "a length that is none": b"$x\r\n",
    "a length below zero": b"$-2\r\n",
    "a text beyond all bounds": b"$99999999999999\r\n",
    "a text beyond ours": b"$%d\r\n" % (64 * MEBIBYTE + 1),
    "a length without end": b"$" + b"1" * 100,
    "a number that is none": b":1x\r\n",
    "a number beyond 64 bits": b":99999999999999999999\r\n",
    "a list beyond all bounds": b"*9999999999\r\n",
    "a list beyond ours": b"*%d\r\n" % (MEBIBYTE + 1),
    "many lists beyond ours": b"*4\r\n" + b"*%d\r\n" % (MEBIBYTE // 2) + b":1\r\n" * (MEBIBYTE // 2) +
                              b"*%d\r\n" % (MEBIBYTE // 2 + 1),
    "lists in lists in lists": b"*1\r\n" * 10 + b":1\r\n",
    "a line without end": b"+" + b"x" * 200000,
    "two answers": b"+OK\r\n+OK\r\n",
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_ends_the_connection_and_every_command(double, client, name):
    double.answers["GET"] = Raw(GARBAGE[name])
    names = [client.send("GET", "a", timeout_us=20000000), client.send("PING", timeout_us=20000000)]
    answers = [client.take(each, 20) for each in names]
    if name == "two answers":
        # The second was there for the spare answer, or on its way, or not sent yet when the connection ended.
        assert answers[0] == "OK" and (answers[1] == "OK" or isinstance(answers[1], Fault))
    else:
        assert answers[0] == Fault.UNKNOWN and isinstance(answers[1], Fault)
    client.wait_down()
    client.wait_log("nobody asked for" if name == "two answers" else "not Redis' protocol")
    double.answers["GET"] = b"good"
    client.wait_up()
    assert client.ask("GET", "a") == b"good"


def test_many_texts_beyond_the_bounds_together(double, client):
    """Each is small enough; the reply is not."""
    part = b"$%d\r\n" % (8 * MEBIBYTE) + b"x" * 8 * MEBIBYTE + b"\r\n"
    double.answers["GET"] = Raw(b"*9\r\n" + part * 9)
    assert client.ask("GET", "a", timeout_us=50000000) == Fault.UNKNOWN
    client.wait_log("not Redis' protocol")


def test_a_large_answer_within_the_bounds(double, client):
    double.answers["GET"] = b"x" * (32 * MEBIBYTE)
    assert client.take(client.send("GET", "a", timeout_us=50000000), 60) == b"x" * (32 * MEBIBYTE)
    assert client.ask("PING") == "PONG"


def test_an_answer_that_comes_byte_by_byte(double, client):
    def slowly(_words):
        connection = double.connections[-1]
        for byte in b"*3\r\n$3\r\na\r\n\r\n:-12\r\n$-1\r":
            connection.sendall(bytes([byte]))
            time.sleep(0.002)
        return Raw(b"\n")
    double.answers["GET"] = slowly
    assert client.ask("GET", "a") == [b"a\r\n", -12, None]


def test_a_server_that_speaks_first(double):
    double.answers["CLIENT"] = Raw(b"+OK\r\n+surprise\r\n")
    with Driver(double.url) as client:
        client.wait_log("redis")
        assert not client.up or client.figures()["faults"] > 0


@pytest.mark.parametrize("words", ["LOADING Redis is loading the dataset in memory",
                                   "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."])
def test_a_server_that_is_not_ready_is_not_up(double, words):
    double.answers["PING"] = Error(words)
    with Driver(double.url) as client:
        client.wait_log(words)
        assert not client.up
        double.answers["PING"] = "PONG"
        client.wait_up()
        double.answers["GET"] = Error(words)
        assert client.ask("GET", "a") == words
        client.wait_log("takes no commands now")
        eventually(lambda: client.figures()["connects"] == 2)


def test_read_only_from_within_a_script_of_an_old_server(double, client):
    words = "ERR Error running script (call to f_1): @user_script:1: -READONLY You can't write"
    double.answers["EVALSHA"] = Error(words)
    assert client.eval("return 1", []) == words
    client.wait_log("takes no commands now")


def test_a_server_that_says_noscript_for_ever(double, client):
    double.answers["EVALSHA"] = double.answers["EVAL"] = Error("NOSCRIPT No matching script.")
    assert client.eval("return 1", ["k"], "x") == "NOSCRIPT No matching script."
    assert double.count("EVALSHA") == 1 and double.count("EVAL") == 1
    assert double.seen[-1][1:] == [b"return 1", b"1", b"k", b"x"]


def test_a_server_without_a_run_id_has_another_life_with_every_connection(double):
    double.facts = b"redis_version:6.2.0\r\n"
    with Driver(double.url) as client:
        first = client.wait_up().life
        double.connections[-1].shutdown(2)
        eventually(lambda: client.life != first)
        assert first and client.life


def test_what_the_server_says_of_itself_is_cut_to_size(double):
    double.facts = b"redis_version:%s\r\nrun_id:%s\r\n" % (b"9" * 5000, b"zz" * 3000)
    with Driver(double.url) as client:
        client.wait_up()
        assert client.figures()["server"] == "9" * 63


# ---------------------------------------------------------------------------- clusters


def test_tryagain_ends_with_the_time_of_the_command(double):
    as_cluster(double)
    double.answers["GET"] = Error("TRYAGAIN Multiple keys request during rehashing of slot")
    with Driver(double.url) as client:
        client.wait_up()
        begun = time.monotonic()
        answer = client.ask("GET", "a", timeout_us=300000)
        assert answer == double.answers["GET"] or answer == Fault.AWAY
        assert time.monotonic() - begun < 20
        assert 2 <= double.count("GET") <= 32
        assert client.up
        waits = client.send("GET", "a", timeout_us=60000000)
        eventually(lambda: double.count("GET") > 40)
        client.free()
        assert client.take(waits) in (Fault.AWAY, Fault.UNKNOWN)


@pytest.mark.parametrize("word", ["MOVED", "ASK"])
def test_servers_that_send_each_other_the_command_for_ever(double, word):
    with Double() as other:
        for one, two in ((double, other), (other, double)):
            as_cluster(one, [0, 16383, [b"127.0.0.1", double.port, b"id"]])
            one.answers["GET"] = Error(f"{word} 15495 127.0.0.1:{two.port}")
        with Driver(double.url) as client:
            client.wait_up()
            assert client.ask("GET", "a").startswith(f"{word} 15495")
            assert double.count("GET") == 3 and other.count("GET") == 3
            assert double.count("ASKING") + other.count("ASKING") == (5 if word == "ASK" else 0)


@pytest.mark.parametrize("words", ["MOVED", "MOVED 1", "MOVED x 127.0.0.1:1", "MOVED 1 127.0.0.1", "MOVED 1 a:b",
                                   "MOVED 99999 127.0.0.1:1", "ASK 1 127.0.0.1:0", "ASK 1 127.0.0.1:65536",
                                   "MOVED 1 " + "h" * 300 + ":1"])
def test_a_redirection_that_cannot_be_read_is_the_answer(double, words):
    as_cluster(double)
    double.answers["GET"] = Error(words)
    with Driver(double.url) as client:
        assert client.wait_up().ask("GET", "a") == words
        assert client.up and client.ask("PING", key="") == "PONG"


def test_a_redirection_without_a_host_is_to_the_same_host(double):
    with Double() as other:
        as_cluster(double)
        as_cluster(other)
        other.answers["GET"] = b"here"
        double.answers["GET"] = Error(f"MOVED 15495 :{other.port}")
        with Driver(double.url) as client:
            assert client.wait_up().ask("GET", "a") == b"here"


def test_a_redirection_to_nobody_is_known_to_be_undone(double):
    as_cluster(double)
    double.answers["GET"] = Error("ASK 15495 127.0.0.1:1")
    with Driver(double.url) as client:
        assert client.wait_up().ask("GET", "a") == Fault.AWAY
        double.answers["GET"] = Error("ASK 15495 ::1:1")
        assert client.ask("GET", "a") == Fault.AWAY
        assert client.up


def test_a_redirection_to_a_metadata_service_is_not_followed(double):
    as_cluster(double)
    double.answers["GET"] = Error("ASK 15495 169.254.169.254:80")
    with Driver(double.url) as client:
        assert client.wait_up().ask("GET", "a") == Fault.AWAY
        client.wait_log("addresses that are not allowed")


@pytest.mark.parametrize("rows", [
    [], [[]], [[0]], [[0, 16384, [b"127.0.0.1", 1]]], [[5, 4, [b"127.0.0.1", 1]]], [[-1, 4, [b"127.0.0.1", 1]]],
    [[0, 16383, []]], [[0, 16383, [b"127.0.0.1", 0]]], [[0, 16383, [b"127.0.0.1", 70000]]],
    [[b"a", b"b", b"c"]], [[0, 16383, [b"?", 1]]], [7], [None], [[0, 16383, [b"h" * 300, 1]]]])
def test_a_map_that_cannot_be_read(double, rows):
    as_cluster(double)
    double.answers["CLUSTER"] = rows
    with Driver(double.url) as client:
        eventually(lambda: double.count("CLUSTER") >= 2)
        assert not client.up and client.ask("GET", "a") == Fault.REFUSED
        as_cluster(double)
        client.wait_up()


def test_a_map_of_more_nodes_than_there_may_be(double):
    as_cluster(double, *[[i, i, [b"127.0.0.1", 1 + i, b"id"]] for i in range(400)],
               [400, 16383, [b"", double.port, b"id"]])
    with Driver(double.url, timeout_us=100000) as client:
        eventually(lambda: "Cluster of 256 masters" in client.log())
        as_cluster(double)
        client.wait_up(20)
        eventually(lambda: client.life_of("a") != 0)


def test_clusterdown_is_the_answer_and_the_map_is_read_anew(double):
    as_cluster(double)
    double.answers["GET"] = Error("CLUSTERDOWN The cluster is down")
    with Driver(double.url) as client:
        client.wait_up()
        time.sleep(0.6)
        before = double.count("CLUSTER")
        assert client.ask("GET", "a") == "CLUSTERDOWN The cluster is down"
        eventually(lambda: double.count("CLUSTER") > before)
        for _ in range(200):
            client.ask("GET", "a")
        assert double.count("CLUSTER") - before < 20  # not with every one
