# SPDX-License-Identifier: Apache-2.0
"""How much was surely admitted in a stretch of time, from what is known outside.

A call is admitted between the moment its client began and the moment its provider had it; both are of
the machine's monotonic clock. Calls whose client began and whose provider had them within a stretch were
admitted in it, for sure: so nothing here needs a tolerance.
"""

from collections import namedtuple

Made = namedtuple("Made", "label began_us at_us until_us input output")


def made_calls(calls, answers):
    """The provider's calls of `answers` (load.Answer), with when their clients began."""
    by_id = {answer.id: answer for answer in answers if answer.id}
    made = []
    for call in calls:
        answer = by_id.get(call["request_id"])
        if answer:
            made.append(Made(answer.model, round(answer.began * 1e6), call["at_us"], call["until_us"],
                             call["prompt_tokens"], call["completion_tokens"]))
    return made


def surely_within(made, window_us, weight=lambda call: 1):
    """The most that was surely admitted in any stretch as long as the window."""
    by_begin = sorted(made, key=lambda call: call.began_us)
    by_arrival = sorted(made, key=lambda call: call.at_us)
    most = held = arrived = 0
    for first in by_begin:
        while arrived < len(by_arrival) and by_arrival[arrived].at_us <= first.began_us + window_us:
            if by_arrival[arrived].began_us >= first.began_us:
                held += weight(by_arrival[arrived])
            arrived += 1
        most = max(most, held)
        if first.at_us <= first.began_us + window_us:
            held -= weight(first)
    return most


def at_once(made):
    """The most calls that the provider had at any moment; a call that ends makes room before another comes."""
    moments = sorted([(call.at_us, 1) for call in made] + [(call.until_us, -1) for call in made])
    most = running = 0
    for _, step in moments:
        running += step
        most = max(most, running)
    return most


def steady_share(made, amount, window_us, weight=lambda call: 1):
    """The share of the amount that was used between the end of the first window and the last whole one."""
    begin = min(call.at_us for call in made) + window_us
    windows = (max(call.at_us for call in made) - begin) // window_us
    assert windows >= 2, "too short to say"
    used = sum(weight(call) for call in made if begin <= call.at_us < begin + windows * window_us)
    return used / (amount * windows)
