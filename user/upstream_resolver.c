// SPDX-License-Identifier: BSD-2-Clause
/* Names to addresses as the host itself would (hosts file, resolv.conf), by evdns. Many may wait
 * for one look-up. Answers are kept for their time at most, and never past TTL_LIMIT: an origin
 * that moves is followed. Nothing here judges addresses; upstream.c does, on those it dials. */
#include "upstream_resolver.h"

#include <event2/dns.h>
#include <event2/event_struct.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "clock.h"
#include "timeout.h"
#include "upstream_dns_tcp.h"

#define BUCKET_COUNT 512 /* a power of two */
/* Answers kept; a bottle can make up names only below wildcards. */
#define LOOKUP_LIMIT 1024
#define TTL_LIMIT 60 /* seconds */
/* For dns.mode real alone, where a TTL is passed on. */
#define HOSTS_TTL 60
#define RESOLUTION_DELAY_MS 50 /* RFC 8305, 3: how long IPv4 waits for IPv6 */

const struct resolver_paths resolver_system_paths = {"/etc/hosts", "/etc/resolv.conf"};

/* One question to evdns. It always calls back exactly once, also after a cancel and after its base
 * is gone; so the query outlives its lookup and is freed by the callback alone. */
struct query {
	struct lookup *lookup; /* NULL: nobody cares any more */
	struct evdns_request *request;
};

/* A ring of those who wait, so that one can leave whichever ring it is in. */
struct resolver_wait {
	struct resolver_wait *next, *previous;
	resolver_done_fn done;
	void *context;
};

struct answer {
	struct egress_address addresses[RESOLVER_MAX_ADDRESSES];
	size_t count;
};

enum family { V6, V4, FAMILY_COUNT };

/* A name that is being asked for (a query is not NULL) or an answer that is kept. */
struct lookup {
	struct resolver *resolver;
	struct lookup *next;          /* in its bucket */
	struct lookup *newer, *older; /* all of them */
	char *name;
	uint64_t hash;
	struct query *queries[FAMILY_COUNT];
	struct dns_tcp *whole[FAMILY_COUNT]; /* asks again over TCP what came truncated */
	struct answer answers[FAMILY_COUNT];
	int problem; /* DNS_ERR_* */
	uint32_t ttl;
	int64_t expires;
	struct event delay;
	struct resolver_wait waits;
};

struct resolver {
	struct event_base *base;
	struct evdns_base *dns;
	struct hosts *hosts;
	struct lookup *buckets[BUCKET_COUNT];
	struct lookup *newest, *oldest;
	size_t count;
};

/* ---- who waits ------------------------------------------------------------------------------ */

/* An empty ring leads to itself. */
static void ring_init(struct resolver_wait *ring)
{
	ring->next = ring->previous = ring;
}

static void ring_add(struct resolver_wait *ring, struct resolver_wait *wait)
{
	wait->next = ring;
	wait->previous = ring->previous;
	wait->previous->next = wait;
	ring->previous = wait;
}

static void ring_remove(struct resolver_wait *wait)
{
	wait->next->previous = wait->previous;
	wait->previous->next = wait->next;
}

static struct resolver_wait *ring_pop(struct resolver_wait *ring)
{
	struct resolver_wait *wait = ring->next;

	if (wait == ring)
		return NULL;
	ring->next = wait->next;
	wait->next->previous = ring;
	return wait;
}

/* Callbacks may add to the old ring while the new one is walked. */
static void ring_move(struct resolver_wait *from, struct resolver_wait *to)
{
	ring_init(to);
	if (from->next == from)
		return;
	*to = *from;
	to->next->previous = to;
	to->previous->next = to;
	ring_init(from);
}

void resolver_cancel(struct resolver_wait *wait)
{
	if (!wait)
		return;
	ring_remove(wait);
	free(wait);
}

/* ---- lookups -------------------------------------------------------------------------------- */

static bool is_pending(const struct lookup *lookup)
{
	return lookup->queries[V6] || lookup->queries[V4] || lookup->whole[V6] ||
	       lookup->whole[V4];
}

/* A look-up that could not be asked again after a reload waits for its timer with nothing pending, and
 * with waits that others hold. */
static bool is_wanted(const struct lookup *lookup)
{
	return is_pending(lookup) || lookup->waits.next != &lookup->waits;
}

static struct lookup **bucket(struct resolver *resolver, uint64_t hash)
{
	return &resolver->buckets[hash & (BUCKET_COUNT - 1)];
}

static struct lookup *find(struct resolver *resolver, const char *name, uint64_t hash)
{
	for (struct lookup *lookup = *bucket(resolver, hash); lookup; lookup = lookup->next)
		if (lookup->hash == hash && strcmp(lookup->name, name) == 0)
			return lookup;
	return NULL;
}

/* evdns calls back for a cancelled query as well: it finds no lookup and frees itself. */
static void abandon_queries(struct lookup *lookup)
{
	for (int family = 0; family < FAMILY_COUNT; family++) {
		struct query *query = lookup->queries[family];

		dns_tcp_cancel(lookup->whole[family]);
		lookup->whole[family] = NULL;
		if (!query)
			continue;
		query->lookup = NULL;
		lookup->queries[family] = NULL;
		evdns_cancel_request(lookup->resolver->dns, query->request);
	}
}

static void unlink_lookup(struct lookup *lookup)
{
	struct resolver *resolver = lookup->resolver;
	struct lookup **at = bucket(resolver, lookup->hash);

	while (*at != lookup)
		at = &(*at)->next;
	*at = lookup->next;
	*(lookup->newer ? &lookup->newer->older : &resolver->newest) = lookup->older;
	*(lookup->older ? &lookup->older->newer : &resolver->oldest) = lookup->newer;
	resolver->count--;
}

/* Only where nobody waits, or where nobody is to be told any more. */
static void drop(struct lookup *lookup)
{
	struct resolver_wait *wait;

	unlink_lookup(lookup);
	abandon_queries(lookup);
	event_del(&lookup->delay);
	while ((wait = ring_pop(&lookup->waits)))
		free(wait);
	free(lookup->name);
	free(lookup);
}

/* Keeps the number bounded by forgetting the oldest answer; those being asked for stay. */
static void make_room(struct resolver *resolver)
{
	struct lookup *lookup = resolver->oldest;

	if (resolver->count < LOOKUP_LIMIT)
		return;
	while (lookup && is_wanted(lookup))
		lookup = lookup->newer;
	if (lookup)
		drop(lookup);
}

static void on_delay(evutil_socket_t fd, short what, void *argument);

static struct lookup *add(struct resolver *resolver, const char *name, uint64_t hash)
{
	struct lookup *lookup;

	make_room(resolver);
	lookup = calloc(1, sizeof(*lookup));
	if (!lookup)
		return NULL;
	lookup->name = strdup(name);
	if (!lookup->name) {
		free(lookup);
		return NULL;
	}
	lookup->resolver = resolver;
	lookup->hash = hash;
	ring_init(&lookup->waits);
	evtimer_assign(&lookup->delay, resolver->base, on_delay, lookup);
	lookup->next = *bucket(resolver, hash);
	*bucket(resolver, hash) = lookup;
	lookup->older = resolver->newest;
	*(lookup->older ? &lookup->older->newer : &resolver->oldest) = lookup;
	resolver->newest = lookup;
	resolver->count++;
	return lookup;
}

/* ---- answers -------------------------------------------------------------------------------- */

/* IPv6, IPv4, IPv6, ... (RFC 8305, 4), at most RESOLVER_MAX_ADDRESSES of them. */
static size_t interleave(const struct answer *v6, const struct answer *v4,
			 struct egress_address *addresses)
{
	size_t count = 0;

	for (size_t i = 0; i < RESOLVER_MAX_ADDRESSES; i++) {
		if (i < v6->count && count < RESOLVER_MAX_ADDRESSES)
			addresses[count++] = v6->addresses[i];
		if (i < v4->count && count < RESOLVER_MAX_ADDRESSES)
			addresses[count++] = v4->addresses[i];
	}
	return count;
}

/* Tells all who wait. They may ask again, which may drop the lookup: it is not touched after. */
static void deliver(struct lookup *lookup)
{
	struct egress_address addresses[RESOLVER_MAX_ADDRESSES];
	size_t count = interleave(&lookup->answers[V6], &lookup->answers[V4], addresses);
	const char *problem =
		lookup->problem ? evdns_err_to_string(lookup->problem) : "the name has no address";
	uint32_t ttl = lookup->ttl;
	struct resolver_wait ring, *wait;

	ring_move(&lookup->waits, &ring);
	while ((wait = ring_pop(&ring))) {
		wait->done(wait->context, addresses, count, ttl, count ? NULL : problem);
		free(wait);
	}
}

/* Failures are not kept: the next request asks again. */
static void complete(struct lookup *lookup)
{
	bool keep = (lookup->answers[V6].count || lookup->answers[V4].count) && lookup->ttl > 0;

	event_del(&lookup->delay);
	if (keep) {
		lookup->expires = clock_coarse_seconds() + lookup->ttl;
		deliver(lookup);
		return;
	}
	/* Out of the table first: who asks again from inside the callback asks anew. */
	unlink_lookup(lookup);
	deliver(lookup);
	free(lookup->name);
	free(lookup);
}

/* RFC 8305: IPv4 alone is told when IPv6 takes longer; what comes later is for the next request. */
static void on_delay(evutil_socket_t fd, short what, void *argument)
{
	(void)fd, (void)what;
	deliver(argument);
}

/* evdns gives addresses in network order, and a TTL that servers may set to anything. */
static void store(struct lookup *lookup, enum family family, int count, int ttl,
		  const void *addresses)
{
	struct answer *answer = &lookup->answers[family];

	for (int i = 0; i < count && answer->count < RESOLVER_MAX_ADDRESSES; i++) {
		struct egress_address *to = &answer->addresses[answer->count++];

		if (family == V4)
			*to = address_from_v4(ntohl(((const uint32_t *)addresses)[i]));
		else
			memcpy(to, (const struct in6_addr *)addresses + i, sizeof(*to));
	}
	if (ttl < 0)
		ttl = 0;
	if (answer->count && (uint32_t)ttl < lookup->ttl)
		lookup->ttl = (uint32_t)ttl;
}

/* One family's answer is there, whatever it was. */
static void family_done(struct lookup *lookup, enum family family)
{
	if (!is_pending(lookup))
		complete(lookup);
	else if (family == V4 && lookup->answers[V4].count &&
		 /* IPv6 alone may lead nowhere: it waits for IPv4 as long as that takes. */
		 event_add(&lookup->delay, &(struct timeval){.tv_usec = RESOLUTION_DELAY_MS * 1000}) < 0)
		deliver(lookup);
}

static void on_whole(struct lookup *lookup, enum family family,
		     const struct egress_address *addresses, size_t count, uint32_t ttl)
{
	struct answer *answer = &lookup->answers[family];

	lookup->whole[family] = NULL;
	answer->count = count < RESOLVER_MAX_ADDRESSES ? count : RESOLVER_MAX_ADDRESSES;
	memcpy(answer->addresses, addresses, answer->count * sizeof(*addresses));
	if (count == 0)
		lookup->problem = DNS_ERR_TRUNCATED;
	else if (ttl < lookup->ttl)
		lookup->ttl = ttl;
	family_done(lookup, family);
}

static void on_whole_v6(void *lookup, const struct egress_address *addresses, size_t count,
			uint32_t ttl)
{
	on_whole(lookup, V6, addresses, count, ttl);
}

static void on_whole_v4(void *lookup, const struct egress_address *addresses, size_t count,
			uint32_t ttl)
{
	on_whole(lookup, V4, addresses, count, ttl);
}

/* The first server is asked: they all gave out the same answer, which did not fit. */
static bool ask_whole(struct lookup *lookup, enum family family)
{
	struct resolver *resolver = lookup->resolver;
	struct sockaddr_storage server;
	int length = evdns_base_get_nameserver_addr(resolver->dns, 0, (struct sockaddr *)&server,
						    sizeof(server));

	if (length <= 0)
		return false;
	lookup->whole[family] = dns_tcp_start(resolver->base, (struct sockaddr *)&server,
					      (socklen_t)length, lookup->name, family == V6,
					      family == V6 ? on_whole_v6 : on_whole_v4, lookup);
	return lookup->whole[family];
}

static void on_answer(int result, char type, int count, int ttl, void *addresses, void *argument)
{
	struct query *query = argument;
	struct lookup *lookup = query->lookup;
	enum family family = lookup && query == lookup->queries[V6] ? V6 : V4;

	free(query);
	if (!lookup)
		return;
	lookup->queries[family] = NULL;
	if (result == DNS_ERR_TRUNCATED && ask_whole(lookup, family))
		return;
	if (result != DNS_ERR_NONE)
		lookup->problem = result;
	else if (type == (family == V6 ? DNS_IPv6_AAAA : DNS_IPv4_A))
		store(lookup, family, count, ttl, addresses);
	family_done(lookup, family);
}

/* ---- asking --------------------------------------------------------------------------------- */

/* NO_SEARCH: a search list would turn an allowed name into another one. */
static void ask_family(struct lookup *lookup, enum family family)
{
	struct evdns_base *dns = lookup->resolver->dns;
	struct query *query = calloc(1, sizeof(*query));

	if (!query)
		return;
	query->lookup = lookup;
	query->request = family == V6
				 ? evdns_base_resolve_ipv6(dns, lookup->name, DNS_QUERY_NO_SEARCH,
							   on_answer, query)
				 : evdns_base_resolve_ipv4(dns, lookup->name, DNS_QUERY_NO_SEARCH,
							   on_answer, query);
	if (query->request)
		lookup->queries[family] = query;
	else
		free(query);
}

/* Starts both queries; false when neither could be sent. */
static bool ask(struct lookup *lookup)
{
	lookup->ttl = TTL_LIMIT;
	lookup->problem = 0;
	lookup->answers[V6].count = lookup->answers[V4].count = 0;
	if (evdns_base_count_nameservers(lookup->resolver->dns) > 0) {
		ask_family(lookup, V6);
		ask_family(lookup, V4);
	}
	return is_pending(lookup);
}

/* IPv6 is still out, and has had its time. Who asks now would wait until evdns gives it up: the timer has
 * been. */
static bool is_late(const struct lookup *lookup)
{
	return is_pending(lookup) && lookup->answers[V4].count > 0 &&
	       !event_pending(&lookup->delay, EV_TIMEOUT, NULL);
}

/* What needs no query: a literal, the hosts file, a fresh answer. The hosts file before the cache:
 * it may have been what the operator just changed. */
static size_t find_local(struct resolver *resolver, const char *name, const struct lookup *known,
			 struct egress_address *addresses, uint32_t *ret_ttl)
{
	size_t count = 1;
	int64_t now;

	*ret_ttl = HOSTS_TTL;
	if (!address_parse(name, &addresses[0]))
		count = hosts_find(resolver->hosts, name, addresses);
	if (count > 0 || !known)
		return count;
	if (is_late(known)) {
		*ret_ttl = known->ttl;
		return interleave(&known->answers[V6], &known->answers[V4], addresses);
	}
	if (is_pending(known))
		return 0;
	now = clock_coarse_seconds();
	if (known->expires <= now)
		return 0;
	*ret_ttl = (uint32_t)(known->expires - now);
	return interleave(&known->answers[V6], &known->answers[V4], addresses);
}

struct resolver_wait *resolver_get(struct resolver *resolver, const char *name,
				   resolver_done_fn done, void *context)
{
	struct egress_address addresses[RESOLVER_MAX_ADDRESSES];
	uint64_t hash = bytes_hash(name, strlen(name));
	struct lookup *lookup = find(resolver, name, hash);
	uint32_t ttl;
	size_t count = find_local(resolver, name, lookup, addresses, &ttl);
	struct resolver_wait *wait;

	if (count > 0) {
		done(context, addresses, count, ttl, NULL);
		return NULL;
	}
	wait = calloc(1, sizeof(*wait));
	if (wait && !lookup)
		lookup = add(resolver, name, hash);
	if (!wait || !lookup || (!is_pending(lookup) && !ask(lookup))) {
		if (lookup && !is_wanted(lookup))
			drop(lookup);
		free(wait);
		done(context, NULL, 0, 0, "no name server can be asked");
		return NULL;
	}
	wait->done = done;
	wait->context = context;
	ring_add(&lookup->waits, wait);
	return wait;
}

/* ---- set up --------------------------------------------------------------------------------- */

static int add_servers(struct evdns_base *dns, const struct config *config, const char *resolv_conf,
		       struct error *error)
{
	for (size_t i = 0; i < config->upstream.resolver_count; i++)
		if (evdns_base_nameserver_ip_add(dns, config->upstream.resolvers[i]) != 0)
			return error_set(error, "upstream.resolvers: cannot use '%s'",
					 config->upstream.resolvers[i]);
	/* Without a file or a server in it, 127.0.0.1 is asked: resolv.conf(5). */
	if (config->upstream.resolver_count == 0)
		evdns_base_resolv_conf_parse(dns, DNS_OPTION_NAMESERVERS | DNS_OPTION_MISC,
					     resolv_conf);
	return 0;
}

/* What evdns says on standard error is in each failed look-up's `problem` too. */
static void be_quiet(int is_warning, const char *message)
{
	(void)is_warning, (void)message;
}

static void set_options(struct evdns_base *dns)
{
	evdns_base_set_option(dns, "randomize-case:", "0"); /* some servers do not echo the case */
	/* Three tries of 2 s are over within the 10 s that a request has in upstream.c. */
	evdns_base_set_option(dns, "timeout:", "2");
	evdns_base_set_option(dns, "attempts:", "3");
	evdns_base_set_option(dns, "max-inflight:", "512");
}

/* New objects for every reload: evdns cannot forget single servers. */
static int load(struct event_base *base, const struct config *config,
		const struct resolver_paths *paths, struct evdns_base **ret_dns,
		struct hosts **ret_hosts, struct error *error)
{
	struct evdns_base *dns = evdns_base_new(base, EVDNS_BASE_DISABLE_WHEN_INACTIVE);
	struct hosts *hosts = hosts_load(paths->hosts);

	evdns_set_log_fn(be_quiet);
	if (!dns || !hosts) {
		error_set(error, "cannot set up the resolver: out of memory");
	} else {
		if (add_servers(dns, config, paths->resolv_conf, error) == 0) {
			set_options(dns);
			*ret_dns = dns;
			*ret_hosts = hosts;
			return 0;
		}
	}
	if (dns)
		evdns_base_free(dns, 0);
	hosts_free(hosts);
	return -1;
}

int resolver_new(struct event_base *base, const struct config *config,
		 const struct resolver_paths *paths, struct resolver **ret, struct error *error)
{
	struct resolver *resolver = calloc(1, sizeof(*resolver));

	if (!resolver)
		return error_set(error, "out of memory");
	resolver->base = base;
	if (load(base, config, paths, &resolver->dns, &resolver->hosts, error) < 0) {
		free(resolver);
		return -1;
	}
	*ret = resolver;
	return 0;
}

int resolver_reconfigure(struct resolver *resolver, const struct config *config,
			 const struct resolver_paths *paths, struct error *error)
{
	struct evdns_base *dns, *old = resolver->dns;
	struct lookup *next;
	struct hosts *hosts;

	if (load(resolver->base, config, paths, &dns, &hosts, error) < 0)
		return -1;
	hosts_free(resolver->hosts);
	resolver->hosts = hosts;
	for (struct lookup *lookup = resolver->oldest; lookup; lookup = next) {
		next = lookup->newer;
		if (!is_wanted(lookup)) {
			drop(lookup);
			continue;
		}
		/* abandon_queries() cancels there, where they were asked. */
		resolver->dns = old;
		abandon_queries(lookup);
		event_del(&lookup->delay);
		resolver->dns = dns;
		/* Told by the timer: not from inside this call. */
		if (!ask(lookup))
			timeout_soon(&lookup->delay);
	}
	resolver->dns = dns;
	/* 1: what is still under way is called back as failed, and frees itself in on_answer(). */
	evdns_base_free(old, 1);
	return 0;
}

void resolver_free(struct resolver *resolver)
{
	struct lookup *newer;

	if (!resolver)
		return;
	for (struct lookup *lookup = resolver->oldest; lookup; lookup = newer) {
		newer = lookup->newer;
		drop(lookup);
	}
	evdns_base_free(resolver->dns, 1);
	hosts_free(resolver->hosts);
	free(resolver);
}
