# SPDX-License-Identifier: Apache-2.0
"""gateway/openapi.json is valid, names every path, and every answer has the members it names."""

import functools
import json

import jsonschema
import openapi_spec_validator
import pytest
from harness import ROOT, Client, config_for, eventually, free_port

pytestmark = pytest.mark.threads
ADMIN_KEY = "sk-admin-5ecre7-0123456789abcdef"
ENVIRONMENT = {"SLUICE_ADMIN_KEY": ADMIN_KEY}
DOCUMENT = json.loads((ROOT / "gateway/openapi.json").read_text())
METHODS = ("get", "post", "patch", "delete", "put")


def configure(upstream):
    config = config_for(upstream)
    config["server"]["listeners"].append(
        {"name": "ops", "address": f"127.0.0.1:{free_port()}", "serve": ["admin"]})
    return config


def ask(gate, path, method="GET", body=None):
    with Client(str(gate.state / "admin.sock")) as client:
        return client.request(method, "/admin/v1" + path, [], body)


def check(instance, schema):
    """`instance` is what `schema`, a part of the document, says; every member of it is declared."""
    whole = {**schema, "components": DOCUMENT["components"]}
    jsonschema.Draft202012Validator(
        whole, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER).validate(instance)


def schema_of(path, method, status):
    answer = DOCUMENT["paths"][path][method]["responses"][str(status)]
    if "$ref" in answer:
        answer = DOCUMENT["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    return answer["content"]


def check_answer(answer, path, method):
    content = schema_of(path, method, answer.status)
    media = answer.header("content-type")
    assert media in content, (media, list(content))
    if "json" in media:
        check(answer.json, content[media]["schema"])


@pytest.fixture(scope="module")
def used(gate):
    """A gateway that has something to show."""
    for _ in range(3):
        assert gate.chat().status == 200
    assert gate.chat(model="slow").status == 200
    assert gate.chat(model="nothing").status == 404
    eventually(lambda: len(ask(gate, "/requests").json["data"]) >= 5, what="five booked calls")
    return gate


def test_the_document_is_valid():
    openapi_spec_validator.validate(DOCUMENT)


def test_it_is_the_document_that_is_served(used):
    assert ask(used, "/openapi.json").json == DOCUMENT
    assert ask(used, "/overview").json["version"] == DOCUMENT["info"]["version"]


GETS = [(path, "") for path, item in DOCUMENT["paths"].items() if "get" in item and "{" not in path]
GETS += [("/usage", "?by=" + by) for by in ("key,status", "hour", "minute,user", "day,target,provider,operation,outcome")]
GETS += [("/series", query) for query in ("?by=model&metric=latency", "?step=day&metric=cost&since=30d", "?by=key", "?top=1&by=model")]
GETS += [("/requests", query) for query in ("?limit=2", "?order=asc&status=4xx", "?tenant=acme&model=fast&since=1h")]


@pytest.mark.parametrize("path, query", GETS)
def test_every_answer_is_as_described(used, path, query):
    answer = ask(used, path + query)
    assert answer.status == 200, answer
    check_answer(answer, path, "get")


def test_one_call_is_as_described(used):
    for status in (200, 404):
        row = ask(used, f"/requests?limit=1&status={status}").json["data"][0]
        look = functools.partial(ask, used, f"/requests/{row['id']}")
        if status == 200:
            eventually(lambda look=look: look().json["decision"], what="its decision is written down")
        answer = look()
        check_answer(answer, "/requests/{id}", "get")
        one = answer.json
        assert one.pop("content") is None
    assert (one.pop("decision") is None) == (status == 404) and one == row, answer


@pytest.mark.parametrize("path, method", [
    (path, method) for path, item in DOCUMENT["paths"].items() for method in METHODS if method not in item])
def test_every_other_method_is_refused(used, path, method):
    answer = ask(used, path.replace("{id}", "x").replace("{name}", "y"), method.upper(), b"" if method == "post" else None)
    assert answer.status == 405, answer
    allowed = {name.strip().lower() for name in answer.header("allow").split(",")}
    assert allowed == {name for name in METHODS if name in DOCUMENT["paths"][path]}
    check(answer.json, {"$ref": "#/components/schemas/Problem"})


@pytest.mark.parametrize("path", [path for path in DOCUMENT["paths"] if "{" not in path])
def test_every_parameter_is_known_and_no_other(used, path):
    operation = DOCUMENT["paths"][path].get("get")
    if operation is None:
        return
    answer = ask(used, path + "?nonsense=1")
    assert answer.status == 400 and answer.json["field"] == "nonsense", answer
    check_answer(answer, path, "get")
    known = [DOCUMENT["components"]["parameters"][p["$ref"].rpartition("/")[2]] if "$ref" in p else p
             for p in operation.get("parameters", [])]
    for name in (p["name"] for p in known):
        assert "no such parameter" not in ask(used, f"{path}?{name}=x").text


@pytest.mark.parametrize("path, field", [
    ("/requests?limit=0", "limit"), ("/requests?limit=501", "limit"), ("/requests?limit=x", "limit"),
    ("/requests?after=x", "after"), ("/requests?order=up", "order"), ("/requests?since=soon", "since"),
    ("/requests?status=6xx", "status"), ("/requests?status=500-400", "status"), ("/requests?model=%00", "model"),
    ("/requests?model=a&model=b", "model"), ("/requests?tenant=" + "x" * 2000, "tenant"),
    ("/usage?by=nonsense", "by"), ("/usage?since=1h&until=2h", "since"), ("/usage?until=x", "until"),
    ("/series?metric=x", "metric"), ("/series?by=minute", "by"), ("/series?by=model,key", "by"), ("/series?step=week", "step"),
    ("/series?step=minute&since=30d", "step"), ("/series?top=0", "top"), ("/series?top=101", "top"),
    ("/events?after=x", "after"), ("/limits?limit=-1", "limit"), ("/overview?verbose", "verbose")])
def test_a_problem_names_the_parameter(used, path, field):
    answer = ask(used, path)
    assert answer.status == 400 and answer.json["field"] == field, answer
    assert answer.header("content-type") == "application/problem+json"
    check(answer.json, {"$ref": "#/components/schemas/Problem"})


OPERATIONS = [(path, method, "requestBody" in item[method])
              for path, item in DOCUMENT["paths"].items() for method in METHODS if method in item]


@pytest.mark.parametrize("path, method, takes_body", OPERATIONS)
def test_a_body_that_says_what_nobody_reads_is_refused(used, path, method, takes_body):
    here = path.replace("{id}", "acme:none").replace("{name}", "y")
    for body in (b'{"nonsense": 1}', b"nonsense", b"[]"):
        answer = ask(used, here, method.upper(), body)
        assert takes_body or answer.status == 400, answer
        assert takes_body or answer.json["detail"] == "this call takes no body: leave it out, or send {}", answer
        assert not takes_body or 400 <= answer.status < 500 and "takes no body" not in answer.text, answer
    if "{" not in path and not takes_body and path != "/drain" and (path, method) != ("/content", "delete"):
        assert "takes no body" not in ask(used, here, method.upper(), b" {}\r\n").text
    assert ask(used, "/overview").json["state"] == "serving", "no order was carried out"


def test_problems_before_the_api_is_asked_are_problems_too(used):
    for key in (None, "sk-wrong"):
        answer = used.get("/admin/v1/overview", key=key, listener="ops")
        assert answer.status == 401 and answer.header("www-authenticate") == "Bearer", answer
        assert answer.header("content-type") == "application/problem+json"
        check(answer.json, {"$ref": "#/components/schemas/Problem"})
    with Client(str(used.state / "admin.sock")) as client:
        answer = client.request("POST", "/admin/v1/config/reload", [("Content-Type", "text/plain")], b"x")
        assert answer.status == 415, answer
        check(answer.json, {"$ref": "#/components/schemas/Problem"})


def test_a_body_is_bounded(used):
    answer = ask(used, "/config/reload", "POST", b"x" * (256 * 1024 + 1))
    assert answer.status == 413, answer
    check(answer.json, {"$ref": "#/components/schemas/Problem"})


def test_head_has_no_body(used):
    with Client(str(used.state / "admin.sock")) as client:
        for path in ("/overview", "/usage"):
            answer = client.request("HEAD", "/admin/v1" + path)
            assert answer.status == 200 and answer.body == b"", answer
        assert client.request("GET", "/admin/v1/overview").status == 200, "the connection goes on"
