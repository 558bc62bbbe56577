# SPDX-License-Identifier: Apache-2.0
"""A deployment of pods, called through the whole gateway; its pods are real processes."""

import pytest
from deployed import Desk
from driver import FAKE
from harness import KEY_ACME, Sluice, config_for, eventually
from kube_api import KubeApi

IMAGE = "example.test/fakellm:1"
NOBODY = "http://127.0.0.1:9/v1"


@pytest.fixture
def api():
    api = KubeApi({IMAGE: [str(FAKE)]})
    yield api
    api.close()


def wanted(name, **changes):
    return {"name": name, "launcher": "kubernetes", "image": IMAGE, "engine": "openai",
            "command": ["--port", "{port}", "--load-ms", "100", "--say", "pod"], "restart": {"backoff": "100ms"},
            "probe": {"interval": "50ms", "liveness": "200ms"}, "stop": {"drain": "1s", "grace": "1s"}, **changes}


def configured(api, *models):
    node = {"name": "k8s", "launcher": "kubernetes", "endpoint": api.url, "namespace": "models"}
    config = config_for(NOBODY, deployments={"nodes": [node], "models": list(models) or [wanted("qwen")]})
    for tenant in config["tenants"]:
        tenant["models"] = ["*"]
    return config


def test_the_first_call_starts_a_pod_and_another_one_comes_when_it_dies(api):
    with Sluice(configured(api)) as gate:
        assert not api.pods
        answers = gate.chat("qwen", key=KEY_ACME)
        assert answers.status == 200 and "pod" in answers.json["choices"][0]["message"]["content"], answers
        [name] = api.pods
        api.kill_pod(name)
        eventually(lambda: name not in api.pods, within=20, what="what died is removed")
        assert gate.chat("qwen", key=KEY_ACME).status == 200
        assert api.created == 2
    eventually(lambda: not api.pods, within=20, what="on_exit: stop")


def test_a_killed_gateway_finds_its_pod_again(api):
    with Sluice(configured(api)) as gate:
        assert gate.chat("qwen", key=KEY_ACME).status == 200
        names = list(api.pods)
        gate.kill()
        gate.start()
        assert gate.chat("qwen", key=KEY_ACME).status == 200
        assert list(api.pods) == names and api.created == 1


def test_it_is_made_by_the_admin_api_and_scaled_to_zero_and_back(api):
    with Sluice(configured(api)) as gate:
        desk = Desk(gate)
        made = desk.ask("POST", "/deployments", wanted("made", scaling={"max": 2, "idle_stop": "1s"}))
        assert made.status == 201 and not api.pods, made
        assert desk.order("start", "made").status == 200
        desk.until("ready", "made")
        assert gate.chat("made", key=KEY_ACME).status == 200
        assert desk.order("scale", "made", {"min": 2, "max": 2}).status == 200
        eventually(lambda: desk.show("made")["ready"] == 2 and len(api.pods) == 2, what="two pods")
        assert desk.order("scale", "made", {"min": 0, "max": 1}).status == 200
        desk.until("idle", "made")
        eventually(lambda: not api.pods, what="none runs, since nobody asks")
        assert gate.chat("made", key=KEY_ACME).status == 200, "the next call starts one"
        assert len(api.pods) == 1 and api.created == 3
        assert desk.ask("DELETE", "/deployments/made").status == 204
        eventually(lambda: not api.pods, what="it is removed")


def test_a_pod_has_what_is_wanted_of_it(api):
    """The API server holds it against the published schema."""
    wishes = {"volumes": [{"path": "/models", "claim": "models"}, {"path": "/srv", "host_path": "/srv/models", "read_only": False},
                          {"path": "/cache", "size": "1GiB"}, {"path": "/scratch"}],
              "node_selector": {"gpu.example.com/kind": "a100"},
              "tolerations": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}, {"key": "spot"}],
              "gpu_resource": "amd.com/gpu"}
    with Sluice(configured(api)) as gate:
        desk = Desk(gate)
        made = desk.ask("POST", "/deployments", wanted("rich", kubernetes=wishes, resources={"memory": "1GiB", "cpus": 0.5, "gpus": 2}))
        assert made.status == 201, made
        assert gate.chat("rich", key=KEY_ACME).status == 200
        [pod] = api.pods.values()
        spec, [server] = pod.document["spec"], pod.document["spec"]["containers"]
        mounts = {each["mountPath"]: each for each in server["volumeMounts"]}
        volumes = {each["name"]: each for each in spec["volumes"]}
        assert volumes[mounts["/models"]["name"]]["persistentVolumeClaim"] == {"claimName": "models", "readOnly": True}
        assert volumes[mounts["/srv"]["name"]]["hostPath"] == {"path": "/srv/models"} and not mounts["/srv"]["readOnly"]
        assert volumes[mounts["/cache"]["name"]]["emptyDir"] == {"sizeLimit": str(2**30)} and not mounts["/cache"]["readOnly"]
        assert mounts["/models"]["readOnly"] and "/dev/shm" in mounts and len(mounts) == 5
        assert spec["nodeSelector"] == {"gpu.example.com/kind": "a100"}
        assert spec["tolerations"] == [{"operator": "Equal", "key": "gpu", "value": "yes", "effect": "NoSchedule"},
                                       {"operator": "Exists", "key": "spot"}]
        for bound in ("limits", "requests"):
            assert server["resources"][bound] == {"memory": str(2**30), "cpu": "500m", "amd.com/gpu": "2"}
        shown = desk.ask("GET", "/deployments/rich").json["spec"]["kubernetes"]
        assert shown["volumes"][0] == {"path": "/models", "claim": "models", "read_only": True}, shown
        assert shown["tolerations"][1] == {"key": "spot"} and shown["node_selector"] == {"gpu.example.com/kind": "a100"}, shown
        bad = desk.ask("PATCH", "/deployments/rich", {"kubernetes": {"volumes": [{"path": "/a", "claim": "x", "host_path": "/y"}]}})
        assert bad.status == 422 and "not both" in bad.json["detail"], bad
