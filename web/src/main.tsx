// SPDX-License-Identifier: Apache-2.0
import { render } from 'preact'
import { comeBack, findSession, signIn } from './api'
import { App } from './shell'
import './style.css'
import { place } from './router'

/** A link that signs in, as `make run` prints it: the key stands behind #, which no server and no log sees. */
async function begin(): Promise<void> {
  const key = /^#key=(.+)$/.exec(location.hash)?.[1]
  if (key) {
    history.replaceState(null, '', location.pathname)
    place.value = { path: [], parameters: {} }
    try {
      await signIn(decodeURIComponent(key))
      return
    } catch {
      /* the page for signing in says more */
    }
  }
  if (location.hash === '#signed-in') comeBack()
  await findSession()
}

render(<App />, document.getElementById('app')!)
void begin()
