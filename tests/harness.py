# SPDX-License-Identifier: Apache-2.0
"""Runs the real program for a test: configuration, start, stop, and what it left behind.

    with Upstream() as upstream, Sluice(config_for(upstream)) as gate:
        answer = gate.post("/v1/chat/completions", {"model": "fast", "messages": []})

Nothing here needs more than Python's standard library and pytest. SLUICE_BINARY names another
build, for example one with sanitizers.
"""

import atexit
import contextlib
import csv
import hashlib
import io
import itertools
import json
import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from raw_client import Client, ProtocolError, WebSocket, chunked, request_bytes, sse_events  # noqa: E402,F401
from raw_upstream import (  # noqa: E402,F401
    USAGE,
    Gone,
    Upstream,
    chat_body,
    chat_chunk,
    framed,
    raw_answer,
    stream_chat,
)

PATIENCE, PATIENCE_MAX = 3, 90  # so many times as long as it should take is waited, and so many seconds
BINARY = os.path.abspath(os.environ.get("SLUICE_BINARY", ROOT / "build" / "sluice"))

# Every secret the tests use looks like these, so that all outputs can be searched for them.
KEY_ACME = "sk-acme-5ecre7-0123456789abcdef"
KEY_ACME_FAST = "sk-acme-fast-5ecre7-23456789abcdef"
KEY_GLOBEX = "sk-globex-5ecre7-3456789abcdef01"
KEY_EXPIRED = "sk-expired-5ecre7-456789abcdef012"
KEY_WRONG = "sk-wrong-5ecre7-56789abcdef01234"
KEY_PROVIDER = "sk-provider-5ecre7-6789abcdef012345"
SECRETS = [KEY_ACME, KEY_ACME_FAST, KEY_GLOBEX, KEY_EXPIRED, KEY_WRONG, KEY_PROVIDER]

# What a sanitizer or a crash leaves in the log.
CRASH = re.compile(
    r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|MemorySanitizer|UndefinedBehavior|runtime error:"
    r"|Assertion .* failed|SIGSEGV|SIGABRT|stack smashing|double free|corrupted|core dumped"
)

# Builds with sanitizers are several times slower and bigger.
SANITIZED = "address" in BINARY or "thread" in BINARY


def sha256_hash(key):
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


# ------------------------------------------------------------------------------- small things


PORTS_BEGIN, PORTS_OF_A_PROCESS, PORT_CLAIMS = 15000, 120, 145
_ports = {}  # of this process: who it is, what it holds, the next one


def own_ports():
    """The ports that are this process', as an iterator without end. A name in the network's own namespace (abstract,
    see unix(7)) claims them for as long as it lives: a port that two have found free is taken by one of them only."""
    for number in random.sample(range(PORT_CLAIMS), PORT_CLAIMS):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0sluice-test-ports-{number}")
        except OSError:
            claim.close()
            continue
        begin = PORTS_BEGIN + number * PORTS_OF_A_PROCESS
        return claim, itertools.cycle(range(begin, begin + PORTS_OF_A_PROCESS))
    raise RuntimeError(f"more than {PORT_CLAIMS} test processes at once")


def free_port(host="127.0.0.1"):
    """A port below the range that the kernel hands out by itself, which no other test process is given."""
    if _ports.get("pid") != os.getpid():
        _ports["pid"] = os.getpid()
        _ports["claim"], _ports["next"] = own_ports()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in itertools.islice(_ports["next"], PORTS_OF_A_PROCESS):
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what is only remembered is free
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port")


def eventually(condition, within=10, every=0.02, what=None):
    """Poll until condition() is true and return its value; fail the test otherwise. <within> is what it takes at most
    on a machine that is idle; others may use it, and be served first."""
    within = min(within * PATIENCE, max(within, PATIENCE_MAX))
    deadline = time.monotonic() + within
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not in {within} s: {what or condition}; last: {value!r}")
        time.sleep(every)


def temporary_folder(prefix):
    """A short path (for unix sockets) that goes away with the test run."""
    path = tempfile.mkdtemp(prefix=prefix, dir="/tmp")
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def to_yaml(value, indent=0):
    """Block-style YAML as people write it; scalars as JSON, which is YAML too."""
    pad = "  " * indent
    if isinstance(value, dict) and value:
        lines = []
        for key, item in value.items():
            if isinstance(item, (dict, list)) and item:
                lines.append(f"{pad}{key}:\n{to_yaml(item, indent + 1)}")
            else:
                lines.append(f"{pad}{key}: {json.dumps(item)}")
        return "\n".join(lines)
    if isinstance(value, list) and value:
        lines = []
        for item in value:
            if isinstance(item, dict) and item:
                block = to_yaml(item, indent + 1)
                lines.append(f"{pad}- {block.lstrip()}")
            else:
                lines.append(f"{pad}- {json.dumps(item)}")
        return "\n".join(lines)
    return pad + json.dumps(value)


def merged(base, changes):
    """`base` with `changes` laid over it; mappings are merged, all else is replaced."""
    out = dict(base)
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(out.get(key), dict):
            out[key] = merged(out[key], value)
        else:
            out[key] = value
    return out


# ------------------------------------------------------------------------------- configuration

PRICE = {"input": 1.0, "cached_input": 0.5, "output": 4.0}  # USD per million tokens


def provider_for(upstream, name="up", **changes):
    base = {
        "name": name,
        "type": "openai",
        "base_url": upstream if isinstance(upstream, str) else upstream.url,
        "api_key": KEY_PROVIDER,
        "timeouts": {"connect": "2s", "first_byte": "60s"},  # later than what eventually() waits for
        "retry": {"attempts": 0},
    }
    return merged(base, changes)


def model_for(name="fast", provider="up", model="upstream-model", **changes):
    target = {"id": f"{name}-1", "provider": provider, "model": model, "price": PRICE}
    return merged({"name": name, "targets": [target]}, changes)


def tenants():
    return [
        {
            "name": "acme",
            "models": ["*"],
            "keys": [
                {"name": "main", "hash": sha256_hash(KEY_ACME)},
                {"name": "fast-only", "hash": sha256_hash(KEY_ACME_FAST), "models": ["fast"]},
                {"name": "old", "hash": sha256_hash(KEY_EXPIRED), "expires": "2020-01-01"},
            ],
        },
        {
            "name": "globex",
            "models": ["fast"],
            "keys": [{"name": "main", "hash": sha256_hash(KEY_GLOBEX)}],
        },
    ]


def config_for(upstream, **changes):
    """A whole configuration for one upstream (an Upstream or a base URL), with short shutdowns."""
    base = {
        "version": 1,
        "server": {
            "listeners": [
                {
                    "name": "api",
                    "address": f"127.0.0.1:{free_port()}",
                    "serve": ["api", "health", "metrics"],
                }
            ],
            "shutdown": {"drain_delay": "0s", "grace": "10s"},
            "workers": 2,
        },
        "telemetry": {"log": {"level": "debug", "format": "json"}},
        "providers": [provider_for(upstream)],
        "models": [
            model_for("fast", aliases=["quick", "fa*"]),
            model_for("slow", model="other-model"),
        ],
        "tenants": tenants(),
    }
    return merged(base, changes)


# ------------------------------------------------------------------------------- the ledger's lines

OUTCOMES = ("complete", "partial", "refused", "lost")
COUNTED = ("", "provider", "estimate")
LINE_NUMBERS = (
    "opened", "started_us", "status", "input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens",
    "reasoning_tokens", "audio_input_tokens", "audio_output_tokens", "image_tokens", "units", "price_version",
    "cost_nanos", "saved_nanos", "attempts", "ttft_us", "duration_us", "overhead_us")
LATER_NUMBERS = ("cache_write_1h_tokens", "image_output_tokens", "searches", "surcharge_percent")  # version 2
SERVICE_TIERS = ("standard", "priority", "flex", "batch")
LINE_TEXTS = (
    "id", "tenant", "key", "user", "tags", "model", "target", "provider", "upstream_model", "dialect",
    "upstream_dialect", "operation", "finish", "fault")


def read_journal(path, word):
    """The bodies of the settled calls in a journal's segment that hold `word` (docs/LEDGER.md)."""
    data = path.read_bytes()
    if len(data) < 128:  # being made
        return []
    at, bodies = struct.unpack_from("<I", data, 12)[0], []
    while at + 16 <= len(data):
        length = struct.unpack_from("<I", data, at)[0]
        if length in (0, 0xFFFFFFFF):
            break
        body = data[at + 16 : at + length]
        if body[0] == 2 and word in body:
            bodies.append(body)
        at += length + 7 & ~7
    return bodies


def read_number(line, at):
    number = shift = 0
    while True:
        number |= (line[at] & 0x7F) << shift
        shift += 7
        at += 1
        if line[at - 1] < 0x80:
            return number, at


def read_ledger_line(line):
    """A settled call as docs/LEDGER.md lays it down: a second reading of the format, on purpose."""
    kind, version, facts = line[:3]
    assert kind == 2 and version in (1, 2), line[:3]
    row = {"outcome": OUTCOMES[facts & 3], "counted": COUNTED[facts >> 2 & 3], "stream": bool(facts & 16),
           "service_tier": SERVICE_TIERS[facts >> 5 & 3]}
    at = 3
    for name in LINE_NUMBERS:
        row[name], at = read_number(line, at)
    for name in LINE_TEXTS:
        length = line[at]
        row[name] = line[at + 1 : at + 1 + length].decode("utf-8", "replace")
        at += 1 + length
    for name in LATER_NUMBERS:
        row[name], at = read_number(line, at) if version == 2 else (0, at)
    assert at == len(line), "bytes behind a line"
    return row


# ------------------------------------------------------------------------------- the program

ALIVE = []  # what was started and not ended; the last resort at exit


@atexit.register
def end_all():
    for gate in list(ALIVE):
        gate.kill()


def clean_environment(extra=None):
    """PATH and the like only: no provider's key and no proxy of the machine comes along."""
    keep = ("PATH", "HOME", "LANG", "TMPDIR")
    env = {name: os.environ[name] for name in keep if name in os.environ}
    # What is freed is kept back, as it comes, up to the quarantine: tests bound what is resident.
    env["ASAN_OPTIONS"] = "detect_leaks=1:abort_on_error=0:exitcode=99:handle_abort=1:quarantine_size_mb=64"
    env["UBSAN_OPTIONS"] = "print_stacktrace=1"
    env["TSAN_OPTIONS"] = "halt_on_error=0:exitcode=0"
    env.update(extra or {})
    return env


def run_cli(*args, env=None, stdin=None, timeout=60, binary=None):
    """Run one command to its end; gives .returncode, .stdout, .stderr as text."""
    return subprocess.run(
        [binary or BINARY, *map(str, args)],
        env=clean_environment(env),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


class Sluice:
    """One running gateway in a temporary directory of its own; not running yet without <begin>."""

    def __init__(self, config, env=None, arguments=(), wait=True, directory=None, begin=True, prefix=(), program=None):
        self.program = str(program or BINARY)  # what is started, and started anew by an upgrade
        self.owns_directory = directory is None
        self.directory = Path(directory or tempfile.mkdtemp(prefix="sluice-", dir="/tmp"))
        self.file = self.directory / "sluice.yaml"
        self.log_file = self.directory / "log"
        self.state = self.directory / "state"
        self.state.mkdir(exist_ok=True)
        self.env = {"STATE_DIRECTORY": str(self.state), **(env or {})}
        self.arguments, self.prefix = list(arguments), list(prefix)  # the words behind and before the command
        self.may_crash = False
        self.looked_at = 0  # how much of the log has been searched for crashes
        self.process = None
        self.write(config)
        if begin:
            self.start(wait)

    # ------------------------------------------------------------------ life

    def write(self, config):
        self.config = config
        text = config if isinstance(config, str) else to_yaml(config) + "\n"
        scratch = self.file.with_suffix(".new")
        scratch.write_text(text)
        scratch.replace(self.file)

    def start(self, wait=True):
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, self.program, "run", "-c", str(self.file), *self.arguments],
                env=clean_environment(self.env),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=self.directory,
            )
        ALIVE.append(self)
        if wait:
            try:
                self.wait_ready()
            except BaseException:
                self.kill()
                raise

    def wait_ready(self, within=None):
        deadline = time.monotonic() + (within or 60)
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"ended with {self.process.returncode} at start:\n{self.log()}")
            with contextlib.suppress(OSError, ProtocolError):
                if self.get("/readyz", key=None, timeout=2).status == 200:
                    return
            time.sleep(0.01)
        raise AssertionError(f"not ready in time:\n{self.log()}")

    def stop(self, within=60):
        """SIGTERM, and SIGKILL if that does not end it. Returns the exit code."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(within)
            except subprocess.TimeoutExpired:
                stuck = self.log()
                self.kill()
                raise AssertionError(f"did not end within {within} s of SIGTERM:\n{stuck}")
        if self in ALIVE:
            ALIVE.remove(self)
        return self.process.returncode

    def kill(self):
        """SIGKILL of supervisor and child, at once."""
        pids = [self.process.pid, *self.children()] if self.process else []
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.process:
            self.process.wait(10)
        for pid in pids:
            eventually(lambda pid=pid: not is_alive(pid), what=f"pid {pid} has gone")
        if self in ALIVE:
            ALIVE.remove(self)

    def signal(self, number):
        self.process.send_signal(number)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        crash = None
        try:
            code = self.stop()
            if not self.may_crash:
                crash = self.crash_trace()
                if not crash and code != 0:
                    crash = f"exit code {code}\n{self.log()[-4000:]}"
        finally:
            if self in ALIVE:
                self.kill()
            if kind is None and not crash and self.owns_directory:
                shutil.rmtree(self.directory, ignore_errors=True)
        assert not crash, f"{crash}\n(kept: {self.directory})"

    # ------------------------------------------------------------------ looking inside

    def children(self):
        """Pids below the supervisor, eldest first; not the keeper of logs, which it has taken in."""
        try:
            text = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        except OSError:
            return []
        return [int(pid) for pid in text.split() if name_of(pid) != "log-keeper"]

    @property
    def worker_pid(self):
        """The process that serves: the supervisor's child, or itself where there is none."""
        children = self.children()
        return children[0] if children else self.process.pid

    def rss(self):
        """Resident bytes of the serving process (anonymous: what it has allocated)."""
        status = Path(f"/proc/{self.worker_pid}/status").read_text()
        return int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) * 1024

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.worker_pid}/fd"))

    def log(self):
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def log_lines(self):
        """Every JSON line of the log."""
        lines = []
        for line in self.log().splitlines():
            with contextlib.suppress(ValueError):
                value = json.loads(line)
                if isinstance(value, dict):
                    lines.append(value)
        return lines

    def access_lines(self):
        return [line for line in self.log_lines() if "request_id" in line and "status" in line]

    def access_line(self, request_id, within=10):
        def find():
            return [line for line in self.access_lines() if line["request_id"] == request_id]

        return eventually(find, within, what=f"access line of {request_id}")[0]

    def crash_trace(self, news_only=False):
        """What a sanitizer or a crash wrote into the log (since the last look), or None."""
        log = self.log()
        if news_only:
            log, self.looked_at = log[self.looked_at :], len(log)
        match = CRASH.search(log)
        if not match:
            return None
        return log[max(0, match.start() - 300) : match.start() + 6000]

    def metrics(self):
        """{name{labels}: value} of /metrics."""
        answer = self.get("/metrics", key=None)
        assert answer.status == 200, answer
        out = {}
        for line in answer.text.splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                out[name] = float(value)
        return out

    def metric(self, name, **labels):
        """Sum of all series of `name` that have these labels."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(
            value
            for series, value in self.metrics().items()
            if series.partition("{")[0] == name and all(label in series for label in wanted)
        )

    # ------------------------------------------------------------------ talking to it

    def address(self, name=None):
        """(host, port) or path of a listener, the first one by default."""
        listeners = self.config["server"]["listeners"]
        listener = next(item for item in listeners if name in (None, item.get("name")))
        address = listener["address"]
        if address.startswith("unix:"):
            return address[5:]
        host, _, port = address.rpartition(":")
        return host.strip("[]"), int(port)

    def connect(self, listener=None, **options):
        return Client(self.address(listener), **options)

    def request(self, method, path, body=None, key=KEY_ACME, headers=(), listener=None, **options):
        """One request on a connection of its own."""
        fields = list(headers.items()) if isinstance(headers, dict) else list(headers)
        if key:
            fields.append(("Authorization", f"Bearer {key}"))
        with self.connect(listener, **options) as client:
            return client.request(method, path, fields, body)

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def post(self, path, body, **options):
        return self.request("POST", path, body, **options)

    def chat(self, model="fast", stream=False, key=KEY_ACME, headers=(), options=None, **fields):
        body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], **fields}
        if stream:
            body["stream"] = True
        return self.post("/v1/chat/completions", body, key=key, headers=headers, **(options or {}))

    def open_stream(self, model="fast", key=KEY_ACME, **fields):
        """(client, response) of a streamed chat whose head has been read."""
        client = self.connect()
        body = {"model": model, "messages": [], "stream": True, **fields}
        client.send(chat_request(body, key))
        return client, client.begin_response("POST")

    def cli(self, *args, **options):
        command, *rest = args
        return run_cli(command, "-c", self.file, *rest, env=self.env, **options)

    def usage(self, by="tenant,model", since="1d"):
        """The rows of `sluice usage`."""
        done = self.cli("usage", "--by", by, "--since", since, "--format", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def usage_total(self, field, **where):
        """Sum of a field over the usage rows that match `where`."""
        by = ",".join(where) or "tenant"
        rows = self.usage(by=by)
        return sum(r[field] for r in rows if all(str(r[k]) == str(v) for k, v in where.items()))

    def usage_csv(self, by="tenant,model"):
        done = self.cli("usage", "--by", by, "--since", "1d", "--format", "csv")
        assert done.returncode == 0, done.stderr
        return list(csv.DictReader(io.StringIO(done.stdout)))

    @property
    def database(self):
        embedded = {} if isinstance(self.config, str) else self.config.get("store", {}).get("embedded", {})
        return Path(embedded.get("path", self.state / "sluice.db"))

    def sql(self, query, *values):
        """Rows of the embedded store, each a dict."""
        with contextlib.closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as db:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute(query, values)]

    def ledger_rows(self, request_id=None):
        """All drained calls, or those with that id; a row is a dict."""
        rows = []
        with contextlib.suppress(sqlite3.Error):
            days = self.sql("SELECT name FROM sqlite_schema WHERE name GLOB 'requests_[0-9]*'")
            for day in days:
                where, values = (" WHERE id = ?", [request_id]) if request_id else ("", [])
                rows += self.sql(f"SELECT line FROM {day['name']}{where}", *values)
        return [read_ledger_line(row["line"]) for row in rows]

    def journal_rows(self, request_id):
        """Settled lines of that call that the journals still hold, drained or not."""
        ledger = {} if isinstance(self.config, str) else self.config.get("ledger", {})
        folder = Path(ledger.get("path", self.state / "ledger"))
        rows = []
        with contextlib.suppress(OSError):  # a segment that is drained meanwhile is in the store
            for path in folder.glob("*/*.journal"):
                rows += [read_ledger_line(line) for line in read_journal(path, request_id.encode())]
        return rows

    def ledger_row(self, request_id, within=15):
        """The one row of a request: in the store, or still in a journal."""

        def find():
            return self.ledger_rows(request_id) or self.journal_rows(request_id)

        rows = eventually(find, within, every=0.02, what=f"ledger row of {request_id}")
        assert len(rows) == 1, rows
        return rows[0]


def chat_request(body=None, key=KEY_ACME, path="/v1/chat/completions", headers=()):
    """The bytes of a chat request."""
    fields = list(headers.items()) if isinstance(headers, dict) else list(headers)
    if key:
        fields.append(("Authorization", f"Bearer {key}"))
    return request_bytes("POST", path, fields, body or {"model": "fast", "messages": []})


def read_stream(client, response):
    """The rest of a stream as one body."""
    return b"".join(client.pieces(response))


# ------------------------------------------------------------------------------- `sluice mock`


class Mock:
    """`sluice mock` as a process of its own."""

    def __init__(self, *arguments):
        self.port = free_port()
        self.log_file = tempfile.NamedTemporaryFile(prefix="sluice-mock-", delete=False)
        self.process = subprocess.Popen(
            [BINARY, "mock", "--address", f"127.0.0.1:{self.port}", *map(str, arguments)],
            env=clean_environment(),
            stdout=self.log_file,
            stderr=self.log_file,
            stdin=subprocess.DEVNULL,
        )
        ALIVE.append(self)
        try:
            eventually(self._answers, 20, what="sluice mock")
        except BaseException:
            self.kill()
            raise

    def _answers(self):
        if self.process.poll() is not None:
            raise AssertionError(f"sluice mock ended: {Path(self.log_file.name).read_text()}")
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/v1"

    def kill(self):
        self.process.kill()
        self.process.wait(10)
        if self in ALIVE:
            ALIVE.remove(self)
        with contextlib.suppress(OSError):
            os.unlink(self.log_file.name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            pass
        self.kill()


# ------------------------------------------------------------------------------- certificates


class Authority:
    """A certificate authority of our own, made with the openssl command."""

    def __init__(self, directory, name="Test CA"):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.file = self.directory / "ca.pem"
        self.key = self.directory / "ca.key"
        self._openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                      "-keyout", self.key, "-out", self.file, "-days", "30", "-subj", f"/CN={name}",
                      "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def _openssl(self, *args):
        done = subprocess.run(["openssl", *map(str, args)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def issue(self, name, alternative="DNS:localhost,IP:127.0.0.1", days=30, usage="serverAuth,clientAuth"):
        """(cert_file, key_file). `days` below 0 makes one that has expired."""
        key, request = self.directory / f"{name}.key", self.directory / f"{name}.csr"
        cert, extension = self.directory / f"{name}.pem", self.directory / f"{name}.ext"
        self._openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                      "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        extension.write_text(f"subjectAltName={alternative}\nextendedKeyUsage={usage}\n")
        if days >= 0:
            self._openssl("x509", "-req", "-in", request, "-CA", self.file, "-CAkey", self.key,
                          "-CAcreateserial", "-out", cert, "-days", days, "-extfile", extension)
        else:
            self._issue_expired(request, cert, extension)
        return str(cert), str(key)

    def _issue_expired(self, request, cert, extension):
        """`openssl x509` cannot date back before version 3.4; `openssl ca` can."""
        index, settings = self.directory / "index", self.directory / "ca.cnf"
        index.write_text("")
        (self.directory / "serial").write_text(f"{random.randrange(4096, 65536):04X}\n")
        settings.write_text(
            "[ca]\ndefault_ca=d\n[d]\n"
            f"database={index}\nserial={self.directory}/serial\nnew_certs_dir={self.directory}\n"
            f"certificate={self.file}\nprivate_key={self.key}\ndefault_md=sha256\npolicy=p\n"
            "[p]\ncommonName=supplied\n")
        self._openssl("ca", "-batch", "-config", settings, "-in", request, "-out", cert, "-notext",
                      "-startdate", "20200101000000Z", "-enddate", "20200201000000Z",
                      "-extfile", extension)


# ------------------------------------------------------------------------------- other tools


class Background:
    """Runs a function in a thread; result() raises what it raised."""

    def __init__(self, function, *args):
        self.value = self.error = None

        def run():
            try:
                self.value = function(*args)
            except BaseException as error:
                self.error = error

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def result(self, within=60):
        self.thread.join(within)
        assert not self.thread.is_alive(), f"still running after {within} s"
        if self.error:
            raise self.error
        return self.value


def name_of(pid):
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def is_alive(pid):
    """Does any thread of it still run? (Its first may be a zombie while others hold its files.)"""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:  # it went while we looked
        return False
    for thread in threads:
        with contextlib.suppress(OSError, IndexError):
            stat = Path(f"/proc/{pid}/task/{thread}/stat").read_text()
            if stat.rpartition(")")[2].split()[0] not in "ZX":
                return True
    return False
