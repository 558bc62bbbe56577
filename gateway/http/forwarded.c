/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/http/forwarded.h"

#include <arpa/inet.h>
#include <string.h>

/* ------------------------------------------------------------------------------------ addresses */

static bool read_address(struct text text, unsigned char address[16])
{
    char z[FORWARDED_PEER_BYTES];
    if (text.len == 0 || text.len >= sizeof(z) || memchr(text.at, '\0', text.len))
        return false;
    memcpy(z, text.at, text.len);
    z[text.len] = '\0';
    if (inet_pton(AF_INET6, z, address) == 1)
        return true;
    memset(address, 0, 10);
    memset(address + 10, 0xff, 2);
    return inet_pton(AF_INET, z, address + 12) == 1;
}

static bool same_bits(const unsigned char *a, const unsigned char *b, unsigned bits)
{
    unsigned bytes = bits / 8, rest = bits % 8;
    return memcmp(a, b, bytes) == 0 && (rest == 0 || (a[bytes] ^ b[bytes]) >> (8 - rest) == 0);
}

bool network_read(struct text text, struct network *network)
{
    static const unsigned char zeros[16];
    size_t slash = text_find_byte(text, '/');
    struct text address = text_head(text, slash == SIZE_MAX ? text.len : slash);
    if (!read_address(address, network->address))
        return false;
    bool is_v4 = text_find_byte(address, ':') == SIZE_MAX;
    uint64_t bits = is_v4 ? 32 : 128;
    if (slash != SIZE_MAX && !text_number(text_from(text, slash + 1), bits, &bits))
        return false;
    network->bits = (unsigned)bits + (is_v4 ? 96 : 0);
    unsigned char rest[16];
    memcpy(rest, network->address, sizeof(rest));
    for (unsigned bit = 0; bit < network->bits; bit++)
        rest[bit / 8] &= (unsigned char)~(0x80u >> bit % 8);
    return memcmp(rest, zeros, sizeof(rest)) == 0;
}

static bool have_address(const struct networks *networks, const unsigned char address[16])
{
    for (size_t i = 0; i < networks->count; i++)
        if (same_bits(address, networks->at[i].address, networks->at[i].bits))
            return true;
    return false;
}

bool networks_have(const struct networks *networks, struct text peer)
{
    unsigned char address[16];
    if (text_equal(peer, TEXT("unix")))
        return networks->has_unix;
    return read_address(peer, address) && have_address(networks, address);
}

/* ----------------------------------------------------------------------------------- the headers
 */

/* The last member of a list that commas part; <list> loses it. */
static bool take_last(struct text *list, struct text *member)
{
    if (!list->at)
        return false;
    size_t at = list->len;
    while (at > 0 && list->at[at - 1] != ',')
        at--;
    *member = text_trim(text_from(*list, at));
    *list = at ? text_head(*list, at - 1) : (struct text){NULL, 0};
    return true;
}

/* Does a comma or a semicolon stand in a quoted string, or has one no end? Nothing that is looked
 * for has them, and what others put there - the Host of a client - must not be taken for a hop. */
static bool is_tricky(struct text value)
{
    bool quoted = false;
    for (size_t i = 0; i < value.len; i++) {
        if (value.at[i] == '"')
            quoted = !quoted;
        else if (quoted && strchr(",;\\", value.at[i]))
            return true;
    }
    return quoted;
}

/* Of one member of Forwarded, "for=192.0.2.60;proto=http", the value of <name>; quotes are taken
 * off. */
static struct text forwarded_value(struct text member, struct text name)
{
    struct text pair;
    while (text_next(&member, ';', &pair)) {
        size_t equals = text_find_byte(pair, '=');
        if (equals == SIZE_MAX || !text_equal_nocase(text_trim(text_head(pair, equals)), name))
            continue;
        struct text value = text_trim(text_from(pair, equals + 1));
        bool quoted = value.len >= 2 && value.at[0] == '"' && value.at[value.len - 1] == '"';
        return quoted ? (struct text){value.at + 1, value.len - 2} : value;
    }
    return (struct text){NULL, 0};
}

/* "192.0.2.60", "192.0.2.60:1234", "2001:db8::1" or "[2001:db8::1]:1234", without its port. */
static struct text without_port(struct text hop)
{
    size_t colon = text_find_byte(hop, ':');
    if (hop.len && hop.at[0] == '[') {
        size_t end = text_find_byte(hop, ']');
        return end == SIZE_MAX ? hop : (struct text){hop.at + 1, end - 1};
    }
    bool one = colon != SIZE_MAX && text_find_byte(text_from(hop, colon + 1), ':') == SIZE_MAX;
    return one ? text_head(hop, colon) : hop;
}

bool forwarded_client(const struct head *head, const struct networks *trusted,
                      char client[FORWARDED_PEER_BYTES])
{
    const struct text old = TEXT("x-forwarded-for"), new = TEXT("forwarded");
    bool is_old = head_value(head, old).at != NULL, found = false;
    unsigned hops = 0;
    for (size_t i = head->field_count; i-- > 0;) {
        struct text list = head->fields[i].value, member;
        if (!text_equal_nocase(head->fields[i].name, is_old ? old : new))
            continue;
        if (!is_old && is_tricky(list))
            return found;
        while (take_last(&list, &member)) {
            unsigned char address[16];
            struct text hop = without_port(is_old ? member : forwarded_value(member, TEXT("for")));
            if (++hops > FORWARDED_HOPS_MAX || !read_address(hop, address))
                return found;
            memcpy(client, hop.at, hop.len);
            client[hop.len] = '\0';
            found = true;
            if (!have_address(trusted, address))
                return true;
        }
    }
    return found;
}

bool forwarded_https(const struct head *head)
{
    struct text list = head_value(head, TEXT("x-forwarded-proto")), last;
    if (list.at)
        return take_last(&list, &last) && text_equal_nocase(last, TEXT("https"));
    list = (struct text){NULL, 0};
    for (size_t i = 0; i < head->field_count; i++)
        if (text_equal_nocase(head->fields[i].name, TEXT("forwarded")))
            list = head->fields[i].value;
    return !is_tricky(list) && take_last(&list, &last) &&
           text_equal_nocase(forwarded_value(last, TEXT("proto")), TEXT("https"));
}
