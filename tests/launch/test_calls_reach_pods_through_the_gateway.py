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


def test_a_pod_runs_where_it_may_and_mounts_its_model(api):
    pod = {"node_selector": {"example.com/gpu": "a100"},
           "tolerations": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}, {"key": "team", "value": "ml"}, {}],
           "volumes": [{"path": "/models", "claim": "weights"}, {"path": "/cache", "host_path": "/srv/cache",
                                                                 "read_only": False}, {"path": "/tmp", "size": "1GiB"}]}
    wish = wanted("qwen", pod=pod, resources={"memory": "1GiB", "cpus": 2, "gpus": 1})
    with Sluice(configured(api, wish)) as gate:
        assert gate.chat("qwen", key=KEY_ACME).status == 200, "what the API server checked is a pod"
        [spec] = [each.document["spec"] for each in api.pods.values()]
        assert spec["nodeSelector"] == {"example.com/gpu": "a100"}
        assert spec["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
                                       {"key": "team", "operator": "Equal", "value": "ml"}, {"operator": "Exists"}]
        sources = {each.pop("name"): each for each in spec["volumes"]}
        mounts = {each["mountPath"]: each for each in spec["containers"][0]["volumeMounts"]}
        found = {path: (sources[mount["name"]], mount.get("readOnly", False)) for path, mount in mounts.items()}
        assert found == {"/dev/shm": ({"emptyDir": {"medium": "Memory"}}, False),
                         "/models": ({"persistentVolumeClaim": {"claimName": "weights", "readOnly": True}}, True),
                         "/cache": ({"hostPath": {"path": "/srv/cache"}}, False),
                         "/tmp": ({"emptyDir": {"sizeLimit": str(1 << 30)}}, False)}
        limits = spec["containers"][0]["resources"]["limits"]
        assert limits == {"memory": str(1 << 30), "cpu": "2000m", "nvidia.com/gpu": "1"}
        shown = Desk(gate).show("qwen")["spec"]["pod"]
        assert shown["node_selector"] == pod["node_selector"] and shown["volumes"][0]["claim"] == "weights", shown


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
