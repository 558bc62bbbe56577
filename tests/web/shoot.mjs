// SPDX-License-Identifier: Apache-2.0
// A picture of a page:  KEY=… node shoot.mjs URL FILE.png [#/place] [WIDTHxHEIGHT] [light|dark]
import { launch, signIn } from './browser.mjs'

const [url, file, place = '#/', size = '1440x900', theme = 'light'] = process.argv.slice(2)
const [width, height] = size.split('x').map(Number)
const browser = await launch()
try {
  const page = await browser.newPage({ viewport: { width, height }, colorScheme: theme, reducedMotion: 'reduce', deviceScaleFactor: Number(process.env.SCALE ?? 1) })
  page.on('console', (message) => message.type() === 'error' && console.error('console:', message.text()))
  page.on('pageerror', (error) => console.error('page:', error.message))
  await page.goto(url)
  await signIn(page, process.env.KEY)
  await page.goto(url + place)
  await page.waitForFunction(() => !document.querySelector('main .skeleton'))
  await page.evaluate(() => document.fonts.ready)
  if (process.env.THEN) await page.evaluate(process.env.THEN)
  await page.waitForTimeout(400) // charts that are drawn in the next frames
  await page.screenshot({ path: file, fullPage: !!process.env.WHOLE })
} finally {
  await browser.close()
}
