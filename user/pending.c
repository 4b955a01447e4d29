// SPDX-License-Identifier: BSD-2-Clause
#include "pending.h"

#include <stdlib.h>
#include <string.h>

#define PREFIX_SEGMENTS 3 /* a group's beginning of a path is not deeper */

struct pending {
	struct pending_group *groups[PENDING_GROUPS];
	size_t count, denied;
	uint64_t clock, evicted, lost;
};

/* ---- one group ------------------------------------------------------------------------------ */

static void group_free(struct pending_group *group)
{
	if (!group)
		return;
	for (size_t i = 0; i < group->sample_count; i++)
		free(group->samples[i].path);
	free(group->host);
	free(group->address);
	free(group->method);
	free(group->prefix);
	free(group);
}

/* The directory that the path is in, at most PREFIX_SEGMENTS deep: ids at the end of paths, and
 * random trees, come together in one line for the operator. */
static struct span prefix_of(struct span path)
{
	size_t length = 0;
	unsigned depth = 0;

	for (size_t i = 0; i < path.length && depth <= PREFIX_SEGMENTS; i++) {
		if (path.data[i] != '/')
			continue;
		length = i + 1;
		depth++;
	}
	return (struct span){path.data, length};
}

/* Of what was asked for; the lengths keep "ab", "c" from being "a", "bc". */
static uint64_t place_of(const struct refusal *r)
{
	const struct span texts[] = {r->host, r->host.length ? (struct span){"", 0} : r->address,
				     r->method, prefix_of(r->path)};
	uint64_t hash = r->port;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		const uint64_t parts[] = {hash, texts[i].length,
					  bytes_hash(texts[i].data, texts[i].length)};

		hash = bytes_hash(parts, sizeof(parts));
	}
	return hash;
}

/* Of all that tells groups apart. */
static uint64_t hash_of(const struct refusal *r)
{
	const uint64_t parts[] = {place_of(r), r->reason};

	return bytes_hash(parts, sizeof(parts));
}

static bool copy(struct span text, char **ret)
{
	*ret = text.length > 0 ? span_copy(text) : NULL;
	return text.length == 0 || *ret;
}

static struct pending_group *group_new(const struct refusal *r, uint64_t hash, uint64_t time_ms)
{
	struct pending_group *group = calloc(1, sizeof(*group));

	if (!group)
		return NULL;
	group->hash = hash;
	group->place = place_of(r);
	group->reason = r->reason;
	group->port = r->port;
	group->first_ms = time_ms;
	group->one_path = true;
	/* Hostile length: what does not fit is no protocol of ours, and left empty. */
	if (r->protocol.length < sizeof(group->protocol))
		memcpy(group->protocol, r->protocol.data, r->protocol.length);
	if (copy(r->host, &group->host) && copy(r->address, &group->address) &&
	    copy(r->method, &group->method) && copy(r->path, &group->prefix))
		return group;
	group_free(group);
	return NULL;
}

static bool is_text(const char *text, struct span span)
{
	return text ? span_equal(span_from(text), span) : span.length == 0;
}

/* The sample with that path, or the one that makes room for it: the oldest. */
static struct pending_sample *sample_for(struct pending_group *group, struct span path)
{
	struct pending_sample *oldest = &group->samples[0];

	for (size_t i = 0; i < group->sample_count; i++) {
		struct pending_sample *sample = &group->samples[i];

		if (is_text(sample->path, path))
			return sample;
		if (sample->time_ms < oldest->time_ms ||
		    (sample->time_ms == oldest->time_ms && sample->id < oldest->id))
			oldest = sample;
	}
	return group->sample_count < PENDING_SAMPLES ? &group->samples[group->sample_count++] : oldest;
}

/* Without memory for its path the sample has none, and is allowed only by a path that is said. */
static void group_see(struct pending_group *group, const struct refusal *r, uint64_t time_ms,
		      bool kernel)
{
	struct pending_sample *sample = sample_for(group, r->path);
	struct span prefix;

	if (!is_text(sample->path, r->path)) {
		free(sample->path);
		(void)copy(r->path, &sample->path);
	}
	sample->id = r->id;
	sample->kernel = kernel;
	sample->time_ms = time_ms;
	sample->path_cut = r->path_cut;
	group->count++;
	group->last_ms = time_ms;
	/* The prefix holds the whole path until a second one comes: one refusal a thousand times is
	 * shown as that path, and not as its directory. */
	if (group->one_path && !is_text(group->prefix, r->path)) {
		prefix = prefix_of(span_from(group->prefix ? group->prefix : ""));
		group->one_path = false;
		if (group->prefix)
			group->prefix[prefix.length] = '\0';
	}
}

/* ---- the table ------------------------------------------------------------------------------ */

struct pending *pending_new(void)
{
	return calloc(1, sizeof(struct pending));
}

void pending_free(struct pending *pending)
{
	if (!pending)
		return;
	for (size_t i = 0; i < pending->count; i++)
		group_free(pending->groups[i]);
	free(pending);
}

static struct pending_group *find_hash(const struct pending *pending, uint64_t hash)
{
	for (size_t i = 0; i < pending->count; i++)
		if (pending->groups[i]->hash == hash)
			return pending->groups[i];
	return NULL;
}

/* A place for one more. What was silenced stays: a flood must not make it speak again. */
static struct pending_group **place_for_one(struct pending *pending)
{
	struct pending_group **oldest = NULL;

	if (pending->count < PENDING_GROUPS)
		return &pending->groups[pending->count++];
	for (size_t i = 0; i < pending->count; i++) {
		struct pending_group **at = &pending->groups[i];

		/* There is always one: PENDING_DENIED is less than PENDING_GROUPS. */
		if (!(*at)->denied && (!oldest || (*at)->seen < (*oldest)->seen))
			oldest = at;
	}
	pending->evicted++;
	group_free(*oldest);
	return oldest;
}

/* Another grant may change the reason why the same is refused: that is no news. */
static bool is_denied(const struct pending *pending, uint64_t place)
{
	for (size_t i = 0; i < pending->count; i++)
		if (pending->groups[i]->place == place && pending->groups[i]->denied)
			return true;
	return false;
}

static bool deny_one(struct pending *pending, struct pending_group *group)
{
	if (!group->denied && pending->denied == PENDING_DENIED)
		return false;
	pending->denied += !group->denied;
	group->denied = true;
	return true;
}

bool pending_add(struct pending *pending, const struct refusal *refusal, uint64_t time_ms, bool kernel)
{
	uint64_t hash = hash_of(refusal);
	struct pending_group *group = find_hash(pending, hash);

	if (!group) {
		group = group_new(refusal, hash, time_ms);
		if (!group) {
			pending->lost++;
			return false;
		}
		if (is_denied(pending, group->place))
			(void)deny_one(pending, group);
		*place_for_one(pending) = group;
	}
	/* Order by a clock of our own: the worker's times may be anything, and several are of one
	 * millisecond. */
	group->seen = ++pending->clock;
	group_see(group, refusal, time_ms, kernel);
	return true;
}

void pending_lost(struct pending *pending, uint64_t count)
{
	pending->lost += count;
}

static int newest_first(const void *a, const void *b)
{
	const struct pending_group *x = *(struct pending_group *const *)a;
	const struct pending_group *y = *(struct pending_group *const *)b;

	return (x->seen < y->seen) - (x->seen > y->seen);
}

size_t pending_list(const struct pending *pending, struct pending_group *ret[PENDING_GROUPS])
{
	memcpy((void *)ret, (const void *)pending->groups, pending->count * sizeof(struct pending_group *));
	qsort((void *)ret, pending->count, sizeof(struct pending_group *), newest_first);
	return pending->count;
}

struct pending_group *pending_find(const struct pending *pending, uint64_t id, bool kernel,
				   const struct pending_sample **ret_sample)
{
	for (size_t i = 0; i < pending->count; i++) {
		struct pending_group *group = pending->groups[i];

		for (size_t j = 0; j < group->sample_count; j++) {
			if (group->samples[j].id != id || group->samples[j].kernel != kernel)
				continue;
			*ret_sample = &group->samples[j];
			return group;
		}
	}
	return NULL;
}

struct pending_group *pending_group_of(const struct pending *pending, const struct refusal *refusal)
{
	return find_hash(pending, hash_of(refusal));
}

/* The group itself last: on failure nothing that is asked about has changed. */
bool pending_deny(struct pending *pending, struct pending_group *group)
{
	for (size_t i = 0; i < pending->count; i++) {
		struct pending_group *other = pending->groups[i];

		if (other != group && other->place == group->place && !deny_one(pending, other))
			return false;
	}
	return deny_one(pending, group);
}

void pending_undeny(struct pending *pending, struct pending_group *group)
{
	for (size_t i = 0; i < pending->count; i++) {
		struct pending_group *other = pending->groups[i];

		if (other->place != group->place)
			continue;
		pending->denied -= other->denied;
		other->denied = false;
	}
}

uint64_t pending_evicted(const struct pending *pending)
{
	return pending->evicted;
}

uint64_t pending_lost_count(const struct pending *pending)
{
	return pending->lost;
}
