# SPDX-License-Identifier: Apache-2.0
"""deploy/docker/compose.yaml, read and carried out by podman-compose."""

import subprocess
import sys
import uuid
from pathlib import Path

import containers
import harness
import pytest
import yaml

FOLDER = harness.ROOT / "deploy" / "docker"
COMPOSE = Path(sys.executable).parent / "podman-compose"

# A network of its own instead of published ports, which could be taken here; limits that are allowed here;
# and a Redis from Debian's packages, as no registry of images is asked.
OVERRIDE = """\
services:
  sluice: {image: IMAGE, network_mode: none, ulimits: {nofile: 1024, nproc: 1024}, labels: {LABEL: "1"}}
  redis: {image: REDIS, network_mode: none, ulimits: {nofile: 1024, nproc: 1024}, labels: {LABEL: "1"}}
volumes:
  state: {labels: {LABEL: "1"}}
  redis: {labels: {LABEL: "1"}}
"""
REDIS = """\
FROM docker.io/library/debian:bookworm-slim
RUN apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends redis-server \\
 && rm -rf /var/lib/apt/lists
WORKDIR /data
"""


class Project:
    def __init__(self, engine, override, env):
        self.engine = engine
        self.name = f"sluice-test-{uuid.uuid4().hex[:8]}"
        self.override = override
        folder = engine.directory.name
        self.env = {**engine.env, "CONTAINERS_CONF": f"{folder}/containers.conf",
                    "CONTAINERS_STORAGE_CONF": f"{folder}/storage.conf", **env}

    def compose(self, *args, check=True):
        command = [str(COMPOSE), "-p", self.name, "-f", str(FOLDER / "compose.yaml"), "-f", str(self.override), *args]
        done = subprocess.run(command, env=self.env, cwd=FOLDER, capture_output=True, text=True, timeout=180,
                              stdin=subprocess.DEVNULL)
        assert not check or done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done

    def container(self, service):
        found = containers.Container.__new__(containers.Container)
        found.engine = self.engine
        [found.id] = self.engine.podman("ps", "-aq", "--filter", f"label=com.docker.compose.project={self.name}",
                                        "--filter", f"label=com.docker.compose.service={service}").split()
        return found


@pytest.fixture(scope="module")
def override(engine, image, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compose")
    (folder / "Containerfile").write_text(REDIS)
    redis = engine.build("localhost/sluice-redis:test", folder / "Containerfile", folder)
    path = folder / "override.yaml"
    text = OVERRIDE.replace("IMAGE", image).replace("REDIS", redis).replace("LABEL", containers.LABEL)
    path.write_text(text)
    return path


@pytest.fixture
def project(engine, override):
    project = Project(engine, override, {"SLUICE_KEY_HASH": harness.sha256_hash(harness.KEY_ACME)})
    yield project
    project.compose("down", "--volumes", "--timeout", "5", check=False)


def test_it_comes_up_and_answers(engine, project):
    project.compose("up", "--detach", "--no-build")
    box = project.container("sluice").wait_ready()
    assert box.chat(harness.KEY_ACME).status == 200
    assert [row["tenant"] for row in box.usage()] == ["acme"]
    assert "0 changes" in project.compose("exec", "-T", "sluice", "sluice", "reload").stdout
    facts = engine.inspect(box.id, "container")
    assert facts["HostConfig"]["ReadonlyRootfs"] and not facts["EffectiveCaps"]
    assert "no-new-privileges" in " ".join(facts["HostConfig"]["SecurityOpt"])
    assert "/tmp" in facts["HostConfig"]["Tmpfs"]
    assert project.container("redis").execute("redis-cli", "ping") == "PONG\n"
    assert project.container("redis").execute("redis-cli", "config", "get", "appendonly").split()[1] == "yes"


def test_it_does_not_need_redis(project):
    project.compose("up", "--detach", "--no-build", "sluice")
    assert project.container("sluice").wait_ready().chat(harness.KEY_ACME).status == 200


def test_without_a_key_it_says_what_is_missing(engine, override):
    project = Project(engine, override, {})
    done = project.compose("up", "--detach", "--no-build", "sluice", check=False)
    assert done.returncode != 0 and "hash-key" in done.stdout + done.stderr


def test_it_names_this_version_and_gives_it_time():
    service = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]["sluice"]
    assert service["image"] == "sluice:" + harness.run_cli("version").stdout.split()[1]
    assert (FOLDER / service["build"]["context"] / service["build"]["dockerfile"]).resolve() == FOLDER / "Dockerfile"
    assert service["stop_grace_period"] == "11m"  # more than the default drain: 5 s and 10 min
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
