# SPDX-License-Identifier: Apache-2.0
"""A session (/v1/realtime) lasts: what its responses use counts while it does, and whoever may call no more is cut."""

import contextlib
import json
import struct
import threading
import time

import pytest
from harness import KEY_ACME, KEY_GLOBEX, Sluice, WebSocket, config_for, eventually, merged, run_cli, sha256_hash
from raw_upstream import Gone
from redis_servers import Redis
from replicas import shared
from test_realtime_is_a_tunnel import Server, open_socket

pytestmark = pytest.mark.threads
COST = 10 * 500 + 90 * 1000 + 40 * 4000  # nano-dollars of one response (harness.PRICE)


def tenant(**changes):
    return merged({"name": "acme", "models": ["*"], "keys": [{"name": "main", "hash": sha256_hash(KEY_ACME)}]}, changes)


class Grows(Server):
    """Its responses are of so many tokens of output, one after the other."""

    def __init__(self, sizes):
        super().__init__()
        self.sizes = iter(sizes)

    def say(self, call, opcode, payload):
        if b"response.done" in payload:
            count = next(self.sizes)
            usage = {"input_tokens": 0, "output_tokens": count, "total_tokens": count}
            payload = json.dumps({"type": "response.done", "response": {"usage": usage}}).encode()
        Server.say(call, opcode, payload)


@contextlib.contextmanager
def gate_and_redis(config, **store):
    with Redis() as redis, Sluice({**config, "store": shared(redis, **store)}) as gate:
        eventually(lambda: gate.metric("sluice_store_up") == 1, what="the store is there")
        yield gate, redis


@contextlib.contextmanager
def gate_with_redis(config):
    with gate_and_redis(config) as (gate, _):
        yield gate


@contextlib.contextmanager
def session(gate, **options):
    client, answer = open_socket(gate, **options)
    assert answer.status == 101, answer
    socket = WebSocket(client)
    assert b"session.created" in socket.read()[1]
    try:
        yield socket
    finally:
        client.close()


def respond(socket, most):
    """How many responses there are, and what is said in place of the next one (None: there were all)."""
    for count in range(most):
        socket.send_text("usage")
        said = socket.read()[1]
        if b"response.done" not in said:
            return count, said
    return most, None


BUDGET = {"budget": {"amount": "0.020 USD", "period": "day"}}
LIMITED = [
    (BUDGET, b"insufficient_quota", 20000000 // COST),
    ({"limits": {"tokens_per_day": 10000, "strict": True}}, b"rate_limit_exceeded", 10000 // 140),
    ({"limits": {"output_tokens_per_day": 5000, "strict": True}}, b"rate_limit_exceeded", 5000 // 40),
    ({"limits": {"tokens_per_day": 10000}}, b"rate_limit_exceeded", 10000 // 140 + 1),
]


@pytest.mark.parametrize(("limits", "words", "most"), LIMITED, ids=["money", "strict", "strict-output", "plain"])
def test_a_session_ends_when_a_limit_is_reached(upstream, limits, words, most):
    upstream.answer = Server()
    with Sluice(config_for(upstream, tenants=[tenant(**limits)])) as gate, session(gate) as socket:
        count, said = respond(socket, 2 * most)
        assert said and words in said, (count, said)
        assert most - 3 <= count <= most, count
        eventually(lambda: gate.usage_total("output_tokens") == 40 * count, what="all of them are booked")


def test_two_sessions_share_one_budget(upstream):
    upstream.answer = Server()
    with (Sluice(config_for(upstream, tenants=[tenant(budget={"amount": "0.040 USD", "period": "day"})])) as gate,
          session(gate) as first, session(gate) as second):
        counts = {first: 0, second: 0}
        for _ in range(2 * 40000000 // COST):
            for socket in list(counts):
                socket.send_text("usage")
                if b"response.done" not in socket.read()[1]:
                    break
                counts[socket] += 1
            else:
                continue
            break
        # What one of them holds for its next responses the other cannot have.
        assert 40000000 - 12 * COST <= sum(counts.values()) * COST <= 40000000, counts


@pytest.mark.parametrize("sizes", [[1500] * 8, [100, 200, 400, 800, 1600, 3200, 6400], [300, 600, 900, 1200, 1500, 1800]],
                         ids=["large", "doubling", "rising"])
def test_a_session_asks_the_store_for_more_before_it_ends(upstream, sizes):
    upstream.answer = Grows(sizes)
    with (gate_with_redis(config_for(upstream, tenants=[tenant(budget={"amount": "1000 USD", "period": "day"})])) as gate,
          session(gate) as socket):
        for at in range(len(sizes)):
            assert respond(socket, 1) == (1, None), at
            time.sleep(0.2)  # a response takes a while, in which the store is asked


def test_a_session_ends_when_the_store_has_no_more(upstream):
    most = 20
    upstream.answer = Grows([500] * 2 * most)
    budget = {"amount": f"{most * 500 * 4000 / 1e9:.9f} USD", "period": "day"}
    with gate_with_redis(config_for(upstream, tenants=[tenant(budget=budget)])) as gate, session(gate) as socket:
        for count in range(2 * most):
            _, said = respond(socket, 1)
            if said:
                break
            time.sleep(0.2)
        assert said and b"insufficient_quota" in said and most - 6 <= count <= most, (count, said)


def test_a_session_without_a_key_lasts(upstream):
    upstream.answer = Server()
    with Sluice(config_for(upstream, anonymous=True, tenants=[])) as gate, session(gate, key=None) as socket:
        assert respond(socket, 5) == (5, None)
        gate.write(merged(gate.config, {"anonymous": False, "tenants": [tenant()]}))
        assert gate.cli("reload").returncode == 0
        count, said = respond(socket, 2)
        assert said and b"invalid_api_key" in said, (count, said)


def test_a_session_without_a_key_ends_when_one_is_needed(upstream):
    upstream.answer = Server()
    with Sluice(config_for(upstream, tenants=[])) as gate, session(gate, key=None) as socket:
        assert respond(socket, 5) == (5, None)
        assert run_cli("-c", gate.file, "tenants", "set", "other", env=gate.env).returncode == 0
        eventually(lambda: gate.get("/v1/models", key=None).status == 401)
        count, said = respond(socket, 50)
        assert said and b"invalid_api_key" in said, (count, said)


@pytest.mark.parametrize("how", ["the key is gone", "it has another secret", "the tenant is gone"])
def test_a_session_ends_when_its_key_opens_nothing_any_more(upstream, how):
    upstream.answer = Server()
    other = {"name": "other", "models": ["*"], "keys": [{"name": "main", "hash": sha256_hash(KEY_GLOBEX)}]}
    now = {"the key is gone": [merged(other, {"name": "acme", "keys": [{"name": "new", "hash": sha256_hash(KEY_GLOBEX)}]})],
           "it has another secret": [merged(other, {"name": "acme"})], "the tenant is gone": [other]}[how]
    with Sluice(config_for(upstream, tenants=[tenant()])) as gate, session(gate) as socket:
        assert respond(socket, 2) == (2, None)
        gate.write(merged(gate.config, {"tenants": now}))
        assert gate.cli("reload").returncode == 0
        assert gate.get("/v1/models").status == 401
        count, said = respond(socket, 2)
        assert said and b"invalid_api_key" in said, (count, said)
        upstream.answer.gone.wait()


def test_a_reload_that_leaves_the_key_leaves_the_session(upstream):
    upstream.answer = Server()
    with Sluice(config_for(upstream, tenants=[tenant()])) as gate, session(gate) as socket:
        assert respond(socket, 2) == (2, None)
        gate.write(merged(gate.config, {"tenants": [tenant(**BUDGET)]}))
        assert gate.cli("reload").returncode == 0
        assert respond(socket, 5) == (5, None)


class Speaks(Server):
    """Answers "speak" with a response whose words come as <more> is released, and which ends when <stop> is set."""

    SIZE = 100  # bytes of one piece, as many tokens at most

    def __init__(self, output=40):
        super().__init__()
        self.more, self.stop, self.output = threading.Semaphore(0), threading.Event(), output

    def __call__(self, call):
        try:
            super().__call__(call)
        finally:
            self.stop.set()
            self.more.release()

    def say(self, call, opcode, payload):
        if payload != b"speak":
            Server.say(call, opcode, payload)
            return
        self.event(call, {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}})
        threading.Thread(target=self.speak, args=(call,), daemon=True).start()

    def speak(self, call):
        with contextlib.suppress(Gone):
            while True:
                self.more.acquire()
                if self.stop.is_set():
                    usage = {"input_tokens": 10, "output_tokens": self.output, "total_tokens": 10 + self.output}
                    self.event(call, {"type": "response.done", "response": {"status": "completed", "usage": usage}})
                    return
                self.event(call, {"type": "response.output_text.delta", "response_id": "resp_1", "delta": "x" * self.SIZE})

    @staticmethod
    def event(call, event):
        Server.say(call, 1, json.dumps(event).encode())


def listen(socket, server, most):
    """How many pieces of a response come, and what is said in place of the next one."""
    socket.send_text("speak")
    assert b"response.created" in socket.read()[1]
    for count in range(most):
        server.more.release()
        said = socket.read()[1]
        if b".delta" not in said:
            return count, said
    return most, None


RUNNING = [(BUDGET, b"insufficient_quota", 20000000 // 4000), ({"limits": {"tokens_per_day": 6000, "strict": True}}, b"rate_limit_exceeded", 6000)]


@pytest.mark.parametrize("store", ["memory", "redis"])
@pytest.mark.parametrize(("limits", "words", "tokens"), RUNNING, ids=["money", "strict"])
def test_a_long_response_ends_where_its_limit_does(upstream, limits, words, tokens, store):
    upstream.answer = server = Speaks()
    config = config_for(upstream, tenants=[tenant(**limits)])
    with (gate_with_redis if store == "redis" else Sluice)(config) as gate, session(gate) as socket:
        count, said = listen(socket, server, 2 * tokens // server.SIZE)
        assert said and words in said, (count, said)
        assert tokens - 1000 <= count * server.SIZE <= tokens, count
        server.gone.wait()
        eventually(lambda: gate.usage_total("output_tokens") >= count * server.SIZE // 4, what="it is booked")


def test_a_response_that_nobody_waits_for_is_paid_for(upstream):
    upstream.answer = server = Speaks()
    with Sluice(config_for(upstream, tenants=[tenant(**BUDGET)])) as gate:
        with session(gate) as socket:
            assert listen(socket, server, 10) == (10, None)
        eventually(lambda: gate.usage_total("output_tokens") == 10 * server.SIZE // 4, what="it is booked")


@pytest.mark.parametrize("store", ["memory", "redis"])
def test_what_a_response_would_read_must_be_paid_for(upstream, store):
    upstream.answer = server = Speaks()
    with (gate_with_redis if store == "redis" else Sluice)(config_for(upstream, tenants=[tenant(**BUDGET)])) as gate, session(gate) as socket:
        sound = json.dumps({"type": "input_audio_buffer.append", "audio": "A" * 60000}).encode()
        socket.send_text(sound.decode())
        assert socket.read() == (1, sound)  # long, and few tokens
        socket.send_text("x" * 30000)
        assert b"insufficient_quota" in socket.read()[1]
        server.gone.wait()
        assert [len(frame[1]) for frame in server.frames] == [len(sound)]


def test_what_is_said_meanwhile_waits_for_a_response_that_may_cost_all(upstream):
    upstream.answer = server = Speaks()
    with Sluice(config_for(upstream, tenants=[tenant(**BUDGET)])) as gate, session(gate) as socket:
        assert listen(socket, server, 40) == (40, None)
        socket.send_text("x" * 10000)
        server.stop.set()
        server.more.release()
        assert b"response.done" in socket.read()[1]
        assert socket.read() == (1, b"x" * 10000)


def say_event(socket, event):
    socket.send_text(json.dumps(event))


def test_what_is_not_held_is_not_said_while_a_response_goes_on(upstream):
    upstream.answer = server = Speaks()
    server.SIZE = 5
    with gate_with_redis(config_for(upstream, tenants=[tenant(**BUDGET)])) as gate, session(gate) as socket:
        assert listen(socket, server, 20) == (20, None)
        socket.send_text("x" * 30000)  # more than the budget pays for
        for _ in range(60):
            time.sleep(0.01)  # a response takes a while, in which the store is asked
            server.more.release()
            assert b".delta" in socket.read()[1]
        server.stop.set()
        server.more.release()
        assert b"response.done" in socket.read()[1]
        assert b"insufficient_quota" in socket.read()[1]
        server.gone.wait()
        assert b"x" * 30000 not in [frame[1] for frame in server.frames]


def test_what_stops_a_response_does_not_wait_behind_it(upstream):
    upstream.answer = server = Speaks()
    with Sluice(config_for(upstream, tenants=[tenant(limits={"tokens_per_day": 6000, "strict": True})])) as gate, session(gate) as socket:
        assert listen(socket, server, 55) == (55, None)  # there is no room for another response
        for opcode, payload in ((1, b'{"type":"response.cancel"}'), (9, b"ping")):
            socket.send(opcode, payload)
            assert socket.read() == (opcode, payload)


class Reads(Server):
    """Its responses read all that was said, or what "input" says instead."""

    def say(self, call, opcode, payload):
        if b"response.create" not in payload:
            Server.say(call, opcode, payload)
            return
        said = sum(len(frame[1]) for frame in self.frames)
        count = 12 if b'"input"' in payload else said // 4
        usage = {"input_tokens": count, "output_tokens": 3, "total_tokens": count + 3}
        for event in ({"type": "response.created", "response": {}},
                      {"type": "response.done", "response": {"status": "completed", "conversation_id": "conv_1", "usage": usage}}):
            Server.say(call, 1, json.dumps(event).encode())


def test_a_response_with_an_input_of_its_own_leaves_the_conversation_to_be_read(upstream):
    upstream.answer = Reads()
    limits = {"limits": {"tokens_per_day": 30000, "strict": True}}
    with Sluice(config_for(upstream, tenants=[tenant(**limits)])) as gate, session(gate) as socket:
        for count in range(20):
            socket.send_text("x" * 16000)
            said = socket.read()[1]
            if b"rate_limit_exceeded" in said:
                break
            say_event(socket, {"type": "response.create", "response": {"input": []}})
            assert b"response.created" in socket.read()[1]
            assert b"response.done" in socket.read()[1]
        assert count == 1, said  # two of them may be read as 32,000 tokens
        eventually(lambda: gate.usage_total("output_tokens") == 3, what="it is booked")
        assert gate.usage_total("input_tokens") == 12


class Forgets(Reads):
    """Its responses read what was said and not deleted."""

    def say(self, call, opcode, payload):
        if b"conversation.item.delete" in payload:
            self.frames.clear()
            payload = json.dumps({"type": "conversation.item.deleted", "item_id": "a"}).encode()
        super().say(call, opcode, payload)


def test_what_was_deleted_is_not_held_for_when_the_rest_was_read(upstream):
    upstream.answer = Forgets()
    limits = {"limits": {"tokens_per_day": 49000, "strict": True}}
    with Sluice(config_for(upstream, tenants=[tenant(**limits)])) as gate, session(gate) as socket:
        def turn(text):
            content = [{"type": "input_text", "text": text}]
            say_event(socket, {"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": content}})
            assert b"conversation.item.create" in socket.read()[1]
            say_event(socket, {"type": "response.create"})
            said = socket.read()[1]
            assert b"response.created" in said, said
            assert b"response.done" in socket.read()[1]

        for _ in range(3):
            turn("x" * 16000)  # reads 4,000, 8,000, 12,000 tokens
        for _ in range(20):
            say_event(socket, {"type": "conversation.item.delete", "item_id": "a"})
            assert b"conversation.item.deleted" in socket.read()[1]
            turn("x" * 600)


class Cut(Speaks):
    """What is left of a message that was not whole is no request."""

    def __call__(self, call):
        super().__call__(call)
        call.connection.buffer.clear()


def frame(payload):
    return b"\x81\xff" + struct.pack(">Q", len(payload)) + b"\0\0\0\0" + payload


def send_all(socket, words):
    with contextlib.suppress(OSError):  # it may be ended before it has read all of them
        socket.client.send(words)


@pytest.mark.parametrize("before", [b"", b"\x81\x81\0\0\0\0a"], ids=["first", "behind another"])
def test_a_message_that_is_too_long_to_be_looked_at_must_be_paid_for(upstream, before):
    upstream.answer = server = Cut()
    with Sluice(config_for(upstream, tenants=[tenant(**BUDGET)])) as gate, session(gate) as socket:
        words = before + frame(b"x" * ((4 << 20) + 1000)) + b"\x81\x81\0\0\0\0z"
        threading.Thread(target=send_all, args=(socket, words), daemon=True).start()
        said = socket.read()[1]
        while said == b"a":
            said = socket.read()[1]
        assert b"insufficient_quota" in said, said[:100]
        server.gone.wait()
        assert all(len(payload) == 1 for _, payload in server.frames)


def test_what_was_said_is_booked_without_limits_too(upstream):
    upstream.answer = server = Speaks()
    with Sluice(config_for(upstream, tenants=[tenant()])) as gate:
        with session(gate) as socket:
            socket.send_text("x" * 40000)
            assert socket.read() == (1, b"x" * 40000)
            assert listen(socket, server, 1) == (1, None)
        eventually(lambda: gate.usage_total("input_tokens") >= 10000, what="a response that was cut off has read it")


class Bursts(Speaks):
    """Answers "speak" with all of <pieces> at once."""

    def __init__(self, pieces):
        super().__init__(output=pieces * self.SIZE // 4)
        self.pieces = pieces

    def speak(self, call):
        with contextlib.suppress(Gone):
            for _ in range(self.pieces):
                self.more.release()
            self.burst(call)

    def burst(self, call):
        delta = {"type": "response.output_text.delta", "response_id": "resp_1", "delta": "x" * self.SIZE}
        payload = json.dumps(delta).encode()
        call.send((b"\x81\x7e" + struct.pack(">H", len(payload)) + payload) * self.pieces)
        self.stop.set()
        Speaks.speak(self, call)


def pieces_of(socket):
    """How many there are, and what is said in place of the next one."""
    count = 0
    while b".delta" in (said := socket.read()[1]):
        count += 1
    return count, said


@pytest.mark.parametrize("pieces", [300, 3000])
def test_a_fast_response_is_not_ended_while_the_store_is_asked(upstream, pieces):
    upstream.answer = server = Bursts(pieces)
    budget = {"budget": {"amount": "1000 USD", "period": "day"}}
    with gate_with_redis(config_for(upstream, tenants=[tenant(**budget)])) as gate, session(gate) as socket:
        socket.send_text("speak")
        assert b"response.created" in socket.read()[1]
        count, said = pieces_of(socket)
        assert count == pieces and b"response.done" in said, (count, said)
        eventually(lambda: gate.usage_total("output_tokens") == server.output, what="it is booked")


def test_a_fast_response_ends_where_its_limit_does(upstream):
    upstream.answer = server = Bursts(20000)
    limits = {"limits": {"tokens_per_day": 20000, "strict": True}}
    with gate_with_redis(config_for(upstream, tenants=[tenant(**limits)])) as gate, session(gate) as socket:
        socket.send_text("speak")
        assert b"response.created" in socket.read()[1]
        count, said = pieces_of(socket)
        assert b"rate_limit_exceeded" in said, said
        server.gone.wait()
        assert 150 <= count <= 200 + 2000, count  # and what was read at once


class Each:
    """A server of its own for each session."""

    def __init__(self, make):
        self.make = make

    def __call__(self, call):
        self.make()(call)


def test_a_store_that_is_connected_to_again_ends_no_response(upstream):
    """For a moment it says to all that it cannot say, which is no "no"."""
    upstream.answer = Each(lambda: Bursts(3000))
    config = config_for(upstream, tenants=[tenant(budget={"amount": "1000 USD", "period": "day"})])
    with gate_and_redis(config, on_error={"budgets": "local"}) as (gate, redis), contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(session(gate)) for _ in range(16)]
        for socket in sockets:
            socket.send_text("speak")
            assert b"response.created" in socket.read()[1]
        redis.drop_clients()
        ends = [pieces_of(socket) for socket in sockets]
        assert all(count == 3000 and b"response.done" in said for count, said in ends), ends


@pytest.mark.parametrize("on_error", ["local", "closed"])
def test_a_fast_response_has_what_it_may_have_while_the_store_is_away(upstream, on_error):
    upstream.answer = server = Bursts(3000)
    config = config_for(upstream, tenants=[tenant(budget={"amount": "1000 USD", "period": "day"})])
    with gate_and_redis(config, on_error={"budgets": on_error}) as (gate, redis), session(gate) as socket:
        redis.stop()
        socket.send_text("speak")
        assert b"response.created" in socket.read()[1]
        count, said = pieces_of(socket)
        if on_error == "local":
            assert count == 3000 and b"response.done" in said, (count, said)
        else:
            assert count < 3000 and b"store_unavailable" in said, (count, said)
            server.gone.wait()
