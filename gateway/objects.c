/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/objects.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/base/json.h"
#include "gateway/base/member.h"
#include "gateway/batches.h"
#include "gateway/upload.h"
#include "gateway/worker_inside.h"

enum { LIST_OBJECTS_MAX = 10000, FILTERED_MAX = 8 * 1024 * 1024 };

/* A question on its way through the ledger's thread and back. Outlives its exchange when that
 * ends meanwhile. */
struct objects {
    struct owner_question question;
    struct errand errand;
    struct worker *worker;
    struct exchange *x; /* NULL once that has ended */
    bool answered, filters;
    size_t count, asked; /* owners in all; of them, those before the question's own */
    char *facts;         /* of the one it is about, when it is asked for */
    struct owner owners[];
};

/* A list may be longer than a question. True when the next part of it was asked for. */
static bool ask_on(struct objects *objects)
{
    objects->asked += objects->question.count;
    if (objects->question.failed || objects->asked == objects->count)
        return false;
    size_t left = objects->count - objects->asked;
    objects->question.owners = objects->owners + objects->asked;
    objects->question.count = left < OWNERS_MAX ? left : OWNERS_MAX;
    objects->answered = false;
    objects->worker->questions++;
    ledger_ask_owners(objects->worker->options.ledger, &objects->question);
    return true;
}

static void objects_free(struct objects *objects)
{
    memory_free(objects->facts);
    memory_free(objects);
}

static void answered(struct objects *objects)
{
    struct exchange *x = objects->x;
    objects->answered = true;
    objects->worker->questions--;
    if (!x) {
        objects_free(objects);
        return;
    }
    if (objects->filters) {
        if (ask_on(objects))
            return;
        objects->filters = false;
        x->facts.upstream = UPSTREAM_ANSWERED;
        objects_filter(x);
    } else {
        x->facts.owner_known = true;
    }
    exchange_run(x);
}

static void others_answered(struct owner_question *question)
{
    answered(LIST_MEMBER(question, struct objects, question));
}

/* What the ledger does not know another replica may. */
static void on_answer(struct errand *errand)
{
    struct objects *objects = LIST_MEMBER(errand, struct objects, errand);
    struct owners_remote *owners = objects->worker->owners;
    if (!owners || !objects->x || !owners_remote_ask(owners, &objects->question, others_answered))
        answered(objects);
}

/* On the ledger's thread. */
static void post_answer(struct owner_question *question)
{
    struct objects *objects = LIST_MEMBER(question, struct objects, question);
    loop_post(objects->worker->loop, &objects->errand);
}

static struct objects *question_new(struct exchange *x, size_t count)
{
    struct objects *objects = memory_new(sizeof(*objects) + count * sizeof(objects->owners[0]));
    objects->x = x;
    objects->worker = x->worker;
    x->worker->questions++;
    objects->errand.run = on_answer;
    objects->count = count;
    objects->question = (struct owner_question){.owners = objects->owners,
                                                .count = count < OWNERS_MAX ? count : OWNERS_MAX,
                                                .answer = post_answer};
    x->objects = objects;
    return objects;
}

void objects_forget(struct exchange *x)
{
    struct objects *objects = x->objects;
    objects_leave(x);
    x->objects = NULL;
    if (!objects)
        return;
    objects->x = NULL;
    if (objects->answered)
        objects_free(objects);
}

static void put_id(struct owner *owner, struct text id)
{
    size_t len = id.len < OWNER_TEXT_BYTES - 1 ? id.len : OWNER_TEXT_BYTES - 1;
    memcpy(owner->id, id.at, len);
    owner->id[len] = '\0';
}

/* Is <object_id> the first that is asked about? */
static size_t named(const struct exchange *x)
{
    return x->object_id.len > 0 && x->object_id.len < OWNER_TEXT_BYTES;
}

struct text objects_facts(const struct exchange *x)
{
    return x->objects && x->objects->facts ? text_of(x->objects->facts) : TEXT("");
}

/* Without tenants nobody can look over anybody's shoulder, and what was made before sluice stood
 * here may be used. */
static bool is_alone(const struct exchange *x)
{
    return x->key && x->key == x->snapshot->config->anonymous_key;
}

bool objects_ask(struct exchange *x)
{
    size_t first = named(x), count = first + (is_alone(x) ? 0 : x->file_count);
    if (count == 0)
        return false;
    struct objects *objects = question_new(x, count);
    if (first)
        put_id(&objects->owners[0], x->object_id);
    for (size_t i = first; i < count; i++)
        put_id(&objects->owners[i], x->files[i - first]);
    if (x->call.operation == OPERATION_BATCH && first)
        objects->facts = memory_new(OBJECT_FACTS_BYTES + 1);
    objects->question.facts = objects->facts;
    ledger_ask_owners(x->worker->options.ledger, &objects->question);
    return true;
}

static const struct target *target_named(const struct exchange *x, const char *id)
{
    const struct config *config = x->snapshot->config;
    for (size_t i = 0; i < config->target_count; i++)
        if (text_equal(config->targets[i].id, text_of(id)) && !config->targets[i].off)
            return &config->targets[i];
    return NULL;
}

static bool unknown_object(struct exchange *x, struct text id)
{
    return fault_set(exchange_fault(x), FAULT_UNKNOWN_OBJECT, "There is no object '%.*s'.",
                     TEXT_ARGS(text_head(id, 100)));
}

/* A file that was uploaded elsewhere may be named: its id is as good as a secret. */
static bool allow_files(struct exchange *x)
{
    for (size_t i = named(x); x->objects && i < x->objects->count; i++) {
        const struct owner *owner = &x->objects->owners[i];
        if (owner->found && !text_equal(text_of(owner->tenant), tenant_scope(x->key->tenant)))
            return unknown_object(x, text_of(owner->id));
    }
    return true;
}

bool objects_builds_on(const struct exchange *x)
{
    return x->call.operation == OPERATION_RESPONSE ||
           (x->call.operation == OPERATION_COUNT && x->match.shape == SHAPE_OPENAI);
}

bool objects_allow(struct exchange *x)
{
    if (x->objects && x->objects->question.failed)
        return fault_set(exchange_fault(x), FAULT_OVERLOADED,
                         "It cannot be found out now who owns '%s'; try again.",
                         x->objects->owners[0].id);
    if (!allow_files(x))
        return false;
    if (x->object_id.len == 0)
        return true;
    bool builds_on = objects_builds_on(x);
    const struct owner *owner = x->objects && named(x) ? &x->objects->owners[0] : NULL;
    if (!owner || !owner->found) {
        /* A response may build on one that was made elsewhere; its id is as good as a secret. */
        return builds_on || is_alone(x) || unknown_object(x, x->object_id);
    }
    if (!text_equal(text_of(owner->tenant), tenant_scope(x->key->tenant)))
        return unknown_object(x, x->object_id);
    x->pinned = target_named(x, owner->target);
    if (!x->pinned && !builds_on)
        return fault_set(exchange_fault(x), FAULT_NO_TARGET,
                         "The target that holds '%s' is not in force any more.", owner->id);
    return true;
}

/* -------------------------------------------------------------------------------- lists */

enum list_member { LIST_DATA, LIST_FIRST, LIST_LAST, LIST_MEMBERS };

static const struct text list_members[LIST_MEMBERS] = {
    {"data", 4}, {"first_id", 8}, {"last_id", 7}};
static const struct text id_member = {"id", 2};

static bool read_list(struct text body, struct scan_value members[LIST_MEMBERS])
{
    struct scan_problem problem;
    return scan_json(body, list_members, LIST_MEMBERS, members, &problem) &&
           members[LIST_DATA].kind == SCAN_ARRAY;
}

/* The next object of the array's inside: skips to its end by counting braces outside strings (the
 * document is known to be valid). */
static bool next_object(struct text *inside, struct text *object)
{
    size_t begin = text_find_byte(*inside, '{');
    if (begin == SIZE_MAX)
        return false;
    unsigned depth = 0;
    bool in_string = false;
    for (size_t i = begin; i < inside->len; i++) {
        char c = inside->at[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if ((c == '}' || c == ']') && --depth == 0) {
            *object = (struct text){inside->at + begin, i + 1 - begin};
            *inside = text_from(*inside, i + 1);
            return true;
        }
    }
    return false;
}

static struct text object_id(struct text object, char *room, size_t size)
{
    struct scan_value value;
    struct scan_problem problem;
    if (!scan_json(object, &id_member, 1, &value, &problem) || value.kind != SCAN_STRING ||
        value.raw.len > size)
        return (struct text){"", 0};
    size_t len = scan_string(&value, room);
    return (struct text){room, len == SIZE_MAX ? 0 : len};
}

static bool ask_about_list(struct exchange *x, struct text inside)
{
    struct text rest = inside, object;
    char id[OWNER_TEXT_BYTES];
    size_t count = 0;
    while (count < LIST_OBJECTS_MAX && next_object(&rest, &object))
        count++;
    struct objects *objects = question_new(x, count);
    for (size_t i = 0; i < count && next_object(&inside, &object); i++)
        put_id(&objects->owners[i], object_id(object, id, sizeof(id)));
    objects->filters = true;
    if (buffer_length(&x->held) == 0) { /* borrowed from a scratch: keep it over the wait */
        buffer_append_text(&x->held, x->whole);
        x->whole = buffer_text(&x->held);
    }
    ledger_ask_owners(x->worker->options.ledger, &objects->question);
    return true;
}

/* The <i>-th object of the list, called <id>. */
static bool is_own(const struct exchange *x, size_t i, struct text id)
{
    if (i >= x->objects->count)
        return false;
    const struct owner *owner = &x->objects->owners[i];
    return owner->found && text_equal(text_of(owner->id), id) &&
           text_equal(text_of(owner->tenant), tenant_scope(x->key->tenant));
}

/* Write the tenant's own objects as an array; <first> and <last> get their ids, as JSON. */
static void write_array(struct exchange *x, struct text inside, struct buffer *out,
                        struct buffer *first, struct buffer *last)
{
    char room[OWNER_TEXT_BYTES];
    struct text object;
    buffer_append_text(out, TEXT("["));
    for (size_t i = 0; next_object(&inside, &object); i++) {
        struct text id = object_id(object, room, sizeof(room));
        if (!is_own(x, i, id))
            continue;
        if (buffer_length(last))
            buffer_append_text(out, TEXT(","));
        else
            json_write_string(first, id);
        buffer_clear(last);
        json_write_string(last, id);
        buffer_append_text(out, object);
    }
    buffer_append_text(out, TEXT("]"));
}

/* Which member stands next in the document behind <from>, or LIST_MEMBERS. */
static int next_member(const struct scan_value *members, const char *from)
{
    int next = LIST_MEMBERS;
    for (int i = 0; i < LIST_MEMBERS; i++)
        if (members[i].kind != SCAN_ABSENT && members[i].raw.at >= from &&
            (next == LIST_MEMBERS || members[i].raw.at < members[next].raw.at))
            next = i;
    return next;
}

/* The list again, with only what the tenant owns, and cursors that name nothing else. */
static void write_own(struct exchange *x, const struct scan_value *members)
{
    struct buffer parts[LIST_MEMBERS], out;
    for (int i = 0; i < LIST_MEMBERS; i++)
        buffer_init(&parts[i], FILTERED_MAX);
    struct text data = members[LIST_DATA].raw;
    write_array(x, (struct text){data.at + 1, data.len - 2}, &parts[LIST_DATA], &parts[LIST_FIRST],
                &parts[LIST_LAST]);
    buffer_init(&out, 2 * FILTERED_MAX);
    const char *from = x->whole.at, *end = x->whole.at + x->whole.len;
    for (int i; (i = next_member(members, from)) < LIST_MEMBERS;) {
        struct text part = buffer_text(&parts[i]);
        buffer_append(&out, from, (size_t)(members[i].raw.at - from));
        buffer_append_text(&out, part.len ? part : TEXT("null"));
        from = members[i].raw.at + members[i].raw.len;
    }
    buffer_append(&out, from, (size_t)(end - from));
    for (int i = 0; i < LIST_MEMBERS; i++)
        buffer_done(&parts[i]);
    buffer_done(&x->held);
    x->held = out;
    x->whole = buffer_text(&x->held);
    x->length_out = (int64_t)x->whole.len;
}

bool objects_narrows(const struct exchange *x)
{
    return x->match.endpoint->lists && !is_alone(x);
}

static bool fail(struct exchange *x, enum fault_kind kind, const char *words)
{
    x->facts.upstream = UPSTREAM_FAILED;
    return fault_set(exchange_fault(x), kind, "%s", words);
}

bool objects_filter(struct exchange *x)
{
    struct scan_value members[LIST_MEMBERS];
    if (!objects_narrows(x))
        return false;
    if (x->unwatched || !read_list(x->whole, members))
        return fail(x, FAULT_TARGET_INVALID, "The target's list cannot be read.");
    if (x->objects && x->objects->question.failed)
        return fail(x, FAULT_OVERLOADED, "It cannot be found out now who owns what; try again.");
    struct text data = members[LIST_DATA].raw;
    if (!x->objects)
        return ask_about_list(x, (struct text){data.at + 1, data.len - 2});
    write_own(x, members);
    return false;
}

/* --------------------------------------------------------------------------------- notes */

/* A batch that was seen to have ended is settled now. */
static void note_state(struct exchange *x, const struct scan_value *id,
                       const struct scan_value *state)
{
    if (id->kind == SCAN_STRING && state->kind == SCAN_STRING &&
        batches_is_last(member_string(state->raw)))
        batches_look(x->worker->options.batches, member_string(id->raw));
}

/* The files that a provider makes for a batch belong to whom the batch belongs to. */
static void note_files(struct exchange *x, struct text batch)
{
    static const struct text members[] = {
        {"output_file_id", 14}, {"error_file_id", 13}, {"id", 2}, {"status", 6}};
    struct scan_value values[4];
    struct scan_problem problem;
    char room[OWNER_TEXT_BYTES];
    if (!scan_json(batch, members, 4, values, &problem))
        return;
    note_state(x, &values[2], &values[3]);
    for (int i = 0; i < 2; i++) {
        size_t len = values[i].kind == SCAN_STRING && values[i].raw.len <= sizeof(room)
                         ? scan_string(&values[i], room)
                         : SIZE_MAX;
        if (len != SIZE_MAX && len > 0)
            objects_own(x, (struct text){room, len}, TEXT("file"), TEXT(""));
    }
}

static void note_batches(struct exchange *x)
{
    struct scan_value members[LIST_MEMBERS];
    struct text inside, batch;
    if (!text_starts(x->match.suffix, TEXT("/batches")) || x->relay != RELAY_WHOLE)
        return;
    if (!x->match.endpoint->lists) {
        note_files(x, x->whole);
        return;
    }
    if (!read_list(x->whole, members)) /* what is left of the list is the tenant's own */
        return;
    inside = (struct text){members[LIST_DATA].raw.at + 1, members[LIST_DATA].raw.len - 2};
    while (next_object(&inside, &batch))
        note_files(x, batch);
}

/* The file that the parts of an upload have become. What is in it was not looked at. */
static void note_completed(struct exchange *x)
{
    static const struct text member = TEXT("file.id");
    struct scan_value id;
    struct scan_problem problem;
    if (x->method == METHOD_POST && x->relay == RELAY_WHOLE &&
        text_starts(x->match.suffix, TEXT("/uploads/")) &&
        text_ends(x->match.suffix, TEXT("/complete")) &&
        scan_json(x->whole, &member, 1, &id, &problem) && id.kind == SCAN_STRING && !id.escaped &&
        id.raw.len < OWNER_TEXT_BYTES)
        objects_own(x, member_string(id.raw), TEXT("file"), TEXT(""));
}

static void note_made(struct exchange *x)
{
    struct text id = text_of(x->answer.object_id);
    struct text facts = upload_facts(x);
    objects_own(x, id, facts.len ? TEXT("file") : text_of(operation_name(x->call.operation)),
                facts);
}

void objects_note(struct exchange *x)
{
    if (!x->key || !x->target || x->status / 100 != 2)
        return;
    note_batches(x);
    note_completed(x);
    bool response = x->call.operation == OPERATION_RESPONSE;
    if (x->match.endpoint->creates && answer_has_id(&x->answer) && (!response || x->answer.owns))
        note_made(x);
    else if (x->method == METHOD_DELETE && x->object_id.len)
        objects_disown(x, x->object_id);
}
