// SPDX-License-Identifier: Apache-2.0
// monsterapi for JavaScript. Its hosts are written into it: apiUrl is a property, and for the others its fetch is led here.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import monsterapi from 'monsterapi';

const { MONSTER_URL, KEY_ACME, KEY_WRONG } = process.env;
const Client = monsterapi.default ?? monsterapi;

function clientOf(key = KEY_ACME) {
  const client = new Client(key);
  client.apiUrl = MONSTER_URL;
  client.fetch = (url, options) => fetch(url.replace(/^https:\/\/(api|llm)\.monsterapi\.ai\/v1/, MONSTER_URL), options);
  return client;
}

test('monsterapi: get_response, get_status, wait_and_get_result', async () => {
  const client = clientOf();
  const accepted = await client.get_response('llama2-7b-chat', { prompt: 'Say hello.', temp: 0.5, max_length: 20, top_k: 40, top_p: 0.9 });
  assert.ok(accepted.process_id);
  assert.ok(['IN_QUEUE', 'IN_PROGRESS', 'COMPLETED'].includes((await client.get_status(accepted.process_id)).status));
  assert.ok((await client.wait_and_get_result(accepted.process_id, 30)).text);
});

test('monsterapi: generate a picture', async () => {
  const made = await clientOf().generate('txt2img', { prompt: 'a cat', samples: 1 });
  assert.equal((await fetch(made.output[0])).status, 200);
});

test('monsterapi: an upload that is written down', async () => {
  const sound = new File([new Uint8Array(2000)], 'a.wav', { type: 'audio/wav' });
  const url = await clientOf().uploadFile(sound);
  assert.equal((await (await fetch(url)).arrayBuffer()).byteLength, 2000);
  assert.ok((await clientOf().generate('whisper', { file: url })).text);
});

test('monsterapi: generateSync', async () => {
  const got = await clientOf().generateSync({ model: 'llama2-7b-chat', messages: [{ role: 'user', content: 'Say hello.' }], max_tokens: 20 });
  assert.ok(JSON.stringify(got).length > 2);
});

test('monsterapi: what fails says so', async () => {
  await assert.rejects(clientOf(KEY_WRONG).get_response('llama2-7b-chat', { prompt: 'hi' }), /401/);
  await assert.rejects(clientOf().generate('zephyr-7b-beta', { prompt: 'hi' }), /failed/);
});
