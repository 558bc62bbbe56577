/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/base/memory.h"

#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

struct arena_block {
    struct arena_block *next;
    size_t bytes;
    char data[];
};

enum {
    ALIGN = 8,
    TRIM_BYTES = 64 * 1024,
    TOP_PAD_BYTES = 128 * 1024, /* the C library's own */
    /* What glibc keeps at hand for each thread ("tcache"): so many pieces of each size. */
    AT_HAND_LEAST = 24,
    AT_HAND_MOST = 1032,
    AT_HAND_STEP = 16,
    AT_HAND_EACH = 7,
    AT_HAND = AT_HAND_EACH * ((AT_HAND_MOST - AT_HAND_LEAST) / AT_HAND_STEP + 1),
    FREE_STACK_BYTES = 128 * 1024,
    ARENA_SPARE_BYTES = 640,
};

static atomic_size_t kept_free; /* 0 = as the C library thinks best */
static pthread_mutex_t trimming = PTHREAD_MUTEX_INITIALIZER;

__attribute__((noreturn)) static void die_without_memory(size_t bytes)
{
    fprintf(stderr, "sluice: out of memory (%zu bytes wanted)\n", bytes);
    abort();
}

void *memory_new(size_t bytes)
{
    /* glibc's calloc() does not look into what is kept for the thread; malloc() does, and what is
     * small is cleared in no time. */
    void *what = bytes <= AT_HAND_MOST ? malloc(bytes ? bytes : 1) : calloc(1, bytes);
    if (!what)
        die_without_memory(bytes);
    if (bytes > AT_HAND_MOST)
        return what;
    __asm__("" : : "r"(what) : "memory"); /* the compiler shall not make one calloc() of both */
    return memset(what, 0, bytes);
}

void *memory_resize(void *what, size_t bytes)
{
    void *moved = realloc(what, bytes ? bytes : 1);
    if (!moved)
        die_without_memory(bytes);
    return moved;
}

void memory_free(void *what)
{
    free(what);
}

void memory_keep_free(size_t bytes)
{
    atomic_store(&kept_free, bytes);
    mallopt(M_TRIM_THRESHOLD, (int)bytes);
}

/* malloc_trim() leaves the end of the arena of any thread but the first as it is. What free()
 * merges to 64 KiB or more makes it look there, with the settings of that moment: one thread at a
 * time, or another would set them back too early. */
void memory_trim(void)
{
    size_t keep = atomic_load(&kept_free);
    if (!keep)
        return;
    pthread_mutex_lock(&trimming);
    mallopt(M_TRIM_THRESHOLD, TRIM_BYTES);
    mallopt(M_TOP_PAD, 0);
    void *volatile piece = malloc(2 * TRIM_BYTES);
    free(piece);
    mallopt(M_TOP_PAD, TOP_PAD_BYTES);
    mallopt(M_TRIM_THRESHOLD, (int)keep);
    pthread_mutex_unlock(&trimming);
}

struct let_go {
    pthread_t thread;
    bool has_thread;
    void *pieces[AT_HAND];
};

static void *free_pieces(void *with)
{
    struct let_go *let_go = with;
    for (size_t i = 0; i < AT_HAND; i++)
        free(let_go->pieces[i]);
    return NULL;
}

/* Nothing can be asked to empty what a thread has at hand but the end of that thread. So all of it
 * is taken here, and freed by a thread that ends at once. */
struct let_go *memory_let_go(void)
{
    struct let_go *let_go = memory_new(sizeof(*let_go));
    size_t count = 0;
    for (size_t bytes = AT_HAND_LEAST; bytes <= AT_HAND_MOST; bytes += AT_HAND_STEP)
        for (int i = 0; i < AT_HAND_EACH; i++)
            let_go->pieces[count++] = malloc(bytes);
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, FREE_STACK_BYTES);
    let_go->has_thread = pthread_create(&let_go->thread, &small, free_pieces, let_go) == 0;
    pthread_attr_destroy(&small);
    if (!let_go->has_thread)
        free_pieces(let_go);
    return let_go;
}

bool memory_has_gone(struct let_go *let_go)
{
    if (let_go->has_thread && pthread_tryjoin_np(let_go->thread, NULL) != 0)
        return false;
    free(let_go);
    return true;
}

void memory_wait_gone(struct let_go *let_go)
{
    if (let_go && let_go->has_thread)
        pthread_join(let_go->thread, NULL);
    free(let_go);
}

char *memory_string(struct text from)
{
    char *copy = malloc(from.len + 1);
    if (!copy)
        die_without_memory(from.len + 1);
    if (from.len)
        memcpy(copy, from.at, from.len);
    copy[from.len] = '\0';
    return copy;
}

char *memory_format(const char *format, ...)
{
    char *line = NULL;
    va_list args;
    va_start(args, format);
    int len = vasprintf(&line, format, args);
    va_end(args);
    if (len < 0)
        die_without_memory(0);
    return line;
}

/* ---------------------------------------------------------------------- of a thread alone */

struct thread_block {
    struct thread_block *next;
    max_align_t memory[];
};

static pthread_key_t thread_blocks;

static void free_thread_blocks(void *first)
{
    for (struct thread_block *block = first, *next; block; block = next) {
        next = block->next;
        free(block);
    }
}

static void make_thread_key(void)
{
    if (pthread_key_create(&thread_blocks, free_thread_blocks) != 0)
        die_without_memory(0);
}

void *memory_for_thread(void **at, size_t bytes)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_thread_key);
    struct thread_block *block = memory_new(sizeof(*block) + bytes);
    block->next = pthread_getspecific(thread_blocks);
    if (pthread_setspecific(thread_blocks, block) != 0)
        die_without_memory(bytes);
    return *at = block->memory;
}

void memory_wipe(void *what, size_t bytes)
{
    explicit_bzero(what, bytes);
}

void arena_init(struct arena *arena, size_t block_bytes)
{
    *arena = (struct arena){.block_bytes = block_bytes};
}

void arena_init_in(struct arena *arena, void *room, size_t bytes, size_t block_bytes)
{
    *arena = (struct arena){.at = room, .left = bytes, .block_bytes = block_bytes};
}

static void use_block(struct arena *arena, struct arena_block *block)
{
    arena->at = block->data;
    arena->left = block->bytes;
}

void arena_reset(struct arena *arena)
{
    struct arena_block *block = arena->blocks;
    if (!block)
        return;
    while (block->next) {
        struct arena_block *next = block->next;
        if (!arena->spare && block->bytes <= ARENA_SPARE_BYTES)
            arena->spare = block;
        else
            free(block);
        block = next;
    }
    arena->blocks = block;
    use_block(arena, block);
}

void arena_done(struct arena *arena)
{
    arena_reset(arena);
    free(arena->blocks);
    free(arena->spare);
    *arena = (struct arena){.block_bytes = arena->block_bytes};
}

static struct arena_block *push_block(struct arena *arena, size_t bytes)
{
    struct arena_block *block = arena->spare;
    if (block && block->bytes >= bytes) {
        arena->spare = NULL;
    } else {
        block = malloc(sizeof(*block) + bytes);
        if (!block)
            die_without_memory(bytes);
        block->bytes = bytes;
    }
    block->next = arena->blocks;
    arena->blocks = block;
    return block;
}

static void add_block(struct arena *arena, size_t at_least)
{
    /* The first block always has the standard size, so that what is kept stays small. */
    size_t bytes = arena->block_bytes;
    if (arena->blocks)
        bytes = bytes * 2 < at_least ? at_least : bytes * 2;
    use_block(arena, push_block(arena, bytes));
}

void *arena_take(struct arena *arena, size_t bytes)
{
    bytes = (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    /* What is left of the present block is for the small pieces that follow. */
    if (bytes > arena->left && bytes >= arena->block_bytes && arena->blocks)
        return push_block(arena, bytes)->data;
    while (bytes > arena->left || !arena->at) /* also for no bytes: it never returns NULL */
        add_block(arena, bytes);
    void *what = arena->at;
    arena->at += bytes;
    arena->left -= bytes;
    return what;
}

void *arena_new(struct arena *arena, size_t bytes)
{
    return memset(arena_take(arena, bytes), 0, bytes);
}

struct text arena_copy(struct arena *arena, struct text from)
{
    char *copy = arena_take(arena, from.len + 1);
    if (from.len)
        memcpy(copy, from.at, from.len);
    copy[from.len] = '\0';
    return (struct text){copy, from.len};
}

struct text arena_format(struct arena *arena, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    __attribute__((uninitialized)) char small[256];
    int len = vsnprintf(small, sizeof(small), format, args);
    va_end(args);
    struct text made = {"", 0};
    if (len >= 0 && (size_t)len < sizeof(small)) {
        made = arena_copy(arena, (struct text){small, (size_t)len});
    } else if (len > 0) {
        char *room = arena_take(arena, (size_t)len + 1);
        vsnprintf(room, (size_t)len + 1, format, again);
        made = (struct text){room, (size_t)len};
    }
    va_end(again);
    return made;
}
