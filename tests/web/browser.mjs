// SPDX-License-Identifier: Apache-2.0
// Debian's chromium, as tests and pictures use it.
import { chromium } from 'playwright-core'

export const launch = () =>
  chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage', '--no-proxy-server', '--font-render-hinting=none'],
  })

/** Sign in on a page that is at the dashboard. */
export async function signIn(page, key) {
  await page.getByLabel('Admin key').fill(key)
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.locator('.page h1').waitFor()
}
