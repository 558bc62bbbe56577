# SPDX-License-Identifier: Apache-2.0
"""What the tests of the packaging share: the container engine, and the image built with it."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import containers  # noqa: E402
import harness  # noqa: E402

CONF_D = f"""\
providers: [{{name: mock, type: mock}}]
models:
  - {{name: mock, aliases: ["mock/*"], targets: [{{id: mock, provider: mock, model: "*"}}]}}
tenants:
  - {{name: acme, models: ["*"], keys: [{{name: main, hash: "{harness.sha256_hash(harness.KEY_ACME)}"}}]}}
server:
  shutdown: {{drain_delay: 1s, grace: 30s}}
"""


@pytest.fixture(scope="session")
def engine():
    engine = containers.Engine()
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def image(engine):
    """The image, built as docs/OPERATIONS.md says."""
    return engine.build("localhost/sluice:test", "deploy/docker/Dockerfile", ".")


@pytest.fixture(scope="session")
def conf_d(tmp_path_factory):
    """A folder to be mounted at /etc/sluice/conf.d: the mock model, and a key."""
    folder = tmp_path_factory.mktemp("conf.d")
    (folder / "test.yaml").write_text(CONF_D)
    for path in (folder, *folder.parents):  # pytest makes them for their owner only
        if path == Path("/tmp"):
            break
        path.chmod(0o755)
    return folder
