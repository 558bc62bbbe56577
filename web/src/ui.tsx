// SPDX-License-Identifier: Apache-2.0
// What pages are made of.
import type { ComponentChildren, JSX } from 'preact'
import { useEffect, useId, useRef, useState } from 'preact/hooks'
import { Problem, type Query } from './api'
import { Icon } from './icons'

type Children = { children?: ComponentChildren }

export function Card({ title, note, actions, children, flush, across }: Children & { title?: ComponentChildren; note?: ComponentChildren; actions?: ComponentChildren; flush?: boolean; across?: boolean }) {
  return (
    <section class={`card${flush ? ' flush' : ''}${across ? ' across' : ''}`}>
      {title && (
        <header>
          <h2>{title}</h2>
          {note && <span class="note">{note}</span>}
          {actions && <span class="actions">{actions}</span>}
        </header>
      )}
      {children}
    </section>
  )
}

export type Tone = 'good' | 'bad' | 'warn' | 'idle' | 'info'
const marks: Record<Tone, string> = { good: '●', bad: '▲', warn: '◆', idle: '○', info: '■' }

/** Never by colour alone: each tone has its shape, too. */
export function Badge({ tone, children }: Children & { tone: Tone }) {
  return (
    <span class={`badge ${tone}`}>
      <i aria-hidden="true">{marks[tone]}</i>
      <span>{children}</span>
    </span>
  )
}

export function Empty({ title, children }: Children & { title: string }) {
  return (
    <div class="state">
      <p class="state-title">{title}</p>
      {children && <div class="state-text">{children}</div>}
    </div>
  )
}

function Loading() {
  return (
    <div class="state" role="status">
      <span class="skeleton" />
      <span class="skeleton" />
      <span class="skeleton" />
      <span class="hidden">Loading</span>
    </div>
  )
}

export function Trouble({ problem, again }: { problem: Problem; again?: () => void }) {
  if (problem.status === 403)
    return (
      <Empty title="You may not see this">
        <p>{problem.message}.</p>
      </Empty>
    )
  if (problem.status === 404)
    return (
      <Empty title="Nothing here">
        <p>{problem.message}.</p>
      </Empty>
    )
  return (
    <div class="state" role="alert">
      <p class="state-title">{problem.status === 0 ? 'The server went away' : 'That did not work'}</p>
      <div class="state-text">
        <p>{problem.status === 0 ? 'Trying again …' : problem.message}</p>
        {again && <Button onClick={again}>Try again</Button>}
      </div>
    </div>
  )
}

/** The states that every answer has; the children get it once it is there. */
export function Ask<T>({ of, children, empty }: { of: Query<T>; children: (data: T) => ComponentChildren; empty?: (data: T) => ComponentChildren }) {
  if (of.data !== undefined) return <>{empty?.(of.data) || children(of.data)}</>
  if (of.problem) return <Trouble problem={of.problem} again={of.reload} />
  return <Loading />
}

export function Button({ kind = '', icon, children, ...rest }: JSX.HTMLAttributes<HTMLButtonElement> & Children & { kind?: string; icon?: string; disabled?: boolean; type?: 'submit' | 'button'; title?: string }) {
  return (
    <button type="button" {...(rest as object)} class={`button ${kind}`}>
      {icon && <Icon name={icon} />}
      {children}
    </button>
  )
}

/** A table that scrolls by itself where it is wider than the page. */
export function Table({ label, head, children }: Children & { label: string; head: (string | [string, 'right'])[] }) {
  return (
    <div class="scroll" role="region" aria-label={label} tabIndex={0}>
      <table>
        <thead>
          <tr>
            {head.map((one) =>
              Array.isArray(one) ? (
                <th scope="col" class="right">{one[0]}</th>
              ) : one === '' ? (
                <td />
              ) : (
                <th scope="col">{one}</th>
              ),
            )}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </div>
  )
}

/** How much of an amount is used, and held by calls that run. */
export function Bar({ used, held = 0, amount, label }: { used: number; held?: number; amount: number; label: string }) {
  const share = (n: number) => (amount > 0 ? Math.min(1, n / amount) : n > 0 ? 1 : 0)
  const all = share(used + held)
  const tone = all >= 0.95 ? 'bad' : all >= 0.8 ? 'warn' : 'good'
  return (
    <svg class={`bar ${tone}`} viewBox="0 0 100 4" preserveAspectRatio="none" role="img" aria-label={label}>
      <rect class="bar-all" width="100" height="4" />
      <rect class="bar-held" width={100 * all} height="4" />
      <rect class="bar-used" width={100 * share(used)} height="4" />
    </svg>
  )
}

export function Field({ label, hint, problem, children }: { label: string; hint?: string; problem?: string; children: (id: string) => ComponentChildren }) {
  const id = useId()
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {children(id)}
      {problem ? <p class="field-problem" role="alert">{problem}</p> : hint && <p class="field-hint">{hint}</p>}
    </div>
  )
}

export function Dialog({ title, onClose, children, wide }: Children & { title: string; onClose: () => void; wide?: boolean }) {
  const dialog = useRef<HTMLDialogElement>(null)
  const id = useId()
  useEffect(() => {
    const before = document.activeElement as HTMLElement | null
    const one = dialog.current
    one?.showModal()
    return () => {
      one?.close() // nothing behind it takes the focus while it is open
      before?.focus?.()
    }
  }, [])
  return (
    <dialog
      ref={dialog}
      class={wide ? 'wide' : ''}
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault()
        onClose()
      }}
    >
      <header>
        <h2 id={id}>{title}</h2>
        <Button kind="quiet" icon="close" aria-label="Close" onClick={onClose} />
      </header>
      {children}
    </dialog>
  )
}

/** Ask before something that cannot be taken back; shows why it did not work. */
export function Confirm({ title, verb, act, onClose, children }: Children & { title: string; verb: string; act: () => Promise<unknown>; onClose: (done: boolean) => void }) {
  const [busy, setBusy] = useState(false)
  const [problem, setProblem] = useState('')
  const go = async () => {
    setBusy(true)
    try {
      await act()
      onClose(true)
    } catch (error) {
      setProblem((error as Error).message)
      setBusy(false)
    }
  }
  return (
    <Dialog title={title} onClose={() => onClose(false)}>
      <div class="dialog-body">{children}</div>
      {problem && <p class="alert" role="alert">{problem}</p>}
      <footer>
        <Button onClick={() => onClose(false)}>Cancel</Button>
        <Button kind="danger" disabled={busy} onClick={go}>{verb}</Button>
      </footer>
    </Dialog>
  )
}

export function Copy({ text, label = 'Copy' }: { text: string; label?: string }) {
  const [done, setDone] = useState(false)
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text)
    } catch {
      // Over plain HTTP from elsewhere there is no clipboard.
      const area = document.createElement('textarea')
      area.value = text
      document.querySelector('dialog[open]')?.append(area) ?? document.body.append(area)
      area.select()
      document.execCommand('copy')
      area.remove()
    }
    setDone(true)
    setTimeout(() => setDone(false), 1500)
  }
  return (
    <Button icon={done ? 'good' : 'copy'} onClick={copy}>
      <span aria-live="polite">{done ? 'Copied' : label}</span>
    </Button>
  )
}

export function Facts({ rows }: { rows: [string, ComponentChildren][] }) {
  return (
    <dl class="facts">
      {rows.map(([name, value]) => (
        <div>
          <dt>{name}</dt>
          <dd>{value === '' || value === null || value === undefined ? '–' : value}</dd>
        </div>
      ))}
    </dl>
  )
}

export function Select({ label, value, options, onChange }: { label: string; value: string; options: (string | [string, string])[]; onChange: (value: string) => void }) {
  return (
    <select aria-label={label} value={value} onChange={(event) => onChange(event.currentTarget.value)}>
      {options.map((one) => (Array.isArray(one) ? <option value={one[0]}>{one[1]}</option> : <option value={one}>{one}</option>))}
    </select>
  )
}

export function Tabs({ label, value, options, onChange }: { label: string; value: string; options: [string, string][]; onChange: (value: string) => void }) {
  return (
    <div class="tabs" role="group" aria-label={label}>
      {options.map(([name, words]) => (
        <button type="button" aria-pressed={name === value} onClick={() => onChange(name)}>{words}</button>
      ))}
    </div>
  )
}

export function save(name: string, type: string, text: string): void {
  const url = URL.createObjectURL(new Blob([text], { type }))
  const link = document.createElement('a')
  link.href = url
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(url), 10000)
}
