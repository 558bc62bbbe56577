#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`make bench-soak`: does anything grow while it serves, and is all of it back afterwards?

    bench/soak.py [--minutes 60] [--rate 70] [--storms 2] [--json soak.json] [--plots bench/plots]

One sluice with nearly everything on serves a mixed load for so long. Memory, descriptors, threads and its own
gauges are noted all the while, when it is calm after a warm-up, and when it is calm after the load. README.md
says what is asked of it and how the verdict is made; the exit status is 1 when it is not kept.
"""

import argparse
import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import plot
from run import machine
from servers import SLUICE, cpu_nanos
from soak_load import Mix
from soak_servers import Stage

GROWTH = 1.05            # of memory, at most
SLACK = 1024 * 1024      # bytes beyond, where little is held
STORM_SECONDS = 10       # the program stands still for so long, and finds all calls of that time when it goes on
ARENA_BYTES = 64 * 1024 * 1024  # glibc's heaps of threads begin at multiples of it
QUIET_SECONDS, CALM_SECONDS = 15, 60  # what was needed is given back after some; for so long at most
GAUGES = ("sluice_inflight_requests", "sluice_open_streams", "sluice_reservations", "sluice_ledger_undrained_lines",
          "sluice_upstream_connections", "sluice_upstream_idle_connections", "sluice_limit_counters", "sluice_cache_bytes",
          "sluice_config_last_reload_successful")
AT_REST = GAUGES[:4]     # nothing is under way: these are 0
PLACES = ("heap", "tables", "libraries", "stacks")  # of what is anonymous

# ------------------------------------------------------------------------- what is noted


def place_of(begin, name):
    """Where anonymous memory is: heaps of all threads, tables (mapped by themselves), written parts of files, stacks."""
    if name.startswith("[stack"):
        return "stacks"
    if name == "[heap]" or (not name and begin % ARENA_BYTES == 0):
        return "heap"
    return "libraries" if name.startswith("/") else "tables"


def mappings(pid):
    """{what: resident bytes} of a process: journals (segments are mapped and come and go), anonymous, of that each of PLACES; PSS."""
    found, name, place = Counter(), "", ""
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if begin := re.match(r"([0-9a-f]+)-[0-9a-f]+ ", line):
            name = line.split(None, 5)[5] if len(line.split(None, 5)) > 5 else ""
            place = place_of(int(begin[1], 16), name)
        elif line.startswith("Rss:"):
            size = int(line.split()[1]) * 1024
            found["rss"] += size
            found["journals"] += size if ".journal" in name else 0
        elif line.startswith("Pss:"):
            found["pss"] += int(line.split()[1]) * 1024
        elif line.startswith("Anonymous:"):
            size = int(line.split()[1]) * 1024
            found["anonymous"] += size
            found[place] += size
    return found


def sockets_of(pid):
    """{inode: (local port, remote port)} of its TCP connections; listeners have remote port 0."""
    found = {}
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        found[words[9]] = tuple(int(words[at].rpartition(":")[2], 16) for at in (1, 2))
    return found


def descriptors(pid, port):
    """How many it has: of clients, of the upstreams' connections, and others."""
    sockets, count = sockets_of(pid), Counter(clients=0, upstreams=0, others=0)
    for path in Path(f"/proc/{pid}/fd").iterdir():
        try:
            inode = re.match(r"socket:\[(\d+)\]", os.readlink(path))
        except OSError:
            continue
        local, remote = sockets.get(inode[1], (0, 0)) if inode else (0, 0)
        count["others" if not remote else "clients" if local == port else "upstreams"] += 1
    return count


def metrics(port):
    """{name: sum over all its series}."""
    sums = Counter()
    for line in page(port, "/metrics").splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            sums[name.partition("{")[0]] += float(value)
    return sums


def page(port, path):
    with socket.create_connection(("127.0.0.1", port), 30) as client:
        client.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        return b"".join(iter(lambda: client.recv(65536), b"")).decode().partition("\r\n\r\n")[2]


def note(stage, begun):
    """All that is noted at one time; descriptors after our own look at the metrics has ended."""
    said = metrics(stage.port)
    row = Counter({name: said[name] for name in GAUGES}, calls=said["sluice_requests_total"])
    pids = stage.watched.pids()
    for pid in pids:
        with contextlib.suppress(OSError):  # a short-lived child may have gone
            row.update(mappings(pid))
            row.update(descriptors(pid, stage.port))
            row["threads"] += len(os.listdir(f"/proc/{pid}/task"))
    row["memory"] = row["rss"] - row["journals"]
    row["cpu_ms"] = sum(cpu_nanos(pids).values()) / 1e6
    row["seconds"] = time.monotonic() - begun
    return row


def is_calm(row):
    return not any(row[name] for name in AT_REST) and not row["clients"] and \
        row["upstreams"] == row["sluice_upstream_connections"] == row["sluice_upstream_idle_connections"]


def calm(stage, begun):
    """A note of when nothing is under way, or the last one after a while."""
    end = time.monotonic() + CALM_SECONDS
    time.sleep(QUIET_SECONDS)
    while True:
        row = note(stage, begun)
        if is_calm(row) or time.monotonic() > end:
            return row
        time.sleep(0.5)


# ------------------------------------------------------------------------- the run


class Soak:
    def __init__(self, stage, args):
        self.stage, self.args, self.begun = stage, args, time.monotonic()
        self.seconds = args.minutes * 60
        self.mix = Mix(stage.port, args.rate)
        self.rows, self.before, self.after, self.reloads, self.ended, self.code = [], None, None, 0, False, None

    def is_alive(self):
        return self.stage.watched.process.poll() is None

    def reload(self):
        """The file changes each time, and back."""
        self.reloads += 1
        self.stage.write(changed=self.reloads % 2)
        os.kill(self.stage.watched.process.pid, signal.SIGHUP)

    async def reload_often(self):
        while not self.ended:
            await asyncio.sleep(min(60, self.seconds / 10))
            self.reload()

    async def storm(self):
        """In the middle of the run, after the time that its end is compared with."""
        times = [self.seconds * (0.3 + 0.4 * number / self.args.storms) for number in range(self.args.storms)]
        begun = time.monotonic()
        while not self.ended:
            await asyncio.sleep(0.5)
            if times and time.monotonic() - begun > times[0]:
                times.pop(0)
                await self.stand_still()

    async def stand_still(self):
        pids = self.stage.watched.pids()
        try:
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(STORM_SECONDS)
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        print(f"  a storm: {len(self.mix.open)} calls waited", flush=True)

    async def note_often(self):
        every = min(10, self.seconds / 60)
        begun = time.monotonic()
        at = begun
        while not self.ended:
            row = await asyncio.to_thread(note, self.stage, begun)
            self.rows.append(row)
            if len(self.rows) % 6 == 1:
                print_row(row)
            at += every
            await asyncio.sleep(max(0.0, at - time.monotonic()))

    async def load(self):
        others = [asyncio.ensure_future(work()) for work in (self.reload_often, self.note_often, self.storm)]
        await self.mix.run(self.seconds, lambda: self.is_alive() and not any(each.done() for each in others))
        self.ended = True
        for other in others:
            if other.done():
                other.result()
            other.cancel()

    def run(self):
        self.reload()  # what it began with is kept: from the first reload on there are two
        asyncio.run(self.mix.run(min(120, self.seconds / 5), self.is_alive))
        self.before = calm(self.stage, self.begun)
        print_row(self.before, "calm")
        asyncio.run(self.load())
        self.after = calm(self.stage, self.begun)
        print_row(self.after, "calm")
        self.code = self.end()

    def end(self):
        """Its exit code, which a sanitizer makes another one when something leaked."""
        self.stage.watched.process.terminate()
        code = self.stage.watched.process.wait(60)
        if code != 0:
            print((self.stage.work / "watched/watched.out").read_text(errors="replace")[-8000:])
        return code


def print_row(row, title=None):
    title = title or f"{row['seconds'] / 60:.1f} min"
    print(f"  {title:>8}  RSS {mib(row['rss'])} (without journals {mib(row['memory'])}), PSS {mib(row['pss'])}, anonymous {mib(row['anonymous'])} MiB;"
          f"  descriptors {row['others']} + {row['upstreams']} upstreams + {row['clients']} clients;  {row['threads']} threads;"
          f"  in flight {row['sluice_inflight_requests']:.0f}, streams {row['sluice_open_streams']:.0f},"
          f" reservations {row['sluice_reservations']:.0f}, counters {row['sluice_limit_counters']:.0f};"
          f"  {row['calls']:.0f} calls, {row['cpu_ms'] / 1000:.1f} s of processors", flush=True)


def mib(size):
    return f"{size / 1048576:.2f}"


# ------------------------------------------------------------------------- the verdict


def booked_ids(state):
    """Of every call in the ledger, as often as it is there."""
    with contextlib.closing(sqlite3.connect(f"file:{state}/sluice.db?mode=ro", uri=True)) as database:
        days = [name for name, in database.execute("SELECT name FROM sqlite_schema WHERE name GLOB 'requests_[0-9]*'")]
        return Counter(name for day in days for name, in database.execute(f"SELECT id FROM {day}"))


def spans(rows, seconds):
    """Notes of minutes 5 to 10 (of a short run: of its second tenth), and of its last tenth."""
    early = (300, 600) if seconds >= 1800 else (seconds / 10, seconds / 5)
    return [[row for row in rows if low <= row["seconds"] < high] for low, high in (early, (seconds * 0.9, seconds * 2))]


def middle(rows, what):
    return statistics.median(row[what] for row in rows)


def moved(first, last):
    """What it is that grew or shrank, of what is anonymous."""
    return ", ".join(f"{place} {(last[place] - first[place]) / 1048576:+.2f}" for place in PLACES)


def verdict(soak):
    """[(kept?, words)]"""
    mix, before, after = soak.mix, soak.before, soak.after
    early, late = spans(soak.rows, soak.seconds)
    for what in ("memory", "anonymous"):
        first, last = middle(early, what), middle(late, what)
        yield last <= max(first * GROWTH, first + SLACK * soak.args.slack), f"{what} under load: {mib(first)} MiB early, {mib(last)} MiB in the end ({100 * last / first - 100:+.1f} %)"
    for what in ("memory", "anonymous"):
        yield after[what] <= max(before[what] * GROWTH, before[what] + SLACK * soak.args.slack), \
            f"{what} at rest: {mib(before[what])} MiB before, {mib(after[what])} MiB after ({100 * after[what] / before[what] - 100:+.1f} %)"
    yield True, f"of it, MiB: under load {moved(*({place: middle(rows, place) for place in PLACES} for rows in (early, late)))}; at rest {moved(before, after)}"
    yield is_calm(after), f"nothing is under way: {', '.join(f'{name} {after[name]:.0f}' for name in AT_REST)}, clients {after['clients']}"
    yield after["others"] == before["others"], f"descriptors: {before['others']} before, {after['others']} after"
    yield after["upstreams"] == after["sluice_upstream_idle_connections"], \
        f"connections to upstreams: {after['upstreams']}, all of them idle in the pool ({after['sluice_upstream_idle_connections']:.0f})"
    yield after["threads"] == before["threads"], f"threads: {before['threads']} before, {after['threads']} after"
    yield soak.reloads > 0 and after["sluice_config_last_reload_successful"] == 1, f"{soak.reloads} reloads"
    rows, answered = booked_ids(soak.stage.work / "watched/state"), Counter(mix.booked)
    missing, twice, strange = answered - rows, [name for name, times in rows.items() if times > 1], rows - answered
    yield not missing and not twice and len(strange) <= mix.unseen and not rows.keys() & set(mix.unbooked), \
        f"the ledger: {rows.total()} rows; {answered.total()} calls answered, {len(missing)} of them missing, {len(twice)} there twice; " \
        f"{len(strange)} rows of {mix.unseen} calls whose client left before the answer"
    yield rows.total() == after["calls"], f"sluice_requests_total: {after['calls']:.0f}"
    yield soak.code == 0, f"exit code {soak.code}"
    yield not mix.wrong, f"answers that nobody expects: {len(mix.wrong)} {Counter(mix.wrong).most_common(5) if mix.wrong else ''}"


def print_counts(counts):
    kinds = {}
    for (kind, came), number in sorted(counts.items(), key=str):
        kinds.setdefault(kind, []).append(f"{came}: {number}")
    for kind, words in kinds.items():
        print(f"  {kind:13} {', '.join(words)}")


def report(soak):
    """0 when all was kept."""
    print("\nWhat came of the calls, by kind")
    print_counts(soak.mix.counts)
    spent = (soak.rows[-1]["cpu_ms"] - soak.rows[0]["cpu_ms"]) / (soak.rows[-1]["seconds"] - soak.rows[0]["seconds"]) / 10
    print(f"\n{soak.mix.counts.total()} calls and looks, {spent:.1f} % of a processor\n")
    kept = True
    for good, words in verdict(soak):
        print(f"  {'kept  ' if good else 'BROKEN'}  {words}")
        kept = kept and good
    return 0 if kept else 1


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=float, default=70, help="calls a second")
    parser.add_argument("--storms", type=int, default=0, help=f"how often the program stands still for {STORM_SECONDS} s")
    parser.add_argument("--slack", type=float, default=1, help="MiB that memory may grow by, where that is more than 5 %%")
    parser.add_argument("--json", type=Path, help="write all notes there")
    parser.add_argument("--plots", type=Path, help="draw them in this folder, as soak.svg")
    return parser.parse_args()


def main():
    args = options()
    if not SLUICE.exists():
        sys.exit("bench: needs build/sluice (make all)")
    print(machine())
    with tempfile.TemporaryDirectory(prefix="soak.") as folder:
        stage = Stage(Path(folder))
        try:
            soak = Soak(stage, args)
            soak.run()
            status = report(soak)
        finally:
            stage.stop()
    if args.json:
        args.json.write_text(json.dumps(dict(before=soak.before, rows=soak.rows, after=soak.after)) + "\n")
    if args.plots:
        args.plots.mkdir(parents=True, exist_ok=True)
        (args.plots / "soak.svg").write_text(plot.draw_soak(soak.rows))
    return status


if __name__ == "__main__":
    sys.exit(main())
