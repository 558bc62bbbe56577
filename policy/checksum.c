/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/checksum.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

enum { POLYNOMIAL = (int)0x82f63b78 };

static uint32_t table[256];
static pthread_once_t table_made = PTHREAD_ONCE_INIT;

static void make_table(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (crc & 1 ? (uint32_t)POLYNOMIAL : 0);
        table[i] = crc;
    }
}

uint32_t checksum_plain(uint32_t so_far, const void *data, size_t bytes)
{
    const uint8_t *at = data;
    uint32_t crc = ~so_far;
    pthread_once(&table_made, make_table);
    for (size_t i = 0; i < bytes; i++)
        crc = (crc >> 8) ^ table[(crc ^ at[i]) & 0xff];
    return ~crc;
}

#if defined(__x86_64__)

#include <nmmintrin.h>

static bool has_instruction(void)
{
    return __builtin_cpu_supports("sse4.2");
}

__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t so_far, const uint8_t *at,
                                                                 size_t bytes)
{
    uint64_t crc = (uint32_t)~so_far;
    for (; bytes >= 8; at += 8, bytes -= 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        crc = _mm_crc32_u64(crc, word);
    }
    for (; bytes; at++, bytes--)
        crc = _mm_crc32_u8((uint32_t)crc, *at);
    return ~(uint32_t)crc;
}

#elif defined(__aarch64__)

#include <sys/auxv.h>

static bool has_instruction(void)
{
    return getauxval(AT_HWCAP) & HWCAP_CRC32;
}

static uint32_t by_instruction(uint32_t so_far, const uint8_t *at, size_t bytes)
{
    uint32_t crc = ~so_far;
    for (; bytes >= 8; at += 8, bytes -= 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        __asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1" : "+r"(crc) : "r"(word));
    }
    for (; bytes; at++, bytes--)
        __asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1" : "+r"(crc) : "r"(*at));
    return ~crc;
}

#else

static bool has_instruction(void)
{
    return false;
}

static uint32_t by_instruction(uint32_t so_far, const uint8_t *at, size_t bytes)
{
    return checksum_plain(so_far, at, bytes);
}

#endif

uint32_t checksum(uint32_t so_far, const void *data, size_t bytes)
{
    return has_instruction() ? by_instruction(so_far, data, bytes)
                             : checksum_plain(so_far, data, bytes);
}
