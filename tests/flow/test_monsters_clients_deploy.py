# SPDX-License-Identifier: Apache-2.0
"""Monster API's deploy calls: launch, status, logs, list, terminate; an endpoint of its own for each; nobody else's business."""

import json
import os
import signal

import pytest
from deployed import FAKE, MARK, deployed, pids
from harness import KEY_ACME, KEY_ACME_FAST, KEY_GLOBEX, Sluice, chat_request, eventually
from raw_upstream import Upstream

LLM = {"deployment_name": "Support Bot", "basemodel_path": "mistralai/Mistral-7B-Instruct-v0.2", "prompt_template": "{prompt}{completion}",
       "per_gpu_vram": 24, "gpu_count": 1, "use_nightly": False, "multi_lora": False}


@pytest.fixture(scope="module")
def gate():
    command = [FAKE, "--port", "{port}", "--model", "{model}", "--mark", MARK, "--echo", "1"]
    config = deployed(deployments={"monster": {"profiles": {
        "24x1": {"engine": "vllm", "command": command, "memory": "100MiB"},
        "8x1": {"engine": "llama-cpp", "command": command, "models": {"small": "/models/small.gguf"}},
        "48x1": {"engine": "vllm", "command": [*command, "--tokens", "100"], "memory": "100MiB"},
        "80x2": {"engine": "vllm", "command": [*command, "--tokens", "500", "--tps", "10"], "memory": "100MiB"},
    }}})
    config["tenants"][0]["may_deploy"] = True
    config["tenants"][1]["models"] = ["*"]
    with Sluice(config) as sluice:
        yield sluice


def launch(gate, key=KEY_ACME, **changes):
    return gate.post("/v1/deploy/llm", {**LLM, **changes}, key=key)


def status_of(gate, name, key=KEY_ACME):
    return gate.get(f"/v1/deploy/status/{name}", key=key)


def until_live(gate, name):
    return eventually(lambda: (lambda answer: answer.json if answer.json["status"] == "live" else None)(status_of(gate, name)), 20, what="live")


def test_a_life(gate):
    launched = launch(gate)
    assert launched.status == 200, launched
    name = launched.json["deployment_id"]
    assert len(name) == 36 and status_of(gate, name).json["status"] in ("building", "live")
    live = until_live(gate, name)
    assert live["message"] == "Server has started !!!" and live["URL"].endswith(f"/d/{name}") and live["URL"].startswith("http://"), live
    token = live["api_auth_token"]
    for path in (f"/d/{name}", f"/d/{name}/v1"):
        chat = gate.post(f"{path}/chat/completions", {"model": "mistralai/Mistral-7B-Instruct-v0.2", "messages": []}, key=token)
        assert chat.status == 200 and chat.json["model"] == "mistralai/Mistral-7B-Instruct-v0.2", chat
        assert gate.post(f"{path}/completions", {"prompt": "Hi"}, key=token).status == 200
        [model] = gate.get(f"{path}/models", key=token).json["data"]
        assert model["meta"]["state"] == "ready", model
        assert gate.get(f"{path}/models/info", key=token).status == 200
    assert gate.post(f"/d/{name}/v1/private_deployment/generate", {"prompt": "Hi"}, key=token).json["response"]["text"][0].startswith(" word1")
    row = gate.ledger_row(chat.header("x-request-id"))
    assert (row["tenant"], row["key"]) == ("acme", f"deployment:{launched.json['deployment_name']}"), row
    lines = eventually(lambda: gate.get(f"/v1/deploy/logs/{name}?n_lines=5").json.get("logs"), what="logs")
    assert any("loaded" in line for line in lines), lines
    listed = gate.get("/v1/deploy/list").json["deployments"]
    assert [one["deployment_id"] for one in listed] == [name] and listed[0]["deployment_name"].startswith("support-bot-"), listed
    ended = gate.post("/v1/deploy/terminate", {"deployment_id": name, "actor": "user"})
    assert ended.status == 200 and ended.json["status"] == "terminated", ended
    assert status_of(gate, name).json["status"] == "terminated"
    assert gate.get("/v1/deploy/list").json["deployments"] == []
    eventually(lambda: not pids(), what="its server has ended")
    assert gate.post(f"/d/{name}/v1/chat/completions", {"messages": []}, key=token).status == 401


def test_it_is_its_tenants_own(gate):
    launched = launch(gate, api_auth_token="5ecre7-token-of-its-own").json
    name, model = launched["deployment_id"], launched["deployment_name"]
    live = until_live(gate, name)
    assert live["api_auth_token"] == "5ecre7-token-of-its-own"
    assert gate.chat(model).status == 200
    assert gate.chat(model, key=KEY_ACME_FAST).status == 403, "a key that may call less still may not"
    assert gate.chat(model, key=KEY_GLOBEX).status == 404
    assert model not in gate.get("/v1/models", key=KEY_GLOBEX).text and model in gate.get("/v1/models").text
    assert status_of(gate, name, KEY_GLOBEX).status == 404
    assert gate.get(f"/v1/deploy/logs/{name}", key=KEY_GLOBEX).status == 404
    for key in (KEY_ACME, KEY_GLOBEX, "5ecre7-token-of-its-owm", None):
        assert gate.post(f"/d/{name}/chat/completions", {"messages": []}, key=key).status == 401
    for path in ("files", "batches", "responses/x", "deploy/list", "embeddings/../models"):
        assert gate.get(f"/d/{name}/v1/{path}", key="5ecre7-token-of-its-own").status in (400, 404, 405), path
    assert gate.chat("fast", key="5ecre7-token-of-its-own").status == 401, "it opens nothing else"
    assert gate.post("/v1/deploy/terminate", {"deployment_id": name}).status == 200
    assert "5ecre7-token" not in gate.log()


def test_its_own_generate(gate):
    name = launch(gate, per_gpu_vram=48, prompt_template="<s>[INST]{system}: {prompt}[/INST]{completion}</s>").json["deployment_id"]
    token = until_live(gate, name)["api_auth_token"]
    for path in (f"/d/{name}/generate", f"/d/{name}/v1/generate"):
        answer = gate.post(path, {"prompt": "Hi there:", "max_tokens": 8, "n": 1}, key=token)
        assert answer.status == 200 and json.loads(answer.json)["text"][0].startswith("Hi there: word1"), answer
        answer = gate.post(path, {"input_variables": {"system": "Be kind", "prompt": "hi"}}, key=token)
        assert json.loads(answer.json)["text"][0].startswith("<s>[INST]Be kind: hi[/INST]</s> word1"), answer
        streamed = gate.post(path, {"prompt": "Hi", "stream": True}, key=token)
        texts = [json.loads(piece)["text"][0] for piece in streamed.body.removesuffix(b"\0").split(b"\0")]
        assert texts[0] == "Hi" and texts[1] == "Hi word1" and texts[-1].endswith("word99"), streamed
        assert all(later.startswith(text) for text, later in zip(texts, texts[1:]))
        for call in ({"messages": [{"role": "user", "content": "Hi"}]}, {"model": "any", "formatted_prompt": "Hi"}):  # the synchronous service's clients
            assert gate.post(path, call, key=token).json["response"]["text"][0].startswith(" word1"), call
    row = gate.ledger_row(answer.header("x-request-id"))
    assert (row["tenant"], row["operation"], row["dialect"]) == ("acme", "completion", "monster") and row["key"].startswith("deployment:"), row
    for call, param in (({"input_variables": {"prompt": "hi"}}, "'system'"), ({}, "prompt"), ({"input_variables": {}, "prompt": "hi"}, "prompt"), ({"prompt": 1}, "prompt")):
        refused = gate.post(f"/d/{name}/generate", call, key=token)
        assert refused.status == 400 and param in refused.json["message"] and refused.json["error"]["code"] == 400, refused
    assert gate.post(f"/d/{name}/generate", {"prompt": "hi"}, key=KEY_ACME).status == 401
    assert gate.get(f"/d/{name}/generate", key=token).status == 405
    assert gate.post("/v1/deploy/terminate", {"deployment_id": name}).status == 200


def test_its_own_stream_says_that_it_broke_off(gate):
    name = launch(gate, per_gpu_vram=80, gpu_count=2).json["deployment_id"]
    token = until_live(gate, name)["api_auth_token"]
    with gate.connect() as client:
        client.send(chat_request({"prompt": "Hi", "stream": True}, token, f"/d/{name}/generate"))
        pieces = client.pieces(client.begin_response("POST"))
        first = next(iter(pieces))
        for pid in pids():
            os.kill(pid, signal.SIGKILL)
        *_, last, empty = (first + b"".join(pieces)).split(b"\0")
    assert json.loads(first.split(b"\0")[0]) == {"text": ["Hi"]} and empty == b""
    assert json.loads(last)["error"]["code"] >= 500 and json.loads(last)["message"], last
    assert gate.post("/v1/deploy/terminate", {"deployment_id": name}).status == 200


def test_who_may_not_deploy(gate):
    refused = launch(gate, key=KEY_GLOBEX)
    assert refused.status == 403 and refused.json["message"] == refused.json["error"]["message"] and refused.json["error"]["code"] == 403, refused
    assert gate.post("/v1/deploy/llm", LLM, key=None).status == 401
    assert gate.get("/v1/deploy/list", key=KEY_GLOBEX).json == {"deployments": []}


@pytest.mark.parametrize("changes, words", [
    ({"per_gpu_vram": 80}, "80x1"),
    ({"per_gpu_vram": "24"}, "per_gpu_vram"),
    ({"basemodel_path": "/etc/passwd"}, "basemodel_path"),
    ({"basemodel_path": "../../secret"}, "basemodel_path"),
    ({"basemodel_path": "--help"}, "basemodel_path"),
    ({"basemodel_path": ""}, "basemodel_path"),
    ({"basemodel_path": 7}, "basemodel_path"),
    ({"loramodel_path": "/etc/passwd"}, "loramodel_path"),
    ({"per_gpu_vram": 8, "basemodel_path": "large"}, "basemodel_path"),
    ({"max_model_len": "x"}, "max_model_len"),
])
def test_what_is_not_to_be_had(gate, changes, words):
    refused = launch(gate, **changes)
    assert refused.status == 422 and words in refused.json["message"], refused


def test_a_tenant_has_only_so_many():
    config = deployed(deployments={"monster": {"max_per_tenant": 2, "profiles": {"24x1": {"engine": "vllm", "command": [FAKE, "--port", "{port}", "--mark", MARK]}}}})
    for tenant in config["tenants"][:2]:
        tenant["may_deploy"] = True
    with Sluice(config) as gate:
        first, second = (launch(gate).json["deployment_id"] for _ in range(2))
        refused = launch(gate)
        assert refused.status == 403 and "max_per_tenant" in refused.json["message"] and refused.json["error"]["code"] == 403, refused
        assert launch(gate, basemodel_path="/etc/passwd").status == 422
        other = launch(gate, key=KEY_GLOBEX)
        assert other.status == 200, other
        assert gate.post("/v1/deploy/terminate", {"deployment_id": first}).status == 200
        third = launch(gate)
        assert third.status == 200, third
        assert {one["deployment_id"] for one in gate.get("/v1/deploy/list").json["deployments"]} == {second, third.json["deployment_id"]}


def test_images_and_odd_bodies(gate):
    image = {"serving_params": {"per_gpu_vram": 24, "gpu_count": 1}, "image_registry": {"registryName": "x/y:1"}, "env_params": {"A": "b"}, "port_numbers": [80]}
    assert "no images" in gate.post("/v1/deploy/custom_image", image).json["message"]
    assert gate.post("/v1/deploy/sdxl-dreambooth", {"basemodel_path": "a/b"}).status == 501
    assert gate.post("/v1/deploy/llm", [1]).status == 422
    assert gate.post("/v1/deploy/terminate", {"deployment_id": "nobody"}).status == 404
    assert status_of(gate, "nobody").status == 404


def test_guardrails_see_the_prompt_that_the_model_gets():
    command = [FAKE, "--port", "{port}", "--model", "m", "--mark", MARK, "--echo", "1"]
    own = {"name": "own", "command": command, "engine": "vllm", "token": "5ecre7-of-its-own", "tenant": "acme", "prompt_template": "<s>{prompt}</s>"}
    rules = [{"name": "mail", "stage": "request", "type": "contains", "terms": ["forbidden fruit"], "action": "block", "tenants": ["acme"]}]
    answers = [{"name": "answers", "stage": "response", "type": "contains", "terms": ["apricot"], "action": "block"},
               {"name": "fruit", "stage": "response", "type": "contains", "terms": ["pear", "word7"], "action": "redact"}]
    for guardrails in (rules, rules + answers):
        with Sluice(deployed(own, guardrails=guardrails)) as gate:
            def ask(call):
                return gate.post("/d/own/generate", call, key="5ecre7-of-its-own")

            refused = ask({"input_variables": {"prompt": "the forbidden fruit"}})
            assert refused.status == 400 and "mail" in refused.json["message"], refused
            for name in ("prompt", "formatted_prompt"):
                assert ask({name: "the forbidden fruit"}).status == 400, name
            assert ask({"input_variables": {"prompt": "an apple"}}).status == 200
            bad, pear, chat = ask({"prompt": "an apricot"}), ask({"prompt": "a pear!"}), ask({"formatted_prompt": "a fig"})
            assert pear.status == chat.status == 200 and b"!" in pear.body and b"word6" in chat.body, (pear, chat)
            streamed, stopped = ask({"prompt": "a pear!", "stream": True}), ask({"prompt": "an apricot", "stream": True})
            assert streamed.status == 200 and b"!" in streamed.body and b"word6" in streamed.body, streamed
            if guardrails == rules:
                assert bad.status == 200 and b"pear" in pear.body and b"word7" in chat.body and b"pear" in streamed.body, (bad, pear, chat, streamed)
                assert stopped.status == 200 and b"apricot" in stopped.body, stopped
            else:
                assert bad.status == 400 and "answers" in bad.json["message"], bad
                assert b"pear" not in pear.body and b"word7" not in chat.body, (pear, chat)
                assert texts_of(streamed)[-1].startswith("a [REDACTED:fruit]! word1") and b"pear" not in streamed.body and b"word7" not in streamed.body
                assert b"apricot" not in stopped.body and b"answers" in stopped.body, stopped


def texts_of(streamed):
    return [json.loads(piece)["text"][0] for piece in streamed.body.removesuffix(b"\0").split(b"\0")]


@pytest.mark.parametrize("action", ["allow", "redact", "block"])
def test_a_webhook_is_asked_about_answers_of_its_own_generate(action):
    command = [FAKE, "--port", "{port}", "--model", "m", "--mark", MARK, "--echo", "1"]
    own = {"name": "own", "command": command, "engine": "vllm", "token": "5ecre7-of-its-own", "tenant": "acme", "prompt_template": "<s>{prompt}</s>"}

    def judge(call):
        said = {"action": action, "message": "Not this."}
        if action == "redact":
            said["texts"] = [text.replace("word5 ", "*** ") for text in call.json["texts"]]
        call.respond(200, json.dumps(said).encode())

    with Upstream(judge) as service:
        hook = {"name": "asked", "stage": "response", "type": "webhook", "url": service.url.removesuffix("/v1") + "/check", "on_error": "block"}
        with Sluice(deployed(own, guardrails=[hook])) as gate:
            calls = [{"prompt": "an apple"}, {"formatted_prompt": "an apple"}, {"prompt": "an apple", "stream": True}]
            for number, call in enumerate(calls, 1):
                got = gate.post("/d/own/generate", call, key="5ecre7-of-its-own")
                asked = service.wait_calls(number)[-1].json
                assert asked["stage"] == "response" and any("word5 " in text for text in asked["texts"]), asked
                if action == "block":
                    assert b"word1" not in got.body and b"Not this." in got.body, got
                    assert got.status == 400 or call.get("stream"), got
                else:
                    assert got.status == 200 and b"word6" in got.body and (b"word5 " in got.body) == (action == "allow"), got
                    assert (b"***" in got.body) == (action == "redact"), got
                row = gate.ledger_row(got.header("x-request-id"))
                assert row["tenant"] == "acme" and row["output_tokens"] > 0, row


def test_no_answer_passes_where_the_webhook_is_away():
    command = [FAKE, "--port", "{port}", "--model", "m", "--mark", MARK, "--echo", "1"]
    own = {"name": "own", "command": command, "engine": "vllm", "token": "5ecre7-of-its-own", "tenant": "acme", "prompt_template": "<s>{prompt}</s>"}
    hook = {"name": "asked", "stage": "response", "type": "webhook", "url": "http://127.0.0.1:9/", "on_error": "block"}
    with Sluice(deployed(own, guardrails=[hook])) as gate:
        for call in ({"prompt": "an apple"}, {"formatted_prompt": "an apple"}, {"prompt": "an apple", "stream": True}):
            got = gate.post("/d/own/generate", call, key="5ecre7-of-its-own")
            assert b"word1" not in got.body and b"could not be made" in got.body and (got.status == 400 or call.get("stream")), got
