# SPDX-License-Identifier: Apache-2.0
"""openai for Python: files, batches, a realtime conversation."""

import json
import time

import openai
import pytest
from harness import KEY_ACME, KEY_GLOBEX, KEY_WRONG

LINES = b"".join(json.dumps({
    "custom_id": f"call-{i}", "method": "POST", "url": "/v1/chat/completions",
    "body": {"model": "mock", "messages": [{"role": "user", "content": f"Say {i}."}]}}).encode() + b"\n"
    for i in range(5))


def upload(client, content=LINES, purpose="batch"):
    return client.files.create(file=("lines.jsonl", content), purpose=purpose)


# ------------------------------------------------------------------------------- files


def test_a_file_and_its_life(client):
    made = upload(client)
    assert (made.bytes, made.filename, made.purpose) == (len(LINES), "lines.jsonl", "batch")
    assert client.files.retrieve(made.id).id == made.id
    assert client.files.content(made.id).read() == LINES
    assert made.id in [file.id for file in client.files.list()]
    assert client.files.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(made.id)
    assert made.id not in [file.id for file in client.files.list()]


def test_a_file_of_bytes_that_look_like_forms(client):
    content = b'--\r\nContent-Disposition: form-data; name="model"\r\n\r\nother\r\n--\0\xff\r\n' * 1000
    made = upload(client, content, "user_data")
    assert client.files.content(made.id).read() == content


def test_a_large_file(client):
    content = bytes(range(256)) * 4 * 1024 * 20  # 20 MiB
    assert upload(client, content, "user_data").bytes == len(content)


def test_an_empty_list(base_url):
    with openai.OpenAI(base_url=base_url, api_key=KEY_GLOBEX, max_retries=0) as other:
        assert list(other.files.list()) == [] and list(other.batches.list()) == []


def test_a_file_of_another_tenant_is_not_found(client, base_url):
    made = upload(client)
    with openai.OpenAI(base_url=base_url, api_key=KEY_GLOBEX, max_retries=0) as other:
        for ask in (other.files.retrieve, other.files.content, other.files.delete):
            with pytest.raises(openai.NotFoundError):
                ask(made.id)
    assert client.files.retrieve(made.id).id == made.id


def test_a_file_that_never_was(client):
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve("file-nobody")


# ------------------------------------------------------------------------------- batches


def wait_for(client, batch, status="completed", within=20):
    deadline = time.monotonic() + within
    while batch.status != status:
        assert time.monotonic() < deadline, batch
        time.sleep(0.1)
        batch = client.batches.retrieve(batch.id)
    return batch


def begin(client):
    return client.batches.create(input_file_id=upload(client).id, endpoint="/v1/chat/completions",
                                 completion_window="24h")


def test_a_batch_and_what_it_answers(client):
    batch = begin(client)
    assert batch.status == "validating"
    assert batch.id in [each.id for each in client.batches.list()]
    batch = wait_for(client, batch)
    assert (batch.request_counts.completed, batch.request_counts.failed) == (5, 0)
    lines = client.files.content(batch.output_file_id).text.splitlines()
    answers = {line["custom_id"]: line["response"] for line in map(json.loads, lines)}
    assert sorted(answers) == [f"call-{i}" for i in range(5)]
    assert all(answer["status_code"] == 200 for answer in answers.values())


def test_a_batch_is_cancelled(client):
    batch = begin(client)
    assert client.batches.cancel(batch.id).status in ("cancelling", "cancelled")
    wait_for(client, batch, "cancelled")


def test_a_batch_of_another_tenant_is_not_found(client, base_url):
    batch = begin(client)
    with openai.OpenAI(base_url=base_url, api_key=KEY_GLOBEX, max_retries=0) as other:
        with pytest.raises(openai.NotFoundError):
            other.batches.retrieve(batch.id)
        with pytest.raises(openai.APIStatusError) as caught:
            other.batches.create(input_file_id=batch.input_file_id, endpoint="/v1/chat/completions",
                                 completion_window="24h")
    assert caught.value.status_code in (400, 404)


# ------------------------------------------------------------------------------- realtime


def say(connection, words):
    connection.conversation.item.create(item={
        "type": "message", "role": "user", "content": [{"type": "input_text", "text": words}]})
    connection.response.create()
    events = []
    for event in connection:
        events.append(event)
        if event.type == "response.done":
            return events
    raise AssertionError(f"it ended: {events}")


def test_a_realtime_conversation(client, mock):
    with client.realtime.connect(model="fast") as connection:
        assert connection.recv().type == "session.created"
        connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        assert connection.recv().type == "session.updated"
        for turn in range(3):
            events = say(connection, f"Turn {turn}")
            words = "".join(event.delta for event in events if event.type == "response.output_text.delta")
            assert words and events[-1].response.usage.output_tokens > 0
    assert mock.stats("mock")["whole"] == 3


def test_a_realtime_conversation_of_another_kind_of_client(base_url):
    import asyncio

    async def talk():
        async with openai.AsyncOpenAI(base_url=base_url, api_key=KEY_ACME) as client:
            async with client.realtime.connect(model="fast") as connection:
                await connection.conversation.item.create(item={
                    "type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello"}]})
                await connection.response.create()
                async for event in connection:
                    if event.type == "response.done":
                        return event.response.status

    assert asyncio.run(asyncio.wait_for(talk(), 20)) == "completed"


def test_a_realtime_event_that_is_not_known_is_an_error_event(client):
    with client.realtime.connect(model="fast") as connection:
        connection.send({"type": "nonsense"})
        kinds = [connection.recv().type for _ in range(2)]
    assert kinds == ["session.created", "error"]


@pytest.mark.parametrize("key, model, status", [(KEY_WRONG, "fast", 401), (KEY_GLOBEX, "embed", 403),
                                                (KEY_ACME, "nobody", 404)])
def test_a_realtime_conversation_is_refused(base_url, key, model, status):
    from websockets.exceptions import InvalidStatus

    with openai.OpenAI(base_url=base_url, api_key=key, max_retries=0) as other:
        with pytest.raises(InvalidStatus) as caught:
            with other.realtime.connect(model=model):
                pass
    assert caught.value.response.status_code == status
