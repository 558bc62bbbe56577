// SPDX-License-Identifier: Apache-2.0
// A real model behind the gateway: llama.cpp's own server.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { embedMany, generateText, streamText } from 'ai';
import OpenAI from 'openai';

import { baseURL, errorOf, KEY_ACME, KEY_WRONG } from './world.mjs';

globalThis.AI_SDK_LOG_WARNINGS = false;

const MODEL = 'smollm2';
const messages = [{ role: 'user', content: 'What does a lock keeper do?' }];
const client = new OpenAI({ baseURL, apiKey: KEY_ACME, maxRetries: 0, timeout: 60000 });
const once = { maxRetries: 0, maxOutputTokens: 16 };

test('openai: chat', async () => {
  const answer = await client.chat.completions.create({ model: MODEL, messages, max_tokens: 16 });
  assert.ok(answer.choices[0].message.content);
  assert.ok(answer.usage.prompt_tokens > 0 && answer.usage.completion_tokens <= 16);
});

test('openai: a stream', async () => {
  let words = '';
  let finish;
  for await (const chunk of await client.chat.completions.create({ model: MODEL, messages, max_tokens: 16, stream: true })) {
    words += chunk.choices[0].delta.content ?? '';
    finish = chunk.choices[0].finish_reason ?? finish;
  }
  assert.ok(words);
  assert.ok(['stop', 'length'].includes(finish));
});

test('openai: embeddings', async () => {
  const answer = await client.embeddings.create({ model: MODEL, input: ['a lock', 'a boat'] });
  assert.equal(answer.data.length, 2);
  assert.equal(answer.data[0].embedding.length, answer.data[1].embedding.length);
  assert.ok(answer.data[0].embedding.some((x) => x !== 0));
});

test('openai: models', async () => {
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  assert.deepEqual(names, [MODEL]);
});

test('openai: errors', async () => {
  const stranger = new OpenAI({ baseURL, apiKey: KEY_WRONG, maxRetries: 0 });
  assert.ok((await errorOf(stranger.models.list())) instanceof OpenAI.AuthenticationError);
  const error = await errorOf(client.chat.completions.create({ model: MODEL, messages: [{ role: 'user', content: 'lock '.repeat(6000) }] }));
  assert.ok(error instanceof OpenAI.BadRequestError, String(error));
});

test('openai: a stream is left', async () => {
  for await (const chunk of await client.chat.completions.create({ model: MODEL, messages, max_tokens: 500, stream: true })) if (chunk) break;
  assert.ok((await client.chat.completions.create({ model: MODEL, messages, max_tokens: 2 })).choices.length);
});

for (const [way, model] of [
  ['chat', createOpenAI({ baseURL, apiKey: KEY_ACME }).chat(MODEL)],
  ['compatible', createOpenAICompatible({ name: 'sluice', baseURL, apiKey: KEY_ACME, includeUsage: true })(MODEL)],
]) {
  test(`ai sdk, ${way}: text and a stream`, async () => {
    const { text, usage } = await generateText({ model, messages, ...once });
    assert.ok(text);
    assert.ok(usage.outputTokens > 0);
    const result = streamText({ model, messages, ...once });
    let words = '';
    for await (const piece of result.textStream) words += piece;
    assert.ok(words);
    assert.ok((await result.usage).outputTokens > 0);
  });
}

test('ai sdk: embeddings', async () => {
  const model = createOpenAICompatible({ name: 'sluice', baseURL, apiKey: KEY_ACME }).embeddingModel(MODEL);
  const { embeddings } = await embedMany({ model, values: ['a lock', 'a boat'], maxRetries: 0 });
  assert.equal(embeddings.length, 2);
});
