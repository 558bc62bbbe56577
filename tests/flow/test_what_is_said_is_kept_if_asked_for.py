# SPDX-License-Identifier: Apache-2.0
"""store.capture: what is kept of a call - none, metadata, or all that was said - for whom, how long, and how it is deleted."""

import json
import shutil
import sqlite3
import tempfile
from pathlib import Path

import pytest
from harness import KEY_ACME, KEY_GLOBEX, Client, Sluice, config_for, eventually, free_port, merged, run_cli, sha256_hash
from raw_upstream import Upstream, chat_body, stream_chat
from small_disk import Disk

ADMIN, VIEWER, LEAD = ("sk-admin-5ecre7-40", "sk-viewer-5ecre7-41", "sk-lead-5ecre7-42")
ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "I am eve@example.com\x1b[2J<b>\u202e."}]
HEARD = [{"role": "system", "parts": [{"type": "text", "content": "Be brief."}]},
         {"role": "user", "parts": [{"type": "text", "content": ASKED[1]["content"]}]}]


def says(*words):
    """An upstream that says them, each in a chunk of its own where it streams."""
    def answer(call):
        if call.json.get("stream"):
            stream_chat(call, words)
        else:
            call.respond(200, chat_body("".join(words)))
    return answer


def said(text, reason="stop"):
    return [{"role": "assistant", "parts": [{"type": "text", "content": text}], "finish_reason": reason}]


def configure(up, capture="full", **changes):
    config = config_for(up, store={"capture": capture})
    config["admin"] = {"keys": [{"name": "ops", "hash": sha256_hash(ADMIN), "role": "admin"},
                                {"name": "grafana", "hash": sha256_hash(VIEWER), "role": "viewer"},
                                {"name": "lead", "hash": sha256_hash(LEAD), "role": "tenant", "tenant": "acme"}]}
    config["server"]["listeners"].append({"name": "ops", "address": f"127.0.0.1:{free_port()}", "serve": ["admin", "metrics"]})
    return merged(config, changes)


@pytest.fixture
def up():
    with Upstream(answer=says("Hel", "lo", " there")) as one:
        yield one


def ask(gate, method, path):
    with Client(str(gate.state / "admin.sock")) as client:
        return client.request(method, "/admin/v1" + path)


def call_of(gate, answer):
    """The call, once it is in the ledger."""
    def look():
        found = ask(gate, "GET", "/requests/" + answer.header("x-request-id"))
        return found.json if found.status == 200 else None

    return eventually(look, what="the call is there")


def content_of(gate, answer):
    """What is kept of it, once it has been written."""
    return eventually(lambda: call_of(gate, answer)["content"], what="it is kept")


def is_not_kept(gate, answer):
    return call_of(gate, answer)["content"] is None


def delete(gate, query):
    def once():
        answer = ask(gate, "DELETE", "/content" + query)
        assert answer.status in (200, 503), answer
        return answer if answer.status == 200 else None  # what waits is not written yet: again

    deleted, more = 0, True
    while more:
        answer = eventually(once, what="it is deleted").json
        deleted, more = deleted + answer["deleted"], answer["more"]
    return deleted


def chat(gate, **fields):
    return gate.post("/v1/chat/completions", {"model": "fast", "messages": ASKED, **fields})


@pytest.mark.parametrize("capture", ["metadata", "none"])
def test_nothing_that_is_said_is_kept_unless_asked_for(up, capture):
    with Sluice(configure(up, capture)) as gate:
        assert is_not_kept(gate, chat(gate))
        assert delete(gate, "?tenant=acme") == 0
        assert not list(gate.state.glob("content*"))
        assert gate.metric("sluice_content_kept_total") == gate.metric("sluice_content_dropped_total") == 0


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_said_is_kept(up, stream):
    with Sluice(configure(up)) as gate:
        content = content_of(gate, chat(gate, stream=stream, tools=[{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]))
        assert content["input"] == HEARD and content["output"] == said("Hello there")
        assert content["tools"][0]["name"] == "look" and content["system"] is None and content["cut"] is False
        assert oct((gate.state / "content.db").stat().st_mode & 0o777) == "0o640"
        assert gate.metric("sluice_content_kept_total") == 1


@pytest.mark.parametrize("stream", [False, True])
def test_it_is_kept_as_the_client_says_and_hears_it(up, stream):
    """Of Anthropic's client, whose target speaks OpenAI's words."""
    with Sluice(configure(up)) as gate:
        body = {"model": "fast", "max_tokens": 9, "system": "Be brief.", "messages": [{"role": "user", "content": "x"}], "stream": stream}
        content = content_of(gate, gate.post("/v1/messages", body))
        assert content["system"] == [{"type": "text", "content": "Be brief."}]
        assert content["input"] == [{"role": "user", "parts": [{"type": "text", "content": "x"}]}]
        assert content["output"] == said("Hello there")


@pytest.mark.parametrize("stream", [False, True])
def test_what_a_guardrail_took_out_is_not_kept(up, stream):
    up.answer = says("call me at ", "bob@exam", "ple.com now")
    rule = {"type": "regex", "patterns": ["[a-z]+@example\\.com"], "action": "redact", "stream_window": 128}
    guards = [{**rule, "name": "asked", "stage": "request"}, {**rule, "name": "answered", "stage": "response"}]
    with Sluice(configure(up, guardrails=guards)) as gate:
        text = json.dumps(content_of(gate, chat(gate, stream=stream)))
        assert "I am" in text and "call me" in text and text.count("REDACTED") == 2, text
        files = b"".join(path.read_bytes() for path in gate.state.glob("content*"))
        assert b"REDACTED" in files and b"eve@" not in files and b"bob@" not in files


def test_of_a_call_that_a_guardrail_stopped_nothing_is_kept(up):
    guard = {"name": "no", "type": "regex", "stage": "request", "patterns": ["eve@"], "action": "block"}
    with Sluice(configure(up, guardrails=[guard])) as gate:
        answer = chat(gate)
        assert answer.status == 400, answer
        assert is_not_kept(gate, answer)


def test_of_an_answer_that_a_guardrail_stopped_only_the_question_is_kept(up):
    guard = {"name": "no", "type": "regex", "stage": "response", "patterns": ["there"], "action": "block"}
    with Sluice(configure(up, guardrails=[guard])) as gate:
        content = content_of(gate, chat(gate))
        assert content["input"] == HEARD and content["output"] is None


@pytest.mark.parametrize("stream", [False, True])
def test_answers_from_the_cache_are_kept_too(up, stream):
    with Sluice(configure(up, cache={"exact": {"enabled": True, "ttl": "1h"}})) as gate:
        first = chat(gate, temperature=0, stream=stream)
        again = eventually(lambda: (lambda one: one if one.header("x-sluice-cache") == "hit" else None)(chat(gate, temperature=0, stream=stream)),
                           what="an answer of the cache")
        assert content_of(gate, first) == content_of(gate, again)
        assert content_of(gate, again)["output"] == said("Hello there")


def test_a_failed_call_has_its_question(up):
    up.answer = lambda call: call.respond(400, {"error": {"message": "no"}})
    with Sluice(configure(up)) as gate:
        content = content_of(gate, chat(gate))
        assert content["input"] == HEARD and content["output"] is None


def test_tenants_may_forbid_it(up):
    tenants = [{"name": "org", "models": ["*"], "capture": "none"},
               {"name": "acme", "parent": "org", "keys": [{"name": "main", "hash": sha256_hash(KEY_ACME)}]},
               {"name": "globex", "models": ["*"], "keys": [{"name": "main", "hash": sha256_hash(KEY_GLOBEX)}]}]
    config = configure(up)
    config["tenants"] = tenants
    with Sluice(config) as gate:
        theirs = gate.chat(key=KEY_GLOBEX)
        assert is_not_kept(gate, gate.chat()) and content_of(gate, theirs)["output"] == said("Hello there")


def test_only_admins_see_it_and_delete_it(up):
    with Sluice(configure(up)) as gate:
        answer = chat(gate)
        assert content_of(gate, answer)

        def look(key, method="GET", path="/requests/" + answer.header("x-request-id")):
            return gate.request(method, "/admin/v1" + path, None, key=key, listener="ops")

        assert look(ADMIN).json["content"]["output"] == said("Hello there")
        for key in (VIEWER, LEAD):
            assert "content" not in look(key).json and b"Hello there" not in look(key).body
            assert look(key, "DELETE", "/content?tenant=acme").status == 403
        assert b"Hello there" not in gate.request("GET", "/admin/v1/requests", None, key=ADMIN, listener="ops").body


def test_it_is_shown_on_a_terminal_and_cannot_speak_to_it(up):
    up.answer = says("one\n", "\x1b]0;x\x07\u009b2J two")
    with Sluice(configure(up)) as gate:
        answer = chat(gate)
        assert content_of(gate, answer)
        done = gate.cli("trace", answer.header("x-request-id"))
        assert done.returncode == 0, done
        assert "system: Be brief.\n" in done.stdout and "user: I am eve@example.com" in done.stdout and "assistant: one\n" in done.stdout
        assert not set(done.stdout) & {"\x1b", "\x07", "\u009b", "\u202e"}, done.stdout


def test_a_reload_turns_it_on_and_off(up):
    config = configure(up, "metadata")
    with Sluice(config) as gate:
        before = chat(gate)
        for capture in ("full", "metadata"):
            gate.write(merged(config, {"store": {"capture": capture}}))
            assert gate.cli("reload").returncode == 0
            if capture == "full":
                within = chat(gate)
        after = chat(gate)
        assert content_of(gate, within)["input"] == HEARD, "what was kept stays until it is old"
        assert is_not_kept(gate, before) and is_not_kept(gate, after)


@pytest.mark.parametrize("read_only", [False, True])
def test_it_outlives_a_restart_and_ends_with_its_time(up, read_only):
    config = configure(up, admin={"read_only": read_only})
    with Sluice(config) as gate:
        old, new = chat(gate), chat(gate)
        assert content_of(gate, old) and content_of(gate, new)
        gate.stop()
        database = sqlite3.connect(gate.state / "content.db")
        with database:
            database.execute("UPDATE content SET started_us = started_us - 8 * 86400000000 WHERE id = ?", (old.header("x-request-id"),))
        database.close()
        gate.start()
        assert content_of(gate, new)["output"] == said("Hello there")

        def count():
            database = sqlite3.connect(f"file:{gate.state}/content.db?mode=ro", uri=True)
            try:
                return database.execute("SELECT count(*) FROM content").fetchone()[0]
            finally:
                database.close()

        eventually(lambda: count() == 1, within=60, what="what is too old is deleted")


def test_it_is_deleted_when_somebody_asks(up):
    with Sluice(configure(up)) as gate:
        def of(user, key=KEY_ACME):
            return gate.post("/v1/chat/completions", {"model": "fast", "user": user, "messages": [{"role": "user", "content": f"secret-of-{user}"}]}, key=key)

        ada, bob, eve = of("ada"), of("bob"), of("eve", KEY_GLOBEX)
        for answer in (ada, bob, eve):
            assert content_of(gate, answer)
        assert delete(gate, "?tenant=acme&until=2001-01-01") == 0
        assert delete(gate, "?tenant=globex&user=ada") == 0
        assert delete(gate, "?tenant=acme&user=ada") == 1
        assert is_not_kept(gate, ada) and content_of(gate, bob) and content_of(gate, eve)
        files = b"".join(path.read_bytes() for path in gate.state.glob("content*"))
        assert b"secret-of-ada" not in files, "it is overwritten"
        assert b"secret-of-bob" in files
        done = run_cli("content", "rm", "-c", gate.file, "--tenant", "globex", env=gate.env)
        assert done.returncode == 0 and "calls: 1" in done.stderr, done
        assert is_not_kept(gate, eve) and content_of(gate, bob)
        assert call_of(gate, eve)["user"] == "eve", "what the ledger has stays"
        assert ask(gate, "DELETE", "/content").status == 400
        assert run_cli("content", "rm", "-c", gate.file, env=gate.env).returncode == 2


def test_where_nothing_may_be_changed_it_says_so(up):
    with Sluice(configure(up, admin={"read_only": True})) as gate:
        answer = chat(gate)
        assert content_of(gate, answer)
        done = run_cli("content", "rm", "-c", gate.file, "--tenant", "acme", env=gate.env)
        assert done.returncode not in (0, 2), done
        assert "admin.read_only is set" in done.stderr and "store.retention.content" in done.stderr, done
        assert content_of(gate, answer)


def test_the_command_asks_until_all_is_deleted():
    def answer(call):
        call.respond(200, {"deleted": 3, "more": len(admin.calls) < 3})

    with Upstream(answer=answer) as admin:
        done = run_cli("--admin", f"http://127.0.0.1:{admin.port}", "content", "rm", "--tenant", "acme", env={"SLUICE_ADMIN_KEY": ADMIN})
        assert done.returncode == 0 and "calls: 9" in done.stderr, done
        assert [(call.method, call.target) for call in admin.calls] == [("DELETE", "/admin/v1/content?tenant=acme")] * 3


def test_tenants_below_are_meant_too(up):
    config = configure(up)
    config["tenants"] = [{"name": "org", "models": ["*"]},
                         {"name": "acme", "parent": "org", "keys": [{"name": "main", "hash": sha256_hash(KEY_ACME)}]}]
    with Sluice(config) as gate:
        assert content_of(gate, chat(gate))
        assert delete(gate, "?tenant=org") == 1


def test_a_full_disk_costs_what_was_said_and_no_call(up):
    disk = Disk()
    ledger = tempfile.mkdtemp(prefix="sluice-ledger-")
    try:
        gate = Sluice(configure(up, ledger={"path": f"{ledger}/ledger"}, store={"embedded": {"path": f"{ledger}/sluice.db"}}),
                      begin=False, env=disk.env)
        gate.state.rmdir()
        gate.state.symlink_to(disk.folder)
        gate.env["STATE_DIRECTORY"] = disk.folder
        gate.state = Path(disk.folder)
        gate.start()
        with gate:
            assert content_of(gate, chat(gate))
            disk.fill()

            def long():
                return gate.post("/v1/chat/completions", {"model": "fast", "messages": [{"role": "user", "content": "x" * 30_000}]})

            def dropped():
                answer = long()
                assert answer.status == 200
                call_of(gate, answer)
                return gate.metric("sluice_content_dropped_total") > 0

            eventually(dropped, within=60, what="what does not fit is dropped")
            disk.make_room()
            eventually(lambda: call_of(gate, chat(gate))["content"], within=60, what="it is kept again")
    finally:
        disk.end()
        shutil.rmtree(ledger)


def test_a_broken_file_costs_what_was_said_and_no_call(up):
    with Sluice(configure(up), begin=False) as gate:
        (gate.state / "content.db").write_bytes(b"no database" * 1000)
        gate.start()
        answer = chat(gate)
        assert answer.status == 200 and is_not_kept(gate, answer)
        assert gate.metric("sluice_content_dropped_total") == 1
        assert ask(gate, "DELETE", "/content?tenant=acme").status == 503
        (gate.state / "content.db").unlink()
        assert content_of(gate, chat(gate))["output"] == said("Hello there")


@pytest.mark.parametrize("ends", [("",), ("", "-wal", "-shm")])
def test_a_file_that_was_removed_begins_anew(up, ends):
    with Sluice(configure(up)) as gate:
        before = chat(gate)
        assert content_of(gate, before)
        for end in ends:
            (gate.state / f"content.db{end}").unlink()
        after = chat(gate)
        assert content_of(gate, after)["output"] == said("Hello there") and is_not_kept(gate, before)
        assert delete(gate, "?tenant=acme") == 1
        assert is_not_kept(gate, after)


def test_of_a_call_that_cannot_be_read_is_said_that_it_is_cut(up):
    with Sluice(configure(up)) as gate:
        answer = chat(gate, messages=[{"role": "user", "content": 5}])
        assert answer.status == 200, answer
        content = content_of(gate, answer)
        assert content["input"] is None and content["cut"] is True and content["output"] == said("Hello there")


def test_of_nothing_only_what_money_needs_is_kept(up):
    config = configure(up, "none")
    config["tenants"][0].update(tags={"team": "search"}, may_set=["tags"])
    config["tenants"][1]["users"] = {"budget": {"amount": "5 USD", "period": "month"}}
    with Sluice(config) as gate:
        body = {"model": "fast", "user": "ada", "messages": ASKED}
        ours = call_of(gate, gate.post("/v1/chat/completions", body, headers=[("x-sluice-tags", "mood=blue")]))
        assert (ours["tenant"], ours["key"], ours["user"], ours["tags"]) == ("acme", "main", "", "team=search")
        assert ours["output_tokens"] > 0 and ours["cost_nanos"] > 0 and ours["decision"] is None
        theirs = call_of(gate, gate.post("/v1/chat/completions", body, key=KEY_GLOBEX))
        assert theirs["user"] == "ada", "its budget has to be counted"
        gate.stop()
        kept = b"".join(path.read_bytes() for path in (gate.state / "decisions").glob("*")) if (gate.state / "decisions").exists() else b""
        assert b"fast" not in kept
