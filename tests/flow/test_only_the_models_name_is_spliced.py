# SPDX-License-Identifier: Apache-2.0
"""The model is found wherever and however it is written, and nothing else is touched."""

import pytest

HEAD = {"Content-Type": "application/json"}


def post(gate, body):
    return gate.post("/v1/chat/completions", body, headers=HEAD)


@pytest.mark.parametrize("name", ["fast", "quick", "fantastic", "fa"])
def test_names_aliases_and_patterns(gate, upstream, name):
    assert post(gate, b'{"model":"%s","messages":[]}' % name.encode()).status == 200
    assert upstream.last().body == b'{"model":"upstream-model","messages":[]}'


@pytest.mark.parametrize("written", [
    rb'"\u006dodel":"fast"', rb'"\u006d\u006f\u0064\u0065\u006c":"fast"', rb'"mode\u006C":"fast"',
    rb'"model":"f\u0061st"', rb'"model":"\u0066\u0061\u0073\u0074"'])
def test_escapes_are_read(gate, upstream, written):
    answer = post(gate, b'{"a":1,' + written + b',"messages":[]}')
    assert answer.status == 200, answer
    assert upstream.last().json == {"a": 1, "model": "upstream-model", "messages": []}


@pytest.mark.parametrize("body", [
    b'{"model":"fast","model":"slow","messages":[]}',
    rb'{"model":"fast","\u006dodel":"slow","messages":[]}',
    b'{"model":"fast","messages":[],"stream":true,"stream":false}',
    rb'{"model":"fast","messages":[],"stream":true,"\u0073tream":false}',
    b'{"model":"fast","max_tokens":1,"max_tokens":100000,"messages":[]}',
    b'{"model":"fast","stream":true,"stream_options":{"include_usage":true},"stream_options":{},"messages":[]}',
])
def test_a_name_that_policy_reads_stands_once(gate, upstream, body):
    answer = post(gate, body)
    assert answer.status == 400 and answer.error["type"] == "invalid_request_error", answer
    assert not upstream.calls


@pytest.mark.parametrize("body, param", [
    (b'{"messages":[]}', "model"), (b'{"model":1,"messages":[]}', "model"), (b'{"model":null}', "model"),
    (b'{"model":["fast"]}', "model"), (b'{"model":{"a":"fast"}}', "model"), (b'{"model":""}', "model"),
    (b'{"model":"fast","stream":"yes"}', "stream"), (b'{"model":"fast","stream":1}', "stream"),
])
def test_a_bad_field_is_named(gate, upstream, body, param):
    answer = post(gate, body)
    assert answer.status in (400, 404), answer
    if answer.status == 400:
        assert answer.error["param"] == param, answer
    assert not upstream.calls


@pytest.mark.parametrize("name", [b"Fast", b"fast ", b" fast", b"fast\\u0000", b"fast\\n", b"FAST", b"../fast", b"slow/"])
def test_a_name_is_matched_as_it_is(gate, upstream, name):
    answer = post(gate, b'{"model":"%s","messages":[]}' % name)
    # "fa*" is a pattern, so a name that begins like it is known: it must then be sent as ours
    if name.startswith(b"fast"):
        assert answer.status in (200, 400, 404)
    else:
        assert answer.status in (400, 404), answer
        assert not upstream.calls
