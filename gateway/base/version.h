/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* version - which sluice this is; Semantic Versioning 2.0. */

#define PROGRAM_VERSION "0.1.0"
