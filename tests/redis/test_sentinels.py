# SPDX-License-Identifier: Apache-2.0
"""The master is found through Sentinels, and followed."""

import contextlib
import time

import pytest
from double import Double
from driver import Driver, Fault
from harness import Authority, eventually, temporary_folder
from redis_servers import Redis, RedisError, Sentinels


@pytest.fixture
def sentinels():
    with Sentinels(patience_ms=2000) as sentinels:
        yield sentinels


def connect(sentinels, url="redis://unused", **options):
    return Driver(url, sentinels=sentinels.addresses(), master=sentinels.name, **options)


def life_of(server):
    return int(server.information()["run_id"][:16], 16)


def followed(client, sentinels, old):
    """The master that the Sentinels name and the client has, once these are one and not <old>. On a busy machine
    Sentinels may change their minds: the one they named first need not be it."""
    def both():
        with contextlib.suppress(OSError, RedisError):
            master = sentinels.master()
            return master if master is not old and client.up and client.life == life_of(master) else None

    return eventually(both, 40, what="the client has the master that the Sentinels name")


def write(client, key="a", within=20):
    """A write that is taken, however long it takes until somebody does."""
    return eventually(lambda: client.ask("SET", key, 1) == "OK", within)


def test_an_ordered_failover_is_followed(sentinels):
    with connect(sentinels) as client:
        client.listen("news")
        client.wait_up()
        old = sentinels.master()
        assert client.life == life_of(old) and write(client)
        eventually(lambda: client.messages == [b""])
        new = sentinels.failover()
        eventually(lambda: client.up and client.life == life_of(new))
        assert write(client, "b") and new.command("GET", "b") == b"1"
        eventually(lambda: len(client.messages) >= 2 and client.messages[-1] == b"")
        eventually(lambda: new.command("PUBLISH", "news", "hello") and b"hello" in client.messages)


def takes_itself_for_one(server):
    with contextlib.suppress(OSError):  # it ends its connections when it becomes a replica
        return server.command("ROLE")[0] == b"master"


def test_a_master_that_dies_is_replaced(sentinels):
    with connect(sentinels, timeout_us=100000) as client:
        client.wait_up()
        old, first = sentinels.master(), client.life
        old.kill()
        client.wait_down()
        assert client.ask("SET", "a", 1) == Fault.REFUSED or client.life != first
        followed(client, sentinels, old)
        assert write(client, "b") and followed(client, sentinels, old).command("GET", "b") == b"1"
        old.start()  # comes back as a master, and is not gone back to
        stale = life_of(old)
        begun = time.monotonic()
        while takes_itself_for_one(old) and time.monotonic() < begun + 20:
            assert client.life != stale or sentinels.master() is old, client.log()
            time.sleep(0.01)
        assert write(client, "c")


def test_a_master_that_hangs_is_replaced_and_left_alone_when_it_wakes(sentinels):
    with connect(sentinels, timeout_us=100000) as client:
        client.wait_up()
        old = sentinels.master()
        old.stop()
        assert client.ask("SET", "a", 1) == Fault.UNKNOWN
        followed(client, sentinels, old)
        old.cont()
        assert write(client, "b")
        assert eventually(lambda: followed(client, sentinels, None).command("GET", "b") == b"1", 20)


def test_writes_go_on_through_a_failover_and_none_is_answered_twice(sentinels):
    with connect(sentinels) as client:
        client.wait_up()
        names = []
        old, new = sentinels.master(), None
        begun = time.monotonic()
        while time.monotonic() - begun < 3:
            names.append(client.send("INCR", "n"))
            if len(names) == 100:
                new = sentinels.failover()
            time.sleep(0.003)
        answers = [client.take(name, 20) for name in names]
        assert new is not None and new is not old
        assert all(client.answers[name].empty() for name in names)
        numbers = [answer for answer in answers if isinstance(answer, int)]
        assert len(numbers) > 100
        others = {answer if isinstance(answer, Fault) else answer.split()[0]
                  for answer in answers if not isinstance(answer, int)}
        assert others <= {Fault.REFUSED, Fault.UNKNOWN, Fault.AWAY, "READONLY", "LOADING"}, others


def test_sentinels_that_are_away_are_passed_over(sentinels):
    sentinels.sentinels[0].kill()
    sentinels.sentinels[1].stop()
    with connect(sentinels) as client:
        client.wait_up(20)
        sentinels.sentinels[2].kill()  # the one it holds on to
        sentinels.sentinels[1].cont()
        assert client.up and write(client)
        sentinels.master().drop_clients()
        eventually(lambda: client.figures()["connects"] == 2 and client.up, 20)


def test_a_server_that_is_no_sentinel_and_a_name_that_is_unknown(sentinels):
    with Redis() as redis:
        addresses = [f"127.0.0.1:{redis.port}", *sentinels.addresses()]
        with Driver("redis://unused", sentinels=addresses, master=sentinels.name) as client:
            client.wait_log(f"127.0.0.1:{redis.port} is no Sentinel")
            client.wait_up()
    with Driver("redis://unused", sentinels=sentinels.addresses(), master="nobody") as client:
        client.wait_log("knows no master nobody")
        assert not client.up


def test_a_sentinel_given_as_the_server(sentinels):
    with Driver(f"redis://{sentinels.addresses()[0]}") as client:
        client.wait_log("is a Sentinel, but no master is named")
        assert not client.up


def test_passwords_of_servers_and_sentinels():
    with Sentinels(password="word", sentinel_password="secret") as sentinels:
        with connect(sentinels, "redis://:word@unused", sentinel_password="secret") as client:
            client.wait_up()
            new = sentinels.failover()
            eventually(lambda: client.up and client.life == life_of(new))
        with connect(sentinels, "redis://:word@unused", sentinel_password="wr0ng") as client:
            client.wait_log("WRONGPASS")
            assert not client.up
        with connect(sentinels, "redis://unused", sentinel_password="secret") as client:
            client.wait_log("NOAUTH")
            assert not client.up


def test_tls_to_servers_and_sentinels():
    authority = Authority(temporary_folder("sluice-ca-"))
    with Sentinels(tls=authority) as sentinels:
        with connect(sentinels, "rediss://unused", ca_file=authority.file) as client:
            assert client.wait_up() and write(client)


def test_options_that_are_no_good():
    for options, words in (
            ({"master": "gate"}, "Sentinels need their addresses"),
            ({"mode": "sentinel", "sentinels": ["127.0.0.1"]}, "the name of the master"),
            ({"master": "gate", "sentinels": ["a:b:c"]}, "the Sentinel a:b:c cannot be read")):
        with Driver("redis://unused", **options) as client:
            eventually(lambda: client.fault)
            assert words in client.fault


def test_a_sentinel_that_names_a_replica_is_not_believed(sentinels):
    """It answers first; that the server it names is no master is seen, and another is asked."""
    replica = sentinels.servers[1]
    with Double() as wrong:
        wrong.facts = b"redis_mode:sentinel\r\nrun_id:%s\r\n" % (b"1" * 40)
        wrong.answers["SENTINEL"] = [b"127.0.0.1", b"%d" % replica.port]
        addresses = [wrong.address, *sentinels.addresses()]
        with Driver("redis://unused", sentinels=addresses, master=sentinels.name) as client:
            client.wait_up(20)
            assert client.life == life_of(sentinels.master()) and write(client)
            client.wait_log(f"127.0.0.1:{replica.port} is no master")


def test_a_sentinel_that_has_not_heard_of_a_failover_is_not_believed(sentinels):
    """Nor the old master, which still takes itself for one; set up anew, Sentinels count from the beginning."""
    with connect(sentinels) as client, Redis() as asleep, Double() as late:
        client.wait_up()
        new = sentinels.failover()
        eventually(lambda: client.up and client.life == life_of(new))
        client.end()

        def answer(words):
            facts = [b"ip", b"127.0.0.1", b"port", b"%d" % asleep.port, b"config-epoch", b"0"]
            return facts if words[1] == b"MASTER" else [b"127.0.0.1", b"%d" % asleep.port]

        late.facts = b"redis_mode:sentinel\r\nrun_id:%s\r\n" % (b"1" * 40)
        late.answers["SENTINEL"] = answer
        addresses = [*sentinels.addresses(), late.address]
        with Driver("redis://unused", sentinels=addresses, master=sentinels.name) as client:
            client.wait_up()
            for sentinel in sentinels.sentinels:
                sentinel.stop()
            client.wait_log("has not heard of the last failover", 30)
            assert client.up and client.life == life_of(new) and write(client)
            for sentinel in sentinels.sentinels:
                sentinel.kill()
            eventually(lambda: client.up and client.life == life_of(asleep), 30, what="those that are left count")
