// SPDX-License-Identifier: Apache-2.0
import { useQuery } from '../api'
import { moment } from '../format'
import { change, place } from '../router'
import type { Event, Page } from '../types'
import { Ask, Badge, Card, Empty, Select, Table } from '../ui'

export function EventsPage() {
  const kind = place.value.parameters.kind ?? ''
  // The first page is the oldest; 512 are kept, so the second has the rest.
  const first = useQuery<Page<Event>>('/events?limit=500', 3000)
  const rest = useQuery<Page<Event>>(first.data?.next ? `/events?limit=500&after=${first.data.next}` : null, 3000)
  const all = [...(first.data?.data ?? []), ...(rest.data?.data ?? [])].reverse()
  const kinds = [...new Set(all.map((event) => event.kind))].sort()
  const shown = all.filter((event) => !kind || event.kind === kind)
  return (
    <>
      <div class="filters">
        <Select label="kind" value={kind} options={[['', 'all events'], ...kinds.map((one) => [one, one] as [string, string])]} onChange={(value) => change({ kind: value || undefined })} />
      </div>
      <Card flush>
        <Ask of={first} empty={() => shown.length === 0 && <Empty title="Nothing has happened yet" />}>
          {() => (
            <Table label="Events" head={['Time', 'Kind', 'By', 'What']}>
              {shown.map((event) => (
                <tr>
                  <td title={event.at}>{moment(event.at)}</td>
                  <td><Badge tone={event.kind === 'admin' ? 'info' : event.kind.includes('fail') ? 'bad' : 'idle'}>{event.kind}</Badge></td>
                  <td>{event.by || '–'}</td>
                  <td class="break">{event.text}</td>
                </tr>
              ))}
            </Table>
          )}
        </Ask>
      </Card>
    </>
  )
}
