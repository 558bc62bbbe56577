/* SPDX-License-Identifier: Apache-2.0 */
/*
 * anthropic.h: {"type":"error","error":{"type","message"},"request_id"}, as an answer of its own or
 * inside a stream. Some relays leave out the outer type, or say the error as a text.
 */
#include "gateway/base/member.h"
#include "providers/anthropic.h"

enum fault_kind anthropic_fault(struct text type)
{
    static const struct {
        const char *type;
        enum fault_kind kind;
    } kinds[] = {
        {"overloaded_error", FAULT_TARGET_BUSY},
        {"rate_limit_error", FAULT_TARGET_BUSY},
        {"invalid_request_error", FAULT_TARGET_REFUSED},
        {"request_too_large", FAULT_TARGET_REFUSED},
        {"not_found_error", FAULT_TARGET_REFUSED},
    };
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (inner_is(type, kinds[i].type))
            return kinds[i].kind;
    return FAULT_TARGET_ERROR; /* its own fault, or our key or money: another one may do better */
}

/* Is it our key, our account or our money that the provider does not like? */
static bool is_about_us(unsigned status, struct text message)
{
    return status == 401 || status == 402 || status == 403 ||
           (status == 400 && text_find(message, TEXT("credit balance")) != SIZE_MAX);
}

static enum fault_kind kind_of(unsigned status, struct text type, struct text message)
{
    if (status == 429 || status == 529 || inner_is(type, "overloaded_error") ||
        inner_is(type, "rate_limit_error"))
        return FAULT_TARGET_BUSY;
    if (is_about_us(status, message) || status == 408 || status == 409 || status == 425)
        return FAULT_TARGET_ERROR;
    if (status >= 400 && status <= 499)
        return FAULT_TARGET_REFUSED;
    return status >= 500 && status <= 599 ? FAULT_TARGET_ERROR : FAULT_TARGET_INVALID;
}

void anthropic_read_error(unsigned status, struct text body, struct provider_error *error)
{
    struct text object = member_find(body, TEXT("error"));
    bool is_object = object.len && object.at[0] == '{';
    struct text type = member_string(member_find(is_object ? object : body, TEXT("type")));
    struct text message = member_string(member_find(is_object ? object : body, TEXT("message")));
    if (message.at == NULL)
        message = is_object ? TEXT("") : member_string(object);
    error->kind = kind_of(status, type, message);
    /* When it is about our key, a provider may repeat the key in its message. */
    if (is_about_us(status, message))
        message = TEXT("the provider refuses our key or account");
    provider_error_say(error, type, message);
}
