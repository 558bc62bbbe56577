/* SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gateway/base/memory.h"
#include "gateway/base/sanitizer.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

static void new_memory_is_zero(void **state)
{
    (void)state;
    unsigned char *bytes = memory_new(1000);
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(bytes[i], 0);
    memset(bytes, 7, 1000);
    bytes = memory_resize(bytes, 100000);
    assert_int_equal(bytes[999], 7);
    memory_free(bytes);
    memory_free(memory_new(0));
    memory_free(memory_resize(NULL, 0));
    memory_free(NULL);
}

static _Thread_local void *one, *another;

static void *use_own(void *with)
{
    char *first = memory_of_thread(&one, 100), *second = memory_of_thread(&another, 5000);
    for (size_t i = 0; i < 5000; i++)
        assert_int_equal(second[i], 0);
    memset(first, 1, 100);
    memset(second, 2, 5000);
    assert_ptr_equal(memory_of_thread(&one, 100), first);
    assert_int_equal(first[99], 1);
    *(char **)with = first;
    return NULL;
}

/* What the other thread had is freed: a sanitizer would tell. */
static void each_thread_has_memory_of_its_own(void **state)
{
    (void)state;
    char *ours, *theirs;
    pthread_t thread;
    use_own(&ours);
    assert_int_equal(pthread_create(&thread, NULL, use_own, &theirs), 0);
    pthread_join(thread, NULL);
    assert_ptr_not_equal(ours, theirs);
    assert_int_equal(ours[0], 1);
}

static void strings_are_closed(void **state)
{
    (void)state;
    char *copy = memory_string(text_head(TEXT("abcdef"), 3));
    assert_string_equal(copy, "abc");
    memory_free(copy);
    copy = memory_string((struct text){NULL, 0});
    assert_string_equal(copy, "");
    memory_free(copy);
    char *line = memory_format("%s=%d", "n", 42);
    assert_string_equal(line, "n=42");
    memory_free(line);
}

static void wipe_clears(void **state)
{
    (void)state;
    char secret[] = "sk-secret";
    memory_wipe(secret, sizeof(secret));
    for (size_t i = 0; i < sizeof(secret); i++)
        assert_int_equal(secret[i], 0);
}

static void running_out_ends_the_process(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        close(STDERR_FILENO);
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        void *never = memory_new(SIZE_MAX / 4);
        memory_free(never);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(!WIFEXITED(status) || WEXITSTATUS(status) != 0);
}

static void pieces_are_aligned_and_apart(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 256);
    unsigned char *pieces[100];
    for (size_t i = 0; i < 100; i++) {
        pieces[i] = arena_take(&arena, i);
        assert_int_equal((uintptr_t)pieces[i] % 8, 0);
        memset(pieces[i], (int)i, i);
    }
    for (size_t i = 0; i < 100; i++)
        for (size_t j = 0; j < i; j++)
            assert_int_equal(pieces[i][j], i);
    arena_done(&arena);
}

static void reset_keeps_the_first_block(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 128);
    arena_reset(&arena); /* nothing taken yet */
    void *first = arena_take(&arena, 64);
    memset(arena_take(&arena, 10000), 1, 10000);
    memset(arena_new(&arena, 100), 2, 100);
    arena_reset(&arena);
    assert_ptr_equal(arena_take(&arena, 64), first);
    arena_done(&arena);
    arena_done(&arena);
    assert_non_null(arena_take(&arena, 8)); /* usable again */
    arena_done(&arena);
}

static void reset_keeps_a_small_block_for_the_next_like_it(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 128);
    memset(arena_take(&arena, 64), 1, 64);
    memset(arena_take(&arena, 500), 2, 500);
    arena_reset(&arena);
    memset(arena_take(&arena, 64), 1, 64);
    char *larger = arena_take(&arena, 600); /* what was kept is too small */
    memset(larger, 3, 600);
    char *small = arena_take(&arena, 500);
    memset(small, 4, 500);
    for (size_t i = 0; i < 600; i++)
        assert_int_equal(larger[i], 3);
    arena_reset(&arena);
    assert_non_null(arena.spare);
    memset(arena_take(&arena, 64), 1, 64);
    assert_ptr_equal(arena_take(&arena, 500), small);
    assert_null(arena.spare);
    arena_reset(&arena);
    arena_done(&arena); /* with what it kept */
}

static void large_first_piece_leaves_a_small_block(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 128);
    memset(arena_take(&arena, 100000), 1, 100000);
    arena_reset(&arena);
    assert_int_equal(arena.left, 128);
    arena_done(&arena);
}

static void new_piece_is_zero_also_where_another_was(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 128);
    memset(arena_take(&arena, 100), 0xFF, 100);
    arena_reset(&arena);
    unsigned char *bytes = arena_new(&arena, 100);
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(bytes[i], 0);
    arena_done(&arena);
}

/* What was left before a big piece is not lost: an open stream would keep it. */
static void a_big_piece_stands_apart(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 128);
    char *small = arena_take(&arena, 40);
    char *big = arena_take(&arena, 480);
    memset(big, 1, 480);
    assert_int_equal(arena.left, 88);
    assert_ptr_equal(arena_take(&arena, 88), small + 40);
    memset(arena_take(&arena, 8), 2, 8);
    arena_reset(&arena);
    assert_ptr_equal(arena_take(&arena, 40), small);
    assert_int_equal(arena.left, 88);
    arena_done(&arena);
}

static void texts_in_an_arena_are_closed(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 64);
    struct text copy = arena_copy(&arena, text_head(TEXT("abcdefghij"), 8));
    assert_string_equal(copy.at, "abcdefgh");
    assert_int_equal(copy.len, 8);
    assert_string_equal(arena_copy(&arena, (struct text){NULL, 0}).at, "");
    char longer[1000];
    memset(longer, 'x', sizeof(longer) - 1);
    longer[999] = '\0';
    for (size_t len = 250; len < 260; len++) {
        struct text made = arena_format(&arena, "%.*s", (int)len, longer);
        assert_int_equal(made.len, len);
        assert_int_equal(strlen(made.at), len);
    }
    struct text long_one = arena_format(&arena, "<%s>", longer);
    assert_int_equal(long_one.len, 1001);
    assert_int_equal(long_one.at[1000], '>');
    assert_int_equal(long_one.at[1001], '\0');
    arena_done(&arena);
}

enum { PIECES = 512, PIECE_BYTES = 16 * 1024, PIECES_BYTES = PIECES * PIECE_BYTES };

/* What the process has of the kernel for pieces below the size that is mapped alone. */
static size_t heap_bytes(void)
{
    return mallinfo2().arena;
}

static void *use_much_once(void *with)
{
    size_t *heap = with;
    void *pieces[PIECES];
    memory_free(memory_new(PIECE_BYTES));
    heap[2] = heap_bytes();
    for (size_t i = 0; i < PIECES; i++)
        pieces[i] = memory_new(PIECE_BYTES);
    for (size_t i = 0; i < PIECES; i++)
        memory_free(pieces[i]);
    heap[0] = heap_bytes();
    memory_trim();
    heap[1] = heap_bytes();
    return NULL;
}

static void a_thread_gives_back_what_it_needed_once(void **state)
{
    (void)state;
    size_t heap[3];
    pthread_t thread;
    memory_keep_free(2 * PIECES_BYTES);
    assert_int_equal(pthread_create(&thread, NULL, use_much_once, heap), 0);
    pthread_join(thread, NULL);
    if (UNDER_SANITIZER) /* whose heap is another: it counts nothing */
        assert_int_equal(heap[0], heap[1]);
    else
        assert_in_range(heap[0] - heap[1], PIECES_BYTES / 4 * 3, 2 * PIECES_BYTES);
    if (!UNDER_SANITIZER) /* not even the 128 KiB that it began with */
        assert_in_range(heap[1], 0, heap[2] - 1);
}

enum { KINDS = 64, EACH = 7, KEPT_BYTES = EACH * KINDS * 512 };

static void *free_all_sizes(void *with)
{
    size_t *used = with;
    void *pieces[KINDS * EACH];
    for (size_t i = 0; i < KINDS * EACH; i++)
        pieces[i] = memory_new(24 + i / EACH * 16);
    for (size_t i = 0; i < KINDS * EACH; i++)
        memory_free(pieces[i]);
    used[0] = mallinfo2().uordblks;
    memory_wait_gone(memory_let_go());
    used[1] = mallinfo2().uordblks;
    return NULL;
}

static void what_is_at_hand_goes_back_to_the_heap(void **state)
{
    (void)state;
    size_t used[2];
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, free_all_sizes, used), 0);
    pthread_join(thread, NULL);
    if (UNDER_SANITIZER)
        assert_int_equal(used[0], used[1]);
    else
        assert_in_range(used[0] - used[1], KEPT_BYTES / 10 * 9, 2 * KEPT_BYTES);
}

/* The threads of this program begin when the gate is open: a sanitizer begins them itself. */
static sem_t gate;
static bool has_gate;

#ifndef SANITIZER_FOUND
struct gated {
    void *(*run)(void *with);
    void *with;
};

static void *run_gated(void *with)
{
    struct gated gated = *(struct gated *)with;
    free(with);
    while (sem_wait(&gate) != 0)
        ;
    return gated.run(gated.with);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                   void *with)
{
    int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    *(void **)&create = dlsym(RTLD_NEXT, "pthread_create");
    if (!has_gate)
        return create(thread, attributes, run, with);
    struct gated *gated = malloc(sizeof(*gated));
    *gated = (struct gated){run, with};
    return create(thread, attributes, run_gated, gated);
}
#endif

/* However long its thread needs to begin. */
static void nobody_waits_for_what_is_let_go(void **state)
{
    (void)state;
    assert_int_equal(sem_init(&gate, 0, UNDER_SANITIZER ? 1 : 0), 0);
    has_gate = true;
    alarm(60); /* a wait would never end */
    struct let_go *let_go = memory_let_go();
    if (!UNDER_SANITIZER)
        assert_false(memory_has_gone(let_go));
    sem_post(&gate);
    while (!memory_has_gone(let_go))
        usleep(1000);
    let_go = memory_let_go(); /* and who ends waits */
    sem_post(&gate);
    memory_wait_gone(let_go);
    memory_wait_gone(NULL);
    alarm(0);
    has_gate = false;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_memory_is_zero),
        cmocka_unit_test(each_thread_has_memory_of_its_own),
        cmocka_unit_test(strings_are_closed),
        cmocka_unit_test(wipe_clears),
        cmocka_unit_test(running_out_ends_the_process),
        cmocka_unit_test(pieces_are_aligned_and_apart),
        cmocka_unit_test(reset_keeps_the_first_block),
        cmocka_unit_test(reset_keeps_a_small_block_for_the_next_like_it),
        cmocka_unit_test(large_first_piece_leaves_a_small_block),
        cmocka_unit_test(new_piece_is_zero_also_where_another_was),
        cmocka_unit_test(a_big_piece_stands_apart),
        cmocka_unit_test(texts_in_an_arena_are_closed),
        cmocka_unit_test(a_thread_gives_back_what_it_needed_once),
        cmocka_unit_test(what_is_at_hand_goes_back_to_the_heap),
        cmocka_unit_test(nobody_waits_for_what_is_let_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
