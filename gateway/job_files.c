/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/job_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/base/memory.h"
#include "gateway/base/table.h"
#include "gateway/http/path.h"

enum {
    TENANT_DIGITS = 16,
    RANDOM_DIGITS = 32,
    SECOND_DIGITS = 12,
    FILES_MAX = 200000,
    QUERY_ROOM = 1024,
    SIGNATURE_DIGITS = 64,
};

static const int64_t SECOND_US = 1000000;

struct job_file {
    char name[JOB_FILE_BYTES];
    int64_t expires_s, bytes;
};

/* What a tenant has. */
struct holder {
    char name[TENANT_DIGITS + 1];
    int64_t bytes;
    unsigned files;
};

struct job_files {
    char *directory;
    struct digest key;
    pthread_mutex_t lock;
    struct table files, holders;
};

/* -------------------------------------------------------------------------------- names */

static void tenant_digits(struct text tenant, char out[TENANT_DIGITS + 1])
{
    char hex[HEX_BYTES];
    struct digest digest = hash_sha256(tenant);
    hash_hex(&digest, hex);
    snprintf(out, TENANT_DIGITS + 1, "%.*s", TENANT_DIGITS, hex);
}

static bool is_hex(struct text digits)
{
    for (size_t i = 0; i < digits.len; i++)
        if (!((digits.at[i] >= '0' && digits.at[i] <= '9') ||
              (digits.at[i] >= 'a' && digits.at[i] <= 'f')))
            return false;
    return true;
}

/* Is it a name of ours, and when does it expire? Nothing else is ever opened. */
static bool read_name(struct text name, int64_t *expires_s)
{
    uint64_t seconds;
    if (name.len != SECOND_DIGITS + 1 + TENANT_DIGITS + 1 + RANDOM_DIGITS ||
        name.at[SECOND_DIGITS] != '-' || name.at[SECOND_DIGITS + 1 + TENANT_DIGITS] != '-' ||
        !text_number(text_head(name, SECOND_DIGITS), INT64_MAX / SECOND_US, &seconds) ||
        !is_hex(text_head(text_from(name, SECOND_DIGITS + 1), TENANT_DIGITS)) ||
        !is_hex(text_from(name, SECOND_DIGITS + TENANT_DIGITS + 2)))
        return false;
    *expires_s = (int64_t)seconds;
    return true;
}

bool job_files_is_of(const char *file, struct text tenant)
{
    char digits[TENANT_DIGITS + 1];
    int64_t unused;
    tenant_digits(tenant, digits);
    return read_name(text_of(file), &unused) &&
           memcmp(file + SECOND_DIGITS + 1, digits, TENANT_DIGITS) == 0;
}

static char *path_of(const struct job_files *files, const char *file, const char *more)
{
    return memory_format("%s/%s%s", files->directory, file, more);
}

/* ------------------------------------------------------------------------- what there is */

static struct holder *holder_of(struct job_files *files, const char *file)
{
    struct text digits = {file + SECOND_DIGITS + 1, TENANT_DIGITS};
    struct holder *holder = table_find(&files->holders, digits);
    if (holder)
        return holder;
    holder = memory_new(sizeof(*holder));
    memcpy(holder->name, digits.at, digits.len);
    table_set(&files->holders, text_of(holder->name), holder);
    return holder;
}

static void add(struct job_files *files, const char *file, int64_t expires_s, int64_t bytes)
{
    struct job_file *one = memory_new(sizeof(*one));
    snprintf(one->name, sizeof(one->name), "%s", file);
    one->expires_s = expires_s;
    one->bytes = bytes;
    table_set(&files->files, text_of(one->name), one);
    struct holder *holder = holder_of(files, file);
    holder->bytes += bytes;
    holder->files++;
}

static void take_away(struct job_files *files, struct job_file *one)
{
    struct holder *holder = holder_of(files, one->name);
    holder->bytes -= one->bytes;
    if (--holder->files == 0) {
        table_remove(&files->holders, text_of(holder->name));
        memory_free(holder);
    }
    table_remove(&files->files, text_of(one->name));
    memory_free(one);
}

static void find_all(struct job_files *files)
{
    DIR *directory = opendir(files->directory);
    struct dirent *entry;
    while (directory && (entry = readdir(directory))) {
        int64_t expires_s;
        struct stat facts;
        struct text name = text_of(entry->d_name);
        char *path = path_of(files, entry->d_name, "");
        if (read_name(name, &expires_s) && stat(path, &facts) == 0)
            add(files, entry->d_name, expires_s, facts.st_size);
        else if (text_ends(name, TEXT(".part"))) /* of a process that has died */
            unlink(path);
        memory_free(path);
    }
    if (directory)
        closedir(directory);
}

struct job_files *job_files_open(const char *directory, const struct digest *key)
{
    struct job_files *files = memory_new(sizeof(*files));
    files->directory = memory_string(text_of(directory));
    files->key = *key;
    pthread_mutex_init(&files->lock, NULL);
    table_init(&files->files);
    table_init(&files->holders);
    find_all(files);
    return files;
}

void job_files_free(struct job_files *files)
{
    struct text name;
    void *value;
    if (!files)
        return;
    for (size_t at = 0; at = 0, table_next(&files->files, &at, &name, &value);)
        take_away(files, value);
    table_done(&files->files);
    table_done(&files->holders);
    pthread_mutex_destroy(&files->lock);
    memory_free(files->directory);
    memory_free(files);
}

/* -------------------------------------------------------------------------------- writing */

static bool has_room(struct job_files *files, const char *file, int64_t bytes, size_t quota)
{
    return files->files.count < FILES_MAX &&
           holder_of(files, file)->bytes + bytes <= (int64_t)quota;
}

/* A holder of nothing is not kept. */
static void forget_idle(struct job_files *files, const char *file)
{
    struct holder *holder = holder_of(files, file);
    if (holder->files)
        return;
    table_remove(&files->holders, text_of(holder->name));
    memory_free(holder);
}

bool job_files_name(struct job_files *files, struct text tenant, int64_t expires_us, size_t quota,
                    char file[JOB_FILE_BYTES])
{
    char digits[TENANT_DIGITS + 1];
    uint64_t random[2];
    tenant_digits(tenant, digits);
    hash_random(random, sizeof(random));
    snprintf(file, JOB_FILE_BYTES, "%012lld-%s-%016llx%016llx",
             (long long)expires_us / SECOND_US + 1, digits, (unsigned long long)random[0],
             (unsigned long long)random[1]);
    pthread_mutex_lock(&files->lock);
    bool room = has_room(files, file, 1, quota);
    forget_idle(files, file);
    pthread_mutex_unlock(&files->lock);
    return room;
}

int job_files_create(struct job_files *files, const char *file)
{
    char *path = path_of(files, file, ".part");
    char *whole = path_of(files, file, "");
    int fd = access(whole, F_OK) == 0
                 ? -1
                 : open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0600);
    memory_free(path);
    memory_free(whole);
    return fd;
}

void job_files_drop(struct job_files *files, const char *file, int fd)
{
    char *path = path_of(files, file, ".part");
    close(fd);
    unlink(path);
    memory_free(path);
}

bool job_files_keep(struct job_files *files, const char *file, int fd, int64_t bytes, size_t quota)
{
    int64_t expires_s;
    char *part = path_of(files, file, ".part"), *whole = path_of(files, file, "");
    pthread_mutex_lock(&files->lock);
    bool good = read_name(text_of(file), &expires_s) && has_room(files, file, bytes, quota) &&
                !table_find(&files->files, text_of(file)) && rename(part, whole) == 0;
    if (good)
        add(files, file, expires_s, bytes);
    else
        forget_idle(files, file);
    pthread_mutex_unlock(&files->lock);
    if (good)
        close(fd);
    else
        job_files_drop(files, file, fd);
    memory_free(part);
    memory_free(whole);
    return good;
}

bool job_files_put(struct job_files *files, const char *file, struct text bytes, size_t quota)
{
    int fd = job_files_create(files, file);
    size_t done = 0;
    while (fd >= 0 && done < bytes.len) {
        ssize_t n = write(fd, bytes.at + done, bytes.len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            job_files_drop(files, file, fd);
            return false;
        }
        done += (size_t)n;
    }
    return fd >= 0 && job_files_keep(files, file, fd, (int64_t)bytes.len, quota);
}

bool job_files_adopt(struct job_files *files, const char *file, const char *path, int64_t bytes,
                     size_t quota)
{
    int64_t expires_s;
    char *whole = path_of(files, file, "");
    pthread_mutex_lock(&files->lock);
    bool good = read_name(text_of(file), &expires_s) && has_room(files, file, bytes, quota) &&
                link(path, whole) == 0;
    if (good)
        add(files, file, expires_s, bytes);
    else
        forget_idle(files, file);
    pthread_mutex_unlock(&files->lock);
    memory_free(whole);
    return good;
}

int64_t job_files_read(struct job_files *files, const char *file, int64_t wall_us, int *fd)
{
    int64_t expires_s;
    struct stat facts;
    if (!read_name(text_of(file), &expires_s) || expires_s * SECOND_US < wall_us)
        return -1;
    char *path = path_of(files, file, "");
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    memory_free(path);
    if (*fd >= 0 && fstat(*fd, &facts) == 0)
        return facts.st_size;
    if (*fd >= 0)
        close(*fd);
    return -1;
}

void job_files_sweep(struct job_files *files, int64_t wall_us)
{
    enum { AT_ONCE = 64 };
    struct text name;
    void *value;
    size_t at = 0, count = 0;
    struct job_file *old[AT_ONCE];
    pthread_mutex_lock(&files->lock);
    while (count < AT_ONCE && table_next(&files->files, &at, &name, &value)) {
        struct job_file *one = value;
        if (one->expires_s * SECOND_US < wall_us)
            old[count++] = one;
    }
    for (size_t i = 0; i < count; i++) {
        char *path = path_of(files, old[i]->name, "");
        unlink(path);
        memory_free(path);
        take_away(files, old[i]);
    }
    pthread_mutex_unlock(&files->lock);
}

/* ---------------------------------------------------------------------------------- links */

void job_files_set_key(struct job_files *files, const struct digest *key)
{
    pthread_mutex_lock(&files->lock);
    files->key = *key;
    pthread_mutex_unlock(&files->lock);
}

static void sign(struct job_files *files, bool upload, const struct job_link *link,
                 char hex[HEX_BYTES])
{
    char *words = memory_format("%s\n%s\n%s\n%s", upload ? "upload" : "download", link->file,
                                link->name, link->type);
    pthread_mutex_lock(&files->lock);
    struct digest key = files->key;
    pthread_mutex_unlock(&files->lock);
    struct digest digest =
        hash_hmac_sha256((struct text){(const char *)key.bytes, SHA256_BYTES}, text_of(words));
    hash_hex(&digest, hex);
    memory_free(words);
}

/* Only what may stand in a query as it is. */
static bool is_plain(struct text word)
{
    for (size_t i = 0; i < word.len; i++) {
        char c = word.at[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              memchr("._-/+", c, 5)))
            return false;
    }
    return true;
}

void job_files_put_link(struct job_files *files, struct buffer *out, struct text base, bool upload,
                        const struct job_link *link)
{
    char hex[HEX_BYTES];
    struct job_link clean = *link;
    if (!is_plain(text_of(clean.name)))
        snprintf(clean.name, sizeof(clean.name), "file");
    if (!is_plain(text_of(clean.type)))
        clean.type[0] = '\0';
    sign(files, upload, &clean, hex);
    buffer_append_text(out, base);
    buffer_format(out, "/v1/%s/%s?name=%s&type=%s&signature=%s", upload ? "upload" : "download",
                  clean.file, clean.name, clean.type, hex);
}

static bool read_word(struct text query, const char *name, char *out, size_t room)
{
    struct text value;
    bool repeated = false;
    if (!query_find(query, text_of(name), &value, &repeated) || repeated || value.len >= room ||
        !is_plain(value))
        return false;
    snprintf(out, room, "%.*s", TEXT_ARGS(value));
    return true;
}

bool job_files_read_link(struct job_files *files, bool upload, struct text segment,
                         struct text query, struct job_link *link)
{
    char given[SIGNATURE_DIGITS + 1], hex[HEX_BYTES];
    int64_t unused;
    struct digest ours, theirs;
    *link = (struct job_link){.file = ""};
    if (!read_name(segment, &unused) || query.len > QUERY_ROOM ||
        !read_word(query, "name", link->name, sizeof(link->name)) ||
        !read_word(query, "type", link->type, sizeof(link->type)) ||
        !read_word(query, "signature", given, sizeof(given)))
        return false;
    snprintf(link->file, sizeof(link->file), "%.*s", TEXT_ARGS(segment));
    sign(files, upload, link, hex);
    return hash_from_hex(text_of(given), &theirs) && hash_from_hex(text_of(hex), &ours) &&
           hash_same(&ours, &theirs);
}

bool job_files_read_url(struct job_files *files, struct text url, struct job_link *link)
{
    size_t at = text_find(url, TEXT("/v1/download/"));
    if (at == SIZE_MAX)
        return false;
    struct text rest = text_from(url, at + strlen("/v1/download/"));
    size_t mark = text_find_byte(rest, '?');
    return mark != SIZE_MAX && job_files_read_link(files, false, text_head(rest, mark),
                                                   text_from(rest, mark + 1), link);
}
