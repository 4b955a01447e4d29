// SPDX-License-Identifier: BSD-2-Clause
/* Nobody says that he was the last to let go: that would be a callback in every unref, for something
 * that happens once a reload. So the count is looked at from time to time. */
#include "server_retired.h"

#include <stdlib.h>

struct entry {
	struct entry *next;
	struct config *config;
};

struct retired {
	struct background *background;
	struct event *look;
	struct entry *first;
};

static void free_config(void *context)
{
	config_free(context);
}

static void look(evutil_socket_t fd, short what, void *context)
{
	static const struct timeval later = {0, RETIRED_LOOK_MS * 1000};
	struct retired *retired = context;
	struct entry **link = &retired->first, *entry;

	(void)fd;
	(void)what;
	while ((entry = *link)) {
		/* Ours alone, it stays so: only who holds a policy can hand it on. A job that there is
		 * no memory for is tried again with the next look. */
		if (policy_is_shared(entry->config->policy) ||
		    background_run(retired->background, free_config, NULL, entry->config) < 0) {
			link = &entry->next;
			continue;
		}
		*link = entry->next;
		free(entry);
	}
	/* Else the next pulse looks. */
	if (retired->first)
		(void)event_add(retired->look, &later);
}

void retired_pulse(struct retired *retired)
{
	if (retired->first && !evtimer_pending(retired->look, NULL))
		look(-1, 0, retired);
}

struct retired *retired_new(struct event_base *base, struct background *background)
{
	struct retired *retired = calloc(1, sizeof(*retired));

	if (!retired)
		return NULL;
	retired->background = background;
	retired->look = event_new(base, -1, 0, look, retired);
	if (retired->look)
		return retired;
	free(retired);
	return NULL;
}

void retired_add(struct retired *retired, struct config *config)
{
	struct entry *entry = malloc(sizeof(*entry));

	if (!entry) {
		/* Whoever holds the policy last frees it then, in the loop: late, but not lost. */
		config_free(config);
		return;
	}
	*entry = (struct entry){retired->first, config};
	retired->first = entry;
	look(-1, 0, retired);
}

void retired_free(struct retired *retired)
{
	struct entry *entry;

	if (!retired)
		return;
	while ((entry = retired->first)) {
		retired->first = entry->next;
		config_free(entry->config);
		free(entry);
	}
	event_free(retired->look);
	free(retired);
}
