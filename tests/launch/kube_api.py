# SPDX-License-Identifier: Apache-2.0
"""An API server of Kubernetes for tests: pods that are real processes.

It speaks core/v1 and apps/v1 as far as sluice and kubectl need it: Deployments, with a controller that
makes and ends their pods, and their scale; pods (create, get, list, watch with resource
versions, bookmarks and 410, patch, delete with grace), their logs (followed, with timestamps), secrets,
events, and a Status for whatever goes wrong. What is created is checked against the published schema.
Each pod's container becomes a child process: its image names a program in `images`; the pod's address is
one of its own in 127.0.0.0/8, given as --host behind its arguments. A kubelet that is slow, an image that
is not there, memory that runs out, a quota, and an API that is away are knobs.
"""

import copy
import datetime
import json
import os
import random
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.parse
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import kubernetes_validate

PREFIX = re.compile(r"^/api/v1/namespaces/([a-z0-9-]+)/(pods|secrets|events)(?:/([a-z0-9.-]+))?(/log)?$")
WORKLOADS = re.compile(r"^/apis/apps/v1/namespaces/([a-z0-9-]+)/deployments(?:/([a-z0-9.-]+))?(/scale)?$")
VERSION = "1.27"
COST = "controller.kubernetes.io/pod-deletion-cost"


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def stamp(when=None):
    return (when or now()).strftime("%Y-%m-%dT%H:%M:%SZ")


def precise(when=None):
    return (when or now()).strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"


class Refused(Exception):
    def __init__(self, code, reason, message):
        super().__init__(message)
        self.status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                       "message": message, "reason": reason, "code": code}


class Pod:
    """One pod, and the process that is its container."""

    def __init__(self, api, document, host):
        self.api, self.document, self.host = api, document, host
        self.process, self.lines, self.killer = None, [], None
        self.spec = document["spec"]["containers"][0]

    @property
    def name(self):
        return self.document["metadata"]["name"]

    def state(self, phase, state, ready=False, **more):
        status = {"phase": phase, "hostIP": "127.0.0.1", "podIP": self.host if phase == "Running" else "",
                  "conditions": [{"type": "PodScheduled", "status": "True"},
                                 {"type": "Ready", "status": "True" if ready else "False"}],
                  "containerStatuses": [{"name": self.spec["name"], "image": self.spec["image"], "imageID": "", "ready": ready,
                                         "restartCount": 0, "state": state}], **more}
        self.document["status"] = {key: value for key, value in status.items() if value != ""}
        self.api.changed("MODIFIED", self.document)

    def run(self):
        """What a scheduler and a kubelet do."""
        api = self.api
        if api.unschedulable:
            with api.lock:
                self.document["status"] = {"phase": "Pending", "conditions": [
                    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                     "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."}]}
                api.changed("MODIFIED", self.document)
                api.warn(self.name, "FailedScheduling", "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")
            while api.unschedulable and not api.closed and self.name in api.pods:
                time.sleep(0.02)
        time.sleep(api.schedule_seconds)
        with api.lock:
            if self.name not in api.pods:
                return
            image = self.spec["image"]
            if image not in api.images:
                self.state("Pending", {"waiting": {"reason": api.image_reason, "message": api.image_message % image}})
                api.warn(self.name, "Failed", api.image_message % image)
                return
            self.state("Pending", {"waiting": {"reason": "ContainerCreating"}})
            env = {each["name"]: each.get("value", "") for each in self.spec.get("env", [])}
            command = [*api.images[image], *self.spec.get("args", []), "--host", self.host]
            self.process = subprocess.Popen(command, env={"PATH": os.environ["PATH"], **env}, stdin=subprocess.DEVNULL,
                                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
            self.state("Running", {"running": {"startedAt": stamp()}}, ready=True)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            with self.api.lock:
                self.lines.append((precise(), line.decode(errors="replace").rstrip("\n")))
                self.api.changed_log()
        code = self.process.wait()
        with self.api.lock:
            terminated = {"exitCode": code if code >= 0 else 128 - code, "reason": "Completed" if code == 0 else "Error",
                          "startedAt": stamp(), "finishedAt": stamp()}
            if code == -signal.SIGKILL and self.api.kills_are_oom:
                terminated["reason"] = "OOMKilled"
            self.state("Succeeded" if code == 0 else "Failed", {"terminated": terminated})
            if "deletionTimestamp" in self.document["metadata"]:
                self.api.removed(self)

    def delete(self, grace):
        meta = self.document["metadata"]
        meta.setdefault("deletionTimestamp", stamp())
        meta["deletionGracePeriodSeconds"] = grace
        self.api.changed("MODIFIED", self.document)
        if self.process is None or self.process.poll() is not None:
            self.api.removed(self)
            return
        os.killpg(self.process.pid, signal.SIGTERM if grace else signal.SIGKILL)
        if grace:
            self.killer = threading.Timer(grace, self.kill)
            self.killer.daemon = True
            self.killer.start()

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)


class Workload:
    """A Deployment: somebody else's, made from a template; its controller keeps as many pods as it says."""

    def __init__(self, api, name, replicas, container):
        labels = {"app": name}
        self.api, self.name = api, name
        self.document = {"apiVersion": "apps/v1", "kind": "Deployment",
                         "metadata": {"name": name, "namespace": api.namespace, "uid": str(uuid.uuid4()), "creationTimestamp": stamp()},
                         "spec": {"replicas": replicas, "selector": {"matchLabels": labels},
                                  "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}}}}
        kubernetes_validate.validate(copy.deepcopy(self.document), VERSION, strict=True)

    def pods(self):
        return [pod for pod in self.api.pods.values() if pod.document["metadata"].get("labels", {}).get("app") == self.name
                and "deletionTimestamp" not in pod.document["metadata"]]

    def reconcile(self):
        """What the controllers of Deployments and ReplicaSets do: who is not ready goes first, then who costs least."""
        with self.api.lock:
            for dead in [pod for pod in self.pods() if pod.process is not None and pod.process.poll() is not None]:
                dead.delete(0)
            pods = self.pods()
            wanted = self.document["spec"]["replicas"]
            for _ in range(wanted - len(pods)):
                template = copy.deepcopy(self.document["spec"]["template"])
                template["metadata"]["name"] = f"{self.name}-{uuid.uuid4().hex[:10]}"
                self.api.create("pods", {"apiVersion": "v1", "kind": "Pod", **template})

            def order(pod):
                ready = pod.document.get("status", {}).get("phase") == "Running"
                return ready, int(pod.document["metadata"].get("annotations", {}).get(COST, "0"))

            for pod in sorted(pods, key=order)[:max(0, len(pods) - wanted)]:
                pod.delete(1)

    def scale(self):
        spec = self.document["spec"]
        return {"kind": "Scale", "apiVersion": "autoscaling/v1",
                "metadata": {name: self.document["metadata"][name] for name in ("name", "namespace", "uid", "creationTimestamp")},
                "spec": {"replicas": spec["replicas"]},
                "status": {"replicas": len(self.pods()), "selector": f"app={self.name}"}}

    def shown(self):
        ready = sum(pod.document.get("status", {}).get("phase") == "Running" for pod in self.pods())
        return {**copy.deepcopy(self.document), "status": {"replicas": len(self.pods()), "readyReplicas": ready,
                                                           "availableReplicas": ready, "updatedReplicas": len(self.pods())}}


class KubeApi:
    def __init__(self, images, token=None, namespace="models", port=0):
        self.images, self.token, self.namespace = images, token, namespace
        self.lock = threading.Condition(threading.RLock())
        self.pods, self.secrets, self.events, self.history = {}, {}, [], []
        self.workloads, self.deleted = {}, []
        self.every = []
        self.version, self.oldest, self.hosts = 100, 100, 0
        self.net = f"127.{random.randint(2, 250)}"  # what an earlier one has left is not met
        self.schedule_seconds, self.unschedulable, self.quota, self.forbidden = 0.0, False, None, False
        self.image_reason, self.image_message = "ErrImagePull", 'failed to pull "%s": not found'
        self.kills_are_oom, self.closed, self.cuts, self.created = False, False, 0, 0
        self.refuse_watches, self.patch_seconds = 0, 0.0
        self.asked = []
        api = self

        class Handler(Requests):
            server_api = api

        self.handler = Handler
        threading.Thread(target=self.control, daemon=True).start()
        self.server, self.port = None, port
        self.up()

    # ------------------------------------------------------------------ being there, and away

    def up(self):
        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

        self.sockets = set()
        self.server = Server(("127.0.0.1", self.port), self.handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def away(self):
        """The API is gone; pods go on."""
        self.server.shutdown()
        self.server.server_close()
        with self.lock:
            self.cuts += 1
            self.lock.notify_all()
        for each in list(self.sockets):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.closed = True
        self.away()
        for pod in self.every:  # also those that are gone from the list, and run on
            pod.kill()
            if pod.process is not None:
                pod.process.wait()
                pod.process.stdout.close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    # ------------------------------------------------------------------------- what happens

    def changed(self, kind, document):
        self.version += 1
        document["metadata"]["resourceVersion"] = str(self.version)
        self.history.append((self.version, kind, copy.deepcopy(document)))
        self.lock.notify_all()

    def changed_log(self):
        self.lock.notify_all()

    def warn(self, pod, reason, message):
        self.events.append({"kind": "Event", "apiVersion": "v1", "type": "Warning", "reason": reason, "message": message,
                            "metadata": {"name": f"{pod}.{len(self.events)}", "namespace": self.namespace},
                            "involvedObject": {"kind": "Pod", "name": pod, "namespace": self.namespace},
                            "lastTimestamp": stamp(), "firstTimestamp": stamp(), "count": 1})

    def removed(self, pod):
        if self.pods.pop(pod.name, None) is not None:
            self.changed("DELETED", pod.document)

    def workload(self, name, replicas, container):
        with self.lock:
            self.workloads[name] = Workload(self, name, replicas, container)
        return self.workloads[name]

    def control(self):
        while not self.closed:
            for each in list(self.workloads.values()):
                each.reconcile()
            time.sleep(0.05)

    def cut_watches(self):
        with self.lock:
            self.cuts += 1
            self.lock.notify_all()

    def forget_history(self):
        """Watches that go on from before get 410 Gone."""
        with self.lock:
            self.version += 1
            self.oldest = self.version
            self.history.clear()
            self.cuts += 1
            self.lock.notify_all()

    def kill_pod(self, name, number=signal.SIGKILL):
        os.killpg(self.pods[name].process.pid, number)

    # ----------------------------------------------------------------------------- requests

    def create(self, kind, document):
        name = document.get("metadata", {}).get("name", "")
        try:
            kubernetes_validate.validate(document, VERSION, strict=True)
        except kubernetes_validate.ValidationError as problem:
            raise Refused(422, "Invalid", f'{kind} "{name}" is invalid: {problem.message}') from None
        if self.forbidden:
            raise Refused(403, "Forbidden", f'{kind} "{name}" is forbidden: User "sluice" cannot create resource')
        if self.quota is not None and kind == "pods" and len(self.pods) >= self.quota:
            raise Refused(403, "Forbidden", f'{kind} "{name}" is forbidden: exceeded quota: compute, requested: pods=1')
        store = self.pods if kind == "pods" else self.secrets
        if name in store:
            raise Refused(409, "AlreadyExists", f'{kind} "{name}" already exists')
        document["metadata"].update(namespace=self.namespace, uid=str(uuid.uuid4()), creationTimestamp=stamp())
        if kind == "secrets":
            self.secrets[name] = document
            return document
        self.hosts += 1
        self.created += 1
        pod = self.pods[name] = Pod(self, document, f"{self.net}.{self.hosts // 250}.{self.hosts % 250 + 1}")
        self.every.append(pod)
        document["status"] = {"phase": "Pending"}
        self.changed("ADDED", document)
        threading.Thread(target=pod.run, daemon=True).start()
        return document

    def pod(self, name):
        if name not in self.pods:
            raise Refused(404, "NotFound", f'pods "{name}" not found')
        return self.pods[name]


def matches(document, query):
    labels = document["metadata"].get("labels", {})
    for each in filter(None, query.get("labelSelector", "").split(",")):
        name, _, value = each.partition("=")
        if labels.get(name) != value.lstrip("="):
            return False
    for each in filter(None, query.get("fieldSelector", "").split(",")):
        name, _, value = each.partition("=")
        here = document
        for part in name.split("."):
            here = here.get(part, {})
        if here != value.lstrip("="):
            return False
    return True


def table(document):
    """What kubectl prints: the server makes its columns (meta.k8s.io/v1 Table)."""
    names = ("Name", "Ready", "Status", "Restarts", "Age")
    rows = []
    for pod in document.get("items", [document]):
        status = pod["status"].get("containerStatuses", [{"ready": False, "state": {}}])[0]
        waits = status["state"].get("waiting", {}).get("reason")
        cells = [pod["metadata"]["name"], f"{int(status['ready'])}/1", waits or pod["status"]["phase"], "0", "1s"]
        rows.append({"cells": cells, "object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
                                                "metadata": pod["metadata"]}})
    return {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": document.get("metadata", {}), "rows": rows,
            "columnDefinitions": [{"name": name, "type": "string", "format": "name" if name == "Name" else "",
                                   "description": name, "priority": 0} for name in names]}


class Requests(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_api = None

    def log_message(self, *_):
        pass

    def setup(self):
        super().setup()
        self.server_api.sockets.add(self.connection)

    def finish(self):
        self.server_api.sockets.discard(self.connection)
        try:
            super().finish()
        except OSError:
            pass

    def answer(self, code, document, content_type="application/json"):
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def piece(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def stream(self, content_type):
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def handle_one(self):
        api = self.server_api
        path, _, tail = self.path.partition("?")
        query = dict(urllib.parse.parse_qsl(tail))
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or b"null") if length else None
        api.asked.append(f"{self.command} {path}")
        try:
            if api.token is not None and self.headers.get("Authorization") != f"Bearer {api.token}":
                raise Refused(401, "Unauthorized", "Unauthorized")
            self.route(api, path, query, body)
        except Refused as refused:
            self.answer(refused.status["code"], refused.status)
        except OSError:
            self.close_connection = True

    do_GET = do_POST = do_DELETE = do_PATCH = handle_one

    def route(self, api, path, query, body):
        found = WORKLOADS.match(path)
        if found:
            with api.lock:
                document = self.workload(api, found.group(2), bool(found.group(3)), body)
            self.answer(200, document)
            return
        found = PREFIX.match(path)
        if not found:
            self.discover(path)
            return
        namespace, kind, name, log = found.groups()
        if namespace != api.namespace:
            raise Refused(404, "NotFound", f'namespaces "{namespace}" not found')
        if self.command == "PATCH":
            time.sleep(api.patch_seconds)
        if log:
            self.log(api, name, query)
        elif self.command == "GET" and not name and query.get("watch") in ("1", "true"):
            self.watch(api, query)
        else:
            with api.lock:
                code, document = self.plain(api, kind, name, query, body)
            wants_table = kind == "pods" and self.command == "GET" and "as=Table" in self.headers.get("Accept", "")
            self.answer(code, table(document) if wants_table else document)

    def workload(self, api, name, is_scale, body):
        if not name:
            return {"kind": "DeploymentList", "apiVersion": "apps/v1", "metadata": {"resourceVersion": str(api.version)},
                    "items": [each.shown() for each in api.workloads.values()]}
        if name not in api.workloads:
            raise Refused(404, "NotFound", f'deployments.apps "{name}" not found')
        found = api.workloads[name]
        if self.command in ("PATCH", "PUT"):
            if api.forbidden:
                raise Refused(403, "Forbidden", f'deployments.apps "{name}" is forbidden: User "sluice" cannot patch resource "deployments/scale"')
            found.document["spec"]["replicas"] = int(body["spec"]["replicas"])
        return found.scale() if is_scale else found.shown()

    def plain(self, api, kind, name, query, body):
        if self.command == "POST":
            return 201, copy.deepcopy(api.create(kind, body))
        if self.command == "GET" and not name:
            all_of = {"pods": [pod.document for pod in api.pods.values()], "secrets": list(api.secrets.values()),
                      "events": api.events}[kind]
            return 200, {"kind": "List" if kind == "events" else "PodList", "apiVersion": "v1",
                         "metadata": {"resourceVersion": str(api.version)},
                         "items": copy.deepcopy([each for each in all_of if matches(each, query)])}
        if kind == "secrets":
            if api.secrets.pop(name, None) is None:
                raise Refused(404, "NotFound", f'secrets "{name}" not found')
            return 200, {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        pod = api.pod(name)
        if self.command == "DELETE":
            api.deleted.append(name)
            grace = (body or {}).get("gracePeriodSeconds", query.get("gracePeriodSeconds"))
            pod.delete(int(grace if grace is not None else pod.document["spec"].get("terminationGracePeriodSeconds", 30)))
        if self.command == "PATCH":
            for kind in ("labels", "annotations"):
                pod.document["metadata"].setdefault(kind, {}).update(body["metadata"].get(kind, {}))
            api.changed("MODIFIED", pod.document)
        return 200, copy.deepcopy(pod.document)

    def watch(self, api, query):
        since = int(query.get("resourceVersion") or 0)
        until = time.monotonic() + float(query.get("timeoutSeconds", 300))
        with api.lock:
            cuts = api.cuts
            if api.refuse_watches:
                api.refuse_watches -= 1
                raise Refused(500, "InternalError", "etcd leader changed")
        self.stream("application/json")
        if since < api.oldest:
            gone = Refused(410, "Expired", f"too old resource version: {since}").status
            self.piece(json.dumps({"type": "ERROR", "object": gone}).encode() + b"\n")
            self.piece(b"")
            self.close_connection = True
            return
        marked = time.monotonic()
        while time.monotonic() < until and not api.closed:
            with api.lock:
                news = [each for each in api.history if each[0] > since]
                if not news:
                    api.lock.wait(0.1)
                if api.cuts != cuts:
                    break
            for version, kind, document in news:
                since = version
                if matches(document, query):
                    self.piece(json.dumps({"type": kind, "object": document}).encode() + b"\n")
            if query.get("allowWatchBookmarks") == "true" and time.monotonic() - marked > 1:
                marked = time.monotonic()
                bookmark = {"kind": "Pod", "apiVersion": "v1", "metadata": {"resourceVersion": str(since)}}
                self.piece(json.dumps({"type": "BOOKMARK", "object": bookmark}).encode() + b"\n")
        if api.cuts == cuts:
            self.piece(b"")
        self.close_connection = True

    def log(self, api, name, query):
        with api.lock:
            pod = api.pod(name)
            if pod.process is None:
                raise Refused(400, "BadRequest", f'container "server" in pod "{name}" is waiting to start')
        follow, told, cuts = query.get("follow") == "true", 0, api.cuts
        since = query.get("sinceTime", "")[:19]
        self.stream("text/plain")
        while True:
            with api.lock:
                lines = pod.lines[told:]
                told += len(lines)
                over = pod.process.poll() is not None and not lines
                if not lines and follow and not over:
                    api.lock.wait(0.1)
            for when, line in lines:
                if when[:19] >= since:
                    text = f"{when} {line}\n" if query.get("timestamps") == "true" else f"{line}\n"
                    self.piece(text.encode())
            if over or not (follow or lines) or api.closed or api.cuts != cuts:
                break
        self.piece(b"")
        self.close_connection = True

    def discover(self, path):
        verbs = ["get", "list", "create", "delete", "watch", "patch"]
        kinds = [("pods", "Pod", verbs), ("pods/log", "Pod", ["get"]), ("secrets", "Secret", verbs), ("events", "Event", verbs)]
        apps = {"groupVersion": "apps/v1", "version": "v1"}
        documents = {
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [
                {"name": "apps", "versions": [apps], "preferredVersion": apps}]},
            "/apis/apps/v1": {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "apps/v1", "resources": [
                {"name": "deployments", "singularName": "deployment", "namespaced": True, "kind": "Deployment", "verbs": verbs},
                {"name": "deployments/scale", "singularName": "", "namespaced": True, "group": "autoscaling", "version": "v1",
                 "kind": "Scale", "verbs": ["get", "patch", "update"]}]},
            "/version": {"major": "1", "minor": "27", "gitVersion": "v1.27.0"},
            "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": [
                {"name": name, "singularName": "", "namespaced": True, "kind": kind, "verbs": verbs}
                for name, kind, verbs in kinds]}}
        if path not in documents:
            raise Refused(404, "NotFound", "the server could not find the requested resource")
        self.answer(200, documents[path])
