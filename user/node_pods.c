// SPDX-License-Identifier: BSD-2-Clause
/* A pod's labels, names and ports are chosen by whoever may make a pod; what becomes a path, an
 * argument or a line of a log is held to the API's own rules here, once for JSON and once for lines. */
#include "node_pods.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
#define LINES_END "end\n" /* without it the writer died half way */

void node_records_free(struct node_records *records)
{
	free(records->items);
	*records = (struct node_records){0};
}

/* There is room up to the next power of two: twelve thousand pods, each copied for each, were ten seconds
 * where realloc(3) always copies. */
static struct node_record *add(struct node_records *records)
{
	struct node_record *items = records->items;

	if ((records->count & (records->count - 1)) == 0) {
		items = reallocarray(items, records->count ? 2 * records->count : 1, sizeof(*items));
		if (!items)
			return NULL;
		records->items = items;
	}
	items[records->count] = (struct node_record){0};
	return &items[records->count++];
}

/* ---- what is valid ---------------------------------------------------------------------------- */

bool node_policy_valid(const char *name)
{
	size_t length = strlen(name);

	return length > 0 && length < NODE_POLICY_SIZE &&
	       strspn(name, LETTERS "_.-") == length && !strchr("_.-", name[0]) &&
	       !strchr("_.-", name[length - 1]);
}

/* A name for people and for the log: no control character, no blank. */
static bool pod_name_valid(const char *name)
{
	size_t length = strlen(name);

	return length > 0 && length < NODE_POD_NAME_SIZE && strspn(name, LETTERS ".-/") == length;
}

/* ---- from the kubelet ------------------------------------------------------------------------- */

/* NUL in a JSON string would end it early: "a\0b" is not "a". */
static const char *text_of(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);
	const char *text = json_string_value(value);

	return text && strlen(text) == json_string_length(value) ? text : NULL;
}

static void take_name(struct node_record *record, const json_t *metadata)
{
	const char *space = text_of(metadata, "namespace"), *name = text_of(metadata, "name");

	if (!space || !name ||
	    snprintf(record->name, sizeof(record->name), "%s/%s", space, name) >=
		    (int)sizeof(record->name) ||
	    !pod_name_valid(record->name))
		snprintf(record->name, sizeof(record->name), "unnamed");
}

/* A label that is there and wrong is not one that is missing: somebody wanted a wall. Annotations,
 * which pods often may change themselves, are not looked at. */
static void take_policy(struct node_record *record, const json_t *metadata)
{
	const json_t *labels = json_object_get(metadata, "labels");
	const char *policy = text_of(labels, NODE_LABEL);

	if (!json_object_get(labels, NODE_LABEL))
		return;
	snprintf(record->policy, sizeof(record->policy), "%s",
		 policy && node_policy_valid(policy) ? policy : NODE_POLICY_INVALID);
}

/* More ports than a wall can publish stay closed: the stricter end of a wrong answer. */
static void add_port(struct node_record *record, json_int_t port)
{
	if (port < 1 || port > UINT16_MAX || record->port_count == NODE_PORTS_MAX)
		return;
	for (size_t i = 0; i < record->port_count; i++)
		if (record->ports[i] == port)
			return;
	record->ports[record->port_count++] = (uint16_t)port;
}

static void take_ports(struct node_record *record, const json_t *containers)
{
	const json_t *container, *port;
	size_t i, k;

	json_array_foreach(containers, i, container) {
		json_array_foreach(json_object_get(container, "ports"), k, port) {
			const char *protocol = text_of(port, "protocol");

			/* TCP is the API's default where none is said; the wall publishes no
			 * other. */
			if (!protocol || strcmp(protocol, "TCP") == 0)
				add_port(record, json_integer_value(
							 json_object_get(port, "containerPort")));
		}
	}
}

/* False only when out of memory: one odd pod must not hide the others. */
static bool take_pod(struct node_records *records, const json_t *pod)
{
	const json_t *metadata = json_object_get(pod, "metadata");
	const json_t *spec = json_object_get(pod, "spec");
	const char *uid = text_of(metadata, "uid");
	struct node_record *record;

	if (!uid || !node_uid_valid(uid))
		return true;
	record = add(records);
	if (!record)
		return false;
	snprintf(record->uid, sizeof(record->uid), "%s", uid);
	record->host_network = json_is_true(json_object_get(spec, "hostNetwork"));
	take_name(record, metadata);
	take_policy(record, metadata);
	take_ports(record, json_object_get(spec, "containers"));
	take_ports(record, json_object_get(spec, "initContainers")); /* native sidecars */
	return true;
}

static int by_uid(const void *a, const void *b)
{
	return strcmp(((const struct node_record *)a)->uid, ((const struct node_record *)b)->uid);
}

/* Whichever of the two we believed might be the wrong one. */
static void refuse_twins(struct node_records *records)
{
	if (records->count > 1)
		qsort(records->items, records->count, sizeof(*records->items), by_uid);
	for (size_t i = 1; i < records->count; i++) {
		struct node_record *one = &records->items[i - 1], *other = &records->items[i];

		if (strcmp(one->uid, other->uid) != 0)
			continue;
		snprintf(one->policy, sizeof(one->policy), NODE_POLICY_INVALID);
		snprintf(other->policy, sizeof(other->policy), NODE_POLICY_INVALID);
	}
}

int node_pods_parse(struct span json, struct node_records *ret, struct error *error)
{
	struct node_records records = {0};
	const json_t *items, *pod;
	bool complete = true;
	size_t i;
	/* NUL is let in, to be refused where it stands: without the flag one odd label would hide
	 * all pods. */
	json_t *list = json_loadb(json.data, json.length, JSON_ALLOW_NUL, NULL);

	items = json_object_get(list, "items");
	/* No pods is null to Go. */
	if (!list || !text_of(list, "kind") || strcmp(text_of(list, "kind"), "PodList") != 0 ||
	    (!json_is_array(items) && !json_is_null(items))) {
		json_decref(list);
		return error_set(error, "the answer is no PodList");
	}
	json_array_foreach(items, i, pod)
		complete = complete && take_pod(&records, pod);
	json_decref(list);
	if (!complete) {
		node_records_free(&records);
		return error_set(error, "out of memory");
	}
	refuse_twins(&records);
	*ret = records;
	return 0;
}

/* ---- between two processes -------------------------------------------------------------------- */

int node_pods_write(const struct node_records *records, struct bytes *ret)
{
	bool complete = true;

	for (size_t i = 0; complete && i < records->count; i++) {
		const struct node_record *r = &records->items[i];

		complete = bytes_printf(ret, "%s %s %s %s ", r->uid, r->policy[0] ? r->policy : "-",
					r->host_network ? "host" : "pod", r->name);
		for (size_t k = 0; complete && k < r->port_count; k++)
			complete = bytes_printf(ret, "%u,", r->ports[k]);
		complete = complete && bytes_append_text(ret, "\n");
	}
	return complete && bytes_append_text(ret, LINES_END) ? 0 : -1;
}

static bool read_ports(struct node_record *record, char *text)
{
	char *save = NULL;

	for (char *part = strtok_r(text, ",", &save); part; part = strtok_r(NULL, ",", &save)) {
		if (record->port_count == NODE_PORTS_MAX ||
		    !span_port(span_from(part), &record->ports[record->port_count]))
			return false;
		record->port_count++;
	}
	return true;
}

/* Not "it was written by us": the writer has spoken to the network, and may have been taken over. */
static bool read_line(char *line, struct node_record *record)
{
	char *fields[5], *rest = line;

	for (size_t i = 0; i < 5; i++)
		fields[i] = rest ? strsep(&rest, " ") : NULL;
	if (!fields[4] || rest || !node_uid_valid(fields[0]) || !pod_name_valid(fields[3]) ||
	    !read_ports(record, fields[4]))
		return false;
	record->host_network = strcmp(fields[2], "host") == 0;
	if (!record->host_network && strcmp(fields[2], "pod") != 0)
		return false;
	if (strcmp(fields[1], "-") != 0) {
		if (!node_policy_valid(fields[1]) && strcmp(fields[1], NODE_POLICY_INVALID) != 0)
			return false;
		snprintf(record->policy, sizeof(record->policy), "%s", fields[1]);
	}
	snprintf(record->uid, sizeof(record->uid), "%s", fields[0]);
	snprintf(record->name, sizeof(record->name), "%s", fields[3]);
	return true;
}

int node_pods_read(struct span lines, struct node_records *ret, struct error *error)
{
	struct node_records records = {0};
	char *text = span_copy(lines), *rest = text, *line = NULL;
	bool right = text && strlen(text) == lines.length, ended = false;

	while (right && !ended && (line = strsep(&rest, "\n"))) {
		struct node_record *record;

		ended = strcmp(line, "end") == 0;
		if (ended)
			break;
		record = add(&records);
		right = record && read_line(line, record);
	}
	/* Nothing behind the end either: a second list would be a second word. */
	right = right && ended && rest && *rest == '\0';
	free(text);
	if (!right) {
		node_records_free(&records);
		return error_set(error, "the process that asks the kubelet gave a wrong answer");
	}
	*ret = records;
	return 0;
}
