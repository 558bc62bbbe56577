# SPDX-License-Identifier: Apache-2.0
"""Providers that take short-lived tokens: Azure OpenAI by Entra ID, Vertex AI by a service account or by
the metadata server. The token endpoints are doubles that check what they are asked for."""

import base64
import contextlib
import json
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from harness import Sluice, chat_request, config_for, eventually, model_for, provider_for, run_cli, temporary_folder, to_yaml
from raw_upstream import Upstream, chat_body

TENANT, CLIENT, SECRET = "contoso.example", "client-1", "s3cret~with+odd&bytes="
ENTRA_PATH = f"/{TENANT}/oauth2/v2.0/token"
METADATA_PATH = "/computeMetadata/v1/instance/service-accounts/default/token"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
GEMINI = {"candidates": [{"content": {"role": "model", "parts": [{"text": "Hello."}]}, "finishReason": "STOP"}],
          "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5}}


class Endpoint:
    """Gives out token-1, token-2 ... that live for `self.life` seconds; `self.check` looks at what is asked
    and gives the words of what is wrong with it. `self.status` is what it answers with, after `self.pause`."""

    def __init__(self, check):
        endpoint = self

        class Answers(BaseHTTPRequestHandler):
            def do_POST(self):
                length = int(self.headers["Content-Length"])
                self.answer({k: v[0] for k, v in parse_qs(self.rfile.read(length).decode(), strict_parsing=True).items()})

            def do_GET(self):
                self.answer({})

            def answer(self, fields):
                endpoint.asked += 1
                time.sleep(endpoint.pause)
                assert endpoint.go.wait(60)
                problem = endpoint.check(self, fields)
                if problem:
                    endpoint.problems.append(problem)
                status = 400 if problem else endpoint.status
                body = {"error": "invalid_grant", "error_description": problem}
                if status == 200:
                    with endpoint.lock:
                        endpoint.given += 1
                        body = {"access_token": f"token-{endpoint.given}", "token_type": "Bearer", "expires_in": endpoint.life}
                body = json.dumps(body).encode() if endpoint.body is None else endpoint.body
                with contextlib.suppress(OSError):
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.check, self.lock, self.problems = check, threading.Lock(), []
        self.asked, self.given, self.life, self.status, self.pause, self.body = 0, 0, 3600, 200, 0, None
        self.go = threading.Event()  # nobody is answered before
        self.go.set()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        self.place = f"127.0.0.1:{self.server.server_address[1]}"
        self.url = f"http://{self.place}"

    def close(self):
        self.go.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(10)


def openssl(*words, stdin=b""):
    return subprocess.run(["openssl", *map(str, words)], input=stdin, capture_output=True, check=True).stdout


class Account:
    """A service account's key, and its file."""

    def __init__(self):
        self.folder = Path(temporary_folder("sluice-account-"))
        self.key = openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")
        self.public = self.folder / "public.pem"
        self.public.write_bytes(openssl("pkey", "-pubout", stdin=self.key))

    def write(self, endpoint, **changes):
        file = self.folder / "account.json"
        file.write_text(json.dumps({"type": "service_account", "project_id": "of-the-file", "private_key_id": "key-1",
                                    "private_key": self.key.decode(), "client_email": "sluice@project.example",
                                    "token_uri": endpoint.url + "/token", **changes}))
        return str(file)

    def verifies(self, data, signature):
        file = self.folder / f"signature-{threading.get_ident()}"  # two workers may ask at once
        file.write_bytes(signature)
        done = subprocess.run(["openssl", "dgst", "-sha256", "-verify", self.public, "-signature", file],
                              input=data, capture_output=True, check=False)
        return done.returncode == 0


@pytest.fixture(scope="module")
def account():
    return Account()


def decoded(part):
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def check_entra(asked, fields):
    expected = {"grant_type": "client_credentials", "client_id": CLIENT, "client_secret": SECRET,
                "scope": "https://cognitiveservices.azure.com/.default"}
    if (asked.command, asked.path) != ("POST", ENTRA_PATH):
        return f"{asked.command} {asked.path}"
    return None if fields == expected else f"asked for {fields}"


def check_metadata(asked, _):
    good = (asked.command, asked.path) == ("GET", METADATA_PATH) and asked.headers["Metadata-Flavor"] == "Google"
    return None if good else f"{asked.command} {asked.path} {asked.headers}"


def checks_assertion(account, endpoint):
    def check(asked, fields):
        if asked.path != "/token" or fields.get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer":
            return f"{asked.path} {fields}"
        head, claims, signature = fields["assertion"].split(".")
        if not account.verifies(f"{head}.{claims}".encode(), decoded(signature)):
            return "the signature is not the account's"
        head, claims, now = json.loads(decoded(head)), json.loads(decoded(claims)), time.time()
        if head != {"alg": "RS256", "typ": "JWT", "kid": "key-1"}:
            return f"the header is {head}"
        if not now - 60 < claims.pop("iat") < now + 5 < claims.pop("exp") <= now + 3605:
            return "its times are odd"
        expected = {"iss": "sluice@project.example", "scope": SCOPE, "aud": endpoint().url + "/token"}
        return None if claims == expected else f"the claims are {claims}"
    return check


@pytest.fixture
def entra():
    with contextlib.closing(Endpoint(check_entra)) as endpoint:
        yield endpoint
        assert endpoint.problems == []


@pytest.fixture
def metadata():
    with contextlib.closing(Endpoint(check_metadata)) as endpoint:
        yield endpoint
        assert endpoint.problems == []


@pytest.fixture
def google(account):
    with contextlib.closing(Endpoint(None)) as endpoint:
        endpoint.check = checks_assertion(account, lambda: endpoint)
        yield endpoint
        assert endpoint.problems == []


def azure_for(upstream, **changes):
    provider = provider_for(upstream, "azure", type="azure-openai", base_url=upstream.url.removesuffix("/v1"),
                            entra={"tenant": TENANT, "client_id": CLIENT, "client_secret": SECRET}, **changes)
    del provider["api_key"]
    return provider


def vertex_for(upstream, **changes):
    provider = provider_for(upstream, "vertex", **{"type": "vertex", "base_url": upstream.url.removesuffix("/v1"), "location": "europe-west1", **changes})
    del provider["api_key"]
    return provider


def config_of(upstream, provider, model="gpt-4o", **changes):
    return config_for(upstream, providers=[provider], models=[model_for("fast", provider["name"], model)], **changes)


def bearer(upstream):
    return upstream.last().header("authorization")


def test_azure_takes_the_token_of_entra(upstream, entra):
    upstream.answer = lambda call: call.respond(200, chat_body())
    with Sluice(config_of(upstream, azure_for(upstream)), env={"AZURE_AUTHORITY_HOST": entra.url + "/"}) as gate:
        assert gate.chat().status == 200
        assert bearer(upstream) in ("Bearer token-1", "Bearer token-2")
        assert not upstream.last().header("api-key")
        for _ in range(8):
            assert gate.chat().status == 200
        assert entra.asked <= 2, "once by each worker, however many calls there are"
        for secret in (SECRET, "token-1"):
            assert secret not in gate.log()


def test_vertex_takes_the_token_of_a_service_account(upstream, google, account):
    upstream.answer = lambda call: call.respond(200, json.dumps(GEMINI).encode())
    provider = vertex_for(upstream, credentials_file=account.write(google))
    with Sluice(config_of(upstream, provider, "gemini-2.5-pro")) as gate:
        answer = gate.chat()
        assert answer.status == 200 and answer.json["choices"][0]["message"]["content"] == "Hello.", answer
        assert bearer(upstream).startswith("Bearer token-")
        below = "/v1/projects/of-the-file/locations/europe-west1/publishers/google/models/gemini-2.5-pro:"
        assert upstream.last().target == below + "generateContent"
        own = gate.post("/v1beta/models/fast:generateContent", {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]})
        assert own.status == 200 and own.json["candidates"] == GEMINI["candidates"], own
        assert upstream.last().target == below + "generateContent"
        assert account.key.decode()[100:140] not in gate.log()


def test_vertex_takes_the_token_of_the_machine(upstream, metadata):
    upstream.answer = lambda call: call.respond(200, json.dumps(GEMINI).encode())
    provider = vertex_for(upstream, project="mine")
    with Sluice(config_of(upstream, provider, "gemini-2.5-pro"), env={"GCE_METADATA_HOST": metadata.place}) as gate:
        assert gate.chat().status == 200
        assert bearer(upstream).startswith("Bearer token-")
        assert upstream.last().target.startswith("/v1/projects/mine/locations/europe-west1/publishers/google/models/")


CLAUDE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "content": [{"type": "text", "text": "Hello."}],
          "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 3, "output_tokens": 2}}
MESSAGES = [{"role": "user", "content": "model"}]


def test_claude_on_vertex(upstream, metadata):
    upstream.answer = lambda call: call.respond(200, json.dumps(CLAUDE).encode())
    provider = vertex_for(upstream, project="mine", type="vertex-anthropic")
    below = "/v1/projects/mine/locations/europe-west1/publishers/anthropic/models/"
    with Sluice(config_of(upstream, provider, "claude-x@20250929"), env={"GCE_METADATA_HOST": metadata.place}) as gate:
        own = gate.post("/v1/messages", {"max_tokens": 9, "messages": MESSAGES, "model": "fast"})
        assert own.status == 200 and own.json["content"] == CLAUDE["content"], own
        assert upstream.last().target == below + "claude-x@20250929:rawPredict"
        assert upstream.last().json == {"anthropic_version": "vertex-2023-10-16", "max_tokens": 9, "messages": MESSAGES}
        assert bearer(upstream).startswith("Bearer token-") and not upstream.last().header("x-api-key")

        other = gate.chat(max_tokens=9, messages=MESSAGES)
        assert other.status == 200 and other.json["choices"][0]["message"]["content"] == "Hello.", other
        assert upstream.last().target == below + "claude-x@20250929:rawPredict"
        body = upstream.last().json
        assert (body["anthropic_version"], body["max_tokens"]) == ("vertex-2023-10-16", 9) and "model" not in body

        upstream.answer = lambda call: call.respond(200, b'{"input_tokens": 11}')
        counted = gate.post("/v1/messages/count_tokens", {"model": "fast", "messages": MESSAGES})
        assert counted.status == 200 and counted.json["input_tokens"] == 11
        assert upstream.last().target == below + "count-tokens:rawPredict"
        assert upstream.last().json == {"anthropic_version": "vertex-2023-10-16", "model": "claude-x@20250929", "messages": MESSAGES}

        before = len(upstream.calls)
        assert gate.post("/v1/embeddings", {"model": "fast", "input": "x"}).status in (400, 404, 501)
        assert len(upstream.calls) == before


def test_a_stream_of_claude_on_vertex(upstream, metadata):
    events = [{"type": "message_start", "message": {**CLAUDE, "content": [], "stop_reason": None}},
              {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
              {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello."}},
              {"type": "content_block_stop", "index": 0},
              {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 2}},
              {"type": "message_stop"}]
    stream = "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events).encode()
    upstream.answer = lambda call: call.respond(200, stream, content_type="text/event-stream")
    provider = vertex_for(upstream, project="mine", type="vertex-anthropic")
    with Sluice(config_of(upstream, provider, "claude-x"), env={"GCE_METADATA_HOST": metadata.place}) as gate:
        own = gate.post("/v1/messages", {"model": "fast", "stream": True, "max_tokens": 9, "messages": MESSAGES})
        assert own.status == 200 and own.body == stream
        assert upstream.last().target.endswith("/publishers/anthropic/models/claude-x:streamRawPredict")
        assert upstream.last().json == {"anthropic_version": "vertex-2023-10-16", "stream": True, "max_tokens": 9, "messages": MESSAGES}
        other = gate.chat(stream=True, max_tokens=9, messages=MESSAGES)
        assert other.status == 200 and b"Hello." in other.body
        assert upstream.last().target.endswith(":streamRawPredict") and upstream.last().json["stream"] is True


def test_openai_on_vertex(upstream, metadata):
    upstream.answer = lambda call: call.respond(200, chat_body())
    provider = vertex_for(upstream, project="mine", type="vertex-openai")
    path = "/v1/projects/mine/locations/europe-west1/endpoints/openapi/chat/completions"
    with Sluice(config_of(upstream, provider, "meta/llama"), env={"GCE_METADATA_HOST": metadata.place}) as gate:
        assert gate.chat().status == 200
        assert (upstream.last().target, upstream.last().json["model"]) == (path, "meta/llama")
        for call in ("/v1/responses", {"model": "fast", "input": "hi"}), ("/v1/completions", {"model": "fast", "prompt": "hi"}):
            assert gate.post(*call).status == 200, call
            assert (upstream.last().target, upstream.last().json["messages"][0]["role"]) == (path, "user")
        assert gate.post("/v1/embeddings", {"model": "fast", "input": "x"}).status in (400, 404, 501)


def test_a_token_is_fetched_anew_before_its_life_is_over(upstream, entra):
    upstream.answer = lambda call: call.respond(200, chat_body())
    entra.life = 2
    config = config_of(upstream, azure_for(upstream), server={"workers": 1})
    with Sluice(config, env={"AZURE_AUTHORITY_HOST": entra.url}) as gate:
        seen = set()
        for _ in range(25):
            assert gate.chat().status == 200
            seen.add(bearer(upstream))
            time.sleep(0.2)
        assert len(seen) >= 3, seen


def test_a_token_outlives_a_reload_and_trouble_at_its_endpoint(upstream, entra):
    upstream.answer = lambda call: call.respond(200, chat_body())
    config = config_of(upstream, azure_for(upstream), server={"workers": 1})
    with Sluice(config, env={"AZURE_AUTHORITY_HOST": entra.url}) as gate:
        assert gate.chat().status == 200
        entra.status = 500
        config["models"][0]["aliases"] = ["other"]
        gate.write(config)
        assert gate.cli("reload").returncode == 0
        eventually(lambda: gate.chat("other").status == 200, what="the reload is in force")
        assert (bearer(upstream), entra.asked) == ("Bearer token-1", 1)


def test_a_call_waits_for_the_first_token(upstream, entra):
    upstream.answer = lambda call: call.respond(200, chat_body())
    entra.pause = 1
    with Sluice(config_of(upstream, azure_for(upstream)), env={"AZURE_AUTHORITY_HOST": entra.url}) as gate:
        assert gate.chat().status == 200


def test_without_a_token_the_next_target_is_asked(upstream, entra):
    upstream.answer = lambda call: call.respond(200, chat_body())
    entra.status = 401
    with Upstream(lambda call: call.respond(200, chat_body("From the other."))) as other:
        azure = azure_for(upstream, timeouts={"connect": "1s"}, retry={"attempts": 1})
        model = model_for("fast", "azure", "gpt-4o")
        model["targets"].append({**model["targets"][0], "id": "other-1", "provider": "other", "priority": 2})
        config = config_for(upstream, providers=[azure, provider_for(other, "other")], models=[model, model_for("only", "azure", "gpt-4o")])
        with Sluice(config, env={"AZURE_AUTHORITY_HOST": entra.url}) as gate:
            for _ in range(4):
                answer = gate.chat()
                assert answer.status == 200 and answer.json["choices"][0]["message"]["content"] == "From the other.", answer
            assert gate.chat("only").status in (502, 503)
            assert not upstream.calls, "nothing goes up without a credential"
            told = eventually(lambda: [line for line in gate.log_lines() if "no token" in line.get("msg", "")], what="it is said")
            assert 1 <= len(told) <= 2 and "invalid_grant" in json.dumps(told), "said once by each worker"
            entra.status = 200
            eventually(lambda: gate.chat("only").status == 200, what="it is there again")


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"access_token": "a"}', b'{"access_token": "", "expires_in": 60}', b'{"access_token": 1, "expires_in": 60}',
                                  b'{"access_token": "a\\r\\nx: y", "expires_in": 60}', b'{"access_token": "a", "expires_in": -1}', b'{"access_token": "a", "expires_in": 0}',
                                  b'{"access_token": "' + b"a" * 20000 + b'", "expires_in": 60}', b" " * 100000])
def test_an_answer_that_is_no_token_is_not_used(upstream, entra, body):
    entra.body = body
    config = config_of(upstream, azure_for(upstream, timeouts={"connect": "300ms"}), server={"workers": 1})
    with Sluice(config, env={"AZURE_AUTHORITY_HOST": entra.url}) as gate:
        assert gate.chat().status in (502, 503)
        assert not upstream.calls
        assert gate.stop() == 0


def test_a_token_that_is_not_taken_is_replaced_but_not_at_once(upstream, entra):
    """Ten seconds are between two: a provider that refuses everything does not make us ask for ever."""
    def answer(call):
        good = call.header("authorization") != "Bearer token-1"
        call.respond(200 if good else 401, chat_body() if good else b'{"error": {"code": "401", "message": "no"}}')

    upstream.answer = answer
    with Sluice(config_of(upstream, azure_for(upstream), server={"workers": 1}), env={"AZURE_AUTHORITY_HOST": entra.url}) as gate:
        assert [gate.chat().status for _ in range(5)] == [401] * 5 and entra.asked == 1
        eventually(lambda: gate.chat().status == 200, within=20, every=0.5, what="another token")
        assert entra.asked == 2


def test_a_reload_may_change_who_signs_in_while_a_token_is_fetched(upstream, metadata, account):
    """What was being fetched is given up, calls that waited for it get theirs, and nothing is left behind."""
    upstream.answer = lambda call: call.respond(200, json.dumps(GEMINI).encode())
    metadata.pause = 1
    config = config_of(upstream, vertex_for(upstream, project="mine", timeouts={"connect": "5s"}), "gemini-2.5-pro")
    with Sluice(config, env={"GCE_METADATA_HOST": metadata.place}) as gate, contextlib.closing(Endpoint(None)) as google:
        google.check = checks_assertion(account, lambda: google)
        client = gate.connect()
        client.send(chat_request({"model": "fast", "messages": MESSAGES}))
        config["providers"][0]["credentials_file"] = account.write(google)
        gate.write(config)
        assert gate.cli("reload").returncode == 0
        assert client.read_response().status == 200
        eventually(lambda: gate.chat(messages=MESSAGES).status == 200 and google.given >= 1, what="the new one is in force")
        config["providers"][0]["location"] = "us-east5"
        gate.write(config)
        assert gate.cli("reload").returncode == 0
        given = google.given
        eventually(lambda: gate.chat(messages=MESSAGES).status == 200 and "/us-east5/" in upstream.last().target, what="another place, the same account")
        assert google.given <= max(given, 2), "each worker keeps its token"
        assert gate.stop() == 0
        assert google.problems == []


def test_a_client_that_leaves_while_it_waits_is_forgotten(upstream, entra):
    upstream.answer = lambda call: call.respond(200, chat_body())
    entra.go.clear()
    config = config_of(upstream, azure_for(upstream, timeouts={"connect": "60s"}), server={"workers": 1})
    with Sluice(config, env={"AZURE_AUTHORITY_HOST": entra.url}) as gate:
        client = gate.connect()
        client.send(chat_request())
        eventually(lambda: entra.asked == 1 and gate.metric("sluice_inflight_requests", model="fast") == 1, what="the call waits")
        client.close()
        eventually(lambda: gate.metric("sluice_inflight_requests", model="fast") == 0, what="it has gone")
        entra.go.set()
        assert gate.chat().status == 200
        assert len(upstream.calls) == 1


BAD = {
    "a key and a sign-in": ({"type": "azure-openai", "base_url": "https://x.example", "api_key": "k", "entra": {"tenant": "t", "client_id": "c", "client_secret": "s"}}, "not both"),
    "another type": ({"type": "openai", "entra": {"tenant": "t", "client_id": "c", "client_secret": "s"}}, "azure-openai only"),
    "a tenant with a path": ({"type": "azure-openai", "base_url": "https://x.example", "entra": {"tenant": "a/b", "client_id": "c", "client_secret": "s"}}, "directory"),
    "no location": ({"type": "vertex", "project": "p"}, "location"),
    "no project": ({"type": "vertex", "location": "global"}, "project"),
    "a location that is a host": ({"type": "vertex", "project": "p", "location": "evil.example/"}, "location"),
    "an authorization of one's own": ({"type": "vertex", "project": "p", "location": "global", "headers": {"Authorization": "x"}}, "sign-in"),
    "no file": ({"type": "vertex", "location": "global", "credentials_file": "/nowhere/there"}, "cannot read"),
}


def check_config(provider):
    file = Path(temporary_folder("sluice-check-")) / "sluice.yaml"
    config = config_for("http://127.0.0.1:1/v1", providers=[{"name": "up", **provider}])
    file.write_text(to_yaml(config) + "\n")
    return run_cli("check", "-c", str(file))


@pytest.mark.parametrize("case", BAD)
def test_a_sign_in_that_cannot_be_is_said_at_the_start(case):
    provider, words = BAD[case]
    done = check_config(provider)
    assert done.returncode != 0 and words in done.stdout + done.stderr, done


@pytest.mark.parametrize("changes, words", [({"type": "authorized_user"}, "service account"), ({"private_key": "none"}, "RSA key"), ({"client_email": ""}, "client_email"),
                                            ({"token_uri": "http://far.example/token"}, "https://")])
def test_a_file_that_is_no_service_account_is_said_at_the_start(account, google, changes, words):
    done = check_config({"type": "vertex", "location": "global", "credentials_file": account.write(google, **changes)})
    assert done.returncode != 0 and words in done.stdout + done.stderr, done
