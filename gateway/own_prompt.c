/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/own_prompt.h"

#include "gateway/admission.h"
#include "gateway/base/json.h"
#include "gateway/base/member.h"
#include "gateway/config/config.h"
#include "gateway/deploy_page.h"
#include "gateway/exchange.h"
#include "gateway/worker_inside.h"

enum { TEMPLATE_BYTES = 1 << 20, NAME_SHOWN = 64 };

static const struct text variables_name = {"input_variables", 15};
static const struct text template_unsaid = {"{prompt}{completion}", 20};

static bool refuse(struct fault *fault, const char *param, const char *words, struct text name)
{
    fault_set(fault, FAULT_BAD_REQUEST, "'%s' %s%.*s%s.", param, words,
              TEXT_ARGS(text_head(name, NAME_SHOWN)), name.len ? "'" : "");
    fault->param = param;
    return false;
}

static bool is_name_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* Is this "{name}"? */
static bool is_place(struct text rest, struct text *name)
{
    size_t len = 1;
    while (len < rest.len && is_name_byte(rest.at[len]))
        len++;
    *name = text_head(text_from(rest, 1), len - 1);
    return len > 1 && len < rest.len && rest.at[len] == '}';
}

/* What stands for it, as the inside of a JSON string. */
static bool put_variable(struct text variables, struct text name, struct buffer *out,
                         struct fault *fault)
{
    struct text value = member_find(variables, name);
    if (!value.at && text_equal(name, TEXT("completion")))
        return true;
    if (!value.at)
        return refuse(fault, variables_name.at, "has no '", name);
    struct text inner = member_string(value);
    bool is_plain = !inner.at && value.len && value.at[0] != '{' && value.at[0] != '[' &&
                    !text_equal(value, TEXT("null"));
    if (!inner.at && !is_plain)
        return refuse(fault, variables_name.at, "has neither a text nor a number in '", name);
    buffer_append_text(out, is_plain ? value : inner);
    return true;
}

/* <inner>: the template, as the inside of a JSON string. */
static bool put_filled(struct text inner, struct text variables, struct buffer *out,
                       struct fault *fault)
{
    struct text name;
    while (inner.len && !out->overrun) {
        char c = inner.at[0];
        bool is_pair = (c == '{' || c == '}') && inner.len > 1 && inner.at[1] == c;
        if (!is_pair && c == '{' && is_place(inner, &name)) {
            if (!put_variable(variables, name, out, fault))
                return false;
            inner = text_from(inner, name.len + 2);
            continue;
        }
        buffer_append(out, &c, 1);
        inner = text_from(inner, is_pair ? 2 : 1);
    }
    return true;
}

/* The other members, as they are. */
static void put_others(struct text body, struct buffer *out)
{
    struct text name, value;
    while (member_next(&body, &name, &value)) {
        if (text_equal(name, variables_name) || text_equal(name, TEXT("prompt")))
            continue;
        buffer_append_text(out, TEXT("\""));
        buffer_append_text(out, name);
        buffer_append_text(out, TEXT("\":"));
        buffer_append_text(out, value);
        buffer_append_text(out, TEXT(","));
    }
}

bool own_prompt_write(struct text body, struct text template_text, struct buffer *out,
                      struct fault *fault)
{
    struct text variables = member_find(body, variables_name),
                prompt = member_find(body, TEXT("prompt"));
    struct buffer quoted;
    if (!variables.len || variables.at[0] != '{')
        return refuse(fault, variables_name.at, "has to be an object", TEXT(""));
    if (prompt.at && !text_equal(prompt, TEXT("null")))
        return refuse(fault, "prompt", "does not go together with input_variables", TEXT(""));
    buffer_init(&quoted, TEMPLATE_BYTES);
    json_write_string(&quoted, template_text.len ? template_text : template_unsaid);
    struct text inner = buffer_text(&quoted);
    inner = text_head(text_from(inner, 1), inner.len < 2 ? 0 : inner.len - 2);
    buffer_append_text(out, TEXT("{"));
    put_others(body, out);
    buffer_append_text(out, TEXT("\"prompt\":\""));
    bool good = put_filled(inner, variables, out, fault);
    buffer_append_text(out, TEXT("\"}"));
    bool fits = !out->overrun && !quoted.overrun;
    buffer_done(&quoted);
    return good &&
           (fits || fault_set(fault, FAULT_TOO_LARGE, "The prompt is too long by its template."));
}

static bool has(struct text body, struct text name)
{
    struct text value = member_find(body, name);
    return value.at && !text_equal(value, TEXT("null"));
}

bool own_prompt_fill(struct exchange *x)
{
    struct text body = buffer_text(&x->body);
    if (!x->match.deployment.len || x->match.shape != SHAPE_MONSTER ||
        x->call.operation != OPERATION_COMPLETION)
        return true;
    if (has(body, TEXT("messages")) || has(body, TEXT("formatted_prompt"))) {
        x->call.operation = OPERATION_CHAT;
        return true;
    }
    if (!has(body, variables_name))
        return true;
    const struct deployment_spec *spec = deploy_spec(x->snapshot->config, x->match.deployment);
    struct buffer out;
    buffer_init(&out, x->body.limit);
    bool good =
        own_prompt_write(body, spec ? spec->prompt_template : TEXT(""), &out, exchange_fault(x));
    if (!good) {
        buffer_done(&out);
        return false;
    }
    buffer_done(&x->body);
    x->body = out;
    x->body_bytes = (int64_t)buffer_length(&x->body);
    return admission_read(x);
}
