# SPDX-License-Identifier: Apache-2.0
"""Commands of suites that run at the same time: what each says, what it may take, what it leaves behind.

A thread works for one suite (work_for); what it starts is that suite's, in a session of its own. So a
process that is left over is known by its session, and none is ended that another suite still needs.
What is to stay out of the tests' way (building ahead, fuzzing) is started `idle`: it gets the time that
nothing else wants.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEADLINE = time.monotonic() + 60 * float(os.environ.get("TEST_MINUTES", "80"))
TAIL_LINES = 40
PROGRESS_SECONDS = 60
POLL_SECONDS = 0.05
TICKS = os.sysconf("SC_CLK_TCK")

# How a reporting sanitizer ends a unit test; the pytest harness sets its own.
SANITIZER_OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}

_here = threading.local()  # .suite: for whom this thread works
_lock = threading.RLock()  # of what follows, and of the output
_running = {}  # pid: (suite, idle?) of what run() waits for
_sessions = {}  # session: the suite that began it
_spent = {}  # suite: seconds of processor time of what it has run
_stopping, _nobody_else = threading.Event(), threading.Event()


def work_for(suite):
    _here.suite = suite


def suite_here():
    return getattr(_here, "suite", None)


def say(words):
    """Lines of the suite that this thread works for bear its name; a block stays in one piece."""
    suite = suite_here()
    lead = f"  {suite}: " if suite else ""
    with _lock:
        print("\n".join(lead + line if line else line for line in words.split("\n")), flush=True)


def processor_seconds(suite):
    return _spent.get(suite, 0)


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


def stat_fields(pid):
    """(name, the fields behind it) of /proc/PID/stat, or None: [0] is the state, [1] the parent, [3] the session."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    end = words.rindex(")")
    return words[words.index("(") + 1 : end], words[end + 2 :].split()


def seconds_used(pid):
    """Seconds of processor time that it and what it has waited for have had."""
    fields = stat_fields(pid)
    return sum(int(field) for field in fields[1][11:15]) / TICKS if fields else 0


def stand_back(pid):
    """Where each session has a share of its own of the processors (autogroups), the session's too."""
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text("19")


def hurry(suite=None):
    """What was started idle for <suite>, or for any, is waited for now."""
    with _lock:
        sessions = [pid for pid, (owner, idle) in _running.items() if idle and suite in (None, owner)]
    for stat in Path("/proc").glob("[0-9]*"):
        fields = stat_fields(stat.name)
        if fields and int(fields[1][3]) in sessions:
            with contextlib.suppress(OSError):
                os.sched_setscheduler(int(stat.name), os.SCHED_OTHER, os.sched_param(0))
    for session in sessions:
        with contextlib.suppress(OSError):
            Path(f"/proc/{session}/autogroup").write_text("0")


def end_idle():
    """From now on nothing is idle: there is nobody left to stand back for."""
    with _lock:
        _nobody_else.set()
        hurry()


def start(command, log, env, idle):
    suite = suite_here()
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "wb") as out, _lock:  # nobody may take it for a leftover before it is known
        idle = idle and not _nobody_else.is_set()
        if idle and shutil.which("chrt"):
            command = ["chrt", "--idle", "0", *command]
        child = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT,
                                 stdin=subprocess.DEVNULL, env=env or environment(),
                                 start_new_session=True)
        _running[child.pid] = (suite, idle)
        _sessions[child.pid] = suite
        if idle:
            stand_back(child.pid)
    return child


def ended(child):
    """Its exit status once it has ended, else None; what it used is counted for its suite."""
    pid, status, used = os.wait4(child.pid, os.WNOHANG)
    if not pid:
        return None
    child.returncode = os.waitstatus_to_exitcode(status)
    with _lock:
        suite, _ = _running.pop(pid)
        _spent[suite] = _spent.get(suite, 0) + used.ru_utime + used.ru_stime
    return child.returncode


def kill_session(child):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    while ended(child) is None:
        time.sleep(POLL_SECONDS)


def run(command, log, seconds, env=None, progress=None, idle=False, enough=None):
    """Run with all output in <log>; its exit status, or None when it took too long and was killed. One for
    which enough(pid) holds is told so by SIGUSR1."""
    seconds = min(seconds, max(5, DEADLINE - time.monotonic()))
    child = start(command, log, env, idle)
    begun, next_word, told = time.monotonic(), PROGRESS_SECONDS, False
    while (status := ended(child)) is None:
        spent = time.monotonic() - begun
        if progress and spent > next_word:
            say(f"… {progress(log)}, {spent:.0f} s")
            next_word += PROGRESS_SECONDS
        if enough and not told and enough(child.pid):
            child.send_signal(signal.SIGUSR1)
            told = True
        if spent > seconds or _stopping.is_set():
            kill_session(child)
            return None
        time.sleep(POLL_SECONDS)
    return status


def stop_all():
    """Every run() ends its command and returns None."""
    _stopping.set()


# ----------------------------------------------------------------------- what is left over


def become_reaper():
    """Orphans of our children become ours, so that none outlives its suite."""
    pr_set_child_subreaper = 36
    ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0)


def leftovers(suite):
    """(pid, name, state) of our children that nobody waits for: those of <suite>, or all of them."""
    found = []
    with _lock:
        for stat in Path("/proc").glob("[0-9]*"):
            fields = stat_fields(stat.name)
            if not fields or int(fields[1][1]) != os.getpid() or int(stat.name) in _running:
                continue
            if suite is None or _sessions.get(int(fields[1][3])) == suite:
                found.append((int(stat.name), fields[0], fields[1][0]))
    return found


def end_leftovers(suite=None):
    """Kill what <suite> has left (or what anybody has), and what that leaves in turn; their names."""
    left = []
    for _ in range(10):  # the children of the killed come to us in turn
        alive = leftovers(suite)
        if not alive:
            break
        for pid, name, state in alive:
            if state != "Z":
                left.append(name)
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
    return sorted(set(left))


def shepherd(report, command):
    """Run a command as a process of its own that buries orphans at once, as init does: a test may look
    whether a process is gone. What outlives the command is killed, and named in <report>."""
    become_reaper()
    child = os.spawnvp(os.P_NOWAIT, command[0], command)
    while True:
        pid, status = os.wait()
        if pid == child:
            break
    patience = time.monotonic() + 5  # for what is just about to end
    while any(state != "Z" for _, _, state in leftovers(None)) and time.monotonic() < patience:
        time.sleep(POLL_SECONDS)
    Path(report).write_text("\n".join(end_leftovers()))
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(shepherd(sys.argv[1], sys.argv[2:]))
