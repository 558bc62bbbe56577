/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger's files of one moment, for a backup; and what a restored database needs. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "gateway/base/database.h"
#include "gateway/base/memory.h"
#include "policy/book.h"
#include "policy/estate.h"

enum { TRIES = 6, NAME_BYTES = 96, SIZE_AT = 24, INSTANCE_LEN = 25 };

/* ---------------------------------------------------------------------------------- journals */

static size_t used_bytes(const struct segment *segment)
{
    size_t used = segment->bytes;
    while (used > SEGMENT_HEAD_BYTES && segment->map[used - 1] == 0)
        used--;
    return used;
}

static bool show_segment(const struct snapshot_question *question, int directory,
                         const struct journal_id *id, uint32_t number)
{
    char name[NAME_BYTES];
    struct segment *segment = segment_open(directory, id, number);
    if (!segment) /* it became none while we looked, or never was one */
        return errno == ENOENT || errno == EBADMSG;
    snprintf(name, sizeof(name), "%.*s/%u-%u.journal", INSTANCE_BYTES - 1, id->instance, id->worker,
             number);
    bool good =
        question->see(question->with, name, (struct text){segment->map, used_bytes(segment)});
    segment_close(segment);
    return good;
}

/* The newest first: what is written meanwhile then leaves no gap in front of something later. */
static bool show_instance(const struct snapshot_question *question, int root, const char *instance)
{
    struct segment_name *names = NULL;
    size_t count = 0;
    struct journal_id id = {.worker = 0};
    int directory = openat(root, instance, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (directory < 0)
        return errno == ENOENT;
    memcpy(id.instance, instance, strnlen(instance, INSTANCE_BYTES - 1));
    bool good = segment_list(directory, &names, &count);
    while (good && count-- > 0) {
        id.worker = names[count].worker;
        good = show_segment(question, directory, &id, names[count].number);
    }
    memory_free(names);
    close(directory);
    return good;
}

static bool show_journals(const struct snapshot_question *question, struct fault *fault)
{
    DIR *entries = opendir(question->directory);
    if (!entries && errno == ENOENT)
        return true;
    if (!entries)
        return fault_set(fault, FAULT_INTERNAL, "%s: %m", question->directory);
    bool good = true;
    for (struct dirent *entry; good && (entry = readdir(entries));)
        if (instance_is_name(entry->d_name))
            good = show_instance(question, dirfd(entries), entry->d_name);
    closedir(entries);
    if (!good && fault->kind == FAULT_NONE)
        fault_set(fault, FAULT_INTERNAL, "%s: a journal cannot be copied", question->directory);
    return good;
}

bool ledger_names_journal(struct text name)
{
    char z[NAME_BYTES], again[NAME_BYTES];
    unsigned worker, number;
    if (name.len >= sizeof(z) || name.len <= INSTANCE_LEN + 1)
        return false;
    memcpy(z, name.at, name.len);
    z[name.len] = '\0';
    z[INSTANCE_LEN] = '\0';
    if (!instance_is_name(z) || name.at[INSTANCE_LEN] != '/' ||
        sscanf(z + INSTANCE_LEN + 1, "%u-%u.journal", &worker, &number) != 2)
        return false;
    snprintf(again, sizeof(again), "%u-%u.journal", worker, number);
    return strcmp(z + INSTANCE_LEN + 1, again) == 0;
}

uint64_t ledger_journal_bytes(struct text bytes)
{
    uint64_t size;
    if (bytes.len < SEGMENT_HEAD_BYTES || !text_starts(bytes, TEXT("slujrnl\n")))
        return 0;
    memcpy(&size, bytes.at + SIZE_AT, sizeof(size));
    return size >= bytes.len && size <= UINT32_MAX ? size : 0;
}

/* ---------------------------------------------------------------------------------- the moment */

/* The drain may be in the middle of a long transaction. */
static bool lock(struct database *writer)
{
    for (int i = 0; i < TRIES; i++)
        if (database_begin(writer))
            return true;
    return false;
}

/* From the lock to its end nothing is booked, and so no journal is removed. */
static bool copy_locked(const struct snapshot_question *question, struct database *writer,
                        struct database *reader, struct fault *fault)
{
    if (!lock(writer))
        return fault_set(fault, FAULT_INTERNAL, "%s cannot be locked: %s", question->database,
                         database_problem(writer));
    /* Its first question decides what it sees from now on. */
    bool good = database_begin_read(reader) && database_version(reader) >= 0;
    if (!good)
        fault_set(fault, FAULT_INTERNAL, "%s: %s", question->database, database_problem(reader));
    good = good && show_journals(question, fault);
    database_rollback(writer);
    return good;
}

bool ledger_snapshot(const struct snapshot_question *question, struct fault *fault)
{
    fault->kind = FAULT_NONE;
    if (access(question->database, F_OK) != 0)
        return fault_set(fault, FAULT_INTERNAL, "%s: %m", question->database);
    struct database *writer = database_open(question->database, DATABASE_WRITE, fault);
    struct database *reader =
        writer ? database_open(question->database, DATABASE_READ, fault) : NULL;
    bool good = reader && copy_locked(question, writer, reader, fault) &&
                database_backup(reader, question->copy, fault);
    database_close(reader);
    database_close(writer);
    return good;
}

/* ------------------------------------------------------------------------------------ restored */

bool ledger_can_restore(const char *path, struct fault *fault)
{
    return database_is_sound(path, book_step_count, fault);
}

bool ledger_restored(const char *path, struct fault *fault)
{
    struct book *book = book_open(path, true, SHARING_AS_IT_IS, fault);
    if (!book)
        return false;
    struct share *share = book_share(book);
    bool good = !share->on || share_begin_epoch(share, share->epoch) ||
                fault_set(fault, FAULT_INTERNAL, "%s: %s", path, book_problem(book));
    book_close(book);
    return good;
}
