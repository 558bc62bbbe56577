# SPDX-License-Identifier: Apache-2.0
"""Monster API's Python client, unmodified: it deploys a model, asks it on its own endpoint, reads its logs and ends it."""

import importlib
import sys

import pytest
from harness import KEY_ACME, ROOT, Sluice, eventually
from node_runner import cases, check

sys.path.insert(0, str(ROOT / "tests"))
from deployed import FAKE, MARK, deployed  # noqa: E402

LLM = {"basemodel_path": "mistralai/Mistral-7B-Instruct-v0.2", "per_gpu_vram": 24, "gpu_count": 1}


@pytest.fixture(scope="module")
def gate():
    command = [FAKE, "--port", "{port}", "--model", "{model}", "--mark", MARK, "--echo", "1"]
    config = deployed(deployments={"monster": {"profiles": {"24x1": {"engine": "vllm", "command": command, "memory": "100MiB"}}}})
    config["tenants"][0]["may_deploy"] = True
    with Sluice(config) as sluice:
        yield sluice


def base_of(gate):
    return "http://{}:{}/v1".format(*gate.address())


def live_one(client, name):
    return eventually(lambda: (lambda one: one if one["status"] == "live" else None)(client.get_deployment_status(name)), 20, what="live")


def client_of(key, base):
    return importlib.import_module("monsterapi").client(key, base)


def test_the_python_client_through_a_whole_life(gate):
    client = client_of(KEY_ACME, base_of(gate))
    name = client.deploy("llm", {**LLM, "deployment_name": "life", "prompt_template": "<s>[INST]{system}: {prompt}[/INST]{completion}</s>"})["deployment_id"]
    live = live_one(client, name)
    for base in (live["URL"], live["URL"] + "/v1"):
        own = client_of(live["api_auth_token"], base)
        words = own.generate("deploy-llm", {"prompt": "Hi there:", "max_tokens": 8, "n": 1})["text"]
        assert len(words) == 1 and words[0].startswith("Hi there: word1"), words
        pieces = list(own.generate("deploy-llm", {"prompt": "Hi again:", "stream": True}))
        texts = [piece["text"][0] for piece in pieces]
        assert texts[0] == "Hi again:" and texts[-1].startswith("Hi again: word1 word2") and all(b.startswith(a) for a, b in zip(texts, texts[1:])), texts
        module = importlib.import_module("monsterapi.nextGenLLMClient")
        request = module.GenerateRequest(model="mistralai/Mistral-7B-Instruct-v0.2", messages=[{"role": "user", "content": "Hi"}], max_tokens=20)
        assert module.LLMClient(api_key=live["api_auth_token"], base_url=base).generate(request)
    assert client.get_deployment_logs(name)["logs"]
    assert any(one["deployment_id"] == name for one in client.get_list_of_deployments()["deployments"])
    assert client.terminate_deployment(name)["status"] == "terminated"
    with pytest.raises(Exception, match="401"):
        own.generate("deploy-llm", {"prompt": "Hi"})


@pytest.mark.parametrize("file, name", cases("monster_deployed.test.mjs"))
def test_monster_for_node(gate, file, name):
    check(file, name, MONSTER_URL=base_of(gate), KEY_ACME=KEY_ACME)
