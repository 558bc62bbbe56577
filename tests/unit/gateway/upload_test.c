/* SPDX-License-Identifier: Apache-2.0 */
/* A long upload that was kept goes up in parts: whoever takes it fast does not keep the loop. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "gateway/base/memory.h"
#include "gateway/batch_file.h"
#include "gateway/client.h"
#include "gateway/reserve.h"
#include "gateway/upload.h"
#include "gateway/worker_inside.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

enum { FILE_BYTES = 8 << 20, AT_ONCE = 1 << 20, PIECE_BYTES = 64 << 10 };

/* ------------------------------------------------------------- what stands for all around it */

static uint64_t pushed;
static unsigned later, ends;

/* There is always room. */
bool upstream_push(struct upstream_call *call, struct text bytes, bool last)
{
    (void)call;
    pushed += bytes.len;
    ends += last;
    return true;
}

void upstream_push_later(struct upstream_call *call)
{
    (void)call;
    later++;
}

void upstream_abandon(struct upstream_call *call)
{
    (void)call;
    fail();
}

void client_resume(struct client *client)
{
    (void)client;
}

void exchange_run(struct exchange *x)
{
    (void)x;
}

void exchange_body_bad(struct exchange *x, const struct fault *fault)
{
    (void)x;
    fail_msg("%s", fault->text);
}

uint64_t reserve_key_hash(const struct key *key)
{
    (void)key;
    return 0;
}

struct batch_reader *batch_reader_new(const struct config *config, struct estimates *estimates,
                                      uint64_t key)
{
    (void)config, (void)estimates, (void)key;
    return NULL;
}

void batch_reader_feed(struct batch_reader *reader, struct text piece)
{
    (void)reader, (void)piece;
}

const struct batch_facts *batch_reader_end(struct batch_reader *reader)
{
    (void)reader;
    return NULL;
}

void batch_reader_free(struct batch_reader *reader)
{
    (void)reader;
}

struct text batch_facts_write(const struct batch_facts *facts, char *into)
{
    (void)facts, (void)into;
    return TEXT("");
}

/* A file system that may not know files without a name. */
static bool knows_nameless = true;

int open_or_not(const char *path, int flags, ...) __asm__("open64");
int open_as_well(const char *path, int flags, ...) __asm__("open");

int open_or_not(const char *path, int flags, ...)
{
    if ((flags & O_TMPFILE) == O_TMPFILE && !knows_nameless) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, 0600);
}

int open_as_well(const char *path, int flags, ...)
{
    return open_or_not(path, flags);
}

/* ------------------------------------------------------------------------------------------ */

static void feed(struct exchange *x, struct text piece)
{
    x->body_bytes += (int64_t)piece.len;
    upload_take(x, piece);
}

static void send_up(void)
{
    pushed = ends = later = 0;
    char folder[] = "/tmp/sluice-upload-XXXXXX";
    assert_non_null(mkdtemp(folder));
    struct config config = {.state = folder, .limits.max_upload_bytes = 1 << 30};
    struct snapshot snapshot = {.config = &config};
    struct worker *worker = memory_new(sizeof(*worker));
    struct seeking seeking = {.content_type = TEXT("multipart/form-data; boundary=BB")};
    struct tenant tenant = {.limits = {0}};
    struct key key = {.tenant = &tenant};
    struct exchange x = {.snapshot = &snapshot, .worker = worker, .seeking = &seeking, .key = &key};
    struct head head = {.chunked = false, .content_length = FILE_BYTES};
    const struct endpoint endpoint = {.body = BODY_FORM};
    x.match.endpoint = &endpoint;
    x.call.operation = OPERATION_TRANSCRIPTION;
    arena_init(&x.arena, 4096);
    assert_true(upload_new(&x, &head));
    char *piece = memory_new(PIECE_BYTES);
    feed(&x, TEXT("--BB\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n"));
    for (size_t at = 0; at < FILE_BYTES; at += PIECE_BYTES)
        feed(&x, (struct text){piece, PIECE_BYTES});
    feed(&x, TEXT("\r\n--BB\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nfast\r\n"
                  "--BB--\r\n"));
    upload_end(&x);
    assert_int_equal(pushed, 0);
    x.upstream.connection = (struct upstream *)(void *)piece; /* one that is never looked into */
    x.facts.upstream = UPSTREAM_ASKED;
    upload_begin(&x);
    assert_true(pushed > 0 && pushed <= AT_ONCE);
    assert_int_equal(later, 1);
    while (ends == 0 && later < 2 * FILE_BYTES / AT_ONCE)
        upload_pump(&x);
    assert_int_equal(ends, 1);
    assert_true(pushed > FILE_BYTES);
    assert_int_equal(later, FILE_BYTES / AT_ONCE);
    upload_forget(&x);
    arena_done(&x.arena);
    memory_free(piece);
    memory_free(worker);
    assert_int_equal(rmdir(folder), 0); /* nothing is left in it */
}

static void others_have_their_turn(void **state)
{
    (void)state;
    send_up();
}

static void also_where_every_file_has_a_name(void **state)
{
    (void)state;
    knows_nameless = false;
    send_up();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(others_have_their_turn),
        cmocka_unit_test(also_where_every_file_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
