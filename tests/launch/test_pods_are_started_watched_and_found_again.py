# SPDX-License-Identifier: Apache-2.0
"""Model servers as pods: against an API server whose pods are real processes."""

import os
import signal
import subprocess
import urllib.request

import pytest
from driver import FAKE, Driver
from harness import eventually
from kube_api import KubeApi

IMAGE = "example.test/fakellm:1"
SERVER = ["--port", "{port}", "--load-ms", "50"]


@pytest.fixture
def api(tmp_path):
    (tmp_path / "token").write_text("first\n")
    api = KubeApi({IMAGE: [str(FAKE)]}, token="first")
    yield api
    api.close()


@pytest.fixture
def launcher(api, tmp_path):
    with launch(api, tmp_path) as driver:
        yield driver.wait_looked(True)


def launch(api, tmp_path, **site):
    return Driver("kubernetes", endpoint=api.url, namespace="models", token_file=tmp_path / "token",
                  deployment="qwen", **site)


def start(launcher, replica, *arguments, image=IMAGE, **spec):
    launcher.start(replica, image=image, command=[*SERVER, *arguments], **spec)


def heard(launcher, replica, stage, within=20, **wanted):
    """A report as wanted, the first one."""
    def find():
        return next((each for each in launcher.reports(replica) if each["stage"] == stage and
                     all(each[name] == value for name, value in wanted.items())), None)

    launcher.until(find, f"{replica}: {stage} {wanted}", within)
    return find()


def health(said):
    """Of a server, as soon as it has loaded."""
    def ask():
        try:
            with urllib.request.urlopen(f"http://{said['host']}:{said['port']}/health", timeout=5) as answer:
                return answer.status
        except OSError:
            return None

    return eventually(ask, within=10)


def only_pod(api):
    [name] = api.pods
    return name


def test_from_start_to_end(api, launcher):
    start(launcher, "a1", "--print-env", "COLOUR", env={"COLOUR": "green"})
    said = heard(launcher, "a1", "running")
    assert health(said) == 200 and said["port"] == 8080
    launcher.wait_line("a1", "COLOUR=green")
    pod = api.pods[only_pod(api)].document
    assert pod["metadata"]["labels"]["sluice.deployment"] == "qwen"
    launcher.stop("a1", 3000)
    ended = heard(launcher, "a1", "ended")
    assert ended["reason"] == "stopped" and not ended["final"]
    launcher.forget("a1")
    eventually(lambda: not api.pods, within=10, what="the pod is gone")


def test_it_ends_by_itself(api, launcher):
    start(launcher, "a1", "--crash-after-ms", "100", "--exit-code", "7")
    ended = heard(launcher, "a1", "ended")
    assert (ended["reason"], ended["exit"]) == ("exit", 7)
    assert api.pods, "its story can be read until it is forgotten"
    launcher.forget("a1")
    eventually(lambda: not api.pods, within=10, what="the pod is gone")


def test_memory_that_runs_out(api, launcher):
    api.kills_are_oom = True
    start(launcher, "a1")
    heard(launcher, "a1", "running")
    api.kill_pod(only_pod(api))
    ended = heard(launcher, "a1", "ended")
    assert ended["oom"] and ended["reason"] == "oom_killed" and ended["signal"] == signal.SIGKILL


def test_an_image_that_is_not_there_is_final(api, launcher):
    start(launcher, "a1", image="example.test/other:1")
    ended = heard(launcher, "a1", "ended")
    assert ended["final"] and ended["reason"] == "image_missing" and "other:1" in ended["words"]
    assert not api.pods


def test_a_registry_that_is_slow_is_not(api, launcher):
    api.image_reason, api.image_message = "ImagePullBackOff", 'Back-off pulling image "%s"'
    start(launcher, "a1", image="example.test/other:1")
    heard(launcher, "a1", "pulling", reason="pull_failed")
    launcher.stop("a1", 0)
    assert heard(launcher, "a1", "ended")["reason"] == "stopped"


def test_no_node_has_room(api, launcher):
    api.unschedulable = True
    start(launcher, "a1")
    said = heard(launcher, "a1", "placing", reason="unschedulable")
    assert "Insufficient nvidia.com/gpu" in said["words"]
    api.unschedulable = False
    heard(launcher, "a1", "running")


def test_events_say_why_it_waits(api, launcher):
    api.schedule_seconds = 30
    start(launcher, "a1")
    heard(launcher, "a1", "placing")
    with api.lock:
        api.warn(only_pod(api), "FailedMount", "volume models is not there")
    heard(launcher, "a1", "placing", within=30, words="FailedMount: volume models is not there")
    launcher.stop("a1", 0)
    heard(launcher, "a1", "ended")


@pytest.mark.parametrize(("knob", "reason", "final"), [("quota", "quota", False), ("forbidden", "forbidden", False)])
def test_what_the_server_refuses(api, launcher, knob, reason, final):
    setattr(api, knob, 0 if knob == "quota" else True)
    start(launcher, "a1")
    ended = heard(launcher, "a1", "ended")
    assert (ended["reason"], ended["final"]) == (reason, final) and "forbidden" in ended["words"]


def test_credentials_of_a_registry_are_a_secret_that_goes_with_it(api, launcher):
    start(launcher, "a1", user="u", password="geheim")
    heard(launcher, "a1", "running")
    name = only_pod(api)
    assert api.pods[name].document["spec"]["imagePullSecrets"] == [{"name": name}]
    assert "geheim" in api.secrets[name]["stringData"][".dockerconfigjson"]
    assert "geheim" not in str(api.pods[name].document)
    launcher.stop("a1", 0)
    heard(launcher, "a1", "ended")
    launcher.forget("a1")
    eventually(lambda: not api.secrets, within=10, what="the secret is gone")


def test_a_watch_that_is_cut_goes_on_and_one_that_is_too_old_lists_again(api, launcher):
    start(launcher, "a1")
    heard(launcher, "a1", "running")
    api.cut_watches()
    start(launcher, "a2")
    heard(launcher, "a2", "running")
    api.forget_history()
    start(launcher, "a3")
    heard(launcher, "a3", "running")
    assert not {"ended", "lost"} & {each["stage"] for each in launcher.all("report")}


def test_what_happens_between_two_watches_is_seen(api, launcher):
    start(launcher, "a1")
    heard(launcher, "a1", "running")
    with api.lock:
        name = only_pod(api)
        api.forget_history()
        api.removed(api.pods[name])  # no watch will tell
        api.history.clear()
        api.oldest = api.version
    assert heard(launcher, "a1", "ended")["reason"] == "removed"


def test_the_server_is_away_and_comes_back(api, launcher):
    start(launcher, "a1")
    said = heard(launcher, "a1", "running")
    api.away()
    heard(launcher, "a1", "lost")
    assert health(said) == 200, "what runs, runs on"
    start(launcher, "a2")  # is made when it is back
    api.up()
    assert launcher.wait("a1", "running", within=30)["host"] == said["host"]
    heard(launcher, "a2", "running", within=30)
    assert api.created == 2, "nothing twice"


def test_a_new_one_finds_what_the_last_one_left(api, launcher, tmp_path):
    for replica in ("a1", "a2"):
        start(launcher, replica)
        heard(launcher, replica, "running")
    launcher.close()
    after = launch(api, tmp_path).wait_looked(True)
    found = {each["replica"]: each for each in after.all("found")}
    assert [found[replica]["revision"] for replica in ("a1", "a2")] == [1, 1]
    after.adopt("a1", revision=1, digest=7, image=IMAGE, command=SERVER)
    heard(after, "a1", "running")
    after.stop("a2", 0)  # nobody wants it
    heard(after, "a2", "ended")
    after.forget("a2")
    eventually(lambda: len(api.pods) == 1, within=10, what="one pod is left")
    assert api.created == 2
    after.close()


def test_what_others_have_started_is_not_ours(api, launcher, tmp_path):
    start(launcher, "a1")
    heard(launcher, "a1", "running")
    other = launch(api, tmp_path, owner="two").wait_looked(True)
    assert not other.all("found")
    other.close()


def test_a_token_that_is_renewed_is_read_again(api, launcher, tmp_path):
    api.token = "second"
    (tmp_path / "token").write_text("second")
    start(launcher, "a1")
    heard(launcher, "a1", "running")


def test_a_log_is_told_once_though_it_breaks_off(api, launcher):
    start(launcher, "a1", "--log-every-ms", "100")
    heard(launcher, "a1", "running")
    launcher.until(lambda: len(launcher.lines("a1")) > 10, "lines")
    api.cut_watches()
    before = len(launcher.lines("a1"))
    launcher.until(lambda: len(launcher.lines("a1")) > before + 10, "more lines")
    told = launcher.lines("a1")
    real = [line for _, line in api.pods[only_pod(api)].lines]
    assert told == real[: len(told)]


def test_kubectl_sees_the_same(api, launcher, tmp_path):
    start(launcher, "a1")
    heard(launcher, "a1", "running")
    name = only_pod(api)
    api.token = None  # kubectl shows none without TLS

    def kubectl(*words):
        command = ["kubectl", "--server", api.url, "--namespace", "models", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True,
                              env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)}).stdout

    listed = kubectl("get", "pods", "--show-labels")
    assert name in listed and "Running" in listed and "sluice.deployment=qwen" in listed
    assert kubectl("logs", name).splitlines() == [line for _, line in api.pods[name].lines]
    kubectl("delete", "pod", name, "--wait=false", "--grace-period=1")
    assert heard(launcher, "a1", "ended")["reason"] in ("removed", "exit", "signal")


def test_it_starts_and_ends_many_without_a_leak(api, launcher):
    for i in range(15):
        start(launcher, f"r{i}")
        heard(launcher, f"r{i}", "running")
        if i == 4:
            before = launcher.descriptors()
        launcher.stop(f"r{i}", 0)
        heard(launcher, f"r{i}", "ended")
        launcher.forget(f"r{i}")
    eventually(lambda: launcher.descriptors() <= before + 1, within=30, what="descriptors are closed")
