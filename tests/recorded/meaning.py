# SPDX-License-Identifier: Apache-2.0
"""What an answer means, read from its bytes by the references of each dialect and by nothing else.

This is a second reading, made without the program: what it writes is read here again and compared
with what the provider said. One reader for each dialect, for streams and for whole bodies.

    answer(dialect, body, streamed) -> Answer

Dialects are called as the recordings call them, or as the translators do.
"""

import base64
import json
import struct
import sys
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "cases" / "recorded"))
from expect import chunk_usage, events_of, read_usage

KINDS = ("input", "cached", "written", "output", "reasoning")


class Choice:
    """One choice: what was said, what is to be called, why it ended."""

    def __init__(self):
        self.text, self.refusal, self.reasoning = "", "", ""
        self.calls = []  # [name, arguments as a JSON value]
        self.proofs, self.sealed = [], []  # signatures of reasoning and calls; encrypted reasoning
        self.text_proofs, self.other_proofs = [], []  # signatures of a text; of anything else
        self.spoken = ""  # the words of sound
        self.urls, self.media, self.sound = [], [], ""
        self.finish = None

    def add_url(self, url):
        if url and url not in self.urls:
            self.urls.append(url)

    def form(self):
        finish = self.finish or "stop"
        if self.calls and finish == "stop":
            finish = "calls"  # half of all providers say "stop"
        if self.refusal and finish in ("stop", "filter"):
            finish = "refusal"
        proofs = {unwrapped(one) for one in [*self.proofs, *self.text_proofs, *self.other_proofs]}
        return {
            "text": self.text + self.spoken,
            "refusal": self.refusal,
            "reasoning": self.reasoning,
            "calls": [[name, arguments_of(given)] for name, given in self.calls],
            "proofs": sorted(proofs | {unwrapped(one) for one in self.sealed}),
            "_sealed": {unwrapped(one) for one in self.sealed},
            "_of_text": {unwrapped(one) for one in self.text_proofs},
            "_of_other": {unwrapped(one) for one in self.other_proofs},
            "_spoken": self.spoken,
            "_ended": self.finish or "stop",
            "urls": sorted(self.urls),
            "images": self.media,
            "sound": self.sound,
            "finish": finish,
        }


class Answer:
    def __init__(self):
        self.choices = {}
        self.id = None
        self.usage = None
        self.failed = False
        self.ended = False

    def choice(self, index):
        return self.choices.setdefault(index, Choice())

    def whole(self):
        return self.ended and not self.failed

    def form(self):
        usage = None
        if self.usage:
            usage = {kind: self.usage.get(kind) or 0 for kind in KINDS}
        return {"choices": [self.choices[i].form() for i in sorted(self.choices)], "usage": usage}


def arguments_of(given):
    """The arguments as a JSON value; a text that is none is kept as it is."""
    if not isinstance(given, str):
        return {} if given is None else given
    if not given.strip() or given.strip() == "null":
        return {}
    try:
        return json.loads(given)
    except ValueError:
        return {"arguments": given}


def unwrapped(proof):
    """A dialect that has one place only for what is signed and sealed gets it with a mark of whose it is:
    sluice:1:DIALECT:OF:SIGNATURE:SEALED:CALL, or sluice:DIALECT:KIND:LENGTH OF AN ID:THE ID AND THE PROOF."""
    if proof.startswith("sluice:1:"):
        return "".join(proof.split(":")[4:6])
    if proof.startswith("sluice:"):
        _, _, _, length, rest = proof.split(":", 4)
        return rest[int(length) :]
    return proof


def frames_of(body):
    """The JSON of each event of a stream, [DONE] as the string; what is broken is None."""
    for name, data in events_of(body + "\n\n"):
        if data is None:
            continue
        if data == "[DONE]":
            yield name, data
            continue
        try:
            yield name, json.loads(data)
        except ValueError:
            yield name, None


# ------------------------------------------------------------------- chat completions

CHAT_FINISH = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "calls",
    "function_call": "calls",
    "content_filter": "filter",
    "model_length": "length",
    "error": "error",
}


def chat_content(choice, content):
    if isinstance(content, str):
        choice.text += content
    elif isinstance(content, dict):  # of some, where a schema was asked for
        choice.text += json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    for part in content if isinstance(content, list) else []:
        kind = part.get("type")
        if kind == "text":
            choice.text += part.get("text") or ""
        elif kind == "thinking":
            inner = part.get("thinking")
            choice.reasoning += inner if isinstance(inner, str) else "".join(one.get("text") or "" for one in inner or [])
        elif kind == "image_url":
            chat_image(choice, part)


def chat_image(choice, part):
    url = (part.get("image_url") or {}).get("url") or ""
    choice.media.append(url.partition(",")[2] if url.startswith("data:") else url)


def chat_reasoning(choice, message):
    """One of its several names; what stands in two of them is one reasoning."""
    plain = message.get("reasoning_content") or message.get("reasoning")
    details = message.get("reasoning_details")
    details = details if isinstance(details, list) else []
    said = "".join(one.get("text") or one.get("summary") or "" for one in details)
    choice.reasoning += plain if isinstance(plain, str) and plain else said
    for one in details:
        if one.get("signature"):
            choice.proofs.append(one["signature"])
        if one.get("data"):
            choice.sealed.append(one["data"])


def chat_calls(choice, message, open_calls):
    """Whole calls, or pieces of them: by index, else by a new id, else more of the last."""
    for place, call in enumerate(message.get("tool_calls") or []):
        function = call.get("function") or {}
        if open_calls is None:
            key = ("whole", place)
            open_calls_here = {}
        else:
            open_calls_here = open_calls
            index = call.get("index")
            if index is not None:
                key = index
                before = open_calls.get(key)
                if before and call.get("id") and before["id"] and call["id"] != before["id"] and function.get("name"):
                    key = call["id"]  # providers that count every call as 0
                elif not function.get("name") and not call.get("id") and open_calls and key not in open_calls:
                    key = list(open_calls)[-1]
            else:
                key = call.get("id") or (list(open_calls)[-1] if open_calls else place)
        one = open_calls_here.get(key)
        if one is None:
            one = open_calls_here[key] = {"id": call.get("id"), "call": [function.get("name") or "", ""]}
            choice.calls.append(one["call"])
        elif function.get("name") and not one["call"][0]:
            one["call"][0] = function["name"]
        given = function.get("arguments")
        one["call"][1] += given if isinstance(given, str) else json.dumps(given) if given is not None else ""
        google = ((call.get("extra_content") or {}).get("google") or {}).get("thought_signature")
        if google:
            choice.proofs.append(google)
    legacy = message.get("function_call")
    if isinstance(legacy, dict) and (legacy.get("name") or legacy.get("arguments")):
        if open_calls is None or "legacy" not in open_calls:
            one = [legacy.get("name") or "", ""]
            choice.calls.append(one)
            if open_calls is not None:
                open_calls["legacy"] = {"id": None, "call": one}
        else:
            one = open_calls["legacy"]["call"]
        one[1] += legacy.get("arguments") or ""


def chat_message(choice, message, open_calls):
    chat_content(choice, message.get("content"))
    choice.refusal += message.get("refusal") or ""
    chat_reasoning(choice, message)
    chat_calls(choice, message, open_calls)
    for note in message.get("annotations") or []:
        choice.add_url((note.get("url_citation") or {}).get("url"))
    for image in message.get("images") or []:
        chat_image(choice, image)
    sound = message.get("audio")
    if isinstance(sound, dict):
        choice.spoken += sound.get("transcript") or ""
        choice.sound += sound.get("data") or ""


def chat_chunk(answer, chunk, open_calls):
    usage = chunk_usage(chunk)
    if usage:
        seen = read_usage(usage, "chat", {})
        if seen.get("seen"):
            answer.usage = seen
    for one in chunk.get("choices") or []:
        choice = answer.choice(one.get("index") or 0)
        if choice.finish and chunk.get("id") != answer.id:
            continue  # one recording has a second answer behind the first
        answer.id = chunk.get("id")
        message = one.get("message") if open_calls is None else one.get("delta")
        calls = None if open_calls is None else open_calls.setdefault(one.get("index") or 0, {})
        chat_message(choice, message or {}, calls)
        if one.get("finish_reason"):
            choice.finish = CHAT_FINISH.get(one["finish_reason"], "stop")
            answer.ended = True
    sources = chunk.get("citations")
    for url in sources if isinstance(sources, list) else []:
        if isinstance(url, str):
            answer.choice(0).add_url(url)


def read_chat(body, streamed):
    answer = Answer()
    if not streamed:
        value = json.loads(body)
        answer.failed = bool(value.get("error")) or not value.get("choices")
        chat_chunk(answer, value, None)
        answer.ended = True
        return answer
    open_calls = {}
    for name, chunk in frames_of(body):
        if chunk == "[DONE]":
            answer.ended = True
            break
        if not isinstance(chunk, dict) or name == "error" or chunk.get("error"):
            answer.failed = True
        else:
            chat_chunk(answer, chunk, open_calls)
    return answer


def read_completions(body, streamed):
    answer = Answer()
    for name, chunk in frames_of(body) if streamed else [("", json.loads(body))]:
        if chunk == "[DONE]":
            answer.ended = True
            continue
        if not isinstance(chunk, dict) or name == "error" or chunk.get("error"):
            answer.failed = True
            continue
        usage = chunk_usage(chunk)
        if usage:
            seen = read_usage(usage, "completion", {})
            answer.usage = seen if seen.get("seen") else answer.usage
        for one in chunk.get("choices") or []:
            choice = answer.choice(one.get("index") or 0)
            choice.text += one.get("text") or ""
            if one.get("finish_reason"):
                choice.finish = CHAT_FINISH.get(one["finish_reason"], "stop")
                answer.ended = True
    answer.ended = answer.ended or not streamed
    return answer


# -------------------------------------------------------------------------- responses


def responses_item(choice, item):
    kind = item.get("type")
    if kind == "message":
        for part in item.get("content") or []:
            if part.get("type") == "refusal":
                choice.refusal += part.get("refusal") or ""
            else:
                choice.text += part.get("text") or ""
            for note in part.get("annotations") or []:
                if note.get("type") == "url_citation":
                    choice.add_url(note.get("url"))
    elif kind == "function_call":
        choice.calls.append([item.get("name") or "", item.get("arguments") or ""])
    elif kind == "custom_tool_call":
        choice.calls.append([item.get("name") or "", {"input": item.get("input") or ""}])
    elif kind == "reasoning":
        content = [one.get("text") or "" for one in item.get("content") or []]
        summary = [one.get("text") or "" for one in item.get("summary") or []]
        choice.reasoning += "".join(content) or "\n\n".join(summary)
        if item.get("encrypted_content"):
            choice.sealed.append(item["encrypted_content"])
    elif kind == "image_generation_call" and item.get("result"):
        choice.media.append(item["result"])


def responses_object(answer, value, items=None):
    choice = answer.choice(0)
    for item in items if items is not None else value.get("output") or []:
        responses_item(choice, item)
    usage = value.get("usage")
    if isinstance(usage, dict):
        seen = read_usage(usage, "response", {})
        answer.usage = seen if seen.get("seen") else None
    status = value.get("status")
    reason = (value.get("incomplete_details") or {}).get("reason")
    if status == "incomplete":
        reasons = {"max_output_tokens": "length", "content_filter": "filter", "max_messages": "pause"}
        choice.finish = reasons.get(reason, "stop")
    elif status == "completed":
        choice.finish = "stop"
    answer.failed = status in ("failed", "cancelled") or bool(value.get("error"))
    answer.ended = status in ("completed", "incomplete", "failed", "cancelled")
    return answer


def read_responses(body, streamed):
    answer = Answer()
    if not streamed:
        return responses_object(answer, json.loads(body))
    items, last = {}, None
    for name, event in frames_of(body):
        if event == "[DONE]":
            continue
        if not isinstance(event, dict):
            answer.failed = True
            continue
        kind = event.get("type") or name
        if kind == "response.output_item.done":
            items[event.get("output_index", len(items))] = event.get("item") or {}
        elif kind in ("response.completed", "response.incomplete", "response.failed"):
            last = event.get("response") or {}
        elif kind == "error":
            answer.failed = True
    if last is None:
        return answer
    failed = answer.failed
    told = [items[i] for i in sorted(items)] or last.get("output") or []
    responses_object(answer, last, told)
    answer.failed = answer.failed or failed
    return answer


# -------------------------------------------------------------------------- anthropic

ANTHROPIC_STOP = {
    "end_turn": "stop",
    "stop_sequence": "sequence",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "calls",
    "refusal": "refusal",
    "pause_turn": "pause",
}


def anthropic_usage(usage):
    if usage.get("input_tokens") is None and usage.get("output_tokens") is None:
        return None
    aside = [step for step in usage.get("iterations") or [] if step.get("type") != "message"]  # in no total, and billed

    def count(name):
        return sum(figures.get(name) or 0 for figures in (usage, *aside))
    read, written = count("cache_read_input_tokens"), count("cache_creation_input_tokens")
    details = usage.get("output_tokens_details") or {}
    return {
        "input": count("input_tokens") + read + written,
        "cached": read,
        "written": written,
        "output": count("output_tokens"),
        "reasoning": details.get("thinking_tokens") or 0,
    }


def anthropic_block(choice, block):
    kind = block.get("type")
    if kind == "text":
        choice.text += block.get("text") or ""
        for note in block.get("citations") or []:
            choice.add_url(note.get("url") or note.get("source"))
    elif kind == "thinking":
        choice.reasoning += block.get("thinking") or ""
        if block.get("signature"):
            choice.proofs.append(block["signature"])
    elif kind == "redacted_thinking":
        choice.sealed.append(block.get("data") or "")
    elif kind == "tool_use":
        choice.calls.append([block.get("name") or "", block.get("input")])


def anthropic_event(answer, event, blocks, usage):
    kind = event.get("type")
    if kind == "message_start":
        usage.update((event.get("message") or {}).get("usage") or {})
    elif kind == "content_block_start":
        blocks[event["index"]] = dict(event.get("content_block") or {})
    elif kind == "content_block_delta":
        block, delta = blocks[event["index"]], event.get("delta") or {}
        for name in ("text", "thinking", "signature"):
            if delta.get(name):
                block[name] = (block.get(name) or "") + delta[name]
        if delta.get("partial_json"):
            block["json"] = block.get("json", "") + delta["partial_json"]
        if delta.get("citation"):
            block["citations"] = [*(block.get("citations") or []), delta["citation"]]
    elif kind == "message_delta":
        usage.update({k: v for k, v in (event.get("usage") or {}).items() if v is not None})
        reason = (event.get("delta") or {}).get("stop_reason")
        if reason:
            answer.choice(0).finish = ANTHROPIC_STOP.get(reason, "stop")
    elif kind == "message_stop":
        answer.ended = True
    elif kind == "error":
        answer.failed = True


def read_anthropic(body, streamed):
    answer, blocks, usage = Answer(), {}, {}
    choice = answer.choice(0)
    if streamed:
        for _, event in frames_of(body):
            if isinstance(event, dict):
                anthropic_event(answer, event, blocks, usage)
            elif event != "[DONE]":
                answer.failed = True
    else:
        value = json.loads(body)
        answer.failed = value.get("type") == "error"
        blocks = dict(enumerate(value.get("content") or []))
        usage = value.get("usage") or {}
        choice.finish = ANTHROPIC_STOP.get(value.get("stop_reason"), "stop")
        answer.ended = True
    for index in sorted(blocks):
        block = blocks[index]
        if "json" in block:
            block = dict(block, input=block["json"])
        anthropic_block(choice, block)
    answer.usage = anthropic_usage(usage)
    return answer


# ----------------------------------------------------------------------------- gemini

GEMINI_FINISH = {
    1: "stop",  # some ask for numbers in place of names
    2: "length",
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "MALFORMED_FUNCTION_CALL": "error",
    "UNEXPECTED_TOOL_CALL": "error",
    "OTHER": "stop",
}


def gemini_usage(usage):
    if all(usage.get(name) is None for name in ("promptTokenCount", "candidatesTokenCount", "totalTokenCount")):
        return None
    thoughts = usage.get("thoughtsTokenCount") or 0
    return {
        "input": (usage.get("promptTokenCount") or 0) + (usage.get("toolUsePromptTokenCount") or 0),
        "cached": usage.get("cachedContentTokenCount") or 0,
        "written": 0,
        "output": (usage.get("candidatesTokenCount") or 0) + thoughts,
        "reasoning": thoughts,
    }


def gemini_part(choice, part):
    if part.get("thoughtSignature"):
        home = choice.other_proofs
        if "functionCall" in part or part.get("thought"):
            home = choice.proofs
        elif "text" in part:
            home = choice.text_proofs
        home.append(part["thoughtSignature"])
    if "text" in part:
        if part.get("thought"):
            choice.reasoning += part["text"]
        else:
            choice.text += part["text"]
    elif "functionCall" in part:
        choice.calls.append([part["functionCall"].get("name") or "", part["functionCall"].get("args") or {}])
    elif "inlineData" in part:
        data = part["inlineData"].get("data") or ""
        if (part["inlineData"].get("mimeType") or "").startswith("audio/"):
            choice.sound += data
        else:
            choice.media.append(data)


def gemini_chunk(answer, chunk):
    if not isinstance(chunk, dict) or chunk.get("error"):
        answer.failed = True
        return
    usage = gemini_usage(chunk.get("usageMetadata") or {})
    answer.usage = usage or answer.usage
    for one in chunk.get("candidates") or []:
        choice = answer.choice(one.get("index") or 0)
        for part in (one.get("content") or {}).get("parts") or []:
            gemini_part(choice, part)
        for source in (one.get("groundingMetadata") or {}).get("groundingChunks") or []:
            for kind in source.values():
                choice.add_url(kind.get("uri") if isinstance(kind, dict) else None)
        for source in (one.get("citationMetadata") or {}).get("citations") or []:
            choice.add_url(source.get("uri"))
        reason = one.get("finishReason")
        if reason:
            choice.finish = GEMINI_FINISH.get(reason, "filter")
            answer.ended = True
    if (chunk.get("promptFeedback") or {}).get("blockReason"):
        answer.choice(0).finish = "filter"
        answer.ended = True


def read_gemini(body, streamed):
    answer = Answer()
    if body.lstrip().startswith("["):  # a stream without alt=sse
        chunks = json.loads(body)
    elif streamed:
        chunks = [chunk for _, chunk in frames_of(body)]
    else:
        chunks = [json.loads(body)]
    for chunk in chunks:
        gemini_chunk(answer, chunk)
    return answer


# ----------------------------------------------------------------------------- ollama


def ollama_object(answer, value):
    """One line of a stream, or all of an answer."""
    if not isinstance(value, dict) or value.get("error"):
        answer.failed = True
        return
    choice, message = answer.choice(0), value.get("message") or {}
    choice.text += message.get("content") or value.get("response") or ""
    choice.reasoning += message.get("thinking") or value.get("thinking") or ""
    for call in message.get("tool_calls") or []:
        function = call.get("function") or {}
        choice.calls.append([function.get("name") or "", function.get("arguments")])
    if value.get("done"):
        choice.finish = "length" if value.get("done_reason") == "length" else "stop"
        answer.ended = True
        if value.get("eval_count") is not None or value.get("prompt_eval_count") is not None:
            answer.usage = {"input": value.get("prompt_eval_count") or 0, "output": value.get("eval_count") or 0}


def read_ollama(body, streamed):
    answer = Answer()
    for line in body.split("\n") if streamed else [body]:
        if line.strip():
            ollama_object(answer, json.loads(line))
    return answer


# ------------------------------------------------------------------------------ cohere

COHERE_FINISH = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "sequence",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "calls",
    "ERROR": "error",
    "TIMEOUT": "error",
}


def cohere_usage(usage):
    tokens = (usage or {}).get("tokens") or (usage or {}).get("billed_units")
    if not tokens:
        return None
    return {
        "input": int(tokens.get("input_tokens") or 0) + int(tokens.get("image_tokens") or 0),
        "cached": int(usage.get("cached_tokens") or 0),
        "output": int(tokens.get("output_tokens") or 0),
        "reasoning": int(tokens.get("reasoning_tokens") or 0),
    }


def cohere_citation(choice, citation):
    for source in citation.get("sources") or []:
        for place in (source.get("document"), source.get("tool_output")):
            if isinstance(place, dict):
                choice.add_url(place.get("url"))


def cohere_end(answer, reason, usage):
    answer.choice(0).finish = COHERE_FINISH.get(reason, "stop")
    answer.usage = cohere_usage(usage)
    answer.ended = True


def cohere_event(answer, event):
    kind, choice = event.get("type"), answer.choice(0)
    message = (event.get("delta") or {}).get("message") or {}
    content = message.get("content") if isinstance(message.get("content"), dict) else {}
    call = message.get("tool_calls") if isinstance(message.get("tool_calls"), dict) else {}
    function = call.get("function") or {}
    choice.text += content.get("text") or ""
    choice.reasoning += (content.get("thinking") or "") + (message.get("tool_plan") or "")
    if kind == "tool-call-start":
        choice.calls.append([function.get("name") or "", function.get("arguments") or ""])
    elif kind == "tool-call-delta":
        choice.calls[-1][1] += function.get("arguments") or ""
    elif kind == "citation-start":
        cohere_citation(choice, message.get("citations") or {})
    elif kind == "message-end":
        delta = event.get("delta") or {}
        cohere_end(answer, delta.get("finish_reason"), delta.get("usage"))
        answer.failed = answer.failed or bool(delta.get("error"))


def read_cohere(body, streamed):
    answer = Answer()
    if streamed:
        for _, event in frames_of(body):
            if isinstance(event, dict):
                cohere_event(answer, event)
            elif event != "[DONE]":
                answer.failed = True
        return answer
    value = json.loads(body)
    choice, message = answer.choice(0), value.get("message")
    if not isinstance(message, dict):
        answer.failed = True
        return answer
    choice.reasoning += message.get("tool_plan") or ""
    for part in message.get("content") or []:
        choice.text += part.get("text") or ""
        choice.reasoning += part.get("thinking") or ""
    for call in message.get("tool_calls") or []:
        choice.calls.append([call["function"].get("name") or "", call["function"].get("arguments") or ""])
    for citation in message.get("citations") or []:
        cohere_citation(choice, citation)
    cohere_end(answer, value.get("finish_reason"), value.get("usage"))
    return answer


# ----------------------------------------------------------------------------- bedrock

BEDROCK_STOP = {
    "end_turn": "stop",
    "stop_sequence": "sequence",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "calls",
    "guardrail_intervened": "filter",
    "content_filtered": "filter",
    "malformed_model_output": "error",
    "malformed_tool_use": "error",
}


def bedrock_usage(usage):
    if not usage or usage.get("outputTokens") is None:
        return None
    read, written = usage.get("cacheReadInputTokens") or 0, usage.get("cacheWriteInputTokens") or 0
    return {"input": (usage.get("inputTokens") or 0) + read + written, "cached": read, "written": written, "output": usage["outputTokens"]}


def bedrock_block(choice, block):
    thought = block.get("reasoningContent") or {}
    choice.text += block.get("text") or ""
    choice.reasoning += (thought.get("reasoningText") or {}).get("text") or ""
    if (thought.get("reasoningText") or {}).get("signature"):
        choice.proofs.append(thought["reasoningText"]["signature"])
    if thought.get("redactedContent"):
        choice.sealed.append(base64.b64decode(thought["redactedContent"]).decode("utf-8", "replace"))
    if block.get("toolUse") and block["toolUse"].get("type") != "server_tool_use":
        choice.calls.append([block["toolUse"].get("name") or "", block["toolUse"].get("input")])
    if block.get("image"):
        choice.media.append((block["image"].get("source") or {}).get("bytes") or "")
    cited = block.get("citationsContent") or {}
    for part in cited.get("content") or []:
        choice.text += part.get("text") or ""
    for citation in cited.get("citations") or []:
        choice.add_url(bedrock_source(citation))


def bedrock_source(citation):
    web = (citation.get("location") or {}).get("web") or {}
    return web.get("url")


def bedrock_delta(block, delta):
    """A piece of a block joins what is there of it."""
    if delta.get("text") is not None:
        block["text"] = block.get("text", "") + delta["text"]
    if delta.get("toolUse"):
        block["json"] = block.get("json", "") + (delta["toolUse"].get("input") or "")
    thought = delta.get("reasoningContent") or {}
    there = block.setdefault("reasoningContent", {}) if thought else {}
    for name in ("text", "signature"):
        if thought.get(name) is not None:
            told = there.setdefault("reasoningText", {})
            told[name] = told.get(name, "") + thought[name]
    if thought.get("redactedContent"):
        there["redactedContent"] = there.get("redactedContent", "") + thought["redactedContent"]
    if delta.get("image"):
        block.setdefault("image", {})["source"] = delta["image"].get("source")
    if delta.get("citation"):
        block.setdefault("citationsContent", {}).setdefault("citations", []).append(delta["citation"])


def aws_frames(body):
    """(headers, payload) of each message of an AWS event stream; a wrong checksum is an error."""
    at = 0
    while at < len(body):
        total, head = struct.unpack_from(">II", body, at)
        if zlib.crc32(body[at : at + 8]) != struct.unpack_from(">I", body, at + 8)[0]:
            raise ValueError("the checksum of a prelude is wrong")
        if zlib.crc32(body[at : at + total - 4]) != struct.unpack_from(">I", body, at + total - 4)[0]:
            raise ValueError("the checksum of a message is wrong")
        headers, place, end = {}, at + 12, at + 12 + head
        while place < end:
            name_length = body[place]
            name = body[place + 1 : place + 1 + name_length].decode()
            place += 1 + name_length
            if body[place] != 7:
                raise ValueError("a header is no string")
            length = struct.unpack_from(">H", body, place + 1)[0]
            headers[name] = body[place + 3 : place + 3 + length].decode()
            place += 3 + length
        yield headers, body[end : at + total - 4]
        at += total


def bedrock_event(answer, kind, event, blocks):
    if kind == "contentBlockStart":
        blocks[event["contentBlockIndex"]] = dict(event.get("start") or {})
    elif kind == "contentBlockDelta":
        bedrock_delta(blocks.setdefault(event["contentBlockIndex"], {}), event.get("delta") or {})
    elif kind == "messageStop":
        answer.choice(0).finish = BEDROCK_STOP.get(event.get("stopReason"), "stop")
        answer.ended = True
    elif kind == "metadata":
        answer.usage = bedrock_usage(event.get("usage"))


def read_bedrock(body, streamed):
    answer = Answer()
    if not streamed:
        value = json.loads(body)
        for block in ((value.get("output") or {}).get("message") or {}).get("content") or []:
            bedrock_block(answer.choice(0), block)
        answer.choice(0).finish = BEDROCK_STOP.get(value.get("stopReason"), "stop")
        answer.usage = bedrock_usage(value.get("usage"))
        answer.failed, answer.ended = "output" not in value, True
        return answer
    blocks = {}
    for headers, payload in aws_frames(body):
        if headers.get(":message-type") != "event":
            answer.failed = True
        else:
            bedrock_event(answer, headers.get(":event-type"), json.loads(payload), blocks)
    for index in sorted(blocks):
        block = blocks[index]
        if block.get("toolUse") and "json" in block:
            block["toolUse"] = dict(block["toolUse"], input=block["json"])
        bedrock_block(answer.choice(0), block)
    return answer


def read_invoke(body, streamed):
    """Anthropic's, carried by AWS."""
    if not streamed:
        return read_anthropic(body, False)
    events = []
    for headers, payload in aws_frames(body):
        good = headers.get(":message-type") == "event"
        event = base64.b64decode(json.loads(payload)["bytes"]).decode() if good else json.dumps({"type": "error", "error": json.loads(payload)})
        events.append(f"event: {json.loads(event)['type']}\ndata: {event}\n\n")
    return read_anthropic("".join(events), True)


READERS = {
    "openai-chat": read_chat,
    "mistral-chat": read_chat,
    "openai-completion": read_completions,
    "openai-completions": read_completions,
    "openai-responses": read_responses,
    "anthropic": read_anthropic,
    "anthropic-messages": read_anthropic,
    "gemini": read_gemini,
    "gemini-generate": read_gemini,
    "ollama": read_ollama,
    "ollama-chat": read_ollama,
    "ollama-generate": read_ollama,
    "cohere-chat": read_cohere,
    "cohere-v2": read_cohere,
    "bedrock-converse": read_bedrock,
    "bedrock-invoke": read_invoke,
}
BYTES = {"bedrock-converse", "bedrock-invoke"}  # their streams are no text


def answer(dialect, body, streamed):
    """<body> is bytes."""
    if not (streamed and dialect in BYTES):
        body = body.decode()
    return READERS[dialect](body, streamed)
