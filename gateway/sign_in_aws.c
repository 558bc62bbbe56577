/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What AWS gives its machines, containers and jobs: a pair of keys and the token of a session, for
 * some hours.
 *
 * Sources: AWS SDKs and Tools reference guide, "Container credential provider", "Assume role
 * credential provider" (web identity), "IMDS credential provider"; Amazon EC2 user guide, "IMDSv2";
 * AWS STS API reference, AssumeRoleWithWebIdentity.
 */
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/json.h"
#include "gateway/base/memory.h"
#include "gateway/http/form.h"
#include "gateway/sign_in_inside.h"
#include "providers/sigv4.h"

#define MACHINE_ROLES "/latest/meta-data/iam/security-credentials/"

enum { MACHINE_SESSION, MACHINE_ROLE, MACHINE_KEYS };

enum {
    FILE_MAX = 32 << 10,
    NAME_MAX_BYTES = 4096, /* of a path */
    ROLE_MAX = 256,
    LIFE_DEFAULT_S = 3600, /* where it is not said */
};

/* ------------------------------------------------------------------------------- request */

/* Without white space at its ends, line breaks too. */
static struct text trimmed(struct text text)
{
    while (text.len && (unsigned char)text.at[0] <= ' ')
        text = text_from(text, 1);
    while (text.len && (unsigned char)text.at[text.len - 1] <= ' ')
        text.len--;
    return text;
}

/* The file is written anew from time to time. */
static bool put_file(struct buffer *out, struct text path)
{
    char name[NAME_MAX_BYTES], bytes[4096];
    ssize_t count = 0;
    if (path.len >= sizeof(name))
        return false;
    memcpy(name, path.at, path.len);
    name[path.len] = '\0';
    int fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return false;
    while ((count = read(fd, bytes, sizeof(bytes))) > 0)
        if (!buffer_append(out, bytes, (size_t)count))
            break;
    close(fd);
    memory_wipe(bytes, sizeof(bytes));
    return count == 0;
}

static bool is_visible(struct text text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.at[i] <= ' ' || text.at[i] > '~')
            return false;
    return text.len > 0;
}

/* What a file holds, without white space at its ends. */
static bool read_token(struct text path, struct buffer *room, struct text *token)
{
    bool good = put_file(room, path);
    *token = trimmed(buffer_text(room));
    return good && is_visible(*token);
}

static bool put_container(struct sign_in *sign_in, const char **problem)
{
    const struct sign_in_settings *settings = &sign_in->settings;
    struct text token = settings->secret;
    struct buffer file;
    buffer_init(&file, FILE_MAX);
    bool good = !settings->key_id.len || read_token(settings->key_id, &file, &token);
    *problem = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE cannot be read";
    sign_in_put_head(sign_in, "GET", settings->url.path);
    if (good && token.len)
        buffer_format(&sign_in->request, "Authorization: %.*s\r\n", TEXT_ARGS(token));
    buffer_append_text(&sign_in->request, TEXT("\r\n"));
    sign_in_wipe(&file);
    return good;
}

static bool put_web(struct sign_in *sign_in, const char **problem)
{
    const struct sign_in_settings *settings = &sign_in->settings;
    struct buffer file, body;
    struct text token;
    buffer_init(&file, FILE_MAX);
    buffer_init(&body, SIGN_IN_REQUEST_MAX);
    bool good = read_token(settings->key_id, &file, &token);
    *problem = "AWS_WEB_IDENTITY_TOKEN_FILE cannot be read";
    if (good) {
        form_put_pair(&body, "Action", TEXT("AssumeRoleWithWebIdentity"));
        form_put_pair(&body, "Version", TEXT("2011-06-15"));
        form_put_pair(&body, "RoleArn", settings->id);
        form_put_pair(&body, "RoleSessionName", settings->scope);
        form_put_pair(&body, "WebIdentityToken", token);
    }
    sign_in_put_head(sign_in, "POST", settings->url.path);
    buffer_format(&sign_in->request,
                  "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %zu\r\n\r\n",
                  buffer_length(&body));
    buffer_append_text(&sign_in->request, buffer_text(&body));
    sign_in_wipe(&file);
    sign_in_wipe(&body);
    return good;
}

/* The session's token, and the role behind a line break. */
static struct text part_of(const struct sign_in *sign_in, bool role)
{
    struct text both = buffer_text(&sign_in->session);
    size_t line = text_find_byte(both, '\n');
    return role ? text_from(both, line + 1) : text_head(both, line);
}

static void put_machine(struct sign_in *sign_in)
{
    char path[sizeof(MACHINE_ROLES) + ROLE_MAX];
    struct text role = sign_in->stage == MACHINE_KEYS ? part_of(sign_in, true) : TEXT("");
    if (sign_in->stage == MACHINE_SESSION) {
        sign_in_put_head(sign_in, "PUT", TEXT("/latest/api/token"));
        buffer_append_text(&sign_in->request, TEXT("X-aws-ec2-metadata-token-ttl-seconds: 21600\r\n"
                                                   "Content-Length: 0\r\n\r\n"));
        return;
    }
    int len = snprintf(path, sizeof(path), MACHINE_ROLES "%.*s", TEXT_ARGS(role));
    sign_in_put_head(sign_in, "GET", (struct text){path, (size_t)len});
    buffer_format(&sign_in->request, "X-aws-ec2-metadata-token: %.*s\r\n\r\n",
                  TEXT_ARGS(part_of(sign_in, false)));
}

bool sign_in_aws_put(struct sign_in *sign_in, const char **problem)
{
    if (sign_in->settings.kind == SIGN_IN_AWS_CONTAINER)
        return put_container(sign_in, problem);
    if (sign_in->settings.kind == SIGN_IN_AWS_WEB)
        return put_web(sign_in, problem);
    put_machine(sign_in);
    return true;
}

/* --------------------------------------------------------------------------------- answer */

/* Seconds from now until "2026-11-26T07:45:29Z", which may have a fraction. */
static bool read_end(struct text stamp, int64_t *seconds)
{
    char room[32];
    struct tm utc = {0};
    if (!stamp.len || stamp.len >= sizeof(room))
        return false;
    memcpy(room, stamp.at, stamp.len);
    room[stamp.len] = '\0';
    const char *rest = strptime(room, "%Y-%m-%dT%H:%M:%S", &utc);
    if (!rest || (*rest != 'Z' && *rest != '.'))
        return false;
    *seconds = (int64_t)timegm(&utc) - clock_wall_us() / 1000000;
    return *seconds > 0;
}

struct keys_of_aws {
    struct text access_key, secret_key, session_token, end;
};

/* Three lines, which is how sign_in_keys() finds them. */
static const char *take_keys(struct sign_in *sign_in, const struct keys_of_aws *keys)
{
    int64_t seconds = LIFE_DEFAULT_S;
    struct buffer lines;
    if (!is_visible(keys->access_key) || !is_visible(keys->secret_key))
        return "the answer has no keys";
    if (keys->session_token.len && !is_visible(keys->session_token))
        return "the answer has no token that can be sent";
    if (keys->end.len && !read_end(keys->end, &seconds))
        return "the answer's keys are over, or do not say until when they are good";
    buffer_init(&lines, SIGN_IN_TOKEN_MAX);
    bool fits = buffer_format(&lines, "%.*s\n%.*s\n%.*s", TEXT_ARGS(keys->access_key),
                              TEXT_ARGS(keys->secret_key), TEXT_ARGS(keys->session_token));
    if (fits)
        sign_in_take(sign_in, buffer_text(&lines), seconds);
    sign_in_wipe(&lines);
    return fits ? NULL : "the answer's keys are too long";
}

static struct text member(const struct json *root, const char *name)
{
    struct text words = {"", 0};
    const struct json *value = json_member(root, name);
    if (value)
        json_to_text(value, &words);
    return words;
}

static const char *take_json(struct sign_in *sign_in)
{
    struct json_problem nowhere;
    struct json *root = json_read(buffer_text(&sign_in->ask.answer), &nowhere);
    if (!root)
        return "the answer is no JSON";
    struct keys_of_aws keys = {
        .access_key = member(root, "AccessKeyId"),
        .secret_key = member(root, "SecretAccessKey"),
        .session_token = member(root, "Token"),
        .end = member(root, "Expiration"),
    };
    const char *problem = take_keys(sign_in, &keys);
    json_free(root);
    return problem;
}

/* What stands between <name> and </name>. What we look for has no escapes in it. */
static struct text element(struct text xml, const char *name)
{
    char mark[64];
    int len = snprintf(mark, sizeof(mark), "<%s>", name);
    size_t at = text_find(xml, (struct text){mark, (size_t)len});
    if (at == SIZE_MAX)
        return (struct text){"", 0};
    struct text rest = text_from(xml, at + (size_t)len);
    size_t end = text_find_byte(rest, '<');
    return end == SIZE_MAX ? (struct text){"", 0} : trimmed(text_head(rest, end));
}

static const char *take_xml(struct sign_in *sign_in)
{
    struct text xml = buffer_text(&sign_in->ask.answer);
    struct keys_of_aws keys = {
        .access_key = element(xml, "AccessKeyId"),
        .secret_key = element(xml, "SecretAccessKey"),
        .session_token = element(xml, "SessionToken"),
        .end = element(xml, "Expiration"),
    };
    return take_keys(sign_in, &keys);
}

static bool is_role(struct text role)
{
    for (size_t i = 0; i < role.len; i++) {
        char c = role.at[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && !(c && strchr("+=,.@_-", c)))
            return false;
    }
    return role.len > 0 && role.len <= ROLE_MAX;
}

/* The first line: the machine's role. */
static const char *take_role(struct sign_in *sign_in)
{
    struct text answer = trimmed(buffer_text(&sign_in->ask.answer));
    struct text role = trimmed(text_head(answer, text_find_byte(answer, '\n')));
    if (!is_role(role))
        return "the machine has no role";
    buffer_append_text(&sign_in->session, TEXT("\n"));
    buffer_append_text(&sign_in->session, role);
    return NULL;
}

static const char *take_session(struct sign_in *sign_in)
{
    struct text token = trimmed(buffer_text(&sign_in->ask.answer));
    if (!is_visible(token) || token.len > SIGN_IN_TOKEN_MAX)
        return "the metadata server gave no token";
    sign_in_wipe(&sign_in->session);
    buffer_init(&sign_in->session, SIGN_IN_TOKEN_MAX + ROLE_MAX + 1);
    buffer_append_text(&sign_in->session, token);
    return NULL;
}

const char *sign_in_aws_answer(struct sign_in *sign_in, bool *more)
{
    const char *problem;
    *more = false;
    if (sign_in->settings.kind == SIGN_IN_AWS_WEB)
        return take_xml(sign_in);
    if (sign_in->settings.kind == SIGN_IN_AWS_CONTAINER || sign_in->stage == MACHINE_KEYS)
        return take_json(sign_in);
    problem = sign_in->stage == MACHINE_SESSION ? take_session(sign_in) : take_role(sign_in);
    sign_in->stage++;
    *more = !problem;
    return problem;
}

bool sign_in_keys(const struct sign_in *sign_in, struct sigv4_credentials *credentials)
{
    struct text lines = sign_in_token(sign_in), line;
    if (!sign_in_is_aws(&sign_in->settings) || !lines.len)
        return false;
    text_next(&lines, '\n', &line);
    credentials->access_key = line;
    text_next(&lines, '\n', &line);
    credentials->secret_key = line;
    credentials->session_token = lines.at ? lines : TEXT("");
    return true;
}

bool sign_in_signs(const struct sign_in *sign_in)
{
    return sign_in_is_aws(&sign_in->settings);
}
