// SPDX-License-Identifier: BSD-2-Clause
/* Host names and their addresses, and how much of the policy the kernel wall has open. Only the
 * supervisor has one. A name is never given a second address and an address never a second name,
 * not over a reload nor a restart; where a map cannot be written, less is open than the policy
 * allows. */
#include "ledger.h"

#include <stdlib.h>
#include <string.h>

#include "ledger_shared.h"
#include "policy.h"

/* Ids are dense: host `id` is hosts[id - 1] and has address pool + id. An id without a name is one
 * that the kernel did not take; it stays unused. */
struct ledger {
	struct kernel *kernel;
	const struct config *config;
	struct kernel_host *hosts;
	size_t count, capacity;
	uint32_t *slots; /* open addressing: 0 free, else an id */
	size_t slot_count;
	size_t wildcard_names;
	struct ledger_shared *shared; /* what dns.mode real has given out */
};

static size_t slot_of(const struct ledger *ledger, const char *name)
{
	size_t mask = ledger->slot_count - 1;
	size_t at = bytes_hash(name, strlen(name)) & mask;

	while (ledger->slots[at] && strcmp(ledger->hosts[ledger->slots[at] - 1].name, name) != 0)
		at = (at + 1) & mask;
	return at;
}

/* At most half full, so that a search ends at a free slot soon. */
static bool grow_slots(struct ledger *ledger)
{
	size_t wanted = ledger->slot_count ? ledger->slot_count : 64;
	uint32_t *slots;

	while (wanted < 2 * (ledger->count + 1))
		wanted *= 2;
	if (wanted == ledger->slot_count)
		return true;
	slots = calloc(wanted, sizeof(*slots));
	if (!slots)
		return false;
	free(ledger->slots);
	ledger->slots = slots;
	ledger->slot_count = wanted;
	for (size_t i = 0; i < ledger->count; i++) {
		if (ledger->hosts[i].name[0])
			slots[slot_of(ledger, ledger->hosts[i].name)] = (uint32_t)i + 1;
	}
	return true;
}

/* Makes hosts[0 .. count) valid; new entries are nameless. */
static bool grow_hosts(struct ledger *ledger, size_t count)
{
	struct kernel_host *hosts;
	size_t capacity = ledger->capacity ? ledger->capacity : 64;

	while (capacity < count)
		capacity *= 2;
	if (capacity != ledger->capacity) {
		hosts = reallocarray(ledger->hosts, capacity, sizeof(*hosts));
		if (!hosts)
			return false;
		ledger->hosts = hosts;
		ledger->capacity = capacity;
	}
	if (count > ledger->count) {
		memset(&ledger->hosts[ledger->count], 0,
		       (count - ledger->count) * sizeof(*ledger->hosts));
		ledger->count = count;
	}
	return grow_slots(ledger);
}

/* grow_hosts() made room for it. */
static void remember(struct ledger *ledger, const struct kernel_host *host)
{
	ledger->hosts[host->id - 1] = *host;
	ledger->slots[slot_of(ledger, host->name)] = host->id;
}

/* Ids come from a map that others with CAP_BPF might write: a wild one must not make us allocate
 * for it. */
static int remember_each(void *context, const struct kernel_host *host)
{
	struct ledger *ledger = context;

	if (host->id == 0 || host->id > EGRESS_MAX_ADDRESSES || !grow_hosts(ledger, host->id))
		return -1;
	remember(ledger, host);
	return 0;
}

static const struct policy_host *policy_of(const struct config *config, const char *name)
{
	return name[0] ? policy_find_host(config->policy, name) : NULL;
}

/* `_egress.local` has the port of the proxy's own answers; a name without a route has none. */
static size_t ports_of(const struct config *config, const char *name,
		       uint16_t ports[EGRESS_MAX_PORTS])
{
	const struct policy_host *host = policy_of(config, name);

	if (policy_is_local(name)) {
		ports[0] = POLICY_LOCAL_PORT;
		return 1;
	}
	return host ? policy_host_ports(host, ports) : 0;
}

/* More ports than the map's entry has room for are refused, not opened: config checks the number
 * per route, and blocks that repeat may exceed it. */
static void add_port(struct egress_target *target, uint16_t port)
{
	for (size_t i = 0; i < target->port_count; i++) {
		if (target->ports[i] == port)
			return;
	}
	if (target->port_count < EGRESS_MAX_PORTS)
		target->ports[target->port_count++] = port;
}

/* Several routes may name the same block: one entry has the ports of all. */
static void fill_target(const struct policy *policy, const struct policy_cidr *block,
			struct egress_target *target)
{
	target->flags = block->direct ? EGRESS_TARGET_DIRECT : 0;
	for (size_t i = 0; i < policy_cidr_count(policy); i++) {
		const struct policy_cidr *other = policy_cidr_at(policy, i);

		if (other->direct != block->direct ||
		    memcmp(&other->cidr, &block->cidr, sizeof(block->cidr)) != 0)
			continue;
		for (size_t k = 0; k < other->port_count; k++)
			add_port(target, other->ports[k]);
	}
}

/* Leaves of `ports` what is among `others` too. Returns how many. */
static size_t keep_common(uint16_t *ports, size_t count, const uint16_t *others, size_t other_count)
{
	size_t kept = 0;

	for (size_t i = 0; i < count; i++) {
		for (size_t k = 0; k < other_count; k++) {
			if (ports[i] == others[k]) {
				ports[kept++] = ports[i];
				break;
			}
		}
	}
	return kept;
}

/* `also`: only what this policy allows as well; may be NULL. */
static void fill_common(const struct config *config, const struct config *also,
			const struct policy_cidr *block, struct egress_target *target)
{
	struct egress_target other = {0};

	fill_target(config->policy, block, target);
	if (!also)
		return;
	fill_target(also->policy, block, &other);
	target->port_count = (__u16)keep_common(target->ports, target->port_count, other.ports,
						other.port_count);
}

/* calloc of one more than needed: with no blocks NULL would look like no memory. */
static int set_cidrs(struct ledger *ledger, const struct config *config, const struct config *also,
		     struct error *error)
{
	size_t count = policy_cidr_count(config->policy), used = 0;
	struct egress_cidr_key *keys = calloc(count + 1, sizeof(*keys));
	struct egress_target *targets = calloc(count + 1, sizeof(*targets));
	int result = -1;

	if (!keys || !targets) {
		error_set(error, "out of memory");
		goto out;
	}
	for (size_t i = 0; i < count; i++) {
		const struct policy_cidr *cidr = policy_cidr_at(config->policy, i);

		targets[used] = (struct egress_target){0};
		fill_common(config, also, cidr, &targets[used]);
		if (targets[used].port_count == 0)
			continue;
		keys[used].prefix_length = cidr->cidr.prefix_length;
		keys[used++].address = cidr->cidr.address;
	}
	result = kernel_set_cidrs(ledger->kernel, keys, targets, used, error);
out:
	free(keys);
	free(targets);
	return result;
}

/* What is to be open at the addresses of dns.mode real. */
struct shared_ports {
	struct ledger *ledger;
	const struct config *config, *also; /* as of fill_common() */
	struct error *error;
};

static int set_shared_ports(void *context, const struct egress_address *address,
			    const char *const *names, size_t count)
{
	const struct shared_ports *s = context;
	struct egress_target all = {0};

	for (size_t i = 0; i < count; i++) {
		uint16_t ports[EGRESS_MAX_PORTS], others[EGRESS_MAX_PORTS] = {0};
		size_t left = ports_of(s->config, names[i], ports);

		if (s->also)
			left = keep_common(ports, left, others, ports_of(s->also, names[i], others));
		for (size_t k = 0; k < left; k++)
			add_port(&all, ports[k]);
	}
	return kernel_set_shared(s->ledger->kernel, address, all.ports, all.port_count, s->error);
}

static int set_shared(struct ledger *ledger, const struct config *config, const struct config *also,
		      struct error *error)
{
	struct shared_ports context = {ledger, config, also, error};

	if (ledger_shared_each(ledger->shared, set_shared_ports, &context) == 0)
		return 0;
	return error_set(error, "out of memory"); /* unless it is set already */
}

int ledger_restrict(struct ledger *ledger, const struct config *next, struct error *error)
{
	uint16_t ports[EGRESS_MAX_PORTS], after[EGRESS_MAX_PORTS];

	for (size_t i = 0; i < ledger->count; i++) {
		const struct kernel_host *host = &ledger->hosts[i];
		size_t old = ports_of(ledger->config, host->name, ports);
		size_t kept = keep_common(ports, old, after, ports_of(next, host->name, after));

		if (kept < old && kernel_set_host_ports(ledger->kernel, host, ports, kept, error) < 0)
			return -1;
	}
	if (next->dns.mode != CONFIG_DNS_REAL) {
		ledger_shared_clear(ledger->shared);
		if (kernel_forget_shared(ledger->kernel, error) < 0)
			return -1;
	}
	if (set_shared(ledger, next, ledger->config, error) < 0)
		return -1;
	return set_cidrs(ledger, next, ledger->config, error);
}

int ledger_open(struct ledger *ledger, const struct config *config, struct error *error)
{
	uint16_t ports[EGRESS_MAX_PORTS];

	ledger->config = config;
	ledger->wildcard_names = 0;
	for (size_t i = 0; i < ledger->count; i++) {
		const struct kernel_host *host = &ledger->hosts[i];
		const struct policy_host *rules = policy_of(config, host->name);

		if (!host->name[0])
			continue;
		if (!policy_is_local(host->name) && (!rules || policy_host_is_wildcard(rules)))
			ledger->wildcard_names++;
		if (kernel_set_host_ports(ledger->kernel, host, ports,
					  ports_of(config, host->name, ports), error) < 0)
			return -1;
	}
	if (set_shared(ledger, config, NULL, error) < 0)
		return -1;
	return set_cidrs(ledger, config, NULL, error);
}

int ledger_new(struct kernel *kernel, const struct config *config, struct ledger **ret,
	       struct error *error)
{
	struct ledger *ledger = calloc(1, sizeof(*ledger));

	if (!ledger)
		return error_set(error, "out of memory");
	ledger->kernel = kernel;
	ledger->config = config;
	ledger->shared = ledger_shared_new();
	if (!ledger->shared) {
		ledger_free(ledger);
		return error_set(error, "out of memory");
	}
	if (!grow_slots(ledger) || kernel_each_host(kernel, remember_each, ledger) != 0) {
		ledger_free(ledger);
		return error_set(error, "cannot read the pinned host map");
	}
	/* What an adopted map has open came from a policy that we do not know: shared addresses are
	 * asked for again, and ledger_open() writes every host anew, those without a route as removed. */
	if (kernel_forget_shared(kernel, error) < 0 || ledger_open(ledger, config, error) < 0) {
		ledger_free(ledger);
		return -1;
	}
	*ret = ledger;
	return 0;
}

void ledger_free(struct ledger *ledger)
{
	if (!ledger)
		return;
	ledger_shared_free(ledger->shared);
	free(ledger->hosts);
	free(ledger->slots);
	free(ledger);
}

/* `ret` is all zeros but for these: no address leaks with a refusal. */
static void refuse(struct rpc_host *ret, const char *name, enum egress_reason reason)
{
	memset(ret, 0, sizeof(*ret));
	memccpy(ret->name, name, '\0', sizeof(ret->name) - 1);
	ret->reason = reason;
}

static void answer(struct rpc_host *ret, const struct kernel_host *host)
{
	memset(ret, 0, sizeof(*ret));
	ret->reason = EGRESS_ALLOWED;
	ret->id = host->id;
	ret->address = host->address;
	memcpy(ret->name, host->name, sizeof(ret->name));
}

/* The address of a new host: the pool's first plus the id. False when the pool is exhausted. */
static bool next_host(const struct ledger *ledger, const char *name, struct kernel_host *ret)
{
	const struct cidr *pool = &ledger->config->dns.pool;
	uint64_t size = 1ull << (128 - pool->prefix_length);
	uint64_t id = ledger->count + 1;

	if (id >= size - 1 || id > EGRESS_MAX_ADDRESSES - 1)
		return false;
	memset(ret, 0, sizeof(*ret));
	ret->id = (uint32_t)id;
	ret->address = address_from_v4(address_to_v4(&pool->address) + ret->id);
	memccpy(ret->name, name, '\0', sizeof(ret->name) - 1);
	return true;
}

/* The worker may be in the bottle's hands: whatever it asks for, a name gets an address only by the
 * policy that is in force here. */
void ledger_bind_name(struct ledger *ledger, const char *name, struct rpc_host *ret)
{
	uint16_t ports[EGRESS_MAX_PORTS];
	const struct policy_host *rules = policy_of(ledger->config, name);
	uint32_t id = ledger->slots[slot_of(ledger, name)];
	struct kernel_host host;
	bool wildcard;

	if (!rules && !policy_is_local(name)) {
		refuse(ret, name, EGRESS_HOST_NOT_ALLOWED);
		return;
	}
	if (id) {
		answer(ret, &ledger->hosts[id - 1]);
		return;
	}
	/* Only a wildcard lets the bottle invent names, so only these count against the limit. */
	wildcard = !policy_is_local(name) && policy_host_is_wildcard(rules);
	if ((wildcard && ledger->wildcard_names >= ledger->config->dns.name_limit) ||
	    !next_host(ledger, name, &host)) {
		refuse(ret, name, EGRESS_LIMIT);
		return;
	}
	/* Known here only when the kernel knows it. An id that failed stays unused: its address may be
	 * taken. */
	if (!grow_hosts(ledger, host.id) ||
	    kernel_bind_host(ledger->kernel, &host, ports, ports_of(ledger->config, name, ports),
			     NULL) < 0) {
		refuse(ret, name, EGRESS_INTERNAL);
		return;
	}
	remember(ledger, &host);
	ledger->wildcard_names += wildcard;
	answer(ret, &host);
}

void ledger_bind_addresses(struct ledger *ledger, const char *name,
			   const struct egress_address *addresses, size_t count,
			   struct rpc_host *ret)
{
	uint16_t ports[EGRESS_MAX_PORTS];
	size_t port_count = ports_of(ledger->config, name, ports);

	refuse(ret, name, EGRESS_HOST_NOT_ALLOWED);
	if (ledger->config->dns.mode != CONFIG_DNS_REAL || port_count == 0)
		return;
	for (size_t i = 0; i < count; i++) {
		if (kernel_bind_shared(ledger->kernel, &addresses[i], ports, port_count, NULL) < 0) {
			ret->reason = EGRESS_LIMIT;
			return;
		}
		ledger_shared_add(ledger->shared, name, &addresses[i]);
	}
	ret->reason = EGRESS_ALLOWED;
}

void ledger_host_by_id(struct ledger *ledger, uint32_t id, struct rpc_host *ret)
{
	if (!ledger_name(ledger, id))
		refuse(ret, "", EGRESS_INTERNAL);
	else
		answer(ret, &ledger->hosts[id - 1]);
}

const char *ledger_name(const struct ledger *ledger, uint32_t id)
{
	if (id == 0 || id > ledger->count || !ledger->hosts[id - 1].name[0])
		return NULL;
	return ledger->hosts[id - 1].name;
}
