/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * deploy_order - an order for a deployment: carried out here, or, where another node leads, handed
 * to that one through Redis; and kept, so that it holds over restarts and for whoever leads next.
 * Inside gateway; the service's thread.
 */

#include "deploy/models/deployment.h"
#include "gateway/base/text.h"

struct service;

struct deploy_order {
    struct text name;
    enum fleet_order order;
    unsigned low, high; /* FLEET_SCALE */
    char why[200];      /* why it was not done, for people */
};

/* 0 = it is done; else the status to answer with: 409 it makes no sense now, 503 nobody is there
 * who could. Where another leads it waits for that one, at most ORDER_WAIT_US. */
enum { ORDER_WAIT_US = 3000000 };
int deploy_order_give(struct service *service, struct deploy_order *order);
/* We lead: carry out what was handed over. */
void deploy_order_serve(struct service *service);
