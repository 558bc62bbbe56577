// SPDX-License-Identifier: Apache-2.0
// What the admin API answers: the parts that are shown.

export interface Page<T> { data: T[]; next: string | null; up_to_date?: boolean }

export interface Target {
  id: string; model: string; provider: string; weight: number; priority: number; off: boolean; off_because?: string
  in_flight?: number; attempts?: number; failures?: number; circuit?: 'closed' | 'open' | 'half-open'; again_in_us?: number
  first_token_us?: number; first_token_p95_us?: number; token_us?: number; work_tokens?: number
}

export interface Reload { count: number; good: boolean; in_force_since: string; tried_at?: string; changed: string[]; needs_restart: string[]; errors: ConfigProblem[] }
export interface ConfigProblem { file?: string; line?: number; column?: number; message: string; hint?: string }

export interface Overview {
  version: string; pid: number; state: 'serving' | 'draining'; started_at: string; uptime_s: number; generation: number; config: string | null
  reload: Reload; workers: { connections: number; calls: number }[]; connections: number; calls: number; streams: number; upstream_connections: number
  targets: Target[]
  ledger: { lines: number; undrained_lines: number; full: boolean; damaged?: boolean; shared_up?: boolean }
  limits: { granted: number; refused: number; away: number; held: number }
  store: { type: string; up: boolean; replicas: number; latency_us: number }
  keys: { tenants: number; keys: number; up: boolean }
  cache: { entries: number; bytes: number; hits: number; joins: number; misses: number }
}

export interface Price { input: number; cached_input: number; cache_write: number; output: number; request: number }
export interface Model {
  name: string; description: string; context_window: number; aliases: string[]
  targets: { id: string; provider: string; model: string; off: boolean; off_because?: string; price: Price | null }[]
}

export interface Series {
  metric: string; unit: 'calls' | 'tokens' | 'nanos' | 'us'; step: string; step_s: number; since: number; until: number
  series: SeriesLine[]; others: SeriesLine | null
}
export interface SeriesLine { name: string; total: number | null; points: [number, number | null][] }

export interface Call {
  id: string; started_at: string; tenant: string; key: string; user: string; tags: string; operation: string; dialect: string; model: string
  target: string; provider: string; upstream_model: string; upstream_dialect: string; status: number; outcome: string; error: string; finish: string
  stream: boolean; counted: string; input_tokens: number; cached_tokens: number; cache_write_tokens: number; cache_write_1h_tokens: number; output_tokens: number
  reasoning_tokens: number; audio_input_tokens: number; audio_output_tokens: number; image_tokens: number; image_output_tokens: number; units: number; searches: number
  cost_nanos: number; saved_nanos: number; attempts: number; ttft_us: number; duration_us: number; overhead_us: number
  decision?: Decision | null
  content?: Content | null
}

/** What was said, by OpenTelemetry's conventions; only for the role admin. */
export interface Part { type: string; content?: unknown }
export interface Message { role: string; parts: Part[] }
export interface Content { input: Message[] | null; system: Part[] | null; tools: { name?: string }[] | null; output: Message[] | null; cut: boolean }

/** What was considered when a call came. */
export interface Decision { model: string; policy: string; strategy?: string; choice: string | null; candidates: Candidate[] }

export interface Ranks { calls: number; p50: number; p90: number; p95: number; p99: number; max: number }
export interface Percentiles { calls: number; all: boolean; ttft_us: Ranks | null; duration_us: Ranks | null; overhead_us: Ranks | null; up_to_date: boolean }

/** How else one can sign in. */
export interface SignInOffer { oidc: { issuer: string; name: string; begin: string } | null }

export interface UsageRow extends Record<string, string | number> {
  requests: number; input_tokens: number; cached_tokens: number; output_tokens: number; cost_nanos: number; saved_nanos: number
  complete: number; partial: number; refused: number; lost: number
}

export interface Counter {
  id: string; level: string; tenant: string; key: string; user: string; model: string; limit: string; unit: 'requests' | 'tokens' | 'calls' | 'nanos'
  amount: number; used: number; held: number; left: number; reset_ms: number | null; nodes: string
}

export interface Budget { amount: string; period: string; model: string | null; on_exceeded: string }
export interface Tenant {
  name: string; parent: string | null; models: string[]; limits: Record<string, unknown>; budget: Budget | null; budgets: Budget[]
  off: boolean; origin: 'file' | 'api'; created_at: string | null
}
export interface Key {
  id: string; name: string; tenant: string; models: string[]; limits: Record<string, unknown>; budget: Budget | null; expires_at: string | null
  prefix: string | null; origin: 'file' | 'api'; created_at: string | null; rotated_at: string | null; overlap_until: string | null
  revoked_at: string | null; secret?: string
}

export interface Candidate { target: string; strike?: string; first_us?: number; p95_us?: number; wait_us?: number; cost_nanos?: number; cached_tokens?: number; score_nanos?: number }
export interface Explanation {
  asked: string; operation: string; stream: boolean; tenant?: string; key?: string; model?: string; rule?: string; policy?: string; strategy?: string
  tokens?: { input: number; output: number; input_bound: number; output_bound: number }; needs?: string[]; max_cost_nanos?: number
  choice?: string; why?: string; relaxed?: string; candidates?: Candidate[]; cannot?: { target: string; why: string }[]; fallback?: string[]
  limits?: { id: string; limit: string; model: string; unit: Counter['unit']; exceeded: string; amount: number; reserves: number; left: number | null; admitted: boolean | null }[]
  mirror?: string; refused?: { status: number; fault: string; message: string }
}

export interface Replica { name: string; state: string; node: string; address?: string; revision: number; restarts: number; in_flight: number; memory_bytes: number; for_ms: number; progress?: number; reason?: string; message?: string }
export interface Deployment {
  name: string; id: string; tenant?: string; origin: string; state: string; reason?: string; message?: string; revision?: number; wanted?: number
  ready?: number; min?: number; max?: number; restarts?: number; loading?: { progress?: number; eta_seconds?: number }
  queue?: { held: number; in_flight: number; places: number; calls: number; failures: number }
  cost?: { nanos_per_hour: number; spent_nanos: number; saved_nanos: number }; replicas?: Replica[]
}
export interface DeploymentEvent { id: number; at: string; replica?: string; reason: string; message?: string }

export interface Event { id: number; at: string; kind: string; by: string; text: string }
