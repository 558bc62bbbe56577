#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs every suite, or those that are named, and ends with `N passed, N failed`.

    tests/suites.py              all
    tests/suites.py unit flow    these two

Suites are found by convention: tests/unit/**/*_test.c, tests/fuzz/*_fuzz.c, and a pytest folder for
each of flow, hostile, recorded, clients, redis, store, launch, chaos, packaging. A skipped test counts
as failed: what a test needs is installed, not guessed at. So does one that hangs, a suite that runs
out of its time, and a process that a suite leaves running.

Environment: FUZZ_SECONDS (60) for each fuzz target, TEST_MINUTES (80) for the whole.
"""

import ctypes
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "build" / "results"  # logs and reports of the last run
VENV = ROOT / ".venv" / "test"
FUZZ_SECONDS = int(os.environ.get("FUZZ_SECONDS", "60"))
DEADLINE = time.monotonic() + 60 * float(os.environ.get("TEST_MINUTES", "80"))
CORES = os.cpu_count() or 2
TAIL_LINES = 40
UNSTEADY_MAX = 12  # so many failures may be asked about again; more are no accident
TOLD, LINE_WIDTH = 20, 400  # failures of a suite that are shown in full, and how wide
OUR_PACKAGES = ["pytest", "pytest-timeout", "pytest-xdist"]
AT_ONCE = 3  # files of the folders below that are tested at once: their tests mostly wait
PARALLEL = ("flow", "hostile", "recorded", "redis", "launch")

RELEASE = ("build", [])
ASAN = ("build-address-undefined", ["SAN=address,undefined"])
TSAN = ("build-thread", ["SAN=thread"])
CLANG = ("build-clang", ["CC=clang"])
FUZZ = ("build-fuzz", ["FUZZ=1", "CC=clang"])

# How a reporting sanitizer ends a unit test; the pytest harness sets its own.
SANITIZER_OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}


class Count:
    """What a suite found: how many passed, and a few lines on each that failed."""

    def __init__(self, passed=0, failures=()):
        self.passed = passed
        self.failures = list(failures)  # (name, words)

    def add(self, other):
        self.passed += other.passed
        self.failures += other.failures
        return self


def fail(name, words):
    return Count(0, [(name, words)])


def say(words):
    print(words, flush=True)


# ----------------------------------------------------------------------- running a command


def environment(**extra):
    """Ours, without what a calling make left in it, which would bend the builds."""
    gone = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "SAN", "CC", "CFLAGS", "COVER", "FUZZ",
            "SUITE")
    env = {name: value for name, value in os.environ.items() if name not in gone}
    env.update(SANITIZER_OPTIONS)
    env.update(PYTHONDONTWRITEBYTECODE="1", PYTHONUNBUFFERED="1", **extra)
    return env


def tail(log, lines=TAIL_LINES):
    text = log.read_text(errors="replace") if log.exists() else ""
    return "\n".join(text.splitlines()[-lines:])


def run(command, log, seconds, env=None, progress=None):
    """Run with all output in <log>; its exit status, or None when it took too long and was killed."""
    seconds = min(seconds, max(5, DEADLINE - time.monotonic()))
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "wb") as out:
        child = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT,
                                 stdin=subprocess.DEVNULL, env=env or environment(),
                                 start_new_session=True)
    begun = time.monotonic()
    next_word = 30
    while True:
        try:
            return child.wait(timeout=1)
        except subprocess.TimeoutExpired:
            pass
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)
            raise
        spent = time.monotonic() - begun
        if progress and spent > next_word:
            say(f"    … {progress(log)}, {spent:.0f} s")
            next_word += 30
        if spent > seconds:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            return None


def become_reaper():
    """Orphans of our children become ours, so that none outlives its suite."""
    pr_set_child_subreaper = 36
    ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0)


def children():
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text()
        except OSError:
            continue
        name = words[words.index("(") + 1 : words.rindex(")")]
        state, parent = words[words.rindex(")") + 2 :].split()[:2]
        if int(parent) == os.getpid():
            found.append((int(stat.parent.name), name, state))
    return found


def end_leftovers():
    """Kill the children that are still there, and theirs; their names."""
    left = []
    for _ in range(10):  # the children of the killed come to us in turn
        alive = children()
        if not alive:
            break
        for pid, name, state in alive:
            if state != "Z":
                left.append(name)
                os.kill(pid, signal.SIGKILL)
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:
                pass
    return left


def shepherd(leftovers, command):
    """Run a command as a process of its own that buries orphans at once, as init does: a test may look
    whether a process is gone. What outlives the command is killed, and named in <leftovers>."""
    become_reaper()
    child = os.spawnvp(os.P_NOWAIT, command[0], command)
    while True:
        pid, status = os.wait()
        if pid == child:
            break
    time.sleep(0.5)  # for what is just about to end
    Path(leftovers).write_text("\n".join(sorted(set(end_leftovers()))))
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


# ----------------------------------------------------------------------- building

_built = {}


def build(variant, *targets):
    """Build once; None, or the failure."""
    folder, settings = variant
    missing = [target for target in targets if (folder, target) not in _built]
    if missing:
        log = RESULTS / f"make-{folder}-{'-'.join(missing)}.log"
        say(f"    building {folder}: {' '.join(missing)}")
        status = run(["make", f"-j{CORES}", *settings, *missing], log, 900,
                     progress=lambda log: f"{log.read_bytes().count(b'cc ')} files compiled")
        words = None if status == 0 else f"make {' '.join(settings + missing)}:\n{tail(log)}"
        for target in missing:
            _built[(folder, target)] = words
    for target in targets:
        if _built[(folder, target)]:
            return fail(f"build {folder}", _built[(folder, target)])
    return None


# ----------------------------------------------------------------------- unit tests


def no_layout_randomness(variant):
    """ThreadSanitizer of gcc 12 cannot bear every address layout."""
    return ["setarch", "-R"] if variant is TSAN and shutil.which("setarch") else []


def run_unit(variant, source):
    folder, _ = variant
    binary = ROOT / folder / source.relative_to(ROOT).with_suffix("")
    name = str(source.relative_to(ROOT).with_suffix(""))
    log = RESULTS / folder / f"{name.replace('/', '.')}.log"
    status = run([*no_layout_randomness(variant), str(binary)], log, 180,
                 environment(CMOCKA_MESSAGE_OUTPUT="TAP"))
    text = log.read_text(errors="replace")
    passed = len(re.findall(r"^ok \d+", text, re.M))
    failed = re.findall(r"^not ok \d+ (?:- |# )?(.*)", text, re.M)  # "# SKIP name" too
    if failed:
        return Count(passed, [(f"{name} {each}", tail(log, 15)) for each in failed])
    if status != 0:
        how = "took too long" if status is None else f"ended with status {status}"
        return Count(passed, [(name, f"{how}\n{tail(log)}")])
    return Count(passed) if passed else fail(name, "ran no test")


def unit(variant=RELEASE):
    sources = sorted((ROOT / "tests" / "unit").rglob("*_test.c"))
    if not sources:
        return Count()
    broken = build(variant, "units")
    if broken:
        return broken
    with ThreadPoolExecutor(CORES) as pool:
        counts = pool.map(lambda source: run_unit(variant, source), sources)
    total = Count()
    for count in counts:
        total.add(count)
    return total


# ----------------------------------------------------------------------- pytest folders


def make_venv():
    """A private Python with what the tests ask for; None, or the failure."""
    wanted = sorted((ROOT / "tests").rglob("requirements.txt"))
    words = " ".join(OUR_PACKAGES).encode() + b"".join(path.read_bytes() for path in wanted)
    mark = hashlib.sha256(words).hexdigest()
    stamp = VENV / "stamp"
    if stamp.exists() and stamp.read_text() == mark:
        return None
    say("    installing the tests' Python packages")
    log = RESULTS / "venv.log"
    shutil.rmtree(VENV, ignore_errors=True)
    if run([sys.executable, "-m", "venv", str(VENV)], log, 120) != 0:
        return fail("python venv", tail(log))
    command = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", *OUR_PACKAGES]
    for path in wanted:
        command += ["-r", str(path)]
    if run(command, log, 600) != 0:
        return fail("pip install", tail(log))
    stamp.write_text(mark)
    return None


def read_junit(report, suite):
    count, seen = Count(), set()
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        name = f"{case.get('classname', '')}::{case.get('name', '')}"
        bad = next((each for each in case if each.tag in ("failure", "error", "skipped")), None)
        if bad is None:
            count.passed += 1
        elif name in seen:  # its teardown failed too
            continue
        elif bad.tag == "skipped":
            count.failures.append((name, f"skipped: {bad.get('message', '')}"))
        else:
            count.failures.append((name, (bad.text or bad.get("message", ""))[-3000:]))
        if bad is not None:
            seen.add(name)
    if not count.passed and not count.failures:
        return fail(suite, "collected no test")
    return count


def pytest_progress(log):
    text = log.read_text(errors="replace")
    return f"{len(re.findall(r' PASSED', text))} passed, {len(re.findall(r' (?:FAILED|ERROR)', text))} failed"


def run_pytest(folder, variant=RELEASE, minutes=12, test_seconds=120, extra=()):
    """One folder of tests against one build. A machine that others use too can make a test late: the
    files of a few that failed are run once more, alone. What passes then counts, and is named as
    unsteady, so that it is seen; what fails twice has failed."""
    count = run_pytest_once(folder, variant, minutes, test_seconds, extra)
    names = {name for name, _ in count.failures}
    if not names or len(names) > UNSTEADY_MAX or not all("::" in name for name in names):
        return count
    files = sorted({ROOT / "tests" / (name.split("::")[0].replace(".", "/") + ".py") for name in names})
    if not all(file.exists() for file in files):
        return count
    again = run_pytest_once(folder, variant, minutes, test_seconds, extra, files)
    if any("::" not in name for name, _ in again.failures):
        return count
    still = {name for name, _ in again.failures}
    for name in sorted(names - still):
        say(f"    unsteady: {name}")
    return Count(count.passed + len(names - still), [each for each in count.failures if each[0] in still])


def run_pytest_once(folder, variant, minutes, test_seconds, extra, only=()):
    path = ROOT / "tests" / folder
    if not any(path.glob("**/test_*.py")) and not any(path.glob("**/*_test.py")):
        return Count()
    broken = build(variant, "all", "fakes") or make_venv()
    if broken:
        return broken
    name = folder if variant is RELEASE else f"{folder}-{variant[0]}"
    if only:
        name += "-again"
    report, log = RESULTS / f"{name}.xml", RESULTS / f"{name}.log"
    leftovers = RESULTS / f"{name}.leftovers"
    report.unlink(missing_ok=True)
    leftovers.unlink(missing_ok=True)
    python = str(VENV / "bin" / "python")
    command = [*no_layout_randomness(variant), python, "-m", "pytest", *map(str, only or [path]), "-v", "--tb=short",
               "-p", "no:cacheprovider", f"--junitxml={report}", f"--timeout={test_seconds}", *extra]
    if folder in PARALLEL and not only:
        command += ["-n", str(AT_ONCE), "--dist", "loadfile"]
    status = run([sys.executable, "-I", __file__, "--shepherd", str(leftovers), *command], log, minutes * 60,
                 environment(SLUICE_BINARY=str(ROOT / variant[0] / "sluice")), pytest_progress)
    if status is None or not report.exists():
        text = log.read_text(errors="replace")
        how = "took too long and was killed" if status is None else f"pytest ended with status {status}"
        return Count(len(re.findall(r" PASSED", text)), [(name, f"{how}\n{tail(log)}")])
    count = read_junit(report, name)
    if status not in (0, 1) and not count.failures:
        count.add(fail(name, f"pytest ended with status {status}\n{tail(log)}"))
    left = leftovers.read_text() if leftovers.exists() else ""
    if left:
        count.add(fail(f"{name} leftovers", f"left running:\n{left}"))
    return count


# ----------------------------------------------------------------------- the other suites


def install_model():
    """What the tests with a real model need. A failure shows in the tests that miss it."""
    log = RESULTS / "model.log"
    if run([str(ROOT / "deploy/quickstart/model"), "install"], log, 600) != 0:
        say(f"    the model could not be installed:\n{tail(log)}")


def install_programs():
    """Claude Code and Codex, some hundred megabytes. A failure shows in the tests that miss them."""
    log = RESULTS / "programs.log"
    if run([sys.executable, str(ROOT / "tests/clients/cli.py")], log, 600) != 0:
        say(f"    the programs of npm could not be installed:\n{tail(log)}")


def check():
    """The quick part of `make check`; the analysers are not in here."""
    total = Count()
    for step in ("format", "layers", "words", "shell", "python"):
        log = RESULTS / f"check-{step}.log"
        status = run([str(ROOT / "tests/check/run"), step], log, 120)
        total.add(Count(1) if status == 0 else fail(f"check {step}", tail(log)))
    return total


def clang():
    return build(CLANG, "all", "units") or Count(1)


def clients():
    install_model()
    install_programs()
    return run_pytest("clients", minutes=12, test_seconds=180)


def recorded(variant=RELEASE):
    """Recorded exchanges: through the gateway, and through the translators, in a program of their own."""
    return build(variant, "units") or run_pytest("recorded", variant)


def redis(variant=RELEASE):
    """The client of Redis, in a program of its own."""
    return build(variant, "units") or run_pytest("redis", variant)


def store(variant=RELEASE):
    """The counters in Redis: scripts alone, and nodes of a program of its own."""
    return build(variant, "units") or run_pytest("store", variant)


def launch(variant=RELEASE):
    """The launchers of deployments, in a program of its own, against real engines of containers."""
    return build(variant, "units") or run_pytest("launch", variant)


def asan():
    total = unit(ASAN).add(redis(ASAN)).add(launch(ASAN))
    for folder in ("flow", "hostile"):
        total.add(run_pytest(folder, ASAN, minutes=15, test_seconds=240))
    return total


def tsan():
    """All unit tests; of the flow tests those marked `threads`, or all while none is."""
    total = unit(TSAN)
    marked = any("mark.threads" in path.read_text() for path in (ROOT / "tests/flow").rglob("*.py"))
    return total.add(run_pytest("flow", TSAN, minutes=12, test_seconds=240,
                                extra=("-m", "threads") if marked else ()))


def run_fuzzer(source):
    """With one seed, so that a run can be had again; `make fuzz` goes further, with others."""
    name = source.stem.removesuffix("_fuzz")
    found, corpus = ROOT / "build-fuzz/findings", ROOT / "build-fuzz/corpus" / name
    seeds, words = ROOT / "tests/fuzz/corpus" / name, ROOT / f"tests/fuzz/{name}.dict"
    found.mkdir(parents=True, exist_ok=True)
    corpus.mkdir(parents=True, exist_ok=True)
    command = [str(ROOT / "build-fuzz/tests/fuzz" / source.stem), f"-max_total_time={FUZZ_SECONDS}", "-seed=1", "-timeout=10",
               "-rss_limit_mb=2048", "-print_final_stats=1", f"-artifact_prefix={found}/{name}-", str(corpus)]
    command += [str(seeds)] if seeds.is_dir() else []
    command += [f"-dict={words}"] if words.exists() else []
    log = RESULTS / f"fuzz-{name}.log"
    status = run(command, log, FUZZ_SECONDS + 120)
    ran = re.search(r"stat::number_of_executed_units:\s+(\d+)", log.read_text(errors="replace"))
    if status != 0 or not ran or int(ran[1]) == 0:
        return fail(f"fuzz {name}", f"status {status}; inputs in {found}\n{tail(log)}")
    say(f"    {name}: {int(ran[1]):,} inputs")
    return Count(1)


def fuzz():
    sources = sorted((ROOT / "tests/fuzz").glob("*_fuzz.c"))
    if not sources:
        return Count()
    broken = build(FUZZ, "fuzzers")
    if broken:
        return broken
    total = Count()
    with ThreadPoolExecutor(CORES + 1) as pool:
        for count in pool.map(run_fuzzer, sources):
            total.add(count)
    return total


# In the order in which they run: what fails soonest comes first.
SUITES = {
    "check": check,
    "unit": unit,
    "flow": lambda: run_pytest("flow"),
    "recorded": recorded,
    "hostile": lambda: run_pytest("hostile"),
    "clients": clients,
    "redis": redis,
    "store": store,
    "launch": launch,
    "chaos": lambda: run_pytest("chaos", test_seconds=600),
    "packaging": lambda: run_pytest("packaging", test_seconds=600),
    "clang": clang,
    "asan": asan,
    "tsan": tsan,
    "fuzz": fuzz,
}


def run_suite(name):
    say(f"{name}")
    begun = time.monotonic()
    if begun > DEADLINE:
        return fail(name, "no time was left"), 0
    try:
        count = SUITES[name]()
    except Exception as error:  # a fault of this file must not hide the other suites' results
        count = fail(name, f"{type(error).__name__}: {error}")
    left = end_leftovers()
    if left:
        count.add(fail(f"{name} leftovers", "left running: " + ", ".join(sorted(set(left)))))
    spent = time.monotonic() - begun
    for test, words in count.failures[:TOLD]:
        say(f"    FAILED {test}\n" + "\n".join(f"        {line[:LINE_WIDTH]}" for line in words.strip().splitlines()))
    if len(count.failures) > TOLD:
        say(f"    … and {len(count.failures) - TOLD} more; all of it is in {RESULTS}")
    nothing = "" if count.passed or count.failures else " (it has no tests)"
    say(f"    {count.passed} passed, {len(count.failures)} failed, {spent:.0f} s{nothing}")
    return count, spent


def main(names):
    unknown = [name for name in names if name not in SUITES]
    if unknown:
        sys.exit(f"no such suite: {' '.join(unknown)}; there are: {' '.join(SUITES)}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "summary").unlink(missing_ok=True)
    become_reaper()
    rows = []
    try:
        for name in [name for name in SUITES if not names or name in names]:
            rows.append((name, *run_suite(name)))
    except KeyboardInterrupt:
        end_leftovers()
        rows.append(("interrupted", fail("interrupted", ""), 0))
    passed = sum(count.passed for _, count, _ in rows)
    failed = sum(len(count.failures) for _, count, _ in rows)
    say("\nsuite        passed  failed  seconds")
    for name, count, spent in rows:
        say(f"{name:12} {count.passed:6}  {len(count.failures):6}  {spent:7.0f}")
    for name, count, _ in rows:
        for test, _ in count.failures[:100]:
            say(f"FAILED {name}: {test}")
    last = f"{passed} passed, {failed} failed"
    (RESULTS / "summary").write_text(last + "\n")
    say(last)
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--shepherd"]:
        sys.exit(shepherd(sys.argv[2], sys.argv[3:]))
    sys.exit(main(sys.argv[1:]))
