# SPDX-License-Identifier: Apache-2.0
"""Model servers as pods: against an API server whose pods are real processes."""

import os
import signal
import subprocess
import urllib.request

import pytest
from harness import eventually
from kube_api import KubeApi
from launching import FAKELLM, Launcher

SERVER = ("--port", "{port}", "--load-ms", "50")


@pytest.fixture
def api(tmp_path):
    (tmp_path / "token").write_text("first\n")
    api = KubeApi({"example.test/fakellm:1": [str(FAKELLM)]}, token="first")
    yield api
    api.close()


@pytest.fixture
def launcher(api, tmp_path):
    it = launch(api, tmp_path)
    it.wait("looked", reachable=True)
    yield it
    if it.process.poll() is None:
        it.end()


def launch(api, tmp_path, **site):
    return Launcher("kubernetes", tmp_path, endpoint=api.url, namespace="models", token=tmp_path / "token", **site)


def health(said):
    with urllib.request.urlopen(f"http://{said['host']}:{said['port']}/v1/models", timeout=5) as answer:
        return answer.status


def only_pod(api):
    [name] = api.pods
    return name


def test_from_start_to_end(api, launcher):
    launcher.start("a1", "example.test/fakellm:1", *SERVER, "env=COLOUR=green", "--print-env", "COLOUR")
    said = launcher.wait("running", replica="a1")
    assert health(said) == 200 and said["port"] == 8080
    launcher.wait("line", replica="a1", line="COLOUR=green")
    pod = api.pods[only_pod(api)].document
    assert pod["metadata"]["labels"]["sluice.deployment"] == "qwen"
    launcher.tell("stop", "a1", 3000)
    ended = launcher.wait("ended", replica="a1")
    assert ended["reason"] == "stopped" and not ended["final"]
    launcher.tell("forget", "a1")
    eventually(lambda: not api.pods, within=10, what="the pod is gone")


def test_it_ends_by_itself(api, launcher):
    launcher.start("a1", "example.test/fakellm:1", "--port", "{port}", "--crash-after-ms", "100", "--exit-code", "7")
    ended = launcher.wait("ended", replica="a1")
    assert (ended["reason"], ended["exit"]) == ("exit", 7)
    assert api.pods, "its story can be read until it is forgotten"
    launcher.tell("forget", "a1")
    eventually(lambda: not api.pods, within=10, what="the pod is gone")


def test_memory_that_runs_out(api, launcher):
    api.kills_are_oom = True
    launcher.start("a1", "example.test/fakellm:1", *SERVER)
    launcher.wait("running", replica="a1")
    api.kill_pod(only_pod(api))
    ended = launcher.wait("ended", replica="a1")
    assert ended["oom"] and ended["reason"] == "oom_killed" and ended["signal"] == signal.SIGKILL


def test_an_image_that_is_not_there_is_final(api, launcher):
    launcher.start("a1", "example.test/other:1", *SERVER)
    ended = launcher.wait("ended", replica="a1")
    assert ended["final"] and ended["reason"] == "image_missing" and "other:1" in ended["words"]
    assert not api.pods


def test_a_registry_that_is_slow_is_not(api, launcher):
    api.image_reason, api.image_message = "ImagePullBackOff", 'Back-off pulling image "%s"'
    launcher.start("a1", "example.test/other:1", *SERVER)
    launcher.wait("pulling", replica="a1", reason="pull_failed")
    launcher.tell("stop", "a1", 0)
    assert launcher.wait("ended", replica="a1")["reason"] == "stopped"


def test_no_node_has_room(api, launcher):
    api.unschedulable = True
    launcher.start("a1", "example.test/fakellm:1", *SERVER)
    said = launcher.wait("placing", replica="a1", reason="unschedulable")
    assert "Insufficient nvidia.com/gpu" in said["words"]
    api.unschedulable = False
    launcher.wait("running", replica="a1")


def test_events_say_why_it_waits(api, launcher):
    api.schedule_seconds = 30
    launcher.start("a1", "example.test/fakellm:1", *SERVER)
    launcher.wait("placing", replica="a1", reason="created")
    with api.lock:
        api.warn(only_pod(api), "FailedMount", "volume models is not there")
    launcher.wait("placing", within=30, replica="a1", words="FailedMount: volume models is not there")
    launcher.tell("stop", "a1", 0)
    launcher.wait("ended", replica="a1")


@pytest.mark.parametrize(("knob", "reason", "final"), [("quota", "quota", False), ("forbidden", "forbidden", False)])
def test_what_the_server_refuses(api, launcher, knob, reason, final):
    setattr(api, knob, 0 if knob == "quota" else True)
    launcher.start("a1", "example.test/fakellm:1", *SERVER)
    ended = launcher.wait("ended", replica="a1")
    assert (ended["reason"], ended["final"]) == (reason, final) and "forbidden" in ended["words"]


def test_credentials_of_a_registry_are_a_secret_that_goes_with_it(api, launcher):
    launcher.start("a1", "example.test/fakellm:1", "user=u", "password=geheim", *SERVER)
    launcher.wait("running", replica="a1")
    name = only_pod(api)
    assert api.pods[name].document["spec"]["imagePullSecrets"] == [{"name": name}]
    assert "geheim" in api.secrets[name]["stringData"][".dockerconfigjson"]
    assert "geheim" not in str(api.pods[name].document)
    launcher.tell("stop", "a1", 0)
    launcher.wait("ended", replica="a1")
    launcher.tell("forget", "a1")
    eventually(lambda: not api.secrets, within=10, what="the secret is gone")


def test_a_watch_that_is_cut_goes_on_and_one_that_is_too_old_lists_again(api, launcher):
    launcher.start("a1", "example.test/fakellm:1", *SERVER)
    launcher.wait("running", replica="a1")
    api.cut_watches()
    launcher.start("a2", "example.test/fakellm:1", *SERVER)
    launcher.wait("running", replica="a2")
    api.forget_history()
    launcher.start("a3", "example.test/fakellm:1", *SERVER)
    launcher.wait("running", replica="a3")
    assert launcher.count("ended") == 0 and launcher.count("lost") == 0


def test_what_happens_between_two_watches_is_seen(api, launcher):
    launcher.start("a1", "example.test/fakellm:1", *SERVER)
    launcher.wait("running", replica="a1")
    with api.lock:
        name = only_pod(api)
        api.forget_history()
        api.removed(api.pods[name])  # no watch will tell
        api.history.clear()
        api.oldest = api.version
    assert launcher.wait("ended", replica="a1")["reason"] == "removed"


def test_the_server_is_away_and_comes_back(api, launcher):
    launcher.start("a1", "example.test/fakellm:1", *SERVER)
    said = launcher.wait("running", replica="a1")
    api.away()
    launcher.wait("lost", replica="a1")
    assert health(said) == 200, "what runs, runs on"
    launcher.start("a2", "example.test/fakellm:1", *SERVER)  # is made when it is back
    mark = launcher.mark()
    api.up()
    assert launcher.wait("running", within=30, after=mark, replica="a1")["host"] == said["host"]
    launcher.wait("running", within=30, replica="a2")
    assert api.created == 2, "nothing twice"


def test_a_new_one_finds_what_the_last_one_left(api, launcher, tmp_path):
    for replica in ("a1", "a2"):
        launcher.start(replica, "example.test/fakellm:1", *SERVER)
        launcher.wait("running", replica=replica)
    launcher.kill()
    after = launch(api, tmp_path)
    found = [after.wait("found", replica=replica) for replica in ("a1", "a2")]
    assert [each["revision"] for each in found] == [1, 1]
    after.tell("adopt", "a1", "a1", 1, "example.test/fakellm:1", 2000, *SERVER)
    after.wait("running", replica="a1")
    after.tell("stop", "a2", 0)  # nobody wants it
    after.wait("ended", replica="a2")
    after.tell("forget", "a2")
    eventually(lambda: len(api.pods) == 1, within=10, what="one pod is left")
    assert api.created == 2
    after.end()


def test_what_others_have_started_is_not_ours(api, launcher, tmp_path):
    launcher.start("a1", "example.test/fakellm:1", *SERVER)
    launcher.wait("running", replica="a1")
    other = launch(api, tmp_path, owner="two")
    other.wait("looked", reachable=True)
    assert other.count("found") == 0
    other.end()


def test_a_token_that_is_renewed_is_read_again(api, launcher, tmp_path):
    api.token = "second"
    (tmp_path / "token").write_text("second")
    launcher.start("a1", "example.test/fakellm:1", *SERVER)
    launcher.wait("running", replica="a1")


def test_a_log_is_told_once_though_it_breaks_off(api, launcher):
    launcher.start("a1", "example.test/fakellm:1", *SERVER, "--log-every-ms", "100")
    launcher.wait("running", replica="a1")
    eventually(lambda: launcher.count("line") > 10, within=20, what="lines")
    api.cut_watches()
    lines = launcher.count("line")
    eventually(lambda: launcher.count("line") > lines + 10, within=20, what="more lines")
    told = [each["line"] for each in launcher.said if each["said"] == "line"]
    real = [line for _, line in api.pods[only_pod(api)].lines]
    assert told == real[: len(told)]


def test_kubectl_sees_the_same(api, launcher, tmp_path):
    launcher.start("a1", "example.test/fakellm:1", *SERVER)
    launcher.wait("running", replica="a1")
    name = only_pod(api)

    def kubectl(*words):
        command = ["kubectl", "--server", api.url, "--token", "first", "--namespace", "models", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True,
                              env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)}).stdout

    listed = kubectl("get", "pods", "--show-labels")
    assert name in listed and "Running" in listed and "sluice.deployment=qwen" in listed
    assert kubectl("logs", name).splitlines() == [line for _, line in api.pods[name].lines]
    kubectl("delete", "pod", name, "--wait=false", "--grace-period=1")
    assert launcher.wait("ended", replica="a1")["reason"] in ("removed", "exit", "signal")


def test_it_starts_and_ends_many_without_a_leak(api, launcher):
    files = f"/proc/{launcher.process.pid}/fd"
    for i in range(15):
        launcher.start(f"r{i}", "example.test/fakellm:1", *SERVER)
        launcher.wait("running", replica=f"r{i}")
        if i == 4:
            before = len(os.listdir(files))
        launcher.tell("stop", f"r{i}", 0)
        launcher.wait("ended", replica=f"r{i}")
        launcher.tell("forget", f"r{i}")
    eventually(lambda: len(os.listdir(files)) <= before + 1, within=30, what="descriptors are closed")
