/* SPDX-License-Identifier: Apache-2.0 */
/* The file that says what others were told: as it was, or whole, whatever the disk does. */
#include <errno.h>
#include <sys/syscall.h>

#include "policy/told.h"
#include "tests/unit/policy/ledger_cases.h"

/* A disk that may fail, and sees how much of the new file there is when it is to keep it. */
static int problem;
static int64_t kept_bytes;

int fsync(int file)
{
    char link[64], name[256] = "";
    struct stat facts;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, name, sizeof(name) - 1);
    if (length < 9 || strcmp(name + length - 9, "/told.new") != 0)
        return (int)syscall(SYS_fsync, file);
    if (fstat(file, &facts) == 0)
        kept_bytes = facts.st_size;
    errno = problem;
    return problem ? -1 : 0;
}

static void read_file(const char *path, char words[256])
{
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    words[fread(words, 1, 255, file)] = '\0';
    fclose(file);
}

static void it_is_on_the_disk_before_it_takes_the_place(void **state)
{
    (void)state;
    struct place place;
    struct fault fault;
    char path[96], words[256] = "", expected[256];
    place_make(&place);
    snprintf(path, sizeof(path), "%s/told", place.folder);
    struct book *book = book_open(place.database, true, SHARING_AS_IT_IS, &fault);
    assert_non_null(book);
    FILE *file = fopen(path, "we");
    fputs("another\n", file);
    fclose(file);

    problem = ENOSPC;
    told_begin(path, book);
    read_file(path, words);
    assert_string_equal(words, "another\n");

    problem = 0;
    kept_bytes = 0;
    told_begin(path, book);
    read_file(path, words);
    snprintf(expected, sizeof(expected), "%s\n", book_share(book)->ledger);
    assert_string_equal(words, expected);
    assert_int_equal(kept_bytes, strlen(expected));
    book_close(book);
    place_remove(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_on_the_disk_before_it_takes_the_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
