/* SPDX-License-Identifier: Apache-2.0 */
/* Who asks the admin API; and the admin key that is made when none was given. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/admin_inside.h"
#include "gateway/base/hash.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"
#include "gateway/service_state.h"

enum { FIRST_KEY_BYTES = 9 + HEX_BYTES };

/* ---------------------------------------------------------------------------- who asks */

void admin_set_caller(struct admin_caller *caller, enum admin_role role, struct text name,
                      struct text tenant)
{
    caller->role = role;
    snprintf(caller->name, sizeof caller->name, "%.*s", TEXT_ARGS(name));
    snprintf(caller->tenant, sizeof caller->tenant, "%.*s", TEXT_ARGS(tenant));
}

bool admin_know_key(const struct service *service, const struct config *config, struct text key,
                    struct admin_caller *caller)
{
    struct digest digest = caller->key = hash_sha256(key);
    bool is_known = hash_same(&digest, &service->admin_key) && service->has_admin_key;
    if (is_known)
        admin_set_caller(caller, ADMIN_ROLE_ADMIN, TEXT("admin"), TEXT(""));
    /* All of them, so that the time tells nothing. */
    for (size_t i = 0; i < config->admin_key_count; i++) {
        const struct admin_key *one = &config->admin_keys[i];
        if (!hash_same(&digest, &one->digest) || is_known)
            continue;
        admin_set_caller(caller, one->role, one->name, one->tenant);
        is_known = true;
    }
    return is_known;
}

bool admin_know_peer(int fd, struct admin_caller *caller)
{
    struct ucred peer;
    socklen_t length = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0 ||
        (peer.uid != geteuid() && peer.uid != 0))
        return false;
    char name[32];
    snprintf(name, sizeof name, "uid %u", (unsigned)peer.uid);
    admin_set_caller(caller, ADMIN_ROLE_ADMIN, text_of(name), TEXT(""));
    return true;
}

/* ---------------------------------------------------------------------------- the first key */

/* The digest that stands in the file; false with errno when there is none. */
bool admin_read_digest(const char *path, struct digest *digest)
{
    char words[128];
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    struct text all = {words, fread(words, 1, sizeof words, file)};
    fclose(file);
    errno = EBADMSG;
    return text_starts(all, TEXT("sha256:")) &&
           hash_from_hex(text_head(text_from(all, 7), HEX_BYTES - 1), digest);
}

/* All of it or nothing: under another name first, and never over one that is there. */
bool admin_write_digest(const char *path, const struct digest *digest)
{
    char words[HEX_BYTES + 8], hex[HEX_BYTES];
    char *scratch = memory_format("%s.new", path);
    hash_hex(digest, hex);
    size_t length = (size_t)snprintf(words, sizeof words, "sha256:%s\n", hex);
    unlink(scratch);
    int fd = open(scratch, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool good = fd >= 0 && write(fd, words, length) == (ssize_t)length && fsync(fd) == 0 &&
                link(scratch, path) == 0;
    int problem = errno;
    if (fd >= 0)
        close(fd);
    unlink(scratch);
    memory_free(scratch);
    errno = problem;
    return good;
}

/* "sk-admin-" and 64 hexadecimal digits. */
static void make_key(char key[FIRST_KEY_BYTES])
{
    struct digest random;
    hash_random(random.bytes, sizeof random.bytes);
    memcpy(key, "sk-admin-", 9);
    hash_hex(&random, key + 9);
    memory_wipe(&random, sizeof random);
}

static void make_first_key(struct service *service, const char *path)
{
    char key[FIRST_KEY_BYTES];
    make_key(key);
    struct digest digest = hash_sha256(text_of(key));
    if (admin_write_digest(path, &digest)) {
        service->admin_key = digest;
        service->has_admin_key = true;
        /* Not to the log: it may be a file that is kept, or sent elsewhere. */
        fprintf(stderr, "the admin key, shown only this once (kept hashed in %s): %s\n", path, key);
    } else {
        /* A key that changes with every start would be worse than none. */
        log_line(LOG_ERROR, "admin", "no admin key: %s: %s; set admin.key or SLUICE_ADMIN_KEY",
                 path, strerror(errno));
    }
    memory_wipe(key, sizeof key);
}

static bool serves_admin(const struct config *config)
{
    for (size_t i = 0; i < config->listener_count; i++)
        if ((config->listeners[i].serve & (SERVE_ADMIN | SERVE_UI)) != 0)
            return true;
    return false;
}

void admin_open_key(struct service *service)
{
    const struct config *config = service->config;
    const char *given = getenv("SLUICE_ADMIN_KEY");
    if (given != NULL && *given != 0) {
        service->admin_key = hash_sha256(text_of(given));
        service->has_admin_key = true;
        return;
    }
    /* Where only the socket is, nobody needs a key. */
    if (config->admin_key_count > 0 || !serves_admin(config))
        return;
    char *path = memory_format("%s/admin_key", config->state);
    if (admin_read_digest(path, &service->admin_key))
        service->has_admin_key = true;
    else if (errno == ENOENT)
        make_first_key(service, path);
    else
        log_line(LOG_ERROR, "admin", "no admin key: %s: %s; remove it to have one made anew", path,
                 strerror(errno));
    memory_free(path);
}
