/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/upload.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/base/member.h"
#include "gateway/base/memory.h"
#include "gateway/base/utf8.h"
#include "gateway/batch_file.h"
#include "gateway/client.h"
#include "gateway/http/body.h"
#include "gateway/http/multipart.h"
#include "gateway/relay.h"
#include "gateway/reserve.h"
#include "gateway/worker_inside.h"

enum {
    KEEP_BYTES = 256 * 1024, /* in memory; more goes to the file */
    MOVE_BYTES = 64 * 1024,
    MOVES_AT_ONCE = 16, /* then others have their turn */
};

enum { FIELD_MODEL, FIELD_STREAM, FIELD_N, FIELD_PURPOSE, FIELD_USER, FIELDS };
static const struct text fields[FIELDS] = {
    {"model", 5}, {"stream", 6}, {"n", 1}, {"purpose", 7}, {"user", 4}};

enum { CHOICES_MAX = 128, USER_NAME_MAX = 255 };

struct upload {
    struct multipart form;
    int64_t length; /* of the client's body; -1 = chunked */
    uint64_t max;
    bool decided; /* the model is known, or needs not be */
    bool ended;   /* all of it has come */
    bool begun;   /* the head of the request has gone up: a connection alone is not enough */
    bool told_end;
    bool paused;
    struct buffer kept; /* what waits, if the file is not used */
    int file;           /* -1 = none */
    uint64_t file_read, file_written;
    uint64_t sent; /* position in the client's body of the next byte to go up */
    /* the model's value in the client's body, and what goes up in its place */
    uint64_t cut_begin, cut_end;
    struct text put;
    bool put_done;
    struct batch_reader *reader; /* of a file that a batch may be made of, or NULL */
};

static struct text field_text(const struct upload *u, int field)
{
    return (struct text){u->form.fields[field].value, u->form.fields[field].len};
}

static void see_file(void *with, struct text piece)
{
    batch_reader_feed(with, piece);
}

bool upload_new(struct exchange *x, const struct head *head)
{
    struct upload *u = memory_new(sizeof(*u));
    x->upload = u;
    u->file = -1;
    u->length = head->chunked ? -1 : head->content_length;
    u->max = x->snapshot->config->limits.max_upload_bytes;
    u->cut_begin = u->cut_end = UINT64_MAX;
    buffer_init(&u->kept, KEEP_BYTES + 2 * CLIENT_SCRATCH_BYTES);
    if (!multipart_init(&u->form, x->seeking->content_type, fields, FIELDS))
        return fault_set(exchange_fault(x), FAULT_BAD_MEDIA,
                         "The Content-Type has no usable multipart boundary.");
    u->form.watched = TEXT("file");
    if (x->match.endpoint->creates) {
        u->reader = batch_reader_new(x->snapshot->config, x->worker->options.estimates,
                                     reserve_key_hash(x->key));
        u->form.see = see_file;
        u->form.with = u->reader;
    }
    return true;
}

struct text upload_facts(struct exchange *x)
{
    struct upload *u = x->upload;
    if (!u || !u->reader || u->form.fields[FIELD_PURPOSE].repeated ||
        !u->form.fields[FIELD_PURPOSE].found ||
        !text_equal(field_text(u, FIELD_PURPOSE), TEXT("batch")))
        return TEXT("");
    struct batch_facts none = {.problem = "it was not uploaded whole, or not as one file"};
    bool whole = u->ended && u->form.ended && u->form.watched_parts == 1;
    char *room = arena_take(&x->arena, OBJECT_FACTS_BYTES + 1);
    return batch_facts_write(whole ? batch_reader_end(u->reader) : &none, room);
}

void upload_forget(struct exchange *x)
{
    struct upload *u = x->upload;
    if (!u)
        return;
    x->upload = NULL;
    if (u->file >= 0)
        close(u->file);
    buffer_done(&u->kept);
    batch_reader_free(u->reader);
    memory_free(u);
}

/* ------------------------------------------------------------------------------ waiting */

/* Not every file system has files without a name: a container's layers have learnt it late. */
static int open_nameless(const char *folder)
{
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 || errno != EOPNOTSUPP)
        return fd;
    char *path = memory_format("%s/upload-XXXXXX", folder);
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        unlink(path);
    memory_free(path);
    return fd;
}

static bool open_file(struct exchange *x, struct upload *u)
{
    u->file = open_nameless(x->snapshot->config->state);
    return u->file >= 0 || fault_set(exchange_fault(x), FAULT_OVERLOADED,
                                     "There is no room to keep the upload until its model and "
                                     "user are known; send these fields before the file.");
}

static bool write_file(struct exchange *x, struct upload *u, struct text piece)
{
    while (piece.len) {
        ssize_t n = pwrite(u->file, piece.at, piece.len, (off_t)u->file_written);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return fault_set(exchange_fault(x), FAULT_OVERLOADED,
                             "The disk is full: the upload cannot be "
                             "kept until its model and user are known.");
        u->file_written += (uint64_t)n;
        piece = text_from(piece, (size_t)n);
    }
    return true;
}

static bool keep(struct exchange *x, struct upload *u, struct text piece)
{
    if (u->file < 0 && (u->decided || buffer_length(&u->kept) + piece.len <= KEEP_BYTES))
        return buffer_append_text(&u->kept, piece) ||
               fault_set(exchange_fault(x), FAULT_INTERNAL,
                         "The upload came faster than it was taken.");
    if (u->file < 0) {
        if (!open_file(x, u) || !write_file(x, u, buffer_text(&u->kept)))
            return false;
        buffer_done(&u->kept);
    }
    return write_file(x, u, piece);
}

static size_t waiting_bytes(const struct upload *u)
{
    return u->file >= 0 ? (size_t)(u->file_written - u->file_read) : buffer_length(&u->kept);
}

/* ----------------------------------------------------------------------------- going up */

static bool push(struct exchange *x, struct text bytes)
{
    char head[BODY_CHUNK_HEAD_BYTES];
    if (bytes.len == 0)
        return true;
    if (x->upload->length >= 0)
        return upstream_push(&x->upstream, bytes, false);
    size_t len = body_chunk_head(bytes.len, head);
    upstream_push(&x->upstream, (struct text){head, len}, false);
    if (x->upstream.connection)
        upstream_push(&x->upstream, bytes, false);
    return !x->upstream.connection || upstream_push(&x->upstream, TEXT("\r\n"), false);
}

/* Send <bytes>, which stand at u->sent of the client's body, with the model's name replaced. */
static bool push_edited(struct exchange *x, struct text bytes)
{
    struct upload *u = x->upload;
    bool room = true;
    while (bytes.len && x->upstream.connection) {
        uint64_t at = u->sent;
        size_t take = bytes.len;
        if (at == u->cut_begin && !u->put_done) { /* also where the client's value is empty */
            u->put_done = true;
            room = push(x, u->put);
        }
        bool inside = at >= u->cut_begin && at < u->cut_end;
        if (at < u->cut_begin && u->cut_begin - at < take)
            take = (size_t)(u->cut_begin - at);
        if (inside && u->cut_end - at < take)
            take = (size_t)(u->cut_end - at);
        if (!inside)
            room = push(x, text_head(bytes, take));
        u->sent += take;
        bytes = text_from(bytes, take);
    }
    return room;
}

static bool may_flow(const struct exchange *x)
{
    /* An answer may begin before the form has ended, and wait for its end. */
    bool open = x->facts.upstream == UPSTREAM_ASKED || x->facts.upstream == UPSTREAM_ANSWERING;
    return x->upload->begun && x->upstream.connection && open;
}

static ssize_t read_file(struct upload *u, char *into, size_t room)
{
    ssize_t n;
    do
        n = pread(u->file, into, room, (off_t)u->file_read);
    while (n < 0 && errno == EINTR);
    return n;
}

/* Send the next part of what waits. False when there is no room (or nothing) for more. */
static bool pump_some(struct exchange *x)
{
    struct upload *u = x->upload;
    if (u->file < 0) {
        struct text bytes = buffer_text(&u->kept);
        size_t take = bytes.len < MOVE_BYTES ? bytes.len : MOVE_BYTES;
        bool room = push_edited(x, text_head(bytes, take));
        buffer_drop(&u->kept, take);
        return room;
    }
    char piece[MOVE_BYTES];
    ssize_t n = read_file(u, piece, sizeof(piece));
    if (n <= 0) {
        upstream_abandon(&x->upstream);
        fault_set(exchange_fault(x), FAULT_INTERNAL, "The kept upload cannot be read back.");
        x->facts.upstream = UPSTREAM_FAILED;
        exchange_run(x);
        return false;
    }
    u->file_read += (uint64_t)n;
    return push_edited(x, (struct text){piece, (size_t)n});
}

static void tell_end(struct exchange *x)
{
    struct upload *u = x->upload;
    if (!u->ended || u->told_end || waiting_bytes(u) || !may_flow(x))
        return;
    u->told_end = true;
    upstream_push(&x->upstream, u->length < 0 ? TEXT("0\r\n\r\n") : TEXT(""), true);
}

void upload_pump(struct exchange *x)
{
    for (int moves = 0; x->upload && may_flow(x) && waiting_bytes(x->upload); moves++) {
        if (moves == MOVES_AT_ONCE) {
            upstream_push_later(&x->upstream);
            return;
        }
        if (!pump_some(x))
            return;
    }
    if (!x->upload || !may_flow(x))
        return;
    tell_end(x);
    if (x->upload && x->upload->paused && x->client) {
        x->upload->paused = false;
        client_resume(x->client);
    }
}

void upload_begin(struct exchange *x)
{
    x->upload->begun = true;
    upload_pump(x);
}

int64_t upload_length(const struct upload *u)
{
    return u->length > 0 ? u->length : 0;
}

bool upload_is_whole(const struct upload *u)
{
    return u->form.ended;
}

void upload_put_length(const struct upload *u, struct buffer *out)
{
    if (u->length < 0) {
        buffer_append_text(out, TEXT("Transfer-Encoding: chunked\r\n"));
        return;
    }
    uint64_t length = (uint64_t)u->length;
    if (u->cut_end != UINT64_MAX)
        length = length - (u->cut_end - u->cut_begin) + u->put.len;
    buffer_format(out, "Content-Length: %llu\r\n", (unsigned long long)length);
}

/* ------------------------------------------------------------------------------ coming in */

static bool is_true(const struct upload *u, int field)
{
    return u->form.fields[field].found && text_equal_nocase(field_text(u, field), TEXT("true"));
}

/* How many pictures are wanted; known for sure only at the end of the form, which may come before
 * the exchange goes on for the first time. */
static void note_choices(struct exchange *x)
{
    const struct upload *u = x->upload;
    int64_t choices = 1;
    if (u->form.fields[FIELD_N].found &&
        !member_count(field_text(u, FIELD_N), CHOICES_MAX, &choices))
        choices = CHOICES_MAX;
    x->call.choices = choices > 1 ? choices : 1;
}

static bool needs_model(const struct exchange *x)
{
    return x->call.operation == OPERATION_TRANSCRIPTION || x->call.operation == OPERATION_IMAGE;
}

static bool bad(struct exchange *x, enum fault_kind kind, const char *param, const char *words)
{
    struct fault fault;
    fault_set(&fault, kind, "%s", words);
    fault.param = param;
    exchange_body_bad(x, &fault);
    return true;
}

/* As in JSON: no character that is none, and no U+0000. */
static bool is_name(struct text name)
{
    size_t at = 0;
    while (at < name.len && name.at[at]) {
        size_t length = utf8_length(name.at + at, name.len - at);
        if (!length)
            return false;
        at += length;
    }
    return at == name.len;
}

static bool limits_users(const struct exchange *x)
{
    return x->key->tenant->user_limits.count > 0;
}

/* Who the end user is. False: that cannot be said. */
static bool read_user(struct exchange *x)
{
    const struct upload *u = x->upload;
    if (u->form.fields[FIELD_USER].repeated)
        return !bad(x, FAULT_BAD_REQUEST, "user", "'user' stands more than once.");
    struct text user = field_text(u, FIELD_USER);
    if (u->form.fields[FIELD_USER].too_long || user.len > USER_NAME_MAX)
        return !bad(x, FAULT_BAD_REQUEST, "user", "'user' is too long.");
    if (u->decided && limits_users(x)) /* it was let in as another's, and is booked so */
        return true;
    if (!u->form.fields[FIELD_USER].found || user.len == 0 || text_equal(user, x->call.user))
        return true;
    if (!is_name(user))
        return !bad(x, FAULT_BAD_REQUEST, "user", "'user' has characters that are not allowed.");
    x->call.user = arena_copy(&x->arena, user);
    if (x->seeking) /* before what a header says */
        x->seeking->user_given = x->call.user;
    return true;
}

/* May its user stand further on, and have limits? Forms of sound have no such field in OpenAI's
 * dialect: they shall not wait for it behind their file. */
static bool waits_for_user(const struct exchange *x)
{
    const struct upload *u = x->upload;
    bool behind = x->call.operation == OPERATION_TRANSCRIPTION && u->form.watched_parts > 0;
    return needs_model(x) && !u->ended && !u->form.fields[FIELD_USER].found && !behind &&
           limits_users(x);
}

/* Once it is known where it goes, and for whom, the exchange goes on. */
static bool decide(struct exchange *x)
{
    struct upload *u = x->upload;
    if (u->form.fields[FIELD_MODEL].repeated)
        return bad(x, FAULT_BAD_REQUEST, "model", "'model' stands more than once.");
    if (u->form.fields[FIELD_MODEL].too_long)
        return bad(x, FAULT_BAD_REQUEST, "model", "'model' is too long.");
    if (u->form.fields[FIELD_N].repeated)
        return bad(x, FAULT_BAD_REQUEST, "n", "'n' stands more than once.");
    if (needs_model(x) && !read_user(x))
        return true;
    if (u->decided)
        return true;
    if (needs_model(x) && !u->form.fields[FIELD_MODEL].found && !u->ended)
        return true;
    if (waits_for_user(x))
        return true;
    if (u->form.fields[FIELD_MODEL].found && needs_model(x)) {
        x->call.model = arena_copy(&x->arena, field_text(u, FIELD_MODEL));
        u->cut_begin = u->form.fields[FIELD_MODEL].begin;
        u->cut_end = u->form.fields[FIELD_MODEL].end;
    }
    u->decided = true;
    x->call.stream = is_true(u, FIELD_STREAM);
    x->facts.request_whole = true;
    exchange_run(x);
    return true;
}

void upload_target(struct exchange *x)
{
    if (x->upload && x->upload->cut_end != UINT64_MAX)
        x->upload->put = x->upstream_model;
}

bool upload_take(struct exchange *x, struct text piece)
{
    struct upload *u = x->upload;
    struct fault fault;
    if (x->facts.request_bad)
        return true;
    if ((uint64_t)x->body_bytes > u->max)
        return bad(x, FAULT_TOO_LARGE, NULL, "The upload is larger than max_upload_bytes.");
    if (!multipart_feed(&u->form, piece, &fault)) {
        exchange_body_bad(x, &fault);
        return true;
    }
    if (may_flow(x) && !waiting_bytes(u)) {
        u->paused = !push_edited(x, piece);
    } else if (!keep(x, u, piece)) {
        fault = *exchange_why(x);
        exchange_body_bad(x, &fault);
        return true;
    }
    if (u->form.ended)
        note_choices(x);
    struct client *client = x->client;
    decide(x);
    if (!client || client->exchange != x || !x->upload)
        return true;
    if (u->decided && !may_flow(x))
        u->paused = true; /* until there is a connection */
    else if (waiting_bytes(u) > KEEP_BYTES && u->decided)
        u->paused = true;
    return !u->paused;
}

void upload_end(struct exchange *x)
{
    struct upload *u = x->upload;
    struct fault fault;
    if (x->facts.request_bad)
        return;
    u->ended = true;
    /* What has gone up already is the provider's to judge. */
    if (!u->form.ended && !u->begun) {
        fault_set(&fault, FAULT_BAD_REQUEST, "The form ends without its closing boundary.");
        exchange_body_bad(x, &fault);
        if (!x->upload || x->state == EXCHANGE_DONE)
            return;
    }
    note_choices(x);
    decide(x);
    if (x->upload && x->state != EXCHANGE_DONE)
        upload_pump(x);
}
