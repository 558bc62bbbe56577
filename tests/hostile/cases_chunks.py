# SPDX-License-Identifier: Apache-2.0
"""C: the chunked coding (RFC 9112 7.1), which parsers disagree on most."""

from case import BODY, SMUGGLED, Family, raw

C = Family("C")
CASES = C.cases
SIZE = b"%x" % len(BODY)
END = b"0\r\n\r\n"


def chunked(body, path=b"/v1/chat/completions"):
    return raw(b"POST " + path + b" HTTP/1.1", [b"Transfer-Encoding: chunked"], body)


def good(note, body):
    C.add(note, chunked(body), 200, reach=(1,), forwarded=BODY)


def bad(note, body, expect=400):
    C.refuse(note, chunked(body) + SMUGGLED, expect)


def either(note, body):
    C.add(note, chunked(body), {200, 400}, reach=(0, 1), forwarded=BODY)


# ---- what is right
good("one chunk", SIZE + b"\r\n" + BODY + b"\r\n" + END)
good("every byte a chunk", b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + END)
good("two chunks", b"a\r\n" + BODY[:10] + b"\r\n%x\r\n" % (len(BODY) - 10) + BODY[10:] + b"\r\n" + END)
good("capital digits", SIZE.upper() + b"\r\n" + BODY + b"\r\n" + END)
good("zeros in front", b"00" + SIZE + b"\r\n" + BODY + b"\r\n" + END)
good("sixteen digits", SIZE.rjust(16, b"0") + b"\r\n" + BODY + b"\r\n" + END)
good("many zeros at the end", SIZE + b"\r\n" + BODY + b"\r\n0000\r\n\r\n")
good("a trailer", SIZE + b"\r\n" + BODY + b"\r\n0\r\nX-Sum: 1\r\n\r\n")
good("two trailers", SIZE + b"\r\n" + BODY + b"\r\n0\r\nX-Sum: 1\r\nY: \r\n\r\n")
for name in (b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Host: b", b"Authorization: Bearer x", b"Content-Type: text/plain",
             b"Connection: close", b"Expect: 100-continue", b"Trailer: X"):
    either("a trailer that must change nothing: %s" % name.decode(), SIZE + b"\r\n" + BODY + b"\r\n0\r\n" + name + b"\r\n\r\n")

# ---- sizes
S = SIZE
SIZES = [
    b"", b" ", b"\t", b"+" + S, b"-" + S, b"-1", b"0x" + S, b"0X" + S, b"x" + S, b"#" + S, b"$" + S, b"&H" + S, b"\\x" + S, b"%" + S, b"g", b"G" + S,
    S + b"g", S + b"h", b"h" + S, b"1 e", b"1_e", b"1,e", b"1.e", S + b".", S + b".0", b"." + S, S + b",", b"," + S, b"'" + S + b"'", b'"' + S + b'"',
    b"(" + S + b")", b" " + S, S + b" ", b"\t" + S, S + b"\t", S + b"  ", b"\x0b" + S, S + b"\x0b", S + b"\x0c", S + b"\x00", b"\x00" + S, S + b"\x7f",
    S + b"\x80", S + b"\xa0", b"\xef\xbb\xbf" + S, b"\xef\xbc\x91e", b"\xc2\xb9e", b"\xd9\xa1e", S + b";", S + b"; ", S + b";a", S + b";a=b", S + b" ;a=b",
    S + b"; a=b", S + b";a=\"b\"", S + b';a="\r\n"', S + b';a="b', S + b";=", S + b";a=b;c=d", S + b";\x00", S + b";\n", S + b";a\nb", S + b";a\rb",
    S + b";" + b"x" * 10000, S + b"\\r\\n", b"~" + S, S + b"~", S + b"=", S + b":", S + b"\r", b"\r" + S, S + b"/", b"ffffffffffffffff",
    b"fffffffffffffffe", b"10000000000000000", b"1000000000000001e", b"fffffffffffffffff", b"8000000000000000", b"8000000000000001e"[:17], b"-8000000000000000",
    b"0" * 17 + S, b"0" * 100 + S, b"0" * 10000 + S, b"1" * 100, b"f" * 1000, b"00000001000000000000001e", b"null", b"NaN", b"1e1e1e1e1e1e1e1e1e",
    b"0o36", b"30d.", S + b"H"]
for size in SIZES:
    bad("chunk size %r" % size[:40], size + b"\r\n" + BODY + b"\r\n" + END, {400, 413, 431})
for size in (b"7fffffffffffffff", b"100000000000", b"ffffffff", b"4000001"):
    bad("a chunk beyond every limit: %r" % size, size + b"\r\n" + BODY, {400, 413})
bad("line ended by LF", S + b"\n" + BODY + b"\r\n" + END)
bad("line ended by CR", S + b"\r" + BODY + b"\r\n" + END)
bad("line ended by CR CR LF", S + b"\r\r\n" + BODY + b"\r\n" + END)
bad("line ended by LF CR", S + b"\n\r" + BODY + b"\r\n" + END)
bad("an empty line before the size", b"\r\n" + S + b"\r\n" + BODY + b"\r\n" + END)
bad("LF before the size", b"\n" + S + b"\r\n" + BODY + b"\r\n" + END)

# ---- the end of a chunk's data
for tail in (b"", b"\n", b"\r", b"\rX", b"X\r\n", b"XX", b"\n\r", b"\r\r\n", b"\x00\x00", b" \r\n", b"\r\n\r\n", b"\r\n\n", b"\r\n ", b"\t\r\n"):
    bad("data ended by %r" % tail, S + b"\r\n" + BODY + tail + END)
bad("a byte too many", S + b"\r\n" + BODY + b"x\r\n" + END)
bad("a size one too small", b"%x\r\n" % (len(BODY) - 1) + BODY + b"\r\n" + END)
bad("a second size that is bad", b"1\r\n{\r\nx\r\n")
bad("a second size that is empty", b"1\r\n{\r\n\r\n")
bad("a second size with a sign", b"1\r\n{\r\n+1\r\n \r\n")
bad("a blank line between chunks", b"a\r\n" + BODY[:10] + b"\r\n\r\n%x\r\n" % (len(BODY) - 10) + BODY[10:] + b"\r\n" + END)

# ---- the last chunk
BEFORE = S + b"\r\n" + BODY + b"\r\n"
for last in (b"0\n\r\n", b"0\r\n\n", b"0\n\n", b"0\r\r\n", b"0\r\n\r", b"0\r\n\rX", b"0;x\r\n\r\n", b"0 \r\n\r\n", b" 0\r\n\r\n", b"-0\r\n\r\n", b"+0\r\n\r\n", b"0x0\r\n\r\n",
             b"0.\r\n\r\n", b"\r\n\r\n", b"0\r\n", b"00000000000000000\r\n\r\n", b"0\x00\r\n\r\n", b"0X\r\n\r\n", b"o\r\n\r\n", b"0\r\nX\r\n\r\n", b"0\r\n:\r\n\r\n",
             b"0\r\n: y\r\n\r\n", b"0\r\n X: y\r\n\r\n", b"0\r\nX : y\r\n\r\n", b"0\r\nX: a\x00b\r\n\r\n", b"0\r\nX: a\r\n b\r\n\r\n", b"0\r\nX: a\nY: b\r\n\r\n", b"0\r\nX: a\rb\r\n\r\n",
             b"0\r\nX: a\n\n", b"0\r\nX\x00: a\r\n\r\n", b"0\r\nX Y: a\r\n\r\n", b"0\r\nX: \x01\r\n\r\n", b"0\r\nX: a\r\n\n", b"0\r\n\xff: a\r\n\r\n"):
    bad("last chunk %r" % last, BEFORE + last)
bad("16 KiB of trailers", BEFORE + b"0\r\n" + b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n" * 400 + b"\r\n", {400, 431})
bad("one trailer of 64 KiB", BEFORE + b"0\r\nX: " + b"y" * 65536 + b"\r\n\r\n", {400, 431})
bad("a thousand trailers", BEFORE + b"0\r\n" + b"X: y\r\n" * 2000 + b"\r\n", {400, 431})

# ---- bodies that are no JSON when they are put together
C.add("only the last chunk", chunked(END), 400)
C.add("no JSON", chunked(b"3\r\nabc\r\n" + END), 400)
