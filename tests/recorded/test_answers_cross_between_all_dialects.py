# SPDX-License-Identifier: Apache-2.0
"""Every recorded good answer, told to a client of every dialect, streamed and whole: what it means is
what the provider said, without the losses that docs/LOSSES.md lists and no others.
"""

import meaning
import pytest
from losses import shown, table, without
from translators import CLIENTS, NAMES, Driver, records


def differences(wanted, got, at=""):
    """Where two meanings are not the same, in words."""
    if isinstance(wanted, dict) and isinstance(got, dict):
        for name in wanted:
            yield from differences(wanted[name], got.get(name), f"{at}.{name}")
    elif isinstance(wanted, list) and isinstance(got, list) and len(wanted) == len(got):
        for i, pair in enumerate(zip(wanted, got)):
            yield from differences(*pair, f"{at}[{i}]")
    elif wanted != got:
        yield f"{at}: {str(got)[:160]!r} for {str(wanted)[:160]!r}"


def judge(driver, record, said, wanted, to, stream_out):
    made = driver.answer(record, to, stream_out)
    if not said.whole():
        return [] if made["state"] == "failed" else ["the provider's answer is not whole, ours is"]
    if made["state"] != "ended":
        return [f"{made['state']}: {made.get('message')}"]
    try:
        got = meaning.answer(to, made["out"], stream_out)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"cannot be read: {error!r}: {made['out'][:200]!r}"]
    if not got.whole():
        return ["ours is not whole"]
    return list(differences(wanted, shown(got.form())))


class Crossing:
    """All of them, once: what was wrong, by the client's dialect; which losses occurred."""

    def __init__(self):
        self.wrong = {to: [] for to in CLIENTS}
        self.occurred = {to: set() for to in CLIENTS}
        self.count, self.unfinished = 0, 0
        lost = table()
        with Driver() as driver:
            for record in records():
                if record.status != 200:
                    continue
                said = meaning.answer(record.dialect, record.body, record.is_stream)
                form = said.form()
                self.unfinished += not said.whole()
                for to in CLIENTS:
                    wanted = shown(without(form, lost[to], self.occurred[to]))
                    for stream_out in (False, True):
                        self.count += 1
                        found = judge(driver, record, said, wanted, to, stream_out)
                        form_out = "streamed" if stream_out else "whole"
                        self.wrong[to] += [f"{record.id} {form_out} {one}" for one in found]


@pytest.fixture(scope="module")
def crossing():
    return Crossing()


@pytest.mark.parametrize("to", CLIENTS)
def test_a_client_of_any_dialect_gets_what_every_provider_said(crossing, to):
    wrong = crossing.wrong[to]
    assert not wrong, f"{len(wrong)}:\n" + "\n".join(wrong[:20])


def test_no_dialect_is_left_out():
    """But those who answer like another: Mistral's; Monster's two, which say nothing but texts; the counts of tokens; embeddings and rankings."""
    assert NAMES - set(CLIENTS) == {"mistral-chat", "monster", "monster-endpoint", "anthropic-count", "gemini-count", "bedrock-count", "openai-count"} | {
        "openai-embedding", "gemini-embedding", "ollama-embedding", "cohere-embedding", "openai-ranking", "cohere-ranking", "nvidia-ranking"}


def test_all_recordings_were_told(crossing):
    assert crossing.count >= 21000
    assert 0 < crossing.unfinished < 60  # broken off, or an error within the stream


@pytest.mark.parametrize("to", CLIENTS)
def test_each_loss_of_the_table_is_seen(crossing, to):
    assert crossing.occurred[to] == set(table()[to])
