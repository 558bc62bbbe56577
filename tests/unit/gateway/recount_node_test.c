/* SPDX-License-Identifier: Apache-2.0 */
/* The name of a node: made once, on the disk before anything is counted under it, the same ever
 * after. */
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/recount.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

/* A disk that takes as long as the test wants, and fails with <problem> unless that is 0. */
static sem_t disk;
static atomic_int problem, synced;

int fsync(int fd)
{
    struct stat file;
    while (sem_wait(&disk) != 0)
        ;
    bool is_whole = fstat(fd, &file) == 0 && file.st_size == NODE_NAME_BYTES - 1;
    atomic_fetch_add(&synced, 1);
    errno = is_whole ? atomic_load(&problem) : EBADF;
    return errno ? -1 : 0;
}

struct scene {
    char directory[40], file[60];
    char name[NODE_NAME_BYTES];
    struct node_sync *sync;
    struct fault fault;
};

static int set_up(void **state)
{
    struct scene *scene = calloc(1, sizeof(*scene));
    strcpy(scene->directory, "/tmp/sluice-node-XXXXXX");
    assert_non_null(mkdtemp(scene->directory));
    snprintf(scene->file, sizeof(scene->file), "%s/node", scene->directory);
    sem_init(&disk, 0, 0);
    atomic_store(&problem, 0);
    atomic_store(&synced, 0);
    *state = scene;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *scene = *state;
    unlink(scene->file);
    rmdir(scene->directory);
    sem_destroy(&disk);
    free(scene);
    return 0;
}

static bool ask(struct scene *scene)
{
    memset(scene->name, 0, sizeof(scene->name));
    return recount_node(scene->directory, scene->name, &scene->sync, &scene->fault);
}

static void write_file(const struct scene *scene, const char *words)
{
    FILE *file = fopen(scene->file, "w");
    assert_non_null(file);
    fputs(words, file);
    assert_int_equal(fclose(file), 0);
}

static void assert_file_is(const struct scene *scene, const char *words)
{
    char read[2 * NODE_NAME_BYTES] = "";
    FILE *file = fopen(scene->file, "r");
    assert_non_null(file);
    read[fread(read, 1, sizeof(read) - 1, file)] = 0;
    fclose(file);
    assert_string_equal(read, words);
}

/* A new name: whole in the file at once, and safe when the disk says so. */
static void assert_is_new(struct scene *scene)
{
    assert_true(ask(scene));
    assert_int_equal(strspn(scene->name, "0123456789abcdefghijklmnopqrstuvwxyz"),
                     NODE_NAME_BYTES - 1);
    assert_file_is(scene, scene->name);
    assert_non_null(scene->sync);
    sem_post(&disk);
    assert_true(node_sync_end(scene->sync, &scene->fault));
    assert_int_equal(atomic_exchange(&synced, 0), 1);
}

static void a_name_is_made_once(void **state)
{
    struct scene *scene = *state;
    char first[NODE_NAME_BYTES];
    assert_is_new(scene);
    memcpy(first, scene->name, sizeof(first));
    for (int i = 0; i < 3; i++) {
        assert_true(ask(scene));
        assert_null(scene->sync);
        assert_string_equal(scene->name, first);
    }
    assert_int_equal(atomic_load(&synced), 0);
}

static void nobody_waits_for_the_disk_before_the_end(void **state)
{
    struct scene *scene = *state;
    assert_true(ask(scene)); /* the disk does not answer yet */
    assert_int_equal(atomic_load(&synced), 0);
    sem_post(&disk);
    assert_true(node_sync_end(scene->sync, &scene->fault));
    assert_int_equal(atomic_load(&synced), 1);
}

static void a_name_that_is_not_on_the_disk_is_a_fault(void **state)
{
    struct scene *scene = *state;
    atomic_store(&problem, EIO);
    assert_true(ask(scene));
    sem_post(&disk);
    assert_false(node_sync_end(scene->sync, &scene->fault));
    assert_non_null(strstr(scene->fault.text, "the name of this node"));
    assert_non_null(strstr(scene->fault.text, strerror(EIO)));
}

static void nothing_on_its_way_is_good(void **state)
{
    struct scene *scene = *state;
    assert_true(node_sync_end(NULL, &scene->fault));
}

/* Cut by a crash before anything was counted under it, or written by somebody else. */
static void a_name_that_is_none_is_made_anew(void **state)
{
    static const char *const none[] = {"", "abc", "0123456789abcde", "0123456789ABCDEF",
                                       "0123456789abcd\n\n"};
    struct scene *scene = *state;
    for (size_t i = 0; i < sizeof(none) / sizeof(*none); i++) {
        write_file(scene, none[i]);
        assert_is_new(scene);
        assert_string_not_equal(scene->name, none[i]);
    }
    write_file(scene, "0123456789abcdef\n"); /* what an editor has added is no harm */
    assert_true(ask(scene));
    assert_null(scene->sync);
    assert_string_equal(scene->name, "0123456789abcdef");
}

static void names_differ(void **state)
{
    struct scene *scene = *state;
    char names[20][NODE_NAME_BYTES];
    for (size_t i = 0; i < 20; i++) {
        unlink(scene->file);
        assert_is_new(scene);
        memcpy(names[i], scene->name, sizeof(names[i]));
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(names[i], names[k]);
    }
}

static void the_directory_is_made(void **state)
{
    struct scene *scene = *state;
    assert_int_equal(rmdir(scene->directory), 0);
    assert_is_new(scene);
}

static void a_name_without_a_place_is_a_fault(void **state)
{
    struct scene *scene = *state;
    assert_int_equal(mkdir(scene->file, 0700), 0); /* is a directory */
    assert_false(ask(scene));
    assert_null(scene->sync);
    assert_non_null(strstr(scene->fault.text, scene->file));
    assert_int_equal(rmdir(scene->file), 0);
    assert_int_equal(symlink("/dev/full", scene->file), 0); /* takes nothing */
    assert_false(ask(scene));
    assert_null(scene->sync);
    assert_int_equal(unlink(scene->file), 0);
    strcat(scene->directory, "/no/such");
    assert_false(ask(scene));
    assert_non_null(strstr(scene->fault.text, strerror(ENOENT)));
    *strstr(scene->directory, "/no/such") = 0;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_name_is_made_once),
        TEST(nobody_waits_for_the_disk_before_the_end),
        TEST(a_name_that_is_not_on_the_disk_is_a_fault),
        TEST(nothing_on_its_way_is_good),
        TEST(a_name_that_is_none_is_made_anew),
        TEST(names_differ),
        TEST(the_directory_is_made),
        TEST(a_name_without_a_place_is_a_fault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
