# SPDX-License-Identifier: Apache-2.0
"""What bench/soak.py starts: the mock, a second gateway that speaks two more dialects, the one that is watched."""

import hashlib
import os

from crowds import FIRST_KEY, stored_keys, wait_ready
from servers import CORES, SLUICE, Running, free_port, stop_all

ADMIN_KEY = "sk-admin-0123456789abcdef0123456789abcdef"
TIGHT_KEY = "sk-tight-0123456789abcdef0123456789abcdef"
KEYS, CALLERS = 1000, 200  # in the store; of which so many call
EXTRA = "  - {name: extra, targets: [{id: extra, provider: llm, model: extra, price: *cheap}]}\n"

# It is asked in Anthropic's and Gemini's dialect: what is translated for it is translated back there.
BEHIND = """
version: 1
server:
  listeners: [{{name: api, address: "127.0.0.1:{port}", serve: [api, health]}}]
  shutdown: {{drain_delay: 0s, grace: 1s}}
  workers: 1
store: {{type: embedded, embedded: {{path: "{folder}/state/sluice.db"}}}}
providers:
  - {{name: llm, type: openai, base_url: "http://127.0.0.1:{mock}/v1", api_key: sk-provider}}
models:
  - {{name: claude-sonnet-4-5, targets: [{{id: claude, provider: llm, model: mock/tokens-40, price: {{input: 3, output: 15}}}}]}}
  - {{name: gemini-2.0-flash, targets: [{{id: gemini, provider: llm, model: mock/tokens-40, price: {{input: 1, output: 4}}}}]}}
tenants:
  - name: front
    models: ["*"]
    keys: [{{name: front, hash: "sha256:{hash}"}}]
telemetry: {{log: {{level: warn, format: json}}, access_log: {{enabled: false}}}}
"""

WATCHED = """
version: 1
server:
  listeners: [{{name: api, address: "127.0.0.1:{port}", serve: [api, metrics, health, admin]}}]
  timeouts: {{stream_idle: 2s}}
  shutdown: {{drain_delay: 0s, grace: 1s}}
  workers: 2
store: {{type: embedded, embedded: {{path: "{folder}/state/sluice.db"}}}}
ledger: {{path: "{folder}/state/ledger", sync: os}}
cache: {{exact: {{enabled: true, ttl: 30s, max_bytes: 1MiB}}}}
providers:
  - {{name: llm, type: openai, base_url: "http://127.0.0.1:{mock}/v1", api_key: sk-provider, timeouts: {{first_byte: 20s}}, retry: {{attempts: 3, backoff: 50ms}}}}
  - {{name: hasty, type: openai, base_url: "http://127.0.0.1:{mock}/v1", api_key: sk-provider, timeouts: {{first_byte: 500ms, total: 500ms}}, retry: {{attempts: 0}}, breaker: {{open_for: 1s}}}}
  - {{name: claude, type: anthropic, base_url: "http://127.0.0.1:{behind}", api_key: {key}}}
  - {{name: gemini, type: gemini, base_url: "http://127.0.0.1:{behind}", api_key: {key}}}
models:
  - name: fast
    targets:
      - {{id: first, provider: llm, model: mock/tokens-40, weight: 60, price: &cheap {{input: 0.15, cached_input: 0.075, output: 0.60}}}}
      - {{id: second, provider: llm, model: mock/tokens-41, weight: 30, price: *cheap}}
      - {{id: third, provider: llm, model: mock/tokens-42, weight: 10, price: *cheap}}
  - {{name: cached, targets: [{{id: cached, provider: llm, model: mock/tokens-40, price: *cheap}}]}}
  - {{name: guarded, targets: [{{id: guarded, provider: llm, model: mock/tokens-40, price: *cheap}}]}}
  - {{name: paced, targets: [{{id: paced, provider: llm, model: mock/rate-50+tokens-50, price: *cheap}}]}}
  - {{name: late, targets: [{{id: late, provider: llm, model: mock/slow-600ms, price: *cheap}}]}}
  - {{name: live, targets: [{{id: live, provider: llm, model: mock-realtime, price: *cheap}}]}}
  - {{name: embed, targets: [{{id: embed, provider: llm, model: mock-embedding, price: *cheap}}]}}
  - {{name: claude, targets: [{{id: claude, provider: claude, model: claude-sonnet-4-5, price: {{input: 3, output: 15}}}}]}}
  - {{name: gemini, targets: [{{id: gemini, provider: gemini, model: gemini-2.0-flash, price: *cheap}}]}}
  - name: chain
    policy: one-after-the-other
    targets:
      - {{id: fails, provider: llm, model: mock/odds-30+500, priority: 1, price: *cheap}}
      - {{id: breaks, provider: llm, model: mock/odds-30+reset, priority: 2, price: *cheap}}
  - {{name: refusing, targets: [{{id: refusing, provider: hasty, model: mock/500, price: *cheap}}]}}
  - {{name: resetting, targets: [{{id: resetting, provider: hasty, model: mock/reset, price: *cheap}}]}}
  - {{name: silent, targets: [{{id: silent, provider: hasty, model: mock/stall-head, price: *cheap}}]}}
  - {{name: stalling, targets: [{{id: stalling, provider: llm, model: mock/stall, price: *cheap}}]}}
  - {{name: cut, targets: [{{id: cut, provider: llm, model: mock/cut, price: *cheap}}]}}
  - {{name: torn, targets: [{{id: torn, provider: llm, model: mock/reset-mid, price: *cheap}}]}}
  - {{name: garbled, targets: [{{id: garbled, provider: llm, model: mock/bad-chunk, price: *cheap}}]}}
{extra}
routing:
  policies:
    - {{name: one-after-the-other, strategy: priority, fallback: [fast]}}
tenants:
  - name: bench
    models: ["*"]
    limits: {{requests_per_minute: 1000000000, tokens_per_minute: {tokens}}}
    budget: {{amount: 1000000.00 USD, period: month}}
    keys:
      - name: load
        hash: "sha256:{hash}"
        limits: {{requests_per_minute: 1000000000, concurrent: 30000}}
      - {{name: tight, hash: "sha256:{tight}", limits: {{requests_per_minute: 3}}}}
guardrails:
  - {{name: whales, type: contains, terms: [blue whale], action: block, models: [guarded]}}
  - {{name: mail, type: pii, entities: [email], action: redact, models: [guarded]}}
  - {{name: secrets, stage: response, type: regex, patterns: ['\\b[a-z]{{7}}\\b'], action: redact, stream_window: 256, models: [guarded]}}
telemetry:
  log: {{level: info, format: json, file: "{folder}/access.log"}}
  access_log: {{enabled: true, sample: 1.0}}
  metrics: {{enabled: true}}
"""


def hash_of(key):
    return hashlib.sha256(key.encode()).hexdigest()


class Stage:
    """All that runs, in folders of one folder."""

    def __init__(self, work):
        self.work, self.started = work, []
        self.mock, self.behind, self.port = free_port(), free_port(), free_port()
        try:
            self.start("mock", ["mock", "--quiet", "--address", f"127.0.0.1:{self.mock}"], self.mock)
            self.start_gateway("behind", self.behind, BEHIND.format(port=self.behind, mock=self.mock, hash=hash_of(FIRST_KEY),
                                                                    folder=work / "behind"))
            self.watched = self.start_gateway("watched", self.port, self.text(changed=False))
        except BaseException:
            self.stop()
            raise

    def start(self, name, words, port):
        folder = self.work / name
        (folder / "state").mkdir(parents=True, exist_ok=True)
        if name == "watched":
            stored_keys(folder, KEYS)
        env = dict(os.environ, STATE_DIRECTORY=str(folder / "state"), SLUICE_ADMIN_KEY=ADMIN_KEY)
        running = Running(name, [SLUICE, *words], port, set(CORES), folder, env, patience=60)
        self.started.append(running)
        return running

    def start_gateway(self, name, port, text):
        (self.work / name).mkdir()
        (self.work / name / "sluice.yaml").write_text(text)
        running = self.start(name, ["-c", self.work / name / "sluice.yaml", "run"], port)
        wait_ready(port, running.process, self.work / name / f"{name}.out", 60)
        return running

    def text(self, changed):
        return WATCHED.format(port=self.port, mock=self.mock, behind=self.behind, key=FIRST_KEY, hash=hash_of(FIRST_KEY),
                              tight=hash_of(TIGHT_KEY), folder=self.work / "watched", extra=EXTRA if changed else "",
                              tokens=1_000_000_000_000 + changed)

    def write(self, changed):
        """The file that the next reload reads."""
        scratch = self.work / "watched/sluice.new"
        scratch.write_text(self.text(changed))
        scratch.replace(self.work / "watched/sluice.yaml")

    def stop(self):
        stop_all(reversed(self.started))
