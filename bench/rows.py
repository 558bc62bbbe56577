# SPDX-License-Identifier: Apache-2.0
"""The scenarios of `make bench`. Each gets its title, a scratch folder and the options, prints a table and
returns {who: [measurements]}. README.md says what they are for."""

import hashlib
import json
import os
import signal
import socket
import ssl
import subprocess
import time
from contextlib import contextmanager
from functools import partial

import servers
from loads import (KEY, column, cpu_of, failures, load, load_command, measured, middle, pinned, print_rows, question, ratio,
                   spread, take_turns, wrk)
from servers import LOAD_CORES, LOADS, SLUICE, Running, free_port, have, rss_kib, start_each, stop_all

PEERS = ("nginx", "haproxy", "direct")
CHUNKS, APART_MS = 64, 20
HELD_S = 10
KEYS = 10_000
UNREAD_TOKENS = 1_200_000  # some 280 bytes each as an event: more than 256 MiB
UNREADERS = 8  # one alone would drown in what the allocator had left over
UNREAD_PROOF = 16 << 20  # so much is read in the end: there was an answer to hold


@contextmanager
def upstream(work, *options):
    port = free_port()
    mock = Running("mock", [SLUICE, "mock", "--address", f"127.0.0.1:{port}", *options], port, LOAD_CORES, work)
    mock.port = port
    try:
        yield mock
    finally:
        mock.stop()


@contextmanager
def started(starts, work, ports):
    running = start_each(starts, work, ports)
    try:
        yield running
    finally:
        stop_all(running)


def all_of(nginx=servers.start_nginx):
    return have({"sluice": servers.start_sluice, "full": servers.start_full, "full-redis": servers.start_full_redis,
                 "nginx": nginx, "haproxy": servers.start_haproxy})


def closed_columns(rows):
    return [column("CPU µs", "cpu_us"), spread("[least - most]", "cpu_us"), ratio(rows, "nginx"), ratio(rows, "haproxy"),
            ("per s", lambda _who, runs: f"{sum(run['good'] for run in runs) / sum(run['seconds'] for run in runs):.0f}"),
            column("p50 µs", "p50", digits=0), column("p99 µs", "p99", digits=0), column("RSS MiB", "rss_kib", 1024),
            failures()]


# ------------------------------------------------------------------------- closed loops, by wrk


def closed(title, work, args, starts=None, size=1000, cold=False, tls=False, **members):
    (work / "body.json").write_text(question(size, **members))
    with upstream(work) as mock, started(starts() if starts else all_of(), work, mock.port) as running:
        for server in running:  # fills pools and caches
            wrk(server.port, work, 1, cold=cold, tls=tls)
        rows = take_turns(running, args.rounds, lambda server: measured(
            server, partial(wrk, server.port, work, args.seconds, cold=cold, tls=tls)))
    print_rows(title, rows, closed_columns(rows))
    return rows


def with_hit():
    return have({"hit": servers.start_full_hit, "full": servers.start_full, "nginx": servers.start_nginx})


def with_tls():
    return have({"tls": servers.start_sluice_tls, "full": servers.start_full_tls, "nginx": servers.start_nginx_tls})


# ------------------------------------------------------------------------- handshakes


def tls_call(port, tls, session, body):
    """One call on a connection of its own; the session that the server gave, and whether it took ours up."""
    with socket.create_connection(("127.0.0.1", port), 10) as plain:
        with tls.wrap_socket(plain, session=session) as client:
            client.sendall(f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n{KEY}\r\nConnection: close\r\n"
                           f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
            answer = b""
            while part := client.recv(65536):
                answer += part
            return client.session, client.session_reused, answer.startswith(b"HTTP/1.1 200")


def many_handshakes(server, number, resumed, body):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    tls.options |= getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    session = tls_call(server.port, tls, None, body)[0]

    def run():
        bad = reused = 0
        for _ in range(number):
            _, again, good = tls_call(server.port, tls, session if resumed else None, body)
            bad += not good
            reused += again
        return {"requests": number, "bad": bad + (number - reused if resumed else reused), "reused": reused}
    return measured(server, run)


def handshakes(title, work, args):
    """Our client's slowness is not in the figure: it is the server's time that counts."""
    os.sched_setaffinity(0, LOAD_CORES)
    body, number = question(), 100 * args.seconds
    rows = {}
    with upstream(work) as mock, started(with_tls(), work, mock.port) as running:
        for resumed in (False, True):
            found = take_turns(running, args.rounds, lambda server, way=resumed: many_handshakes(server, number, way, body))
            rows.update({f"{who}, {'resumed' if resumed else 'full'}": runs for who, runs in found.items()})

    def to_nginx(who, runs):
        peer = rows.get("nginx, TLS, " + who.rsplit(", ", 1)[1])
        return f"{middle(runs, 'cpu_us') / middle(peer, 'cpu_us'):.2f}" if peer else "-"
    print_rows(title, rows, [column("CPU µs", "cpu_us"), spread("[least - most]", "cpu_us"), ("× nginx", to_nginx),
                             column("resumed", "reused", digits=0), failures()])
    return rows


# ------------------------------------------------------------------------- streams


def paced_columns(rows):
    return [column("CPU µs per chunk", "cpu_us", digits=2), spread("[least - most]", "cpu_us"), ratio(rows, "nginx"),
            ratio(rows, "haproxy"), column("RSS MiB", "rss_kib", 1024), failures()]


def paced(title, work, args):
    (work / "body.json").write_text(question(stream=True, max_tokens=CHUNKS))
    with upstream(work, "--rate", str(1000 // APART_MS), "--tokens", str(CHUNKS)) as mock:
        with started(all_of(servers.start_nginx_unbuffered), work, mock.port) as running:
            for server in running:
                load(server.port, work, 1, 256)
            rows = take_turns(running, args.rounds, lambda server: measured(
                server, partial(load, server.port, work, args.seconds, 256), "events"))
    print_rows(title, rows, paced_columns(rows))
    return rows


def event(kind, **members):
    name = f"event: {kind}\n" if kind else ""
    return f"{name}data: {json.dumps({**({'type': kind} if kind else {}), **members})}\n\n"


WORDS = "a few words "


def openai_stream():
    def chunk(choices, usage=None):
        return event("", id="chatcmpl-1", object="chat.completion.chunk", created=1700000000, model="gpt-4o-mini",
                     choices=choices, usage=usage)

    def choice(finish=None, **delta):
        return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
    usage = {"prompt_tokens": 200, "completion_tokens": CHUNKS * 3, "total_tokens": 200 + CHUNKS * 3}
    return (chunk(choice(role="assistant", content="")) + chunk(choice(content=WORDS)) * CHUNKS + chunk(choice("stop"))
            + chunk([], usage) + "data: [DONE]\n\n")


def anthropic_stream():
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "content": [], "stop_reason": None,
               "stop_sequence": None, "usage": {"input_tokens": 200, "output_tokens": 1}}
    return (event("message_start", message=message)
            + event("content_block_start", index=0, content_block={"type": "text", "text": ""})
            + event("content_block_delta", index=0, delta={"type": "text_delta", "text": WORDS}) * CHUNKS
            + event("content_block_stop", index=0)
            + event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None},
                    usage={"output_tokens": CHUNKS * 3})
            + event("message_stop"))


def gemini_stream():
    def chunk(finish=None):
        usage = {"promptTokenCount": 200, "candidatesTokenCount": CHUNKS * 3, "totalTokenCount": 200 + CHUNKS * 3}
        candidate = {"content": {"parts": [{"text": WORDS}], "role": "model"}, "index": 0}
        return event("", candidates=[{**candidate, **({"finishReason": finish} if finish else {})}], usageMetadata=usage,
                     modelVersion="gemini-x", responseId="r1")
    return chunk() * (CHUNKS - 1) + chunk("STOP")


@contextmanager
def canned(work, streams):
    """A server for each, which gives everybody that stream; their ports."""
    running = []
    try:
        for name, stream in streams.items():
            port = free_port()
            (work / f"{name}.sse").write_text(stream)
            running.append(Running(name, [LOADS / "canned", "-p", str(port), "-f", work / f"{name}.sse", "-d", str(APART_MS)],
                                   port, LOAD_CORES, work))
        yield [each.port for each in running]
    finally:
        stop_all(running)


def translated(title, work, args):
    """The same words from providers of three dialects, for clients that speak OpenAI's."""
    (work / "body.json").write_text(question(stream=True))
    streams = {"openai": openai_stream(), "anthropic": anthropic_stream(), "gemini": gemini_stream()}
    with canned(work, streams) as ports:
        with started([servers.of_type(kind) for kind in streams], work, ports) as running:
            for server in running:
                load(server.port, work, 1, 256)

            def measure(server):
                nanos, result = cpu_of(server, partial(load, server.port, work, args.seconds, 256))
                number = (result["requests"] - result["bad"]) * CHUNKS
                return dict(result, cpu_us=nanos / 1000 / max(1, number), rss_kib=rss_kib(server.pids()))
            rows = take_turns(running, args.rounds, measure)
    plain = middle(rows["openai"], "cpu_us")
    print_rows(title, rows, [column("CPU µs per chunk", "cpu_us", digits=2), spread("[least - most]", "cpu_us"),
                             ("over passed through", lambda _who, runs: f"{middle(runs, 'cpu_us') - plain:+.2f}"),
                             failures()])
    return rows


def files_of(pids):
    total = 0
    for pid in pids:
        try:
            total += len(os.listdir(f"/proc/{pid}/fd"))
        except OSError:
            pass
    return total


def hold(server, mock, work, streams):
    """Streams that are all open at once; what they take, and whether it is given back."""
    load(server.port, work, 1, 1, "-h")
    before, files = rss_kib(server.pids()), files_of(mock.pids())
    client = subprocess.Popen(load_command(server.port, work, HELD_S, streams, "-h"), stdout=subprocess.PIPE, text=True,
                              preexec_fn=pinned)
    opened = json.loads(client.stdout.readline())
    nanos, held = cpu_of(server, lambda: (time.sleep(HELD_S * 0.6), rss_kib(server.pids()))[1])
    result = json.loads(client.stdout.readline())
    client.wait()
    left = time.monotonic()
    while files_of(mock.pids()) > files + streams // 100 and time.monotonic() - left < 30:
        time.sleep(0.01)
    closed_s = time.monotonic() - left
    time.sleep(5)
    chunks = result["events"] * 0.6
    return dict(bad=streams - opened["open"], before=before, held=held, after=rss_kib(server.pids()), closed_s=closed_s,
                bytes=(held - before) * 1024 / max(1, opened["open"]), cpu_us=nanos / 1000 / max(1, chunks))


def held(title, work, args):
    (work / "body.json").write_text(question(stream=True, max_tokens=1000))
    rows = {}
    for start in have({"sluice": servers.start_sluice, "full": servers.start_full, "nginx": servers.start_nginx_unbuffered,
                       "haproxy": servers.start_haproxy}):
        with upstream(work, "--rate", "1", "--tokens", "1000") as mock, started([start], work, mock.port) as running:
            rows[running[0].name] = [hold(running[0], mock, work, args.streams)]
    print_rows(f"{title} ({args.streams})", rows, [
        column("bytes per stream", "bytes", digits=0), column("MiB before", "before", 1024), column("held", "held", 1024),
        column("5 s after", "after", 1024), column("upstream closed s", "closed_s", digits=2),
        column("CPU µs per chunk", "cpu_us"), failures("not opened")])
    return rows


# ------------------------------------------------------------------------- a fixed rate


def rate(title, work, args):
    (work / "body.json").write_text(question())
    starts = [servers.start_direct, *all_of()]
    with upstream(work) as mock, started(starts, work, mock.port) as running:
        for server in running:
            load(server.port, work, 1, 64, "-r", str(args.rate))
        rows = take_turns(running, args.rounds, lambda server: measured(
            server, partial(load, server.port, work, args.seconds, 64, "-r", str(args.rate))))
    alone = {key: middle(rows["direct"], key) for key in ("p50", "p99")}
    columns = [column("p50 µs", "p50", digits=0), column("p99 µs", "p99", digits=0)]
    for key in alone:
        columns.append((f"added {key}", lambda _who, runs, key=key: f"{middle(runs, key) - alone[key]:+.0f}"))
    print_rows(f"{title} ({args.rate} a second)", rows, [*columns, column("CPU µs", "cpu_us"), failures()])
    return rows


# ------------------------------------------------------------------------- start, rest, reload, who does not read


def ask(port, path, timeout=1):
    """The answer to a GET, or nothing."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout) as client:
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{KEY}\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while part := client.recv(65536):
                answer += part
            return answer
    except OSError:
        return b""


def until(question_of, seconds):
    """Wait until it is so, asking each millisecond; 0, or 1 when it never was."""
    end = time.monotonic() + seconds
    while not question_of():
        if time.monotonic() > end:
            return 1
        time.sleep(0.001)
    return 0


def start_once(start, work, port):
    """From the program's start until it answers, and what it holds 2 s later."""
    begun = time.monotonic()
    with started([start], work, port) as running:
        server, bad = running[0], 0
        if server.name not in PEERS:
            bad = until(lambda: ask(server.port, "/readyz").startswith(b"HTTP/1.1 200"), 10)
        ready = time.monotonic() - begun
        time.sleep(2)
        return dict(ready_ms=ready * 1000, rss_kib=rss_kib(server.pids()), processes=len(server.pids()), bad=bad)


def rest(title, work, args):
    with upstream(work) as mock:
        rows = {}
        for name, start in {"sluice": servers.start_sluice, "full": servers.start_full, "nginx": servers.start_nginx,
                            "haproxy": servers.start_haproxy}.items():
            if have({name: start}):
                rows[name] = [start_once(start, work, mock.port) for _ in range(args.rounds)]
    print_rows(title, rows, [column("ready ms", "ready_ms"), column("RSS MiB", "rss_kib", 1024),
                             column("processes", "processes", digits=0), failures()])
    return rows


def with_keys(text, number):
    """So many keys more, of one tenant."""
    lines = [f'      - {{name: k{at}, hash: "sha256:{hashlib.sha256(f"sk-bench-{at}".encode()).hexdigest()}"}}'
             for at in range(number)]
    return text.replace("    keys:\n", "    keys:\n" + "\n".join(lines) + "\n", 1)


def reload_once(server, folder, name):
    """From the signal until a model that was added is told of."""
    path = folder / "sluice.yaml"
    text = path.read_text()
    path.write_text(text.replace("\ntenants:\n", f"\n  - name: {name}\n    targets: [{{id: {name}, provider: llm, model: x, price: "
                                 "{input: 1, output: 1}}]\ntenants:\n", 1).replace("models: [", f"models: [{name}, ", 1))
    begun = time.monotonic()
    os.kill(server.process.pid, signal.SIGHUP)
    bad = until(lambda: f'"{name}"'.encode() in ask(server.port, "/v1/models"), 30)
    return dict(reload_ms=(time.monotonic() - begun) * 1000, rss_kib=rss_kib(server.pids()), bad=bad)


def reload(title, work, args):
    rows = {}
    with upstream(work) as mock:
        for number in (1, KEYS):
            folder = work / f"keys-{number}"
            folder.mkdir()
            start = partial(servers.start_sluice, target="full", change=lambda text, number=number: with_keys(text, number))
            server = start(folder, mock.port)
            try:
                until(lambda: ask(server.port, "/readyz").startswith(b"HTTP/1.1 200"), 10)
                rows[f"{number} keys"] = [reload_once(server, folder, f"more-{turn}") for turn in range(args.rounds)]
            finally:
                server.stop()
    print_rows(title, rows, [column("ms", "reload_ms"), spread("[least - most]", "reload_ms"), column("RSS MiB", "rss_kib", 1024),
                             failures()])
    return rows


def unread_client(port, body):
    client = socket.socket()
    client.settimeout(10)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", port))
    client.sendall(f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n{KEY}\r\n"
                   f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
    return client


def was_long(client):
    """There was an answer to hold: it goes on when one reads after all."""
    good, left = client.recv(12) == b"HTTP/1.1 200", UNREAD_PROOF
    while left > 0 and (part := client.recv(65536)):
        left -= len(part)
    return good and left <= 0


def unread_once(server, seconds):
    """What is held for clients that ask for 256 MiB each and read none of it."""
    body = question(stream=True, max_tokens=UNREAD_TOKENS)
    before = most = settled = rss_kib(server.pids())
    clients = [unread_client(server.port, body) for _ in range(UNREADERS)]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.05)
        settled = rss_kib(server.pids())
        most = max(most, settled)
    bad = 0 if was_long(clients[0]) else 1
    for client in clients:
        client.close()
    return dict(held_kib=(most - before) / UNREADERS, settled_kib=(settled - before) / UNREADERS, before=before, bad=bad)


def unread(title, work, args):
    (work / "body.json").write_text(question())  # of 64 tokens
    rows = {}
    with upstream(work, "--tokens", str(UNREAD_TOKENS)) as mock:
        for start in have({"sluice": servers.start_sluice, "full": servers.start_full, "nginx": servers.start_nginx_unbuffered,
                           "haproxy": servers.start_haproxy}):
            with started([start], work, mock.port) as running:
                wrk(running[0].port, work, 1)  # what the first calls need is there
                time.sleep(3)
                rows[running[0].name] = [unread_once(running[0], args.seconds)]
    print_rows(title, rows, [column("KiB for each, most", "held_kib", digits=0),
                             column("in the end", "settled_kib", digits=0), column("RSS MiB before", "before", 1024), failures()])
    return rows


SCENARIOS = {
    "chat": ("1 KB question, keep-alive, 64 connections", closed),
    "large": ("100 KB question, the same", partial(closed, size=100_000)),
    "cold": ("1 KB question, a new connection each", partial(closed, cold=True)),
    "stream": ("1 KB question, answer as a stream", partial(closed, starts=partial(all_of, servers.start_nginx_unbuffered),
                                                            stream=True)),
    "hit": ("chat, answered from the exact cache", partial(closed, starts=with_hit, temperature=0)),
    "tls": ("chat over TLS, keep-alive", partial(closed, starts=with_tls, tls=True)),
    "handshakes": ("chat over TLS, a new connection each, full or resumed handshake", handshakes),
    "paced": ("256 streams at a time, 64 chunks 20 ms apart", paced),
    "translated": ("the same, from providers of three dialects to clients of OpenAI's", translated),
    "held": ("streams open at once, a chunk a second", held),
    "rate": ("chat at random times, 64 connections", rate),
    "rest": ("from start to ready; memory before the first call", rest),
    "reload": ("from SIGHUP until a change is in force", reload),
    "unread": ("256 MiB for each of 8 clients that do not read", unread),
}
