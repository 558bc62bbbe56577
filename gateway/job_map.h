/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * job_map - Monster's payloads as calls of ours, and answers as results of jobs.
 *
 * Sources: the data models of the Python client monsterapi 1.0.9 and what its callers read. A form
 * has the same meaning as JSON: every value of it is a string, "0.98" and "True" too. What comes is
 * read strictly; nothing here opens a connection, and a URL that a payload names is read only when
 * it is a link of ours.
 */

#include "gateway/base/buffer.h"
#include "gateway/base/fault.h"
#include "gateway/base/memory.h"
#include "gateway/jobs.h"

enum {
    JOB_FIELDS_MAX = 64,
    JOB_FILE_MAX = 8 << 20, /* of a file in a form */
};

/* One field of a payload. */
struct job_field {
    struct text name;
    struct text json;  /* its value as JSON; at == NULL: it is a file */
    struct text bytes; /* of the file */
    struct text file_name, type;
};

struct job_fields {
    size_t count;
    struct job_field list[JOB_FIELDS_MAX];
};

/* Read a body of JSON (an object) or a form, by its media type. Texts borrow from <body> or are in
 * <arena>. False, and *fault. */
bool job_fields_read(struct arena *arena, struct text content_type, struct text body,
                     struct job_fields *fields, struct fault *fault);
const struct job_field *job_fields_find(const struct job_fields *fields, const char *name);

/* What Monster calls by <model>: JOB_TEXT for names that are none of its own. *edits: it changes a
 * picture. */
enum job_kind job_kind_of_name(struct text model, bool *edits);

/* A file that a payload names by a URL: its bytes, in the arena. False: it is none of ours. */
struct job_reader {
    bool (*read)(void *with, struct arena *arena, struct text url, struct job_field *file);
    void *with;
};

/* What is to be written: a call of <model>, of what <fields> hold, in at most <max> bytes. */
struct job_wish {
    enum job_kind kind;
    bool edits; /* it changes a picture */
    struct text model;
    const struct job_fields *fields;
    const struct job_reader *reader; /* NULL = files come in fields only */
    size_t max;
};

/* Write it into <spec>: path, content_type, payload, in <arena>. False, and *fault with its param.
 */
bool job_map_call(struct arena *arena, const struct job_wish *wish, struct job_spec *spec,
                  struct fault *fault);

/* An answer with status 2xx. */
struct job_answer {
    enum job_kind kind;
    struct text bytes, type; /* its body, its Content-Type */
    struct text base, tenant, id;
    struct job_files *files;
    int64_t expires_us; /* of files */
    size_t quota, max;
};
/* NULL and *fault: nothing can be made of it. */
struct job_result *job_map_answer(const struct job_answer *answer, struct fault *fault);
