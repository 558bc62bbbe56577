// SPDX-License-Identifier: Apache-2.0
// openai for Node: baseURL, key and model are ours, all else is as an application has it.

import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { beforeEach, test } from 'node:test';

import OpenAI, { toFile } from 'openai';
import { zodResponseFormat } from 'openai/helpers/zod';
import { OpenAIRealtimeWS } from 'openai/realtime/ws';
import { z } from 'zod';

import {
  baseURL, ENDLESS, errorOf, eventually, HELLO, KEY_ACME, KEY_GLOBEX, KEY_WRONG, reset, sleep, sound, stats, tlsURL, WEATHER,
} from './world.mjs';

const make = (options = {}) => new OpenAI({ baseURL, apiKey: KEY_ACME, maxRetries: 0, timeout: 20000, ...options });
const client = make();
const ask = (fields = {}, options) => client.chat.completions.create({ model: 'fast', messages: HELLO, ...fields }, options);

const parameters = {
  type: 'object',
  properties: { city: { type: 'string' }, unit: { type: 'string', enum: ['celsius', 'fahrenheit'] } },
  required: ['city', 'unit'],
  additionalProperties: false,
};
const tools = [{ type: 'function', function: { name: 'get_weather', description: 'The weather in a city', parameters } }];

beforeEach(reset);

async function wordsOf(stream) {
  let words = '';
  for await (const chunk of stream) words += chunk.choices[0]?.delta?.content ?? '';
  return words;
}

// ------------------------------------------------------------------------------ chat

test('chat', async () => {
  const answer = await ask();
  assert.equal(answer.object, 'chat.completion');
  assert.equal(answer.choices[0].finish_reason, 'stop');
  assert.ok(answer.choices[0].message.content);
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
  assert.match(answer._request_id, /^req_/);
});

test('headers say what happened', async () => {
  const { response } = await ask().withResponse();
  assert.equal(response.headers.get('x-sluice-model'), 'fast');
  assert.ok(Number(response.headers.get('x-sluice-cost-usd')) > 0);
});

test('max tokens end an answer for length', async () => {
  const answer = await ask({ max_completion_tokens: 3 });
  assert.equal(answer.choices[0].finish_reason, 'length');
});

test('parallel choices', async () => {
  const answer = await ask({ n: 3 });
  assert.deepEqual(answer.choices.map((choice) => choice.index), [0, 1, 2]);
});

test('an answer of eight megabytes', async () => {
  const answer = await ask({ model: 'mock/big-8' });
  assert.ok(answer.choices[0].message.content.length > 7e6);
});

// ------------------------------------------------------------------------------ streams

test('a stream says what the whole answer says', async () => {
  const whole = await ask();
  assert.equal(await wordsOf(await ask({ stream: true })), whole.choices[0].message.content);
});

test('a stream has usage only when it was asked for', async () => {
  for await (const chunk of await ask({ stream: true })) {
    assert.equal(chunk.usage ?? null, null);
    assert.equal(chunk.choices.length, 1);
  }
  let last;
  for await (const chunk of await ask({ stream: true, stream_options: { include_usage: true } })) last = chunk;
  assert.ok(last.usage.completion_tokens > 0);
});

test('the streaming helper', async () => {
  const stream = client.chat.completions.stream({ model: 'fast', messages: HELLO });
  let words = '';
  stream.on('content', (delta) => (words += delta));
  const final = await stream.finalChatCompletion();
  assert.ok(words);
  assert.equal(final.choices[0].message.content, words);
});

test('a stream as a web stream', async () => {
  const stream = await ask({ stream: true });
  const reader = stream.toReadableStream().getReader();
  const { value } = await reader.read();
  assert.ok(JSON.parse(new TextDecoder().decode(value)).choices);
  await reader.cancel();
});

test('a hundred streams at once', async () => {
  const answers = await Promise.all(
    Array.from({ length: 100 }, async (_, i) => wordsOf(await ask({ messages: [{ role: 'user', content: `Boat ${i}` }], stream: true }))));
  assert.ok(answers.every(Boolean));
  assert.ok(new Set(answers).size > 90);
});

// ------------------------------------------------------------------------------ tools, structure

test('a tool is called and its result is taken', async () => {
  const first = await ask({ messages: WEATHER, tools });
  const message = first.choices[0].message;
  assert.equal(first.choices[0].finish_reason, 'tool_calls');
  const call = message.tool_calls[0];
  assert.equal(call.function.name, 'get_weather');
  assert.deepEqual(Object.keys(JSON.parse(call.function.arguments)).sort(), ['city', 'unit']);
  const second = await ask({ tools, messages: [...WEATHER, message, { role: 'tool', tool_call_id: call.id, content: '12 degrees' }] });
  assert.ok(second.choices[0].message.content);
});

test('a tool call is streamed', async () => {
  let name = '';
  let args = '';
  for await (const chunk of await ask({ messages: WEATHER, tools, stream: true })) {
    for (const call of chunk.choices[0].delta.tool_calls ?? []) {
      name += call.function?.name ?? '';
      args += call.function?.arguments ?? '';
    }
  }
  assert.equal(name, 'get_weather');
  assert.ok(JSON.parse(args).city);
});

test('tools are run by the helper', async () => {
  const asked = [];
  const runner = client.chat.completions.runTools({
    model: 'fast',
    messages: WEATHER,
    tools: [{ type: 'function', function: { name: 'get_weather', description: 'The weather in a city', parameters, parse: JSON.parse, function: (args) => { asked.push(args); return '12 degrees'; } } }],
  });
  assert.ok(await runner.finalContent());
  assert.equal(asked.length, 1);
});

test('structured output is parsed', async () => {
  const Boat = z.object({ name: z.string(), tons: z.number(), cargo: z.array(z.string()) });
  const answer = await client.chat.completions.parse({ model: 'fast', messages: HELLO, response_format: zodResponseFormat(Boat, 'boat') });
  assert.ok(Boat.safeParse(answer.choices[0].message.parsed).success);
});

// ------------------------------------------------------------------------------ other endpoints

test('completions', async () => {
  const whole = await client.completions.create({ model: 'fast', prompt: 'A lock is' });
  let words = '';
  for await (const chunk of await client.completions.create({ model: 'fast', prompt: 'A lock is', stream: true })) words += chunk.choices[0]?.text ?? '';
  assert.equal(words, whole.choices[0].text);
});

test('embeddings', async () => {
  const fields = { model: 'embed', input: ['one', 'two'], dimensions: 16 };
  const packed = await client.embeddings.create(fields);
  const floats = await client.embeddings.create({ ...fields, encoding_format: 'float' });
  assert.equal(packed.data.length, 2);
  packed.data[1].embedding.forEach((x, i) => assert.ok(Math.abs(x - floats.data[1].embedding[i]) < 1e-6));
});

test('models', async () => {
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  assert.ok(names.includes('fast') && names.includes('embed'));
  assert.equal((await client.models.retrieve('fast')).id, 'fast');
  assert.equal((await client.models.retrieve('mock/tokens-5')).id, 'mock/tokens-5');
  assert.ok((await errorOf(client.models.retrieve('nobody'))) instanceof OpenAI.NotFoundError);
});

test('a response and its life', async () => {
  const made = await client.responses.create({ model: 'fast', input: 'Say hello.', store: true });
  assert.ok(made.output_text);
  assert.equal((await client.responses.retrieve(made.id)).id, made.id);
  await client.responses.delete(made.id);
  assert.ok((await errorOf(client.responses.retrieve(made.id))) instanceof OpenAI.NotFoundError);
});

test('a response is streamed', async () => {
  const kinds = [];
  let words = '';
  for await (const event of await client.responses.create({ model: 'fast', input: 'Say hello.', stream: true })) {
    kinds.push(event.type);
    if (event.type === 'response.output_text.delta') words += event.delta;
  }
  assert.equal(kinds.at(-1), 'response.completed');
  assert.ok(words);
});

test('moderations', async () => {
  const answer = await client.moderations.create({ model: 'moderation', input: 'I want to hurt' });
  assert.ok(answer.results[0].flagged);
});

test('images', async () => {
  const made = await client.images.generate({ model: 'image', prompt: 'A lock gate' });
  const png = Buffer.from(made.data[0].b64_json, 'base64');
  const edited = await client.images.edit({ model: 'image', prompt: 'More water', image: await toFile(png, 'gate.png', { type: 'image/png' }) });
  assert.ok(edited.data[0].b64_json);
});

test('speech and transcription', async () => {
  const speech = await client.audio.speech.create({ model: 'audio', voice: 'alloy', input: 'Hello.' });
  const wav = Buffer.from(await speech.arrayBuffer());
  assert.equal(wav.subarray(0, 4).toString(), 'RIFF');
  const heard = await client.audio.transcriptions.create({ model: 'audio', file: await toFile(sound(2), 'hello.wav') });
  assert.ok(heard.text);
  let last;
  for await (const event of await client.audio.transcriptions.create({ model: 'audio', file: await toFile(sound(), 'hello.wav'), stream: true })) last = event;
  assert.equal(last.type, 'transcript.text.done');
});

test('a file and its life', async () => {
  const content = Buffer.from('{"a": 1}\n'.repeat(50000));
  const made = await client.files.create({ file: await toFile(content, 'a.jsonl'), purpose: 'batch' });
  assert.equal(made.bytes, content.length);
  assert.deepEqual(Buffer.from(await (await client.files.content(made.id)).arrayBuffer()), content);
  const names = [];
  for await (const file of client.files.list()) names.push(file.id);
  assert.ok(names.includes(made.id));
  await client.files.delete(made.id);
  assert.ok((await errorOf(client.files.retrieve(made.id))) instanceof OpenAI.NotFoundError);
});

test('over TLS', async () => {
  const secure = make({ baseURL: tlsURL });
  assert.ok((await secure.chat.completions.create({ model: 'fast', messages: HELLO })).choices[0].message.content);
  assert.ok(await wordsOf(await secure.chat.completions.create({ model: 'fast', messages: HELLO, stream: true })));
});

// This SDK speaks realtime over TLS only.
test('a realtime conversation', async () => {
  const talk = await OpenAIRealtimeWS.create(make({ baseURL: tlsURL }), { model: 'fast' });
  const kinds = [];
  await new Promise((done, fail) => {
    talk.on('error', fail);
    talk.on('event', (event) => {
      kinds.push(event.type);
      if (event.type === 'session.created') {
        talk.send({ type: 'conversation.item.create', item: { type: 'message', role: 'user', content: [{ type: 'input_text', text: 'Hello' }] } });
        talk.send({ type: 'response.create' });
      }
      if (event.type === 'response.done') done();
    });
  });
  talk.close();
  assert.ok(kinds.includes('response.output_text.delta'));
});

// ------------------------------------------------------------------------------ errors

test('a wrong key is an AuthenticationError', async () => {
  const stranger = make({ apiKey: KEY_WRONG });
  for (const call of [
    () => stranger.chat.completions.create({ model: 'fast', messages: HELLO }),
    () => stranger.chat.completions.create({ model: 'fast', messages: HELLO, stream: true }),
    () => stranger.models.list(),
    () => stranger.embeddings.create({ model: 'embed', input: 'x' }),
    () => stranger.responses.create({ model: 'fast', input: 'x' }),
    async () => stranger.files.create({ file: await toFile(Buffer.from('{}'), 'a.jsonl'), purpose: 'batch' }),
  ]) {
    const error = await errorOf(call());
    assert.ok(error instanceof OpenAI.AuthenticationError, String(error));
    assert.equal(error.code, 'invalid_api_key');
  }
});

test('a wrong key with twenty megabytes is still told', async () => {
  const messages = [{ role: 'user', content: 'x'.repeat(20 << 20) }];
  for (let i = 0; i < 6; i++) {
    const error = await errorOf(make({ apiKey: KEY_WRONG }).chat.completions.create({ model: 'fast', messages }));
    assert.ok(error instanceof OpenAI.AuthenticationError, `${error} ${error.cause?.cause}`);
  }
});

test('a body that is too large is told so', async () => {
  const error = await errorOf(ask({ messages: [{ role: 'user', content: 'x'.repeat(33 << 20) }] }));
  assert.equal(error.status, 413, `${error} ${error.cause?.cause}`);
});

test('a model that is not allowed is a PermissionDeniedError', async () => {
  const error = await errorOf(make({ apiKey: KEY_GLOBEX }).embeddings.create({ model: 'embed', input: 'x' }));
  assert.ok(error instanceof OpenAI.PermissionDeniedError);
  assert.equal(error.code, 'model_not_allowed');
});

test('a model that is not there is a NotFoundError', async () => {
  const error = await errorOf(ask({ model: 'nobody' }));
  assert.ok(error instanceof OpenAI.NotFoundError);
  assert.equal(error.param, 'model');
});

test('a field of the wrong kind is a BadRequestError', async () => {
  const error = await errorOf(ask({ n: 'many' }));
  assert.ok(error instanceof OpenAI.BadRequestError);
  assert.equal(error.param, 'n');
});

for (const [status, kind] of [
  [400, OpenAI.BadRequestError], [404, OpenAI.NotFoundError], [409, OpenAI.ConflictError],
  [422, OpenAI.UnprocessableEntityError], [429, OpenAI.RateLimitError], [500, OpenAI.InternalServerError],
  [503, OpenAI.InternalServerError],
]) {
  test(`status ${status} of a provider has its class`, async () => {
    for (const stream of [false, true]) {
      const error = await errorOf(ask({ model: `mock/${status}`, stream }));
      assert.ok(error instanceof kind, String(error));
      assert.equal(error.status, status);
    }
  });
}

for (const fault of ['reset-mid', 'bad-chunk', 'cut', 'error-mid', 'stall']) {
  test(`a stream that breaks (${fault}) throws`, async () => {
    const chunks = [];
    const error = await errorOf((async () => {
      for await (const chunk of await ask({ model: `mock/${fault}-5+rate-50`, stream: true })) chunks.push(chunk);
    })());
    assert.ok(error instanceof OpenAI.APIError, String(error));
    assert.ok(chunks.length > 0 && chunks.every((chunk) => chunk.choices[0].finish_reason === null));
  });
}

// ------------------------------------------------------------------------------ time, retries, leaving

test('a client that runs out of patience', async () => {
  const error = await errorOf(ask({ model: 'mock/stall-head' }, { timeout: 400 }));
  assert.ok(error instanceof OpenAI.APIConnectionTimeoutError, String(error));
  await eventually(async () => (await stats('mock/stall-head')).in_flight === 0);
});

test('a gateway that runs out of patience', async () => {
  const error = await errorOf(ask({ model: 'hasty' }));
  assert.equal(error.status, 504);
  assert.equal(error.code, 'upstream_timeout');
});

test('nobody listens', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((done) => server.once('listening', done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  const error = await errorOf(make({ baseURL: `http://127.0.0.1:${port}/v1` }).models.list());
  assert.ok(error instanceof OpenAI.APIConnectionError, String(error));
});

test('the SDK retries as often as it was told', async () => {
  await errorOf(make({ maxRetries: 1 }).chat.completions.create({ model: 'mock/500', messages: HELLO }));
  assert.equal((await stats('mock/500')).received, 2);
});

test('the SDK does not multiply our retries', async () => {
  const error = await errorOf(make({ maxRetries: 3 }).chat.completions.create({ model: 'tried', messages: HELLO }));
  assert.equal(error.status, 503);
  assert.equal((await stats('mock/503')).received, 2);
});

test('a stream that is aborted ends the upstream call', async () => {
  const stream = await ask({ model: ENDLESS, stream: true });
  let chunks = 0;
  for await (const chunk of stream) {
    if (chunk && ++chunks === 3) stream.controller.abort();
  }
  await eventually(async () => (await stats(ENDLESS)).cut === 1);
});

test('a stream that is left by break ends the upstream call', async () => {
  for await (const chunk of await ask({ model: ENDLESS, stream: true })) if (chunk) break;
  await eventually(async () => (await stats(ENDLESS)).cut === 1);
});

test('a signal ends a call that waits', async () => {
  const abort = new AbortController();
  const waiting = errorOf(ask({ model: 'mock/slow-60s' }, { signal: abort.signal }));
  await eventually(async () => (await stats('mock/slow-60s')).in_flight === 1, 5000);
  abort.abort();
  assert.ok((await waiting) instanceof OpenAI.APIUserAbortError);
  await eventually(async () => (await stats('mock/slow-60s')).in_flight === 0);
});

test('after all that it still serves', async () => {
  await sleep(50);
  assert.ok((await ask()).choices[0].message.content);
});
