// SPDX-License-Identifier: Apache-2.0
// Where the gateway and the mock are, which keys there are, and what several tests ask.

import assert from 'node:assert/strict';
import buffer from 'node:buffer';

// Node 18 has no File of its own; this is what the SDK tells its users to do there.
globalThis.File ??= buffer.File;

export const { SLUICE_URL: baseURL, SLUICE_TLS_URL: tlsURL, MOCK_URL: mockURL, KEY_ACME, KEY_GLOBEX, KEY_WRONG } = process.env;

export const HELLO = [{ role: 'user', content: 'Say hello to the lock keeper.' }];
export const WEATHER = [{ role: 'user', content: 'What is the weather in Delft?' }];
export const ENDLESS = 'mock/rate-20+tokens-100000';

/** What the mock has counted for a model. */
export async function stats(model) {
  const all = await (await fetch(`${mockURL}/__mock/stats`)).json();
  return all.models[model] ?? { received: 0, in_flight: 0, whole: 0, cut: 0, broken: 0, refused: 0 };
}

export async function reset() {
  await fetch(`${mockURL}/__mock/reset`, { method: 'POST' });
}

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** Wait until condition() is true. */
export async function eventually(condition, ms = 1000, what = condition) {
  const by = performance.now() + ms;
  while (!(await condition())) {
    assert.ok(performance.now() < by, `not in ${ms} ms: ${what}`);
    await sleep(20);
  }
}

/** The error that a promise ends with. */
export async function errorOf(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  assert.fail('nothing was thrown');
}

/** A WAV file of silence. */
export function sound(seconds = 1) {
  const data = Buffer.alloc(44 + seconds * 16000);
  data.write('RIFF', 0);
  data.writeUInt32LE(data.length - 8, 4);
  data.write('WAVEfmt ', 8);
  [16, 1, 1, 8000, 16000, 2, 16].reduce((at, value, i) => {
    const wide = i === 0 || i === 3 || i === 4;
    if (wide) data.writeUInt32LE(value, at);
    else data.writeUInt16LE(value, at);
    return at + (wide ? 4 : 2);
  }, 16);
  data.write('data', 36);
  data.writeUInt32LE(data.length - 44, 40);
  return data;
}
