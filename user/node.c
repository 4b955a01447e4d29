// SPDX-License-Identifier: BSD-2-Clause
/* The agent's loop. Every piece of news (a cgroup, a file, the kubelet's answer, a child's end, a
 * signal) ends in the same look at every pod: nothing depends on the order in which news come, nor
 * on none of them being lost. */
#include "node.h"

#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bytes.h"
#include "exit_status.h"
#include "node_pod.h"
#include "privileges.h"
#include "ready.h"

#define END_MS 15000   /* longer than a supervisor takes over its worker */
#define TICK_MS 200    /* while something is awaited that gives no notice */
#define SETTLE_MS 100  /* files change in several steps */
#define AGAIN_MS 2000  /* at first, until a policy that could not be read is read again */
#define AGAIN_MAX_MS 30000
#define ASK_SOON_MS 250 /* at first, after an answer that failed or lacked a pod */
#define LINES_MAX ((size_t)4 << 20) /* 8000 pods of the longest lines; a node has some hundred */
#define FILE_NEWS (IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CREATE | IN_ONLYDIR)

enum {
	WATCH_TREE,
	WATCH_FILES,
	WATCH_TICK,
	WATCH_SETTLE,
	WATCH_AGAIN,
	WATCH_ASK,
	WATCH_ANSWER,
	WATCH_SIGNALS
};
static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD};
#define SIGNALS (sizeof(signals) / sizeof(signals[0]))

struct node {
	const struct node_options *options;
	struct event_base *base;
	struct event *watches[WATCH_SIGNALS + SIGNALS];
	struct node_tree *tree;
	struct node_pod *pods;
	int files_fd, answer_fd;
	pid_t asking;	 /* the process that asks the kubelet; 0: none */
	unsigned questions; /* asked so far */
	unsigned retry_ms;  /* until the next, of those that are asked again */
	unsigned again_ms;  /* between the looks at policies that could not be read */
	bool ask_again;	 /* a pod came while it was asked */
	bool answered;	 /* once, at least */
	bool ending, first_scan_done;
	bool leftovers; /* walls of pods before our time stay for now */
	bool rescan; /* the next tick looks into the directories, too */
	int policies_watch; /* of files_fd */
	bool tokens_changed; /* since the pods were last told */
	struct bytes answer;
	char said[256];
	struct error unseen; /* of the last scan, so that it is said once */
};

static time_t now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

static void after(struct node *node, int watch, unsigned ms)
{
	const struct timeval time = {ms / 1000, ms % 1000 * 1000};

	(void)event_add(node->watches[watch], &time);
}

/* ---- pods ------------------------------------------------------------------------------------- */

static struct node_pod *find_pod(const struct node *node, const char *uid)
{
	struct node_pod *pod = node->pods;

	while (pod && strcmp(pod->state.record.uid, uid) != 0)
		pod = pod->next;
	return pod;
}

static void remove_pod(struct node *node, struct node_pod *pod)
{
	struct node_pod **at = &node->pods;

	while (*at != pod)
		at = &(*at)->next;
	*at = pod->next;
	node_pod_free(pod);
}

static void ask(struct node *node);

/* A cgroup that was made anew under the same name is another pod; the old one's end comes first, unless all
 * that is left of it is a wall that cannot be taken down: that must not keep its successor waiting, whose
 * own wall replaces it. */
static void on_place(void *context, const struct node_place *place)
{
	struct node *node = context;
	struct node_pod *pod = find_pod(node, place->uid);

	if (pod && pod->gone && pod->stays && pod->state.cgroup_id != place->id) {
		remove_pod(node, pod);
		pod = NULL;
	}
	if (pod) {
		pod->seen = pod->state.cgroup_id == place->id;
		return;
	}
	pod = node_pod_new(node->options, place);
	if (!pod) {
		diag_error("node: out of memory");
		return;
	}
	pod->seen = true;
	pod->appeared = now_s();
	/* One that an earlier agent froze was not left alone by it, and is not by us. */
	pod->early = !node->first_scan_done && !pod->held;
	/* The question that is on its way now may have been answered before it was there:
	 * after_answer(). */
	pod->came = node->questions;
	pod->next = node->pods;
	node->pods = pod;
	node->retry_ms = 0;
	if (pod->kind == NODE_UNKNOWN && node->first_scan_done)
		ask(node);
}

/* Out of descriptors, say: that it has passed is no news to anybody. Less and less often. */
static void read_again(struct node *node, bool wanted)
{
	if (!wanted)
		node->again_ms = 0;
	if (!wanted || evtimer_pending(node->watches[WATCH_AGAIN], NULL))
		return;
	node->again_ms = node->again_ms ? 2 * node->again_ms : AGAIN_MS;
	if (node->again_ms > AGAIN_MAX_MS)
		node->again_ms = AGAIN_MAX_MS;
	after(node, WATCH_AGAIN, node->again_ms);
}

/* A tick only while somebody waits for what gives no notice: a first process, a wires' end. All pods are
 * held before the first wall is put up, which takes its time. Where a pod has ended another one of its
 * name may stand since the last scan, unseen behind it. */
static void look_at_pods(struct node *node)
{
	bool waiting = false, again = false;
	time_t now = now_s();

	for (struct node_pod *pod = node->pods; pod && !node->ending; pod = pod->next)
		node_pod_hold(pod, now);
	for (struct node_pod *pod = node->pods, *next; pod && !node->ending; pod = next) {
		next = pod->next;
		if (node_pod_step(pod, now)) {
			remove_pod(node, pod);
			node->rescan = true;
		} else {
			waiting = waiting || node_pod_waits(pod);
			again = again || (pod->again && pod->child > 0);
		}
	}
	if (waiting || node->rescan)
		after(node, WATCH_TICK, TICK_MS);
	read_again(node, again);
}

static void on_again(evutil_socket_t fd, short what, void *context)
{
	struct node *node = context;

	(void)fd;
	(void)what;
	for (struct node_pod *pod = node->pods; pod && !node->ending; pod = pod->next)
		if (pod->again)
			node_pod_reload(pod, false);
	look_at_pods(node);
}

/* What could not be looked at or watched is looked at again with the next tick. */
static void scan(struct node *node)
{
	struct error error = {0};

	node->rescan = node_tree_scan(node->tree, on_place, node, &error) < 0;
	if (node->rescan && strcmp(node->unseen.text, error.text) != 0)
		diag_error("node: %s; trying it again and again: until then pods may come unnoticed",
			   error.text);
	node->unseen = error;
}

static void look(struct node *node)
{
	for (struct node_pod *pod = node->pods; pod; pod = pod->next)
		pod->seen = false;
	scan(node);
	node->first_scan_done = true;
	/* Once gone it stays gone: a cgroup made anew under its name is another pod, which on_place()
	 * takes in when this one has ended. */
	for (struct node_pod *pod = node->pods; pod; pod = pod->next)
		pod->gone = pod->gone ||
			    (!pod->seen && node_tree_gone(pod->path, pod->state.cgroup_id));
	look_at_pods(node);
}

static void on_tree(evutil_socket_t fd, short what, void *context)
{
	struct node *node = context;

	(void)fd;
	(void)what;
	node_tree_drain(node->tree);
	look(node);
}

/* While we end, it is the children's last moment. Without news of the tree it is not looked at: one pod
 * that waits for its sandbox would have all directories read five times a second. */
static void on_tick(evutil_socket_t fd, short what, void *context)
{
	struct node *node = context;

	(void)fd;
	(void)what;
	for (struct node_pod *pod = node->pods; node->ending && pod; pod = pod->next)
		if (pod->child > 0)
			kill(pod->child, SIGKILL);
	if (node->rescan)
		look(node);
	else
		look_at_pods(node);
}

/* ---- what earlier agents left ----------------------------------------------------------------- */

static void forget_if_gone(void *context, const char *uid)
{
	struct node *node = context;

	if (!find_pod(node, uid))
		node_state_forget(node->options->state_directory, uid);
}

static bool is_known(void *context, const char *uid)
{
	return find_pod(context, uid);
}

static void remove_leftovers(struct node *node)
{
	node->leftovers = !node_remove_leftovers(is_known, node);
	(void)!node_state_each(node->options->state_directory, forget_if_gone, node, NULL);
}

/* ---- the kubelet ------------------------------------------------------------------------------ */

static void complain(struct node *node, const char *text)
{
	/* The same each time is said once: a kubelet that is away for an hour would fill the
	 * log. */
	if (strcmp(node->said, text) != 0)
		diag_error("node: the kubelet at %s: %s; walls stay as they are, and new pods are %s",
			   node->options->kubelet.url, text,
			   node->options->ignore_unknown ? "left alone" : "refused everything");
	snprintf(node->said, sizeof(node->said), "%s", text);
}

/* The event goes before the descriptor, whose number may be another's at once. */
static void forget_answer_watch(struct node *node)
{
	if (node->watches[WATCH_ANSWER])
		event_free(node->watches[WATCH_ANSWER]);
	node->watches[WATCH_ANSWER] = NULL;
	if (node->answer_fd >= 0)
		close(node->answer_fd);
	node->answer_fd = -1;
	bytes_free(&node->answer);
}

/* Pods that the kubelet tells of and that have no cgroup yet are asked for again when they have. */
static void take_records(struct node *node, const struct node_records *records)
{
	struct error error = {0};

	for (size_t i = 0; i < records->count; i++) {
		struct node_pod *pod = find_pod(node, records->items[i].uid);

		if (pod && !pod->gone)
			node_pod_classify(pod, &records->items[i]);
	}
	if (!node->answered && ready_say(node->options->ready, "watching", &error) < 0)
		diag_error("node: %s", error.text);
	if (!node->answered || node->said[0])
		diag_notice("node: the kubelet tells of %zu pods", records->count);
	node->answered = true;
	node->said[0] = '\0';
}

/* Its first words say whether it is an error; that text is libcurl's or ours, never the kubelet's.
 * `cut`: why it is not whole, NULL when it is; what there is of it then is no answer. */
static void take_answer(struct node *node, const char *cut)
{
	struct span text = bytes_span(&node->answer);
	struct node_records records = {0};
	struct error error = {0};
	bool good = false;

	if (cut)
		error_set(&error, "%s", cut);
	else if (text.length > 6 && memcmp(text.data, "error ", 6) == 0)
		error_set(&error, "%.*s", (int)(text.length - 7), text.data + 6);
	else
		good = node_pods_read(text, &records, &error) == 0;
	if (good)
		take_records(node, &records);
	else
		complain(node, error.text);
	node_records_free(&records);
}

/* Soon, and less and less so, while somebody waits for it; each answer costs the kubelet a list of all
 * its pods. */
static unsigned next_question_ms(struct node *node, bool awaited)
{
	const unsigned longest = node->options->interval_s * 1000;

	if (!awaited)
		return longest;
	node->retry_ms = node->retry_ms ? 2 * node->retry_ms : ASK_SOON_MS;
	if (node->retry_ms > longest)
		node->retry_ms = longest;
	return node->retry_ms;
}

/* Only what was there when it was asked can be held against it: a pod that came after is asked for
 * again. */
static void after_answer(struct node *node)
{
	bool awaited = !node->answered;

	for (struct node_pod *pod = node->pods; pod; pod = pod->next) {
		pod->asked = pod->asked || pod->came < node->questions;
		awaited = awaited || pod->kind == NODE_UNKNOWN;
	}
	if (node->ask_again)
		ask(node);
	else
		after(node, WATCH_ASK, next_question_ms(node, awaited));
	look(node);
}

static void on_answer(evutil_socket_t fd, short what, void *context)
{
	struct node *node = context;
	char *room = bytes_reserve(&node->answer, 4096);
	ssize_t got = room ? read(fd, room, 4096) : -1;
	const char *cut = NULL;

	(void)what;
	if (room && got < 0 && errno == EINTR)
		return;
	/* The child speaks with the network: what it says has an end here, too. */
	if (got > 0 && node->answer.length + (size_t)got <= LINES_MAX) {
		bytes_added(&node->answer, (size_t)got);
		return;
	}
	if (got > 0)
		cut = "it tells of more pods than 4 MiB of lines hold";
	else if (got < 0)
		cut = room ? "its answer cannot be read" : "out of memory";
	take_answer(node, cut);
	forget_answer_watch(node);
	node->asking = 0; /* reaped with the others */
	after_answer(node);
}

/* One question at a time: what comes meanwhile is asked for in the next. */
static void ask(struct node *node)
{
	struct error error = {0};
	pid_t pid;

	node->ask_again = node->asking > 0;
	if (node->ask_again || node->ending)
		return;
	if (node->leftovers)
		remove_leftovers(node);
	node->questions++;
	pid = node_kubelet_ask(&node->options->kubelet, &node->answer_fd, &error);
	if (pid > 0)
		node->watches[WATCH_ANSWER] = event_new(node->base, node->answer_fd,
							EV_READ | EV_PERSIST, on_answer, node);
	if (pid > 0 && node->watches[WATCH_ANSWER] &&
	    event_add(node->watches[WATCH_ANSWER], NULL) == 0) {
		node->asking = pid;
		return;
	}
	complain(node, pid > 0 ? "out of memory" : error.text);
	forget_answer_watch(node);
	after(node, WATCH_ASK, 1000);
}

static void on_ask(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	ask(context);
}

/* ---- files ------------------------------------------------------------------------------------ */

/* With -1 the kernel says that events were lost: any of them may have been of the tokens, as all are that
 * are not of the policies. */
static void on_files(evutil_socket_t fd, short what, void *context)
{
	_Alignas(struct inotify_event) char events[4096];
	struct node *node = context;
	ssize_t got;

	(void)what;
	while ((got = read(fd, events, sizeof(events))) > 0) {
		for (char *at = events; at < events + got;) {
			const struct inotify_event *event = (const void *)at;

			node->tokens_changed |= event->wd != node->policies_watch;
			at += sizeof(*event) + event->len;
		}
	}
	after(node, WATCH_SETTLE, SETTLE_MS);
}

/* A Secret may be a volume of its own at DIR/NAME, and then changes within that. Again after each change: a
 * new NAME may be there, and with a projected volume the directories behind the links are others. */
static void watch_tokens(const struct node *node)
{
	const char *tokens = node->options->tokens;
	DIR *directory = tokens ? opendir(tokens) : NULL;
	const struct dirent *entry;
	char path[PATH_MAX];

	while (directory && (entry = readdir(directory)))
		if (node_policy_valid(entry->d_name) &&
		    snprintf(path, sizeof(path), "%s/%s", tokens, entry->d_name) <
			    (int)sizeof(path) &&
		    inotify_add_watch(node->files_fd, path, FILE_NEWS) < 0 &&
		    errno != ENOTDIR && errno != ENOENT)
			diag_error("node: %s: %s: after a change there, send SIGHUP", path,
				   strerror(errno));
	if (directory)
		closedir(directory);
}

static void on_settled(evutil_socket_t fd, short what, void *context)
{
	struct node *node = context;

	(void)fd;
	(void)what;
	watch_tokens(node); /* before the files are read: what changes after that is news */
	for (struct node_pod *pod = node->pods; pod; pod = pod->next)
		node_pod_reload(pod, node->tokens_changed);
	node->tokens_changed = false;
	look(node);
}

static int watch_directory(struct node *node, const char *directory, struct error *error)
{
	int watch = inotify_add_watch(node->files_fd, directory, FILE_NEWS);

	return watch < 0 ? error_set(error, "%s: %s", directory, strerror(errno)) : watch;
}

/* A mounted ConfigMap or Secret changes by one rename of "..data" in its directory. */
static int watch_files(struct node *node, struct error *error)
{
	int tokens = 0;

	node->files_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (node->files_fd < 0)
		return error_set(error, "inotify: %s", strerror(errno));
	node->policies_watch = watch_directory(node, node->options->policies, error);
	if (node->options->tokens)
		tokens = watch_directory(node, node->options->tokens, error);
	if (node->policies_watch < 0 || tokens < 0)
		return -1;
	if (tokens == node->policies_watch)
		node->policies_watch = 0; /* one directory, one watch: news are of both */
	watch_tokens(node);
	return 0;
}

/* ---- signals ---------------------------------------------------------------------------------- */

static bool has_children(const struct node *node)
{
	for (const struct node_pod *pod = node->pods; pod; pod = pod->next)
		if (pod->child > 0)
			return true;
	return false;
}

/* Children of children as well: as the container's first process we are given all orphans. */
static void reap(struct node *node)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (struct node_pod *pod = node->pods; pod; pod = pod->next)
			if (pod->child == pid)
				node_pod_child_ended(pod, status, now_s());
	if (node->ending && !has_children(node))
		event_base_loopbreak(node->base);
	else
		look(node);
}

/* The walls stay, closed: an agent is restarted more often than pods are. */
static void end(struct node *node)
{
	node->ending = true;
	ready_stopping(node->options->ready);
	for (struct node_pod *pod = node->pods; pod; pod = pod->next)
		node_pod_stop(pod);
	after(node, WATCH_TICK, END_MS);
	if (!has_children(node))
		event_base_loopbreak(node->base);
}

static void on_signal(evutil_socket_t number, short what, void *context)
{
	struct node *node = context;

	(void)what;
	if (number == SIGCHLD) {
		reap(node);
	} else if (number == SIGHUP) {
		node->tokens_changed = true;
		after(node, WATCH_SETTLE, SETTLE_MS);
	} else if (!node->ending) {
		end(node);
	}
}

/* ---- start and end ---------------------------------------------------------------------------- */

static int open_watches(struct node *node, struct error *error)
{
	struct event **w = node->watches;
	bool complete = true;

	node->base = event_base_new();
	if (!node->base)
		return error_set(error, "cannot make an event loop");
	w[WATCH_TREE] = event_new(node->base, node_tree_fd(node->tree), EV_READ | EV_PERSIST, on_tree,
				  node);
	w[WATCH_FILES] = event_new(node->base, node->files_fd, EV_READ | EV_PERSIST, on_files, node);
	w[WATCH_TICK] = evtimer_new(node->base, on_tick, node);
	w[WATCH_SETTLE] = evtimer_new(node->base, on_settled, node);
	w[WATCH_AGAIN] = evtimer_new(node->base, on_again, node);
	w[WATCH_ASK] = evtimer_new(node->base, on_ask, node);
	for (size_t i = 0; i < SIGNALS; i++) {
		w[WATCH_SIGNALS + i] = evsignal_new(node->base, signals[i], on_signal, node);
		complete = complete && w[WATCH_SIGNALS + i] &&
			   event_add(w[WATCH_SIGNALS + i], NULL) == 0;
	}
	if (!complete || !w[WATCH_TICK] || !w[WATCH_SETTLE] || !w[WATCH_AGAIN] || !w[WATCH_ASK] ||
	    !w[WATCH_TREE] || !w[WATCH_FILES] || event_add(w[WATCH_TREE], NULL) < 0 ||
	    event_add(w[WATCH_FILES], NULL) < 0)
		return error_set(error, "cannot make an event loop");
	return 0;
}

static int open_node(struct node *node, struct error *error)
{
	if (node_kubelet_check(&node->options->kubelet, error) < 0 ||
	    node_tree_open(node->options->roots, &node->tree, error) < 0 ||
	    watch_files(node, error) < 0)
		return -1;
	return open_watches(node, error);
}

static void close_node(struct node *node)
{
	forget_answer_watch(node);
	for (size_t i = 0; i < sizeof(node->watches) / sizeof(node->watches[0]); i++)
		if (node->watches[i])
			event_free(node->watches[i]);
	if (node->base)
		event_base_free(node->base);
	if (node->files_fd >= 0)
		close(node->files_fd);
	node_tree_free(node->tree);
	while (node->pods)
		remove_pod(node, node->pods);
}

/* The first look comes before the first question: what is there then is there before us. */
int node_run(const struct node_options *options)
{
	struct node node = {.options = options, .files_fd = -1, .answer_fd = -1, .policies_watch = -1};
	const struct rlimit none = {0, 0};
	struct error error = {0};
	int status = EXIT_FAILED;

	(void)setrlimit(RLIMIT_CORE, &none); /* tokens pass through our memory */
	privileges_raise_file_limit();	     /* two for each pod */
	if (open_node(&node, &error) < 0) {
		diag_error("node: %s", error.text);
	} else {
		look(&node);
		remove_leftovers(&node);
		ask(&node);
		status = event_base_dispatch(node.base) == 0 ? EXIT_OK : EXIT_FAILED;
	}
	close_node(&node);
	return status;
}
