# SPDX-License-Identifier: Apache-2.0
"""A provider with several keys: they take turns; one that is at its limit or opens nothing rests, and the
call goes up with another one at once."""

import time

import pytest
from harness import Sluice, config_for, eventually, provider_for
from raw_upstream import chat_body, stream_chat

KEYS = ["key-one", "key-two", "key-three"]


def config_with(upstream, keys=tuple(KEYS), **changes):
    provider = provider_for(upstream, api_keys=list(keys), **changes)
    if "api_key" not in changes:
        del provider["api_key"]
    return config_for(upstream, providers=[provider], server={"workers": 1})


class Account:
    """An upstream whose keys have what `self.answers` says: a status and header lines; else they are good."""

    def __init__(self, upstream):
        self.answers, self.seen = {}, []
        upstream.answer = self.answer

    def answer(self, call):
        key = call.header("authorization").removeprefix("Bearer ")
        self.seen.append(key)
        status, headers = self.answers.get(key, (200, ()))
        if status != 200:
            call.respond(status, b'{"error": {"message": "no", "type": "x"}}', headers)
        elif call.json.get("stream"):
            stream_chat(call)
        else:
            call.respond(200, chat_body())


def test_keys_take_turns(upstream):
    account = Account(upstream)
    with Sluice(config_with(upstream)) as gate:
        for _ in range(6):
            assert gate.chat().status == 200
        assert sorted(account.seen[:3]) == sorted(KEYS) and account.seen[:3] == account.seen[3:]
        for key in KEYS:
            assert key not in gate.log() and key not in gate.cli("config", "show").stdout


@pytest.mark.parametrize("status", [429, 401, 402])
@pytest.mark.parametrize("stream", [False, True])
def test_a_key_that_is_refused_rests_and_another_is_tried(upstream, status, stream):
    account = Account(upstream)
    account.answers["key-two"] = (status, ())
    with Sluice(config_with(upstream)) as gate:
        for _ in range(6):
            assert gate.chat(stream=stream).status == 200
        assert account.seen.count("key-two") == 1, account.seen
        assert len(account.seen) == 7
        total = gate.usage_total("requests")
        assert total == 6


def test_a_key_rests_as_long_as_it_is_told(upstream):
    account = Account(upstream)
    account.answers["key-one"] = (429, [("Retry-After", "12")])  # longer than untold
    with Sluice(config_with(upstream, KEYS[:2])) as gate:
        begun = time.monotonic()
        eventually(lambda: gate.chat().status == 200 and "key-one" in account.seen, what="it was tried")
        account.answers = {}
        account.seen.clear()
        eventually(lambda: gate.chat().status == 200 and "key-one" in account.seen, every=0.1, what="it is awake")
        assert time.monotonic() - begun >= 12


def test_when_all_keys_rest_the_provider_is_heard(upstream):
    account = Account(upstream)
    account.answers = {key: (429, [("Retry-After", "30")]) for key in KEYS}
    with Sluice(config_with(upstream)) as gate:
        answer = gate.chat()
        assert answer.status == 429 and answer.header("retry-after") == "30"
        assert sorted(account.seen) == sorted(KEYS)
        assert gate.chat().status == 429 and len(account.seen) == 4


def test_another_refusal_is_the_clients(upstream):
    account = Account(upstream)
    account.answers = {key: (400, ()) for key in KEYS}
    with Sluice(config_with(upstream)) as gate:
        assert gate.chat().status == 400 and len(account.seen) == 1


def test_what_belongs_to_an_account_goes_up_with_its_first_key(upstream):
    account = Account(upstream)
    with Sluice(config_with(upstream, KEYS[1:], api_key="key-one")) as gate:
        account.answers["key-one"] = (429, ())
        for _ in range(3):
            assert gate.post("/v1/responses", {"model": "fast", "input": "hi"}).status == 429
        assert account.seen == ["key-one"] * 3


def ask(gate, name=None, header=None, **fields):
    headers = {"Content-Type": "application/json", **({header: name} if header else {})}
    key = {"prompt_cache_key": name} if name and not header else {}
    return gate.post("/v1/responses", {"model": "fast", "input": "hi", "store": False, **key, **fields}, headers=headers)


@pytest.mark.parametrize("header", [None, "session_id", "session-id"])
def test_a_conversation_whose_reasoning_is_encrypted_keeps_to_one_account(upstream, header):
    """It opens there only. Where nothing is stored each conversation has its own; else the first one has them all."""
    account = Account(upstream)
    with Sluice(config_with(upstream)) as gate:
        chosen = {}
        for name in [f"0199-{i}" for i in range(12)]:
            for _ in range(3):
                assert ask(gate, name, header, include=["reasoning.encrypted_content"]).status == 200
            chosen[name] = set(account.seen[-3:])
            assert len(chosen[name]) == 1
        assert set.union(*chosen.values()) == set(KEYS), "they are shared out"
        account.seen.clear()
        assert ask(gate).status == 200 and ask(gate, "0199-1", header, store=True).status == 200
        assert account.seen == ["key-one"] * 2
    with Sluice(config_with(upstream, KEYS[1:] + KEYS[:1])) as gate:  # on another node, in another order
        for name, keys in chosen.items():
            account.seen.clear()
            assert ask(gate, name, header).status == 200 and set(account.seen) == keys


def test_it_does_not_go_to_another_account_that_could_not_open_it(upstream):
    account = Account(upstream)
    account.answers = {key: (429, [("Retry-After", "30")]) for key in KEYS}
    with Sluice(config_with(upstream)) as gate:
        for _ in range(2):
            answer = ask(gate, "0199")
            assert answer.status == 429 and answer.header("retry-after") == "30"
        assert len(account.seen) == 2 and len(set(account.seen)) == 1


def test_the_prompts_of_a_session_are_cached_in_one_account(upstream):
    """Claude Code and others name their session: it has one key, as long as that one does not rest."""
    account = Account(upstream)
    with Sluice(config_with(upstream)) as gate:
        for _ in range(5):
            assert gate.chat(headers={"X-Claude-Code-Session-Id": "8f1e"}).status == 200
        assert len(set(account.seen)) == 1
        first = account.seen[0]
        account.answers[first] = (429, ())
        assert gate.chat(headers={"X-Claude-Code-Session-Id": "8f1e"}).status == 200
        assert account.seen[-2] == first and account.seen[-1] != first
