/* SPDX-License-Identifier: Apache-2.0 */
/* restore: put a backup in place. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/hash.h"
#include "gateway/base/member.h"
#include "gateway/base/memory.h"
#include "gateway/base/table.h"
#include "gateway/cli.h"
#include "gateway/cli_ask.h"
#include "gateway/cli_backup.h"
#include "gateway/cli_commands.h"
#include "gateway/tar.h"
#include "policy/ledger.h"

enum { NAME_BYTES = 128 };

/* ---------------------------------------------------------------------------- is it whole? */

struct archive {
    const char *path;
    struct text bytes;
    struct table files; /* name → struct tar_entry */
    struct arena arena;
    struct text manifest;
};

static bool is_known(struct text name)
{
    return text_equal(name, TEXT(BACKUP_DATABASE)) || text_equal(name, TEXT(BACKUP_NODE)) ||
           (text_starts(name, TEXT(BACKUP_LEDGER)) &&
            ledger_names_journal(text_from(name, sizeof BACKUP_LEDGER - 1)));
}

static bool complain(const struct archive *archive, const char *what, struct text name)
{
    cli_complain("%s: %s%s%.*s; nothing was restored", archive->path, what,
                 name.len > 0 ? ": " : "", TEXT_ARGS(text_head(name, TAR_NAME_MAX)));
    return false;
}

static bool read_entries(struct archive *archive)
{
    struct text rest = archive->bytes;
    struct tar_entry entry;
    enum tar_result result;
    while ((result = tar_next(&rest, &entry)) == TAR_ENTRY) {
        if (text_equal(entry.name, TEXT(BACKUP_MANIFEST))) {
            archive->manifest = entry.bytes;
            continue;
        }
        if (!is_known(entry.name))
            return complain(archive, "it has a file that no backup has", entry.name);
        struct tar_entry *kept = arena_new(&archive->arena, sizeof *kept);
        *kept = entry;
        if (table_set(&archive->files, kept->name, kept) != NULL)
            return complain(archive, "a file is in it twice", entry.name);
    }
    if (result == TAR_BROKEN)
        return complain(archive, "it is no backup, or it is cut off", TEXT(""));
    return true;
}

static bool check_file(struct archive *archive, struct text said)
{
    char name[NAME_BYTES], hex[HEX_BYTES + 1];
    struct digest wanted;
    struct text known = cli_member_text(said, "name", name, sizeof name);
    const struct tar_entry *entry = table_remove(&archive->files, known);
    if (entry == NULL)
        return complain(archive, "a file is missing", known);
    struct digest digest = hash_sha256(entry->bytes);
    if (cli_member_int(said, "bytes") != (int64_t)entry->bytes.len ||
        !hash_from_hex(cli_member_text(said, "sha256", hex, sizeof hex), &wanted) ||
        !hash_same(&digest, &wanted))
        return complain(archive, "a file is damaged", known);
    return true;
}

/* All files that the manifest names are in it as they were, and no others. */
static bool check_archive(struct archive *archive)
{
    struct text ignored, said;
    if (archive->manifest.len == 0)
        return complain(archive, "it is no backup: it has no " BACKUP_MANIFEST, TEXT(""));
    if (cli_member_int(archive->manifest, "format") != BACKUP_FORMAT)
        return complain(archive, "it is of a format that this program does not know", TEXT(""));
    struct text files = member_find(archive->manifest, TEXT("files"));
    while (member_next(&files, &ignored, &said))
        if (!check_file(archive, said))
            return false;
    size_t at = 0;
    struct text name;
    void *value;
    if (table_next(&archive->files, &at, &name, &value))
        return complain(archive, "it has a file that its " BACKUP_MANIFEST " does not name", name);
    return true;
}

static bool archive_open(struct archive *archive, const char *path)
{
    bool good;
    *archive = (struct archive){.path = path, .bytes = backup_map(path, &good)};
    table_init(&archive->files);
    arena_init(&archive->arena, 4096);
    if (!good)
        cli_complain("%s: %s", path, strerror(errno));
    return good && read_entries(archive) && check_archive(archive);
}

static void archive_close(struct archive *archive)
{
    table_done(&archive->files);
    arena_done(&archive->arena);
    backup_unmap(archive->bytes);
}

/* ---------------------------------------------------------------------------- where to? */

struct place {
    char *state, *database, *ledger; /* where it goes */
    char *new_database, *new_ledger; /* where it is put together */
    int lock;
    uid_t owner;
    gid_t group;
};

static void place_done(struct place *place)
{
    if (place->lock >= 0)
        close(place->lock);
    memory_free(place->state);
    memory_free(place->database);
    memory_free(place->ledger);
    memory_free(place->new_database);
    memory_free(place->new_ledger);
}

static bool place_find(struct place *place, const struct cli *cli)
{
    const char *into = cli_value(cli, "into");
    *place = (struct place){.lock = -1};
    if (into != NULL) {
        place->state = memory_string(text_of(into));
        place->database = memory_format("%s/sluice.db", into);
        place->ledger = memory_format("%s/ledger", into);
    } else {
        struct config *config = cli_config_load(cli);
        if (config == NULL)
            return false;
        place->state = memory_string(text_of(config->state));
        place->database = memory_string(text_of(config->database));
        place->ledger = memory_string(text_of(config->ledger_path));
        config_unref(config);
    }
    place->new_database = memory_format("%s.restoring", place->database);
    place->new_ledger = memory_format("%s.restoring", place->ledger);
    return true;
}

/* Nobody may run there, now or while we are at it. Its files will belong to whom it belongs to. */
static bool place_lock(struct place *place)
{
    struct stat facts;
    if ((mkdir(place->state, 0700) != 0 && errno != EEXIST) || stat(place->state, &facts) != 0) {
        cli_complain("%s: %s", place->state, strerror(errno));
        return false;
    }
    place->owner = facts.st_uid;
    place->group = facts.st_gid;
    char *path = memory_format("%s/sluice.lock", place->state);
    place->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool is_free = place->lock >= 0 && flock(place->lock, LOCK_EX | LOCK_NB) == 0;
    if (place->lock < 0)
        cli_complain("%s: %s", path, strerror(errno));
    else if (!is_free)
        cli_complain("a sluice runs on %s; end it first (sluice drain)", place->state);
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

static bool place_is_free(const struct place *place, bool force)
{
    bool is_free = access(place->database, F_OK) != 0 && is_empty(place->ledger);
    if (is_free || force)
        return true;
    cli_complain("%s has a ledger already; --force moves it aside", place->state);
    return false;
}

/* ---------------------------------------------------------------------------- writing */

static bool make_directory(const struct place *place, const char *path)
{
    bool good = mkdir(path, 0750) == 0 || errno == EEXIST;
    if (good && geteuid() == 0)
        good = chown(path, place->owner, place->group) == 0;
    if (!good)
        cli_complain("%s: %s", path, strerror(errno));
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

/* <size>: what the file is to have at least, in zeros behind the bytes. */
static bool write_file(const struct place *place, const char *path, struct text bytes,
                       uint64_t size)
{
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
    bool good = file >= 0 && write_all(file, bytes) &&
                (size <= bytes.len || ftruncate(file, (off_t)size) == 0) &&
                (geteuid() != 0 || fchown(file, place->owner, place->group) == 0) &&
                fsync(file) == 0;
    if (!good)
        cli_complain("%s: %s", path, strerror(errno));
    if (file >= 0)
        close(file);
    return good;
}

/* "ledger/INSTANCE/0-17.journal" */
static bool write_journal(const struct place *place, const struct tar_entry *entry)
{
    uint64_t size = ledger_journal_bytes(entry->bytes);
    struct text name = text_from(entry->name, sizeof BACKUP_LEDGER - 1);
    size_t slash = text_find_byte(name, '/');
    char *directory =
        memory_format("%s/%.*s", place->new_ledger, TEXT_ARGS(text_head(name, slash)));
    char *path = memory_format("%s/%.*s", place->new_ledger, TEXT_ARGS(name));
    bool good =
        size > 0 && make_directory(place, directory) && write_file(place, path, entry->bytes, size);
    if (size == 0)
        cli_complain("%.*s is no journal; nothing was restored", TEXT_ARGS(name));
    memory_free(directory);
    memory_free(path);
    return good;
}

static bool write_entry(const struct place *place, const struct tar_entry *entry)
{
    if (text_equal(entry->name, TEXT(BACKUP_DATABASE)))
        return write_file(place, place->new_database, entry->bytes, 0);
    if (!text_equal(entry->name, TEXT(BACKUP_NODE)))
        return write_journal(place, entry);
    char *path = memory_format("%s/node", place->new_ledger);
    bool good = write_file(place, path, entry->bytes, 0);
    memory_free(path);
    return good;
}

static bool write_entries(const struct place *place, struct text rest)
{
    struct tar_entry entry;
    if (!make_directory(place, place->new_ledger))
        return false;
    while (tar_next(&rest, &entry) == TAR_ENTRY)
        if (!text_equal(entry.name, TEXT(BACKUP_MANIFEST)) && !write_entry(place, &entry))
            return false;
    return true;
}

/* Beside a database, SQLite's own files. */
static const char *const companions[] = {"", "-wal", "-shm"};

static bool move_aside(const char *path, const char *suffix, const char *stamp)
{
    char *from = memory_format("%s%s", path, suffix);
    char *to = memory_format("%s.before-%s%s", path, stamp, suffix);
    bool good = rename(from, to) == 0 || errno == ENOENT;
    if (!good)
        cli_complain("%s: %s", from, strerror(errno));
    memory_free(from);
    memory_free(to);
    return good;
}

static bool clear_place(const struct place *place)
{
    char stamp[CLOCK_STAMP_BYTES];
    clock_stamp(clock_wall_us(), stamp);
    bool good = is_empty(place->ledger) ? rmdir(place->ledger) == 0 || errno == ENOENT
                                        : move_aside(place->ledger, "", stamp);
    for (size_t i = 0; good && i < sizeof companions / sizeof *companions; i++)
        good = move_aside(place->database, companions[i], stamp);
    return good;
}

/* Left by a restore that was cut off, or by reading the new database. */
static void clear_companions(const struct place *place)
{
    for (size_t i = 1; i < sizeof companions / sizeof *companions; i++) {
        char *path = memory_format("%s%s", place->new_database, companions[i]);
        unlink(path);
        memory_free(path);
    }
}

static bool put_in_place(const struct place *place)
{
    bool good = clear_place(place) && rename(place->new_ledger, place->ledger) == 0 &&
                rename(place->new_database, place->database) == 0;
    if (!good)
        cli_complain("%s: %s", place->state, strerror(errno));
    int directory = open(place->state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    good = good && directory >= 0 && fsync(directory) == 0;
    if (directory >= 0)
        close(directory);
    return good;
}

/* ---------------------------------------------------------------------------- the command */

/* What a restore that was cut off has left is not to be mixed with this one. */
static bool is_left_over(const struct place *place)
{
    if (is_empty(place->new_ledger))
        return false;
    cli_complain("%s is of a restore that was cut off; remove it first", place->new_ledger);
    return true;
}

static void give_to_owner(const struct place *place)
{
    for (size_t i = 0; geteuid() == 0 && i < sizeof companions / sizeof *companions; i++) {
        char *path = memory_format("%s%s", place->database, companions[i]);
        if (chown(path, place->owner, place->group) != 0 && errno != ENOENT)
            cli_complain("%s: %s", path, strerror(errno));
        memory_free(path);
    }
}

static bool restore(const struct place *place, const struct archive *archive)
{
    struct fault fault;
    clear_companions(place);
    if (is_left_over(place) || !write_entries(place, archive->bytes))
        return false;
    bool good = ledger_can_restore(place->new_database, &fault);
    clear_companions(place);
    if (!good) {
        cli_complain("%s: %s; nothing was restored", archive->path, fault.text);
        return false;
    }
    if (!put_in_place(place))
        return false;
    good = ledger_restored(place->database, &fault);
    give_to_owner(place);
    if (!good)
        cli_complain("restored, but other nodes cannot be told: %s", fault.text);
    return good;
}

int command_restore(struct cli *cli)
{
    struct archive archive;
    struct place place;
    if (cli->argc == 0)
        return cli_misuse(cli, "name the backup to restore");
    bool good = archive_open(&archive, cli->argv[0]);
    if (good) {
        good = place_find(&place, cli) && place_lock(&place) &&
               place_is_free(&place, cli_has(cli, "force")) && restore(&place, &archive);
        if (good)
            cli_complain("restored into %s, as it was at the time of the backup", place.state);
        place_done(&place);
    }
    archive_close(&archive);
    return good ? EXIT_GOOD : EXIT_FAILED;
}
