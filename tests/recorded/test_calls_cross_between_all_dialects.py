# SPDX-License-Identifier: Apache-2.0
"""Every recorded call, made in every dialect: what it asks for arrives there, or is named as lost. And
back again: what the other dialect could say is still asked for.
"""

import json
import re

import pytest
from asked import READERS, asked
from translators import Driver, records

TARGETS = {
    "openai-chat": {"type": "openai", "model": "gpt-4o"},
    "mistral-chat": {"type": "mistral", "model": "mistral-large-latest"},
    "openai-responses": {"type": "openai", "model": "gpt-5"},
    "anthropic": {"type": "anthropic", "model": "claude-sonnet-4-5"},
    "gemini": {"type": "gemini", "model": "gemini-2.5-flash"},
    "ollama-chat": {"type": "ollama", "model": "qwen3"},
    "bedrock-converse": {"type": "bedrock", "model": "us.anthropic.claude-sonnet-4-5-20250929-v1:0"},
    "bedrock-invoke": {"type": "bedrock", "model": "us.anthropic.claude-sonnet-4-5-20250929-v1:0"},
    "cohere-chat": {"type": "cohere", "model": "command-a-03-2025"},
}
CLAUDES = ("anthropic", "bedrock-converse", "bedrock-invoke")
IN_PATH = {"gemini", "bedrock-converse", "bedrock-invoke"}  # where the model stands
# By what name a loss of each facet is told. What is about a message has its place in front.
TOLD = {
    "talk": r"content|\.role|refusal|filename|arguments|messages\.order|messages\[\d+\]$|input",
    "system": r"\.role|system|instructions",
    "late_system": r"\.role|system",
    "images": r"content|image|file_id|input",
    "files": r"content|file|input",
    "sound": r"content|audio|input",
    "video": r"content|video|input",
    "odd_parts": r"content|input|messages\[",
    "titles": r"filename|content\[\d+\]$",
    "detail": r"detail|content\[\d+\]$",  # or of a picture that is left out
    "names": r"name$",
    "cache": r"cache|content\[\d+\]$",
    "reasoning": r"reasoning|content\[\d+\]$",
    "proofs": r"signature|encrypted|reasoning|content\[\d+\]$",
    "tools": r"tools",
    "other_tools": r"tools",
    "tool_choice": r"tool_choice",
    "parallel": r"parallel",
    "max_tokens": r"max_tokens",
    "thinks": r"reasoning|thinking",
    "json": r"format|[sS]chema",
    "schema": r"format|[sS]chema",
    "n": r"^n$",
    "logprobs": r"logprobs",
    "top_logprobs": r"logprobs",
    "stop": r"stop",
}


# A document of words in the answer of a tool: beside it for Gemini 2, which takes text there as JSON only.
BESIDE = {
    "anthropic.anthropic-messages.e965940ef6934d",
    "bedrock.bedrock-converse.1b301e5c8d5bda",  # two texts in it, and a picture
    "bedrock.bedrock-converse.42d2a96bfa06f0",
    "bedrock.bedrock-converse.4733ab59317e9f",  # a text, and an object
}
# A file of words is a document of words for Bedrock, and is read as such; so is what was found in a search.
WORDS = {"files", "talk", "titles"}
FILES_OF_WORDS = {
    "openai.openai-responses.32da7d9dc79626",
    "anthropic.anthropic-messages.56a7161204dfdf",
    "gemini.gemini-generate.0d2dd3bf6b298e",
    "gemini.gemini-generate.20db7424858344",
    "gemini.gemini-generate.22ec3ec46dceb5",
    "gemini.gemini-generate.296e152a2e87a2",
    "gemini.gemini-generate.39ea4d5ea44a35",
    "gemini.gemini-generate.3e8207ce3bab63",
    "gemini.gemini-generate.58a43ae99927c7",
    "gemini.gemini-generate.bf7b5cb8eeeb47",
}
# A mark at a text of blanks, which Anthropic refuses: the text goes, and its mark with it.
BLANK = {"bedrock.bedrock-converse.5ab5edc0203bfc"}
# What Claude does anyhow is not said to it.
CLAUDE = {"temperature": 1, "top_p": 1, "thinks": False}


def lost(wanted, got, where):
    """The facets that did not arrive. What is said beside (a bound on tokens, a tool that was called before)
    changes nothing of what was asked."""
    for facet, value in wanted.items():
        there = got.get(facet)
        if facet in ("tools", "tool_choice") and wanted.get("tool_choice") == "none" and "tools" not in got:
            continue  # what may not be called is not offered
        if facet == "tools":
            there = value if all(tool in (there or []) for tool in value) else there
        if there is None and where in CLAUDES and facet in CLAUDE and CLAUDE[facet] == value:
            continue
        if there != value:
            yield facet


def untold(wanted, got, where, named):
    """Those of them that nobody named."""
    named = [name for name in named if name]
    for facet in lost(wanted, got, where):
        pattern = re.compile(TOLD.get(facet, re.escape(facet)))
        small = () if facet in ("cache", "proofs", "names", "detail", "titles") else ("cache_control", ".signature", ".citations", ".detail")
        if not any(pattern.search(name) and not name.endswith(small or "\0") for name in named):
            yield f"{facet}: {str(got.get(facet))[:200]} for {str(wanted[facet])[:200]}; named are {named}"


def translate(driver, words, body, to, target, model, stream):
    made = driver.ask(op="call", **{"from": words, "to": to}, body=body.hex(), model=model, stream=stream, target=target)
    if made["ok"]:
        made["body"] = bytes.fromhex(made["body"])
        made["named"] = [*made["demands"].split(","), *made["hints"].split(",")]
    return made


class Crossing:
    def __init__(self):
        self.there = {to: [] for to in TARGETS}
        self.back = {to: [] for to in TARGETS}
        self.refused, self.count, self.calls = [], 0, 0
        seen = set()
        with Driver() as self.driver:
            for record in records():
                body = json.dumps(record.asked).encode()
                if record.asked is None or record.words not in READERS or (record.words, body) in seen:
                    continue
                seen.add((record.words, body))
                self.calls += 1
                for to in TARGETS:
                    if not self.cross(record, body, to):
                        break

    def cross(self, record, body, to):
        model = record.model or "m" if record.words in IN_PATH else ""
        made = translate(self.driver, record.words, body, to, TARGETS[to], model, record.streaming)
        if not made["ok"]:
            self.refused.append((record, made["param"], made["message"]))
            return False
        self.count += 1
        wanted = asked(record.words, record.asked)
        if record.id in FILES_OF_WORDS and to == "bedrock-converse":
            wanted = {facet: value for facet, value in wanted.items() if facet not in WORDS}
        if record.id in BLANK and to in ("anthropic", "bedrock-invoke"):
            wanted.pop("cache")
        try:
            got = asked(to, json.loads(made["body"]))
        except ValueError as error:
            self.there[to].append(f"{record.id} is no JSON: {error}: {made['body'][max(0, getattr(error, 'pos', 0) - 200) :][:300]}")
            return True
        if record.id not in BESIDE or to != "gemini":
            self.there[to] += [f"{record.id} {one}" for one in untold(wanted, got, to, made["named"])]
        again = translate(self.driver, to, made["body"], record.words, TARGETS[record.words], "m" if to in IN_PATH else "", record.streaming)
        if not again["ok"] and record.status >= 400:
            return True  # there is nothing in it
        if not again["ok"]:
            self.back[to].append(f"{record.id} is refused on its way back: {again['param']}: {again['message']}")
            return True
        got = asked(record.words, json.loads(again["body"]))
        if record.id in BESIDE and to == "gemini":
            return True
        self.back[to] += [f"{record.id} {one}" for one in untold(wanted, got, to if to in CLAUDES else record.words, [*made["named"], *again["named"]])]
        return True


@pytest.fixture(scope="module")
def crossing():
    return Crossing()


@pytest.mark.parametrize("to", TARGETS)
def test_what_a_call_asks_for_arrives_or_is_named(crossing, to):
    assert not crossing.there[to], f"{len(crossing.there[to])}:\n" + "\n".join(crossing.there[to][:40])


@pytest.mark.parametrize("to", TARGETS)
def test_what_the_other_dialect_can_say_comes_back(crossing, to):
    assert not crossing.back[to], f"{len(crossing.back[to])}:\n" + "\n".join(crossing.back[to][:40])


def test_calls_that_cannot_be_read_are_those_that_their_provider_refused(crossing):
    """Or that need what their provider keeps: an earlier answer, an answer made later."""
    kept = ("background", "previous_response_id", "conversation")
    wrong = [f"{record.id} {record.status} {param}: {message}" for record, param, message in crossing.refused if record.status < 400 and param not in kept and not param.endswith(".id")]
    assert not wrong, "\n".join(wrong)
    assert len(crossing.refused) < 20


def test_all_recorded_calls_were_made(crossing):
    assert crossing.calls > 1900 and crossing.count > 9800
