# SPDX-License-Identifier: Apache-2.0
"""J: RFC 8259, read once and whole; what is accepted arrives byte for byte."""

from case import Family, chat

J = Family("J")
CASES = J.cases
FRAME = b'{"model":"fast","messages":[],"x":%s}'
GOOD, BAD, EITHER = {200}, {400}, {200, 400}


def document(note, body, expect):
    J.add(note, chat(body), expect, reach=(1,) if expect == GOOD else (0,) if expect == BAD else (0, 1), forwarded=body)


def value(text, expect, note=None):
    document(note or "%r" % text[:40], FRAME.replace(b"%s", text), expect)


# ---- values that are right
for text in (
    b"0", b"-0", b"1", b"-1", b"0.1", b"-0.1", b"1e1", b"1E1", b"1e+1", b"1e-1", b"1.5e10", b"0e0", b"0.0", b"-0.0e-0", b"123456789012345678901234567890", b"1e400", b"-1e400", b"1e-400", b"1E+9999999999", b"9223372036854775808",
    b"18446744073709551616", b"0." + b"1" * 5000, b"1" * 5000, b"true", b"false", b"null", b'""', b'"a"', b"[]", b"{}", b"[1]", b"[[]]", b'{"a":{}}', b"[null]", b"[1,2,3]", b' [ 1 , 2 ] ', b'\t\r\n 1', b'"\\""', b'"\\\\"', b'"\\/"', b'"\\b\\f\\n\\r\\t"',
    b'"\\u0041"', b'"\\u00e9"', b'"\\u20AC"', b'"\\ud83d\\ude00"', b'"\\uD83D\\uDE00"', b'"\\u0000"', b'"\\ud800"', b'"\\udc00"', b'"\\ud800\\ud800"', b'"\\ud800x"', b'"\\ud83d\\u0041"', b'"\\uffff"', b'"\\ufffe"', b'"\\u001f"', b'"\x7f"', b'"\xc2\x80"', b'"\xc3\xa9"',
    b'"\xe2\x82\xac"', b'"\xef\xbf\xbf"', b'"\xf0\x9f\x98\x80"', b'"\xf4\x8f\xbf\xbf"', b'"\xe2\x80\xa8\xe2\x80\xa9"', b'"\xef\xbb\xbf"', b'"' + b"a" * 100000 + b'"', b'"/* */ //"', b'{"":""}', b'{"a":1,"a":2}', b'{"\\u0061":1,"a":2}', b'{"model":"y"}', b'{"stream":1,"stream":2}',
    b'[' + b",".join([b"1"] * 20000) + b"]", b'{' + b",".join(b'"k%d":%d' % (i, i) for i in range(10000)) + b"}", b"[" * 60 + b"]" * 60, b'{"a":' * 60 + b"1" + b"}" * 60, b"[[[[1]],[2]],{}]", b'"\\u005c\\u0022"', b'"</script>"',
):
    value(text, GOOD)
document("spaces around", b' \t\r\n{ "model" : "fast" , "messages" : [ ] } \t\r\n'.replace(b" : ", b":"), GOOD)
document("no other member", b'{"model":"fast"}', {200, 400})

# ---- values that are not
for text in (
    b"", b" ", b",", b":", b"-", b"+", b"+1", b"--1", b"-+1", b"01", b"-01", b"00", b"1.", b"-1.", b".1", b"-.1", b"1e", b"1e+", b"1E-", b"1e1.5", b"1.e1", b"1..2", b"1.2.3", b"1e1e1", b"0x10", b"0b1", b"0o7", b"1_000", b"1,000", b"1 000", b"1a", b"1f", b"1L", b"1n", b"$1", b"1%",
    b"NaN", b"nan", b"Infinity", b"-Infinity", b"inf", b"undefined", b"None", b"True", b"FALSE", b"Null", b"nul", b"nulll", b"tru", b"truee", b"fals", b"t", b"\xef\xbc\x91", b"\xd9\xa1", b"'a'", b"`a`", b"a", b"/a/", b"\"", b'"a', b'a"', b'"a""b"', b'"a" "b"', b'"\\"', b'"\\x41"', b'"\\a"', b'"\\v"', b'"\\0"',
    b"\"\\'\"", b'"\\U0041"', b'"\\u"', b'"\\u1"', b'"\\u12"', b'"\\u123"', b'"\\u12g4"', b'"\\u+123"', b'"\\u 123"', b'"\\u{41}"', b'"\\ "', b'"\\\n"', b'"\t"', b'"\n"', b'"\r"', b'"\x00"', b'"\x01"', b'"\x08"', b'"\x0b"', b'"\x0c"', b'"\x1b"', b'"\x1f"', b"\x00", b"\x0b1", b"1\x00", b"\x0c1", b"\xa01", b"\xc2\xa01",
    b"\xe2\x80\xa81", b"\xef\xbb\xbf1", b"[", b"]", b"[1", b"1]", b"[1,]", b"[,1]", b"[,]", b"[1,,2]", b"[1 2]", b"[1:2]", b"[1}", b"{1]", b"[[]", b"[]]", b"{", b"}", b'{"a"}', b'{"a":}', b'{"a":1,}', b'{,"a":1}', b'{"a" 1}', b'{"a":1 "b":2}', b'{"a":1,,"b":2}', b'{"a"::1}', b'{a:1}', b"{'a':1}", b"{1:1}", b"{null:1}",
    b'{"a":1}}', b'{{}}', b'{[]:1}', b'{"a":1;"b":2}', b'{"a"=1}', b"// x\n1", b"/* x */ 1", b"1 // x", b"1 /* x */", b"# x\n1", b"1;", b"(1)", b"1,", b"*", b"&", b"<a>", b"...", b"~", b"!1", b"@", b"\\", b"\\u0031", b'"\\u0022', b"[\"a\",\n4\n,1,", b"-a", b"- 1", b"1 .5", b"1. 5", b"1 e5", b'"a\\', b'"\\ud83d\\"', b'"\\ud83d\\u"', b'"\\ud83d\\u12"',
):
    value(text, BAD)

# ---- bytes that are no UTF-8 (RFC 3629)
for text in (
    b"\x80", b"\xbf", b"\xc0\x80", b"\xc0\xaf", b"\xc1\xbf", b"\xc2", b"\xc2\x20", b"\xc3\xc3", b"\xe0\x80\x80", b"\xe0\x9f\xbf", b"\xe2\x82", b"\xe2\x28\xa1", b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xed\xa0\xbd\xed\xb8\x80", b"\xef\xbf", b"\xf0\x80\x80\x80", b"\xf0\x8f\xbf\xbf", b"\xf0\x9f\x98",
    b"\xf0\x28\x8c\xbc", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80", b"\xfe", b"\xff", b"\xff\xfe", b"a\xe9b", b"\xc3\xa9\xa9",
):
    value(b'"' + text + b'"', BAD, "no UTF-8: %r" % text)
    document("no UTF-8 in a name: %r" % text, b'{"model":"fast","messages":[],"' + text + b'":1}', BAD)
document("no UTF-8 in a long string", FRAME.replace(b"%s", b'"' + b"a" * 5000 + b"\xff" + b"a" * 5000 + b'"'), BAD)
document("no UTF-8 at the very end", FRAME.replace(b"%s", b'"' + b"a" * 5000 + b"\xc3" + b'"'), BAD)

# ---- whole documents
for body in (b"[]", b"1", b'"model"', b"null", b"true", b'["model","fast"]', b"{}x", b'{"model":"fast"}x', b'{"model":"fast"}}', b'{"model":"fast"}{}', b'{"model":"fast"}\x00', b'\x00{"model":"fast"}', b'{"model":"fast"},', b'{"model":"fast"} 1',
             b'\xef\xbb\xbf{"model":"fast","messages":[]}', b'\xff\xfe{\x00}\x00', b'\x00{\x00}', b'{"model":"fast"', b'{"model":"fas', b'{"model"', b'{"model":', b"{", b"model=fast", b"<xml/>", b"{'model':'fast'}", b'{model:"fast"}', b'{"model":"fast",}',
             b'// x\n{"model":"fast"}', b'{"model":"fast"}// x', b'data: {"model":"fast"}', b")]}',\n{\"model\":\"fast\"}", b'{"model":"fast"}\x1a', b'\x0b{"model":"fast"}', b'{"model":"fast"}\x0c', b"\xe2\x80\x8b{}", b"--b\r\nx", b'{"model":"fast"}\xc2\x85'):
    document("document %r" % body[:30], body, BAD)
for n, expect in ((100, GOOD), (120, EITHER), (127, EITHER), (128, EITHER), (130, BAD), (200, BAD), (1000, BAD), (100000, BAD), (150000, BAD)):
    value(b"[" * n + b"]" * n, expect, "%d deep" % n)
    value(b'{"a":' * n + b"1" + b"}" * n, expect, "%d deep, objects" % n)
value(b"[" * 100000, BAD, "100000 opened")
value(b"[{}" * 50000, BAD, "50000 opened, mixed")
value(b"]" * 100000, BAD, "100000 closed")
value(b'"' + b"\\u0041" * 100000 + b'"', GOOD, "100000 escapes")
value(b'"' + b"\\" * 99999 + b'"', BAD, "99999 backslashes")
value(b'"' + b"\\\\" * 50000 + b'"', GOOD, "50000 pairs of backslashes")
value(b"[" + b"[]," * 100000 + b"1]", GOOD, "100000 empty lists")
value(b"1" * 1000000, EITHER, "a number of a million digits")
value(b"{" + b'"a":1,' * 100000 + b'"b":1}', GOOD, "the same name a hundred thousand times, where nobody reads it")

# ---- names that policy reads stand once, however they are written
for first, second in (
    (b'"model":"fast"', b'"model":"slow"'), (b'"model":"fast"', b'"model":"fast"'), (b'"model":"fast"', b'"\\u006dodel":"slow"'), (b'"\\u006dodel":"fast"', b'"model":"slow"'), (b'"\\u006dodel":"fast"', b'"\\u006Dodel":"slow"'),
    (b'"m\\u006f\\u0064el":"fast"', b'"model":"slow"'), (b'"model":"fast"', b'"model":null'), (b'"model":null', b'"model":"fast"'), (b'"model":"fast","stream":true', b'"stream":false'), (b'"model":"fast","stream":true', b'"\\u0073tream":true'),
    (b'"model":"fast","max_tokens":1', b'"max_tokens":2'), (b'"model":"fast","max_completion_tokens":1', b'"max_completion_tokens":2'), (b'"model":"fast","n":1', b'"n":2'), (b'"model":"fast","user":"a"', b'"user":"b"'),
    (b'"model":"fast","stream":true,"stream_options":{"include_usage":true}', b'"stream_options":{}'),
):
    document("twice: %r %r" % (first, second), b"{%s,%s}" % (first, second), BAD)
    document("twice, apart: %r %r" % (first, second), b'{%s,"messages":[{"model":"z"}],%s}' % (first, second), BAD)
document("twice inside stream_options", b'{"model":"fast","stream":true,"stream_options":{"include_usage":true,"include_usage":false}}', BAD)
for name in (b'"Model"', b'"MODEL"', b'"mode\\u004c"', b'"Max_Tokens"', b'"max_to\xe2\x84\xaaens"', b'"N"', b'"\xc5\xbftream"'):
    document("in another case: %s" % name.decode(), b'{%s:1,"model":"fast","messages":[]}' % name, BAD)
# "models" is read, too: who would take it for a list of models must be told so.
document('its plural, in capitals: "MODELS"', b'{"MODELS":"slow","model":"fast","messages":[]}', BAD)
for name in (b'"Modell"', b'"MODELLS"', b'" model"', b'"model "', b'"model\\u0000"', b'"mod\\u200bel"', b'"\xef\xbd\x8dodel"'):
    document("only like it: %s" % name.decode(), b'{%s:"slow","model":"fast","messages":[]}' % name, GOOD)
    document("only like it, alone: %s" % name.decode(), b'{%s:"fast","messages":[]}' % name, BAD)

# ---- fields of the wrong kind
for field in (b'"model":1', b'"model":null', b'"model":true', b'"model":["fast"]', b'"model":{"fast":1}', b'"model":""', b'"model":"fast","stream":"true"', b'"model":"fast","stream":1', b'"model":"fast","stream":[]'):
    J.add("field %r" % field, chat(b"{%s,\"messages\":[]}" % field), {400, 404})
for options in (b"1", b"[]", b'"x"', b"true"):
    J.add("stream_options %r" % options, chat(b'{"model":"fast","stream":true,"messages":[],"stream_options":%s}' % options), EITHER, reach=(0, 1))
for field in (b'"max_tokens":-1', b'"max_tokens":1.5', b'"max_tokens":"1"', b'"max_tokens":1e400', b'"max_tokens":99999999999999999999', b'"max_tokens":null', b'"n":0', b'"n":-1', b'"n":1e9', b'"n":"x"', b'"n":null', b'"user":1', b'"user":null', b'"user":{}',
              b'"user":"' + b"u" * 10000 + b'"', b'"user":"\\u0000\\ud800"', b'"messages":1', b'"messages":"x"', b'"temperature":"hot"', b'"stream":null', b'"stream":false', b'"stream_options":null'):
    document("field %r" % field[:40], b'{"model":"fast",%s}' % field, EITHER)
for name, expect in ((b"fast\\u0000", {400, 404, 200}), (b"\\ud800", {400, 404}), (b"nobody\\n", {400, 404}), (b"\\u0000", {400, 404}), (b"x" * 100000, {400, 404}), (b"..\\/..\\/etc", {400, 404}), (b"slow\\u0000", {400, 404}), (b"slow ", {400, 404}),
                     (b"%2e%2e", {400, 404}), (b"\\u202eslow", {400, 404}), (b"<script>", {400, 404}), (b"';DROP TABLE requests;--", {400, 404}), (b"slow\\r\\nX: y", {400, 404}), (b"*", {400, 404}), (b"sl*w", {400, 404}), (b"s", {400, 404})):
    J.add("model %r" % name[:30], chat(b'{"model":"%s","messages":[]}' % name), expect, reach=(0, 1) if 200 in expect else (0,))
