/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/successor.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "gateway/base/clock.h"
#include "gateway/base/sanitizer.h"
#include "gateway/channel.h"
#include "gateway/complaint.h"
#include "gateway/handoff.h"
#include "gateway/service.h"
#include "gateway/supervisor.h"

static int refuse(const struct handoff *handoff, const char *why)
{
    complaint_print("%s", why);
    channel_say(handoff->channel, SAY_UNABLE, why, -1);
    return EXIT_BAD_CONFIG;
}

/* What is wrong with it goes to the log as always, and its beginning to who waits. */
static int refuse_config(const struct handoff *handoff, char *words, unsigned errors)
{
    char why[CHANNEL_BYTES];
    fputs(words, stderr);
    words[strcspn(words, "\n")] = 0;
    snprintf(why, sizeof why, "the configuration has %u error%s: %s", errors,
             errors == 1 ? "" : "s", words);
    return refuse(handoff, why);
}

static int serve(const struct handoff *handoff, const struct config_options *load)
{
    char *words = NULL;
    size_t length = 0;
    struct fault fault;
    struct config_options careful = *load;
    careful.words = open_memstream(&words, &length);
    assert(careful.words != NULL);
    struct config_result result = config_load(&careful);
    fclose(careful.words);
    int code = EXIT_BAD_CONFIG;
    if (result.config == NULL) {
        code = refuse_config(handoff, words, result.errors);
    } else if (!handoff_suits(handoff, result.config, &fault)) {
        code = refuse(handoff, fault.text);
    } else {
        fputs(words, stderr);
        struct service_options options = {.config = result.config,
                                          .load = load,
                                          .listener_fds = handoff->sockets.fds,
                                          .admin_fd = handoff->sockets.admin,
                                          .underway = handoff->underway,
                                          .channel = handoff->channel,
                                          .follows = true,
                                          .link = handoff->link};
        if (!UNDER_SANITIZER)
            prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* exec() has forgotten it */
        code = service_run(&options);
    }
    free(words);
    if (result.config != NULL)
        config_unref(result.config);
    return code;
}

/* The service runs already, whatever the file is like by now. */
static int supervise(struct handoff *handoff, const struct config_options *load)
{
    struct fault fault;
    struct config_options quiet = *load;
    quiet.words = NULL;
    prctl(PR_SET_NAME, "sluice", 0, 0, 0); /* else it is called by the number of a descriptor */
    struct config_result result = {0};
    if (load->path != NULL || load->quickstart)
        result = config_load(&quiet);
    if (result.config != NULL && !handoff_suits(handoff, result.config, &fault)) {
        config_unref(result.config); /* it has just been changed */
        result.config = NULL;
    }
    struct supervisor_options options = {
        .config = result.config, .load = load, .started_us = clock_now_us(), .handoff = handoff};
    int code = supervisor_run(&options);
    if (result.config != NULL)
        config_unref(result.config);
    return code;
}

int successor_run(const struct config_options *load)
{
    struct fault fault;
    supervisor_hold_signals();
    struct handoff *handoff = handoff_read(&fault);
    if (handoff == NULL) {
        complaint_print("%s", fault.text);
        return EXIT_FAILED;
    }
    if (handoff->to_supervisor)
        return supervise(handoff, load);
    int code = serve(handoff, load);
    handoff_free(handoff);
    return code;
}
