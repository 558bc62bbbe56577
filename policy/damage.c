/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/damage.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/database.h"
#include "gateway/base/log.h"
#include "gateway/base/memory.h"

static char *note_of(const char *database)
{
    return memory_format("%s.damaged", database);
}

void damage_note(const char *database)
{
    char *note = note_of(database);
    int file = open(note, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (file >= 0)
        close(file);
    memory_free(note);
}

/* The file, and its log and index, which are worth nothing without it. */
static bool move(const char *database, const char *to)
{
    static const char *const parts[] = {"-wal", "-shm"};
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        char *from_part = memory_format("%s%s", database, parts[i]);
        char *to_part = memory_format("%s%s", to, parts[i]);
        rename(from_part, to_part);
        memory_free(from_part);
        memory_free(to_part);
    }
    return rename(database, to) == 0;
}

char *damage_set_aside(const char *database, bool failed)
{
    char stamp[CLOCK_STAMP_BYTES];
    char *note = note_of(database), *to = NULL;
    bool noted = access(note, F_OK) == 0;
    if ((failed || noted) && database_file_is_damaged(database)) {
        clock_stamp(clock_wall_us(), stamp);
        to = memory_format("%s.corrupt-%s", database, stamp);
        if (!move(database, to)) {
            log_line(LOG_ERROR, "ledger", "%s is damaged and cannot be moved aside: %m", database);
            memory_free(to);
            to = NULL;
        }
    }
    if (noted && (to || !database_file_is_damaged(database)))
        unlink(note);
    memory_free(note);
    if (to)
        log_line(LOG_ERROR, "ledger",
                 "%s is damaged; it was moved to %s, and a new one begins: what was booked in it, "
                 "and keys and tenants made through the API, are not known any more. Restore a "
                 "backup, or what can be had of it (sqlite3 %s .recover)",
                 database, to, to);
    return to;
}
