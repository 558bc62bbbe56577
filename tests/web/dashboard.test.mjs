// SPDX-License-Identifier: Apache-2.0
// The dashboard in Chromium, against the real program. A console error or a violation of the policy fails its case.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { after, before, test } from 'node:test'
import { launch, signIn } from './browser.mjs'

const { URL: HOME, OIDC_URL, API, READ_ONLY_URL, CONTROL, ADMIN, VIEWER, LEAD, CLIENT, CALLS } = process.env
const PATIENCE = Number(process.env.PATIENCE ?? 30000) // what takes a moment when the machine is idle may take long beside other suites
const ELSEWHERE = /Failed to load resource: (net::ERR_|the server responded with a status of 4\d\d)/ // pages of the issuer's ask for fonts from afar
const REFUSED = /Failed to load resource: the server responded with a status of 4\d\d/
const PAGES = ['', 'requests', 'models', 'usage', 'keys', 'limits', 'deployments', 'explain', 'config', 'events']

let browser
before(async () => {
  browser = await launch()
})
after(() => browser?.close())

/** A browser of its own, signed in; at its end nothing may have been complained of, but what `allowed` says. */
async function visit({ key = ADMIN, url = HOME, place, allowed, ...options }, look) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, reducedMotion: 'reduce', acceptDownloads: true, ...options })
  context.setDefaultTimeout(PATIENCE)
  const page = await context.newPage()
  const bad = []
  page.on('console', (message) => ['error', 'warning'].includes(message.type()) && !allowed?.test(message.text()) && bad.push(message.text()))
  page.on('pageerror', (error) => bad.push(String(error.stack)))
  try {
    if (key) {
      // As the page for it does, but without showing it first; one case of its own goes that way.
      const answer = await context.request.post(url.replace('/ui/', '/admin/v1/session'), { headers: { authorization: `Bearer ${key}` } })
      assert.equal(answer.status(), 200)
      await context.addInitScript(() => localStorage.setItem('sluice-signed-in', '1'))
    }
    await page.goto(url + (place === undefined ? '' : `#/${place}`))
    if (key) await settled(page)
    await look(page, context)
    assert.deepEqual(bad, [])
  } finally {
    await context.close()
  }
}

async function ask(path, key = ADMIN, method = 'GET', body) {
  const answer = await fetch(HOME.replace('/ui/', '/admin/v1') + path, {
    method, headers: { authorization: `Bearer ${key}`, ...(body && { 'content-type': 'application/json' }) }, body: body && JSON.stringify(body),
  })
  assert.ok(answer.ok, `${method} ${path}: ${answer.status}`)
  return answer.headers.get('content-type').includes('json') ? answer.json() : answer.text()
}

const go = async (page, place) => {
  await page.evaluate((hash) => (location.hash = hash), `#/${place}`)
  await settled(page)
}
const settled = async (page) => {
  await page.waitForFunction(() => document.querySelector('main') && !document.querySelector('main .skeleton'), null, { timeout: PATIENCE })
}
const rows = (page, label) => page.getByRole('region', { name: label }).locator('tbody tr')
const text = (page) => page.locator('main').innerText()
const until = async (what, look) => {
  const end = Date.now() + PATIENCE
  for (;;) {
    const value = await look()
    if (value) return value
    if (Date.now() > end) assert.fail(`not in time: ${what}`)
    await new Promise((done) => setTimeout(done, 50))
  }
}
const call = (key) =>
  fetch(API + '/v1/models', { headers: { authorization: `Bearer ${key}` } }).then((answer) => answer.status)

test('a wrong key is refused and a right one signs in', async () => {
  await visit({ key: '', allowed: REFUSED }, async (page, context) => {
    for (const key of ['sk-wrong-5ecre7', CLIENT]) {
      await page.getByLabel('Admin key').fill(key)
      await page.getByRole('button', { name: 'Sign in' }).click()
      await page.getByText('This key opens nothing here').waitFor()
      await page.getByLabel('Admin key').fill('')
    }
    await signIn(page, ADMIN)
    await page.reload()
    await page.getByRole('heading', { name: 'Overview' }).waitFor()
    const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, location.href]))
    assert.ok(!kept.includes('5ecre7') && !kept.includes('sluice_session'), kept)
    const [cookie] = await context.cookies()
    assert.ok(cookie.httpOnly && cookie.sameSite === 'Strict')
    await page.getByRole('button', { name: 'Sign out' }).click()
    await page.getByLabel('Admin key').waitFor()
    assert.equal((await context.cookies()).length, 0)
    await page.reload()
    await page.getByLabel('Admin key').waitFor()
  })
})

test('a link with the key signs in and forgets it', async () => {
  await visit({ key: '', url: `${HOME}#key=${ADMIN}` }, async (page) => {
    await page.getByRole('heading', { name: 'Overview' }).waitFor()
    assert.equal(page.url(), HOME)
    assert.ok(!(await page.content()).includes(ADMIN))
  })
})

test('an openid provider signs in and leads back to where one was', async () => {
  await visit({ key: '', url: OIDC_URL, place: 'usage?since=6h', allowed: ELSEWHERE }, async (page, context) => {
    const offer = page.getByRole('link', { name: 'Sign in with 127.0.0.1' })
    await offer.click()
    await page.getByPlaceholder('Enter any login').fill('ada')
    await page.getByPlaceholder('and password').fill('any')
    await page.getByRole('button', { name: 'Sign-in' }).click()
    await page.getByRole('button', { name: 'Continue' }).click()
    await page.getByRole('heading', { name: 'Usage' }).waitFor()
    assert.equal(page.url(), `${OIDC_URL}#/usage?since=6h`)
    await page.getByText('oidc:ada@example.com').waitFor()
    const cookies = (await context.cookies(OIDC_URL)).filter((cookie) => cookie.name.startsWith('sluice'))
    assert.deepEqual(cookies.map((cookie) => [cookie.name, cookie.httpOnly, cookie.sameSite]), [['sluice_session', true, 'Strict']])
    await page.reload()
    await page.getByText('oidc:ada@example.com').waitFor()
    await page.getByRole('button', { name: 'Sign out' }).click()
    await offer.waitFor()
    assert.equal((await context.cookies(OIDC_URL)).filter((cookie) => cookie.name.startsWith('sluice')).length, 0)
  })
})

test('who has no role is told so on a page of its own', async () => {
  await visit({ key: '', url: OIDC_URL, allowed: ELSEWHERE }, async (page) => {
    await page.getByRole('link', { name: 'Sign in with 127.0.0.1' }).click()
    await page.getByPlaceholder('Enter any login').fill('nobody')
    await page.getByPlaceholder('and password').fill('any')
    await page.getByRole('button', { name: 'Sign-in' }).click()
    await page.getByRole('button', { name: 'Continue' }).click()
    await page.getByRole('heading', { name: 'You are known, and have no access here' }).waitFor()
    await page.getByText('gives a role: developer').waitFor()
    assert.notEqual(await page.locator('.sign-in section').evaluate((one) => getComputedStyle(one).borderRadius), '0px') // its style has come
    await page.getByRole('link', { name: 'To the dashboard' }).click()
    await page.getByLabel('Admin key').waitFor()
  })
})

test('a session that ends asks for the key again', async () => {
  await visit({ allowed: REFUSED }, async (page, context) => {
    await context.clearCookies()
    await page.getByText('Your session has ended').waitFor()
    await signIn(page, ADMIN)
    await page.getByRole('heading', { name: 'Overview' }).waitFor()
  })
})

test('the overview shows what was used', async () => {
  await visit({}, async (page) => {
    await settled(page)
    const usage = await ask('/usage?by=status&since=1h')
    const sum = (name, of = usage) => of.reduce((all, row) => all + row[name], 0)
    assert.equal(sum('requests'), Number(CALLS))
    const tile = (name) => page.locator('.tile', { hasText: name }).locator('.tile-value').innerText()
    assert.equal(await tile('Requests'), String(CALLS))
    assert.match(await tile('Cost'), /^\$0\.\d+$/)
    assert.match(await tile('First token'), /ms|s$/)
    const bad = usage.filter((row) => Number(row.status) >= 400)
    await page.getByText(`${sum('requests', bad)} of ${CALLS} calls`).waitFor()
    const { targets } = await ask('/targets')
    for (const target of targets.slice(0, 8)) assert.ok((await text(page)).includes(target.id), target.id)
    await page.getByText('acme a day').waitFor()
    await page.getByRole('button', { name: 'Requests by status as a table' }).click()
    assert.ok((await rows(page, 'Requests by status').count()) > 10)
  })
})

test('the chart is used with the keyboard', async () => {
  await visit({ place: 'usage?metric=requests' }, async (page) => {
    const plot = page.getByRole('img', { name: /arrow keys/ })
    await plot.focus()
    await page.keyboard.press('ArrowLeft')
    await page.locator('.legend-time').filter({ hasText: /\d\d:\d\d/ }).waitFor()
    const at = await page.locator('.legend-time').innerText()
    await page.keyboard.press('ArrowLeft')
    await until('the cursor moves', async () => (await page.locator('.legend-time').innerText()) !== at)
  })
})

test('requests are listed and filtered and paged', async () => {
  await visit({ place: 'requests' }, async (page) => {
    await until('all calls', async () => (await rows(page, 'Requests').count()) === Number(CALLS))
    const { data } = await ask('/requests?since=1h&limit=500')
    for (const name of ['fast', 'smart', 'shaky', 'qwen']) {
      await page.getByLabel('model', { exact: true }).fill(name)
      await page.keyboard.press('Enter')
      await until(name, async () => (await rows(page, 'Requests').count()) === data.filter((one) => one.model === name).length)
      assert.ok(page.url().includes(`model=${name}`))
    }
    await page.getByRole('button', { name: 'Clear' }).click()
    await page.getByLabel('status').selectOption('400-599')
    await until('errors', async () => (await rows(page, 'Requests').count()) === data.filter((one) => one.status >= 400).length)
    await page.getByLabel('status').selectOption('429')
    await page.getByText('No call in this time').waitFor()
  })
})

test('pages of requests follow each other', async () => {
  await visit({}, async (page) => {
    await page.route('**/admin/v1/requests?**', (route) => route.continue({ url: route.request().url().replace('limit=50', 'limit=5') }))
    await go(page, 'requests')
    await until('five', async () => (await rows(page, 'Requests').count()) === 5)
    const first = await rows(page, 'Requests').first().locator('a').getAttribute('title')
    await page.getByRole('button', { name: 'Older' }).click()
    await until('five others', async () => (await rows(page, 'Requests').count()) === 5 && (await rows(page, 'Requests').first().locator('a').getAttribute('title')) !== first)
    await page.getByRole('button', { name: 'Newer' }).click()
    await until('the first again', async () => (await rows(page, 'Requests').first().locator('a').getAttribute('title')) === first)
  })
})

test('a request shows its figures and where it would go', async () => {
  await visit({}, async (page) => {
    const [call] = (await ask('/requests?since=1h&model=smart&limit=1')).data
    await go(page, `requests/${call.id}`)
    const chosen = (title) => page.locator('section, .card', { has: page.getByRole('heading', { name: title }) }).getByText('chosen', { exact: true })
    for (const title of ['How it was chosen', 'Where it would go now']) await chosen(title).first().waitFor()
    const all = await text(page)
    for (const part of [call.id, call.target, call.tenant, call.finish, String(call.output_tokens), call.upstream_model]) assert.ok(all.includes(part), part)
    assert.ok(all.includes('$' + (call.cost_nanos / 1e9).toFixed(6)) || all.includes('$' + (call.cost_nanos / 1e9).toFixed(4)))
  })
})

test('what was said in a request is shown as text', async () => {
  await visit({}, async (page) => {
    const [call] = (await ask('/requests?since=1h&model=smart&limit=1')).data
    assert.equal((await ask(`/requests/${call.id}`)).content, null)
    const hostile = '<img src=x onerror="document.title=1"><script>document.title=2</script>'
    const content = {
      input: [{ role: 'user', parts: [{ type: 'text', content: hostile }, { type: 'blob', modality: 'image', bytes: 3 }] }], system: [{ type: 'text', content: 'Be brief.' }],
      tools: [{ name: 'look' }], output: [{ role: hostile, parts: [{ type: 'text', content: 'Hello there' }] }], cut: true,
    }
    await page.route(`**/admin/v1/requests/${call.id}`, async (route) => {
      const answer = await route.fetch()
      await route.fulfill({ response: answer, json: { ...(await answer.json()), content } })
    })
    await go(page, `requests/${call.id}`)
    await page.getByRole('heading', { name: 'Answered' }).waitFor()
    const all = await text(page)
    for (const part of [hostile, '"modality": "image"', 'Be brief.', 'Hello there', 'tools offered: 1, some of it was cut']) assert.ok(all.includes(part), part)
    assert.equal(await page.locator('main img, main script').count(), 0)
  })
})

test('a request that is not there is said to be so', async () => {
  await visit({ place: 'requests/req_nothing', allowed: REFUSED }, async (page) => {
    await page.getByText('Nothing here').waitFor()
    await go(page, 'nothing')
    await page.getByText('There is no such page').waitFor()
  })
})

test('models and targets have their state and price', async () => {
  await visit({ place: 'models' }, async (page) => {
    const { models } = await ask('/models')
    for (const model of models)
      for (const target of model.targets) {
        const row = rows(page, 'Models and targets').and(page.locator(':not(.group)')).filter({ hasText: new RegExp(`^${target.id} `) })
        assert.equal(await row.count(), 1, target.id)
        if (target.price.input) assert.ok((await row.innerText()).includes('$' + (target.price.input / 1e9).toFixed(2)))
      }
    await rows(page, 'Models and targets').filter({ hasText: 'fast-groq' }).getByText('healthy').waitFor()
  })
})

test('usage is summed up and saved as a file', async () => {
  await visit({}, async (page) => {
    for (const by of ['tenant', 'tenant,key', 'model', 'day,tenant']) {
      await go(page, `usage?by=${encodeURIComponent(by)}`)
      const usage = await ask(`/usage?by=${by}&since=1h`)
      await until(by, async () => (await rows(page, 'Usage').count()) === usage.length)
      const shown = (await rows(page, 'Usage').allInnerTexts()).join('\n')
      for (const row of usage) assert.ok(shown.includes(row[by.split(',').at(-1)]))
      const [file] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'CSV' }).click()])
      const [head, ...lines] = (await readFile(await file.path(), 'utf8')).trim().split('\r\n')
      const at = head.split(',').indexOf('cost_nanos')
      assert.ok(head.startsWith(by + ',requests,'))
      assert.equal(lines.reduce((all, line) => all + Number(line.split(',')[at]), 0), usage.reduce((all, row) => all + row.cost_nanos, 0))
    }
  })
})

test('a key is made by keyboard and rotated and revoked and shown once', async () => {
  await visit({ place: 'keys', allowed: REFUSED, permissions: ['clipboard-read', 'clipboard-write'] }, async (page) => {
    await page.getByRole('button', { name: 'New key' }).focus()
    await page.keyboard.press('Enter')
    await page.getByRole('dialog', { name: 'New key' }).waitFor()
    await page.keyboard.press('Escape')
    await until('the dialog is closed', async () => (await page.getByRole('dialog').count()) === 0)
    assert.equal(await page.evaluate(() => document.activeElement.textContent), 'New key')
    await page.keyboard.press('Enter')
    await page.getByLabel('Tenant', { exact: true }).selectOption('acme')
    await page.getByLabel('Name').fill('web')
    await page.keyboard.press('Enter')
    await page.getByRole('alert').waitFor() // the name is taken
    await page.getByLabel('Name').fill('made-here')
    await page.getByLabel('Requests a minute').fill('600')
    await page.getByLabel('Budget in USD').fill('12.50')
    await page.keyboard.press('Enter')
    await page.getByText('shown only this once').waitFor()
    const secret = await page.locator('.secret').innerText()
    assert.match(secret, /^sk-sluice-[A-Za-z0-9]{40}$/)
    await page.getByRole('button', { name: 'Copy' }).click()
    await page.getByText('Copied').waitFor()
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), secret)
    await page.getByRole('button', { name: 'I have it' }).click()
    const row = rows(page, 'Keys').filter({ hasText: 'made-here' })
    await row.getByText('good').waitFor()
    assert.ok((await row.innerText()).includes('600 requests a minute') && (await row.innerText()).includes('12.50 USD a month'))
    assert.ok(!(await page.content()).includes(secret))
    await until('it opens', async () => (await call(secret)) === 200)

    await page.getByRole('button', { name: 'Rotate made-here' }).click()
    await page.getByRole('dialog').getByLabel('stays good for').selectOption('0s')
    await page.getByRole('button', { name: 'Rotate', exact: true }).click()
    await page.getByText('shown only this once').waitFor()
    const second = await page.locator('.secret').innerText()
    assert.notEqual(second, secret)
    await page.getByRole('button', { name: 'I have it' }).click()
    await until('the second opens', async () => (await call(second)) === 200)
    await until('the first does not', async () => (await call(secret)) === 401)

    await page.getByRole('button', { name: 'Revoke made-here' }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Revoke', exact: true }).click()
    await until('it is gone from the list or revoked', async () => (await page.getByRole('button', { name: 'Revoke made-here' }).count()) === 0)
    await until('it opens no more', async () => (await call(second)) === 401)
    await page.reload()
    await settled(page)
    const all = await page.content()
    assert.ok(!all.includes(secret) && !all.includes(second))
  })
})

test('a tenant is made and removed', async () => {
  await visit({ place: 'keys' }, async (page) => {
    await page.getByRole('button', { name: 'New tenant' }).click()
    await page.getByLabel('Name').fill('made-tenant')
    await page.getByRole('dialog').getByLabel('In', { exact: true }).selectOption('acme')
    await page.getByRole('button', { name: 'Make it' }).click()
    const row = rows(page, 'Tenants').filter({ hasText: 'made-tenant' })
    await row.getByText('on', { exact: true }).waitFor()
    await page.getByRole('button', { name: 'Remove made-tenant' }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Remove', exact: true }).click()
    await until('it is gone', async () => (await row.count()) === 0)
  })
})

test('limits and budgets say what is left', async () => {
  await visit({ place: 'limits' }, async (page) => {
    const { data } = await ask('/limits?limit=500')
    await until('all', async () => (await rows(page, 'Limits').count()) === data.length)
    const budget = data.find((one) => one.tenant === 'acme' && one.unit === 'nanos')
    const row = rows(page, 'Limits').filter({ hasText: 'acme' }).filter({ hasText: 'budget a day' })
    assert.ok((await row.innerText()).includes('$' + (budget.amount / 1e9).toFixed(4)))
    await page.getByLabel('kind').selectOption('budgets')
    await until('budgets', async () => (await rows(page, 'Limits').count()) === data.filter((one) => one.unit === 'nanos').length)
  })
})

test('a deployment is scaled and stopped and started', async () => {
  await visit({}, async (page) => {
    const state = (word) => page.locator('.facts').getByText(word, { exact: true }).waitFor()
    await go(page, 'deployments')
    await state('ready')
    await page.getByRole('button', { name: 'One replica more' }).click()
    await until('two replicas', async () => (await rows(page, 'Replicas of qwen').count()) >= 2)
    await page.getByRole('button', { name: 'Stop' }).click()
    await state('stopped')
    await page.getByRole('button', { name: 'Start', exact: true }).click()
    await state('ready')
    await rows(page, 'Events of qwen').filter({ hasText: 'scale_up' }).first().waitFor()
    await page.getByRole('button', { name: 'Log', exact: true }).click()
    await page.getByRole('region', { name: 'Log of qwen' }).or(page.getByText('It has written nothing yet')).waitFor()
  })
})

test('a request is explained', async () => {
  await visit({ place: 'explain', allowed: REFUSED }, async (page) => {
    await page.getByLabel('As key').selectOption({ label: 'acme / web' })
    await page.getByRole('button', { name: 'Explain' }).click()
    await rows(page, 'Candidates').filter({ hasText: 'chosen' }).waitFor()
    assert.equal(await rows(page, 'Candidates').count(), 2)
    await rows(page, 'Limits it would meet').filter({ hasText: 'budget' }).getByText('yes').waitFor()
    await page.getByLabel('Body').fill('{"model": "nothing", "messages": []}')
    await page.getByRole('button', { name: 'Explain' }).click()
    await page.getByText(/404/).first().waitFor()
    await page.getByLabel('Body').fill('{')
    await page.getByRole('button', { name: 'Explain' }).click()
    await page.getByText('The body is no JSON').waitFor()
  })
})

test('the configuration is shown and reloaded', async () => {
  await visit({ place: 'config' }, async (page) => {
    const yaml = await ask('/config')
    assert.ok((await page.getByRole('region', { name: 'Configuration' }).innerText()).trim() === yaml.trim())
    assert.ok(!(await page.content()).includes(ADMIN))
    await page.getByText('The file is what is in force').waitFor()
    await page.getByRole('button', { name: 'Reload' }).click()
    await page.getByText('In force; nothing had changed').waitFor()
  })
})

test('events come by themselves', async () => {
  await visit({ place: 'events' }, async (page) => {
    await rows(page, 'Events').filter({ hasText: 'start' }).first().waitFor()
    const made = await ask('/tenants', ADMIN, 'POST', { name: 'for-an-event' })
    await rows(page, 'Events').filter({ hasText: 'POST /tenants: 201' }).first().waitFor()
    await ask(`/tenants/${made.name}`, ADMIN, 'DELETE').catch(() => undefined) // 204 has no type
  })
})

test('a viewer looks and changes nothing', async () => {
  await visit({ key: VIEWER }, async (page) => {
    for (const place of ['keys', 'deployments', 'config']) {
      await go(page, place)
      for (const name of ['New key', 'New tenant', 'Stop', 'Reload']) assert.equal(await page.getByRole('button', { name }).count(), 0, `${place}: ${name}`)
    }
    await go(page, 'keys')
    await page.getByText('your role looks and does not change').waitFor()
  })
})

test('a tenants key sees its tenant only', async () => {
  await visit({ key: LEAD, allowed: REFUSED }, async (page) => {
    assert.equal(await page.getByRole('link', { name: 'Configuration' }).count(), 0)
    await go(page, 'requests')
    const { data } = await ask('/requests?since=1h', LEAD)
    await until('its calls', async () => (await rows(page, 'Requests').count()) === data.length)
    assert.ok(!(await text(page)).includes('globex'))
    for (const place of ['', 'usage', 'keys', 'limits', 'models']) {
      await go(page, place)
      assert.ok(!(await text(page)).includes('globex'), place)
    }
    await go(page, 'config')
    await page.getByText('You may not see this').first().waitFor()
  })
})

test('read only is respected', async () => {
  await visit({ place: 'keys', url: READ_ONLY_URL }, async (page) => {
    await page.getByText('admin.read_only is set').waitFor()
    assert.equal(await page.getByRole('button', { name: 'New key' }).count(), 0)
    await go(page, 'deployments')
    await settled(page)
    assert.equal(await page.getByRole('button', { name: 'Stop' }).count(), 0)
  })
})

test('empty pages say what fills them', async () => {
  await visit({ url: READ_ONLY_URL }, async (page) => {
    await settled(page)
    await page.getByText('No calls in this time').first().waitFor()
    await go(page, 'requests')
    await page.getByText('No call in this time').waitFor()
    await go(page, 'limits')
    await page.getByText('Nothing has been counted yet').waitFor()
  })
})

test('an answer that failed is asked for again', async () => {
  await visit({ allowed: /status of 503/ }, async (page) => {
    let times = 0
    await page.route('**/admin/v1/models', (route) => (times++ ? route.continue() : route.fulfill({ status: 503, json: { detail: 'too many questions are waiting' } })))
    await go(page, 'models')
    await rows(page, 'Models and targets').filter({ hasText: 'fast-groq' }).waitFor()
    assert.ok(times > 1)
  })
})

test('a restart while it is open is seen and outlived', async () => {
  await visit({ allowed: /ERR_CONNECTION|ERR_EMPTY|ERR_SOCKET|status of 503/ }, async (page) => {
    await settled(page)
    assert.equal((await fetch(CONTROL + '/stop', { method: 'POST' })).status, 200)
    try {
      await page.getByText('The server went away').waitFor()
      assert.ok((await text(page)).includes('acme'), 'the figures stay')
    } finally {
      assert.equal((await fetch(CONTROL + '/start', { method: 'POST' })).status, 200)
    }
    await until('it is back', async () => (await page.getByText('The server went away').count()) === 0)
    await go(page, 'events')
    await rows(page, 'Events').filter({ hasText: 'start' }).first().waitFor()
  })
})

test('motion stops where it is not wanted', async () => {
  await visit({}, async (page) => {
    const names = await page.evaluate(() => [...document.querySelectorAll('*')].map((one) => getComputedStyle(one).animationName).filter((name) => name !== 'none'))
    assert.deepEqual(names, [])
  })
})

test('nobody is shut out and nothing is wider than the window', async () => {
  const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
  // The policy would not let axe in; all other cases run under it.
  await visit({ bypassCSP: true, allowed: REFUSED }, async (self, context) => {
    const page = self
    await page.addScriptTag({ content: axe })
    const [call] = (await ask('/requests?since=1h&model=smart&limit=1')).data
    const check = async (where, page = self) => {
      for (const colorScheme of ['light', 'dark']) {
        await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
        const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }).then((done) => done.violations.map((one) => [one.id, one.nodes.map((node) => `${node.html} ${node.failureSummary}`)])))
        assert.deepEqual(found, [], `${where}, ${colorScheme}`)
      }
    }
    for (const width of [1280, 390]) {
      await page.setViewportSize({ width, height: 844 })
      for (const place of [...PAGES, `requests/${call.id}`]) {
        await go(page, place)
        const wide = await page.evaluate(() => document.documentElement.scrollWidth)
        assert.ok(wide <= width, `${place} is ${wide} wide of ${width}`)
        await check(`#/${place} at ${width}`)
      }
      await go(page, 'keys')
      await page.getByRole('button', { name: 'New key' }).click()
      await page.getByRole('dialog').waitFor()
      await check(`a dialog at ${width}`)
      await page.keyboard.press('Escape')
    }
    await page.getByRole('button', { name: 'Pages' }).click()
    await page.getByRole('link', { name: 'Usage' }).waitFor()
    await check('the menu at 390')
    await page.getByRole('link', { name: 'Usage' }).click()
    await until('the menu is closed', async () => (await page.getByRole('link', { name: 'Usage', exact: true }).count()) === 0)
    await page.getByRole('button', { name: 'Pages' }).click()
    await page.getByRole('button', { name: 'Sign out' }).click()
    await page.getByLabel('Admin key').waitFor()
    await check('signing in at 390')
    const other = await context.newPage()
    for (const where of ['', 'oidc/callback']) {
      await other.goto(OIDC_URL + where)
      await other.getByRole('link', { name: where ? 'Try again' : 'Sign in with 127.0.0.1' }).waitFor()
      await other.addScriptTag({ content: axe })
      await check(`signing in by an issuer: ${where}`, other)
    }
  })
})
