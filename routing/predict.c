/* SPDX-License-Identifier: Apache-2.0 */
#include "routing/predict.h"

enum { SHORT_TOKENS = 1024, MIDDLE_TOKENS = 8192, LONG_TOKENS = 65536 };

enum traffic traffic_of(enum operation operation, int64_t input_tokens)
{
    if (operation != OPERATION_CHAT && operation != OPERATION_COMPLETION &&
        operation != OPERATION_RESPONSE)
        return TRAFFIC_OTHER;
    return input_tokens < SHORT_TOKENS    ? TRAFFIC_SHORT
           : input_tokens < MIDDLE_TOKENS ? TRAFFIC_MIDDLE
           : input_tokens < LONG_TOKENS   ? TRAFFIC_LONG
                                          : TRAFFIC_HUGE;
}
