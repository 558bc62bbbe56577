# SPDX-License-Identifier: Apache-2.0
"""What `make bench` starts: sluice in several shapes, nginx, haproxy; and what it reads of their processes."""

import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SLUICE = Path(os.environ.get("SLUICE_BINARY", ROOT / "build" / "sluice"))
LOADS = ROOT / "build" / "bench"
CORES = sorted(os.sched_getaffinity(0))
PROXY_CORE, LOAD_CORES = {CORES[0]}, set(CORES[1:]) or {CORES[0]}
FILES_MAX = resource.getrlimit(resource.RLIMIT_NOFILE)[1]

NGINX = """
daemon off; worker_processes 1; worker_rlimit_nofile %(files)d; pid nginx.pid; error_log error.log warn; %(user)s
events { worker_connections 20000; }
http {
    access_log off; keepalive_requests 1000000000; client_max_body_size 64m; client_body_buffer_size 256k;
    upstream llm { server 127.0.0.1:%(upstream)d; keepalive 512; keepalive_requests 1000000000; }
    server {
        listen 127.0.0.1:%(listen)d backlog=4096%(tls)s; %(certificate)s
        location / {
            proxy_pass http://llm; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering %(buffering)s;
        }
    }
}
"""

HAPROXY = """
global
    nbthread 1
    maxconn %(connections)d
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


class Direct:
    """Nobody in between."""

    name = "direct"

    def __init__(self, port):
        self.port = port

    def pids(self):
        return []

    def stop(self):
        pass


class Running:
    """A server of ours, pinned to its processors, ended with all its children."""

    def __init__(self, name, command, port, cores, folder, env=None, patience=10):
        self.name, self.port, self.others = name, port, []
        with open(folder / f"{name}.out", "wb") as out:
            self.process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                                            env=env, start_new_session=True,
                                            preexec_fn=lambda: os.sched_setaffinity(0, cores))
        deadline = time.monotonic() + patience
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    words = (folder / f"{name}.out").read_text(errors="replace")[-1500:]
                    raise SystemExit(f"bench: {name} did not start:\n{words}") from None
                time.sleep(0.002)

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


def filled_in(target, values):
    text = (HERE / "targets" / target / "sluice.yaml.tmpl").read_text()
    return re.sub(r"\$\{([A-Z_]+)\}", lambda m: str(values[m[1]]), text)


def start_sluice(folder, upstream, target="sluice", name=None, change=None):
    """`change` gets the filled-in configuration and gives another."""
    listen = free_port()
    text = filled_in(target, {"LISTEN_PORT": listen, "UPSTREAM_PORT": upstream, "RUN_DIR": folder})
    (folder / "sluice.yaml").write_text(change(text) if change else text)
    env = dict(os.environ, STATE_DIRECTORY=str(folder / "state"))
    (folder / "state").mkdir(exist_ok=True)
    return Running(name or target, [SLUICE, "-c", folder / "sluice.yaml", "run"], listen, PROXY_CORE, folder, env)


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


def start_full_hit(folder, upstream):
    return start_sluice(folder, upstream, "full", "full, hit", lambda text: text + "cache: {exact: {enabled: true}}\n")


def certificate(folder):
    """P-256, as most have; of one day."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
                    "-subj", "/CN=localhost", "-keyout", folder / "tls.key", "-out", folder / "tls.crt"],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def start_sluice_tls(folder, upstream, target="sluice"):
    certificate(folder)
    tls = f"      tls: {{cert_file: {folder}/tls.crt, key_file: {folder}/tls.key}}\n      serve:"
    return start_sluice(folder, upstream, target, f"{target}, TLS", lambda text: text.replace("      serve:", tls, 1))


def start_full_tls(folder, upstream):
    return start_sluice_tls(folder, upstream, "full")


def of_type(kind):
    """The same, with a provider that speaks another dialect."""
    def start(folder, upstream):
        def change(text):
            text = text.replace("type: openai", f"type: {kind}")
            return text if kind == "openai" else re.sub(r"(base_url: \S+)/v1\b", r"\1", text)
        return start_sluice(folder, upstream, "full", kind, change)
    return start


def start_nginx(folder, upstream, buffering="on", tls=False):
    listen = free_port()
    if tls:
        certificate(folder)
    words = "ssl_certificate tls.crt; ssl_certificate_key tls.key; ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:s:8m;"
    (folder / "nginx.conf").write_text(NGINX % dict(
        listen=listen, upstream=upstream, buffering=buffering, files=FILES_MAX, tls=" ssl" if tls else "",
        certificate=words if tls else "", user="user root;" if os.getuid() == 0 else ""))
    command = [program("nginx"), "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "error.log"]
    return Running("nginx, TLS" if tls else "nginx", command, listen, PROXY_CORE, folder)


def start_nginx_unbuffered(folder, upstream):
    return start_nginx(folder, upstream, "off")


def start_nginx_tls(folder, upstream):
    return start_nginx(folder, upstream, tls=True)


def start_haproxy(folder, upstream):
    listen = free_port()
    (folder / "haproxy.cfg").write_text(HAPROXY % dict(listen=listen, upstream=upstream,
                                                       connections=(FILES_MAX - 1000) // 2))
    return Running("haproxy", [program("haproxy"), "-db", "-f", folder / "haproxy.cfg"], listen, PROXY_CORE, folder)


def start_direct(_folder, upstream):
    return Direct(upstream)


def program(name):
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def have(starters):
    """Those of {name: start} whose program is on this machine."""
    needs = {"nginx": "nginx", "haproxy": "haproxy", "full-redis": "redis-server"}
    return [start for name, start in starters.items() if name not in needs or program(needs[name])]


def start_each(starts, work, upstreams):
    """All of them, or none; upstreams is one port, or one for each."""
    running = []
    try:
        for at, start in enumerate(starts):
            folder = Path(tempfile.mkdtemp(prefix="target.", dir=work))
            running.append(start(folder, upstreams if isinstance(upstreams, int) else upstreams[at]))
    except BaseException:
        stop_all(running)
        raise
    return running


def stop_all(running):
    for each in running:
        each.stop()
