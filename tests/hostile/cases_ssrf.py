# SPDX-License-Identifier: Apache-2.0
"""X: no client chooses where we connect. CANARYX-ADDRESS is replaced by the address of a server,
of the same length, that must never see a connection."""

import json

from case import Family, chat, raw

X = Family("X")
CASES = X.cases
URL = "http://CANARYX-ADDRESS/v1"


def body(**fields):
    return json.dumps({"model": "fast", "messages": [], **fields}).encode()


for name in ("base_url", "api_base", "baseURL", "baseUrl", "url", "endpoint", "host", "hostname", "server", "target", "upstream", "proxy", "proxies", "http_proxy", "custom_host", "customHost", "api_url", "openai_api_base",
             "azure_endpoint", "vertex_project", "aws_bedrock_runtime_endpoint", "callback_url", "webhook", "webhook_url", "redirect", "redirect_uri", "destination", "provider", "deployment", "region", "organization", "api_key", "api_version"):
    X.add(f"field {name}", chat(body(**{name: URL})), {200, 400}, reach=(0, 1))
for name in ("litellm_params", "extra_body", "metadata", "router", "fallbacks", "model_list", "config", "options", "provider_options", "user_config", "litellm_settings", "model_info"):
    X.add(f"nested in {name}", chat(body(**{name: {"api_base": URL, "base_url": URL, "api_key": "x"}})), {200, 400}, reach=(0, 1))
    X.add(f"listed in {name}", chat(body(**{name: [{"model_name": "fast", "litellm_params": {"api_base": URL}}]})), {200, 400}, reach=(0, 1))
for name in ("Host", "X-Forwarded-Host", "X-Host", "X-Original-Host", "X-Upstream", "X-Target", "X-Target-URL", "X-Base-URL", "X-Proxy-URL", "Helicone-Target-Url", "Helicone-OpenAI-Api-Base", "x-portkey-custom-host", "x-portkey-config",
             "x-portkey-provider", "x-litellm-api-base", "x-sluice-target", "x-sluice-provider", "x-sluice-base-url", "Forwarded", "X-Rewrite-URL", "X-Original-URL", "Location", "Content-Location", "Origin", "Referer", "Via", "Destination",
             "x-bf-passthrough-base-url", "cf-aig-custom-host", "x-openai-base-url", "api-base", "Alt-Used", "Proxy"):
    if name == "Host":
        X.add("Host", chat(host=b"Host: CANARYX-ADDRESS"), 200, reach=(1,))
    else:
        X.add(name, chat(fields=[name.encode() + b": " + URL.encode()]), {200, 400}, reach=(0, 1))
for name in ("http://CANARYX-ADDRESS/fast", "https://CANARYX-ADDRESS", "//CANARYX-ADDRESS/fast", "CANARYX-ADDRESS/fast", "slow@CANARYX-ADDRESS", "slow#@CANARYX-ADDRESS", "slow?@CANARYX-ADDRESS", "slow\\@CANARYX-ADDRESS", "openai/http://CANARYX-ADDRESS", "up/http://CANARYX-ADDRESS", "up/CANARYX-ADDRESS", "http://169.254.169.254/latest/meta-data", "169.254.169.254",
             "localhost", "127.0.0.1", "[::1]", "0.0.0.0", "2130706433", "0x7f000001", "017700000001", "127.1", "metadata.google.internal", "file:///etc/passwd", "gopher://CANARYX-ADDRESS/x", "unix:/tmp/x.sock", "ollama/CANARYX-ADDRESS", "openai/gpt-4o", "azure/x", "bedrock/../../x",
             "..%2f..%2f", "slow/../../admin", "slow%00", "${URL}", "{{url}}", "slow|CANARYX-ADDRESS", "jar:http://CANARYX-ADDRESS!/", "dict://CANARYX-ADDRESS/", "ldap://CANARYX-ADDRESS/"):
    X.add(f"model {name}", chat(json.dumps({"model": name, "messages": []}).encode()), {400, 404})
for kind, content in (("image_url", {"url": "http://CANARYX-ADDRESS/a.png"}), ("input_audio", {"url": "http://CANARYX-ADDRESS/a"}), ("file", {"file_url": "http://CANARYX-ADDRESS/a"}), ("video_url", {"url": "http://CANARYX-ADDRESS/a"})):
    X.add(f"content of {kind}", chat(body(messages=[{"role": "user", "content": [{"type": kind, kind: content}]}])), 200, reach=(1,))
X.add("tools with addresses", chat(body(tools=[{"type": "mcp", "server_url": URL, "server_label": "x"}])), 200, reach=(1,))
for query in ("base_url", "api_base", "url", "host", "target", "proxy", "redirect"):
    X.add(f"query {query}", chat(line=b"POST /v1/chat/completions?" + query.encode() + b"=http://CANARYX-ADDRESS HTTP/1.1"), {200, 400}, reach=(0, 1))
for method in (b"GET", b"POST", b"CONNECT", b"OPTIONS", b"HEAD"):
    for target in (b"http://CANARYX-ADDRESS/v1/models", b"CANARYX-ADDRESS", b"//CANARYX-ADDRESS/v1/models", b"http://CANARYX-ADDRESS", b"/http://CANARYX-ADDRESS/", b"/v1/http://CANARYX-ADDRESS/", b"/proxy?url=http://CANARYX-ADDRESS/", b"/v1/proxy/CANARYX-ADDRESS", b"@CANARYX-ADDRESS/", b"/@CANARYX-ADDRESS/"):
        X.add(f"{method.decode()} {target.decode()}", raw(method + b" " + target + b" HTTP/1.1", [b"Content-Length: 0"]), {400, 404, 405, 501})
