# SPDX-License-Identifier: Apache-2.0
"""What is committed below web/dist is what the sources give, is small, and asks no other host."""

import gzip
import json
import shutil
import subprocess

import pytest
from looking import installed
from harness import ROOT

DIST = ROOT / "web/dist"
BROTLI_MAX = 120_000  # bytes over the wire, in all
MADE = ("dashboard_files.S", "dashboard_files.h")
UNBROTLI = "process.stdout.write(require('zlib').brotliDecompressSync(require('fs').readFileSync(0)))"


def plain_files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*")
            if path.is_file() and path.suffix not in (".br", ".gz")}


@pytest.fixture(scope="module")
def built():
    """The sources, built anew in a copy."""
    copy = ROOT / "build/web-check"
    web = copy / "web"
    (copy / "gateway").mkdir(parents=True, exist_ok=True)
    web.mkdir(exist_ok=True)
    for path in (ROOT / "web").iterdir():
        if path.name in ("node_modules", "dist"):
            continue
        if path.is_dir():
            shutil.rmtree(web / path.name, ignore_errors=True)
            shutil.copytree(path, web / path.name)
        else:
            shutil.copy(path, web / path.name)
    installed(web)
    done = subprocess.run(["npm", "run", "build"], cwd=web, text=True, timeout=110, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout[-4000:]
    return copy


def test_the_committed_build_is_of_these_sources(built):
    assert plain_files(built / "web/dist") == plain_files(DIST), "run `make web` and commit what it writes"
    for name in MADE:
        assert (built / "gateway" / name).read_text() == (ROOT / "gateway" / name).read_text(), name


def test_the_packed_forms_are_the_same_files():
    """Another version of the compressor may pack otherwise; what comes out must be the same."""
    for name, whole in plain_files(DIST).items():
        assert gzip.decompress((DIST / f"{name}.gz").read_bytes()) == whole
        done = subprocess.run(["node", "-e", UNBROTLI], input=(DIST / f"{name}.br").read_bytes(), capture_output=True, timeout=60)
        assert done.stdout == whole, name


def test_it_is_small():
    sizes = {path.name: path.stat().st_size for path in DIST.rglob("*.br")}
    assert 0 < sum(sizes.values()) <= BROTLI_MAX, sizes


def test_it_asks_no_other_host():
    for name, whole in plain_files(DIST).items():
        text = whole.decode().replace("http://www.w3.org/", "")  # names of XML, which nobody asks
        assert "http://" not in text and "https://" not in text, name
        assert b"eval(" not in whole and b"new Function" not in whole, name


@pytest.mark.parametrize("folder", ["web", "tests/web"])
def test_the_lock_names_versions_and_no_registry(folder):
    lock = json.loads((ROOT / folder / "package-lock.json").read_text())
    assert "resolved" not in json.dumps(lock)
    assert all("integrity" in package for path, package in lock["packages"].items() if path)
