# SPDX-License-Identifier: Apache-2.0
"""S: clients that take their time. All run side by side; each must be ended by a deadline.

A case is a list of what to do: bytes to send at once, ("drip", bytes, seconds between), or a number of
seconds to wait. `expect` as in case.py."""

from case import BODY, KEY, chat, raw

AUTH = b"Authorization: Bearer " + KEY.encode()
LONG = b"Content-Length: 100000"
HEAD = raw(fields=[LONG])
CHUNKED = raw(fields=[b"Transfer-Encoding: chunked"])
LATE = {408, "close"}

SLOW = {
    "S001 connects and says nothing": ([], LATE),
    "S002 one byte": ([b"G"], LATE),
    "S003 a request line": ([b"GET /v1/models HTTP/1.1\r\n"], LATE),
    "S004 a head without its end": ([b"GET /v1/models HTTP/1.1\r\nHost: a\r\n"], LATE),
    "S005 drips a head": ([("drip", b"GET /v1/models HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 100, 0.1)], LATE),
    "S006 drips fields": ([b"GET /v1/models HTTP/1.1\r\nHost: a\r\n", ("drip", b"X-a: b\r\n" * 40, 0.15)], LATE),
    "S007 drips empty lines": ([("drip", b"\r\n" * 100, 0.1)], {408, 400, "close"}),
    "S008 no body": ([HEAD], LATE),
    "S009 half a body": ([HEAD + b'{"model":"fast",'], LATE),
    "S010 drips a body": ([HEAD, ("drip", b" " * 200, 0.1)], LATE),
    "S011 a chunked body without chunks": ([CHUNKED], LATE),
    "S012 a chunk without its data": ([CHUNKED + b"1e\r\n"], LATE),
    "S013 a chunk without its end": ([CHUNKED + b"1e\r\n" + BODY], LATE),
    "S014 chunks without the last": ([CHUNKED + b"1e\r\n" + BODY + b"\r\n"], LATE),
    "S015 drips chunks": ([CHUNKED, ("drip", b"1\r\n \r\n" * 60, 0.05)], LATE),
    "S016 drips a chunk size": ([CHUNKED, ("drip", b"0" * 15, 0.3)], {408, 400, "close"}),
    "S017 drips trailers": ([CHUNKED + b"1e\r\n" + BODY + b"\r\n0\r\n", ("drip", b"X: y\r\n" * 40, 0.1)], {408, 400, 431, "close"}),
    "S018 waits for its 100 and says nothing": ([raw(fields=[LONG, b"Expect: 100-continue"])], LATE),
    "S019 half a second request": ([chat(), b"GET /v1/mo"], {200, 408}),
    "S020 idles behind an answer": ([chat()], {200}),
    "S021 a body for a wrong key": ([b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer x\r\nContent-Length: 1000000\r\n\r\n", ("drip", b" " * 100, 0.1)], {401}),
    "S022 a body for nobody": ([b"POST /v1/nothing HTTP/1.1\r\nHost: a\r\n" + AUTH + b"\r\nContent-Length: 1000000\r\n\r\n", ("drip", b" " * 100, 0.1)], {401, 404}),
    "S023 a form without a body": ([raw(b"POST /v1/audio/transcriptions HTTP/1.1", [b"Content-Type: multipart/form-data; boundary=b", LONG], json=False)], LATE),
    "S024 half a form": ([raw(b"POST /v1/audio/transcriptions HTTP/1.1", [b"Content-Type: multipart/form-data; boundary=b", LONG],
                              b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nfast\r\n--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nxxx', json=False)], LATE | {400, 502, 503, 504}),
    "S025 drips a form": ([raw(b"POST /v1/audio/transcriptions HTTP/1.1", [b"Content-Type: multipart/form-data; boundary=b", LONG], json=False), ("drip", b"--b\r\n" + b"X: y\r\n" * 30, 0.1)], LATE | {400}),
    "S026 a TLS hello, half": ([b"\x16\x03\x01\x02\x00\x01"], {400, 408, "close"}),
    "S027 a long target, dripping": ([b"GET /", ("drip", b"a" * 100, 0.1)], LATE),
    "S028 a long value, dripping": ([b"GET /v1/models HTTP/1.1\r\nHost: a\r\nX: ", ("drip", b"a" * 100, 0.1)], LATE),
}
