// SPDX-License-Identifier: BSD-2-Clause
/* run: the sidecar of a bottle that somebody else starts. The wall outlives this process on
 * purpose; what ends it is detach, or with --container and --until-exit the bottle's own end. */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cert_authority.h"
#include "cgroup.h"
#include "cmd.h"
#include "cmd_run_private.h"
#include "config.h"
#include "descriptor.h"
#include "diag.h"
#include "kernel.h"
#include "node.h"
#include "node_tree.h"
#include "public_directory.h"
#include "ready.h"

/* The pod's cgroup, and ours in it, which is spared: it holds this supervisor, its worker and nobody
 * else. */
static int find_pod(struct run *run, struct error *error)
{
	char *own = NULL;
	uint32_t level;
	int result;

	if (node_tree_own_pod(run->kubepods, run->pod, &run->cgroup_path, &own, error) < 0)
		return -1;
	result = strcmp(own, run->cgroup_path) != 0
			 ? cgroup_identity(own, &run->supervisor.spared_cgroup, &level, error)
			 : error_set(error, "--pod %s: we are in the pod's own cgroup, and in none of a "
				     "container: to spare it would spare all", run->pod);
	free(own);
	return result;
}

/* The bottle's cgroup, as a path below the cgroup v2 mount. Resolved now: a symbolic link that
 * moves later does not move the wall. */
static int find_cgroup(struct run *run, struct error *error)
{
	uint64_t id;
	uint32_t level;

	if (run->no_kernel)
		return 0;
	if (run->follow.container) {
		run->cgroup_path = strdup(run->follow.found.cgroup_path);
		return run->cgroup_path ? 0 : error_set(error, "out of memory");
	}
	if (run->pod)
		return find_pod(run, error);
	if (run->pid > 0)
		return cgroup_of_pid(run->pid, &run->cgroup_path, error);
	run->cgroup_path = realpath(run->cgroup, NULL);
	if (!run->cgroup_path)
		return error_set(error, "--cgroup %s: %s", run->cgroup, strerror(errno));
	/* Before anything is said of what is in it. */
	return cgroup_identity(run->cgroup_path, &id, &level, error);
}

/* The wall would refuse what the proxy dials; round the root cgroup, what everybody dials. */
static int check_not_inside(const struct run *run, struct error *error)
{
	size_t length = run->cgroup_path ? strlen(run->cgroup_path) : 0;
	char *ours = NULL;
	bool inside;

	if (!run->cgroup_path || run->pod)
		return 0;
	if (cgroup_of_pid(getpid(), &ours, error) < 0)
		return -1;
	inside = strncmp(ours, run->cgroup_path, length) == 0 &&
		 (ours[length] == '/' || ours[length] == '\0');
	free(ours);
	if (!inside)
		return 0;
	return error_set(error, "egress-bpf itself is in the cgroup %s, and the wall would hold the "
			 "proxy as well: give the bottle a cgroup of its own", run->cgroup_path);
}

/* An empty cgroup tells nothing; the weaker case is taken and said. */
static int find_netns(struct run *run, struct error *error)
{
	pid_t pid = run->pid;

	run->supervisor.netns_fd = -1;
	if (run->no_kernel || run->pod)
		return 0;
	if (run->netns) {
		run->supervisor.netns_fd = open(run->netns, O_RDONLY | O_CLOEXEC);
		if (run->supervisor.netns_fd < 0)
			return error_set(error, "--netns %s: %s", run->netns, strerror(errno));
		return 0;
	}
	if (run->follow.container) {
		/* A copy: ours is closed after each life of the container, the follower's when it
		 * has seen the end. */
		run->supervisor.netns_fd = dup(run->follow.found.netns_fd);
		if (run->supervisor.netns_fd < 0)
			return error_set(error, "network namespace: %s", strerror(errno));
		return 0;
	}
	if (pid <= 0)
		pid = cgroup_any_pid(run->cgroup_path);
	if (pid <= 0) {
		diag_warning("%s is empty: taking it that the bottle will use our network namespace;"
			     " else say --netns", run->cgroup_path);
		return 0;
	}
	run->supervisor.netns_fd = netns_of_pid(pid, error);
	return run->supervisor.netns_fd < 0 ? -1 : 0;
}

/* Both places of the bottle. The pidfd tells whether --pid was one process all the while. */
static int find_bottle(struct run *run, struct error *error)
{
	int pidfd = run->pid > 0 ? pidfd_open(run->pid, 0) : -1, result = -1;

	if (run->pid > 0 && pidfd < 0)
		return error_set(error, "--pid %d: %s", (int)run->pid, strerror(errno));
	if (find_cgroup(run, error) == 0 && check_not_inside(run, error) == 0 &&
	    find_netns(run, error) == 0)
		result = 0;
	if (result == 0 && pidfd >= 0 && pidfd_send_signal(pidfd, 0, NULL, 0) < 0)
		result = error_set(error, "--pid %d: it has ended", (int)run->pid);
	if (result == 0 && run->until_exit)
		return run_follow_process(&run->follow, run->cgroup_path, pidfd, error);
	if (pidfd >= 0)
		close(pidfd);
	return result;
}

/* The name is in pins and in `status`, so it has to be one. */
static int find_name(struct run *run, struct error *error)
{
	const char *last = run->cgroup_path ? strrchr(run->cgroup_path, '/') : NULL;

	/* As the node's agent names it, so that one pod never has two walls by two names. */
	if (run->name[0] == '\0' && run->pod)
		snprintf(run->name, sizeof(run->name), NODE_WALL_PREFIX "%s", run->pod);
	else if (run->name[0] == '\0' && run->follow.container)
		snprintf(run->name, sizeof(run->name), "%s", run->follow.container);
	else if (run->name[0] == '\0')
		snprintf(run->name, sizeof(run->name), "%s", last ? last + 1 : "default");
	if (!kernel_name_valid(run->name))
		return error_set(error, "'%s' cannot be a bottle's name; say --name NAME", run->name);
	return 0;
}

/* A CA asked for must exist; the default one is made when it is missing. */
static int find_authority(struct run *run, struct error *error)
{
	struct cert_authority *ca = NULL;
	char file[512];
	int result;

	if (run->supervisor.ca_directory)
		return 0;
	if (asprintf(&run->ca_directory, STATE_DIRECTORY "/%s", run->name) < 0) {
		run->ca_directory = NULL;
		return error_set(error, "out of memory");
	}
	run->supervisor.ca_directory = run->ca_directory;
	snprintf(file, sizeof(file), "%s/ca.pem", run->ca_directory);
	if (access(file, F_OK) == 0)
		return 0;
	/* For everybody to read, as the certificate in it is; the key's file has 0600 of its
	 * own. */
	if (public_directory_make(STATE_DIRECTORY) < 0 || public_directory_make(run->ca_directory) < 0)
		return error_set(error, "cannot make %s: %s", run->ca_directory, strerror(errno));
	result = cert_authority_new(run->name, &ca, error);
	if (result == 0)
		result = cert_authority_save(ca, run->ca_directory, false, error);
	cert_authority_free(ca);
	return result;
}

/* The last words before it serves: whoever waits for them may start the bottle. */
static int say_ready(const struct run *run, const struct supervisor *supervisor)
{
	struct error error = {0};

	if (ready_say(run->supervisor.ready, "serving", &error) < 0) {
		diag_error("run: %s", error.text);
		return EXIT_FAILED;
	}
	if (run->no_kernel)
		diag_warning("NO KERNEL WALL (--no-kernel): programs that do not use the proxy are not "
			     "held back by anything");
	diag_notice("%s: ready; proxy on port %u, CA certificate in %s/ca-cert.pem", run->name,
		    supervisor_proxy_port(supervisor), run->supervisor.ca_directory);
	return EXIT_OK;
}

/* A process of its own, so that nothing of the supervisor's reads what comes from a network. It ends
 * with us; a supervisor is not less of a wall for want of it. */
static pid_t start_metrics(const struct run *run)
{
	pid_t ours = getpid(), child = run->metrics ? fork() : -1;
	sigset_t none;

	if (child < 0 && run->metrics)
		diag_warning("run: --metrics: %s", strerror(errno));
	if (child != 0)
		return child;
	/* A mask that was set for our loop outlives execve(2). */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	/* If we died before prctl(2) nobody sends that signal: hence the look at the parent. No
	 * environment, as tokens are in it. */
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) == 0 && getppid() == ours &&
	    close_range(3, ~0u, CLOSE_RANGE_CLOEXEC) == 0)
		execle("/proc/self/exe", "egress-bpf", "metrics", run->name, "--listen", run->metrics,
		       NULL, (char *[]){NULL});
	_exit(127);
}

/* By force: it may be waiting for an answer of ours, and we do not for it. */
static void stop_metrics(const struct run *run, pid_t child)
{
	if (child <= 0)
		return;
	kill(child, SIGKILL);
	(void)waitpid(child, NULL, 0);
	/* Killed, it could not remove its unix socket. */
	if (run->metrics[0] == '/')
		(void)unlink(run->metrics);
}

static void on_watchdog(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	ready_alive(context);
}

/* In the loop that does the work: a supervisor that hangs is one that systemd should hear of. */
static int loop(struct run *run, struct supervisor *supervisor)
{
	const unsigned ms = ready_watchdog_ms(run->supervisor.ready);
	const struct timeval period = {ms / 1000, ms % 1000 * 1000};
	struct event *watchdog = NULL;
	int status;

	if (ms > 0)
		watchdog = event_new(supervisor_base(supervisor), -1, EV_PERSIST, on_watchdog,
				     run->supervisor.ready);
	if (ms > 0 && (!watchdog || event_add(watchdog, &period) < 0))
		diag_warning("run: the watchdog will not hear of us");
	status = run->follow.found.cgroup_path ? run_follow_loop(&run->follow, supervisor)
				       : supervisor_loop(supervisor);
	if (watchdog)
		event_free(watchdog);
	return status;
}

/* The namespace, and its wires with it, goes when we hold it no longer. */
static void take_wall_away(struct run *run)
{
	struct error error = {0};
	int result;

	descriptor_close(&run->supervisor.netns_fd);
	if (run->follow.found.cgroup_path)
		descriptor_close(&run->follow.found.netns_fd);
	result = kernel_detach_ended(run->name, true, &error);
	if (result < 0)
		diag_error("run: %s", error.text);
	else if (result == 2)
		diag_warning("%s: the bottle's wires still stand: the wall on them stays until "
			     "'egress-bpf detach %s'", run->name, run->name);
}

/* A container's wall goes with the last process in it, a cgroup's with the cgroup; else it stays until
 * `detach`. */
static void end(struct run *run, struct supervisor *supervisor)
{
	bool gone = supervisor_bottle_gone(supervisor);
	bool over = gone || (run->follow.ended && run_follow_empty(&run->follow));

	if (gone)
		diag_notice("%s: the bottle's cgroup is gone", run->name);
	else if (run->follow.ended)
		diag_notice("%s: the bottle has ended%s", run->name,
			    over ? "" : ", but not all of its processes: the wall stays");
	if (run->follow.ended && run->follow.wait)
		ready_waiting(run->supervisor.ready, "waiting for the container");
	else
		ready_stopping(run->supervisor.ready);
	/* Not with the wall: that goes below, if the bottle is over, or by 'detach'. */
	supervisor_stop(supervisor, false);
	if (over)
		take_wall_away(run);
	/* After the worker's end: its last lines are in the record's file by then. */
	record_write(run->record, &(struct report){.bottle = run->name}, run->name);
}

/* With --learn: nothing that has a name is refused, and no credential is injected. */
static int start(struct run *run, struct supervisor **ret)
{
	static const struct config_source learn = {"--learn",
						   {RECORD_LEARN_SOURCE, sizeof(RECORD_LEARN_SOURCE) - 1}};
	struct error error = {0};
	int status;

	/* Of the container's last life: each has a record of its own. */
	record_free(run->record);
	run->record = NULL;
	if (record_open(&run->outputs, &run->record, &error) < 0) {
		diag_error("run: %s", error.text);
		return EXIT_FAILED;
	}
	run->supervisor.record_fd = record_fd(run->record);
	run->supervisor.extra = &learn;
	run->supervisor.extra_count = run->outputs.learn_path ? 1 : 0;
	run->supervisor.learning = run->outputs.learn_path;
	status = supervisor_open(&run->supervisor, ret);
	if (status != EXIT_OK)
		return status;
	if (!run->outputs.learn_path || policy_secret_count(supervisor_config(*ret)->policy) == 0)
		return supervisor_start(ret);
	supervisor_stop(*ret, false);
	*ret = NULL;
	return cmd_usage("run", "--learn injects no credential: leave routes with one out while "
			 "learning");
}

/* The static parts of the options are filled in here, since a container's change with each
 * start. */
static int serve(void *context)
{
	struct run *run = context;
	struct supervisor *supervisor = NULL;
	struct error error = {0};
	pid_t metrics;
	int status;

	if (find_bottle(run, &error) < 0 || find_name(run, &error) < 0 ||
	    find_authority(run, &error) < 0) {
		diag_error("run: %s", error.text);
		return EXIT_FAILED;
	}
	run->supervisor.name = run->name;
	/* A process that is followed tells its end sooner. */
	run->supervisor.end_with_cgroup = !run->follow.found.cgroup_path;
	run->supervisor.cgroup_path = run->cgroup_path;
	run->supervisor.published = run->published;
	run->supervisor.published_count = run->published_count;
	status = start(run, &supervisor);
	if (status != EXIT_OK)
		return status;
	status = say_ready(run, supervisor);
	/* Nobody but the next pod's sidecar is there when a pod has ended. */
	if (run->pod)
		(void)node_remove_leftovers(NULL, NULL);
	metrics = start_metrics(run);
	if (status == EXIT_OK)
		status = loop(run, supervisor);
	stop_metrics(run, metrics);
	end(run, supervisor);
	return status;
}

static void forget_bottle(struct run *run)
{
	descriptor_close(&run->supervisor.netns_fd);
	free(run->cgroup_path);
	run->cgroup_path = NULL;
}

/* A container that ended meanwhile is not our failure: the next one is waited for. */
static int serve_container(void *context)
{
	struct run *run = context;
	int status = serve(run);

	forget_bottle(run);
	if (status != EXIT_FAILED || !run->follow.wait || !run_follow_over(&run->follow))
		return status;
	diag_notice("%s: the container ended before it was served", run->name);
	run->follow.ended = true;
	return EXIT_OK;
}

/* What is wrong with the policy is to be known now, not when the container comes. */
static int check_policy(const struct run *run)
{
	struct diag_list errors = {0};
	struct config *config = run->supervisor.policy_path
					? config_open(run->supervisor.policy_path, &errors)
					: NULL;
	bool valid = config && config_load_secrets_from(config, run->supervisor.token_directory,
							&errors);

	diag_list_print(&errors);
	diag_list_free(&errors);
	config_free(config);
	return valid || !run->supervisor.policy_path ? EXIT_OK : EXIT_USAGE;
}

static int serve_all(struct run *run)
{
	struct error error = {0};
	int status;

	if (ready_open(run->ready_file, &run->supervisor.ready, &error) < 0) {
		diag_error("run: %s", error.text);
		return EXIT_FAILED;
	}
	if (!run->follow.container)
		return serve(run);
	status = check_policy(run);
	return status == EXIT_OK ? run_follow(&run->follow, serve_container, run) : status;
}

int cmd_run(int argc, char **argv)
{
	struct run run = {.supervisor = {.log_path = "-", .netns_fd = -1, .root_wall = true},
			  .follow.found = CONTAINER_NONE};
	int status = run_parse_options(&run, argc, argv);

	if (status >= 0)
		return status;
	status = serve_all(&run);
	ready_free(run.supervisor.ready);
	forget_bottle(&run);
	container_clear(&run.follow.found);
	record_free(run.record);
	free(run.ca_directory);
	return status;
}
