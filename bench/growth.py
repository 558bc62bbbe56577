#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`make bench-growth`: does a call cost more when there is more of everything?

    bench/growth.py [--only keys,targets] [--seconds 2] [--rounds 3] [--small] [--plots bench/plots]

For each thing that grows, one sluice per size; they take turns. Two figures: instructions per call, counted
by callgrind, which no other work on the machine disturbs, and CPU µs per call, in which the caches and the
kernel are. README.md says what is held fixed.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import crowds
import plot
from counted import count_instructions
from loads import pinned, question, take_turns
from run import machine
from servers import CORES, FILES_MAX, LOAD_CORES, LOADS, PROXY_CORE, SLUICE, Running, cpu_nanos, free_port, program, rss_kib, stop_all

WRK_SCRIPT = """
local callers, at, bodies = {}, 0, {}
local head = "POST /v1/chat/completions HTTP/1.1\\r\\nHost: localhost\\r\\nContent-Type: application/json\\r\\n"
for line in io.lines(os.getenv("BENCH_CALLERS")) do
  local key, model = line:match("(%S+) (%S+)")
  callers[#callers + 1] = {key, model}
end
local file = assert(io.open(os.getenv("BENCH_BODY"), "rb"))
local body = file:read("*a")
file:close()
function request()
  at = at % #callers + 1
  local key, model = callers[at][1], callers[at][2]
  local rest = bodies[model]
  if not rest then
    local text = body:gsub("MODEL", model, 1)
    rest = "\\r\\nContent-Length: " .. #text .. "\\r\\n\\r\\n" .. text
    bodies[model] = rest
  end
  return head .. "Authorization: Bearer " .. key .. rest
end
function done(summary, latency)
  local e = summary.errors
  io.write(string.format('\\n{"requests":%d,"seconds":%.6f,"bad":%d}\\n', summary.requests, summary.duration / 1e6,
    e.status + e.connect + e.read + e.write + e.timeout))
end
"""


class Server:
    """One sluice at one size, its upstream, and who else is connected to it."""

    def __init__(self, crowd, size, folder, count):
        self.crowd, self.name, self.folder, self.others = crowd, size, folder, []
        self.mock = self.running = None
        try:
            self.start(size, count)
        except BaseException:
            self.stop()
            raise

    def start(self, size, count):
        port, listen = free_port(), free_port()
        self.mock = Running("mock", [SLUICE, "mock", "--quiet", "--address", f"127.0.0.1:{port}"], port, LOAD_CORES, self.folder)
        (self.folder / "state").mkdir()
        crowds.prepare(self.crowd, size, self.folder, listen, port)
        (self.folder / "callers").write_text("".join(f"{key} {model}\n" for key, model in self.crowd.callers(size)))
        (self.folder / "body.json").write_text(question(model="MODEL"))
        (self.folder / "growth.lua").write_text(WRK_SCRIPT)
        cores = set(CORES) if self.crowd.all_cores else PROXY_CORE
        begun = time.monotonic()
        self.running = Running("sluice", [*(count or []), SLUICE, "-c", self.folder / "sluice.yaml", "run"], listen, cores,
                               self.folder, crowds.surroundings(self.folder), patience=600)
        self.port = listen
        crowds.wait_ready(listen, self.running.process, self.folder / "sluice.out")
        self.ready_ms = (time.monotonic() - begun) * 1000
        self.others = self.crowd.company(size, self.port, self.folder, pinned)

    def pids(self):
        return self.running.pids()

    def stop(self):
        for other in self.others:
            other.kill()
            other.wait()
        stop_all([each for each in (self.running, self.mock) if each])


def wrk(server, seconds):
    """A closed loop of 64 connections; callers take turns."""
    env = {"BENCH_CALLERS": str(server.folder / "callers"), "BENCH_BODY": str(server.folder / "body.json"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([program("wrk"), "-t1", "-c64", f"-d{seconds}s", "--timeout", "30s", "-s", server.folder / "growth.lua",
                           f"http://127.0.0.1:{server.port}/"], env=env, stdout=subprocess.PIPE, text=True, check=True,
                          timeout=seconds + 120, preexec_fn=pinned)
    return json.loads(done.stdout.strip().splitlines()[-1])


def worker_threads(pids):
    found = set()
    for pid in pids:
        for path in Path(f"/proc/{pid}/task").glob("*/comm"):
            if path.read_text().startswith("worker-"):
                found.add(path.parent.name)
    return found


def measure(server, seconds):
    """CPU time per call: of all threads, and of the workers alone."""
    pids = server.pids()
    before, workers = cpu_nanos(pids), worker_threads(pids)
    result = wrk(server, seconds)
    spent = {thread: nanos - before.get(thread, 0) for thread, nanos in cpu_nanos(pids).items()}
    micros = 1000 * max(1, result["requests"] - result["bad"])
    return dict(result, cpu_us=sum(spent.values()) / micros, rss_kib=rss_kib(pids),
                worker_us=sum(nanos for thread, nanos in spent.items() if thread in workers) / micros)


def time_them(crowd, sizes, work, args):
    """CPU µs per call at each size, all servers up at once and in turns."""
    servers = []
    try:
        for size in sizes:
            folder = work / f"{crowd.name}-{size}"
            folder.mkdir()
            servers.append(Server(crowd, size, folder, None))
        for server in servers:
            crowd.warm(server.port, server.folder, server.name)
            wrk(server, 1)
        rows = take_turns(servers, args.rounds, lambda server: measure(server, args.seconds))
        return {server.name: dict(cpu_us=[round(run["cpu_us"], 2) for run in rows[server.name]],
                                  worker_us=[round(run["worker_us"], 2) for run in rows[server.name]],
                                  bad=sum(run["bad"] for run in rows[server.name]),
                                  rss_kib=int(statistics.median(run["rss_kib"] for run in rows[server.name])),
                                  ready_ms=round(server.ready_ms, 1)) for server in servers}
    finally:
        stop_all(servers)


def count_them(crowd, sizes, work, number):
    """Instructions per call at each size."""
    counted = {}
    for size in sizes:
        folder = work / f"{crowd.name}-{size}-counted"
        folder.mkdir()
        counted[size] = count_instructions(lambda before, size=size, folder=folder: Server(crowd, size, folder, before),
                                           crowd, folder, number)
    return counted


def print_points(crowd, points):
    print(f"\n{crowd.title}")
    print(f"  {crowd.unit:>10}  {'CPU µs':>7}  {'[least - most]':>15}  {'of workers':>10}  {'instructions':>12}  {'ready ms':>8}  {'RSS MiB':>7}  failed")
    for size, point in points.items():
        cpu = point["cpu_us"]
        print(f"  {size:>10}  {statistics.median(cpu):7.1f}  {f'[{min(cpu):.1f} - {max(cpu):.1f}]':>15}  {statistics.median(point['worker_us']):10.1f}"
              f"  {point.get('worker', '-'):>12}  {point['ready_ms']:8.0f}  {point['rss_kib'] / 1024:7.1f}  {point['bad']}", flush=True)


def grow(crowd, work, args):
    sizes = crowd.sizes[:3] if args.small else crowd.sizes
    points = time_them(crowd, sizes, work, args)
    if not args.timed_only and program("valgrind"):
        for size, instructions in count_them(crowd, sizes, work, args.number).items():
            points[size].update(instructions)
    print_points(crowd, points)
    return dict(title=crowd.title, unit=crowd.unit, points=[dict(size=size, **point) for size, point in points.items()])


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(crowds.ALL), help="of the default, with commas between")
    parser.add_argument("--seconds", type=int, default=2, help="of each measurement of CPU time")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--number", type=int, default=300, help="calls whose instructions are counted")
    parser.add_argument("--small", action="store_true", help="the first three sizes only: does it work?")
    parser.add_argument("--timed-only", action="store_true", help="count no instructions")
    parser.add_argument("--plots", type=Path, help="write growth.json and a plot of each there; what is not measured now stays")
    return parser.parse_args()


def main():
    args = options()
    names = args.only.split(",")
    if set(names) - set(crowds.ALL):
        sys.exit(f"bench: what grows is {', '.join(crowds.ALL)}")
    if not SLUICE.exists() or not (LOADS / "load").exists() or not program("wrk"):
        sys.exit("bench: needs build/sluice, build/bench/load (make all loads) and wrk")
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES_MAX, FILES_MAX))
    print(machine())
    results = {}
    for name in names:
        with tempfile.TemporaryDirectory(prefix="bench.") as folder:
            results[name] = dict(grow(crowds.ALL[name], Path(folder), args), machine=machine(), day=date.today().isoformat())
        if args.plots:
            plot.keep(args.plots, {name: results[name]})
    return 1 if any(point["bad"] for result in results.values() for point in result["points"]) else 0


if __name__ == "__main__":
    sys.exit(main())
