# SPDX-License-Identifier: Apache-2.0
"""H: Host (RFC 9110 7.2, RFC 9112 3.2): exactly one, well-formed, and it decides nothing."""

from case import SMUGGLED, Family, chat, get

H = Family("H")
CASES = H.cases

for value in (b"a", b"A", b"localhost", b"127.0.0.1", b"127.0.0.1:8080", b"example.com:80", b"a.b.c", b"[::1]", b"[::1]:8080", b"[2001:db8::1]", b"xn--a-1",
              b"a-b", b"a_b", b"a.example.com:65535", b"1", b"api.openai.com", b"169.254.169.254", b"admin", b"metadata.google.internal"):
    H.add(b"Host: %r" % value, chat(host=b"Host: " + value), 200, reach=(1,))
for value in (b"a:", b"a..b", b"a.", b"-a", b"a%20b", b"a;b", b"a'b", b"a!b", b"*", b"a*b", b"(a)", b"a+b", b"a=b", b"~a", b"$a", b"a&b", b"[v1.a:b]", b"999.999.999.999",
              b"a:00080", b"a:0", b"a" * 256, b"a:65536"):
    H.add(b"Host, odd but by the grammar: %r" % value[:20], chat(host=b"Host: " + value), {200, 400}, reach=(0, 1))
BAD = [
    b"a b", b"a\tb", b"a,b", b"a, b", b"a/b", b"a/", b"/a", b"a@b", b"user:pw@a", b"@a", b"a@", b"a#b", b"#", b"a?b", b"?", b"a\\b", b"\\\\a", b"http://a", b"http://a/",
    b"//a", b"a:b", b"a:-1", b"a:+1", b"a:1x", b"a:80:80", b"a: 80", b"a :80", b":80", b"::1", b"[::1", b"::1]", b"[::1]x", b"x[::1]", b"[::1]:x", b"[::g]", b"[]", b"[", b"]", b"[[::1]]",
    b"[::1]]", b"a\x00b", b"\x00", b"a\x01", b"a\x1f", b"a\x7f", b"a\x80", b"\xe4\xbe\x8b", b"a\xa0", b"<script>", b"a\"b", b"\"a\"", b"a<b", b"a>b", b"a^b", b"a`b", b"a{b}", b"a|b",
    b"localhost/#@x", b"localhost#@x", b"localhost\\@x", b"localhost/?x", b"a%", b"a%2", b"a%zz", b"a:80/", b"a:80#", b"a:80?", b"a:8080 b", b"a;\xff", b"a\x0bb", b"a\x0cb", b""]
for value in BAD:
    H.refuse(b"Host: %r" % value, chat(host=b"Host: " + value) + SMUGGLED)
H.refuse("no Host", chat(host=None) + SMUGGLED)
H.refuse("Host twice", chat(host=b"Host: a\r\nHost: b") + SMUGGLED)
H.refuse("Host twice, the same", chat(host=b"Host: a\r\nHost: a") + SMUGGLED)
H.refuse("Host twice, in other cases", chat(host=b"Host: a", fields=[b"HOST: a"]) + SMUGGLED)
H.refuse("Host three times", chat(host=b"Host: a\r\nhost: a\r\nHOST: a") + SMUGGLED)
H.refuse("an empty one beside", chat(host=b"Host: a", fields=[b"Host:"]) + SMUGGLED)
H.refuse("Host with a space before the colon", chat(host=b"Host : a") + SMUGGLED)
H.refuse("Host with a space in front", chat(host=b" Host: a") + SMUGGLED)
H.refuse("Host folded", chat(host=b"Host:\r\n a") + SMUGGLED)
H.refuse("no Host on GET", get(host=None) + SMUGGLED)
H.add("no Host in HTTP/1.0", get(host=None).replace(b"HTTP/1.1", b"HTTP/1.0"), {200, 400})
H.refuse("Host of 70 KiB", chat(host=b"Host: " + b"a" * 70000) + SMUGGLED, {400, 431})
H.refuse("only X-Host", chat(host=b"X-Host: a") + SMUGGLED)
H.refuse("only X-Forwarded-Host", chat(host=b"X-Forwarded-Host: a") + SMUGGLED)
for name in (b"X-Forwarded-Host", b"X-Host", b"X-Original-Host", b"X-HTTP-Host-Override", b"Forwarded", b"X-Forwarded-Server", b"X-Rewrite-URL", b"X-Original-URL"):
    value = b"host=evil" if name == b"Forwarded" else b"/admin/v1/overview" if b"URL" in name else b"evil"
    H.add(b"%s decides nothing" % name, chat(fields=[name + b": " + value]), 200, reach=(1,))
H.add("Host last", chat(host=None, fields=[b"Host: a"]), 200, reach=(1,))
H.add("host in small letters", chat(host=b"host:a"), 200, reach=(1,))
