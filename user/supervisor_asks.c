// SPDX-License-Identifier: BSD-2-Clause
/* What the bottle asks to be allowed. Nothing follows from it but a line in `pending`: an operator
 * allows or denies it by its id, as he does a refusal. */
#include "supervisor_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"

/* So many at once, and then one each second: what people can read. */
#define BURST 10
#define EVERY_MS 1000

static bool take_token(struct asks *asks)
{
	const uint64_t now = clock_ms(CLOCK_BOOTTIME), full = (uint64_t)BURST * EVERY_MS;

	/* The time at which the bucket would be full: no later than that from now. */
	if (asks->full_ms < now)
		asks->full_ms = now;
	if (asks->full_ms + EVERY_MS > now + full)
		return false;
	asks->full_ms += EVERY_MS;
	return true;
}

/* As the worker's are: it may have been taken over. */
static bool to_asked(const struct ask *ask, struct asked *ret)
{
	struct asked asked = {
		.reason = EGRESS_HOST_NOT_ALLOWED,
		.port = ask->port,
		.tls = ask->tls != 0,
		.request = ask->method[0] && ask->path[0],
	};
	struct egress_address address;

	if (ask_fault(ask) || address_parse(ask->host, &address) ||
	    !policy_normalise_host(span_from(ask->host), asked.host))
		return false;
	snprintf(asked.protocol, sizeof(asked.protocol), "%s", ask->tls ? "https" : "http");
	snprintf(asked.method, sizeof(asked.method), "%s", ask->method);
	snprintf(asked.path, sizeof(asked.path), "%s", ask->path);
	*ret = asked;
	return true;
}

static void id_text(const struct supervisor *s, const struct asks_entry *entry, char ret[FEED_ID_SIZE])
{
	snprintf(ret, FEED_ID_SIZE, "%sa%llu", s->mark, (unsigned long long)entry->number);
}

static enum ask_state state_of(const struct supervisor *s, const struct asks_entry *entry)
{
	struct asked asked;

	if (entry->denied)
		return ASK_DENIED;
	return to_asked(&entry->ask, &asked) && asked_is_allowed(&asked, s->config->policy) ? ASK_ALLOWED
											      : ASK_PENDING;
}

static void fill_answer(const struct supervisor *s, const struct asks_entry *entry,
			struct ask_answer *ret)
{
	*ret = (struct ask_answer){.state = state_of(s, entry)};
	id_text(s, entry, ret->id);
}

static struct asks_entry *find_same(struct asks *asks, const struct ask *ask)
{
	for (size_t i = 0; i < ASKS_MAX; i++) {
		struct asks_entry *entry = &asks->list[i];

		if (entry->number && entry->ask.port == ask->port && entry->ask.tls == ask->tls &&
		    strcmp(entry->ask.host, ask->host) == 0 &&
		    strcmp(entry->ask.method, ask->method) == 0 &&
		    strcmp(entry->ask.path, ask->path) == 0)
			return entry;
	}
	return NULL;
}

/* A free place, or that of the oldest that was decided; NULL: all wait. */
static struct asks_entry *make_place(const struct supervisor *s, struct asks *asks)
{
	struct asks_entry *found = NULL;

	for (size_t i = 0; i < ASKS_MAX; i++) {
		struct asks_entry *entry = &asks->list[i];

		if (!entry->number) {
			found = entry;
			break;
		}
		if (state_of(s, entry) != ASK_PENDING && (!found || entry->number < found->number))
			found = entry;
	}
	if (found)
		*found = (struct asks_entry){.number = ++asks->numbers};
	return found;
}

void supervisor_take_ask(struct supervisor *s, const struct ask *ask, struct ask_answer *ret)
{
	struct asks *asks = s->approvals ? &s->approvals->asks : NULL;
	struct asks_entry *entry;
	struct asked asked;

	*ret = (struct ask_answer){.state = ASK_BUSY};
	/* Before anything is looked at: what is not valid costs a turn, too. */
	if (!asks || !take_token(asks))
		return;
	if (!to_asked(ask, &asked)) {
		ret->state = ASK_INVALID;
		return;
	}
	entry = find_same(asks, ask);
	if (!entry)
		entry = make_place(s, asks);
	if (!entry)
		return;
	/* Asked again, the last words count; its id, and an operator's answer, stay. */
	entry->ask = *ask;
	ask_set_reason(&entry->ask, span_from(ask->reason));
	entry->time_ms = clock_ms(CLOCK_REALTIME);
	fill_answer(s, entry, ret);
}

static struct asks_entry *find(const struct supervisor *s, const char *id)
{
	char text[FEED_ID_SIZE];

	for (size_t i = 0; s->approvals && i < ASKS_MAX; i++) {
		struct asks_entry *entry = &s->approvals->asks.list[i];

		id_text(s, entry, text);
		if (entry->number && strcmp(text, id) == 0)
			return entry;
	}
	return NULL;
}

void supervisor_ask_state(const struct supervisor *s, const char *id, struct ask_answer *ret)
{
	const struct asks_entry *entry = find(s, id);

	*ret = (struct ask_answer){.state = ASK_UNKNOWN};
	if (entry)
		fill_answer(s, entry, ret);
}

bool supervisor_find_ask(const struct supervisor *s, const char *id, struct asked *ret)
{
	const struct asks_entry *entry = find(s, id);

	return entry && to_asked(&entry->ask, ret);
}

void supervisor_decide_ask(struct supervisor *s, const char *id, bool denied)
{
	struct asks_entry *entry = find(s, id);

	if (entry)
		entry->denied = denied;
}

static void set_text(json_t *object, const char *key, const char *text)
{
	if (*text)
		(void)json_object_set_new(object, key, json_string(text));
}

/* What is no UTF-8 in it is no text: a taken worker's. */
static json_t *describe(const struct supervisor *s, const struct asks_entry *entry)
{
	json_t *reason = json_string(entry->ask.reason), *object;
	char id[FEED_ID_SIZE];

	id_text(s, entry, id);
	object = json_pack("{s:s, s:s, s:s, s:i, s:b, s:o, s:I}", "id", id, "state",
			   ask_state_name(state_of(s, entry)), "host", entry->ask.host, "port",
			   (int)entry->ask.port, "tls", entry->ask.tls != 0, "reason",
			   reason ? reason : json_string("?"), "time", (json_int_t)entry->time_ms);
	set_text(object, "method", entry->ask.method);
	set_text(object, "path", entry->ask.path);
	return object;
}

static int newest_first(const void *a, const void *b)
{
	const struct asks_entry *x = *(const struct asks_entry *const *)a;
	const struct asks_entry *y = *(const struct asks_entry *const *)b;

	return (x->time_ms < y->time_ms) - (x->time_ms > y->time_ms);
}

json_t *supervisor_describe_asks(const struct supervisor *s, bool all)
{
	const struct asks_entry *entries[ASKS_MAX];
	json_t *list = json_array();
	size_t count = 0;

	for (size_t i = 0; i < ASKS_MAX; i++)
		if (s->approvals->asks.list[i].number)
			entries[count++] = &s->approvals->asks.list[i];
	qsort((void *)entries, count, sizeof(const struct asks_entry *), newest_first);
	for (size_t i = 0; i < count; i++)
		if (all || state_of(s, entries[i]) == ASK_PENDING)
			(void)json_array_append_new(list, describe(s, entries[i]));
	return list;
}
