# SPDX-License-Identifier: Apache-2.0
"""K: one key, in one place, read one way; one answer for every failure."""

from case import BODY, KEY, Family, get, raw

K = Family("K")
CASES = K.cases
KEY_B = KEY.encode()
OTHER = b"sk-globex-5ecre7-3456789abcdef01"
EXPIRED = b"sk-expired-5ecre7-456789abcdef012"
WRONG = b"sk-wrong-5ecre7-56789abcdef01234"


def ask(note, fields, expect, path=b"/v1/chat/completions"):
    request = raw(b"POST " + path + b" HTTP/1.1", [b"Content-Length: %d" % len(BODY), *fields], BODY, auth=False)
    K.add(note, request, expect, reach=(1,) if expect == {200} else (0,) if 200 not in expect else (0, 1))


# ---- what opens
for field in (b"Authorization: Bearer " + KEY_B, b"authorization: bearer " + KEY_B, b"AUTHORIZATION: BEARER " + KEY_B, b"Authorization:Bearer " + KEY_B, b"Authorization: Bearer " + KEY_B + b"  ",
              b"Authorization:\tBearer " + KEY_B, b"x-api-key: " + KEY_B, b"X-API-KEY:" + KEY_B, b"api-key: " + KEY_B, b"x-goog-api-key: " + KEY_B):
    ask("opens: %r" % field[:24], [field], {200})
for first, second in ((b"Authorization: Bearer ", b"x-api-key: "), (b"x-api-key: ", b"api-key: "), (b"x-goog-api-key: ", b"Authorization: Bearer ")):
    ask("two places, one key", [first + KEY_B, second + KEY_B], {200})

# ---- what does not
ask("nothing", [], {401})
VALUES = [
    b"", b" ", b"Bearer", b"Bearer ", b"Bearer  ", b"Bearer  " + KEY_B, b"Bearer\t" + KEY_B, b"Bearer:" + KEY_B, b"Bearer=" + KEY_B, b"Bearer, " + KEY_B, b"Bearer" + KEY_B, KEY_B, b"Basic " + KEY_B, b"Basic c2stYWNtZTo=",
    b"Token " + KEY_B, b"Digest " + KEY_B, b"Negotiate x", b"AWS4-HMAC-SHA256 Credential=x", b"ApiKey " + KEY_B, b"Bearer Bearer " + KEY_B, b"Bearerx " + KEY_B, b"xBearer " + KEY_B, b"Bear er " + KEY_B, b"Bearer " + KEY_B + b" x",
    b"Bearer x " + KEY_B, b"Bearer " + KEY_B + b", Bearer " + WRONG, b"Bearer " + WRONG + b", Bearer " + KEY_B, b"Bearer " + KEY_B + b"," + KEY_B, b"Bearer " + KEY_B + b";", b"Bearer " + KEY_B + b",", b"Bearer \"" + KEY_B + b"\"", b"Bearer '" + KEY_B + b"'",
    b"Bearer <" + KEY_B + b">", b"Bearer {" + KEY_B + b"}", b"Bearer " + KEY_B[:-1], b"Bearer " + KEY_B[1:], b"Bearer " + KEY_B + b"x", b"Bearer x" + KEY_B, b"Bearer " + KEY_B[:20], b"Bearer " + KEY_B.upper(), b"Bearer " + KEY_B.title(),
    b"Bearer " + KEY_B * 2, b"Bearer " + KEY_B + b"=", b"Bearer " + KEY_B + b"%00", b"Bearer " + KEY_B + b"\\0", b"Bearer %73" + KEY_B[1:], b"Bearer " + EXPIRED, b"Bearer " + WRONG, b"Bearer *", b"Bearer %", b"Bearer _", b"Bearer .", b"Bearer sk-*",
    b"Bearer sk-acme-%", b"Bearer null", b"Bearer undefined", b"Bearer None", b"Bearer true", b"Bearer 0", b"Bearer -1", b"Bearer []", b"Bearer {}", b"Bearer ' OR '1'='1", b"Bearer '--", b"Bearer ;DROP", b"Bearer $(id)", b"Bearer `id`", b"Bearer ${KEY}",
    b"Bearer ../../etc/passwd", b"Bearer acme", b"Bearer main", b"Bearer local", b"Bearer admin", b"Bearer sha256:0000", b"Bearer sk-provider-5ecre7-6789abcdef012345", b"Bearer " + b"a" * 512, b"Bearer " + b"a" * 513, b"Bearer " + b"a" * 10000,
    b"Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhY21lIn0.", b"Bearer \xe2\x80\x8b" + KEY_B, b"Bearer " + KEY_B + b"\xe2\x80\x8b", b"Bearer " + KEY_B + b"\xa0", b"Bearer\xa0" + KEY_B, b"Bearer \xef\xbd\x93" + KEY_B[1:], b"Bearer " + KEY_B + b"\xff",
    b"Bearer " + KEY_B + b"\\n", b"Bearer " + KEY_B + b"#", b"Bearer " + KEY_B + b"?", b"Bearer " + KEY_B + b"&key=x", b"Bearer " + KEY_B.replace(b"-", b"_"), b"Bearer " + KEY_B.replace(b"-", b"\xe2\x80\x90"), b"Bearer " + KEY_B[::-1],
]
for value in VALUES:
    ask("Authorization: %r" % value[:50], [b"Authorization: " + value], {401})
for byte in [0x00, 0x01, 0x07, 0x08, 0x0A, 0x0B, 0x0C, 0x0D, 0x1B, 0x1F, 0x7F]:
    char = bytes([byte])
    for note, value in (("behind", KEY_B + char), ("behind, more", KEY_B + char + b"junk"), ("before", char + KEY_B), ("inside", KEY_B[:10] + char + KEY_B[10:])):
        ask("0x%02x %s the key" % (byte, note), [b"Authorization: Bearer " + value], {400, 401})
        if byte in (0x00, 0x0B):
            ask("0x%02x %s the key in x-api-key" % (byte, note), [b"x-api-key: " + value], {400, 401})
for value in (b"", b" ", b"Bearer " + KEY_B, KEY_B + b" x", KEY_B + b"," + KEY_B, WRONG, EXPIRED, KEY_B[:-1], KEY_B + b"x", b"a" * 513, b"*", b"' OR 1=1", KEY_B.upper(), b"null"):
    for name in (b"x-api-key", b"api-key", b"x-goog-api-key"):
        ask("%s: %r" % (name.decode(), value[:30]), [name + b": " + value], {401})

# ---- repeated, or several that differ
B = b"Authorization: Bearer "
for note, fields in (
    ("the same twice", [B + KEY_B, B + KEY_B]), ("twice, the second wrong", [B + KEY_B, B + WRONG]), ("twice, the first wrong", [B + WRONG, B + KEY_B]), ("twice, in other cases", [B + KEY_B, b"AUTHORIZATION: bearer " + KEY_B]),
    ("twice, one empty", [B + KEY_B, b"Authorization:"]), ("twice, one empty first", [b"Authorization:", B + KEY_B]), ("two tenants", [B + KEY_B, b"x-api-key: " + OTHER]), ("two tenants, the other way", [B + OTHER, b"x-api-key: " + KEY_B]),
    ("a wrong one beside", [B + KEY_B, b"x-api-key: " + WRONG]), ("a wrong one before", [B + WRONG, b"x-api-key: " + KEY_B]), ("an empty one beside", [B + KEY_B, b"x-api-key: "]), ("x-api-key twice", [b"x-api-key: " + KEY_B, b"x-api-key: " + KEY_B]),
    ("x-api-key twice, tenants", [b"x-api-key: " + KEY_B, b"X-Api-Key: " + OTHER]), ("three places, one other", [B + KEY_B, b"x-api-key: " + KEY_B, b"api-key: " + OTHER]), ("Basic beside", [b"Authorization: Basic eDp5", b"x-api-key: " + KEY_B]),
    ("a scheme unknown beside", [b"Authorization: Foo bar", b"api-key: " + KEY_B]), ("expired beside", [B + KEY_B, b"x-goog-api-key: " + EXPIRED]),
):
    ask(note, fields, {400, 401})
for field in (b"Proxy-Authorization: Bearer " + KEY_B, b"X-Authorization: Bearer " + KEY_B, b"Authorization2: Bearer " + KEY_B, b"Authorizatio: Bearer " + KEY_B, b"X-Forwarded-Authorization: Bearer " + KEY_B, b"Cookie: key=" + KEY_B,
              b"Cookie: Authorization=Bearer " + KEY_B, b"X-Auth-Token: " + KEY_B, b"apikey: " + KEY_B, b"x_api_key: " + KEY_B, b"openai-api-key: " + KEY_B, b"x-litellm-key: " + KEY_B, b"x-portkey-api-key: " + KEY_B, b"Sec-WebSocket-Protocol: " + KEY_B,
              b"X-User: acme", b"X-Tenant: acme", b"X-Forwarded-User: acme", b"X-Remote-User: acme", b"x-sluice-tenant: acme", b"x-sluice-key: " + KEY_B, b"From: acme", b"X-Forwarded-For: 127.0.0.1", b"X-Real-IP: 127.0.0.1", b"X-Client-Cert: x"):
    ask("no place for a key: %r" % field[:28], [field], {401})
for field in (b"Authorization : Bearer " + KEY_B, b" Authorization: Bearer " + KEY_B, b"Authorization\x00: Bearer " + KEY_B, b"Authorization:\r\n Bearer " + KEY_B, b"Authorization: Bearer\r\n " + KEY_B, b"X: y\nAuthorization: Bearer " + KEY_B,
              b"X: y\rAuthorization: Bearer " + KEY_B, b"Authorization Bearer " + KEY_B):
    ask("a field that is none: %r" % field[:28], [field], {400})

# ---- in the query
for query, path, expect in ((b"?key=" + KEY_B, b"/v1/models", {401}), (b"?api_key=" + KEY_B, b"/v1/models", {401}), (b"?access_token=" + KEY_B, b"/v1/models", {401}), (b"?api-key=" + KEY_B, b"/v1/models", {401}), (b"?Authorization=Bearer+" + KEY_B, b"/v1/models", {401}),
                            (b"?key=" + WRONG, b"/v1beta/models/x:generateContent", {401, 404, 405}), (b"?key=", b"/v1beta/models/x:generateContent", {401, 404, 405}), (b"?key=" + KEY_B + b"&key=" + KEY_B, b"/v1beta/models/x:generateContent", {400, 401, 404, 405}),
                            (b"?key=" + KEY_B + b"&key=" + WRONG, b"/v1beta/models/x:generateContent", {400, 401, 404, 405}), (b"?Key=" + KEY_B, b"/v1beta/models/x:generateContent", {401, 404, 405}), (b"?key=%73" + KEY_B[1:], b"/v1beta/models/x:generateContent", {400, 401, 404, 405})):
    K.add("query %r of %s" % (query[:24], path.decode()), get(path + query, auth=False), expect)

# ---- pages of the operators open to no client
for path in (b"/admin/v1/overview", b"/admin/v1/config", b"/admin/v1/keys", b"/admin/v1/requests", b"/admin/v1/usage", b"/ui", b"/admin"):
    K.add("GET %s" % path.decode(), get(path), {401, 403, 404})
    K.add("POST %s" % path.decode(), raw(b"POST " + path + b" HTTP/1.1", [b"Content-Length: 0"]), {401, 403, 404, 405})
    K.add("GET %s with nothing" % path.decode(), get(path, auth=False), {401, 403, 404})
