// SPDX-License-Identifier: Apache-2.0
import { useState } from 'preact/hooks'
import { ask, mayChange, Problem, session, useQuery } from '../api'
import { ago, date, words } from '../format'
import { to } from '../router'
import type { Budget, Key, Page, Tenant } from '../types'
import { Ask, Badge, Button, Card, Confirm, Copy, Dialog, Empty, Field, Table } from '../ui'

const budgetWords = (budget: Budget | null) => (budget ? `${budget.amount} ${words(budget.period).replace(/^/, 'a ')}` : '–')
const limitWords = (limits: Record<string, unknown>) => {
  const all = Object.entries(limits).filter(([, value]) => typeof value === 'number')
  return all.length ? all.map(([name, value]) => `${value} ${words(name).replace(' per ', ' a ')}`).join(', ') : '–'
}
const modelWords = (models: string[]) => (models.length === 0 || models.includes('*') ? 'all' : models.join(', '))

function keyState(key: Key) {
  if (key.revoked_at) return <Badge tone="idle">revoked</Badge>
  if (key.expires_at && Date.parse(key.expires_at) < Date.now()) return <Badge tone="bad">expired</Badge>
  if (key.overlap_until && Date.parse(key.overlap_until) > Date.now()) return <Badge tone="info">rotated, two are good</Badge>
  return <Badge tone="good">good</Badge>
}

/** What has been made; the secret is in here only, and gone with the dialog. */
function Secret({ of, onClose }: { of: Key; onClose: () => void }) {
  return (
    <Dialog title={`The key ${of.tenant} / ${of.name}`} onClose={onClose}>
      <div class="dialog-body">
        <p>Copy it now: it is shown only this once, and only its hash is kept.</p>
        <p class="secret"><code>{of.secret}</code></p>
      </div>
      <footer>
        <Copy text={of.secret ?? ''} />
        <Button kind="primary" onClick={onClose}>I have it</Button>
      </footer>
    </Dialog>
  )
}

type Values = Record<string, string>

function Form({ title, verb, onClose, send, fields }: { title: string; verb: string; onClose: () => void; send: (values: Values) => Promise<unknown>; fields: { name: string; label: string; hint?: string; type?: string; options?: [string, string][]; required?: boolean; field?: string; placeholder?: string }[] }) {
  const [problem, setProblem] = useState<Problem>()
  const [busy, setBusy] = useState(false)
  const submit = async (event: Event) => {
    event.preventDefault()
    setBusy(true)
    const values: Values = {}
    new FormData(event.currentTarget as HTMLFormElement).forEach((value, name) => (values[name] = String(value).trim()))
    try {
      await send(values)
    } catch (error) {
      setProblem(error as Problem)
      setBusy(false)
    }
  }
  const isOf = (one: { name: string; field?: string }) => !!problem?.field && problem.field.split('.')[0].split('[')[0] === (one.field ?? one.name)
  return (
    <Dialog title={title} onClose={onClose}>
      <form onSubmit={submit}>
        <div class="dialog-body">
          {problem && !fields.some(isOf) && <p class="alert" role="alert">{problem.message}</p>}
          {fields.map((one) => (
            <Field label={one.label} hint={one.hint} problem={isOf(one) ? problem!.message : undefined}>
              {(id) => one.options
                ? <select id={id} name={one.name}>{one.options.map(([value, text]) => <option value={value}>{text}</option>)}</select>
                : <input id={id} name={one.name} type={one.type ?? 'text'} required={one.required} placeholder={one.placeholder} autocomplete="off" spellcheck={false} />}
            </Field>
          ))}
        </div>
        <footer>
          <Button onClick={onClose}>Cancel</Button>
          <Button kind="primary" type="submit" disabled={busy}>{verb}</Button>
        </footer>
      </form>
    </Dialog>
  )
}

const listOf = (text: string) => (text ? { models: text.split(',').map((one) => one.trim()).filter(Boolean) } : {})
const budgetOf = (values: Values) => (values.budget ? { budget: { amount: values.budget.includes('USD') ? values.budget : `${values.budget} USD`, period: values.period } } : {})
const rateOf = (values: Values) => (values.rate ? { limits: { requests_per_minute: Number(values.rate) } } : {})

const common = [
  { name: 'models', label: 'Models', hint: 'With commas between; * stands for any bytes. Empty: all that the tenant may.' },
  { name: 'rate', label: 'Requests a minute', type: 'number', field: 'limits', hint: 'Empty: no limit of its own.' },
  { name: 'budget', label: 'Budget in USD', hint: 'Such as 12.50. Empty: none of its own.' },
  { name: 'period', label: 'of each', options: [['month', 'month'], ['week', 'week'], ['day', 'day'], ['hour', 'hour'], ['total', 'all time']] as [string, string][], field: 'period' },
]

type Doing = { what: 'key' } | { what: 'tenant' } | { what: 'rotate' | 'revoke'; key: Key } | { what: 'secret'; key: Key } | { what: 'remove'; tenant: Tenant }

export function KeysPage() {
  const tenants = useQuery<Page<Tenant>>('/tenants?limit=500', 15000)
  const keys = useQuery<Page<Key>>('/keys?limit=500', 15000)
  const [doing, setDoing] = useState<Doing>()
  const close = () => setDoing(undefined)
  const again = () => {
    keys.reload()
    tenants.reload()
  }
  const may = mayChange()
  const why = session.value?.read_only ? 'admin.read_only is set: nothing is changed here' : 'your role looks and does not change'
  return (
    <>
      {!may && <p class="hint">You can look: {why}.</p>}
      <Card title="Keys" actions={may && <Button kind="primary" icon="plus" onClick={() => setDoing({ what: 'key' })}>New key</Button>} flush>
        <Ask of={keys} empty={(data) => data.data.length === 0 && <Empty title="There is no key yet"><p>A key is what applications call with. It belongs to a tenant.</p></Empty>}>
          {(data) => (
            <Table label="Keys" head={['Key', 'Tenant', 'State', 'Begins with', 'Models', 'Limits', 'Budget', 'Expires', 'Made', '']}>
              {data.data.map((key) => (
                <tr>
                  <td><a href={to('requests', { tenant: key.tenant, key: key.name })}>{key.name}</a></td>
                  <td>{key.tenant}</td>
                  <td>{keyState(key)}</td>
                  <td>{key.prefix ? <code>{key.prefix}…</code> : '–'}</td>
                  <td>{modelWords(key.models)}</td>
                  <td>{limitWords(key.limits)}</td>
                  <td>{budgetWords(key.budget)}</td>
                  <td>{key.expires_at ? date(key.expires_at) : 'never'}</td>
                  <td class="note">{key.origin === 'file' ? 'in the file' : key.created_at && ago(key.created_at)}</td>
                  <td class="right">
                    {may && key.origin === 'api' && !key.revoked_at && (
                      <span class="buttons">
                        <Button kind="small" aria-label={`Rotate ${key.name}`} onClick={() => setDoing({ what: 'rotate', key })}>Rotate</Button>
                        <Button kind="small danger" aria-label={`Revoke ${key.name}`} onClick={() => setDoing({ what: 'revoke', key })}>Revoke</Button>
                      </span>
                    )}
                  </td>
                </tr>
              ))}
            </Table>
          )}
        </Ask>
      </Card>
      <Card title="Tenants" actions={may && <Button icon="plus" onClick={() => setDoing({ what: 'tenant' })}>New tenant</Button>} flush>
        <Ask of={tenants} empty={(data) => data.data.length === 0 && <Empty title="There is no tenant yet" />}>
          {(data) => (
            <Table label="Tenants" head={['Tenant', 'In', 'State', 'Models', 'Limits', 'Budget', 'Made', '']}>
              {data.data.map((tenant) => (
                <tr>
                  <td><a href={to('requests', { tenant: tenant.name })}>{tenant.name}</a></td>
                  <td>{tenant.parent ?? '–'}</td>
                  <td>{tenant.off ? <Badge tone="idle">off</Badge> : <Badge tone="good">on</Badge>}</td>
                  <td>{modelWords(tenant.models)}</td>
                  <td>{limitWords(tenant.limits)}</td>
                  <td>{budgetWords(tenant.budget)}</td>
                  <td class="note">{tenant.origin === 'file' ? 'in the file' : tenant.created_at && ago(tenant.created_at)}</td>
                  <td class="right">{may && tenant.origin === 'api' && <Button kind="small danger" aria-label={`Remove ${tenant.name}`} onClick={() => setDoing({ what: 'remove', tenant })}>Remove</Button>}</td>
                </tr>
              ))}
            </Table>
          )}
        </Ask>
      </Card>
      {doing?.what === 'key' && (
        <Form
          title="New key" verb="Make it" onClose={close}
          fields={[
            { name: 'tenant', label: 'Tenant', options: (tenants.data?.data ?? []).map((tenant) => [tenant.name, tenant.name]) },
            { name: 'name', label: 'Name', required: true, hint: 'What it is called in usage and logs.' },
            ...common,
            { name: 'expires_at', label: 'Expires', type: 'date', hint: 'Empty: never.' },
          ]}
          send={async (values) => {
            const key = await ask<Key>('POST', '/keys', { tenant: values.tenant, name: values.name, ...listOf(values.models), ...rateOf(values), ...budgetOf(values), ...(values.expires_at && { expires_at: values.expires_at }) })
            setDoing({ what: 'secret', key })
            again()
          }}
        />
      )}
      {doing?.what === 'tenant' && (
        <Form
          title="New tenant" verb="Make it" onClose={close}
          fields={[
            { name: 'name', label: 'Name', required: true },
            { name: 'parent', label: 'In', options: [...(session.value?.role === 'tenant' ? [] : [['', 'no other'] as [string, string]]), ...(tenants.data?.data ?? []).map((tenant) => [tenant.name, tenant.name] as [string, string])] },
            ...common,
          ]}
          send={async (values) => {
            await ask('POST', '/tenants', { name: values.name, ...(values.parent && { parent: values.parent }), ...listOf(values.models), ...rateOf(values), ...budgetOf(values) })
            close()
            again()
          }}
        />
      )}
      {doing?.what === 'rotate' && (
        <Form
          title={`Rotate ${doing.key.tenant} / ${doing.key.name}`} verb="Rotate" onClose={close}
          fields={[{ name: 'overlap', label: 'The secret of now stays good for', options: [['24h', '24 hours'], ['1h', 'an hour'], ['7d', '7 days'], ['30d', '30 days'], ['0s', 'no longer']] }]}
          send={async (values) => {
            const key = await ask<Key>('POST', `/keys/${encodeURIComponent(doing.key.id)}/rotate`, { overlap: values.overlap })
            setDoing({ what: 'secret', key })
            again()
          }}
        />
      )}
      {doing?.what === 'revoke' && (
        <Confirm title={`Revoke ${doing.key.tenant} / ${doing.key.name}?`} verb="Revoke" act={() => ask('DELETE', `/keys/${encodeURIComponent(doing.key.id)}`)} onClose={(done) => { close(); if (done) again() }}>
          <p>Calls with it are refused from now on, for ever. What it has used stays in the books.</p>
        </Confirm>
      )}
      {doing?.what === 'remove' && (
        <Confirm title={`Remove ${doing.tenant.name}?`} verb="Remove" act={() => ask('DELETE', `/tenants/${encodeURIComponent(doing.tenant.name)}`)} onClose={(done) => { close(); if (done) again() }}>
          <p>It has to be empty: without keys and without tenants in it.</p>
        </Confirm>
      )}
      {doing?.what === 'secret' && <Secret of={doing.key} onClose={close} />}
    </>
  )
}
