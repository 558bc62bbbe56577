// SPDX-License-Identifier: Apache-2.0
// Where we are stands behind the # of the address, with filters: every view is a link, and the server has one page.
import { signal } from '@preact/signals'

export interface Place { path: string[]; parameters: Record<string, string> }

function read(): Place {
  const [path, search] = location.hash.replace(/^#\/?/, '').split('?')
  const parameters: Record<string, string> = {}
  new URLSearchParams(search ?? '').forEach((value, name) => (parameters[name] = value))
  return { path: path.split('/').filter(Boolean).map(decodeURIComponent), parameters }
}

function safely(): Place {
  try {
    return read()
  } catch {
    return { path: [], parameters: {} } // a % that is none
  }
}

export const place = signal<Place>(safely())
/** The address has changed without an event. */
export const reread = () => {
  place.value = safely()
}
addEventListener('hashchange', reread)

export function to(path: string[] | string, parameters: Record<string, string | undefined> = {}): string {
  const search = new URLSearchParams()
  for (const [name, value] of Object.entries(parameters)) if (value) search.set(name, value)
  const text = (typeof path === 'string' ? [path] : path).map(encodeURIComponent).join('/')
  return `#/${text}${search.size ? '?' + search : ''}`
}

/** Change some parameters of the present place; no entry of its own in the history. */
export function change(parameters: Record<string, string | undefined>): void {
  history.replaceState(null, '', to(place.value.path, { ...place.value.parameters, ...parameters }))
  place.value = safely()
}

export const RANGES = ['15m', '1h', '6h', '24h', '7d', '30d']
export const since = () => (RANGES.includes(place.value.parameters.since) ? place.value.parameters.since : '1h')
/** What a link to another page takes along. */
export const along = () => ({ since: place.value.parameters.since })
