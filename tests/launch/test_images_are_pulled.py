# SPDX-License-Identifier: Apache-2.0
"""An image that is not there is fetched from a real registry, and how far it is can be seen."""

import time

from harness import eventually
from registry import Registry

SERVER = ["/fakellm", "--host", "0.0.0.0", "--port", "{port}"]


def test_an_image_comes_with_progress(launcher, engine):
    with Registry() as registry:
        launcher.start("r1", image=registry.name, command=SERVER)
        launcher.wait("r1", "running", within=40)
        assert launcher.stages("r1")[0] == "pulling"
        told = [each["permille"] for each in launcher.reports("r1") if each["stage"] == "pulling"]
        assert told == sorted(told)
        if engine.kind == "docker":  # podman's service tells nothing until it is there
            assert any(0 < permille < 1000 for permille in told), told
        pulls = sum(path.endswith(registry.layer) for method, path, _ in registry.seen if method == "GET")
        assert pulls == 1
        launcher.start("r2", image=registry.name, command=SERVER)
        launcher.wait("r2", "running")
        assert launcher.stages("r2")[0] == "placing", "it is there now"


def test_a_registry_is_shown_the_credentials(launcher):
    with Registry(user="ann", password="s3cr3t/+ü", seconds=0.1) as registry:
        launcher.start("r1", image=registry.name, command=SERVER, user="ann", password="s3cr3t/+ü")
        launcher.wait("r1", "running", within=40)
        launcher.start("r2", image=registry.name.replace(":1", ":2"), user="ann", password="s3cr3t/+ü")
        launcher.wait("r2", "ended")
    assert "s3cr3t" not in str(launcher.said) + launcher.log()


def test_wrong_credentials_are_final(launcher):
    with Registry(user="ann", password="right", seconds=0.1) as registry:
        launcher.start("r1", image=registry.name, command=SERVER, user="ann", password="wrong-5ecre7")
        ended = launcher.wait("r1", "ended", within=40)
    assert (ended["final"], ended["exit"]) == (1, -1) and ended["reason"] in ("forbidden", "image_missing")
    assert "wrong-5ecre7" not in str(launcher.said) + launcher.log()


def test_an_image_that_nobody_has_is_final(launcher):
    with Registry(seconds=0.1) as registry:
        launcher.start("r1", image=registry.name.replace(":1", ":no-such-tag"), command=SERVER)
        ended = launcher.wait("r1", "ended", within=40)
    assert (ended["reason"], ended["final"]) == ("image_missing", 1), ended


def test_a_registry_that_is_away_is_not_final(launcher):
    launcher.start("r1", image="127.0.0.1:1/fake:1", command=SERVER)
    ended = launcher.wait("r1", "ended", within=60)
    assert (ended["reason"], ended["final"]) == ("pull_failed", 0), ended


def test_a_pull_can_be_given_up(launcher, engine):
    with Registry(mib=4, seconds=20) as registry:
        launcher.start("r1", image=registry.name, command=SERVER)
        launcher.wait("r1", "pulling")
        time.sleep(0.5)
        begun = time.monotonic()
        launcher.stop("r1", 10000)
        assert launcher.wait("r1", "ended")["reason"] == "stopped"
        assert time.monotonic() - begun < 8
        launcher.forget("r1")
    eventually(lambda: not engine.containers(), what="nothing is left")
