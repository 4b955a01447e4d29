// SPDX-License-Identifier: BSD-2-Clause
/* The ledger over a kernel map that is an array here: what is open must follow the policy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ledger.h"

#define FAKE_HOSTS 512

struct kernel {
	struct {
		struct kernel_host host;
		size_t port_count;
		uint16_t ports[EGRESS_MAX_PORTS];
	} hosts[FAKE_HOSTS];
	size_t count, cidr_count, cidr_ports, forgotten;
	/* dns.mode real: the last octet of 203.0.113.x tells the address */
	struct egress_target shared[256];
	bool broken;
};

int kernel_bind_host(struct kernel *kernel, const struct kernel_host *host, const uint16_t *ports,
		     size_t port_count, struct error *error)
{
	if (kernel->broken)
		return error_set(error, "broken");
	kernel->hosts[kernel->count].host = *host;
	kernel->count++;
	return kernel_set_host_ports(kernel, host, ports, port_count, error);
}

int kernel_set_host_ports(struct kernel *kernel, const struct kernel_host *host,
			  const uint16_t *ports, size_t port_count, struct error *error)
{
	(void)error;
	for (size_t i = 0; i < kernel->count; i++) {
		if (kernel->hosts[i].host.id != host->id)
			continue;
		kernel->hosts[i].port_count = port_count;
		memcpy(kernel->hosts[i].ports, ports, port_count * sizeof(*ports));
		return 0;
	}
	return -1;
}

int kernel_bind_shared(struct kernel *kernel, const struct egress_address *address,
		       const uint16_t *ports, size_t port_count, struct error *error)
{
	struct egress_target *target = &kernel->shared[address->bytes[15]];

	(void)error;
	for (size_t i = 0; i < port_count; i++)
		target->ports[target->port_count++] = ports[i];
	return 0;
}

int kernel_set_shared(struct kernel *kernel, const struct egress_address *address,
		      const uint16_t *ports, size_t port_count, struct error *error)
{
	struct egress_target *target = &kernel->shared[address->bytes[15]];

	(void)error;
	target->port_count = (uint16_t)port_count;
	memcpy(target->ports, ports, port_count * sizeof(*ports));
	return 0;
}

int kernel_forget_shared(struct kernel *kernel, struct error *error)
{
	(void)error;
	kernel->forgotten++;
	memset(kernel->shared, 0, sizeof(kernel->shared));
	return 0;
}

int kernel_each_host(const struct kernel *kernel,
		     int (*each)(void *context, const struct kernel_host *host), void *context)
{
	/* in no order: backwards */
	for (size_t i = kernel->count; i-- > 0;) {
		if (each(context, &kernel->hosts[i].host) != 0)
			return -1;
	}
	return 0;
}

int kernel_set_cidrs(struct kernel *kernel, const struct egress_cidr_key *keys,
		     const struct egress_target *targets, size_t count, struct error *error)
{
	(void)keys, (void)error;
	kernel->cidr_count = count;
	kernel->cidr_ports = 0;
	for (size_t i = 0; i < count; i++)
		kernel->cidr_ports += targets[i].port_count;
	return 0;
}

static struct config *config_of(const char *text)
{
	const struct config_source source = {"test.yaml", span_from(text)};
	struct diag_list errors = {0};
	struct config *config = config_parse(&source, 1, &errors);

	diag_list_print(&errors);
	diag_list_free(&errors);
	assert_non_null(config);
	return config;
}

static struct ledger *ledger_of(struct kernel *kernel, const struct config *config)
{
	struct ledger *ledger = NULL;
	struct error error = {0};

	assert_int_equal(ledger_new(kernel, config, &ledger, &error), 0);
	return ledger;
}

static struct rpc_host bound(struct ledger *ledger, const char *name)
{
	struct rpc_host host;

	ledger_bind_name(ledger, name, &host);
	return host;
}

static const char two_hosts[] = "routes:\n"
				"  - host: a.test\n    ports: [443]\n"
				"  - host: '*.w.test'\n    ports: [443, 8443]\n"
				"dns: {name_limit: 3}\n";

static void binds_what_is_allowed(void **state)
{
	struct kernel kernel = {0};
	struct config *config = config_of(two_hosts);
	struct ledger *ledger = ledger_of(&kernel, config);
	struct rpc_host first = bound(ledger, "a.test"), again = bound(ledger, "a.test"), other;

	(void)state;
	assert_int_equal(first.reason, EGRESS_ALLOWED);
	assert_int_equal(address_to_v4(&first.address), 0xc6120001);
	assert_memory_equal(&first, &again, sizeof(first));
	assert_int_equal(kernel.count, 1);
	assert_int_equal(kernel.hosts[0].port_count, 1);
	ledger_bind_name(ledger, "b.test", &other);
	assert_int_equal(other.reason, EGRESS_HOST_NOT_ALLOWED);
	assert_string_equal(ledger_name(ledger, first.id), "a.test");
	assert_null(ledger_name(ledger, 2));
	assert_null(ledger_name(ledger, 0));
	ledger_free(ledger);
	config_free(config);
}

static void limits_made_up_names_only(void **state)
{
	struct kernel kernel = {0};
	struct config *config = config_of(two_hosts);
	struct ledger *ledger = ledger_of(&kernel, config);
	char name[32];

	(void)state;
	for (int i = 0; i < 5; i++) {
		snprintf(name, sizeof(name), "n%d.w.test", i);
		assert_int_equal(bound(ledger, name).reason, i < 3 ? EGRESS_ALLOWED : EGRESS_LIMIT);
	}
	assert_int_equal(bound(ledger, "a.test").reason, EGRESS_ALLOWED);
	assert_int_equal(kernel.count, 4);
	ledger_free(ledger);
	config_free(config);
}

/* The proxy's own name: one port, whatever the routes say, and none of the bottle's names used up. */
static void own_pages_need_no_route(void **state)
{
	struct kernel kernel = {0};
	struct config *config = config_of("{routes: [{host: '*.local', ports: [81]}], dns: "
					  "{name_limit: 1}}");
	struct config *next = config_of("routes: []");
	struct ledger *ledger = ledger_of(&kernel, config);
	struct rpc_host own = bound(ledger, POLICY_LOCAL_HOST);
	struct error error = {0};

	(void)state;
	assert_int_equal(own.reason, EGRESS_ALLOWED);
	assert_int_equal(bound(ledger, "a.local").reason, EGRESS_ALLOWED);
	assert_int_equal(ledger_restrict(ledger, next, &error), 0);
	assert_int_equal(ledger_open(ledger, next, &error), 0);
	assert_int_equal(kernel.hosts[0].port_count, 1);
	assert_int_equal(kernel.hosts[0].ports[0], 80);
	assert_int_equal(kernel.hosts[1].port_count, 0);
	assert_int_equal(bound(ledger, POLICY_LOCAL_HOST).id, own.id);
	assert_int_equal(bound(ledger, "x" POLICY_LOCAL_HOST).reason, EGRESS_HOST_NOT_ALLOWED);
	assert_int_equal(bound(ledger, "x." POLICY_LOCAL_HOST).reason, EGRESS_HOST_NOT_ALLOWED);
	ledger_free(ledger);
	config_free(next);
	config_free(config);
}

static void reload_closes_then_opens(void **state)
{
	struct kernel kernel = {0};
	struct config *config = config_of(two_hosts);
	struct config *next = config_of("routes: [{host: b.test}, {host: 'x.w.test', ports: [8443]}]");
	struct ledger *ledger = ledger_of(&kernel, config);
	struct error error = {0};

	(void)state;
	bound(ledger, "a.test");
	bound(ledger, "x.w.test");
	assert_int_equal(ledger_restrict(ledger, next, &error), 0);
	assert_int_equal(kernel.hosts[0].port_count, 0);
	assert_int_equal(kernel.hosts[1].port_count, 1);
	assert_int_equal(kernel.hosts[1].ports[0], 8443);
	assert_int_equal(ledger_open(ledger, next, &error), 0);
	assert_int_equal(bound(ledger, "a.test").reason, EGRESS_HOST_NOT_ALLOWED);
	assert_int_equal(bound(ledger, "b.test").id, 3);
	/* and back: the address is the same as before */
	assert_int_equal(ledger_open(ledger, config, &error), 0);
	assert_int_equal(bound(ledger, "a.test").id, 1);
	assert_int_equal(kernel.hosts[0].port_count, 1);
	ledger_free(ledger);
	config_free(config);
	config_free(next);
}

static void adoption_keeps_addresses(void **state)
{
	struct kernel kernel = {0};
	struct config *config = config_of(two_hosts);
	struct config *less = config_of("routes: [{host: '*.w.test', ports: [443]}]");
	struct ledger *ledger = ledger_of(&kernel, config);
	uint32_t id;

	(void)state;
	bound(ledger, "a.test");
	id = bound(ledger, "x.w.test").id;
	ledger_free(ledger);
	ledger = ledger_of(&kernel, less);
	assert_int_equal(kernel.hosts[0].port_count, 0);
	assert_int_equal(bound(ledger, "x.w.test").id, id);
	assert_int_equal(bound(ledger, "y.w.test").id, 3);
	ledger_free(ledger);
	config_free(config);
	config_free(less);
}

static void exhausted_pool(void **state)
{
	struct kernel kernel = {0};
	struct config *config = config_of("routes: [{host: '*.w.test'}]\n"
					  "dns: {pool: 198.18.0.0/24}\n");
	struct ledger *ledger = ledger_of(&kernel, config);
	char name[32];
	int given = 0;

	(void)state;
	for (int i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "n%d.w.test", i);
		given += bound(ledger, name).reason == EGRESS_ALLOWED;
	}
	assert_int_equal(given, 254);
	ledger_free(ledger);
	config_free(config);
}

static void broken_kernel_refuses(void **state)
{
	struct kernel kernel = {.broken = true};
	struct config *config = config_of(two_hosts);
	struct ledger *ledger = ledger_of(&kernel, config);
	struct error error = {0};

	(void)state;
	assert_int_equal(bound(ledger, "a.test").reason, EGRESS_INTERNAL);
	/* What the kernel does not know was not given out, and hinders nothing later. */
	assert_int_equal(bound(ledger, "a.test").reason, EGRESS_INTERNAL);
	assert_int_equal(ledger_open(ledger, config, &error), 0);
	kernel.broken = false;
	assert_int_equal(bound(ledger, "a.test").reason, EGRESS_ALLOWED);
	assert_int_equal(kernel.count, 1);
	assert_int_equal(ledger_open(ledger, config, &error), 0);
	ledger_free(ledger);
	config_free(config);
}

static void between_the_steps_only_what_both_allow(void **state)
{
	struct kernel kernel = {0};
	struct config *old = config_of("routes:\n"
				       "  - {host: a.test, ports: [1, 2]}\n"
				       "  - {cidr: 192.0.2.0/24, ports: [1, 2], protocol: tcp}\n");
	struct config *next = config_of("routes:\n"
					"  - {host: a.test, ports: [2, 3]}\n"
					"  - {cidr: 192.0.2.0/24, ports: [2, 3, 4], protocol: tcp}\n"
					"  - {cidr: 198.51.100.0/24, ports: [9], direct: true}\n");
	struct ledger *ledger = ledger_of(&kernel, old);
	struct error error = {0};

	(void)state;
	assert_int_equal(bound(ledger, "a.test").reason, EGRESS_ALLOWED);
	assert_int_equal(kernel.cidr_ports, 2);
	assert_int_equal(ledger_restrict(ledger, next, &error), 0);
	assert_int_equal(kernel.hosts[0].port_count, 1);
	assert_int_equal(kernel.hosts[0].ports[0], 2);
	assert_int_equal(kernel.cidr_count, 1);
	assert_int_equal(kernel.cidr_ports, 1);
	assert_int_equal(ledger_open(ledger, next, &error), 0);
	assert_int_equal(kernel.hosts[0].port_count, 2);
	assert_int_equal(kernel.cidr_count, 2);
	assert_int_equal(kernel.cidr_ports, 4);
	ledger_free(ledger);
	config_free(old);
	config_free(next);
}

/* The real addresses of a policy that we do not know. */
static void adoption_forgets_shared_addresses(void **state)
{
	struct kernel kernel = {0};
	struct config *config = config_of(two_hosts);

	(void)state;
	ledger_free(ledger_of(&kernel, config));
	assert_int_equal(kernel.forgotten, 1);
	config_free(config);
}

static void give(struct ledger *ledger, const char *name, unsigned octet)
{
	struct egress_address address = address_from_v4(0xcb007100 + octet);
	struct rpc_host answer;

	ledger_bind_addresses(ledger, name, &address, 1, &answer);
	assert_int_equal(answer.reason, EGRESS_ALLOWED);
}

/* A program goes on with the address it was given, as far as the new policy allows. */
static void reload_keeps_real_addresses(void **state)
{
	static const char real[] = "dns: {mode: real}\nroutes:\n"
				   "  - {host: a.test, ports: [443]}\n"
				   "  - {host: b.test, ports: [8443]}\n"
				   "  - {host: c.test, ports: [80]}\n";
	static const char less[] = "dns: {mode: real}\nroutes:\n"
				   "  - {host: a.test, ports: [443, 80]}\n"
				   "  - {host: d.test, ports: [8443]}\n";
	struct kernel kernel = {0};
	struct config *old = config_of(real), *next = config_of(less), *other = config_of(two_hosts);
	struct ledger *ledger = ledger_of(&kernel, old);
	struct error error = {0};

	(void)state;
	give(ledger, "a.test", 1);
	give(ledger, "b.test", 1);
	give(ledger, "c.test", 2);
	for (int i = 0; i < 100; i++)
		give(ledger, "a.test", 3);
	assert_int_equal(ledger_restrict(ledger, next, &error), 0);
	assert_int_equal(kernel.shared[1].port_count, 1); /* b's is closed, a's not opened yet */
	assert_int_equal(kernel.shared[1].ports[0], 443);
	assert_int_equal(kernel.shared[2].port_count, 0);
	assert_int_equal(ledger_open(ledger, next, &error), 0);
	assert_int_equal(kernel.shared[1].port_count, 2);
	assert_int_equal(kernel.shared[2].port_count, 0);
	assert_int_equal(kernel.shared[3].port_count, 2);
	assert_int_equal(ledger_restrict(ledger, other, &error), 0);
	assert_int_equal(ledger_open(ledger, other, &error), 0);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(kernel.shared[i].port_count, 0);
	ledger_free(ledger);
	config_free(old);
	config_free(next);
	config_free(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(binds_what_is_allowed),
		cmocka_unit_test(limits_made_up_names_only),
		cmocka_unit_test(own_pages_need_no_route),
		cmocka_unit_test(reload_closes_then_opens),
		cmocka_unit_test(adoption_keeps_addresses),
		cmocka_unit_test(exhausted_pool),
		cmocka_unit_test(broken_kernel_refuses),
		cmocka_unit_test(between_the_steps_only_what_both_allow),
		cmocka_unit_test(adoption_forgets_shared_addresses),
		cmocka_unit_test(reload_keeps_real_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
