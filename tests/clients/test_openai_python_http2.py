# SPDX-License-Identifier: Apache-2.0
"""openai for Python over HTTP/2, as httpx speaks it: whole, streamed, many at once, refused."""

import asyncio

import httpx
import openai
import pytest
from harness import KEY_ACME
from questions import text_of

STREAMS = 80


def question(number):
    return [{"role": "user", "content": f"Tell me about boat number {number}."}]


@pytest.fixture
def client(base_url):
    """http2 alone: in clear by prior knowledge."""
    with httpx.Client(http1=False, http2=True) as inner:
        with openai.OpenAI(base_url=base_url, api_key=KEY_ACME, max_retries=0, timeout=60, http_client=inner) as out:
            yield out


def test_whole_and_streamed(client, gate):
    raw = client.chat.completions.with_raw_response.create(model="fast", messages=question(1))
    assert raw.http_response.http_version == "HTTP/2"
    whole = raw.parse().choices[0].message.content
    stream = client.chat.completions.create(model="fast", messages=question(1), stream=True)
    assert text_of(list(stream)) == whole
    assert gate.ledger_row(raw.http_response.headers["x-request-id"])["outcome"] == "complete"


def test_refusals_are_the_errors_that_it_knows(client, base_url):
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="nobody-has-this", messages=question(1))
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").chat.completions.create(model="fast", messages=question(1))
    assert client.chat.completions.create(model="fast", messages=question(1)).choices


def test_many_at_once_on_one_connection(base_url):
    async def everything():
        async with httpx.AsyncClient(http1=False, http2=True, limits=httpx.Limits(max_connections=1)) as inner:
            async with openai.AsyncOpenAI(base_url=base_url, api_key=KEY_ACME, max_retries=0, timeout=60,
                                          http_client=inner) as client:
                async def whole(number):
                    answer = await client.chat.completions.create(model="fast", messages=question(number))
                    return answer.choices[0].message.content

                async def streamed(number):
                    stream = await client.chat.completions.create(model="fast", messages=question(number), stream=True)
                    return text_of([chunk async for chunk in stream])

                wholes = await asyncio.gather(*(whole(i) for i in range(STREAMS)))
                return wholes, await asyncio.gather(*(streamed(i) for i in range(STREAMS)))

    wholes, streams = asyncio.run(everything())
    assert wholes == streams and len(set(wholes)) > STREAMS * 0.9
