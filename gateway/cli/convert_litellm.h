/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * convert_litellm - the settings in each part of LiteLLM's file: which are taken over, and why the
 * others are not. What is not among them is told as unknown. Constants.
 */

#include "gateway/cli/convert.h"

extern const struct convert_row convert_litellm_file[], convert_litellm_general[],
    convert_litellm_module[], convert_litellm_router[];
/* Of each entry of model_list: litellm_params, model_info. */
extern const struct convert_row convert_litellm_params[], convert_litellm_info[];
