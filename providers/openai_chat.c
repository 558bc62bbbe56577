/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openai_chat.h: chat completions, as OpenAI has them and as Mistral does.
 */
#include "providers/openai_chat.h"

#include "providers/openai.h"

static void write_call(struct arena *arena, const struct chat *chat,
                       const struct call_target *target, struct buffer *out, struct losses *losses)
{
    openai_chat_write(arena, chat, target, &translator_openai_chat, out, losses);
}

static void write_mistral_call(struct arena *arena, const struct chat *chat,
                               const struct call_target *target, struct buffer *out,
                               struct losses *losses)
{
    openai_chat_write(arena, chat, target, &translator_mistral_chat, out, losses);
}

/* In a path all but letters, digits and -._~ is escaped (RFC 3986 2.3). */
static void put_segment(struct buffer *out, struct text plain)
{
    for (size_t i = 0; i < plain.len; i++) {
        unsigned char c = (unsigned char)plain.at[i], letter = c | 0x20u;
        bool stays = (c >= '0' && c <= '9') || (letter >= 'a' && letter <= 'z') || c == '-' ||
                     c == '.' || c == '_' || c == '~';
        if (stays)
            buffer_append(out, &c, 1);
        else
            buffer_format(out, "%%%02X", c);
    }
}

/* Azure has a deployment for each model in the path, when it is asked by a dated version. */
static void write_path(const struct call_target *target, struct buffer *out)
{
    if (!target->api_version.len) {
        put_literal(out, "/chat/completions");
        return;
    }
    put_literal(out, "/openai/deployments/");
    put_segment(out, target->model);
    put_literal(out, "/chat/completions?api-version=");
    put_segment(out, target->api_version);
}

const struct translator translator_openai_chat = {
    .name = {"openai-chat", 11},
    .dialect = {"openai", 6},
    .operation = OPERATION_CHAT,
    .read_call = openai_chat_read_call,
    .write_call = write_call,
    .write_path = write_path,
    .keep_call = openai_keep_call,
    OPENAI_CHAT_ANSWERS,
};

const struct translator translator_mistral_chat = {
    .name = {"mistral-chat", 12},
    .dialect = {"mistral", 7},
    .operation = OPERATION_CHAT,
    .read_call = openai_chat_read_call,
    .write_call = write_mistral_call,
    .write_path = write_path,
    .keep_call = openai_keep_call,
    OPENAI_CHAT_ANSWERS,
};
