// SPDX-License-Identifier: Apache-2.0
import { useState } from 'preact/hooks'
import { ask, mayChange, mayRule, useQuery } from '../api'
import { bytes, int, moment, percent, span, usd } from '../format'
import { change, place } from '../router'
import type { Deployment, DeploymentEvent, Page } from '../types'
import { Ask, Badge, Button, Card, Empty, Facts, Table, Tabs, type Tone } from '../ui'

const tones: Record<string, Tone> = {
  ready: 'good', idle: 'idle', stopped: 'idle', sleeping: 'idle', ended: 'idle', queued: 'info', starting: 'info', updating: 'info', launching: 'info', loading: 'info', pending: 'info',
  degraded: 'warn', backoff: 'warn', unready: 'warn', stopping: 'warn', draining: 'warn', failed: 'bad', lost: 'bad',
}

function Orders({ of, onDone }: { of: Deployment; onDone: () => void }) {
  const [problem, setProblem] = useState('')
  const [busy, setBusy] = useState(false)
  const order = async (word: string, body: object = {}) => {
    setBusy(true)
    setProblem('')
    await ask('POST', `/deployments/${encodeURIComponent(of.name)}/${word}`, body).catch((error: Error) => setProblem(error.message))
    setBusy(false)
    onDone()
  }
  const isOff = ['stopped', 'stopping', 'failed'].includes(of.state)
  return (
    <>
      <span class="buttons">
        <Button kind="small" disabled={busy || !isOff} onClick={() => order('start')}>Start</Button>
        <Button kind="small" disabled={busy || isOff} onClick={() => order('stop')}>Stop</Button>
        <Button kind="small" disabled={busy || isOff} onClick={() => order('restart')}>Restart</Button>
        <span class="stepper" role="group" aria-label={`Replicas of ${of.name}`}>
          <Button kind="small" aria-label="One replica less" disabled={busy || isOff || (of.wanted ?? 0) <= (of.min ?? 0)} onClick={() => order('scale', { replicas: (of.wanted ?? 1) - 1 })}>−</Button>
          <b>{of.wanted ?? 0}</b>
          <Button kind="small" aria-label="One replica more" disabled={busy || isOff || (of.wanted ?? 0) >= (of.max ?? 1)} onClick={() => order('scale', { replicas: (of.wanted ?? 0) + 1 })}>+</Button>
        </span>
      </span>
      {problem && <p class="alert" role="alert">{problem}</p>}
    </>
  )
}

function Story({ name }: { name: string }) {
  const [tab, setTab] = useState('events')
  const events = useQuery<{ data: DeploymentEvent[] }>(tab === 'events' ? `/deployments/${encodeURIComponent(name)}/events?limit=500` : null, 3000)
  const logs = useQuery<{ logs: string[] }>(tab === 'logs' ? `/deployments/${encodeURIComponent(name)}/logs?n_lines=200` : null, 3000)
  return (
    <Card title={name} actions={<Tabs label="Show" value={tab} options={[['events', 'Events'], ['logs', 'Log']]} onChange={setTab} />} flush>
      {tab === 'events' ? (
        <Ask of={events} empty={(data) => data.data.length === 0 && <Empty title="Nothing has happened yet" />}>
          {(data) => (
            <Table label={`Events of ${name}`} head={['Time', 'What', 'Replica', '']}>
              {data.data.toReversed().slice(0, 100).map((event) => <tr><td>{moment(event.at)}</td><td>{event.reason}</td><td class="note">{event.replica ?? '–'}</td><td>{event.message}</td></tr>)}
            </Table>
          )}
        </Ask>
      ) : (
        <Ask of={logs} empty={(data) => data.logs.length === 0 && <Empty title="It has written nothing yet" />}>
          {(data) => <pre class="log" tabIndex={0} role="region" aria-label={`Log of ${name}`}>{data.logs.join('\n')}</pre>}
        </Ask>
      )}
    </Card>
  )
}

function Details({ name, onChange }: { name: string; onChange: () => void }) {
  const one = useQuery<Deployment>(`/deployments/${encodeURIComponent(name)}`, 2000)
  return (
    <Ask of={one}>
      {(data) => (
        <Card title={data.name} note={data.message ?? data.reason} actions={mayRule() && mayChange() && <Orders of={data} onDone={() => { one.reload(); onChange() }} />}>
          <Facts rows={[
            ['State', <Badge tone={tones[data.state] ?? 'info'}>{data.state}</Badge>], ['Replicas', `${data.ready ?? 0} ready of ${data.wanted ?? 0} (${data.min ?? 0} to ${data.max ?? 0})`], ['Revision', data.revision],
            ['Calls running', data.queue && `${data.queue.in_flight} on ${data.queue.places} places`], ['Waiting', data.queue && int(data.queue.held)], ['Calls so far', data.queue && `${int(data.queue.calls)}, ${int(data.queue.failures)} failed`],
            ['Restarts', data.restarts], ['An hour costs', data.cost && usd(data.cost.nanos_per_hour)], ['Loading', data.loading?.progress !== undefined ? percent(data.loading.progress) : ''],
          ]} />
          {data.replicas && data.replicas.length > 0 && (
            <Table label={`Replicas of ${data.name}`} head={['Replica', 'State', 'Node', 'Address', ['Revision', 'right'], ['Running', 'right'], ['Restarts', 'right'], ['Memory', 'right'], ['For', 'right']]}>
              {data.replicas.map((replica) => (
                <tr>
                  <td>{replica.name}</td>
                  <td><Badge tone={tones[replica.state] ?? 'info'}>{replica.state}</Badge>{replica.message && <span class="note"> {replica.message}</span>}</td>
                  <td>{replica.node}</td>
                  <td><code>{replica.address ?? '–'}</code></td>
                  <td class="right">{replica.revision}</td>
                  <td class="right">{replica.in_flight}</td>
                  <td class="right">{replica.restarts}</td>
                  <td class="right">{replica.memory_bytes ? bytes(replica.memory_bytes) : '–'}</td>
                  <td class="right">{span(replica.for_ms / 1000)}</td>
                </tr>
              ))}
            </Table>
          )}
        </Card>
      )}
    </Ask>
  )
}

export function DeploymentsPage() {
  const all = useQuery<Page<Deployment>>('/deployments?limit=500', 3000)
  return (
    <Ask of={all} empty={(data) => data.data.length === 0 && <Empty title="sluice runs no model server here"><p>Name one in the file under <code>deployments.models</code>, and calls of its name start it.</p></Empty>}>
      {(data) => {
        const chosen = data.data.find((one) => one.name === place.value.parameters.name) ?? data.data[0]
        return (
          <>
            {data.data.length > 1 && (
              <Card flush>
                <Table label="Deployments" head={['Deployment', 'State', ['Ready', 'right'], ['Wanted', 'right'], ['Running', 'right'], ['Waiting', 'right'], ['Calls', 'right']]}>
                  {data.data.map((one) => (
                    <tr class={one === chosen ? 'chosen' : ''}>
                      <td><button type="button" class="link" onClick={() => change({ name: one.name })}>{one.name}</button></td>
                      <td><Badge tone={tones[one.state] ?? 'info'}>{one.state}</Badge></td>
                      <td class="right">{one.ready ?? 0}</td><td class="right">{one.wanted ?? 0}</td><td class="right">{one.queue?.in_flight ?? 0}</td><td class="right">{one.queue?.held ?? 0}</td><td class="right">{int(one.queue?.calls ?? 0)}</td>
                    </tr>
                  ))}
                </Table>
              </Card>
            )}
            <Details name={chosen.name} onChange={all.reload} key={chosen.name} />
            <Story name={chosen.name} key={`${chosen.name} story`} />
          </>
        )
      }}
    </Ask>
  )
}
