/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/call.h"

static const char *const names[OPERATIONS] = {
    [OPERATION_CHAT] = "chat",
    [OPERATION_COMPLETION] = "completion",
    [OPERATION_RESPONSE] = "response",
    [OPERATION_EMBEDDING] = "embedding",
    [OPERATION_MODERATION] = "moderation",
    [OPERATION_IMAGE] = "image",
    [OPERATION_SPEECH] = "speech",
    [OPERATION_TRANSCRIPTION] = "transcription",
    [OPERATION_RERANK] = "rerank",
    [OPERATION_COUNT] = "count",
    [OPERATION_FILE] = "file",
    [OPERATION_BATCH] = "batch",
    [OPERATION_REALTIME] = "realtime",
    [OPERATION_OBJECT] = "object",
};

const char *operation_name(enum operation operation)
{
    return names[operation];
}

bool operation_has_tokens(enum operation operation)
{
    return operation != OPERATION_FILE && operation != OPERATION_OBJECT &&
           operation != OPERATION_BATCH && operation != OPERATION_REALTIME &&
           operation != OPERATION_COUNT;
}
