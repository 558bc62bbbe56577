# SPDX-License-Identifier: Apache-2.0
"""A registry of images with one image in it, of one large layer that comes slowly
(https://distribution.github.io/distribution/spec/api/).

    with Registry(user="u", password="p") as registry:
        registry.name                  # 127.0.0.1:PORT/fake:1
"""

import base64
import gzip
import hashlib
import io
import json
import os
import sys
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from driver import FAKE  # noqa: E402

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def digest_of(blob):
    return "sha256:" + hashlib.sha256(blob).hexdigest()


class Registry:
    def __init__(self, user=None, password=None, mib=8, seconds=2.0, cut_at=None):
        self.user, self.seconds, self.cut_at = user, seconds, cut_at
        self.wanted = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode() if user else None
        self.seen, self.cuts = [], 0
        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w") as archive:
            archive.add(FAKE, "fakellm")
            ballast = tarfile.TarInfo("ballast")
            ballast.size = mib << 20
            archive.addfile(ballast, io.BytesIO(os.urandom(ballast.size)))
        layer = gzip.compress(tar.getvalue(), 1, mtime=0)
        config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {
            "type": "layers", "diff_ids": [digest_of(tar.getvalue())]}}).encode()
        self.layer = digest_of(layer)
        self.blobs = {digest_of(blob): blob for blob in (layer, config)}
        self.manifest = json.dumps({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "size": len(config),
                       "digest": digest_of(config)},
            "layers": [{"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": len(layer),
                        "digest": self.layer}]}).encode()

    @property
    def name(self):
        return f"127.0.0.1:{self.server.server_port}/fake:1"

    def answer(self, request):
        self.seen.append((request.command, request.path, request.headers.get("Authorization")))
        if self.wanted and request.headers.get("Authorization") != self.wanted:
            return 401, b'{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}', "application/json"
        if request.path == "/v2/":
            return 200, b"{}", "application/json"
        kind, name = request.path.split("/")[-2:]
        if kind == "manifests" and name in ("1", digest_of(self.manifest)):
            return 200, self.manifest, MANIFEST
        if kind == "blobs" and name in self.blobs:
            return 200, self.blobs[name], "application/octet-stream"
        return 404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}', "application/json"

    def send(self, request, body):
        is_layer = digest_of(body) == self.layer
        piece = max(1, len(body) // 40) if is_layer else len(body) or 1
        for at in range(0, len(body), piece):
            if is_layer and self.cut_at is not None and at > self.cut_at * len(body):
                self.cuts += 1
                request.close_connection = True
                return
            request.wfile.write(body[at:at + piece])
            if is_layer:
                time.sleep(self.seconds / 40)

    def __enter__(self):
        registry = self

        class Answer(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                status, body, kind = registry.answer(self)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
                if status == 401:
                    self.send_header("WWW-Authenticate", 'Basic realm="test"')
                if kind == MANIFEST:
                    self.send_header("Docker-Content-Digest", digest_of(body))
                self.end_headers()
                if self.command == "GET":
                    try:
                        registry.send(self, body)
                    except OSError:
                        self.close_connection = True

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)
