// SPDX-License-Identifier: Apache-2.0
// The Vercel AI SDK, over its OpenAI provider and over the one for OpenAI-compatible servers.

import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import {
  APICallError, embed, embedMany, experimental_generateSpeech as generateSpeech, experimental_transcribe as transcribe,
  generateImage, generateText, Output, stepCountIs, streamText, tool,
} from 'ai';
import { z } from 'zod';

import { baseURL, ENDLESS, errorOf, eventually, KEY_ACME, KEY_GLOBEX, KEY_WRONG, reset, sound, stats } from './world.mjs';

globalThis.AI_SDK_LOG_WARNINGS = false;

const openai = createOpenAI({ baseURL, apiKey: KEY_ACME });
const compatible = createOpenAICompatible({ name: 'sluice', baseURL, apiKey: KEY_ACME, includeUsage: true, supportsStructuredOutputs: true });
const once = { maxRetries: 0 };

// The same questions in three dialects: the Responses API, chat, and chat of any compatible server.
const MODELS = {
  responses: (name) => openai.responses(name),
  chat: (name) => openai.chat(name),
  compatible: (name) => compatible(name),
};

const weather = tool({
  description: 'The weather in a city',
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => `12 degrees in ${city}`,
});

beforeEach(reset);

for (const [way, model] of Object.entries(MODELS)) {
  test(`${way}: text`, async () => {
    const { text, finishReason, usage } = await generateText({ model: model('fast'), prompt: 'Hello', ...once });
    assert.ok(text);
    assert.equal(finishReason, 'stop');
    assert.ok(usage.inputTokens > 0 && usage.outputTokens > 0);
  });

  test(`${way}: a stream`, async () => {
    const { text } = await generateText({ model: model('fast'), prompt: 'Hello', ...once });
    const result = streamText({ model: model('fast'), prompt: 'Hello', ...once });
    let words = '';
    for await (const piece of result.textStream) words += piece;
    assert.equal(words, text);
    assert.equal(await result.finishReason, 'stop');
    assert.ok((await result.usage).outputTokens > 0);
  });

  test(`${way}: a tool and its result`, async () => {
    const { text, steps } = await generateText({
      model: model('fast'), prompt: 'What is the weather in Delft?', tools: { get_weather: weather }, stopWhen: stepCountIs(3), ...once,
    });
    assert.equal(steps[0].toolCalls[0].toolName, 'get_weather');
    assert.match(String(steps[0].toolResults[0].output), /^12 degrees/);
    assert.ok(text);
  });

  test(`${way}: a tool in a stream`, async () => {
    const result = streamText({
      model: model('fast'), prompt: 'What is the weather in Delft?', tools: { get_weather: weather }, stopWhen: stepCountIs(3), ...once,
    });
    const kinds = new Set();
    for await (const part of result.fullStream) kinds.add(part.type);
    assert.ok(kinds.has('tool-call') && kinds.has('tool-result') && kinds.has('text-delta'), [...kinds].join());
  });

  test(`${way}: structured output`, async () => {
    const { output } = await generateText({
      model: model('fast'), prompt: 'A boat', output: Output.object({ schema: z.object({ name: z.string(), tons: z.number() }) }), ...once,
    });
    assert.equal(typeof output.name, 'string');
    assert.equal(typeof output.tons, 'number');
  });

  test(`${way}: errors have their status`, async () => {
    for (const [name, status] of [['nobody', 404], ['mock/400', 400], ['mock/429', 429], ['mock/500', 500]]) {
      const error = await errorOf(generateText({ model: model(name), prompt: 'Hello', ...once }));
      assert.ok(APICallError.isInstance(error), String(error));
      assert.equal(error.statusCode, status);
      assert.equal(error.isRetryable, status === 429 || status >= 500);
    }
  });

  test(`${way}: a stream that breaks is an error`, async () => {
    const result = streamText({ model: model('mock/reset-mid-5+rate-50'), prompt: 'Hello', onError: () => {}, ...once });
    const kinds = [];
    let finish;
    for await (const part of result.fullStream) {
      kinds.push(part.type);
      if (part.type === 'finish') finish = part.finishReason;
    }
    assert.ok(kinds.includes('error') || finish === 'error', kinds.join());
    assert.notEqual(finish, 'stop');
  });

  test(`${way}: an aborted stream ends the upstream call`, async () => {
    const abort = new AbortController();
    const result = streamText({ model: model(ENDLESS), prompt: 'Hello', abortSignal: abort.signal, onError: () => {}, ...once });
    for await (const part of result.fullStream) if (part.type === 'text-delta') abort.abort();
    await eventually(async () => (await stats(ENDLESS)).cut === 1);
  });
}

test('keys that may not', async () => {
  for (const [apiKey, status] of [[KEY_WRONG, 401], [KEY_GLOBEX, 403]]) {
    const error = await errorOf(generateText({ model: createOpenAI({ baseURL, apiKey }).chat('mock/tokens-3'), prompt: 'Hello', ...once }));
    assert.equal(error.statusCode, status);
  }
});

test('the SDK does not multiply our retries', async () => {
  const error = await errorOf(generateText({ model: openai.chat('tried'), prompt: 'Hello', maxRetries: 0 }));
  assert.equal(error.responseHeaders['x-should-retry'], 'false');
  assert.equal((await stats('mock/503')).received, 2);
});

test('a signal that runs out', async () => {
  await errorOf(generateText({ model: openai.chat('mock/stall-head'), prompt: 'Hello', abortSignal: AbortSignal.timeout(400), ...once }));
  await eventually(async () => (await stats('mock/stall-head')).in_flight === 0);
});

test('structured output is streamed', async () => {
  const result = streamText({
    model: openai.chat('fast'), prompt: 'A boat', output: Output.object({ schema: z.object({ name: z.string() }) }), ...once,
  });
  let last;
  for await (const part of result.partialOutputStream) last = part;
  assert.equal(typeof last.name, 'string');
});

test('embeddings', async () => {
  for (const model of [openai.embedding('embed'), compatible.embeddingModel('embed')]) {
    const { embedding } = await embed({ model, value: 'one', ...once });
    const { embeddings } = await embedMany({ model, values: ['one', 'two', 'three'], ...once });
    assert.equal(embeddings.length, 3);
    assert.deepEqual(embeddings[0].length, embedding.length);
  }
});

test('an image', async () => {
  const { image } = await generateImage({ model: openai.image('image'), prompt: 'A lock gate', ...once });
  assert.ok(image.uint8Array.length > 20);
});

test('speech and transcription', async () => {
  const { audio } = await generateSpeech({ model: openai.speech('audio'), text: 'Hello there.', ...once });
  assert.ok(audio.uint8Array.length > 100);
  const { text } = await transcribe({ model: openai.transcription('audio'), audio: sound(), ...once });
  assert.ok(text);
});
