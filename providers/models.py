#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write models.json, the facts about models that are built into the program.

    python3 providers/models.py COLLECTED.json > providers/models.json

COLLECTED.json is a collection of public price lists: {"meta": {"sources": {letter: {repo, path,
commit, commit_date, licence}}}, "models": [{"p": provider, "id", "mode", "ctx", "out", "price",
"tiers", "unit"}]}, prices as decimal numbers in US dollars per million tokens, units in dollars.

What comes out is one JSON object: its first line names the sources and their licences, then comes
one model a line, sorted by the bytes of the key "provider/id" (catalogue.c halves the file). All
prices are whole nano-dollars, per million tokens or per unit.

  context, longest   tokens of prompt and answer       in, out   input and output tokens
  cached, write      prompt cache: read, written       reasoning, audio_in, audio_out
  write_1h           written for an hour               image_in, image_out
  request            per call                          unit      per image, second, character, query
  search             per search of the web         search_once   per call that searches
  search_each        per call: it always searches
  tier {above, in, out, cached}                        prices when the prompt is longer than <above>
  priority, flex, batch {in, out, cached}              prices in another tier of service
"""

import decimal
import json
import sys

PRICES = {"in": "in", "out": "out", "cr": "cached", "cw": "write", "reason": "reasoning",
          "ain": "audio_in", "aout": "audio_out", "cw1h": "write_1h", "imgtok_in": "image_in",
          "imgtok_out": "image_out"}
# What a call of that mode is counted in.
UNITS = {"image": "image_out", "image-edit": "image_out", "transcription": "sec_in",
         "speech": "char_in", "rerank": "query", "ocr": "page", "video": "sec_out"}


# What its answers are made of must have a price: what only has one for what it reads is unknown.
GENERATIVE = ("chat", "completion", "responses", "image", "image-edit", "speech", "video")

# Dollars per search of the web, which the collection does not have: as the providers publish it,
# (provider, beginning of the model's name, dollars); the first that fits.
#   docs.claude.com/en/docs/about-claude/pricing, "Web search tool": 10 per 1,000 searches
#   platform.openai.com/docs/pricing, "Built-in tools": 10 per 1,000 calls; web search preview of
#     models that do not reason: 25
#   ai.google.dev/gemini-api/docs/pricing, "Grounding with Google Search": Gemini 3: 14 per 1,000
#     queries; those before: 35 per 1,000 prompts, however many queries they lead to
#   azure.microsoft.com: Azure's web search is "Grounding with Bing Search", 14 per 1,000; the dearer
#     one of that and OpenAI's
#   cloud.google.com/vertex-ai/generative-ai/pricing: Claude's web search, 10 per 1,000
SEARCHES = (("anthropic", "claude", "0.010"), ("openai", "gpt-5", "0.010"),
            ("openai", "o3", "0.010"), ("openai", "o4", "0.010"), ("openai", "codex", "0.010"),
            ("openai", "gpt-4", "0.025"),
            ("azure", "gpt-5", "0.014"), ("azure", "o3", "0.014"), ("azure", "o4", "0.014"),
            ("azure", "codex", "0.014"), ("azure", "gpt-4", "0.025"),
            ("vertex", "claude", "0.010"),
            ("gemini", "gemini-3", "0.014"), ("gemini", "gemini", "0.035"))


# Whose zero is a price; elsewhere a list that says 0 and 0 means that nobody knew.
FREE_PROVIDERS = ("nvidia", "ollama")


def is_priced(model):
    if any(model.get("price", {}).values()):
        return True
    return (model["p"] in FREE_PROVIDERS or model["mode"] == "moderation"
            or model["id"].endswith((":free", "/free", "-flash")))


def nanos(dollars):
    """Whole nano-dollars. What is finer than that (a few list prices per second are) is rounded up."""
    return int((dollars * 10**9).to_integral_value(rounding=decimal.ROUND_CEILING))


def tier_of(model):
    """The one tier we know. Where a model has several, the dearest prices count from the lowest
    threshold on: a call may be booked too dear (set the price in the configuration), never too
    cheap."""
    tiers = [t for t in model.get("tiers", []) if t["above"] > 0]
    if not tiers:
        return None
    tier = {"above": int(min(t["above"] for t in tiers))}
    for short, name in PRICES.items():
        if short in ("in", "out", "cr"):
            found = [t[short] for t in tiers if short in t]
            if found:
                tier[name] = nanos(max(found))
    return tier


def services_of(model):
    """The prices in other tiers of service. One that is not whole is left out; so is a priority tier
    that is not dearer than the standard one, which a list has where nobody looked it up, and one of
    the others that is. What is cached is no cheaper in a batch unless a list says so."""
    price, found = model.get("price", {}), {}
    for name, prefix in (("priority", "pri_"), ("flex", "flex_"), ("batch", "batch_")):
        if not (price.get(prefix + "in") and price.get(prefix + "out")):
            continue
        dearer = [price[prefix + short] > price.get(short, 0) for short in ("in", "out")]
        if any(dearer) != (name == "priority") or (name == "priority" and not all(dearer)):
            continue
        found[name] = {long: nanos(price[prefix + short])
                       for short, long in (("in", "in"), ("out", "out"), ("cr", "cached"))
                       if price.get(prefix + short)}
        if name == "batch":
            found[name].setdefault("cached", found[name]["in"])
    return found


def close_output(facts):
    """A list has no price of text for what makes only pictures: all that it makes costs as those.
    Elsewhere nobody knows what an answer costs, and then nothing is known of the price."""
    if "image_out" in facts:
        facts["out"] = facts["image_out"]
        return
    for name in PRICES.values():
        facts.pop(name, None)


def is_searched_once(model):
    """Those without a number may be any."""
    return model["p"] == "gemini" and model["id"].startswith(("gemini-1", "gemini-2"))


def search_name(model):
    """OpenAI's models for searches, in chats, do so in each call, asked to or not: "Built-in tools"."""
    if "-search-preview" in model["id"] or "-search-api" in model["id"]:
        return "search_each"
    return "search_once" if is_searched_once(model) else "search"


def search_of(model):
    name = model["id"].split("/")[-1]  # Azure's stand behind regions
    for provider, begin, dollars in SEARCHES:
        if model["p"] == provider and name.startswith(begin):
            return dollars
    return None


def facts_of(model):
    facts = {"mode": model["mode"]}
    for short, name in (("ctx", "context"), ("out", "longest")):
        if model.get(short):
            facts[name] = int(model[short])
    for short, name in PRICES.items():
        if short in model.get("price", {}) and is_priced(model):
            facts[name] = nanos(model["price"][short])
    if facts.get("write_1h") != 2 * facts.get("in", 0):  # it is so everywhere: a list is wrong
        facts.pop("write_1h", None)
    unit = model.get("unit", {})
    if "request" in unit:
        facts["request"] = nanos(unit["request"])
    if UNITS.get(model["mode"]) in unit and "image_out" not in facts:  # those cost tokens
        facts["unit"] = nanos(unit[UNITS[model["mode"]]])
    if model["mode"] in GENERATIVE and "out" not in facts and "unit" not in facts:
        close_output(facts)
    search = search_of(model)
    if search and "out" in facts:
        facts[search_name(model)] = nanos(decimal.Decimal(search))
    tier = tier_of(model)
    if tier:
        facts["tier"] = tier
    facts.update(services_of(model))
    return facts


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        collected = json.load(file, parse_float=decimal.Decimal, parse_int=decimal.Decimal)
    sources = [f"{s['repo']} {s['path']} @ {s['commit']} ({s['commit_date'][:10]}), {s['licence']}"
               for s in collected["meta"]["sources"].values()]
    lines = {}
    for model in collected["models"]:
        key = f"{model['p']}/{model['id']}"
        assert key not in lines and '"' not in key and "\\" not in key and key.isascii()
        lines[key] = f'"{key}":' + json.dumps(facts_of(model), separators=(",", ":"))
    print('{"sources":' + json.dumps(sources) + ',"prices":"nano-dollars per million tokens",'
          '"models":{')
    print(",\n".join(lines[key] for key in sorted(lines)))
    print("}}")


main()
