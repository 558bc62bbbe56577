/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * transcript - what a conversation and its answer say, as OpenTelemetry's conventions for
 * generative AI write it down (opentelemetry.io/docs/specs/semconv/gen-ai: the JSON schemas of
 * gen_ai.input.messages, gen_ai.output.messages, gen_ai.system_instructions and
 * gen_ai.tool.definitions). A door of providers. Pure.
 *
 * All of it is bounded, and says so where it is cut: of a call the last messages are kept, of texts
 * the beginning. Pictures, sound and files are named, never repeated.
 */

#include "providers/translate.h"

/* Each is a JSON text in the arena, or empty where there is nothing to say. */
struct transcript_call {
    struct text messages; /* gen_ai.input.messages */
    struct text system;   /* gen_ai.system_instructions: of dialects that have them apart */
    struct text tools;    /* gen_ai.tool.definitions */
    bool cut;             /* there was more */
};

/* A call that was read; each of the texts has about <max> bytes at most. */
void transcript_of_call(struct arena *arena, const struct chat *chat, size_t max,
                        struct transcript_call *made);

/* An answer that is listened to: owned by whoever made it. Holds at most <max> bytes of what it
 * says, and one event. */
struct transcript;

/* It comes in <words>, as a stream or in one piece. */
struct transcript *transcript_new(const struct translator *words, bool stream, size_t max);
/* The next bytes of it. What cannot be read ends it, and is no failure. NULL is fine. */
void transcript_feed(struct transcript *transcript, struct text piece);
/* Nothing more comes: append gen_ai.output.messages, or nothing where it has said nothing. *cut:
 * there was more. */
void transcript_write(struct transcript *transcript, struct buffer *out, bool *cut);
void transcript_free(struct transcript *transcript);
