# SPDX-License-Identifier: Apache-2.0
"""Real Redis servers for a test: one, with Sentinels, or a Cluster.

    with Redis(password="5ecre7") as redis:
        redis.url()                       # redis://:5ecre7@127.0.0.1:23456/0
        redis.command("SET", "a", "b")    # b"OK"

    with Sentinels() as sentinels:        # a master, two replicas, three Sentinels
        sentinels.failover()

    with Cluster() as cluster:            # three masters, three replicas
        with cluster.moving(slot, to):    # the slot is on its way
            ...

Each listens on free ports and keeps its files in a temporary directory; nothing is saved. All are
ended by their process ids. Nothing here needs more than the redis-server program.
"""

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
from pathlib import Path
from urllib.parse import quote

from harness import ALIVE, Authority, eventually, free_port, temporary_folder

READY_SECONDS = 20
SLOTS = 16384


class RedisError(Exception):
    """An error that the server answered, in its words."""


class Connection:
    """A connection that speaks RESP2. Answers are bytes, int, None or lists; errors are raised."""

    def __init__(self, address, context=None, timeout=10):
        if isinstance(address, (str, Path)):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(timeout)
            self.socket.connect(str(address))
        else:
            self.socket = socket.create_connection(address, timeout)
        if context:
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self.file = self.socket.makefile("rb")

    def send(self, *words):
        parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        self.socket.sendall(b"*%d\r\n" % len(parts) +
                            b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))

    def read(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the server closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest
        if kind == b"-":
            raise RedisError(rest.decode("utf-8", "replace"))
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self.read() for _ in range(int(rest))]
        raise ConnectionError(f"not RESP2: {line!r}")

    def command(self, *words):
        self.send(*words)
        return self.read()

    def close(self):
        self.file.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def quoted(word):
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Redis:
    """One redis-server (or a Sentinel). <tls> is an Authority; <unix> listens on a socket only.

    <users> maps names to rules of the ACL: {"gate": "on >word ~* &* +@all"}; <environment> is added to ours.
    """

    def __init__(self, *lines, password=None, users=None, tls=None, unix=False, port=None,
                 alternative="DNS:localhost,IP:127.0.0.1", sentinel=False, start=True, environment=None):
        self.directory = Path(temporary_folder("sluice-redis-"))
        self.port = 0 if unix else port or free_port()
        self.path = self.directory / "s" if unix else None
        self.password, self.users, self.tls = password, users or {}, tls
        self.sentinel = sentinel
        self.environment = {**os.environ, **(environment or {})}
        self.process = None
        self.lines = [*self._settings(alternative), *lines]
        self.settings = self.directory / "redis.conf"
        self.settings.write_text("\n".join(self.lines) + "\n")
        if start:
            self.start()

    def _settings(self, alternative):
        lines = ["bind 127.0.0.1", f"dir {self.directory}", "daemonize no", "protected-mode no",
                 "logfile log", "loglevel notice"]
        if not self.sentinel:
            lines += ['save ""', "appendonly no", "repl-diskless-sync yes", "repl-diskless-sync-delay 0",
                      "enable-debug-command yes", "databases 16"]
        if self.tls:
            cert, key = self.tls.issue(f"redis-{self.directory.name}", alternative)
            lines += ["port 0", f"tls-port {self.port}", f"tls-cert-file {cert}", f"tls-key-file {key}",
                      f"tls-ca-cert-file {self.tls.file}", "tls-auth-clients no", "tls-replication yes",
                      "tls-cluster yes"]
        else:
            lines += [f"port {self.port}"]
        if self.path:
            lines += [f"unixsocket {self.path}", "unixsocketperm 700"]
        if self.password:
            lines += [f"requirepass {quoted(self.password)}"]
            lines += [] if self.sentinel else [f"masterauth {quoted(self.password)}"]
        return lines + [f"user {name} {rules}" for name, rules in self.users.items()]

    # ------------------------------------------------------------------ its life

    def start(self):
        command = ["redis-server", str(self.settings)] + (["--sentinel"] if self.sentinel else [])
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL, start_new_session=True, env=self.environment)
        if self not in ALIVE:
            ALIVE.append(self)
        try:
            self.wait_ready()
        except BaseException:
            self.end()
            raise
        return self

    def wait_ready(self, within=READY_SECONDS):
        eventually(self._answers, within, what=f"redis on {self.address}")
        return self

    def _answers(self):
        if self.process.poll() is not None:
            raise AssertionError(f"redis-server ended:\n{self.log()[-3000:]}")
        with contextlib.suppress(OSError, RedisError):
            return self.command("PING") == b"PONG"

    @property
    def pid(self):
        return self.process.pid

    def stop(self):
        """It hangs: connections stay, nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def cont(self):
        os.kill(self.pid, signal.SIGCONT)

    def kill(self):
        """At once, as by a crash. What it held is lost."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)

    def restart(self):
        """Another process on the same address, empty."""
        self.kill()
        return self.start()

    def end(self):
        """Kill it and remove its files."""
        self.kill()
        if self in ALIVE:
            ALIVE.remove(self)
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    # ------------------------------------------------------------------ talking to it

    @property
    def address(self):
        return self.path or ("127.0.0.1", self.port)

    def url(self, user=None, password=None, host="127.0.0.1", db=0):
        """As in store.redis.url; the default user with the server's password when none is named."""
        password = password if password is not None else self.password
        login = f"{quote(user or '', '')}:{quote(password, '')}@" if password is not None else ""
        if self.path:
            return f"unix://{login}{self.path}?db={db}"
        return f"{'rediss' if self.tls else 'redis'}://{login}{host}:{self.port}/{db}"

    def connect(self, timeout=10):
        context = ssl.create_default_context(cafile=self.tls.file) if self.tls else None
        if context:
            context.check_hostname = False  # whatever name the test gave it
        connection = Connection(self.address, context, timeout)
        if self.password:
            connection.command("AUTH", self.password)
        return connection

    def command(self, *words, timeout=10):
        with self.connect(timeout) as connection:
            return connection.command(*words)

    def information(self, section="server"):
        """INFO as a dictionary."""
        lines = self.command("INFO", section).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def flushall(self):
        return self.command("FLUSHALL")

    def script_flush(self):
        return self.command("SCRIPT", "FLUSH")

    def drop_clients(self):
        """Close the connections of all its clients."""
        return self.command("CLIENT", "KILL", "TYPE", "normal") + self.command("CLIENT", "KILL", "TYPE", "pubsub")

    def log(self):
        with contextlib.suppress(OSError):
            return (self.directory / "log").read_text(errors="replace")
        return ""


def end_all(servers):
    for server in servers:
        with contextlib.suppress(ProcessLookupError):
            server.cont()
        server.end()


class Sentinels:
    """A master, replicas and Sentinels that notice a dead master in <patience_ms>: on a busy machine one that
    lives may be silent for half a second, too."""

    def __init__(self, name="gate", replicas=2, sentinels=3, password=None, sentinel_password=None, tls=None,
                 patience_ms=500):
        self.name, self.patience_ms = name, patience_ms
        self.sentinel_password = sentinel_password
        self.servers, self.sentinels = [], []
        try:
            first = Redis(password=password, tls=tls)
            self.servers.append(first)
            for _ in range(replicas):
                self.servers.append(Redis(f"replicaof 127.0.0.1 {first.port}", password=password, tls=tls))
            for _ in range(sentinels):
                self.sentinels.append(self._sentinel(first, password, tls, sentinels // 2 + 1))
            eventually(self._is_complete, READY_SECONDS, what="the Sentinels know each other and the replicas")
        except BaseException:
            self.end()
            raise

    def _sentinel(self, first, password, tls, quorum):
        lines = [f"sentinel monitor {self.name} 127.0.0.1 {first.port} {quorum}",
                 f"sentinel down-after-milliseconds {self.name} {self.patience_ms}",
                 f"sentinel failover-timeout {self.name} 3000",
                 f"sentinel parallel-syncs {self.name} 2"]
        if password:
            lines.append(f"sentinel auth-pass {self.name} {password}")
        if self.sentinel_password:
            lines.append(f"sentinel sentinel-pass {self.sentinel_password}")
        return Redis(*lines, sentinel=True, password=self.sentinel_password, tls=tls)

    def _is_complete(self):
        for sentinel in self.sentinels:
            flat = [word.decode() for word in sentinel.command("SENTINEL", "MASTER", self.name)]
            facts = dict(zip(flat[::2], flat[1::2]))
            if facts["num-slaves"] != str(len(self.servers) - 1):
                return False
            if facts["num-other-sentinels"] != str(len(self.sentinels) - 1):
                return False
        return all(server.information("replication").get("master_link_status") == "up"
                   for server in self.servers[1:])

    def addresses(self):
        """As in store.redis.sentinel.addresses."""
        return [f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels]

    def master(self):
        """The server that most Sentinels name."""
        votes = []
        for sentinel in self.sentinels:
            with contextlib.suppress(OSError, RedisError):
                votes.append(int(sentinel.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.name)[1]))
        port = max(set(votes), key=votes.count)
        return next(server for server in self.servers if server.port == port)

    def wait_another(self, old, within=30):
        """The master that comes after <old>, once it takes writes."""
        def is_there():
            new = self.master()
            with contextlib.suppress(OSError, RedisError):
                return new if new is not old and new.command("ROLE")[0] == b"master" else None
        return eventually(is_there, within, every=0.05, what="another master")

    def failover(self, within=30):
        """An ordered change of the master; gives the new one."""
        old = self.master()
        def ask():
            with contextlib.suppress(RedisError):  # INPROG, NOGOODSLAVE while it is not ready
                return self.sentinels[0].command("SENTINEL", "FAILOVER", self.name) == b"OK"
        eventually(ask, within, every=0.2, what="a failover begins")
        return self.wait_another(old, within)

    def end(self):
        end_all(self.sentinels + self.servers)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


class Cluster:
    """<masters> masters with a replica each (or none), which own equal shares of the slots."""

    def __init__(self, masters=3, replicas=1, password=None, tls=None, node_timeout_ms=1500):
        self.servers = []
        try:
            for _ in range(masters * (1 + replicas)):
                self.servers.append(Redis(
                    "cluster-enabled yes", f"cluster-node-timeout {node_timeout_ms}",
                    f"cluster-port {free_port()}", "cluster-replica-validity-factor 0",
                    "cluster-require-full-coverage no", password=password, tls=tls))
            self._join(masters)
        except BaseException:
            self.end()
            raise

    def _join(self, masters):
        first = self.servers[0]
        for epoch, server in enumerate(self.servers):
            server.command("CLUSTER", "SET-CONFIG-EPOCH", epoch + 1)
        for server in self.servers[1:]:
            bus = next(line.split()[1] for line in server.lines if line.startswith("cluster-port"))
            first.command("CLUSTER", "MEET", "127.0.0.1", server.port, bus)
        eventually(lambda: all(len(self.nodes(server)) == len(self.servers) for server in self.servers),
                   READY_SECONDS, what="the nodes know each other")
        for i, server in enumerate(self.servers[:masters]):
            low, high = i * SLOTS // masters, (i + 1) * SLOTS // masters - 1
            server.command("CLUSTER", "ADDSLOTSRANGE", low, high)
        for i, server in enumerate(self.servers[masters:]):
            identity = self.identity(self.servers[i % masters])
            def follows(server=server, identity=identity):
                with contextlib.suppress(RedisError):  # while it does not know the node as a master
                    return server.command("CLUSTER", "REPLICATE", identity) == b"OK"
            eventually(follows, READY_SECONDS, what="a replica follows its master")
        self.wait_ready()

    def wait_ready(self, within=READY_SECONDS):
        eventually(self._is_complete, within, every=0.05, what="the cluster is complete")

    def _is_complete(self):
        for server in self.alive():
            if b"cluster_state:ok" not in server.command("CLUSTER", "INFO"):
                return False
            owned = sum(high - low + 1 for low, high, *_ in server.command("CLUSTER", "SLOTS"))
            if owned != SLOTS:
                return False
            facts = server.information("replication")
            if facts["role"] == "slave" and facts["master_link_status"] != "up":
                return False
        return True

    def alive(self):
        return [server for server in self.servers if server.process and server.process.poll() is None]

    @staticmethod
    def nodes(server):
        return server.command("CLUSTER", "NODES").decode().splitlines()

    @staticmethod
    def identity(server):
        return server.command("CLUSTER", "MYID").decode()

    def owner(self, slot):
        """The master of <slot>, as the living see it."""
        for low, high, master, *_ in self.alive()[0].command("CLUSTER", "SLOTS"):
            if low <= slot <= high:
                return next(server for server in self.servers if server.port == master[1])
        raise LookupError(f"nobody owns slot {slot}")

    def slot(self, key):
        return self.alive()[0].command("CLUSTER", "KEYSLOT", key)

    def masters(self):
        ports = {master[1] for _, _, master, *_ in self.alive()[0].command("CLUSTER", "SLOTS")}
        return [server for server in self.servers if server.port in ports]

    def replica_of(self, master):
        identity = self.identity(master)
        line = next(line for line in self.nodes(master) if line.split()[3] == identity)
        port = int(line.split()[1].split("@")[0].rsplit(":", 1)[1])
        return next(server for server in self.servers if server.port == port)

    @contextlib.contextmanager
    def moving(self, slot, to):
        """The slot is on its way to <to>: keys that are gone give ASK. It has moved at the end."""
        source = self.owner(slot)
        to.command("CLUSTER", "SETSLOT", slot, "IMPORTING", self.identity(source))
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", self.identity(to))
        yield source
        self.move_keys(slot, source, to)
        for server in (to, source, *(each for each in self.masters() if each not in (to, source))):
            server.command("CLUSTER", "SETSLOT", slot, "NODE", self.identity(to))

    @staticmethod
    def move_keys(slot, source, to, count=None):
        """Carry <count> keys of the slot (or all) over."""
        while True:
            keys = source.command("CLUSTER", "GETKEYSINSLOT", slot, min(count or 100, 100))
            if not keys:
                return
            auth = ["AUTH", to.password] if to.password else []
            source.command("MIGRATE", "127.0.0.1", to.port, "", 0, 5000, *auth, "KEYS", *keys)
            if count:
                return

    def move(self, slot, to):
        with self.moving(slot, to):
            pass

    def failover(self, master, within=READY_SECONDS):
        """The replica of <master> takes over, in order; gives it."""
        replica = self.replica_of(master)
        replica.command("CLUSTER", "FAILOVER")
        eventually(lambda: replica.command("ROLE")[0] == b"master", within, what="the replica is a master")
        return replica

    def url(self, **options):
        return self.servers[0].url(**options)

    def end(self):
        end_all(self.servers)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()
