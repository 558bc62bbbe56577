# SPDX-License-Identifier: Apache-2.0
"""P: several requests in one go; each is answered once, in order, and nothing behind a doubt runs."""

from case import BODY, LENGTH, SMUGGLED, Family, chat, get, raw

P = Family("P")
CASES = P.cases

for count in (2, 3, 10, 50):
    P.add(f"{count} chats", chat() * count, 200, reach=(count,), answers=(count,))
    P.add(f"{count} pages", get() * count, 200, answers=(count,))
P.add("pages and chats", (get() + chat()) * 5, 200, reach=(5,), answers=(10,))
P.add("chunked and lengths", (chat() + raw(fields=[b"Transfer-Encoding: chunked"], body=b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY))) * 3, 200, reach=(6,), answers=(6,))
P.add("empty lines between", chat() + b"\r\n" + chat() + b"\r\n" + chat(), 200, reach=(3,), answers=(3,))
P.add("a refused one between", chat() + chat(b'{"model":"nobody"}') + chat(), 200, reach=(1, 2), answers=(2, 3))
P.add("an unknown path between", get() + get(b"/v1/nothing") + get(), 200, answers=(2, 3))
STREAM = chat(b'{"model":"fast","messages":[],"stream":true}')
P.add("streams", STREAM * 5, 200, reach=(5,), answers=(5,))
P.add("a stream and a page", STREAM + get(), 200, reach=(1,), answers=(2,))
P.add("close on the first", chat(fields=[b"Connection: close"]) + SMUGGLED, 200, reach=(1,), closes=True)
P.add("close on the second", chat() + chat(fields=[b"Connection: close"]) + SMUGGLED, 200, reach=(2,), answers=(2,))
DOUBTS = {
    "two lengths": raw(fields=[b"Content-Length: " + LENGTH, b"Content-Length: 0"], body=BODY), "length and coding": raw(fields=[b"Content-Length: " + LENGTH, b"Transfer-Encoding: chunked"], body=BODY),
    "a bad chunk": raw(fields=[b"Transfer-Encoding: chunked"], body=b"zz\r\n" + BODY), "a folded line": chat(fields=[b"X: a\r\n b"]), "no Host": chat(host=None), "a bare LF": chat().replace(b"\r\n", b"\n", 1), "NUL": chat(fields=[b"X: \x00"]),
    "a strange method": chat(line=b"FOO /v1/models HTTP/1.1"), "a strange version": chat(line=b"POST /v1/models HTTP/1.7"), "an absolute form": chat(line=b"POST http://a/v1/chat/completions HTTP/1.1"),
    "too many fields": chat(fields=[b"X: y"] * 300), "a length too large": raw(fields=[b"Content-Length: 99999999999"], body=BODY), "gzip coding": raw(fields=[b"Transfer-Encoding: gzip"], body=BODY), "no length": raw(body=BODY),
}
for note, doubt in DOUBTS.items():
    if note == "an absolute form":
        P.add(f"behind a doubt: {note}", doubt, {400, 404})
        continue
    P.refuse(f"behind a doubt: {note}", doubt + SMUGGLED, {400, 405, 411, 413, 431, 501, 505})
    P.add(f"in the middle a doubt: {note}", chat() + doubt + SMUGGLED, 200, reach=(1,), answers=(2,))
    P.add(f"behind a page a doubt: {note}", get() + doubt + SMUGGLED, 200, answers=(2,))
INSIDE = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n\r\n"
P.add("a request inside a body", chat(b'{"model":"fast","x":"%s"}' % INSIDE.replace(b"\r\n", b"\\r\\n")), 200, reach=(1,))
P.add("a request as a body", raw(fields=[b"Content-Length: %d" % len(SMUGGLED)], body=SMUGGLED), 400)
P.add("a request in a chunk", raw(fields=[b"Transfer-Encoding: chunked"], body=b"%x\r\n%s\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)), 400)
P.add("a request in a query", get(b"/v1/models?x=%20HTTP/1.1%0d%0aHost:%20a%0d%0a%0d%0aGET%20/v1/models"), {200, 400})
P.add("a request in a value", chat(fields=[b"X: POST /v1/chat/completions HTTP/1.1"]), 200, reach=(1,))
P.add("an answer as a request", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" + SMUGGLED, {400, 405, 501, 505}, closes=True)
P.add("bytes behind the last", chat() + b"x", 200, reach=(1,), answers=(1, 2))
P.add("half a request behind", chat() + SMUGGLED[:40], 200, reach=(1,), answers=(1, 2))
