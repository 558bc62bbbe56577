# SPDX-License-Identifier: Apache-2.0
"""M: methods and versions."""

from case import BODY, SMUGGLED, Family, chat, get, raw

M = Family("M")
CASES = M.cases
LENGTH = b"Content-Length: %d" % len(BODY)

for method in (b"GET", b"HEAD", b"PUT", b"DELETE", b"PATCH", b"OPTIONS"):
    M.add(b"%s on the chat" % method, raw(method + b" /v1/chat/completions HTTP/1.1", [LENGTH], BODY), {400, 404, 405})
    M.add(b"%s on the chat, no body" % method, raw(method + b" /v1/chat/completions HTTP/1.1", json=False), {400, 404, 405})
for method in (b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS"):
    M.add(b"%s on the list of models" % method, raw(method + b" /v1/models HTTP/1.1", [b"Content-Length: 0"]), {400, 404, 405})
for method in (b"CONNECT", b"TRACE", b"TRACK", b"DEBUG", b"PROPFIND", b"MOVE", b"COPY", b"LINK", b"PURGE", b"BREW", b"M-SEARCH", b"ACL", b"QUERY", b"PRI", b"SOURCE", b"post", b"Post", b"pOST", b"get", b"Get",
               b"POSTX", b"XPOST", b"GETS", b"GE", b"G", b"POST\x00", b"PO ST", b"POST,GET", b"POST;", b'"POST"', b"(POST)", b"\xc3\x9fOST", b"A" * 100, b"A" * 20000, b"1", b"-", b"!#$%&'*+.^_`|~"):
    for path in (b"/v1/chat/completions", b"/v1/models"):
        M.refuse(b"method %r" % method[:20], raw(method + b" " + path + b" HTTP/1.1", [LENGTH], BODY + SMUGGLED), {400, 405, 414, 431, 501})
for version in (b"HTTP/1.2", b"HTTP/1.9", b"HTTP/2", b"HTTP/2.0", b"HTTP/3", b"HTTP/3.0", b"HTTP/0.9", b"HTTP/0.0", b"HTTP/9.9", b"HTTP/1", b"HTTP/1.", b"HTTP/.1", b"HTTP/", b"HTTP", b"HTTP/1.1.1", b"HTTP/1.10",
                b"HTTP/01.1", b"HTTP/1.01", b"HTTP/10.1", b"HTTP/11", b"HTTP/1,1", b"HTTP/1:1", b"HTTP/1_1", b"HTTP/1.1x", b"HTTP/x.1", b"HTTP/1.x", b"HTTP/-1.1", b"HTTP/+1.1", b"HTTP/1.-1", b"HTTP /1.1", b"HTTP/ 1.1",
                b"HTTP\\1.1", b"http/1.1", b"Http/1.1", b"HTTPS/1.1", b"HTP/1.1", b"XHTTP/1.1", b"ICY/1.0", b"RTSP/1.0", b"SIP/2.0", b"HTTP/1.1\xa0", b"HTTP/\xef\xbc\x91.1", b"HTTP/1.1\x01", b"1.1", b"/1.1", b"HTTP//1.1"):
    M.refuse(b"version %r" % version, raw(b"POST /v1/chat/completions " + version, [LENGTH], BODY + SMUGGLED), {400, 505})
M.add("HTTP/1.0", chat(line=b"POST /v1/chat/completions HTTP/1.0"), 200, reach=(1,), forwarded=BODY)
M.add("HTTP/1.0, not kept", chat(line=b"POST /v1/chat/completions HTTP/1.0") + SMUGGLED, 200, reach=(1,), closes=False)
M.add("HTTP/1.1", chat(), 200, reach=(1,), forwarded=BODY)
M.add("HEAD of a page", raw(b"HEAD /v1/models HTTP/1.1", json=False), {200, 405})
M.add("OPTIONS *", raw(b"OPTIONS * HTTP/1.1", json=False), {200, 204, 400, 404, 405})
M.add("a model's page", get(b"/v1/models/fast"), 200)
