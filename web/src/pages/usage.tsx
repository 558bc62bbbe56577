// SPDX-License-Identifier: Apache-2.0
import { query, useQuery } from '../api'
import { Chart, frame } from '../chart'
import { int, percent, short, usd, usdShort } from '../format'
import { change, place, since } from '../router'
import type { Series, UsageRow } from '../types'
import { Ask, Button, Card, Empty, save, Select, Table, Tabs } from '../ui'

const BY = ['tenant', 'tenant,key', 'model', 'provider', 'target', 'user', 'operation', 'status', 'day', 'hour', 'tenant,model', 'day,tenant', 'day,model']
const METRICS: [string, string][] = [['cost', 'Cost'], ['requests', 'Requests'], ['tokens', 'Tokens'], ['saved', 'Saved']]
const SUMS = ['requests', 'input_tokens', 'cached_tokens', 'cache_write_tokens', 'output_tokens', 'reasoning_tokens', 'cost_nanos', 'saved_nanos', 'complete', 'partial', 'refused', 'lost', 'estimated']

/** A text that a spreadsheet takes for a formula is written so that it does not. */
const cell = (value: unknown) => {
  const text = String(value ?? '')
  const safe = typeof value === 'string' && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe
}

export function toCsv(by: string[], rows: UsageRow[]): string {
  const names = [...by, ...SUMS.filter((name) => rows.some((row) => name in row))]
  return [names.join(','), ...rows.map((row) => names.map((name) => cell(row[name])).join(','))].join('\r\n') + '\r\n'
}

export function UsagePage() {
  const parameters = place.value.parameters
  const by = BY.includes(parameters.by) ? parameters.by : 'tenant'
  const metric = METRICS.some(([name]) => name === parameters.metric) ? parameters.metric : 'cost'
  const dimensions = by.split(',')
  const lines = dimensions.findLast((name) => name !== 'day' && name !== 'hour') ?? ''
  const rows = useQuery<UsageRow[]>('/usage' + query({ by, since: since() }), 15000)
  const series = useQuery<Series>('/series' + query({ metric, by: lines, since: since(), top: 7 }), 15000)
  const format = metric === 'cost' || metric === 'saved' ? usdShort : short
  const isTime = dimensions[0] === 'day' || dimensions[0] === 'hour'
  const sorted = (data: UsageRow[]) => (isTime ? [...data].sort((a, b) => String(b[dimensions[0]]).localeCompare(String(a[dimensions[0]]))) : data)
  return (
    <>
      <div class="filters">
        <Select label="group by" value={by} options={BY.map((one) => [one, `by ${one.replace(',', ', ')}`])} onChange={(value) => change({ by: value })} />
        <Tabs label="Figure" value={metric} options={METRICS} onChange={(value) => change({ metric: value })} />
        <span class="grow" />
        <Button icon="download" disabled={!rows.data?.length} onClick={() => save(`usage-by-${dimensions.join('-')}-${since()}.csv`, 'text/csv', toCsv(dimensions, sorted(rows.data ?? [])))}>CSV</Button>
      </div>
      <Card title={METRICS.find(([name]) => name === metric)![1]} note={lines ? `by ${lines}` : ''}>
        <Ask of={series}>{(data) => <Chart label={`${metric} by ${lines || 'time'}`} of={frame(data)} format={format} height={220} />}</Ask>
      </Card>
      <Card flush>
        <Ask of={rows} empty={(data) => data.length === 0 && <Empty title="No call in this time"><p>What was used is summed up here as soon as a call has ended.</p></Empty>}>
          {(data) => {
            const all = data.reduce((sum, row) => sum + row.cost_nanos, 0)
            return (
              <Table label="Usage" head={[...dimensions, ['Requests', 'right'], ['Not complete', 'right'], ['Tokens in', 'right'], ['cached', 'right'], ['out', 'right'], ['Cost', 'right'], ['Share', 'right'], ['Saved', 'right']]}>
                {sorted(data).map((row) => (
                  <tr>
                    {dimensions.map((name) => <td>{row[name] === '' ? <span class="note">none</span> : row[name]}</td>)}
                    <td class="right">{int(row.requests)}</td>
                    <td class="right">{int(row.requests - row.complete)}</td>
                    <td class="right">{int(row.input_tokens)}</td>
                    <td class="right">{int(row.cached_tokens)}</td>
                    <td class="right">{int(row.output_tokens)}</td>
                    <td class="right"><b>{usd(row.cost_nanos)}</b></td>
                    <td class="right">{all ? percent(row.cost_nanos / all) : '–'}</td>
                    <td class="right">{usd(row.saved_nanos)}</td>
                  </tr>
                ))}
              </Table>
            )
          }}
        </Ask>
      </Card>
    </>
  )
}
