# SPDX-License-Identifier: Apache-2.0
"""No base URL, host or model-as-URL from body, header or query; no redirect; no metadata address."""

import time

import pytest
from harness import (
    KEY_ACME,
    Sluice,
    Upstream,
    config_for,
    merged,
    model_for,
    provider_for,
    request_bytes,
    run_cli,
    to_yaml,
)

METADATA = {
    "v4": "http://169.254.169.254/v1", "v6": "http://[fe80::1]/v1", "mapped": "http://[::ffff:169.254.169.254]/v1",
    "nat64": "http://[64:ff9b::a9fe:a9fe]/v1", "6to4": "http://[2002:a9fe:a9fe::1]/v1", "aws6": "http://[fd00:ec2::254]/v1",
    "any": "http://0.0.0.0:1/v1", "any6": "http://[::]:1/v1", "multicast": "http://224.0.0.1/v1",
    "alibaba": "http://100.100.100.200/v1", "decimal": "http://2852039166/v1", "hexadecimal": "http://0xa9fea9fe/v1",
    "octal": "http://0251.0376.0251.0376/v1",
}


def configure(upstream):
    return config_for(upstream)


@pytest.fixture(scope="module")
def canary():
    with Upstream() as server:
        yield server
        assert not server.connections, "somebody connected to the canary"


FIELDS = ["base_url", "api_base", "baseURL", "url", "host", "endpoint", "proxy", "api_key", "organization",
          "custom_llm_provider", "litellm_params", "extra_body", "metadata", "provider", "azure_endpoint"]


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_of_the_body(gate, upstream, canary, field):
    for value in (canary.url, {"base_url": canary.url, "api_base": canary.url}):
        body = {"model": "fast", "messages": [], field: value}
        assert gate.post("/v1/chat/completions", body).status in (200, 400)
    for call in upstream.calls:
        assert call.header("authorization") == "Bearer sk-provider-5ecre7-6789abcdef012345"


HEADERS = ["x-portkey-custom-host", "x-portkey-provider", "x-portkey-config", "x-forwarded-host", "x-litellm-api-base",
           "helicone-target-url", "x-target-url", "x-upstream", "x-original-host", "x-host", "x-base-url", "forwarded",
           "x-rewrite-url", "x-sluice-target", "x-sluice-provider", "api-base"]


@pytest.mark.parametrize("header", HEADERS)
def test_a_header(gate, upstream, canary, header):
    answer = gate.chat(headers={header: canary.url})
    assert answer.status in (200, 400), answer
    for call in upstream.calls:
        assert not any(str(canary.port) in value for _, value in call.fields)


def test_the_host_decides_nothing(gate, upstream, canary):
    for host in (f"127.0.0.1:{canary.port}", "api.openai.com", "localhost", "admin.internal", "169.254.169.254"):
        answer = gate.chat(headers={"Host": host})
        assert answer.status == 200, answer
    assert {call.header("host") for call in upstream.calls} == {f"127.0.0.1:{upstream.port}"}


@pytest.mark.parametrize("query", ["base_url=", "api_base=", "url=", "host=", "target="])
def test_a_query(gate, upstream, canary, query):
    answer = gate.post(f"/v1/chat/completions?{query}{canary.url}", {"model": "fast", "messages": []})
    assert answer.status in (200, 400, 404), answer


@pytest.mark.parametrize("name", [
    "{url}", "{url}/fast", "openai/{url}", "up/{url}", "up/other-model", "http://127.0.0.1:{port}/fast", "//127.0.0.1:{port}/x",
    "127.0.0.1:{port}/fast", "fast@127.0.0.1:{port}", "file:///etc/passwd", "../../admin", "slow?x=http://127.0.0.1:{port}",
    "openai/gpt-4o", "unix:/tmp/x"])
def test_a_model_that_is_an_address(gate, upstream, canary, name):
    name = name.format(url=canary.url, port=canary.port)
    answer = gate.chat(name)
    if name.startswith("fa"):  # a pattern of the configuration covers it
        assert answer.status == 200
        assert upstream.last().json["model"] == "upstream-model"
    else:
        assert answer.status in (400, 404), answer
        assert not upstream.calls


def test_an_images_address_is_passed_on_not_fetched(gate, upstream, canary):
    content = [{"type": "image_url", "image_url": {"url": f"http://127.0.0.1:{canary.port}/x.png"}}]
    assert gate.post("/v1/chat/completions", {"model": "fast", "messages": [{"role": "user", "content": content}]}).status == 200
    assert upstream.last().json["messages"][0]["content"] == content


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_a_redirect_is_not_followed(gate, upstream, canary, status):
    upstream.answer = lambda call: call.respond(status, b"", headers={"Location": canary.url + "/chat/completions"})
    answer = gate.chat()
    assert answer.status == 502 and answer.error["code"] == "upstream_invalid", answer
    assert "location" not in answer.fields
    assert len(upstream.calls) == 1


@pytest.mark.parametrize("name", METADATA)
def test_metadata_and_link_local_addresses(upstream, name, tmp_path):
    """Refused when the configuration is read, or at the latest when they are dialled."""
    config = config_for(upstream)
    config["providers"] = [provider_for(METADATA[name], timeouts={"connect": "18s"})]
    config["models"] = [model_for()]
    path = tmp_path / "sluice.yaml"
    path.write_text(to_yaml(config))
    done = run_cli("check", path, env={"STATE_DIRECTORY": str(tmp_path)})
    if done.returncode == 0:
        with Sluice(config) as gate:
            begin = time.monotonic()
            answer = gate.chat()
            assert answer.status == 503 and answer.error["code"] == "upstream_unavailable", answer
            assert time.monotonic() - begin < 16, "it was dialled"
    else:
        assert done.returncode == 1 and METADATA[name].split("/")[2].split(":1")[0].strip("[]") in done.stderr, done.stderr


@pytest.mark.parametrize("target", ["http://{at}/v1/models", "https://api.openai.com/v1/models", "{at}", "*", "//{at}/v1/models"])
@pytest.mark.parametrize("method", ["GET", "POST", "CONNECT", "OPTIONS"])
def test_forms_that_name_a_host(gate, upstream, canary, method, target):
    target = target.format(at=f"127.0.0.1:{canary.port}")
    with gate.connect() as client:
        client.send(request_bytes(method, target, {"Authorization": f"Bearer {KEY_ACME}"}))
        assert 400 <= client.read_response().status < 500 or method == "CONNECT"
    assert not upstream.calls


def test_a_link_local_provider_may_be_allowed(upstream, tmp_path):
    """The configuration can say so."""
    provider = merged(provider_for("http://169.254.169.254:9/v1"), {"allow_link_local": True})
    config = config_for(upstream)
    config["providers"], config["models"] = [provider], [model_for()]
    path = tmp_path / "sluice.yaml"
    path.write_text(to_yaml(config))
    assert run_cli("check", path, env={"STATE_DIRECTORY": str(tmp_path)}).returncode == 0
