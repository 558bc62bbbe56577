/* SPDX-License-Identifier: Apache-2.0 */
/* backup: the ledger and the store of one moment, in one file. */
#include "gateway/cli/backup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/database.h"
#include "gateway/base/hash.h"
#include "gateway/base/json_write.h"
#include "gateway/base/memory.h"
#include "gateway/base/version.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/commands.h"
#include "gateway/decisions.h"
#include "gateway/tar.h"
#include "policy/ledger.h"

enum { MANIFEST_BYTES_MAX = 64 << 20 };

struct backup {
    const struct config *config;
    struct tar_write tar;
    struct buffer manifest;
    struct json_write json;
    size_t journals;
    uint64_t bytes;
};

/* ---------------------------------------------------------------------------- what is in it */

static void add(struct backup *backup, const char *name, struct text bytes)
{
    char hex[HEX_BYTES];
    struct digest digest = hash_sha256(bytes);
    hash_hex(&digest, hex);
    tar_put(&backup->tar, name, bytes);
    backup->bytes += bytes.len;
    json_open(&backup->json, '{');
    json_text_member(&backup->json, "name", text_of(name));
    json_int_member(&backup->json, "bytes", (int64_t)bytes.len);
    json_text_member(&backup->json, "sha256", text_of(hex));
    json_close(&backup->json, '}');
}

static bool see_journal(void *with, const char *name, struct text bytes)
{
    struct backup *backup = with;
    char inside[TAR_NAME_MAX + 1];
    snprintf(inside, sizeof inside, BACKUP_LEDGER "%s", name);
    add(backup, inside, bytes);
    backup->journals++;
    return !backup->tar.failed;
}

struct text backup_map(const char *path, bool *good)
{
    struct text bytes = {"", 0};
    struct stat facts;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    *good = file >= 0 && fstat(file, &facts) == 0;
    if (*good && !S_ISREG(facts.st_mode)) {
        errno = EINVAL;
        *good = false;
    }
    if (*good && facts.st_size > 0) {
        void *at = mmap(NULL, (size_t)facts.st_size, PROT_READ, MAP_SHARED, file, 0);
        *good = at != MAP_FAILED;
        if (*good)
            bytes = (struct text){at, (size_t)facts.st_size};
    }
    if (file >= 0) {
        int problem = errno;
        close(file);
        errno = problem;
    }
    return bytes;
}

void backup_unmap(struct text bytes)
{
    if (bytes.len > 0)
        munmap((void *)(uintptr_t)bytes.at, bytes.len);
}

/* A whole file under <name>; one that is not there is left out where it may be. */
static bool add_file(struct backup *backup, const char *path, const char *name, bool may_miss)
{
    bool good;
    struct text bytes = backup_map(path, &good);
    if (!good && may_miss && errno == ENOENT)
        return true;
    if (!good) {
        complaint_print("%s: %s", path, strerror(errno));
        return false;
    }
    add(backup, name, bytes);
    backup_unmap(bytes);
    return true;
}

static void begin_manifest(struct backup *backup)
{
    buffer_init(&backup->manifest, MANIFEST_BYTES_MAX);
    backup->json = (struct json_write){.out = &backup->manifest};
    json_open(&backup->json, '{');
    json_int_member(&backup->json, "format", BACKUP_FORMAT);
    json_text_member(&backup->json, "version", TEXT(PROGRAM_VERSION));
    json_time_member(&backup->json, "made_at", clock_wall_us());
    json_name(&backup->json, "files");
    json_open(&backup->json, '[');
}

/* The state of one moment of a database that may be in use. */
static bool add_database(struct backup *backup, const char *name, const char *copy)
{
    struct fault fault = {.kind = FAULT_NONE};
    char *path = memory_format("%s/%s", backup->config->state, name);
    bool is_there = access(path, F_OK) == 0, good = true;
    struct database *database = is_there ? database_open(path, DATABASE_READ, &fault) : NULL;
    if (is_there) {
        good = database && database_backup(database, copy, &fault);
        if (!good)
            complaint_print("%s: %s", path, fault.text);
        good = good && add_file(backup, copy, name, false);
        unlink(copy);
    }
    database_close(database);
    memory_free(path);
    return good;
}

/* It may be deleted meanwhile, since it is old; the last one may grow. */
static bool see_decisions(void *with, const char *name)
{
    struct backup *backup = with;
    if (!decisions_names_file(text_of(name)))
        return true;
    char *path = memory_format("%s/" BACKUP_DECISIONS "%s", backup->config->state, name);
    char *inside = memory_format(BACKUP_DECISIONS "%s", name);
    bool good = add_file(backup, path, inside, true) && !backup->tar.failed;
    memory_free(path);
    memory_free(inside);
    return good;
}

/* What is beside the ledger. It comes before it, so that the calls of which it tells are in the
 * ledger, and the tenants whose it is in the database. */
static bool add_others(struct backup *backup, const char *copy)
{
    char *decisions = memory_format("%s/decisions", backup->config->state);
    char *key = memory_format("%s/" BACKUP_LINK_KEY, backup->config->state);
    bool good = add_database(backup, BACKUP_DEPLOYMENTS, copy) &&
                add_database(backup, BACKUP_JOBS, copy) &&
                add_file(backup, key, BACKUP_LINK_KEY, true) &&
                decisions_files(decisions, see_decisions, backup);
    memory_free(decisions);
    memory_free(key);
    return good;
}

static bool write_archive(struct backup *backup, const char *copy)
{
    struct fault fault;
    const struct config *config = backup->config;
    struct snapshot_question question = {.directory = config->ledger_path,
                                         .database = config->database,
                                         .copy = copy,
                                         .see = see_journal,
                                         .with = backup};
    begin_manifest(backup);
    if (!add_others(backup, copy))
        return false;
    if (!ledger_snapshot(&question, &fault)) {
        complaint_print("%s", fault.text);
        return false;
    }
    char *node = memory_format("%s/node", config->ledger_path);
    bool good =
        add_file(backup, node, BACKUP_NODE, true) && add_file(backup, copy, BACKUP_DATABASE, false);
    memory_free(node);
    json_close(&backup->json, ']');
    json_close(&backup->json, '}');
    if (good && backup->json.is_full) {
        complaint_print("there are too many journals");
        good = false;
    }
    if (good)
        tar_put(&backup->tar, BACKUP_MANIFEST, buffer_text(&backup->manifest));
    return good;
}

/* ---------------------------------------------------------------------------- where it goes */

static bool finish_file(struct backup *backup, const char *part, const char *path)
{
    bool good = tar_end(&backup->tar) && fsync(fileno(backup->tar.out)) == 0;
    good = good && rename(part, path) == 0;
    if (!good)
        complaint_print("%s: %s", part, strerror(errno));
    return good;
}

/* It appears under its name when it is whole. */
static bool write_file(struct backup *backup, const char *path)
{
    char *part = memory_format("%s.part", path), *copy = memory_format("%s.part-db", path);
    int file = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool good = file >= 0 && (unlink(copy) == 0 || errno == ENOENT);
    if (!good)
        complaint_print("%s: %s", part, strerror(errno));
    if (file >= 0)
        backup->tar.out = fdopen(file, "w");
    good = good && write_archive(backup, copy) && finish_file(backup, part, path);
    if (backup->tar.out != NULL)
        fclose(backup->tar.out);
    unlink(copy);
    if (!good && file >= 0)
        unlink(part);
    memory_free(part);
    memory_free(copy);
    return good;
}

int command_backup(struct cli *cli)
{
    if (cli->argc == 0)
        return cli_misuse(cli, "name the file to write, such as sluice-backup.tar");
    if (cli->admin != NULL)
        return cli_misuse(cli, "a backup is made where the ledger's files are, without --admin");
    const char *path = cli->argv[0];
    if (!cli_has(cli, "force") && access(path, F_OK) == 0) {
        complaint_print("%s is there already; --force overwrites it", path);
        return EXIT_FAILED;
    }
    struct config *config = cli_config_load(cli);
    if (config == NULL)
        return EXIT_FAILED;
    struct backup backup = {.config = config, .tar.made_s = clock_wall_us() / 1000000};
    bool good = write_file(&backup, path);
    buffer_done(&backup.manifest);
    if (good)
        complaint_print("%s: the database and %zu journals, %llu bytes%s", path, backup.journals,
                        (unsigned long long)backup.bytes,
                        config->store.is_redis ? "; what is in Redis is not in it" : "");
    config_unref(config);
    return good ? EXIT_GOOD : EXIT_FAILED;
}
