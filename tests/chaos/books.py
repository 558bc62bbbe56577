# SPDX-License-Identifier: Apache-2.0
"""The provider's own count, and whether the ledger agrees with it."""

from collections import Counter

from harness import PRICE, Client, eventually

NANOS_PER_TOKEN = 1000  # of one USD per million tokens


def ask_mock(mock, path):
    with Client(("127.0.0.1", mock.port), timeout=30) as client:
        answer = client.request("GET", path)
    assert answer.status == 200, answer
    return answer.json


def mock_stats(mock):
    return ask_mock(mock, "/__mock/stats")


def provider_calls(mock, within=30, known=()):
    """Every call that `sluice mock` has had, once none is open any more. It keeps the last 100,000; where there
    may be more, <known> are those that calls_so_far() has given."""
    eventually(lambda: mock_stats(mock)["in_flight"] == 0, within, what="the mock's calls end")
    calls = calls_so_far(mock, known)
    assert len(calls) == mock_stats(mock)["logged"], "the mock has forgotten calls"
    return calls


def calls_so_far(mock, known=()):
    """The calls that have ended; those that are <known> are not asked for again."""
    calls = list(known)
    while True:
        since = calls[-1]["number"] + 1 if calls else 0
        page = ask_mock(mock, f"/__mock/calls?since={since}")
        calls += page["calls"]
        if page["next"] == since or not page["calls"]:
            return calls


def cost_of(input_tokens, output_tokens):
    return int(input_tokens * PRICE["input"] * NANOS_PER_TOKEN + output_tokens * PRICE["output"] * NANOS_PER_TOKEN)


def wait_drained(gate, within=40):
    """Until only the running process has a journal, and all of its lines are booked."""
    def drained():
        directories = [path for path in (gate.state / "ledger").iterdir() if path.is_dir()]
        return len(directories) == 1

    eventually(drained, within, every=0.1, what="what dead processes left behind is drained")


def rows_by_id(gate):
    """{request id: row}; two rows of one call are an error."""
    rows = {}
    for row in gate.ledger_rows():
        assert row["id"] not in rows, f"booked twice: {row} and {rows[row['id']]}"
        rows[row["id"]] = row
    return rows


def check_rollups(gate, rows):
    """The sums say the same as the rows."""
    for table in ("rollup_minute", "rollup_day"):
        columns = [c["name"] for c in gate.sql(f"PRAGMA table_info({table})")]
        assert "requests" in columns and "cost_nanos" in columns, columns
        sums = gate.sql(f"SELECT sum(requests) AS requests, sum(cost_nanos) AS cost, sum(output_tokens) AS output FROM {table}")[0]
        mine = (len(rows), sum(row["cost_nanos"] for row in rows), sum(row["output_tokens"] for row in rows))
        assert (sums["requests"], sums["cost"], sums["output"]) == mine, f"{table}: {sums}, rows: {mine}"


def truth(call):
    return call["prompt_tokens"], call["completion_tokens"]


def booked(row):
    return row["input_tokens"], row["output_tokens"]


def check_books(gate, calls, answers, lost_allowed=True, retried=False):
    """Hold the ledger of a stopped gateway against the provider's count and what the clients got.

    Every call that the provider saw is booked, once. A call whose client has the whole answer is
    complete, with the provider's tokens at their price. What was lost is marked so, and not cheaper
    than it was. Returns how many calls had which outcome.
    """
    rows = rows_by_id(gate)
    check_rows(rows, calls, answers, lost_allowed, retried)
    check_rollups(gate, list(rows.values()))
    return Counter(row["outcome"] for row in rows.values())


def check_books_of_all(gates, calls, answers, **options):
    """The same for several gateways (stopped), each with a ledger of its own. Gives the rows by id."""
    rows = {}
    for gate in gates:
        own = rows_by_id(gate)
        twice = rows.keys() & own.keys()
        assert not twice, f"booked by two gateways: {[(rows[name], own[name]) for name in list(twice)[:3]]}"
        check_rollups(gate, list(own.values()))
        rows.update(own)
    check_rows(rows, calls, answers, **options)
    return rows


def check_rows(rows, calls, answers, lost_allowed=True, retried=False):
    seen = Counter(call["request_id"] for call in calls)
    assert "" not in seen, "a call without a request id"
    missing = [call for call in calls if call["request_id"] not in rows]
    assert not missing, f"{len(missing)} of {len(calls)} calls are not in the ledger: {missing[:3]}"
    if not retried:
        twice = [request_id for request_id, times in seen.items() if times > 1]
        assert not twice, f"asked twice of the provider: {twice[:3]}"
    by_id = {}
    for call in calls:
        if call["outcome"] == "whole" or call["request_id"] not in by_id:
            by_id[call["request_id"]] = call
    whole = [answer for answer in answers if answer.done]
    for answer in whole:
        row, call = rows.get(answer.id), by_id.get(answer.id)
        assert call and row, f"{answer} was answered, provider: {call}, ledger: {row}"
        assert row["outcome"] == "complete" and row["counted"] == "provider", f"{answer}: {row}"
        assert booked(row) == truth(call), f"{row} is not {call}"
        assert row["cost_nanos"] == cost_of(*truth(call)), row
    for request_id, row in rows.items():
        if row["outcome"] != "lost":
            continue
        assert lost_allowed, f"lost: {row}"
        call = by_id.get(request_id)
        if call:
            assert booked(row) >= truth(call) and row["output_tokens"] >= call["completion_tokens"], f"{row}: {call}"
            assert row["cost_nanos"] >= cost_of(*truth(call)), f"cheaper than it was: {row}: {call}"


def rss_bytes(gate):
    """Resident memory of supervisor and service together."""
    total = 0
    for pid in [gate.process.pid, *gate.children()]:
        with open(f"/proc/{pid}/status") as status:
            total += sum(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS:"))
    return total


def chaos_config(mock, config_for, models, **changes):
    """The usual configuration in front of `sluice mock`, with a model for each (name, upstream model)."""
    from harness import model_for

    config = config_for(mock.url, **changes)
    config["models"] = [model_for(name, model=model) for name, model in models.items()]
    config["tenants"][1]["models"] = ["*"]
    config["telemetry"] = {"log": {"level": "info", "format": "json"}, "access_log": {"enabled": False}}
    return config
