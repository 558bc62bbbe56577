/* SPDX-License-Identifier: Apache-2.0 */

/* Base URLs, and the Host of a request: what is accepted can be written anew and is read the same.
 */

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/http/path.h"
#include "gateway/http/url.h"

static void check_host(struct text from)
{
    struct text host, again;
    uint16_t port, same;
    char *out = malloc(from.len + 16);
    if (url_read_host(from, &host, &port)) {
        bool is_v6 = text_find_byte(host, ':') != SIZE_MAX;
        int len = sprintf(out, is_v6 ? "[%.*s]" : "%.*s", TEXT_ARGS(host));
        if (port > 0)
            len += sprintf(out + len, ":%u", port);
        assert(url_read_host((struct text){out, (size_t)len}, &again, &same));
        assert(text_equal(again, host) && same == port && host.len > 0);
        for (size_t i = 0; i < host.len; i++)
            assert(host.at[i] != '\0' && !strchr("/@#?\\% \t;", host.at[i]));
    }
    free(out);
}

static void check_url(struct text from)
{
    struct url url, again;
    const char *problem = NULL;
    char *out = malloc(from.len + 32);
    if (!url_read(from, &url, &problem)) {
        assert(problem);
        free(out);
        return;
    }
    int len = sprintf(out, "%s", url.is_unix ? "http+unix://" : url.tls ? "https://" : "http://");
    if (url.user.len > 0)
        len += sprintf(out + len, "%.*s@", TEXT_ARGS(url.user));
    bool is_v6 = !url.is_unix && text_find_byte(url.host, ':') != SIZE_MAX;
    len += sprintf(out + len, is_v6 ? "[%.*s]" : "%.*s", TEXT_ARGS(url.host));
    len += url.is_unix ? sprintf(out + len, ":") : sprintf(out + len, ":%u", url.port);
    len += sprintf(out + len, "%.*s", TEXT_ARGS(url.path));
    assert(url_read((struct text){out, (size_t)len}, &again, &problem));
    assert(again.tls == url.tls && again.is_unix == url.is_unix && again.port == url.port);
    assert(text_equal(again.user, url.user) && text_equal(again.host, url.host));
    assert(text_equal(again.path, url.path) &&
           (url.path.len == 0 || path_is_clean(url.path, true)));
    assert(url.is_unix || url.port > 0);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 4096)
        return 0;
    char *copy = malloc(size ? size : 1);
    if (size > 0)
        memcpy(copy, data, size);
    check_host((struct text){copy, size});
    check_url((struct text){copy, size});
    free(copy);
    return 0;
}
