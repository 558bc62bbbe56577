# SPDX-License-Identifier: Apache-2.0
"""multipart/form-data passes through as it comes, but for the value of its field `model`."""

import hashlib
import threading

import pytest
from harness import KEY_ACME, KEY_WRONG, SANITIZED, Background, chunked, request_bytes

pytestmark = pytest.mark.threads
BOUNDARY = "----WebKitFormBoundary7MA4YWxkTrZu0gW"
TYPE = ("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
AUTH = ("Authorization", f"Bearer {KEY_ACME}")
GROWTH = (32 if SANITIZED else 4) << 20
CONFIG = {"server": {"workers": 1}}


def field(name, value, more=""):
    if isinstance(value, str):
        value = value.encode()
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value + b"\r\n"


def form(*fields):
    return b"".join(fields) + f"--{BOUNDARY}--\r\n".encode()


AUDIO = bytes(range(256)) * 40 + b"\r\n--" + BOUNDARY[:10].encode() + b"\r\n" + bytes(1000)
FILE = field("file", AUDIO, '; filename="a.mp3"\r\nContent-Type: audio/mpeg')
FORMS = {
    "model first": (field("model", "fast"), FILE, field("language", "de")),
    "model last": (FILE, field("language", "de"), field("model", "fast")),
    "model between": (field("prompt", "x"), FILE, field("model", "fast"), field("temperature", "0")),
    "alias": (field("model", "quick"), FILE),
}


def post(gate, body, path="/v1/audio/transcriptions", cut=None, fields=(AUTH, TYPE)):
    with gate.connect() as client:
        data = request_bytes("POST", path, list(fields), body)
        client.send_cut(data, cut) if cut else client.send(data)
        return client.read_response()


@pytest.mark.parametrize("cut", [None, 1, 777])
@pytest.mark.parametrize("case", FORMS)
def test_a_form(gate, upstream, case, cut):
    body = form(*FORMS[case])
    if cut == 1:
        body = form(*(part if len(part) < 5000 else FILE[:300] + b"\r\n" for part in FORMS[case]))
    answer = post(gate, body, cut=cut)
    assert answer.status == 200, answer
    call = upstream.last()
    assert call.target == "/v1/audio/transcriptions" and call.header("content-type") == TYPE[1]
    expected = body.replace(b"\r\n\r\nfast\r\n", b"\r\n\r\nupstream-model\r\n").replace(
        b"\r\n\r\nquick\r\n", b"\r\n\r\nupstream-model\r\n")
    assert call.body == expected
    row = gate.ledger_row(answer.header("x-request-id"))
    assert row["operation"] == "transcription" and row["tenant"] == "acme", row


def test_a_chunked_form(gate, upstream):
    body = form(*FORMS["model first"])
    with gate.connect() as client:
        client.send(request_bytes("POST", "/v1/audio/transcriptions", [AUTH, TYPE, ("Transfer-Encoding", "chunked")], b"")
                    + chunked(body, size=333))
        assert client.read_response().status == 200
        assert client.request("GET", "/livez").status == 200
    assert upstream.last().body == body.replace(b"\r\n\r\nfast\r\n", b"\r\n\r\nupstream-model\r\n")


@pytest.mark.parametrize("total", [200 << 20])
def test_200_mib_pass_in_flat_memory(gate, upstream, total):
    post(gate, form(*FORMS["model first"]))
    before = gate.rss()
    start = field("model", "fast") + FILE[: FILE.index(b"\r\n\r\n") + 4]
    end = b"\r\n--" + BOUNDARY.encode() + b"--\r\n"
    piece = bytes(range(256)) * 256
    length = len(start) + total + len(end)
    digest = hashlib.sha256(start.replace(b"fast", b"upstream-model"))
    peak = [0]

    def send(client):
        for at in range(0, total, len(piece)):
            client.send(piece)
            digest.update(piece)
            if at % (16 << 20) == 0:
                peak[0] = max(peak[0], gate.rss() - before)
        client.send(end)
        digest.update(end)

    upstream.forget()
    with gate.connect(timeout=120) as client:
        client.send(request_bytes("POST", "/v1/audio/transcriptions", [AUTH, TYPE, ("Content-Length", str(length))], b"") + start)
        sending = Background(send, client)
        answer = client.read_response()
        sending.result()
    assert answer.status == 200, answer
    call = upstream.last()
    assert call.length == length + len("upstream-model") - len("fast")
    assert call.sha256 == digest.hexdigest()
    assert peak[0] < GROWTH, f"{peak[0] >> 20} MiB were held"


BROKEN = {
    "no model": form(FILE),
    "model twice": form(field("model", "fast"), field("model", "slow"), FILE),
    "unknown model": form(field("model", "nobody"), FILE),
    "model not allowed": form(field("model", "slow"), FILE),
    "no end": b"".join(FORMS["model first"]),
    "no boundary at all": b"hello",
    "empty": b"",
    "model too long": form(field("model", "x" * 5000), FILE),
    "model with a file name": form(field("model", "fast", '; filename="x"'), field("model", "fast"), FILE),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_form(gate, upstream, case):
    from harness import KEY_ACME_FAST

    fields = (("Authorization", f"Bearer {KEY_ACME_FAST}"), TYPE)
    answer = post(gate, BROKEN[case], fields=fields)
    if case == "no end":  # passed on as it came, or refused; but not both
        threading.Event().wait(0.3)
        assert (answer.status, len(upstream.calls)) in ((200, 1), (400, 0)), answer
    elif case == "no model":  # nobody knows where to; some endpoints have a default
        assert answer.status == 400, answer
    elif case == "model with a file name":
        assert answer.status in (200, 400), answer
    else:
        assert answer.status in (400, 403, 404), answer
        assert answer.error["type"] in ("invalid_request_error", "permission_error")
        assert not upstream.calls and not upstream.cut_bodies


@pytest.mark.parametrize("content_type", [
    "multipart/form-data", "multipart/form-data; boundary=", 'multipart/form-data; boundary="', "multipart/form-data; boundary=" + "b" * 300,
    "multipart/mixed; boundary=x", "text/plain", "application/x-www-form-urlencoded"])
def test_a_type_that_is_no_form(gate, upstream, content_type):
    answer = post(gate, form(*FORMS["model first"]), fields=(AUTH, ("Content-Type", content_type)))
    assert answer.status in (400, 415), answer
    assert not upstream.calls


def test_a_quoted_boundary(gate, upstream):
    answer = post(gate, form(*FORMS["model first"]),
                  fields=(AUTH, ("Content-Type", f'multipart/form-data; charset=utf-8; boundary="{BOUNDARY}"')))
    assert answer.status == 200, answer


def test_a_wrong_key_sees_its_401(gate, upstream):
    with gate.connect() as client:
        head = [("Authorization", f"Bearer {KEY_WRONG}"), TYPE, ("Content-Length", str(200 << 20))]
        try:
            client.send(request_bytes("POST", "/v1/files", head, b""))
            for _ in range(1000):
                client.send(bytes(65536))
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert client.read_response().status == 401
    assert not upstream.calls


def test_a_form_above_the_limit(gate, upstream):
    with gate.connect() as client:
        client.send(request_bytes("POST", "/v1/files", [AUTH, TYPE, ("Content-Length", str(600 << 20))], b""))
        assert client.read_response().status == 413


@pytest.mark.parametrize("path", ["/v1/audio/translations", "/v1/images/edits", "/v1/images/variations"])
def test_other_forms(gate, upstream, path):
    answer = post(gate, form(*FORMS["model first"]), path=path)
    assert answer.status == 200, answer
    assert upstream.last().target == path


def test_a_client_that_leaves_in_an_upload(gate, upstream):
    body = form(*FORMS["model first"])
    with gate.connect() as client:
        client.send(request_bytes("POST", "/v1/audio/transcriptions", [AUTH, TYPE, ("Content-Length", "10000000")], b"") + body[:4000])
    upstream.wait(lambda: upstream.cut_bodies or not upstream.calls)
    assert gate.chat().status == 200
