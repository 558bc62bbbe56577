/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * genai - what OpenTelemetry's conventions for generative AI call things
 * (opentelemetry.io/docs/specs/semconv/gen-ai); for traces and metrics. Inside gateway. Nothing
 * here fails; what it returns is constant, or the text it was given.
 */

#include "gateway/base/text.h"

/* gen_ai.operation.name for an operation's name of ours. */
struct text genai_operation(struct text operation);
/* gen_ai.provider.name for a provider's type. */
struct text genai_provider(struct text type);
