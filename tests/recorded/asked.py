# SPDX-License-Identifier: Apache-2.0
"""What a call asks for, read from its body by the references of each dialect and by nothing else.

    asked(dialect, body) -> {facet: value}; what is absent or says nothing is not there

Facets are the same for all dialects. Texts are compared without white space, calls by their place in the
conversation (ids are the dialects' own), results by the call they answer.
"""

import base64
import json


def squeeze(text):
    return "".join(text.split())


# Said at the end of the instructions to who has no other word for an answer in JSON; that is named, too.
JSON_WORDS = squeeze("Answer with one valid JSON object and nothing else: no text around it, no code fence.")


def other_tool(kind):
    """A tool that the provider runs: searches of the web are the same everywhere."""
    searches = isinstance(kind, str) and (kind.startswith("web_search") or kind in ("googleSearch", "google_search"))
    return "web_search" if searches else kind


def as_json(text):
    try:
        return json.loads(text)
    except ValueError:
        return squeeze(text)


class Talk:
    """The conversation: what was said in turn, and beside it what not every dialect can say."""

    def __init__(self):
        self.turns = []  # [who, kind, value]
        self.calls = []  # [id, name, answered]
        self.facets = {}

    def add(self, facet, value):
        if value not in (None, "", [], {}):
            self.facets.setdefault(facet, []).append(value)

    def say(self, who, text):
        text = squeeze(text or "")
        if not text:
            return
        if who == "system" and self.turns and any(turn[0] != "system" for turn in self.turns):
            self.add("late_system", text)
            who = "user"
        if self.turns and self.turns[-1][:2] == [who, "text"]:
            self.turns[-1][2] += text
        else:
            self.turns.append([who, "text", text])

    def call(self, name, arguments, call_id):
        given = as_json(arguments or "{}") if isinstance(arguments, str) else arguments or {}
        if not isinstance(given, dict):  # no call: it goes as what is called with
            given = {"arguments": squeeze(str(arguments))} if given else {}
        if set(given) == {"arguments"} and isinstance(given["arguments"], str):
            given = {"arguments": squeeze(given["arguments"])}
        self.turns.append(["model", "call", [name, given]])
        self.calls.append([call_id, name, False])

    def result(self, text, call_id, name=None):
        place = None
        for i, (an_id, a_name, answered) in enumerate(self.calls):
            same = an_id == call_id if call_id and an_id else a_name == name or not (name or call_id)
            if same and not answered:
                place = i
                break
        if place is not None:
            self.calls[place][2] = True
        self.turns.append(["tool", "result", [place, as_json(text)]])

    def form(self):
        system = "".join(turn[2] for turn in self.turns if turn[0] == "system").removesuffix(JSON_WORDS)
        reasoning = "".join(self.facets.get("reasoning", []))
        return dict(self.facets, reasoning=reasoning, system=system, talk=[turn for turn in self.turns if turn[0] != "system"])


def url_of(url):
    return squeeze(url.partition(",")[2])[:64] if url.startswith("data:") else url


def clean(form):
    """Without what says nothing, or only what is so unless said otherwise."""
    if "schema" in form:
        form["schema"] = schema_words(form["schema"])
    for name in ("frequency_penalty", "presence_penalty", "top_logprobs"):
        form[name] = form.get(name) or None
    form["service_tier"] = {"auto": None, "default": "standard", "standard_only": "standard"}.get(form.get("service_tier"), form.get("service_tier"))
    effort, budget = form.pop("effort", None), form.pop("budget", None)
    form["thinks"] = effort != "none" if effort else budget != 0 if budget is not None else None
    return {name: value for name, value in form.items() if value not in (None, "", [], {})}


def texts_in(content):
    if isinstance(content, str):
        return content
    said = [part if isinstance(part, str) else part.get("text") or "" for part in content or []]
    found = [texts_in(part.get("content")) for part in content or [] if isinstance(part, dict) and part.get("type") == "search_result"]
    return "".join(said + found)


# ------------------------------------------------------------------- chat completions


def chat_part(talk, who, part):
    kind = part.get("type")
    if kind in ("text", "input_text", "output_text", "refusal"):
        talk.say(who, part.get("text") or part.get("refusal"))
    elif kind in ("image_url", "input_image"):
        image = part.get("image_url") or ""
        url = image.get("url") if isinstance(image, dict) else image
        talk.add("images", url_of(url or part.get("file_id") or ""))
        detail = image.get("detail") if isinstance(image, dict) else part.get("detail")
        talk.add("detail", None if detail == "auto" else detail)
    elif kind == "input_audio":
        sound = part.get("input_audio")
        talk.add("sound", sound.get("data", "")[:64] if isinstance(sound, dict) else sound if str(sound).startswith("http") else str(sound)[:64])
    elif kind in ("file", "input_file", "document_url"):
        inner = part.get("file") if isinstance(part.get("file"), dict) else part
        talk.add("files", url_of(inner.get("file_data") or inner.get("file_url") or inner.get("document_url") or inner.get("file_id") or ""))
    elif kind == "thinking":
        inner = part.get("thinking")
        talk.add("reasoning", squeeze(inner if isinstance(inner, str) else texts_in(inner)))
    elif kind == "video_url":
        talk.add("video", url_of((part.get("video_url") or {}).get("url") or ""))
    else:
        talk.add("odd_parts", kind)
    if part.get("cache_control"):
        talk.add("cache", 1)


def chat_parts(talk, who, content):
    if isinstance(content, str):
        talk.say(who, content)
    for part in content if isinstance(content, list) else []:
        if isinstance(part, str):
            talk.say(who, part)
        else:
            chat_part(talk, who, part)


def chat_message(talk, message):
    role = message.get("role")
    who = {"developer": "system", "system": "system", "assistant": "model"}.get(role, "user")
    if role in ("tool", "function"):
        content = message.get("content")
        talk.result(texts_in(content), message.get("tool_call_id"), message.get("name"))
        for part in content if isinstance(content, list) else []:
            if part.get("type") != "text":
                chat_part(talk, "tool", part)
        return
    plain = message.get("reasoning_content") or message.get("reasoning")
    details = message.get("reasoning_details") or []
    talk.add("reasoning", squeeze(plain if isinstance(plain, str) and plain else "".join(one.get("text") or one.get("summary") or "" for one in details)))
    for one in details:
        talk.add("proofs", one.get("signature") or one.get("data"))
    chat_parts(talk, who, message.get("content"))
    if message.get("refusal"):
        talk.say(who, message["refusal"])
    for call in message.get("tool_calls") or []:
        function = call.get("function") or {}
        talk.call(function.get("name"), function.get("arguments"), call.get("id"))
        talk.add("proofs", ((call.get("extra_content") or {}).get("google") or {}).get("thought_signature"))
    if message.get("function_call"):
        talk.call(message["function_call"].get("name"), message["function_call"].get("arguments"), None)
    if role == "user" and message.get("name"):
        talk.add("names", message["name"])


def schema_form(schema):
    """Of a tool: an object anyhow, and one without properties is as good as none."""
    words = schema_words(schema or {})
    if words.get("type") == "object":
        words.pop("type")
    if not words.get("properties"):
        words.pop("properties", None)
    return words or None


def schema_words(schema):
    """Without what only says that nothing else is allowed, or in which order it stands."""
    if isinstance(schema, list):
        return [schema_words(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    idle = {"additionalProperties", "propertyOrdering", "property_ordering", "$schema"}
    return {name: schema_words(value) for name, value in schema.items() if name not in idle}


def chat_tools(form, body):
    tools = [tool["function"] for tool in body.get("tools") or [] if tool.get("type", "function") == "function" and tool.get("function")]
    form["tools"] = [[one.get("name"), squeeze(one.get("description") or ""), schema_form(one.get("parameters"))] for one in [*tools, *(body.get("functions") or [])]]
    form["other_tools"] = [tool.get("type") for tool in body.get("tools") or [] if tool.get("type", "function") != "function"]
    choice = body.get("tool_choice") or body.get("function_call")
    if isinstance(choice, dict):
        choice = ["one", (choice.get("function") or choice).get("name")]
    form["tool_choice"] = {"required": "any", "auto": None}.get(choice, choice) if isinstance(choice, str) else choice


SAMPLING = ("temperature", "top_p", "top_k", "seed", "frequency_penalty", "presence_penalty", "logit_bias", "top_logprobs", "user", "metadata", "service_tier", "verbosity")


def asked_chat(body):
    talk = Talk()
    for message in body.get("messages") or []:
        chat_message(talk, message)
    form = talk.form()
    chat_tools(form, body)
    for name in SAMPLING:
        form[name] = body.get(name)
    form["seed"] = body.get("seed", body.get("random_seed"))
    form["max_tokens"] = body.get("max_completion_tokens") or body.get("max_tokens")
    stop = body.get("stop")
    form["stop"] = [stop] if isinstance(stop, str) else stop
    form["n"] = None if body.get("n") == 1 else body.get("n")
    form["logprobs"] = body.get("logprobs") or None
    shape = body.get("response_format") or {}
    if shape.get("type") == "json_schema":
        form["schema"] = (shape.get("json_schema") or {}).get("schema")
    elif shape.get("type") == "json_object":
        form["json"] = True
    reasoning = body.get("reasoning") if isinstance(body.get("reasoning"), dict) else {}
    form["effort"] = body.get("reasoning_effort") or reasoning.get("effort")
    form["budget"] = reasoning.get("max_tokens")
    form["parallel"] = False if body.get("parallel_tool_calls") is False else None
    if isinstance(body.get("modalities"), list) and body["modalities"] != ["text"]:
        form["modalities"] = True
    if body.get("store") is True:
        form["store"] = True
    return clean(form)


# -------------------------------------------------------------------------- responses


def responses_item(talk, item):
    kind = item.get("type") or "message"
    if kind == "message":
        who = {"developer": "system", "system": "system", "assistant": "model"}.get(item.get("role"), "user")
        chat_parts(talk, who, item.get("content"))
    elif kind == "function_call":
        talk.call(item.get("name"), item.get("arguments"), item.get("call_id"))
    elif kind == "custom_tool_call":
        talk.call(item.get("name"), {"input": item.get("input")}, item.get("call_id"))
    elif kind in ("function_call_output", "custom_tool_call_output"):
        output = item.get("output")
        talk.result(texts_in(output), item.get("call_id"))
        for part in output if isinstance(output, list) else []:
            if part.get("type") not in ("input_text", "output_text", "text"):
                chat_part(talk, "tool", part)
    elif kind == "reasoning":
        content = texts_in(item.get("content")) or texts_in(item.get("summary"))
        talk.add("reasoning", squeeze(content))
        talk.add("proofs", item.get("encrypted_content"))
    elif kind != "additional_tools":  # offered from the beginning, where they cannot come later
        talk.add("odd_parts", kind)


def asked_responses(body):
    talk = Talk()
    talk.say("system", body.get("instructions"))
    given = body.get("input")
    if isinstance(given, str):
        talk.say("user", given)
    for item in given if isinstance(given, list) else []:
        responses_item(talk, item)
    form = talk.form()
    tools = body.get("tools") or []
    form["tools"] = [[one.get("name"), squeeze(one.get("description") or ""), schema_form(one.get("parameters"))] for one in tools if one.get("type") == "function"]
    form["other_tools"] = [other_tool(one.get("type")) for one in tools if one.get("type") not in ("function", "custom", "namespace")]
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        form["tool_choice"] = {"required": "any"}.get(choice.get("mode"))
    elif isinstance(choice, dict):
        form["tool_choice"] = ["one", choice.get("name") or choice.get("type")]
    else:
        form["tool_choice"] = {"required": "any", "auto": None}.get(choice, choice)
    for name in SAMPLING:
        form[name] = body.get(name)
    form["top_logprobs"] = body.get("top_logprobs") or None
    form["logprobs"] = "message.output_text.logprobs" in (body.get("include") or []) or None
    form["max_tokens"] = body.get("max_output_tokens")
    shape = (body.get("text") or {}).get("format") or {}
    if shape.get("type") == "json_schema":
        form["schema"] = shape.get("schema")
    elif shape.get("type") == "json_object":
        form["json"] = True
    form["verbosity"] = (body.get("text") or {}).get("verbosity")
    form["effort"] = (body.get("reasoning") or {}).get("effort")
    form["parallel"] = False if body.get("parallel_tool_calls") is False else None
    if body.get("store") is True:
        form["store"] = True
    return clean(form)


# -------------------------------------------------------------------------- anthropic


def anthropic_source(source):
    return squeeze(source.get("data") or "")[:64] or source.get("url") or source.get("file_id") or ""


def anthropic_block(talk, who, block):
    kind = block.get("type")
    if block.get("cache_control"):
        talk.add("cache", 1)
    if kind == "text":
        talk.say(who, block.get("text"))
    elif kind == "image":
        talk.add("images", anthropic_source(block.get("source") or {}))
    elif kind == "search_result":
        talk.say(who, texts_in(block.get("content")))
        talk.add("titles", block.get("title"))
    elif kind == "document":
        source = block.get("source") or {}
        if source.get("type") == "text":
            talk.say(who, source.get("data"))  # a document in plain words: most dialects have them as a text
            return
        talk.add("files", squeeze(texts_in(source.get("content"))) or anthropic_source(source))
    elif kind == "tool_use":
        talk.call(block.get("name"), block.get("input"), block.get("id"))
    elif kind == "tool_result":
        content = block.get("content")
        documents = [part for part in content if part.get("type") == "document"] if isinstance(content, list) else []
        plain = [part["source"]["data"] for part in documents if (part.get("source") or {}).get("type") == "text"]
        talk.result(texts_in(content) + "".join(plain), block.get("tool_use_id"))
        for part in content if isinstance(content, list) else []:
            if part.get("type") == "search_result":
                talk.add("titles", part.get("title"))
            elif part.get("type") != "text" and (part.get("source") or {}).get("type") != "text":
                anthropic_block(talk, "user", part)
    elif kind == "thinking":
        talk.add("reasoning", squeeze(block.get("thinking") or ""))
        talk.add("proofs", block.get("signature"))
    elif kind == "redacted_thinking":
        talk.add("proofs", block.get("data"))
    else:
        talk.add("odd_parts", kind)


def anthropic_content(talk, who, content):
    if isinstance(content, str):
        talk.say(who, content)
    for block in content if isinstance(content, list) else []:
        anthropic_block(talk, who, block)


def asked_anthropic(body):
    talk = Talk()
    anthropic_content(talk, "system", body.get("system"))
    for message in body.get("messages") or []:
        who = {"assistant": "model", "system": "system"}.get(message.get("role"), "user")
        anthropic_content(talk, who, message.get("content"))
    form = talk.form()
    tools = body.get("tools") or []
    own = [one for one in tools if one.get("type", "custom") == "custom"]
    form["tools"] = [[one.get("name"), squeeze(one.get("description") or ""), schema_form(one.get("input_schema"))] for one in own]
    form["other_tools"] = [other_tool(one.get("type")) for one in tools if one.get("type", "custom") != "custom"]
    choice = body.get("tool_choice") or {}
    form["tool_choice"] = ["one", choice.get("name")] if choice.get("type") == "tool" else {"auto": None}.get(choice.get("type"), choice.get("type"))
    form["parallel"] = False if choice.get("disable_parallel_tool_use") else None
    for name in ("temperature", "top_p", "top_k", "max_tokens", "service_tier"):
        form[name] = body.get(name)
    form["stop"] = body.get("stop_sequences")
    form["user"] = (body.get("metadata") or {}).get("user_id")
    thinking, output = body.get("thinking") or {}, body.get("output_config") or {}
    form["budget"] = thinking.get("budget_tokens")
    form["effort"] = "none" if thinking.get("type") == "disabled" else output.get("effort")
    shape = output.get("format") or body.get("output_format") or {}
    if shape.get("type") == "json_schema":
        form["schema"] = shape.get("schema")
    return clean(form)


# ----------------------------------------------------------------------------- gemini


def either(value, *names):
    for name in names:
        if isinstance(value, dict) and value.get(name) is not None:
            return value[name]
    return None


def gemini_media(talk, part):
    media = either(part, "inlineData", "inline_data", "fileData", "file_data")
    kind = either(media, "mimeType", "mime_type") or ""
    what = squeeze(media.get("data") or "")[:64] or either(media, "fileUri", "file_uri")
    names = {"image": "images", "audio": "sound", "video": "video"}
    talk.add(names.get(kind.partition("/")[0], "files"), what)


def gemini_result(talk, answer):
    response = answer.get("response")
    if isinstance(response, dict) and len(response) == 1:
        name = next(iter(response))
        if name in ("output", "error"):
            several = response[name] if isinstance(response[name], list) else [response[name]]
            if all(isinstance(one, str) for one in several):
                response = "".join(several)
    talk.result(response if isinstance(response, str) else json.dumps(response), answer.get("id"), answer.get("name"))
    for part in answer.get("parts") or []:
        gemini_part(talk, "tool", part)


def gemini_part(talk, who, part):
    talk.add("proofs", either(part, "thoughtSignature", "thought_signature"))
    call = either(part, "functionCall", "function_call")
    answer = either(part, "functionResponse", "function_response")
    if part.get("text") is not None:
        if part.get("thought"):
            talk.add("reasoning", squeeze(part["text"]))
        else:
            talk.say(who, part["text"])
    elif call is not None:
        talk.call(call.get("name"), call.get("args"), call.get("id"))
    elif answer is not None:
        gemini_result(talk, answer)
    elif either(part, "inlineData", "inline_data", "fileData", "file_data"):
        gemini_media(talk, part)
    elif part:
        talk.add("odd_parts", sorted(part)[0])


GEMINI_TYPES = ("", "string", "number", "integer", "boolean", "array", "object")  # some ask for numbers


def gemini_schema(schema):
    """Type names are in capitals there; the order of properties has a member of its own."""
    if isinstance(schema, list):
        return [gemini_schema(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    out = {name: gemini_schema(value) for name, value in schema.items()}
    kind = schema.get("type")
    if isinstance(kind, (str, int)):
        out["type"] = kind.lower() if isinstance(kind, str) else GEMINI_TYPES[kind]
    return out


def gemini_tools(form, body):
    form["tools"], form["other_tools"] = [], []
    tools = body.get("tools") or []
    for tool in [tools] if isinstance(tools, dict) else tools:
        for one in either(tool, "functionDeclarations", "function_declarations") or []:
            schema = gemini_schema(either(one, "parametersJsonSchema", "parameters_json_schema", "parameters"))
            form["tools"].append([one.get("name"), squeeze(one.get("description") or ""), schema_form(schema)])
        form["other_tools"] += [other_tool(name) for name in sorted(tool) if tool[name] is not None and name not in ("functionDeclarations", "function_declarations")]
    choice = either(either(body, "toolConfig", "tool_config"), "functionCallingConfig", "function_calling_config") or {}
    mode, names = choice.get("mode"), either(choice, "allowedFunctionNames", "allowed_function_names") or []
    if mode in ("ANY", "any"):
        form["tool_choice"] = ["one", names[0]] if len(names) == 1 else "any"
    elif mode in ("NONE", "none"):
        form["tool_choice"] = "none"


def asked_gemini(body):
    talk = Talk()
    system = either(body, "systemInstruction", "system_instruction") or {}
    parts = system.get("parts") if isinstance(system, dict) else [{"text": system}]
    for part in [parts] if isinstance(parts, dict) else parts or []:
        talk.say("system", part.get("text"))
    contents = body.get("contents") or []
    for content in [contents] if isinstance(contents, dict) else contents:
        parts = content.get("parts") or []
        for part in [parts] if isinstance(parts, dict) else parts:
            gemini_part(talk, "model" if content.get("role") == "model" else "user", part)
    form = talk.form()
    gemini_tools(form, body)
    config = either(body, "generationConfig", "generation_config") or {}
    names = {"temperature": "temperature", "topP": "top_p", "topK": "top_k", "seed": "seed", "maxOutputTokens": "max_tokens", "stopSequences": "stop", "frequencyPenalty": "frequency_penalty", "presencePenalty": "presence_penalty", "logprobs": "top_logprobs", "responseLogprobs": "logprobs", "candidateCount": "n"}
    for theirs, ours in names.items():
        snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in theirs)
        form[ours] = either(config, theirs, snake)
    form["n"] = None if form["n"] == 1 else form["n"]
    form["logprobs"] = form["logprobs"] or None
    schema = either(config, "responseJsonSchema", "response_json_schema", "responseSchema", "response_schema")
    if schema:
        form["schema"] = gemini_schema(schema)
    elif either(config, "responseMimeType", "response_mime_type") == "application/json":
        form["json"] = True
    thinking = either(config, "thinkingConfig", "thinking_config") or {}
    form["budget"] = either(thinking, "thinkingBudget", "thinking_budget")
    form["effort"] = (either(thinking, "thinkingLevel", "thinking_level") or "").lower()
    if [one for one in either(config, "responseModalities", "response_modalities") or [] if one != "TEXT"]:
        form["modalities"] = True
    return clean(form)


# ----------------------------------------------------------------------------- ollama


def asked_ollama(body):
    talk = Talk()
    for message in body.get("messages") or []:
        role = message.get("role")
        who = {"system": "system", "assistant": "model"}.get(role, "user")
        if role == "tool":
            talk.result(message.get("content") or "", message.get("tool_call_id"), message.get("tool_name") or message.get("name"))
            continue
        talk.add("reasoning", squeeze(message.get("thinking") or ""))
        talk.say(who, message.get("content"))
        for image in message.get("images") or []:
            talk.add("images", squeeze(image)[:64])
        for call in message.get("tool_calls") or []:
            function = call.get("function") or {}
            talk.call(function.get("name"), function.get("arguments"), call.get("id"))
    form = talk.form()
    chat_tools(form, body)
    options = body.get("options") or {}
    for name in ("temperature", "top_p", "top_k", "seed", "frequency_penalty", "presence_penalty", "stop"):
        form[name] = options.get(name)
    form["stop"] = [form["stop"]] if isinstance(form["stop"], str) else form["stop"]
    form["max_tokens"] = options.get("num_predict")
    shape, think = body.get("format"), body.get("think")
    form["schema"] = shape if isinstance(shape, dict) else None
    form["json"] = shape == "json" or None
    form["effort"] = think if isinstance(think, str) else {True: "on", False: "none"}.get(think)
    return clean(form)


# ---------------------------------------------------------------------------- bedrock

PLAIN = {"txt", "md", "csv", "html"}


def bedrock_document(document):
    """(its words, where it is nothing but words; else what it is)"""
    source = document.get("source") or {}
    said = source.get("text") or texts_in(source.get("content"))
    if not said and document.get("format", "txt") in PLAIN and source.get("bytes"):
        said = base64.b64decode(source["bytes"]).decode("utf-8", "replace")
    return said, squeeze(source.get("bytes") or (source.get("s3Location") or {}).get("uri") or "")[:64]


def bedrock_result(talk, result):
    said, beside = "", []
    for part in result.get("content") or []:
        if "json" in part:
            said += json.dumps(part["json"])
        elif "text" in part:
            said += part["text"]
        elif "searchResult" in part:
            said += texts_in(part["searchResult"].get("content"))
        elif "document" in part and bedrock_document(part["document"])[0]:
            said += bedrock_document(part["document"])[0]
        else:
            beside.append(part)
    talk.result(said, result.get("toolUseId"))
    for part in beside:
        bedrock_block(talk, "user", part)


def bedrock_media(block):
    return squeeze((block.get("source") or {}).get("bytes") or ((block.get("source") or {}).get("s3Location") or {}).get("uri") or "")[:64]


def bedrock_block(talk, who, block):
    kind, value = next((pair for pair in block.items() if pair[1] is not None), (None, None))
    if kind == "text":
        talk.say(who, value)
    elif kind == "cachePoint":
        talk.add("cache", 1)
    elif kind == "guardContent" and value.get("text"):
        talk.say(who, value["text"].get("text"))
    elif kind == "citationsContent":
        talk.say(who, texts_in(value.get("content")))
    elif kind == "searchResult":
        talk.say(who, texts_in(value.get("content")))
        talk.add("titles", value.get("title"))
    elif kind == "image":
        talk.add("images", bedrock_media(value))
    elif kind == "video":
        talk.add("video", bedrock_media(value))
    elif kind == "document":
        said, what = bedrock_document(value)
        if said:
            talk.say(who, said)
        else:
            talk.add("files", what)
    elif kind == "toolUse" and value.get("type") in (None, "tool_use"):
        talk.call(value.get("name"), value.get("input"), value.get("toolUseId"))
    elif kind == "toolResult" and value.get("type") in (None, "tool_result"):
        bedrock_result(talk, value)
    elif kind == "reasoningContent":
        told = value.get("reasoningText") or {}
        talk.add("reasoning", squeeze(told.get("text") or ""))
        talk.add("proofs", told.get("signature") or base64.b64decode(value.get("redactedContent") or "").decode("utf-8", "replace"))
    else:
        talk.add("odd_parts", kind)


def asked_bedrock(body):
    talk = Talk()
    for block in body.get("system") or []:
        bedrock_block(talk, "system", block)
    for message in body.get("messages") or []:
        for block in message.get("content") or []:
            bedrock_block(talk, "model" if message.get("role") == "assistant" else "user", block)
    form = talk.form()
    config = body.get("toolConfig") or {}
    tools = [one for one in config.get("tools") or [] if "cachePoint" not in one]
    own = [one["toolSpec"] for one in tools if one.get("toolSpec")]
    form["tools"] = [[one.get("name"), squeeze(one.get("description") or ""), schema_form((one.get("inputSchema") or {}).get("json"))] for one in own]
    form["other_tools"] = [next(iter(one)) for one in tools if not one.get("toolSpec")]
    choice = config.get("toolChoice") or {}
    form["tool_choice"] = ["one", choice["tool"].get("name")] if choice.get("tool") else "any" if "any" in choice else None
    inference, more = body.get("inferenceConfig") or {}, body.get("additionalModelRequestFields") or {}
    for theirs, ours in {"maxTokens": "max_tokens", "temperature": "temperature", "topP": "top_p", "stopSequences": "stop"}.items():
        form[ours] = inference.get(theirs)
    form["top_k"] = more.get("top_k") or (more.get("inferenceConfig") or {}).get("topK")
    form["metadata"] = body.get("requestMetadata")
    form["service_tier"] = (body.get("serviceTier") or {}).get("type")
    output = body.get("outputConfig") or {}
    if output.get("textFormat"):
        form["schema"] = json.loads(output["textFormat"]["structure"]["jsonSchema"]["schema"])
    thinking = more.get("thinking") or {}
    form["budget"] = thinking.get("budget_tokens")
    form["effort"] = "none" if thinking.get("type") == "disabled" else output.get("effort") or {"adaptive": "on"}.get(thinking.get("type"))
    return clean(form)


# ----------------------------------------------------------------------------- cohere


def cohere_part(part):
    """A document is the text of it."""
    data = (part.get("document") or {}).get("data")
    if part.get("type") != "document" or data is None:
        return part
    return {"type": "text", "text": data if isinstance(data, str) else json.dumps(data)}


def asked_cohere(body):
    talk = Talk()
    for message in body.get("messages") or []:
        talk.add("reasoning", squeeze(message.get("tool_plan") or ""))
        if isinstance(message.get("content"), list):
            message = dict(message, content=[cohere_part(part) for part in message["content"]])
        chat_message(talk, message)
    form = talk.form()
    chat_tools(form, {"tools": body.get("tools")})
    form["tool_choice"] = {"REQUIRED": "any", "NONE": "none"}.get(body.get("tool_choice"))
    for name in ("temperature", "seed", "frequency_penalty", "presence_penalty", "max_tokens"):
        form[name] = body.get(name)
    form["top_p"], form["top_k"], form["stop"] = body.get("p"), body.get("k"), body.get("stop_sequences")
    shape = body.get("response_format") or {}
    form["schema"] = shape.get("schema") or shape.get("json_schema")
    form["json"] = (shape.get("type") == "json_object" and not form["schema"]) or None
    thinking = body.get("thinking") or {}
    form["effort"] = {"enabled": "on", "disabled": "none"}.get(thinking.get("type"))
    form["budget"] = thinking.get("token_budget")
    return clean(form)


READERS = {
    "bedrock-converse": asked_bedrock,
    "bedrock-invoke": asked_anthropic,
    "cohere-chat": asked_cohere,
    "ollama-chat": asked_ollama,
    "openai-chat": asked_chat,
    "mistral-chat": asked_chat,
    "openai-responses": asked_responses,
    "anthropic": asked_anthropic,
    "gemini": asked_gemini,
}


def asked(words, body):
    return READERS[words](body)
