// SPDX-License-Identifier: BSD-2-Clause
/* Any bytes as a kubelet's PodList: refused, or records that are valid each, and that the agent reads
 * back from the other process' lines as they were. Any bytes as those lines: the same. */
#include <assert.h>
#include <string.h>

#include "fuzz_main.h"
#include "node_pods.h"

static void check(const struct node_records *records)
{
	for (size_t i = 0; i < records->count; i++) {
		const struct node_record *r = &records->items[i];

		assert(node_uid_valid(r->uid));
		assert(r->policy[0] == '\0' || strcmp(r->policy, NODE_POLICY_INVALID) == 0 ||
		       node_policy_valid(r->policy));
		/* it becomes part of a path, and of a log's line */
		assert(!strchr(r->policy, '/') && r->policy[0] != '.');
		for (const char *at = r->name; *at; at++)
			assert(*at > ' ' && *at <= '~');
	}
}

static void there_and_back(const struct node_records *records)
{
	struct node_records again = {0};
	struct bytes lines = {0};

	check(records);
	assert(node_pods_write(records, &lines) == 0);
	assert(node_pods_read(bytes_span(&lines), &again, NULL) == 0);
	assert(again.count == records->count);
	for (size_t i = 0; i < again.count; i++) {
		assert(strcmp(again.items[i].uid, records->items[i].uid) == 0);
		assert(strcmp(again.items[i].policy, records->items[i].policy) == 0);
		assert(again.items[i].host_network == records->items[i].host_network);
		assert(again.items[i].port_count == records->items[i].port_count);
	}
	node_records_free(&again);
	bytes_free(&lines);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct span text = {(const char *)data, size};
	struct node_records records = {0};

	if (node_pods_parse(text, &records, NULL) == 0)
		there_and_back(&records);
	node_records_free(&records);
	if (node_pods_read(text, &records, NULL) == 0)
		there_and_back(&records);
	node_records_free(&records);
	return 0;
}
