/* SPDX-License-Identifier: BSD-2-Clause */
/* Policies that a reload has replaced. Requests under way hold the old one to their end, and whoever
 * lets go of it last frees it: for 100,000 routes that takes a fifth of a second, which is not the
 * event loop's to spend. So they are kept here until nobody else holds them. */
#ifndef SERVER_RETIRED_H
#define SERVER_RETIRED_H

#include <event2/event.h>

#include "background.h"
#include "config.h"

#define RETIRED_LOOK_MS 500 /* between looks, while there are any */

struct retired;

/* Both are borrowed. NULL when out of memory. */
struct retired *retired_new(struct event_base *base, struct background *background) WARN_UNUSED;
/* Takes over `config`. From now on only requests that have it already may hold its policy. */
void retired_add(struct retired *retired, struct config *config);
/* To be called now and then: looks where there was no memory for a time to look at. */
void retired_pulse(struct retired *retired);
/* After the background's end: frees what is left here and now. Accepts NULL. */
void retired_free(struct retired *retired);

#endif
