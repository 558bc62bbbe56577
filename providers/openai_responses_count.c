/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The openai dialect: /responses/input_tokens. The request is a response's; the answer is
 * {"object": "response.input_tokens", "input_tokens": n}.
 */
#include "gateway/base/member.h"
#include "providers/count.h"
#include "providers/openai.h"
#include "providers/openai_responses.h"

static void write_path(const struct call_target *target, struct buffer *out)
{
    (void)target;
    put_literal(out, "/responses/input_tokens");
}

static struct text find_count(struct text body)
{
    return member_find(body, TEXT("input_tokens"));
}

static void put_count(struct buffer *out, int64_t tokens)
{
    put_literal(out, "{\"object\":\"response.input_tokens\"");
    put_number(out, "input_tokens", tokens);
    put_literal(out, "}");
}

const struct translator translator_openai_count = {
    .name = {"openai-count", 12},
    .dialect = {"openai", 6},
    .operation = OPERATION_COUNT,
    .read_call = responses_read_call,
    .write_call = responses_write_call,
    .write_path = write_path,
    .find_count = find_count,
    .put_count = put_count,
    COUNT_ANSWERS,
    .read_error = openai_read_error,
};
