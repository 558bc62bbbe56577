// SPDX-License-Identifier: Apache-2.0
// Figures as people read them. Money comes in nano-dollars, times in microseconds.

const whole = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 })

export const int = (n: number) => whole.format(n)

/** 950, 1.25k, 48.1k, 3.2M */
export function short(n: number): string {
  const steps: [number, string][] = [[1e9, 'G'], [1e6, 'M'], [1e3, 'k']]
  for (const [size, unit] of steps)
    if (Math.abs(n) >= size) {
      const value = n / size
      return value.toFixed(value >= 100 ? 0 : value >= 10 ? 1 : 2) + unit
    }
  return Number.isInteger(n) ? String(n) : n.toFixed(n < 10 ? 1 : 0)
}

/** Exact enough for one call, short enough for a month. */
export function usd(nanos: number): string {
  const dollars = nanos / 1e9
  const size = Math.abs(dollars)
  if (size === 0) return '$0'
  if (size >= 1000) return '$' + whole.format(dollars)
  if (size >= 1) return '$' + dollars.toFixed(2)
  if (size >= 0.01) return '$' + dollars.toFixed(4)
  return '$' + dollars.toFixed(size >= 0.0001 ? 6 : 9)
}

/** For axes and tiles: at most three digits that count. */
export function usdShort(nanos: number): string {
  const dollars = nanos / 1e9
  if (dollars === 0) return '$0'
  if (dollars >= 1000) return '$' + short(dollars)
  if (dollars >= 1) return '$' + dollars.toFixed(2)
  return '$' + Number(dollars.toPrecision(2))
}

export function duration(us: number): string {
  if (us === 0) return '0 ms'
  if (us < 1000) return `${us.toFixed(0)} µs`
  const ms = us / 1000
  if (ms < 10) return `${ms.toFixed(1)} ms`
  if (ms < 1000) return `${ms.toFixed(0)} ms`
  if (ms < 60000) return `${(ms / 1000).toFixed(ms < 10000 ? 2 : 1)} s`
  return span(ms / 1000)
}

/** Seconds as "3d 4h", "12m 5s". */
export function span(seconds: number): string {
  const s = Math.max(0, Math.round(seconds))
  const parts: [number, string][] = [[Math.floor(s / 86400), 'd'], [Math.floor(s / 3600) % 24, 'h'], [Math.floor(s / 60) % 60, 'm'], [s % 60, 's']]
  const first = parts.findIndex(([n]) => n > 0)
  if (first < 0) return '0s'
  return parts.slice(first, first + 2).filter(([n]) => n > 0).map(([n, unit]) => n + unit).join(' ')
}

export const percent = (share: number) => (share === 0 ? '0%' : share < 0.1 ? (share * 100).toFixed(share < 0.001 ? 2 : 1) + '%' : Math.round(share * 100) + '%')

export function bytes(n: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let i = 0
  while (n >= 1024 && i < units.length - 1) {
    n /= 1024
    i++
  }
  return `${n.toFixed(i === 0 || n >= 100 ? 0 : 1)} ${units[i]}`
}

const pad = (n: number) => String(n).padStart(2, '0')
const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']

export const clock = (at: Date) => `${pad(at.getHours())}:${pad(at.getMinutes())}`
export const day = (at: Date) => `${at.getDate()} ${months[at.getMonth()]}`

/** "15:04:05" today, "27 Nov 15:04:05" else; in the browser's zone. */
export function moment(iso: string): string {
  const at = new Date(iso)
  const time = `${clock(at)}:${pad(at.getSeconds())}`
  return at.toDateString() === new Date().toDateString() ? time : `${day(at)} ${time}`
}

export const date = (iso: string) => {
  const at = new Date(iso)
  return `${day(at)} ${at.getFullYear()}`
}

export const ago = (iso: string) => `${span((Date.now() - Date.parse(iso)) / 1000)} ago`

/** Price of a million tokens. */
const dollars = new Intl.NumberFormat('en-US', { minimumFractionDigits: 2, maximumFractionDigits: 4 })
export const perMillion = (nanos: number) => '$' + dollars.format(nanos / 1e9)
/** Of single calls, one below the other. */
export const usdCall = (nanos: number) => '$' + (nanos / 1e9).toFixed(6)

export const words = (name: string) => name.replaceAll('_', ' ')

