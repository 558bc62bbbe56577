# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 by ALPN and by prior knowledge: the same answers, refusals and bookings as in HTTP/1.1."""

import json
import os
import signal
import ssl
import subprocess
import threading

import pytest
from h2_client import INTERNAL_ERROR, NO_ERROR, REFUSED_STREAM, H2Client
from harness import (
    KEY_ACME,
    Authority,
    Sluice,
    chat_body,
    chat_chunk,
    config_for,
    eventually,
    free_port,
    merged,
    sse_events,
    temporary_folder,
)

pytestmark = pytest.mark.threads
FOLDER = temporary_folder("sluice-h2-")
OURS, OTHER = Authority(f"{FOLDER}/ours"), Authority(f"{FOLDER}/other")
SERVER, FRIEND, STRANGER = OURS.issue("server"), OURS.issue("friend"), OTHER.issue("stranger")


def configure(upstream):
    config = config_for(upstream)
    tls = {"cert_file": SERVER[0], "key_file": SERVER[1]}

    def listener(name, **more):
        return {"name": name, "address": f"127.0.0.1:{free_port()}", "serve": ["api", "health"], **more}

    config["server"]["listeners"] += [
        listener("tls", tls=tls), listener("mutual", tls={**tls, "client_ca_file": str(OURS.file)}),
        listener("proxied", proxy_protocol="any"), listener("old", http2=False), listener("old-tls", http2=False, tls=tls),
        {"name": "unix", "address": f"unix:{FOLDER}/api.sock", "serve": ["api"]}]
    config["server"]["limits"] = {"max_streams": 300, "max_header_bytes": "16KiB"}
    config["providers"][0]["pool"] = {"max_connections": 1000}
    config["server"]["timeouts"] = {"client_body": {"total": "4s"}}
    return config


def context(certificate=None):
    out = ssl.create_default_context(cafile=OURS.file)
    if certificate:
        out.load_cert_chain(*certificate)
    return out


def connect(gate, listener="api", **options):
    return H2Client(gate.address(listener), **options)


def curl(gate, *arguments, listener="api"):
    host, port = gate.address(listener)
    scheme = "https" if "tls" in listener else "http"
    out = subprocess.run(
        ["curl", "-sS", "--max-time", "60", "--cacert", str(OURS.file), "-w", "\n%{http_version} %{http_code}",
         *arguments[:-1], f"{scheme}://localhost:{port}{arguments[-1]}", "--resolve", f"localhost:{port}:{host}",
         "-H", f"Authorization: Bearer {KEY_ACME}"], capture_output=True, timeout=90, check=False)
    assert out.returncode == 0, out.stderr
    body, last = out.stdout.rsplit(b"\n", 1)
    return body, *last.decode().split()


CALL = json.dumps({"model": "fast", "messages": []})


@pytest.mark.parametrize("how, listener, version", [
    ("--http2-prior-knowledge", "api", "2"), ("--http2", "tls", "2"), ("--http2", "old-tls", "1.1"),
    ("--http2", "api", "1.1"), ("--http1.1", "tls", "1.1")])
def test_curl(gate, how, listener, version):
    """Over TLS it is agreed upon; in clear it has to be known, and no request switches to it."""
    body, spoken, status = curl(gate, how, "-d", CALL, "-H", "content-type: application/json",
                                "/v1/chat/completions", listener=listener)
    assert (spoken, status) == (version, "200") and json.loads(body)["object"] == "chat.completion"
    body, spoken, status = curl(gate, how, "-d", json.dumps({**json.loads(CALL), "stream": True}), "-H",
                                "content-type: application/json", "/v1/chat/completions", listener=listener)
    assert (spoken, status) == (version, "200") and sse_events(body)[-1] == "[DONE]"


def test_answers_are_those_of_http_1(gate, upstream):
    one = gate.chat()
    with connect(gate) as client:
        two = client.answer(client.chat())
        assert two.status == 200 and two.json() == one.json
        left_out = {"connection", "transfer-encoding"}
        assert [n for n in two.names if n != ":status"] == [n.lower() for n, _ in one.fields if n.lower() not in left_out]
        assert all(name == name.lower() for name in two.names)
        row = gate.ledger_row(two.header("x-request-id"))
        assert row["status"] == 200 and row["outcome"] == "complete" and row["cost_nanos"] > 0
        # and on the same connection
        stream = client.answer(client.chat(stream=True))
        assert sse_events(stream.body)[-1] == "[DONE]"
        assert client.get("/healthz", key=None).status == 200
        head = client.answer(client.ask("HEAD", "/healthz", key=None))
        assert head.status == 200 and head.body == b"" and head.ended
    assert len(upstream.calls) == 3 and {call.header("host") for call in upstream.calls} == {f"127.0.0.1:{upstream.port}"}


def test_a_body_without_a_length_and_a_large_one(gate, upstream):
    with connect(gate) as client:
        call = {"model": "fast", "messages": [], "pad": "x" * 3_000_000}
        assert client.answer(client.ask("POST", "/v1/chat/completions", call, length=False)).status == 200
        assert client.answer(client.ask("POST", "/v1/chat/completions", call)).status == 200
    assert [call.length > 3_000_000 for call in upstream.calls] == [True, True]


def test_an_upload_passes_through(gate, upstream):
    """Larger than all windows, and than what is kept of it."""
    path = f"{FOLDER}/sound.mp3"
    with open(path, "wb") as file:
        for i in range(20_000):
            file.write(f"{i:07d}".encode() * 150)
    body, spoken, status = curl(gate, "--http2-prior-knowledge", "-F", "model=fast", "-F", f"file=@{path}", "/v1/audio/transcriptions")
    assert (spoken, status) == ("2", "200"), body
    assert upstream.last().length > 21_000_000


def test_an_answer_larger_than_any_window(gate, upstream):
    text = "".join(f"{i:07d}" for i in range(300_000))
    upstream.answer = lambda call: call.respond(body=json.dumps(
        {"id": "x", "object": "chat.completion", "choices": [{"index": 0, "message": {"role": "assistant", "content": text},
         "finish_reason": "stop"}], "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}).encode())
    with connect(gate) as client:
        assert client.answer(client.chat()).json()["choices"][0]["message"]["content"] == text


def test_over_tls_with_certificates_unix_and_proxy(gate):
    with connect(gate, "tls", tls=context(), server_name="localhost") as client:
        assert client.answer(client.chat()).status == 200
    with connect(gate, "mutual", tls=context(FRIEND), server_name="localhost") as client:
        assert client.answer(client.chat()).status == 200
    with pytest.raises((OSError, AssertionError)):
        with connect(gate, "mutual", tls=context(STRANGER), server_name="localhost") as client:
            client.answer(client.chat())
    with H2Client(f"{FOLDER}/api.sock") as client:
        assert client.answer(client.chat()).status == 200
    with connect(gate, "proxied", preface=b"PROXY TCP4 192.0.2.7 192.0.2.1 5000 80\r\n") as client:
        answer = client.answer(client.chat())
        assert answer.status == 200
        assert gate.access_line(answer.header("x-request-id"))["peer"].startswith("192.0.2.7")


def test_it_can_be_turned_off(gate):
    with gate.connect("old") as client:
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert client.read_response().status == 505
    client = gate.connect("old-tls", tls=context(), server_name="localhost")
    with client:
        assert client.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").read_response().status == 200


# ------------------------------------------------------------------------------------- refusals

def test_a_refusal_does_not_wait_for_the_body_and_harms_no_other(gate, upstream):
    with connect(gate) as client:
        other = client.chat(stream=True)
        number = client.begin(client.fields("POST", "/v1/chat/completions", [("content-length", "1000000")], key="wrong"))
        answer = client.answer(number)
        client.until(lambda: answer.reset is not None)
        assert (answer.status, answer.ended, answer.reset) == (401, True, NO_ERROR), vars(answer)
        assert client.answer(other).status == 200
        number = client.begin(client.fields("POST", "/v1/chat/completions", [("content-length", str(1 << 40))]))
        assert client.answer(number).status == 413
        assert client.get("/v1/nothing").status == 404
        assert client.answer(client.chat(model="unknown")).status == 404
        assert client.answer(client.chat()).status == 200
    assert len(upstream.calls) == 2


def test_a_large_head_passes_as_in_http1(gate, upstream):
    """libnghttp2 sends 64 KiB of it, unless it is told otherwise, and nothing of one that is larger."""
    def answer(call):
        call.respond(200, chat_body(), [(f"x-groq-{i:02}", "a" * 1070) for i in range(60)])

    upstream.answer = answer
    with connect(gate) as client:
        client.h2.decoder.max_header_list_size = 1 << 20
        got = client.answer(client.chat())
        assert (got.status, got.reset) == (200, None)
        assert len([name for name in got.names if name.startswith("x-groq-")]) == 60


def test_who_is_answered_early_may_still_end_its_body(gate):
    """httpx ends it with a frame of its own, and cannot bear to have the stream taken away before."""
    with connect(gate) as client:
        number = client.begin(client.fields("POST", "/v1/chat/completions", [
            ("content-type", "application/json"), ("content-length", str(len(CALL)))]))
        client.send_body(number, CALL.encode(), end=False)
        answer = client.answer(number)
        assert (answer.status, answer.reset) == (200, None)
        client.h2.end_stream(number)
        client.flush()
        assert client.get("/v1/models").status == 200 and answer.reset is None


def test_who_goes_on_sending_a_body_that_nobody_wants_is_told(gate):
    with connect(gate) as client:
        number = client.begin(client.fields("POST", "/v1/chat/completions", [("content-length", "10000000")], key="wrong"))
        answer = client.answers[number]
        client.until(lambda: answer.ended)
        client.send_body(number, b"x" * 200_000, end=False)
        client.until(lambda: answer.reset is not None)
        assert (answer.status, answer.reset) == (401, NO_ERROR)
        assert client.get("/v1/models").status == 200


BASE = [(":method", "POST"), (":path", "/v1/chat/completions"), (":scheme", "http"), (":authority", "a.test"),
        ("authorization", f"Bearer {KEY_ACME}"), ("content-type", "application/json")]


def without(name):
    return [pair for pair in BASE if pair[0] != name]


def instead(name, value):
    return [(n, value if n == name else v) for n, v in BASE]


MALFORMED = {
    "no method": without(":method"), "no path": without(":path"), "no scheme": without(":scheme"),
    "an empty path": instead(":path", ""), "a path twice": BASE[:2] + BASE[1:], "an unknown pseudo": [(":what", "x")] + BASE,
    "a pseudo behind a field": BASE[:3] + BASE[4:] + BASE[3:4], "a status": [(":status", "200")] + BASE,
    "upper case": BASE + [("X-Upper", "x")], "connection": BASE + [("connection", "close")],
    "transfer-encoding": BASE + [("transfer-encoding", "chunked")], "upgrade": BASE + [("upgrade", "websocket")],
    "keep-alive": BASE + [("keep-alive", "x")], "te": BASE + [("te", "gzip")],
    "a line end in a value": BASE + [("x-a", "a\r\nx-b: b")], "a bare one": BASE + [("x-a", "a\nb")],
    "NUL": BASE + [("x-a", "a\0b")], "a line end in a name": BASE + [("x-a: 1\r\nx-b", "b")],
    "a space in a name": BASE + [("x a", "b")], "a space in a path": instead(":path", "/v1/models HTTP/1.1"),
    "a line end in a path": instead(":path", "/v1/models\r\nx: y"), "a line end in a method": instead(":method", "GET /\r\n"),
    "a line end in an authority": instead(":authority", "a\r\nb: c"), "two lengths": BASE + [("content-length", "1")] * 2,
    "a signed length": BASE + [("content-length", "+1")],
    "extended CONNECT": instead(":method", "CONNECT") + [(":protocol", "websocket")],
}


@pytest.mark.parametrize("fields", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_malformed_ends_its_stream_only(gate, upstream, fields):
    with connect(gate) as client:
        answer = client.answer(client.begin(fields, end=True))
        refused = answer.reset == 1 or (answer.status or 0) in (400, 501)
        assert refused, vars(answer)
        assert client.answer(client.chat()).status == 200
        assert client.goaway is None
    assert len(upstream.calls) == 1


REFUSED = {
    "CONNECT": ([(":method", "CONNECT"), (":authority", "a.test:80")], (400, 405, 501)),
    "a method nobody knows": (instead(":method", "BREW"), (400, 405, 501)),
    "a host that is another": (BASE + [("host", "b.test")], (400,)),
    "no host at all": (without(":authority"), (1, 400)),
    "a whole address": (instead(":path", "http://a.test/v1/models"), (1, 400)),
    "an asterisk": (instead(":path", "*"), (1, 400)),
    "a path too long": (instead(":path", "/" + "x" * 9000), (414,)),
    "a field too large": (BASE + [("x-a", "a" * 20_000)], (431,)),
    "fields too large": (BASE + [(f"x-{i}", "a" * 100) for i in range(99)] + [("y", "b" * 9000)], (431,)),
    "too many fields": (BASE + [(f"x-{i}", "a") for i in range(120)], (400, 431)),
}


@pytest.mark.parametrize("fields, statuses", REFUSED.values(), ids=REFUSED.keys())
def test_what_http_1_refuses_is_refused_in_the_same_words(gate, upstream, fields, statuses):
    with connect(gate) as client:
        answer = client.answer(client.begin(fields, end=True))
        assert (answer.status or answer.reset) in statuses, vars(answer)
        assert client.answer(client.chat()).status == 200
    assert len(upstream.calls) == 1


def test_host_authority_and_cookies(gate):
    with connect(gate) as client:
        get = [(":method", "GET"), (":path", "/v1/models"), (":scheme", "http")]
        key = [("authorization", f"Bearer {KEY_ACME}")]
        for fields in (get + [(":authority", "a.test")] + key + [("host", "A.test")],
                       get + key + [("host", "a.test")],
                       get + [(":authority", "a.test")] + key + [("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers")]):
            assert client.answer(client.begin(fields, end=True)).status == 200


def test_a_length_that_is_not_true(gate, upstream):
    with connect(gate) as client:
        number = client.begin(client.fields("POST", "/v1/chat/completions", [
            ("content-type", "application/json"), ("content-length", "5")]))
        client.h2.send_data(number, CALL.encode(), end_stream=True)
        client.flush()
        answer = client.answer(number)
        assert answer.reset == 1 or answer.status == 400, vars(answer)
        number = client.begin(client.fields("POST", "/v1/chat/completions", [
            ("content-type", "application/json"), ("content-length", "500")]))
        client.h2.send_data(number, CALL.encode(), end_stream=True)
        client.flush()
        assert client.answer(number).reset == 1
        assert client.answer(client.chat()).status == 200
    assert len(upstream.calls) == 1


@pytest.mark.parametrize("trailer, status", [(("x-sum", "1"), 200), (("host", "a"), 400), (("authorization", "x"), 400)])
def test_trailers(gate, trailer, status):
    with connect(gate) as client:
        number = client.begin(client.fields("POST", "/v1/chat/completions", [("content-type", "application/json")]))
        client.send_body(number, CALL.encode(), end=False)
        client.h2.send_headers(number, [trailer], end_stream=True)
        client.flush()
        assert client.answer(number).status == status


def test_expect_100_continue(gate):
    with connect(gate) as client:
        body = CALL.encode()
        number = client.begin(client.fields("POST", "/v1/chat/completions", [
            ("content-type", "application/json"), ("content-length", str(len(body))), ("expect", "100-continue")]))
        client.until(lambda: client.answers[number].informational)
        client.send_body(number, body)
        answer = client.answer(number)
        assert answer.informational == [100] and answer.status == 200
        number = client.begin(client.fields("POST", "/v1/chat/completions", [
            ("content-length", str(len(body))), ("expect", "100-continue")], key="wrong"))
        answer = client.answer(number)
        assert answer.informational == [] and answer.status == 401


def test_a_body_that_does_not_come(gate):
    with connect(gate) as client:
        number = client.begin(client.fields("POST", "/v1/chat/completions", [
            ("content-type", "application/json"), ("content-length", "50")]))
        assert client.answer(number).status == 408
        assert client.answer(client.chat()).status == 200


# ------------------------------------------------------------------------------- many at once

def test_two_hundred_streams_on_one_connection(gate, upstream):
    """Byte for byte what one alone gets, with their turns taken in between each other."""
    count = 200
    gather = threading.Barrier(count)

    def answer(call):
        number = call.json["user"]
        call.begin_stream()
        gather.wait(60)
        for i in range(20):
            call.event(chat_chunk({"content": f"{number}-{i} " + "x" * 300}))
        call.event("[DONE]")
        call.end_stream()

    upstream.answer = answer
    with connect(gate, timeout=90) as client:
        numbers = {client.chat(stream=True, user=f"u{i}"): f"u{i}" for i in range(count)}
        for number, user in numbers.items():
            got = client.answer(number)
            assert got.status == 200 and got.ended and got.reset is None
            words = [json.loads(e)["choices"][0]["delta"].get("content", "") for e in sse_events(got.body)[:-1] if e != "[DONE]"]
            assert "".join(words) == "".join(f"{user}-{i} " + "x" * 300 for i in range(20))
    assert len(upstream.calls) == count


def test_who_does_not_read_one_stream_stops_that_one_only(gate, upstream):
    sent = {}

    def answer(call):
        user = call.json["user"]
        call.begin_stream()
        sent[user] = 0
        for i in range(3000 if user == "stuck" else 20):
            call.event(chat_chunk({"content": "x" * 4000}))
            sent[user] += 1
        call.event("[DONE]")
        call.end_stream()

    upstream.answer = answer
    with connect(gate, window=20_000) as client:
        client.open_window(100_000_000)
        stuck = client.chat(stream=True, user="stuck")
        client.until(lambda: len(client.answers[stuck].body) >= 20_000)
        for _ in range(3):
            other = client.chat(stream=True, user="other")
            client.open_window(1_000_000, other)
            assert sse_events(client.answer(other).body)[-1] == "[DONE]"
        assert len(client.answers[stuck].body) == 20_000 and sent["stuck"] < 3000
        client.reset(stuck)
        assert client.get("/v1/models").status == 200


def test_who_asks_and_reads_may_do_so_at_any_speed(gate):
    with connect(gate) as client:
        for _ in range(30):
            numbers = [client.ask("GET", "/v1/models") for _ in range(90)]
            assert {client.answer(n).status for n in numbers} == {200}
        assert client.goaway is None


# --------------------------------------------------------------------------------- who leaves

@pytest.mark.parametrize("how", ["reset", "close"])
def test_who_leaves_cancels_the_upstream_and_is_booked(gate, upstream, how):
    gone, begun = threading.Event(), threading.Event()

    def answer(call):
        call.begin_stream()
        for i in range(3):
            call.event(chat_chunk({"content": f"word {i} "}))
        begun.set()
        if call.wait_gone(20) is not None:
            gone.set()

    upstream.answer = answer
    with connect(gate) as client:
        number = client.chat(stream=True)
        assert begun.wait(20)
        client.until(lambda: client.answers[number].body.count(b"\n\n") >= 3)
        request_id = client.answers[number].header("x-request-id")
        if how == "reset":
            client.reset(number)
        else:
            client.close()
        assert gone.wait(20), "the upstream was not closed"
        row = gate.ledger_row(request_id)
        assert (row["outcome"], row["status"], row["counted"]) == ("partial", 499, "estimate"), row
        if how == "reset":
            upstream.forget()
            assert client.answer(client.chat()).status == 200


def test_an_answer_that_breaks_off_is_seen_to(gate, upstream):
    """A stream of events says so in words, as in HTTP/1.1; a body that has a length is reset."""
    def answer(call):
        call.send(b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ncontent-length: 100000\r\n\r\n" + b"x" * 1000)
        call.reset()

    upstream.answer = answer
    with connect(gate) as client:
        number = client.ask("POST", "/v1/audio/speech", {"model": "fast", "input": "a", "voice": "b"})
        got = client.answer(number)
        assert got.reset == INTERNAL_ERROR or got.status >= 500, vars(got)
        upstream.forget()


def test_too_many_streams_are_refused_and_may_come_again(gate, upstream):
    release = threading.Event()

    def answer(call):
        release.wait(60)
        call.respond(body=b'{"id":"x","object":"chat.completion","choices":[]}')

    upstream.answer = answer
    with connect(gate) as client:
        numbers = [client.chat() for _ in range(310)]  # before it has read how many it may
        refused = lambda: [n for n in numbers if client.answers[n].reset == REFUSED_STREAM]  # noqa: E731
        client.until(lambda: len(refused()) == 10)
        release.set()
        for number in numbers:
            assert client.answer(number).reset == REFUSED_STREAM or client.answer(number).status == 200
        assert client.answer(client.chat()).status == 200


# ------------------------------------------------------------- drained, reloaded, killed, and others

class Held:
    """Streams an event, then waits to be let go."""

    def __init__(self):
        self.go = threading.Event()

    def __call__(self, call):
        call.begin_stream()
        call.event(chat_chunk({"content": "first"}))
        self.go.wait(120)
        call.event(chat_chunk({"content": "last"}))
        call.event("[DONE]")
        call.end_stream()


def test_a_drain_says_so_and_finishes_what_is_open(upstream):
    upstream.answer = held = Held()
    with Sluice(config_for(upstream, server={"shutdown": {"drain_delay": "0s", "grace": "60s"}})) as gate:
        with connect(gate) as client, connect(gate) as idle:
            assert idle.get("/v1/models").status == 200
            numbers = [client.chat(stream=True) for _ in range(20)]
            client.until(lambda: all(b"first" in client.answers[n].body for n in numbers))
            gate.signal(signal.SIGTERM)
            idle.until(lambda: idle.closed)
            assert idle.goaway == NO_ERROR
            client.until(lambda: client.goaway is not None)
            assert client.goaway == NO_ERROR and not client.closed
            held.go.set()
            for number in numbers:
                answer = client.answer(number)
                assert answer.ended and answer.reset is None and sse_events(answer.body)[-1] == "[DONE]"
            client.until(lambda: client.closed)
        assert gate.process.wait(30) == 0
        assert not gate.crash_trace()


def test_a_reload_under_streams_turns_it_off_for_who_comes_later(upstream):
    upstream.answer = held = Held()
    with Sluice(config_for(upstream)) as gate:
        with connect(gate) as client:
            numbers = [client.chat(stream=True) for _ in range(20)]
            client.until(lambda: all(b"first" in client.answers[n].body for n in numbers))
            listeners = [{**gate.config["server"]["listeners"][0], "http2": False}]
            gate.write(merged(gate.config, {"server": {"listeners": listeners}}))
            assert gate.cli("reload").returncode == 0
            held.go.set()
            for number in numbers:
                assert sse_events(client.answer(number).body)[-1] == "[DONE]"
            assert client.get("/v1/models").status == 200

        def is_off():
            with gate.connect() as other:
                other.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
                return other.read_to_close(within=20).startswith(b"HTTP/1.1 505")

        eventually(is_off)


def test_what_was_open_when_it_was_killed_is_lost_not_dropped(upstream):
    with Sluice(config_for(upstream)) as gate:
        gate.may_crash = True
        with connect(gate) as client:
            done = [client.answer(client.chat()).header("x-request-id") for _ in range(5)]
            upstream.answer = Held()
            numbers = [client.chat(stream=True) for _ in range(5)]
            client.until(lambda: all(b"first" in client.answers[n].body for n in numbers))
            lost = [client.answers[n].header("x-request-id") for n in numbers]
            os.kill(gate.worker_pid, signal.SIGKILL)
            client.until(lambda: client.closed)
            upstream.answer.go.set()
        eventually(lambda: gate.get("/readyz", key=None).status == 200, within=30)
        assert {gate.ledger_row(i)["outcome"] for i in done} == {"complete"}
        assert {gate.ledger_row(i, within=30)["outcome"] for i in lost} == {"lost"}
        assert gate.usage_total("requests") == 10


NODE = r"""
const http2 = require('http2'), fs = require('fs');
const session = http2.connect(process.argv[1], {ca: process.argv[2] && fs.readFileSync(process.argv[2])});
let left = 40, events = 0;
for (let i = 0; i < 40; i++) {
    const call = session.request({':method': 'POST', ':path': '/v1/chat/completions',
        'authorization': 'Bearer ' + process.argv[3], 'content-type': 'application/json'});
    call.setEncoding('utf8');
    let text = '', status = 0;
    call.on('response', head => { status = head[':status']; });
    call.on('data', piece => { text += piece; });
    call.on('end', () => {
        if (status !== 200 || !text.endsWith('data: [DONE]\n\n')) { console.error(status, text); process.exit(1); }
        if (--left === 0) session.close(() => console.log('well'));
    });
    call.end(JSON.stringify({model: 'fast', messages: [], stream: true}));
}
"""


@pytest.mark.parametrize("listener", ["api", "tls"])
def test_node(gate, listener):
    scheme = "https" if listener == "tls" else "http"
    url = f"{scheme}://localhost:{gate.address(listener)[1]}"
    done = subprocess.run(["node", "-e", NODE, "--", url, str(OURS.file), KEY_ACME], capture_output=True, timeout=100,
                          check=False)
    assert done.stdout == b"well\n", done
