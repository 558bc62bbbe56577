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
from figures import Figure, Record, difference, exceeds  # noqa: E402

RECORD = HERE / "instructions.json"
BINARY = Path(os.environ.get("SLUICE_BINARY", HERE.parent.parent / "build" / "sluice"))


def count(names, binary):
    """Yields (row, Figure); rows with the same store share a gateway."""
    for store in rows.STORES:
        wanted = [row for row in rows.ROWS if row.store == store and row.name in names]
        if wanted:
            with measure.Bench(binary, store) as bench:
                for row in wanted:
                    yield row, Figure.of(bench.costs(row))


def show(record, row, figure, functions):
    old = record.rows.get(row.name)
    print("\n".join(difference(row.name, old, figure)), flush=True)
    for name, each in list(figure.functions.items())[:functions]:
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
        for row, figure in count(options.row or [row.name for row in rows.ROWS], BINARY):
            show(record, row, figure, options.functions)
            counted[row.name] = figure
            if row.name in record.rows and exceeds(record.rows[row.name], figure, limit):
                grown.append(row.name)
    except (callgrind.Failed, lockstep.Broken) as failed:
        sys.exit(f"guard: {failed}")
    if options.update:
        Record(tools, {**record.rows, **counted}).write(RECORD)
        print(f"recorded in {RECORD}; what is above belongs into the commit's message where a figure rose")
    elif grown:
        sys.exit(f"guard: more than {limit} % dearer than recorded: {', '.join(grown)}")


if __name__ == "__main__":
    main()
