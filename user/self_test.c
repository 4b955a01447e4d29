// SPDX-License-Identifier: BSD-2-Clause
/* The short form, in a bottle that is about to be served. */
#include "self_test_private.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* The attempts take milliseconds; a bottle that keeps the machine busy takes longer. */
#define TIMEOUT_S 5
#define DNS_PATIENCE 8 /* the bottle may be busy already */

struct self_test {
	struct kernel *kernel;
	struct attempt_place place;
	struct attempt_child child;
	uint32_t tgid; /* as the kernel names the process; 0: not known yet */
	uint64_t refused[EGRESS_REASON_COUNT]; /* on our account */
	uint64_t before; /* refusals of all reasons */
	bool ended, timed_out;
};

/* ---- what to aim at -------------------------------------------------------------------------- */

/* A test must not aim at what the policy allows: it would be let through, and look like a hole. */
static bool is_closed(const struct self_test_options *options, const struct egress_address *address,
		      uint16_t port)
{
	return !policy_find_cidr(options->policy, address, port) &&
	       !cidr_contains(options->pool, address);
}

/* Random last octets: nothing else in the bottle asks for these just now. */
static bool choose_addresses(const struct self_test_options *options, struct attempt_place *place)
{
	static const uint32_t nets[] = {0xc0000200, 0xc6336400, 0xcb007100}; /* RFC 5737 */
	static const uint8_t prefix6[4] = {0x20, 0x01, 0x0d, 0xb8};	     /* RFC 3849 */
	static const uint16_t ports[] = {9, 7, 19, 13, 1};
	uint8_t noise[16];

	if (getrandom(noise, sizeof(noise), 0) != (ssize_t)sizeof(noise))
		return false;
	memcpy(&place->v6, noise, sizeof(noise));
	memcpy(&place->v6, prefix6, sizeof(prefix6));
	place->loopback = address_from_v4(0x7f010000u | (uint32_t)noise[1] << 8 | noise[2]);
	for (size_t i = 0; i < sizeof(ports) / sizeof(ports[0]); i++) {
		for (size_t net = 0; net < sizeof(nets) / sizeof(nets[0]); net++) {
			place->v4 = address_from_v4(nets[net] | (1 + noise[0] % 254u));
			place->port = ports[i];
			if (is_closed(options, &place->v4, ports[i]) &&
			    is_closed(options, &place->v6, ports[i]))
				return true;
		}
	}
	return false;
}

/* ---- start ----------------------------------------------------------------------------------- */

/* Of all reasons: which one refuses is not what is tested. */
static int read_refusals(const struct kernel *kernel, uint64_t *ret, struct error *error)
{
	uint64_t counters[EGRESS_COUNTER_COUNT], sum = 0;

	if (kernel_read_counters(kernel, counters, error) < 0)
		return -1;
	for (int i = 0; i < EGRESS_REASON_COUNT; i++)
		sum += counters[i];
	*ret = sum;
	return 0;
}

/* The proxy's port is the wall's, so that squatting on it is tried, too. */
int self_test_start(struct kernel *kernel, const struct self_test_options *options,
		    struct self_test **ret, struct error *error)
{
	struct self_test *test = calloc(1, sizeof(*test));
	uint16_t dns_port;

	if (!test)
		return error_set(error, "out of memory");
	test->kernel = kernel;
	test->child.fd = -1;
	test->place.outside_fd = -1;
	test->place.patience = DNS_PATIENCE;
	kernel_get_ports(kernel, &test->place.proxy_port, &dns_port);
	if (options->dns_name && strlen(options->dns_name) < sizeof(test->place.dns_name))
		memcpy(test->place.dns_name, options->dns_name, strlen(options->dns_name) + 1);
	if (!choose_addresses(options, &test->place)) {
		error_set(error, "self-test: the policy allows every address that it could use; "
				 "--no-self-test leaves it out");
		goto fail;
	}
	if (read_refusals(kernel, &test->before, error) < 0 ||
	    attempt_child_start(options->cgroup_path, options->netns_fd, &test->place,
				ATTEMPT_BRIEF, &test->child, error) < 0)
		goto fail;
	*ret = test;
	return 0;
fail:
	free(test);
	return -1;
}

/* ---- what the kernel says meanwhile ----------------------------------------------------------- */

static bool same_address(const struct egress_address *a, const struct egress_address *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* The first attempts show under which number the kernel knows the process: in a pid namespace
 * that is another than ours. A packet's denial names no process: there its address is the mark. */
bool self_test_owns(struct self_test *test, const struct egress_denial *denial)
{
	const struct attempt_place *place = &test->place;

	if (!test->tgid && denial->destination_port == place->port &&
	    (same_address(&denial->destination, &place->v6) ||
	     same_address(&denial->destination, &place->v4)))
		test->tgid = denial->process.tgid;
	if ((!test->tgid || denial->process.tgid != test->tgid) &&
	    !same_address(&denial->destination, &place->loopback))
		return false;
	if (denial->reason < EGRESS_REASON_COUNT)
		test->refused[denial->reason]++;
	return true;
}

static void on_results(evutil_socket_t fd, short what, void *context)
{
	struct self_test *test = context;

	(void)fd;
	(void)what;
	test->ended = attempt_child_read(&test->child);
}

/* Without an end, a process that the bottle killed would hold the start for ever. */
static void on_deadline(evutil_socket_t fd, short what, void *context)
{
	struct self_test *test = context;

	(void)fd;
	(void)what;
	test->timed_out = true;
}

void self_test_run(struct self_test *test, struct event_base *base)
{
	const struct timeval limit = {TIMEOUT_S, 0};
	struct event *results = event_new(base, test->child.fd, EV_READ | EV_PERSIST, on_results,
					  test);
	struct event *deadline = evtimer_new(base, on_deadline, test);

	if (!results || !deadline || event_add(results, NULL) < 0 || event_add(deadline, &limit) < 0)
		test->timed_out = true;
	while (!test->ended && !test->timed_out) {
		if (event_base_loop(base, EVLOOP_ONCE) != 0 || event_base_got_break(base))
			break;
	}
	if (results)
		event_free(results);
	if (deadline)
		event_free(deadline);
}

/* ---- the end ---------------------------------------------------------------------------------- */

/* Returns how many refusals the wall must have counted. Services are no refusals, and are not
 * counted. */
static size_t judge(const struct self_test *test, struct diag_list *failures)
{
	char text[200];
	size_t stopped = 0;

	for (size_t i = 0; i < attempt_count; i++) {
		enum self_test_state state;

		if (!test->child.done[i])
			continue;
		state = attempt_judge(&attempts[i], test->child.results[i]);
		if (state == SELF_TEST_STOPPED && !attempts[i].service)
			stopped++;
		if (state != SELF_TEST_THROUGH)
			continue;
		attempt_describe(&attempts[i], test->child.results[i], text, sizeof(text));
		diag_list_add(failures, "self-test", 0, "%s (%s) %s", attempts[i].name,
			      attempts[i].what, text);
	}
	return stopped;
}

/* Something else on this machine may have refused in the wall's place. */
static int check_counters(const struct self_test *test, size_t stopped, struct diag_list *failures,
			  struct error *error)
{
	uint64_t after;

	if (read_refusals(test->kernel, &after, error) < 0)
		return -1;
	if (after - test->before < stopped)
		diag_list_add(failures, "self-test", 0,
			      "%zu attempts were refused, but the wall counted %llu of them", stopped,
			      (unsigned long long)(after - test->before));
	return 0;
}

/* The bottle's counters are shown to people: our attempts are no doing of the bottle's. */
static int forget(struct self_test *test, struct error *error)
{
	for (uint32_t i = 0; i < EGRESS_REASON_COUNT; i++)
		if (kernel_uncount(test->kernel, i, test->refused[i], error) < 0)
			return -1;
	if (kernel_uncount(test->kernel, EGRESS_COUNTER_DNS, test->child.queries, error) < 0)
		return -1;
	return kernel_uncount(test->kernel, EGRESS_COUNTER_LOOPBACK, test->child.loopbacks, error);
}

/* The child first: without its end nothing of what it said is known to be all. */
int self_test_finish(struct self_test *test, struct diag_list *failures, struct error *error)
{
	size_t stopped;

	if (attempt_child_finish(&test->child, error) < 0)
		return -1;
	stopped = judge(test, failures);
	if (check_counters(test, stopped, failures, error) < 0)
		return -1;
	return forget(test, error);
}

void self_test_free(struct self_test *test)
{
	if (!test)
		return;
	(void)!attempt_child_finish(&test->child, NULL);
	free(test);
}
