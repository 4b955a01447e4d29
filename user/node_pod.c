// SPDX-License-Identifier: BSD-2-Clause
/* The order is the point: the wall first, which refuses everything, then the policy, then `run`,
 * which adopts it. Whatever fails leaves the pod behind the wall. */
#include "node_pod.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cgroup.h"
#include "exit_status.h"
#include "kernel.h"

_Static_assert(NODE_PORTS_MAX <= EGRESS_MAX_PUBLISHED, "a pod's ports are one wall's");

#define DELAY_MAX_S 30u
#define DELAY_FORGIVEN_S 60
#define RETRY_S 2
#define PATIENCE_S 2 /* with a kubelet that neither answers nor fails: libcurl gives up after ten */
#define STOP_GRACE_S 15 /* longer than the supervisor's own */
#define WIRES_PATIENCE_S 4
#define REMOVALS 12 /* with the delays between them: four minutes */

/* ---- freezing --------------------------------------------------------------------------------- */

/* Whole pods: nothing else of Kubernetes uses this file at this level. */
static int open_freezer(const struct node_pod *pod, char *ret_now)
{
	char path[PATH_MAX];
	int fd;

	if (snprintf(path, sizeof(path), "%s/cgroup.freeze", pod->path) >= (int)sizeof(path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0 && read(fd, ret_now, 1) != 1)
		*ret_now = '\0';
	return fd;
}

/* -errno when it is not so. Where the cgroup is gone, nobody is left to whom it matters. */
static int set_frozen(const struct node_pod *pod, const char *value)
{
	char now = '\0';
	int result = 0, fd = open_freezer(pod, &now);

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (now != value[0] && pwrite(fd, value, 1, 0) != 1 && errno != ENODEV)
		result = -errno;
	close(fd);
	return result;
}

/* By an earlier agent, then, which was killed before it could let the pod go. Where that cannot be seen it
 * may be so: it is let go in any case. */
static bool is_frozen(const struct node_pod *pod)
{
	char now = '\0';
	int fd = open_freezer(pod, &now);

	if (fd < 0)
		return errno != ENOENT;
	close(fd);
	return now == '1';
}

/* ---- making ----------------------------------------------------------------------------------- */

/* A static pod keeps its uid when it is made anew: the note is of the cgroup, not of the name. */
static void remember(struct node_pod *pod, const struct node_place *place)
{
	struct node_state state;
	struct error error = {0};
	int found = node_state_read(pod->options->state_directory, place->uid, &state, &error);

	if (found < 0)
		diag_error("%s", error.text);
	if (found == 1 && state.cgroup_id == place->id) {
		pod->state = state;
		pod->kind = NODE_LABELLED;
	} else {
		node_state_forget(pod->options->state_directory, place->uid);
	}
}

struct node_pod *node_pod_new(const struct node_options *options, const struct node_place *place)
{
	struct node_pod *pod = calloc(1, sizeof(*pod));

	if (pod)
		pod->path = strdup(place->path);
	if (!pod || !pod->path) {
		free(pod);
		return NULL;
	}
	pod->options = options;
	pod->netns_fd = pod->first_fd = -1;
	snprintf(pod->wall, sizeof(pod->wall), NODE_WALL_PREFIX "%s", place->uid);
	remember(pod, place);
	snprintf(pod->state.record.uid, sizeof(pod->state.record.uid), "%s", place->uid);
	pod->state.cgroup_id = place->id;
	pod->held = is_frozen(pod);
	return pod;
}

static void close_netns(struct node_pod *pod)
{
	if (pod->netns_fd >= 0)
		close(pod->netns_fd);
	if (pod->first_fd >= 0)
		close(pod->first_fd);
	pod->netns_fd = pod->first_fd = -1;
}

void node_pod_free(struct node_pod *pod)
{
	if (!pod)
		return;
	close_netns(pod);
	free(pod->path);
	free(pod);
}

static const char *name_of(const struct node_pod *pod)
{
	const struct node_record *record = &pod->state.record;

	return record->name[0] ? record->name : record->uid;
}

/* Each complaint once, until there is another. */
static void complain(struct node_pod *pod, const char *text)
{
	if (strncmp(pod->said, text, sizeof(pod->said) - 1) == 0)
		return;
	snprintf(pod->said, sizeof(pod->said), "%s", text);
	diag_error("pod %s: %s", name_of(pod), text);
}

/* What fails at once, like a `run` whose CA cannot be read, is not tried a thousand times. */
static void delay(struct node_pod *pod, time_t now)
{
	pod->delay_s = pod->delay_s ? 2 * pod->delay_s : 1;
	if (pod->delay_s > DELAY_MAX_S)
		pod->delay_s = DELAY_MAX_S;
	pod->not_before = now + pod->delay_s;
}

/* Not being able to note it is no reason to leave the pod without what the note is about. */
static void note_state(struct node_pod *pod)
{
	struct error error = {0};
	bool failed = node_state_write(pod->options->state_directory, &pod->state, &error) < 0;

	if (failed && !pod->unnoted)
		diag_error("pod %s: %s", name_of(pod), error.text);
	pod->unnoted = failed;
}

void node_pod_classify(struct node_pod *pod, const struct node_record *record)
{
	struct node_record *known = &pod->state.record;

	if (pod->kind == NODE_LABELLED) {
		if (strcmp(known->policy, record->policy) != 0 && !pod->moved)
			diag_warning("pod %s: its label '" NODE_LABEL "' is '%s' now; it stays with "
				     "policy '%s' until it ends", name_of(pod), record->policy,
				     known->policy);
		pod->moved = strcmp(known->policy, record->policy) != 0;
		return;
	}
	*known = *record;
	pod->kind = record->policy[0] ? NODE_LABELLED : NODE_PLAIN;
	if (pod->kind == NODE_LABELLED)
		note_state(pod); /* before anything else: a next agent has to know of it */
}

/* ---- the wall --------------------------------------------------------------------------------- */

/* Round this very cgroup, and whole: an agent that was killed while it put it up has left maps, which
 * look like a wall and refuse nothing, or some of the links. */
static bool stands(const struct node_pod *pod, const struct kernel_status *status)
{
	for (size_t i = 0; i < status->link_count; i++)
		if (!status->links[i].attached)
			return false;
	return status->settings.bottle_cgroup == pod->state.cgroup_id;
}

/* Of this name, and round another cgroup: a static pod's, before it was made anew. */
static int remove_stale(const struct node_pod *pod, bool *ret_stands, struct error *error)
{
	struct kernel_status status;
	bool ours, alive;

	*ret_stands = false;
	if (!kernel_pinned(pod->wall) || kernel_read_status(pod->wall, &status, NULL) < 0)
		return 0; /* what is damaged is for kernel_open() to judge */
	*ret_stands = stands(pod, &status);
	ours = status.settings.bottle_cgroup == pod->state.cgroup_id;
	alive = status.cgroup_alive;
	kernel_status_free(&status);
	if (ours || alive)
		return 0; /* what is ours and half is made whole by kernel_open() */
	return kernel_detach(pod->wall, false, error) < 0 ? -1 : 0;
}

/* No ports are told to it, so it refuses everything until `run` adopts it. Nothing is known of the
 * network namespace yet: the stricter case is taken. */
static int raise_wall(struct node_pod *pod, struct error *error)
{
	const struct kernel_open_options options = {
		.name = pod->wall,
		.cgroup_path = pod->path,
		.shared_netns = true,
		.supervisor_pid = (uint32_t)getpid(),
	};
	struct kernel *kernel = NULL;

	if (remove_stale(pod, &pod->walled, error) < 0)
		return -1;
	if (pod->walled)
		return 0;
	if (kernel_open(&options, &kernel, error) < 0)
		return -1;
	kernel_close(kernel);
	pod->walled = true;
	return 0;
}

/* The agent must not freeze itself, nor a pod that an earlier agent's wall holds already: the latter
 * serves somebody. */
void node_pod_hold(struct node_pod *pod, time_t now)
{
	struct error error = {0};

	if (pod->kind != NODE_LABELLED || pod->gone || pod->walled || pod->held ||
	    now < pod->not_before || node_tree_holds(pod->path, getpid()))
		return;
	if (remove_stale(pod, &pod->walled, &error) < 0 || pod->walled)
		return; /* the step meets the error again, and tells it */
	pod->held = set_frozen(pod, "1") == 0;
}

/* Otherwise the next step tries it again. */
static void let_go(struct node_pod *pod)
{
	int result = set_frozen(pod, "0");
	char text[sizeof(pod->said)];

	pod->held = result < 0;
	if (result == 0)
		return;
	snprintf(text, sizeof(text), "it stays frozen: %s; trying it again", strerror(-result));
	complain(pod, text);
}

/* Without a wall it must not run on: what can be had instead is that it does not run at all. A frozen
 * process can still be killed (cgroups(7)), so the kubelet can end the pod. */
static void hold(struct node_pod *pod, const struct error *why)
{
	char text[sizeof(pod->state.denied)];

	pod->held = set_frozen(pod, "1") == 0 || pod->held;
	snprintf(text, sizeof(text), "%s, for no wall can be put up: %.200s",
		 pod->held ? "frozen" : "cannot be frozen", why->text);
	complain(pod, text);
	if (pod->kind != NODE_LABELLED || strcmp(pod->state.denied, text) == 0)
		return;
	memcpy(pod->state.denied, text, sizeof(text));
	note_state(pod);
}

/* A wall that is left refuses everything to nobody, or to a pod that is to have none: somebody looks
 * into it just now, say, and has its lock. The state stays as long, for `node --list`. */
static void keep_trying(struct node_pod *pod, const struct error *why, time_t now)
{
	char text[sizeof(pod->said)];

	snprintf(text, sizeof(text), "its wall stays for now: %.180s; trying it again", why->text);
	complain(pod, text);
	pod->stays = true;
	delay(pod, now);
}

/* The runtime takes them away, in its own time; or somebody is behind them who left the cgroup before it
 * was removed. Not waited for: other pods come meanwhile, whose walls are our work. */
static void look_for_wires_again(struct node_pod *pod, time_t now)
{
	pod->stays = true;
	delay(pod, now);
	if (pod->delay_s > WIRES_PATIENCE_S)
		complain(pod, "it has ended, but its wires still stand: the wall on them stays as long "
			      "as they do");
}

/* 2: its wires stand. */
static int remove_wall(const struct node_pod *pod, struct error *error)
{
	if (!kernel_pinned(pod->wall))
		return 0;
	return pod->gone ? kernel_detach_ended(pod->wall, false, error)
			 : kernel_detach(pod->wall, false, error);
}

/* True when nothing is left, or nothing more is done about it. With a child the wall is its; it ends first.
 * Our descriptors stay until then: it may just be opening the namespace by their number, which must not be
 * another pod's by then. */
static bool take_wall_away(struct node_pod *pod, time_t now)
{
	struct error error = {0};
	int result;

	if (pod->child > 0) {
		node_pod_stop(pod);
		return false;
	}
	if (pod->stays && now < pod->not_before)
		return false;
	close_netns(pod);
	pod->held = false;
	if (!pod->gone)
		let_go(pod);
	result = remove_wall(pod, &error);
	if (result == 2) {
		look_for_wires_again(pod, now);
		return false;
	}
	if (result < 0 && (!pod->gone || ++pod->removals < REMOVALS)) {
		keep_trying(pod, &error, now);
		return false;
	}
	if (result < 0)
		diag_error("pod %s: %s; the wall stays until the next agent or 'egress-bpf detach %s'",
			   name_of(pod), error.text, pod->wall);
	pod->walled = pod->stays = false;
	node_state_forget(pod->options->state_directory, pod->state.record.uid);
	return true;
}

/* ---- the network namespace -------------------------------------------------------------------- */

static int own_netns(void)
{
	return open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
}

/* Of the process that is there longest: no later one can come before it. A runtime's own first steps
 * are in the cgroup, too, and still in the host's namespace; only a pod that asked for that has it. */
static int find_netns(struct node_pod *pod, int *ret_first_fd)
{
	struct error error = {0};
	int ours = own_netns(), first_fd = -1, fd = -1, pid;

	if (pod->state.record.host_network) {
		*ret_first_fd = -1;
		return ours;
	}
	pid = node_tree_first_process(pod->path);
	if (pid > 0)
		first_fd = pidfd_open(pid, 0);
	if (first_fd >= 0)
		fd = netns_of_pid(pid, &error);
	/* Not of one that has ended meanwhile: without CAP_SYS_PTRACE it would wait for ever, and why? */
	if (fd < 0 && error.text[0] && node_tree_first_process(pod->path) == pid)
		complain(pod, error.text);
	/* The number is still that process' when it is still the first. */
	if (fd >= 0 && (ours < 0 || netns_same(fd, ours) || node_tree_first_process(pod->path) != pid)) {
		close(fd);
		fd = -1;
	}
	if (ours >= 0)
		close(ours);
	if (fd < 0 && first_fd >= 0)
		close(first_fd);
	else
		*ret_first_fd = first_fd;
	return fd;
}

static bool has_ended(int pidfd)
{
	struct pollfd wait = {.fd = pidfd, .events = POLLIN};

	return pidfd >= 0 && poll(&wait, 1, 0) > 0;
}

/* The sandbox may have been made anew, with another namespace: the child's sockets are in the old
 * one. Looked for only when its first process has ended: a pod may have many. */
static bool netns_changed(struct node_pod *pod)
{
	int fd, first_fd = -1;
	bool changed;

	if (!has_ended(pod->first_fd) || (fd = find_netns(pod, &first_fd)) < 0)
		return false;
	changed = !netns_same(fd, pod->netns_fd);
	close_netns(pod);
	pod->netns_fd = fd;
	pod->first_fd = first_fd;
	return changed;
}

/* ---- the child -------------------------------------------------------------------------------- */

/* Said when it changes and not each time; `node --list` tells the state. */
static int install_policy(struct node_pod *pod, struct error *error)
{
	struct node_state before = pod->state;
	int result = node_policy_install(pod->options, &pod->state, error);

	pod->again = pod->state.passing || result < 0;
	if (strcmp(before.denied, pod->state.denied) != 0 ||
	    strcmp(before.note, pod->state.note) != 0) {
		if (pod->state.denied[0])
			diag_error("pod %s: everything is refused: %s", name_of(pod),
				   pod->state.denied);
		else if (pod->state.note[0])
			diag_error("pod %s: %s", name_of(pod), pod->state.note);
		else
			diag_notice("pod %s: policy '%s' is in force", name_of(pod),
				    pod->state.record.policy);
	}
	note_state(pod);
	return result;
}

/* The policy comes before the process: it is read at once. The namespace comes before both, since without
 * one the proxy would listen in the host's. */
static void start(struct node_pod *pod, time_t now)
{
	struct error error = {0};

	if (pod->netns_fd < 0)
		pod->netns_fd = find_netns(pod, &pod->first_fd);
	if (pod->netns_fd < 0)
		return; /* no sandbox yet; the wall stands */
	if (install_policy(pod, &error) < 0) {
		complain(pod, error.text);
		delay(pod, now);
		return;
	}
	pod->child = node_child_start(pod, &error);
	pod->child_since = now;
	pod->stopping = false;
	if (pod->child < 0) {
		pod->child = 0;
		complain(pod, error.text);
		delay(pod, now);
	} else {
		diag_notice("pod %s: %s with policy '%s'%s", name_of(pod), pod->wall,
			    pod->state.record.policy,
			    pod->state.denied[0] ? ", everything refused" : "");
	}
}

void node_pod_stop(struct node_pod *pod)
{
	if (pod->child <= 0 || pod->stopping)
		return;
	kill(pod->child, SIGTERM);
	pod->stopping = true;
	pod->stop_since = 0;
}

/* `run` has its own limit; this is for one that was stopped by a signal, say. */
static void insist(struct node_pod *pod, time_t now)
{
	if (!pod->stopping || pod->child <= 0)
		return;
	if (pod->stop_since == 0)
		pod->stop_since = now;
	else if (now - pod->stop_since > STOP_GRACE_S)
		kill(pod->child, SIGKILL);
}

void node_pod_child_ended(struct node_pod *pod, int status, time_t now)
{
	char text[128];

	if (WIFEXITED(status))
		snprintf(text, sizeof(text), "exit status %d", WEXITSTATUS(status));
	else
		snprintf(text, sizeof(text), "signal %d", WTERMSIG(status));
	if (!pod->stopping && !pod->gone)
		diag_error("pod %s: its 'run' ended (%s); starting it again, the wall stands meanwhile",
			   name_of(pod), text);
	if (now - pod->child_since >= DELAY_FORGIVEN_S)
		pod->delay_s = 0;
	if (!pod->stopping)
		delay(pod, now);
	pod->child = 0;
	pod->stopping = false;
	/* A bottle that ends takes its wall with it, by `run`. */
	pod->walled = kernel_pinned(pod->wall);
}

void node_pod_reload(struct node_pod *pod, bool tokens)
{
	struct error error = {0};
	int result;

	if (pod->kind != NODE_LABELLED || pod->gone || pod->child <= 0)
		return; /* it is read when the child starts */
	result = install_policy(pod, &error);
	if (result < 0)
		complain(pod, error.text);
	else if (result == 1 || tokens)
		kill(pod->child, SIGHUP);
}

/* ---- what is next ----------------------------------------------------------------------------- */

static bool denied_while_unknown(const struct node_pod *pod)
{
	return pod->kind == NODE_UNKNOWN && !pod->early && !pod->options->ignore_unknown;
}

/* True when a wall is meant to stand. A kubelet may be slow by a pod's doing. */
static bool wants_wall(const struct node_pod *pod, time_t now)
{
	return pod->kind == NODE_LABELLED ||
	       (denied_while_unknown(pod) &&
		(pod->asked || now - pod->appeared >= PATIENCE_S));
}

/* A pod that is unknown has a wall and nobody behind it: there is no policy to serve, and it is
 * either known in a moment or waits for the kubelet. */
static void step_walled(struct node_pod *pod, time_t now)
{
	struct error error = {0};

	pod->stays = false;
	if (!pod->walled) {
		if (node_tree_holds(pod->path, getpid())) {
			complain(pod, "the agent itself is in it: no wall round it");
			pod->not_before = now + DELAY_MAX_S;
			return;
		}
		if (raise_wall(pod, &error) < 0) {
			hold(pod, &error);
			pod->not_before = now + RETRY_S;
			return;
		}
		if (pod->kind == NODE_UNKNOWN)
			diag_warning("pod %s: the kubelet does not tell of it: everything is refused",
				     name_of(pod));
	}
	if (pod->held)
		let_go(pod);
	if (pod->held)
		return; /* what `run` tries inside would not come to its end */
	if (pod->kind != NODE_LABELLED)
		return;
	if (pod->child > 0 && !pod->stopping && netns_changed(pod)) {
		diag_notice("pod %s: it has another sandbox", name_of(pod));
		node_pod_stop(pod);
	} else if (pod->child <= 0) {
		start(pod, now);
	}
}

bool node_pod_step(struct node_pod *pod, time_t now)
{
	insist(pod, now);
	if (pod->gone)
		return take_wall_away(pod, now);
	if (now < pod->not_before)
		return false;
	if (wants_wall(pod, now))
		step_walled(pod, now);
	else if (pod->kind == NODE_PLAIN && (pod->walled || pod->held || kernel_pinned(pod->wall)))
		(void)take_wall_away(pod, now);
	return false;
}

bool node_pod_waits(const struct node_pod *pod)
{
	if (pod->gone || pod->stays || pod->stopping || has_ended(pod->first_fd))
		return true;
	/* It could not be let go. */
	if (pod->held && (pod->walled || pod->kind == NODE_PLAIN))
		return true;
	if (pod->kind == NODE_LABELLED)
		return !pod->walled || pod->child <= 0;
	return denied_while_unknown(pod) && !pod->walled;
}
