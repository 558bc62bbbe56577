// SPDX-License-Identifier: Apache-2.0
import { useState } from 'preact/hooks'
import { ask, Problem, useQuery } from '../api'
import { duration, int, usd, words } from '../format'
import { place } from '../router'
import type { Candidate, Explanation, Key, Page } from '../types'
import { Badge, Button, Card, Empty, Facts, Field, Table } from '../ui'

const amount = (unit: string, n: number) => (unit === 'nanos' ? usd(n) : int(n))

/** What was known of each target, what stands against it, and which was taken. */
export function Candidates({ label = 'Candidates', list, choice, cannot }: { label?: string; list: Candidate[]; choice?: string | null; cannot?: Explanation['cannot'] }) {
  if (!list.length) return null
  return (
    <Table label={label} head={['Target', 'Against it', ['First token', 'right'], ['p95', 'right'], ['Wait', 'right'], ['Cost', 'right'], ['Score', 'right']]}>
      {list.map((one) => (
        <tr class={one.target === choice ? 'chosen' : ''}>
          <td>{one.target === choice ? <b>{one.target}</b> : one.target}</td>
          <td>{one.strike ? <Badge tone="warn">{one.strike}</Badge> : one.target === choice ? <Badge tone="good">chosen</Badge> : '–'}</td>
          <td class="right">{one.first_us ? duration(one.first_us) : '–'}</td>
          <td class="right">{one.p95_us ? duration(one.p95_us) : '–'}</td>
          <td class="right">{one.wait_us ? duration(one.wait_us) : '–'}</td>
          <td class="right">{one.cost_nanos !== undefined ? usd(one.cost_nanos) : '–'}</td>
          <td class="right">{one.score_nanos !== undefined ? usd(one.score_nanos) : '–'}</td>
        </tr>
      ))}
      {cannot?.map((one) => <tr><td>{one.target}</td><td colSpan={6} class="note">{one.why}</td></tr>)}
    </Table>
  )
}

export function Result({ of }: { of: Explanation }) {
  const candidates = of.candidates ?? []
  return (
    <>
      <p class="verdict">
        {of.refused ? <><Badge tone="bad">{`${of.refused.status} ${words(of.refused.fault)}`}</Badge> {of.refused.message}</> : of.choice ? <><Badge tone="good">{of.choice}</Badge> {of.why}</> : <Badge tone="warn">no target</Badge>}
      </p>
      <Facts rows={[
        ['Model', of.model], ['Policy', [of.policy, of.strategy].filter(Boolean).join(' · ')], ['Rule', of.rule], ['Input tokens', of.tokens && int(of.tokens.input)], ['Output tokens', of.tokens && int(of.tokens.output)],
        ['At most', of.max_cost_nanos ? usd(of.max_cost_nanos) : ''], ['Needs', of.needs?.join(', ')], ['Relaxed', of.relaxed], ['Falls back to', of.fallback?.join(', ')],
      ].filter(([, value]) => value) as [string, string][]} />
      <Candidates list={candidates} choice={of.choice} cannot={of.cannot} />
      {!!of.limits?.length && (
        <Table label="Limits it would meet" head={['Limit', 'Of', ['Would hold', 'right'], ['Left', 'right'], 'Admitted']}>
          {of.limits.map((one) => (
            <tr>
              <td>{words(one.limit)}{one.model && ` of ${one.model}`}</td>
              <td class="note">{one.id.split(':')[0].replace(/^[a-z]+\//, '')}</td>
              <td class="right">{amount(one.unit, one.reserves)}</td>
              <td class="right">{one.left === null ? '?' : amount(one.unit, one.left)}</td>
              <td>{one.admitted === null ? '?' : <Badge tone={one.admitted ? 'good' : 'bad'}>{one.admitted ? 'yes' : 'no'}</Badge>}</td>
            </tr>
          ))}
        </Table>
      )}
    </>
  )
}

const example = (model: string) => JSON.stringify({ model, messages: [{ role: 'user', content: 'How does a sluice gate work?' }] }, null, 2)

export function ExplainPage() {
  const [body, setBody] = useState(example(place.value.parameters.model ?? 'fast'))
  const [path, setPath] = useState('/v1/chat/completions')
  const [who, setWho] = useState('')
  const [result, setResult] = useState<Explanation>()
  const [problem, setProblem] = useState('')
  const [busy, setBusy] = useState(false)
  const keys = useQuery<Page<Key>>('/keys?limit=500')
  const submit = async (event: Event) => {
    event.preventDefault()
    setProblem('')
    setBusy(true)
    try {
      const key = keys.data?.data.find((one) => one.id === who)
      setResult(await ask<Explanation>('POST', '/explain', { path, ...(key && { tenant: key.tenant, key: key.name }), body: JSON.parse(body) }))
    } catch (error) {
      setResult(undefined)
      setProblem(error instanceof SyntaxError ? `The body is no JSON: ${error.message}` : error instanceof Problem ? error.message : String(error))
    }
    setBusy(false)
  }
  return (
    <div class="grid two uneven">
      <Card title="A request" note="nothing is sent, held or booked">
        <form onSubmit={submit}>
          <Field label="As key">
            {(id) => (
              <select id={id} value={who} onChange={(event) => setWho(event.currentTarget.value)}>
                <option value="">nobody’s (without limits)</option>
                {keys.data?.data.filter((key) => !key.revoked_at).map((key) => <option value={key.id}>{key.tenant} / {key.name}</option>)}
              </select>
            )}
          </Field>
          <Field label="Path">{(id) => <input id={id} value={path} onInput={(event) => setPath(event.currentTarget.value)} spellcheck={false} />}</Field>
          <Field label="Body">{(id) => <textarea id={id} class="code" rows={12} value={body} onInput={(event) => setBody(event.currentTarget.value)} spellcheck={false} />}</Field>
          <Button kind="primary" type="submit" disabled={busy}>Explain</Button>
        </form>
      </Card>
      <Card title="Where it would go">
        {problem ? <p class="alert" role="alert">{problem}</p> : result ? <Result of={result} /> : <Empty title="Paste a request"><p>It is looked at as if it had come: its rule, every candidate with prediction and price, and what is against it.</p></Empty>}
      </Card>
    </div>
  )
}
