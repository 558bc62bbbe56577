# SPDX-License-Identifier: Apache-2.0
"""`health: {mode: active}`: a provider that is down is known to be so before a call finds out, and back at once."""

import threading

import pytest
from harness import PRICE, Sluice, Upstream, chat_body, config_for, eventually, provider_for

pytestmark = pytest.mark.threads


def test_a_provider_that_is_down_is_left_alone_and_back_when_it_is_well():
    well = threading.Event()

    def answer(call):
        if call.method == "GET":
            assert call.path.endswith("/v1/pulse"), call.path
        if not well.is_set():
            call.respond(503, {"error": {"message": "down"}})
        else:
            call.respond(200, chat_body("from the first"))

    with Upstream() as first, Upstream() as second:
        first.answer = answer
        second.answer = lambda call: call.respond(200, chat_body("from the second"))
        config = config_for(first)
        config["providers"] = [
            provider_for(first, "first", health={"mode": "active", "interval": "100ms", "path": "/pulse"},
                         breaker={"open_for": "10m"}, retry={"attempts": 2}),
            provider_for(second, "second", retry={"attempts": 2})]
        config["models"] = [{"name": "fast", "targets": [
            {"id": name, "provider": name, "model": name, "priority": i, "price": PRICE}
            for i, name in enumerate(("first", "second"), 1)]}]
        with Sluice(config) as gate:
            eventually(lambda: len([call for call in first.calls if call.method == "GET"]) >= 3)
            answer = gate.chat()
            assert answer.status == 200 and answer.header("x-sluice-target") == "second", answer
            assert answer.header("x-sluice-attempts") == "1"
            assert not [call for call in first.calls if call.method == "POST"]
            well.set()
            eventually(lambda: gate.chat().header("x-sluice-target") == "first", every=0.1)
        assert not first.violations and not second.violations
