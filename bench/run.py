#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`make bench`: what does sluice cost next to a plain reverse proxy, on this machine, right now?

    bench/run.py [--seconds 5] [--rounds 3] [--scenario chat,large,cold,stream] [--json FILE]

One upstream (`sluice mock`), one load generator (wrk), and as proxies between them sluice with
everything on, nginx and haproxy, each with one worker. They take turns - A B C, C B A, A B C - so that
a machine that drifts does so for all of them. The figure is CPU time of the proxy's own processes per
answered request; compare only figures of one run. README.md says more.
"""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SLUICE = Path(os.environ.get("SLUICE_BINARY", ROOT / "build" / "sluice"))
SLUICES = ("sluice", "full", "full-redis")
CORES = sorted(os.sched_getaffinity(0))
PROXY_CORE, LOAD_CORES = {CORES[0]}, set(CORES[1:]) or {CORES[0]}

WRK_SCRIPT = """
local function all_of(name)
  local file = assert(io.open(name, "rb"))
  local bytes = file:read("*a")
  file:close()
  return bytes
end
wrk.method = "POST"
wrk.body = all_of(os.getenv("BENCH_BODY"))
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = os.getenv("BENCH_KEY")
if os.getenv("BENCH_COLD") then wrk.headers["Connection"] = "close" end
function done(summary, latency)
  local e = summary.errors
  io.write(string.format('\\n{"requests":%d,"seconds":%.6f,"bad":%d,"p50":%.1f,"p99":%.1f}\\n', summary.requests,
    summary.duration / 1e6, e.status + e.connect + e.read + e.write + e.timeout, latency:percentile(50), latency:percentile(99)))
end
"""

NGINX = """
daemon off; worker_processes 1; worker_rlimit_nofile 40000; pid nginx.pid; error_log error.log warn; %(user)s
events { worker_connections 20000; }
http {
    access_log off; keepalive_requests 1000000000; client_max_body_size 64m; client_body_buffer_size 256k;
    upstream llm { server 127.0.0.1:%(upstream)d; keepalive 512; keepalive_requests 1000000000; }
    server {
        listen 127.0.0.1:%(listen)d backlog=4096;
        location / {
            proxy_pass http://llm; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering %(buffering)s;
        }
    }
}
"""

HAPROXY = """
global
    nbthread 1
    maxconn 9000
defaults
    mode http
    option http-keep-alive
    option http-no-delay
    http-reuse always
    timeout connect 5s
    timeout client 600s
    timeout server 600s
frontend clients
    bind 127.0.0.1:%(listen)d backlog 4096
    default_backend llm
backend llm
    server llm 127.0.0.1:%(upstream)d pool-max-conn -1 pool-purge-delay 600s
"""

SCENARIOS = {
    "chat": ("1 KB question, keep-alive, 64 connections", dict(size=1000, connections=64)),
    "large": ("100 KB question, the same", dict(size=100_000, connections=64)),
    "cold": ("1 KB question, a new connection each", dict(size=1000, connections=64, cold=True)),
    "stream": ("1 KB question, answer as a stream", dict(size=1000, connections=64, stream=True)),
}


# ------------------------------------------------------------------------- processes


def free_port():
    """Below the range of outgoing connections, so that none of the load's can sit on it."""
    for port in range(18000, 32000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in free_port.given:
            free_port.given.add(port)
            return port
    sys.exit("bench: no free port")


free_port.given = set()


def stat_of(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None


def family(root):
    """A process and all below it."""
    parents = {int(path.name): stat_of(path.name) for path in Path("/proc").glob("[0-9]*")}
    members = [root]
    for pid in members:
        members += [each for each, stat in parents.items() if stat and int(stat[1]) == pid]
    return members


def cpu_nanos(pids):
    """{thread: time on a processor}, in nanoseconds."""
    spent = {}
    for pid in pids:
        for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            try:
                spent[path.parent.name] = int(path.read_text().split()[0])
            except (OSError, IndexError):
                pass
    return spent


def rss_kib(pids):
    total = 0
    for pid in pids:
        try:
            found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
            total += int(found[1]) if found else 0
        except OSError:
            pass
    return total


class Running:
    """A server of ours, pinned to its processors, ended with all its children."""

    def __init__(self, name, command, port, cores, folder, env=None):
        self.name, self.port, self.others = name, port, []
        with open(folder / f"{name}.out", "wb") as out:
            self.process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                                            env=env, start_new_session=True,
                                            preexec_fn=lambda: os.sched_setaffinity(0, cores))
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    words = (folder / f"{name}.out").read_text(errors="replace")[-1500:]
                    raise SystemExit(f"bench: {name} did not start:\n{words}") from None
                time.sleep(0.05)

    def pids(self):
        return family(self.process.pid)

    def stop(self):
        for sign, seconds in ((signal.SIGTERM, 3), (signal.SIGKILL, 3)):
            if self.process.poll() is None:
                os.killpg(self.process.pid, sign)
                try:
                    self.process.wait(seconds)
                except subprocess.TimeoutExpired:
                    continue
        try:
            os.killpg(self.process.pid, signal.SIGKILL)  # children that outlived it
        except ProcessLookupError:
            pass
        for other in self.others:
            other.kill()
            other.wait()


# ------------------------------------------------------------------------- who takes part


def start_sluice(folder, upstream, target="sluice"):
    listen = free_port()
    values = {"LISTEN_PORT": listen, "UPSTREAM_PORT": upstream, "RUN_DIR": folder}
    text = (HERE / "targets" / target / "sluice.yaml.tmpl").read_text()
    (folder / "sluice.yaml").write_text(re.sub(r"\$\{([A-Z_]+)\}", lambda m: str(values[m[1]]), text))
    env = dict(os.environ, STATE_DIRECTORY=str(folder / "state"))
    (folder / "state").mkdir(exist_ok=True)
    return Running(target, [SLUICE, "-c", folder / "sluice.yaml", "run"], listen, PROXY_CORE, folder, env)


def start_full(folder, upstream):
    return start_sluice(folder, upstream, "full")


def start_full_redis(folder, upstream):
    """Its Redis runs on the processors of the load, and its time is not counted."""
    socket_path = folder / "redis.sock"
    with open(folder / "redis.out", "wb") as out:
        redis = subprocess.Popen([program("redis-server"), "--port", "0", "--unixsocket", socket_path, "--save", ""],
                                 cwd=folder, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                                 preexec_fn=lambda: os.sched_setaffinity(0, LOAD_CORES))
    try:
        for _ in range(100):
            if socket_path.exists():
                break
            time.sleep(0.05)
        sluice = start_sluice(folder, upstream, "full-redis")
    except BaseException:
        redis.kill()
        redis.wait()
        raise
    sluice.others.append(redis)
    return sluice


def start_nginx(folder, upstream, buffering="on"):
    listen = free_port()
    (folder / "nginx.conf").write_text(NGINX % dict(listen=listen, upstream=upstream, buffering=buffering,
                                                    user="user root;" if os.getuid() == 0 else ""))
    command = [program("nginx"), "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "error.log"]
    return Running("nginx", command, listen, PROXY_CORE, folder)


def start_nginx_unbuffered(folder, upstream):
    return start_nginx(folder, upstream, "off")


def start_haproxy(folder, upstream):
    listen = free_port()
    (folder / "haproxy.cfg").write_text(HAPROXY % dict(listen=listen, upstream=upstream))
    return Running("haproxy", [program("haproxy"), "-db", "-f", folder / "haproxy.cfg"], listen, PROXY_CORE, folder)


def program(name):
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def start_all(work, upstream, stream):
    starters = {"sluice": start_sluice, "full": start_full}
    if program("redis-server"):
        starters["full-redis"] = start_full_redis
    if program("nginx"):
        starters["nginx"] = start_nginx_unbuffered if stream else start_nginx
    if program("haproxy"):
        starters["haproxy"] = start_haproxy
    running = []
    try:
        for name, start in starters.items():
            folder = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=work))
            running.append(start(folder, upstream))
    except BaseException:
        for each in running:
            each.stop()
        raise
    return running


# ------------------------------------------------------------------------- measuring


def question(size, stream):
    body = {"model": "gpt-4o-mini", "stream": stream, "max_tokens": 64, "messages": [{"role": "user", "content": ""}]}
    if stream:
        body["stream_options"] = {"include_usage": True}
    words = "the gateway forwards each request to a model and counts the tokens of its answer "
    room = size - len(json.dumps(body))
    body["messages"][0]["content"] = (words * (room // len(words) + 1))[:room]
    return json.dumps(body)


def load(port, work, shape, seconds):
    env = dict(os.environ, BENCH_BODY=str(work / "body.json"),
               BENCH_KEY=(HERE / "targets/sluice/headers").read_text().split(":", 1)[1].strip())
    if shape.get("cold"):
        env["BENCH_COLD"] = "1"
    command = ["wrk", "-t1", f"-c{shape['connections']}", f"-d{seconds}s", "--timeout", "10s", "-s", work / "wrk.lua",
               f"http://127.0.0.1:{port}/v1/chat/completions"]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True, timeout=seconds + 60,
                          preexec_fn=lambda: os.sched_setaffinity(0, LOAD_CORES))
    return json.loads(done.stdout.strip().splitlines()[-1])


def measure(server, work, shape, seconds):
    before = cpu_nanos(server.pids())
    result = load(server.port, work, shape, seconds)
    after = cpu_nanos(server.pids())
    good = result["requests"] - result["bad"]
    nanos = sum(spent - before.get(thread, 0) for thread, spent in after.items())
    return dict(result, good=good, cpu_us=nanos / 1000 / max(1, good), rss_kib=rss_kib(server.pids()))


def run_scenario(name, work, upstream, args):
    words, shape = SCENARIOS[name]
    (work / "body.json").write_text(question(shape["size"], shape.get("stream", False)))
    servers = start_all(work, upstream, shape.get("stream"))
    rows = {server.name: [] for server in servers}
    try:
        for server in servers:  # fills pools and caches
            load(server.port, work, shape, 1)
        for turn in range(args.rounds):
            for server in servers if turn % 2 == 0 else reversed(servers):
                rows[server.name].append(measure(server, work, shape, args.seconds))
    finally:
        for server in servers:
            server.stop()
    print(f"\n{name}: {words}")
    print(f"  {'':10} {'CPU µs':>8}  {'[least - most]':>16}  {'× nginx':>8}  {'× haproxy':>9}  {'per s':>8}  {'p50 µs':>8}"
          f"  {'p99 µs':>8}  {'RSS MiB':>8}  failed")
    middle = {who: statistics.median(run["cpu_us"] for run in runs) for who, runs in rows.items()}
    for who, runs in rows.items():
        cpu = [run["cpu_us"] for run in runs]

        def figure(key):
            return statistics.median(run[key] for run in runs)

        def ratio(peer):
            return f"{middle[who] / middle[peer]:.2f}" if middle.get(peer) else "-"

        rate = statistics.median(run["good"] / run["seconds"] for run in runs)
        print(f"  {who:10} {middle[who]:8.1f}  {f'[{min(cpu):.1f} - {max(cpu):.1f}]':>16}  {ratio('nginx'):>8}  {ratio('haproxy'):>9}"
              f"  {rate:8.0f}  {figure('p50'):8.0f}  {figure('p99'):8.0f}  {figure('rss_kib') / 1024:8.1f}"
              f"  {sum(run['bad'] for run in runs)}", flush=True)
    return rows


def machine():
    model = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    return f"{model[1] if model else os.uname().machine}, {len(CORES)} processors, Linux {os.uname().release}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=5, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scenario", default=",".join(SCENARIOS))
    parser.add_argument("--json", help="write all measurements there too")
    args = parser.parse_args()
    names = args.scenario.split(",")
    if set(names) - set(SCENARIOS):
        sys.exit(f"bench: scenarios are {', '.join(SCENARIOS)}")
    if not SLUICE.exists() or not shutil.which("wrk"):
        sys.exit("bench: needs build/sluice and wrk")
    print(machine())
    if len(CORES) < 2:
        print("one processor only: load and proxy share it")
    results = {}
    with tempfile.TemporaryDirectory(prefix="bench.") as folder:
        work = Path(folder)
        (work / "wrk.lua").write_text(WRK_SCRIPT)
        port = free_port()
        mock = Running("mock", [SLUICE, "mock", "--address", f"127.0.0.1:{port}"], port, LOAD_CORES, work)
        try:
            for name in names:
                results[name] = run_scenario(name, work, port, args)
        finally:
            mock.stop()
    if args.json:
        Path(args.json).write_text(json.dumps(dict(machine=machine(), results=results), indent=1))
    return 1 if any(run["bad"] for rows in results.values() for who in rows if who in SLUICES for run in rows[who]) else 0


if __name__ == "__main__":
    sys.exit(main())
