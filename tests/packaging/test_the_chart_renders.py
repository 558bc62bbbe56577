# SPDX-License-Identifier: Apache-2.0
"""The Helm chart: rendered by the real helm, valid by the published schemas, of one piece, and its pod runs."""

import base64
import copy
import json
import subprocess

import harness
import kubernetes_validate
import pytest
import tools
import yaml
from kubelet import Pod

CHART = harness.ROOT / "deploy" / "helm" / "sluice"
PLAIN = harness.ROOT / "deploy" / "kubernetes"
VERSIONS = ("1.27", "1.37")  # the oldest that the chart takes, and the newest
HASH = harness.sha256_hash(harness.KEY_ACME)
OPENAI = """\
providers:
  - {name: openai, type: openai, api_key_file: /run/secrets/sluice/openai-api-key}
models:
  - {name: fast, targets: [{id: mini, provider: openai, model: gpt-4o-mini, price: catalog}]}
"""
KUBERNETES = """\
deployments:
  nodes:
    - {name: k8s, launcher: kubernetes, endpoint: in-cluster, namespace: models, memory: 200GiB}
"""
VALUES = {
    "least": {"secrets": {"existingSecret": "keys"}},
    "deployment": {"workload": "deployment", "secrets": {"values": {"key-hash": HASH}},
                   "autoscaling": {"enabled": False}, "replicas": 3, "rollOnConfigChange": False},
    "without": {"secrets": {"env": None}, "networkPolicy": {"enabled": False}, "podDisruptionBudget": {"enabled": False},
                "autoscaling": {"enabled": False}, "replicas": 1, "serviceAccount": {"create": False},
                "extraEnv": [{"name": "SLUICE_KEY_HASH", "value": HASH}]},
    "all": {
        "fullnameOverride": "gate", "commonLabels": {"team": "ai"}, "podLabels": {"tier": "edge"},
        "podAnnotations": {"example.com/a": "b"}, "imagePullSecrets": [{"name": "registry"}],
        "image": {"repository": "registry.example.com/sluice", "digest": "sha256:" + "0" * 64},
        "secrets": {"values": {"key-hash": HASH, "openai-api-key": "sk-x"}},
        "config": {"openai.yaml": OPENAI, "kubernetes.yaml": KUBERNETES},
        "server": {"workers": 4, "tlsSecretName": "tls", "shutdown": {"drainDelaySeconds": 15, "graceSeconds": 120}},
        "redis": {"url": "redis://:p%40ss@redis.example.com:6379/0"},
        "persistence": {"storageClassName": "fast", "size": "50Gi", "annotations": {"a": "b"}},
        "service": {"type": "LoadBalancer", "annotations": {"a": "b"}, "loadBalancerSourceRanges": ["10.0.0.0/8"],
                    "externalTrafficPolicy": "Local"},
        "launcher": {"enabled": True, "namespace": "models", "registrySecrets": True, "workloads": True},
        "autoscaling": {"targetInflightRequests": 500, "maxReplicas": 9},
        "networkPolicy": {"applications": [{"podSelector": {}}],
                          "extraEgress": [{"to": [{"podSelector": {}}], "ports": [{"port": 8000}]}]},
        "ingress": {"enabled": True, "className": "nginx", "hosts": ["ai.example.com"],
                    "annotations": {"nginx.ingress.kubernetes.io/proxy-buffering": "off"},
                    "tls": [{"hosts": ["ai.example.com"], "secretName": "ai"}]},
        "httpRoute": {"enabled": True, "parentRefs": [{"name": "g"}], "hostnames": ["ai.example.com"]},
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "prometheusRule": {"enabled": True}, "dashboard": {"enabled": True},
        "nodeSelector": {"a": "b"}, "tolerations": [{"key": "a", "operator": "Exists"}], "priorityClassName": "high",
        "affinity": {"nodeAffinity": {}}, "extraArgs": ["--allow-inert"],
        "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
        "extraEnvFrom": [{"secretRef": {"name": "more"}}],
        "extraVolumes": [{"name": "more", "emptyDir": {}}], "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
    },
    "redis": {"secrets": {"existingSecret": "keys"}, "redis": {"existingSecret": "redis"}},
}
OF_OPERATORS = {"ServiceMonitor", "PrometheusRule", "HTTPRoute"}  # kinds whose schemas are not Kubernetes' own


@pytest.fixture(scope="session")
def helm():
    return tools.helm()


def try_helm(helm, *args, values=None, folder=None):
    command = [helm, *map(str, args)]
    if values is not None:
        file = folder / "values.yaml"
        file.write_text(json.dumps(values))
        command += ["-f", str(file)]
    homes = {name: str(folder) for name in ("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME")} if folder else None
    return subprocess.run(command, env=harness.clean_environment(homes), cwd=harness.ROOT, text=True, timeout=60,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.fixture(scope="session")
def render(helm, tmp_path_factory):
    """A function: the objects that these values make."""

    def run(values, chart=CHART, name="gw"):
        done = try_helm(helm, "template", name, chart, "--namespace", "ai", values=values,
                        folder=tmp_path_factory.mktemp("helm"))
        assert done.returncode == 0, done.stderr
        return [document for document in yaml.safe_load_all(done.stdout) if document]

    return run


@pytest.fixture(scope="session")
def rendered(render):
    return {name: render(values) for name, values in VALUES.items()}


@pytest.fixture
def refused(helm, tmp_path):
    def run(values):
        done = try_helm(helm, "template", "gw", CHART, values=values, folder=tmp_path)
        assert done.returncode != 0, done.stdout
        return done.stderr

    return run


def pick(documents, kind, suffix=""):
    """The one of this kind whose name ends so; the shortest when nothing is said."""
    found = [each for each in documents if each["kind"] == kind and each["metadata"]["name"].endswith(suffix)]
    assert found, f"no {kind} {suffix}"
    return min(found, key=lambda each: len(each["metadata"]["name"]))


def workload_of(documents):
    return next(each for each in documents if each["kind"] in ("StatefulSet", "Deployment"))


def kinds(documents):
    return {each["kind"] for each in documents}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", VALUES)
def test_every_object_is_valid(rendered, name, version):
    for document in rendered[name]:
        if document["kind"] in OF_OPERATORS:
            continue
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            pytest.fail(f"{document['kind']} {document['metadata']['name']} ({version}): {error.message}")


def test_lint_finds_nothing(helm, tmp_path):
    for values in VALUES.values():
        done = try_helm(helm, "lint", "--strict", CHART, values=values, folder=tmp_path)
        assert done.returncode == 0 and "[ERROR]" not in done.stdout, done.stdout + done.stderr


def test_each_switch_has_its_object(rendered):
    assert kinds(rendered["least"]) == {"ConfigMap", "StatefulSet", "Service", "ServiceAccount", "NetworkPolicy",
                                        "PodDisruptionBudget", "HorizontalPodAutoscaler", "Pod"}
    assert kinds(rendered["without"]) == {"ConfigMap", "StatefulSet", "Service", "Pod"}
    assert kinds(rendered["deployment"]) - kinds(rendered["least"]) == {"Deployment", "Secret"}
    assert kinds(rendered["all"]) == (kinds(rendered["least"]) | OF_OPERATORS | {"Secret", "Ingress", "Role", "RoleBinding"}) - {"Pod"}
    assert workload_of(rendered["deployment"])["spec"]["replicas"] == 3
    assert "replicas" not in workload_of(rendered["all"])["spec"]


@pytest.mark.parametrize("name", VALUES)
def test_what_belongs_together_names_each_other(rendered, name):
    documents = rendered[name]
    workload = workload_of(documents)
    labels = workload["spec"]["template"]["metadata"]["labels"]
    pod = workload["spec"]["template"]["spec"]
    [container] = pod["containers"]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert workload["spec"]["selector"]["matchLabels"].items() <= labels.items()
    for service in (each for each in documents if each["kind"] == "Service"):
        assert service["spec"]["selector"].items() <= labels.items()
        assert all(port["targetPort"] in ports for port in service["spec"]["ports"])
    if workload["kind"] == "StatefulSet":
        headless = pick(documents, "Service", "-pods")
        assert workload["spec"]["serviceName"] == headless["metadata"]["name"] and headless["spec"]["clusterIP"] == "None"
    for kind, path in (("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector")):
        for each in (each for each in documents if each["kind"] == kind):
            assert each["spec"][path]["matchLabels"].items() <= labels.items()
    for each in (each for each in documents if each["kind"] == "HorizontalPodAutoscaler"):
        target = each["spec"]["scaleTargetRef"]
        assert (target["kind"], target["name"]) == (workload["kind"], workload["metadata"]["name"])
    # Mounts have volumes, volumes and variables have the objects that the chart makes.
    made = {(each["kind"], each["metadata"]["name"]) for each in documents}
    claims = {each["metadata"]["name"] for each in workload["spec"].get("volumeClaimTemplates", ())}
    assert {each["name"] for each in container["volumeMounts"]} == claims | {each["name"] for each in pod["volumes"]}
    assert ("ConfigMap", next(each for each in pod["volumes"] if each["name"] == "config")["configMap"]["name"]) in made
    given = {"keys", "redis", "tls"}
    for secret in [each["secret"]["secretName"] for each in pod["volumes"] if "secret" in each] + [
            each["valueFrom"]["secretKeyRef"]["name"] for each in container.get("env", ()) if "valueFrom" in each]:
        assert ("Secret", secret) in made or secret in given, secret
    # The helm test is no replica: no service may lead to it.
    for test in (each for each in documents if each["kind"] == "Pod"):
        assert not workload["spec"]["selector"]["matchLabels"].items() <= test["metadata"]["labels"].items()


def test_the_monitor_finds_the_operators_port(rendered):
    monitor = pick(rendered["all"], "ServiceMonitor")["spec"]
    found = [each for each in rendered["all"] if each["kind"] == "Service"
             and monitor["selector"]["matchLabels"].items() <= each["metadata"]["labels"].items()]
    assert [each["metadata"]["name"] for each in found] == ["gate-pods"]
    assert monitor["endpoints"][0]["port"] in {port["name"] for port in found[0]["spec"]["ports"]}


def test_the_launcher_may_do_what_the_guide_says(rendered):
    text = (harness.ROOT / "docs/KUBERNETES_PODS.md").read_text()
    said = [yaml.safe_load(line.strip())[0] for line in text.splitlines() if line.strip().startswith("- {apiGroups:")]
    role = pick(rendered["all"], "Role")
    assert len(said) == 6 and sorted(map(str, role["rules"])) == sorted(map(str, said))
    assert role["metadata"]["namespace"] == "models"
    [subject] = pick(rendered["all"], "RoleBinding")["subjects"]
    pod = workload_of(rendered["all"])["spec"]["template"]["spec"]
    assert (subject["name"], subject["namespace"]) == (pod["serviceAccountName"], "ai")
    assert pod["automountServiceAccountToken"] is True
    assert workload_of(rendered["least"])["spec"]["template"]["spec"]["automountServiceAccountToken"] is False


def test_it_is_what_the_plain_manifests_are(render):
    """The pod of the chart is that of deploy/kubernetes, but for names and keys."""
    documents = render({"secrets": {"existingSecret": "sluice"}, "fullnameOverride": "sluice", "rollOnConfigChange": False})
    ours = workload_of(documents)["spec"]
    plain = yaml.safe_load((PLAIN / "statefulset/statefulset.yaml").read_text())["spec"]

    def same(spec):
        spec = copy.deepcopy(spec)
        spec["template"]["metadata"]["labels"].pop("app.kubernetes.io/instance", None)
        pod = spec["template"]["spec"]
        pod["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"].pop("app.kubernetes.io/instance", None)
        for volume in pod["volumes"]:
            volume.get("secret", {}).pop("items", None)
        spec["selector"]["matchLabels"].pop("app.kubernetes.io/instance", None)
        spec.pop("minReadySeconds", None)
        return spec

    assert same(ours) == same(plain)
    for kind, file in (("NetworkPolicy", "base/networkpolicy.yaml"), ("PodDisruptionBudget", "base/poddisruptionbudget.yaml"),
                       ("HorizontalPodAutoscaler", "statefulset/horizontalpodautoscaler.yaml")):
        theirs = yaml.safe_load((PLAIN / file).read_text())["spec"]
        mine = json.loads(json.dumps(pick(documents, kind)["spec"]).replace(', "app.kubernetes.io/instance": "gw"', ""))
        assert mine == theirs, kind
    version = harness.run_cli("version").stdout.split()[1]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == version


@pytest.mark.parametrize("name", VALUES)
def test_the_configuration_has_no_problem(rendered, name, tmp_path):
    documents = rendered[name]
    authority = harness.Authority(tmp_path)
    cert, key = authority.issue("server")
    (tmp_path / "openai-api-key").write_text("sk-x\n")
    files = pick(documents, "ConfigMap", "" if name != "all" else "gate")["data"]
    for file, text in files.items():
        for old, new in (("/etc/sluice", tmp_path), ("/run/secrets/sluice-tls/tls.crt", cert),
                         ("/run/secrets/sluice-tls/tls.key", key), ("/run/secrets/sluice", tmp_path)):
            text = text.replace(old, str(new))
        (tmp_path / file).write_text(text)
    [container] = workload_of(documents)["spec"]["template"]["spec"]["containers"]
    env = {"SLUICE_KEY_HASH": HASH}
    assert "SLUICE_KEY_HASH" in {each["name"] for each in container["env"]}
    if name in ("all", "redis"):
        env["SLUICE_REDIS_URL"] = "redis://redis.example.com:6379/0"
        assert "SLUICE_REDIS_URL" in {each["name"] for each in container["env"]}
    done = harness.run_cli("check", "--strict", tmp_path / "sluice.yaml", env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    config = yaml.safe_load(files["sluice.yaml"])
    assert {each["address"] for each in config["server"]["listeners"]} == {
        f"0.0.0.0:{each['containerPort']}" for each in container["ports"]}


def test_texts_arrive_as_they_were_written(render):
    text = "  # indented first, and n: is not false\n  budgets: {n: 1, date: 2026-01-01, big: 10000000, t: '{{ x }}'}\n\n\n  $$ends\n"
    documents = render({**VALUES["least"], "config": {"a.yaml": text, "tenants.yaml": None}})
    data = pick(documents, "ConfigMap")["data"]
    assert data["a.yaml"].rstrip("\n") == text.rstrip("\n")
    assert set(data) == {"sluice.yaml", "a.yaml", "models.yaml"}
    assert yaml.safe_load(data["sluice.yaml"])["include"] == ["/etc/sluice/a.yaml", "/etc/sluice/models.yaml"]


def test_secrets_arrive_as_they_were_written(rendered):
    secret = pick(rendered["all"], "Secret")
    assert base64.b64decode(secret["data"]["key-hash"]).decode() == HASH
    redis = pick(rendered["all"], "Secret", "-redis")
    assert base64.b64decode(redis["data"]["redis-url"]).decode() == VALUES["all"]["redis"]["url"]
    plain = [each for each in rendered["all"] if each["kind"] != "Secret"]
    assert "p%40ss" not in json.dumps(plain), "a password stands outside of a secret"


def test_changes_roll_the_pods(render):
    def marks(**changes):
        pod = workload_of(render({"secrets": {"values": {"key-hash": HASH}}, **changes}))["spec"]["template"]
        return pod["metadata"].get("annotations", {})

    before = marks()
    assert before == marks(service={"port": 80}) and set(before) == {"checksum/config", "checksum/secret"}
    assert marks(config={"a.yaml": "x: 1\n"})["checksum/config"] != before["checksum/config"]
    assert marks(server={"workers": 3})["checksum/config"] != before["checksum/config"]
    assert marks(secrets={"values": {"key-hash": HASH, "b": "c"}})["checksum/secret"] != before["checksum/secret"]
    assert marks(rollOnConfigChange=False) == {}


def test_there_is_time_to_drain(rendered):
    for name, seconds in (("least", 660), ("all", 190)):
        pod = workload_of(rendered[name])["spec"]["template"]["spec"]
        assert pod["terminationGracePeriodSeconds"] == seconds
        shutdown = yaml.safe_load(pick(rendered[name], "ConfigMap", "" if name != "all" else "gate")["data"]["sluice.yaml"])["server"]["shutdown"]
        assert sum(int(each[:-1]) for each in shutdown.values()) < seconds


def test_the_share_without_redis_is_for_all_replicas(rendered):
    for name, replicas in (("all", 10), ("redis", 7)):
        config = yaml.safe_load(pick(rendered[name], "ConfigMap", "" if name != "all" else "gate")["data"]["sluice.yaml"])
        assert config["store"]["redis"]["replicas_max"] == replicas


@pytest.mark.parametrize("values, word", [
    ({}, "secrets.existingSecret"),
    ({"secrets": {"values": {"other": "x"}}}, "key-hash"),
    ({"secrets": {"existingSecret": "keys"}, "replica": 3}, "replica"),
    ({"secrets": {"existingSecret": "keys"}, "replicas": "3"}, "replicas"),
    ({"secrets": {"existingSecret": "keys"}, "workload": "daemonset"}, "workload"),
    ({"secrets": {"existingSecret": "keys"}, "config": {"sluice.yaml": ""}}, "sluice.yaml"),
    ({"secrets": {"existingSecret": "keys"}, "config": {"a.yaml": {"version": 1}}}, "a.yaml"),
    ({"secrets": {"existingSecret": "keys"}, "server": {"shutdown": {"drainDelaySeconds": 1}}}, "drainDelaySeconds"),
    ({"secrets": {"existingSecret": "keys"}, "readinessProbe": {"periodSeconds": 5}}, "readinessProbe"),
    ({"secrets": {"existingSecret": "keys"}, "redis": {"url": "http://x"}}, "url"),
    ({"secrets": {"existingSecret": "keys"}, "ingress": {"enabled": True}}, "ingress.hosts"),
    ({"secrets": {"existingSecret": "keys"}, "httpRoute": {"enabled": True}}, "httpRoute.parentRefs"),
    ({"secrets": {"existingSecret": "keys"}, "autoscaling": {"targetCPUUtilizationPercentage": 0}}, "autoscaling"),
])
def test_what_is_wrong_is_said(refused, values, word):
    assert word in refused(values)


def test_every_value_has_a_schema_and_every_schema_a_value():
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    def compare(schema, values, path):
        assert schema.get("additionalProperties") is False, path
        assert set(schema["properties"]) - {"global"} == set(values), path
        for name, inner in schema["properties"].items():
            if "properties" in inner and "Probe" not in name:
                compare(inner, values[name], f"{path}.{name}")

    compare(schema, values, "values")


def test_a_package_has_all_in_it(helm, render, tmp_path):
    """Rules and the dashboard are links in the tree; in a package they are files."""
    done = try_helm(helm, "package", CHART, "--destination", tmp_path, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    [package] = tmp_path.glob("*.tgz")
    assert render(VALUES["all"], package) == render(VALUES["all"])


def test_rules_and_dashboard_are_ours(rendered):
    groups = pick(rendered["all"], "PrometheusRule")["spec"]["groups"]
    files = [yaml.safe_load((harness.ROOT / "deploy/prometheus" / name).read_text()) for name in ("rules.yaml", "alerts.yaml")]
    assert groups == [group for file in files for group in file["groups"]]
    assert len({group["name"] for group in groups}) == len(groups)
    board = pick(rendered["all"], "ConfigMap", "-dashboard")["data"]["sluice.json"]
    assert json.loads(board) == json.loads((harness.ROOT / "deploy/grafana/sluice.json").read_text())


def test_the_pod_runs(engine, image, render, tmp_path):
    secret = {"key-hash": HASH}
    documents = render({"secrets": {"values": secret}})
    workload = workload_of(documents)
    claims = {each["metadata"]["name"] for each in workload["spec"]["volumeClaimTemplates"]}
    spec = workload["spec"]["template"]["spec"]
    [test] = [each["spec"]["containers"][0] for each in documents if each["kind"] == "Pod"]
    with Pod(engine, image, spec, dict(pick(documents, "ConfigMap")["data"]), secret, tmp_path, claims) as pod:
        harness.eventually(lambda: pod.probe("readinessProbe") == 200, what="readiness")
        assert pod.probe("livenessProbe") == 200
        assert pod.box.chat(harness.KEY_ACME).status == 200
        assert pod.box.chat(harness.KEY_WRONG).status == 401
        assert "sluice_inflight_requests" in pod.box.get("/metrics", 9180).text
        # What `helm test` asks, by the name that the service would have.
        [service] = [each["metadata"]["name"] for each in documents if each["kind"] == "Service" and not each["metadata"]["name"].endswith("-pods")]
        assert test["args"][-1] == f"http://{service}:8080"
        pod.box.execute("sluice", *test["args"][:-1], "http://127.0.0.1:8080")
        assert pod.box.stop()[0] == 0
