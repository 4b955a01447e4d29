// SPDX-License-Identifier: BSD-2-Clause
/* The worker: one event loop, one thread beside it for what takes long. It holds the tokens and no
 * key but those of its leaves, decides by its own copy of the policy, and ends when its supervisor
 * does. All that it can do to others is what the kernel wall and its seccomp filter leave. */
#include "server.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "access_log.h"
#include "background.h"
#include "cert_authority.h"
#include "clock.h"
#include "config.h"
#include "connection.h"
#include "descriptor.h"
#include "diag.h"
#include "dns_responder.h"
#include "exit_status.h"
#include "feed.h"
#include "identify.h"
#include "listener.h"
#include "privileges.h"
#include "rpc.h"
#include "server_end.h"
#include "server_heap.h"
#include "server_memfd.h"
#include "server_retired.h"
#include "shares.h"
#include "stream.h"
#include "tickets.h"
#include "upstream.h"
#include "verdicts.h"

#define CONNECTION_LIMIT 16384
/* Descriptors that are no stream's: what is open at the start, DNS over TCP, pipes. */
#define OTHER_FILES(limit) ((limit) / 4 < 1024 ? (limit) / 4 : 1024)
#define LEAF_CACHE_CAPACITY 4096
#define STOP_GRACE_S 4 /* within the supervisor's patience */
/* Often enough that nobody notices the wait. */
#define STOP_LOOK_US 20000
#define LOG_EVERY_MS 10
/* The answer never changes; it is short so that a removed route is asked for again. */
#define SYNTHETIC_TTL 60

struct server {
	const struct server_handover *handover;
	struct event_base *base;
	struct background *background;
	struct retired *retired;
	struct heap heap;
	bool closing;
	struct ahead ahead; /* the background thread's */
	struct config *config;
	struct verdicts *verdicts;
	struct access_log *log;
	struct feed *feed;
	struct shares *shares;
	struct tickets tickets;
	struct identify *identify;
	struct upstream *upstream;
	struct leaf_cache *leaves;
	struct proxy proxy;
	struct listener *listener;
	struct dns_names names;
	struct dns_responder *responder;
	struct event *control, *idle_check, *log_flush;
	uint64_t log_flushed; /* when it last was, in ms */
};

static void set_dns_mode(struct server *s);

/* ---- configuration -------------------------------------------------------------------------- */

/* A reload on its way through the thread beside the loop: a large policy takes longer to read than
 * a request should wait. */
struct reload {
	struct server *server;
	int fd;
	struct config *next;
	struct upstream_change *change;
	struct error error;
};

/* On the background thread: touches only what is in `reload`, and the server's `ahead`. */
static void read_ahead(void *context)
{
	struct reload *reload = context;

	ahead_read(&reload->server->ahead, reload->fd);
	descriptor_close(&reload->fd);
}

static void prepare_reload(void *context)
{
	struct reload *reload = context;

	reload->next = ahead_unpack(&reload->server->ahead, reload->fd, &reload->error);
	/* The last to hold it: the kernel frees some megabytes, which takes milliseconds. */
	close(reload->fd);
	if (reload->next && upstream_prepare(reload->next, &reload->change, &reload->error) < 0) {
		config_free(reload->next);
		reload->next = NULL;
	}
}

/* Everything that can fail comes first, so that a failure leaves the old policy whole. Connections
 * keep their reference to the old policy until they are judged by the new one. */
static bool take_config(struct server *s, struct reload *reload)
{
	struct config *old = s->config;

	if (!reload->next ||
	    upstream_apply(s->upstream, reload->change, reload->next, &reload->error) < 0)
		return false;
	reload->change = NULL;
	proxy_reconfigure(&s->proxy, reload->next);
	s->config = reload->next;
	reload->next = NULL;
	set_dns_mode(s);
	retired_add(s->retired, old);
	return true;
}

/* The supervisor waits for this word; without one it would replace us. */
static void reload_prepared(void *context)
{
	struct reload *reload = context;
	struct server *s = reload->server;
	struct rpc_control answer = {.type = RPC_CONTROL_FAILED};

	if (!s->closing && take_config(s, reload))
		answer.type = RPC_CONTROL_DONE;
	else
		memccpy(answer.text, reload->error.text, '\0', sizeof(answer.text) - 1);
	upstream_change_free(reload->change);
	config_free(reload->next);
	free(reload);
	if (!s->closing && rpc_control_send(s->handover->control_fd, &answer, -1) < 0)
		event_base_loopbreak(s->base);
}

/* Takes over `fd`, which may be -1. */
static int begin_reload(struct server *s, int fd, background_fn work, background_fn done)
{
	struct reload *reload = calloc(1, sizeof(*reload));

	if (reload) {
		*reload = (struct reload){.server = s, .fd = fd};
		if (background_run(s->background, work, done, reload) == 0)
			return 0;
	}
	free(reload);
	descriptor_close(&fd);
	return -1;
}

static void stop_when_idle(evutil_socket_t fd, short what, void *context)
{
	struct server *s = context;

	(void)fd;
	(void)what;
	if (s->proxy.connection_count == 0)
		event_base_loopbreak(s->base);
}

/* Exchanges under way may finish within the grace. */
static void begin_stop(struct server *s)
{
	const struct timeval grace = {STOP_GRACE_S, 0}, look = {0, STOP_LOOK_US};

	if (s->idle_check)
		return;
	listener_stop(s->listener);
	proxy_drain(&s->proxy);
	s->idle_check = event_new(s->base, -1, EV_PERSIST, stop_when_idle, s);
	if (s->proxy.connection_count == 0 || !s->idle_check ||
	    event_add(s->idle_check, &look) < 0 || event_base_loopexit(s->base, &grace) < 0)
		event_base_loopbreak(s->base);
}

static void on_control(evutil_socket_t fd, short what, void *context)
{
	struct server *s = context;
	struct rpc_control message, answer;
	struct stream_use *use = stream_use();
	int passed = -1, result = rpc_control_receive(fd, &message, &passed);

	(void)what;
	if (result == 1 && message.type == RPC_CONTROL_CONFIG) {
		result = begin_reload(s, passed, prepare_reload, reload_prepared) == 0 ? 1 : -ENOMEM;
		passed = -1;
	} else if (result == 1 && message.type == RPC_CONTROL_AHEAD) {
		/* Without memory for it, it is read when it is needed. */
		(void)!begin_reload(s, passed, read_ahead, free);
		passed = -1;
	} else if (result == 1 && message.type == RPC_CONTROL_STOP) {
		begin_stop(s);
	} else if (result == 1 && message.type == RPC_CONTROL_PING) {
		answer = (struct rpc_control){.type = RPC_CONTROL_PONG};
		result = rpc_control_send(fd, &answer, -1) == 0 ? 1 : 0;
		/* Others may want room while nobody reads here who would see that there is none. */
		(void)bytes_room();
		listener_pulse(s->listener);
		dns_responder_pulse(s->responder);
		retired_pulse(s->retired);
		heap_pulse(&s->heap, use->now, &use->most);
	} else if (result == 1 && message.type == RPC_CONTROL_LOG && passed >= 0) {
		/* Under the same number, so that nobody needs to hear of it. */
		if (s->handover->log_fd >= 0)
			(void)dup3(passed, s->handover->log_fd, O_CLOEXEC);
	}
	if (passed >= 0)
		close(passed);
	/* Without a supervisor there is nobody to sign and to bind: leave the sockets to the next. */
	if (result != 1 && result != -EAGAIN)
		event_base_loopbreak(s->base);
}

/* ---- callbacks ------------------------------------------------------------------------------ */

static int sign_leaf(void *context, const char *host, struct span public_key, struct bytes *ret_der)
{
	const struct server *s = context;

	return rpc_sign_leaf(s->handover->calls_fd, host, public_key, ret_der);
}

static int ask(void *context, const struct ask *ask, struct ask_answer *ret)
{
	const struct server *s = context;

	return rpc_ask(s->handover->calls_fd, ask, ret);
}

static int ask_state(void *context, const char *id, struct ask_answer *ret)
{
	const struct server *s = context;

	return rpc_ask_state(s->handover->calls_fd, id, ret);
}

/* Looked up here first: a name that no route allows is not worth a call, and the supervisor asks
 * its own policy anyway. */
static enum dns_bound bind_name(void *context, const char *name,
				struct egress_address *ret_address, enum egress_reason *ret_reason)
{
	struct server *s = context;
	char host[EGRESS_NAME_SIZE];
	struct rpc_host answer;

	if (!policy_normalise_host(span_from(name), host) ||
	    (!policy_is_local(host) && !policy_find_host(s->config->policy, host))) {
		*ret_reason = EGRESS_HOST_NOT_ALLOWED;
		return DNS_REFUSED;
	}
	if (rpc_bind_name(s->handover->calls_fd, host, &answer) < 0)
		return DNS_FAILED;
	if (answer.reason != EGRESS_ALLOWED) {
		*ret_reason = answer.reason;
		return answer.reason == EGRESS_INTERNAL ? DNS_FAILED : DNS_REFUSED;
	}
	*ret_address = answer.address;
	return DNS_BOUND;
}

/* dns.mode real: one look-up on its way from the responder to the upstream's resolver and back. */
struct lookup {
	struct server *server;
	dns_resolved_fn done;
	void *done_context;
	char name[EGRESS_NAME_SIZE];
};

/* The kernel wall learns the addresses before the bottle does. Addresses that the wall could not be
 * told are not answered. */
static void looked_up(void *context, const struct egress_address *addresses, size_t count,
		      uint32_t ttl)
{
	struct lookup *l = context;
	enum egress_reason reason = EGRESS_UPSTREAM_UNRESOLVED;
	struct rpc_host answer;

	if (count > RPC_MAX_ADDRESSES)
		count = RPC_MAX_ADDRESSES;
	if (count > 0)
		reason = rpc_bind_addresses(l->server->handover->calls_fd, l->name, addresses, count,
					    &answer) < 0
				 ? EGRESS_INTERNAL
				 : answer.reason;
	l->done(l->done_context, reason, addresses, reason == EGRESS_ALLOWED ? count : 0, ttl);
	free(l);
}

/* Raw TCP says no name: only an address of its own tells which host is meant. Our own pages have no
 * other. */
static bool needs_own_address(const struct policy *policy, const char *name)
{
	const struct policy_host *host = policy_find_host(policy, name);
	uint16_t ports[EGRESS_MAX_PORTS];
	size_t count = host ? policy_host_ports(host, ports) : 0;

	for (size_t i = 0; i < count; i++)
		if (policy_host_mode(host, ports[i]) == POLICY_TCP)
			return true;
	return policy_is_local(name);
}

static void answer_synthetic(struct server *s, const char *name, dns_resolved_fn done,
			     void *done_context)
{
	enum egress_reason reason = EGRESS_INTERNAL;
	struct egress_address address;
	bool bound = bind_name(s, name, &address, &reason) == DNS_BOUND;

	done(done_context, bound ? EGRESS_ALLOWED : reason, &address, bound, SYNTHETIC_TTL);
}

/* Never forwards what the bottle asked: the name is looked up by us, for us. */
static void resolve_name(void *context, const char *name, dns_resolved_fn done, void *done_context)
{
	struct server *s = context;
	struct lookup *l;

	if (needs_own_address(s->config->policy, name)) {
		answer_synthetic(s, name, done, done_context);
		return;
	}
	l = calloc(1, sizeof(*l));
	if (!l) {
		done(done_context, EGRESS_INTERNAL, NULL, 0, 0);
		return;
	}
	l->server = s;
	l->done = done;
	l->done_context = done_context;
	if (!policy_normalise_host(span_from(name), l->name) ||
	    !policy_find_host(s->config->policy, l->name)) {
		done(done_context, EGRESS_HOST_NOT_ALLOWED, NULL, 0, 0);
		free(l);
		return;
	}
	upstream_resolve(s->upstream, l->name, looked_up, l);
}

static void set_dns_mode(struct server *s)
{
	s->names.proxy_name = s->config->dns.proxy_name;
	s->names.resolve = s->config->dns.mode == CONFIG_DNS_REAL ? resolve_name : NULL;
}

/* ---- parts ---------------------------------------------------------------------------------- */

/* The list ends at the first -1. */
static size_t count_fds(const int fds[SERVER_MAX_SOCKETS])
{
	size_t count = 0;

	while (count < SERVER_MAX_SOCKETS && fds[count] >= 0)
		count++;
	return count;
}

static bool open_responder(struct server *s)
{
	const struct server_handover *h = s->handover;
	size_t count = count_fds(h->dns_udp_fds);

	s->names = (struct dns_names){
		.bind = bind_name,
		.context = s,
	};
	set_dns_mode(s);
	s->responder = dns_responder_new(s->base, &s->names, s->log);
	if (!s->responder)
		return false;
	for (size_t i = 0; i < count; i++) {
		if (dns_responder_add_udp(s->responder, h->dns_udp_fds[i]) < 0 ||
		    dns_responder_add_tcp(s->responder, h->dns_tcp_fds[i]) < 0)
			return false;
	}
	return true;
}

static uint64_t others_connections(void *context)
{
	const struct server *s = context;

	return shares_others_connections(s->shares, s->handover->slot, CONNECTION_LIMIT);
}

static uint64_t others_held(void *context, unsigned *ret_sharers)
{
	const struct server *s = context;

	*ret_sharers = shares_workers(s->shares) - 1;
	return shares_others_held(s->shares, s->handover->slot);
}

/* Nobody else is to resume what this worker's clients have. A second worker may come: then each of them
 * pays one full handshake. */
static bool is_alone(void *context)
{
	const struct server *s = context;

	return shares_workers(s->shares) == 1;
}

/* Its descriptors would let a worker that was taken over write what is the others'. */
static int open_shares(struct server *s, struct error *error)
{
	const struct server_handover *h = s->handover;

	s->shares = shares_open(h->shares_fd, h->shares_reading_fd, h->slot);
	close(h->shares_fd);
	close(h->shares_reading_fd);
	if (!s->shares)
		return error_set(error, "cannot map the memory of limits");
	/* While there is one thread: open_control() makes the other. */
	bytes_count_at(shares_held(s->shares, h->slot));
	bytes_count_others(others_held, s);
	return 0;
}

static size_t most_sockets(void)
{
	const size_t limit = descriptor_limit();

	return limit - OTHER_FILES(limit);
}

/* A connection to one of host_fds is told from the others by its port: identify.c. */
static struct listener *open_listener(struct server *s)
{
	const struct server_handover *h = s->handover;
	const struct listener_limit limit = {
		.connections = CONNECTION_LIMIT,
		.sockets = most_sockets(),
		.taken = shares_connections(s->shares, h->slot),
		.others = others_connections,
		.context = s,
	};
	size_t proxies = count_fds(h->proxy_fds), hosts = count_fds(h->host_fds);
	int fds[2 * SERVER_MAX_SOCKETS];

	memcpy(fds, h->proxy_fds, proxies * sizeof(*fds));
	memcpy(fds + proxies, h->host_fds, hosts * sizeof(*fds));
	identify_host_ports(s->identify, h->host_ports, hosts);
	return listener_new(&s->proxy, fds, proxies + hosts, &limit);
}

static void flush_log(evutil_socket_t fd, short what, void *context)
{
	struct server *s = context;

	(void)fd;
	(void)what;
	s->log_flushed = clock_ms(CLOCK_MONOTONIC);
	access_log_flush(s->log);
}

/* At the end of this pass of the loop, behind what else is active: before it waits. But not so soon again:
 * many passes of a busy loop serve one request. Much shorter than this, the timer costs what it saves; what
 * waits here when we are killed the supervisor finds in the feed. */
static void log_gathered(void *context)
{
	const struct server *s = context;
	const struct timeval later = {0, LOG_EVERY_MS * 1000};

	if (!s->feed || clock_ms(CLOCK_MONOTONIC) - s->log_flushed >= LOG_EVERY_MS ||
	    event_add(s->log_flush, &later) < 0)
		event_active(s->log_flush, EV_TIMEOUT, 0);
}

/* Without `flows` everything is explicit; without `verdicts` nothing is counted. */
static int open_proxy(struct server *s, struct error *error)
{
	const struct server_handover *h = s->handover;
	struct span ca = memfd_map(h->ca_fd);

	s->verdicts = verdicts_new(h->verdicts_fd, h->host_verdicts_fd);
	s->log = access_log_new(h->log_fd, h->bottle, h->log_query);
	s->log_flush = event_new(s->base, -1, 0, flush_log, s);
	s->identify = identify_new(h->flows_fd, h->calls_fd);
	s->leaves = leaf_cache_new(sign_leaf, s, ca, LEAF_CACHE_CAPACITY);
	memfd_unmap(ca);
	if (s->log && h->record_fd >= 0)
		access_log_also(s->log, h->record_fd, ACCESS_LOG_ALSO_LIMIT);
	if (!s->verdicts || !s->log || !s->log_flush || !s->identify || !s->leaves)
		return error_set(error, "out of memory");
	leaf_cache_set_tickets(s->leaves, &s->tickets);
	leaf_cache_set_alone(s->leaves, is_alone, s);
	OPENSSL_cleanse(&s->tickets, sizeof(s->tickets));
	access_log_count_in(s->log, s->verdicts);
	access_log_gather(s->log, log_gathered, s);
	if (h->feed_fd >= 0) {
		s->feed = feed_open(h->feed_fd, NULL);
		if (!s->feed)
			return error_set(error, "cannot map the memory of events");
		feed_set_writer(s->feed, h->slot);
		access_log_feed(s->log, s->feed);
		tally_count_at(feed_tallies(s->feed));
	}
	if (upstream_new(s->base, s->config, &s->upstream, error) < 0)
		return -1;
	s->proxy = (struct proxy){
		.base = s->base,
		.config = s->config,
		.identify = s->identify,
		.upstream = s->upstream,
		.leaves = s->leaves,
		.log = s->log,
		.feed = s->feed,
		.bottle = h->bottle,
		.ask = ask,
		.ask_state = ask_state,
		.ask_context = s,
	};
	if (s->feed)
		feed_buffers_limit(s->feed, s->config->buffered_mib << 20);
	s->listener = open_listener(s);
	if (!s->listener || !open_responder(s))
		return error_set(error, "cannot serve the listening sockets");
	return 0;
}

static int open_control(struct server *s, struct error *error)
{
	s->control = event_new(s->base, s->handover->control_fd, EV_READ | EV_PERSIST, on_control, s);
	s->background = background_new(s->base);
	if (s->background)
		s->retired = retired_new(s->base, s->background);
	if (!s->retired || !s->control || event_add(s->control, NULL) < 0)
		return error_set(error, "cannot make an event loop");
	return 0;
}

/* The first configuration; the supervisor sent it before it waits for us. Blocks: there is nothing
 * to serve without one. */
static int receive_config(struct server *s, struct error *error)
{
	struct rpc_control message;
	int fd = -1;

	if (rpc_control_receive(s->handover->control_fd, &message, &fd) != 1 ||
	    message.type != RPC_CONTROL_CONFIG || !tickets_parse(message.text, &s->tickets)) {
		error_set(error, "the supervisor sent no configuration");
	} else {
		s->config = ahead_unpack(&s->ahead, fd, error);
	}
	OPENSSL_cleanse(&message, sizeof(message));
	if (fd >= 0)
		close(fd);
	return s->config ? 0 : -1;
}

/* Whatever becomes of this worker, the others and its successor find the sockets and the log as they
 * are. */
static int limit_calls(const struct server_handover *h, struct error *error)
{
	const int *const lists[] = {h->proxy_fds, h->host_fds, h->dns_udp_fds, h->dns_tcp_fds};
	const size_t count = sizeof(lists) / sizeof(lists[0]);
	int shared[3 + sizeof(lists) / sizeof(lists[0]) * SERVER_MAX_SOCKETS] = {
		STDOUT_FILENO, STDERR_FILENO, h->log_fd};

	for (size_t i = 0; i < count; i++)
		memcpy(shared + 3 + i * SERVER_MAX_SOCKETS, lists[i],
		       SERVER_MAX_SOCKETS * sizeof(*shared));
	return privileges_limit_calls(shared, sizeof(shared) / sizeof(shared[0]), error);
}

/* In the order of use; the background thread first, for it may still hold a reload. */
static void close_server(struct server *s)
{
	s->closing = true;
	background_free(s->background);
	ahead_read(&s->ahead, -1);
	retired_free(s->retired);
	if (s->control)
		event_free(s->control);
	if (s->idle_check)
		event_free(s->idle_check);
	if (s->log_flush) {
		if (s->log)
			access_log_gather(s->log, NULL, NULL);
		event_free(s->log_flush);
	}
	dns_responder_free(s->responder);
	proxy_close_all(&s->proxy);
	listener_free(s->listener);
	upstream_free(s->upstream);
	/* evdns frees what it cancelled from the loop. */
	if (s->base)
		event_base_loop(s->base, EVLOOP_NONBLOCK);
	leaf_cache_free(s->leaves);
	identify_free(s->identify);
	access_log_free(s->log);
	verdicts_free(s->verdicts);
	config_free(s->config);
	feed_free(s->feed);
	if (s->base)
		event_base_free(s->base);
	/* Its memory has the count of what everybody before has freed. */
	bytes_count_others(NULL, NULL);
	shares_free(s->shares);
}

/* Privileges go before anything is read. DONE is said only when every socket is served. */
int server_run(const struct server_handover *handover)
{
	struct server s = {.handover = handover};
	struct rpc_control done = {.type = RPC_CONTROL_DONE};
	struct error error = {0};
	int status = EXIT_FAILED;

	if (privileges_drop(handover->uid, handover->gid, handover->flows_fd, &error) < 0)
		goto out;
	server_end_with_parent();
	if ((!handover->any_call && limit_calls(handover, &error) < 0) || receive_config(&s, &error) < 0)
		goto out;
	s.base = event_base_new();
	if (!s.base) {
		error_set(&error, "cannot make an event loop");
		goto out;
	}
	if (open_shares(&s, &error) < 0 || open_proxy(&s, &error) < 0 || open_control(&s, &error) < 0)
		goto out;
	if (rpc_control_send(handover->control_fd, &done, -1) < 0) {
		error_set(&error, "the supervisor is gone");
		goto out;
	}
	event_base_dispatch(s.base);
	status = EXIT_OK;
out:
	server_end_soon();
	if (status != EXIT_OK)
		diag_error("worker: %s", error.text);
	close_server(&s);
	return status;
}
