// SPDX-License-Identifier: BSD-2-Clause
#include "upstream_look.h"

#include <stdlib.h>

struct look {
	struct look *next, **at;
	struct resolver_wait *wait;
	upstream_resolved_fn done;
	void *context;
};

static void look_free(struct look *look)
{
	*look->at = look->next;
	if (look->next)
		look->next->at = look->at;
	free(look);
}

static void on_looked_up(void *context, const struct egress_address *addresses, size_t count,
			 uint32_t ttl, const char *problem)
{
	struct look *look = context;
	upstream_resolved_fn done = look->done;
	void *done_context = look->context;

	(void)problem;
	look_free(look);
	done(done_context, addresses, count, ttl);
}

/* The callback may come before resolver_get() returns, and frees `look`: hence `wait` first. */
void look_begin(struct look **list, struct resolver *resolver, const char *name,
		upstream_resolved_fn done, void *context)
{
	struct look *look = calloc(1, sizeof(*look));
	struct resolver_wait *wait;

	if (!look) {
		done(context, NULL, 0, 0);
		return;
	}
	look->done = done;
	look->context = context;
	look->next = *list;
	look->at = list;
	if (look->next)
		look->next->at = &look->next;
	*list = look;
	wait = resolver_get(resolver, name, on_looked_up, look);
	if (wait)
		look->wait = wait;
}

void look_end_all(struct look *list)
{
	struct look *next;

	for (; list; list = next) {
		next = list->next;
		resolver_cancel(list->wait);
		look_free(list);
	}
}
