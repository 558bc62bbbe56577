#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`make guard`: how many instructions does the worker run for a call, or for a chunk of a stream?

    bench/guard/run.py                  count, compare with instructions.json, 1 if a row grew too much
    bench/guard/run.py --row chat       only this row (again and again for more)
    bench/guard/run.py --update         record what was counted, and say what changed
    bench/guard/run.py --functions 20   show the dearest functions too

SLUICE_BINARY names another build than build/sluice. bench/README.md says more.
"""

import argparse
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import callgrind  # noqa: E402
import lockstep  # noqa: E402
import measure  # noqa: E402
import rows  # noqa: E402
from figures import Figure, Record, difference  # noqa: E402

RECORD = HERE / "instructions.json"
TRIES = 3
BINARY = Path(os.environ.get("SLUICE_BINARY", HERE.parent.parent / "build" / "sluice"))


def count(row, binary=BINARY, preload=None, enough=None):
    """The Figure of a row. Disturbance only makes dearer, so what is above <enough> is counted again."""
    least = None
    for _ in range(TRIES if enough else 1):
        with measure.Bench(binary, row.store, preload) as bench:
            figure = Figure.of(bench.costs(row))
        if not least or figure.instructions < least.instructions:
            least = figure
        if enough and least.instructions <= enough:
            break
    return least


def show(record, row, figure, functions):
    old = record.rows.get(row.name)
    print("\n".join(difference(row.name, old, figure)), flush=True)
    for name, each in sorted(figure.functions.items(), key=lambda item: -item[1])[:functions]:
        print(f"    {each:12,.1f}  {name}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--row", action="append", choices=[row.name for row in rows.ROWS])
    parser.add_argument("--update", action="store_true")
    parser.add_argument("--functions", type=int, default=0, metavar="N")
    options = parser.parse_args()
    record, tools, grown, counted = Record.read(RECORD), measure.tools(BINARY), [], {}
    limit = record.percent_more(tools)
    if record.tools and tools != record.tools:
        print(f"recorded with {record.tools}\ncounted with  {tools}\nso {limit} % more are let pass")
    try:
        for row in rows.ROWS:
            if options.row and row.name not in options.row:
                continue
            figure = counted[row.name] = count(row, enough=record.most(row.name, tools))
            show(record, row, figure, options.functions)
            if record.exceeded(row.name, figure, tools):
                grown.append(row.name)
    except (callgrind.Failed, lockstep.Broken) as failed:
        sys.exit(f"guard: {failed}")
    if options.update:
        kept = record.rows if options.row and tools == record.tools else {}
        Record(tools, {**kept, **counted}).write(RECORD)
        print(f"recorded in {RECORD}; what is above belongs into the commit's message where a figure rose")
    elif grown:
        sys.exit(f"guard: more than {limit} % dearer than recorded: {', '.join(grown)}")


if __name__ == "__main__":
    main()
