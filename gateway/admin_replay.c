/* SPDX-License-Identifier: Apache-2.0 */
/* What another policy would have chosen, of the decisions that this node has kept. On the ledger's
 * desk: it reads files. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/admin_inside.h"
#include "gateway/base/clock.h"
#include "gateway/base/json.h"
#include "gateway/base/log.h"
#include "gateway/base/member.h"
#include "gateway/decisions.h"
#include "gateway/hindsight.h"
#include "gateway/service_state.h"
#include "gateway/usage_query.h"

struct question {
    struct json *root;
    struct text policy; /* as it was sent */
    struct text since, model;
    int64_t since_us;
};

static bool refuse(struct admin_call *call, const char *field, const char *words)
{
    admin_field_problem(call, 400, field, text_of(words));
    return false;
}

/* What is not known would otherwise look as if it narrowed something. */
static bool check_members(struct admin_call *call, const struct json *root)
{
    void *at = NULL;
    struct text name;
    const struct json *value;
    while (json_next(root, &at, &name, &value)) {
        bool is_known = text_equal(name, TEXT("policy")) || text_equal(name, TEXT("since")) ||
                        text_equal(name, TEXT("model"));
        char field[64];
        snprintf(field, sizeof field, "%.*s", TEXT_ARGS(text_head(name, sizeof field - 1)));
        if (!is_known)
            return refuse(call, field, "there is no such member: policy, since, model");
    }
    return true;
}

static bool read_text(struct admin_call *call, const struct json *root, const char *name,
                      struct text *to)
{
    const struct json *value = json_member(root, name);
    return !value || json_to_text(value, to) || refuse(call, name, "it must be a string");
}

static bool read_question(struct admin_call *call, struct question *question)
{
    struct json_problem problem;
    struct fault fault = {0};
    question->root = json_read(call->body, &problem);
    if (!question->root || json_kind(question->root) != SCAN_OBJECT) {
        admin_problem(call, 400, TEXT("the body must be a JSON object"));
        return false;
    }
    const struct json *policy = json_member(question->root, "policy");
    if (!check_members(call, question->root))
        return false;
    if (!policy || json_kind(policy) != SCAN_OBJECT)
        return refuse(call, "policy", "which one? An object as it would stand in routing.policies");
    question->policy = member_find(call->body, TEXT("policy"));
    question->since = TEXT("1d");
    if (!read_text(call, question->root, "since", &question->since) ||
        !read_text(call, question->root, "model", &question->model))
        return false;
    if (usage_time_read("since", question->since, clock_wall_us(), &question->since_us, &fault))
        return true;
    return refuse(call, "since", fault.text);
}

/* The first thing that is wrong with it: "policy:1:9: error: WORDS". */
static void refuse_policy(struct admin_call *call, char *words)
{
    static const char mark[] = ": error: ";
    char *first = words ? strstr(words, mark) : NULL;
    first = first ? first + sizeof mark - 1 : NULL;
    if (first)
        first[strcspn(first, "\n")] = '\0';
    refuse(call, "policy", first ? first : "it is none");
}

static void answer(struct service *service, struct admin_call *call,
                   const struct question *question, const struct route_policy *policy)
{
    struct json_write json = {.out = &call->out};
    struct hindsight *hindsight = hindsight_new(policy, question->since_us, question->model);
    char *directory = memory_format("%s/decisions", service->start->state);
    /* Where none was kept yet there is no such directory. */
    if (decisions_each(directory, question->since_us, hindsight_see_record, hindsight) ||
        errno == ENOENT) {
        hindsight_write(hindsight, &json);
        admin_done(call, &json);
    } else {
        log_line(LOG_ERROR, "decisions", "%s cannot be read: %s", directory, strerror(errno));
        admin_problem(call, 500, TEXT("the decisions that were kept cannot be read"));
    }
    memory_free(directory);
    hindsight_free(hindsight);
}

void admin_replay(struct service *service, struct config *config, struct admin_call *call)
{
    struct question question = {0};
    (void)config;
    if (read_question(call, &question)) {
        char *words = NULL;
        size_t length = 0;
        FILE *out = open_memstream(&words, &length);
        struct policy_file *file = out ? policy_file_read(question.policy, out) : NULL;
        if (out)
            fclose(out);
        if (file)
            answer(service, call, &question, policy_file_policy(file));
        else
            refuse_policy(call, words);
        policy_file_free(file);
        free(words);
    }
    json_free(question.root);
}
