/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The desk that asks providers how batches are doing, and books them when they have ended.
 *
 * What a batch used stands in the batch object ("usage"), or in its output file, a call a line
 * (OpenAI API reference, "The batch object", "The request output object"). Whatever cannot be read
 * is asked for again at the next poll; what nobody can tell is booked as the most it may have cost.
 *
 * Bounds: JOBS_MAX batches at a time, ANSWER_MAX of a batch object, LINE_MAX of a line of an output
 * file, SILENCE_US without a byte, GIVEN_UP_US of a batch's age.
 */
#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "gateway/base/member.h"
#include "gateway/batches.h"
#include "gateway/outbound.h"
#include "gateway/worker_inside.h"

enum {
    JOBS_MAX = 4,
    ANSWER_MAX = 1 << 20,
    HEAD_MAX = 64 * 1024,
    LINE_MAX = 8 << 20,
    FILE_ID_BYTES = 128,
    SUFFIX_MAX = 512,
};

static const uint64_t SILENCE_US = 30000000;
static const int64_t GIVEN_UP_US = INT64_C(7) * 86400 * 1000000;

enum stage { STAGE_BATCH, STAGE_FILE, STAGE_LEDGER };

/* What was seen of a part. */
struct seen {
    int64_t calls, unknown; /* made; of them, those that nobody counted tokens of */
    int64_t cost_nanos;
    bool guessed; /* calls that may be another part's were booked at this one's price */
    struct usage usage;
};

struct batch_desk;

/* One batch that is looked at. */
struct job {
    struct grave grave;
    struct link link;
    struct batch_desk *desk;
    struct batch_hold *hold;
    struct snapshot *snapshot;
    const struct target *target; /* where it runs; NULL = it is not in force any more */
    const struct target *targets[BATCH_PARTS_MAX]; /* of each part, or NULL: its price is lost */
    enum stage stage;
    struct upstream_call upstream;
    bool busy, over;
    struct timer timer;
    struct buffer head, answer; /* of a file: the begin of a line */
    unsigned status;
    bool line_too_long;
    bool cut_unseen; /* the file ends with its connection: also when that broke */
    int64_t lines;   /* of the file, that are not blank */
    /* what the batch says of itself */
    char state[32], file[FILE_ID_BYTES];
    int64_t completed, failed; /* calls; -1 = not said */
    bool has_tools;            /* its calls are responses, whose tools may cost beside tokens */
    struct seen seen[BATCH_PARTS_MAX];
    bool is_counted; /* <seen> is the truth; else the most it may have cost is booked */
    struct owner owner;
    struct owner_question question;
    struct errand errand;
};

struct batch_desk {
    struct worker *worker;
    struct batches *batches;
    struct errand errand;
    struct timer timer;
    struct link jobs;
    unsigned job_count;
};

/* ------------------------------------------------------------------------------ its end */

static void free_job(struct grave *grave)
{
    struct job *job = LIST_MEMBER(grave, struct job, grave);
    buffer_done(&job->head);
    buffer_done(&job->answer);
    snapshot_unref(job->snapshot);
    memory_free(job);
}

static void halt(struct job *job)
{
    timer_stop(&job->timer);
    if (job->busy)
        upstream_abandon(&job->upstream);
    job->busy = false;
}

static void job_end(struct job *job)
{
    struct batch_desk *desk = job->desk;
    halt(job);
    job->over = true;
    list_remove(&job->link);
    desk->job_count--;
    loop_bury(desk->worker->loop, &job->grave, free_job);
    timer_set(desk->worker->loop, &desk->timer, loop_now_us(desk->worker->loop)); /* the next one */
}

/* Not yet, or not now. */
static void later(struct job *job)
{
    uint64_t poll = (uint64_t)job->snapshot->config->batch_poll_us;
    batches_later(job->desk->batches, job->hold, clock_now_us() + poll);
    job_end(job);
}

static void fail(struct job *job, const char *why)
{
    log_line(LOG_WARN, "batches", "%.*s: %s; asked again later", TEXT_ARGS(job->hold->id), why);
    later(job);
}

/* ------------------------------------------------------------------------------ booking */

static int64_t share(int64_t of, int64_t part, int64_t whole)
{
    return whole > 0 ? (int64_t)(((__int128)of * part + whole - 1) / whole) : 0;
}

/* What a part is booked as. Calls that nobody counted take their share of what was held. */
static void write_row(const struct job *job, size_t i, struct ledger_row *row)
{
    const struct ledger_row *held = &job->hold->parts[i];
    const struct seen *seen = &job->seen[i];
    bool completed = text_equal_nocase(text_of(job->state), TEXT("completed")) ||
                     text_equal_nocase(text_of(job->state), TEXT("success"));
    *row = *held;
    row->finish = text_of(job->state);
    row->status = 200;
    row->usage.cached_tokens = row->usage.reasoning_tokens = 0; /* were what is likely */
    if (!job->is_counted) {
        row->outcome = LEDGER_LOST;
        return;
    }
    int64_t calls = held->attempts, unknown = seen->unknown < calls ? seen->unknown : calls;
    row->outcome = completed ? LEDGER_COMPLETE : LEDGER_PARTIAL;
    row->counted = unknown > 0 || seen->guessed ? COUNTED_ESTIMATE : COUNTED_PROVIDER;
    row->attempts = (unsigned)(seen->calls < UINT32_MAX ? seen->calls : UINT32_MAX);
    row->usage = seen->usage;
    row->usage.input_tokens += share(held->usage.input_tokens, unknown, calls);
    row->usage.output_tokens += share(held->usage.output_tokens, unknown, calls);
    row->usage.searches += share(held->usage.searches, unknown, calls);
    row->cost_nanos = seen->cost_nanos + share(held->cost_nanos, unknown, calls);
    row->price_version = job->targets[i] ? job->targets[i]->price.version : held->price_version;
}

static void book(struct job *job)
{
    struct worker *worker = job->desk->worker;
    struct batch_hold *hold = job->hold;
    struct ledger_row rows[BATCH_PARTS_MAX];
    int64_t cost = 0, most = 0;
    for (size_t i = 0; i < hold->count; i++) {
        write_row(job, i, &rows[i]);
        cost += rows[i].cost_nanos;
        most += hold->parts[i].cost_nanos;
        if (!hold->booked[i] && !ledger_release(worker->journal, &rows[i])) {
            fail(job, "there is no room in the ledger");
            return;
        }
        if (!hold->booked[i])
            metrics_call(worker->metrics, &rows[i], rows[i].model);
        hold->booked[i] = true;
    }
    log_line(cost > most ? LOG_WARN : LOG_INFO, "batches",
             "%.*s of tenant %.*s has ended (%s): %lld nano-dollars of %lld that were held",
             TEXT_ARGS(hold->id), TEXT_ARGS(hold->parts[0].tenant),
             job->is_counted ? job->state : "it cannot be found out how", (long long)cost,
             (long long)most);
    batches_settle(job->desk->batches, hold, worker, rows);
    job->hold = NULL;
    job_end(job);
}

static void on_drained(struct errand *errand)
{
    struct job *job = LIST_MEMBER(errand, struct job, errand);
    job->desk->worker->questions--;
    if (job->over)
        loop_bury(job->desk->worker->loop, &job->grave, free_job);
    else if (job->question.failed)
        fail(job, "the ledger cannot be read now");
    else
        book(job);
}

/* On the ledger's thread. */
static void post_drained(struct owner_question *question)
{
    struct job *job = LIST_MEMBER(question, struct job, question);
    loop_post(job->desk->worker->loop, &job->errand);
}

/* What is released must be in the database as held. Whoever asks about it brings it there. */
static void settle(struct job *job)
{
    halt(job);
    job->stage = STAGE_LEDGER;
    size_t len =
        job->hold->id.len < OWNER_TEXT_BYTES - 1 ? job->hold->id.len : OWNER_TEXT_BYTES - 1;
    memcpy(job->owner.id, job->hold->id.at, len);
    job->errand.run = on_drained;
    job->question =
        (struct owner_question){.owners = &job->owner, .count = 1, .answer = post_drained};
    job->desk->worker->questions++;
    ledger_ask_owners(job->desk->worker->options.ledger, &job->question);
}

/* ------------------------------------------------------------------------------ counting */

static const struct dialect *dialect_of(const struct job *job)
{
    return job->target->provider->dialect;
}

/* As one call of part <i>, or as several together: with the pictures that were asked for, which no
 * usage tells. */
static struct usage usage_of(const struct job *job, size_t i, const struct usage *counted,
                             int64_t calls)
{
    const struct ledger_row *held = &job->hold->parts[i];
    struct usage usage = *counted;
    usage.service = SERVICE_BATCH;
    if (usage.units == 0)
        usage.units = share(held->usage.units, calls, held->attempts);
    return usage;
}

/* What was counted of a call of part <i>, or of several together. */
static void count(struct job *job, size_t i, const struct usage *counted, int64_t calls)
{
    struct usage served = usage_of(job, i, counted, calls), *usage = &served;
    struct seen *seen = &job->seen[i];
    struct price price = job->targets[i]->price;
    int64_t request = price.request > 0 ? price.request : 0;
    struct usage *sum = &seen->usage;
    price.request = 0;
    sum->service = SERVICE_BATCH;
    seen->cost_nanos += price_cost(&price, usage) + request * calls;
    usage_add(sum, usage);
}

/* The part that an answer's model belongs to: providers may answer with a longer name (a date), or
 * with none that is in the batch (Azure's, whose file names deployments). SIZE_MAX: nobody knows.
 */
static size_t part_of(const struct job *job, struct text model)
{
    const struct batch_hold *hold = job->hold;
    size_t best = hold->count == 1 ? 0 : SIZE_MAX, best_len = 0;
    for (size_t i = 0; i < hold->count; i++) {
        struct text name = hold->parts[i].upstream_model;
        if (text_equal(name, model))
            return i;
        if (text_starts(model, name) && name.len > best_len) {
            best = i;
            best_len = name.len;
        }
    }
    return best;
}

/* The part whose calls are held for at the most: of those, calls are that nobody can tell of. */
static size_t dearest_held(const struct job *job)
{
    const struct ledger_row *parts = job->hold->parts;
    size_t best = 0;
    for (size_t i = 1; i < job->hold->count; i++)
        if ((__int128)parts[i].cost_nanos * parts[best].attempts >
            (__int128)parts[best].cost_nanos * parts[i].attempts)
            best = i;
    return best;
}

/* The part at whose price that costs the most. */
static size_t dearest_counted(const struct job *job, const struct usage *counted)
{
    size_t best = dearest_held(job);
    int64_t most = -1;
    for (size_t i = 0; i < job->hold->count; i++) {
        struct usage usage = usage_of(job, i, counted, 1);
        int64_t cost = job->targets[i] ? price_cost(&job->targets[i]->price, &usage) : -1;
        if (cost > most) {
            most = cost;
            best = i;
        }
    }
    return best;
}

/* Is it one of the Responses API? The batch need not say. */
static bool is_response(struct text body)
{
    struct text items = member_find(body, TEXT("output"));
    return items.len && items.at[0] == '[';
}

/* The answer that a line of the output file has. False: it cannot be read. */
static bool read_answer(const struct job *job, struct text body, struct answer *answer)
{
    const struct dialect *dialect = dialect_of(job);
    struct scan_value values[DIALECT_WANTS];
    struct scan_problem why;
    if (!scan_json(body, dialect->wants, dialect->want_count, values, &why))
        return false;
    if (is_response(body))
        answer->operation = OPERATION_RESPONSE;
    dialect->watch_body(answer, values);
    if (answer->operation == OPERATION_RESPONSE && !answer->usage.searches)
        answer->usage.searches = response_searches(body);
    return true;
}

/* A line of the output file. */
static void count_line(struct job *job, struct text line)
{
    static const struct text members[] = {TEXT("response.status_code"), TEXT("response.body")};
    static const struct text model_member = TEXT("model");
    struct scan_value parts[2], model;
    struct scan_problem why;
    struct answer answer = {.operation = OPERATION_BATCH};
    uint64_t status;
    if (text_trim(line).len == 0)
        return;
    job->lines++;
    bool read = scan_json(line, members, 2, parts, &why) && parts[1].kind == SCAN_OBJECT;
    if (read && scan_count(&parts[0], 999, &status) && status / 100 != 2) {
        job->seen[0].calls++;
        return;
    }
    read = read && read_answer(job, parts[1].raw, &answer);
    bool named = read && scan_json(parts[1].raw, &model_member, 1, &model, &why);
    named = named && model.kind == SCAN_STRING;
    size_t i = part_of(job, named ? member_string(model.raw) : TEXT(""));
    if (i == SIZE_MAX) {
        i = answer.usage_seen ? dearest_counted(job, &answer.usage) : dearest_held(job);
        job->seen[i].guessed = true;
    }
    job->seen[i].calls++;
    if (answer.usage_seen && job->targets[i])
        count(job, i, &answer.usage, 1);
    else
        job->seen[i].unknown++;
}

static void read_lines(struct job *job, struct text piece)
{
    while (piece.len) {
        size_t end = text_find_byte(piece, '\n');
        struct text line = text_head(piece, end);
        piece = text_from(piece, line.len + 1);
        job->line_too_long = !buffer_append_text(&job->answer, line) || job->line_too_long;
        if (end == SIZE_MAX)
            return;
        count_line(job, job->line_too_long ? TEXT("-") : buffer_text(&job->answer));
        job->line_too_long = false;
        buffer_clear(&job->answer);
    }
}

/* ------------------------------------------------------------------------------ asking */

static void ask(struct job *job, const char *suffix);

static void read_number(const struct scan_value *value, int64_t *number)
{
    uint64_t count;
    *number = scan_count(value, INT32_MAX, &count) ? (int64_t)count : -1;
}

/* The usage of the whole batch tells all when there is one model, whose price is the same for short
 * prompts and long ones, and no tool that is paid for beside it. */
static bool count_whole(struct job *job, const struct answer *answer)
{
    const struct usage *usage = &answer->usage;
    bool has_tiers = !job->targets[0] || job->targets[0]->price.tier_above_tokens > 0;
    int64_t calls = job->completed >= 0 ? job->completed : job->hold->parts[0].attempts;
    bool has_tools = job->has_tools || job->hold->parts[0].usage.searches > 0;
    if (job->hold->count != 1 || has_tiers || has_tools || !answer->usage_seen ||
        usage->units > 0 || usage->input_tokens + usage->output_tokens == 0)
        return false;
    count(job, 0, usage, calls);
    job->seen[0].calls = calls + (job->failed > 0 ? job->failed : 0);
    return true;
}

static bool read_batch(struct job *job, struct answer *answer)
{
    enum { FILE_ID, COMPLETED, FAILED, STATUS, ENDPOINT, MEMBERS };
    static const struct text members[MEMBERS] = {
        TEXT("output_file_id"), TEXT("request_counts.completed"), TEXT("request_counts.failed"),
        TEXT("status"), TEXT("endpoint")};
    const struct dialect *dialect = dialect_of(job);
    struct scan_value values[DIALECT_WANTS], own[MEMBERS];
    struct scan_problem why;
    struct text body = buffer_text(&job->answer);
    if (!scan_json(body, members, MEMBERS, own, &why) ||
        !scan_json(body, dialect->wants, dialect->want_count, values, &why))
        return false;
    dialect->watch_body(answer, values);
    read_number(&own[COMPLETED], &job->completed);
    read_number(&own[FAILED], &job->failed);
    size_t len = own[FILE_ID].kind == SCAN_STRING && own[FILE_ID].raw.len < FILE_ID_BYTES
                     ? scan_string(&own[FILE_ID], job->file)
                     : 0;
    job->file[len == SIZE_MAX ? 0 : len] = '\0';
    len = own[STATUS].kind == SCAN_STRING && own[STATUS].raw.len < sizeof(job->state)
              ? scan_string(&own[STATUS], job->state)
              : 0;
    job->state[len == SIZE_MAX ? 0 : len] = '\0';
    job->has_tools = own[ENDPOINT].kind == SCAN_STRING &&
                     text_equal(member_string(own[ENDPOINT].raw), TEXT("/v1/responses"));
    return true;
}

static bool may_ask_for(const char *id)
{
    for (const char *at = id; *at; at++)
        if (!((*at >= '0' && *at <= '9') || (*at >= 'a' && *at <= 'z') ||
              (*at >= 'A' && *at <= 'Z') || strchr("-_", *at)))
            return false;
    return *id != '\0';
}

static void batch_answered(struct job *job)
{
    struct answer answer = {.operation = OPERATION_BATCH};
    char suffix[SUFFIX_MAX];
    if (!read_batch(job, &answer)) {
        fail(job, "its provider's answer cannot be read");
        return;
    }
    if (!batches_is_last(text_of(job->state))) {
        later(job);
        return;
    }
    job->is_counted = true;
    if (count_whole(job, &answer)) {
        settle(job);
        return;
    }
    if (may_ask_for(job->file)) {
        snprintf(suffix, sizeof(suffix), "/files/%s/content", job->file);
        job->stage = STAGE_FILE;
        ask(job, suffix);
        return;
    }
    /* Else something was made, or may have been, and it is not known what. One that failed was not
     * begun: its file was refused. */
    job->is_counted =
        job->completed == 0 ||
        (job->completed < 0 && text_equal_nocase(text_of(job->state), TEXT("failed")));
    if (job->failed > 0)
        job->seen[0].calls = job->failed;
    settle(job);
}

/* Calls that are to stand in the file, as far as anybody says so. */
static int64_t lines_expected(const struct job *job)
{
    int64_t calls = 0;
    for (size_t i = 0; i < job->hold->count; i++)
        calls += job->hold->parts[i].attempts;
    return job->completed >= 0 ? job->completed : calls - (job->failed > 0 ? job->failed : 0);
}

static void file_answered(struct job *job)
{
    if (buffer_length(&job->answer) || job->line_too_long)
        count_line(job, job->line_too_long ? TEXT("-") : buffer_text(&job->answer));
    int64_t missing = lines_expected(job) - job->lines;
    if (missing > 0 && job->cut_unseen) {
        fail(job, "its file has too few lines, and no length");
        return;
    }
    if (missing > 0 && job->completed >= 0) { /* made, and in no file */
        struct seen *seen = &job->seen[dearest_held(job)];
        seen->calls += missing;
        seen->unknown += missing;
    }
    if (job->failed > 0) /* those stand in a file of their own */
        job->seen[0].calls += job->failed;
    settle(job);
}

static void on_connected(struct upstream_call *upstream)
{
    struct job *job = LIST_MEMBER(upstream, struct job, upstream);
    struct text head = buffer_text(&job->head);
    struct iovec piece = {(void *)(uintptr_t)head.at, head.len};
    upstream_send(upstream, &piece, 1, false);
}

static void on_nothing(struct upstream_call *upstream)
{
    (void)upstream;
}

static void on_head(struct upstream_call *upstream, const struct head *head)
{
    struct job *job = LIST_MEMBER(upstream, struct job, upstream);
    job->status = head->status;
    job->cut_unseen = head->content_length < 0 && !head->chunked;
}

static void wait_on(struct job *job)
{
    struct loop *loop = job->desk->worker->loop;
    timer_set(loop, &job->timer, loop_now_us(loop) + SILENCE_US);
}

static void on_body(struct upstream_call *upstream, struct text piece)
{
    struct job *job = LIST_MEMBER(upstream, struct job, upstream);
    wait_on(job);
    if (job->status != 200)
        return;
    if (job->stage == STAGE_FILE)
        read_lines(job, piece);
    else if (!buffer_append_text(&job->answer, piece))
        fail(job, "its provider's answer is too long");
}

static void on_end(struct upstream_call *upstream)
{
    struct job *job = LIST_MEMBER(upstream, struct job, upstream);
    job->busy = false;
    timer_stop(&job->timer);
    bool is_gone = job->status == 404 && job->stage == STAGE_FILE;
    if (is_gone) { /* somebody was quicker, and deleted it */
        job->is_counted = false;
        settle(job);
    } else if (job->status != 200) {
        fail(job, "its provider does not tell how it is doing");
    } else if (job->stage == STAGE_FILE) {
        file_answered(job);
    } else {
        batch_answered(job);
    }
}

static void on_fault(struct upstream_call *upstream, enum fault_kind kind, const char *why)
{
    struct job *job = LIST_MEMBER(upstream, struct job, upstream);
    (void)kind;
    job->busy = false;
    fail(job, why);
}

static void on_silence(struct timer *timer)
{
    fail(LIST_MEMBER(timer, struct job, timer), "its provider fell silent");
}

static const struct upstream_handlers handlers = {
    .on_connected = on_connected,
    .on_sent = on_nothing,
    .on_head = on_head,
    .on_body = on_body,
    .on_batch = on_nothing,
    .on_end = on_end,
    .on_fault = on_fault,
    .on_room = on_nothing,
};

static struct upstream_pool *pool_of(const struct job *job)
{
    const struct snapshot *snapshot = job->snapshot;
    return snapshot->pools[job->target->provider - snapshot->config->providers];
}

/* By a new connection: an idle one may have been closed meanwhile. */
static void ask(struct job *job, const char *suffix)
{
    buffer_clear(&job->head);
    buffer_clear(&job->answer);
    job->answer.limit = job->stage == STAGE_FILE ? LINE_MAX : ANSWER_MAX;
    outbound_put_get(&job->head, job->snapshot, job->target, text_of(suffix));
    job->status = 0;
    job->upstream = (struct upstream_call){.on = &handlers, .fresh = true};
    job->busy = true;
    wait_on(job);
    upstream_begin(pool_of(job), &job->upstream);
}

/* ------------------------------------------------------------------------------ the desk */

static const struct target *target_named(const struct config *config, struct text id)
{
    for (size_t i = 0; i < config->target_count; i++)
        if (text_equal(config->targets[i].id, id) && !config->targets[i].provider->off)
            return &config->targets[i];
    return NULL;
}

static void find_targets(struct job *job)
{
    for (size_t i = job->hold->count; i-- > 0;) {
        job->targets[i] = target_named(job->snapshot->config, job->hold->parts[i].target);
        job->target = job->targets[i] ? job->targets[i] : job->target;
    }
}

static void begin(struct batch_desk *desk, struct batch_hold *hold)
{
    char suffix[SUFFIX_MAX];
    struct job *job = memory_new(sizeof(*job));
    job->desk = desk;
    job->hold = hold;
    job->snapshot = snapshot_ref(desk->worker->now);
    find_targets(job);
    job->timer.on_time = on_silence;
    buffer_init(&job->head, HEAD_MAX);
    buffer_init(&job->answer, ANSWER_MAX);
    list_init(&job->link);
    list_push_back(&desk->jobs, &job->link);
    desk->job_count++;
    bool is_old = clock_wall_us() - hold->parts[0].started_us > GIVEN_UP_US;
    if (is_old) {
        settle(job);
    } else if (!job->target || !pool_of(job)) {
        fail(job, "its target is not in force");
    } else {
        snprintf(suffix, sizeof(suffix), "/batches/%.*s", TEXT_ARGS(hold->id));
        ask(job, suffix);
    }
}

static void look(struct batch_desk *desk)
{
    uint64_t due, now = clock_now_us();
    struct batch_hold *hold;
    while (desk->job_count < JOBS_MAX && (hold = batches_next(desk->batches, now, &due)))
        begin(desk, hold);
    if (desk->job_count < JOBS_MAX && due)
        timer_set(desk->worker->loop, &desk->timer, due);
}

static void on_wake(struct errand *errand)
{
    look(LIST_MEMBER(errand, struct batch_desk, errand));
}

static void on_due(struct timer *timer)
{
    look(LIST_MEMBER(timer, struct batch_desk, timer));
}

struct batch_desk *batch_desk_new(struct batches *batches, struct worker *worker)
{
    struct batch_desk *desk = memory_new(sizeof(*desk));
    desk->batches = batches;
    desk->worker = worker;
    desk->errand.run = on_wake;
    desk->timer.on_time = on_due;
    list_init(&desk->jobs);
    batches_set_desk(batches, worker->loop, &desk->errand);
    return desk;
}

void batch_desk_stop(struct batch_desk *desk)
{
    if (!desk)
        return;
    batches_set_desk(desk->batches, NULL, NULL);
    timer_stop(&desk->timer);
    while (!list_is_empty(&desk->jobs)) {
        struct job *job = LIST_MEMBER(desk->jobs.next, struct job, link);
        halt(job);
        list_remove(&job->link);
        job->over = true;
        if (job->stage != STAGE_LEDGER) /* else when the ledger has answered */
            loop_bury(desk->worker->loop, &job->grave, free_job);
    }
}

void batch_desk_free(struct batch_desk *desk)
{
    memory_free(desk);
}
