# SPDX-License-Identifier: Apache-2.0
"""The systemd units: found good by systemd's own tools, and run by a real systemd in a container."""

import re
import subprocess
import time

import containers
import harness
import pytest
import yaml

UNITS = harness.ROOT / "deploy" / "systemd"
EXPOSURE_MAX = 1.5  # systemd-analyze security: 10 is everything, redis-server has 1.2, nginx 9.6

CONTAINERFILE = """\
FROM docker.io/library/debian:bookworm-slim
RUN apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends \\
    systemd libc-ares2 libfyaml0 libcjose0 libhiredis0.14 libjansson4 libnghttp2-14 libpcre2-8-0 libsqlite3-0 libssl3 zlib1g && rm -rf /var/lib/apt/lists
COPY --from=IMAGE /usr/bin/sluice /usr/local/bin/sluice
COPY lib /usr/local/lib
COPY etc /etc/sluice
COPY run.conf /etc/systemd/system/sluice.service.d/run.conf
# Credentials need mounts that are shared, as they are on a machine.
CMD ["sh", "-c", "mount --make-rshared / && exec /lib/systemd/systemd"]
"""

CONFIG = f"""\
version: 1
server:
  listeners:
    - {{name: api, address: "ADDRESS", serve: [api, health]}}
  shutdown: {{drain_delay: 500ms, grace: 30s}}
providers:
  - {{name: mock, type: mock}}
  - {{name: hosted, type: openai, api_key_file: "${{CREDENTIALS_DIRECTORY}}/openai"}}
models:
  - {{name: mock, aliases: ["mock/*"], targets: [{{id: mock, provider: mock, model: "*"}}]}}
tenants:
  - {{name: acme, models: ["*"], keys: [{{name: main, hash: "{harness.sha256_hash(harness.KEY_ACME)}"}}]}}
"""

DROP_IN = """\
[Service]
LoadCredential=openai:/etc/sluice/secrets/openai
"""


def analyze(*args):
    done = subprocess.run(["systemd-analyze", *map(str, args)], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


# ---------------------------------------------------------------------------- by systemd's tools


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """What `make install` puts below DESTDIR, the unit with the path of the program written out: on
    this machine it is not in the folders where systemd looks."""
    root = tmp_path_factory.mktemp("root")
    done = subprocess.run(["make", "-s", "install", f"DESTDIR={root}"], cwd=harness.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = root / "usr/local/lib/systemd/system"
    for unit in folder.iterdir():
        unit.write_text(re.sub(r"^(Exec\w+=)sluice ", rf"\1{root}/usr/local/bin/sluice ", unit.read_text(), flags=re.M))
    return folder


@pytest.mark.parametrize("unit", ["sluice.service", "sluice.socket"])
def test_the_unit_is_well_formed(installed, unit):
    code, words = analyze("verify", "--man=no", installed / unit)
    assert (code, words) == (0, "")


def test_a_typing_error_would_be_seen(installed, tmp_path):
    bad = tmp_path / "sluice.service"
    bad.write_text((installed / "sluice.service").read_text().replace("WatchdogSec=", "WachtdogSec="))
    assert "Unknown key" in analyze("verify", "--man=no", bad)[1]


def test_the_service_is_hardly_exposed(tmp_path):
    code, words = analyze("security", "--offline=true", "--no-pager", UNITS / "sluice.service")
    figure = float(re.search(r"Overall exposure level for sluice.service: ([0-9.]+)", words)[1])
    assert code == 0 and figure <= EXPOSURE_MAX, words
    loose = tmp_path / "sluice.service"
    loose.write_text("[Service]\nExecStart=/bin/true\n")
    assert "UNSAFE" in analyze("security", "--offline=true", "--no-pager", loose)[1]


def test_its_time_to_stop_is_longer_than_a_drain(tmp_path):
    file = tmp_path / "sluice.yaml"
    file.write_text("version: 1\n")
    shown = harness.run_cli("config", "show", "--effective", "-c", file)
    shutdown = yaml.safe_load(shown.stdout)["server"]["shutdown"]
    needed = sum(int(shutdown[name][:-1]) * {"s": 1, "m": 60}[shutdown[name][-1]] for name in ("drain_delay", "grace"))
    text = (UNITS / "sluice.service").read_text()
    assert int(re.search(r"^TimeoutStopSec=(\d+)min$", text, re.M)[1]) * 60 > needed >= 600


# ---------------------------------------------------------------------------- by systemd itself


class Machine:
    """A container whose first process is systemd."""

    def __init__(self, box):
        self.box = box

    def run(self, *command, check=True):
        done = self.box.execute(*command, check=False)
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}\n{self.journal()}"
        return done.stdout.strip()

    def journal(self):
        return self.box.execute("journalctl", "--no-pager", "-o", "cat", "-u", "sluice.service", check=False).stdout

    def show(self, name, unit="sluice.service"):
        return self.run("systemctl", "show", "--property", name, "--value", unit)

    def put(self, path, text):
        done = self.box.engine.try_podman("exec", self.box.id, "sh", "-c", f"cat > {path} <<'END'\n{text}END\n")
        assert done.returncode == 0, done.stderr

    def configure(self, address):
        self.put("/etc/sluice/sluice.yaml", CONFIG.replace("ADDRESS", address))

    def start(self):
        self.configure("0.0.0.0:8080")
        self.run("systemctl", "start", "sluice.service")

    @property
    def pids(self):
        """(supervisor, service), as they are called in the container."""
        main = self.show("MainPID")
        return int(main), int(self.run("cat", f"/proc/{main}/task/{main}/children"))


@pytest.fixture(scope="module")
def machine(engine, image, installed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("machine")
    for name in ("sluice.service", "sluice.socket"):
        unit = folder / "lib/systemd/system" / name
        unit.parent.mkdir(parents=True, exist_ok=True)
        unit.write_text((UNITS / name).read_text())
    (folder / "etc/secrets").mkdir(parents=True)
    (folder / "etc/secrets/openai").write_text("sk-secret\n")
    (folder / "etc/secrets").chmod(0o700)
    (folder / "etc/secrets/openai").chmod(0o600)
    (folder / "etc").chmod(0o755)
    (folder / "run.conf").write_text(DROP_IN)
    (folder / "Containerfile").write_text(CONTAINERFILE.replace("IMAGE", image))
    tag = engine.build("localhost/sluice-systemd:test", folder / "Containerfile", folder)
    with containers.Container(engine, tag, options=["--privileged", "--systemd=always"]) as box:
        machine = Machine(box)
        harness.eventually(lambda: machine.run("systemctl", "is-system-running", check=False) in ("running", "degraded"),
                           30, every=0.1, what="systemd")
        yield machine


@pytest.fixture
def running(machine):
    """The service, freshly started; stopped afterwards."""
    machine.start()
    yield machine
    machine.run("systemctl", "stop", "sluice.service", "sluice.socket")
    machine.run("systemctl", "reset-failed", check=False)


def test_systemd_finds_no_fault_with_what_is_installed(machine):
    assert machine.run("systemd-analyze", "verify", "--man=no", "sluice.service", "sluice.socket") == ""


def test_it_serves_behind_all_its_walls(running):
    assert running.show("StatusText") == "serving"
    assert running.box.chat(harness.KEY_ACME).status == 200
    assert running.box.chat(harness.KEY_WRONG).status == 401
    supervisor, service = running.pids
    for pid in (supervisor, service):
        status = running.run("cat", f"/proc/{pid}/status")
        assert re.search(r"^CapEff:\s+0+$", status, re.M) and re.search(r"^CapBnd:\s+0+$", status, re.M)
        assert re.search(r"^Seccomp:\s+2$", status, re.M) and re.search(r"^NoNewPrivs:\s+1$", status, re.M)
        assert int(re.search(r"^Uid:\s+(\d+)", status, re.M)[1]) >= 61184  # of DynamicUser=
    assert running.run("stat", "-c", "%a", "/var/lib/sluice/") == "700"
    usage = running.run("env", "CREDENTIALS_DIRECTORY=/run/credentials/sluice.service", "sluice", "usage")
    assert "acme" in usage
    assert "serving" in running.run("sluice", "status")


def test_a_secret_is_read_as_a_credential(running):
    assert running.run("stat", "-c", "%a", "/etc/sluice/secrets/openai") == "600"
    assert "sk-secret" not in running.journal()
    running.run("rm", "/etc/systemd/system/sluice.service.d/run.conf")
    running.run("systemctl", "daemon-reload")
    try:
        assert running.run("systemctl", "restart", "sluice.service", check=False) == ""
        assert running.show("Result") == "exit-code" and running.show("ExecMainStatus") == "78"
        assert "CREDENTIALS_DIRECTORY is not set" in running.journal()
    finally:
        running.put("/etc/systemd/system/sluice.service.d/run.conf", DROP_IN)
        running.run("systemctl", "daemon-reload")


def test_a_bad_configuration_is_not_tried_again(running):
    running.run("systemctl", "stop", "sluice.service")
    running.put("/etc/sluice/sluice.yaml", "version: 1\nserver: {listenrs: []}\n")
    running.run("systemctl", "start", "sluice.service", check=False)
    time.sleep(1.5)  # RestartSec, and a little more
    assert (running.show("ActiveState"), running.show("NRestarts")) == ("failed", "0")
    assert 'did you mean "listeners"' in running.journal()


def test_a_reload_keeps_the_process(running):
    before = running.pids
    running.run("systemctl", "reload", "sluice.service")
    assert running.pids == before
    assert running.show("StatusText") == "serving, configuration reloaded"
    running.put("/etc/sluice/sluice.yaml", "version: 2\n")
    done = running.box.execute("systemctl", "reload", "sluice.service", check=False)
    assert done.returncode != 0
    harness.eventually(lambda: "FAILED" in running.show("StatusText"), what="the status of a failed reload")
    assert running.box.chat(harness.KEY_ACME).status == 200


def test_whoever_dies_is_replaced(running):
    supervisor, service = running.pids
    running.run("sh", "-c", f"kill -KILL {service}")
    harness.eventually(lambda: running.pids[1] != service, what="another service process")
    running.box.wait_ready()
    assert (running.show("NRestarts"), running.pids[0]) == ("0", supervisor)
    running.run("sh", "-c", f"kill -KILL {supervisor}")
    harness.eventually(lambda: running.show("NRestarts") == "1" and running.show("ActiveState") == "active",
                       what="systemd's restart")
    assert running.box.chat(harness.KEY_ACME).status == 200
    assert running.pids[0] != supervisor


def test_a_stop_lets_a_stream_finish(running):
    body = {"model": "mock/rate-40+tokens-60", "messages": [], "stream": True}
    with running.box.connect(8080) as client:
        client.send(harness.chat_request(body, harness.KEY_ACME))
        head = client.begin_response("POST")
        stopping = harness.Background(running.run, "systemctl", "stop", "sluice.service")
        text = b"".join(client.pieces(head)).decode()
    stopping.result()
    assert text.endswith("data: [DONE]\n\n")
    assert (running.show("Result"), running.show("ExecMainStatus")) == ("success", "0")


def test_systemd_may_do_the_listening(running):
    running.run("systemctl", "stop", "sluice.service")
    running.configure("systemd:api")
    running.run("systemctl", "start", "sluice.socket")
    assert running.show("ActiveState") == "inactive"
    assert running.box.chat(harness.KEY_ACME).status == 200  # this starts it
    assert running.show("ActiveState") == "active"
    running.run("systemctl", "restart", "sluice.service")
    assert running.box.chat(harness.KEY_ACME).status == 200
