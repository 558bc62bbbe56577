/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/dashboard.h"

#include "gateway/dashboard_files.h"

enum form { FORM_PLAIN, FORM_GZIP, FORM_BROTLI, FORMS };

struct file {
    struct text path, type;
    bool is_hashed; /* another build has another name */
    struct {
        const char *from, *to;
    } forms[FORMS];
};

#define FILE_SYMBOLS(n, path, type, hashed)                            \
    extern const char dashboard_##n##_plain[], dashboard_##n##_gzip[]; \
    extern const char dashboard_##n##_brotli[], dashboard_##n##_end[];
DASHBOARD_FILES(FILE_SYMBOLS)

#define FILE_ROW(n, path, type, hashed)               \
    {{path, sizeof(path) - 1},                        \
     {type, sizeof(type) - 1},                        \
     hashed,                                          \
     {{dashboard_##n##_plain, dashboard_##n##_gzip},  \
      {dashboard_##n##_gzip, dashboard_##n##_brotli}, \
      {dashboard_##n##_brotli, dashboard_##n##_end}}},
static const struct file files[] = {DASHBOARD_FILES(FILE_ROW)};

enum { FILES = sizeof(files) / sizeof(files[0]) };

/* Scripts, styles, pictures and questions of our own, and nothing else; no frame holds us. */
#define CAREFUL                                                                          \
    "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; " \
    "img-src 'self' data:; connect-src 'self'; form-action 'none'; base-uri 'none'; "    \
    "frame-ancestors 'none'\r\n"                                                         \
    "x-content-type-options: nosniff\r\n"                                                \
    "referrer-policy: no-referrer\r\n"                                                   \
    "cross-origin-opener-policy: same-origin\r\n"                                        \
    "cross-origin-resource-policy: same-origin\r\n"
#define FOR_GOOD  "cache-control: public, max-age=31536000, immutable\r\n"
#define ASK_AGAIN "cache-control: no-cache\r\n"
#define VARY      "vary: accept-encoding\r\n"

#define LINES(caching)                                                       \
    {                                                                        \
        {VARY caching CAREFUL, sizeof(VARY caching CAREFUL) - 1},            \
            {"content-encoding: gzip\r\n" VARY caching CAREFUL,              \
             sizeof("content-encoding: gzip\r\n" VARY caching CAREFUL) - 1}, \
            {"content-encoding: br\r\n" VARY caching CAREFUL,                \
             sizeof("content-encoding: br\r\n" VARY caching CAREFUL) - 1},   \
    }
static const struct text lines_hashed[FORMS] = LINES(FOR_GOOD);
static const struct text lines_other[FORMS] = LINES(ASK_AGAIN);

bool dashboard_is_path(struct text path)
{
    return text_starts(path, TEXT("/ui")) && (path.len == 3 || path.at[3] == '/');
}

/* Does "gzip;q=0.5, br" name <coding>, and not with q=0? "*" is not taken for it: plain will do. */
static bool takes(struct text accept, struct text coding)
{
    struct text one;
    while (accept.len > 0 && text_next(&accept, ',', &one)) {
        size_t semicolon = text_find_byte(one, ';');
        struct text name = text_trim(text_head(one, semicolon));
        if (!text_equal_nocase(name, coding))
            continue;
        struct text weight =
            semicolon == SIZE_MAX ? TEXT("") : text_trim(text_from(one, semicolon + 1));
        if (!text_starts_nocase(weight, TEXT("q=0")))
            return true;
        for (size_t i = 2; i < weight.len; i++)
            if (weight.at[i] >= '1' && weight.at[i] <= '9')
                return true;
        return false;
    }
    return false;
}

static struct text form_of(const struct file *file, enum form form)
{
    return (struct text){file->forms[form].from,
                         (size_t)(file->forms[form].to - file->forms[form].from)};
}

static enum form best_form(const struct file *file, struct text accept)
{
    if (takes(accept, TEXT("br")) && form_of(file, FORM_BROTLI).len > 0)
        return FORM_BROTLI;
    if (takes(accept, TEXT("gzip")) && form_of(file, FORM_GZIP).len > 0)
        return FORM_GZIP;
    return FORM_PLAIN;
}

void dashboard_find(struct text path, struct text accept_encoding, struct dashboard_answer *answer)
{
    *answer = (struct dashboard_answer){
        .status = 404,
        .type = TEXT("text/plain; charset=utf-8"),
        .extra = TEXT("cache-control: no-store\r\n" CAREFUL),
        .body = TEXT("There is no such file of the dashboard: it begins at /ui/.\n")};
    if (path.len == 3) { /* relative, so that it works behind a prefix, too */
        answer->status = 308;
        answer->extra = TEXT("location: ui/\r\ncache-control: no-store\r\n" CAREFUL);
        answer->body = TEXT("ui/\n");
        return;
    }
    for (size_t i = 0; i < FILES; i++) {
        const struct file *file = &files[i];
        if (!text_equal(text_from(path, 4), file->path))
            continue;
        enum form form = best_form(file, accept_encoding);
        answer->status = 200;
        answer->type = file->type;
        answer->extra = file->is_hashed ? lines_hashed[form] : lines_other[form];
        answer->body = form_of(file, form);
        return;
    }
}

struct text dashboard_style(void)
{
    for (size_t i = 0; i < FILES; i++)
        if (text_ends(files[i].path, TEXT(".css")))
            return files[i].path;
    return TEXT("");
}

struct text dashboard_careful(void)
{
    return TEXT(CAREFUL);
}
