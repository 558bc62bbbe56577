/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/told.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/log.h"
#include "policy/estate.h"
#include "policy/words.h"

enum { LINE_BYTES = 128, ASK_WAIT_US = 5 * 1000000 };

/* ------------------------------------------------------------------------------- the file */

/* "0006611f6a54b3dd-8c53b5ed/0 1234", and what may follow behind a space. */
static bool read_line(const char *line, struct journal_id *id, struct book_mark *mark)
{
    unsigned long long sequence;
    *id = (struct journal_id){.worker = 0};
    if (sscanf(line, "%31[^/]/%u %llu", id->instance, &id->worker, &sequence) != 3)
        return false;
    *mark = (struct book_mark){.sequence = sequence};
    if (sequence == BOOK_FINISHED)
        mark->segment = UINT32_MAX;
    return instance_is_name(id->instance) && sequence <= BOOK_FINISHED;
}

static bool import_file(FILE *file, struct book *book)
{
    char line[LINE_BYTES];
    struct journal_id id;
    struct book_mark mark;
    while (fgets(line, sizeof(line), file))
        if (read_line(line, &id, &mark) && !book_set_mark(book, &id, &mark))
            return false;
    return true;
}

/* The name in its first line; empty when it has none. */
static void read_name(FILE *file, char line[LINE_BYTES])
{
    if (!fgets(line, LINE_BYTES, file))
        line[0] = '\0';
    line[strcspn(line, "\n")] = '\0';
}

/* ---------------------------------------------------------------------------------- Redis */

/* Asked on a loop that runs until there is an answer, or time is up. */
struct question {
    struct loop *loop;
    struct redis *redis;
    struct timer patience;
    struct words words;
    const struct told_place *place;
    struct book *book;
    bool asked, answered, failed; /* failed: the database cannot be written */
};

/* Only of journals that are still there: of the others no line will be read. */
static bool is_there(const struct question *question, const struct journal_id *id)
{
    return faccessat(question->place->root, id->instance, F_OK, 0) == 0;
}

/* "<instance>/<worker>", "<sequence> <when>" */
static void take_mark(struct question *question, struct text name, struct text value)
{
    char line[LINE_BYTES];
    struct journal_id id;
    struct book_mark mark;
    snprintf(line, sizeof(line), "%.*s %.*s", TEXT_ARGS(text_head(name, LINE_BYTES / 2)),
             TEXT_ARGS(text_head(value, LINE_BYTES / 3)));
    if (read_line(line, &id, &mark) && is_there(question, &id))
        question->failed = question->failed || !book_set_mark(question->book, &id, &mark);
}

static void on_answer(void *with, enum redis_fault fault, const struct redis_reply *reply)
{
    struct question *question = with;
    question->asked = false;
    if (fault != REDIS_ANSWERED || redis_kind(reply) != REDIS_LIST)
        return; /* asked again when there is a connection again, or never */
    question->answered = true;
    for (size_t i = 0; i + 1 < redis_count(reply); i += 2)
        take_mark(question, redis_text(redis_item(reply, i)), redis_text(redis_item(reply, i + 1)));
    loop_stop(question->loop);
}

static void on_change(void *with)
{
    struct question *question = with;
    struct words *words = &question->words;
    if (question->asked || !redis_is_up(question->redis))
        return;
    question->asked =
        redis_send(question->redis, words->at[1], words->at, words->count, 0, on_answer, question);
}

static void on_patience(struct timer *timer)
{
    loop_stop(LIST_MEMBER(timer, struct question, patience)->loop);
}

static void ask(struct question *question, struct dns *dns, const char *ledger)
{
    struct fault fault;
    struct words *words = &question->words;
    words_add(words, TEXT("HGETALL"));
    words_add(words, arena_format(&words->arena, "%s{ledger}:journals:%s", question->place->prefix,
                                  ledger));
    question->redis = redis_new(question->loop, dns, question->place->redis, &fault);
    if (!question->redis)
        return;
    redis_on_change(question->redis, on_change, question);
    timer_set(question->loop, &question->patience, clock_now_us() + ASK_WAIT_US);
    loop_run(question->loop, NULL, NULL);
    redis_forget(question->redis, question);
    redis_free(question->redis);
    timer_stop(&question->patience);
}

/* False when the database cannot be written. */
static bool import_redis(const struct told_place *place, struct book *book, const char *ledger)
{
    struct question question = {
        .loop = loop_new(), .place = place, .book = book, .patience.on_time = on_patience};
    struct dns *dns = dns_new(question.loop);
    words_init(&question.words);
    words_begin(&question.words);
    ask(&question, dns, ledger);
    loop_clear(question.loop);
    dns_free(dns);
    loop_clear(question.loop);
    loop_free(question.loop);
    words_done(&question.words);
    if (!question.answered)
        log_line(LOG_WARN, "ledger",
                 "Redis cannot be asked what it was told of the damaged database; what counts is "
                 "%s, and calls of its last milliseconds may count twice",
                 place->path);
    return !question.failed;
}

/* ------------------------------------------------------------------------------ both, doors */

bool told_import(const struct told_place *place, struct book *book)
{
    char ledger[LINE_BYTES];
    FILE *file = fopen(place->path, "re");
    if (!file)
        return true;
    read_name(file, ledger);
    bool is_other = ledger[0] && strcmp(ledger, book_share(book)->ledger) != 0;
    bool good = !is_other || book_begin(book);
    if (is_other && good) {
        good = import_file(file, book) && import_redis(place, book, ledger) && book_commit(book);
        if (!good)
            book_rollback(book);
    }
    fclose(file);
    return good;
}

/* What <book> has of the journals that <from> names. */
static void keep_lines(FILE *to, FILE *from, struct book *book)
{
    char line[LINE_BYTES];
    struct journal_id id;
    struct book_mark mark;
    while (fgets(line, sizeof(line), from))
        if (read_line(line, &id, &mark) && book_find_mark(book, &id, &mark) && mark.sequence > 0)
            fprintf(to, "%s/%u %" PRIu64 "\n", id.instance, id.worker, mark.sequence);
}

void told_begin(const char *path, struct book *book)
{
    const char *ledger = book_share(book)->ledger;
    char line[LINE_BYTES] = "";
    FILE *file = fopen(path, "re");
    if (file)
        read_name(file, line);
    if (strcmp(line, ledger) != 0) {
        char *unfinished = memory_format("%s.new", path);
        FILE *made = fopen(unfinished, "we");
        if (made)
            fprintf(made, "%s\n", ledger);
        if (made && file)
            keep_lines(made, file, book);
        bool good = made && fflush(made) == 0 && fsync(fileno(made)) == 0; /* cut by no crash */
        if (made && fclose(made) == 0 && good)
            rename(unfinished, path);
        memory_free(unfinished);
    }
    if (file)
        fclose(file);
}
