// SPDX-License-Identifier: Apache-2.0
import { signal } from '@preact/signals'

export type Theme = 'system' | 'light' | 'dark'
const KEY = 'sluice-theme'

function kept(): Theme {
  try {
    const value = localStorage.getItem(KEY)
    return value === 'light' || value === 'dark' ? value : 'system'
  } catch {
    return 'system'
  }
}

export const theme = signal<Theme>(kept())
/** Counts changes of the colours: pictures are drawn anew. */
export const colours = signal(0)

function show(): void {
  document.documentElement.dataset.theme = theme.value
  colours.value++
}
show()
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', show)

export function turnTheme(): void {
  const order: Theme[] = ['system', 'light', 'dark']
  theme.value = order[(order.indexOf(theme.value) + 1) % 3]
  try {
    localStorage.setItem(KEY, theme.value)
  } catch {
    /* it is forgotten with the page */
  }
  show()
}

/** A custom property as a colour that a canvas takes. */
export function colour(name: string): string {
  const probe = document.createElement('i')
  probe.style.color = `var(--${name})`
  document.body.append(probe)
  const value = getComputedStyle(probe).color
  probe.remove()
  return value
}
