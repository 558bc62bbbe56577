# SPDX-License-Identifier: Apache-2.0
"""A call costs no more instructions than is recorded in bench/guard/instructions.json, give or take 3 %."""

import subprocess
import sys
from pathlib import Path

import pytest
from harness import BINARY, ROOT

sys.path.insert(0, str(ROOT / "bench" / "guard"))

import measure  # noqa: E402
import rows  # noqa: E402
from figures import PERCENT_MORE, PERCENT_MORE_ELSEWHERE, Figure, Record, difference  # noqa: E402
from run import RECORD, count  # noqa: E402

RECORDED = Record.read(RECORD)
TOOLS = {"compiler": "one"}


@pytest.mark.parametrize("row", rows.ROWS, ids=lambda row: row.name)
def test_a_row_costs_what_is_recorded(row):
    tools = measure.tools(BINARY)
    assert row.name in RECORDED.rows, "not recorded: make guard UPDATE=1"
    figure = count(row, BINARY, enough=RECORDED.most(row.name, tools))
    words = difference(row.name, RECORDED.rows[row.name], figure)
    print("\n".join(words))
    assert not RECORDED.exceeded(row.name, figure, tools), "\n".join(words)


def test_nothing_is_recorded_that_is_not_counted():
    assert set(RECORDED.rows) == {row.name for row in rows.ROWS}


def test_a_slower_worker_is_noticed_and_named(tmp_path):
    """Some thousand instructions each time that the worker waits for events: two or three times for a call."""
    slower = tmp_path / "slower.so"
    subprocess.run(["gcc", "-O1", "-g", "-D_GNU_SOURCE", "-shared", "-fPIC", Path(__file__).with_name("slower.c"),
                    "-o", slower], check=True)
    row = next(row for row in rows.ROWS if row.name == "chat")
    plain, slowed = count(row, BINARY), count(row, BINARY, preload=slower)
    record = Record(TOOLS, {row.name: plain})
    assert record.exceeded(row.name, slowed, TOOLS)
    worst = difference(row.name, plain, slowed)[1]
    assert worst.endswith("  slower:epoll_wait") and "+" in worst, worst


# ------------------------------------------------------------------------- what is said of figures


def record_of(instructions, **functions):
    return Record(TOOLS, {"row": Figure(instructions, functions)})


def test_three_percent_are_let_pass_and_no_more():
    record = record_of(10_000)
    assert not record.exceeded("row", Figure(10_000 + 100 * PERCENT_MORE, {}), TOOLS)
    assert record.exceeded("row", Figure(10_001 + 100 * PERCENT_MORE, {}), TOOLS)


def test_other_tools_are_given_more_room_but_not_all():
    record, other = record_of(10_000), {"compiler": "another"}
    assert not record.exceeded("row", Figure(10_000 + 100 * PERCENT_MORE_ELSEWHERE, {}), other)
    assert record.exceeded("row", Figure(10_001 + 100 * PERCENT_MORE_ELSEWHERE, {}), other)


def test_a_record_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "record.json"
    record_of(1000.5, scan=700.1, copy=300.4).write(path)
    read = Record.read(path)
    assert read.tools == TOOLS and vars(read.rows["row"]) == {
        "instructions": 1000.5, "functions": {"scan": 700.1, "copy": 300.4}}


def test_the_difference_names_who_grew_came_and_went():
    old, new = Figure(1000, {"scan": 500, "copy": 300, "gone": 200}), Figure(1300, {"scan": 900, "copy": 300, "new": 100})
    assert difference("row", old, new) == [
        "row: 1,000 -> 1,300 instructions (+30.0 %)",
        "      +400.0       500.0 ->      900.0  scan",
        "      -200.0       200.0 ->        0.0  gone",
        "       +97.0        <3.0 ->      100.0  new",
    ]


def test_small_functions_are_left_out_of_the_record():
    figure = Figure.of({"large": 999.0, "small": 1.0})
    assert figure.for_record() == {"instructions": 1000.0, "functions": {"large": 999.0}}
