# SPDX-License-Identifier: Apache-2.0
"""A: what is authorised is what is routed: one reading of a path, deny by default."""

from case import Family, chat, get, raw

A = Family("A")
CASES = A.cases
REFUSED = {400, 404, 405}

# ---- the same tricks played on a page of ours, on a model call, on the operators' pages
TRICKS = [
    b"/%s", b"//%s", b"/.%s", b"/./%s", b"/../%s", b"/v1/..%s", b"/x/..%s", b"%s/", b"%s//", b"%s/.", b"%s/..", b"%s/./", b"%s/x", b"%s%%00", b"%s%%00.json", b"%s%%20", b"%s%%2f", b"%s%%2F",
    b"%s%%09", b"%s%%0a", b"%s%%0d%%0aX:y", b"%s%%23", b"%s%%3f", b"%s%%3F", b"%s%%3b", b"%s;", b"%s;x=1", b"%s;/", b"%s.", b"%s.json", b"%s.html", b"%s~", b"%s*", b"%s%%", b"%s%%2", b"%s%%zz",
    b"%s\\", b"\\%s", b"/\\%s", b"%s#", b"%s#x", b"/%%2e%%2e%s", b"/%%2e%s", b"/%%2f%s", b"/%%5c%s", b"/..;%s", b"/.;%s", b"/;%s", b"/x/%%2e%%2e%s", b"/x/..%%2f%s", b"/x/%%2e.%s",
    b"/x/.%%2e%s", b"/%%c0%%af%s", b"/%%c0%%ae%%c0%%ae%s", b"/%%e0%%80%%af%s", b"/%%252e%%252e%s", b"/%%252f%s", b"/%%u002e%s", b"/...%s", b"/....//%s", b"%s\xff", b"%s\x80", b"\xc0\xaf%s",
    b"/\xe2\x80\xae%s", b"%s\xc2\xa0", b"%s'", b"%s\"", b"%s<", b"%s|", b"%s`", b"%s^", b"%s{x}", b"%s[0]", b"%s(1)", b"%s,", b"%s!", b"%s$", b"%s&x=1", b"%s=", b"/http://a%s", b"/a:80%s",
    b"/@%s", b"/proxy%s", b"/api%s", b"/index.php%s", b"/static/..%s", b"%s/..%%00/", b"%s%%ff", b"%s%%C2%%A0",
]
for trick in TRICKS:
    for target in (b"/v1/models", b"/admin/v1/overview"):
        path = trick % target
        if path in (b"/v1/models,",):
            continue
        A.add(b"GET %s" % path, get(path), REFUSED)
    path = trick % b"/v1/chat/completions"
    A.add(b"POST %s" % path, chat(line=b"POST " + path + b" HTTP/1.1"), REFUSED)

# ---- other letters, other words
for path in (b"/V1/models", b"/v1/Models", b"/v1/MODELS", b"/v1/model", b"/v1/modelss", b"/v2/models", b"/v1", b"/v1/", b"/", b"/v11/models", b"/v1.0/models", b"/models/v1", b"/v1/v1/models",
             b"/openai/openai/v1/models", b"/openai/v1/v1/models", b"/openai/", b"/openai", b"/OpenAI/v1/models", b"/anthropic/v1/models/..", b"/%76%31/models", b"/v1/%6dodels", b"/v1%2fmodels",
             b"/v1/chat", b"/v1/chat/", b"/v1/chat/completions", b"/v1/embeddings", b"/favicon.ico", b"/robots.txt", b"/.env", b"/.git/config", b"/etc/passwd", b"/server-status",
             b"/actuator/env", b"/debug/pprof", b"/admin", b"/admin/", b"/admin/v1", b"/admin/v1/config", b"/admin/v1/keys", b"/ui", b"/ui/", b"/config", b"/reload", b"/key/generate", b"/v1/admin/overview",
             b"/invocations", b"/inference/v1/chat/completions", b"/internal", b"/__debug__", b"/cgi-bin/x", b"/wp-login.php", b"/?", b"/v1/?models", b"/v1/files/../models", b"/v1/responses/..",
             b"/v1/models/..", b"/v1/models/%2e%2e", b"/v1/models/../chat/completions"):
    A.add(b"GET %s" % path, get(path), REFUSED)

# ---- other forms of a target (RFC 9112 3.2)
for target in (b"http://a/v1/models", b"https://a/v1/models", b"HTTP://A/v1/models", b"http:///v1/models", b"http://127.0.0.1/v1/models", b"http://user@a/v1/models", b"//a/v1/models",
               b"a/v1/models", b"v1/models", b"?x", b"#x", b"*", b"a:80", b"[::1]:80", b"127.0.0.1:80", b".", b"..", b"~", b"\\v1\\models", b"%2fv1%2fmodels", b"file:///etc/passwd", b"ftp://a/", b"javascript:x",
               b"data:,x", b"unix:/x", b"http:/v1/models", b"http:v1/models", b":/v1/models", b"1", b"-"):
    for method in (b"GET", b"POST"):
        A.add(b"%s %s" % (method, target), raw(method + b" " + target + b" HTTP/1.1", [b"Content-Length: 0"]), REFUSED | {501}, closes=False)

# ---- queries
for query, expect in ((b"?", {200, 400}), (b"?x=1", {200}), (b"?%00", {200, 400}), (b"?%zz", {200, 400}), (b"?a=b&a=c", {200}), (b"?/../..", {200, 400}), (b"?http://a/", {200, 400}), (b"??", {200, 400}),
                      (b"?#", {400, 404}), (b"?\x80", {400}), (b"?a b", {400}), (b"?\\", {200, 400}), (b"?" + b"x" * 7000, {200, 400, 414}), (b"?" + b"x" * 9000, {414}), (b"?" + b"x" * 60000, {414, 431}),
                      (b"?key=x", {200, 400, 401}), (b"?\"", {200, 400}), (b"?<>", {200, 400}), (b"?{}", {200, 400}), (b"?|", {200, 400}), (b"?\x7f", {400})):
    A.add(b"query %r" % query[:30], get(b"/v1/models" + query), expect)
A.add("a path of 9000 bytes", get(b"/v1/" + b"x" * 9000), {414})
A.add("a path of 100000 bytes", get(b"/v1/" + b"x" * 100000), {414, 431})
A.add("a path of 8000 segments", get(b"/x" * 4000), {400, 404})
A.add("a path of 2000 escapes", get(b"/v1/models/" + b"%41" * 2000), {400, 404})

# ---- the one segment that may hold escapes: the name of a model
for name, expect in ((b"fast", {200}), (b"f%61st", {200, 400, 404}), (b"nobody", {404}), (b"a%2Fb", {404}), (b"a%3Ab", {404}), (b"a%40b", {404}), (b"%2e%2e%2fadmin", {400, 404}), (b"..%2f..%2fadmin", {400, 404}),
                     (b"%00", {400, 404}), (b"fast%00", {400, 404}), (b"fast%20", {400, 404}), (b"%ff", {400, 404}), (b"%c0%af", {400, 404}), (b"fast%0d%0a", {400, 404}), (b"%", {400, 404}), (b"%4", {400, 404}),
                     (b"%gg", {400, 404}), (b"fast;x", {400, 404}), (b"fast?x=1", {200, 404}), (b"fast#x", {400, 404}), (b"fast/x", {404, 400}), (b"*", {400, 404}), (b"fa*", {400, 404}), (b"FAST", {404}),
                     (b"%66%61%73%74", {200, 400, 404}), (b"%2566ast", {400, 404}), (b"x" * 5000, {400, 404})):
    A.add(b"model %s" % name[:30], get(b"/v1/models/" + name), expect)
