# SPDX-License-Identifier: Apache-2.0
"""Every recorded count of tokens, told to clients of all dialects that ask for one."""

import json

from translators import FOLDER, Driver

COUNTS = {
    ("anthropic-messages", "count_tokens"): ("anthropic-count", "input_tokens"),
    ("gemini-generate", "countTokens"): ("gemini-count", "totalTokens"),
}


def test_a_count_is_the_same_number_everywhere():
    count = 0
    with Driver() as driver:
        for (name, endpoint), (words, said) in COUNTS.items():
            with open(FOLDER / f"{name}.jsonl", encoding="utf-8") as lines:
                found = [line["response"] for line in map(json.loads, lines) if line["endpoint"] == endpoint]
            for answer in (one for one in found if one["status"] == 200):
                for to, told in (*COUNTS.values(), ("openai-count", "input_tokens")):
                    made = driver.ask(
                        op="answer",
                        **{"from": words, "to": to},
                        body=answer["body"].encode().hex(),
                        stream_in=False,
                        stream_out=False,
                        request=b"{}".hex(),
                        model="m",
                        wants_usage=True,
                    )
                    assert made["state"] == "ended"
                    assert json.loads(bytes.fromhex(made["out"]))[told] == json.loads(answer["body"])[said]
                    count += 1
    assert count >= 36
