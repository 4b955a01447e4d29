// SPDX-License-Identifier: BSD-2-Clause
/* The long form: a bottle made for the purpose, and a wire out of it that is watched. */
#include "self_test_private.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "cgroup.h"
#include "sockets.h"

#define SCRATCH "doctor."
#define CHILD_TIMEOUT_MS 10000

struct scratch {
	char name[64];
	char *root, *cgroup, *control; /* with the wall, and without */
	int home, inside, outside;     /* network namespaces */
	int inside_fd, outside_fd, sniffer;
	struct sockets sockets;
	struct kernel *kernel;
	struct attempt_place place;
	struct attempt_child free, held; /* without the wall, and with it */
	struct error *error;
};

/* ---- leftovers -------------------------------------------------------------------------------- */

static char *cgroup_path(const char *root, const char *name, const char *suffix)
{
	char *path;

	return asprintf(&path, "%s/egress-bpf-%s%s", root, name, suffix) < 0 ? NULL : path;
}

/* What cannot be removed is tried again by the next doctor. */
static void remove_cgroups(const char *root, const char *name)
{
	char *walled = cgroup_path(root, name, ""), *control = cgroup_path(root, name, "-control");

	if (walled)
		(void)!cgroup_destroy(walled, NULL);
	if (control)
		(void)!cgroup_destroy(control, NULL);
	free(walled);
	free(control);
}

/* Of doctors that were killed. A living one is told by its process. */
static void remove_leftovers(const char *root)
{
	char **names = kernel_list();

	for (size_t i = 0; names && names[i]; i++) {
		int pid;

		if (sscanf(names[i], SCRATCH "%d", &pid) == 1 && kill(pid, 0) < 0 &&
		    errno == ESRCH && kernel_detach(names[i], false, NULL) == 0)
			remove_cgroups(root, names[i]);
		free(names[i]);
	}
	free(names);
}

/* ---- building --------------------------------------------------------------------------------- */

static int failed(struct scratch *s, const char *what)
{
	return error_set(s->error, "%s: %s", what, strerror(errno));
}

static int our_netns(void)
{
	return open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
}

/* A new namespace, which this thread is then in. */
static int new_netns(struct scratch *s, int *ret)
{
	if (unshare(CLONE_NEWNET) < 0 || (*ret = our_netns()) < 0)
		return failed(s, "cannot make a network namespace");
	return link_up("lo", false) < 0 ? failed(s, "cannot bring lo up") : 0;
}

/* So that the ping socket of the control is had; the wall, and not this, must refuse it. */
static void allow_ping(void)
{
	int fd = open("/proc/sys/net/ipv4/ping_group_range", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	(void)!write(fd, "0 2147483647", 12);
	close(fd);
}

/* The outer namespace first: the inner one is then where the wire is made. */
static int make_wire(struct scratch *s)
{
	if (new_netns(s, &s->outside) < 0 || new_netns(s, &s->inside) < 0)
		return -1;
	allow_ping();
	if (wire_make(s->outside, s->error) < 0)
		return -1;
	if (setns(s->outside, CLONE_NEWNET) < 0)
		return failed(s, "cannot enter a network namespace");
	s->sniffer = wire_sniff(s->error);
	if (s->sniffer < 0)
		return -1;
	s->outside_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return s->outside_fd < 0 ? failed(s, "cannot make a socket") : 0;
}

static int make_namespaces(struct scratch *s)
{
	int result;

	s->home = our_netns();
	if (s->home < 0)
		return failed(s, "/proc/self/ns/net");
	result = make_wire(s);
	/* To go on from a scratch namespace would be to test the wrong one. */
	if (setns(s->home, CLONE_NEWNET) < 0)
		abort();
	return result;
}

/* Two, with the wall and without, for the same attempts. */
static int make_cgroups(struct scratch *s)
{
	s->cgroup = cgroup_path(s->root, s->name, "");
	s->control = cgroup_path(s->root, s->name, "-control");
	if (!s->cgroup || !s->control)
		return error_set(s->error, "out of memory");
	if (cgroup_create(s->cgroup, s->error) < 0)
		return -1;
	return cgroup_create(s->control, s->error);
}

/* Marked as a proxy's would be, or nothing would reach the responder. */
static int make_wall(struct scratch *s)
{
	const struct kernel_open_options options = {
		.name = s->name,
		.cgroup_path = s->cgroup,
		.supervisor_pid = (uint32_t)getpid(),
	};

	if (kernel_open(&options, &s->kernel, s->error) < 0)
		return -1;
	for (size_t i = 0; i < s->sockets.dns_count; i++)
		if (kernel_mark_listener(s->kernel, s->sockets.dns_udp[i], s->error) < 0)
			return -1;
	return kernel_set_ports(s->kernel, s->sockets.proxy_port, s->sockets.dns_port, s->error);
}

/* Documentation blocks (RFC 5737, RFC 3849) at the wire's other end: nobody real is asked. */
static int aim(struct scratch *s)
{
	s->place = (struct attempt_place){
		.port = 9,
		.proxy_port = s->sockets.proxy_port,
		.dns_name = "egress",
		.wire = WIRE_INSIDE,
		.outside_fd = s->outside_fd,
		.patience = 1,
	};
	if (!address_parse(WIRE_PEER, &s->place.v4) || !address_parse("2001:db8::9", &s->place.v6) ||
	    !address_parse("127.1.2.3", &s->place.loopback) ||
	    !address_parse(WIRE_ADDRESS, &s->place.address))
		return error_set(s->error, "internal: addresses");
	return 0;
}

/* Our end, not the bottle's. */
static int open_inside(struct scratch *s)
{
	const struct sockets_options sockets = {.netns_fd = -1, .wall = true};
	struct sockaddr_storage at;
	struct egress_address address;
	socklen_t length;

	if (sockets_open(&sockets, &s->sockets, s->error) < 0)
		return -1;
	if (!address_parse(WIRE_ADDRESS, &address))
		return error_set(s->error, "internal: addresses");
	length = address_to_sockaddr(&address, WIRE_PROBE_PORT, &at);
	s->inside_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (s->inside_fd < 0 || bind(s->inside_fd, (struct sockaddr *)&at, length) < 0)
		return failed(s, "cannot make a socket");
	return wire_settle(s->inside_fd, s->outside_fd, s->sniffer, s->error);
}

static int build(struct scratch *s)
{
	int result;

	snprintf(s->name, sizeof(s->name), SCRATCH "%d", (int)getpid());
	if (cgroup_root(&s->root, s->error) < 0)
		return -1;
	remove_leftovers(s->root);
	if (make_cgroups(s) < 0 || make_namespaces(s) < 0)
		return -1;
	if (setns(s->inside, CLONE_NEWNET) < 0)
		return failed(s, "cannot enter a network namespace");
	result = open_inside(s);
	if (setns(s->home, CLONE_NEWNET) < 0)
		abort();
	return result < 0 ? -1 : aim(s);
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

/* The wall goes last, after every process that it held. */
static int tear_down(struct scratch *s, struct error *error)
{
	int result = 0;

	(void)!attempt_child_finish(&s->free, NULL);
	(void)!attempt_child_finish(&s->held, NULL);
	sockets_close(&s->sockets);
	close_fd(s->sniffer);
	close_fd(s->inside_fd);
	close_fd(s->outside_fd);
	close_fd(s->inside);
	close_fd(s->outside);
	close_fd(s->home);
	kernel_close(s->kernel);
	if (kernel_detach(s->name, true, error) < 0)
		result = -1;
	if (s->cgroup && cgroup_destroy(s->cgroup, error) < 0)
		result = -1;
	if (s->control && cgroup_destroy(s->control, error) < 0)
		result = -1;
	free(s->root);
	free(s->cgroup);
	free(s->control);
	return result;
}

/* ---- running ----------------------------------------------------------------------------------- */

/* The responder's part: any question is answered, and the kernel must have brought it here. */
static void answer_dns(int fd)
{
	struct sockaddr_storage from;
	socklen_t length = sizeof(from);
	uint8_t message[512];
	ssize_t got = recvfrom(fd, message, sizeof(message), MSG_DONTWAIT, (void *)&from, &length);

	if (got < 12)
		return;
	message[2] |= 0x80; /* a response */
	message[7] = 1;	    /* with one answer, so it says */
	(void)!sendto(fd, message, (size_t)got, MSG_DONTWAIT, (void *)&from, length);
}

/* Answers DNS meanwhile: half of the test is that it comes to us. */
static int run_child(struct scratch *s, const char *cgroup, enum attempt_set set,
		     struct attempt_child *child)
{
	struct pollfd polls[1 + SOCKETS_MAX];
	nfds_t count = 1;

	if (attempt_child_start(cgroup, s->inside, &s->place, set, child, s->error) < 0)
		return -1;
	polls[0] = (struct pollfd){.fd = child->fd, .events = POLLIN};
	for (size_t i = 0; i < s->sockets.dns_count; i++)
		polls[count++] = (struct pollfd){.fd = s->sockets.dns_udp[i], .events = POLLIN};
	while (poll(polls, count, CHILD_TIMEOUT_MS) > 0) {
		for (nfds_t i = 1; i < count; i++)
			if (polls[i].revents & POLLIN)
				answer_dns(polls[i].fd);
		if (polls[0].revents && attempt_child_read(child))
			break;
	}
	return attempt_child_finish(child, s->error);
}

/* An attempt that is stopped with no wall as well says nothing about the wall. */
static void judge(const struct scratch *s, size_t i, struct self_test_item *item)
{
	int held = s->held.results[i], free_result = s->free.results[i];

	item->name = attempts[i].name;
	item->what = attempts[i].what;
	item->state = attempt_judge(&attempts[i], held);
	attempt_describe(&attempts[i], held, item->detail, sizeof(item->detail));
	if (item->state == SELF_TEST_STOPPED && !attempts[i].service && free_result != 0) {
		item->state = SELF_TEST_ABSENT;
		snprintf(item->detail, sizeof(item->detail),
			 "not here: fails without a wall, too (%s)", strerror(-free_result));
	}
}

static void add_item(struct self_test_report *report, const struct self_test_item *item)
{
	if (report->count == sizeof(report->items) / sizeof(report->items[0]))
		return;
	report->items[report->count++] = *item;
	report->failed += item->state == SELF_TEST_THROUGH;
}

/* No packet in the control either means that the sniffer saw nothing: then nothing is proven. */
static void judge_wire(struct self_test_report *report)
{
	struct self_test_item item = {.name = "wire", .what = "nothing arrived at the other end"};

	snprintf(item.detail, sizeof(item.detail), "%u packets; without the wall %u",
		 report->leaked_packets, report->control_packets);
	if (report->leaked_packets > 0 || report->control_packets == 0)
		item.state = SELF_TEST_THROUGH;
	add_item(report, &item);
}

static int judge_counters(const struct scratch *s, struct self_test_report *report)
{
	struct self_test_item item = {.name = "counters", .what = "the wall counted each refusal"};
	uint64_t counters[EGRESS_COUNTER_COUNT], refused = 0;
	size_t stopped = 0;

	if (kernel_read_counters(s->kernel, counters, s->error) < 0)
		return -1;
	for (size_t i = 0; i < EGRESS_REASON_COUNT; i++)
		refused += counters[i];
	for (size_t i = 0; i < attempt_count; i++)
		stopped += report->items[i].state == SELF_TEST_STOPPED && !attempts[i].service;
	snprintf(item.detail, sizeof(item.detail), "%zu stopped, %llu counted", stopped,
		 (unsigned long long)refused);
	item.state = refused < stopped ? SELF_TEST_THROUGH : SELF_TEST_STOPPED;
	add_item(report, &item);
	return 0;
}

/* Once without the wall, to show that the attempts are real; then with it. */
static int test(struct scratch *s, void (*with_wall)(void *context, const char *name),
		void *context, struct self_test_report *report)
{
	/* Forgets the probes that settled the wire. */
	(void)wire_count(s->sniffer);
	if (run_child(s, s->control, ATTEMPT_CONTROL, &s->free) < 0)
		return -1;
	report->control_packets = wire_count(s->sniffer);
	if (make_wall(s) < 0)
		return -1;
	if (with_wall)
		with_wall(context, s->name);
	if (run_child(s, s->cgroup, ATTEMPT_ALL, &s->held) < 0)
		return -1;
	report->leaked_packets = wire_count(s->sniffer);
	for (size_t i = 0; i < attempt_count; i++) {
		struct self_test_item item;

		judge(s, i, &item);
		add_item(report, &item);
	}
	judge_wire(report);
	return judge_counters(s, report);
}

/* Torn down whatever happened; `ret` is filled in only when all went well. */
int self_test_scratch(void (*with_wall)(void *context, const char *name), void *context,
		      struct self_test_report *ret, struct error *error)
{
	struct scratch s = {
		.home = -1,
		.inside = -1,
		.outside = -1,
		.inside_fd = -1,
		.outside_fd = -1,
		.sniffer = -1,
		.free = {.fd = -1},
		.held = {.fd = -1},
		.error = error,
	};
	struct self_test_report report = {.count = 0};
	struct timespec begin, end;
	int result;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	result = build(&s);
	if (result == 0)
		result = test(&s, with_wall, context, &report);
	if (tear_down(&s, error) < 0)
		result = -1;
	clock_gettime(CLOCK_MONOTONIC, &end);
	report.seconds = (double)(end.tv_sec - begin.tv_sec) +
			 (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
	if (result == 0)
		*ret = report;
	return result;
}
