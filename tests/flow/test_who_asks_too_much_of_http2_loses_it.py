# SPDX-License-Identifier: Apache-2.0
"""Who asks too much of HTTP/2, or dawdles, loses that connection; nobody else notices."""

import contextlib
import time

import pytest
from h2_client import (
    ACK,
    CANCEL,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    HEADERS,
    NO_ERROR,
    PING,
    PREFACE,
    PRIORITY,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    H2Client,
    frame,
)
from harness import KEY_ACME, Sluice, config_for, eventually
from hpack import Encoder

pytestmark = pytest.mark.threads
CONFIG = {
    "server": {
        "timeouts": {"client_header": "1s", "client_idle": "1s", "stream_idle": "2s", "client_body": {"total": "20s"}},
        "limits": {"max_header_bytes": "16KiB"},
    },
}


def head(encoder, *more, method="GET", path="/v1/models", key="wrong"):
    return encoder.encode([(":method", method), (":path", path), (":scheme", "http"), (":authority", "a.test"),
                           ("authorization", f"Bearer {key}"), *more])


def connect(gate, **options):
    return H2Client(gate.address(), **options)


def number(value):
    return value.to_bytes(4, "big")


def flood_resets(encoder):
    for i in range(1, 8000, 2):
        yield frame(HEADERS, END_HEADERS, i, head(encoder, key=KEY_ACME)) + frame(RST_STREAM, 0, i, number(8))


def flood_pings(_):
    for i in range(5000):
        yield frame(PING, 0, 0, i.to_bytes(8, "big"))


def flood_settings(_):
    for _ in range(2000):
        yield frame(SETTINGS)


def flood_priorities(_):
    for i in range(1, 40000, 2):
        yield frame(PRIORITY, 0, i, number(0) + b"\x10")


def flood_windows(_):
    for _ in range(20000):
        yield frame(WINDOW_UPDATE, 0, 0, number(1))


def flood_empty_data(encoder):
    yield frame(HEADERS, END_HEADERS, 1, head(encoder, method="POST", path="/v1/chat/completions", key=KEY_ACME))
    for _ in range(10000):
        yield frame(DATA, 0, 1)


def flood_unknown(_):
    for _ in range(20000):
        yield frame(0xEE, 0, 0, b"x")


def flood_continuations(encoder):
    yield frame(HEADERS, 0, 1, head(encoder))
    for _ in range(10000):
        yield frame(CONTINUATION, 0, 1, encoder.encode([("x-a", "a" * 100)]))


def flood_empty_continuations(encoder):
    yield frame(HEADERS, 0, 1, head(encoder))
    for _ in range(10000):
        yield frame(CONTINUATION, 0, 1)


def flood_acks(_):
    for _ in range(10000):
        yield frame(SETTINGS, ACK)


FLOODS = [flood_resets, flood_pings, flood_settings, flood_priorities, flood_windows, flood_empty_data, flood_unknown,
          flood_continuations, flood_empty_continuations, flood_acks]


@pytest.mark.parametrize("flood", FLOODS, ids=[f.__name__ for f in FLOODS])
def test_a_flood_ends_its_connection(gate, upstream, flood):
    with connect(gate) as client, connect(gate) as other:
        waiting = other.chat(stream=True)
        try:
            batch = b""
            for piece in flood(Encoder()):
                batch += piece
                if len(batch) > 8000:
                    client.raw(batch)
                    batch = b""
            client.raw(batch)
        except OSError:
            pass  # it has noticed
        client.until(lambda: client.closed)
        assert client.goaway in (ENHANCE_YOUR_CALM, 1, None)
        assert other.answer(waiting).status == 200
    with connect(gate) as client:
        assert client.answer(client.chat()).status == 200
    if flood is flood_resets:
        assert not [call for call in upstream.calls if call.path.endswith("/models")]


def test_a_bomb_of_fields(gate):
    """One byte each for fields of three thousand (HPACK): refused, and not kept."""
    before = gate.rss()
    with gate.connect() as client:
        block = head(Encoder(), ("x-bomb", "a" * 3000)) + bytes([0x80 | 62]) * 12000
        client.send(PREFACE + frame(SETTINGS) + frame(HEADERS, END_HEADERS | END_STREAM, 1, block))
        assert client.read_to_close(within=30)
    assert gate.rss() - before < 40 * 1024 * 1024
    assert gate.chat().status == 200


def test_many_bombs_of_fields_at_once(upstream):
    """All that the limits let through, from many connections in one round of one worker: it is not stuck with them."""
    with Sluice(config_for(upstream, **{"server": {**config_for(upstream)["server"], "workers": 1}})) as gate:
        block = head(Encoder(), ("x-bomb", "a" * 4000)) + bytes([0x80 | 62]) * 120_000
        pieces = [block[at:at + 16384] for at in range(0, len(block), 16384)]
        words = PREFACE + frame(SETTINGS) + frame(HEADERS, END_STREAM, 1, pieces[0])
        words += b"".join(frame(CONTINUATION, 0, 1, piece) for piece in pieces[1:-1])
        words += frame(CONTINUATION, END_HEADERS, 1, pieces[-1])
        clients = [gate.connect() for _ in range(30)]
        for client in clients:
            with contextlib.suppress(OSError):
                client.send(words)
        assert gate.chat().status == 200
        for client in clients:
            client.close()


def test_answers_that_nobody_takes_count_as_connections(upstream):
    config = config_for(upstream)
    config["server"].update({"workers": 1, "limits": {"max_connections": 40}})
    with Sluice(config) as gate:
        clients = [connect(gate, window=0) for _ in range(4)]
        for client in clients:
            for _ in range(30):
                client.ask("GET", "/v1/models")
                client.until(lambda: client.answers[max(client.answers)].status or client.answers[max(client.answers)].over)
        answers = [answer for client in clients for answer in client.answers.values()]
        assert len([answer for answer in answers if answer.status]) <= 40
        assert {answer.reset for answer in answers if not answer.status} == {REFUSED_STREAM}
        for client in clients:
            client.close()
        eventually(lambda: gate.chat().status == 200)


def test_what_is_not_taken_ends_also_on_a_busy_connection(gate):
    """A ping now and then does not put the end of an answer off that nobody takes."""
    with connect(gate, window=0) as client:
        number = client.ask("GET", "/v1/models")
        ended = False
        for _ in range(200):
            client.h2.ping(b"12345678")
            client.flush()
            client.read_some()
            ended = client.answers[number].over
            if ended:
                break
            time.sleep(0.2)
        assert ended and client.answers[number].reset == CANCEL


@pytest.mark.parametrize("words", [
    PREFACE[:18], PREFACE, PREFACE + frame(SETTINGS)[:5], PREFACE + frame(SETTINGS) + frame(HEADERS, 0, 1, b"\x82"),
    PREFACE + frame(SETTINGS) + frame(HEADERS, END_HEADERS, 1, b"\x82\x84")[:10], PREFACE + frame(SETTINGS)],
    ids=["half a preface", "no settings", "half of them", "half a head", "half a frame", "nothing more"])
def test_who_dawdles_is_closed(gate, words):
    with gate.connect() as client:
        client.send(words)
        client.read_to_close(within=30)
    assert gate.chat().status == 200


def test_an_idle_connection_is_told_and_closed(gate):
    with connect(gate) as client:
        assert client.get("/v1/models").status == 200
        client.until(lambda: client.closed)
        assert client.goaway == NO_ERROR


@pytest.mark.parametrize("words", [
    b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", PREFACE + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", PREFACE + b"\xff" * 3000,
    PREFACE + frame(DATA, 0, 1, b"x"), PREFACE + frame(SETTINGS) + frame(DATA, 0, 0, b"x"),
    PREFACE + frame(SETTINGS) + frame(HEADERS, END_HEADERS, 2, b"\x82\x84\x86"),
    PREFACE + frame(SETTINGS) + frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"),
    PREFACE + frame(SETTINGS) + frame(5, END_HEADERS, 1, number(2) + b"\x82"),
    PREFACE + frame(SETTINGS) + frame(WINDOW_UPDATE, 0, 0, number(0)),
    PREFACE + frame(SETTINGS) + frame(WINDOW_UPDATE, 0, 0, number(0x7fffffff)),
    PREFACE + frame(SETTINGS, 0, 0, b"\0\4\xff\xff\xff\xff"),
    PREFACE + frame(SETTINGS) + frame(CONTINUATION, END_HEADERS, 1, b"\x82"),
    PREFACE + frame(SETTINGS) + (1 << 20).to_bytes(3, "big") + b"\0\0\0\0\0\1" + b"x" * 20000])
def test_what_is_no_http2_is_closed(gate, words):
    with gate.connect() as client:
        client.send(words)
        client.read_to_close(within=30)
    assert gate.chat().status == 200


def test_who_does_not_read_holds_little_and_is_closed(gate, upstream):
    """Answers of a megabyte each, which nobody reads: what is begun of them ends by stream_idle."""
    text = "x" * 1_000_000

    def answer(call):
        call.respond(body={"id": "x", "object": "chat.completion", "choices": [
            {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}})

    upstream.answer = answer
    before = gate.rss()
    with connect(gate, rcvbuf=4096) as client:
        client.open_window(0x7fff0000 - 65535)
        for _ in range(20):
            client.chat()
        upstream.wait(lambda: len(upstream.calls) == 20)
        assert gate.get("/v1/models").status == 200
        eventually(lambda: len([one for one in gate.access_lines() if one["status"] == 499]) == 20, within=30)
    assert gate.rss() - before < 100 * 1024 * 1024
    upstream.forget()
    assert gate.chat().status == 200


def test_small_pieces(gate):
    """A head and a body in frames of a byte each, cut at every byte of the connection."""
    encoder = Encoder()
    block = head(encoder, ("content-type", "application/json"), method="POST", path="/v1/chat/completions", key=KEY_ACME)
    words = PREFACE + frame(SETTINGS) + frame(HEADERS, END_HEADERS, 1, block)
    body = b'{"model": "fast", "messages": []}'
    for i in range(len(body)):
        words += frame(DATA, END_STREAM if i + 1 == len(body) else 0, 1, body[i:i + 1])
    with gate.connect() as client:
        for i in range(len(words)):
            client.send(words[i:i + 1])
        got = b""
        while b"chat.completion" not in got:
            piece = client.sock.recv(65536)
            assert piece, got
            got += piece
