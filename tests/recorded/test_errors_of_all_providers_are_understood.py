# SPDX-License-Identifier: Apache-2.0
"""Every recorded error of every provider: what kind it is goes by its status, and its words are kept."""

import json

from translators import FILES, FOLDER, Driver

WORDS = dict(FILES)  # a dialect of the recordings: its translator
KEY_TROUBLE = {401, 402, 403}


def errors():
    for name in [*FILES, "errors-transcribed"]:
        with open(FOLDER / f"{name}.jsonl", encoding="utf-8") as lines:
            for line in map(json.loads, lines):
                if line["response"]["status"] >= 400 and line["dialect"] in WORDS:
                    yield line


def kinds(status, body):
    """What it may be taken for. Trouble with our key is ours, not the client's."""
    if status in (429, 529):
        return {"target_busy"}
    if status >= 500:
        return {"target_error"}
    if status in KEY_TROUBLE or "api key" in body.lower():
        return {"target_error"}
    if status == 413:
        return {"target_busy", "target_refused"}
    return {"target_refused"}


def words_of(body):
    """All strings that stand anywhere in the body."""
    try:
        value = json.loads(body)
    except ValueError:
        return [body]
    found, left = [], [value]
    while left:
        one = left.pop()
        if isinstance(one, str):
            found.append(one)
        elif isinstance(one, (dict, list)):
            left += one.values() if isinstance(one, dict) else one
    return found


def test_every_error_is_understood():
    wrong, count = [], 0
    with Driver() as driver:
        for line in errors():
            status, body = line["response"]["status"], line["response"]["body"]
            made = driver.ask(op="error", **{"from": WORDS[line["dialect"]]}, status=status, body=body.encode().hex())
            count += 1
            if made["fault"] not in kinds(status, body):
                wrong.append(f"{line['id']} {status}: {made['fault']}: {body[:200]}")
            if body.strip() and not made["message"]:
                wrong.append(f"{line['id']} {status}: no message of {body[:200]}")
            said = made["message"].split(": ", 1)[-1][:40]
            if made["fault"] != "target_error" and not any(said in one for one in words_of(body)):
                wrong.append(f"{line['id']} {status}: {made['message'][:200]!r} is not what {body[:200]} says")
    assert not wrong, f"{len(wrong)}:\n" + "\n".join(wrong[:20])
    assert count > 170
