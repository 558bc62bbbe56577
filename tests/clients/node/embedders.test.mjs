// SPDX-License-Identifier: Apache-2.0
// ollama and cohere-ai, unchanged: chats, tools, vectors, rankings and what is known of models, of targets of other dialects.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { CohereClientV2, CohereError } from 'cohere-ai';
import { Ollama } from 'ollama';

import { errorOf, HELLO, KEY_ACME, KEY_WRONG, WEATHER } from './world.mjs';

const root = process.env.SLUICE_ROOT;
const ollamaWith = (key) => new Ollama({ host: root, headers: { Authorization: `Bearer ${key}` } });
const cohereWith = (key) => new CohereClientV2({ token: key, environment: root, timeoutInSeconds: 20, maxRetries: 0 });
const ollama = ollamaWith(KEY_ACME);
const cohere = cohereWith(KEY_ACME);
const once = { maxRetries: 0 };
const TOOL = { type: 'function', function: { name: 'get_weather', description: 'The weather in a city',
  parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] } } };

for (const target of ['mock', 'anthropic', 'gemini']) {
  test(`ollama: a chat and a stream of ${target}`, async () => {
    const whole = await ollama.chat({ model: `${target}-fast`, messages: HELLO, stream: false });
    let words = '';
    let last;
    for await (const part of await ollama.chat({ model: `${target}-fast`, messages: HELLO, stream: true })) {
      words += part.message.content;
      last = part;
    }
    assert.ok(words);
    assert.equal(words, whole.message.content);
    assert.ok(last.done && last.done_reason === 'stop' && last.created_at instanceof Date === false);
    assert.deepEqual([last.prompt_eval_count, last.eval_count], [whole.prompt_eval_count, whole.eval_count]);
  });

  test(`ollama: a tool and its result of ${target}`, async () => {
    const first = await ollama.chat({ model: `${target}-fast`, messages: WEATHER, tools: [TOOL] });
    const [call] = first.message.tool_calls;
    assert.equal(call.function.name, 'get_weather');
    assert.ok('city' in call.function.arguments);
    const last = await ollama.chat({ model: `${target}-fast`, tools: [TOOL],
      messages: [...WEATHER, first.message, { role: 'tool', tool_name: 'get_weather', content: '12 degrees' }] });
    assert.ok(last.message.content);
  });

  test(`cohere-ai: a chat and a stream of ${target}`, async () => {
    const whole = await cohere.chat({ model: `${target}-fast`, messages: HELLO });
    let words = '';
    let end;
    for await (const event of await cohere.chatStream({ model: `${target}-fast`, messages: HELLO })) {
      if (event.type === 'content-delta') words += event.delta.message.content.text ?? '';
      if (event.type === 'message-end') end = event.delta;
    }
    assert.ok(words);
    assert.equal(words, whole.message.content[0].text);
    assert.equal(end.finishReason, 'COMPLETE');
    assert.ok(end.usage.tokens.outputTokens > 0);
  });

  test(`cohere-ai: a tool and its result of ${target}`, async () => {
    const first = await cohere.chat({ model: `${target}-fast`, messages: WEATHER, tools: [TOOL] });
    const [call] = first.message.toolCalls;
    assert.equal(first.finishReason, 'TOOL_CALL');
    const last = await cohere.chat({ model: `${target}-fast`, tools: [TOOL],
      messages: [...WEATHER, first.message, { role: 'tool', toolCallId: call.id, content: '12 degrees' }] });
    assert.ok(last.message.content[0].text);
  });
}

test('ollama: a prompt, vectors, and what is known of models', async () => {
  assert.ok((await ollama.generate({ model: 'mock-fast', prompt: 'Say hello.' })).response);
  const { embeddings } = await ollama.embed({ model: 'mock-embed', input: ['a', 'b'] });
  assert.ok(embeddings.length === 2 && embeddings[0].length > 3);
  assert.ok((await ollama.list()).models.some((model) => model.name === 'mock-fast'));
  const shown = await ollama.show({ model: 'mock-fast' });
  assert.ok(shown.capabilities.includes('completion') && shown.model_info['general.architecture']);
  assert.deepEqual((await ollama.ps()).models, []);
  assert.match((await ollama.version()).version, /^\d+\.\d+\.\d+$/);
});

test('ollama: a model that is not there, and a wrong key', async () => {
  for (const asked of [ollama.show({ model: 'nothing' }), ollama.chat({ model: 'nothing', messages: HELLO })]) {
    const error = await errorOf(asked);
    assert.equal(error.status_code, 404);
    assert.match(error.error, /nothing/);
  }
  assert.equal((await errorOf(ollamaWith(KEY_WRONG).chat({ model: 'mock-fast', messages: HELLO }))).status_code, 401);
});

test('cohere-ai: vectors and rankings', async () => {
  const { embeddings } = await cohere.embed({ model: 'mock-embed', texts: ['a', 'b'], inputType: 'search_query', embeddingTypes: ['float'] });
  assert.ok(embeddings.float.length === 2 && embeddings.float[0].length > 3);
  const { results } = await cohere.rerank({ model: 'mock-fast', query: 'q', documents: ['x', 'y'], topN: 2 });
  assert.deepEqual(results.map((one) => one.index).sort(), [0, 1]);
});

test('cohere-ai: a model that is not there, and a wrong key', async () => {
  const error = await errorOf(cohere.chat({ model: 'nothing', messages: HELLO }, once));
  assert.ok(error instanceof CohereError, error);
  assert.equal(error.statusCode, 404);
  assert.equal((await errorOf(cohereWith(KEY_WRONG).chat({ model: 'mock-fast', messages: HELLO }, once))).statusCode, 401);
});
