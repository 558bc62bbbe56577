/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/ollama.h"

static void write_chat_path(const struct call_target *target, struct buffer *out)
{
    (void)target;
    put_literal(out, "/api/chat");
}

#define ANSWERS                                                                                  \
    .framing = FRAMING_LINES, .reader_bytes = sizeof(struct ollama_reader),                      \
    .read_frame = ollama_read_frame, .read_body = ollama_read_body, .read_end = ollama_read_end, \
    .read_error = ollama_read_error, .stream_type = {"application/x-ndjson", 20},                \
    .writer_bytes = sizeof(struct ollama_writer), .write_event = ollama_write_event,             \
    .write_whole = ollama_write_whole

const struct translator translator_ollama_chat = {
    .name = {"ollama-chat", 11},
    .dialect = {"ollama", 6},
    .operation = OPERATION_CHAT,
    .read_call = ollama_read_chat,
    .write_call = ollama_write_chat,
    .write_path = write_chat_path,
    ANSWERS,
};

/* A prompt and its answer, by clients only: a target is asked for a conversation. */
const struct translator translator_ollama_generate = {
    .name = {"ollama-generate", 15},
    .dialect = {"ollama", 6},
    .operation = OPERATION_COMPLETION,
    .read_call = ollama_read_generate,
    .write_call = ollama_write_chat,
    .write_path = write_chat_path,
    ANSWERS,
};
