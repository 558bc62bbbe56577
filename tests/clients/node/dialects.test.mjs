// SPDX-License-Identifier: Apache-2.0
// @anthropic-ai/sdk, @google/genai, and the Vercel AI SDK over its providers for both, in front of targets of any dialect.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createAnthropic } from '@ai-sdk/anthropic';
import { createGoogleGenerativeAI } from '@ai-sdk/google';
import { createOpenAI } from '@ai-sdk/openai';
import Anthropic from '@anthropic-ai/sdk';
import { ApiError, FunctionCallingConfigMode, GoogleGenAI, Type } from '@google/genai';
import { APICallError, generateText, Output, stepCountIs, streamText, tool } from 'ai';
import { z } from 'zod';

import { errorOf, KEY_ACME, KEY_WRONG } from './world.mjs';

globalThis.AI_SDK_LOG_WARNINGS = false;

const root = process.env.SLUICE_ROOT;
const anthropic = new Anthropic({ baseURL: root, apiKey: KEY_ACME, maxRetries: 0, timeout: 20_000 });
const gemini = new GoogleGenAI({ apiKey: KEY_ACME, httpOptions: { baseUrl: root, timeout: 20_000 } });
const DELFT = 'What is the weather in Delft?';
const HELLO = 'Say hello to the lock keeper.';
const SCHEMA = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false };
const TOOLS = [{ name: 'get_weather', description: 'The weather in a city', input_schema: SCHEMA }];
const DECLARED = [{ functionDeclarations: [{
  name: 'get_weather', description: 'The weather in a city',
  parameters: { type: Type.OBJECT, properties: { city: { type: Type.STRING } }, required: ['city'] } }] }];
const user = (content) => [{ role: 'user', content }];
const once = { maxRetries: 0 };

const MODELS = {
  anthropic: (name) => createAnthropic({ baseURL: `${root}/v1`, apiKey: KEY_ACME })(name),
  google: (name) => createGoogleGenerativeAI({ baseURL: `${root}/v1beta`, apiKey: KEY_ACME })(name),
  responses: (name) => createOpenAI({ baseURL: `${root}/v1`, apiKey: KEY_ACME }).responses(name),
};

for (const target of ['mock', 'anthropic', 'gemini']) {
  test(`@anthropic-ai/sdk: a message and a stream of ${target}`, async () => {
    const ask = { model: `${target}-fast`, max_tokens: 200, messages: user(HELLO) };
    const whole = await anthropic.messages.create(ask);
    const stream = anthropic.messages.stream(ask);
    let words = '';
    stream.on('text', (piece) => { words += piece; });
    const last = await stream.finalMessage();
    assert.ok(words);
    assert.equal(words, whole.content[0].text);
    assert.equal(last.stop_reason, 'end_turn');
    assert.deepEqual([last.usage.input_tokens, last.usage.output_tokens], [whole.usage.input_tokens, whole.usage.output_tokens]);
  });

  test(`@anthropic-ai/sdk: a tool and its result of ${target}`, async () => {
    const ask = { model: `${target}-fast`, max_tokens: 200, tools: TOOLS };
    const first = await anthropic.messages.stream({ ...ask, messages: user(DELFT) }).finalMessage();
    const call = first.content.find((block) => block.type === 'tool_use');
    assert.equal(first.stop_reason, 'tool_use');
    assert.ok(call.id && 'city' in call.input);
    const last = await anthropic.messages.create({ ...ask, messages: [
      ...user(DELFT), { role: 'assistant', content: first.content },
      ...user([{ type: 'tool_result', tool_use_id: call.id, content: '12 degrees' }])] });
    assert.equal(last.stop_reason, 'end_turn');
  });

  test(`@anthropic-ai/sdk: tokens are counted for ${target}`, async () => {
    assert.ok((await anthropic.messages.countTokens({ model: `${target}-fast`, messages: user(HELLO) })).input_tokens > 0);
  });

  test(`@anthropic-ai/sdk: ${target} is too busy`, async () => {
    const error = await errorOf(anthropic.messages.create({ model: `${target}-429`, max_tokens: 9, messages: user(HELLO) }));
    assert.ok(error instanceof Anthropic.RateLimitError, error);
    assert.equal(error.headers.get('retry-after'), '7');
    assert.equal(error.error.error.type, 'rate_limit_error');
  });

  test(`@google/genai: content and a stream of ${target}`, async () => {
    const ask = { model: `${target}-fast`, contents: HELLO };
    const whole = await gemini.models.generateContent(ask);
    let words = '';
    let end;
    for await (const chunk of await gemini.models.generateContentStream(ask)) {
      words += chunk.text ?? '';
      end = chunk.candidates?.[0]?.finishReason ?? end;
    }
    assert.ok(words);
    assert.equal(words, whole.text);
    assert.equal(end, 'STOP');
    assert.ok(whole.usageMetadata.totalTokenCount > 0);
  });

  test(`@google/genai: a tool and its result of ${target}`, async () => {
    const config = { tools: DECLARED, toolConfig: { functionCallingConfig: { mode: FunctionCallingConfigMode.AUTO } } };
    const first = await gemini.models.generateContent({ model: `${target}-fast`, contents: DELFT, config });
    const [call] = first.functionCalls;
    assert.equal(call.name, 'get_weather');
    const last = await gemini.models.generateContent({ model: `${target}-fast`, config, contents: [
      { role: 'user', parts: [{ text: DELFT }] }, first.candidates[0].content,
      { role: 'user', parts: [{ functionResponse: { id: call.id, name: call.name, response: { degrees: 12 } } }] }] });
    assert.ok(last.text);
  });

  test(`@google/genai: structured output and counted tokens of ${target}`, async () => {
    const answer = await gemini.models.generateContent({ model: `${target}-fast`, contents: HELLO,
      config: { responseMimeType: 'application/json', responseJsonSchema: SCHEMA } });
    assert.equal(typeof JSON.parse(answer.text).city, 'string');
    assert.ok((await gemini.models.countTokens({ model: `${target}-fast`, contents: HELLO })).totalTokens > 0);
  });

  test(`@google/genai: ${target} is too busy`, async () => {
    const error = await errorOf(gemini.models.generateContent({ model: `${target}-429`, contents: HELLO }));
    assert.ok(error instanceof ApiError, error);
    assert.equal(error.status, 429);
    assert.match(error.message, /RESOURCE_EXHAUSTED/);
  });

  for (const [way, model] of Object.entries(MODELS)) {
    test(`ai over ${way}: text and a stream of ${target}`, async () => {
      const ask = { model: model(`${target}-fast`), prompt: HELLO, ...once };
      const { text, finishReason, usage } = await generateText(ask);
      const result = streamText(ask);
      let words = '';
      for await (const piece of result.textStream) words += piece;
      assert.ok(words);
      assert.equal(words, text);
      assert.equal(finishReason, 'stop');
      assert.equal(await result.finishReason, 'stop');
      assert.equal((await result.usage).outputTokens, usage.outputTokens);
    });

    test(`ai over ${way}: a tool and its result of ${target}`, async () => {
      const weather = tool({ description: 'The weather in a city', inputSchema: z.object({ city: z.string() }),
        execute: async ({ city }) => `12 degrees in ${city}` });
      const { text, steps } = await generateText({ model: model(`${target}-fast`), prompt: DELFT, tools: { get_weather: weather },
        stopWhen: stepCountIs(3), ...once });
      assert.equal(steps[0].toolCalls[0].toolName, 'get_weather');
      assert.ok(text);
    });

    test(`ai over ${way}: structured output of ${target}`, async () => {
      const { output } = await generateText({ model: model(`${target}-fast`), prompt: HELLO, ...once,
        output: Output.object({ schema: z.object({ city: z.string() }) }) });
      assert.equal(typeof output.city, 'string');
    });

    test(`ai over ${way}: ${target} is too busy`, async () => {
      const error = await errorOf(generateText({ model: model(`${target}-429`), prompt: HELLO, ...once }));
      assert.ok(APICallError.isInstance(error), error);
      assert.equal(error.statusCode, 429);
      assert.equal(error.responseHeaders['retry-after'], '7');
    });
  }
}

test('@anthropic-ai/sdk: models are listed', async () => {
  const names = [];
  for await (const model of anthropic.models.list({ limit: 3 })) names.push(model.id);
  assert.ok(names.includes('mock-fast') && names.includes('script-gemini'));
  assert.equal(new Set(names).size, names.length);
});

test('@anthropic-ai/sdk: a wrong key', async () => {
  const other = new Anthropic({ baseURL: root, apiKey: KEY_WRONG, maxRetries: 0 });
  const error = await errorOf(other.messages.create({ model: 'mock-fast', max_tokens: 9, messages: user(HELLO) }));
  assert.ok(error instanceof Anthropic.AuthenticationError, error);
});

test('@anthropic-ai/sdk: a model that is not there', async () => {
  const error = await errorOf(anthropic.messages.create({ model: 'nothing', max_tokens: 9, messages: user(HELLO) }));
  assert.ok(error instanceof Anthropic.NotFoundError, error);
});

test('@google/genai: models are listed', async () => {
  const names = [];
  for await (const model of await gemini.models.list({ config: { pageSize: 3 } })) names.push(model.name);
  assert.ok(names.includes('models/mock-fast') && names.includes('models/script-gemini'));
});

test('@google/genai: a wrong key', async () => {
  const other = new GoogleGenAI({ apiKey: KEY_WRONG, httpOptions: { baseUrl: root } });
  assert.equal((await errorOf(other.models.generateContent({ model: 'mock-fast', contents: HELLO }))).status, 401);
});

test('@google/genai: a model that is not there', async () => {
  assert.equal((await errorOf(gemini.models.generateContent({ model: 'nothing', contents: HELLO }))).status, 404);
});
