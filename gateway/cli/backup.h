/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * cli_backup - what `backup` writes and `restore` reads: an archive (tar.h) of
 *
 *   ledger/INSTANCE/0-17.journal   journals as they are, without the zeros at the end
 *   ledger/node                    the name of the node, when it has one
 *   sluice.db                      the database
 *   deployments.db                 deployments that were made at run time, and orders
 *   jobs/jobs.db                   the queue of jobs and their results, of the embedded store
 *   jobs/link_key                  what links to files are signed with
 *   decisions/TIME.decisions       records of decisions
 *   backup.json                    {format, version, made_at, files: [{name, bytes, sha256}]}; last
 */

#include <stdbool.h>

#include "gateway/base/text.h"

#define BACKUP_LEDGER      "ledger/"
#define BACKUP_NODE        "ledger/node"
#define BACKUP_DATABASE    "sluice.db"
#define BACKUP_DEPLOYMENTS "deployments.db"
#define BACKUP_JOBS        "jobs/jobs.db"
#define BACKUP_LINK_KEY    "jobs/link_key"
#define BACKUP_DECISIONS   "decisions/"
#define BACKUP_MANIFEST    "backup.json"
/* 1 had only the ledger's files. */
enum { BACKUP_FORMAT = 2 };

/* The bytes of a regular file; *good is false, and errno says why, when they cannot be had. */
struct text backup_map(const char *path, bool *good);
void backup_unmap(struct text bytes);
