# SPDX-License-Identifier: Apache-2.0
"""What a browser looks at, and how its cases are run."""

import contextlib
import functools
import hashlib
import http.server
import json
import os
import subprocess
import threading
from pathlib import Path

import world
from harness import Client, eventually, free_port

WEB = Path(__file__).parent
RUN_SECONDS = 500  # a minute and a half where nothing else runs


def installed(folder):
    """`npm ci`, once for each lock file."""
    mark = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    stamp = folder / "node_modules" / ".stamp"
    if not stamp.exists() or stamp.read_text() != mark:
        done = subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=170)
        assert done.returncode == 0, done.stdout[-4000:]
        stamp.write_text(mark)


@contextlib.contextmanager
def provider(redirects, **environment):
    """The address of an OpenID provider (issuer.mjs) that sends browsers back to these."""
    installed(WEB)
    port = free_port()
    with subprocess.Popen(["node", "--no-warnings", "issuer.mjs", str(port), *redirects], cwd=WEB, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True, env={**os.environ, **environment}) as process:
        try:
            assert "listening" in process.stdout.readline()
            yield f"http://127.0.0.1:{port}"
        finally:
            process.stdin.close()
            process.wait(30)


def desk(gate, path):
    with Client(str(gate.state / "admin.sock")) as client:
        return client.request("GET", "/admin/v1" + path, [], None).json


CALLS = [("acme-web", "fast", 4), ("acme-batch", "smart", 2), ("globex-app", "fast", 3), ("initech-crm", "shaky", 2),
         ("initech-crm", "broken", 1), ("initech-crm", "qwen", 1), ("globex-app", "broken", 1)]


def fill(gate):
    """Some calls of every kind, all of them booked."""
    threads = [threading.Thread(target=world.ask, args=(gate, who, model)) for who, model, count in CALLS for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    eventually(lambda: desk(gate, "/requests?limit=100")["up_to_date"] and
               len(desk(gate, "/requests?limit=100")["data"]) == len(threads), what="all calls are booked")


class Control(http.server.BaseHTTPRequestHandler):
    """POST /stop, /start: what a browser's test cannot do by itself."""

    def do_POST(self):
        gate = self.server.gate
        status = 200
        try:
            {"/stop": gate.stop, "/start": gate.start}[self.path]()
        except Exception as error:  # told where it is asked for
            print(error)
            status = 500
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def address(gate, listener):
    return f"http://127.0.0.1:{gate.address(listener)[1]}"


@functools.cache
def run(environment):
    installed(WEB)
    keep = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
    done = subprocess.run(["node", f"--test-reporter={WEB.parent / 'clients/node/lines.mjs'}", "dashboard.test.mjs"], cwd=WEB,
                          text=True, timeout=RUN_SECONDS, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env={**keep, "TZ": "UTC", **dict(environment)})
    results = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"name":')]
    assert results, f"it ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return results
