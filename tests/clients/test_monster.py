# SPDX-License-Identifier: Apache-2.0
"""Monster API's own clients, unmodified, and LlamaIndex': only the key and the base URL are ours."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from harness import KEY_ACME, KEY_WRONG, ROOT, Sluice, config_for, model_for, provider_for
from node_runner import cases, check

LLAMA_INDEX = "llama-index-llms-monsterapi==0.6.0"
MODELS = {"llama2-7b-chat": "mock", "mistralai/Mistral-7B-Instruct-v0.2": "mock", "mpt-7b-instruct": "mock/slow", "txt2img": "mock-image", "sunoai-bark": "mock-audio",
          "whisper": "mock-audio", "zephyr-7b-beta": "mock/400"}


@pytest.fixture(scope="module")
def monster(mock):
    models = [model_for(name, "mock", model, context_window=4096) for name, model in MODELS.items()]
    with Sluice(config_for(mock.url, providers=[provider_for(mock.url, "mock")], models=models)) as gate:
        yield f"http://{gate.address()[0]}:{gate.address()[1]}/v1"


@pytest.fixture()
def client(monster):
    return importlib.import_module("monsterapi").client(KEY_ACME, monster)


@pytest.mark.parametrize("model", ["llama2-7b-chat", "mpt-7b-instruct"])
def test_the_python_client_generates_a_text(client, model):
    got = client.get_response(model, {"prompt": "Say hello.", "temp": 0.5, "max_length": 20})
    assert got["message"] and got["process_id"]
    found = client.wait_and_get_result(got["process_id"], timeout=30)
    assert found["text"], found
    assert client.get_status(got["process_id"])["status"] == "COMPLETED"


def test_the_python_client_makes_a_picture_and_a_sound(client):
    import requests

    for model, data in (("txt2img", {"prompt": "a cat", "samples": 2, "aspect_ratio": "landscape"}), ("sunoai-bark", {"prompt": "Hello.", "speaker": "en_speaker_6"})):
        links = client.generate(model, data)["output"]
        assert links and all(link.startswith("http") for link in links), links
        assert all(requests.get(link, timeout=10).content for link in links)


def test_the_python_client_uploads_a_file_to_be_written_down(client, tmp_path):
    sound = tmp_path / "a.wav"
    sound.write_bytes(b"RIFF" + bytes(2000))
    assert client.generate("whisper", {"file": str(sound)})["text"]


def test_the_python_client_hears_what_failed(client, monster):
    with pytest.raises(RuntimeError, match="failed"):
        client.generate("zephyr-7b-beta", {"prompt": "hi"})
    with pytest.raises(Exception, match="404"):
        client.get_response("falcon-7b-instruct", {"prompt": "hi"})
    with pytest.raises(Exception, match="401"):
        importlib.import_module("monsterapi").client(KEY_WRONG, monster).get_response("txt2img", {"prompt": "hi"})


def test_the_python_client_of_the_next_generation(monster):
    module = importlib.import_module("monsterapi.nextGenLLMClient")
    client = module.LLMClient(api_key=KEY_ACME, base_url=monster)
    request = module.GenerateRequest(model="mistralai/Mistral-7B-Instruct-v0.2", messages=[{"role": "user", "content": "Say hello."}], max_tokens=20)
    assert client.generate(request)


def llama_index():
    """LlamaIndex in an environment of its own, made once for each version."""
    python = ROOT / ".venv" / "llama-index" / "bin" / "python"
    stamp = ROOT / ".venv" / "llama-index" / ".stamp"
    if not stamp.exists() or stamp.read_text() != LLAMA_INDEX:
        subprocess.run([sys.executable, "-m", "venv", str(ROOT / ".venv" / "llama-index")], check=True, timeout=120)
        done = subprocess.run([str(python), "-m", "pip", "install", "-q", LLAMA_INDEX], text=True, timeout=600, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == 0, done.stdout[-4000:]
        stamp.write_text(LLAMA_INDEX)
    return python


@pytest.mark.timeout(700)
@pytest.mark.parametrize("with_v1", [True, False])
def test_llama_index(monster, with_v1):
    base = monster if with_v1 else monster.removesuffix("/v1")
    done = subprocess.run([str(llama_index()), str(Path(__file__).parent / "llama_index_monster.py"), base, KEY_ACME, "llama2-7b-chat"],
                          text=True, timeout=120, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr[-4000:]
    got = json.loads(done.stdout.splitlines()[-1])
    assert got["window"] == 4096 and got["text"] and got["stream"], got


@pytest.mark.parametrize("file, name", cases("monster.test.mjs"))
def test_monster_for_node(monster, file, name):
    check(file, name, MONSTER_URL=monster, KEY_ACME=KEY_ACME, KEY_WRONG=KEY_WRONG)
