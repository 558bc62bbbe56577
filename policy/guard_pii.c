/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What tells of a person, and what must stay secret, by its form. Where a form has a check digit
 * (cards: ISO/IEC 7812, IBAN: ISO 13616) it is checked, so that few other numbers are taken for it.
 */

#include <arpa/inet.h>

#include "policy/guard_inside.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

static bool is_plain(char c)
{
    return is_digit(c) || is_letter(c);
}

/* Part of a word, also beyond ASCII. */
static bool is_wordy(char c)
{
    return is_plain(c) || c == '_' || (unsigned char)c >= 0x80;
}

static char at_or_zero(struct text text, size_t at)
{
    return at < text.len ? text.at[at] : '\0';
}

static char before(struct text text, size_t at)
{
    return at > 0 ? text.at[at - 1] : '\0';
}

/* -------------------------------------------------------------------------------- e-mail */

enum { LOCAL_MAX = 64, DOMAIN_MAX = 253, LABEL_MAX = 63 };

static bool is_local(char c)
{
    return is_plain(c) || (c && strchr("._%+'-", c)) || (unsigned char)c >= 0x80;
}

/* The length of the domain at the front of <text>, with at least one dot and letters behind the
 * last; 0 when there is none. */
static size_t domain_length(struct text text)
{
    size_t end = 0, label = 0, good = 0;
    for (; end < text.len && end <= DOMAIN_MAX; end++) {
        char c = text.at[end];
        if (c == '.' && (end == label || !is_plain(at_or_zero(text, end + 1))))
            break;
        if (c == '.')
            label = end + 1;
        else if (!is_plain(c) && c != '-' && (unsigned char)c < 0x80)
            break;
    }
    while (end > 0 && text.at[end - 1] == '-')
        end--;
    size_t letters = 0;
    for (size_t i = label; i < end; i++)
        letters += is_letter(text.at[i]) || (unsigned char)text.at[i] >= 0x80;
    good = label > 0 && letters >= 2 && end - label <= LABEL_MAX ? end : 0;
    return good;
}

static bool email_find(const struct hunt *hunt, struct span *span)
{
    struct text text = hunt->text;
    for (size_t from = hunt->from; from < text.len;) {
        size_t sign = text_find_byte(text_from(text, from), '@');
        if (sign == SIZE_MAX || from + sign >= hunt->until + LOCAL_MAX)
            return false;
        sign += from;
        from = sign + 1;
        size_t begin = sign;
        while (begin > hunt->from && sign - begin < LOCAL_MAX && is_local(text.at[begin - 1]))
            begin--;
        while (begin < sign && strchr(".'-", text.at[begin]))
            begin++;
        size_t domain = domain_length(text_from(text, sign + 1));
        if (begin == sign || domain == 0 || begin >= hunt->until)
            continue;
        *span = (struct span){begin, sign + 1 + domain};
        return true;
    }
    return false;
}

/* ------------------------------------------------------------------------------ numbers */

/* Digits in groups, as people write long numbers. */
struct number {
    size_t begin, end;
    unsigned digits, groups;
    unsigned lengths[12]; /* of the groups */
    char joints[12];      /* what stands before each group but the first: ' ', '-', '.', '/' */
    char figures[24];
};

enum { GROUPS_MAX = 12, FIGURES_MAX = 24 };

/* Read groups of digits with one of <signs> between them, from <at> on; each but the first has at
 * least <least> digits. */
static void read_number(struct text text, size_t at, const char *signs, unsigned least,
                        struct number *number)
{
    number->begin = number->end = at;
    number->digits = number->groups = 0;
    while (number->groups < GROUPS_MAX && number->digits < FIGURES_MAX) {
        unsigned group = 0;
        while (is_digit(at_or_zero(text, at)) && number->digits < FIGURES_MAX) {
            number->figures[number->digits++] = text.at[at++];
            group++;
        }
        if (group == 0 || (number->groups && group < least)) {
            number->digits -= group;
            break;
        }
        number->lengths[number->groups++] = group;
        number->end = at;
        char sign = at_or_zero(text, at);
        if (!sign || !strchr(signs, sign) || number->groups == GROUPS_MAX)
            break;
        number->joints[number->groups] = sign;
        at++;
    }
}

static bool has_luhn(const char *figures, unsigned count)
{
    unsigned sum = 0;
    for (unsigned i = 0; i < count; i++) {
        unsigned digit = (unsigned)(figures[count - 1 - i] - '0') << (i & 1);
        sum += digit > 9 ? digit - 9 : digit;
    }
    return sum % 10 == 0;
}

/* Does a card whose number begins like this have so many digits? */
static bool is_card_length(const char *figures, unsigned count)
{
    unsigned two = (unsigned)(figures[0] - '0') * 10 + (unsigned)(figures[1] - '0');
    if (figures[0] == '4')
        return count == 13 || count == 16 || count == 19;
    if (two == 34 || two == 37)
        return count == 15;
    if (two == 30 || two == 36 || two == 38 || two == 39)
        return count >= 14 && count <= 19;
    if ((two >= 51 && two <= 55) || (two >= 22 && two <= 27))
        return count == 16;
    return (two == 35 || (two >= 50 && two <= 69)) && count >= 16 && count <= 19;
}

static size_t card_length(struct text text, size_t at)
{
    struct number number = {0};
    if (text.at[at] < '2' || text.at[at] > '6')
        return 0;
    read_number(text, at, " -", 3, &number);
    size_t end = at;
    unsigned digits = 0;
    size_t best = 0;
    for (unsigned i = 0; i < number.groups; i++) {
        digits += number.lengths[i];
        end += number.lengths[i] + (i > 0);
        if (digits >= 13 && digits <= 19 && is_card_length(number.figures, digits) &&
            has_luhn(number.figures, digits) && !is_wordy(at_or_zero(text, end)))
            best = end - at;
    }
    return best;
}

/* ---------------------------------------------------------------------------------- phone */

static bool is_american(const char *figures)
{
    return figures[0] >= '2' && figures[3] >= '2';
}

/* 415-555-2671, 1 415 555 2671 */
static bool is_american_number(const struct number *n)
{
    unsigned first = n->groups == 4 && n->lengths[0] == 1 && n->figures[0] == '1';
    return n->groups == 3 + first && n->lengths[first] == 3 && n->lengths[first + 1] == 3 &&
           n->lengths[first + 2] == 4 && n->joints[first + 2] != '/' &&
           is_american(n->figures + first);
}

/* 030 1234567, 0151/23456789, 01 23 45 67 89, 00 49 30 1234567: a zero and a sign in it */
static bool is_trunk_number(const struct number *n)
{
    bool abroad = n->figures[0] == '0' && n->figures[1] == '0';
    if (n->figures[0] != '0' || n->groups < 2 || (abroad && n->figures[2] == '0'))
        return false;
    for (unsigned i = 2; i < n->groups; i++)
        if (n->joints[i] != n->joints[2] || n->lengths[i] < 2 ||
            (i > 2 && n->joints[i] != n->joints[i - 1]))
            return false;
    bool dotted = n->joints[1] == '.' && n->groups < 4; /* 01.02.2024 is a day */
    return n->lengths[0] >= 2 && n->lengths[0] <= 5 && n->lengths[1] >= 2 && !dotted &&
           n->digits >= (abroad ? 11U : 9U) && n->digits <= (abroad ? 15U : 12U);
}

/* +49 (0)30 1234567, +1-415-555-2671, +14155552671: E.164 with signs */
static size_t plus_length(struct text text, size_t at)
{
    size_t i = at + 1, end = at;
    unsigned digits = 0;
    if (!is_digit(at_or_zero(text, i)) || text.at[i] == '0')
        return 0;
    for (bool joint = false; i < text.len && digits <= 15; i++) {
        char c = text.at[i];
        if (is_digit(c)) {
            digits++;
            end = i + 1;
            joint = false;
            continue;
        }
        /* A bracket may follow a sign, and a sign a bracket; two signs end it. */
        bool bracket = c == '(' || c == ')';
        if (!bracket && (joint || !strchr(" -./", c) || !c))
            break;
        joint = joint || !bracket;
        if (c == ')')
            joint = false;
    }
    return digits >= 8 && digits <= 15 && !is_wordy(at_or_zero(text, end)) ? end - at : 0;
}

/* (415) 555-2671, (030) 1234567 */
static size_t bracket_length(struct text text, size_t at)
{
    struct number area = {0}, rest = {0};
    read_number(text, at + 1, "", 1, &area);
    if (area.digits < 3 || area.digits > 5 || at_or_zero(text, area.end) != ')')
        return 0;
    size_t next = area.end + 1;
    if (at_or_zero(text, next) == ' ' || at_or_zero(text, next) == '-')
        next++;
    read_number(text, next, " -.", 2, &rest);
    bool american = area.digits == 3 && area.figures[0] >= '2' && rest.groups == 2 &&
                    rest.lengths[0] == 3 && rest.lengths[1] == 4 && rest.figures[0] >= '2';
    bool trunk = area.figures[0] == '0' && rest.digits >= 5 && rest.digits <= 9;
    return (american || trunk) && !is_wordy(at_or_zero(text, rest.end)) ? rest.end - at : 0;
}

static void drop_group(struct number *n)
{
    n->groups--;
    n->digits -= n->lengths[n->groups];
    n->end -= n->lengths[n->groups] + 1;
}

static size_t phone_length(struct text text, size_t at)
{
    char first = text.at[at];
    if (first == '+')
        return plus_length(text, at);
    if (first == '(')
        return bracket_length(text, at);
    struct number number = {0};
    read_number(text, at, " -./", 2, &number);
    for (; number.groups > 1; drop_group(&number)) {
        char next = at_or_zero(text, number.end);
        bool ends = !is_wordy(next) && (!next || !strchr(":(", next));
        if (ends && (is_american_number(&number) || is_trunk_number(&number)))
            return number.end - at;
        if (number.joints[number.groups - 1] != ' ') /* only a space may part two numbers */
            break;
    }
    return 0;
}

/* ----------------------------------------------------------------------------------- IBAN */

/* Countries and the lengths of their numbers (SWIFT, IBAN registry). */
static const char ibans[] =
    "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BI27BR29BY28CH21CR22CY28CZ24DE22DJ27DK18DO28EE20EG29ES24"
    "FI18FK18FO18FR27GB22GE22GI23GL18GR27GT28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32LI21"
    "LT20LU20LV21LY25MC27MD24ME22MK19MN20MR27MT31MU30NI28NL18NO15OM23PK24PL28PS29PT25QA29RO24RS22"
    "RU33SA24SC31SD18SE24SI19SK24SM27SO23ST25SV28TL23TN24TR26UA29VA22VG24XK20YE30";

static unsigned iban_digits(char first, char second)
{
    for (size_t i = 0; ibans[i]; i += 4)
        if (ibans[i] == (first & ~0x20) && ibans[i + 1] == (second & ~0x20))
            return (unsigned)(ibans[i + 2] - '0') * 10 + (unsigned)(ibans[i + 3] - '0');
    return 0;
}

/* The remainder of the number by 97, its first four characters at the end (ISO 13616). */
static bool has_mod97(const char *iban, unsigned count)
{
    unsigned rest = 0;
    for (unsigned i = 0; i < count; i++) {
        char c = iban[(i + 4) % count];
        unsigned value = is_digit(c) ? (unsigned)(c - '0') : (unsigned)((c & ~0x20) - 'A') + 10;
        rest = (rest * (value > 9 ? 100 : 10) + value) % 97;
    }
    return rest == 1;
}

static size_t iban_length(struct text text, size_t at)
{
    char iban[34] = "";
    if (!is_letter(at_or_zero(text, at + 1)) || !is_digit(at_or_zero(text, at + 2)))
        return 0;
    unsigned count = iban_digits(text.at[at], text.at[at + 1]), have = 0;
    size_t end = at;
    while (have < count && end < text.len) {
        char c = text.at[end];
        if (is_plain(c))
            iban[have++] = c;
        else if ((c != ' ' && c != '-') || !is_plain(before(text, end)))
            return 0;
        end++;
    }
    bool good = count && have == count && is_digit(iban[3]) && has_mod97(iban, count);
    return good && !is_wordy(at_or_zero(text, end)) ? end - at : 0;
}

/* ------------------------------------------------------------------------------------- IP */

static size_t ip_length(struct text text, size_t at)
{
    char token[INET6_ADDRSTRLEN];
    unsigned char address[16];
    size_t len = 0, colons = 0;
    while (len < sizeof(token) - 1 && at + len < text.len) {
        char c = text.at[at + len];
        if (!is_digit(c) && !((c | 0x20) >= 'a' && (c | 0x20) <= 'f') && c != ':' && c != '.')
            break;
        colons += c == ':';
        token[len++] = c;
    }
    if (is_wordy(at_or_zero(text, at + len)))
        return 0;
    while (len > 0 && token[len - 1] == '.')
        len--;       /* a sentence's end */
    if (colons == 1) /* a port */
        len = (size_t)((char *)memchr(token, ':', len) - token);
    token[len] = '\0';
    if (colons > 1)
        return len > 4 && inet_pton(AF_INET6, token, address) == 1 ? len : 0;
    return len >= 7 && inet_pton(AF_INET, token, address) == 1 ? len : 0;
}

/* ------------------------------------------------------------------------------- together */

static bool may_begin(enum entity entity, char c)
{
    switch (entity) {
    case ENTITY_PHONE:
        return is_digit(c) || c == '+' || c == '(';
    case ENTITY_CARD:
        return is_digit(c);
    case ENTITY_IBAN:
        return is_letter(c);
    case ENTITY_IP:
        return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f') || c == ':';
    case ENTITY_EMAIL:
    case ENTITY_SECRET:
    case ENTITIES:
        break;
    }
    return false;
}

/* Nothing of the kind begins in the middle of a word or of a number. */
static bool is_inside(enum entity entity, struct text text, size_t at)
{
    char last = before(text, at);
    if (is_wordy(last))
        return true;
    if (entity == ENTITY_IP)
        return last == '.' || last == ':';
    if (entity == ENTITY_PHONE && is_digit(text.at[at]))
        return (last && strchr("+(", last)) ||
               (at > 1 && last && strchr("-./", last) && is_wordy(text.at[at - 2]));
    return false;
}

static size_t length_of(enum entity entity, struct text text, size_t at)
{
    if (entity == ENTITY_PHONE)
        return phone_length(text, at);
    if (entity == ENTITY_CARD)
        return card_length(text, at);
    return entity == ENTITY_IBAN ? iban_length(text, at) : ip_length(text, at);
}

bool pii_find(enum entity entity, const struct hunt *hunt, struct span *span)
{
    if (entity == ENTITY_EMAIL)
        return email_find(hunt, span);
    if (entity == ENTITY_SECRET)
        return secret_find(hunt, span);
    for (size_t at = hunt->from; at < hunt->until; at++) {
        if (!may_begin(entity, hunt->text.at[at]) || is_inside(entity, hunt->text, at))
            continue;
        size_t length = length_of(entity, hunt->text, at);
        if (length == 0)
            continue;
        *span = (struct span){at, at + length};
        return true;
    }
    return false;
}

enum entity entity_find(struct text name)
{
    static const char *const names[ENTITIES] = {
        [ENTITY_EMAIL] = "email", [ENTITY_PHONE] = "phone",   [ENTITY_CARD] = "card",
        [ENTITY_IBAN] = "iban",   [ENTITY_SECRET] = "secret", [ENTITY_IP] = "ip",
    };
    enum entity entity = ENTITY_EMAIL;
    while (entity < ENTITIES && !text_equal(name, text_of(names[entity])))
        entity++;
    return entity;
}
