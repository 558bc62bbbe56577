// SPDX-License-Identifier: Apache-2.0
import type { ComponentChildren } from 'preact'
import { useRef } from 'preact/hooks'
import { looks, query, useQuery, type Query } from '../api'
import { Chart, frame, Spark, type Frame } from '../chart'
import { duration, int, percent, short, span, usd, usdShort } from '../format'
import { Icon } from '../icons'
import { along, since, to } from '../router'
import type { Call, Counter, Overview, Page, Percentiles, Series } from '../types'
import { Ask, Badge, Bar, Card, Empty } from '../ui'
import { state } from './models'

const EVERY = 10000

function useSeries(metric: string, by: string): Query<Series> {
  return useQuery<Series>('/series' + query({ metric, by, since: since(), top: 6 }), EVERY)
}

const total = (series?: Series) => (series ? [...series.series, ...(series.others ? [series.others] : [])].reduce((sum, line) => sum + (line.total ?? 0), 0) : undefined)

/** Without the bucket that is still filling, where there are others: it would look like a fall. */
function summed(of?: Frame): number[] {
  const sums = of ? of.x.map((_, i) => of.lines.reduce((sum, line) => sum + (line.values[i] ?? 0), 0)) : []
  return sums.slice(0, -1).some((sum) => sum > 0) ? sums.slice(0, -1) : sums
}

function Tile({ name, value, unit, note, spark, tone, href }: { name: string; value?: string; unit?: string; note?: ComponentChildren; spark?: (number | null)[]; tone?: string; href?: string }) {
  const inside = (
    <>
      <span class="tile-name">{name}</span>
      <span class="tile-value">{value ?? <span class="skeleton" />}{unit && value && <small>{unit}</small>}</span>
      <span class="tile-note">{note}</span>
      {spark && <Spark values={spark} tone={tone} />}
    </>
  )
  return href ? <a class="tile" href={href}>{inside}</a> : <div class="tile">{inside}</div>
}

/** The last figures, for as long as the page is open. */
function useTrail(value: number | undefined, mark: number | undefined): number[] {
  const trail = useRef<number[]>([])
  const last = useRef<number>()
  if (value !== undefined && mark !== last.current) {
    last.current = mark
    trail.current = [...trail.current, value].slice(-60)
  }
  return trail.current
}

interface Trouble { tone: 'bad' | 'warn'; what: ComponentChildren; href: string }

function troubles(overview: Overview | undefined, counters: Counter[]): Trouble[] {
  const out: Trouble[] = []
  if (overview) {
    if (overview.state === 'draining') out.push({ tone: 'warn', what: 'It drains: no new calls are taken', href: to('events') })
    if (overview.ledger.damaged) out.push({ tone: 'bad', what: 'The database is damaged: nothing is booked', href: to('events') })
    else if (overview.ledger.full) out.push({ tone: 'bad', what: 'The ledger is full: new calls are refused', href: to('events') })
    if (!overview.store.up) out.push({ tone: 'bad', what: 'The shared store cannot be reached', href: to('events') })
    if (!overview.reload.good) out.push({ tone: 'bad', what: 'The last reload failed; the configuration before it is in force', href: to('config') })
    for (const target of overview.targets) {
      const one = state(target)
      if (one.tone === 'bad' || one.tone === 'warn') out.push({ tone: one.tone, what: <><b>{target.id}</b> {one.words}{target.again_in_us ? `, asked again in ${duration(target.again_in_us)}` : ''}</>, href: to('models') })
    }
  }
  for (const counter of counters) {
    const used = (counter.used + counter.held) / counter.amount
    if (counter.limit.startsWith('budget') && used >= 0.8)
      out.push({ tone: used >= 1 ? 'bad' : 'warn', what: <><b>{owner(counter)}</b> has used {percent(used)} of its {counter.limit.replaceAll('_', ' ').replace('budget per', 'budget of the')}</>, href: to('limits') })
  }
  return out
}

export const owner = (counter: Counter) => counter.tenant + (counter.key ? `/${counter.key}` : '') + (counter.user ? ` ${counter.user}` : '')

const statusTones: Record<string, string> = { '2': 'plot-good', '3': 'plot-6', '4': 'plot-warn', '5': 'plot-bad' }

function byClass(series: Series): Series {
  const classes = new Map<string, { total: number; points: Map<number, number> }>()
  for (const line of [...series.series, ...(series.others ? [series.others] : [])]) {
    const name = /^\d/.test(line.name) ? line.name[0] + 'xx' : 'others'
    const one = classes.get(name) ?? { total: 0, points: new Map() }
    one.total += line.total ?? 0
    for (const [at, value] of line.points) one.points.set(at, (one.points.get(at) ?? 0) + (value ?? 0))
    classes.set(name, one)
  }
  return { ...series, others: null, series: [...classes].sort(([a], [b]) => a.localeCompare(b)).map(([name, one]) => ({ name, total: one.total, points: [...one.points] })) }
}

function Targets({ overview }: { overview: Query<Overview> }) {
  return (
    <Card title="Targets" actions={<a href={to('models')}>All of them</a>}>
      <Ask of={overview} empty={(data) => data.targets.length === 0 && <Empty title="No target is configured" />}>
        {(data) => (
          <ul class="rows">
            {data.targets.slice(0, 8).map((target) => {
              const one = state(target)
              return (
                <li>
                  <span class="grow">{target.id}</span>
                  <span class="number">{target.first_token_us ? duration(target.first_token_us) : '–'}</span>
                  <Badge tone={one.tone}>{one.words}</Badge>
                </li>
              )
            })}
          </ul>
        )}
      </Ask>
    </Card>
  )
}

function Budgets({ counters }: { counters: Query<Page<Counter>> }) {
  const budgets = (data: Page<Counter>) => data.data.filter((counter) => counter.unit === 'nanos').sort((a, b) => b.used / b.amount - a.used / a.amount).slice(0, 7)
  return (
    <Card title="Budgets" actions={<a href={to('limits')}>All of them</a>}>
      <Ask of={counters} empty={(data) => budgets(data).length === 0 && <Empty title="No budget has been used yet"><p>Give a tenant one: <code>budget: {'{amount: 100 USD, period: month}'}</code></p></Empty>}>
        {(data) => (
          <ul class="rows">
            {budgets(data).map((counter) => (
              <li>
                <div class="grow">
                  <div class="split"><span>{owner(counter)} <span class="note">{counter.limit.replace('budget_per_', 'a ').replace('budget_', '')}</span></span><span class="number">{usdShort(counter.used)} <span class="note">of {usdShort(counter.amount)}</span></span></div>
                  <Bar used={counter.used} held={counter.held} amount={counter.amount} label={`${owner(counter)}: ${percent((counter.used + counter.held) / counter.amount)} used`} />
                </div>
              </li>
            ))}
          </ul>
        )}
      </Ask>
    </Card>
  )
}

function Attention({ overview, counters }: { overview: Query<Overview>; counters: Query<Page<Counter>> }) {
  return (
    <Card title="Needs attention">
      <Ask of={overview}>
        {(data) => {
          const all = troubles(data, counters.data?.data ?? [])
          return all.length === 0 ? (
            <Empty title="All is well"><p>Every target answers, no budget is near its end.</p></Empty>
          ) : (
            <ul class="rows">{all.map((one) => <li class={`trouble ${one.tone}`}><Icon name="warn" /><a class="grow" href={one.href}>{one.what}</a></li>)}</ul>
          )
        }}
      </Ask>
    </Card>
  )
}

/** Percentiles are of the calls themselves: of all of the time chosen, or of so many of the last ones. */
function Times({ calls }: { calls: Query<Page<Call>> }) {
  const times = useQuery<Percentiles>('/percentiles' + query({ since: since() }), 2 * EVERY)
  const good = (calls.data?.data ?? []).filter((call) => call.outcome === 'complete' && call.ttft_us > 0)
  const ranks = times.data?.ttft_us
  return (
    <Tile
      name="First token, p50"
      value={times.data ? (ranks ? duration(ranks.p50) : '–') : undefined}
      note={ranks ? `p95 ${duration(ranks.p95)} · ${times.data!.all ? `${int(ranks.calls)} calls` : `last ${int(ranks.calls)}`}` : 'no call yet'}
      spark={good.slice(0, 60).map((call) => call.ttft_us).reverse()}
      tone="plot-3"
      href={to('requests', along())}
    />
  )
}

export function OverviewPage() {
  const overview = useQuery<Overview>(looks() ? '/overview' : null, 3000)
  const counters = useQuery<Page<Counter>>('/limits' + query({ limit: 500 }), EVERY)
  const calls = useQuery<Page<Call>>('/requests' + query({ since: since(), limit: 500 }), EVERY)
  const requests = useSeries('requests', 'status')
  const errors = useSeries('errors', '')
  const tokens = useSeries('tokens', 'model')
  const cost = useSeries('cost', 'model')
  const ttft = useSeries('ttft', 'model')
  const requestFrame = requests.data && frame(byClass(requests.data), (name) => name, (name) => statusTones[name[0]] ?? 'plot-8')
  const costFrame = cost.data && frame(cost.data)
  const tokenFrame = tokens.data && frame(tokens.data)
  const all = total(requests.data), bad = total(errors.data)
  const running = overview.data
  const trail = useTrail(running?.calls, running?.uptime_s)
  return (
    <>
      <div class="tiles">
        <Tile name="Requests" value={all === undefined ? undefined : short(all)} note={requests.data && `${((all ?? 0) / Math.max(1, (requests.data.until - requests.data.since) / 60)).toFixed(1)} a minute`} spark={summed(requestFrame)} tone="plot-1" href={to('requests', along())} />
        <Tile name="Errors" value={all === undefined || bad === undefined ? undefined : percent(all ? bad / all : 0)} note={bad === undefined ? '' : `${int(bad)} of ${int(all ?? 0)} calls`} spark={errors.data && summed(frame(errors.data))} tone="plot-bad" href={to('requests', { ...along(), status: '400-599' })} />
        <Times calls={calls} />
        <Tile name="Tokens" value={tokens.data && short(total(tokens.data) ?? 0)} note="in and out" spark={summed(tokenFrame)} tone="plot-5" href={to('usage', along())} />
        <Tile name="Cost" value={cost.data && usdShort(total(cost.data) ?? 0)} note={cost.data && all ? `${usd((total(cost.data) ?? 0) / all)} a call` : ''} spark={summed(costFrame)} tone="plot-2" href={to('usage', along())} />
        {looks() && <Tile name="Running now" value={running && int(running.calls)} unit={running?.calls === 1 ? 'call' : 'calls'} note={running && `${running.streams} ${running.streams === 1 ? 'stream' : 'streams'}, up ${span(running.uptime_s)}`} spark={trail} tone="plot-7" />}
      </div>
      <div class="grid two">
        <Card title="Requests" note="by status"><Ask of={requests}>{() => <Chart label="Requests by status" of={requestFrame!} format={short} />}</Ask></Card>
        <Card title="Cost" note="by model"><Ask of={cost}>{() => <Chart label="Cost by model" of={costFrame!} format={usdShort} />}</Ask></Card>
        <Card title="Time to first token" note="mean, by model"><Ask of={ttft}>{(data) => <Chart label="Time to first token by model" of={frame(data)} format={duration} kind="lines" />}</Ask></Card>
        <Card title="Tokens" note="by model"><Ask of={tokens}>{() => <Chart label="Tokens by model" of={tokenFrame!} format={short} />}</Ask></Card>
      </div>
      <div class="grid three">
        {looks() && <Attention overview={overview} counters={counters} />}
        <Budgets counters={counters} />
        {looks() && <Targets overview={overview} />}
      </div>
    </>
  )
}
