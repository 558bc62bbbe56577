# SPDX-License-Identifier: Apache-2.0
"""E: media types, codings of the body, sizes."""

import gzip

from case import BODY, SMUGGLED, Family, chat, raw

E = Family("E")
CASES = E.cases
LINE = b"POST /v1/chat/completions HTTP/1.1"
LENGTH = b"Content-Length: %d" % len(BODY)

for value in (b"application/json", b"Application/JSON", b"application/json; charset=utf-8", b"application/json;charset=UTF-8", b'application/json; charset="utf-8"', b"application/json ;x=y"):
    E.add(b"type %s" % value, raw(LINE, [LENGTH, b"Content-Type: " + value], BODY, json=False), 200, reach=(1,))
E.add("no type", raw(LINE, [LENGTH], BODY, json=False), {200, 415}, reach=(0, 1))
for value in (b"", b"text/plain", b"text/html", b"application/xml", b"application/x-www-form-urlencoded", b"application/octet-stream", b"application/jsonx", b"application/json-patch+json", b"application", b"/json", b"json", b"*/*",
              b"application/json, text/plain", b"text/json", b"application/x-json", b"application/ json", b"application /json", b"multipart/form-data; boundary=x", b"multipart/mixed; boundary=x", b"application/grpc", b"application/msgpack",
              b"application/json/x", b"text/event-stream"):
    E.add(b"type %s" % value, raw(LINE, [LENGTH, b"Content-Type: " + value], BODY, json=False), {400, 415})
E.add("two types", raw(LINE, [LENGTH, b"Content-Type: application/json", b"Content-Type: text/plain"], BODY, json=False), {400, 415})
SQUEEZED = gzip.compress(BODY)
BOMB = gzip.compress(b'{"model":"fast","x":"' + b"a" * 50_000_000 + b'"}')
for value in (b"gzip", b"GZIP", b"x-gzip", b"deflate", b"br", b"zstd", b"compress", b"gzip, gzip", b"identity, gzip", b"gzip;q=1", b"unknown", b"aes128gcm", b" gzip ", b"*"):
    E.add(b"coding %s" % value, chat(SQUEEZED, [b"Content-Encoding: " + value]), 415)
E.add("identity", chat(BODY, [b"Content-Encoding: identity"]), {200, 415}, reach=(0, 1))
E.add("an empty coding", chat(BODY, [b"Content-Encoding: "]), {200, 400, 415}, reach=(0, 1))
E.add("two codings", chat(SQUEEZED, [b"Content-Encoding: identity", b"Content-Encoding: gzip"]), {400, 415})
E.add("a bomb", chat(BOMB, [b"Content-Encoding: gzip"]), 415)
E.add("a bomb without a word", chat(BOMB), 400)
E.add("squeezed without a word", chat(SQUEEZED), 400)

# ---- sizes; the limit of this suite's gateway is 1 MiB
PAD = b'{"model":"fast","messages":[],"x":"%s"}'
FULL = PAD.replace(b"%s", b"x" * ((1 << 20) - len(PAD) + 2))
assert len(FULL) == 1 << 20
E.add("just the limit", chat(FULL), 200, reach=(1,), forwarded=FULL)
E.add("one byte more", chat(FULL + b" "), 413)
E.add("announced too large", raw(LINE, [b"Content-Length: 100000000"], b"{"), 413, closes=True)
E.add("chunked, just the limit", raw(LINE, [b"Transfer-Encoding: chunked"], b"%x\r\n%s\r\n0\r\n\r\n" % (len(FULL), FULL)), 200, reach=(1,))
E.add("chunked, too large", raw(LINE, [b"Transfer-Encoding: chunked"], b"%x\r\n%s\r\n" % (len(FULL), FULL) * 2 + b"0\r\n\r\n"), 413, closes=True)
E.add("chunked, announced too large", raw(LINE, [b"Transfer-Encoding: chunked"], b"7fffffff\r\n{"), {400, 413}, closes=True)
E.add("a small request behind a large refusal", raw(LINE, [b"Content-Length: 2000000"], b"x" * 2000000) + SMUGGLED, 413, closes=True)
for path in (b"/v1/audio/transcriptions", b"/v1/files", b"/v1/images/edits"):
    for kind in (b"application/json", b"text/plain", b"multipart/form-data", b"multipart/form-data; boundary=", b"multipart/form-data; boundary=" + b"b" * 100, b"multipart/form-data; boundary=a b", b"multipart/form-data; boundary=\"a",
                 b"multipart/form-data; x=y", b"multipart/form-data; boundary=a\x80", b"multipart/related; boundary=a"):
        E.add(b"%s as %s" % (path, kind[:50]), raw(b"POST " + path + b" HTTP/1.1", [b"Content-Type: " + kind, b"Content-Length: 4"], b"--a\r", json=False), {400, 415}, closes=False)
FORMS = {
    "no boundary inside": b"hello", "only the end": b"--b--\r\n", "no end": b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nfast', "no name": b"--b\r\nContent-Disposition: form-data\r\n\r\nfast\r\n--b--\r\n",
    "no head": b"--b\r\nfast\r\n--b--\r\n", "bare LF": b'--b\nContent-Disposition: form-data; name="model"\n\nfast\n--b--\n', "a long head": b'--b\r\nContent-Disposition: form-data; name="' + b"x" * 100000 + b'"\r\n\r\nfast\r\n--b--\r\n',
    "model twice": (b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nfast\r\n--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nslow\r\n--b--\r\n'),
    "model long": b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n' + b"x" * 10000 + b"\r\n--b--\r\n", "model empty": b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n\r\n--b--\r\n',
    "model unknown": b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nnobody\r\n--b--\r\n', "model with a path": b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n../../x\r\n--b--\r\n',
    "model with CR LF": b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nslow\r\nX: y\r\n--b--\r\n', "empty": b"",
}
for note, form in FORMS.items():
    E.add(f"form: {note}", raw(b"POST /v1/audio/transcriptions HTTP/1.1", [b"Content-Type: multipart/form-data; boundary=b", b"Content-Length: %d" % len(form)], form, json=False), {400, 404})
