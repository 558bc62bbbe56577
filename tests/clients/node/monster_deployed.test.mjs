// SPDX-License-Identifier: Apache-2.0
// monsterapi for JavaScript has no deploy calls: those are made as its documentation says, with fetch; the client asks what was deployed.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import monsterapi from 'monsterapi';

const { MONSTER_URL, KEY_ACME } = process.env;
const Client = monsterapi.default ?? monsterapi;

async function ask(path, body) {
  const headers = { authorization: `Bearer ${KEY_ACME}`, 'content-type': 'application/json' };
  const answer = await fetch(MONSTER_URL + path, body ? { method: 'POST', headers, body: JSON.stringify(body) } : { headers });
  assert.equal(answer.status, 200);
  return answer.json();
}

async function untilLive(id) {
  for (let i = 0; i < 300; i += 1) {
    const one = await ask(`/deploy/status/${id}`);
    if (one.status === 'live') return one;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error('it is not live');
}

test('monsterapi: a model that was deployed', async () => {
  const { deployment_id: id } = await ask('/deploy/llm', { basemodel_path: 'mistralai/Mistral-7B-Instruct-v0.2', per_gpu_vram: 24, gpu_count: 1 });
  const live = await untilLive(id);
  const client = new Client(live.api_auth_token);
  client.fetch = (url, options) => fetch(url.replace(/^https:\/\/(api|llm)\.monsterapi\.ai\/v1/, `${live.URL}/v1`), options);
  const got = await client.generateSync({ model: 'any', messages: [{ role: 'user', content: 'Say hello.' }], max_tokens: 20 });
  assert.match(JSON.stringify(got), /word1/);
  const { deployment_name: name } = (await ask('/deploy/list')).deployments.find((one) => one.deployment_id === id);
  const jobs = new Client(KEY_ACME);
  jobs.apiUrl = MONSTER_URL;
  assert.match((await jobs.generate(name, { prompt: 'Say hello.' })).text, /word1/);
  assert.ok((await ask(`/deploy/logs/${id}?n_lines=5`)).logs.length);
  assert.equal((await ask('/deploy/terminate', { deployment_id: id })).status, 'terminated');
});
