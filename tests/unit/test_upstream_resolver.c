// SPDX-License-Identifier: BSD-2-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fake_dns.h"
#include "upstream_resolver.h"

static const struct fake_name names[] = {
	{.name = "both.example",
	 .a = {"203.0.113.1", "203.0.113.2", "203.0.113.3"},
	 .aaaa = {"2001:db8::1"},
	 .ttl = 300},
	{.name = "four.example", .a = {"203.0.113.4"}, .ttl = 20},
	{.name = "six.example", .aaaa = {"2001:db8::6"}, .ttl = 20},
	{.name = "volatile.example", .a = {"203.0.113.5"}, .ttl = 0},
	{.name = "slow6.example", .a = {"203.0.113.7"}, .silent_aaaa = true, .ttl = 20},
	{.name = "many.example",
	 .ttl = 20,
	 .a = {"203.0.113.1", "203.0.113.2", "203.0.113.3", "203.0.113.4", "203.0.113.5",
	       "203.0.113.6", "203.0.113.7", "203.0.113.8", "203.0.113.9", "203.0.113.10",
	       "203.0.113.11", "203.0.113.12", "203.0.113.13", "203.0.113.14", "203.0.113.15",
	       "203.0.113.16", "203.0.113.17", "203.0.113.18"}},
	{.name = "cut.example",
	 .truncated = true,
	 .ttl = 30,
	 .a = {"203.0.113.1", "203.0.113.2"},
	 .aaaa = {"2001:db8::1"}},
	{.name = "cutoff.example", .truncated = true, .silent = false, .ttl = 30},
	{.name = "empty.example"},
	{.name = "failing.example", .rcode = 2},
	{.name = "silent.example", .silent = true},
	{0},
};

static const char hosts_text[] = "# comment\n"
				 "127.0.0.1 localhost\n"
				 "::1 localhost ip6-localhost # more\n"
				 "  203.0.113.80\tWeb.Example   web # both\r\n"
				 "203.0.113.81 web.example\n"
				 "not-an-address four.example\n"
				 "\n"
				 "203.0.113.99\n"
				 "203.0.113.82 last.example";

static struct event_base *base;
static struct fake_dns dns;
static char hosts_path[] = "/tmp/test_hosts.XXXXXX";
static struct resolver_paths paths = {hosts_path, "/nonexistent/resolv.conf"};
static struct config config;
static char *servers[1] = {dns.text};

struct answer {
	int calls;
	size_t count;
	uint32_t ttl;
	char first[ADDRESS_TEXT_SIZE], all[1024], problem[64];
	struct resolver *ask_again;
};

static void on_done(void *context, const struct egress_address *addresses, size_t count,
		    uint32_t ttl, const char *problem)
{
	struct answer *answer = context;
	char text[ADDRESS_TEXT_SIZE];

	answer->calls++;
	answer->count = count;
	answer->ttl = ttl;
	answer->all[0] = 0;
	strcpy(answer->problem, problem ? problem : "");
	for (size_t i = 0; i < count; i++) {
		strcat(answer->all, address_format(&addresses[i], text));
		strcat(answer->all, " ");
	}
	if (answer->ask_again) {
		struct resolver *resolver = answer->ask_again;

		answer->ask_again = NULL;
		resolver_get(resolver, "volatile.example", on_done, answer);
	}
}

static void run_until(const int *calls, int wanted)
{
	/* Long enough for a loaded machine; a wait that ends early costs nothing. */
	for (int i = 0; i < 3000 && *calls < wanted; i++) {
		event_base_loop(base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
		usleep(1000);
	}
	assert_int_equal(*calls, wanted);
}

static struct resolver *new_resolver(void)
{
	struct resolver *resolver;
	struct error error = {0};

	assert_int_equal(resolver_new(base, &config, &paths, &resolver, &error), 0);
	dns.queries = 0;
	return resolver;
}

static void settle(void)
{
	for (int i = 0; i < 10; i++)
		event_base_loop(base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
}

static int setup(void **state)
{
	int fd = mkstemp(hosts_path);

	(void)state;
	base = event_base_new();
	fake_dns_start(&dns, base, names);
	config.upstream.resolvers = servers;
	config.upstream.resolver_count = 1;
	if (write(fd, hosts_text, sizeof(hosts_text) - 1) < 0)
		return -1;
	return close(fd);
}

static int teardown(void **state)
{
	(void)state;
	fake_dns_stop(&dns);
	event_base_free(base);
	return unlink(hosts_path);
}

static void ask(struct resolver *resolver, const char *name, struct answer *answer)
{
	memset(answer, 0, sizeof(*answer));
	resolver_get(resolver, name, on_done, answer);
	run_until(&answer->calls, 1);
}

static void assert_answer(struct resolver *resolver, const char *name, const char *all)
{
	struct answer answer;

	ask(resolver, name, &answer);
	assert_string_equal(answer.all, all);
}

static void hosts(void **state)
{
	struct hosts *none = hosts_load("/nonexistent/hosts");
	struct egress_address addresses[RESOLVER_MAX_ADDRESSES];
	struct resolver *resolver = new_resolver();
	struct answer answer = {0};

	(void)state;
	assert_answer(resolver, "localhost", "127.0.0.1 ::1 ");
	assert_answer(resolver, "web.example", "203.0.113.80 203.0.113.81 ");
	assert_answer(resolver, "WEB", "203.0.113.80 ");
	assert_answer(resolver, "last.example", "203.0.113.82 ");
	assert_answer(resolver, "203.0.113.9", "203.0.113.9 ");
	assert_answer(resolver, "2001:db8::9", "2001:db8::9 ");
	assert_null(resolver_get(resolver, "localhost", on_done, &answer)); /* at once */
	assert_int_equal(answer.calls, 1);
	assert_int_equal(dns.queries, 0);
	assert_answer(resolver, "four.example", "203.0.113.4 ");
	assert_int_equal(hosts_find(none, "localhost", addresses), 0);
	hosts_free(none);
	hosts_free(NULL);
	resolver_free(resolver);
	settle();
}

static void answers(void **state)
{
	struct resolver *resolver = new_resolver();
	struct answer answer;

	(void)state;
	assert_answer(resolver, "both.example", "2001:db8::1 203.0.113.1 203.0.113.2 203.0.113.3 ");
	assert_answer(resolver, "six.example", "2001:db8::6 ");
	ask(resolver, "many.example", &answer);
	assert_int_equal(answer.count, RESOLVER_MAX_ADDRESSES);
	ask(resolver, "four.example", &answer);
	assert_in_range(answer.ttl, 19, 20);
	ask(resolver, "both.example", &answer);
	assert_in_range(answer.ttl, 55, 60);
	ask(resolver, "empty.example", &answer);
	assert_int_equal(answer.count, 0);
	ask(resolver, "nowhere.example", &answer);
	assert_int_equal(answer.count, 0);
	assert_string_equal(answer.problem, "name does not exist");
	ask(resolver, "failing.example", &answer);
	assert_int_equal(answer.count, 0);
	assert_string_equal(dns.last, "failing.example"); /* no search domain was tried */
	resolver_free(resolver);
	settle();
}

static void cache(void **state)
{
	struct resolver *resolver = new_resolver();
	struct answer crowd[10] = {0}, answer;
	int calls = 0;

	(void)state;
	for (int i = 0; i < 10; i++)
		assert_non_null(resolver_get(resolver, "four.example", on_done, &crowd[i]));
	run_until(&crowd[9].calls, 1);
	for (int i = 0; i < 10; i++)
		calls += crowd[i].calls;
	assert_int_equal(calls, 10);
	assert_int_equal(dns.queries, 2);
	ask(resolver, "four.example", &answer);
	assert_int_equal(dns.queries, 2);
	ask(resolver, "volatile.example", &answer);
	ask(resolver, "volatile.example", &answer);
	assert_int_equal(dns.queries, 6); /* TTL 0 */
	ask(resolver, "nowhere.example", &answer);
	ask(resolver, "nowhere.example", &answer);
	assert_int_equal(dns.queries, 10);
	resolver_free(resolver);
	settle();
}

/* More names than are kept: the first is asked for again, the last is not. */
static void bounded(void **state)
{
	static struct fake_name many[1201];
	static char texts[1200][24];
	struct resolver *resolver = new_resolver();
	struct answer answer;

	(void)state;
	for (int i = 0; i < 1200; i++) {
		snprintf(texts[i], sizeof(texts[i]), "n%d.example", i);
		many[i] = (struct fake_name){.name = texts[i], .a = {"203.0.113.1"}, .ttl = 60};
	}
	dns.names = many;
	for (int i = 0; i < 1200; i++) {
		memset(&answer, 0, sizeof(answer));
		resolver_get(resolver, texts[i], on_done, &answer);
		while (!answer.calls)
			event_base_loop(base, EVLOOP_ONCE);
	}
	assert_int_equal(dns.queries, 2400);
	ask(resolver, "n1199.example", &answer);
	assert_int_equal(dns.queries, 2400);
	ask(resolver, "n0.example", &answer);
	assert_int_equal(dns.queries, 2402);
	dns.names = names;
	resolver_free(resolver);
	settle();
}

/* IPv4 does not wait for a lost IPv6 answer longer than 50 ms, and who asks after these not at all. */
static void lost_ipv6(void **state)
{
	struct resolver *resolver = new_resolver();
	struct answer first = {0}, second = {0}, third = {0};
	struct timespec from, to;
	double ms;

	(void)state;
	clock_gettime(CLOCK_MONOTONIC, &from);
	assert_non_null(resolver_get(resolver, "slow6.example", on_done, &first));
	run_until(&first.calls, 1);
	clock_gettime(CLOCK_MONOTONIC, &to);
	ms = (double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) / 1e6;
	assert_true(ms >= 45 && ms < 1500);
	assert_string_equal(first.all, "203.0.113.7 ");
	dns.queries = 0;
	assert_null(resolver_get(resolver, "slow6.example", on_done, &second));
	assert_int_equal(second.calls, 1);
	assert_string_equal(second.all, "203.0.113.7 ");
	assert_int_equal(second.ttl, 20);
	assert_int_equal(dns.queries, 0);
	/* Freed while queries are still out and somebody waits for them. */
	assert_non_null(resolver_get(resolver, "silent.example", on_done, &third));
	resolver_free(resolver);
	settle();
	assert_int_equal(third.calls, 0);
}

static void cancel(void **state)
{
	struct resolver *resolver = new_resolver();
	struct answer a = {0}, b = {0};
	struct resolver_wait *wait = resolver_get(resolver, "four.example", on_done, &a);

	(void)state;
	resolver_get(resolver, "four.example", on_done, &b);
	resolver_cancel(wait);
	resolver_cancel(NULL);
	run_until(&b.calls, 1);
	assert_int_equal(a.calls, 0);
	resolver_free(resolver);
	settle();
}

static void asks_again_inside(void **state)
{
	struct resolver *resolver = new_resolver();
	struct answer answer = {.ask_again = resolver};

	(void)state;
	resolver_get(resolver, "volatile.example", on_done, &answer);
	run_until(&answer.calls, 2);
	assert_string_equal(answer.all, "203.0.113.5 ");
	resolver_free(resolver);
	settle();
}

static void reconfigure(void **state)
{
	struct resolver *resolver = new_resolver();
	struct fake_dns other;
	struct answer answer = {0};
	struct error error = {0};
	char bad[] = "not a server";

	(void)state;
	fake_dns_start(&other, base, names);
	resolver_get(resolver, "four.example", on_done, &answer);
	servers[0] = bad;
	assert_int_equal(resolver_reconfigure(resolver, &config, &paths, &error), -1);
	assert_non_null(strstr(error.text, "not a server"));
	servers[0] = other.text;
	assert_int_equal(resolver_reconfigure(resolver, &config, &paths, &error), 0);
	run_until(&answer.calls, 1);
	assert_string_equal(answer.all, "203.0.113.4 ");
	assert_int_equal(other.queries, 2);
	ask(resolver, "both.example", &answer);
	assert_int_equal(other.queries, 4);
	servers[0] = dns.text;
	resolver_free(resolver);
	settle();
	fake_dns_stop(&other);
}

static void truncated_answers(void **state)
{
	struct resolver *resolver = new_resolver();
	struct resolver_wait *wait;
	struct answer answer;

	(void)state;
	/* Whole over TCP, and kept like any other. */
	ask(resolver, "cut.example", &answer);
	assert_string_equal(answer.all, "2001:db8::1 203.0.113.1 203.0.113.2 ");
	assert_in_range(answer.ttl, 29, 30);
	ask(resolver, "cut.example", &answer);
	assert_int_equal(dns.queries, 2);
	ask(resolver, "cutoff.example", &answer);
	assert_int_equal(answer.count, 0);
	assert_true(answer.problem[0]);
	/* Gone while a connection is under way. */
	answer = (struct answer){0};
	assert_int_equal(resolver_reconfigure(resolver, &config, &paths, &(struct error){0}), 0);
	wait = resolver_get(resolver, "cut.example", on_done, &answer);
	assert_non_null(wait);
	for (int i = 0; i < 20 && dns.queries < 6; i++) {
		event_base_loop(base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
		usleep(500);
	}
	resolver_free(resolver);
	settle();
	assert_int_equal(answer.calls, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(truncated_answers),
		cmocka_unit_test(hosts),
		cmocka_unit_test(answers),
		cmocka_unit_test(cache),
		cmocka_unit_test(bounded),
		cmocka_unit_test(lost_ipv6),
		cmocka_unit_test(cancel),
		cmocka_unit_test(asks_again_inside),
		cmocka_unit_test(reconfigure),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
