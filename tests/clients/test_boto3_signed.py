# SPDX-License-Identifier: Apache-2.0
"""boto3 with a pair of keys: calls that are signed are verified, as AWS would."""

import datetime
import hashlib
import json
import socket
import time

import boto3
import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from harness import KEY_ACME, KEY_GLOBEX, Sluice, config_for, eventually, model_for
from raw_upstream import chat_body, stream_chat

HELLO = [{"role": "user", "content": [{"text": "hi \u2603"}]}]
PATH = "/model/fast/converse"
BODY = json.dumps({"messages": HELLO}).encode()


def secret_of(key):
    return hashlib.sha256(key.encode()).hexdigest()


def answer(call):
    return stream_chat(call) if call.json.get("stream") else call.respond(200, chat_body("Hello"))


@pytest.fixture(autouse=True)
def fresh(watched, upstream):
    upstream.answer = answer


@pytest.fixture(scope="module")
def gate(upstream):
    models = [model_for("fast"), model_for("arn:aws:bedrock:eu-west-1:1:inference-profile/eu.anthropic.claude-x")]
    with Sluice(config_for(upstream, models=models, aws_signatures=True)) as one:
        yield one


def client_for(gate, access="acme:main", key=KEY_ACME):
    host, port = gate.address()
    return boto3.client("bedrock-runtime", region_name="eu-west-1", endpoint_url=f"http://{host}:{port}", aws_access_key_id=access,
                        aws_secret_access_key=secret_of(key), config=Config(retries={"total_max_attempts": 1}, read_timeout=20))


@pytest.fixture
def client(gate, monkeypatch):
    monkeypatch.delenv("AWS_BEARER_TOKEN_BEDROCK", raising=False)
    return client_for(gate)


def signed(body=BODY, path=PATH, auth=SigV4Auth, service="bedrock", access="acme:main", secret=None, at=None, headers=()):
    """The headers of a call that botocore signs."""
    request = AWSRequest("POST", f"http://sluice.test{path}", data=body, headers={"content-type": "application/json", **dict(headers)})
    now = datetime.datetime.now(datetime.timezone.utc) + (at or datetime.timedelta())
    credentials = Credentials(access, secret or secret_of(KEY_ACME))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.auth.get_current_datetime", lambda *_, **__: now)
        auth(credentials, service, "eu-west-1").add_auth(request)
    return [(name.lower(), value if isinstance(value, str) else value.decode()) for name, value in request.headers.items()]


def ask(gate, headers, body=BODY, path=PATH):
    return gate.request("POST", path, body, key=None, headers=headers)


def refused(got, code):
    assert got.status == 403 and got.json["__type"] == code, got
    return True


def test_a_signed_call_is_its_keys(client, gate):
    got = client.converse(modelId="fast", messages=HELLO)
    assert got["output"]["message"]["content"] == [{"text": "Hello"}]
    row = gate.ledger_row(got["ResponseMetadata"]["HTTPHeaders"]["x-request-id"])
    assert (row["tenant"], row["key"]) == ("acme", "main")
    words = [event["contentBlockDelta"]["delta"]["text"] for event in client.converse_stream(modelId="fast", messages=HELLO)["stream"] if "contentBlockDelta" in event]
    assert "".join(words) == "Hello there"
    body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
    assert json.loads(client.invoke_model(modelId="fast", body=json.dumps(body))["body"].read())["content"][0]["text"] == "Hello"


def test_a_name_with_escapes_is_signed_escaped_twice(client):
    got = client.converse(modelId="arn:aws:bedrock:eu-west-1:1:inference-profile/eu.anthropic.claude-x", messages=HELLO)
    assert got["stopReason"] == "end_turn"


@pytest.mark.parametrize("query", ["?b=2&a=1%20x", "?a-b=1&a=2&a=1", "?a", "?b=&a=%C3%BC~"])
def test_a_query_is_signed(gate, query):
    headers = signed(path=PATH + query)
    assert ask(gate, headers, path=PATH + query).status == 200
    assert refused(ask(gate, headers, path=PATH + query + "&c=1"), "InvalidSignatureException")


def test_who_says_the_digest_of_the_body_is_held_to_it(gate):
    headers = signed(auth=S3SigV4Auth)
    assert dict(headers)["x-amz-content-sha256"] == hashlib.sha256(BODY).hexdigest()
    assert ask(gate, headers).status == 200
    assert refused(ask(gate, headers, body=BODY.replace(b"hi", b"ho")), "InvalidSignatureException")


def test_a_changed_body_path_or_header_is_refused(gate, upstream):
    headers = signed(headers=[("x-amz-meta", "a  b")])
    assert ask(gate, headers).status == 200
    upstream.forget()
    assert refused(ask(gate, headers, body=BODY.replace(b"hi", b"ho")), "InvalidSignatureException")
    assert refused(ask(gate, headers, path=PATH + "-stream"), "InvalidSignatureException")
    changed = [(name, "c" if name == "x-amz-meta" else value) for name, value in headers]
    assert refused(ask(gate, changed), "InvalidSignatureException")
    assert not upstream.calls


def test_a_wrong_secret_is_refused_in_aws_words(gate, upstream):
    with pytest.raises(ClientError) as caught:
        client_for(gate, key=KEY_GLOBEX).converse(modelId="fast", messages=HELLO)
    assert caught.value.response["Error"]["Code"] == "InvalidSignatureException"
    got = caught.value.response["ResponseMetadata"]
    assert got["HTTPStatusCode"] == 403
    row = gate.access_line(got["HTTPHeaders"]["x-request-id"])
    assert "tenant" not in row or not row["tenant"]
    with pytest.raises(ClientError) as caught:
        client_for(gate, access="acme:nobody").converse(modelId="fast", messages=HELLO)
    assert caught.value.response["Error"]["Code"] == "UnrecognizedClientException"
    assert not upstream.calls


@pytest.mark.parametrize("minutes", [-6, 6])
def test_a_signature_of_another_time_is_refused(gate, minutes):
    assert ask(gate, signed(at=datetime.timedelta(minutes=minutes * 4 / 6))).status == 200
    assert refused(ask(gate, signed(at=datetime.timedelta(minutes=minutes))), "InvalidSignatureException")


def test_a_signature_that_is_not_whole_is_refused(gate):
    headers = dict(signed())
    given = headers["authorization"]
    for changed in (given.replace(", Signature", ";Signature"), given.replace("host;", ""), given.replace("x-amz-date", "x-amz-dat"),
                    given.split(", Signature")[0], given + ", Signature=" + "0" * 64, "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 Credential=a"):
        assert refused(ask(gate, list({**headers, "authorization": changed}.items())), "IncompleteSignatureException"), changed
    assert refused(ask(gate, [*headers.items(), ("x-api-key", KEY_ACME)]), "IncompleteSignatureException")
    assert refused(ask(gate, signed(service="s3")), "InvalidSignatureException")


def test_other_dialects_take_no_signatures(gate):
    body = json.dumps({"model": "fast", "messages": [{"role": "user", "content": "hi"}]}).encode()
    assert gate.request("POST", "/v1/chat/completions", body, key=None, headers=signed(body=body, path="/v1/chat/completions")).status == 401


def test_signatures_are_taken_only_where_the_configuration_says_so(upstream):
    with Sluice(config_for(upstream)) as one, pytest.raises(ClientError) as caught:
        client_for(one).converse(modelId="fast", messages=HELLO)
    assert caught.value.response["Error"]["Code"] == "UnrecognizedClientException"


def test_a_call_that_never_shows_its_body_is_nobodys(gate):
    """The signature is of the body too: before it is there no key is proved, and no tenant sees a row."""
    before = gate.usage_total("requests", tenant="globex")
    names = ("host", "content-type", "x-amz-date", "authorization")
    fields = [("host", "sluice.test"), *signed(access="globex:main", secret="0" * 64)]
    head = "".join(f"{name}: {value}\r\n" for name, value in fields if name in names)
    with socket.create_connection(gate.address()) as link:
        link.sendall(f"POST {PATH} HTTP/1.1\r\n{head}content-length: 100\r\n\r\n{{".encode())
        time.sleep(0.2)
    eventually(lambda: any(line["status"] == 499 for line in gate.access_lines()))
    assert not [line for line in gate.access_lines() if line["status"] == 499 and line.get("tenant")]
    assert gate.usage_total("requests", tenant="globex") == before
