/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/cli/restore_place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/database.h"
#include "gateway/base/memory.h"
#include "gateway/cli/backup.h"
#include "gateway/cli/cli.h"
#include "gateway/jobs.h"
#include "gateway/made/made.h"
#include "gateway/tar.h"
#include "policy/ledger.h"

/* What a part is in the archive: a file of this name, or a directory whose files begin so. */
static const struct {
    const char *name;
    bool is_directory, is_database, is_other;
    mode_t mode;
} kinds[RESTORE_PARTS] = {
    [PART_DECISIONS] = {BACKUP_DECISIONS, true, false, true, 0600},
    [PART_LINK_KEY] = {BACKUP_LINK_KEY, false, false, true, 0600},
    [PART_JOBS] = {BACKUP_JOBS, false, true, true, 0640},
    [PART_DEPLOYMENTS] = {BACKUP_DEPLOYMENTS, false, true, true, 0640},
    [PART_LEDGER] = {BACKUP_LEDGER, true, false, false, 0640},
    [PART_DATABASE] = {BACKUP_DATABASE, false, true, false, 0640},
};

/* Beside a database, SQLite's own files. */
static const char *const companions[] = {"", "-wal", "-shm"};
enum { COMPANIONS = sizeof companions / sizeof *companions };

/* ---------------------------------------------------------------------------- where to? */

void restore_done(struct restore_place *place)
{
    if (place->lock >= 0)
        close(place->lock);
    memory_free(place->state);
    for (int i = 0; i < RESTORE_PARTS; i++) {
        memory_free(place->parts[i].path);
        memory_free(place->parts[i].fresh);
    }
}

static char *default_path(const char *state, int part)
{
    struct text name = text_of(kinds[part].name);
    if (kinds[part].is_directory)
        name.len--; /* its '/' */
    return memory_format("%s/%.*s", state, TEXT_ARGS(name));
}

bool restore_find(struct restore_place *place, const struct cli *cli)
{
    const char *into = cli_value(cli, "into");
    struct config *config = into ? NULL : cli_config_load(cli);
    const char *state = config ? config->state : into;
    *place = (struct restore_place){.lock = -1};
    if (!state)
        return false;
    place->state = memory_string(text_of(state));
    for (int i = 0; i < RESTORE_PARTS; i++) {
        if (config && i == PART_DATABASE)
            place->parts[i].path = memory_string(text_of(config->database));
        else if (config && i == PART_LEDGER)
            place->parts[i].path = memory_string(text_of(config->ledger_path));
        else
            place->parts[i].path = default_path(place->state, i);
        place->parts[i].fresh = memory_format("%s.restoring", place->parts[i].path);
    }
    if (config)
        config_unref(config);
    return true;
}

/* Its files will belong to whom it belongs to. */
bool restore_lock(struct restore_place *place)
{
    struct stat facts;
    if ((mkdir(place->state, 0700) != 0 && errno != EEXIST) || stat(place->state, &facts) != 0) {
        complaint_print("%s: %s", place->state, strerror(errno));
        return false;
    }
    place->owner = facts.st_uid;
    place->group = facts.st_gid;
    char *path = memory_format("%s/sluice.lock", place->state);
    place->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool is_free = place->lock >= 0 && flock(place->lock, LOCK_EX | LOCK_NB) == 0;
    if (place->lock < 0)
        complaint_print("%s: %s", path, strerror(errno));
    else if (!is_free)
        complaint_print("a sluice runs on %s; end it first (sluice drain)", place->state);
    else if (geteuid() == 0 && fchown(place->lock, place->owner, place->group) != 0)
        is_free = false;
    memory_free(path);
    return is_free;
}

static bool is_empty(const char *directory)
{
    DIR *entries = opendir(directory);
    bool empty = true;
    for (struct dirent *entry; entries != NULL && empty && (entry = readdir(entries));)
        empty = entry->d_name[0] == '.';
    if (entries != NULL)
        closedir(entries);
    return empty;
}

static bool has(const char *path, int part)
{
    return kinds[part].is_directory ? !is_empty(path) : access(path, F_OK) == 0;
}

bool restore_is_free(const struct restore_place *place, bool force)
{
    static const char *const words[RESTORE_PARTS] = {
        [PART_DECISIONS] = "records of decisions",
        [PART_JOBS] = "jobs",
        [PART_DEPLOYMENTS] = "deployments",
        [PART_LEDGER] = "a ledger",
        [PART_DATABASE] = "a ledger",
    };
    for (int i = RESTORE_PARTS - 1; i >= 0 && !force; i--)
        if (words[i] && has(place->parts[i].path, i)) {
            complaint_print("%s has %s already; --force moves it aside", place->state, words[i]);
            return false;
        }
    return true;
}

/* ---------------------------------------------------------------------------- writing */

static bool make_directory(const struct restore_place *place, const char *path)
{
    bool good = mkdir(path, 0750) == 0 || errno == EEXIST;
    if (good && geteuid() == 0)
        good = chown(path, place->owner, place->group) == 0;
    if (!good)
        complaint_print("%s: %s", path, strerror(errno));
    return good;
}

static bool write_all(int file, struct text bytes)
{
    while (bytes.len > 0) {
        ssize_t len = write(file, bytes.at, bytes.len);
        if (len < 0 && errno == EINTR)
            continue;
        if (len <= 0)
            return false;
        bytes = text_from(bytes, (size_t)len);
    }
    return true;
}

struct wish {
    mode_t mode;
    uint64_t size; /* what the file is to have at least, in zeros behind the bytes */
};

static bool write_file(const struct restore_place *place, const char *path, struct text bytes,
                       struct wish wish)
{
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, wish.mode);
    bool good = file >= 0 && write_all(file, bytes) &&
                (wish.size <= bytes.len || ftruncate(file, (off_t)wish.size) == 0) &&
                (geteuid() != 0 || fchown(file, place->owner, place->group) == 0) &&
                fsync(file) == 0;
    if (!good)
        complaint_print("%s: %s", path, strerror(errno));
    if (file >= 0)
        close(file);
    return good;
}

/* "INSTANCE/0-17.journal" below the ledger */
static bool write_journal(const struct restore_place *place, struct text name, struct text bytes)
{
    uint64_t size = ledger_journal_bytes(bytes);
    const char *ledger = place->parts[PART_LEDGER].fresh;
    char *directory =
        memory_format("%s/%.*s", ledger, TEXT_ARGS(text_head(name, text_find_byte(name, '/'))));
    char *path = memory_format("%s/%.*s", ledger, TEXT_ARGS(name));
    bool good = size > 0 && make_directory(place, directory) &&
                write_file(place, path, bytes, (struct wish){.mode = 0640, .size = size});
    if (size == 0)
        complaint_print("%.*s is no journal; nothing was restored", TEXT_ARGS(name));
    memory_free(directory);
    memory_free(path);
    return good;
}

static int part_of(struct text name)
{
    int part = 0;
    while (kinds[part].is_directory ? !text_starts(name, text_of(kinds[part].name))
                                    : !text_equal(name, text_of(kinds[part].name)))
        part++; /* the archive was checked: it is one of them */
    return part;
}

static bool write_entry(struct restore_place *place, const struct tar_entry *entry)
{
    int part = part_of(entry->name);
    const char *fresh = place->parts[part].fresh;
    struct wish wish = {.mode = kinds[part].mode};
    place->parts[part].is_there = true;
    if (!kinds[part].is_directory)
        return write_file(place, fresh, entry->bytes, wish);
    struct text name = text_from(entry->name, strlen(kinds[part].name));
    if (text_find_byte(name, '/') != SIZE_MAX)
        return write_journal(place, name, entry->bytes);
    char *path = memory_format("%s/%.*s", fresh, TEXT_ARGS(name));
    bool good = make_directory(place, fresh) && write_file(place, path, entry->bytes, wish);
    memory_free(path);
    return good;
}

static bool write_entries(struct restore_place *place, struct text rest)
{
    struct tar_entry entry;
    char *jobs = memory_format("%s/jobs", place->state);
    bool good =
        make_directory(place, place->parts[PART_LEDGER].fresh) && make_directory(place, jobs);
    place->parts[PART_LEDGER].is_there = true;
    while (good && tar_next(&rest, &entry) == TAR_ENTRY)
        good = text_equal(entry.name, TEXT(BACKUP_MANIFEST)) || write_entry(place, &entry);
    memory_free(jobs);
    return good;
}

/* ------------------------------------------------------------------------------ in its place */

static bool move_aside(const char *path, const char *suffix, const char *stamp)
{
    char *from = memory_format("%s%s", path, suffix);
    char *to = memory_format("%s.before-%s%s", path, stamp, suffix);
    bool good = rename(from, to) == 0 || errno == ENOENT;
    if (!good)
        complaint_print("%s: %s", from, strerror(errno));
    memory_free(from);
    memory_free(to);
    return good;
}

static bool clear_part(const char *path, int part, const char *stamp)
{
    if (kinds[part].is_directory && is_empty(path))
        return rmdir(path) == 0 || errno == ENOENT;
    bool good = move_aside(path, companions[0], stamp);
    for (size_t i = 1; good && kinds[part].is_database && i < COMPANIONS; i++)
        good = move_aside(path, companions[i], stamp);
    return good;
}

/* <others>: also what the backup has nothing of. */
static bool put_in_place(const struct restore_place *place, bool others)
{
    char stamp[CLOCK_STAMP_BYTES];
    bool good = true;
    clock_stamp(clock_wall_us(), stamp);
    for (int i = 0; good && i < RESTORE_PARTS; i++) {
        bool is_there = place->parts[i].is_there;
        const char *path = place->parts[i].path;
        if (is_there || (others && kinds[i].is_other))
            good = clear_part(path, i, stamp);
        if (good && is_there)
            good = rename(place->parts[i].fresh, path) == 0;
        if (!good)
            complaint_print("%s: %s", path, strerror(errno));
    }
    int directory = open(place->state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    good = good && directory >= 0 && fsync(directory) == 0;
    if (directory >= 0)
        close(directory);
    return good;
}

/* Left by a restore that was cut off, or by reading the new database. */
static void clear_companions(const struct restore_place *place)
{
    for (int part = 0; part < RESTORE_PARTS; part++)
        for (size_t i = 1; kinds[part].is_database && i < COMPANIONS; i++) {
            char *path = memory_format("%s%s", place->parts[part].fresh, companions[i]);
            unlink(path);
            memory_free(path);
        }
}

/* What a restore that was cut off has left is not to be mixed with this one. */
static bool is_left_over(const struct restore_place *place)
{
    for (int i = 0; i < RESTORE_PARTS; i++)
        if (kinds[i].is_directory && !is_empty(place->parts[i].fresh)) {
            complaint_print("%s is of a restore that was cut off; remove it first",
                            place->parts[i].fresh);
            return true;
        }
    return false;
}

static void give_to_owner(const struct restore_place *place)
{
    for (size_t i = 0; geteuid() == 0 && i < COMPANIONS; i++) {
        char *path = memory_format("%s%s", place->parts[PART_DATABASE].path, companions[i]);
        if (chown(path, place->owner, place->group) != 0 && errno != ENOENT)
            complaint_print("%s: %s", path, strerror(errno));
        memory_free(path);
    }
}

/* Are the new databases sound, and such that this program can use them? */
static bool can_be_used(const struct restore_place *place, struct fault *fault)
{
    const char *jobs = place->parts[PART_JOBS].fresh,
               *deployments = place->parts[PART_DEPLOYMENTS].fresh;
    return ledger_can_restore(place->parts[PART_DATABASE].fresh, fault) &&
           (!place->parts[PART_JOBS].is_there || database_is_sound(jobs, JOBS_SCHEMA, fault)) &&
           (!place->parts[PART_DEPLOYMENTS].is_there ||
            database_is_sound(deployments, MADE_SCHEMA, fault));
}

bool restore_put(struct restore_place *place, const char *name, struct text bytes, bool others)
{
    struct fault fault;
    clear_companions(place);
    if (is_left_over(place) || !write_entries(place, bytes))
        return false;
    bool good = can_be_used(place, &fault);
    clear_companions(place);
    if (!good) {
        complaint_print("%s: %s; nothing was restored", name, fault.text);
        return false;
    }
    if (!put_in_place(place, others))
        return false;
    good = ledger_restored(place->parts[PART_DATABASE].path, &fault);
    give_to_owner(place);
    if (!good)
        complaint_print("restored, but other nodes cannot be told: %s", fault.text);
    return good;
}
