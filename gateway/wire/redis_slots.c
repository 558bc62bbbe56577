/* SPDX-License-Identifier: Apache-2.0 */
/*
 * redis_slots - the words of the Cluster specification: slots, redirections, CLUSTER SLOTS.
 */
#include "gateway/wire/redis_inside.h"

/* CRC-16/XMODEM, by halves of a byte. */
static uint16_t crc16(struct text t)
{
    static const uint16_t table[16] = {0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5,
                                       0x60c6, 0x70e7, 0x8108, 0x9129, 0xa14a, 0xb16b,
                                       0xc18c, 0xd1ad, 0xe1ce, 0xf1ef};
    uint16_t crc = 0;
    for (size_t i = 0; i < t.len; i++) {
        uint8_t byte = (uint8_t)t.at[i];
        crc = (uint16_t)(crc << 4 ^ table[(crc >> 12 ^ byte >> 4) & 15]);
        crc = (uint16_t)(crc << 4 ^ table[(crc >> 12 ^ byte) & 15]);
    }
    return crc;
}

uint16_t redis_slot(struct text key)
{
    size_t open = text_find_byte(key, '{');
    if (open != SIZE_MAX) {
        struct text tag = text_from(key, open + 1);
        size_t close = text_find_byte(tag, '}');
        if (close != SIZE_MAX && close > 0)
            key = text_head(tag, close);
    }
    return crc16(key) % REDIS_SLOTS;
}

/* "host:port" as servers say it: an IPv6 address has no brackets. */
static bool read_told(struct text from, struct redis_place *place)
{
    size_t colon = from.len;
    while (colon > 0 && from.at[colon - 1] != ':')
        colon--;
    uint64_t port;
    return colon > 0 && text_number(text_from(from, colon), UINT16_MAX, &port) &&
           redis_place_told(text_head(from, colon - 1), (int64_t)port, place);
}

bool redis_redirect_read(const struct redis_reply *reply, struct redis_redirect *redirect)
{
    struct text rest = redis_text(reply), word, slot, to;
    uint64_t number;
    *redirect = (struct redis_redirect){.is_ask = redis_is_error(reply, "ASK")};
    if (!redirect->is_ask && !redis_is_error(reply, "MOVED"))
        return false;
    if (!text_next(&rest, ' ', &word) || !text_next(&rest, ' ', &slot) ||
        !text_next(&rest, ' ', &to) || !text_number(slot, REDIS_SLOTS - 1, &number))
        return false;
    redirect->slot = (uint16_t)number;
    return read_told(to, &redirect->place);
}

bool redis_range_read(const struct redis_reply *row, struct redis_range *range)
{
    const struct redis_reply *from = redis_item(row, 0), *to = redis_item(row, 1);
    const struct redis_reply *master = redis_item(row, 2);
    if (from->kind != REDIS_NUMBER || to->kind != REDIS_NUMBER || from->number < 0 ||
        to->number < from->number || to->number >= REDIS_SLOTS)
        return false;
    range->from = (uint16_t)from->number;
    range->to = (uint16_t)to->number;
    struct text host = redis_text(redis_item(master, 0));
    if (text_equal(host, TEXT("?"))) /* it does not know it itself */
        return false;
    return redis_place_told(host, redis_number(redis_item(master, 1)), &range->place);
}
