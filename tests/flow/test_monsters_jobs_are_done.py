# SPDX-License-Identifier: Apache-2.0
"""Monster API's asynchronous calls: /v1/generate/{model} and /v1/status/{id}, uploads, its first version, fine-tuning."""

import base64
import json
import os
import re
import signal
import time

import pytest
from harness import KEY_ACME, KEY_GLOBEX, KEY_WRONG, Sluice, chat_body, chunked, config_for, eventually, is_alive, model_for, provider_for

BOUNDARY = "---011000010111000001101001"  # the Python client's, always
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(64))
DEFAULTS = {"top_k": 40, "top_p": 0.9, "temp": 0.98, "max_length": 256, "repetition_penalty": 1.2, "beam_size": 1}


def configure(upstream):
    names = {"fast": "upstream-model", "txt2img": "painter", "img2img": "painter", "sunoai-bark": "speaker", "whisper": "writer",
             "acme/llama": "other-model"}
    return config_for(upstream, providers=[provider_for(upstream)], models=[model_for(name, model=model) for name, model in names.items()])


def form(fields, files=()):
    lines = []
    for name, value in fields.items():
        lines.append(f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode())
    for name, (file, kind, data) in dict(files).items():
        lines.append(f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="{file}"\r\nContent-Type: {kind}\r\n\r\n'.encode()
                     + data + b"\r\n")
    return b"".join(lines) + f"--{BOUNDARY}--\r\n".encode()


def post_form(gate, path, fields, files=(), key=KEY_ACME):
    return gate.request("POST", path, body=form(fields, files), key=key,
                        headers=[("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")])


def accepted(got):
    assert got.status == 200 and got.json["message"] == "Request accepted successfully", got
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-[48][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", got.json["process_id"]), got
    return got.json["process_id"]


def result(gate, name, status="COMPLETED", key=KEY_ACME):
    got = gate.get(f"/v1/status/{name}?wait=20", key=key, timeout=30)
    assert got.status == 200 and got.json["process_id"] == name and got.json["status"] == status, got
    return got.json["result"]


def fetch(gate, url):
    """What is behind a link: without a key."""
    return gate.get(re.sub(r"^https?://[^/]+", "", url), key=None)


# ------------------------------------------------------------------------------- texts


@pytest.mark.parametrize("how", ["json", "form"])
def test_a_text_is_generated(gate, upstream, how):
    upstream.answer = lambda call: call.respond(200, chat_body("Gr\u00fc\u00df \"Gott\""))
    fields = {"prompt": "Say \"hi\"\nto \u2603", **DEFAULTS}
    got = gate.post("/v1/generate/fast", fields) if how == "json" else post_form(gate, "/v1/generate/fast", {k: str(v) for k, v in fields.items()})
    assert result(gate, accepted(got)) == {"text": "Gr\u00fc\u00df \"Gott\""}
    sent = upstream.last().json
    assert sent["model"] == "upstream-model" and sent["messages"] == [{"role": "user", "content": fields["prompt"]}]
    assert sent["temperature"] == 0.98 and sent["top_p"] == 0.9 and 256 in (sent.get("max_tokens"), sent.get("max_completion_tokens"))


def test_a_prompt_that_looks_like_a_number_stays_a_text(gate, upstream):
    upstream.answer = lambda call: call.respond(200, chat_body("42"))
    for prompt in ("7", "True", "None", "null", ""):
        if prompt:
            result(gate, accepted(post_form(gate, "/v1/generate/fast", {"prompt": prompt})))
            assert upstream.last().json["messages"][0]["content"] == prompt


def test_a_models_name_may_have_escapes(gate, upstream):
    upstream.answer = lambda call: call.respond(200, chat_body("Hello"))
    assert result(gate, accepted(gate.post("/v1/generate/acme%2Fllama", {"prompt": "hi"}))) == {"text": "Hello"}
    assert upstream.last().json["model"] == "other-model"
    for bad in ("a%252F..", "..%2Fx", "%00", "%zz", "a//b"):
        assert gate.post(f"/v1/generate/{bad}", {"prompt": "hi"}).status in (400, 404), bad
    got = gate.post("/v1/generate/no%2Fbody", {"prompt": "hi"})
    assert got.status == 404 and got.error["code"] == 404 and "no/body" in got.json["message"], got


@pytest.mark.parametrize("model, fields, param", [
    ("fast", {}, "prompt"), ("txt2img", {"prompt": 3}, "prompt"), ("txt2img", {"prompt": "x", "samples": 99}, "samples"),
    ("sunoai-bark", {"speaker": "x"}, "prompt"), ("whisper", {"language": "en"}, "file"),
    ("whisper", {"file": "http://169.254.169.254/latest"}, "file"), ("whisper", {"file": "file:///etc/passwd"}, "file"),
    ("img2img", {"prompt": "x", "init_image_url": "https://example.com/x.png"}, "init_image_url")])
def test_what_cannot_be_done_is_refused_by_name(gate, upstream, model, fields, param):
    got = gate.post(f"/v1/generate/{model}", fields)
    assert got.status == 400 and f"'{param}'" in got.json["message"] and got.error["code"] == 400, got
    assert got.json["message"] == got.error["message"] and not upstream.calls


@pytest.mark.parametrize("body", [
    b"", b"--x", form({"prompt": "a"})[:-6], b"junk\r\n" + form({"prompt": "a"}), form({"prompt": "a"}) + b"more",
    form({"prompt": "a"}) .replace(b"form-data", b"attachment"), form({"prompt": "a"}).replace(b"\r\n\r\na", b"a"),
    form({}, {"prompt": ("x", "text/plain", b"a")}), form({f"f{i}": "x" for i in range(70)})])
def test_a_broken_form_is_refused(gate, upstream, body):
    got = gate.request("POST", "/v1/generate/fast", body=body, headers=[("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")])
    assert got.status == 400 and got.json["message"], got
    assert not upstream.calls


def test_errors_have_their_shape(gate, upstream):
    assert gate.post("/v1/generate/fast", {"prompt": "x"}, key=None).status == 401
    got = gate.request("POST", "/v1/generate/fast", body=b"{", headers=[("Content-Type", "application/json")])
    assert got.status == 400 and got.error["code"] == 400 and got.json["message"], got
    got = gate.get("/v1/status/no-such-job")
    assert got.status == 404 and got.error["code"] == 404, got
    upstream.answer = lambda call: call.respond(400, b'{"error": {"message": "No."}}')
    failed = result(gate, accepted(gate.post("/v1/generate/fast", {"prompt": "hi"})), "FAILED")
    assert "No." in failed["errorMessage"], failed


# ------------------------------------------------------------------------------- pictures and sound


def test_pictures_become_links_that_expire(upstream):
    upstream.answer = lambda call: call.respond(200, {"created": 1, "data": [
        {"b64_json": base64.b64encode(PNG).decode()}, {"url": "https://pictures.example.com/1.png"}]})
    config = configure(upstream)
    config["jobs"] = {"keep": "2s"}
    with Sluice(config) as gate:
        got = post_form(gate, "/v1/generate/txt2img", {"prompt": "a cat", "negprompt": "", "samples": "2", "steps": "30",
                                                       "aspect_ratio": "portrait", "guidance_scale": "7.5", "seed": "None"})
        links = result(gate, accepted(got))["output"]
        assert upstream.last().path == "/v1/images/generations"
        sent = upstream.last().json
        assert (sent["model"], sent["prompt"], sent["n"], sent["size"]) == ("painter", "a cat", 2, "1024x1536"), sent
        assert links[1] == "https://pictures.example.com/1.png" and len(links) == 2
        picture = fetch(gate, links[0])
        assert picture.status == 200 and picture.body == PNG and picture.header("content-type") == "image/png", picture
        assert "attachment" in picture.header("content-disposition") and picture.header("x-content-type-options") == "nosniff"
        for changed in (links[0].replace("/0", "/1", 1), links[0][:-1] + ("0" if links[0][-1] != "0" else "1"),
                        links[0].replace("name=image", "name=other"), links[0].replace("/download/", "/upload/")):
            assert fetch(gate, changed).status in (404, 405), changed
        eventually(lambda: fetch(gate, links[0]).status == 404, 10, what="it has expired")
        eventually(lambda: not os.listdir(gate.state / "jobs/files"), 10, what="it is erased")


def test_speech_becomes_a_link(gate, upstream):
    upstream.answer = lambda call: call.respond(200, b"RIFFsound", content_type="audio/mpeg")
    links = result(gate, accepted(gate.post("/v1/generate/sunoai-bark", {"prompt": "Hello", "speaker": "en_speaker_1"})))["output"]
    sent = upstream.last()
    assert sent.path == "/v1/audio/speech" and sent.json["input"] == "Hello" and sent.json["voice"] == "en_speaker_1"
    sound = fetch(gate, links[0])
    assert sound.body == b"RIFFsound" and sound.header("content-type") == "audio/mpeg"


@pytest.mark.parametrize("how", ["inside", "uploaded"])
def test_speech_is_written_down(gate, upstream, how):
    upstream.answer = lambda call: call.respond(200, {"text": "Hello"})
    sound = b"RIFF" + os.urandom(3000)
    if how == "inside":
        got = post_form(gate, "/v1/generate/whisper", {"language": "de", "diarize": "False"}, {"file": ("a b.wav", "audio/wav", sound)})
    else:
        links = gate.get("/v1/upload?filename=a.wav").json
        put = gate.request("PUT", re.sub(r"^https?://[^/]+", "", links["upload_url"]), body=sound, key=None, headers=[("Content-Type", "audio/wav")])
        assert put.status == 200, put
        got = gate.post("/v1/generate/whisper", {"file": links["download_url"], "language": "de"})
    assert result(gate, accepted(got)) == {"text": "Hello"}
    sent = upstream.last()
    assert sent.path == "/v1/audio/transcriptions" and sound in sent.body and b'name="language"\r\n\r\nde\r\n' in sent.body
    assert b'name="model"\r\n\r\nwriter\r\n' in sent.body


def test_a_picture_is_changed(gate, upstream):
    upstream.answer = lambda call: call.respond(200, {"data": [{"url": "https://pictures.example.com/2.png"}]})
    got = post_form(gate, "/v1/generate/img2img", {"prompt": "a dog", "strength": "0.75"}, {"init_image_url": ("x.png", "image/png", PNG)})
    assert result(gate, accepted(got))["output"] == ["https://pictures.example.com/2.png"]
    assert upstream.last().path == "/v1/images/edits" and PNG in upstream.last().body


# ------------------------------------------------------------------------------- uploads


def put(gate, url, body, **options):
    return gate.request("PUT", re.sub(r"^https?://[^/]+", "", url), body=body, key=None, **options)


def test_a_file_is_uploaded_and_got_by_its_links_alone(gate):
    links = gate.get("/v1/upload?filename=../../my%20voice.wav").json
    assert "my" in links["upload_url"] and "/../" not in links["upload_url"]
    assert fetch(gate, links["download_url"]).status == 404, "it was not put there yet"
    data = os.urandom(2_000_000)
    assert put(gate, links["upload_url"], data).status == 200
    assert fetch(gate, links["download_url"]).body == data
    assert put(gate, links["upload_url"], b"other").status == 409, "a file is written once"
    assert fetch(gate, links["download_url"]).body == data
    assert put(gate, links["download_url"].replace("/download/", "/upload/"), b"x").status == 404
    assert gate.get("/v1/upload?filename=x", key=None).status == 401


def test_another_tenants_upload_is_not_read(gate, upstream):
    links = gate.get("/v1/upload?filename=a.wav", key=KEY_GLOBEX).json
    assert put(gate, links["upload_url"], b"RIFF").status == 200
    got = gate.post("/v1/generate/whisper", {"file": links["download_url"]})
    assert got.status == 400 and not upstream.calls, got


def test_uploads_are_bounded(upstream):
    config = configure(upstream)
    config["jobs"] = {"upload_max": "64KiB", "upload_quota": "100KiB", "upload_ttl": "2s"}
    with Sluice(config) as gate:
        links = [gate.get("/v1/upload?filename=a").json for _ in range(4)]
        assert put(gate, links[0]["upload_url"], b"x" * 70000).status == 413
        got = put(gate, links[0]["upload_url"], chunked(b"x" * 80000, 10000), headers=[("Transfer-Encoding", "chunked")])
        assert got.status == 413, got
        assert put(gate, links[1]["upload_url"], b"x" * 60000).status == 200
        assert put(gate, links[2]["upload_url"], b"x" * 60000).status == 429, "the quota"
        assert put(gate, links[3]["upload_url"], b"x" * 30000).status == 200
        assert sorted(len(name) for name in os.listdir(gate.state / "jobs/files")) == [62, 62]
        eventually(lambda: fetch(gate, links[1]["download_url"]).status == 404, 10, what="it is erased after a while")
        eventually(lambda: not os.listdir(gate.state / "jobs/files"), 10, what="all are")


def test_an_upload_that_breaks_off_leaves_nothing(gate):
    links = gate.get("/v1/upload?filename=a").json
    target = re.sub(r"^https?://[^/]+", "", links["upload_url"])
    with gate.connect() as client:
        client.send(f"PUT {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n".encode() + b"x" * 500)
        time.sleep(0.2)
    eventually(lambda: put(gate, links["upload_url"], b"whole").status == 200, what="it can be put anew")
    assert fetch(gate, links["download_url"]).body == b"whole"
    assert not [name for name in os.listdir(gate.state / "jobs/files") if name.endswith(".part")]


# ------------------------------------------------------------------------------- the first version

HEADERS = [("Content-Type", "application/json")]


@pytest.mark.parametrize("headers", [
    [("x-api-key", KEY_ACME)], [("Authorization", KEY_ACME)], [("Authorization", f"Bearer {KEY_ACME}")],
    [("x-api-key", KEY_ACME), ("Authorization", "Bearer eyJhbGciOiJIUzI1NiJ9.e30.x")], [("x-api-key", KEY_ACME), ("Authorization", KEY_ACME)]])
def test_the_first_versions_calls_and_keys(gate, upstream, headers):
    upstream.answer = lambda call: call.respond(200, chat_body("Hello"))
    ask = {"headers": [*headers, *HEADERS], "key": None}
    name = accepted(gate.request("POST", "/apis/add-task", body=json.dumps({"model": "fast", "data": {"prompt": "hi"}}).encode(), **ask))
    assert result(gate, name) == {"text": "Hello"}
    got = gate.request("POST", "/apis/task-status", body=json.dumps({"process_id": name}).encode(), **ask)
    assert got.status == 200 and got.json["message"], got
    data = got.json["response_data"]
    assert data["status"] == "COMPLETED" and data["result"] == {"text": "Hello"} and data["process_id"] == name
    assert data["credit_used"] == pytest.approx(0.000039) and data["overage"] == 0


@pytest.mark.parametrize("headers", [
    [], [("x-api-key", KEY_WRONG)], [("Authorization", KEY_WRONG)], [("x-api-key", KEY_ACME), ("Authorization", f"Bearer {KEY_GLOBEX}")],
    [("x-api-key", KEY_ACME), ("x-api-key", KEY_ACME)]])
def test_the_first_version_opens_to_no_other_key(gate, headers):
    got = gate.request("POST", "/apis/add-task", body=b"{}", headers=[*headers, *HEADERS], key=None)
    assert got.status == 401 and got.json["message"], got


def test_elsewhere_a_bare_token_is_no_key(gate):
    assert gate.get("/v1/status/x", key=None, headers=[("Authorization", KEY_ACME)]).status == 401


# ------------------------------------------------------------------------------- fine-tuning

TRAINER = """
import json, os, sys, time
kind, payload, output = sys.argv[1:4]
wish = json.load(open(payload))
assert os.getcwd() == output == os.environ["SLUICE_JOB_OUTPUT"]
print("kind", kind, "environment", sorted(k for k in os.environ if "SECRET" in k or "KEY" in k), flush=True)
for i in range(wish.get("lines", 3)):
    print("step", i, flush=True)
if wish.get("sleep"):
    child = os.fork()
    if child == 0:
        time.sleep(600)
    open("child", "w").write(str(child))
    open("pid", "w").write(str(os.getpid()))
    time.sleep(600)
if wish.get("eat"):
    b"x" * (1 << 30)
if wish.get("fail"):
    sys.exit(3)
open("adapter.zip", "wb").write(b"weights")
"""


def tuning(upstream, folder, **more):
    config = configure(upstream)
    (folder / "train.py").write_text(TRAINER)
    config["jobs"] = {"finetune": {"command": ["python3", str(folder / "train.py"), "{kind}", "{payload}", "{output}"], "log_lines": 50, **more}}
    return config


def tuned(gate, name, status):
    return eventually(lambda: (got := gate.get(f"/v1/jobs/{name}").json) and got["status"] == status and got, 20, what=f"{name} is {status}")


def test_fine_tuning_runs_a_command_and_keeps_what_it_made(upstream, tmp_path):
    with Sluice(tuning(upstream, tmp_path, concurrency=4), env={"MY_SECRET": "5ecre7-word"}) as gate:
        got = gate.post("/v1/finetune/llm", {"lines": 80, "hf_config": {"hf_token": "hf_5ecre7"}})
        assert got.status == 200 and got.json["deployment_id"] == got.json["process_id"], got
        name = got.json["deployment_id"]
        made = result(gate, name)
        assert made["exit_code"] == 0 and len(made["output"]) == 1 and fetch(gate, made["output"][0]).body == b"weights"
        assert (gate.state / "jobs/output" / name / "adapter.zip").read_bytes() == b"weights"
        lines = gate.get(f"/v1/jobs/{name}/logs?n_lines=2").json["logs"]
        assert lines == ["step 78", "step 79"], lines
        assert len(gate.get(f"/v1/jobs/{name}/logs?n_lines=1000").json["logs"]) == 50, "the log is bounded"
        assert not (gate.state / "jobs/output" / name / "payload.json").exists(), "it may have had secrets in it"
        other = gate.post("/v1/finetune/speech2text/whisper", {}).json["deployment_id"]
        result(gate, other)
        assert gate.get(f"/v1/jobs/{other}/logs").json["logs"][0] == "kind speech2text/whisper environment []"
        assert "5ecre7" not in gate.log()


def test_a_command_that_fails_says_how(upstream, tmp_path):
    with Sluice(tuning(upstream, tmp_path, memory="400MiB", timeout="2s", concurrency=4)) as gate:
        failing, eating, sleeping = (gate.post("/v1/finetune/llm", {word: 1}).json["deployment_id"] for word in ("fail", "eat", "sleep"))
        assert "exit code 3" in result(gate, failing, "FAILED")["errorMessage"]
        assert "exit code 1" in result(gate, eating, "FAILED")["errorMessage"]
        assert any("MemoryError" in line for line in gate.get(f"/v1/jobs/{eating}/logs").json["logs"])
        assert "finetune.timeout" in result(gate, sleeping, "FAILED")["errorMessage"]
        pid = int((gate.state / "jobs/output" / sleeping / "pid").read_text())
        assert not is_alive(pid)


def test_a_command_is_cancelled_with_all_that_it_began(upstream, tmp_path):
    with Sluice(tuning(upstream, tmp_path)) as gate:
        name = gate.post("/v1/finetune/llm", {"sleep": 1}).json["deployment_id"]
        file = gate.state / "jobs/output" / name / "pid"
        eventually(lambda: file.exists() and file.read_text(), what="it runs")
        child = int((gate.state / "jobs/output" / name / "child").read_text())
        second = gate.post("/v1/finetune/llm", {}).json["deployment_id"]
        assert gate.get(f"/v1/jobs/{second}").json["status"] == "IN_QUEUE" and gate.get(f"/v1/jobs/{second}/logs").json["logs"] == []
        assert gate.request("DELETE", f"/v1/jobs/{name}").status == 200
        tuned(gate, name, "CANCELLED")
        eventually(lambda: not is_alive(child), what="what it had begun has ended, too")
        tuned(gate, second, "COMPLETED")


def test_a_command_ends_with_the_gateway_and_is_run_again(upstream, tmp_path):
    with Sluice(tuning(upstream, tmp_path)) as gate:
        name = gate.post("/v1/finetune/llm", {"sleep": 1}).json["deployment_id"]
        file = gate.state / "jobs/output" / name / "pid"
        eventually(lambda: file.exists() and file.read_text(), what="it runs")
        first, begun = int(file.read_text()), int(file.with_name("child").read_text())
        os.kill(gate.worker_pid, signal.SIGKILL)
        eventually(lambda: not is_alive(first), what="it ended with the gateway")
        eventually(lambda: not is_alive(begun), what="and so did what it had begun")
        eventually(lambda: file.read_text() and int(file.read_text()) != first, 20, what="it is run again")
        gate.request("DELETE", f"/v1/jobs/{name}")
        tuned(gate, name, "CANCELLED")


def test_without_a_command_nothing_is_tuned(gate):
    got = gate.post("/v1/finetune/llm", {})
    assert got.status == 501 and "jobs.finetune.command" in got.json["message"], got
