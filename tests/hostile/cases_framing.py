# SPDX-License-Identifier: Apache-2.0
"""F: where a request begins and ends (RFC 9112 2, 3, 5, 6)."""

from case import BODY, LENGTH, SMUGGLED, Family, chat, get, raw

F = Family("F")
CASES = F.cases
N = LENGTH

# ---- Content-Length: one, of digits
LENGTHS = [
    b"+" + N, b"-" + N, b"-1", b"0x1e", b"0X1E", b"0b11", b"0o36", N + b".0", N + b".", b"." + N, b"3e1", N + b"," + N, N + b", " + N, N + b";",
    N + b";q=1", N + b" " + N, N + b"\t" + N, b"3 0", b"3_0", b"3'0", b'"' + N + b'"', b"'" + N + b"'", b"(" + N + b")", b"", b" ", b"\t",
    b"\x0b" + N, N + b"\x0b", N + b"\x0c", N + b"\x00", b"\x00" + N, N + b"\x7f", N + b"\x80", N + b"\xa0", b"\xd9\xa3\xd9\xa0",
    b"\xef\xbc\x93\xef\xbc\x90", b"NaN", b"inf", b"null", b"thirty", b"$" + N, b"%33%30", b"0x", b"-0", b"+0", b"--" + N, b"++" + N, b"+-" + N,
    b"18446744073709551616", b"18446744073709551646", b"9223372036854775808", b"36893488147419103262", b"4294967326x", b"1" * 40, b"9" * 100,
    b"0" * 5000 + b"x", N + b"\\r\\n", N + b"/1", b"=" + N, N + b"=", N + b":", b":" + N, b"#" + N, N + b"#", N + b"a", b"a" + N, b"\xc2\xb3\xe2\x81\xb0"]
for value in LENGTHS:
    F.refuse(b"Content-Length: %r" % value[:40], raw(fields=[b"Content-Length: " + value], body=BODY + SMUGGLED))
for value in (b"4294967326", b"9223372036854775807", b"1000000000000"):
    F.add("a length beyond every limit", raw(fields=[b"Content-Length: " + value], body=BODY), {413, 400}, closes=True)
for value in (b"00" + N, b"000000000000" + N):
    F.add("zeros in front", raw(fields=[b"Content-Length: " + value], body=BODY + b""), {200, 400}, reach=(0, 1))
for value in (b" " + N, N + b" ", b"\t" + N + b"\t ", N):
    F.add("white space around", raw(fields=[b"Content-Length:" + value], body=BODY), 200, reach=(1,), forwarded=BODY)
PAIRS = [(N, N), (N, b"0"), (b"0", N), (N, b"5"), (b"5", N), (N, b""), (b"", N), (N, b"-1"), (N, b"x"), (b"0", b"0"), (N, b"0" + N)]
for first, second in PAIRS:
    F.refuse("two lengths", raw(fields=[b"Content-Length: " + first, b"Content-Length: " + second], body=BODY + SMUGGLED))
    F.refuse("two lengths, apart and in other cases",
             raw(fields=[b"content-length: " + first, b"X: y", b"CONTENT-LENGTH: " + second], body=BODY + SMUGGLED))
F.refuse("three lengths", raw(fields=[b"Content-Length: " + N] * 3, body=BODY + SMUGGLED))

# ---- Transfer-Encoding: chunked, once, or nothing
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
CODINGS = [
    b"xchunked", b"chunkedx", b"chunke", b"chunk", b"chunked chunked", b"chunked, chunked", b"chunked,", b",chunked", b",", b"gzip",
    b"gzip, chunked", b"chunked, gzip", b"chunked, identity", b"identity", b"identity, chunked", b"deflate", b"compress", b"br", b"x-gzip, chunked",
    b"chunked;q=1", b"chunked; a=b", b'"chunked"', b"'chunked'", b"chunked.", b"chunked:", b"chu nked", b"trailers", b"none", b"0", b"", b"=chunked",
    b"\xe3\x83chunked", b"chunked\xa0", b"\xa0chunked", b"chunked\x80", b"chunked/1", b"cHuNkEd, cHuNkEd", b"chunKed\xe2\x84\xaa", b"chun\xe2\x84\xaaed",
    b"chunked\\", b"(chunked)", b"chunked (x)", b"*", b"null"]
for value in CODINGS:
    F.refuse(b"Transfer-Encoding: %r" % value, raw(fields=[b"Transfer-Encoding: " + value], body=CHUNKED + SMUGGLED), {400, 501})
for value in (b"\x0bchunked", b"chunked\x0b", b"chunked\x00", b"\x00chunked", b"\x0cchunked", b"chunked\x1f", b"\x7fchunked"):
    F.refuse("control byte by the coding", raw(fields=[b"Transfer-Encoding: " + value], body=CHUNKED + SMUGGLED))
for value in (b"chunked", b"Chunked", b"CHUNKED", b"\tchunked ", b"  chunked\t"):
    F.add("chunked is chunked", raw(fields=[b"Transfer-Encoding:" + value], body=CHUNKED), 200, reach=(1,), forwarded=BODY)
for first, second in ((b"chunked", b"chunked"), (b"chunked", b"identity"), (b"identity", b"chunked"), (b"gzip", b"chunked"),
                      (b"chunked", b"gzip"), (b"chunked", b""), (b"", b"chunked"), (b"x", b"chunked")):
    F.refuse("two codings", raw(fields=[b"Transfer-Encoding: " + first, b"Transfer-Encoding: " + second], body=CHUNKED + SMUGGLED), {400, 501})
for length in (N, b"0", b"5", b"%d" % len(CHUNKED), b"%d" % len(CHUNKED + SMUGGLED)):
    for order in (0, 1):
        for coding in (b"Transfer-Encoding: chunked", b"transfer-encoding: Chunked", b"Transfer-Encoding: gzip"):
            pair = [b"Content-Length: " + length, coding]
            F.refuse("length and coding", raw(fields=pair[::-1] if order else pair, body=CHUNKED + SMUGGLED), {400, 501})
HIDDEN = [
    b"Transfer-Encoding : chunked", b" Transfer-Encoding: chunked", b"\tTransfer-Encoding: chunked", b"Transfer-Encoding\t: chunked",
    b"Transfer-Encoding\x00: chunked", b"Transfer-Encoding\x0b: chunked", b"Transfer\x00-Encoding: chunked", b"Transfer-Encoding\r: chunked",
    b"X: y\rTransfer-Encoding: chunked", b"X: y\nTransfer-Encoding: chunked", b"X: y\r\rTransfer-Encoding: chunked", b"X: y\n\rTransfer-Encoding: chunked",
    b"X: \x00\r\nTransfer-Encoding: chunked", b"Transfer-Encoding:\r\n chunked", b"Transfer-Encoding:\r\n\tchunked", b"Transfer-Encoding:\n chunked",
    b"Transfer-Encoding:\rchunked", b"Transfer-Encoding chunked", b"Transfer-Encoding\r\n: chunked", b"Transfer-Encoding;: chunked",
    b"Transfer Encoding: chunked", b"Transfer-Encoding\x80: chunked", b"\xef\xbb\xbfTransfer-Encoding: chunked", b"(Transfer-Encoding): chunked",
    b"\"Transfer-Encoding\": chunked", b": chunked", b"Content-Length : 5", b" Content-Length: 5", b"Content-Length\x00: 5", b"X: y\nContent-Length: 5",
    b"X: y\rContent-Length: 5", b"Content-Length:\r\n 5", b"Content-Length 5", b"Content-Length\t: 5"]
for line in HIDDEN:
    F.refuse(b"a hidden field: %r" % line, raw(fields=[b"Content-Length: " + N, line], body=BODY + SMUGGLED))
    F.refuse(b"a hidden field first: %r" % line, raw(fields=[line, b"Content-Length: " + N], body=BODY + SMUGGLED))
for line in (b"Transfer_Encoding: chunked", b"X-Transfer-Encoding: chunked", b"Transfer-Encodin: chunked", b"TransferEncoding: chunked",
             b"Content_Length: 5", b"X-Content-Length: 5"):
    F.add("a name that only looks like one", raw(fields=[b"Content-Length: " + N, line], body=BODY), {200, 400}, reach=(0, 1), forwarded=BODY)
F.refuse("coding in HTTP/1.0", raw(b"POST /v1/chat/completions HTTP/1.0", [b"Transfer-Encoding: chunked"], CHUNKED + SMUGGLED), {400, 501})
F.refuse("coding and length in HTTP/1.0", raw(b"POST /v1/chat/completions HTTP/1.0", [b"Transfer-Encoding: chunked", b"Content-Length: 5"],
                                              CHUNKED + SMUGGLED), {400, 501})

# ---- no length at all
F.add("a POST without a length", raw(), 411)
F.add("a POST without a length, its body behind", raw(body=BODY), 411, closes=True)
F.add("an empty body", raw(fields=[b"Content-Length: 0"]), 400)

# ---- bodies where none is wanted are read away, never executed
for method in (b"GET", b"HEAD", b"DELETE", b"OPTIONS"):
    line = method + b" /v1/models HTTP/1.1"
    answers = (1,)
    F.add("a body with a length", raw(line, [b"Content-Length: %d" % len(SMUGGLED)], SMUGGLED, json=False), {200, 204, 400, 404, 405}, answers=answers)
    F.add("a chunked body", raw(line, [b"Transfer-Encoding: chunked"], b"%x\r\n%s\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED), json=False),
          {200, 204, 400, 404, 405}, answers=answers)
    F.refuse("two lengths", raw(line, [b"Content-Length: 0", b"Content-Length: 5"], SMUGGLED, json=False), answers=answers)
    F.refuse("length and coding", raw(line, [b"Content-Length: 0", b"Transfer-Encoding: chunked"], b"0\r\n\r\n" + SMUGGLED, json=False), answers=answers)

# ---- the ends of lines
F.refuse("bare LF everywhere", chat().replace(b"\r\n", b"\n") + SMUGGLED)
F.refuse("bare LF behind the request line", chat().replace(b"HTTP/1.1\r\n", b"HTTP/1.1\n", 1) + SMUGGLED)
F.refuse("bare LF behind a field", chat().replace(b"Host: a\r\n", b"Host: a\n", 1) + SMUGGLED)
F.refuse("bare LF behind the last field", chat().replace(b"\r\n\r\n", b"\n\r\n", 1) + SMUGGLED)
F.refuse("an empty line of bare LF", chat().replace(b"\r\n\r\n", b"\r\n\n", 1) + SMUGGLED)
F.refuse("bare CR everywhere", chat().replace(b"\r\n", b"\r") + SMUGGLED)
F.refuse("CR CR LF", chat().replace(b"Host: a\r\n", b"Host: a\r\r\n", 1) + SMUGGLED)
F.refuse("LF CR", chat().replace(b"Host: a\r\n", b"Host: a\n\r", 1) + SMUGGLED)
F.refuse("CR in a value", chat(fields=[b"X: a\rb"]) + SMUGGLED)
F.refuse("CR at a value's end", chat(fields=[b"X: a\r"]) + SMUGGLED)
F.refuse("CR in a name", chat(fields=[b"X\rY: a"]) + SMUGGLED)
F.refuse("LF in a name", chat(fields=[b"X\nY: a"]) + SMUGGLED)
for fold in (b"X: a\r\n b", b"X: a\r\n\tb", b"X:\r\n a", b"X: a\r\n ", b"X: a\r\n \r\n b", b"X: a\r\n : b", b"Host: a\r\n b"):
    F.refuse("a folded line", chat(fields=[fold], host=None if fold.startswith(b"Host") else b"Host: a") + SMUGGLED)
F.refuse("the first field folded", b"POST /v1/chat/completions HTTP/1.1\r\n Host: a\r\n\r\n" + SMUGGLED)
F.refuse("white space as the first line", b"POST /v1/chat/completions HTTP/1.1\r\n \r\nHost: a\r\n\r\n" + SMUGGLED)

# ---- the request line
T = b"/v1/models"
LINES = [
    b"GET  " + T + b" HTTP/1.1", b"GET " + T + b"  HTTP/1.1", b" GET " + T + b" HTTP/1.1", b"GET\t" + T + b"\tHTTP/1.1", b"GET " + T + b" HTTP/1.1 ",
    b"GET " + T + b" HTTP/1.1\t", b"GET " + T + b" HTTP/1.1 x", b"GET " + T + b"\x0bHTTP/1.1", b"GET\x0b" + T + b" HTTP/1.1", b"GET\x00" + T + b" HTTP/1.1",
    b"GET " + T + b"\x00 HTTP/1.1", b"\x00GET " + T + b" HTTP/1.1", b"GET " + T + b" HTTP/1.1\x00", b"GET" + T + b" HTTP/1.1", b"GET  HTTP/1.1",
    b"GET HTTP/1.1", b"GET", b"GET ", b"GET " + T, T + b" HTTP/1.1", b"HTTP/1.1 200 OK", b"GET " + T + b" " + T + b" HTTP/1.1", b"\tGET " + T + b" HTTP/1.1",
    b"GET " + T + b"\rHTTP/1.1", b"GET\xa0" + T + b" HTTP/1.1", b"\xef\xbb\xbfGET " + T + b" HTTP/1.1", b"GET " + T + b" HTTP/1.1, HTTP/1.1",
    b"G\x00ET " + T + b" HTTP/1.1", b"GET " + T + b"\x7f HTTP/1.1", b"GET " + T + b" HTTP/1.1\x0b"]
for line in LINES:
    F.refuse(b"request line %r" % line, raw(line, json=False) + SMUGGLED, {400, 405, 501, 505})

# ---- what is no HTTP at all
NOISE = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100, b"SSH-2.0-OpenSSH_9.2\r\n", b"HELO a\r\n", b"\x00" * 64, b"\xff" * 64,
    b"\x80\x2e\x01\x00\x02", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00", b"*1\r\n$4\r\nPING\r\n", b"stats\r\n",
    b"OPTIONS sip:a SIP/2.0\r\nVia: x\r\n\r\n", b"OPTIONS * RTSP/1.0\r\n\r\n", b"{\"a\":1}\r\n\r\n", b"<xml/>\r\n\r\n", b"\r\n\r\n\r\n\r\n" + get(),
    b"\n" + get(), b"\r" + get(), b"\n\n" + get(), b" \r\n" + get(), b"\r\n \r\n" + get(), b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n" + get(),
    b"\r\n\r\n\x00QUIT\n\x21\x11\x00\x0c" + b"\x01" * 12 + get(), b"\x05\x01\x00", b"CONNECT a:80 HTTP/1.1\r\n\r\n", b"QUIT\r\n", b"A" * 20000]
for noise in NOISE:
    F.refuse(b"noise: %r" % noise[:20], noise if noise.endswith(SMUGGLED) else noise + b"\r\n\r\n", {400, 404, 405, 414, 431, 501, 505, "close"})
F.add("one empty line before", b"\r\n" + get(), 200)
F.add("two empty lines before", b"\r\n\r\n" + get(), {200, 400})
