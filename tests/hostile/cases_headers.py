# SPDX-License-Identifier: Apache-2.0
"""N: names and values of fields (RFC 9110 5), and the fields that mean something to a proxy."""

from case import BODY, SMUGGLED, Family, chat, get

N = Family("N")
CASES = N.cases

for name in (b"", b" ", b"X Y", b"X\tY", b"X(Y", b"X)", b"X,Y", b"X/Y", b"X;Y", b"X<", b"X=Y", b"X>", b"X?", b"X@Y", b"X[", b"X\\", b"X]", b"X{", b"X}", b'"X"', b"X\x01", b"X\x7f", b"X\x80",
             b"\xc3\xa9", b"X\xff", b"\x0bX", b"X\x0b"):
    N.refuse(b"name %r" % name, chat(fields=[name + b": y"]) + SMUGGLED)
N.refuse("no colon", chat(fields=[b"X"]) + SMUGGLED)
N.refuse("no colon, two words", chat(fields=[b"X y"]) + SMUGGLED)
N.refuse("only a colon", chat(fields=[b":"]) + SMUGGLED)
for name in (b"!#$%&'*+-.^_`|~09azAZ", b"x-" + b"y" * 200, b"1"):
    N.add(b"name %r" % name[:20], chat(fields=[name + b": y"]), 200, reach=(1,))
for byte in [*range(0x00, 0x09), *range(0x0B, 0x0D), *range(0x0E, 0x20), 0x7F]:
    for name in (b"X", b"User-Agent"):
        N.refuse(b"value with 0x%02x" % byte, chat(fields=[name + b": a" + bytes([byte]) + b"b"]) + SMUGGLED)
for value in (b"", b" ", b"\t", b"a b", b"a\tb", b"\xe9", b"\xc3\xa9", b"\xff\xfe", b"a:b:c", b":", b",,,", b'"', b"\\", b"%00", b"%0d%0aX: y", b"${jndi:ldap://a/}", b"() { :;}; x", b"<script>"):
    for name in (b"X", b"User-Agent"):
        N.add(b"value %r of %s" % (value, name), chat(fields=[name + b": " + value]), 200, reach=(1,))
N.add("a hundred fields", chat(fields=[b"X%d: y" % i for i in range(90)]), 200, reach=(1,))
N.refuse("a thousand fields", chat(fields=[b"X%d: y" % i for i in range(1000)]) + SMUGGLED, {400, 431})
N.refuse("200 equal fields", chat(fields=[b"X: y"] * 200) + SMUGGLED, {400, 431})
N.refuse("a value of 70 KiB", chat(fields=[b"X: " + b"y" * 70000]) + SMUGGLED, {400, 431})
N.refuse("a name of 70 KiB", chat(fields=[b"x" * 70000 + b": y"]) + SMUGGLED, {400, 431})
N.refuse("a million bytes without an end", b"GET /v1/models HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 1000000, {400, 431})
N.add("a value of 8 KiB to be forwarded", chat(fields=[b"User-Agent: " + b"y" * 8192]), {200, 400, 431}, reach=(0, 1))

# ---- what a proxy must not be led astray by
for line, expect, reach in (
    (b"Connection: close", {200}, (1,)), (b"Connection: keep-alive", {200}, (1,)), (b"Connection: close, keep-alive", {200, 400}, (0, 1)), (b"Connection: ", {200, 400}, (0, 1)),
    (b"Connection: ,", {200, 400}, (0, 1)), (b"Connection: content-length", {200, 400}, (0, 1)), (b"Connection: transfer-encoding", {200, 400}, (0, 1)),
    (b"Connection: host", {200, 400}, (0, 1)), (b"Connection: authorization", {200, 400, 401}, (0, 1)), (b"Connection: x-request-id", {200, 400}, (0, 1)),
    (b"Connection: upgrade", {200, 400}, (0, 1)), (b"Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA", {200, 400}, (0, 1)),
    (b"Connection: Upgrade\r\nUpgrade: websocket", {200, 400}, (0, 1)), (b"Upgrade: TLS/1.0", {200, 400}, (0, 1)), (b"Proxy-Connection: keep-alive", {200}, (1,)),
    (b"Keep-Alive: timeout=1000000, max=0", {200}, (1,)), (b"TE: trailers, deflate;q=0.5", {200}, (1,)), (b"Trailer: Content-Length", {200, 400}, (0, 1)),
    (b"Via: 1.0 a, 1.1 b", {200}, (1,)), (b"Max-Forwards: 0", {200}, (1,)), (b"X-HTTP-Method-Override: DELETE", {200}, (1,)), (b"X-Method-Override: GET", {200}, (1,)),
    (b"X-Forwarded-For: 127.0.0.1", {200}, (1,)), (b"X-Forwarded-Proto: https", {200}, (1,)), (b"X-Real-IP: 127.0.0.1", {200}, (1,)), (b"X-Original-URL: /admin", {200}, (1,)),
    (b"Range: bytes=0-1", {200}, (1,)), (b"If-None-Match: *", {200}, (1,)), (b"If-Modified-Since: x", {200}, (1,)), (b"Accept-Encoding: gzip, br", {200}, (1,)),
    (b"Accept: text/html", {200, 406}, (0, 1)), (b"Origin: null", {200}, (1,)), (b"Referer: http://a", {200}, (1,)), (b"Cookie: a=b; a=c", {200}, (1,)), (b"DNT: 1", {200}, (1,)),
    (b"traceparent: 00-zz-zz-zz", {200}, (1,)), (b"traceparent: " + b"0" * 500, {200}, (1,)), (b"tracestate: a=b", {200}, (1,)), (b"x-request-id: a b\tc", {200}, (1,)),
    (b"x-request-id: " + b"a" * 4000, {200}, (1,)), (b"Idempotency-Key: " + b"k" * 200, {200, 400}, (0, 1)), (b"x-sluice-tags: =,=,,a", {200, 400}, (0, 1)),
    (b"x-sluice-tags: " + b"a=b," * 500, {200, 400}, (0, 1)), (b"x-sluice-policy: x", {200, 400, 403}, (0, 1)), (b"x-sluice-explain: 1", {200, 400, 403}, (0, 1)),
    (b"Content-Type: application/json", {200, 400, 415}, (0, 1)), (b"Content-Type: text/plain", {200, 400, 415}, (0, 1)), (b"User-Agent: a\r\nUser-Agent: b", {200, 400}, (0, 1)),
    (b"Date: x", {200}, (1,)), (b"Priority: u=0", {200}, (1,)), (b"Sec-Fetch-Site: cross-site", {200}, (1,)), (b"Early-Data: 1", {200, 425}, (0, 1)), (b"Pragma: no-cache", {200}, (1,)),
    (b"Cache-Control: only-if-cached", {200, 504}, (0, 1)), (b"Cache-Control: no-store", {200}, (1,)), (b"Content-MD5: x", {200}, (1,)), (b"Content-Range: bytes 0-1/2", {200, 400}, (0, 1)),
    (b"Content-Location: /x", {200}, (1,)), (b"Content-Language: de", {200}, (1,)), (b"Prefer: wait=5", {200}, (1,)),
):
    N.add(b"%s" % line[:60], chat(fields=[line]), expect, reach=reach, forwarded=BODY)
for value, status in ((b"100-continue", {200}), (b"100-Continue", {200}), (b"", {200, 417}), (b"x", {417}), (b"100-continue, x", {417}), (b"100-continue;q=1", {417}), (b"100-continue 1", {417}),
                      (b"200-ok", {417}), (b"101-continue", {417}), (b"100", {417}), (b"\"100-continue\"", {417})):
    N.add(b"Expect: %s" % value, chat(fields=[b"Expect: " + value]), status, reach=(0, 1))
N.add("Expect twice", chat(fields=[b"Expect: 100-continue", b"Expect: 100-continue"]), {200, 400, 417}, reach=(0, 1))
N.add("Expect twice, one unknown", chat(fields=[b"Expect: 100-continue", b"Expect: x"]), {400, 417})
N.add("Expect on GET", get(fields=[b"Expect: 100-continue"]), {200, 417})
