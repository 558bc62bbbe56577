/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* data - the files of facts that are inside the program (data.S); only this folder includes it. */

#include "gateway/base/text.h"

extern const char providers_json[], providers_json_end[];
extern const char models_json[], models_json_end[];
