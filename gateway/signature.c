/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/signature.h"

#include "gateway/anonymous.h"
#include "gateway/worker_inside.h"
#include "policy/directory.h"
#include "providers/sigv4.h"

enum {
    FORM_MAX = 256 * 1024, /* a head, with its path escaped once more */
    NAMES_MAX = HEAD_FIELDS_MAX,
};

static const int64_t CLOCKS_APART_S = 300;

struct signature {
    struct sigv4_claim claim;
    struct text form; /* what is signed, but for the digest of the body */
    struct text stamp;
    struct text body_hex; /* as the client says; empty = it does not */
    struct digest secrets[KEY_SECRETS_MAX];
    size_t secret_count;
};

bool signature_is_there(const struct exchange *x, const struct head *head)
{
    struct text value = head_value(head, TEXT("authorization"));
    return x->match.shape == SHAPE_BEDROCK && value.at && sigv4_is_claim(value);
}

static bool refuse(struct exchange *x, const char *type, const char *words)
{
    x->aws_error = type;
    return fault_set(exchange_fault(x), FAULT_BAD_KEY, "%s", words);
}

static bool has_other_key(const struct head *head)
{
    static const struct text names[] = {{"x-api-key", 9}, {"api-key", 7}, {"x-goog-api-key", 14}};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (head_value(head, names[i]).at)
            return true;
    return head_count(head, TEXT("authorization")) != 1;
}

/* A field that stands more than once, or not at all, cannot be signed here. */
static bool put_form(const struct head *head, const struct sigv4_claim *claim, struct buffer *out)
{
    struct text rest = claim->signed_names, name;
    size_t count = 0;
    if (!sigv4_put_begin(out, text_of(method_name(head->method)), head->path, head->query))
        return false;
    while (text_next(&rest, ';', &name)) {
        if (++count > NAMES_MAX || head_count(head, name) != 1)
            return false;
        sigv4_put_field(out, name, head_value(head, name));
    }
    sigv4_put_end(out, claim);
    return true;
}

/* A name may have colons in it: the first way to read it that there is. */
static bool find_secrets(struct exchange *x, struct signature *signature)
{
    struct text id = signature->claim.access_key;
    for (size_t at = 0; at < id.len && !signature->secret_count; at++)
        if (id.at[at] == ':')
            signature->secret_count = directory_find_secrets(
                x->snapshot->directory, text_head(id, at), text_from(id, at + 1),
                x->started_wall_us, signature->secrets, &x->key);
    return signature->secret_count > 0;
}

static bool is_of_now(const struct exchange *x, const struct signature *signature)
{
    int64_t apart = sigv4_time(signature->stamp) - x->started_wall_us / 1000000;
    return apart >= -CLOCKS_APART_S && apart <= CLOCKS_APART_S &&
           text_starts(signature->stamp, signature->claim.date);
}

static bool keep(struct exchange *x, const struct head *head, struct signature *signature)
{
    struct sigv4_claim *claim = &signature->claim;
    struct text value = arena_copy(&x->arena, head_value(head, TEXT("authorization")));
    struct text hashed = head_value(head, TEXT("x-amz-content-sha256"));
    struct buffer form;
    if (!sigv4_read_claim(value, claim) || !sigv4_signs(claim, TEXT("host")) ||
        !sigv4_signs(claim, TEXT("x-amz-date")) ||
        (hashed.at && !sigv4_signs(claim, TEXT("x-amz-content-sha256"))))
        return false;
    signature->stamp = arena_copy(&x->arena, head_value(head, TEXT("x-amz-date")));
    signature->body_hex = hashed.at ? arena_copy(&x->arena, hashed) : TEXT("");
    buffer_init(&form, FORM_MAX);
    bool good = put_form(head, claim, &form);
    signature->form = arena_copy(&x->arena, buffer_text(&form));
    buffer_done(&form);
    return good;
}

bool signature_find_key(struct exchange *x, const struct head *head)
{
    struct signature *signature = arena_new(&x->arena, sizeof(*signature));
    if (!x->snapshot->config->aws_signatures)
        return refuse(x, "UnrecognizedClientException",
                      "Signatures are not taken here: send a key as 'Authorization: Bearer KEY'.");
    if (has_other_key(head) || !keep(x, head, signature))
        return refuse(x, "IncompleteSignatureException",
                      "The signature is not complete, or does not sign what it must.");
    if (!text_equal(signature->claim.service, TEXT("bedrock")))
        return refuse(x, "InvalidSignatureException",
                      "Credential should be scoped to the service 'bedrock'.");
    if (!is_of_now(x, signature))
        return refuse(x, "InvalidSignatureException",
                      "The signature is not of now: the clocks differ by more than 5 minutes.");
    if (!find_secrets(x, signature)) {
        x->key = NULL;
        if (directory_is_unknown(x->snapshot->directory))
            return anonymous_refuse(x->snapshot->config, x->snapshot->directory, true,
                                    exchange_fault(x), "");
        return refuse(x, "UnrecognizedClientException",
                      "The access key id names no key: it is TENANT:KEY.");
    }
    x->signature = signature;
    return true;
}

void signature_forget(struct exchange *x)
{
    if (!x->signature)
        return;
    memory_wipe(x->signature->secrets, sizeof(x->signature->secrets));
    x->signature = NULL;
    x->key = NULL; /* whoever that was */
    x->tags = TEXT("");
}

bool signature_check(struct exchange *x)
{
    struct signature *signature = x->signature;
    char hex[HEX_BYTES], secret[HEX_BYTES];
    bool holds = false;
    x->signature = NULL;
    struct digest body = hash_sha256(buffer_text(&x->body));
    hash_hex(&body, hex);
    bool is_body = !signature->body_hex.len || text_equal(signature->body_hex, text_of(hex));
    for (size_t i = 0; i < signature->secret_count; i++) {
        hash_hex(&signature->secrets[i], secret);
        holds |= sigv4_holds(&signature->claim, signature->form, text_of(hex), signature->stamp,
                             text_of(secret));
        memory_wipe(secret, sizeof(secret));
    }
    if (holds && is_body) {
        memory_wipe(signature->secrets, sizeof(signature->secrets));
        return true;
    }
    x->signature = signature;
    signature_forget(x);
    return refuse(x, "InvalidSignatureException",
                  "The request signature we calculated does not match the signature you provided. "
                  "The secret access key is the key's SHA-256 in hexadecimal digits.");
}
