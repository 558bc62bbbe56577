# SPDX-License-Identifier: Apache-2.0
"""Claude Code and Codex, unchanged, do one turn with a tool; the provider behind speaks their dialect or another.

The script knows no word of the answer: it asks for a file to be read, and says what it was given. So the word in the
file comes out at the end only when the call of the tool and its result have both gone across.
"""

import json

import cli
import pytest
from crossing import gate, root, second  # noqa: F401
from harness import KEY_ACME

WORD = "heron-4711"
CALL = "call_1"


def sse(*rows):
    return b"".join(b"data: %s\n\n" % json.dumps(row).encode() for row in rows)


def named(*rows):
    return b"".join(b"event: %s\ndata: %s\n\n" % (row["type"].encode(), json.dumps(row).encode()) for row in rows)


def openai_words(call, text, tool):
    if tool:
        name, arguments = tool
        delta = {"role": "assistant", "content": None, "tool_calls": [
            {"index": 0, "id": CALL, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}]}
    else:
        delta = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "x"}
    end = "tool_calls" if tool else "stop"
    if not call.json.get("stream"):
        message = {"index": 0, "message": delta, "finish_reason": end}
        return call.respond(200, {**head, "object": "chat.completion", "choices": [message], "usage": usage})
    return sse({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
               {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": end}]},
               {**head, "choices": [], "usage": usage}) + b"data: [DONE]\n\n"


def anthropic_words(call, text, tool):
    block = {"type": "tool_use", "id": "toolu_1", "name": tool[0], "input": {}} if tool else {"type": "text", "text": ""}
    delta = {"type": "input_json_delta", "partial_json": json.dumps(tool[1])} if tool else {"type": "text_delta", "text": text}
    usage = {"input_tokens": 11, "output_tokens": 7}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "x", "content": [], "stop_reason": None,
               "stop_sequence": None, "usage": usage}
    end = "tool_use" if tool else "end_turn"
    if not call.json.get("stream"):
        whole = {**block, "input": tool[1]} if tool else {**block, "text": text}
        return call.respond(200, {**message, "content": [whole], "stop_reason": end})
    return named({"type": "message_start", "message": message}, {"type": "content_block_start", "index": 0, "content_block": block},
                 {"type": "content_block_delta", "index": 0, "delta": delta}, {"type": "content_block_stop", "index": 0},
                 {"type": "message_delta", "delta": {"stop_reason": end, "stop_sequence": None}, "usage": usage},
                 {"type": "message_stop"})


def gemini_words(call, text, tool):
    part = {"functionCall": {"name": tool[0], "args": tool[1]}, "thoughtSignature": "c2ln"} if tool else {"text": text}
    body = {"candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}],
            "usageMetadata": {"promptTokenCount": 11, "candidatesTokenCount": 7, "totalTokenCount": 18}, "modelVersion": "x",
            "responseId": "r1"}
    return call.respond(200, body) if "streamGenerateContent" not in call.path else sse(body)


def responses_words(call, text, tool):
    if tool:
        item = {"type": "function_call", "id": "fc_1", "call_id": CALL, "name": tool[0], "arguments": json.dumps(tool[1]),
                "status": "completed"}
    else:
        item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
                "content": [{"type": "output_text", "text": text, "annotations": []}]}
    usage = {"input_tokens": 11, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 7,
             "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 18}
    body = {"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "x", "output": [item], "usage": usage}
    return named({"type": "response.created", "response": {**body, "status": "in_progress", "output": [], "usage": None}},
                 {"type": "response.output_item.done", "output_index": 0, "item": item},
                 {"type": "response.completed", "response": body})


PATHS = (("/messages", anthropic_words), ("/v1beta/", gemini_words), ("/responses", responses_words), ("/chat/completions", openai_words))


def tools_of(body):
    """Name and properties of each function that was offered, in whatever dialect."""
    found = {}
    for tool in body.get("tools") or []:
        for each in tool.get("functionDeclarations") or [tool.get("function") or tool]:
            schema = each.get("input_schema") or each.get("parameters") or each.get("parametersJsonSchema") or {}
            found[each.get("name")] = schema.get("properties") or {}
    return found


def reading(tools, file):
    """How this program reads a file: a tool of its own, or a shell."""
    if "Read" in tools:
        return "Read", {"file_path": str(file)}
    for name in ("exec_command", "shell_command", "shell"):
        if name in tools:
            field = "cmd" if "cmd" in tools[name] else "command"
            words = f"cat {file}"
            return name, {field: ["bash", "-lc", words] if tools[name][field].get("type") == "array" else words}
    raise AssertionError(f"nothing to read with in {sorted(map(str, tools))}")


def script(file):
    def answer(call):
        words = next((words for part, words in PATHS if part in call.path), None)
        if not words or "count" in call.path:
            return call.respond(404, {"error": {"message": "no such call", "type": "not_found"}})
        body, text = call.json, call.body.decode()
        if WORD in text:
            out = words(call, f"The word is {WORD}.", None)
        elif tools := tools_of(body):
            out = words(call, "", reading(tools, file))
        else:
            out = words(call, "A title.", None)
        if out is not None:
            call.begin_stream()
            call.chunk(out)
            call.end_stream()
    return answer


@pytest.fixture
def note(tmp_path, upstream):
    cli.install()
    folder = tmp_path / "project"
    folder.mkdir()
    file = folder / "note.txt"
    file.write_text(f"{WORD}\n")
    upstream.answer = script(file)
    return file


def went_through_a_tool(upstream):
    """The last call that offered tools had the result of one."""
    bodies = [call.body.decode() for call in upstream.calls if b'"tools"' in call.body]
    assert len(bodies) >= 2 and WORD not in bodies[0] and WORD in bodies[-1]


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "gemini"])
def test_claude_code_reads_a_file(root, upstream, note, tmp_path, dialect):
    out = json.loads(cli.claude_code(f"Read {note} and say the word in it.", root, KEY_ACME, f"script-{dialect}",
                                     tmp_path / "home", note.parent))
    assert out["result"] == f"The word is {WORD}." and not out["is_error"]
    went_through_a_tool(upstream)


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "gemini"])
def test_codex_reads_a_file(root, upstream, note, tmp_path, dialect):
    out = cli.codex(f"Read {note} and say the word in it.", f"{root}/v1", KEY_ACME, f"script-{dialect}", tmp_path / "home", note.parent)
    rows = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    said = [row["item"] for row in rows if row["type"] == "item.completed"]
    assert any(item["type"] == "agent_message" and item["text"] == f"The word is {WORD}." for item in said), rows
    assert any(item["type"] == "command_execution" and WORD in item["aggregated_output"] for item in said), rows
    assert rows[-1]["type"] == "turn.completed" and rows[-1]["usage"]["input_tokens"] > 0
    went_through_a_tool(upstream)


def codex_here(root, note, model, home, settings=""):
    return cli.codex(f"Read {note} and say the word in it.", f"{root}/v1", KEY_ACME, model, home, note.parent, settings)


def test_codex_may_search_the_web_at_claude(root, upstream, note, tmp_path):
    """OpenAI's `web_search`, which Codex offers with every call, is Anthropic's there."""
    assert f"The word is {WORD}." in codex_here(root, note, "strict-anthropic", tmp_path / "home")
    tools = [tool for call in upstream.calls for tool in call.json.get("tools", [])]
    assert [tool for tool in tools if tool.get("type") == "web_search_20250305"], tools


def test_codex_without_its_own_search_is_not_refused(root, upstream, note, tmp_path):
    """Gemini does not search beside functions, so a call that offers both is refused."""
    def run(home, settings):
        return codex_here(root, note, "strict-gemini", tmp_path / home, settings)

    with pytest.raises(AssertionError, match=r"cannot do what is asked with: tools\[\d+\]\.type"):
        run("first", "")
    assert not upstream.calls
    assert f"The word is {WORD}." in run("second", 'web_search = "disabled"\n')
