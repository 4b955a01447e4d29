// SPDX-License-Identifier: BSD-2-Clause
/* Start, stop and the order of both. The wall is there before anything is led to us, and goes last:
 * whatever fails on the way, the bottle is refused and never let through. Nothing from the network is
 * parsed here; what the worker says is judged in rpc.c and ledger.c. */
#include "supervisor_private.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "background.h"
#include "cgroup.h"
#include "descriptor.h"
#include "exit_status.h"

/* More than the worker's own STOP_GRACE_S, so that it ends by itself where it can. */
#define STOP_GRACE_MS 5000

void supervisor_event_free(struct event *event)
{
	if (event)
		event_free(event);
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

/* "to PATH" or "from outside to PATH"; '@' begins an abstract name. NULL for other denials. */
static const char *unix_detail(const struct egress_denial *denial, char *text, size_t size)
{
	const struct egress_unix_denial *event = (const void *)denial;
	bool inbound = denial->hook == EGRESS_HOOK_UNIX_IN;

	if (!inbound && denial->hook != EGRESS_HOOK_UNIX_OUT)
		return NULL;
	snprintf(text, size, "%s%s%.*s", inbound ? "from outside to " : "to ",
		 event->path[0] ? "" : "@", (int)sizeof(event->path) - 1,
		 event->path[0] ? event->path : event->path + 1);
	return text;
}

/* The reason comes from a ring that root in a shared namespace might write; what is none is shown
 * as internal. */
static void log_denial(void *context, const struct egress_denial *denial)
{
	struct supervisor *s = context;
	char text[160];
	const char *socket = unix_detail(denial, text, sizeof(text));
	const struct access_record record = {
		.source = "kernel",
		.process = denial->process.tgid ? &denial->process : NULL,
		.host = ledger_name(s->ledger, denial->host_id),
		.address = socket ? NULL : &denial->destination,
		.port = denial->destination_port,
		.protocol = socket ? "unix" : protocol_text(denial->protocol),
		.detail = socket,
		.reason = denial->reason < EGRESS_REASON_COUNT ? denial->reason : EGRESS_INTERNAL,
	};

	/* The test's own attempts would stand in the log as the bottle's. */
	if (s->self_test && self_test_owns(s->self_test, denial))
		return;
	access_log_write(s->log, &record);
}

static uint64_t lost_denials(const struct supervisor *s)
{
	uint64_t lost;

	return kernel_read_counter(s->kernel, EGRESS_COUNTER_LOST, &lost) < 0 ? s->denials_lost : lost;
}

/* As kernel_read_denials(). A ring that was full is read in several full rounds, so that it is enough to
 * look behind those for what it had no room for: who reads the log alone is to know of a gap. */
static int read_denials(struct supervisor *s)
{
	int count = kernel_read_denials(s->kernel, log_denial, s);
	uint64_t lost = count == KERNEL_DENIALS_AT_ONCE ? lost_denials(s) : s->denials_lost;

	if (lost > s->denials_lost)
		access_log_missed(s->log, "kernel", lost - s->denials_lost);
	s->denials_lost = lost;
	return count;
}

/* An unreadable ring is not watched any more: the refusals go on, and the loop must not spin. */
static void on_denials(evutil_socket_t fd, short what, void *context)
{
	struct supervisor *s = context;

	(void)fd;
	(void)what;
	if (read_denials(s) < 0)
		event_del(s->denials);
}

/* What is in the ring buffer, and not what may come while we read. */
static void log_last_denials(struct supervisor *s)
{
	const size_t most = EGRESS_RING_SIZE / sizeof(struct egress_denial) / KERNEL_DENIALS_AT_ONCE;

	for (size_t i = 0; i <= most; i++)
		if (read_denials(s) <= 0)
			return;
}

/* ---- start -------------------------------------------------------------------------------------- */

/* A FIFO for reading, too: then it opens without a reader, and keeps 64 KiB for one that comes. By a
 * descriptor of its own, for the other one is the workers', too: what all wrote is not for them to read. */
static int open_log_file(struct supervisor *s, struct error *error)
{
	const char *path = s->options.log_path;
	const int flags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	struct stat status;
	bool fifo = stat(path, &status) == 0 && S_ISFIFO(status.st_mode);
	int reading = fifo ? open(path, flags | O_RDONLY) : -1;
	int fd = open(path, flags | O_WRONLY | O_CREAT | O_APPEND, 0640);

	if (fd < 0) {
		error_set(error, "cannot open the log %s: %s", path, strerror(errno));
		descriptor_close(&reading);
		return -1;
	}
	descriptor_close(&s->log_reading_fd);
	s->log_reading_fd = reading;
	return fd;
}

/* A pipe is opened once more, without blocking: workers have no right to do that, and one of several that
 * asks first whether there is room may find that another has taken it since. Else -1. */
static int reopen_stdout(void)
{
	struct stat status;

	if (fstat(STDOUT_FILENO, &status) < 0 || !S_ISFIFO(status.st_mode))
		return -1;
	return open("/proc/self/fd/1", O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
}

/* Standard output is the caller's, and not closed. */
static int open_log(struct supervisor *s, struct error *error)
{
	const char *path = s->options.log_path;

	s->log_fd = -1;
	if (path && strcmp(path, "-") == 0) {
		s->log_fd = reopen_stdout();
		s->log_fd_owned = s->log_fd >= 0;
		if (!s->log_fd_owned)
			s->log_fd = STDOUT_FILENO;
	} else if (path) {
		s->log_fd = open_log_file(s, error);
		if (s->log_fd < 0)
			return -1;
		s->log_fd_owned = true;
	}
	s->log = access_log_new(s->log_fd, s->options.name, s->options.log_query);
	if (s->log && s->options.record_fd > 0)
		access_log_also(s->log, s->options.record_fd, ACCESS_LOG_ALSO_LIMIT);
	if (!s->log)
		return error_set(error, "out of memory");
	supervisor_open_feed(s);
	access_log_feed(s->log, s->kernel_feed);
	return 0;
}

/* Whoever rotates logs has moved the file away: logrotate(8). */
static void reopen_log(struct supervisor *s)
{
	struct error error = {0};
	const bool file = s->log_fd_owned && strcmp(s->options.log_path, "-") != 0;
	int fd = file ? open_log_file(s, &error) : -1;

	if (!file)
		return;
	if (fd < 0) {
		diag_error("%s; going on with the one that is open", error.text);
		return;
	}
	/* Under the same number, which the log's writer and the next worker know. */
	(void)dup3(fd, s->log_fd, O_CLOEXEC);
	for (unsigned i = 0; i < s->slot_count; i++)
		if (s->slots[i]->worker.pid > 0 && worker_send_log(&s->slots[i]->worker, fd) < 0)
			supervisor_kill_worker(s->slots[i], "takes no message");
	close(fd);
}

/* A CA in memory dies with us; clients have to trust the next one anew. */
static int open_authority(struct supervisor *s, struct error *error)
{
	char name[96];

	if (s->options.ca_directory)
		return cert_authority_load(s->options.ca_directory, &s->ca, error);
	snprintf(name, sizeof(name), "egress-bpf %s", s->options.name);
	return cert_authority_new(name, &s->ca, error);
}

/* True in doubt: it is the case with the stricter checks on loopback. */
static bool shares_our_netns(const struct supervisor *s)
{
	int ours = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	bool same = s->options.netns_fd < 0 || ours < 0 || netns_same(s->options.netns_fd, ours);

	if (ours >= 0)
		close(ours);
	return same;
}

/* How many names the bottle can come to know: those of the policy, those it may invent under
 * wildcards, some rounds of grants, our own. 0 is all: of true addresses a name may have any number. */
static uint32_t names_to_come(const struct config *config)
{
	size_t names = policy_host_count(config->policy) + config->dns.name_limit +
		       4 * (size_t)GRANTS_MAX;

	if (config->dns.mode == CONFIG_DNS_REAL || names > EGRESS_MAX_ADDRESSES)
		return 0;
	return (uint32_t)names;
}

/* The pid is for `status` and for messages about who holds the name; nothing is decided by it. */
static int prepare_kernel(struct supervisor *s, struct error *error)
{
	uint32_t level;

	s->wall = (struct kernel_open_options){
		.name = s->options.name,
		.cgroup_path = s->options.cgroup_path,
		.shared_netns = shares_our_netns(s),
		.spared_cgroup = s->options.spared_cgroup,
		.host_room = s->options.brief ? names_to_come(s->config) : 0,
		.published = s->options.published,
		.published_count = s->options.published_count,
		.supervisor_pid = (uint32_t)getpid(),
		.unix_wall = s->options.unix_wall,
		.unix_wall_required = s->options.unix_wall_required,
		.unix_broker = s->options.unix_broker,
		.let_in = s->options.let_in,
		.let_in_count = s->options.let_in_count,
		.root_wall = s->options.root_wall,
		.pid_namespace = cgroup_rights(s->options.cgroup_path).pid_namespace,
	};
	memcpy(s->wall.policy_hash, s->config->hash, sizeof(s->wall.policy_hash));
	if (cgroup_identity(s->options.cgroup_path, &s->cgroup_id, &level, error) < 0)
		return -1;
	return kernel_prepare(&s->wall, &s->kernel, error);
}

static int raise_kernel(struct supervisor *s, struct error *error)
{
	if (kernel_raise(s->kernel, &s->wall, error) < 0)
		return -1;
	if (s->options.root_wall && !kernel_root_walled(s->kernel) && !shares_our_netns(s) &&
	    cgroup_rights(s->options.cgroup_path).administers_us)
		diag_notice("the bottle may hold CAP_NET_ADMIN or CAP_SYS_ADMIN of this host, and this "
			    "kernel takes no programs at its security hooks: what root makes of them is "
			    "only noticed afterwards (docs/attacks.md)");
	if (kernel_unix_missing(s->kernel))
		diag_notice("unix sockets that are bound outside later are not refused ('--require unix' "
			    "would insist): %s", kernel_unix_missing(s->kernel));
	return 0;
}

/* Unmarked, nobody could reach us: connections to our ports pass only to our sockets. */
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

/* All that a worker is started with, which takes a third of the time of a start and goes on beside the
 * loading of programs. It can do no harm before they are in force: whoever reaches the sockets without
 * them has no flow's record, and is closed. */
static int open_sockets(struct supervisor *s, struct error *error)
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
	if (sockets.wall && prepare_kernel(s, error) < 0)
		return -1;
	/* In the bottle's own cgroup we are let out by the wall that stands only when it hears that it is
	 * us now, and not who made it. */
	s->raised = s->kernel && s->options.spared_cgroup && kernel_adopted(s->kernel);
	if (s->raised && raise_kernel(s, error) < 0)
		return -1;
	/* Of an adopted wall: what was led to that DNS port before still sends to it. */
	if (sockets.wall)
		kernel_get_ports(s->kernel, &proxy_port, &sockets.dns_port);
	if (sockets_open(&sockets, &s->sockets, error) < 0)
		return -1;
	if (s->sockets.reserve_result < 0)
		diag_warning("cannot reserve our ports in the bottle (%s): while we are away, its "
			     "programs can take them and hinder our return",
			     strerror(-s->sockets.reserve_result));
	return 0;
}

/* What was on its way to the sockets of the supervisor before us, or came when there were none, has left
 * records that nobody took. In a shared network namespace another process of the host gets such a port by
 * and by, and would be served as the bottle. Before the sockets are marked no SYN passes to them, so none
 * of these records is for them; when the port is a new one, there may be more until the wall knows it. */
static int open_ports(struct supervisor *s, struct error *error)
{
	uint16_t proxy, dns;

	kernel_get_ports(s->kernel, &proxy, &dns);
	/* Marked before the wall is told where they are: what is steered meets a socket that may
	 * take it. */
	if (kernel_forget_flows(s->kernel, error) < 0 || mark_listeners(s, error) < 0 ||
	    kernel_set_ports(s->kernel, s->sockets.proxy_port, s->sockets.dns_port, error) < 0)
		return -1;
	return proxy == 0 || proxy == s->sockets.proxy_port ? 0 : kernel_forget_flows(s->kernel, error);
}

/* It denies everything until it is told where the sockets are. */
static int raise_walls(struct supervisor *s, struct error *error)
{
	if (!s->kernel)
		return 0;
	if (!s->raised && raise_kernel(s, error) < 0)
		return -1;
	if (!shares_our_netns(s) &&
	    (tc_wall_open(s->kernel, s->options.netns_fd, &s->tc_wall, error) < 0 ||
	     tc_wall_watch(s->tc_wall, s->base, error) < 0))
		return -1;
	if (open_ports(s, error) < 0)
		return -1;
	return ledger_new(s->kernel, s->config, &s->ledger, error);
}

/* A second signal while we end changes nothing; supervisor_end_workers() has its own limit. */
static void on_signal(evutil_socket_t signal_number, short what, void *context)
{
	struct supervisor *s = context;

	(void)what;
	if (s->ending)
		return;
	if (signal_number != SIGHUP) {
		supervisor_quit(s);
		return;
	}
	reopen_log(s);
	if (s->control_missed)
		supervisor_open_control(s);
	supervisor_reload(s);
}

/* With `exec` they are the command's: Ctrl-C must not take the proxy away from it. */
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
	int fd;

	s->base = event_base_new();
	if (!s->base || !watch_signals(s))
		return error_set(error, "cannot make an event loop");
	if (!s->kernel)
		return 0;
	/* On a wall that stood already those before us are not ours to tell of. */
	s->denials_lost = lost_denials(s);
	fd = kernel_denials_fd(s->kernel);
	/* libevent takes -1, and waits for ever. */
	s->denials = fd < 0 ? NULL : event_new(s->base, fd, EV_READ | EV_PERSIST, on_denials, s);
	if (!s->denials || event_add(s->denials, NULL) < 0)
		return error_set(error, "cannot watch the kernel's denials");
	return 0;
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
	/* While the test is still there to know its own among them. */
	(void)kernel_read_denials(s->kernel, log_denial, s);
	result = s->stopping ? error_set(error, "told to end before the wall was tested")
			     : self_test_finish(s->self_test, &failures, error);
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

/* Secrets are read only after guard_memory(). */
int supervisor_open(const struct supervisor_options *options, struct supervisor **ret)
{
	struct supervisor *s = calloc(1, sizeof(*s));
	struct supervisor_load load = {.reread = true};
	struct error error = {0};

	if (!s) {
		diag_error("out of memory");
		return EXIT_FAILED;
	}
	guard_memory();
	/* Texts of large policies go back to the kernel when they are freed: malloc_trim(3) leaves the
	 * end of a thread's heap as it is, and the threshold would rise to their size. */
	(void)mallopt(M_MMAP_THRESHOLD, 1 << 20);
	/* OpenSSL's tables go with the process: to free them one by one takes a millisecond, for which
	 * exec's caller would wait. */
	(void)OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL);
	s->options = *options;
	s->log_fd = s->log_reading_fd = -1;
	s->uid_fd = -1;
	s->next_fd = -1;
	s->handover.ca_fd = -1;
	s->handover.shares_fd = s->handover.shares_reading_fd = -1;
	s->handover.program_fd = worker_open_program();
	load.options = &s->options;
	s->config = supervisor_load_config(&load);
	s->blob = load.blob;
	s->text = load.text;
	s->number = ++s->numbers;
	s->policy_since = time(NULL);
	if (!s->config) {
		supervisor_stop(s, false);
		return EXIT_USAGE;
	}
	if (open_log(s, &error) < 0 || open_authority(s, &error) < 0) {
		diag_error("%s", error.text);
		supervisor_stop(s, false);
		return EXIT_FAILED;
	}
	*ret = s;
	return EXIT_OK;
}

/* With one worker the start takes some 90, of the wall's programs, maps and links mostly; each further
 * worker three. What lacks one says so in words of its own, about the kernel mostly. */
#define DESCRIPTORS_NEEDED 128
#define DESCRIPTORS_OF_WORKER 4

static int check_descriptors(unsigned workers, struct error *error)
{
	size_t limit = descriptor_limit(), needed = DESCRIPTORS_NEEDED;

	if (workers > 1)
		needed += (size_t)DESCRIPTORS_OF_WORKER * (workers - 1);
	return limit >= needed ? 0
			       : error_set(error, "%zu files may be open at once (ulimit -n): at least "
						  "%zu are needed",
					   limit, needed);
}

/* A new wall is taken down again when the start fails, an adopted one stays: it protected before
 * us. */
int supervisor_start(struct supervisor **supervisor)
{
	struct supervisor *s = *supervisor;
	struct error error = {0};

	/* The worker before the test: half of what is tested is that DNS is answered. */
	if (check_descriptors(s->options.workers, &error) < 0 || open_sockets(s, &error) < 0 ||
	    open_events(s, &error) < 0 || supervisor_fill_handover(s, &error) < 0 ||
	    supervisor_start_workers(s, &error) < 0 || raise_walls(s, &error) < 0 ||
	    supervisor_await_workers(s, &error) < 0 || test_wall(s, &error) < 0) {
		diag_error("%s", error.text);
		supervisor_stop(s, s->kernel && !kernel_adopted(s->kernel) && !s->keep_wall);
		*supervisor = NULL;
		return EXIT_FAILED;
	}
	supervisor_open_approvals(s);
	supervisor_open_control(s);
	return EXIT_OK;
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

/* By its id: an engine may have made another one of the same path. There is no event for it: inotify
 * is silent about the end of a cgroup. */
void supervisor_look_after_bottle(struct supervisor *s)
{
	if (!s->options.end_with_cgroup || s->cgroup_id == 0 || s->bottle_gone ||
	    cgroup_exists(s->cgroup_id))
		return;
	s->bottle_gone = true;
	supervisor_quit(s);
}

bool supervisor_bottle_gone(const struct supervisor *s)
{
	return s->bottle_gone;
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

bool supervisor_unix_brokered(const struct supervisor *s)
{
	return s->kernel && kernel_unix_brokered(s->kernel);
}

uint16_t supervisor_proxy_port(const struct supervisor *s)
{
	return s->sockets.proxy_port;
}

static void free_slots(struct supervisor *s)
{
	for (unsigned i = 0; i < s->slot_count; i++) {
		feed_free(s->slots[i]->feed);
		pending_ids_free(s->slots[i]->ids);
		if (s->slots[i]->feed_fd >= 0)
			close(s->slots[i]->feed_fd);
		free(s->slots[i]);
	}
	s->slot_count = 0;
}

/* The workers end before what they use, the wall after everything that it refuses for. */
void supervisor_stop(struct supervisor *s, bool detach)
{
	struct error error = {0};

	if (!s)
		return;
	s->stopping = true;
	/* First of all: no load may end on its thread in what is freed below. */
	background_free(s->background);
	supervisor_end_workers(s, s->ready ? STOP_GRACE_MS : 0);
	if (s->kernel && s->log)
		log_last_denials(s);
	if (s->options.tell_refused)
		supervisor_tell_refused(s);
	/* After the last denials, which its followers are to have. */
	supervisor_close_control(s);
	supervisor_close_approvals(s);
	supervisor_event_free(s->denials);
	tc_wall_free(s->tc_wall);
	for (size_t i = 0; i < 3; i++)
		supervisor_event_free(s->signals[i]);
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
	free_slots(s);
	feed_free(s->kernel_feed);
	if (s->log_fd_owned)
		close(s->log_fd);
	shares_free(s->shares);
	descriptor_close(&s->handover.ca_fd);
	descriptor_close(&s->handover.program_fd);
	descriptor_close(&s->handover.shares_fd);
	descriptor_close(&s->handover.shares_reading_fd);
	descriptor_close(&s->uid_fd);
	descriptor_close(&s->log_reading_fd);
	cert_authority_free(s->ca);
	config_free(s->config);
	config_free(s->next);
	/* Policies as workers get them, with the secrets. */
	bytes_wipe(&s->blob);
	bytes_wipe(&s->next_blob);
	bytes_free(&s->text);
	bytes_free(&s->next_text);
	grants_free(&s->next_grants);
	free(s);
}
