/* SPDX-License-Identifier: Apache-2.0 */
/* restore: put a backup in place. */
#include <errno.h>
#include <string.h>

#include "gateway/base/hash.h"
#include "gateway/base/member.h"
#include "gateway/base/memory.h"
#include "gateway/base/table.h"
#include "gateway/cli/ask.h"
#include "gateway/cli/backup.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/commands.h"
#include "gateway/cli/restore_place.h"
#include "gateway/decisions.h"
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
    int64_t format;
};

static bool is_known(struct text name)
{
    return text_equal(name, TEXT(BACKUP_DATABASE)) || text_equal(name, TEXT(BACKUP_NODE)) ||
           text_equal(name, TEXT(BACKUP_DEPLOYMENTS)) || text_equal(name, TEXT(BACKUP_JOBS)) ||
           text_equal(name, TEXT(BACKUP_LINK_KEY)) ||
           (text_starts(name, TEXT(BACKUP_LEDGER)) &&
            ledger_names_journal(text_from(name, sizeof BACKUP_LEDGER - 1))) ||
           (text_starts(name, TEXT(BACKUP_DECISIONS)) &&
            decisions_names_file(text_from(name, sizeof BACKUP_DECISIONS - 1)));
}

static bool complain(const struct archive *archive, const char *what, struct text name)
{
    complaint_print("%s: %s%s%.*s; nothing was restored", archive->path, what,
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
    archive->format = cli_member_int(archive->manifest, "format");
    if (archive->format < 1 || archive->format > BACKUP_FORMAT)
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
        complaint_print("%s: %s", path, strerror(errno));
    return good && read_entries(archive) && check_archive(archive);
}

static void archive_close(struct archive *archive)
{
    table_done(&archive->files);
    arena_done(&archive->arena);
    backup_unmap(archive->bytes);
}

/* ---------------------------------------------------------------------------- the command */

int command_restore(struct cli *cli)
{
    struct archive archive;
    struct restore_place place;
    if (cli->argc == 0)
        return cli_misuse(cli, "name the backup to restore");
    bool good = archive_open(&archive, cli->argv[0]);
    if (good) {
        good = restore_find(&place, cli) && restore_lock(&place) &&
               restore_is_free(&place, cli_has(cli, "force")) &&
               restore_put(&place, archive.path, archive.bytes, archive.format > 1);
        if (good)
            complaint_print("restored into %s, as it was at the time of the backup", place.state);
        restore_done(&place);
    }
    archive_close(&archive);
    return good ? EXIT_GOOD : EXIT_FAILED;
}
