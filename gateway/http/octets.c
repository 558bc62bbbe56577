/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/http/octets.h"

#define TARGET (OCTET_PATH | OCTET_QUERY)
#define NAME   (OCTET_TOKEN | TARGET | OCTET_CLEAN | OCTET_KEY)
#define HOST   (NAME | OCTET_HOST)
#define HEX    (HOST | OCTET_HEX)
#define DIGIT  (HEX | OCTET_DIGIT)
#define MARK   (OCTET_TOKEN | TARGET)

/* clang-format off */
const unsigned char octet_classes[256] = {
    ['0'] = DIGIT, ['1'] = DIGIT, ['2'] = DIGIT, ['3'] = DIGIT, ['4'] = DIGIT,
    ['5'] = DIGIT, ['6'] = DIGIT, ['7'] = DIGIT, ['8'] = DIGIT, ['9'] = DIGIT,
    ['A'] = HEX,  ['B'] = HEX,  ['C'] = HEX,  ['D'] = HEX,  ['E'] = HEX,  ['F'] = HEX,
    ['a'] = HEX,  ['b'] = HEX,  ['c'] = HEX,  ['d'] = HEX,  ['e'] = HEX,  ['f'] = HEX,
    ['G'] = HOST, ['H'] = HOST, ['I'] = HOST, ['J'] = HOST, ['K'] = HOST, ['L'] = HOST, ['M'] = HOST,
    ['N'] = HOST, ['O'] = HOST, ['P'] = HOST, ['Q'] = HOST, ['R'] = HOST, ['S'] = HOST, ['T'] = HOST,
    ['U'] = HOST, ['V'] = HOST, ['W'] = HOST, ['X'] = HOST, ['Y'] = HOST, ['Z'] = HOST,
    ['g'] = HOST, ['h'] = HOST, ['i'] = HOST, ['j'] = HOST, ['k'] = HOST, ['l'] = HOST, ['m'] = HOST,
    ['n'] = HOST, ['o'] = HOST, ['p'] = HOST, ['q'] = HOST, ['r'] = HOST, ['s'] = HOST, ['t'] = HOST,
    ['u'] = HOST, ['v'] = HOST, ['w'] = HOST, ['x'] = HOST, ['y'] = HOST, ['z'] = HOST,
    ['-'] = HOST, ['.'] = HOST, ['_'] = HOST,
    ['~'] = NAME, ['+'] = NAME,
    ['!'] = MARK, ['$'] = MARK, ['&'] = MARK, ['\''] = MARK, ['*'] = MARK, ['%'] = MARK,
    ['('] = TARGET, [')'] = TARGET, [';'] = TARGET,
    [','] = TARGET | OCTET_CLEAN, ['@'] = TARGET | OCTET_CLEAN,
    ['='] = TARGET | OCTET_CLEAN | OCTET_KEY, [':'] = TARGET | OCTET_CLEAN | OCTET_KEY,
    ['/'] = TARGET | OCTET_KEY,
    /* Brackets are not in RFC 3986's query, but browsers and SDKs send ?include[]= as it is. */
    ['?'] = OCTET_QUERY, ['['] = OCTET_QUERY, [']'] = OCTET_QUERY,
    ['#'] = OCTET_TOKEN, ['^'] = OCTET_TOKEN, ['`'] = OCTET_TOKEN, ['|'] = OCTET_TOKEN,
};
/* clang-format on */
