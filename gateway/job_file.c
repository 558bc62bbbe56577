/* SPDX-License-Identifier: Apache-2.0 */
/* GET /v1/upload, and the links that it gives: a file is put to one, and got from the other. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "gateway/http/path.h"
#include "gateway/job_files.h"
#include "gateway/job_page_inside.h"
#include "gateway/pages.h"
#include "gateway/worker_inside.h"

/* A file on its way in. */
struct job_upload {
    struct job_link link;
    int fd; /* -1 = not opened yet */
    int64_t bytes;
    bool failed;
};

static struct job_files *files_of(const struct exchange *x)
{
    return jobs_files(job_page_jobs(x));
}

/* -------------------------------------------------------------------------------- the links */

/* What the client calls it, of letters that may stand in a link. */
static void read_file_name(const struct exchange *x, struct job_link *link)
{
    struct text name;
    bool repeated = false;
    size_t len = 0;
    if (!query_find(x->query, TEXT("filename"), &name, &repeated) || repeated)
        name = TEXT("file");
    for (size_t i = 0; i < name.len && len < 100; i++) {
        char c = name.at[i];
        bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    c == '.' || c == '_' || c == '-';
        link->name[len++] = good ? c : '_';
    }
    link->name[len] = '\0';
}

static void put_link(struct exchange *x, struct job_page *page, const char *name, bool upload,
                     const struct job_link *link)
{
    buffer_format(&x->held, "\"%s\":\"", name);
    job_files_put_link(files_of(x), &x->held, page->base, upload, link);
    buffer_append_text(&x->held, TEXT("\""));
}

bool job_upload_link(struct exchange *x, struct job_page *page)
{
    const struct config *config = x->snapshot->config;
    struct job_link link = {.file = ""};
    if (!job_files_name(files_of(x), x->key->tenant->name,
                        x->started_wall_us + config->jobs.upload_ttl_us, config->jobs.upload_quota,
                        link.file))
        return job_page_refuse_with(
            x, FAULT_RATE_REQUESTS,
            "This tenant has uploaded as much as it may (jobs.upload_quota).");
    read_file_name(x, &link);
    buffer_append_text(&x->held, TEXT("{"));
    put_link(x, page, "upload_url", true, &link);
    buffer_append_text(&x->held, TEXT(","));
    put_link(x, page, "download_url", false, &link);
    buffer_append_text(&x->held, TEXT("}\n"));
    return job_page_finish(x, 200);
}

/* ---------------------------------------------------------------------------------- coming in */

bool job_file_begin(struct exchange *x)
{
    bool upload = x->match.endpoint->method == METHOD_PUT;
    struct job_upload *file = arena_new(&x->arena, sizeof(*file));
    file->fd = -1;
    if (!job_page_jobs(x))
        return fault_set(exchange_fault(x), FAULT_NOT_SET_UP,
                         "There are no jobs here; the log says why.");
    if (!job_files_read_link(files_of(x), upload, x->match.id, x->query, &file->link))
        return fault_set(exchange_fault(x), FAULT_UNKNOWN_OBJECT,
                         "There is nothing behind this link.");
    x->job_upload = file;
    if (!upload)
        return true;
    file->fd = job_files_create(files_of(x), file->link.file);
    return file->fd >= 0 || fault_set(exchange_fault(x), FAULT_CONFLICT,
                                      "A file was put there already, or is being put there.");
}

static bool write_all(int fd, struct text piece)
{
    while (piece.len) {
        ssize_t n = write(fd, piece.at, piece.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        piece = text_from(piece, (size_t)n);
    }
    return true;
}

bool job_upload_take(struct exchange *x, struct text piece)
{
    struct job_upload *file = x->job_upload;
    struct fault fault;
    if (file->fd < 0 || x->facts.request_bad)
        return true;
    file->bytes += (int64_t)piece.len;
    if (file->bytes > (int64_t)x->snapshot->config->jobs.upload_max)
        fault_set(&fault, FAULT_TOO_LARGE, "The file is larger than jobs.upload_max.");
    else if (!write_all(file->fd, piece))
        fault_set(&fault, FAULT_STORE_AWAY, "The disk of uploaded files is full.");
    else
        return true;
    exchange_body_bad(x, &fault);
    return true;
}

static bool keep(struct exchange *x)
{
    struct job_upload *file = x->job_upload;
    int fd = file->fd;
    file->fd = -1;
    if (!job_files_keep(files_of(x), file->link.file, fd, file->bytes,
                        x->snapshot->config->jobs.upload_quota))
        return job_page_refuse_with(
            x, FAULT_RATE_REQUESTS,
            "This tenant has uploaded as much as it may (jobs.upload_quota).");
    buffer_format(&x->held, "{\"bytes\":%lld}\n", (long long)file->bytes);
    return job_page_finish(x, 200);
}

/* ---------------------------------------------------------------------------------- going out */

static bool read_all(int fd, struct buffer *out, size_t length)
{
    char *room = buffer_room(out, length ? length : 1);
    size_t done = 0;
    while (room && done < length) {
        ssize_t n = read(fd, room + done, length - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        done += (size_t)n;
    }
    if (room)
        buffer_grow(out, length);
    return room != NULL;
}

bool job_file_answer(struct exchange *x, struct job_page *page)
{
    struct job_upload *file = x->job_upload;
    int fd;
    (void)page;
    if (x->match.endpoint->method == METHOD_PUT)
        return keep(x);
    int64_t length = job_files_read(files_of(x), file->link.file, x->started_wall_us, &fd);
    if (length < 0)
        return job_page_refuse_with(x, FAULT_UNKNOWN_OBJECT,
                                    "The file is not there: it was not uploaded, or has expired.");
    x->held.limit = (size_t)length + 1;
    bool good = read_all(fd, &x->held, (size_t)length);
    close(fd);
    if (!good)
        return job_page_refuse_with(x, FAULT_INTERNAL, "The file cannot be read.");
    /* Whatever it is, a browser saves it and runs nothing of it. */
    struct text extra =
        arena_format(&x->arena,
                     "content-disposition: attachment; filename=\"%s\"\r\n"
                     "x-content-type-options: nosniff\r\ncache-control: private\r\n",
                     file->link.name);
    pages_finish_as(
        x, 200, file->link.type[0] ? text_of(file->link.type) : TEXT("application/octet-stream"),
        extra);
    return true;
}

void job_upload_forget(struct exchange *x)
{
    struct job_upload *file = x->job_upload;
    x->job_upload = NULL;
    if (file && file->fd >= 0)
        job_files_drop(files_of(x), file->link.file, file->fd);
}
