/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* openapi - gateway/openapi.json, the description of the admin API (OpenAPI 3.1), as it stands in
 * the source tree, inside the program (openapi.S). */

extern const char openapi_json[], openapi_json_end[];
