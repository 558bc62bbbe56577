# SPDX-License-Identifier: Apache-2.0
"""`make cover`: which lines the unit tests and the flow tests run, by file.

Builds with gcc's counters into build-cover, runs both suites there and prints a table, the least
covered first. A file that nothing ran counts with 0. Lines of a process that was killed with SIGKILL
are not counted.
"""

import gzip
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import suites  # noqa: E402

COVER = ("build-cover", ["COVER=1"])
PARTS = ("gateway", "providers", "policy", "routing", "deploy")


def forget_old_counts():
    for counts in (ROOT / "build-cover").rglob("*.gcda"):
        counts.unlink()


def lines_of_objects():
    """{file: {line: runs}} over every object file."""
    lines = {}
    notes = [str(path) for part in PARTS for path in (ROOT / "build-cover" / part).rglob("*.gcno")]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["gcov", "--json-format", "--preserve-paths", *notes], cwd=folder, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for report in Path(folder).glob("*.gcov.json.gz"):
            for file in json.loads(gzip.decompress(report.read_bytes()))["files"]:
                if not file["file"].startswith(PARTS):
                    continue
                seen = lines.setdefault(file["file"], {})
                for line in file["lines"]:
                    number = line["line_number"]
                    seen[number] = max(seen.get(number, 0), line["count"])
    return lines


def main():
    suites.RESULTS.mkdir(parents=True, exist_ok=True)
    suites.become_reaper()
    broken = suites.build(COVER, "all")
    if broken:
        sys.exit(broken.failures[0][1])
    forget_old_counts()
    count = suites.unit(COVER).add(suites.run_pytest("flow", COVER, minutes=20, test_seconds=300))
    suites.end_leftovers()
    rows = []
    for name, lines in lines_of_objects().items():
        ran = sum(1 for runs in lines.values() if runs)
        rows.append((ran / len(lines) if lines else 1, ran, len(lines), name))
    rows.sort()
    print("covered   lines  file")
    for share, ran, all_lines, name in rows:
        print(f"{100 * share:6.1f} %  {all_lines:5}  {name}")
    ran, all_lines = sum(row[1] for row in rows), sum(row[2] for row in rows)
    print(f"{100 * ran / max(1, all_lines):6.1f} %  {all_lines:5}  all")
    if count.failures:
        print(f"{len(count.failures)} tests failed meanwhile: " + ", ".join(name for name, _ in count.failures))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
