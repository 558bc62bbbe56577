# SPDX-License-Identifier: Apache-2.0
"""The losses of answers that docs/LOSSES.md lists, done to what an answer means.

Each row of its table "Answers, loss by loss" has a function here by its name, which takes the meaning
of an answer and leaves out what the client's dialect cannot say. That it changed something is noted:
a loss that never occurs in any recording does not belong in the table.
"""

import re

from translators import ROOT

PAGE = ROOT / "docs" / "LOSSES.md"


def table():
    """{client's dialect: [names of losses, in the order of the table]}"""
    text = PAGE.read_text(encoding="utf-8").split("## Answers, loss by loss", 1)[1].split("\n## ", 1)[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    clients = [cell.strip("`") for cell in rows[0][2:]]
    out = {client: [] for client in clients}
    for row in rows[2:]:
        name = re.fullmatch(r"`(\w+)`", row[0])[1]
        for client, cell in zip(clients, row[2:], strict=True):
            if cell:
                out[client].append(name)
    return out


def other_choices(form):
    form["choices"] = form["choices"][:1]


def _each(what):
    def of(form):
        for choice in form["choices"]:
            what(choice)

    return of


@_each
def refusal_text(choice):
    choice["text"] += choice["refusal"]
    choice["refusal"] = ""


@_each
def refusal_end(choice):
    if choice["finish"] == "refusal" and not choice["refusal"]:
        choice["finish"] = "filter"


@_each
def filter_end(choice):
    if choice["finish"] == "filter":
        choice["finish"] = "refusal"


@_each
def any_end(choice):
    if choice["finish"] in ("refusal", "filter", "error"):
        choice["finish"] = "stop"


@_each
def moderated_end(choice):
    if choice["finish"] in ("refusal", "filter"):
        choice["finish"] = "stop"


@_each
def sequence_end(choice):
    if choice["finish"] == "sequence":
        choice["finish"] = "stop"


@_each
def pause_end(choice):
    if choice["finish"] == "pause":
        choice["finish"] = "stop"


@_each
def calls(choice):
    choice["calls"] = []
    if choice["finish"] == "calls":
        choice["finish"] = "stop"


@_each
def reasoning(choice):
    choice["reasoning"] = ""


@_each
def sealed(choice):
    choice["proofs"] = [one for one in choice["proofs"] if one not in choice["_sealed"]]


@_each
def signatures(choice):
    choice["proofs"] = [one for one in choice["proofs"] if one in choice["_sealed"]]


@_each
def text_signatures(choice):
    choice["proofs"] = [one for one in choice["proofs"] if one not in choice["_of_text"]]


@_each
def citations(choice):
    choice["urls"] = []


@_each
def images(choice):
    choice["images"] = []


@_each
def sound(choice):
    choice["sound"] = ""


@_each
def spoken_words(choice):
    choice["text"] = choice["text"].removesuffix(choice["_spoken"])


@_each
def words_end(choice):
    if choice["finish"] == "refusal" and choice["refusal"]:
        choice["finish"] = choice["_ended"]


@_each
def other_signatures(choice):
    choice["proofs"] = [one for one in choice["proofs"] if one not in choice["_of_other"]]


def counted_twice(form):
    usage = form["usage"]
    if usage:
        form["usage"] = dict(usage, written=min(usage["written"], usage["input"] - usage["cached"]))


def cache_writes(form):
    if form["usage"]:
        form["usage"] = dict(form["usage"], written=0)


def cache_reads(form):
    if form["usage"]:
        form["usage"] = dict(form["usage"], cached=0)


def reasoning_tokens(form):
    if form["usage"]:
        form["usage"] = dict(form["usage"], reasoning=0)


def no_usage(form):
    form["usage"] = form["usage"] or {"input": 0, "cached": 0, "written": 0, "output": 0, "reasoning": 0}


def without(form, names, occurred):
    """The form without these; each that changed something is noted in <occurred>."""
    for name in names:
        before, form = form, {"choices": [dict(choice) for choice in form["choices"]], "usage": form["usage"]}
        globals()[name](form)
        if name not in occurred and form != before:
            occurred.add(name)
    return form


def shown(form):
    """What is compared: without what only the losses look at."""
    choices = [{name: value for name, value in choice.items() if not name.startswith("_")} for choice in form["choices"]]
    return {"choices": choices, "usage": form["usage"]}
