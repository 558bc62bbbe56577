/* SPDX-License-Identifier: Apache-2.0 */
/* The secret of the dashboard's sessions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "gateway/admin.h"
#include "gateway/base/memory.h"
#include "gateway/service_state.h"

/* cmocka wants the headers above. */
#include <cmocka.h>

/* However often it has been removed before. */
static void who_removes_the_shared_secret_has_another_one(void **state)
{
    (void)state;
    struct service *service = memory_new(sizeof(*service));
    for (unsigned i = 1; i <= 3 * SHARED_SECRETS_MAX; i++) {
        struct digest secret = hash_sha256((struct text){(const char *)&i, sizeof i});
        admin_share_sessions(service, &secret);
        admin_share_sessions(service, &secret); /* it is there still */
        assert_true(hash_same(atomic_load(&service->shared_secret), &secret));
        assert_int_equal(service->shared_count, i);
    }
    memory_free(service);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_removes_the_shared_secret_has_another_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
