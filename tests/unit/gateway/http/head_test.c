/* SPDX-License-Identifier: Apache-2.0 */

/* Every head is read whole and cut at every byte: the outcome must be the same. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/http/head.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

enum { MAX_BYTES = 16384 };

#define BYTES(literal) (literal), sizeof(literal) - 1
#define LINE(first)    BYTES(first "\r\nHost: a\r\n\r\n")
#define TARGET(target) LINE("GET " target " HTTP/1.1")
#define HOST(value)    BYTES("GET / HTTP/1.1\r\nHost:" value "\r\n\r\n")
#define WITH(fields)   BYTES("POST /v1/x HTTP/1.1\r\nHost: a\r\n" fields "\r\n\r\n")
#define ANSWER(fields) BYTES("HTTP/1.1 200 OK\r\n" fields "\r\n\r\n")

#define OK       FAULT_NONE
#define BAD      FAULT_BAD_HTTP
#define TRANSFER FAULT_BAD_TRANSFER
#define VERSION  FAULT_BAD_VERSION
#define METHOD   FAULT_BAD_METHOD
#define EXPECT   FAULT_BAD_EXPECT
#define INVALID  FAULT_TARGET_INVALID

struct test_case {
    const char *about, *at;
    size_t len;
    enum fault_kind want;
};

/* clang-format off */
static const struct test_case requests[] = {
    /* ---- the request line ---- */
    {"plain",                      LINE("GET / HTTP/1.1"), OK},
    {"HTTP/1.0",                   LINE("GET / HTTP/1.0"), OK},
    {"every method: HEAD",         LINE("HEAD / HTTP/1.1"), OK},
    {"every method: POST",         LINE("POST / HTTP/1.1"), OK},
    {"every method: PUT",          LINE("PUT / HTTP/1.1"), OK},
    {"every method: DELETE",       LINE("DELETE / HTTP/1.1"), OK},
    {"every method: OPTIONS",      LINE("OPTIONS / HTTP/1.1"), OK},
    {"every method: PATCH",        LINE("PATCH / HTTP/1.1"), OK},
    {"one empty line in front",    BYTES("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), OK},
    {"two empty lines in front",   BYTES("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), OK},
    {"three empty lines in front", BYTES("\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), BAD},
    {"bare LF in front",           BYTES("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), BAD},
    {"a space in front",           LINE(" GET / HTTP/1.1"), BAD},
    {"a tab in front",             LINE("\tGET / HTTP/1.1"), BAD},
    {"TLS on a plain port",        BYTES("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), BAD},
    {"an SSH client",              LINE("SSH-2.0-OpenSSH_9.2"), BAD},
    {"PROXY protocol, unasked",    LINE("PROXY TCP4 1.2.3.4 1.2.3.4 1 2"), BAD},
    {"HTTP/2 preface",             BYTES("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), VERSION},
    {"CONNECT",                    LINE("CONNECT a:443 HTTP/1.1"), METHOD},
    {"TRACE",                      LINE("TRACE / HTTP/1.1"), METHOD},
    {"unknown method",             LINE("BREW / HTTP/1.1"), METHOD},
    {"method in small letters",    LINE("get / HTTP/1.1"), METHOD},
    {"method of odd token bytes",  LINE("G!T / HTTP/1.1"), METHOD},
    {"longest known method + 1",   LINE("OPTIONSS / HTTP/1.1"), METHOD},
    {"method with a colon",        LINE("GET: / HTTP/1.1"), BAD},
    {"method with quotes",         LINE("\"GET\" / HTTP/1.1"), BAD},
    {"method with obs-text",       LINE("G\xc3\x89T / HTTP/1.1"), BAD},
    {"method alone",               LINE("GET"), BAD},
    {"no method",                  LINE("/ HTTP/1.1"), BAD},
    {"HTTP/0.9",                   LINE("GET /"), BAD},
    {"no version, but a space",    LINE("GET / "), BAD},
    {"two spaces before target",   LINE("GET  / HTTP/1.1"), BAD},
    {"two spaces before version",  LINE("GET /  HTTP/1.1"), BAD},
    {"tab for a space",            LINE("GET\t/ HTTP/1.1"), BAD},
    {"tab for the second space",   LINE("GET /\tHTTP/1.1"), BAD},
    {"vertical tab",               LINE("GET /\x0b HTTP/1.1"), BAD},
    {"space behind the version",   LINE("GET / HTTP/1.1 "), BAD},
    {"word behind the version",    LINE("GET / HTTP/1.1 HTTP/1.1"), BAD},
    {"CR in the line",             LINE("GET /\r HTTP/1.1"), BAD},
    {"CR CR LF",                   BYTES("GET / HTTP/1.1\r\r\nHost: a\r\n\r\n"), BAD},
    {"LF ends the line",           BYTES("GET / HTTP/1.1\nHost: a\r\n\r\n"), BAD},
    {"NUL in the line",            LINE("GET /\0 HTTP/1.1"), BAD},
    {"version in small letters",   LINE("GET / http/1.1"), BAD},
    {"version of one number",      LINE("GET / HTTP/1"), BAD},
    {"version 1.10",               LINE("GET / HTTP/1.10"), BAD},
    {"version 01.1",               LINE("GET / HTTP/01.1"), BAD},
    {"version 1,1",                LINE("GET / HTTP/1,1"), BAD},
    {"version +1.1",               LINE("GET / HTTP/+.1"), BAD},
    {"version with a space",       LINE("GET / HTTP/1. 1"), BAD},
    {"version of another name",    LINE("GET / ICAP/1.0"), BAD},
    {"version HTTPS/1.1",          LINE("GET / HTTPS/1.1"), BAD},
    {"version 0.9",                LINE("GET / HTTP/0.9"), VERSION},
    {"version 1.2",                LINE("GET / HTTP/1.2"), VERSION},
    {"version 1.9",                LINE("GET / HTTP/1.9"), VERSION},
    {"version 2.0",                LINE("GET / HTTP/2.0"), VERSION},
    {"version 3.0",                LINE("GET / HTTP/3.0"), VERSION},
    {"version 9.1",                LINE("GET / HTTP/9.1"), VERSION},
    /* ---- the target ---- */
    {"path and query",             TARGET("/v1/models?limit=2&after=x"), OK},
    {"brackets in the query",      TARGET("/v1/x?include[]=a"), OK},
    {"question mark in the query", TARGET("/v1/x?a=?b"), OK},
    {"empty query",                TARGET("/v1/x?"), OK},
    {"escapes",                    TARGET("/v1beta/models/a%2Fb:generateContent"), OK},
    {"all that a path may have",   TARGET("/-._~!$&'()*+,;=:@az09AZ"), OK},
    {"absolute form",              TARGET("http://a/"), BAD},
    {"absolute form, https",       TARGET("https://evil.example/v1"), BAD},
    {"absolute form, no host",     TARGET("http:///v1"), BAD},
    {"authority form",             TARGET("a:80"), BAD},
    {"asterisk form",              LINE("OPTIONS * HTTP/1.1"), BAD},
    {"asterisk and more",          TARGET("*/x"), BAD},
    {"relative path",              TARGET("v1/models"), BAD},
    {"query alone",                TARGET("?a=b"), BAD},
    {"fragment",                   TARGET("/v1#x"), BAD},
    {"fragment in the query",      TARGET("/v1?a#x"), BAD},
    {"backslash",                  TARGET("\\v1"), BAD},
    {"backslash within",           TARGET("/v1\\..\\x"), BAD},
    {"quote",                      TARGET("/v1\""), BAD},
    {"angle brackets",             TARGET("/<script>"), BAD},
    {"caret",                      TARGET("/^"), BAD},
    {"backtick",                   TARGET("/`id`"), BAD},
    {"braces",                     TARGET("/{model}"), BAD},
    {"braces in the query",        TARGET("/v1?a={b}"), BAD},
    {"bar",                        TARGET("/a|b"), BAD},
    {"brackets in the path",       TARGET("/a[0]"), BAD},
    {"UTF-8",                      TARGET("/\xc3\xa9"), BAD},
    {"UTF-8 in the query",         TARGET("/v1?\xc3\xa9"), BAD},
    {"obs-text",                   TARGET("/\xff"), BAD},
    {"DEL",                        TARGET("/\x7f"), BAD},
    {"percent at the end",         TARGET("/v1%"), BAD},
    {"half an escape",             TARGET("/v1%2"), BAD},
    {"no hexadecimal escape",      TARGET("/v1%zz"), BAD},
    {"%u escape",                  TARGET("/v1%u002e"), BAD},
    {"bad escape in the query",    TARGET("/v1?a=%g0"), BAD},
    {"escape cut by the query",    TARGET("/v1%4?1"), BAD},
    /* ---- Host ---- */
    {"no space before it",         HOST("a"), OK},
    {"spaces and tabs around",     HOST(" \t a \t "), OK},
    {"port",                       HOST(" localhost:8080"), OK},
    {"highest port",               HOST(" a:65535"), OK},
    {"dots and hyphens",           HOST(" my-host.example.com"), OK},
    {"dot at the end",             HOST(" example.com."), OK},
    {"underscore",                 HOST(" my_service:8080"), OK},
    {"IPv4",                       HOST(" 127.0.0.1:80"), OK},
    {"IPv6",                       HOST(" [::1]"), OK},
    {"IPv6 and port",              HOST(" [2001:db8::1]:8080"), OK},
    {"IPv6 with an IPv4 tail",     HOST(" [::ffff:127.0.0.1]:80"), OK},
    {"missing in HTTP/1.0",        BYTES("GET / HTTP/1.0\r\n\r\n"), OK},
    {"missing",                    BYTES("GET / HTTP/1.1\r\n\r\n"), BAD},
    {"repeated, differing",        HOST(" a\r\nHost: b"), BAD},
    {"repeated, equal",            HOST(" a\r\nHost: a"), BAD},
    {"repeated, in capitals",      HOST(" a\r\nHOST: a"), BAD},
    {"repeated in HTTP/1.0",       BYTES("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"), BAD},
    {"empty",                      HOST(""), BAD},
    {"blank",                      HOST(" \t"), BAD},
    {"list",                       HOST(" a, b"), BAD},
    {"two words",                  HOST(" a b"), BAD},
    {"user",                       HOST(" user@a"), BAD},
    {"user and password",          HOST(" user:pw@a"), BAD},
    {"path",                       HOST(" a/b"), BAD},
    {"slash at the end",           HOST(" a/"), BAD},
    {"fragment trick",             HOST(" localhost/#@x"), BAD},
    {"fragment",                   HOST(" a#b"), BAD},
    {"query",                      HOST(" a?b"), BAD},
    {"URL",                        HOST(" http://a"), BAD},
    {"backslash",                  HOST(" a\\b"), BAD},
    {"quotes",                     HOST(" \"a\""), BAD},
    {"angle bracket",              HOST(" a<b"), BAD},
    {"escape",                     HOST(" a%00b"), BAD},
    {"semicolon",                  HOST(" a;b"), BAD},
    {"asterisk",                   HOST(" *.example.com"), BAD},
    {"non-ASCII",                  HOST(" \xc3\xa9.example"), BAD},
    {"NUL",                        HOST(" a\0b"), BAD},
    {"two dots",                   HOST(" a..b"), BAD},
    {"dot in front",               HOST(" .a"), BAD},
    {"dot alone",                  HOST(" ."), BAD},
    {"port alone",                 HOST(" :80"), BAD},
    {"empty port",                 HOST(" a:"), BAD},
    {"port 0",                     HOST(" a:0"), BAD},
    {"port of letters",            HOST(" a:http"), BAD},
    {"port with a letter",         HOST(" a:80x"), BAD},
    {"port beyond 65535",          HOST(" a:65536"), BAD},
    {"port of six digits",         HOST(" a:000080"), BAD},
    {"port with a sign",           HOST(" a:+80"), BAD},
    {"negative port",              HOST(" a:-1"), BAD},
    {"port with a space",          HOST(" a: 80"), BAD},
    {"two ports",                  HOST(" a:80:80"), BAD},
    {"IPv6 without brackets",      HOST(" ::1"), BAD},
    {"IPv6 not closed",            HOST(" [::1"), BAD},
    {"IPv6 not opened",            HOST(" ::1]"), BAD},
    {"brackets alone",             HOST(" []"), BAD},
    {"name in brackets",           HOST(" [a]"), BAD},
    {"IPv4 in brackets",           HOST(" [127.0.0.1]"), BAD},
    {"IPv6, nine groups",          HOST(" [1:2:3:4:5:6:7:8:9]"), BAD},
    {"IPv6, two gaps",             HOST(" [1::2::3]"), BAD},
    {"IPv6, five digits",          HOST(" [::12345]"), BAD},
    {"IPv6 with a zone",           HOST(" [fe80::1%25eth0]"), BAD},
    {"IPv6 with a bare zone",      HOST(" [fe80::1%eth0]"), BAD},
    {"IPvFuture",                  HOST(" [v1.x]"), BAD},
    {"junk behind IPv6",           HOST(" [::1]x"), BAD},
    {"junk before IPv6",           HOST(" x[::1]"), BAD},
    {"IPv6 and an empty port",     HOST(" [::1]:"), BAD},
    {"254 bytes",                  HOST(" aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                                        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), BAD},
    /* ---- fields ---- */
    {"no white space",             WITH("X:a"), OK},
    {"white space around",         WITH("X: \t a b \t "), OK},
    {"empty value",                WITH("X:"), OK},
    {"colons in the value",        WITH("X: a:b::c"), OK},
    {"tab in the value",           WITH("X: a\tb"), OK},
    {"obs-text in the value",      WITH("X: caf\xc3\xa9 \xff"), OK},
    {"odd but legal name",         WITH("!#$%&'*+-.^_`|~9aZ: x"), OK},
    {"underscore in the name",     WITH("x_y: 1"), OK},
    {"no colon",                   WITH("Xa"), BAD},
    {"empty name",                 WITH(": a"), BAD},
    {"colon alone",                WITH(":"), BAD},
    {"space before the colon",     WITH("X : a"), BAD},
    {"tab before the colon",       WITH("X\t: a"), BAD},
    {"space in the name",          WITH("X Y: a"), BAD},
    {"quote in the name",          WITH("X\"Y: a"), BAD},
    {"parentheses in the name",    WITH("X(a): a"), BAD},
    {"slash in the name",          WITH("X/Y: a"), BAD},
    {"obs-text in the name",       WITH("X\xe9: a"), BAD},
    {"NUL in the name",            WITH("X\0: a"), BAD},
    {"NUL in the value",           WITH("X: a\0b"), BAD},
    {"bell in the value",          WITH("X: a\x07"), BAD},
    {"escape in the value",        WITH("X: \x1b[31m"), BAD},
    {"vertical tab before value",  WITH("X:\x0b" "a"), BAD},
    {"form feed behind value",     WITH("X: a\x0c"), BAD},
    {"DEL in the value",           WITH("X: a\x7f"), BAD},
    {"CR in the value",            WITH("X: a\rb"), BAD},
    {"CR at the end of the value", WITH("X: a\r"), BAD},
    {"LF in the value",            WITH("X: a\nY: b"), BAD},
    {"folded by a space",          WITH("X: a\r\n b"), BAD},
    {"folded by a tab",            WITH("X: a\r\n\tb"), BAD},
    {"folded, blank",              WITH("X: a\r\n "), BAD},
    {"first field folded",         BYTES("GET / HTTP/1.1\r\n Host: a\r\n\r\n"), BAD},
    {"LF ends the head",           BYTES("GET / HTTP/1.1\r\nHost: a\r\n\n"), BAD},
    {"LF LF ends the head",        BYTES("GET / HTTP/1.1\r\nHost: a\n\n"), BAD},
    {"CR CR ends the head",        BYTES("GET / HTTP/1.1\r\nHost: a\r\n\r\r"), BAD},
    {"Content-Type repeated",      WITH("Content-Type: a/b\r\nContent-Type: a/b"), BAD},
    /* ---- Content-Length ---- */
    {"length",                     WITH("Content-Length: 3"), OK},
    {"length 0",                   WITH("Content-Length: 0"), OK},
    {"length, name in capitals",   WITH("CONTENT-LENGTH: 3"), OK},
    {"length, zeros in front",     WITH("Content-Length: 0003"), OK},
    {"length 2^63-1",              WITH("Content-Length: 9223372036854775807"), OK},
    {"length 2^63",                WITH("Content-Length: 9223372036854775808"), BAD},
    {"length 2^64",                WITH("Content-Length: 18446744073709551616"), BAD},
    {"length 2^64 + 3",            WITH("Content-Length: 18446744073709551619"), BAD},
    {"length of 40 digits",        WITH("Content-Length: 1000000000000000000000000000000000000003"), BAD},
    {"length empty",               WITH("Content-Length:"), BAD},
    {"length +3",                  WITH("Content-Length: +3"), BAD},
    {"length -3",                  WITH("Content-Length: -3"), BAD},
    {"length -0",                  WITH("Content-Length: -0"), BAD},
    {"length 0x3",                 WITH("Content-Length: 0x3"), BAD},
    {"length 3.0",                 WITH("Content-Length: 3.0"), BAD},
    {"length 3e0",                 WITH("Content-Length: 3e0"), BAD},
    {"length 1_0",                 WITH("Content-Length: 1_0"), BAD},
    {"length 3 3",                 WITH("Content-Length: 3 3"), BAD},
    {"length 3;",                  WITH("Content-Length: 3;"), BAD},
    {"length in quotes",           WITH("Content-Length: \"3\""), BAD},
    {"length, no number",          WITH("Content-Length: three"), BAD},
    {"length, VT in front",        WITH("Content-Length: \x0b" "3"), BAD},
    {"length, NUL behind",         WITH("Content-Length: 3\0"), BAD},
    {"length, Arabic digit",       WITH("Content-Length: \xd9\xa3"), BAD},
    {"length, space before colon", WITH("Content-Length : 3"), BAD},
    {"length, folded",             WITH("Content-Length:\r\n 3"), BAD},
    {"length, list",               WITH("Content-Length: 3, 3"), BAD},
    {"length, list that differs",  WITH("Content-Length: 3,4"), BAD},
    {"length, comma in front",     WITH("Content-Length: ,3"), BAD},
    {"length twice, equal",        WITH("Content-Length: 3\r\nContent-Length: 3"), BAD},
    {"length twice, differing",    WITH("Content-Length: 3\r\nContent-Length: 4"), BAD},
    {"length twice, small case",   WITH("Content-Length: 3\r\ncontent-length: 3"), BAD},
    {"length twice, first empty",  WITH("Content-Length:\r\nContent-Length: 3"), BAD},
    /* ---- Transfer-Encoding ---- */
    {"chunked",                    WITH("Transfer-Encoding: chunked"), OK},
    {"chunked in capitals",        WITH("TRANSFER-ENCODING: CHUNKED"), OK},
    {"chunked, spaces around",     WITH("Transfer-Encoding:  \tchunked \t"), OK},
    {"with Content-Length",        WITH("Content-Length: 3\r\nTransfer-Encoding: chunked"), BAD},
    {"with Content-Length after",  WITH("Transfer-Encoding: chunked\r\nContent-Length: 3"), BAD},
    {"with Content-Length 0",      WITH("Transfer-Encoding: chunked\r\nContent-Length: 0"), BAD},
    {"gzip with Content-Length",   WITH("Transfer-Encoding: gzip\r\nContent-Length: 3"), BAD},
    {"identity, Content-Length",   WITH("Transfer-Encoding: identity\r\nContent-Length: 3"), BAD},
    {"twice",                      WITH("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), BAD},
    {"twice, identity second",     WITH("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"), BAD},
    {"twice, gzip first",          WITH("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked"), BAD},
    {"twice, first empty",         WITH("Transfer-Encoding:\r\nTransfer-Encoding: chunked"), BAD},
    {"in HTTP/1.0",                BYTES("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"), BAD},
    {"space before the colon",     WITH("Transfer-Encoding : chunked"), BAD},
    {"folded",                     WITH("Transfer-Encoding:\r\n chunked"), BAD},
    {"VT in front",                WITH("Transfer-Encoding: \x0b" "chunked"), BAD},
    {"NUL behind",                 WITH("Transfer-Encoding: chunked\0"), BAD},
    {"bare CR behind",             WITH("Transfer-Encoding: chunked\r\rX: y"), BAD},
    {"bare LF in front",           WITH("X: y\nTransfer-Encoding: chunked"), BAD},
    {"empty",                      WITH("Transfer-Encoding:"), BAD},
    {"comma in front",             WITH("Transfer-Encoding: ,chunked"), BAD},
    {"comma behind",               WITH("Transfer-Encoding: chunked,"), BAD},
    {"chunked, gzip",              WITH("Transfer-Encoding: chunked, gzip"), BAD},
    {"chunked, identity",          WITH("Transfer-Encoding: chunked, identity"), BAD},
    {"chunked, chunked",           WITH("Transfer-Encoding: chunked, chunked"), BAD},
    {"in quotes",                  WITH("Transfer-Encoding: \"chunked\""), BAD},
    {"two words",                  WITH("Transfer-Encoding: chunked x"), BAD},
    {"with a parameter",           WITH("Transfer-Encoding: chunked;q=1"), BAD},
    {"obs-text",                   WITH("Transfer-Encoding: chunked\xa0"), BAD},
    {"gzip",                       WITH("Transfer-Encoding: gzip"), TRANSFER},
    {"gzip, chunked",              WITH("Transfer-Encoding: gzip, chunked"), TRANSFER},
    {"identity",                   WITH("Transfer-Encoding: identity"), TRANSFER},
    {"identity, chunked",          WITH("Transfer-Encoding: identity, chunked"), TRANSFER},
    {"xchunked",                   WITH("Transfer-Encoding: xchunked"), TRANSFER},
    {"chunke",                     WITH("Transfer-Encoding: chunke"), TRANSFER},
    /* ---- Expect, Connection ---- */
    {"100-continue",               WITH("Content-Length: 3\r\nExpect: 100-continue"), OK},
    {"100-CONTINUE",               WITH("Content-Length: 3\r\nExpect: 100-CONTINUE"), OK},
    {"Expect in HTTP/1.0",         BYTES("POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"), OK},
    {"another expectation",        WITH("Expect: 200-ok"), EXPECT},
    {"empty expectation",          WITH("Expect:"), EXPECT},
    {"word before 100-continue",   WITH("Expect: y 100-continue"), EXPECT},
    {"100-continue and more",      WITH("Expect: 100-continue, x"), EXPECT},
    {"100-continue twice",         WITH("Expect: 100-continue\r\nExpect: 100-continue"), EXPECT},
    {"Expect with CL and TE",      WITH("Expect: 100-continue\r\nContent-Length: 3\r\nTransfer-Encoding: chunked"), BAD},
    {"Connection: list",           WITH("Connection: keep-alive , Upgrade,close"), OK},
    {"Connection: unknown option", WITH("Connection: x-y"), OK},
    {"Connection: empty items",    WITH("Connection: ,close,"), OK},
    {"Connection: two words",      WITH("Connection: keep alive"), BAD},
    {"Connection: quotes",         WITH("Connection: \"close\""), BAD},
    {"Connection: obs-text",       WITH("Connection: close\xff"), BAD},
};

static const struct test_case responses[] = {
    {"plain",                      ANSWER("Content-Length: 2"), OK},
    {"HTTP/1.0",                   BYTES("HTTP/1.0 200 OK\r\n\r\n"), OK},
    {"no reason",                  BYTES("HTTP/1.1 200\r\n\r\n"), OK},
    {"empty reason",               BYTES("HTTP/1.1 200 \r\n\r\n"), OK},
    {"long reason",                BYTES("HTTP/1.1 404 Not Found, sorry\r\n\r\n"), OK},
    {"obs-text in the reason",     BYTES("HTTP/1.1 200 \xc3\xa7" "a va\r\n\r\n"), OK},
    {"tab in the reason",          BYTES("HTTP/1.1 200 a\tb\r\n\r\n"), OK},
    {"100",                        BYTES("HTTP/1.1 100 Continue\r\n\r\n"), OK},
    {"101",                        BYTES("HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"), OK},
    {"204, length 0",              BYTES("HTTP/1.1 204 x\r\nContent-Length: 0\r\n\r\n"), OK},
    {"304 with a length",          BYTES("HTTP/1.1 304 x\r\nContent-Length: 5\r\n\r\n"), OK},
    {"599",                        BYTES("HTTP/1.1 599 x\r\n\r\n"), OK},
    {"chunked",                    ANSWER("transfer-encoding: chunked"), OK},
    {"Chunked",                    ANSWER("Transfer-Encoding: Chunked"), OK},
    {"obs-text in a value",        ANSWER("X: \xff"), OK},
    {"odd Connection",             ANSWER("Connection: keep alive"), OK},
    {"Content-Type twice",         ANSWER("Content-Type: a/b\r\nContent-Type: a/b"), OK},
    {"odd Host",                   ANSWER("Host: a b"), OK},
    {"Expect",                     ANSWER("Expect: the worst"), OK},
    {"empty line in front",        BYTES("\r\nHTTP/1.1 200 OK\r\n\r\n"), INVALID},
    {"small letters",              BYTES("http/1.1 200 OK\r\n\r\n"), INVALID},
    {"not HTTP",                   BYTES("ICY 200 OK\r\n\r\n"), INVALID},
    {"HTTP/2",                     BYTES("HTTP/2 200\r\n\r\n"), INVALID},
    {"HTTP/2.0",                   BYTES("HTTP/2.0 200 OK\r\n\r\n"), INVALID},
    {"HTTP/1.2",                   BYTES("HTTP/1.2 200 OK\r\n\r\n"), INVALID},
    {"HTTP/0.9",                   BYTES("<html>hello</html>\r\n\r\n"), INVALID},
    {"HTTP/1.",                    BYTES("HTTP/1. 200 OK\r\n\r\n"), INVALID},
    {"no status",                  BYTES("HTTP/1.1\r\n\r\n"), INVALID},
    {"no status but a space",      BYTES("HTTP/1.1 \r\n\r\n"), INVALID},
    {"two digits",                 BYTES("HTTP/1.1 20 OK\r\n\r\n"), INVALID},
    {"four digits",                BYTES("HTTP/1.1 2000 OK\r\n\r\n"), INVALID},
    {"letters",                    BYTES("HTTP/1.1 2xx OK\r\n\r\n"), INVALID},
    {"099",                        BYTES("HTTP/1.1 099 OK\r\n\r\n"), INVALID},
    {"600",                        BYTES("HTTP/1.1 600 OK\r\n\r\n"), INVALID},
    {"-20",                        BYTES("HTTP/1.1 -20 OK\r\n\r\n"), INVALID},
    {"two spaces",                 BYTES("HTTP/1.1  200 OK\r\n\r\n"), INVALID},
    {"tab for a space",            BYTES("HTTP/1.1\t200 OK\r\n\r\n"), INVALID},
    {"tab behind the status",      BYTES("HTTP/1.1 200\tOK\r\n\r\n"), INVALID},
    {"control in the reason",      BYTES("HTTP/1.1 200 O\x01K\r\n\r\n"), INVALID},
    {"LF ends a line",             BYTES("HTTP/1.1 200 OK\nX: y\r\n\r\n"), INVALID},
    {"CR in the reason",           BYTES("HTTP/1.1 200 O\rK\r\n\r\n"), INVALID},
    {"CL and TE",                  ANSWER("Content-Length: 2\r\nTransfer-Encoding: chunked"), INVALID},
    {"two lengths",                ANSWER("Content-Length: 2\r\nContent-Length: 2"), INVALID},
    {"length list",                ANSWER("Content-Length: 2, 2"), INVALID},
    {"length +2",                  ANSWER("Content-Length: +2"), INVALID},
    {"gzip, chunked",              ANSWER("Transfer-Encoding: gzip, chunked"), INVALID},
    {"identity",                   ANSWER("Transfer-Encoding: identity"), INVALID},
    {"chunked twice",              ANSWER("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), INVALID},
    {"chunked in HTTP/1.0",        BYTES("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), INVALID},
    {"chunked 204",                BYTES("HTTP/1.1 204 x\r\nTransfer-Encoding: chunked\r\n\r\n"), INVALID},
    {"204 with a body",            BYTES("HTTP/1.1 204 x\r\nContent-Length: 2\r\n\r\n"), INVALID},
    {"100 with a body",            BYTES("HTTP/1.1 100 x\r\nContent-Length: 2\r\n\r\n"), INVALID},
    {"space before the colon",     ANSWER("X : a"), INVALID},
    {"folded",                     ANSWER("X: a\r\n b"), INVALID},
    {"no colon",                   ANSWER("Xa"), INVALID},
    {"odd name",                   ANSWER("X Y: a"), INVALID},
    {"NUL in a value",             ANSWER("X: a\0"), INVALID},
};
/* clang-format on */

static enum fault_kind read_head(struct text bytes, bool is_request, struct head *head)
{
    struct fault why = {.kind = FAULT_INTERNAL};
    bool fine =
        is_request ? head_read_request(bytes, head, &why) : head_read_response(bytes, head, &why);
    return fine ? FAULT_NONE : why.kind;
}

/* Feed what arrives up to <first>, then <step> more bytes at a time; each time in memory of just
 * that size, so that a sanitizer sees whoever reads on. */
static enum fault_kind feed(const struct test_case *item, bool is_request, size_t first,
                            size_t step, size_t *length)
{
    struct head_find find = {0};
    struct fault why = {.kind = FAULT_INTERNAL};
    struct head head;
    enum fault_kind kind = FAULT_TIMED_OUT; /* no end was found */
    for (size_t len = first; len <= item->len;
         len = len + step > item->len && len < item->len ? item->len : len + step) {
        char *copy = malloc(len ? len : 1);
        memcpy(copy, item->at, len);
        struct text bytes = {copy, len};
        enum head_result result = head_find(&find, bytes, is_request, MAX_BYTES, length, &why);
        if (result == HEAD_DONE)
            kind = read_head(text_head(bytes, *length), is_request, &head);
        else if (result == HEAD_BAD)
            kind = why.kind;
        free(copy);
        if (result != HEAD_WAIT)
            break;
    }
    return kind;
}

static void check(const struct test_case *item, bool is_request)
{
    size_t length = 0, again = 0;
    enum fault_kind kind = feed(item, is_request, item->len, 1, &length);
    if (kind != item->want)
        fail_msg("%s: %s instead of %s", item->about, fault_rule(kind)->name,
                 fault_rule(item->want)->name);
    if (kind == FAULT_NONE)
        assert_int_equal(length, item->len);
    for (size_t cut = 0; cut < item->len; cut++) {
        kind = feed(item, is_request, cut, item->len, &again);
        if (kind != item->want || again != length)
            fail_msg("%s, cut at %zu: %s", item->about, cut, fault_rule(kind)->name);
    }
    assert_int_equal(feed(item, is_request, 0, 1, &again), item->want);
    assert_int_equal(again, length);
}

static void requests_are_judged_at_every_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
        check(&requests[i], true);
}

static void responses_are_judged_at_every_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(responses) / sizeof(responses[0]); i++)
        check(&responses[i], false);
}

static struct head request_of(const char *z)
{
    struct head head;
    enum fault_kind kind = read_head(text_of(z), true, &head);
    if (kind != FAULT_NONE)
        fail_msg("refused: %s", z);
    return head;
}

#define assert_text(got, want) assert_true(text_equal((got), text_of(want)))

static void facts_of_a_request(void **state)
{
    (void)state;
    struct head head = request_of("POST /v1/x?a=b?c HTTP/1.1\r\nhOsT: h:1\r\nX:  a \t\r\nx: b\r\n"
                                  "Content-Length: 12\r\nExpect: 100-continue\r\n\r\n");
    assert_int_equal(head.method, METHOD_POST);
    assert_string_equal(method_name(head.method), "POST");
    assert_text(head.target, "/v1/x?a=b?c");
    assert_text(head.path, "/v1/x");
    assert_text(head.query, "a=b?c");
    assert_text(head.host, "h:1");
    assert_int_equal(head.minor, 1);
    assert_int_equal(head.content_length, 12);
    assert_true(head.expect_continue);
    assert_true(head.keep_alive);
    assert_false(head.chunked);
    assert_false(head.upgrade);
    assert_int_equal(head.field_count, 5);
    assert_text(head_value(&head, TEXT("X")), "a");
    assert_int_equal(head_count(&head, TEXT("X")), 2);
    assert_int_equal(head_count(&head, TEXT("y")), 0);
    assert_null(head_value(&head, TEXT("y")).at);
    head = request_of("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_int_equal(head.content_length, -1);
    assert_int_equal(head.query.len, 0);
}

static void facts_of_a_response(void **state)
{
    (void)state;
    struct head head;
    assert_int_equal(
        read_head(TEXT("HTTP/1.1 404 Not Found\r\ncontent-length:7\r\n\r\n"), false, &head), OK);
    assert_int_equal(head.status, 404);
    assert_text(head.reason, "Not Found");
    assert_int_equal(head.content_length, 7);
    assert_true(head.keep_alive);
    assert_int_equal(
        read_head(TEXT("HTTP/1.1 200\r\nTransfer-Encoding:chunked\r\n\r\n"), false, &head), OK);
    assert_int_equal(head.reason.len, 0);
    assert_true(head.chunked);
}

static void connections_persist_as_said(void **state)
{
    static const struct {
        const char *version, *fields;
        bool keep_alive, upgrade;
    } rows[] = {
        {"1.1", "", true, false},
        {"1.0", "", false, false},
        {"1.1", "Connection: close\r\n", false, false},
        {"1.1", "Connection: Close\r\n", false, false},
        {"1.1", "Connection: x, CLOSE ,y\r\n", false, false},
        {"1.1", "Connection: x\r\nConnection: close\r\n", false, false},
        {"1.1", "Connection: keep-alive, close\r\n", false, false},
        {"1.1", "Connection: closed\r\n", true, false},
        {"1.0", "Connection: Keep-Alive\r\n", true, false},
        {"1.0", "Connection: keep-alive, close\r\n", false, false},
        {"1.1", "Connection: Upgrade\r\nUpgrade: websocket\r\n", true, true},
        {"1.1", "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n", true, true},
        {"1.1", "Upgrade: websocket\r\n", true, false},
        {"1.1", "Connection: upgrade\r\n", true, false},
        {"1.0", "Connection: upgrade\r\nUpgrade: websocket\r\n", false, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char z[256];
        snprintf(z, sizeof(z), "GET / HTTP/%s\r\nHost: a\r\n%s\r\n", rows[i].version,
                 rows[i].fields);
        struct head head = request_of(z);
        if (head.keep_alive != rows[i].keep_alive || head.upgrade != rows[i].upgrade)
            fail_msg("row %zu", i);
    }
}

static void nothing_is_expected_without_a_body(void **state)
{
    (void)state;
    assert_false(
        request_of("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n").expect_continue);
    assert_false(request_of("POST / HTTP/1.0\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
                     .expect_continue);
    assert_true(request_of("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
                           "Expect: 100-continue\r\n\r\n")
                    .expect_continue);
}

/* A request whose target has <target> bytes and that has <fields> fields more. */
static char *long_request(size_t target, size_t fields, size_t value, size_t *len)
{
    char *z = malloc(target + fields * (value + 8) + 64), *at = z;
    at += sprintf(at, "GET /");
    memset(at, 'a', target - 1);
    at += target - 1;
    at += sprintf(at, " HTTP/1.1\r\nHost: a\r\n");
    for (size_t i = 0; i < fields; i++) {
        at += sprintf(at, "X: ");
        memset(at, 'v', value);
        at += value;
        at += sprintf(at, "\r\n");
    }
    at += sprintf(at, "\r\n");
    *len = (size_t)(at - z);
    return z;
}

static enum fault_kind judge_long(size_t target, size_t fields, size_t value, size_t step)
{
    size_t len, found = 0;
    char *z = long_request(target, fields, value, &len);
    const struct test_case item = {"long", z, len, FAULT_NONE};
    enum fault_kind kind = feed(&item, true, step < len ? step : len, step, &found);
    free(z);
    return kind;
}

static void sizes_have_limits(void **state)
{
    (void)state;
    for (size_t step = 97; step < 40000; step = step * 7 + 1) {
        assert_int_equal(judge_long(HEAD_TARGET_MAX, 0, 0, step), FAULT_NONE);
        assert_int_equal(judge_long(HEAD_TARGET_MAX + 1, 0, 0, step), FAULT_LONG_TARGET);
        assert_int_equal(judge_long(HEAD_TARGET_MAX + 100, 0, 0, step), FAULT_LONG_TARGET);
        assert_int_equal(judge_long(20000, 0, 0, step), FAULT_LONG_TARGET);
        assert_int_equal(judge_long(1, HEAD_FIELDS_MAX - 1, 3, step), FAULT_NONE);
        assert_int_equal(judge_long(1, HEAD_FIELDS_MAX, 3, step), FAULT_LARGE_HEAD);
        assert_int_equal(judge_long(1, 1, 20000, step), FAULT_LARGE_HEAD);
    }
}

/* Refused before the line, or the head, is whole. */
static void what_cannot_be_cured_is_refused_at_once(void **state)
{
    static const struct {
        const char *at;
        size_t len;
        bool is_request;
        enum head_result want;
    } rows[] = {
        {BYTES("\x16"), true, HEAD_BAD},       {BYTES("\0"), true, HEAD_BAD},
        {BYTES("\n"), true, HEAD_BAD},         {BYTES("GET /\n"), true, HEAD_BAD},
        {BYTES("GET /\r\n"), true, HEAD_BAD},  {BYTES("GET / HTTP/1.1\r"), true, HEAD_WAIT},
        {BYTES("GET /\rx"), true, HEAD_BAD},   {BYTES("GET / HTTP/1.1\r\nX\0"), true, HEAD_BAD},
        {BYTES("\r\n\r\n\r"), true, HEAD_BAD}, {BYTES("\r\n\r\n"), true, HEAD_WAIT},
        {BYTES("H"), false, HEAD_WAIT},        {BYTES("HTTP/2"), false, HEAD_BAD},
        {BYTES("<"), false, HEAD_BAD},         {BYTES("\r"), false, HEAD_BAD},
        {BYTES(""), true, HEAD_WAIT},          {BYTES(""), false, HEAD_WAIT},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct head_find find = {0};
        struct fault why;
        size_t length;
        if (head_find(&find, (struct text){rows[i].at, rows[i].len}, rows[i].is_request, MAX_BYTES,
                      &length, &why) != rows[i].want)
            fail_msg("row %zu", i);
    }
}

static void a_head_ends_where_the_next_begins(void **state)
{
    struct text bytes =
        TEXT("GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: b\r\n\r\n");
    (void)state;
    for (const char *want = "ab"; *want; want++) {
        struct head_find find = {0};
        struct fault why;
        struct head head;
        size_t length;
        assert_int_equal(head_find(&find, bytes, true, MAX_BYTES, &length, &why), HEAD_DONE);
        assert_true(head_read_request(text_head(bytes, length), &head, &why));
        assert_int_equal(head.path.at[1], *want);
        bytes = text_from(bytes, length);
    }
    assert_int_equal(bytes.len, 0);
}

static void a_head_is_exactly_its_bytes(void **state)
{
    struct head head;
    (void)state;
    assert_int_equal(read_head(TEXT(""), true, &head), BAD);
    assert_int_equal(read_head(TEXT("\r\n\r\n"), true, &head), BAD);
    assert_int_equal(read_head(TEXT("GET / HTTP/1.1\r\nHost: a\r\n"), true, &head), BAD);
    assert_int_equal(read_head(TEXT("GET / HTTP/1.1\r\nHost: a\r\n\r\nX: b\r\n\r\n"), true, &head),
                     BAD);
    assert_int_equal(read_head(TEXT("HTTP/1.1 200\r\n\r\n\r\n"), false, &head), INVALID);
}

static void values_are_checked_before_they_are_written(void **state)
{
    (void)state;
    assert_true(head_may_write(TEXT("")));
    assert_true(head_may_write(TEXT("a b\tc \xc3\xa9 ........ more than eight")));
    assert_false(head_may_write(TEXT("a\r\nX: y")));
    assert_false(head_may_write(TEXT("12345678\n")));
    assert_false(head_may_write(TEXT("a\r")));
    assert_false(head_may_write(TEXT("a\0b")));
    assert_false(head_may_write(TEXT("1234567\x7f")));
    assert_false(head_may_write(TEXT("\x1b[0m")));
    assert_true(head_may_write((struct text){NULL, 0}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_judged_at_every_cut),
        cmocka_unit_test(responses_are_judged_at_every_cut),
        cmocka_unit_test(facts_of_a_request),
        cmocka_unit_test(facts_of_a_response),
        cmocka_unit_test(connections_persist_as_said),
        cmocka_unit_test(nothing_is_expected_without_a_body),
        cmocka_unit_test(sizes_have_limits),
        cmocka_unit_test(what_cannot_be_cured_is_refused_at_once),
        cmocka_unit_test(a_head_ends_where_the_next_begins),
        cmocka_unit_test(a_head_is_exactly_its_bytes),
        cmocka_unit_test(values_are_checked_before_they_are_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
