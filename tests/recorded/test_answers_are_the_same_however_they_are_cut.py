# SPDX-License-Identifier: Apache-2.0
"""What is made of an answer does not depend on how it comes: byte by byte, cut at random, or whole."""

import os
import random

import pytest
from translators import CLIENTS, Driver, records

BYTEWISE_MAX = 8000  # longer bodies are fed byte by byte for one client only, each in turn
SEED = int(os.environ.get("CUTS_SEED", "20"))


def cuts(chance, length):
    return sorted(chance.sample(range(length), min(length, chance.randint(1, 40))))


@pytest.mark.parametrize("stream_out", [True, False], ids=["streamed", "whole"])
def test_cuts_change_nothing(stream_out):
    print(f"CUTS_SEED={SEED}")
    chance, wrong, count = random.Random(SEED), [], 0
    with Driver() as driver:
        for place, record in enumerate(one for one in records() if one.status == 200):
            for turn, to in enumerate(CLIENTS):
                plain = driver.answer(record, to, stream_out)
                ways = [{"cuts": cuts(chance, len(record.body))}]
                if len(record.body) <= BYTEWISE_MAX or place % len(CLIENTS) == turn:
                    ways.append({"each": 1})
                for way in ways:
                    count += 1
                    made = driver.answer(record, to, stream_out, **way)
                    if made["state"] != "failed" or plain["state"] != "failed":
                        made.pop("end_at"), plain.pop("end_at", None)  # it is of the last piece
                        if made != plain:
                            wrong.append(f"{record.id} to {to} {way}")
    assert not wrong, f"CUTS_SEED={SEED}, {len(wrong)} of {count}:\n" + "\n".join(wrong[:20])
    assert count > 10000
