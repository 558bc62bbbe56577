# SPDX-License-Identifier: Apache-2.0
"""`sluice upgrade` where things go on meanwhile, or go wrong: no budget is spent twice, and what one process does not
know of the other's is refused, not lost."""

import os
import shutil

import pytest
from harness import BINARY, Background, chat_body, eventually, merged, temporary_folder
from test_an_upgrade_in_place_loses_nothing import gate_for, replace, slow, tenant, until_alone, upgrade
from test_batches_are_paid_for import Batches, body_of, lines_of, submission, submit, upload
from test_batches_are_paid_for import tenant as tenant_of_batches

pytestmark = pytest.mark.threads


def begin(gate):
    """An upgrade that takes a while to warm; its outcome comes with result()."""
    old = gate.children()
    going = Background(lambda: gate.cli("upgrade", timeout=120))
    eventually(lambda: len(gate.children()) > len(old), what="the new one is started")
    return going


def place_for(upstream, **changes):
    folder = temporary_folder("sluice-program-")
    program = os.path.join(folder, "sluice")
    shutil.copy(BINARY, program)
    return gate_for(upstream, program=program, **changes)


# ------------------------------------------------------------------------------------ limits that come back

USAGE = {"prompt_tokens": 10, "completion_tokens": 1000, "total_tokens": 1010}  # 4,010,000 nano-dollars
COMING_BACK = {
    "requests": {"limits": {"requests_per_hour": 6}},
    "budget": {"budget": {"amount": "0.0245 USD", "period": "month"}},
    "users": {"users": {"limits": {"requests_per_hour": 6}}},
}


@pytest.mark.parametrize("kind", sorted(COMING_BACK))
def test_a_limit_that_comes_back_knows_the_time_between(upstream, kind):
    upstream.answer = lambda call: call.respond(200, chat_body(usage=USAGE))
    limited = tenant(**COMING_BACK[kind])
    with gate_for(upstream, tenants=[limited]) as gate:
        assert [gate.chat(max_tokens=1000, user="mia").status for _ in range(2)] == [200, 200]
        gate.write(merged(gate.config, {"tenants": [tenant()]}))
        assert gate.cli("reload").returncode == 0
        assert [gate.chat(max_tokens=1000, user="mia").status for _ in range(3)] == [200] * 3
        eventually(lambda: len(gate.ledger_rows()) == 5)
        gate.write(merged(gate.config, {"tenants": [limited]}))
        upgrade(gate)
        until_alone(gate)
        assert [gate.chat(max_tokens=1000, user="mia").status for _ in range(3)] == [200, 429, 429]


# ------------------------------------------------------------------------------------ batches


def test_no_batch_is_submitted_while_the_new_one_warms(upstream):
    upstream.answer = Batches()
    with place_for(upstream, tenants=[tenant_of_batches()]) as gate:
        file = upload(gate, lines_of(body_of()))
        slow(gate)
        going = begin(gate)
        with gate.connect() as client:
            client.send(submission(file))
            answer = client.read_response("POST")
        assert answer.status == 503 and "upgrade" in answer.text, answer.text
        assert going.result(120).returncode == 0
        until_alone(gate)
        replace(gate)
        assert submit(gate, body_of()).status == 200
        refused = gate.cli("upgrade", timeout=120)
        assert refused.returncode == 1 and "batches are under way" in refused.stderr


def test_a_batch_that_is_being_submitted_is_waited_for(upstream):
    provider = upstream.answer = Batches()
    with gate_for(upstream, tenants=[tenant_of_batches()], batches={"poll": "1s"}) as gate:
        file = upload(gate, lines_of(body_of()))

        def late(call):
            eventually(lambda: "is started beside" in gate.log(), 60)
            provider.refuse = None
            provider(call)

        provider.refuse = late
        provider.submitted.clear()
        with gate.connect(timeout=60) as client:
            client.send(submission(file))
            assert provider.submitted.wait(30)
            refused = gate.cli("upgrade", timeout=120)
            answer = client.read_response("POST")
        assert answer.status == 200
        assert refused.returncode == 1 and "batches are under way" in refused.stderr, refused.stderr
        provider.end(answer.json["id"], usage={"input_tokens": 20, "output_tokens": 30, "total_tokens": 50})
        eventually(lambda: any(row["id"] == answer.json["id"] for row in gate.ledger_rows()), 60)
        upgrade(gate)
        assert submit(gate, body_of()).status == 200
