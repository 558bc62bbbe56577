/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/complaint.h"

#include <stdarg.h>
#include <stdio.h>

void complaint_print(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("sluice: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}
