// SPDX-License-Identifier: Apache-2.0
// The admin API (gateway/openapi.json), asked with the session's cookie. Relative paths: it works behind a prefix.
import { signal } from '@preact/signals'
import { useCallback, useEffect, useRef, useState } from 'preact/hooks'
import { reread } from './router'
import type { SignInOffer } from './types'

export interface Session {
  name: string
  role: 'admin' | 'viewer' | 'tenant'
  tenant: string | null
  read_only: boolean
  version: string
  until: number | null
}

/** undefined: not known yet; null: nobody has signed in. */
export const session = signal<Session | null | undefined>(undefined)
/** The server cannot be reached; what is shown may be old. */
export const away = signal(false)
/** Pages ask again by themselves. */
export const live = signal(true)
/** Why there is the page for signing in again. */
export const ended = signal('')

export const mayChange = () => !!session.value && session.value.role !== 'viewer' && !session.value.read_only
export const mayRule = () => !!session.value && session.value.role === 'admin'
export const looks = () => !!session.value && session.value.role !== 'tenant'

export class Problem extends Error {
  constructor(readonly status: number, detail: string, readonly field = '', readonly body: Record<string, unknown> = {}) {
    super(detail)
  }
}

const ROOT = '../admin/v1'

async function send(path: string, options: RequestInit): Promise<Response> {
  const headers = { 'x-sluice-dashboard': '1', ...(options.headers as Record<string, string>) }
  let answer: Response
  try {
    answer = await fetch(ROOT + path, { cache: 'no-store', credentials: 'same-origin', redirect: 'error', ...options, headers })
  } catch (error) {
    if ((error as Error).name === 'AbortError') throw error
    away.value = true
    throw new Problem(0, 'The server cannot be reached.')
  }
  away.value = false
  if (answer.ok) return answer
  const body = await answer.json().catch(() => ({}))
  throw new Problem(answer.status, body.detail ?? `The server answered ${answer.status}.`, body.field ?? '', body)
}

export async function ask<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  const options: RequestInit = { method, signal }
  if (body !== undefined) {
    options.body = JSON.stringify(body)
    options.headers = { 'content-type': 'application/json' }
  }
  try {
    const answer = await send(path, options)
    if (answer.status === 204) return undefined as T
    const type = answer.headers.get('content-type') ?? ''
    return (type.includes('json') ? await answer.json() : await answer.text()) as T
  } catch (error) {
    if (error instanceof Problem && error.status === 401 && session.value) {
      remember(false)
      ended.value = 'Your session has ended.'
      session.value = null
    }
    throw error
  }
}

const HINT = 'sluice-signed-in'
/** Whether a cookie may be there, which scripts cannot see: nobody is asked in vain. */
function remember(is: boolean): void {
  try {
    if (is) localStorage.setItem(HINT, '1')
    else localStorage.removeItem(HINT)
  } catch {
    /* then it is asked each time */
  }
}

function maybeSignedIn(): boolean {
  try {
    return localStorage.getItem(HINT) !== null
  } catch {
    return true
  }
}

export async function signIn(key: string): Promise<void> {
  const answer = await send('/session', { method: 'POST', headers: { authorization: `Bearer ${key}` } })
  ended.value = ''
  session.value = (await answer.json()) as Session
  remember(true)
}

export async function signOut(): Promise<void> {
  await send('/session', { method: 'DELETE' }).catch(() => undefined)
  remember(false)
  session.value = null
}

/** How else than with a key; null: no other way. Everybody may ask. */
export async function findOffer(): Promise<SignInOffer['oidc']> {
  try {
    const answer = await fetch('./sign-in.json', { cache: 'no-store', credentials: 'omit', redirect: 'error' })
    return answer.ok ? ((await answer.json()) as SignInOffer).oidc : null
  } catch {
    return null
  }
}

const BACK = 'sluice-back'
/** Where we were, for when the issuer sends the browser back. */
export function rememberPlace(): void {
  try {
    if (location.hash) sessionStorage.setItem(BACK, location.hash)
  } catch {
    /* then it begins at the overview */
  }
}

/** The issuer has sent us back, signed in. */
export function comeBack(): void {
  let hash = ''
  try {
    hash = sessionStorage.getItem(BACK) ?? ''
    sessionStorage.removeItem(BACK)
  } catch {
    /* as above */
  }
  remember(true)
  history.replaceState(null, '', location.pathname + (hash.startsWith('#/') ? hash : ''))
  reread()
}

/** Who are we? Asked until there is an answer. */
export async function findSession(): Promise<void> {
  if (!maybeSignedIn()) {
    session.value = null
    return
  }
  try {
    session.value = (await (await send('/session', {})).json()) as Session
  } catch (error) {
    const status = error instanceof Problem ? error.status : 0
    if (status === 401) {
      remember(false)
      session.value = null
    } else setTimeout(findSession, 1500)
  }
}

export interface Query<T> {
  data: T | undefined
  problem: Problem | undefined
  /** Nothing is there yet, or it is of other parameters. */
  loading: boolean
  reload: () => void
}

const AGAIN_MS = 2000

/** Ask for `path` now, and again after each `every` ms while the page is live and seen; null: do not ask. */
export function useQuery<T>(path: string | null, every = 0): Query<T> {
  const [state, setState] = useState<{ path: string | null; data?: T; problem?: Problem }>({ path: null })
  const [turn, setTurn] = useState(0)
  const timer = useRef<ReturnType<typeof setTimeout>>()
  const isLive = live.value
  const reload = useCallback(() => setTurn((n) => n + 1), [])
  useEffect(() => {
    if (path === null) return
    const control = new AbortController()
    const later = (ms: number) => {
      timer.current = setTimeout(function again() {
        if (document.hidden) timer.current = setTimeout(again, 500)
        else void run()
      }, ms)
    }
    const run = async () => {
      try {
        const data = await ask<T>('GET', path, undefined, control.signal)
        setState({ path, data })
        if (every && isLive) later(every)
      } catch (error) {
        if (control.signal.aborted) return
        const problem = error instanceof Problem ? error : new Problem(-1, String(error))
        // What was there stays while the server is away.
        setState((old) => ({ path, data: old.path === path ? old.data : undefined, problem }))
        if (problem.status === 0 || problem.status >= 500) later(AGAIN_MS)
      }
    }
    void run()
    return () => {
      control.abort()
      clearTimeout(timer.current)
    }
  }, [path, every, isLive, turn])
  const mine = state.path === path
  return { data: mine ? state.data : undefined, problem: mine ? state.problem : undefined, loading: !mine && path !== null, reload }
}

export const query = (parameters: Record<string, string | number | undefined | null>) => {
  const pairs = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null && value !== '')
  return pairs.length ? '?' + pairs.map(([name, value]) => `${name}=${encodeURIComponent(String(value))}`).join('&') : ''
}
