// SPDX-License-Identifier: BSD-2-Clause
#include "container.h"

#include <dirent.h>
#include <errno.h>
#include <fts.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cgroup.h"
#include "engine.h"

#define ID_DIGITS 64 /* of Docker, Podman and CRI-O */
#define ID_SHORTEST 12
#define CONTAINERD_STATE "/run/containerd"
#define CONTAINERD_TASKS "io.containerd.runtime.v2.task"
#define POLL_MS 200
#define FOLLOW_SECONDS 30u

struct container_finder {
	const char *name;
	struct engine *engine; /* NULL: none is asked */
	const char *state;     /* of containerd; NULL: not looked at */
	bool search;	       /* the cgroups as well */
	bool away;	       /* the engine did not answer */
};

struct found {
	pid_t pid;
	char id[ENGINE_NAME_SIZE];
};

/* ---- cgroups by ID ---------------------------------------------------------------------------- */

static bool is_id(const char *text)
{
	size_t length = strlen(text);

	return length >= ID_SHORTEST && length <= ID_DIGITS &&
	       strspn(text, "0123456789abcdef") == length;
}

/* Drivers say "ID" (cgroupfs) or "ENGINE-ID.scope" (systemd); a driver that was given the other's
 * form "PARENT:ENGINE:ID". An engine's own helper for a container has its ID, too. */
static bool component_is(const char *component, size_t length, const char *id)
{
	const char *end = component + length, *start = component;

	if (length > 6 && memcmp(end - 6, ".scope", 6) == 0)
		end -= 6;
	for (const char *p = component; p < end; p++)
		if (*p == ':' || *p == '-')
			start = p + 1;
	if (start > component && memmem(component, length, "conmon", 6))
		return false;
	if (!is_id(id)) /* a containerd's, which may be any text */
		return length == strlen(id) && memcmp(component, id, length) == 0;
	/* An ID's beginning is enough, as for the engine itself: search() sees to two of them. */
	return (size_t)(end - start) >= strlen(id) && memcmp(start, id, strlen(id)) == 0;
}

void container_cut(char *cgroup_path, const char *id)
{
	for (char *at = cgroup_path; *at == '/';) {
		char *part = at + 1, *end = part + strcspn(part, "/");

		if (component_is(part, (size_t)(end - part), id)) {
			*end = '\0';
			return;
		}
		at = end;
	}
}

/* 1 found, 0 none, -1 two. */
static int search(FTS *tree, const char *id, char **ret_path)
{
	char *path = NULL;
	FTSENT *entry;

	while ((entry = fts_read(tree))) {
		if (entry->fts_info != FTS_D || entry->fts_level == 0 ||
		    !component_is(entry->fts_name, entry->fts_namelen, id))
			continue;
		/* What is below is the container's own making, which may carry any ID. */
		fts_set(tree, entry, FTS_SKIP);
		if (path) {
			free(path);
			return -1;
		}
		path = strdup(entry->fts_path);
	}
	*ret_path = path;
	return path != NULL;
}

int container_search(const char *root, const char *id, char **ret_path, struct error *error)
{
	char *const roots[] = {(char *)root, NULL};
	FTS *tree;
	int result;

	if (!is_id(id))
		return 0;
	tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, NULL);
	if (!tree)
		return error_set(error, "%s: %s", root, strerror(errno));
	result = search(tree, id, ret_path);
	fts_close(tree);
	if (result < 0)
		error_set(error, "'%s' is the beginning of two containers' IDs: say more of it", id);
	return result;
}

/* Whoever is first in the cgroup stands for it: all have its network namespace, or made their
 * own from within the wall. */
static int ask_cgroups(const struct container_finder *finder, struct found *ret,
		       struct error *error)
{
	char *root = NULL, *path = NULL;
	int result;

	if (!is_id(finder->name))
		return 0;
	if (cgroup_root(&root, error) < 0)
		return -1;
	result = container_search(root, finder->name, &path, error);
	free(root);
	if (result != 1)
		return result;
	ret->pid = cgroup_any_pid(path);
	snprintf(ret->id, sizeof(ret->id), "%s", finder->name);
	free(path);
	return ret->pid > 0;
}

/* ---- engines ---------------------------------------------------------------------------------- */

static int ask_engine(struct container_finder *finder, struct found *ret, struct error *error)
{
	struct engine_reply reply = {0};
	const json_t *state;
	const char *id, *message;
	int result = 0;
	char path[256];

	snprintf(path, sizeof(path), "/containers/%s/json", finder->name);
	finder->away = engine_call(finder->engine, "GET", path, NULL, 10, &reply, error) < 0;
	if (finder->away)
		return -1;
	state = json_object_get(reply.body, "State");
	id = json_string_value(json_object_get(reply.body, "Id"));
	message = json_string_value(json_object_get(reply.body, "message"));
	/* 404 is an answer: the name may be containerd's, or an ID among the cgroups. */
	if (reply.status != 200 && reply.status != 404) {
		result = error_set(error, "the engine at %s does not tell of container %s: %.300s",
				   engine_socket(finder->engine), finder->name,
				   message ? message : "no reason given");
	} else if (reply.status == 200 && id) {
		/* Not "Running": after `podman init` its namespaces and cgroup are there, and its program
		 * has yet to start. Who has ended has no process. */
		ret->pid = (pid_t)json_integer_value(json_object_get(state, "Pid"));
		snprintf(ret->id, sizeof(ret->id), "%s", id);
		result = ret->pid > 0;
	}
	json_decref(reply.body);
	return result;
}

/* The shim's own note of the first process' id. 0 when it is not there (any more). */
static pid_t task_pid(const char *state, const char *space, const char *id)
{
	char path[512];
	FILE *file;
	int pid = 0;

	if (snprintf(path, sizeof(path), "%s/" CONTAINERD_TASKS "/%s/%s/init.pid", state, space,
		     id) >= (int)sizeof(path))
		return 0;
	file = fopen(path, "re");
	if (!file)
		return 0;
	if (fscanf(file, "%d", &pid) != 1)
		pid = 0;
	fclose(file);
	return pid;
}

/* containerd's API is gRPC; its state directory says as much, as STATE/TASKS/NAMESPACE/ID. */
static int ask_containerd(const struct container_finder *finder, struct found *ret,
			  struct error *error)
{
	char path[512];
	struct dirent *entry;
	DIR *spaces;
	int count = 0;

	if (snprintf(path, sizeof(path), "%s/" CONTAINERD_TASKS, finder->state) >=
	    (int)sizeof(path))
		return 0;
	spaces = opendir(path);
	while (spaces && (entry = readdir(spaces))) {
		pid_t pid = entry->d_name[0] == '.'
				    ? 0
				    : task_pid(finder->state, entry->d_name, finder->name);

		if (pid <= 0)
			continue;
		ret->pid = pid;
		count++;
	}
	if (spaces)
		closedir(spaces);
	snprintf(ret->id, sizeof(ret->id), "%s", finder->name);
	return count < 2 ? count
			 : error_set(error, "two of containerd's namespaces have a container %s",
				     finder->name);
}

static int locate(struct container_finder *finder, struct found *ret, struct error *error)
{
	int result = 0;

	if (finder->engine)
		result = ask_engine(finder, ret, error);
	if (result == 0 && finder->state)
		result = ask_containerd(finder, ret, error);
	if (result == 0 && finder->search)
		result = ask_cgroups(finder, ret, error);
	return result;
}

/* ---- finding ---------------------------------------------------------------------------------- */

static int use_place(struct container_finder *finder, const char *place, struct error *error)
{
	struct stat status;

	if (!place && stat(CONTAINERD_STATE "/" CONTAINERD_TASKS, &status) == 0)
		finder->state = CONTAINERD_STATE;
	/* Only where no place was named: who names one means that engine's container and no other
	 * of the name. */
	finder->search = !place;
	if (place && place[0] == '/' && stat(place, &status) == 0 && S_ISDIR(status.st_mode)) {
		finder->state = place;
		return 0;
	}
	place = engine_find_socket(place);
	return place ? engine_open(place, &finder->engine, error) : 0;
}

int container_finder_new(const char *engine, const char *name, struct container_finder **ret,
			 struct error *error)
{
	struct container_finder *finder;

	if (!engine_name_valid(name))
		return error_set(error, "'%s' is not a container's name or ID", name);
	finder = calloc(1, sizeof(*finder));
	if (!finder)
		return error_set(error, "out of memory");
	finder->name = name;
	if (use_place(finder, engine, error) < 0) {
		container_finder_free(finder);
		return -1;
	}
	*ret = finder;
	return 0;
}

void container_finder_free(struct container_finder *finder)
{
	if (!finder)
		return;
	engine_free(finder->engine);
	free(finder);
}

void container_clear(struct container *container)
{
	free(container->cgroup_path);
	if (container->netns_fd >= 0)
		close(container->netns_fd);
	if (container->pidfd >= 0)
		close(container->pidfd);
	*container = CONTAINER_NONE;
}

/* The process and both its places; 0 when it has ended meanwhile. */
static int look_at(const struct found *found, struct container *ret)
{
	struct container container = {.pid = found->pid, .netns_fd = -1};

	container.pidfd = pidfd_open(found->pid, 0);
	if (container.pidfd >= 0 && cgroup_of_pid(found->pid, &container.cgroup_path, NULL) == 0)
		container.netns_fd = netns_of_pid(found->pid, NULL);
	if (container.netns_fd < 0) {
		container_clear(&container);
		return 0;
	}
	container_cut(container.cgroup_path, found->id);
	*ret = container;
	return 1;
}

/* A number may be another process' by now: the pidfd says that it is one process from the first
 * answer to the second, which says that it is this container's. */
int container_find(struct container_finder *finder, struct container *ret, struct error *error)
{
	struct container container = CONTAINER_NONE;
	struct found found = {0}, again = {0};
	int result = locate(finder, &found, error);

	if (result == 1)
		result = look_at(&found, &container);
	if (result == 1)
		result = locate(finder, &again, error);
	if (result == 1)
		result = again.pid == found.pid &&
			 pidfd_send_signal(container.pidfd, 0, NULL, 0) == 0;
	if (result == 1)
		*ret = container;
	else
		container_clear(&container);
	return result;
}

/* ---- waiting ---------------------------------------------------------------------------------- */

static bool told_to_stop(int stop_fd, int ms)
{
	struct pollfd wait = {.fd = stop_fd, .events = POLLIN};

	return poll(&wait, 1, ms) > 0;
}

/* The engine tells of the next start. It is asked for those since before we looked, so that none
 * falls in between. */
static void await_news(struct container_finder *finder, time_t since, int stop_fd)
{
	char path[512];

	if (!finder->engine || finder->away) {
		(void)told_to_stop(stop_fd, POLL_MS);
		return;
	}
	snprintf(path, sizeof(path),
		 "/events?since=%lld&filters=%%7B%%22container%%22%%3A%%5B%%22%s%%22%%5D%%2C"
		 "%%22event%%22%%3A%%5B%%22start%%22%%5D%%7D",
		 (long long)since, finder->name);
	engine_follow(finder->engine, path, stop_fd, FOLLOW_SECONDS);
	/* A start that is told again and again, of a container that dies at once. */
	(void)told_to_stop(stop_fd, POLL_MS / 4);
}

int container_await(struct container_finder *finder, int stop_fd, struct container *ret,
		    struct error *error)
{
	while (!told_to_stop(stop_fd, 0)) {
		const time_t since = time(NULL);
		struct error why = {0};
		int result = container_find(finder, ret, &why);

		if (result == 1)
			return 1;
		/* An engine that is restarted is waited for; anything else it says will not be
		 * otherwise later. */
		if (result < 0 && !finder->away)
			return error_set(error, "%s", why.text);
		await_news(finder, since, stop_fd);
	}
	return 0;
}
