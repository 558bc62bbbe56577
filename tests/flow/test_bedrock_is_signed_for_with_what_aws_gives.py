# SPDX-License-Identifier: Apache-2.0
"""A provider of Bedrock without keys of its own: AWS' default chain on a server. The doubles speak the forms
of the container's endpoint, of STS and of the machine's metadata server, and check what they are asked."""

import contextlib
import hashlib
import hmac
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote

import pytest
from harness import Sluice, config_for, eventually, model_for, provider_for, run_cli, temporary_folder, to_yaml

ROLE_ARN, ROLE = "arn:aws:iam::123456789012:role/sluice", "sluice.role@1"
ANSWER = {"output": {"message": {"role": "assistant", "content": [{"text": "Hello."}]}}, "stopReason": "end_turn",
          "usage": {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}, "metrics": {"latencyMs": 1}}
HELLO = {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}


class Endpoint:
    """Gives out KEY1, KEY2 ... with their secrets, good for `life` seconds."""

    def __init__(self):
        endpoint = self
        self.lock, self.given, self.life, self.asked, self.problems, self.status = threading.Lock(), 0, 3600, [], [], 200

        class Answers(BaseHTTPRequestHandler):
            def do_GET(self):
                endpoint.take(self, "")

            def do_PUT(self):
                endpoint.take(self, "")

            def do_POST(self):
                endpoint.take(self, self.rfile.read(int(self.headers["Content-Length"])).decode())

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def keys(self):
        with self.lock:
            self.given += 1
            number = self.given
        end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + self.life))
        return {"AccessKeyId": f"KEY{number}", "SecretAccessKey": f"secret/{number}+", "Token": f"session/{number}==", "Expiration": end}

    def answer(self, asked, form):
        if asked.path == "/creds" and asked.headers["Authorization"] in ("Basic abc", "of-the-file"):
            return json.dumps(self.keys())
        if asked.path == "/latest/api/token" and asked.command == "PUT" and asked.headers["X-aws-ec2-metadata-token-ttl-seconds"] == "21600":
            return "machine-token=="
        if asked.path.startswith("/latest/meta-data/iam/security-credentials/") and asked.headers["X-aws-ec2-metadata-token"] == "machine-token==":
            role = asked.path.rpartition("/")[2]
            if role in ("", ROLE):
                return json.dumps({"Code": "Success", "Type": "AWS-HMAC", **self.keys()}, indent=2) if role else ROLE + "\n"
        fields = {"Action": ["AssumeRoleWithWebIdentity"], "Version": ["2011-06-15"], "RoleArn": [ROLE_ARN], "RoleSessionName": ["pod-1"], "WebIdentityToken": ["eyJ.a_b.c-d"]}
        if (asked.command, asked.path) == ("POST", "/") and parse_qs(form, strict_parsing=True) == fields:
            keys = self.keys()
            keys["SessionToken"] = keys.pop("Token")
            inside = "".join(f"<{name}>{value}</{name}>\n" for name, value in keys.items())
            return f'<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials>{inside}</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>'
        self.problems.append(f"{asked.command} {asked.path} {dict(asked.headers)} {form}")
        return None

    def take(self, asked, form):
        self.asked.append(f"{asked.command} {asked.path}")
        status, words = self.status, ""
        if status == 200:
            words = self.answer(asked, form)
            status = 200 if words is not None else 400
        words = (words or "").encode()
        with contextlib.suppress(OSError):
            asked.send_response(status)
            asked.send_header("Content-Length", str(len(words)))
            asked.end_headers()
            asked.wfile.write(words)


@pytest.fixture
def aws():
    with contextlib.closing(Endpoint()) as endpoint:
        yield endpoint
        assert endpoint.problems == []


@pytest.fixture(autouse=True)
def fresh(upstream):
    upstream.answer = lambda call: call.respond(200, ANSWER)


def provider_of(upstream, **changes):
    provider = provider_for(upstream, "aws", type="bedrock", base_url=upstream.url.removesuffix("/v1"), region="eu-west-1", **changes)
    del provider["api_key"]
    return provider


def config_of(upstream, **changes):
    return config_for(upstream, providers=[provider_of(upstream, **changes)], models=[model_for("fast", "aws", "amazon.nova-lite-v1:0")])


def ask(gate):
    return gate.post("/model/fast/converse", HELLO)


def signer(call):
    """Whose keys is it signed with, by a reading of the rules of its own? Checks the signature."""
    match = re.fullmatch(r"AWS4-HMAC-SHA256 Credential=(\w+)/(\d{8})/eu-west-1/bedrock/aws4_request, SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})", call.header("authorization"))
    access, date, names, signature = match.groups()
    number = access.removeprefix("KEY")
    token = f"session/{number}=="
    if call.header("x-amz-security-token") != token or "x-amz-security-token" not in names:
        return None
    fields = "".join(f"{name}:{call.header(name)}\n" for name in names.split(";"))
    form = "\n".join((call.method, quote(call.path, safe="/~"), "", fields, names, hashlib.sha256(call.body).hexdigest()))
    words = f"AWS4-HMAC-SHA256\n{call.header('x-amz-date')}\n{date}/eu-west-1/bedrock/aws4_request\n{hashlib.sha256(form.encode()).hexdigest()}"
    key = b"AWS4" + f"secret/{number}+".encode()
    for part in (date, "eu-west-1", "bedrock", "aws4_request", words):
        key = hmac.new(key, part.encode(), "sha256").digest()
    return access if key.hex() == signature else None


def environment_of(kind, aws, folder):
    token = folder / "token"
    if kind == "container":
        return {"AWS_CONTAINER_CREDENTIALS_FULL_URI": aws.url + "/creds", "AWS_CONTAINER_AUTHORIZATION_TOKEN": "Basic abc"}
    if kind == "container's file":
        token.write_text("of-the-file\n")
        return {"AWS_CONTAINER_CREDENTIALS_FULL_URI": aws.url + "/creds", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token)}
    if kind == "web":
        token.write_text("eyJ.a_b.c-d\n")
        return {"AWS_WEB_IDENTITY_TOKEN_FILE": str(token), "AWS_ROLE_ARN": ROLE_ARN, "AWS_ROLE_SESSION_NAME": "pod-1", "AWS_ENDPOINT_URL_STS": aws.url}
    return {"AWS_EC2_METADATA_SERVICE_ENDPOINT": aws.url}


@pytest.fixture
def folder():
    return Path(temporary_folder("sluice-aws-"))


@pytest.mark.parametrize("kind", ["container", "container's file", "web", "machine"])
def test_calls_are_signed_with_what_is_given(upstream, aws, folder, kind):
    with Sluice(config_of(upstream), env=environment_of(kind, aws, folder)) as gate:
        for _ in range(6):
            assert ask(gate).status == 200
            assert signer(upstream.last()) in ("KEY1", "KEY2"), upstream.last()
        assert aws.given <= 2, "once by each worker, however many calls there are"
        for secret in ("secret/1", "session/1", "KEY1", "machine-token", "eyJ.a_b"):
            assert secret not in gate.log()


def test_keys_of_the_environment_come_first(upstream, aws, folder):
    env = {**environment_of("container", aws, folder), "AWS_ACCESS_KEY_ID": "KEY7", "AWS_SECRET_ACCESS_KEY": "secret/7+", "AWS_SESSION_TOKEN": "session/7=="}
    with Sluice(config_of(upstream), env=env) as gate:
        assert ask(gate).status == 200 and signer(upstream.last()) == "KEY7"
        assert not aws.asked


def test_keys_are_fetched_again_before_they_are_over(upstream, aws, folder):
    aws.life = 3
    with Sluice(config_of(upstream), env=environment_of("machine", aws, folder)) as gate:
        assert ask(gate).status == 200
        eventually(lambda: aws.given >= 6, within=15)
        for _ in range(4):
            assert ask(gate).status == 200 and int(signer(upstream.last()).removeprefix("KEY")) > 2


def test_what_is_not_given_is_asked_for_again(upstream, aws, folder):
    aws.status = 500
    with Sluice(config_of(upstream, timeouts={"connect": "300ms"}), env=environment_of("web", aws, folder)) as gate:
        assert ask(gate).status == 503
        aws.status = 200
        eventually(lambda: ask(gate).status == 200, within=15)
        assert signer(upstream.last())


def test_keys_that_aws_takes_no_longer_are_fetched_anew(upstream, aws, folder):
    upstream.answer = lambda call: call.respond(403, {"message": "The security token included in the request is expired"}, headers={"x-amzn-errortype": "ExpiredTokenException"})
    with Sluice(config_of(upstream), env=environment_of("container", aws, folder)) as gate:
        assert ask(gate).status == 403
        given = aws.given

        def asked_again():
            ask(gate)
            return aws.given > given

        eventually(asked_again, within=20, every=0.5)


@pytest.mark.parametrize(("env", "words"), [
    ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://10.0.0.1/x"}, "FULL_URI must begin with https"),
    ({"AWS_WEB_IDENTITY_TOKEN_FILE": "/nothing"}, "AWS_ROLE_ARN is not"),
    ({"AWS_EC2_METADATA_DISABLED": "TRUE"}, "is off: it has no api_key"),
])
def test_what_cannot_be_right_is_said_by_check(upstream, folder, env, words):
    file = folder / "sluice.yaml"
    file.write_text(to_yaml(config_of(upstream)))
    done = run_cli("check", file, env=env)
    assert words in done.stdout + done.stderr


def test_keys_in_the_file_are_the_only_ones(upstream, aws, folder):
    config = config_of(upstream)
    config["providers"][0]["api_key"] = ""
    file = folder / "sluice.yaml"
    file.write_text(to_yaml(config))
    assert "is off: it has no api_key" in (lambda done: done.stdout + done.stderr)(run_cli("check", file, env=environment_of("machine", aws, folder)))
    assert not aws.asked
