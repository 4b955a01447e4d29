// SPDX-License-Identifier: BSD-2-Clause
#include "supervisor.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "access_log.h"
#include "cgroup.h"
#include "exit_status.h"
#include "kernel.h"
#include "ledger.h"
#include "ready.h"
#include "rpc.h"
#include "self_test.h"
#include "sockets.h"
#include "tc_wall.h"
#include "worker.h"

/* Where there is no account of this name, this number: above what adduser(8) gives out, below
 * systemd's dynamic range, and not `nobody`, which others run as. */
#define WORKER_ACCOUNT "_egress-bpf"
#define WORKER_UID 64086
#define READY_TIMEOUT_MS 10000
#define STOP_GRACE_MS 5000
#define RESTART_MIN_MS 50
#define RESTART_MAX_MS 5000
#define NEXT_STARTS 2 /* so often must no worker start with a new policy before it is given up */
#define RESTART_FORGIVEN_S 10 /* a worker that lived this long did not fail at its start */

enum { WATCH_CALLS, WATCH_CONTROL, WATCH_COUNT };

struct supervisor {
	struct supervisor_options options;
	struct event_base *base;
	struct config *config; /* in force */
	struct config *next;   /* of a reload under way, not in force yet; NULL: none */
	struct bytes blob, next_blob; /* config_pack() of the two, for the worker */
	bool next_sent;		      /* the worker that runs now was given next_blob */
	unsigned next_starts;	      /* workers that ended before they were ready with it */
	struct cert_authority *ca;
	struct kernel *kernel;
	struct tc_wall *tc_wall; /* NULL in a shared network namespace */
	struct ledger *ledger;
	struct sockets sockets;
	struct access_log *log;
	int log_fd;
	bool log_fd_owned;
	struct server_handover handover;
	struct worker worker;
	bool ready, reload_again, stopping;
	struct timespec started;
	unsigned restart_ms;
	struct event *watches[WATCH_COUNT], *denials, *restart, *signals[3];
	struct self_test *self_test; /* while it is made */
	bool keep_wall;		     /* also when the start fails */
};

/* ---- calls of the worker -------------------------------------------------------------------- */

static void serve_bind_name(void *context, const char *name, struct rpc_host *ret)
{
	struct supervisor *s = context;

	ledger_bind_name(s->ledger, name, ret);
}

static void serve_host_by_id(void *context, uint32_t id, struct rpc_host *ret)
{
	struct supervisor *s = context;

	ledger_host_by_id(s->ledger, id, ret);
}

static void serve_bind_addresses(void *context, const char *name,
				 const struct egress_address *addresses, size_t count,
				 struct rpc_host *ret)
{
	struct supervisor *s = context;

	ledger_bind_addresses(s->ledger, name, addresses, count, ret);
}

static bool intercepts(const struct config *config, const char *name)
{
	const struct policy_host *host = config ? policy_find_host(config->policy, name) : NULL;
	uint16_t ports[EGRESS_MAX_PORTS];
	size_t count = host ? policy_host_ports(host, ports) : 0;

	for (size_t i = 0; i < count; i++)
		if (policy_host_mode(host, ports[i]) == POLICY_INTERCEPT)
			return true;
	return false;
}

/* Only names that the policy intercepts get a certificate: a worker that was taken over cannot
 * pose as anybody else towards the bottle. */
static int serve_sign_leaf(void *context, const char *host, struct span public_key,
			   struct bytes *ret_der)
{
	struct supervisor *s = context;
	struct error error = {0};

	if (!intercepts(s->config, host) && !intercepts(s->next, host))
		return -1;
	if (cert_authority_sign(s->ca, host, public_key, ret_der, &error) == 0)
		return 0;
	diag_error("%s", error.text);
	return -1;
}

static void answer_call(evutil_socket_t fd, short what, void *context)
{
	struct supervisor *s = context;
	const struct rpc_service service = {
		.bind_name = s->ledger ? serve_bind_name : NULL,
		.host_by_id = s->ledger ? serve_host_by_id : NULL,
		.bind_addresses = s->ledger ? serve_bind_addresses : NULL,
		.sign_leaf = serve_sign_leaf,
		.context = s,
	};

	(void)what;
	if (rpc_serve(fd, &service) == 1)
		return;
	/* Closed, or not one of our messages. Its end is noticed at control_fd. */
	event_del(s->watches[WATCH_CALLS]);
	kill(s->worker.pid, SIGKILL);
}

/* ---- policy ---------------------------------------------------------------------------------- */

/* Reads, validates and packs. Prints every error. NULL when there was one. */
static struct config *load_config(const struct supervisor_options *options, struct bytes *ret_blob)
{
	struct config_source sources[8];
	struct diag_list errors = {0};
	struct bytes text = {0}, blob = {0};
	struct error error = {0};
	struct config *config = NULL;
	size_t count = 0;

	if (options->policy_path) {
		if (config_read_file(options->policy_path, &text, &error) < 0) {
			diag_error("%s", error.text);
			return NULL;
		}
		sources[count++] = (struct config_source){options->policy_path, bytes_span(&text)};
	}
	for (size_t i = 0; i < options->extra_count && count < 8; i++)
		sources[count++] = options->extra[i];
	config = config_parse(sources, count, &errors);
	if (config && (!config_load_secrets(config, &errors) ||
		       !config_pack(sources, count, config, &blob))) {
		config_free(config);
		config = NULL;
	}
	diag_list_print(&errors);
	diag_list_free(&errors);
	bytes_free(&text);
	if (!config) {
		bytes_wipe(&blob);
		return NULL;
	}
	bytes_wipe(ret_blob);
	*ret_blob = blob;
	return config;
}

static void reload_ended(struct supervisor *s, const char *status)
{
	struct error error = {0};

	if (ready_say(s->options.ready, status, &error) < 0)
		diag_error("reload: %s", error.text);
}

/* The new policy is in force in the worker: open what it allows and forget the old one. */
static void commit_reload(struct supervisor *s)
{
	struct error error = {0};
	struct config *old = s->config;

	if (s->ledger && (ledger_open(s->ledger, s->next, &error) < 0 ||
			  kernel_set_policy_hash(s->kernel, s->next->hash, &error) < 0))
		diag_error("reload: %s; what could not be opened stays closed", error.text);
	s->config = s->next;
	s->next = NULL;
	config_free(old);
	bytes_wipe(&s->blob);
	s->blob = s->next_blob;
	s->next_blob = (struct bytes){0};
	diag_notice("policy reloaded");
	reload_ended(s, "serving; policy reloaded");
}

static void abandon_reload(struct supervisor *s, const char *why)
{
	struct error error = {0};

	diag_error("reload: %s; the old policy stays in force", why);
	if (s->ledger && ledger_open(s->ledger, s->config, &error) < 0)
		diag_error("reload: %s; what could not be opened stays closed", error.text);
	config_free(s->next);
	s->next = NULL;
	bytes_wipe(&s->next_blob);
	reload_ended(s, "serving; reload failed, the old policy is in force");
}

static void send_next(struct supervisor *s)
{
	s->next_sent = true;
	if (worker_send_config(&s->worker, bytes_span(&s->next_blob)) < 0)
		kill(s->worker.pid, SIGKILL);
}

static void reload(struct supervisor *s)
{
	struct error error = {0};

	if (s->next) { /* one at a time; the last word counts */
		s->reload_again = true;
		return;
	}
	ready_reloading(s->options.ready);
	s->next = load_config(&s->options, &s->next_blob);
	s->next_sent = false;
	s->next_starts = 0;
	if (!s->next) {
		diag_error("reload: the old policy stays in force");
		reload_ended(s, "serving; reload failed, the old policy is in force");
		return;
	}
	if (s->ledger && ledger_restrict(s->ledger, s->next, &error) < 0) {
		abandon_reload(s, error.text);
		return;
	}
	/* A worker that is starting was given the old one: it hears of this when it is ready. One
	 * that has not started yet begins with it. */
	if (s->ready)
		send_next(s);
}

static void reload_if_asked_again(struct supervisor *s)
{
	if (!s->reload_again || s->next)
		return;
	s->reload_again = false;
	reload(s);
}

/* ---- the worker's life ------------------------------------------------------------------------ */

static void free_event(struct event *event)
{
	if (event)
		event_free(event);
}

static void unwatch_worker(struct supervisor *s)
{
	for (size_t i = 0; i < WATCH_COUNT; i++) {
		free_event(s->watches[i]);
		s->watches[i] = NULL;
	}
}

static void restart_later(struct supervisor *s)
{
	struct timespec now;
	struct timeval delay;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (now.tv_sec - s->started.tv_sec >= RESTART_FORGIVEN_S)
		s->restart_ms = 0;
	delay = (struct timeval){s->restart_ms / 1000, s->restart_ms % 1000 * 1000};
	s->restart_ms = s->restart_ms ? 2 * s->restart_ms : RESTART_MIN_MS;
	if (s->restart_ms > RESTART_MAX_MS)
		s->restart_ms = RESTART_MAX_MS;
	evtimer_add(s->restart, &delay);
}

static void worker_ended(struct supervisor *s)
{
	diag_warning("the worker ended; connections wait for its successor, the wall stands");
	unwatch_worker(s);
	worker_stop(&s->worker, 0);
	if (!s->ready && s->next && s->next_sent && ++s->next_starts == NEXT_STARTS) {
		abandon_reload(s, "no worker starts with it");
		reload_if_asked_again(s);
	}
	s->ready = false;
	restart_later(s);
}

static void on_control(evutil_socket_t fd, short what, void *context)
{
	struct supervisor *s = context;
	struct rpc_control message;
	int passed = -1, result = rpc_control_receive(fd, &message, &passed);

	(void)what;
	if (passed >= 0)
		close(passed);
	if (result != 1) {
		if (result != -EAGAIN)
			worker_ended(s);
		return;
	}
	message.text[sizeof(message.text) - 1] = '\0';
	if (message.type == RPC_CONTROL_DONE) {
		s->ready = true;
		if (s->next && s->next_sent)
			commit_reload(s);
		else if (s->next)
			send_next(s);
	} else if (message.type == RPC_CONTROL_FAILED && s->next && s->next_sent) {
		abandon_reload(s, message.text);
	}
	reload_if_asked_again(s);
}

static bool watch_worker(struct supervisor *s)
{
	const struct {
		int fd;
		event_callback_fn call;
	} what[WATCH_COUNT] = {
		[WATCH_CALLS] = {s->worker.calls_fd, answer_call},
		[WATCH_CONTROL] = {s->worker.control_fd, on_control},
	};

	for (size_t i = 0; i < WATCH_COUNT; i++) {
		s->watches[i] = event_new(s->base, what[i].fd, EV_READ | EV_PERSIST, what[i].call, s);
		if (!s->watches[i] || event_add(s->watches[i], NULL) < 0)
			return false;
	}
	return true;
}

static void start_worker(struct supervisor *s)
{
	struct error error = {0};

	clock_gettime(CLOCK_MONOTONIC, &s->started);
	s->next_sent = s->next != NULL;
	if (worker_start(&s->handover, bytes_span(s->next ? &s->next_blob : &s->blob), &s->worker,
			 &error) < 0) {
		diag_error("%s", error.text);
		restart_later(s);
		return;
	}
	if (!watch_worker(s)) {
		unwatch_worker(s);
		worker_stop(&s->worker, 0);
		restart_later(s);
	}
}

static void on_restart(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	start_worker(context);
}

/* ---- what the kernel refused ------------------------------------------------------------------- */

static const char *protocol_text(uint8_t protocol)
{
	switch (protocol) {
	case 6:
		return "tcp";
	case 17:
		return "udp";
	case 1:
		return "icmp";
	case 58:
		return "icmp6";
	default:
		return "other";
	}
}

static void log_denial(void *context, const struct egress_denial *denial)
{
	struct supervisor *s = context;
	const struct access_record record = {
		.source = "kernel",
		.process = denial->process.tgid ? &denial->process : NULL,
		.host = ledger_name(s->ledger, denial->host_id),
		.address = &denial->destination,
		.port = denial->destination_port,
		.protocol = protocol_text(denial->protocol),
		.reason = denial->reason < EGRESS_REASON_COUNT ? denial->reason : EGRESS_INTERNAL,
	};

	if (s->self_test && self_test_owns(s->self_test, denial))
		return;
	access_log_write(s->log, &record);
}

static void on_denials(evutil_socket_t fd, short what, void *context)
{
	struct supervisor *s = context;

	(void)fd;
	(void)what;
	if (kernel_read_denials(s->kernel, log_denial, s) < 0)
		event_del(s->denials);
}

/* What is in the ring buffer, and not what may come while we read. */
static void log_last_denials(struct supervisor *s)
{
	const size_t most = EGRESS_RING_SIZE / sizeof(struct egress_denial) / KERNEL_DENIALS_AT_ONCE;

	for (size_t i = 0; i <= most; i++)
		if (kernel_read_denials(s->kernel, log_denial, s) <= 0)
			return;
}

/* ---- start -------------------------------------------------------------------------------------- */

static int open_log(struct supervisor *s, struct error *error)
{
	const char *path = s->options.log_path;

	s->log_fd = -1;
	if (path && strcmp(path, "-") == 0) {
		s->log_fd = STDOUT_FILENO;
	} else if (path) {
		s->log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0640);
		if (s->log_fd < 0)
			return error_set(error, "cannot open the log %s: %s", path, strerror(errno));
		s->log_fd_owned = true;
	}
	s->log = access_log_new(s->log_fd, s->options.name, s->options.log_query);
	return s->log ? 0 : error_set(error, "out of memory");
}

static int open_authority(struct supervisor *s, struct error *error)
{
	char name[96];

	if (s->options.ca_directory)
		return cert_authority_load(s->options.ca_directory, &s->ca, error);
	snprintf(name, sizeof(name), "egress-bpf %s", s->options.name);
	return cert_authority_new(name, &s->ca, error);
}

static bool shares_our_netns(const struct supervisor *s)
{
	int ours = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	bool same = s->options.netns_fd < 0 || ours < 0 || netns_same(s->options.netns_fd, ours);

	if (ours >= 0)
		close(ours);
	return same;
}

static int open_kernel(struct supervisor *s, struct error *error)
{
	struct kernel_open_options options = {
		.name = s->options.name,
		.cgroup_path = s->options.cgroup_path,
		.shared_netns = shares_our_netns(s),
		.published = s->options.published,
		.published_count = s->options.published_count,
		.supervisor_pid = (uint32_t)getpid(),
	};

	memcpy(options.policy_hash, s->config->hash, sizeof(options.policy_hash));
	return kernel_open(&options, &s->kernel, error);
}

static int mark_listeners(struct supervisor *s, struct error *error)
{
	for (size_t i = 0; i < s->sockets.proxy_count; i++) {
		if (kernel_mark_listener(s->kernel, s->sockets.proxy[i], error) < 0)
			return -1;
	}
	for (size_t i = 0; i < s->sockets.dns_count; i++) {
		if (kernel_mark_listener(s->kernel, s->sockets.dns_udp[i], error) < 0 ||
		    kernel_mark_listener(s->kernel, s->sockets.dns_tcp[i], error) < 0)
			return -1;
	}
	return 0;
}

/* The wall first: it denies everything until it is told where the sockets are. */
static int open_walls(struct supervisor *s, struct error *error)
{
	struct sockets_options sockets = {
		.netns_fd = s->options.netns_fd,
		.listen = s->options.listen,
		.wall = s->options.cgroup_path != NULL,
		.host_ports = s->options.host_ports,
		.host_port_count = s->options.host_port_count,
	};
	uint16_t proxy_port;

	sockets.reserve = sockets.wall && !shares_our_netns(s);
	if (sockets.wall) {
		if (open_kernel(s, error) < 0)
			return -1;
		if (!shares_our_netns(s) &&
		    tc_wall_open(s->kernel, s->options.netns_fd, &s->tc_wall, error) < 0)
			return -1;
		kernel_get_ports(s->kernel, &proxy_port, &sockets.dns_port);
	}
	if (sockets_open(&sockets, &s->sockets, error) < 0)
		return -1;
	if (s->sockets.reserve_result < 0)
		diag_warning("cannot reserve our ports in the bottle (%s): while we are away, its "
			     "programs can take them and hinder our return",
			     strerror(-s->sockets.reserve_result));
	if (!sockets.wall)
		return 0;
	if (mark_listeners(s, error) < 0)
		return -1;
	if (kernel_set_ports(s->kernel, s->sockets.proxy_port, s->sockets.dns_port, error) < 0)
		return -1;
	return ledger_new(s->kernel, s->config, &s->ledger, error);
}

static void fill_fds(int *to, const int *from, size_t count)
{
	for (size_t i = 0; i < SERVER_MAX_SOCKETS; i++)
		to[i] = i < count ? from[i] : -1;
}

static int fill_handover(struct supervisor *s, struct error *error)
{
	struct server_handover *h = &s->handover;
	struct bytes der = {0};
	const struct passwd *account = getpwnam(WORKER_ACCOUNT);

	fill_fds(h->proxy_fds, s->sockets.proxy, s->sockets.proxy_count);
	fill_fds(h->host_fds, s->sockets.host, s->sockets.host_count);
	for (size_t i = 0; i < s->sockets.host_count; i++)
		h->host_ports[i] = s->options.host_ports[i];
	fill_fds(h->dns_udp_fds, s->sockets.dns_udp, s->sockets.dns_count);
	fill_fds(h->dns_tcp_fds, s->sockets.dns_tcp, s->sockets.dns_count);
	h->flows_fd = s->kernel ? kernel_flows_fd(s->kernel) : -1;
	h->verdicts_fd = s->kernel ? kernel_verdicts_fd(s->kernel) : -1;
	h->host_verdicts_fd = s->kernel ? kernel_host_verdicts_fd(s->kernel) : -1;
	h->log_fd = s->log_fd;
	h->log_query = s->options.log_query;
	snprintf(h->bottle, sizeof(h->bottle), "%s", s->options.name);
	h->uid = account ? account->pw_uid : WORKER_UID;
	h->gid = account ? account->pw_gid : WORKER_UID;
	if (cert_authority_der(s->ca, &der) == 0)
		h->ca_fd = worker_memfd(bytes_span(&der));
	bytes_free(&der);
	return h->ca_fd >= 0 ? 0 : error_set(error, "cannot pass the CA certificate on");
}

static void on_signal(evutil_socket_t signal_number, short what, void *context)
{
	struct supervisor *s = context;

	(void)what;
	if (signal_number == SIGHUP)
		reload(s);
	else
		supervisor_quit(s);
}

static bool watch_signals(struct supervisor *s)
{
	static const int numbers[] = {SIGHUP, SIGTERM, SIGINT};

	for (size_t i = 0; i < 3 && !s->options.forward_signals; i++) {
		s->signals[i] = evsignal_new(s->base, numbers[i], on_signal, s);
		if (!s->signals[i] || event_add(s->signals[i], NULL) < 0)
			return false;
	}
	return true;
}

static int open_events(struct supervisor *s, struct error *error)
{
	s->base = event_base_new();
	s->restart = s->base ? evtimer_new(s->base, on_restart, s) : NULL;
	if (!s->restart || !watch_signals(s))
		return error_set(error, "cannot make an event loop");
	if (!s->kernel)
		return 0;
	if (s->tc_wall && tc_wall_watch(s->tc_wall, s->base, error) < 0)
		return -1;
	s->denials = event_new(s->base, kernel_denials_fd(s->kernel), EV_READ | EV_PERSIST,
			       on_denials, s);
	if (!s->denials || event_add(s->denials, NULL) < 0)
		return error_set(error, "cannot watch the kernel's denials");
	return 0;
}

static void on_deadline(evutil_socket_t fd, short what, void *context)
{
	bool *passed = context;

	(void)fd;
	(void)what;
	*passed = true;
}

/* Serves the worker's calls until it says that it is ready. */
static int wait_until_ready(struct supervisor *s, struct error *error)
{
	const struct timeval limit = {READY_TIMEOUT_MS / 1000, 0};
	bool passed = false;
	struct event *deadline = evtimer_new(s->base, on_deadline, &passed);

	if (!deadline || evtimer_add(deadline, &limit) < 0)
		passed = true;
	start_worker(s);
	while (!s->ready && s->worker.pid > 0 && !passed && !s->stopping) {
		if (event_base_loop(s->base, EVLOOP_ONCE) != 0)
			break;
	}
	free_event(deadline);
	if (s->stopping)
		return error_set(error, "told to end before the worker was ready");
	return s->ready ? 0 : error_set(error, "the worker did not become ready");
}

/* -1 also when the wall does not hold. It stays then, holes and all. It stays as well when the test
 * could not be made: else whoever kills its process in the bottle would have opened the wall. */
static int test_wall(struct supervisor *s, struct error *error)
{
	const struct self_test_options options = {
		.cgroup_path = s->options.cgroup_path,
		.netns_fd = s->options.netns_fd,
		.policy = s->config->policy,
		.pool = &s->config->dns.pool,
		.dns_name = s->config->dns.proxy_name,
	};
	struct diag_list failures = {0};
	int result;

	if (!s->kernel || !s->options.self_test)
		return 0;
	if (self_test_start(s->kernel, &options, &s->self_test, error) < 0)
		return -1;
	self_test_run(s->self_test, s->base);
	(void)kernel_read_denials(s->kernel, log_denial, s);
	result = self_test_finish(s->self_test, &failures, error);
	self_test_free(s->self_test);
	s->self_test = NULL;
	if (failures.count > 0)
		result = error_set(error, "the wall does not hold; not serving. It stays until "
				   "'egress-bpf detach %s'", s->options.name);
	s->keep_wall = result < 0;
	diag_list_print(&failures);
	diag_list_free(&failures);
	return result;
}

/* Nobody reads our memory: not a core file, not a debugger of another user. */
static void guard_memory(void)
{
	const struct rlimit none = {0, 0};

	(void)prctl(PR_SET_DUMPABLE, 0);
	(void)setrlimit(RLIMIT_CORE, &none);
}

int supervisor_start(const struct supervisor_options *options, struct supervisor **ret)
{
	struct supervisor *s = calloc(1, sizeof(*s));
	struct error error = {0};

	if (!s) {
		diag_error("out of memory");
		return EXIT_FAILED;
	}
	guard_memory();
	s->options = *options;
	s->log_fd = -1;
	s->worker.pid = -1;
	s->handover.ca_fd = -1;
	s->handover.program_fd = worker_open_program();
	s->config = load_config(options, &s->blob);
	if (!s->config) {
		supervisor_stop(s, false);
		return EXIT_USAGE;
	}
	if (open_log(s, &error) < 0 || open_authority(s, &error) < 0 ||
	    open_walls(s, &error) < 0 || open_events(s, &error) < 0)
		goto fail;
	if (fill_handover(s, &error) < 0 || wait_until_ready(s, &error) < 0 ||
	    test_wall(s, &error) < 0)
		goto fail;
	*ret = s;
	return EXIT_OK;
fail:
	diag_error("%s", error.text);
	supervisor_stop(s, s->kernel && !kernel_adopted(s->kernel) && !s->keep_wall);
	return EXIT_FAILED;
}

int supervisor_loop(struct supervisor *s)
{
	return s->stopping || event_base_dispatch(s->base) == 0 ? EXIT_OK : EXIT_FAILED;
}

/* The flag is for a signal that comes while supervisor_start() waits: the next loop would forget
 * that the last one was to break. */
void supervisor_quit(struct supervisor *s)
{
	s->stopping = true;
	event_base_loopbreak(s->base);
}

struct event_base *supervisor_base(struct supervisor *s)
{
	return s->base;
}

const struct cert_authority *supervisor_ca(const struct supervisor *s)
{
	return s->ca;
}

const struct config *supervisor_config(const struct supervisor *s)
{
	return s->config;
}

uint16_t supervisor_proxy_port(const struct supervisor *s)
{
	return s->sockets.proxy_port;
}

void supervisor_stop(struct supervisor *s, bool detach)
{
	struct error error = {0};

	if (!s)
		return;
	unwatch_worker(s);
	worker_stop(&s->worker, s->ready ? STOP_GRACE_MS : 0);
	if (s->kernel && s->log)
		log_last_denials(s);
	free_event(s->denials);
	free_event(s->restart);
	tc_wall_free(s->tc_wall);
	for (size_t i = 0; i < 3; i++)
		free_event(s->signals[i]);
	if (s->base)
		event_base_free(s->base);
	sockets_close(&s->sockets);
	ledger_free(s->ledger);
	if (s->kernel) {
		/* While the lock is ours: nobody else's wall is taken down instead. */
		if (detach && kernel_detach(s->options.name, true, &error) < 0)
			diag_error("%s", error.text);
		kernel_close(s->kernel);
	}
	access_log_free(s->log);
	if (s->log_fd_owned)
		close(s->log_fd);
	if (s->handover.ca_fd >= 0)
		close(s->handover.ca_fd);
	if (s->handover.program_fd >= 0)
		close(s->handover.program_fd);
	cert_authority_free(s->ca);
	config_free(s->config);
	config_free(s->next);
	bytes_wipe(&s->blob);
	bytes_wipe(&s->next_blob);
	free(s);
}
