// SPDX-License-Identifier: BSD-2-Clause
/* Only three levels are looked at: the root, its classes, the pods. What is below a pod's own directory
 * is in the hands of the pod, as soon as a container of it may write to its cgroup. */
#include "node_tree.h"

#include <dirent.h>
#include <errno.h>
#include <fts.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cgroup.h"

#define SLICE ".slice"
#define ROOTS_MAX 8
#define HEXADECIMAL "0123456789abcdef"
/* What the kernel and the kubelet may do to a directory that we want to hear of. */
#define NEWS (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF | IN_ONLYDIR)

struct node_tree {
	int inotify_fd;
	char *roots[ROOTS_MAX];
	size_t root_count;
};

/* ---- names ------------------------------------------------------------------------------------ */

static bool digits_at(const char *text, size_t count)
{
	return strspn(text, HEXADECIMAL) >= count;
}

/* RFC 4122 has upper case as well, but nobody here writes it, and one spelling means one name. */
bool node_uid_valid(const char *uid)
{
	static const size_t groups[] = {8, 4, 4, 4, 12};
	size_t length = strlen(uid);

	if (length == 32)
		return strspn(uid, HEXADECIMAL) == 32;
	if (length != NODE_UID_SIZE - 1)
		return false;
	for (size_t i = 0; i < 5; i++) {
		if (!digits_at(uid, groups[i]) || uid[groups[i]] != (i < 4 ? '-' : '\0'))
			return false;
		uid += groups[i] + 1;
	}
	return true;
}

static bool ends_with(const char *text, size_t length, const char *end)
{
	size_t more = strlen(end);

	return length >= more && memcmp(text + length - more, end, more) == 0;
}

/* Length of a slice's name without its suffix; 0 when it is no slice. */
static size_t stem_length(const char *name)
{
	size_t length = strlen(name);

	return ends_with(name, length, SLICE) ? length - strlen(SLICE) : 0;
}

/* "kubepods", also with what stands before it in a nested tree: "kubelet-kubepods". */
static bool stem_is(const char *stem, size_t length, const char *word)
{
	size_t more = strlen(word);

	return ends_with(stem, length, word) &&
	       (length == more || stem[length - more - 1] == '-');
}

static bool is_slice_parent(const char *parent, size_t length)
{
	return stem_is(parent, length, "kubepods") || stem_is(parent, length, "kubepods-burstable") ||
	       stem_is(parent, length, "kubepods-besteffort");
}

/* systemd.slice(5): a slice is named by all that it is in, "-" between, so that "-" of a uid is
 * written as "_". */
static bool slice_uid(const char *parent, const char *name, char *ret_uid)
{
	size_t stem = stem_length(parent), length = stem_length(name);

	if (!is_slice_parent(parent, stem) || length <= stem + 4 ||
	    memcmp(name, parent, stem) != 0 || memcmp(name + stem, "-pod", 4) != 0 ||
	    length - stem - 4 >= NODE_UID_SIZE)
		return false;
	snprintf(ret_uid, NODE_UID_SIZE, "%.*s", (int)(length - stem - 4), name + stem + 4);
	for (char *at = ret_uid; *at; at++)
		*at = (char)(*at == '_' ? '-' : *at == '-' ? '_' : *at);
	return node_uid_valid(ret_uid);
}

bool node_tree_uid(const char *parent, const char *name, char ret_uid[NODE_UID_SIZE])
{
	char uid[NODE_UID_SIZE];
	bool found;

	if (stem_length(parent) > 0) {
		found = slice_uid(parent, name, uid);
	} else {
		found = (strcmp(parent, "kubepods") == 0 || strcmp(parent, "burstable") == 0 ||
			 strcmp(parent, "besteffort") == 0) &&
			strncmp(name, "pod", 3) == 0 && node_uid_valid(name + 3);
		if (found)
			memcpy(uid, name + 3, strlen(name + 3) + 1);
	}
	if (found)
		memcpy(ret_uid, uid, sizeof(uid));
	return found;
}

/* Guaranteed pods are in the root itself; the two other classes have a directory (Kubernetes, "Pod
 * Quality of Service Classes"). */
bool node_tree_class(const char *parent, const char *name)
{
	size_t stem = stem_length(parent), length = stem_length(name);

	if (stem == 0)
		return strcmp(parent, "kubepods") == 0 &&
		       (strcmp(name, "burstable") == 0 || strcmp(name, "besteffort") == 0);
	return stem_is(parent, stem, "kubepods") && length > stem &&
	       memcmp(name, parent, stem) == 0 &&
	       (length - stem == strlen("-burstable") || length - stem == strlen("-besteffort")) &&
	       (ends_with(name, length, "-burstable") || ends_with(name, length, "-besteffort"));
}

static const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* ---- roots ------------------------------------------------------------------------------------ */

/* Resolved now: a link that moves later does not move what is watched. */
static int add_root(struct node_tree *tree, const char *path, struct error *error)
{
	char real[PATH_MAX];
	struct stat status;

	if (!realpath(path, real) || stat(real, &status) < 0 || !S_ISDIR(status.st_mode))
		return 0;
	if (tree->root_count == ROOTS_MAX)
		return error_set(error, "more than %d kubepods cgroups", ROOTS_MAX);
	tree->roots[tree->root_count] = strdup(real);
	if (!tree->roots[tree->root_count])
		return error_set(error, "out of memory");
	tree->root_count++;
	return 0;
}

/* kind gives its kubelets --cgroup-root=/kubelet. */
static int add_usual_roots(struct node_tree *tree, struct error *error)
{
	static const char *const usual[] = {"kubepods.slice", "kubepods",
					    "kubelet.slice/kubelet-kubepods.slice",
					    "kubelet/kubepods"};
	char *top = NULL, path[PATH_MAX];
	int result;

	if (cgroup_root(&top, error) < 0)
		return -1;
	result = 0;
	for (size_t i = 0; result == 0 && i < sizeof(usual) / sizeof(usual[0]); i++)
		if (snprintf(path, sizeof(path), "%s/%s", top, usual[i]) < (int)sizeof(path))
			result = add_root(tree, path, error);
	if (result == 0 && tree->root_count == 0)
		result = error_set(error, "no kubepods.slice, kubepods, kubelet.slice/"
				   "kubelet-kubepods.slice or kubelet/kubepods in %s: is this a node, and "
				   "is the host's cgroup file system mounted there? Else say --kubepods",
				   top);
	free(top);
	return result;
}

int node_tree_open(const char *const *roots, struct node_tree **ret, struct error *error)
{
	struct node_tree *tree = calloc(1, sizeof(*tree));
	int result = 0;

	if (!tree)
		return error_set(error, "out of memory");
	tree->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (tree->inotify_fd < 0)
		result = error_set(error, "inotify: %s", strerror(errno));
	else if (!roots || !roots[0])
		result = add_usual_roots(tree, error);
	for (size_t i = 0; result == 0 && roots && roots[i]; i++) {
		size_t before = tree->root_count;

		result = add_root(tree, roots[i], error);
		if (result == 0 && tree->root_count == before)
			result = error_set(error, "--kubepods %s: no such directory", roots[i]);
	}
	if (result < 0) {
		node_tree_free(tree);
		return -1;
	}
	*ret = tree;
	return 0;
}

void node_tree_free(struct node_tree *tree)
{
	if (!tree)
		return;
	if (tree->inotify_fd >= 0)
		close(tree->inotify_fd);
	for (size_t i = 0; i < tree->root_count; i++)
		free(tree->roots[i]);
	free(tree);
}

int node_tree_fd(const struct node_tree *tree)
{
	return tree->inotify_fd;
}

/* What it says is not read: a queue that overflowed would have lost some of it, the directories
 * themselves lose nothing. */
void node_tree_drain(struct node_tree *tree)
{
	char events[4096];

	while (read(tree->inotify_fd, events, sizeof(events)) > 0)
		;
}

/* ---- pods ------------------------------------------------------------------------------------- */

struct scan {
	struct node_tree *tree;
	void (*each)(void *context, const struct node_place *place);
	void *context;
	struct error *error;
	int result;
};

/* What has ended meanwhile is not worth a word. The first of what failed is told. */
static void failed(struct scan *scan, const char *path)
{
	if (errno == ENOENT || errno == ENOTDIR || errno == ENODEV || scan->result < 0)
		return;
	scan->result = error_set(scan->error, "%s: %s", path, strerror(errno));
}

/* kernfs numbers inodes by the ids of cgroups. Any other failure than "no such file" proves nothing:
 * with no descriptor or memory left, all pods would look gone. */
bool node_tree_gone(const char *path, uint64_t id)
{
	struct stat status;

	if (stat(path, &status) < 0)
		return errno == ENOENT || errno == ENOTDIR || errno == ENODEV;
	return status.st_ino != id;
}

/* "populated" of cgroup.events changes when a sandbox ends and when another one comes (cgroups(7)). */
static void tell(struct scan *scan, const char *uid, const char *path)
{
	struct node_place place = {.uid = uid, .path = path};
	char events[PATH_MAX];
	struct stat status;

	/* Again with each look: a watch that is there stays as it is, inotify_add_watch(2). */
	if (snprintf(events, sizeof(events), "%s/cgroup.events", path) < (int)sizeof(events) &&
	    inotify_add_watch(scan->tree->inotify_fd, events, IN_MODIFY) < 0)
		failed(scan, events);
	if (stat(path, &status) < 0) {
		failed(scan, path);
		return;
	}
	place.id = status.st_ino;
	scan->each(scan->context, &place);
}

/* The watch comes before the look, so that nothing falls between them. */
static void look_into(struct scan *scan, const char *path, bool classes)
{
	DIR *directory;
	struct dirent *entry;
	char child[PATH_MAX], uid[NODE_UID_SIZE];

	if (inotify_add_watch(scan->tree->inotify_fd, path, NEWS) < 0)
		failed(scan, path);
	directory = opendir(path);
	if (!directory)
		failed(scan, path);
	while (directory && (entry = readdir(directory))) {
		if (entry->d_type != DT_DIR || snprintf(child, sizeof(child), "%s/%s", path,
							entry->d_name) >= (int)sizeof(child))
			continue;
		if (node_tree_uid(last_part(path), entry->d_name, uid))
			tell(scan, uid, child);
		else if (classes && node_tree_class(last_part(path), entry->d_name))
			look_into(scan, child, false);
	}
	if (directory)
		closedir(directory);
}

int node_tree_scan(struct node_tree *tree,
		   void (*each)(void *context, const struct node_place *place), void *context,
		   struct error *error)
{
	struct scan scan = {tree, each, context, error, 0};

	for (size_t i = 0; i < tree->root_count; i++)
		look_into(&scan, tree->roots[i], true);
	return scan.result;
}

/* ---- processes -------------------------------------------------------------------------------- */

/* Field 22 of proc_pid_stat(5), counted behind the name, which may hold anything. */
static unsigned long long start_of(int pid)
{
	unsigned long long start = 0;
	char path[64], line[1024], *at;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	at = fgets(line, sizeof(line), file) ? strrchr(line, ')') : NULL;
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	if (at)
		start = strtoull(at, NULL, 10);
	fclose(file);
	return start;
}

static bool each_process_of(const char *path, bool (*each)(void *context, int pid), void *context)
{
	char name[PATH_MAX];
	bool done = false;
	FILE *file;
	int pid;

	if (snprintf(name, sizeof(name), "%s/cgroup.procs", path) >= (int)sizeof(name))
		return false;
	file = fopen(name, "re");
	while (file && !done && fscanf(file, "%d", &pid) == 1)
		done = each(context, pid);
	if (file)
		fclose(file);
	return done;
}

/* Calls back with every process in the cgroup and below it, until it returns true; then the path of
 * that cgroup is the caller's. */
static char *each_process(const char *path, bool (*each)(void *context, int pid), void *context)
{
	char *const roots[] = {(char *)path, NULL};
	FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, NULL);
	char *found = NULL;
	FTSENT *entry;

	while (tree && !found && (entry = fts_read(tree)))
		if (entry->fts_info == FTS_D && each_process_of(entry->fts_path, each, context))
			found = strdup(entry->fts_path);
	if (tree)
		fts_close(tree);
	return found;
}

struct first {
	unsigned long long start;
	int pid;
};

/* 0 is a process that our pid namespace does not see. */
static bool keep_first(void *context, int pid)
{
	struct first *first = context;
	unsigned long long start = pid > 0 ? start_of(pid) : 0;

	if (start > 0 && (first->pid == 0 || start < first->start))
		*first = (struct first){start, pid};
	return false;
}

int node_tree_first_process(const char *path)
{
	struct first first = {0};

	free(each_process(path, keep_first, &first));
	return first.pid;
}

static bool is_wanted(void *context, int pid)
{
	return pid == *(const int *)context;
}

bool node_tree_holds(const char *path, int pid)
{
	char *found = each_process(path, is_wanted, &pid);
	bool holds = found != NULL;

	free(found);
	return holds;
}

/* ---- a sidecar's own pod ---------------------------------------------------------------------- */

struct wanted {
	const char *uid;
	char *path;
};

static void keep_wanted(void *context, const struct node_place *place)
{
	struct wanted *wanted = context;

	if (!wanted->path && strcmp(place->uid, wanted->uid) == 0)
		wanted->path = strdup(place->path);
}

/* By its own process, and not by /proc/self/cgroup: a container has a cgroup namespace of its own,
 * where that is "/". */
int node_tree_own_pod(const char *const *roots, const char *uid, char **ret_pod, char **ret_own,
		      struct error *error)
{
	struct wanted wanted = {.uid = uid};
	struct node_tree *tree = NULL;
	int self = getpid();
	char *own;

	if (!node_uid_valid(uid))
		return error_set(error, "--pod %s: not a pod's uid", uid);
	if (node_tree_open(roots, &tree, error) < 0 || !tree)
		return -1;
	(void)!node_tree_scan(tree, keep_wanted, &wanted, NULL); /* found or not is what counts */
	node_tree_free(tree);
	if (!wanted.path)
		return error_set(error, "--pod %s: no cgroup of such a pod; is the host's cgroup file "
				 "system mounted?", uid);
	own = each_process(wanted.path, is_wanted, &self);
	if (!own) {
		free(wanted.path);
		return error_set(error, "--pod %s: this process is not in that pod; a sidecar walls "
				 "its own", uid);
	}
	*ret_pod = wanted.path;
	*ret_own = own;
	return 0;
}
