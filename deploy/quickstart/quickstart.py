# SPDX-License-Identifier: Apache-2.0
"""Two steps of `run` that are easier in Python.

    quickstart.py config PORT STATE MODEL_URL|none    print a configuration
    quickstart.py ask PORT MODEL CONFIG               stream one answer, then say what it took
"""

import http.client
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
QUESTION = "Write one sentence about what a sluice gate does."

HEAD = """\
# Written by `make run`. What can be said here is in docs/CONFIG.md.
version: 1
server:
  listeners:
    - name: api
      address: 127.0.0.1:{port}
      serve: [api, ui, metrics, health]
  shutdown: {{drain_delay: 0s, grace: 5s}}
anonymous: true        # on loopback: no key is needed, and any key is tenant `local`
store: {{type: embedded, embedded: {{path: {state}/sluice.db}}}}
ledger: {{path: {state}/ledger}}
telemetry: {{log: {{file: {state}/sluice.log}}}}
providers:
  - {{name: mock, type: mock}}
"""

OWN_MODEL = "  - {{name: llama, type: llama-cpp, base_url: {url}/v1}}\n"

MODELS = """\
models:
  - name: mock
    description: Built in; answers at once and costs nothing
    targets: [{id: mock, provider: mock, model: mock, price: {input: 0, output: 0}}]
"""

OWN_MODEL_ROUTE = """\
  - name: smollm2
    description: SmolLM2-135M-Instruct on this machine, by llama.cpp
    targets: [{id: smollm2, provider: llama, model: smollm2, price: {input: 0, output: 0}}]
"""


def known_providers():
    """Rows of the provider table whose key is in the environment."""
    rows = json.loads((ROOT / "providers" / "providers.json").read_text())
    return [row for row in rows
            if row["base_url"] and os.environ.get(row["key_variable"] or "")]


def write_config(port, state, model_url):
    out = HEAD.format(port=port, state=state)
    own = model_url != "none"
    if own:
        out += OWN_MODEL.format(url=model_url)
    known = known_providers()
    for row in known:
        out += "  - {name: %s, type: %s, api_key: \"${%s}\"}\n" % (row["name"], row["name"], row["key_variable"])
    out += MODELS + (OWN_MODEL_ROUTE if own else "")
    if known:
        out += "routing:\n  unknown_model: passthrough    # PROVIDER/MODEL, such as openai/gpt-4o-mini\n"
    print(out, end="")
    names = ["mock"] + ["smollm2"] * own + [f"{row['name']}/…" for row in known]
    print("models         " + " ".join(names), file=sys.stderr)


def events(answer):
    """The JSON of each event of a stream, as it comes."""
    for line in answer:
        if line.startswith(b"data: ") and line[6:].strip() != b"[DONE]":
            yield json.loads(line[6:])


def cost_since(when, config):
    """USD booked since then, from the ledger: a stream's headers leave before its cost is known."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when))
    done = subprocess.run([ROOT / "build" / "sluice", "-c", config, "usage", "--by", "model", "--since", moment,
                           "--format", "json"], stdout=subprocess.PIPE, check=True, timeout=10)
    return sum(row["cost_nanos"] for row in json.loads(done.stdout)) / 1e9


def ask(port, model, config):
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=60)
    body = {"model": model, "stream": True, "stream_options": {"include_usage": True}, "max_tokens": 60,
            "messages": [{"role": "user", "content": QUESTION}]}
    begun, when = time.monotonic(), time.time()
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    if answer.status != 200:
        sys.exit(f"sluice answered {answer.status}: {answer.read().decode(errors='replace')}")
    print(f"  you      {QUESTION}\n  {model:8} ", end="", flush=True)
    usage, first = {}, None
    for event in events(answer):
        if "error" in event:
            sys.exit(f"\nthe stream ended with an error: {event['error'].get('message')}")
        usage = event.get("usage") or usage
        for choice in event.get("choices", []):
            text = choice.get("delta", {}).get("content") or ""
            if text and first is None:
                first = time.monotonic()
            print(text, end="", flush=True)
    spent = time.monotonic() - begun
    print(f"\n  tokens   {usage.get('prompt_tokens')} in, {usage.get('completion_tokens')} out"
          f"   first after {1000 * ((first or begun) - begun):.0f} ms, all in {1000 * spent:.0f} ms")
    print(f"  cost     {cost_since(when, config):.6f} USD, as booked"
          f"   overhead of sluice {answer.getheader('x-sluice-overhead-us')} µs")


if __name__ == "__main__":
    try:
        {"config": write_config, "ask": ask}[sys.argv[1]](*sys.argv[2:])
    except (OSError, http.client.HTTPException, subprocess.SubprocessError) as error:
        sys.exit(f"\nno answer from sluice: {error}")
