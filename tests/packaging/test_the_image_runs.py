# SPDX-License-Identifier: Apache-2.0
"""The container image: really built, and run as an unknown user on a file system that it cannot write."""

import http.client
import json
import socket


import harness
import pytest
from containers import LABEL, Container

HARDENED = ["--read-only", "--cap-drop=all", "--security-opt=no-new-privileges"]


@pytest.fixture
def run(engine, image, conf_d):
    """Start a container of the image with a key and the mock model."""
    started = []

    def start(*command, options=()):
        mount = f"{conf_d}:/etc/sluice/conf.d:ro"
        container = Container(engine, image, *command, options=[*HARDENED, "-v", mount, *options])
        started.append(container)
        return container.wait_ready()

    yield start
    for container in started:
        container.__exit__(None)


def test_the_build_sees_sources_and_nothing_else(engine, tmp_path):
    file = tmp_path / "Containerfile"
    file.write_text("FROM scratch\nCOPY . /\n")
    tag = engine.build("localhost/sluice-context:test", file, ".")
    try:
        folder = engine.podman("image", "mount", tag)
        names = sorted(str(path.relative_to(folder)) for path in harness.Path(folder).rglob("*") if path.is_file())
        size = engine.inspect(tag)["Size"]
    finally:
        engine.podman("image", "unmount", tag)
        engine.podman("rmi", "--force", tag)
    tops = {name.partition("/")[0] for name in names}
    assert tops <= {"Makefile", "LICENSE", "gateway", "policy", "providers", "routing", "web", "deploy"}, tops
    assert "gateway/cli/main.c" in names and "deploy/quickstart/packages" in names
    assert not [name for name in names if name.endswith((".o", ".pyc"))]
    assert size < 12e6, f"{size} bytes"


def test_it_says_what_it_is(engine, image):
    facts = engine.inspect(image)
    config, labels = facts["Config"], facts["Config"]["Labels"]
    version = harness.run_cli("version").stdout.split()[1]
    assert config["User"] == "65532:65532"
    assert set(config["ExposedPorts"]) == {"8080/tcp", "9180/tcp"}
    assert set(config["Volumes"]) == {"/var/lib/sluice"}
    assert config["StopSignal"] in ("SIGTERM", "15")
    assert config["Entrypoint"] == ["/usr/bin/sluice"] and config["Cmd"] == ["run"]
    assert facts["Healthcheck"]["Test"][:3] == ["CMD", "/usr/bin/sluice", "healthcheck"]
    assert labels["org.opencontainers.image.version"] == version
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert labels["org.opencontainers.image.base.name"] == "docker.io/library/debian:bookworm-slim"
    assert engine.podman("run", "--rm", "--label", LABEL, image, "version").split()[1] == version


def test_it_holds_the_libraries_and_no_compiler(engine, image):
    script = """
        ldd /usr/bin/sluice
        for tool in gcc cc make pkg-config curl python3; do ! command -v $tool; done
        ls /src /usr/include/openssl 2>/dev/null
        find / -xdev -perm /6000 -type f
        find / -xdev -user 65532 ! -path '/proc/*'
    """
    out = engine.podman("run", "--rm", "--label", LABEL, "--user", "0", "--entrypoint", "/bin/sh", image, "-c", script)
    lines = out.splitlines()
    assert any("libssl.so" in line for line in lines)
    assert "not found" not in out
    assert [line for line in lines if "=>" not in line and "linux" not in line] == ["/var/lib/sluice"]
    base = engine.inspect("docker.io/library/debian:bookworm-slim")["Size"]
    assert engine.inspect(image)["Size"] - base < 40e6


def test_without_a_key_it_refuses_and_says_why(engine, image):
    done = engine.try_podman("run", "--rm", "--network=none", "--label", LABEL, *HARDENED, image)
    words = done.stdout + done.stderr
    assert done.returncode == 78, words
    assert "sluice.yaml:" in words and "no key is configured: add a key to a tenant" in words


def test_it_answers_a_chat(run):
    box = run()
    answer = box.chat(harness.KEY_ACME)
    assert answer.status == 200 and answer.json["choices"][0]["message"]["content"]
    streamed = box.chat(harness.KEY_ACME, stream=True)
    assert streamed.status == 200 and streamed.text.endswith("data: [DONE]\n\n")
    assert box.chat(harness.KEY_WRONG).status == 401
    rows = harness.eventually(box.usage, what="usage")
    assert [(row["tenant"], row["model"], row["complete"]) for row in rows] == [("acme", "mock", 2)]
    assert 'sluice_requests_total{model="mock"' in box.get("/metrics", 9180).text
    assert box.get("/metrics", 8080).status == 404


def test_it_runs_as_nobody_in_particular(run):
    box = run()
    status = dict(line.split(":", 1) for line in harness.Path(f"/proc/{box.pid}/status").read_text().splitlines())
    assert status["Uid"].split() == ["65532"] * 4 and status["Gid"].split() == ["65532"] * 4
    assert int(status["CapEff"], 16) == 0 and int(status["CapPrm"], 16) == 0
    assert status["NoNewPrivs"].strip() == "1"
    assert box.execute("sh", "-c", "echo x > /etc/x", check=False).returncode != 0
    state = box.execute("stat", "-c", "%u %a", "/var/lib/sluice", "/var/lib/sluice/sluice.db").split("\n")[:2]
    assert state[0] == "65532 700" and state[1] in ("65532 600", "65532 640")


def test_its_healthcheck_tells_well_from_unwell(run):
    box = run()
    assert box.engine.try_podman("healthcheck", "run", box.id).returncode == 0
    box.execute("sluice", "drain")
    assert box.engine.try_podman("healthcheck", "run", box.id).returncode != 0


def test_a_reload_takes_changed_files(run, conf_d):
    box = run()
    more = conf_d / "zz-more.yaml"
    try:
        more.write_text('models: [{name: second, targets: [{id: second, provider: mock, model: "x"}]}]\n')
        assert "1 change" in box.execute("sluice", "reload")
        assert box.chat(harness.KEY_ACME, model="second").status in (200, 404)  # the mock knows no "x"
        more.write_text("models: [{nam: third}]\n")
        refused = box.execute("sluice", "reload", check=False)
        assert refused.returncode != 0 and 'did you mean "name"' in refused.stdout + refused.stderr
    finally:
        more.unlink(missing_ok=True)
    assert box.get("/readyz").status == 200


def test_sigterm_lets_a_stream_finish(run):
    box = run()
    body = {"model": "mock/rate-40+tokens-100", "messages": [], "stream": True}
    with box.connect(8080) as client:
        client.send(harness.chat_request(body, harness.KEY_ACME))
        head = client.begin_response("POST")
        assert head.status == 200
        stopping = harness.Background(box.stop)
        harness.eventually(lambda: "draining" in box.log(), what="the drain")
        text = b"".join(client.pieces(head)).decode()
    code, seconds = stopping.result()
    assert text.endswith("data: [DONE]\n\n") and text.count('"delta":{"content"') >= 99
    assert code == 0, box.log()
    assert 1 <= seconds < 20, f"{seconds} s"


def test_usage_outlives_the_container(engine, run):
    volume = engine.podman("volume", "create", "--label", LABEL)
    mount = ["-v", f"{volume}:/var/lib/sluice"]
    try:
        first = run(options=mount)
        assert first.chat(harness.KEY_ACME).status == 200
        engine.podman("kill", "--signal", "KILL", first.id)
        engine.podman("rm", "--force", "--time", "0", first.id)
        second = run(options=mount)
        assert second.chat(harness.KEY_ACME).status == 200
        assert [row["complete"] for row in second.usage()] == [2]
    finally:
        engine.try_podman("volume", "rm", "--force", volume)


def test_the_engines_api_knows_it_too(engine, image):
    """What deployment tools speak: Docker's API, on a unix socket."""

    class Connection(http.client.HTTPConnection):
        def connect(self):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.connect(str(engine.socket))

    connection = Connection("docker", timeout=20)
    connection.request("GET", f"/v1.41/images/{image}/json")
    answer = connection.getresponse()
    facts = json.loads(answer.read())
    connection.close()
    assert answer.status == 200 and facts["Config"]["User"] == "65532:65532"
    assert set(facts["Config"]["ExposedPorts"]) == {"8080/tcp", "9180/tcp"}
