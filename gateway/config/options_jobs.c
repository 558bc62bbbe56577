/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/config/document.h"
#include "gateway/config/options.h"

/* Rows of `jobs`. */

#define ROOT(member) offsetof(struct document, member)
#define JOBS(member) offsetof(struct document, config.jobs.member)

/* clang-format off */

static const struct option hook[] = {
    {.name = "secret", .type = OPTION_TEXT, .where = JOBS(hook.secret), .fallback = "", .secret = true, .help = "What each tenant's signing secret is made of (GET /v1/jobs/webhook_secret); without one no webhook is accepted."},
    {.name = "attempts", .type = OPTION_COUNT, .where = JOBS(hook.attempts), .fallback = "6", .min = 1, .max = 20, .help = "Until it answers 2xx."},
    {.name = "backoff", .type = OPTION_DURATION, .where = JOBS(hook.backoff_us), .fallback = "2s", .min = 10 * MILLISECOND, .max = SECONDS(3600), .help = "Before the second one; doubled each time, at most an hour."},
    {.name = "timeout", .type = OPTION_DURATION, .where = JOBS(hook.timeout_us), .fallback = "10s", .min = 100 * MILLISECOND, .max = SECONDS(300), .help = "Of each."},
    {.name = "allow_private", .type = OPTION_BOOL, .where = JOBS(hook.allow_private), .fallback = "false", .help = "May go to loopback and private addresses; never to link-local ones."},
    {0},
};

static const struct option finetune[] = {
    {.name = "command", .type = OPTION_TEXTS, .where = ROOT(finetune_command), .fallback = "[]", .help = "The program and its arguments, never through a shell; {kind}, {payload} (a file with the JSON), {output} (a directory that is kept) and {id} are filled in. Without one, 501."},
    {.name = "timeout", .type = OPTION_DURATION, .where = JOBS(finetune.timeout_us), .fallback = "24h", .min = SECONDS(1), .max = DAYS(30), .help = "Then it is ended."},
    {.name = "concurrency", .type = OPTION_COUNT, .where = JOBS(finetune.concurrency), .fallback = "1", .min = 1, .max = 1000, .help = "At once, of this process."},
    {.name = "memory", .type = OPTION_SIZE, .where = JOBS(finetune.memory), .fallback = "0", .min = 0, .max = GIB(65536), .help = "Address space of each of its processes at most; 0 = no limit."},
    {.name = "log_lines", .type = OPTION_COUNT, .where = JOBS(finetune.log_lines), .fallback = "2000", .min = 10, .max = 100000, .help = "Kept of what it writes."},
    {0},
};

const struct option jobs_options[] = {
    {.name = "concurrency", .type = OPTION_COUNT, .where = JOBS(concurrency), .fallback = "16", .min = 0, .max = 10000, .help = "Calls of jobs at once, of this process; 0 = none are run here."},
    {.name = "per_tenant", .type = OPTION_COUNT, .where = JOBS(per_tenant), .fallback = "4", .min = 1, .max = 10000, .help = "Those of one tenant; tenants take turns."},
    {.name = "queue_max", .type = OPTION_COUNT, .where = JOBS(queue_max), .fallback = "10000", .min = 1, .max = 1000000, .help = "That wait; more are refused (503)."},
    {.name = "queue_max_per_tenant", .type = OPTION_COUNT, .where = JOBS(queue_max_per_tenant), .fallback = "1000", .min = 1, .max = 1000000, .help = "The same of one tenant (429)."},
    {.name = "payload_max", .type = OPTION_SIZE, .where = JOBS(payload_max), .fallback = "12MiB", .min = KIB(1), .max = MIB(64), .help = "Of one job."},
    {.name = "result_max", .type = OPTION_SIZE, .where = JOBS(result_max), .fallback = "16MiB", .min = KIB(1), .max = MIB(256), .help = "Of one job; with a larger answer it has failed."},
    {.name = "disk_max", .type = OPTION_SIZE, .where = JOBS(disk_max), .fallback = "4GiB", .min = MIB(1), .max = GIB(65536), .help = "Payloads and results of all (503)."},
    {.name = "attempts", .type = OPTION_COUNT, .where = JOBS(attempts), .fallback = "3", .min = 1, .max = 100, .help = "Calls that fail at the provider or are cut, until the job has failed. Waiting for a rate limit is none."},
    {.name = "expires", .type = OPTION_DURATION, .where = JOBS(expires_us), .fallback = "24h", .min = SECONDS(1), .max = DAYS(90), .help = "A job that has waited so long is not run any more."},
    {.name = "keep", .type = OPTION_DURATION, .where = JOBS(keep_us), .fallback = "24h", .min = SECONDS(1), .max = DAYS(365), .help = "What has ended, and its files."},
    {.name = "lease", .type = OPTION_DURATION, .where = JOBS(lease_us), .fallback = "30s", .min = SECONDS(3), .max = SECONDS(3600), .help = "With Redis: a replica that says nothing for so long has lost its jobs to the others."},
    {.name = "public_url", .type = OPTION_STRING, .where = JOBS(public_url), .fallback = "null", .help = "What links begin with, such as https://ai.example.com; default: the Host that was asked."},
    {.name = "upload_max", .type = OPTION_SIZE, .where = JOBS(upload_max), .fallback = "32MiB", .min = KIB(1), .max = MIB(256), .help = "Of one file."},
    {.name = "upload_quota", .type = OPTION_SIZE, .where = JOBS(upload_quota), .fallback = "512MiB", .min = KIB(1), .max = GIB(65536), .help = "Files of one tenant at a time, results included."},
    {.name = "upload_ttl", .type = OPTION_DURATION, .where = JOBS(upload_ttl_us), .fallback = "30m", .min = SECONDS(1), .max = DAYS(30), .help = "An uploaded file, and its links."},
    {.name = "webhook", .type = OPTION_SECTION, .inner = hook, .help = "A job's end, told to a URL."},
    {.name = "finetune", .type = OPTION_SECTION, .inner = finetune, .help = "What the fine-tuning paths of Monster's API run."},
    {0},
};

/* clang-format on */
