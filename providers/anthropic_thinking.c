/* SPDX-License-Identifier: Apache-2.0 */
/*
 * anthropic.h: how much a call may think and write. One thing depends on the other: a budget of
 * thinking is less than max_tokens, with one there is no temperature and no tool that must be
 * called, and a turn that goes on after tools must begin with the thinking that led to them.
 */
#include <stdlib.h>

#include "gateway/base/member.h"
#include "providers/anthropic.h"

enum {
    TOKENS_UNKNOWN = 4096, /* where nobody says how much may be written */
    BUDGET_MIN = 1024,
};

/* ------------------------------------------------------------------- efforts and budgets */

static const struct {
    const char *effort;
    int64_t budget;
    const char *own; /* what Claude calls it */
} efforts[] = {
    {"minimal", 1024, "low"}, {"low", 2048, "low"},      {"medium", 8192, "medium"},
    {"high", 24576, "high"},  {"xhigh", 32768, "xhigh"}, {"max", 63999, "max"},
};

enum { EFFORTS = sizeof(efforts) / sizeof(efforts[0]), EFFORT_MEDIUM = 2, EFFORT_HIGH = 3 };

static size_t effort_of(struct text inner)
{
    for (size_t i = 0; i < EFFORTS; i++)
        if (inner_is(inner, efforts[i].effort))
            return i;
    return EFFORT_MEDIUM;
}

/* The least effort that pays for the budget. */
static size_t effort_for(int64_t budget)
{
    size_t i = 0;
    while (i < EFFORT_HIGH && efforts[i].budget < budget)
        i++;
    return i;
}

/* What Claude is told of effort, or at == NULL when nothing. */
static struct text own_effort(const struct anthropic_writing *w)
{
    const struct chat *chat = w->chat;
    if (w->own)
        return chat->effort;
    bool asked = chat->effort.at != NULL || chat->reasoning_tokens > 0;
    if (!asked || !w->model.has_effort || chat->reasoning == SAID_NO)
        return (struct text){NULL, 0};
    const char *word =
        efforts[chat->effort.at ? effort_of(chat->effort) : effort_for(chat->reasoning_tokens)].own;
    if (!strcmp(word, "xhigh") && !w->model.has_xhigh)
        word = "max";
    if (!strcmp(word, "max") && !w->model.has_max)
        word = "high";
    return text_of(word);
}

/* ---------------------------------------------------------------------------- how it goes */

/* Does the turn go on after tools without the thinking that led to them? */
static bool lacks_thinking(const struct chat *chat)
{
    for (size_t m = chat->message_count; m-- > 0;) {
        const struct message *message = &chat->messages[m];
        bool calls = false;
        if (message->role != ROLE_ASSISTANT) {
            if (message->role == ROLE_USER)
                return false; /* a new turn */
            continue;
        }
        for (size_t p = 0; p < message->part_count; p++) {
            const struct part *part = &message->parts[p];
            if (part->kind == PART_REASONING && anthropic_is_ours(part))
                return false;
            calls = calls || part->kind == PART_CALL;
        }
        return calls;
    }
    return false;
}

static bool is_forced(const struct chat *chat)
{
    return chat->tool_count && (chat->tool_choice == CHOICE_ANY || chat->tool_choice == CHOICE_ONE);
}

struct thinking {
    bool on, adaptive;
    int64_t budget, max_tokens;
};

static int64_t wanted_budget(const struct anthropic_writing *w)
{
    const struct chat *chat = w->chat;
    if (chat->reasoning_tokens > 0)
        return chat->reasoning_tokens > BUDGET_MIN ? chat->reasoning_tokens : BUDGET_MIN;
    return efforts[effort_of(chat->effort)].budget;
}

/* What may be written: as was asked, else as is configured, else all that the model can. */
static int64_t max_tokens_of(const struct anthropic_writing *w, int64_t budget)
{
    const struct call_target *target = w->target;
    int64_t most = target->max_tokens_max;
    int64_t tokens = w->chat->max_tokens;
    if (target->lowered_tokens > 0)
        return target->lowered_tokens;
    if (tokens == 0)
        tokens = target->max_tokens_default > 0 ? target->max_tokens_default
                 : most > 0                     ? most
                                                : budget + TOKENS_UNKNOWN;
    if (most == 0 || tokens <= most)
        return tokens;
    if (w->chat->max_tokens > 0)
        loss_hint(w->losses, "max_tokens");
    return most;
}

static const char *name_of_effort(const struct chat *chat)
{
    if (text_equal(chat->from->name, TEXT("openai-responses")))
        return "reasoning.effort";
    if (text_starts(chat->from->name, TEXT("openai")))
        return "reasoning_effort";
    if (text_starts(chat->from->name, TEXT("gemini")))
        return "generationConfig.thinkingConfig";
    return "thinking";
}

static struct thinking decide(struct anthropic_writing *w)
{
    const struct chat *chat = w->chat;
    struct thinking t = {.on = chat->reasoning == SAID_YES};
    const char *name = name_of_effort(chat);
    t.adaptive = w->own ? chat->reasoning_tokens == 0
                        : w->model.no_budget || (w->model.adapts && chat->reasoning_tokens == 0);
    bool cannot =
        !w->own && (!w->model.thinks || (!t.adaptive && (is_forced(chat) || lacks_thinking(chat))));
    if (t.on && cannot) {
        loss_hint(w->losses, "%s", name);
        t.on = false;
    }
    if (t.on && !t.adaptive)
        t.budget = wanted_budget(w);
    t.max_tokens = max_tokens_of(w, t.budget);
    if (t.budget && t.budget >= t.max_tokens) {
        t.budget = t.max_tokens / 5 * 4; /* the rest is for the answer */
        if (t.budget < BUDGET_MIN)
            t.budget = t.max_tokens > BUDGET_MIN ? BUDGET_MIN : 0;
        if (t.budget == 0)
            loss_hint(w->losses, "%s", name);
        t.on = t.budget > 0;
    }
    return t;
}

static void put_type(struct anthropic_writing *w, const struct thinking *t)
{
    const struct chat *chat = w->chat;
    struct text own = {NULL, 0};
    if (w->own)
        own = anthropic_field(chat->fields, chat->field_count, TEXT("thinking"));
    if (own.at) {
        put_json(w->out, "thinking", own);
        return;
    }
    bool off = chat->reasoning == SAID_NO && (w->own || w->model.thinks);
    if (off && !w->own && w->model.always_thinks) {
        loss_hint(w->losses, "%s", name_of_effort(chat));
        return;
    }
    if (!t->on && !off)
        return;
    put_open(w->out, "thinking", '{');
    put_inner(w->out, "type",
              !t->on        ? TEXT("disabled")
              : t->adaptive ? TEXT("adaptive")
                            : TEXT("enabled"));
    if (t->on && !t->adaptive)
        put_number(w->out, "budget_tokens", t->budget);
    if (t->on && chat->reasoning_shown == SAID_NO && w->own)
        put_inner(w->out, "display", TEXT("omitted"));
    else if (t->on && chat->reasoning_shown == SAID_YES && w->model.no_budget)
        put_inner(w->out, "display", TEXT("summarized"));
    put_literal(w->out, "}");
}

/* -------------------------------------------------------------------------------- sampling */

/* A number that is more than <most>: others allow twice as much. */
static bool is_above(struct text json, double most)
{
    char digits[32];
    size_t len = json.len < sizeof(digits) - 1 ? json.len : sizeof(digits) - 1;
    memcpy(digits, json.at, len);
    digits[len] = '\0';
    return strtod(digits, NULL) > most;
}

static void put_temperature(struct anthropic_writing *w, bool with_budget)
{
    struct text value = w->chat->temperature;
    if (json_is_absent(value))
        return;
    if (!w->own && (w->model.no_sampling || with_budget)) {
        if (!text_equal(value, TEXT("1")) && !text_equal(value, TEXT("1.0")))
            loss_hint(w->losses, "temperature");
        return;
    }
    if (!w->own && is_above(value, 1.0)) {
        loss_hint(w->losses, "temperature");
        value = TEXT("1");
    }
    put_json(w->out, "temperature", value);
}

static void put_sampling(struct anthropic_writing *w, bool with_budget)
{
    const struct chat *chat = w->chat;
    put_temperature(w, with_budget);
    if (!json_is_absent(chat->top_p)) {
        /* The newer ones take one of the two only; with a budget, hardly any. */
        bool cannot = w->model.no_sampling || with_budget || !json_is_absent(chat->temperature);
        if (w->own || !cannot)
            put_json(w->out, "top_p", chat->top_p);
        else if (!text_equal(chat->top_p, TEXT("1")) && !text_equal(chat->top_p, TEXT("1.0")))
            loss_hint(w->losses, "top_p");
    }
    if (!json_is_absent(chat->top_k)) {
        if (w->own || !(w->model.no_sampling || with_budget))
            put_json(w->out, "top_k", chat->top_k);
        else
            loss_hint(w->losses, "top_k");
    }
}

void anthropic_put_thinking(struct anthropic_writing *w)
{
    struct thinking t = decide(w);
    if (!w->counting)
        put_number(w->out, "max_tokens", t.max_tokens);
    put_type(w, &t);
    anthropic_put_output(w, own_effort(w));
    if (!w->counting)
        put_sampling(w, t.on && !t.adaptive);
}
