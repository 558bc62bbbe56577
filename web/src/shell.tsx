// SPDX-License-Identifier: Apache-2.0
// What stands around the pages: navigation, time, theme; and signing in.
import type { ComponentType } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { away, ended, findOffer, live, looks, Problem, rememberPlace, session, signIn, signOut } from './api'
import type { SignInOffer } from './types'
import { Icon, Logo } from './icons'
import { ConfigPage } from './pages/config'
import { DeploymentsPage } from './pages/deployments'
import { EventsPage } from './pages/events'
import { ExplainPage } from './pages/explain'
import { KeysPage } from './pages/keys'
import { LimitsPage } from './pages/limits'
import { ModelsPage } from './pages/models'
import { OverviewPage } from './pages/overview'
import { RequestPage, RequestsPage } from './pages/requests'
import { UsagePage } from './pages/usage'
import { along, change, place, RANGES, since, to } from './router'
import { theme, turnTheme } from './theme'
import { Button, Empty, Field } from './ui'

interface Entry { path: string; name: string; icon: string; page: ComponentType; all?: boolean; ranged?: boolean }

const entries: Entry[] = [
  { path: '', name: 'Overview', icon: 'overview', page: OverviewPage, all: true, ranged: true },
  { path: 'requests', name: 'Requests', icon: 'requests', page: RequestsPage, all: true, ranged: true },
  { path: 'models', name: 'Models & targets', icon: 'models', page: ModelsPage, all: true },
  { path: 'usage', name: 'Usage', icon: 'usage', page: UsagePage, all: true, ranged: true },
  { path: 'keys', name: 'Tenants & keys', icon: 'keys', page: KeysPage, all: true },
  { path: 'limits', name: 'Limits & budgets', icon: 'limits', page: LimitsPage, all: true },
  { path: 'deployments', name: 'Deployments', icon: 'deployments', page: DeploymentsPage },
  { path: 'explain', name: 'Explain', icon: 'explain', page: ExplainPage },
  { path: 'config', name: 'Configuration', icon: 'config', page: ConfigPage },
  { path: 'events', name: 'Events', icon: 'events', page: EventsPage },
]

function SignIn() {
  const [problem, setProblem] = useState('')
  const [busy, setBusy] = useState(false)
  const input = useRef<HTMLInputElement>(null)
  const submit = async (event: Event) => {
    event.preventDefault()
    setBusy(true)
    setProblem('')
    try {
      await signIn(input.current!.value.trim())
    } catch (error) {
      const status = error instanceof Problem ? error.status : -1
      setProblem(status === 401 ? 'This key opens nothing here. It has to be an admin key; a client’s key is none.' : (error as Error).message)
      input.current?.select()
    }
    setBusy(false)
  }
  const [offer, setOffer] = useState<SignInOffer['oidc']>(null)
  useEffect(() => {
    input.current?.focus()
    void findOffer().then(setOffer)
  }, [])
  return (
    <main class="sign-in">
      <form onSubmit={submit}>
        <h1><Logo /> sluice</h1>
        {ended.value && <p class="alert" role="status">{ended.value}</p>}
        {offer && (
          <>
            <a class="button primary" href={`./${offer.begin}`} title={offer.issuer} onClick={rememberPlace}>Sign in with {offer.name}</a>
            <p class="or note">or with a key</p>
          </>
        )}
        <Field label="Admin key" problem={problem} hint="Printed once at the first start, or $SLUICE_ADMIN_KEY, or one of admin.keys.">
          {(id) => <input id={id} ref={input} type="password" autocomplete="current-password" spellcheck={false} required aria-invalid={problem ? 'true' : undefined} />}
        </Field>
        <Button kind={offer ? '' : 'primary'} type="submit" disabled={busy}>Sign in</Button>
      </form>
    </main>
  )
}

function Navigation({ at, onGo }: { at: string; onGo: () => void }) {
  const who = session.value!
  return (
    <>
      <a class="brand" href={to('', along())} onClick={onGo}><Logo /> sluice</a>
      <ul>
        {entries.filter((entry) => entry.all || looks()).map((entry) => (
          <li>
            <a href={to(entry.path, along())} aria-current={entry.path === at ? 'page' : undefined} onClick={onGo}>
              <Icon name={entry.icon} />
              {entry.name}
            </a>
          </li>
        ))}
      </ul>
      <div class="who">
        <span>
          <b>{who.name}</b>
          <span>{who.role}{who.tenant ? ` of ${who.tenant}` : ''}{who.read_only ? ', read only' : ''}</span>
        </span>
        <Button kind="quiet" icon="out" aria-label="Sign out" title="Sign out" onClick={() => void signOut()} />
      </div>
      <p class="version">sluice {who.version} · <a href="./licenses.md">licenses</a></p>
    </>
  )
}

function Frame() {
  const [isOpen, setOpen] = useState(false)
  const at = place.value.path[0] ?? ''
  const entry = entries.find((one) => one.path === at)
  const Page = at === 'requests' && place.value.path.length > 1 ? RequestPage : entry?.page
  const title = entry?.name ?? 'Not found'
  const heading = useRef<HTMLHeadingElement>(null)
  const isFirst = useRef(true)
  useEffect(() => {
    document.title = `${title} · sluice`
    if (!isFirst.current) heading.current?.focus({ preventScroll: true })
    isFirst.current = false
    scrollTo(0, 0)
  }, [place.value.path.join('/')])
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => { event.preventDefault(); heading.current?.focus() }}>Skip to the page</a>
      <nav class={isOpen ? 'open' : ''} aria-label="Pages"><Navigation at={at} onGo={() => setOpen(false)} /></nav>
      <div class="page">
        <header class="top">
          <Button kind="quiet menu" icon="menu" aria-label="Pages" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)} />
          <h1 ref={heading} tabIndex={-1}>{title}</h1>
          <span class="top-actions">
            {entry?.ranged && (
              <span class="tabs" role="group" aria-label="Time">
                {RANGES.map((range) => <button type="button" aria-pressed={range === since()} onClick={() => change({ since: range })}>{range}</button>)}
              </span>
            )}
            <button type="button" class="button quiet live" aria-pressed={live.value} title={live.value ? 'Figures come by themselves' : 'Figures stand still'} onClick={() => (live.value = !live.value)}>
              <i class={away.value ? 'bad' : ''} />
              Live
            </button>
            <Button kind="quiet" icon={theme.value === 'system' ? 'system' : theme.value === 'light' ? 'sun' : 'moon'} title={`Theme: ${theme.value}`} aria-label={`Theme: ${theme.value}`} onClick={turnTheme} />
          </span>
        </header>
        {away.value && <p class="away" role="status"><Icon name="warn" /> The server went away. Trying again …</p>}
        <main id="main">{Page ? <Page /> : <Empty title="There is no such page"><a href={to('')}>Overview</a></Empty>}</main>
      </div>
    </>
  )
}

export function App() {
  if (session.value === undefined) return <p class="away" role="status">{away.value ? 'The server went away. Trying again …' : 'Loading …'}</p>
  return session.value ? <Frame /> : <SignIn />
}
