// SPDX-License-Identifier: Apache-2.0
import { query, useQuery } from '../api'
import { int, percent, short, span, usd, words } from '../format'
import { change, place } from '../router'
import type { Counter, Page } from '../types'
import { Ask, Bar, Card, Empty, Select, Table } from '../ui'
import { owner } from './overview'

const amount = (counter: Counter, n: number) => (counter.unit === 'nanos' ? usd(n) : n >= 100000 ? short(n) : int(n))

export function LimitsPage() {
  const kind = place.value.parameters.kind ?? ''
  const counters = useQuery<Page<Counter>>('/limits' + query({ limit: 500 }), 3000)
  const share = (counter: Counter) => (counter.amount > 0 ? (counter.used + counter.held) / counter.amount : 1)
  const wanted = (data: Page<Counter>) =>
    data.data.filter((counter) => !kind || (kind === 'budgets') === (counter.unit === 'nanos')).sort((a, b) => share(b) - share(a) || a.id.localeCompare(b.id))
  return (
    <>
      <div class="filters">
        <Select label="kind" value={kind} options={[['', 'limits and budgets'], ['budgets', 'budgets'], ['limits', 'limits']]} onChange={(value) => change({ kind: value || undefined })} />
      </div>
      <Card flush>
        <Ask of={counters} empty={(data) => wanted(data).length === 0 && <Empty title="Nothing has been counted yet"><p>A limit or budget of a tenant, key or end user stands here from its first call on.</p></Empty>}>
          {(data) => (
            <>
              <Table label="Limits" head={['Of', 'Limit', '', ['Share', 'right'], ['Used', 'right'], ['Held', 'right'], ['Left', 'right'], ['Amount', 'right'], ['Full again in', 'right']]}>
                {wanted(data).map((counter) => (
                  <tr>
                    <td>{owner(counter)}{counter.level !== 'tenant' && <span class="note"> {counter.level}</span>}</td>
                    <td>{words(counter.limit).replace(' per ', ' a ')}{counter.model && <span class="note"> {counter.model}</span>}</td>
                    <td class="wide-bar"><Bar used={counter.used} held={counter.held} amount={counter.amount} label={`${owner(counter)} ${words(counter.limit)}: ${percent(share(counter))} used`} /></td>
                    <td class="right">{percent(share(counter))}</td>
                    <td class="right">{amount(counter, counter.used)}</td>
                    <td class="right">{amount(counter, counter.held)}</td>
                    <td class="right"><b>{amount(counter, counter.left)}</b></td>
                    <td class="right">{amount(counter, counter.amount)}</td>
                    <td class="right">{counter.reset_ms === null ? 'never' : counter.reset_ms === 0 ? 'now' : span(counter.reset_ms / 1000)}</td>
                  </tr>
                ))}
              </Table>
              {data.next && <footer class="pager"><span class="note">The first 500 are shown</span></footer>}
            </>
          )}
        </Ask>
      </Card>
    </>
  )
}
