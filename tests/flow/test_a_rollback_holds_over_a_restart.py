# SPDX-License-Identifier: Apache-2.0
"""A revision that was rolled back does not come back with the next process, however the one before has ended; what served
before it does. Until it is changed, declared anew, or ordered."""

import contextlib
import os
import signal
import sqlite3

import pytest
from deployed import Desk, deployed, pids, server_for
from harness import Sluice, eventually
from test_an_upgrade_in_place_loses_nothing import until_alone, upgrade

pytestmark = pytest.mark.threads
SECRET = "5ecre7-of-the-environment"


def old(**changes):
    return server_for("qwen", "--say", "old", **{"env": {"KEY": SECRET}, "scaling": {"min": 1, "max": 1}, **changes})


def new(*options, **changes):
    """It never gets ready."""
    bad = {"restart": {"max_restarts": 1, "backoff": "20ms"}, "rollout": {"deadline": "2s"}}
    return server_for("qwen", "--say", "new", *(options or ("--exit-at-once", 1)),
                      **{"env": {"KEY": SECRET}, "scaling": {"min": 1, "max": 1}, **bad, **changes})


def said(gate):
    answer = gate.chat("qwen", options={"timeout": 60})
    assert answer.status == 200, answer
    return answer.json["choices"][0]["message"]["content"].split("word")[0].strip()


class Case:
    """The old one serves; the file declares the new one, which was rolled back."""

    def __init__(self, bad, **changes):
        self.gate = Sluice(deployed(old(), **changes))
        self.desk = Desk(self.gate)
        self.desk.until("ready")
        self.declare(bad)

    def __enter__(self):
        return self

    def __exit__(self, *what):
        self.gate.__exit__(*what)
        eventually(lambda: not pids(), what="no server is left")

    def declare(self, model, reload=True):
        self.gate.config["deployments"]["models"] = [model]
        self.gate.write(self.gate.config)
        if reload:
            assert self.gate.cli("reload").returncode == 0

    def rolled_back(self):
        eventually(lambda: self.desk.show().get("rolled_back"), 30, what="it is rolled back")
        return self

    def kept(self):
        """What the next process will know: [] or one line."""
        file = self.gate.state / "deployments.db"
        if not file.exists():
            return []
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=20)) as database:
            if not database.execute("SELECT 1 FROM sqlite_schema WHERE name = 'verdicts'").fetchone():
                return []  # it is being made
            return [words for words, in database.execute("SELECT words FROM verdicts")]

    def until_kept(self, rejected=True):
        word = f'"rejected":{str(rejected).lower()}'
        eventually(lambda: any(word in words for words in self.kept()), 30, what=f"it is kept that it is {word}")

    def again(self, how):
        """Another process."""
        if how == "kill":
            self.gate.kill()
            self.gate.start()
        elif how == "crash":
            service = self.gate.worker_pid
            os.kill(service, signal.SIGKILL)
            eventually(lambda: self.gate.worker_pid != service, what="another service")
            self.gate.wait_ready()
        elif how == "upgrade":
            upgrade(self.gate)
            until_alone(self.gate)
        else:
            assert self.gate.stop() == 0
            self.gate.start()
        self.gate.may_crash = True


@pytest.mark.parametrize("how", ["kill", "crash", "stop", "upgrade"])
def test_what_served_serves_on(how):
    with Case(new()) as case:
        case.rolled_back()
        case.until_kept()
        assert SECRET not in case.kept()[0], "what is declared, too, is not written down"
        before = pids()
        for _ in range(1 if how == "crash" else 2):  # then servers are the supervisor's children, too
            case.again(how)
            page = eventually(lambda: (lambda one: one if one["ready"] else None)(case.desk.show()), 30, what="it serves")
            assert page["rolled_back"] and said(case.gate) == "old", page
            assert how == "stop" or pids() == before, "it is the server that was there"
        assert "launch_failed" not in case.desk.reasons() and case.desk.launches() == (1 if how == "stop" else 0), case.desk.reasons()
        case.declare(new("--tokens", 3))
        eventually(lambda: said(case.gate) == "new", 30, what="a changed one is tried")
        eventually(lambda: case.kept() == [], what="nothing is kept of it any more")
        case.again("kill")
        assert said(case.gate) == "new"


def test_one_that_is_killed_while_it_tries_goes_on_with_what_served():
    """Whatever was decided in the last moment, and not written down yet: the old one serves, and the new one is tried."""
    with Case(new("--load-ms", 60000)) as case:
        case.until_kept(rejected=False)
        before = pids("old")
        assert len(before) == 1
        case.again("kill")
        case.desk.until(["ready", "updating"])
        assert pids("old") == before and said(case.gate) == "old"
        case.rolled_back()
        assert "progress_deadline" in case.desk.show()["rolled_back"] and said(case.gate) == "old"
        assert pids("old") == before and case.desk.launches() == 0, case.desk.events()


def test_it_is_tried_again_when_it_is_ordered_or_declared_anew(tmp_path):
    """The new one is good as soon as there is a model; that is nothing that a spec says."""
    model = tmp_path / "model"
    needs = ["sh", "-c", f'test -e {model} && exec "$0" "$@"', *new()["command"][:-2]]
    with Sluice(deployed(server_for("other"))) as gate:
        desk = Desk(gate)
        case = Case.__new__(Case)
        case.gate, case.desk = gate, desk
        for how in ("patch", "resume"):
            model.unlink(missing_ok=True)
            assert desk.ask("POST", "/deployments", old()).status == 201
            desk.until("ready")
            restart = {"max_restarts": 1, "backoff": "20ms"}
            assert desk.ask("PATCH", "/deployments/qwen", {"command": needs, "restart": restart}).status == 200
            case.rolled_back()
            case.until_kept()
            case.again("kill")
            desk.until("ready")
            model.touch()
            assert desk.ask("PATCH", "/deployments/qwen", {"scaling": {"max": 2}}).status == 200
            assert desk.show()["rolled_back"] and said(gate) == "old", "nobody has said that it is to be tried"
            if how == "patch":
                assert desk.ask("PATCH", "/deployments/qwen", {"command": needs}).status == 200
            else:
                assert desk.order("rollout", body={"action": "resume"}).status == 200
            eventually(lambda: said(gate) == "new", 30, what="it is tried again")
            eventually(lambda: case.kept() == [], what="nothing is kept of it")
            assert desk.ask("DELETE", "/deployments/qwen").status == 204
            eventually(lambda: desk.ask("GET", "/deployments/qwen").status == 404 and not pids("qwen-model"), what="it is gone")


def test_what_an_order_took_back_stays_so():
    with Case(new("--tokens", 3)) as case:
        eventually(lambda: "rolled_out" in case.desk.reasons(), 30, what="the new one serves")
        assert case.desk.order("rollout", body={"action": "rollback"}).status == 200
        eventually(lambda: said(case.gate) == "old", 30, what="the old one is back")
        assert case.gate.cli("reload").returncode == 0
        case.until_kept()
        eventually(lambda: pids("new") == [], what="the new one ends")
        case.again("kill")
        assert said(case.gate) == "old" and case.desk.show()["rolled_back"] == "user"
        assert pids("new") == []
