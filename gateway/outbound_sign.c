/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/outbound_sign.h"

#include <string.h>

#include "gateway/base/clock.h"
#include "gateway/crossing.h"
#include "gateway/worker_inside.h"
#include "providers/sigv4.h"

/* The whole body of a call that is signed. */
static struct text whole_body(struct exchange *x, const struct iovec *pieces, int count)
{
    size_t len = 0, at = 0;
    if (count == 1)
        return (struct text){pieces[0].iov_base, pieces[0].iov_len};
    for (int i = 0; i < count; i++)
        len += pieces[i].iov_len;
    char *room = arena_take(&x->seeking->arena, len + 1);
    for (int i = 0; i < count; i++) {
        memcpy(room + at, pieces[i].iov_base, pieces[i].iov_len);
        at += pieces[i].iov_len;
    }
    return (struct text){room, len};
}

/* What stands between <before> and <behind> in the head. */
static struct text between(struct text head, const char *before, const char *behind)
{
    size_t at = text_find(head, text_of(before));
    struct text rest = text_from(head, at + strlen(before));
    return text_head(rest, text_find(rest, text_of(behind)));
}

static bool find_keys(const struct exchange *x, struct sigv4_credentials *credentials)
{
    const struct provider_settings *provider = x->target->provider;
    const struct sign_in *sign_in = snapshot_sign_in(x->snapshot, provider);
    *credentials = (struct sigv4_credentials){
        .access_key = provider->access_key,
        .secret_key = provider->secret_key,
        .session_token = provider->session_token,
        .region = provider->region,
        .service = TEXT("bedrock"),
    };
    if (sign_in)
        return sign_in_keys(sign_in, credentials);
    return provider->access_key.len && provider->secret_key.len;
}

void outbound_sign(struct exchange *x, struct buffer *out, const struct iovec *pieces, int count)
{
    const struct provider_settings *provider = x->target->provider;
    struct sigv4_credentials credentials;
    if (!text_equal(provider->type->dialect, TEXT("bedrock")) || provider->api_key.len ||
        !find_keys(x, &credentials))
        return;
    struct text head = arena_copy(&x->seeking->arena, buffer_text(out));
    struct text target = between(head, " ", " HTTP/1.1");
    if (text_starts(target, TEXT("http://"))) { /* of a proxy */
        target = text_from(target, 7);
        target = text_from(target, text_find_byte(target, '/'));
    }
    size_t query = text_find_byte(target, '?');
    struct sigv4_request request = {
        .method = text_of(method_name(x->method)),
        .host = between(head, "Host: ", "\r\n"),
        .path = text_head(target, query),
        .query = text_from(target, query == SIZE_MAX ? target.len : query + 1),
        .content_type = crossing_is_on(x) ? TEXT("application/json") : x->seeking->content_type,
        .body = whole_body(x, pieces, count),
    };
    sigv4_put_fields(out, &credentials, &request, clock_wall_us() / 1000000);
}
