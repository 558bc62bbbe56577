/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* dashboard_files - what web/pack.mjs (`make web`) has put into dashboard_files.S: number, path
 * below /ui/, type, and whether the name has a hash of the content in it. */

/* clang-format off */
#define DASHBOARD_FILES(X) \
    X(0, "assets/icon-Cq_Pql_U.svg", "image/svg+xml", true) \
    X(1, "assets/index-DQMhL4bf.css", "text/css; charset=utf-8", true) \
    X(2, "assets/index-NibJ9CK9.js", "text/javascript; charset=utf-8", true) \
    X(3, "", "text/html; charset=utf-8", false) \
    X(4, "licenses.md", "text/markdown; charset=utf-8", false)
/* clang-format on */
