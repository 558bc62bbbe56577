# SPDX-License-Identifier: Apache-2.0
"""Where there is room for one of two models, they take turns: no call is lost, none waits for ever, and they do not swap with every call."""

import time

from deployed import Desk, deployed, pids, server_for
from harness import Background, Sluice, eventually

ONE = [{"name": "small", "launcher": "process", "memory": "1GiB"}]


def pair(*options, **changes):
    common = {"resources": {"memory": "700MiB"}, "eviction": {"min_residency": "300ms"}, "hold": {"timeout": "50s"}, **changes}
    return [server_for(name, "--load-ms", 150, *options, **common) for name in ("a", "b")]


def test_two_hundred_calls_for_two_models_with_room_for_one():
    with Sluice(deployed(*pair(), nodes=ONE)) as gate:
        desk, begun = Desk(gate), time.monotonic()
        workers = []

        def work(offset):
            for i in range(20):
                answer = gate.chat("ab"[(i + offset) % 2], options={"timeout": 60})
                assert answer.status == 200 and answer.header("x-sluice-target") == "ab"[(i + offset) % 2], answer

        workers = [Background(work, i) for i in range(10)]
        while any(worker.thread.is_alive() for worker in workers):
            assert len(pids()) <= 2  # the one that comes, and the one that goes
            place = desk.ask("GET", "/placement").json["nodes"][0]
            assert place["reserved"]["memory"] <= 1 << 30, place
            time.sleep(0.05)
        for worker in workers:
            worker.result()
        elapsed = time.monotonic() - begun
        starts = desk.launches("a") + desk.launches("b")
        assert starts <= elapsed / 0.3 + 3, (starts, elapsed)
        assert any(reason.startswith("evicted_for:") for reason in desk.reasons("a")), desk.reasons("a")


def test_who_is_pinned_stays():
    with Sluice(deployed(*pair(hold={"timeout": "1s"}), nodes=ONE)) as gate:
        desk = Desk(gate)
        assert gate.chat("a").status == 200
        assert desk.order("pin", "a").status == 200
        assert gate.chat("b").status == 503, "there is no room"
        assert desk.order("unpin", "a").status == 200
        eventually(lambda: gate.chat("b").status == 200, 20, 0.2, "b gets its turn")


def test_who_idles_is_stopped():
    server = server_for("qwen", scaling={"idle_stop": "500ms"})
    with Sluice(deployed(server)) as gate:
        desk = Desk(gate)
        assert gate.chat("qwen").status == 200 and len(pids()) == 1
        desk.until("idle")
        eventually(lambda: not pids(), what="its process has ended")
        assert gate.chat("qwen").status == 200 and desk.launches() == 2


def test_a_stream_is_no_idleness():
    server = server_for("qwen", "--tps", 10, "--tokens", 25, scaling={"idle_stop": "300ms"})
    with Sluice(deployed(server)) as gate:
        assert gate.chat("qwen", stream=True, options={"timeout": 20}).text.rstrip().endswith("[DONE]")
        assert Desk(gate).launches() == 1
