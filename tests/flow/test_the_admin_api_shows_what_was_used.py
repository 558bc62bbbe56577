# SPDX-License-Identifier: Apache-2.0
"""Calls one by one, sums, and series over time: by the API, by `sluice usage` and `sluice export`."""

import csv
import io
import json
import os

import pytest
from harness import KEY_ACME, KEY_GLOBEX, SECRETS, Client, Sluice, config_for, eventually, free_port, run_cli

pytestmark = pytest.mark.threads
ADMIN_KEY = "sk-admin-5ecre7-0123456789abcdef"
ENVIRONMENT = {"SLUICE_ADMIN_KEY": ADMIN_KEY}
CALLS = 40


def configure(upstream):
    config = config_for(upstream)
    config["server"]["listeners"].append(
        {"name": "ops", "address": f"127.0.0.1:{free_port()}", "serve": ["admin"]})
    return config


def ask(gate, path):
    with Client(str(gate.state / "admin.sock")) as client:
        answer = client.request("GET", "/admin/v1" + path)
    assert answer.status == 200, answer
    return answer.json


def walk(gate, path):
    """All items of a list, page after page; and how many pages there were."""
    items, after, pages = [], "", 0
    while True:
        page = ask(gate, f"{path}&after={after}" if after else path)
        items += page["data"]
        pages += 1
        if page["next"] is None:
            return items, pages
        after = page["next"]


@pytest.fixture(scope="module")
def used(gate):
    for i in range(CALLS):
        key = KEY_GLOBEX if i % 4 == 0 else KEY_ACME
        model = "nothing" if i % 10 == 9 else "fast"
        assert gate.chat(model=model, key=key, user=f"user-{i % 3}").status == (404 if i % 10 == 9 else 200)
    eventually(lambda: len(ask(gate, "/requests?limit=500")["data"]) == CALLS, what="all calls in the store")
    return gate


@pytest.mark.parametrize("order", ["desc", "asc"])
def test_pages_show_every_call_once(used, order):
    rows, pages = walk(used, f"/requests?limit=7&order={order}")
    assert len({row["id"] for row in rows}) == len(rows) == CALLS
    assert pages == -(-CALLS // 7)
    booked = {row["id"] for row in used.ledger_rows()}
    assert {row["id"] for row in rows} == booked


def test_a_call_says_what_the_ledger_says(used):
    row = ask(used, "/requests?limit=1&status=200&tenant=acme")["data"][0]
    line = used.ledger_row(row["id"])
    for name in ("tenant", "key", "user", "model", "target", "provider", "status", "input_tokens", "output_tokens",
                 "cost_nanos", "attempts", "duration_us", "outcome", "counted", "finish", "price_version"):
        assert row[name] == line[name], name


@pytest.mark.parametrize("query, count", [
    ("tenant=globex", CALLS // 4), ("status=404", CALLS // 10), ("status=4xx", CALLS // 10), ("model=nothing", CALLS // 10),
    ("user=user-0", 14), ("key=fast-only", 0), ("provider=up&status=200-299", CALLS - CALLS // 10), ("tenant=nobody", 0),
    ("since=1h", CALLS), ("since=2020-01-01&until=2020-01-02", 0), ("operation=chat", CALLS)])
def test_filters_narrow_calls_and_sums_alike(used, query, count):
    assert len(walk(used, f"/requests?limit=500&{query}")[0]) == count
    rows = ask(used, f"/usage?by=tenant&{query}")
    assert sum(row["requests"] for row in rows) == count


def test_a_call_is_found_by_its_id(used):
    answer = used.chat()
    row = ask(used, "/requests/" + answer.header("x-request-id"))
    assert row["id"] == answer.header("x-request-id") and row["tenant"] == "acme", row
    with Client(str(used.state / "admin.sock")) as client:
        assert client.request("GET", "/admin/v1/requests/req_nothing").status == 404


def test_series_add_up_to_the_sums(used):
    sums = ask(used, "/usage?by=model&since=24h")
    for metric, member in (("requests", "requests"), ("cost", "cost_nanos"), ("output_tokens", "output_tokens")):
        for step in ("minute", "hour", "day"):
            answer = ask(used, f"/series?metric={metric}&by=model&step={step}")
            lines = {line["name"]: line for line in answer["series"]}
            assert set(lines) == {row["model"] for row in sums} and answer["others"] is None
            for row in sums:
                line = lines[row["model"]]
                assert line["total"] == row[member] == sum(value for _, value in line["points"])
                times = [at for at, _ in line["points"]]
                assert times == sorted(set(times)) and all(at % answer["step_s"] == 0 for at in times)


def test_series_of_means_and_errors(used):
    latency = ask(used, "/series?metric=latency")["series"]
    rows = walk(used, "/requests?limit=500&since=24h")[0]
    mean = sum(row["duration_us"] for row in rows) // len(rows)
    assert [line["name"] for line in latency] == ["all"] and latency[0]["total"] == mean, latency
    errors = ask(used, "/series?metric=errors")["series"]
    assert errors[0]["total"] == CALLS // 10, errors


def rank(values, percent):
    """The nearest: so many of a hundred are not above it."""
    values = sorted(values)
    return values[max(0, -(-len(values) * percent // 100) - 1)] if values else None


@pytest.mark.parametrize("query", ["", "&key=main", "&status=2xx", "&user=user-1", "&status=404"])
def test_percentiles_are_those_of_the_calls(used, query):
    calls = walk(used, "/requests?limit=500" + query)[0]
    complete = [call for call in calls if call["outcome"] == "complete"]
    told = ask(used, "/percentiles?since=1d" + query)
    assert (told["calls"], told["all"]) == (len(calls), True)
    for name in ("ttft_us", "duration_us", "overhead_us"):
        values = [call[name] for call in complete if name != "ttft_us" or call[name] > 0]
        wanted = {"calls": len(values), "max": max(values), **{f"p{p}": rank(values, p) for p in (50, 90, 95, 99)}} if values else None
        assert told[name] == wanted, name
    assert ask(used, "/percentiles?since=2020-01-01&until=2020-01-02")["ttft_us"] is None


def test_what_is_not_shown_is_summed_up(used):
    answer = ask(used, "/series?by=key&top=1")
    assert [line["name"] for line in answer["series"]] == ["acme/main"], answer
    total = ask(used, "/series")["series"][0]["total"]
    assert answer["series"][0]["total"] + answer["others"]["total"] == total


# ------------------------------------------------------------------------------- commands


def over_tcp(gate, *args, env=None):
    url = "http://%s:%d" % gate.address("ops")
    return run_cli("--admin", url, *args, env=ENVIRONMENT if env is None else env)


def test_usage_here_and_elsewhere_is_the_same(used):
    for options in (("--format", "json"), ("--format", "csv"), ()):
        here = used.cli("usage", "--by", "tenant,model,status", "--since", "1d", *options)
        there = over_tcp(used, "usage", "--by", "tenant,model,status", "--since", "1d", *options)
        assert here.returncode == there.returncode == 0, there.stderr
        assert here.stdout == there.stdout != ""


def test_the_key_may_stand_in_a_file(used, tmp_path):
    file = tmp_path / "key"
    file.write_text(ADMIN_KEY + "\n")
    url = "http://%s:%d" % used.address("ops")
    assert run_cli("--admin", url, "--admin-key-file", file, "usage").returncode == 0
    file.write_text("sk-wrong\n")
    done = run_cli("--admin", url, "--admin-key-file", file, "usage")
    assert done.returncode == 5 and "not allowed" in done.stderr, done
    assert run_cli("--admin", url, "--admin-key-file", tmp_path / "none", "usage").returncode == 5
    assert run_cli("--admin", f"http://127.0.0.1:{free_port()}", "usage", env=ENVIRONMENT).returncode == 4


def test_export_has_every_call_once_the_oldest_first(used):
    done = used.cli("export", "--format", "jsonl")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert rows == walk(used, "/requests?limit=500&order=asc")[0]
    done = used.cli("export", "--tenant", "globex", "--status", "200")
    table = list(csv.DictReader(io.StringIO(done.stdout)))
    wanted = [row for row in rows if row["tenant"] == "globex" and row["status"] == 200]
    assert [row["id"] for row in table] == [row["id"] for row in wanted]
    assert sum(int(row["cost_nanos"]) for row in table) == sum(row["cost_nanos"] for row in wanted)
    assert used.cli("export", "--format", "xml").returncode == 2
    assert used.cli("export", "--since", "soon").returncode == 2


def test_export_needs_no_gateway(upstream):
    with Sluice(config_for(upstream)) as gate:
        ids = [gate.chat(user='a "quoted", name').header("x-request-id") for _ in range(5)]
        gate.stop()
        done = gate.cli("export")
        assert done.returncode == 0 and done.stderr == "", done
        rows = list(csv.DictReader(io.StringIO(done.stdout)))
        assert {row["id"] for row in rows} == set(ids) and len(rows) == len(ids)
        assert rows[0]["user"] == 'a "quoted", name'


def test_no_name_is_a_formula_in_a_spreadsheet(upstream):
    """What a user is called comes from anywhere, and who looks after the money opens it as a table."""
    names = ['=HYPERLINK("http://x.example","y")', "@SUM(1)", "+1+2", "-1+2", "-cmd", "-7", "plain"]
    with Sluice(config_for(upstream)) as gate:
        for name in names:
            assert gate.chat(user=name).status == 200
        wanted = sorted("'" + name if name[0] in "=@+" or name in ("-1+2", "-cmd") else name for name in names)
        done = gate.cli("usage", "--by", "user", "--format", "csv")
        assert sorted(row["user"] for row in csv.DictReader(io.StringIO(done.stdout))) == wanted
        done = gate.cli("export")
        assert sorted(row["user"] for row in csv.DictReader(io.StringIO(done.stdout))) == wanted
        done = gate.cli("usage", "--by", "user", "--format", "json")
        assert sorted(row["user"] for row in json.loads(done.stdout)) == sorted(names)


def test_usage_needs_no_secret_of_the_service(upstream):
    """A variable that is only set for the service must not stop who asks what was used."""
    config = config_for(upstream)
    config["providers"][0]["api_key"] = "${A_PROVIDERS_KEY}"
    config["tenants"][0]["tags"] = {"team": "${A_TEAM:?is needed}"}
    with Sluice(config, env={"A_PROVIDERS_KEY": SECRETS[-1], "A_TEAM": "search"}) as gate:
        assert gate.chat().status == 200
        env = {"STATE_DIRECTORY": str(gate.state)}
        for command in (["usage", "--format", "json"], ["export"], ["status"], ["config", "show"]):
            done = run_cli("-c", gate.file, *command, env=env)
            assert done.returncode == 0, (command, done.stderr)
        assert json.loads(run_cli("-c", gate.file, "usage", "--format", "json", env=env).stdout)[0]["requests"] == 1
        assert run_cli("-c", gate.file, "check", env=env).returncode == 1, "the service does need it"


def test_operators_have_lines_of_their_own_in_the_access_log(gate):
    gate.get("/admin/v1/overview", key=ADMIN_KEY, listener="ops")
    gate.get("/admin/v1/overview", key="sk-wrong", listener="ops")

    def lines():
        found = [json.loads(line) for line in gate.log().splitlines() if '"path":"/admin/v1/overview"' in line]
        return found if len(found) >= 2 else None

    good, bad = eventually(lines)[-2:]
    for line in (good, bad):
        assert line["msg"] == line["operation"] == line["dialect"] == "admin", line
    assert (good["status"], good["key"]) == (200, "admin") and bad["status"] == 401 and "key" not in bad


# ------------------------------------------------------------------------------- the first key


def test_an_admin_key_is_made_once_and_kept_hashed(upstream):
    with Sluice(configure(upstream)) as gate:
        words = "the admin key, shown only this once"
        eventually(lambda: words in gate.log(), what="it is shown")
        made = next(line for line in gate.log().splitlines() if words in line).rpartition(" ")[2]
        file = gate.state / "admin_key"
        assert made.startswith("sk-admin-") and os.stat(file).st_mode & 0o777 == 0o600
        assert made not in file.read_text() and file.read_text().startswith("sha256:")
        assert gate.get("/admin/v1/overview", key=made, listener="ops").status == 200
        assert gate.get("/admin/v1/overview", key=made[:-1], listener="ops").status == 401
        assert gate.chat(key=made).status == 401, "not where clients ask"
        gate.stop()
        gate.start()
        assert gate.get("/admin/v1/overview", key=made, listener="ops").status == 200, "the same after a restart"
        assert gate.log().count(words) == 1


def test_no_key_is_made_where_nobody_could_use_it(upstream):
    with Sluice(config_for(upstream)) as gate:
        assert not (gate.state / "admin_key").exists()
