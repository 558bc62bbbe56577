/* SPDX-License-Identifier: Apache-2.0 */
/* An index whose copies share what is equal: against a sorted list, by chance. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "policy/trie.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

enum { THINGS = 400, COPIES = 8, STEPS = 20000 };

struct thing {
    struct leaf leaf;
    char key[24];
    int references;
};

static struct thing things[THINGS];

static void ref(void *of)
{
    ((struct thing *)of)->references++;
}

static void unref(void *of)
{
    struct thing *thing = of;
    assert_true(--thing->references >= 0);
}

static const struct trie_type type = {ref, unref};

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct thing *)a)->key, ((const struct thing *)b)->key);
}

/* Keys that share much, and some that begin others. */
static int begin(void **state)
{
    (void)state;
    for (int i = 0; i < THINGS; i++)
        snprintf(things[i].key, sizeof(things[i].key), i % 3 ? "tenant-%d" : "t%d",
                 i * i % 1000 + i);
    for (int i = 0; i < THINGS; i++)
        snprintf(things[i].key + strlen(things[i].key), 8, ".%d", i);
    strcpy(things[0].key, "a");
    strcpy(things[1].key, "ab");
    strcpy(things[2].key, "abc");
    strcpy(things[3].key, "\xff\xff");
    qsort(things, THINGS, sizeof(things[0]), by_key);
    for (int i = 0; i < THINGS; i++)
        things[i].leaf = (struct leaf){text_of(things[i].key), &things[i]};
    return 0;
}

/* A copy, and what should be in it. */
struct copy {
    struct trie trie;
    bool has[THINGS];
};

struct walk {
    const struct copy *copy;
    int next;
    size_t count;
};

static void see(void *with, const struct leaf *leaf)
{
    struct walk *walk = with;
    while (walk->next < THINGS && !walk->copy->has[walk->next])
        walk->next++;
    assert_true(walk->next < THINGS);
    assert_ptr_equal(leaf->of, &things[walk->next++]);
    walk->count++;
}

static void check(const struct copy *copy)
{
    struct walk walk = {.copy = copy};
    trie_each(&copy->trie, see, &walk);
    assert_int_equal(walk.count, copy->trie.count);
    const struct leaf *leaf = trie_after(&copy->trie, TEXT(""));
    size_t count = 0;
    for (int i = 0; i < THINGS; i++) {
        struct thing *found = trie_find(&copy->trie, text_of(things[i].key));
        assert_ptr_equal(found, copy->has[i] ? &things[i] : NULL);
        if (!copy->has[i])
            continue;
        assert_non_null(leaf);
        assert_ptr_equal(leaf->of, &things[i]);
        leaf = trie_after(&copy->trie, leaf->key);
        count++;
    }
    assert_null(leaf);
    assert_int_equal(copy->trie.count, count);
}

static void copies_are_what_they_were(void **state)
{
    (void)state;
    static struct copy copies[COPIES];
    unsigned seed = 7;
    for (int i = 0; i < COPIES; i++)
        trie_init(&copies[i].trie, &type);
    for (int step = 0; step < STEPS; step++) {
        struct copy *copy = &copies[(seed = seed * 1103515245 + 12345) >> 8 & (COPIES - 1)];
        unsigned what = (seed = seed * 1103515245 + 12345) >> 8 & 127;
        int which = (int)((seed = seed * 1103515245 + 12345) >> 8) % THINGS;
        if (what == 0) {
            const struct copy *from = &copies[which % COPIES];
            if (from == copy)
                continue;
            trie_done(&copy->trie);
            trie_copy(&copy->trie, &from->trie);
            memcpy(copy->has, from->has, sizeof(copy->has));
        } else if (what < 80) {
            trie_put(&copy->trie, &things[which].leaf);
            copy->has[which] = true;
        } else {
            assert_int_equal(trie_remove(&copy->trie, text_of(things[which].key)),
                             copy->has[which]);
            copy->has[which] = false;
        }
        if (step % 500 == 0)
            for (int i = 0; i < COPIES; i++)
                check(&copies[i]);
    }
    for (int i = 0; i < COPIES; i++) {
        check(&copies[i]);
        trie_done(&copies[i].trie);
    }
    for (int i = 0; i < THINGS; i++)
        assert_int_equal(things[i].references, 0);
}

static void walks_begin_anywhere(void **state)
{
    (void)state;
    struct trie trie;
    trie_init(&trie, &type);
    assert_null(trie_after(&trie, TEXT("")));
    for (int i = 0; i < THINGS; i += 2)
        trie_put(&trie, &things[i].leaf);
    for (int i = 0; i < THINGS; i++) {
        const struct leaf *leaf = trie_after(&trie, text_of(things[i].key));
        int next = i % 2 ? i + 1 : i + 2;
        assert_ptr_equal(leaf ? leaf->of : NULL, next < THINGS ? &things[next] : NULL);
    }
    trie_done(&trie);
}

static void one_key_is_there_once(void **state)
{
    (void)state;
    struct thing one = {.key = "same"}, other = {.key = "same"};
    struct trie trie;
    one.leaf = (struct leaf){text_of(one.key), &one};
    other.leaf = (struct leaf){text_of(other.key), &other};
    trie_init(&trie, &type);
    trie_put(&trie, &one.leaf);
    trie_put(&trie, &other.leaf);
    assert_int_equal(trie.count, 1);
    assert_ptr_equal(trie_find(&trie, TEXT("same")), &other);
    assert_null(trie_find(&trie, TEXT("sam")));
    assert_null(trie_find(&trie, TEXT("samee")));
    assert_int_equal(one.references, 0);
    assert_int_equal(other.references, 1);
    assert_false(trie_remove(&trie, TEXT("sam")));
    assert_true(trie_remove(&trie, TEXT("same")));
    assert_null(trie.root);
    trie_done(&trie);
    assert_int_equal(other.references, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies_are_what_they_were),
        cmocka_unit_test(walks_begin_anywhere),
        cmocka_unit_test(one_key_is_there_once),
    };
    return cmocka_run_group_tests(tests, begin, NULL);
}
