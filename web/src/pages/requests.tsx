// SPDX-License-Identifier: Apache-2.0
import { useEffect, useState } from 'preact/hooks'
import { ask, looks, query, useQuery } from '../api'
import { duration, int, moment, usd, usdCall } from '../format'
import { along, change, place, since, to } from '../router'
import type { Call, Content, Explanation, Message, Model, Page, Part } from '../types'
import { Ask, Badge, Button, Card, Copy, Empty, Facts, Select, Table, type Tone } from '../ui'
import { Candidates, Result } from './explain'

const FILTERS = ['tenant', 'key', 'model', 'target', 'user'] as const
const PAGE = 50

export function outcome(call: Call): { tone: Tone; words: string } {
  if (call.outcome === 'complete' && call.status < 400) return { tone: 'good', words: 'complete' }
  if (call.outcome === 'partial') return { tone: 'warn', words: 'partial' }
  if (call.status === 499) return { tone: 'idle', words: 'client left' }
  return { tone: call.status < 500 ? 'warn' : 'bad', words: call.outcome === 'complete' ? 'error' : call.outcome }
}

function Filter({ name, known }: { name: string; known?: string[] }) {
  const [value, setValue] = useState(place.value.parameters[name] ?? '')
  useEffect(() => setValue(place.value.parameters[name] ?? ''), [place.value.parameters[name]])
  return (
    <>
      <input
        type="search" aria-label={name} placeholder={name} value={value} list={known && `known-${name}`} spellcheck={false} autocomplete="off"
        onInput={(event) => setValue(event.currentTarget.value)}
        onChange={() => change({ [name]: value.trim() || undefined })}
      />
      {known && <datalist id={`known-${name}`}>{known.map((one) => <option value={one} />)}</datalist>}
    </>
  )
}

export function RequestsPage() {
  const parameters = place.value.parameters
  const filter = query({ since: since(), ...Object.fromEntries(FILTERS.map((name) => [name, parameters[name]])), status: parameters.status, limit: PAGE })
  const [trail, setTrail] = useState<string[]>([])
  useEffect(() => setTrail([]), [filter])
  const after = trail.at(-1)
  const calls = useQuery<Page<Call>>('/requests' + filter + (after ? `&after=${encodeURIComponent(after)}` : ''), after ? 0 : 5000)
  const models = useQuery<{ models: Model[] }>('/models')
  return (
    <>
      <form class="filters" role="search" aria-label="Filters" onSubmit={(event) => event.preventDefault()}>
        {FILTERS.map((name) => <Filter name={name} known={name === 'model' ? models.data?.models.map((model) => model.name) : undefined} />)}
        <Select label="status" value={parameters.status ?? ''} options={[['', 'any status'], ['2xx', '2xx good'], ['400-599', 'errors'], ['4xx', '4xx'], ['429', '429 limits'], ['5xx', '5xx']]} onChange={(status) => change({ status: status || undefined })} />
        {FILTERS.some((name) => parameters[name]) || parameters.status ? <Button icon="close" onClick={() => change({ ...Object.fromEntries(FILTERS.map((name) => [name, undefined])), status: undefined })}>Clear</Button> : null}
      </form>
      <Card flush>
        <Ask of={calls} empty={(data) => data.data.length === 0 && !trail.length && !data.next && (
          <Empty title="No call in this time">
            <p>Nothing has been booked that fits. Send one: <code>curl …/v1/chat/completions</code>, or look further back.</p>
          </Empty>
        )}>
          {(data) => (
            <>
              <Table label="Requests" head={['Time', 'Outcome', ['Status', 'right'], 'Tenant / key', 'Model → target', ['Tokens in', 'right'], ['out', 'right'], ['Cost', 'right'], ['First token', 'right'], ['All', 'right']]}>
                {data.data.map((call) => {
                  const how = outcome(call)
                  return (
                    <tr>
                      <td><a href={to(['requests', call.id], along())} title={call.id}>{moment(call.started_at)}</a></td>
                      <td><Badge tone={how.tone}>{how.words}</Badge></td>
                      <td class="right">{call.status}</td>
                      <td>{call.tenant}<span class="note"> / {call.key}</span></td>
                      <td>{call.model || '–'} <span class="note">→ {call.target || 'none'}{call.attempts > 1 ? ` (${call.attempts} tries)` : ''}</span></td>
                      <td class="right">{int(call.input_tokens)}</td>
                      <td class="right">{int(call.output_tokens)}</td>
                      <td class="right">{usdCall(call.cost_nanos)}</td>
                      <td class="right">{call.ttft_us ? duration(call.ttft_us) : '–'}</td>
                      <td class="right">{duration(call.duration_us)}</td>
                    </tr>
                  )
                })}
              </Table>
              <footer class="pager">
                <span class="note">{data.data.length} calls, the newest first{data.up_to_date === false ? '; some that have just ended are still to come' : ''}</span>
                <Button icon="left" disabled={!trail.length} onClick={() => setTrail(trail.slice(0, -1))}>Newer</Button>
                <Button disabled={!data.next} onClick={() => data.next && setTrail([...trail, data.next])}>Older</Button>
              </footer>
            </>
          )}
        </Ask>
      </Card>
    </>
  )
}

/** Where the time went: until the first token, and from there to the end. */
function Timing({ call }: { call: Call }) {
  const all = Math.max(1, call.duration_us)
  const first = Math.min(call.ttft_us || all, all)
  const ours = Math.min(call.overhead_us, first)
  const parts: [string, number, string][] = [['sluice itself', ours, 'plot-2'], ['until the first token', first - ours, 'plot-1'], ['the rest of the answer', all - first, 'plot-5']]
  let x = 0
  return (
    <div class="timing">
      <svg viewBox="0 0 1000 18" preserveAspectRatio="none" role="img" aria-label={parts.map(([name, us]) => `${name}: ${duration(us)}`).join(', ')}>
        {parts.map(([, us, tone]) => {
          const width = (us / all) * 1000
          x += width
          return <rect class={`fill-${tone}`} x={x - width} width={Math.max(us > 0 ? 2 : 0, width)} height="18" />
        })}
      </svg>
      <p class="legend">{parts.map(([name, us, tone]) => <span class="legend-item"><i class={`swatch ${tone}`} />{name} <b>{duration(us)}</b></span>)}</p>
    </div>
  )
}

const paths: Record<string, string> = { chat: '/v1/chat/completions', completion: '/v1/completions', response: '/v1/responses', embedding: '/v1/embeddings' }

/** How its target was chosen when it came, as it was recorded then. */
function Decided({ call }: { call: Call }) {
  const decision = call.decision
  return (
    <Card across title="How it was chosen" note={decision ? `when it came, by policy ${[decision.policy, decision.strategy].filter(Boolean).join(' · ')}` : ''}>
      {decision ? (
        <>
          <p class="verdict">{decision.choice ? <Badge tone="good">{decision.choice}</Badge> : <Badge tone="warn">no target</Badge>}{call.attempts > 1 && decision.choice !== call.target ? ` then others: ${call.target || 'none'} at the end` : ''}</p>
          <Candidates label="Candidates when it came" list={decision.candidates} choice={decision.choice} />
          {!decision.candidates.length && <p class="note">There were too many candidates to record them.</p>}
        </>
      ) : (
        <Empty title="No record of it"><p>A record is there a second after a call’s end, and as long as <code>store.retention.decisions</code> says, on the sluice that had the call. Answers from the cache have none.</p></Empty>
      )}
    </Card>
  )
}

const words = (part: Part) => (part.type === 'text' && typeof part.content === 'string' ? part.content : JSON.stringify(part, null, 1))

/** What was said, where that is kept. It is text of strangers: shown as text, and nothing else. */
function Said({ content }: { content: Content }) {
  const said: [string, Message[]][] = [['Asked', [...(content.system ? [{ role: 'system', parts: content.system }] : []), ...(content.input ?? [])]], ['Answered', content.output ?? []]]
  const note = [content.tools?.length ? `tools offered: ${content.tools.length}` : '', content.cut ? 'some of it was cut' : ''].filter(Boolean).join(', ')
  return (
    <>
      {said.map(([title, messages]) => (
        <Card across flush title={title} note={title === 'Asked' ? note : ''}>
          {messages.length ? messages.map((one) => <pre class="log said" dir="auto"><b>{one.role}</b>{'\n' + one.parts.map(words).join('\n')}</pre>) : <Empty title="Nothing" />}
        </Card>
      ))}
    </>
  )
}

function Decision({ call }: { call: Call }) {
  const [result, setResult] = useState<Explanation>()
  const [problem, setProblem] = useState('')
  useEffect(() => {
    const body = { model: call.model, stream: call.stream, ...(call.operation === 'embedding' ? { input: 'x' } : { messages: [{ role: 'user', content: 'x' }] }) }
    ask<Explanation>('POST', '/explain', { path: paths[call.operation] ?? paths.chat, tenant: call.tenant, key: call.key, body })
      .then(setResult, (error: Error) => setProblem(error.message))
  }, [call.id])
  return (
    <Card across title="Where it would go now" note={`a short ${call.operation || 'chat'} for ${call.model} by ${call.tenant}/${call.key}`}>
      {problem ? <Empty title="It cannot be explained"><p>{problem}</p></Empty> : result ? <Result of={result} /> : <div class="state"><span class="skeleton" /></div>}
    </Card>
  )
}

export function RequestPage() {
  const id = place.value.path[1]
  const call = useQuery<Call>(`/requests/${encodeURIComponent(id)}`)
  return (
    <>
      <p class="crumbs"><a href={to('requests', along())}>Requests</a> / <code>{id}</code> <Copy text={id} label="Copy id" /></p>
      <Ask of={call}>
        {(one) => {
          const how = outcome(one)
          const left = one.duration_us - one.ttft_us
          return (
            <div class="grid two">
              <Card title="Outcome" actions={<Badge tone={how.tone}>{how.words}</Badge>}>
                <Facts rows={[
                  ['Status', one.status], ['Error', one.error], ['Finish', one.finish], ['Started', <span title={one.started_at}>{moment(one.started_at)}</span>],
                  ['Operation', `${one.operation}${one.stream ? ', streamed' : ''}`], ['Dialect', one.dialect === one.upstream_dialect || !one.upstream_dialect ? one.dialect : `${one.dialect} → ${one.upstream_dialect}`],
                  ['Tries', one.attempts], ['Tags', one.tags],
                ]} />
              </Card>
              <Card title="Who and where">
                <Facts rows={[
                  ['Tenant', <a href={to('requests', { tenant: one.tenant })}>{one.tenant}</a>], ['Key', <a href={to('requests', { tenant: one.tenant, key: one.key })}>{one.key}</a>], ['End user', one.user],
                  ['Model', <a href={to('requests', { model: one.model })}>{one.model}</a>], ['Target', one.target], ['Provider', one.provider], ['Its model', <span class="break">{one.upstream_model}</span>],
                ]} />
              </Card>
              <Card title="Timing" note={`${duration(one.duration_us)} in all`}>
                <Timing call={one} />
                <Facts rows={[
                  ['First token after', one.ttft_us ? duration(one.ttft_us) : ''], ['sluice itself', duration(one.overhead_us)],
                  ['Tokens a second', one.output_tokens > 1 && left > 1000 ? ((one.output_tokens - 1) / (left / 1e6)).toFixed(0) : ''],
                ]} />
              </Card>
              <Card title="Tokens and cost" note={one.counted === 'provider' ? 'counted by the provider' : one.counted === 'estimate' ? 'estimated' : ''}>
                <Facts rows={[
                  ['Input', int(one.input_tokens)], ['of these cached', int(one.cached_tokens)], ['written to a cache', int(one.cache_write_tokens)], ['Output', int(one.output_tokens)], ['of these reasoning', int(one.reasoning_tokens)],
                  ['Cost', <b>{usd(one.cost_nanos)}</b>], ['Saved by the cache', usd(one.saved_nanos)],
                ]} />
              </Card>
              {one.content && <Said content={one.content} />}
              {looks() && one.model && <Decided call={one} />}
              {looks() && one.model && <Decision call={one} />}
            </div>
          )
        }}
      </Ask>
    </>
  )
}
