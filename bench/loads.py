# SPDX-License-Identifier: Apache-2.0
"""What `make bench` asks, with wrk or bench/load/load.c, and how the figures are put on paper."""

import json
import os
import statistics
import subprocess

from servers import HERE, LOAD_CORES, LOADS, cpu_nanos, rss_kib

KEY = (HERE / "targets/sluice/headers").read_text().strip()

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



def question(size=1000, **members):
    """A JSON body of so many bytes."""
    body = {"model": "gpt-4o-mini", "max_tokens": 64, "messages": [{"role": "user", "content": ""}], **members}
    if body.get("stream"):
        body.setdefault("stream_options", {"include_usage": True})
    words = "the gateway forwards each request to a model and counts the tokens of its answer "
    room = size - len(json.dumps(body))
    body["messages"][0]["content"] = (words * (room // len(words) + 1))[:room]
    return json.dumps(body)


def pinned():
    os.sched_setaffinity(0, LOAD_CORES)


def wrk(port, work, seconds, connections=64, cold=False, tls=False):
    """A closed loop of what stands in work/body.json."""
    (work / "wrk.lua").write_text(WRK_SCRIPT)
    env = dict(os.environ, BENCH_BODY=str(work / "body.json"), BENCH_KEY=KEY.split(":", 1)[1].strip())
    if cold:
        env["BENCH_COLD"] = "1"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", work / "wrk.lua",
               f"http{'s' if tls else ''}://127.0.0.1:{port}/v1/chat/completions"]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True, timeout=seconds + 60,
                          preexec_fn=pinned)
    return json.loads(done.stdout.strip().splitlines()[-1])


def load_command(port, work, seconds, connections, *more):
    return [LOADS / "load", "-p", str(port), "-b", work / "body.json", "-k", KEY, "-c", str(connections),
            "-s", str(seconds), *more]


def load(port, work, seconds, connections, *more):
    done = subprocess.run(load_command(port, work, seconds, connections, *more), stdout=subprocess.PIPE, text=True,
                          check=True, timeout=seconds + 180, preexec_fn=pinned)
    return json.loads(done.stdout.strip().splitlines()[-1])


def cpu_of(server, work):
    """Processor time in nanoseconds that the server spends while work() runs, and what that returns."""
    before = cpu_nanos(server.pids())
    result = work()
    after = cpu_nanos(server.pids())
    return sum(spent - before.get(thread, 0) for thread, spent in after.items()), result


def measured(server, work, unit="requests"):
    """A row: what work() returned, with cpu_us of each unit, and memory in the end."""
    nanos, result = cpu_of(server, work)
    good = result["requests"] - result["bad"]
    number = good if unit == "requests" else result[unit]
    return dict(result, good=good, cpu_us=nanos / 1000 / max(1, number), rss_kib=rss_kib(server.pids()))


def take_turns(servers, rounds, measure):
    """A B C, C B A, A B C: {name: rows}."""
    rows = {server.name: [] for server in servers}
    for turn in range(rounds):
        for server in servers if turn % 2 == 0 else reversed(servers):
            rows[server.name].append(measure(server))
    return rows


def middle(rows, key):
    return statistics.median(row[key] for row in rows)


def print_rows(title, rows, columns):
    """columns: (title, function of the rows of one server, given its name; gives text or a number)."""
    print(f"\n{title}")
    table = [["", *(name for name, _ in columns)]]
    for who, runs in rows.items():
        cells = [function(who, runs) for _, function in columns]
        table.append([who, *(cell if isinstance(cell, str) else f"{cell:.1f}" for cell in cells)])
    widths = [max(len(line[at]) for line in table) for at in range(len(table[0]))]
    for line in table:
        print("  " + "  ".join(cell.ljust(width) if at == 0 else cell.rjust(width)
                               for at, (cell, width) in enumerate(zip(line, widths))).rstrip(), flush=True)


def column(title, key, divisor=1, digits=1):
    return title, lambda _who, runs: f"{middle(runs, key) / divisor:.{digits}f}"


def spread(title, key):
    return title, lambda _who, runs: f"[{min(run[key] for run in runs):.1f} - {max(run[key] for run in runs):.1f}]"


def ratio(rows, peer, key="cpu_us"):
    """To a peer of the same run; of nginx the first whose name begins so."""
    name = next((who for who in rows if who.split(",")[0] == peer), None)

    def text(_who, runs):
        return f"{middle(runs, key) / middle(rows[name], key):.2f}" if name and middle(rows[name], key) else "-"
    return f"× {peer}", text


def failures(title="failed"):
    return title, lambda _who, runs: str(sum(run["bad"] for run in runs))
