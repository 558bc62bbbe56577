#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs every suite, or those that are named, and ends with `N passed, N failed`.

    tests/suites.py              all
    tests/suites.py unit flow    these two

Suites are found by convention: tests/unit/**/*_test.c, tests/fuzz/*_fuzz.c, and a pytest folder for
each of flow, hostile, recorded, clients, redis, store, launch, guard, web, chaos, packaging. A skipped test counts
as failed: what a test needs is installed, not guessed at. So does one that hangs, a suite that runs
out of its time, and a process that a suite leaves running.

Tests mostly wait, so suites run side by side, in two lanes; the builds they will need and the fuzz targets
take what is left of the processors, behind them. Lines that a suite writes begin with its name.

Environment: FUZZ_SECONDS (60) of processor time for each fuzz target, TEST_MINUTES (80) for the whole.
"""

import hashlib
import os
import re
import shutil
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jobs
from jobs import ROOT, environment, run, say, tail

RESULTS = ROOT / "build" / "results"  # logs and reports of the last run
VENV = ROOT / ".venv" / "test"
FUZZ_SECONDS = int(os.environ.get("FUZZ_SECONDS", "60"))
CORES = os.cpu_count() or 2
UNSTEADY_MAX = 12  # so many failures may be asked about again; more are no accident
TOLD, LINE_WIDTH = 20, 400  # failures of a suite that are shown in full, and how wide
OUR_PACKAGES = ["pytest", "pytest-timeout", "pytest-xdist"]
AT_ONCE = 4  # files of the folders below that are tested at once: their tests mostly wait
PARALLEL = ("flow", "hostile", "recorded", "redis", "store", "launch")
SLOW = (  # files that take more than a quarter of a minute, the longest first
    "replicas_know_each_others_objects", "nodes_share_one_ledger", "nodes_share_their_limits", "batches_are_paid_for",
    "providers_are_signed_in_to", "a_token_is_a_key", "limits_are_never_exceeded",
    "whatever_dies_nodes_count_each_call_once", "a_whole_answer_ends_though_its_stream_does_not",
    "similar_calls_share_an_answer", "a_lost_volume_loses_no_call", "keys_are_the_same_on_all_replicas",
    "bedrock_is_signed_for_with_what_aws_gives", "nodes_share_one_ledger_on_many_servers", "sixteen_faults",
    "a_backup_can_be_restored", "every_wait_has_a_time_out",
)

RELEASE = ("build", [])
ASAN = ("build-address-undefined", ["SAN=address,undefined"])
TSAN = ("build-thread", ["SAN=thread"])
CLANG = ("build-clang", ["CC=clang"])
FUZZ = ("build-fuzz", ["FUZZ=1", "CC=clang"])

FOUND = ROOT / "build-fuzz/findings"
NEEDS = (  # suite, variant, targets: in the order in which they are come to
    ("tsan", TSAN, ("all", "units")),
    ("asan", ASAN, ("all", "units")),
    ("clang", CLANG, ("all", "units")),
    ("fuzz", FUZZ, ("fuzzers",)),
)

class Count:
    """What a suite found: how many passed, and a few lines on each that failed."""

    def __init__(self, passed=0, failures=()):
        self.passed = passed
        self.failures = list(failures)  # (name, words)
        self.doubts = []  # (names among the failures, what gives the Count of their files once more)

    def add(self, other):
        self.passed += other.passed
        self.failures += other.failures
        self.doubts += other.doubts
        return self


def fail(name, words):
    return Count(0, [(name, words)])


def left_running(suite, programs):
    """The summary, which has only names, tells what it was."""
    return fail(f"{suite} left running: {', '.join(programs)}", "")


# ----------------------------------------------------------------------- building

_built = {}
_building = {variant[0]: threading.Lock() for variant in (RELEASE, ASAN, TSAN, CLANG, FUZZ)}


def build(variant, *targets, idle=False):
    """Build once; None, or the failure. What is being built ahead is no longer idle once it is waited for."""
    lock = _building[variant[0]]
    if not lock.acquire(blocking=False):
        jobs.hurry(ahead_of(variant))
        lock.acquire()
    try:
        return build_locked(variant, targets, idle)
    finally:
        lock.release()


def build_locked(variant, targets, idle):
    folder, settings = variant
    missing = [target for target in targets if (folder, target) not in _built]
    if missing:
        log = RESULTS / f"make-{folder}-{'-'.join(missing)}.log"
        say(f"make {folder}: {' '.join(missing)}")
        status = run(["make", f"-j{CORES}", *settings, *missing], log, 1800 if idle else 900, idle=idle,
                     progress=lambda log: f"{log.read_bytes().count(b'cc ')} files compiled")
        words = None if status == 0 else f"make {' '.join(settings + missing)}:\n{tail(log)}"
        for target in missing:
            _built[(folder, target)] = words
    for target in targets:
        if _built[(folder, target)]:
            return fail(f"build {folder}", _built[(folder, target)])
    return None


def ahead_of(variant):
    """The name under which it is built before it is asked for."""
    return f"ahead of {variant[0]}"


def build_ahead(names):
    """What the suites of these names will need; a failure is theirs to tell."""
    for name, variant, targets in NEEDS:
        if name in names:
            jobs.work_for(ahead_of(variant))
            build(variant, *targets, idle=True)


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
    with ThreadPoolExecutor(CORES, initializer=jobs.work_for, initargs=(jobs.suite_here(),)) as pool:
        counts = pool.map(lambda source: run_unit(variant, source), sources)
    total = Count()
    for count in counts:
        total.add(count)
    return total


# ----------------------------------------------------------------------- pytest folders


_venv = threading.Lock()


def make_venv():
    """A private Python with what the tests ask for; None, or the failure."""
    with _venv:
        return make_venv_locked()


def make_venv_locked():
    wanted = sorted((ROOT / "tests").rglob("requirements.txt"))
    words = " ".join(OUR_PACKAGES).encode() + b"".join(path.read_bytes() for path in wanted)
    mark = hashlib.sha256(words).hexdigest()
    stamp = VENV / "stamp"
    if stamp.exists() and stamp.read_text() == mark:
        return None
    say("installing the tests' Python packages")
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


def run_pytest(folder, variant=RELEASE, minutes=15, test_seconds=120, extra=()):
    """One folder of tests against one build. A machine that does other things too can make a test late: the
    files of a few that failed are run once more when the stages have ended (settle). What passes then
    counts, and is named as unsteady, so that it is seen; what fails twice has failed."""
    count = run_pytest_once(folder, variant, minutes, test_seconds, extra)
    names = {name for name, _ in count.failures}
    if not names or len(names) > UNSTEADY_MAX or not all("::" in name for name in names):
        return count
    files = sorted({ROOT / "tests" / (name.split("::")[0].replace(".", "/") + ".py") for name in names})
    if all(file.exists() for file in files):
        count.doubts.append(
            (names, lambda: run_pytest_once(folder, variant, minutes, test_seconds, extra, files)))
    return count


def settle(suite, count):
    """Ask about the doubtful once more, now that it is quiet."""
    jobs.work_for(suite)
    for names, again in count.doubts:
        say(f"once more: {len(names)} that failed")
        second = again()
        left = jobs.end_leftovers(suite)
        if left or any("::" not in name for name, _ in second.failures):
            continue
        still = {name for name, _ in second.failures}
        for name in sorted(names - still):
            say(f"unsteady: {name}")
        count.passed += len(names - still)
        count.failures = [each for each in count.failures if each[0] not in names - still]


def files_to_test(path):
    """Those that take longest first, so that none of them is the last to begin."""
    files = sorted([*path.glob("**/test_*.py"), *path.glob("**/*_test.py")])
    slow = {name: place for place, name in enumerate(SLOW)}
    return sorted(files, key=lambda file: slow.get(file.stem.removeprefix("test_"), len(slow)))


def run_pytest_once(folder, variant, minutes, test_seconds, extra, only=()):
    path = ROOT / "tests" / folder
    files = only or files_to_test(path)
    if not files:
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
    command = [*no_layout_randomness(variant), python, "-m", "pytest", *map(str, files), "-v", "--tb=short",
               "-p", "no:cacheprovider", f"--junitxml={report}", f"--timeout={test_seconds}", *extra]
    if folder in PARALLEL and not only:
        command += ["-n", str(AT_ONCE), "--dist", "loadfile", "--no-loadscope-reorder"]
    status = run([sys.executable, "-I", jobs.__file__, str(leftovers), *command], log, minutes * 60,
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
        count.add(left_running(name, left.splitlines()))
    return count


# ----------------------------------------------------------------------- the other suites


def install_model():
    """What the tests with a real model need. A failure shows in the tests that miss it."""
    log = RESULTS / "model.log"
    if run([str(ROOT / "deploy/quickstart/model"), "install"], log, 600) != 0:
        say(f"the model could not be installed:\n{tail(log)}")


def install_programs():
    """Claude Code and Codex, some hundred megabytes. A failure shows in the tests that miss them."""
    log = RESULTS / "programs.log"
    if run([sys.executable, str(ROOT / "tests/clients/cli.py")], log, 600) != 0:
        say(f"the programs of npm could not be installed:\n{tail(log)}")


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
    return run_pytest("clients", minutes=15, test_seconds=180)


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
        total.add(run_pytest(folder, ASAN, minutes=20, test_seconds=240))
    return total


def tsan():
    """All unit tests; of the flow tests those marked `threads`, or all while none is."""
    total = unit(TSAN)
    marked = any("mark.threads" in path.read_text() for path in (ROOT / "tests/flow").rglob("*.py"))
    return total.add(run_pytest("flow", TSAN, minutes=20, test_seconds=240,
                                extra=("-m", "threads") if marked else ()))


def fuzz_command(source, *more):
    """With one seed, so that a run can be had again; `make fuzz` goes further, with others."""
    name = source.stem.removesuffix("_fuzz")
    words = ROOT / f"tests/fuzz/{name}.dict"
    return [str(ROOT / "build-fuzz/tests/fuzz" / source.stem), "-seed=1", "-timeout=10", "-rss_limit_mb=2048",
            "-print_final_stats=1", f"-artifact_prefix={FOUND}/{name}-",
            *([f"-dict={words}"] if words.exists() else []), *map(str, more)]


def was_the_machine(source, log):
    """An input that was late while the fuzzer had to stand back is none that takes long by itself."""
    late = re.findall(r"Test unit written to (\S*-timeout-\w+)", log.read_text(errors="replace"))
    return late and run(fuzz_command(source, *late), log.with_suffix(".again.log"), 60) == 0


def run_fuzzer(source):
    """Until it has had its share of the processors, however long that takes behind all the others."""
    name = source.stem.removesuffix("_fuzz")
    corpus, seeds = ROOT / "build-fuzz/corpus" / name, ROOT / "tests/fuzz/corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    log, inputs, left, used = RESULTS / f"fuzz-{name}.log", 0, FUZZ_SECONDS, 0

    def has_enough(pid):
        nonlocal used
        used = jobs.seconds_used(pid)
        return used >= left

    command = fuzz_command(source, corpus, *([seeds] if seeds.is_dir() else []))
    while left > 0:
        status = run(command, log, 3600, idle=True, enough=has_enough)
        ran = re.search(r"stat::number_of_executed_units:\s+(\d+)", log.read_text(errors="replace"))
        inputs += int(ran[1]) if ran else 0
        left -= max(used, 1)
        if status == 0:
            break
        if not was_the_machine(source, log):
            return fail(f"fuzz {name}", f"status {status}; inputs in {FOUND}\n{tail(log)}")
        say(f"{name}: an input was late, but is quick by itself")
    if inputs == 0:
        return fail(f"fuzz {name}", f"it tried no input\n{tail(log)}")
    say(f"{name}: {inputs:,} inputs")
    return Count(1)


def fuzz():
    sources = sorted((ROOT / "tests/fuzz").glob("*_fuzz.c"))
    if not sources:
        return Count()
    broken = build(FUZZ, "fuzzers", idle=True)
    if broken:
        return broken
    FOUND.mkdir(parents=True, exist_ok=True)
    total = Count()
    with ThreadPoolExecutor(CORES, initializer=jobs.work_for, initargs=("fuzz",)) as pool:
        for count in pool.map(run_fuzzer, sources):
            total.add(count)
    return total


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
    "guard": lambda: run_pytest("guard", minutes=10, test_seconds=300),
    "web": lambda: run_pytest("web", test_seconds=600),
    "chaos": lambda: run_pytest("chaos", test_seconds=600),
    "packaging": lambda: run_pytest("packaging", test_seconds=600),
    "clang": clang,
    "asan": asan,
    "tsan": tsan,
    "fuzz": fuzz,
}
STAGES = (  # one after the other; the lanes of each side by side, and in a lane in its order
    (("check", "unit"),),  # what fails soonest
    (  # of two suites at the same time at most one takes much of the processors
        ("flow", "recorded", "hostile", "asan"),
        ("redis", "store", "launch", "guard", "tsan", "packaging", "clients", "web", "clang"),
    ),
    (("chaos",),),  # makes its own load, and measures what comes of it
)
BEHIND = ("fuzz",)  # in what the stages leave of the processors, and after them

_rows = {}  # suite: (Count, seconds, seconds of processor time)


def run_suite(name):
    jobs.work_for(name)
    say("begins")
    begun = time.monotonic()
    try:
        count = SUITES[name]() if begun < jobs.DEADLINE else fail(name, "no time was left")
    except Exception as error:  # a fault of this file must not hide the other suites' results
        count = fail(name, f"{type(error).__name__}: {error}")
    left = jobs.end_leftovers(name)
    if left:
        count.add(left_running(name, left))
    spent, used = time.monotonic() - begun, jobs.processor_seconds(name)
    _rows[name] = (count, spent, used)
    nothing = "" if count.passed or count.failures else " (it has no tests)"
    say("\n".join([*told(count), f"{count.passed} passed, {len(count.failures)} failed, {spent:.0f} s"
                   f" ({used:.0f} s of processor time){nothing}"]))


def told(count):
    lines = []
    for test, words in count.failures[:TOLD]:
        lines += [f"FAILED {test}", *("    " + line[:LINE_WIDTH] for line in words.strip().splitlines())]
    if len(count.failures) > TOLD:
        lines.append(f"… and {len(count.failures) - TOLD} more; all of it is in {RESULTS}")
    return lines


def run_lane(names):
    for name in names:
        run_suite(name)


def run_behind(names, wanted):
    build_ahead(wanted)
    run_lane(names)


def run_stages(wanted):
    """All suites of these names, and what runs behind them."""
    def chosen(names):
        return [name for name in names if name in wanted]

    behind = threading.Thread(target=run_behind, args=(chosen(BEHIND), wanted))
    behind.start()
    for stage in STAGES:
        lanes = [threading.Thread(target=run_lane, args=(chosen(lane),)) for lane in stage]
        for lane in lanes:
            lane.start()
        for lane in lanes:
            lane.join()
    for name in chosen(SUITES):
        if name in _rows:
            settle(name, _rows[name][0])
    jobs.end_idle()
    behind.join()


def summary(names):
    passed = sum(count.passed for count, _, _ in _rows.values())
    failed = sum(len(count.failures) for count, _, _ in _rows.values())
    say("\nsuite        passed  failed  seconds  of processors")
    for name in names:
        count, spent, used = _rows[name]
        say(f"{name:12} {count.passed:6}  {len(count.failures):6}  {spent:7.0f}  {used:13.0f}")
    for name in names:
        for test, _ in _rows[name][0].failures[:100]:
            say(f"FAILED {name}: {test}")
    last = f"{passed} passed, {failed} failed"
    (RESULTS / "summary").write_text(last + "\n")
    say(last)
    return 1 if failed or not passed else 0


def main(names):
    unknown = [name for name in names if name not in SUITES]
    if unknown:
        sys.exit(f"no such suite: {' '.join(unknown)}; there are: {' '.join(SUITES)}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "summary").unlink(missing_ok=True)
    jobs.become_reaper()
    try:
        run_stages(names or list(SUITES))
    except KeyboardInterrupt:
        jobs.stop_all()
        for thread in threading.enumerate():
            if thread is not threading.current_thread():
                thread.join()
        _rows["interrupted"] = (fail("interrupted", ""), 0, 0)
    jobs.work_for(None)
    left = jobs.end_leftovers()
    if left:  # of nobody's session: it has left its own
        _rows["leftovers"] = (left_running("all", left), 0, 0)
    return summary([name for name in (*SUITES, "interrupted", "leftovers") if name in _rows])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
