/* SPDX-License-Identifier: Apache-2.0 */
/*
 * anthropic.h: proofs of reasoning that are not Anthropic's, in the texts that its clients bring
 * back untouched. Gemini refuses calls of tools without its signature, OpenAI goes on reasoning
 * with what it has encrypted; so they must come back, and to whoever made them.
 *
 *   sluice:1:NAME:item:SIGNATURE:ENCRYPTED:ID     NAME of the translator, ID of the reasoning
 *   sluice:1:NAME:call:SIGNATURE:ENCRYPTED:ID     ID of the call
 *   sluice:1:NAME:text:SIGNATURE:ENCRYPTED        the text before it
 *
 * The same as in openai_responses.c. What has a colon in it, and what clients have kept since
 * before, has this form:
 *
 *   sluice:NAME:KIND:LENGTH:IDPROOF               KIND e, c or t; LENGTH of the id
 *
 * The signature of a thinking stands as it is: where there is one, it is mostly Claude's, by
 * whatever way it came. So does what Bedrock calls redacted.
 */
#include <stdio.h>

#include "providers/anthropic.h"

static const char kinds[] = {[PROOF_ENCRYPTED] = 'e', [PROOF_CALL] = 'c', [PROOF_TEXT] = 't'};
static const char *const words[] = {
    [PROOF_ENCRYPTED] = "item", [PROOF_CALL] = "call", [PROOF_TEXT] = "text"};
static const struct text mark = {"sluice:", 7}, version = {"1:", 2};

struct text anthropic_write_proof(struct arena *arena, const struct anthropic_proof *proof)
{
    if (proof->of == PROOF_ENCRYPTED && text_equal(proof->from->dialect, TEXT("bedrock")))
        return proof->proof;
    bool sealed = proof->of == PROOF_ENCRYPTED;
    struct text none = {"", 0};
    if (text_find_byte(proof->proof, ':') == SIZE_MAX)
        return arena_format(arena, "%s%s%.*s:%s:%.*s:%.*s%s%.*s", mark.at, version.at,
                            TEXT_ARGS(proof->from->name), words[proof->of],
                            TEXT_ARGS(sealed ? none : proof->proof),
                            TEXT_ARGS(sealed ? proof->proof : none), proof->id.len ? ":" : "",
                            TEXT_ARGS(proof->id));
    return arena_format(arena, "%s%.*s:%c:%zu:%.*s%.*s", mark.at, TEXT_ARGS(proof->from->name),
                        kinds[proof->of], proof->id.len, TEXT_ARGS(proof->id),
                        TEXT_ARGS(proof->proof));
}

static const struct translator *translator_named(struct text name)
{
    const struct translator *one;
    for (size_t i = 0; (one = translator_at(i)) != NULL; i++)
        if (text_equal(one->name, name))
            return one;
    return NULL;
}

/* Take what stands before the next colon off the front. */
static bool take_word(struct text *rest, struct text *word)
{
    size_t colon = text_find_byte(*rest, ':');
    if (colon == SIZE_MAX)
        return false;
    *word = text_head(*rest, colon);
    *rest = text_from(*rest, colon + 1);
    return true;
}

/* Behind the mark and its version. */
static bool read_words(struct text rest, struct anthropic_proof *proof)
{
    struct text name, kind, signature;
    if (!take_word(&rest, &name) || !take_word(&rest, &kind) || !take_word(&rest, &signature))
        return false;
    size_t of = 0;
    while (of < sizeof(words) / sizeof(words[0]) && !text_equal(kind, text_of(words[of])))
        of++;
    if (of == sizeof(words) / sizeof(words[0]))
        return false;
    struct text encrypted = text_head(rest, text_find_byte(rest, ':'));
    *proof = (struct anthropic_proof){.from = translator_named(name),
                                      .id = text_from(rest, encrypted.len + 1),
                                      .proof = signature.len ? signature : encrypted};
    proof->of = (unsigned)of;
    return true;
}

bool anthropic_read_proof(struct text inner, struct anthropic_proof *proof)
{
    struct text rest = text_from(inner, mark.len), name, kind, length;
    uint64_t id_bytes;
    if (text_starts(inner, mark) && text_starts(rest, version))
        return read_words(text_from(rest, version.len), proof);
    if (!text_starts(inner, mark) || !take_word(&rest, &name) || !take_word(&rest, &kind) ||
        !take_word(&rest, &length) || !text_number(length, rest.len, &id_bytes) || kind.len != 1)
        return false;
    const char *found = memchr(kinds, kind.at[0], sizeof(kinds));
    if (!found)
        return false;
    *proof = (struct anthropic_proof){.from = translator_named(name),
                                      .id = text_head(rest, id_bytes),
                                      .proof = text_from(rest, id_bytes)};
    proof->of = (unsigned)(found - kinds);
    return true;
}
