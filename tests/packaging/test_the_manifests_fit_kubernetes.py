# SPDX-License-Identifier: Apache-2.0
"""The Kubernetes manifests: valid by the published schemas, of one piece, and their pods really run."""

import copy

import harness
import kubernetes_validate
import pytest
import yaml
from kubelet import Pod

FOLDER = harness.ROOT / "deploy" / "kubernetes"
WORKLOADS = ("statefulset", "deployment")
VERSIONS = ("1.27", "1.32", "1.37")  # what clouds still run, and the newest
NAME = "app.kubernetes.io/name"


def read(path):
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def built(folder):
    """What `kubectl kustomize` would print, as far as these kustomizations go."""
    [this] = read(folder / "kustomization.yaml")
    assert set(this) == {"apiVersion", "kind", "resources"}
    documents = []
    for name in this["resources"]:
        path = (folder / name).resolve()
        documents += built(path) if path.is_dir() else read(path)
    return documents


def all_manifests():
    files = [path for path in sorted(FOLDER.rglob("*.yaml")) if path.name != "kustomization.yaml"]
    return [(path.relative_to(FOLDER), document) for path in files for document in read(path)]


def pick(documents, kind, name="sluice"):
    [found] = [each for each in documents if each["kind"] == kind and each["metadata"]["name"] == name]
    return found


@pytest.fixture(params=WORKLOADS)
def documents(request):
    return built(FOLDER / request.param)


@pytest.fixture
def workload(documents):
    return next(each for each in documents if each["kind"] in ("StatefulSet", "Deployment"))


def config_of(documents):
    return yaml.safe_load(pick(documents, "ConfigMap")["data"]["sluice.yaml"])


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_is_valid(version):
    manifests = all_manifests()
    kinds = {document["kind"] for _, document in manifests}
    assert kinds == {"ConfigMap", "Deployment", "HorizontalPodAutoscaler", "NetworkPolicy", "PodDisruptionBudget",
                     "Secret", "Service", "ServiceAccount", "StatefulSet"}
    for path, document in manifests:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            pytest.fail(f"{path} ({document['kind']}, {version}): {error.message}")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_typing_error_would_be_seen(version):
    good = pick(built(FOLDER / "deployment"), "Deployment")
    for spoil in (
        lambda pod: pod.update(terminationGracePeriodSecond=660),
        lambda pod: pod.update(terminationGracePeriodSeconds="660"),
        lambda pod: pod["containers"][0]["securityContext"].update(readOnlyRootFilesytem=True),
        lambda pod: pod["containers"][0].pop("name"),
    ):
        bad = copy.deepcopy(good)
        spoil(bad["spec"]["template"]["spec"])
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(bad, version, strict=True)


def test_every_file_is_in_a_kustomization():
    named = set()
    for path in FOLDER.rglob("kustomization.yaml"):
        named |= {(path.parent / name).resolve() for name in read(path)[0]["resources"]}
    files = {path for path in FOLDER.rglob("*.yaml") if path.name not in ("kustomization.yaml", "secret.example.yaml")}
    assert files == {path for path in named if not path.is_dir()}


def test_what_belongs_together_names_each_other(documents, workload):
    pod = workload["spec"]["template"]
    labels = pod["metadata"]["labels"]
    [container] = pod["spec"]["containers"]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert workload["spec"]["selector"]["matchLabels"].items() <= labels.items()
    for service in (each for each in documents if each["kind"] == "Service"):
        assert service["spec"]["selector"].items() <= labels.items()
        assert all(port["targetPort"] in ports for port in service["spec"]["ports"])
    assert pick(documents, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"].items() <= labels.items()
    policy = pick(documents, "NetworkPolicy")["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    assert [rule["ports"][0]["port"] for rule in policy["ingress"]] == [ports["api"], ports["operators"]]
    target = pick(documents, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert (target["apiVersion"], target["kind"], target["name"]) == (
        workload["apiVersion"], workload["kind"], workload["metadata"]["name"])
    assert pod["spec"]["serviceAccountName"] == pick(documents, "ServiceAccount")["metadata"]["name"]
    if workload["kind"] == "StatefulSet":
        assert pick(documents, "Service", workload["spec"]["serviceName"])["spec"]["clusterIP"] == "None"
    listening = {int(each["address"].rpartition(":")[2]) for each in config_of(documents)["server"]["listeners"]}
    assert listening == set(ports.values())
    version = harness.run_cli("version").stdout.split()[1]
    assert container["image"] == f"sluice:{version}" and labels["app.kubernetes.io/version"] == version


def test_the_pod_may_do_nothing_it_need_not(workload):
    """The Pod Security Standard "restricted", and a little more."""
    pod = workload["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True and pod["securityContext"]["runAsUser"] == 65532
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert not [each for each in pod["volumes"] if not {"configMap", "secret", "emptyDir"} & set(each)]


def test_there_is_time_to_drain(documents, workload):
    def seconds(text):
        return int(text[:-1]) * {"s": 1, "m": 60}[text[-1]]

    shutdown = config_of(documents)["server"]["shutdown"]
    needed = seconds(shutdown["drain_delay"]) + seconds(shutdown["grace"])
    pod = workload["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > needed
    probe = pod["containers"][0]["readinessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] < seconds(shutdown["drain_delay"])


def test_both_run_the_same_pod():
    pods = {}
    for name in WORKLOADS:
        documents = built(FOLDER / name)
        spec = copy.deepcopy(pick(documents, {"statefulset": "StatefulSet", "deployment": "Deployment"}[name])["spec"])
        spec["template"]["spec"]["volumes"] = [
            each for each in spec["template"]["spec"]["volumes"] if each["name"] != "state"]
        pods[name] = spec["template"]
    assert pods["statefulset"] == pods["deployment"]


def test_the_configuration_has_no_problem(documents, tmp_path):
    text = pick(documents, "ConfigMap")["data"]["sluice.yaml"]
    secret = tmp_path / "openai-api-key"
    secret.write_text("sk-x\n")
    file = tmp_path / "sluice.yaml"
    file.write_text(text.replace("/run/secrets/sluice", str(tmp_path)))
    assert str(tmp_path) in file.read_text()
    [example] = read(FOLDER / "secret.example.yaml")
    env = {"SLUICE_KEY_HASH": example["stringData"]["key-hash"]}
    done = harness.run_cli("check", "--strict", file, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SLUICE_KEY_HASH" in harness.run_cli("check", file).stderr


def test_the_pod_runs(engine, image, documents, workload, tmp_path):
    [secret] = read(FOLDER / "secret.example.yaml")
    secret = {**secret["stringData"], "key-hash": harness.sha256_hash(harness.KEY_ACME)}
    config = dict(pick(documents, "ConfigMap")["data"])
    claims = {each["metadata"]["name"] for each in workload["spec"].get("volumeClaimTemplates", ())}
    spec = workload["spec"]["template"]["spec"]
    with Pod(engine, image, spec, config, secret, tmp_path, claims) as pod:
        harness.eventually(lambda: pod.probe("readinessProbe") == 200, what="readiness")
        assert pod.probe("livenessProbe") == 200
        assert pod.box.chat(harness.KEY_ACME).status == 200
        assert pod.box.chat(harness.KEY_WRONG).status == 401
        assert "sluice_inflight_requests" in pod.box.get("/metrics", 9180).text
        assert [row["complete"] for row in pod.box.usage()] == [1]
        assert "0 changes" in pod.box.execute("sluice", "reload")
        stopping = harness.Background(pod.box.stop)
        harness.eventually(lambda: pod.probe("readinessProbe") == 503, what="unready while it drains")
        assert pod.probe("livenessProbe") == 200
        code, seconds = stopping.result()
        assert code == 0 and 5 <= seconds < 20, f"{code}, {seconds} s"
