# SPDX-License-Identifier: Apache-2.0
"""Runs the pod of a manifest as a kubelet would: same user, same groups, same mounts, same probes.

Only what the manifests use is understood; anything else is refused, so that nothing is passed over.
"""

import os

import containers
import harness

POD_KEYS = {"serviceAccountName", "automountServiceAccountToken", "enableServiceLinks", "terminationGracePeriodSeconds",
            "securityContext", "topologySpreadConstraints", "containers", "volumes"}
CONTAINER_KEYS = {"name", "image", "imagePullPolicy", "args", "ports", "env", "securityContext", "startupProbe",
                  "livenessProbe", "readinessProbe", "resources", "volumeMounts"}
POD_SECURITY = {"runAsNonRoot", "runAsUser", "runAsGroup", "fsGroup", "fsGroupChangePolicy", "seccompProfile"}
CONTAINER_SECURITY = {"allowPrivilegeEscalation", "readOnlyRootFilesystem", "capabilities"}


def understood(value, keys):
    assert set(value) <= keys, f"not understood here: {sorted(set(value) - keys)}"
    return value


def project(folder, files, mode, group):
    """Files as a kubelet lays them: ..data leads to the folder in force, each name to a file in there."""
    version = folder / "..2026_01_01"
    version.mkdir(parents=True)
    for name, text in files.items():
        path = version / name
        path.write_text(text)
        os.chown(path, 0, group)
        path.chmod(mode)
        (folder / name).symlink_to(f"..data/{name}")
    (folder / "..data").symlink_to(version.name)
    folder.chmod(0o755)
    version.chmod(0o755)


class Pod:
    """A pod's one container. `config` and `secret` are the data of the objects that it names."""

    def __init__(self, engine, image, spec, config, secret, folder, claims=()):
        self.spec = understood(spec, POD_KEYS)
        [self.container] = spec["containers"]
        understood(self.container, CONTAINER_KEYS)
        security = understood(spec["securityContext"], POD_SECURITY)
        self.group = security["fsGroup"]
        self.config, self.secret, self.folder, self.claims = config, secret, folder, claims
        folder.chmod(0o755)
        options = [
            "--user", f"{security['runAsUser']}:{security['runAsGroup']}",
            "--group-add", str(self.group),
            *self._own_security(),
            *self._environment(),
            *self._volumes(),
        ]
        self.box = containers.Container(engine, image, *self.container["args"], options=options)

    def _own_security(self):
        security = understood(self.container["securityContext"], CONTAINER_SECURITY)
        options = [f"--cap-drop={name}" for name in security["capabilities"]["drop"]]
        if security["readOnlyRootFilesystem"]:
            options += ["--read-only", "--read-only-tmpfs=false"]
        if not security["allowPrivilegeEscalation"]:
            options.append("--security-opt=no-new-privileges")
        return options

    def _environment(self):
        for item in self.container["env"]:
            where = understood(item["valueFrom"], {"secretKeyRef"})["secretKeyRef"]
            yield from ("--env", f"{item['name']}={self.secret[where['key']]}")

    def _volumes(self):
        volumes = {each["name"]: each for each in self.spec["volumes"]}
        for mount in understood_mounts(self.container["volumeMounts"]):
            folder = self.folder / mount["name"]
            if mount["name"] in self.claims:
                self._make_empty(folder)
            else:
                self._make(folder, understood(volumes[mount["name"]], {"name", "configMap", "secret", "emptyDir"}))
            yield from ("-v", f"{folder}:{mount['mountPath']}:{'ro' if mount.get('readOnly') else 'rw'}")

    def _make_empty(self, folder):
        folder.mkdir()
        os.chown(folder, 0, self.group)
        folder.chmod(0o2775)

    def _make(self, folder, volume):
        if "configMap" in volume:
            understood(volume["configMap"], {"name"})
            project(folder, self.config, 0o644, self.group)
        elif "secret" in volume:
            source = understood(volume["secret"], {"secretName", "defaultMode", "items"})
            items = source.get("items", [{"key": key, "path": key} for key in self.secret])
            files = {item["path"]: self.secret[item["key"]] for item in items}
            project(folder, files, source["defaultMode"], self.group)
        else:
            self._make_empty(folder)

    def probe(self, name):
        """The status that a probe gets."""
        where = self.container[name]["httpGet"]
        ports = {each["name"]: each["containerPort"] for each in self.container["ports"]}
        return self.box.get(where["path"], ports[where["port"]]).status

    def __enter__(self):
        try:
            harness.eventually(self._is_started, 20, every=0.05, what="the startup probe")
        except BaseException as error:
            self.box.__exit__(type(error))
            raise
        return self

    def _is_started(self):
        assert self.box.state["Running"], self.box.log()
        try:
            return self.probe("startupProbe") == 200
        except OSError:
            return False

    def __exit__(self, *error):
        self.box.__exit__(*error)


def understood_mounts(mounts):
    return [understood(mount, {"name", "mountPath", "readOnly"}) for mount in mounts]
