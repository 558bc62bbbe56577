# SPDX-License-Identifier: Apache-2.0
"""What grows in bench/growth.py, and how a sluice of some size is made."""

import base64
import hashlib
import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import time

from loads import load_command, question
from servers import SLUICE, filled_in

FIRST_KEY = "sk-bench-0123456789abcdef0123456789abcdef"
CALLERS_MAX = 1000
DAY_S = 86400
PRICE = "price: {input: 0.15, cached_input: 0.075, output: 0.60}"


class Crowd:
    """Something that there may be much of. The configuration is targets/full; what a size changes is below."""

    def __init__(self, name, title, unit, sizes, config=None, fill=None, callers=None, company=None, all_cores=False, warm=None):
        self.name, self.title, self.unit, self.sizes, self.all_cores = name, title, unit, sizes, all_cores
        self.config = config or (lambda text, size: text)
        self.fill = fill or (lambda folder, size: None)
        self.callers = callers or (lambda size: [(FIRST_KEY, "gpt-4o-mini")])
        self.company = company or (lambda size, port, folder, pinned: [])
        self.warm = warm or (lambda port, folder, size: None)


def surroundings(folder):
    return dict(os.environ, STATE_DIRECTORY=str(folder / "state"), SLUICE_WATCHDOG_MS="600000")


def prepare(crowd, size, folder, listen, upstream):
    """sluice.yaml, and what its state holds."""
    text = filled_in("full", {"LISTEN_PORT": listen, "UPSTREAM_PORT": upstream, "RUN_DIR": folder})
    text = text.replace("  workers: 1\n", "  workers: 1\n  timeouts: {client_idle: 1h, stream_idle: 1h, keepalive_ping: 0s}\n")
    (folder / "sluice.yaml").write_text(crowd.config(text, size))
    crowd.fill(folder, size)


def get(port, path, timeout=5):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout) as client:
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            return client.recv(65536)
    except OSError:
        return b""


def wait_ready(port, process, said, seconds=600):
    """Until it is; <said> is the file that it writes its complaints to."""
    end = time.monotonic() + seconds
    while not get(port, "/readyz").startswith(b"HTTP/1.1 200"):
        if time.monotonic() > end or process.poll() is not None:
            raise SystemExit(f"bench: sluice is not ready:\n{said.read_text(errors='replace')[-3000:]}")
        time.sleep(0.002)


def spread_over(size):
    """At most CALLERS_MAX numbers of those below size, evenly."""
    count = min(size, CALLERS_MAX)
    return [at * size // count for at in range(count)]


# ------------------------------------------------------------------------- keys


def secret(at):
    return f"sk-bench-{at:032d}"


def stored_keys(folder, size):
    """As if made through the API, each with two limits of its own."""
    with sqlite3.connect(folder / "state/sluice.db") as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE roster (kind INTEGER NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, body TEXT NOT NULL,"
                         " PRIMARY KEY (kind, id)) WITHOUT ROWID")
        now = "2026-01-01T00:00:00.000Z"

        def rows():
            for at in range(size):
                name = "key_" + base64.b32encode(hashlib.sha256(secret(at).encode()).digest()).decode().lower()[:20]
                yield 1, name, at + 1, json.dumps(dict(
                    tenant="bench", name=f"k{at}", limits={"requests_per_minute": 1000000000, "concurrent": 30000}, id=name,
                    hash=hashlib.sha256(secret(at).encode()).hexdigest(), prefix="sk-bench", created_at=now, updated_at=now))
        database.executemany("INSERT INTO roster VALUES (?, ?, ?, ?)", rows())
    database.close()


def call_all(port, folder, _size):
    """Each caller once, so that what a first call makes is there."""
    from counted import Caller
    caller = Caller(port, folder)
    caller.calls(len(caller.callers))


# ------------------------------------------------------------------------- targets, configuration


TARGETS_EACH = 10


def target_lines(model, size):
    return "".join(f"      - {{id: {model}-{at}, provider: llm, model: gpt-4o-mini, weight: 10, {PRICE}}}\n" for at in range(size))


def one_choice(text, size):
    """So many targets of the one model."""
    return re.sub(r"    targets:\n(      - .*\n)+", "    targets:\n" + target_lines("t", size), text)


def many_targets(text, size):
    """So many targets in all, of models of ten each; all models are asked for."""
    models = "".join(f"  - name: m{at}\n    targets:\n{target_lines(f'm{at}', min(TARGETS_EACH, size - at * TARGETS_EACH))}"
                     for at in range(models_of(size)))
    names = ", ".join(f"m{at}" for at in range(models_of(size)))
    return text.replace("\ntenants:\n", f"\n{models}tenants:\n", 1).replace("models: [gpt-4o-mini]", f"models: [{names}]")


def models_of(size):
    return (size + TARGETS_EACH - 1) // TARGETS_EACH


def many_models(text, size):
    """So many models with a target of its own, tenants with limits and a budget, and a key of each."""
    models = "".join(f"  - name: m{at}\n    targets: [{{id: m{at}, provider: llm, model: gpt-4o-mini, {PRICE}}}]\n" for at in range(size))
    tenants = "".join(
        f"  - name: t{at}\n    models: [m{at}]\n    limits: {{requests_per_minute: 1000000000, tokens_per_minute: 1000000000000}}\n"
        f"    budget: {{amount: 1000000.00 USD, period: month}}\n    keys:\n      - name: k\n"
        f"        hash: \"sha256:{hashlib.sha256(secret(at).encode()).hexdigest()}\"\n"
        "        limits: {requests_per_minute: 1000000000, concurrent: 30000}\n" for at in range(size))
    return text.replace("\ntenants:\n", f"\n{models}tenants:\n{tenants}", 1)


# ------------------------------------------------------------------------- connections

IDLE = """
import socket, sys, time
port, number, links = int(sys.argv[1]), int(sys.argv[2]), []
for at in range(number):
    link = socket.create_connection(("127.0.0.1", port), 60)
    link.sendall(b"GET /readyz HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
    links.append(link)
    if not link.recv(4096).startswith(b"HTTP/1.1 200"):
        sys.exit(1)
print("open", flush=True)
time.sleep(3600)
"""


def companion(command, pinned):
    other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=pinned)
    return other, other.stdout.readline()


def idle(size, port, _folder, pinned):
    """Clients that have asked once, and stay."""
    other, line = companion([sys.executable, "-c", IDLE, str(port), str(size)], pinned)
    if line != "open\n":
        other.kill()
        raise SystemExit("bench: not all could connect")
    return [other]


def streams(size, port, folder, pinned):
    """Streams that have begun and go no further."""
    held = folder / "held"
    held.mkdir()
    (held / "body.json").write_text(question(stream=True, model="held"))
    other, line = companion(load_command(port, held, 3600, size, "-h"), pinned)
    if json.loads(line)["open"] != size:
        other.kill()
        raise SystemExit(f"bench: not all streams began: {line}")
    return [other]


def with_held(text, _size):
    model = f"  - name: held\n    targets: [{{id: held, provider: llm, model: mock/stall-3, {PRICE}}}]\n"
    return text.replace("\ntenants:\n", f"\n{model}tenants:\n", 1).replace("models: [gpt-4o-mini]", "models: [gpt-4o-mini, held]")


# ------------------------------------------------------------------------- the ledger


def booked_rows(folder, size):
    """So many calls of the last 12 days, and sums of them by minute, hour and day for ten series."""
    first_call(folder)
    now = int(time.time())
    with sqlite3.connect(folder / "state/sluice.db") as database:
        table = next(name for name, in database.execute("SELECT name FROM sqlite_master WHERE name LIKE 'requests_%'"))
        call_id, line = database.execute(f"SELECT id, line FROM {table}").fetchone()
        for ago in range(1, 13):
            begin = (now // DAY_S - ago) * DAY_S
            day = time.strftime("requests_%Y%m%d", time.gmtime(begin))
            database.execute(f"CREATE TABLE {day} (at INTEGER NOT NULL, id TEXT NOT NULL, line BLOB NOT NULL)")
            database.execute(f"WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {size // 12})"
                             f" INSERT INTO {day} SELECT {begin * 1000000} + i * {DAY_S * 1000000 // max(1, size // 12)}, ?, ? FROM n",
                             (call_id, line))
        for span, seconds, number in (("minute", 60, 3 * 1440), ("hour", 3600, 12 * 24), ("day", DAY_S, 12)):
            copy_sums(database, span, seconds, min(number, max(1, size // 10)), now)
    database.close()


def copy_sums(database, span, seconds, number, now):
    columns = [row[1] for row in database.execute(f"PRAGMA table_info(rollup_{span})")][2:]
    names = ", ".join(columns)
    for series in range(1, 11):
        database.execute("INSERT OR IGNORE INTO series SELECT ?, tenant, key, ?, model, target, provider, operation, status, outcome"
                         " FROM series WHERE id = (SELECT min(id) FROM series)", (series + 1000, f"user{series}"))
        database.execute(f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {number})"
                         f" INSERT OR IGNORE INTO rollup_{span} (bucket, series, {names}) SELECT ({now} / {seconds} - i) * {seconds},"
                         f" {series + 1000}, {names} FROM n, (SELECT * FROM rollup_{span} LIMIT 1)")


def first_call(folder):
    """One call, so that the tables and a line to copy are there."""
    from counted import Caller
    port = int(re.search(r"address: 127.0.0.1:(\d+)", (folder / "sluice.yaml").read_text())[1])
    (folder / "callers").write_text(f"{FIRST_KEY} gpt-4o-mini\n")
    (folder / "body.json").write_text(question(model="MODEL"))
    with open(folder / "first.out", "wb") as out:
        running = subprocess.Popen([SLUICE, "-c", folder / "sluice.yaml", "run"], env=surroundings(folder), stdout=out, stderr=out)
    try:
        wait_ready(port, running, folder / "first.out", 10)
        Caller(port, folder).calls(3)
    finally:
        running.terminate()
        running.wait()


# ------------------------------------------------------------------------- all of them


def workers(text, size):
    return text.replace("  workers: 1\n", f"  workers: {size}\n")


def of_keys(size):
    return [(secret(at), "gpt-4o-mini") for at in spread_over(size)]


ALL = {crowd.name: crowd for crowd in (
    Crowd("workers", "worker threads", "workers", [1, 2], config=workers, all_cores=True),
    Crowd("keys", "keys in the store, of which at most 1,000 call", "keys", [1, 10, 100, 1000, 10_000, 100_000, 1_000_000],
          fill=stored_keys, callers=of_keys),
    Crowd("callers", "keys that call in turn, each with counters of its own", "keys", [1, 10, 100, 1000, 10_000, 100_000],
          fill=stored_keys, callers=lambda size: [(secret(at), "gpt-4o-mini") for at in range(size)], warm=call_all),
    Crowd("choice", "targets of the model that is asked for", "targets", [1, 2, 4, 8, 16, 32, 64], config=one_choice),
    Crowd("targets", "targets in all, ten a model; all models are asked for", "targets", [10, 30, 100, 300, 1000], config=many_targets,
          callers=lambda size: [(FIRST_KEY, f"m{at}") for at in range(models_of(size))]),
    Crowd("config", "models, tenants and keys in the file, as many of each", "each", [1, 10, 100, 1000, 10_000], config=many_models,
          callers=lambda size: [(secret(at), f"m{at}") for at in spread_over(size)]),
    Crowd("idle", "clients that are connected and ask nothing", "clients", [10, 100, 1000, 5000, 15_000], company=idle),
    Crowd("streams", "streams that are open and silent", "streams", [10, 100, 1000, 5000, 9500], config=with_held, company=streams),
    Crowd("rows", "calls in the ledger", "calls", [1000, 10_000, 100_000, 1_000_000, 10_000_000], fill=booked_rows),
)}
