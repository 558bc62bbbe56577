/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/config/options.h"

#include "gateway/config/document.h"

#define ROOT(member)     offsetof(struct document, member)
#define CONFIG(member)   offsetof(struct document, config.member)
#define REDIS(member)    offsetof(struct document, config.store.redis.member)
#define LISTENER(member) offsetof(struct listener_draft, member)
#define PROVIDER(member) offsetof(struct provider_draft, member)
#define MODEL(member)    offsetof(struct model_draft, member)
#define TARGET(member)   offsetof(struct target_draft, member)
#define ADMIN(member)    offsetof(struct admin_key_draft, member)
#define OIDC(member)     offsetof(struct oidc_role_draft, member)

/* clang-format off */

/* ------------------------------------------------------------------------------- server */

static const struct option listener_tls[] = {
    {.name = "cert_file", .type = OPTION_PATH, .where = LISTENER(settings.tls.cert_file), .required = true,
     .help = "Certificate chain, PEM; read again on reload."},
    {.name = "key_file", .type = OPTION_PATH, .where = LISTENER(settings.tls.key_file), .required = true,
     .help = "Private key, PEM."},
    {.name = "min_version", .type = OPTION_WORD, .where = LISTENER(min_version), .fallback = "1.2",
     .words = "1.2|1.3", .help = "Lowest TLS version."},
    {.name = "client_ca_file", .type = OPTION_PATH, .where = LISTENER(settings.tls.ca_file), .fallback = "null",
     .help = "Set for mutual TLS: a client must show a certificate of these authorities."},
    {0},
};

static const struct option listener[] = {
    {.name = "name", .type = OPTION_NAME, .where = LISTENER(name), .help = "Unique; used in logs."},
    {.name = "address", .type = OPTION_STRING, .where = LISTENER(settings.address), .fallback = "127.0.0.1:8080",
     .help = "127.0.0.1:8080, [::1]:8080, unix:/run/sluice/api.sock, or systemd:NAME for socket "
             "activation."},
    {.name = "serve", .type = OPTION_WORDS, .where = LISTENER(serve), .fallback = "[api, health]",
     .words = "api|admin|ui|metrics|health",
     .help = "What is answered here. ui implies admin; metrics on a non-loopback address need "
             "telemetry.metrics.public."},
    {.name = "http2", .type = OPTION_BOOL, .where = LISTENER(settings.http2), .fallback = "true",
     .help = "HTTP/2 by ALPN on TLS, in clear by prior knowledge."},
    {.name = "proxy_protocol", .type = OPTION_WORD, .where = LISTENER(proxy_protocol), .fallback = "none",
     .words = "none|v1|v2|any", .help = "PROXY protocol of a balancer in front."},
    {.name = "trusted_proxies", .type = OPTION_TEXTS, .where = LISTENER(trusted_proxies), .fallback = "[]",
     .help = "Addresses and CIDRs, as in [10.0.0.0/8], and `unix`, whose X-Forwarded-For, X-Forwarded-Proto and "
             "Forwarded are believed; at most 64."},
    {.name = "tls", .type = OPTION_SECTION, .inner = listener_tls, .help = "Leave out for plain HTTP."},
    {0},
};

static const struct option server_limits[] = {
    {.name = "max_header_bytes", .type = OPTION_SIZE, .where = CONFIG(limits.max_header_bytes), .fallback = "64KiB",
     .min = KIB(4), .max = MIB(1), .help = "Request line and headers; 431 above it."},
    {.name = "max_body_bytes", .type = OPTION_SIZE, .where = CONFIG(limits.max_body_bytes), .fallback = "32MiB",
     .min = KIB(1), .max = GIB(1), .help = "413 request_too_large above it."},
    {.name = "max_upload_bytes", .type = OPTION_SIZE, .where = CONFIG(limits.max_upload_bytes), .fallback = "512MiB",
     .min = KIB(1), .max = GIB(64), .help = "Multipart (audio, files): streamed through, not held."},
    {.name = "max_connections", .type = OPTION_COUNT, .where = CONFIG(limits.max_connections), .fallback = "10000",
     .min = 1, .max = 1000000, .help = "Clients connected at once; each stream of HTTP/2 counts as one."},
    {.name = "max_streams", .type = OPTION_COUNT, .where = CONFIG(limits.max_streams), .fallback = "100",
     .min = 1, .max = 10000, .help = "Of HTTP/2: calls at once on one connection."},
    {.name = "client_buffer_bytes", .type = OPTION_SIZE, .where = CONFIG(limits.client_buffer_bytes), .fallback = "256KiB",
     .min = KIB(16), .max = MIB(64), .help = "Per stream; above it the upstream read pauses."},
    {0},
};

static const struct option client_body[] = {
    {.name = "total", .type = OPTION_DURATION, .where = CONFIG(timeouts.client_body_us), .fallback = "30s",
     .min = 100 * MILLISECOND, .max = SECONDS(3600), .help = "Part of the deadline that does not depend on the length."},
    {.name = "min_rate", .type = OPTION_RATE, .where = CONFIG(timeouts.client_body_min_rate), .fallback = "16KiB",
     .min = 0, .max = GIB(1), .help = "Bytes per second: deadline = total + bytes / min_rate; 0 = no such part."},
    {0},
};

static const struct option server_timeouts[] = {
    {.name = "client_header", .type = OPTION_DURATION, .where = CONFIG(timeouts.client_header_us), .fallback = "10s",
     .min = 100 * MILLISECOND, .max = SECONDS(3600), .help = "For the whole head, not per read."},
    {.name = "client_body", .type = OPTION_SECTION, .inner = client_body, .help = "For the whole body."},
    {.name = "client_idle", .type = OPTION_DURATION, .where = CONFIG(timeouts.client_idle_us), .fallback = "60s",
     .min = 100 * MILLISECOND, .max = DAYS(1), .help = "Between two requests of a connection."},
    {.name = "stream_idle", .type = OPTION_DURATION, .where = CONFIG(timeouts.stream_idle_us), .fallback = "120s",
     .min = 100 * MILLISECOND, .max = DAYS(1), .help = "No byte from upstream for so long ends the stream."},
    {.name = "keepalive_ping", .type = OPTION_DURATION, .where = CONFIG(timeouts.keepalive_ping_us), .fallback = "15s",
     .min = 0, .max = DAYS(1), .help = "SSE comment (OpenAI), event ping (Anthropic), none (Gemini); 0 = never."},
    {0},
};

static const struct option server_cors[] = {
    {.name = "allow_origins", .type = OPTION_TEXTS, .where = ROOT(cors_origins), .fallback = "[]",
     .help = "Origins of browsers' tools, e.g. https://chat.example.com; empty = off."},
    {0},
};

static const struct option server_shutdown[] = {
    {.name = "drain_delay", .type = OPTION_DURATION, .where = CONFIG(drain_delay_us), .fallback = "5s",
     .min = 0, .max = SECONDS(3600), .help = "/readyz says 503 this long before the listeners close."},
    {.name = "grace", .type = OPTION_DURATION, .where = CONFIG(grace_us), .fallback = "10m",
     .min = 0, .max = DAYS(1), .help = "Then open streams may finish this long."},
    {0},
};

static const struct option server[] = {
    {.name = "listeners", .type = OPTION_LIST, .where = ROOT(listeners), .inner = listener, .size = sizeof(struct listener_draft),
     .help = "Where clients connect. Default: one named api on 127.0.0.1:8080."},
    {.name = "base_path", .type = OPTION_STRING, .where = CONFIG(base_path), .fallback = "/",
     .help = "UI and API work below a prefix behind a proxy."},
    {.name = "limits", .type = OPTION_SECTION, .inner = server_limits, .help = "Sizes and numbers."},
    {.name = "timeouts", .type = OPTION_SECTION, .inner = server_timeouts, .help = "All are totals, not per read."},
    {.name = "cors", .type = OPTION_SECTION, .inner = server_cors, .help = "Cross-origin requests of browsers."},
    {.name = "shutdown", .type = OPTION_SECTION, .inner = server_shutdown, .help = "What happens on TERM."},
    {.name = "workers", .type = OPTION_COUNT, .where = CONFIG(workers), .fallback = "auto", .words = "auto",
     .min = 1, .max = 256, .help = "Event loops; auto = the processors of the control group's quota."},
    {0},
};

/* -------------------------------------------------------------------------------- admin */

static const struct option oidc_role[] = {
    {.name = "value", .type = OPTION_TEXT, .where = OIDC(role.value), .required = true, .help = "Of the claim, exactly: of a list, one of its entries."},
    {.name = "role", .type = OPTION_WORD, .where = OIDC(word), .fallback = "viewer", .words = "admin|viewer|tenant", .help = "As of admin.keys."},
    {.name = "tenant", .type = OPTION_NAME, .where = OIDC(role.tenant), .fallback = "null", .help = "For the role tenant."},
    {0},
};

static const struct option oidc[] = {
    {.name = "issuer", .type = OPTION_STRING, .where = CONFIG(oidc.issuer), .required = true, .help = "Its URL, exactly as it calls itself: https, or http on loopback. What it offers is read below /.well-known/openid-configuration."},
    {.name = "client_id", .type = OPTION_TEXT, .where = CONFIG(oidc.client_id), .required = true, .help = "As registered there, with the address of the dashboard and oidc/callback behind it, as in https://sluice.example.com/ui/oidc/callback."},
    {.name = "client_secret", .type = OPTION_TEXT, .where = CONFIG(oidc.client_secret), .fallback = "", .secret = true, .help = "As registered there; empty = a public client, which is known by PKCE alone."},
    {.name = "role_claim", .type = OPTION_TEXT, .where = CONFIG(oidc.role_claim), .fallback = "sluice_role", .help = "Claim that says the role, a text or a list; a.b is b in a, as in realm_access.roles. Who has none has no access. email counts only when email_verified is true."},
    {.name = "roles", .type = OPTION_LIST, .where = ROOT(oidc_roles), .inner = oidc_role, .size = sizeof(struct oidc_role_draft), .help = "Which of its values gives what; the first that somebody has counts. Without them: admin, viewer and tenant:NAME."},
    {.name = "scopes", .type = OPTION_TEXTS, .where = ROOT(oidc_scopes), .fallback = "[openid, profile, email]", .help = "What is asked for; some issuers tell groups only when groups is among them."},
    {.name = "redirect_url", .type = OPTION_STRING, .where = CONFIG(oidc.redirect_url), .fallback = "null", .help = "Where the issuer sends the browser back to. Default: the address that the browser has asked, base_path, and /ui/oidc/callback."},
    {.name = "ca_file", .type = OPTION_PATH, .where = CONFIG(oidc.ca_file), .fallback = "null", .help = "Authorities of the issuer, PEM; default: the system's."},
    {0},
};

static const struct option admin_key[] = {
    {.name = "name", .type = OPTION_NAME, .where = ADMIN(key.name), .required = true, .help = "Unique; in the log of changes."},
    {.name = "hash", .type = OPTION_HASH, .where = ADMIN(key.digest), .required = true, .secret = true, .help = "\"sha256:\" and 64 hexadecimal digits; see sluice hash-key."},
    {.name = "role", .type = OPTION_WORD, .where = ADMIN(role), .fallback = "admin", .words = "admin|viewer|tenant", .help = "admin = all; viewer = sees all, changes nothing; tenant = sees and changes one tenant and what is in it."},
    {.name = "tenant", .type = OPTION_NAME, .where = ADMIN(key.tenant), .fallback = "null", .help = "For the role tenant."},
    {0},
};

static const struct option admin[] = {
    {.name = "key", .type = OPTION_TEXT, .where = ROOT(admin_key), .fallback = "", .secret = true,
     .help = "Of the role admin. Empty, and none in keys: made on first start, printed once, kept hashed."},
    {.name = "keys", .type = OPTION_LIST, .where = ROOT(admin_keys), .inner = admin_key, .size = sizeof(struct admin_key_draft), .help = "More of them, with roles."},
    {.name = "session_ttl", .type = OPTION_DURATION, .where = CONFIG(session_ttl_us), .fallback = "12h",
     .min = SECONDS(60), .max = DAYS(90), .help = "How long a sign-in to the dashboard lasts."},
    {.name = "socket", .type = OPTION_PATH, .where = CONFIG(admin_socket), .fallback = "null",
     .help = "For the command line; peer credentials are checked. Default STATE/admin.sock."},
    {.name = "oidc", .type = OPTION_SECTION, .inner = oidc, .fallback = "null",
     .help = "Sign-in to the dashboard by an OpenID provider, beside the keys."},
    {.name = "read_only", .type = OPTION_BOOL, .where = CONFIG(admin_read_only), .fallback = "false",
     .help = "UI and API show, never change (GitOps)."},
    {0},
};

/* ------------------------------------------------------------------------- store, ledger */

static const struct option store_embedded[] = {
    {.name = "path", .type = OPTION_PATH, .where = CONFIG(database), .fallback = "STATE/sluice.db",
     .help = "SQLite file. STATE = $STATE_DIRECTORY, else /var/lib/sluice where writable, else "
             "$XDG_DATA_HOME/sluice, else ~/.local/share/sluice."},
    {0},
};

static const struct option redis_sentinel[] = {
    {.name = "master", .type = OPTION_STRING, .where = REDIS(sentinel_master), .fallback = "null", .help = "Name of the monitored master."},
    {.name = "addresses", .type = OPTION_TEXTS, .where = ROOT(sentinels), .fallback = "[]", .help = "host:port of the sentinels; at most 16."},
    {.name = "username", .type = OPTION_STRING, .where = REDIS(sentinel_username), .fallback = "null", .help = "Of the sentinels."},
    {.name = "password", .type = OPTION_STRING, .where = REDIS(sentinel_password), .fallback = "null", .secret = true, .help = "Of the sentinels."},
    {0},
};

static const struct option redis_tls[] = {
    {.name = "ca_file", .type = OPTION_PATH, .where = REDIS(tls.ca_file), .fallback = "null", .help = "Authorities, PEM; default: the system's."},
    {.name = "cert_file", .type = OPTION_PATH, .where = REDIS(tls.cert_file), .fallback = "null", .help = "Client certificate, PEM."},
    {.name = "key_file", .type = OPTION_PATH, .where = REDIS(tls.key_file), .fallback = "null", .help = "Its key, PEM."},
    {.name = "server_name", .type = OPTION_STRING, .where = REDIS(server_name), .fallback = "null", .help = "Name to verify; default: the host's."},
    {0},
};

static const struct option redis_on_error[] = {
    {.name = "limits", .type = OPTION_WORD, .where = ROOT(away_limits), .fallback = "local", .words = "local|open|closed",
     .help = "local = this node's share (limit / replicas); open = no limit; closed = no call."},
    {.name = "budgets", .type = OPTION_WORD, .where = ROOT(away_budgets), .fallback = "closed", .words = "local|open|closed", .help = "The same for money."},
    {0},
};

static const struct option store_redis[] = {
    {.name = "url", .type = OPTION_STRING, .where = REDIS(url), .fallback = "redis://127.0.0.1:6379/0", .secret = true, .is_url = true,
     .help = "rediss:// = TLS; unix:///PATH; user:password@ = ACL."},
    {.name = "mode", .type = OPTION_WORD, .where = ROOT(redis_mode), .fallback = "auto", .words = "auto|single|sentinel|cluster", .help = "Kind of installation; auto finds out."},
    {.name = "sentinel", .type = OPTION_SECTION, .inner = redis_sentinel, .help = "For mode sentinel."},
    {.name = "tls", .type = OPTION_SECTION, .inner = redis_tls, .help = "For rediss://."},
    {.name = "key_prefix", .type = OPTION_STRING, .where = CONFIG(store.key_prefix), .fallback = "sluice:", .help = "Of every name there, without braces: {tenant} hash tags keep one tenant in one slot."},
    {.name = "pool", .type = OPTION_COUNT, .status = INERT, .fallback = "8", .min = 1, .max = 1024, .help = "Connections. Each worker has one, whatever is written here."},
    {.name = "timeout", .type = OPTION_DURATION, .where = REDIS(timeout_us), .fallback = "50ms", .min = MILLISECOND, .max = SECONDS(10),
     .help = "No request waits longer for the store."},
    {.name = "on_error", .type = OPTION_SECTION, .inner = redis_on_error, .help = "While Redis is away."},
    {.name = "replicas_max", .type = OPTION_COUNT, .where = CONFIG(store.replicas_max), .fallback = "4", .min = 1, .max = 10000,
     .help = "The share under local is at most limit / this."},
    {0},
};

static const struct option store_retention[] = {
    {.name = "requests", .type = OPTION_DURATION, .where = CONFIG(keep_requests_us), .fallback = "14d", .min = SECONDS(60), .max = LONGEST, .help = "Single calls."},
    {.name = "decisions", .type = OPTION_DURATION, .where = CONFIG(keep_decisions_us), .fallback = "7d", .min = 0, .max = LONGEST,
     .help = "How the target of each call was chosen, for sluice replay; 0s = not at all."},
    {.name = "decisions_max", .type = OPTION_SIZE, .where = CONFIG(keep_decisions_bytes), .fallback = "256MiB", .min = 16 << 20, .max = INT64_C(1) << 40,
     .help = "And no more than this on disk; about 100 bytes for each call."},
    {.name = "content", .type = OPTION_DURATION, .where = CONFIG(keep_content_us), .fallback = "7d", .min = SECONDS(60), .max = LONGEST,
     .help = "Prompts and answers, with capture: full; no longer than single calls."},
    {.name = "content_max", .type = OPTION_SIZE, .where = CONFIG(keep_content_bytes), .fallback = "1GiB", .min = 1 << 20, .max = INT64_C(1) << 40,
     .help = "And no more than this of their texts; the file is somewhat larger."},
    {.name = "rollups_minute", .type = OPTION_DURATION, .where = CONFIG(keep_minutes_us), .fallback = "3d", .min = SECONDS(60), .max = LONGEST, .help = "Sums by minute."},
    {.name = "rollups_hour", .type = OPTION_DURATION, .where = CONFIG(keep_hours_us), .fallback = "90d", .min = SECONDS(3600), .max = LONGEST, .help = "Sums by hour."},
    {.name = "rollups_day", .type = OPTION_DURATION, .where = CONFIG(keep_days_us), .fallback = "5y", .min = DAYS(1), .max = LONGEST, .help = "Sums by day."},
    {0},
};

static const struct option store[] = {
    {.name = "type", .type = OPTION_WORD, .where = ROOT(store_type), .fallback = "embedded", .words = "embedded|redis",
     .help = "Where limits, budgets, keys made in the UI and usage are kept."},
    {.name = "embedded", .type = OPTION_SECTION, .inner = store_embedded, .help = "Used when type is embedded."},
    {.name = "redis", .type = OPTION_SECTION, .inner = store_redis, .help = "Used when type is redis."},
    {.name = "retention", .type = OPTION_SECTION, .inner = store_retention, .help = "How long usage is kept."},
    {.name = "capture", .type = OPTION_WORD, .where = CONFIG(capture), .fallback = "metadata", .words = "none|metadata|full",
     .help = "What is kept of a call: none = what money needs; metadata = with user, tags and how its target was chosen; full = and prompts and answers, as guardrails have left them."},
    {0},
};

static const struct option price_cap[] = {
    {.name = "input", .type = OPTION_PRICE, .where = ROOT(price_cap.input), .required = true, .help = "USD per million tokens."},
    {.name = "output", .type = OPTION_PRICE, .where = ROOT(price_cap.output), .required = true, .help = "USD per million tokens."},
    {.name = "search", .type = OPTION_PRICE, .where = ROOT(price_cap.search), .fallback = "0", .help = "USD per search of the web; 0: calls of a budget that may search are kept from targets where its price is unknown."},
    {0},
};

static const struct option ledger[] = {
    {.name = "path", .type = OPTION_PATH, .where = CONFIG(ledger_path), .fallback = "STATE/ledger",
     .help = "One journal per worker, drained into the store."},
    {.name = "sync", .type = OPTION_WORD, .where = ROOT(ledger_sync), .fallback = "os", .words = "os|disk|store",
     .help = "What a booked call survives: os = any crash of ours; disk = power loss; store = a lost volume too (needs store.type redis)."},
    {.name = "unknown_price", .type = OPTION_WORD, .where = ROOT(unknown_price), .fallback = "reject", .words = "reject|cap|zero",
     .help = "Hosted models without a price: reject = their targets are off, cap = price_cap, zero = free and flagged. mock and own models cost 0."},
    {.name = "price_cap", .type = OPTION_SECTION, .inner = price_cap, .fallback = "null", .help = "For unknown_price: cap."},
    {0},
};

static const struct option batches[] = {
    {.name = "poll", .type = OPTION_DURATION, .where = CONFIG(batch_poll_us), .fallback = "60s", .min = SECONDS(1), .max = SECONDS(3600),
     .help = "How often the provider of a batch that runs is asked whether it has ended, so that it is settled also when its client never asks."},
    {0},
};

/* ---------------------------------------------------------------------------- providers */

static const struct option provider_tls[] = {
    {.name = "ca_file", .type = OPTION_PATH, .where = PROVIDER(settings.tls.ca_file), .fallback = "null", .help = "Authorities, PEM; default: the system's."},
    {.name = "cert_file", .type = OPTION_PATH, .where = PROVIDER(settings.tls.cert_file), .fallback = "null", .help = "Client certificate, PEM."},
    {.name = "key_file", .type = OPTION_PATH, .where = PROVIDER(settings.tls.key_file), .fallback = "null", .help = "Its key, PEM."},
    {0},
};

static const struct option entra[] = {
    {.name = "tenant", .type = OPTION_NAME, .where = PROVIDER(entra_tenant), .required = true, .help = "Directory id."},
    {.name = "client_id", .type = OPTION_NAME, .where = PROVIDER(entra_client), .required = true, .help = "Application id."},
    {.name = "client_secret", .type = OPTION_TEXT, .where = PROVIDER(entra_secret), .required = true, .secret = true, .help = "Its secret."},
    {0},
};

static const struct option provider_timeouts[] = {
    {.name = "connect", .type = OPTION_DURATION, .where = PROVIDER(settings.connect_us), .fallback = "3s", .min = 10 * MILLISECOND, .max = SECONDS(600), .help = "Name, TCP and TLS."},
    {.name = "first_byte", .type = OPTION_DURATION, .where = PROVIDER(settings.first_byte_us), .fallback = "30s", .min = 10 * MILLISECOND, .max = DAYS(1), .help = "From the request's last byte to the answer's first; a call that is not streamed has until total unless another value than the default is given."},
    {.name = "total", .type = OPTION_DURATION, .where = PROVIDER(settings.total_us), .fallback = "10m", .min = 10 * MILLISECOND, .max = DAYS(7), .help = "Not for streams, which stream_idle ends."},
    {0},
};

static const struct option provider_pool[] = {
    {.name = "max_connections", .type = OPTION_COUNT, .where = PROVIDER(settings.max_connections), .fallback = "256", .min = 1, .max = 100000, .help = "Of the whole process."},
    {.name = "max_idle", .type = OPTION_COUNT, .where = PROVIDER(settings.max_idle), .fallback = "64", .min = 0, .max = 100000, .help = "Kept open for the next call."},
    {.name = "idle_timeout", .type = OPTION_DURATION, .where = PROVIDER(settings.idle_us), .fallback = "55s", .min = 0, .max = DAYS(1), .help = "For so long."},
    {.name = "http2", .type = OPTION_BOOL, .where = PROVIDER(settings.http2), .fallback = "true", .help = "HTTP/2 to the provider where it offers it (ALPN; so with TLS only): calls share connections, and each counts as one in max_connections."},
    {0},
};

static const struct option provider_retry[] = {
    {.name = "attempts", .type = OPTION_COUNT, .where = PROVIDER(settings.retry_attempts), .fallback = "2", .min = 0, .max = 10, .help = "Further tries after the first one failed: on other targets at once, on the same one (when there is no other) after a while."},
    {.name = "retry_on", .type = OPTION_TEXTS, .where = PROVIDER(retry_on), .fallback = "[connect, 429, 500, 502, 503, 529]", .help = "connect, or a status from 400 to 599; at most 15."},
    {.name = "backoff", .type = OPTION_DURATION, .where = PROVIDER(settings.backoff_us), .fallback = "250ms", .min = 0, .max = SECONDS(600), .help = "Before a second try on the same target, doubled each time, with jitter."},
    {.name = "max_backoff", .type = OPTION_DURATION, .where = PROVIDER(settings.max_backoff_us), .fallback = "8s", .min = 0, .max = SECONDS(3600), .help = "At most; also the longest Retry-After that is waited for."},
    {0},
};

static const struct option provider_breaker[] = {
    {.name = "window", .type = OPTION_DURATION, .where = PROVIDER(settings.breaker.window_us), .fallback = "30s", .min = SECONDS(1), .max = DAYS(1), .help = "Stretch of time looked at."},
    {.name = "min_requests", .type = OPTION_COUNT, .where = PROVIDER(settings.breaker.min_requests), .fallback = "20", .min = 1, .max = 1000000, .help = "The rate counts from so many calls on; before, three failures in a row open it (two, where nothing else was seen)."},
    {.name = "error_rate", .type = OPTION_SHARE, .where = PROVIDER(error_rate), .fallback = "0.5", .help = "Opens from here on."},
    {.name = "open_for", .type = OPTION_DURATION, .where = PROVIDER(settings.breaker.open_us), .fallback = "15s", .min = 0, .max = DAYS(1), .help = "Then one call probes; when it fails, as long again. From the ninth on twice as long."},
    {0},
};

static const struct option provider_health[] = {
    {.name = "mode", .type = OPTION_WORD, .where = PROVIDER(health_mode), .fallback = "passive", .words = "passive|active|none", .help = "Learn from calls; ask besides; or neither (no circuit breaker)."},
    {.name = "interval", .type = OPTION_DURATION, .where = PROVIDER(settings.health_interval_us), .fallback = "30s", .min = 100 * MILLISECOND, .max = DAYS(1), .help = "For mode active."},
    {.name = "path", .type = OPTION_STRING, .where = PROVIDER(settings.health_path), .fallback = "/models", .help = "For mode active: behind the base URL."},
    {0},
};

static const struct option provider_rate[] = {
    {.name = "requests_per_minute", .type = OPTION_NUMBER, .where = PROVIDER(settings.rate.limits.requests), .fallback = "null", .min = 1, .max = INT32_MAX, .help = "What the vendor allows you."},
    {.name = "tokens_per_minute", .type = OPTION_NUMBER, .where = PROVIDER(settings.rate.limits.tokens), .fallback = "null", .min = 1, .max = INT64_MAX, .help = "What the vendor allows you."},
    {0},
};

static const struct option provider[] = {
    {.name = "name", .type = OPTION_NAME, .where = PROVIDER(settings.name), .required = true, .help = "Unique."},
    {.name = "type", .type = OPTION_NAME, .where = PROVIDER(type), .required = true, .help = "openai anthropic gemini mock …: a row of the provider table; see docs/PROVIDERS.md."},
    {.name = "base_url", .type = OPTION_STRING, .where = PROVIDER(settings.base_url), .fallback = "null", .help = "What the vendor's SDK takes; default: the type's."},
    {.name = "api_key", .type = OPTION_TEXT, .where = PROVIDER(settings.api_key), .fallback = "", .secret = true, .help = "Without a key the provider is off, where its type needs one."},
    {.name = "api_keys", .type = OPTION_TEXTS, .where = PROVIDER(api_keys), .fallback = "[]", .secret = true, .help = "Several, each with its own quota and cooldown: they take turns, and one that is refused (429, 401, 402) rests."},
    {.name = "tls", .type = OPTION_SECTION, .inner = provider_tls, .help = "For https."},
    {.name = "api_version", .type = OPTION_TEXT, .where = PROVIDER(settings.api_version), .fallback = "null", .help = "azure-openai: its deployments are asked below /openai/deployments; without one, models below /openai/v1."},
    {.name = "entra", .type = OPTION_SECTION, .inner = entra, .fallback = "null", .help = "azure-openai: sign-in instead of a key; AZURE_AUTHORITY_HOST names another cloud's."},
    {.name = "region", .type = OPTION_TEXT, .where = PROVIDER(settings.region), .fallback = "null", .help = "bedrock: where it is, as in us-east-1; its base_url follows."},
    {.name = "access_key", .type = OPTION_TEXT, .where = PROVIDER(settings.access_key), .fallback = "null", .secret = true, .help = "bedrock: calls are signed with it, where there is no api_key."},
    {.name = "secret_key", .type = OPTION_TEXT, .where = PROVIDER(settings.secret_key), .fallback = "null", .secret = true, .help = "bedrock."},
    {.name = "session_token", .type = OPTION_TEXT, .where = PROVIDER(settings.session_token), .fallback = "null", .secret = true, .help = "bedrock."},
    {.name = "project", .type = OPTION_TEXT, .where = PROVIDER(settings.project), .fallback = "null", .help = "vertex; default: the project of credentials_file."},
    {.name = "location", .type = OPTION_TEXT, .where = PROVIDER(settings.location), .fallback = "null", .help = "vertex: a region, us, eu or global."},
    {.name = "credentials_file", .type = OPTION_PATH, .where = PROVIDER(credentials_file), .fallback = "null", .help = "vertex: a service account's key, JSON; default: the metadata server (GCE_METADATA_HOST)."},
    {.name = "service_tier", .type = OPTION_WORD, .where = PROVIDER(service), .fallback = "default", .words = "default|priority|flex", .help = "What a call is served in that asks for no tier of service, or for auto: as the account (OpenAI's project) is set up."},
    {.name = "organization", .type = OPTION_TEXT, .where = PROVIDER(settings.organization), .fallback = "null", .help = "OpenAI-Organization of every call."},
    {.name = "headers", .type = OPTION_PAIRS, .where = PROVIDER(headers), .fallback = "{}", .secret = true, .help = "Added to every call."},
    {.name = "timeouts", .type = OPTION_SECTION, .inner = provider_timeouts, .help = "Of one try."},
    {.name = "pool", .type = OPTION_SECTION, .inner = provider_pool, .help = "Connections."},
    {.name = "retry", .type = OPTION_SECTION, .inner = provider_retry, .help = "Only while nothing was sent to the client."},
    {.name = "breaker", .type = OPTION_SECTION, .inner = provider_breaker, .help = "Circuit breaker."},
    {.name = "health", .type = OPTION_SECTION, .inner = provider_health, .help = "How it is known to be well."},
    {.name = "rate", .type = OPTION_SECTION, .inner = provider_rate, .help = "Never send more; each process counts for itself."},
    {.name = "proxy", .type = OPTION_STRING, .where = PROVIDER(settings.proxy), .fallback = "null", .secret = true, .is_url = true, .help = "http://[user:password@]host:port; else HTTPS_PROXY and NO_PROXY are honoured."},
    {.name = "metrics_url", .type = OPTION_STRING, .where = PROVIDER(settings.metrics_url), .fallback = "null", .help = "Of vLLM, SGLang, llama.cpp or TGI: its queue, its calls and the use of its KV cache, asked every two seconds, guide routing."},
    {.name = "tags", .type = OPTION_TEXTS, .where = PROVIDER(tags), .fallback = "[]", .help = "Of all its targets: where it is and what it is for, as in [eu, zero-retention]."},
    {.name = "lenient", .type = OPTION_BOOL, .where = PROVIDER(settings.lenient), .fallback = "false", .help = "Of calls in another dialect: what this provider cannot do is left out and named in x-sluice-dropped, not refused."},
    {.name = "allow_link_local", .type = OPTION_BOOL, .where = PROVIDER(settings.allow_link_local), .fallback = "false", .help = "May connect to link-local and metadata addresses (169.254/16, fe80::/10)."},
    {0},
};

/* ------------------------------------------------------------------------------- models */

static const struct option tier[] = {
    {.name = "tokens", .type = OPTION_NUMBER, .where = TARGET(target.price.tier_above_tokens), .required = true, .min = 1, .max = INT64_C(1) << 40, .help = "Prompts longer than this."},
    {.name = "input", .type = OPTION_PRICE, .where = TARGET(target.price.tier_input), .required = true, .help = "USD per million tokens."},
    {.name = "cached_input", .type = OPTION_PRICE, .where = TARGET(target.price.tier_cached_input), .fallback = "0", .help = "0: in proportion to input."},
    {.name = "output", .type = OPTION_PRICE, .where = TARGET(target.price.tier_output), .required = true, .help = "USD per million tokens."},
    {0},
};

static const struct option priority[] = {
    {.name = "input", .type = OPTION_PRICE, .where = TARGET(target.price.services[SERVICE_PRIORITY].input), .required = true, .help = "USD per million tokens."},
    {.name = "cached_input", .type = OPTION_PRICE, .where = TARGET(target.price.services[SERVICE_PRIORITY].cached_input), .fallback = "0", .help = "0: in proportion to input."},
    {.name = "output", .type = OPTION_PRICE, .where = TARGET(target.price.services[SERVICE_PRIORITY].output), .required = true, .help = "USD per million tokens."},
    {0},
};

static const struct option flex[] = {
    {.name = "input", .type = OPTION_PRICE, .where = TARGET(target.price.services[SERVICE_FLEX].input), .required = true, .help = "USD per million tokens."},
    {.name = "cached_input", .type = OPTION_PRICE, .where = TARGET(target.price.services[SERVICE_FLEX].cached_input), .fallback = "0", .help = "0: in proportion to input."},
    {.name = "output", .type = OPTION_PRICE, .where = TARGET(target.price.services[SERVICE_FLEX].output), .required = true, .help = "USD per million tokens."},
    {0},
};

static const struct option batch_price[] = {
    {.name = "input", .type = OPTION_PRICE, .where = TARGET(target.price.services[SERVICE_BATCH].input), .required = true, .help = "USD per million tokens."},
    {.name = "cached_input", .type = OPTION_PRICE, .where = TARGET(target.price.services[SERVICE_BATCH].cached_input), .fallback = "0", .help = "0: in proportion to input."},
    {.name = "output", .type = OPTION_PRICE, .where = TARGET(target.price.services[SERVICE_BATCH].output), .required = true, .help = "USD per million tokens."},
    {0},
};

const struct option price_options[] = {
    {.name = "input", .type = OPTION_PRICE, .where = TARGET(target.price.input), .fallback = "0", .help = "USD per million tokens."},
    {.name = "cached_input", .type = OPTION_PRICE, .where = TARGET(target.price.cached_input), .fallback = "0", .help = "0: as input."},
    {.name = "cache_write", .type = OPTION_PRICE, .where = TARGET(target.price.cache_write), .fallback = "0", .help = "0: as input."},
    {.name = "cache_write_1h", .type = OPTION_PRICE, .where = TARGET(target.price.cache_write_1h), .fallback = "0", .help = "0: twice the input at Anthropic, and elsewhere if cache_write is more than input; else as cache_write."},
    {.name = "output", .type = OPTION_PRICE, .where = TARGET(target.price.output), .fallback = "0", .help = "USD per million tokens."},
    {.name = "reasoning", .type = OPTION_PRICE, .where = TARGET(target.price.reasoning), .fallback = "0", .help = "0: as output."},
    {.name = "audio_input", .type = OPTION_PRICE, .where = TARGET(target.price.audio_input), .fallback = "0", .help = "0: as input."},
    {.name = "audio_output", .type = OPTION_PRICE, .where = TARGET(target.price.audio_output), .fallback = "0", .help = "0: as output."},
    {.name = "image_input", .type = OPTION_PRICE, .where = TARGET(target.price.image_input), .fallback = "0", .help = "0: as input."},
    {.name = "image_output", .type = OPTION_PRICE, .where = TARGET(target.price.image_output), .fallback = "0", .help = "0: as output."},
    {.name = "request", .type = OPTION_PRICE, .where = TARGET(target.price.request), .fallback = "0", .help = "USD per call."},
    {.name = "unit", .type = OPTION_PRICE, .where = TARGET(target.price.unit), .fallback = "0", .help = "USD per image, ranking, second, character."},
    {.name = "search", .type = OPTION_PRICE, .where = TARGET(target.price.search), .fallback = "0", .help = "USD per search of the web that the provider makes; left out: as unit, and without that unknown (ledger.unknown_price)."},
    {.name = "priority", .type = OPTION_SECTION, .inner = priority, .help = "Prices in the tier of service that OpenAI and Gemini call priority, and Anthropic fast mode."},
    {.name = "flex", .type = OPTION_SECTION, .inner = flex, .help = "Prices in the tier flex; without them it is booked as the standard one."},
    {.name = "batch", .type = OPTION_SECTION, .inner = batch_price, .help = "Prices of batches; without them they are booked as other calls."},
    {.name = "above", .type = OPTION_SECTION, .inner = tier, .help = "Prices above a prompt length."},
    {0},
};

static const struct option rates[] = {
    {.name = "concurrent", .type = OPTION_NUMBER, .fallback = "null", .min = 1, .max = INT32_MAX, .help = "Calls at once."},
    {.name = "requests_per_minute", .type = OPTION_NUMBER, .fallback = "null", .min = 1, .max = INT64_MAX, .help = "Calls."},
    {.name = "requests_per_hour", .type = OPTION_NUMBER, .fallback = "null", .min = 1, .max = INT64_MAX, .help = "Calls."},
    {.name = "requests_per_day", .type = OPTION_NUMBER, .fallback = "null", .min = 1, .max = INT64_MAX, .help = "Calls."},
    {.name = "tokens_per_minute", .type = OPTION_NUMBER, .fallback = "null", .min = 1, .max = INT64_MAX, .help = "Input and output."},
    {.name = "tokens_per_hour", .type = OPTION_NUMBER, .fallback = "null", .min = 1, .max = INT64_MAX, .help = "Input and output."},
    {.name = "tokens_per_day", .type = OPTION_NUMBER, .fallback = "null", .min = 1, .max = INT64_MAX, .help = "Input and output."},
    {.name = "input_tokens_per_minute", .type = OPTION_NUMBER, .fallback = "null", .min = 1, .max = INT64_MAX, .help = "Input only."},
    {.name = "output_tokens_per_minute", .type = OPTION_NUMBER, .fallback = "null", .min = 1, .max = INT64_MAX, .help = "Output only."},
    {0},
};

static const struct option target_limits[] = {
    {.name = "concurrent", .type = OPTION_NUMBER, .where = TARGET(target.quotas[0].limits.calls), .fallback = "null", .min = 1, .max = INT32_MAX, .help = "Calls at once."},
    {.name = "requests_per_minute", .type = OPTION_NUMBER, .where = TARGET(target.quotas[0].limits.requests), .fallback = "null", .min = 1, .max = INT32_MAX, .help = "Calls begun in any minute."},
    {.name = "tokens_per_minute", .type = OPTION_NUMBER, .where = TARGET(target.quotas[0].limits.tokens), .fallback = "null", .min = 1, .max = INT64_MAX, .help = "Input and output, as expected when a call begins and put right when it ends."},
    {0},
};

static const struct option params[] = {
    {.name = "max_tokens", .type = OPTION_NUMBER, .where = TARGET(target.max_tokens_default), .fallback = "null", .min = 1, .max = INT32_MAX, .help = "Filled in only where the client sent none."},
    {0},
};

static const struct option target[] = {
    {.name = "id", .type = OPTION_NAME, .where = TARGET(target.id), .required = true, .help = "Unique in the file."},
    {.name = "provider", .type = OPTION_NAME, .where = TARGET(provider), .required = true, .help = "Name of a provider."},
    {.name = "model", .type = OPTION_NAME, .where = TARGET(target.model), .required = true, .help = "The vendor's own name."},
    {.name = "weight", .type = OPTION_COUNT, .where = TARGET(target.weight), .fallback = "1", .min = 0, .max = 1000000, .help = "Share among the targets of the same priority."},
    {.name = "priority", .type = OPTION_COUNT, .where = TARGET(target.priority), .fallback = "1", .min = 0, .max = 1000, .help = "Lower first; the next only when all of these are out."},
    {.name = "price", .type = OPTION_SECTION, .inner = price_options, .fallback = "catalog", .words = "catalog", .word_too = true, .help = "USD per million tokens; catalog = the built-in table."},
    {.name = "limits", .type = OPTION_SECTION, .inner = target_limits, .help = "Never send more; each process counts for itself."},
    {.name = "params", .type = OPTION_SECTION, .inner = params, .help = "Defaults for what the client left out."},
    {.name = "context_window", .type = OPTION_NUMBER, .where = TARGET(target.context_tokens), .fallback = "null", .min = 1, .max = INT32_MAX, .help = "Tokens; default: what the catalogue says. A call that is too long for one target goes to one with a longer window."},
    {.name = "capabilities", .type = OPTION_TEXTS, .where = TARGET(capabilities), .fallback = "[]", .help = "Of this target, where they differ from the model's."},
    {.name = "tags", .type = OPTION_TEXTS, .where = TARGET(tags), .fallback = "[]", .help = "Where it is and what it is for, besides its provider's: for rules and tenants' residency."},
    {.name = "prefill", .type = OPTION_WORD, .where = TARGET(prefill), .fallback = "auto", .words = "auto|none|assistant|prefix|continue", .help = "How it goes on with an answer that another target has begun and broken off: not at all; after a last message of the assistant's; one with prefix: true beside it (Mistral, DeepSeek); with continue_final_message (vLLM, SGLang); auto = as is known of its model."},
    {0},
};

static const struct option model[] = {
    {.name = "name", .type = OPTION_NAME, .where = MODEL(route.name), .required = true, .help = "The model of a request. Unique."},
    {.name = "aliases", .type = OPTION_TEXTS, .where = MODEL(aliases), .fallback = "[]", .help = "Other names; claude-* works too, the longest match wins."},
    {.name = "description", .type = OPTION_TEXT, .where = MODEL(route.description), .fallback = "null", .help = "For people."},
    {.name = "context_window", .type = OPTION_NUMBER, .where = MODEL(route.context_window), .fallback = "null", .min = 1, .max = INT32_MAX, .help = "Tokens; default: what the catalogue says."},
    {.name = "capabilities", .type = OPTION_TEXTS, .where = MODEL(capabilities), .fallback = "[]", .help = "chat, tools, vision, json_schema, audio, stream …: what Ollama's clients are told; default: what the catalogue says. Where they are given, a call that needs vision, tools, json_schema or audio goes only to targets that have it."},
    {.name = "policy", .type = OPTION_NAME, .where = MODEL(policy), .fallback = "null", .help = "Name of a routing policy."},
    {.name = "limits", .type = OPTION_SECTION, .status = PROTECTS, .inner = rates, .help = "Of this model, all tenants together."},
    {.name = "targets", .type = OPTION_LIST, .where = MODEL(targets), .inner = target, .size = sizeof(struct target_draft), .help = "Where it runs."},
    {0},
};

/* ---------------------------------------------------------------------------- telemetry */

static const struct option telemetry_log[] = {
    {.name = "level", .type = OPTION_WORD, .where = CONFIG(telemetry.level), .fallback = "info", .words = "debug|info|warn|error", .help = "Least important level that is written."},
    {.name = "format", .type = OPTION_WORD, .where = CONFIG(telemetry.format), .fallback = "auto", .words = "auto|text|json", .help = "auto = text on a terminal, JSON otherwise."},
    {.name = "file", .type = OPTION_PATH, .where = CONFIG(telemetry.file), .fallback = "stderr", .help = "stderr, stdout or a file, opened anew on USR1."},
    {0},
};

static const struct option telemetry_access[] = {
    {.name = "enabled", .type = OPTION_BOOL, .where = CONFIG(telemetry.access_enabled), .fallback = "true", .help = "One line per call."},
    {.name = "sample", .type = OPTION_SHARE, .where = CONFIG(telemetry.access_sample), .fallback = "1.0", .help = "Share of the calls that went well; all others have a line."},
    {.name = "decisions", .type = OPTION_BOOL, .where = CONFIG(telemetry.decisions), .fallback = "false", .help = "In JSON: with what was known of each target when one was chosen, for sluice replay. Where fields are given, decision has to be one of them."},
    {.name = "fields", .type = OPTION_TEXTS, .where = ROOT(access_fields), .fallback = "[]", .help = "In JSON: only these, in this order, as in [ts, request_id, model, status, cost_usd]; empty = all."},
    {0},
};

static const struct option telemetry_metrics[] = {
    {.name = "enabled", .type = OPTION_BOOL, .where = CONFIG(telemetry.metrics_enabled), .fallback = "true", .help = "Prometheus text."},
    {.name = "public", .type = OPTION_BOOL, .where = CONFIG(telemetry.metrics_public), .fallback = "false", .help = "May be served on a non-loopback address."},
    {.name = "path", .type = OPTION_STRING, .where = CONFIG(telemetry.metrics_path), .fallback = "/metrics", .help = "Where."},
    {.name = "tenant_label", .type = OPTION_BOOL, .where = CONFIG(telemetry.tenant_label), .fallback = "true", .help = "A label for the tenant."},
    {.name = "max_label_values", .type = OPTION_COUNT, .where = CONFIG(telemetry.max_label_values), .fallback = "500", .min = 1, .max = 100000, .help = "Of one label; more are counted together."},
    {.name = "gen_ai", .type = OPTION_BOOL, .where = CONFIG(telemetry.gen_ai), .fallback = "true", .help = "Names of OpenTelemetry's GenAI conventions too."},
    {0},
};

static const struct option telemetry_tracing[] = {
    {.name = "endpoint", .type = OPTION_STRING, .where = CONFIG(tracing.endpoint), .fallback = "", .help = "Of the collector, OTLP/HTTP, as in http://127.0.0.1:4318; /v1/traces is put behind it. Empty = no traces. OTEL_* variables win over these."},
    {.name = "protocol", .type = OPTION_WORD, .fallback = "http/json", .words = "http/json", .help = "Encoding."},
    {.name = "headers", .type = OPTION_PAIRS, .where = ROOT(tracing_headers), .fallback = "{}", .secret = true, .help = "For the collector: its key, for example; at most 16."},
    {.name = "sample", .type = OPTION_SHARE, .where = CONFIG(tracing.sample), .fallback = "0.1", .help = "Share of the calls that begin a trace; one that a caller has begun goes on, or not, as traceparent says."},
    {.name = "capture_content", .type = OPTION_BOOL, .where = CONFIG(tracing.capture_content), .fallback = "false", .help = "Prompts and answers in spans (gen_ai.input.messages, gen_ai.output.messages), as guardrails have left them, 32 KiB of each; not of tenants with capture: none."},
    {0},
};

static const struct option telemetry[] = {
    {.name = "log", .type = OPTION_SECTION, .inner = telemetry_log, .help = "For operators."},
    {.name = "access_log", .type = OPTION_SECTION, .inner = telemetry_access, .help = "For every call."},
    {.name = "metrics", .type = OPTION_SECTION, .inner = telemetry_metrics, .help = "For Prometheus."},
    {.name = "tracing", .type = OPTION_SECTION, .inner = telemetry_tracing, .help = "For OpenTelemetry."},
    {0},
};

/* --------------------------------------------------------------------------------- root */

const struct option config_options[] = {
    {.name = "version", .type = OPTION_NUMBER, .where = ROOT(version), .required = true, .min = 1, .max = 1, .help = "The format of the configuration: 1."},
    {.name = "server", .type = OPTION_SECTION, .inner = server, .help = "Listeners, limits, time-outs."},
    {.name = "admin", .type = OPTION_SECTION, .inner = admin, .help = "For operators."},
    {.name = "store", .type = OPTION_SECTION, .inner = store, .help = "Limits, budgets, keys made in the UI, usage."},
    {.name = "ledger", .type = OPTION_SECTION, .inner = ledger, .help = "Every call, written before its answer ends."},
    {.name = "providers", .type = OPTION_LIST, .where = ROOT(providers), .inner = provider, .size = sizeof(struct provider_draft), .help = "Where requests can go."},
    {.name = "models", .type = OPTION_LIST, .where = ROOT(models), .inner = model, .size = sizeof(struct model_draft), .help = "What clients ask for, and where it runs."},
    {.name = "routing", .type = OPTION_SECTION, .inner = routing_options, .help = "Which target next."},
    {.name = "tenants", .type = OPTION_LIST, .where = ROOT(tenants), .inner = tenant_options, .size = sizeof(struct tenant_draft), .help = "Who may call what. Declared here: shown in the UI, not editable there."},
    {.name = "anonymous", .type = OPTION_BOOL, .where = CONFIG(anonymous), .fallback = "false", .help = "No key needed; an error on a non-loopback listener. Not set, and no tenants, neither in the file nor made through the API, and no jwt: on loopback no key is needed either. false in words: every call needs a key, and other addresses may be listened on before there is one (sluice keys create)."},
    {.name = "aws_signatures", .type = OPTION_BOOL, .where = CONFIG(aws_signatures), .fallback = "false", .help = "Bedrock's clients may sign their calls, as TENANT:KEY with the SHA-256 of the key; what is kept of a key then opens as much as the key."},
    {.name = "jwt", .type = OPTION_SECTION, .inner = jwt_options, .fallback = "null", .help = "Tokens of an identity provider as keys; in the ledger the key is token: and the sub of the token."},
    {.name = "limits", .type = OPTION_SECTION, .inner = limits_options, .help = "How limits are kept and told, and those of tenants and keys that set none."},
    {.name = "batches", .type = OPTION_SECTION, .inner = batches, .help = "Batches of calls, which run after their own call has ended."},
    {.name = "jobs", .type = OPTION_SECTION, .inner = jobs_options, .help = "Calls that are answered later; see docs/JOBS.md."},
    {.name = "cache", .type = OPTION_SECTION, .inner = cache_options, .help = "Answers kept; per request: Cache-Control."},
    {.name = "guardrails", .type = OPTION_LIST, .where = ROOT(guardrails), .inner = guardrail_options, .size = sizeof(struct guard_draft), .help = "What must not pass; at most 64."},
    {.name = "telemetry", .type = OPTION_SECTION, .inner = telemetry, .help = "Seen from outside."},
    {.name = "deployments", .type = OPTION_SECTION, .inner = deployment_options, .help = "Model servers that sluice starts, watches, scales, stops."},
    {.name = "include", .type = OPTION_TEXTS, .where = ROOT(include), .fallback = "[]", .help = "More files, patterns allowed; merged in name order: a list adds, a repeated name is an error."},
    {0},
};

/* clang-format on */

static bool is_word(const char *word, struct text text)
{
    return text.len > 0 && strncmp(word, text.at, text.len) == 0 && word[text.len] == '\0';
}

static bool has_twin(const struct option *option)
{
    return option->secret && (option->type == OPTION_TEXT || option->type == OPTION_STRING);
}

/* What a twin is the twin of; nothing when <name> is not that of one. */
static struct text without_file(struct text name)
{
    static const struct text twin = {"_file", 5};
    return text_ends(name, twin) ? text_head(name, name.len - twin.len) : (struct text){NULL, 0};
}

const struct option *option_find(const struct option *options, const char *name, size_t len,
                                 bool *is_file)
{
    struct text wanted = {name, len}, other = without_file(wanted);
    *is_file = false;
    for (const struct option *option = options; option->name; option++)
        if (is_word(option->name, wanted))
            return option;
    if (!other.at)
        return NULL;
    *is_file = true;
    for (const struct option *option = options; option->name; option++)
        if (has_twin(option) && is_word(option->name, other))
            return option;
    return NULL;
}

bool option_is_named(const struct option *option, struct text name)
{
    if (is_word(option->name, name))
        return true;
    struct text other = has_twin(option) ? without_file(name) : (struct text){NULL, 0};
    return other.at && is_word(option->name, other);
}

bool word_find(const char *words, const char *word, size_t len, unsigned *place)
{
    struct text rest = words ? text_of(words) : (struct text){NULL, 0}, item;
    for (unsigned i = 0; text_next(&rest, '|', &item); i++) {
        if (!text_equal(item, (struct text){word, len}))
            continue;
        if (place)
            *place = i;
        return true;
    }
    return false;
}

const char *option_type_words(enum option_type type)
{
    static const char *const words[OPTION_TYPES] = {
        [OPTION_SECTION] = "mapping",
        [OPTION_LIST] = "list of mappings",
        [OPTION_MAPS] = "mapping of mappings",
        [OPTION_TEXT] = "text",
        [OPTION_NAME] = "name",
        [OPTION_STRING] = "text",
        [OPTION_PATH] = "path",
        [OPTION_BOOL] = "true or false",
        [OPTION_COUNT] = "whole number",
        [OPTION_NUMBER] = "whole number",
        [OPTION_SIZE] = "size",
        [OPTION_RATE] = "size per second",
        [OPTION_DURATION] = "duration",
        [OPTION_SHARE] = "number from 0 to 1",
        [OPTION_MONEY] = "money",
        [OPTION_PRICE] = "decimal number",
        [OPTION_WORD] = "word",
        [OPTION_WORDS] = "list of words",
        [OPTION_TEXTS] = "list of texts",
        [OPTION_PAIRS] = "mapping of texts",
        [OPTION_HASH] = "hash",
        [OPTION_DATE] = "date",
        [OPTION_ANY] = "anything",
    };
    return words[type];
}

bool option_is_nullable(const struct option *option)
{
    return !option->fallback || strcmp(option->fallback, "null") == 0;
}
