/* SPDX-License-Identifier: Apache-2.0 */
/* Archives: what is written is read again, by tar too; what is not whole is broken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/base/memory.h"
#include "gateway/tar.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

/* Three files: empty, one block, more than one. */
static struct text archive_of(void)
{
    char *at = NULL;
    size_t len = 0;
    struct tar_write tar = {.out = open_memstream(&at, &len), .made_s = 1764000000};
    static char block[512], long_one[1300];
    memset(block, 'b', sizeof(block));
    memset(long_one, 'l', sizeof(long_one));
    tar_put(&tar, "empty", TEXT(""));
    tar_put(&tar, "a/block", (struct text){block, sizeof(block)});
    tar_put(&tar, "a/long", (struct text){long_one, sizeof(long_one)});
    assert_true(tar_end(&tar));
    fclose(tar.out);
    return (struct text){at, len};
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t len;
    } wanted[] = {{"empty", 0}, {"a/block", 512}, {"a/long", 1300}};
    struct text archive = archive_of(), rest = archive;
    struct tar_entry entry;
    assert_int_equal(archive.len, 3 * 512 + 512 + 3 * 512 + 1024);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(tar_next(&rest, &entry), TAR_ENTRY);
        assert_true(text_equal(entry.name, text_of(wanted[i].name)));
        assert_int_equal(entry.bytes.len, wanted[i].len);
    }
    assert_int_equal(entry.bytes.at[1299], 'l');
    assert_int_equal(tar_next(&rest, &entry), TAR_END);
    free((void *)(uintptr_t)archive.at);
}

static void tar_itself_reads_it(void **state)
{
    (void)state;
    struct text archive = archive_of();
    char path[] = "/tmp/sluice-tar-XXXXXX", said[256] = "";
    int file = mkstemp(path);
    assert_int_equal(write(file, archive.at, archive.len), archive.len);
    close(file);
    char *command = memory_format("TZ=UTC tar -tvf %s | awk '{print $1, $3, $4, $6}'", path);
    FILE *out = popen(command, "r");
    assert_true(fread(said, 1, sizeof(said) - 1, out) > 0);
    assert_int_equal(pclose(out), 0);
    assert_string_equal(said, "-rw-r----- 0 2025-11-24 empty\n-rw-r----- 512 2025-11-24 a/block\n"
                              "-rw-r----- 1300 2025-11-24 a/long\n");
    unlink(path);
    memory_free(command);
    free((void *)(uintptr_t)archive.at);
}

static enum tar_result read_all(struct text archive)
{
    struct tar_entry entry;
    enum tar_result result;
    while ((result = tar_next(&archive, &entry)) == TAR_ENTRY)
        ;
    return result;
}

static void what_is_cut_off_or_changed_is_broken(void **state)
{
    (void)state;
    struct text archive = archive_of();
    char *bytes = memory_new(archive.len);
    for (size_t len = 0; len < archive.len - 1024 + 512; len++) /* one block of the end is enough */
        assert_int_equal(read_all(text_head(archive, len)), TAR_BROKEN);
    assert_int_equal(read_all(text_head(archive, archive.len - 512)), TAR_END);
    for (size_t at = 0; at < 512; at++) { /* of the first head; behind the sum is nothing */
        if (at == 155)
            continue;
        memcpy(bytes, archive.at, archive.len);
        bytes[at] ^= 0x41;
        assert_int_equal(read_all((struct text){bytes, archive.len}), TAR_BROKEN);
    }
    memory_free(bytes);
    free((void *)(uintptr_t)archive.at);
}

/* Beyond 8 GiB the size is in base-256: such a head, without such a file. */
static void sizes_beyond_octal_are_read(void **state)
{
    (void)state;
    struct text archive = archive_of();
    unsigned char *head = memory_new(archive.len);
    unsigned sum = 8 * ' ';
    memcpy(head, archive.at, archive.len);
    memset(head + 124, 0, 12);
    head[124] = 0x80;
    head[135] = 5; /* of the file that is empty: 5 bytes of what comes then */
    for (int i = 0; i < 512; i++)
        sum += i >= 148 && i < 156 ? 0 : head[i];
    snprintf((char *)head + 148, 8, "%06o", sum);
    struct text rest = {(char *)head, archive.len};
    struct tar_entry entry;
    assert_int_equal(tar_next(&rest, &entry), TAR_ENTRY);
    assert_int_equal(entry.bytes.len, 5);
    memory_free(head);
    free((void *)(uintptr_t)archive.at);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(tar_itself_reads_it),
        cmocka_unit_test(what_is_cut_off_or_changed_is_broken),
        cmocka_unit_test(sizes_beyond_octal_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
