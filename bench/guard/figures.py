# SPDX-License-Identifier: Apache-2.0
"""The recorded figures, and how new ones differ from them."""

import json

SHARE = 0.003  # of a row: a function below it is not recorded
PERCENT_MORE = 3  # that a row may cost before the guard fails
PERCENT_MORE_ELSEWHERE = 25  # the same where compiler, libraries or machine are not those of the record
SHOWN = 15  # functions in a difference


class Figure:
    """What a unit of a row costs: instructions, and {function: instructions}."""

    def __init__(self, instructions, functions):
        self.instructions, self.functions = instructions, functions

    @classmethod
    def of(cls, costs):
        return cls(sum(costs.values()), costs)

    def for_record(self):
        least = self.instructions * SHARE
        named = sorted(self.functions.items(), key=lambda item: (-item[1], item[0]))
        return {"instructions": round(self.instructions, 1),
                "functions": {name: round(count, 1) for name, count in named if count >= least}}


class Record:
    """bench/guard/instructions.json: {"tools": {…}, "rows": {row: {"instructions": …, "functions": {…}}}}."""

    def __init__(self, tools, rows):
        self.tools, self.rows = tools, rows

    @classmethod
    def read(cls, path):
        if not path.exists():
            return cls({}, {})
        stored = json.loads(path.read_text())
        return cls(stored["tools"], {name: Figure(**row) for name, row in stored["rows"].items()})

    def write(self, path):
        rows = {name: figure.for_record() for name, figure in self.rows.items()}
        path.write_text(json.dumps({"tools": self.tools, "rows": rows}, indent=1) + "\n")

    def percent_more(self, tools):
        return PERCENT_MORE if tools == self.tools else PERCENT_MORE_ELSEWHERE

    def most(self, name, tools):
        """That a row may cost with these tools, or None when there is no record of it."""
        old = self.rows.get(name)
        return old and old.instructions * (100 + self.percent_more(tools)) / 100

    def exceeded(self, name, figure, tools):
        most = self.most(name, tools)
        return most is not None and figure.instructions > most


def percent(old, new):
    return (new - old) * 100 / old


def difference(name, old, new):
    """Lines for people, and for the body of a commit that raises a figure: the row, and who made it."""
    if not old:
        return [f"{name}: {new.instructions:,.0f}, not recorded before"]
    lines = [f"{name}: {old.instructions:,.0f} -> {new.instructions:,.0f} instructions "
             f"({percent(old.instructions, new.instructions):+.1f} %)"]
    least = old.instructions * SHARE
    before = {each: min(count, least) for each, count in new.functions.items()}  # at most, where it is not recorded
    before.update(old.functions)
    changes = {each: new.functions.get(each, 0) - count for each, count in before.items()}
    told = sorted((each for each in changes if abs(changes[each]) >= least / 3), key=lambda each: -abs(changes[each]))
    for each in told[:SHOWN]:
        was = f"{before[each]:,.1f}" if each in old.functions else f"<{least:,.1f}"
        lines.append(f"  {changes[each]:+10,.1f}  {was:>10} -> {new.functions.get(each, 0):10,.1f}  {each}")
    if len(told) > SHOWN:
        lines.append(f"  ... and {len(told) - SHOWN} others")
    return lines
