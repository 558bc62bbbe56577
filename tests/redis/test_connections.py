# SPDX-License-Identifier: Apache-2.0
"""How a client gets in, and what it does when the server goes."""

import contextlib
import time

import pytest
from driver import Driver, Error, Fault
from harness import Authority, eventually, temporary_folder
from redis_servers import Redis

PASSWORD = "5ecre7:/@%? +word"


@pytest.fixture(scope="module")
def authority():
    return Authority(temporary_folder("sluice-ca-"))


@pytest.fixture(scope="module")
def guarded():
    with Redis(password=PASSWORD, users={
            "gate": "on >word ~gate:* &* +@all",
            "narrow": "on >word ~* &* +@all -info"}) as server:
        yield server


# ------------------------------------------------------------------------------ who is it?


def test_a_password(guarded):
    with Driver(guarded.url()) as client:
        assert client.wait_up().ask("SET", "a", 1) == "OK"


def test_no_password_and_a_wrong_one(guarded):
    for url in (f"redis://127.0.0.1:{guarded.port}", guarded.url(password="wr0ng")):
        with Driver(url) as client:
            client.wait_log("NOAUTH" if "@" not in url else "WRONGPASS")
            assert not client.up and client.ask("PING") == Fault.REFUSED
            assert "wr0ng" not in client.log()


def test_a_user_of_the_acl_and_what_it_may_not(guarded):
    with Driver(guarded.url("gate", "word")) as client:
        assert client.wait_up().ask("SET", "gate:a", 1) == "OK"
        denied = client.ask("SET", "other", 1)
        assert isinstance(denied, Error) and denied.startswith("NOPERM")
        assert client.up
    with Driver(guarded.url("gate", "wr0ng")) as client:
        client.wait_log("WRONGPASS")


def test_a_user_that_may_not_ask_for_the_servers_facts_is_told_so(guarded):
    with Driver(guarded.url("narrow", "word")) as client:
        client.wait_log("INFO: NOPERM")
        assert not client.up


def test_a_unix_socket():
    with Redis(unix=True) as redis, Driver(redis.url(db=2)) as client:
        assert client.wait_up().ask("SET", "a", 1) == "OK"
        assert "db2:keys=1" in redis.command("INFO", "keyspace").decode()
    with Redis(unix=True, password="word") as redis, Driver(redis.url()) as client:
        client.wait_up()


def test_ipv6():
    with Redis("bind 127.0.0.1 ::1") as redis, Driver(redis.url(host="[::1]")) as client:
        assert client.wait_up().ask("PING") == "PONG"


def test_a_name_whose_first_address_is_not_the_one(redis):
    with Driver(redis.url(host="localhost")) as client:
        client.wait_up()


def test_a_name_that_is_none():
    with Driver("redis://no-such-host.invalid") as client:
        client.wait_log("resolve no-such-host.invalid")


# ------------------------------------------------------------------------------------- TLS


def test_tls(authority):
    with Redis(tls=authority, password="word") as redis:
        for host in ("localhost", "127.0.0.1"):
            with Driver(redis.url(host=host), ca_file=authority.file) as client:
                client.wait_up()
                name = client.many(5000, "SET", "a", "x" * 100, timeout_us=20000000)
                assert client.take_all(name, 5000) == ["OK"] * 5000
                assert client.ask("SET", "b", "y" * 300000) == "OK"
                assert client.ask("GET", "b") == b"y" * 300000


def test_tls_with_a_certificate_for_another_host(authority):
    with Redis(tls=authority, alternative="DNS:redis.example") as redis:
        with Driver(redis.url(), ca_file=authority.file) as client:
            client.wait_log("certificate refused")
            assert not client.up
        with Driver(redis.url(), ca_file=authority.file, server_name="redis.example") as client:
            client.wait_up()
        with Driver(redis.url(), ca_file=authority.file, server_name="other.example") as client:
            client.wait_log("certificate refused")
            assert not client.up


def test_tls_of_an_authority_that_is_not_trusted(authority):
    other = Authority(temporary_folder("sluice-ca-"), "Another CA")
    with Redis(tls=authority) as redis:
        for ca in (other.file, None):
            with Driver(redis.url(), ca_file=ca) as client:
                client.wait_log("certificate refused")
                assert not client.up


def test_tls_with_a_certificate_of_the_client(authority):
    cert, key = authority.issue("client")
    with Redis("tls-auth-clients yes", tls=authority, start=False) as redis:
        redis.settings.write_text(redis.settings.read_text().replace("tls-auth-clients no\n", ""))
        redis.wait_ready = lambda: redis
        redis.start()
        with Driver(redis.url(), ca_file=authority.file, cert_file=cert, key_file=key) as client:
            client.wait_up()
        with Driver(redis.url(), ca_file=authority.file) as client:
            client.wait_log("redis")
            time.sleep(0.3)
            assert not client.up


def test_a_server_without_tls_and_a_client_without_it(authority, redis):
    with Driver(redis.url().replace("redis:", "rediss:"), ca_file=authority.file) as client:
        client.wait_log(f"begin TLS with 127.0.0.1:{redis.port}: timed out")
    with Redis(tls=authority) as secret, Driver(secret.url().replace("rediss:", "redis:")) as client:
        client.wait_log("the server closed the connection")


def test_a_file_that_cannot_be_used(redis):
    with Driver(redis.url().replace("redis:", "rediss:"), ca_file="/nowhere/ca.pem") as client:
        eventually(lambda: client.fault)
        assert "CA file /nowhere/ca.pem" in client.fault


# ----------------------------------------------------------------------------- when it goes


def test_killed_in_the_middle_of_a_pipeline_every_command_ends_once(redis):
    with Redis() as redis, Driver(redis.url()) as client:
        client.wait_up()
        redis.stop()
        name = client.many(20000, "INCR", "n", timeout_us=20000000)
        time.sleep(0.1)
        redis.kill()
        answers = client.take_all(name, 20000)
        assert set(answers) <= {Fault.UNKNOWN, Fault.AWAY}, set(answers)
        client.wait_down()
        assert client.ask("PING") == Fault.REFUSED
        assert client.answers[name].empty()


def test_commands_that_were_not_written_are_known_to_be_undone():
    """A server that reads nothing: what fits into the socket is unknown, the rest was never sent."""
    with Redis() as redis, Driver(redis.url()) as client:
        client.wait_up()
        redis.stop()
        name = client.many(15, "SET", "a", "x" * 1000000, timeout_us=300000)
        answers = client.take_all(name, 15)
        unknown = answers.count(Fault.UNKNOWN)
        assert answers == [Fault.UNKNOWN] * unknown + [Fault.AWAY] * (15 - unknown)
        assert unknown < 15
        redis.cont()


def test_a_server_that_hangs_keeps_nobody_waiting():
    with Redis() as redis, Driver(redis.url(), timeout_us=500000) as client:
        client.wait_up()
        redis.stop()
        begun = time.monotonic()
        assert client.ask("INCR", "n") == Fault.UNKNOWN
        assert time.monotonic() - begun < 10
        client.wait_down()
        assert client.ask("INCR", "n") == Fault.REFUSED
        client.wait_log("timed out")
        redis.cont()
        eventually(lambda: client.wait_up().ask("SET", "m", 1) == "OK")


def test_the_shortest_time_out_is_kept_behind_a_longer_one():
    with Redis() as redis, Driver(redis.url()) as client:
        client.wait_up()
        redis.stop()
        names = [client.send("PING", timeout_us=20000000), client.send("PING", timeout_us=100000)]
        begun = time.monotonic()
        assert [client.take(name) for name in names] == [Fault.UNKNOWN] * 2
        assert time.monotonic() - begun < 15
        redis.cont()


def test_a_quiet_server_that_hangs_is_noticed_without_commands():
    with Redis() as redis, Driver(redis.url(), timeout_us=500000) as client:
        client.wait_up()
        redis.stop()
        client.wait_down(within=10)
        redis.cont()
        client.wait_up()


def test_a_server_that_restarts_is_found_again_and_has_another_life():
    with Redis() as redis, Driver(redis.url()) as client:
        client.wait_up()
        first, port = client.life, redis.port
        assert first == client.life_of("any") == int(redis.information()["run_id"][:16], 16)
        redis.kill()
        client.wait_down()
        assert client.life == first
        time.sleep(0.7)
        redis.start()
        client.wait_up()
        assert client.life != first and redis.port == port
        assert client.ask("PING") == "PONG"
        client.wait_log("Connection refused")
        assert client.log().count("Connection refused") == 1  # not with every try


def test_the_same_server_has_the_same_life(redis):
    with Driver(redis.url()) as client:
        client.wait_up()
        first = client.life
        redis.drop_clients()
        client.wait_down()
        client.wait_up()
        assert client.life == first


def test_a_client_that_comes_before_its_server():
    redis = Redis(start=False)
    with redis, Driver(redis.url()) as client:
        time.sleep(0.4)
        assert client.ask("PING") == Fault.REFUSED
        redis.start()
        client.wait_up()


def test_a_replica_is_away_for_a_client_that_writes():
    with Redis() as master, Redis(f"replicaof 127.0.0.1 {master.port}") as replica:
        eventually(lambda: replica.information("replication")["master_link_status"] == "up")
        with Driver(replica.url()) as client:
            client.wait_up()
            refused = client.ask("SET", "a", 1)
            assert isinstance(refused, Error) and refused.startswith("READONLY")
            client.wait_log("takes no commands now")
            client.wait_up()
            refused = client.eval("return redis.call('SET', KEYS[1], 1)", ["a"])
            assert isinstance(refused, Error) and "READONLY" in refused
            eventually(lambda: client.log().count("connected to") >= 3)


def test_a_server_without_memory_says_so_and_stays():
    with Redis("maxmemory 1", "maxmemory-policy noeviction") as redis, Driver(redis.url()) as client:
        refused = client.wait_up().ask("SET", "a", "x" * 100)
        assert isinstance(refused, Error) and refused.startswith("OOM")
        assert client.up and client.ask("PING") == "PONG"


def test_a_server_with_too_many_clients_is_away():
    """Its words may be lost: it closes before it has read ours."""
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(Redis())
        with redis.connect() as other:
            other.command("CONFIG", "SET", "maxclients", 1)  # the one place is taken
            client = stack.enter_context(Driver(redis.url()))
            eventually(lambda: "max number of clients reached" in client.log()
                       or "closed the connection" in client.log() or "broke" in client.log())
            assert not client.up
        client.wait_up()


# -------------------------------------------------------------------------------- listening


def test_messages_and_the_empty_one_after_every_connection():
    with Redis(password="word") as redis, Driver(redis.url()) as client:
        client.listen("news")
        eventually(lambda: client.messages == [b""])
        redis.command("PUBLISH", "news", b"\0one")
        redis.command("PUBLISH", "olds", "no")
        redis.command("PUBLISH", "news", "two")
        eventually(lambda: client.messages == [b"", b"\0one", b"two"])
        redis.command("CLIENT", "KILL", "TYPE", "pubsub")
        eventually(lambda: client.messages == [b"", b"\0one", b"two", b""])
        assert client.up
        redis.restart()
        eventually(lambda: client.messages == [b"", b"\0one", b"two", b"", b""])
        redis.command("PUBLISH", "news", "three")
        eventually(lambda: client.messages[-1] == b"three")


def test_a_listener_notices_that_its_server_hangs():
    with Redis() as redis, Driver(redis.url(), timeout_us=500000) as client:
        client.listen("news")
        eventually(lambda: client.messages == [b""])
        redis.stop()
        client.wait_log(f"listening: 127.0.0.1:{redis.port}: timed out")
        redis.cont()
        eventually(lambda: client.messages == [b"", b""])


def test_many_messages_while_nothing_is_asked():
    with Redis() as redis, Driver(redis.url()) as client:
        client.listen("news")
        eventually(lambda: client.messages == [b""])
        with redis.connect() as other:
            begun = time.monotonic()
            count = 0
            while time.monotonic() - begun < 2.5:  # beyond the pings of a quiet connection
                other.command("PUBLISH", "news", count)
                count += 1
                time.sleep(0.01)
        eventually(lambda: client.messages == [b"", *(b"%d" % i for i in range(count))])
