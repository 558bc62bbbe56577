# SPDX-License-Identifier: Apache-2.0
"""openai for Python, many calls at once: 200 streams in one process."""

import asyncio

import openai
import pytest
from harness import KEY_ACME, eventually
from questions import text_of

STREAMS = 200


@pytest.fixture
def run(base_url):
    """Run function(client) on a loop of its own."""

    def run(function, seconds=60):
        async def inside():
            async with openai.AsyncOpenAI(base_url=base_url, api_key=KEY_ACME, max_retries=0, timeout=30) as client:
                return await asyncio.wait_for(function(client), seconds)

        return asyncio.run(inside())

    return run


def question(number):
    return [{"role": "user", "content": f"Tell me about boat number {number}."}]


def test_streams_at_once_do_not_mix(run, mock):
    """Each gets its own answer: the mock says the same to the same prompt."""

    async def whole(client, number):
        answer = await client.chat.completions.create(model="fast", messages=question(number))
        return answer.choices[0].message.content

    async def streamed(client, number):
        stream = await client.chat.completions.create(model="fast", messages=question(number), stream=True)
        return text_of([chunk async for chunk in stream])

    async def everything(client):
        wholes = await asyncio.gather(*(whole(client, i) for i in range(STREAMS)))
        return wholes, await asyncio.gather(*(streamed(client, i) for i in range(STREAMS)))

    wholes, streams = run(everything)
    assert streams == wholes and len(set(wholes)) > STREAMS * 0.9
    assert mock.stats("mock")["whole"] == 2 * STREAMS


def test_streams_are_open_at_the_same_time_and_cancelled_together(run, mock, gate):
    model = "mock/rate-5+tokens-100000"

    async def endless(client, number, opened):
        stream = await client.chat.completions.create(model=model, messages=question(number), stream=True)
        async for _ in stream:
            opened.add(number)

    async def everything(client):
        opened = set()
        tasks = [asyncio.create_task(endless(client, i, opened)) for i in range(STREAMS)]
        while len(opened) < STREAMS:
            assert not any(task.done() for task in tasks)
            await asyncio.sleep(0.05)
        assert mock.stats(model)["in_flight"] == STREAMS
        assert gate.metric("sluice_open_streams") == STREAMS
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert all(task.cancelled() for task in tasks)

    run(everything)
    mock.ended_as(model, "cut", STREAMS)
    eventually(lambda: gate.metric("sluice_open_streams") == 0)


def test_more_calls_than_upstream_connections(run, mock):
    """256 connections to a provider: the others wait, and are served."""

    async def everything(client):
        calls = (client.chat.completions.create(model="mock/slow-100ms+tokens-2", messages=question(i))
                 for i in range(400))
        return await asyncio.gather(*calls)

    answers = run(everything)
    assert len(answers) == 400 and all(answer.choices[0].message.content for answer in answers)


def test_one_cancelled_task_does_not_harm_the_others(run, mock):
    model = "mock/rate-40+tokens-40"

    async def stream(client, number):
        chunks = await client.chat.completions.create(model=model, messages=question(number), stream=True)
        return text_of([chunk async for chunk in chunks])

    async def everything(client):
        tasks = [asyncio.create_task(stream(client, i)) for i in range(40)]
        await asyncio.sleep(0.5)
        for task in tasks[::2]:
            task.cancel()
        return await asyncio.gather(*tasks[1::2])

    assert all(len(text.split()) > 20 for text in run(everything))
    eventually(lambda: mock.stats(model)["in_flight"] == 0, 2)
    assert mock.stats(model)["whole"] >= 20


def test_everything_at_once(run):
    async def everything(client):
        kinds = [
            lambda i: client.embeddings.create(model="embed", input=f"text {i}", dimensions=32),
            lambda i: client.responses.create(model="fast", input=f"text {i}"),
            lambda i: client.chat.completions.create(model="fast", messages=question(i)),
            lambda i: client.models.list(),
            lambda i: client.completions.create(model="fast", prompt=f"text {i}"),
        ]
        return await asyncio.gather(*(kinds[i % len(kinds)](i) for i in range(200)))

    assert len(run(everything)) == 200


def test_a_time_out_of_one_task(run, mock):
    async def everything(client):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await client.chat.completions.create(model="mock/stall-head", messages=question(1))

    run(everything)
    eventually(lambda: mock.stats("mock/stall-head")["in_flight"] == 0, 1, what="the upstream call to end")
