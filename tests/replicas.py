# SPDX-License-Identifier: Apache-2.0
"""Several gateways on one store, before one provider: how they are set up, and how they are looked at.

    with Redis() as redis, Fleet(3, TENANTS, MODELS, store=shared(redis)) as fleet:
        fleet.gates[0].chat("plain", key=key_of("acme"))
        fleet.wait_quiet()                  # no call, no reservation, no parallel slot is held

The provider is `sluice mock`, whose own count is the truth, or any other with a `url`.
"""

import contextlib
import json
import re
from concurrent.futures import ThreadPoolExecutor

from harness import PRICE, Mock, Sluice, config_for, eventually, merged, model_for, sha256_hash
from redis_servers import RedisError

PREFIX = "sluice:"


def key_of(name):
    """The secret of a tenant's key, so that a test need not keep it."""
    return f"sk-{name}-5ecre7-0123456789abcdef"


def tenant(name, **changes):
    """A tenant with one key, which may call everything."""
    return merged({"name": name, "models": ["*"], "keys": [{"name": "main", "hash": sha256_hash(key_of(name))}]}, changes)


PATIENCE = "2s"  # of who asks Redis, where that is not what is tested: others may use the machine


def shared(redis, **changes):
    """The section `store` for a redis-server, a Cluster, Sentinels, or a URL."""
    if hasattr(redis, "sentinels"):
        place = {"url": "redis://127.0.0.1", "mode": "sentinel",
                 "sentinel": {"master": redis.name, "addresses": redis.addresses()}}
    elif hasattr(redis, "masters"):
        place = {"url": redis.url(), "mode": "cluster"}
    else:
        place = {"url": redis if isinstance(redis, str) else redis.url()}
    return {"type": "redis", "redis": {"timeout": PATIENCE, **place, **changes}}


class Fleet:
    """<count> gateways; <models> maps their names to the mock's words, or is the section itself. What is not said is as in config_for()."""

    def __init__(self, count, tenants, models, store=None, upstream=None, environments=(), **changes):
        self.gates, self.stack = [], contextlib.ExitStack()
        self.mock = upstream or self.stack.enter_context(Mock())
        self.tenants, self.models, self.store, self.changes = tenants, models, store, changes
        self.environments = list(environments) + [None] * count
        try:
            with ThreadPoolExecutor(count) as pool:
                self.gates = list(pool.map(self._begin, range(count)))
        except BaseException:
            self.stack.close()
            raise

    def _begin(self, number):
        gate = Sluice(self.config(number), env=self.environments[number])
        self.stack.push(gate)
        return gate

    def config(self, number):
        """The configuration of a gateway that is not there yet."""
        config = config_for(self.mock.url)
        config["models"] = (self.models if isinstance(self.models, list) else
                            [model_for(name, model=model) for name, model in self.models.items()])
        config["tenants"] = self.tenants
        config["store"] = self.store or {"type": "embedded"}
        config["telemetry"] = {"log": {"level": "info", "format": "json"}, "access_log": {"enabled": False}}
        return merged(config, self.changes)

    def __enter__(self):
        return self

    def __exit__(self, *what):
        return self.stack.__exit__(*what)

    # ------------------------------------------------------------------ where they are

    def addresses(self):
        return [gate.address() for gate in self.gates]

    def wait_together(self, within=20):
        """Until each of them has the store, and knows of all the others."""
        def are_up():
            return all(gate.metric("sluice_store_up") == 1 and gate.metric("sluice_replicas") == len(self.gates)
                       for gate in self.gates)
        eventually(are_up, within, every=0.05, what="all gateways have the store and know each other")
        return self

    def wait_store(self, up, within=10):
        for gate in self.gates:
            eventually(lambda gate=gate: gate.metric("sluice_store_up") == up, within, what=f"sluice_store_up {up}")

    def wait_quiet(self, within=20):
        """Until no call runs and nothing is held any more."""
        def is_quiet(gate):
            figures = gate.metrics()
            held = {name: value for name, value in figures.items()
                    if re.match(r"sluice_(inflight_requests|reservations|open_streams)(\{|$)", name) and value}
            return None if held else True

        for gate in self.gates:
            eventually(lambda gate=gate: is_quiet(gate), within, every=0.05, what="no gateway holds anything")
        return self

    def metric(self, name, **labels):
        return sum(gate.metric(name, **labels) for gate in self.gates)

    def used(self, field="requests", **where):
        """What each gateway says of all, once they say the same."""
        def agreed():
            try:
                said = {gate.usage_total(field, **where) for gate in self.gates}
            except AssertionError:  # says that Redis is away
                return None
            return (said.pop(),) if len(said) == 1 else None
        return eventually(agreed, 20, every=0.1, what="all gateways say the same")[0]

    def own(self, gate, by="tenant"):
        """The rows of `sluice usage` for what this gateway alone has served."""
        done = gate.cli("usage", "--by", by, "--since", "1d", "--format", "json", "--nodes", "this")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


# ------------------------------------------------------------------------------- inside Redis


def servers_of(redis):
    """Where the keys are: the masters of a Cluster, the master of Sentinels, or the one there is."""
    if hasattr(redis, "masters"):
        return redis.masters()
    return [redis.master()] if hasattr(redis, "sentinels") else [redis]


def keys_of(redis, pattern):
    found = []
    for server in servers_of(redis):
        with server.connect() as connection:
            cursor = b"0"
            while True:
                cursor, names = connection.command("SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
                found += [(server, name.decode()) for name in names]
                if cursor == b"0":
                    break
    return found


def counters(redis):
    """{counter: (sum of its sums, sum of its nodes' parts)}, of the slots that are kept."""
    out = {}
    for server, key in keys_of(redis, PREFIX + "{*}:c:*"):
        flat = server.command("HGETALL", key)
        fields = {flat[i].decode(): int(flat[i + 1]) for i in range(0, len(flat), 2) if flat[i][:1].isdigit()}
        sums = sum(value for field, value in fields.items() if "/" not in field)
        out[key.partition(":c:")[2]] = (sums, sum(fields.values()) - sums)
    return out


def wait_no_slot_held(redis, within=15):
    """Until no parallel call is held in the store, by its sum and by the parts of the nodes."""
    def held():
        with contextlib.suppress(RedisError, OSError):
            left = {name: both for name, both in counters(redis).items() if "concurrent" in name and both != (0, 0)}
            return None if left else True

    eventually(held, within, every=0.1, what="parallel slots are back at zero")


def check_no_leaks(redis, nodes):
    """Every key of a limit ends by itself (but totals), within what docs/LIMITS.md says, and none has fields of more
    nodes than there are: lives that have ended left nothing behind. All counters have been touched by all nodes."""
    day = 86400
    for server, key in keys_of(redis, PREFIX + "*"):
        name = key.removeprefix(PREFIX)
        if name.startswith(("{ledger}", "{roster}", "{figures}", "{jobs}", "{deployments}", "{fleet}")):
            continue
        left = server.command("PTTL", key) / 1000
        if left == -0.002:  # it has just ended
            continue
        flat = server.command("HGETALL", key)
        fields = {flat[i].decode(): flat[i + 1].decode() for i in range(0, len(flat), 2)}
        if name == "nodes" or name.endswith("}:l"):
            assert 0 < left <= 90 * day, f"{key} ends in {left} s"
            assert sum(field.startswith("inc/") for field in fields) <= nodes, (key, fields)
            continue
        assert left > 0 or name.endswith("_total"), f"{key} does not end by itself"
        assert left <= (72 * day if "budget" in name else 3 * day), f"{key} ends in {left} s"
        parts = {field.partition("/")[2] for field in fields if "/" in field} | set(fields.get("n", "").split())
        assert len(parts) <= nodes, f"{key} has parts of {parts}"
        assert sum(field.startswith("@") for field in fields) <= nodes, (key, fields)


def cost_nanos(input_tokens, output_tokens):
    return round(input_tokens * PRICE["input"] * 1000 + output_tokens * PRICE["output"] * 1000)
