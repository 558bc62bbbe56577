# SPDX-License-Identifier: Apache-2.0
"""Commands, scripts and their answers, with one server."""

import os

import pytest
from driver import Driver, Error, Fault
from harness import eventually
from redis_servers import Redis


@pytest.fixture
def client(redis):
    redis.flushall()
    with Driver(redis.url()) as client:
        yield client.wait_up()


def test_answers_of_every_kind(client):
    assert client.ask("SET", "a", "b") == "OK"
    assert client.ask("GET", "a") == b"b"
    assert client.ask("GET", "nothing") is None
    assert client.ask("INCRBY", "n", "-7") == -7
    assert client.ask("RPUSH", "l", "x", "", "z") == 3
    assert client.ask("LRANGE", "l", 0, -1) == [b"x", b"", b"z"]
    assert client.ask("LRANGE", "none", 0, -1) == []
    error = client.ask("INCR", "a")
    assert isinstance(error, Error) and error.startswith("ERR value is not an integer")
    assert client.eval("return {1, {2, {3, 'x'}}, false, redis.status_reply('ok')}", []) == [
        1, [2, [3, b"x"]], None, "ok"]


def test_words_may_be_any_bytes(client):
    every = bytes(range(256)) * 40
    assert client.ask(b"SET", b"\r\n\0$3\r\n", every) == "OK"
    assert client.ask(b"GET", b"\r\n\0$3\r\n") == every
    assert client.ask("ECHO", "") == b""


def test_ten_thousand_in_one_round_come_back_in_order(client):
    name = client.many(10000, "INCR", "n", timeout_us=20000000)
    assert client.take_all(name, 10000, within=30) == list(range(1, 10001))


def test_a_megabyte_goes_and_comes(client):
    large = os.urandom(1 << 20)
    assert client.ask("SET", "large", large, timeout_us=10000000) == "OK"
    assert client.ask("GET", "large", timeout_us=10000000) == large


def test_what_is_more_than_the_queue_takes_is_refused(client):
    answers = client.take_all(client.many(70000, "PING", timeout_us=30000000), 70000, within=60)
    assert answers.count(Fault.REFUSED) == 70000 - 65536
    assert answers.count("PONG") == 65536
    client.ask("SET", "x", "y")
    word = "v" * (1 << 20)
    answers = client.take_all(client.many(40, "SET", "x", word, timeout_us=30000000), 40, within=60)
    assert answers.count(Fault.REFUSED) == 25 and answers.count("OK") == 15
    assert client.ask("GET", "x", timeout_us=10000000) == word.encode()


def test_a_script_that_the_server_does_not_know_is_sent_whole(client, redis):
    source = "redis.call('INCRBY', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[1]) .. ARGV[2]"
    assert client.eval(source, ["n"], 5, "x") == b"5x"
    assert client.eval(source, ["n"], 5, "x") == b"10x"
    redis.script_flush()
    names = [client.send_eval(source, ["n"], 1, "y") for _ in range(50)]
    assert sorted(client.take(name) for name in names) == sorted(b"%dy" % (11 + i) for i in range(50))
    many = ["k%d" % i for i in range(200)]
    assert client.eval("return #KEYS .. ' ' .. KEYS[200] .. ARGV[1]", many, "z") == b"200 k199z"
    own = "redis.call('INCR', 'own') return redis.error_reply('NOSCRIPT of my own')"
    assert [client.eval(own, []) for _ in range(3)] == ["NOSCRIPT of my own"] * 3
    assert client.ask("GET", "own") == b"3"


def test_forgotten_answers_come_to_nobody(client):
    slow = client.send("BLPOP", "none", "0.3")
    client.forget(slow)
    assert client.ask("PING") == "PONG"
    assert client.answers[slow].empty()


def test_blocked_commands_of_others_do_not_disturb_the_order(client):
    names = [client.send("BLPOP", "none", "0.1"), client.send("ECHO", "after")]
    assert [client.take(name) for name in names] == [None, b"after"]


def test_figures(client):
    for _ in range(5):
        client.ask("PING")
    figures = client.figures()
    assert figures["up"] == 1 and figures["commands"] == 5 and figures["connects"] == 1
    assert figures["faults"] == 0 and figures["latency_us"] > 0
    assert figures["server"].count(".") == 2


def test_the_database_is_chosen():
    with Redis() as redis, Driver(redis.url(db=3)) as client:
        client.wait_up().ask("SET", "a", 1)
        assert "db3:keys=1" in redis.command("INFO", "keyspace").decode()
    with Redis("databases 2") as redis, Driver(redis.url(db=3)) as client:
        client.wait_log("SELECT: ERR DB index is out of range")
        assert not client.up


def test_a_thousand_scripts_at_once_that_the_server_does_not_know(client, redis):
    """The source is sent once (or few times), not a thousand times."""
    source = "return redis.call('INCR', KEYS[1]) -- " + "x" * 10000
    client.eval(source, ["n"])
    redis.script_flush()
    before = int(redis.information("stats")["total_net_input_bytes"])
    names = [client.send_eval(source, ["n"], timeout_us=10000000) for _ in range(1000)]
    assert sorted(client.take(name) for name in names) == list(range(2, 1002))
    assert int(redis.information("stats")["total_net_input_bytes"]) - before < 1000000


def test_free_ends_what_is_under_way(redis):
    client = Driver(redis.url()).wait_up()
    name = client.send("BLPOP", "none", "0")
    eventually(lambda: redis.information("clients")["blocked_clients"] == "1")
    client.free()
    assert client.take(name) == Fault.UNKNOWN
