/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Secrets by the form that their issuers gave them, so that they can be found: prefixes of API
 * keys, JSON Web Tokens (RFC 7519), PEM private keys (RFC 7468), passwords in URLs (RFC
 * 3986 3.2.1).
 */

#include "policy/guard_inside.h"

enum letters {
    LETTERS_UPPER = 1,
    LETTERS_LOWER = 2,
    LETTERS_DIGIT = 4,
    LETTERS_DASH = 8,   /* - */
    LETTERS_UNDER = 16, /* _ */
    LETTERS_DOT = 32,
    LETTERS_ALNUM = LETTERS_UPPER | LETTERS_LOWER | LETTERS_DIGIT,
    LETTERS_URL = LETTERS_ALNUM | LETTERS_DASH | LETTERS_UNDER,
};

/* A prefix, and at least so many letters behind it. All but the exact ones need a digit among
 * them, so that no word is taken for one. */
struct form {
    const char *prefix;
    unsigned letters;
    unsigned least, most; /* most 0 = any number */
};

/* clang-format off */
static const struct form forms[] = {
    {"sk-ant-", LETTERS_URL, 20, 0},
    {"sk-proj-", LETTERS_URL, 20, 0},
    {"sk-svcacct-", LETTERS_URL, 20, 0},
    {"sk-admin-", LETTERS_URL, 20, 0},
    {"sk-or-v1-", LETTERS_ALNUM, 32, 0},
    {"sk-lf-", LETTERS_URL, 20, 0},
    {"sk-", LETTERS_ALNUM, 20, 0},
    {"sk_live_", LETTERS_ALNUM, 16, 0},
    {"sk_test_", LETTERS_ALNUM, 16, 0},
    {"rk_live_", LETTERS_ALNUM, 16, 0},
    {"rk_test_", LETTERS_ALNUM, 16, 0},
    {"whsec_", LETTERS_ALNUM, 24, 0},
    {"AKIA", LETTERS_UPPER | LETTERS_DIGIT, 16, 16},
    {"ASIA", LETTERS_UPPER | LETTERS_DIGIT, 16, 16},
    {"ABIA", LETTERS_UPPER | LETTERS_DIGIT, 16, 16},
    {"ghp_", LETTERS_ALNUM, 36, 0},
    {"gho_", LETTERS_ALNUM, 36, 0},
    {"ghu_", LETTERS_ALNUM, 36, 0},
    {"ghs_", LETTERS_ALNUM, 36, 0},
    {"ghr_", LETTERS_ALNUM, 36, 0},
    {"github_pat_", LETTERS_ALNUM | LETTERS_UNDER, 40, 0},
    {"glpat-", LETTERS_URL, 20, 0},
    {"gldt-", LETTERS_URL, 20, 0},
    {"xoxb-", LETTERS_ALNUM | LETTERS_DASH, 10, 0},
    {"xoxp-", LETTERS_ALNUM | LETTERS_DASH, 10, 0},
    {"xoxa-", LETTERS_ALNUM | LETTERS_DASH, 10, 0},
    {"xoxr-", LETTERS_ALNUM | LETTERS_DASH, 10, 0},
    {"xoxs-", LETTERS_ALNUM | LETTERS_DASH, 10, 0},
    {"xoxe.", LETTERS_ALNUM | LETTERS_DASH | LETTERS_DOT, 20, 0},
    {"xapp-", LETTERS_ALNUM | LETTERS_DASH, 20, 0},
    {"AIza", LETTERS_URL, 35, 35},
    {"ya29.", LETTERS_URL | LETTERS_DOT, 20, 0},
    {"GOCSPX-", LETTERS_URL, 20, 0},
    {"hf_", LETTERS_ALNUM, 30, 0},
    {"gsk_", LETTERS_ALNUM, 40, 0},
    {"r8_", LETTERS_ALNUM, 30, 0},
    {"xai-", LETTERS_ALNUM, 40, 0},
    {"pplx-", LETTERS_ALNUM, 32, 0},
    {"nvapi-", LETTERS_URL, 40, 0},
    {"npm_", LETTERS_ALNUM, 36, 0},
    {"pypi-AgE", LETTERS_URL, 50, 0},
    {"dop_v1_", LETTERS_LOWER | LETTERS_DIGIT, 64, 64},
    {"shpat_", LETTERS_ALNUM, 32, 32},
    {"shpss_", LETTERS_ALNUM, 32, 32},
    {"SG.", LETTERS_URL | LETTERS_DOT, 60, 0},
    {"key-", LETTERS_LOWER | LETTERS_DIGIT, 32, 32},
    {"lin_api_", LETTERS_ALNUM, 32, 0},
    {"dckr_pat_", LETTERS_URL, 20, 0},
    {"hvs.", LETTERS_URL, 24, 0},
    {"AGE-SECRET-KEY-1", LETTERS_UPPER | LETTERS_DIGIT, 58, 58},
    {"eyJ", LETTERS_URL | LETTERS_DOT, 30, 0},
    {"-----BEGIN ", 0, 0, 0},
    {"://", 0, 0, 0},
};
/* clang-format on */

enum {
    FORMS = sizeof(forms) / sizeof(forms[0]),
    PEM_MAX = 16 * 1024,
    LINE_MAX_BYTES = 60,
    PASSWORD_MAX = 256,
};

static unsigned letter_of(char c)
{
    if (c >= '0' && c <= '9')
        return LETTERS_DIGIT;
    if (c >= 'A' && c <= 'Z')
        return LETTERS_UPPER;
    if (c >= 'a' && c <= 'z')
        return LETTERS_LOWER;
    return c == '-' ? LETTERS_DASH : c == '_' ? LETTERS_UNDER : c == '.' ? LETTERS_DOT : 0;
}

static size_t run_of(struct text text, unsigned letters, bool *digit)
{
    size_t len = 0;
    for (; len < text.len && (letter_of(text.at[len]) & letters); len++)
        *digit = *digit || letter_of(text.at[len]) == LETTERS_DIGIT;
    return len;
}

/* header.payload.signature, the first two of them JSON objects in base64url; the signature may be
 * empty only with the dot. */
static size_t token_length(struct text text)
{
    bool digit = false;
    size_t header = run_of(text, LETTERS_URL, &digit);
    struct text rest = text_from(text, header);
    if (header < 12 || !text_starts(rest, TEXT(".eyJ")))
        return 0;
    size_t payload = 1 + run_of(text_from(rest, 1), LETTERS_URL, &digit);
    rest = text_from(rest, payload);
    if (payload < 12 || rest.len == 0 || rest.at[0] != '.')
        return 0;
    return header + payload + 1 + run_of(text_from(rest, 1), LETTERS_URL, &digit);
}

/* To the end line, or as far as what stands there can be one. */
static size_t pem_length(struct text text)
{
    struct text most = text_head(text, PEM_MAX);
    size_t kind = text_find(text_head(text, LINE_MAX_BYTES), TEXT("PRIVATE KEY"));
    if (kind == SIZE_MAX)
        return 0;
    size_t end = text_find(most, TEXT("-----END "));
    if (end != SIZE_MAX) {
        struct text behind = text_from(most, end + 9);
        size_t dashes = text_find(behind, TEXT("-----"));
        return end + 9 + (dashes == SIZE_MAX || dashes > 60 ? 0 : dashes + 5);
    }
    size_t len = kind + 11;
    while (len < most.len && (letter_of(most.at[len]) || strchr("+/=\n\r :,\\", most.at[len])))
        len++;
    return len;
}

/* Behind "://": user:password@ */
static size_t login_length(struct text text)
{
    size_t colon = 0, len = 0;
    for (; len < text.len && len < PASSWORD_MAX; len++) {
        char c = text.at[len];
        if (c == '@')
            return colon && len > colon + 1 ? len : 0;
        if (c == ':' && !colon)
            colon = len;
        else if (c <= ' ' || strchr("/?#\"<>[]{}", c))
            return 0;
    }
    return 0;
}

static bool begins_word(struct text text, size_t at)
{
    if (at == 0)
        return true;
    unsigned last = letter_of(text.at[at - 1]);
    return !(last & (LETTERS_ALNUM | LETTERS_UNDER)) && (unsigned char)text.at[at - 1] < 0x80;
}

static bool form_stands(const struct form *form, struct text text, size_t at, struct span *span)
{
    struct text here = text_from(text, at);
    size_t prefix = strlen(form->prefix);
    if (!text_starts(here, (struct text){form->prefix, prefix}))
        return false;
    *span = (struct span){at, at};
    if (form->prefix[0] == ':') {
        size_t login = login_length(text_from(here, prefix));
        *span = (struct span){at + prefix, at + prefix + login};
    } else if (form->prefix[0] == '-') {
        span->end += pem_length(here);
    } else if (form->prefix[0] == 'e') {
        span->end += begins_word(text, at) ? token_length(here) : 0;
    } else if (begins_word(text, at)) {
        bool digit = false;
        size_t run = run_of(text_from(here, prefix), form->letters, &digit);
        bool fits = run >= form->least && (form->most == 0 || run <= form->most);
        span->end += fits && (digit || form->most) ? prefix + run : 0;
    }
    return span->end > span->begin;
}

/* Letters with which a form begins; most characters of a text do not. */
static bool is_start(char c)
{
    switch (c) {
    case 's':
    case 'r':
    case 'w':
    case 'A':
    case 'g':
    case 'x':
    case 'y':
    case 'G':
    case 'h':
    case 'p':
    case 'n':
    case 'd':
    case 'S':
    case 'k':
    case 'l':
    case 'e':
    case '-':
    case ':':
        return true;
    default:
        return false;
    }
}

bool secret_find(const struct hunt *hunt, struct span *span)
{
    struct text text = hunt->text;
    for (size_t at = hunt->from; at < hunt->until; at++) {
        char c = text.at[at];
        if (!is_start(c) || (c != '-' && c != ':' && !begins_word(text, at)))
            continue;
        for (size_t i = 0; i < FORMS; i++)
            if (forms[i].prefix[0] == c && form_stands(&forms[i], text, at, span))
                return true;
    }
    return false;
}
