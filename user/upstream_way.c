// SPDX-License-Identifier: BSD-2-Clause
/* The way of one request, from a name to verified TLS. Two checks hold the wall: the addresses that
 * are dialled are those that were judged (no second look-up), and the certificate is checked
 * against the name that the policy allowed. Whatever fails is a refusal with its own reason, and
 * the stream is gone. */
#include "upstream_private.h"

#include <errno.h>
#include <openssl/err.h>
#include <string.h>

#include "upstream_dial.h"
#include "upstream_h2.h"
#include "upstream_proxy.h"
#include "upstream_resolver.h"
#include "upstream_tls.h"

/* At each readiness until it is through; rc and the verdict are tls_client_judge()'s to read. */
static void on_handshake(void *context)
{
	struct upstream_request *request = context;
	SSL *ssl = stream_ssl(request->stream);
	int rc = stream_handshake(request->stream);
	enum egress_reason reason;

	if (rc == -EAGAIN)
		return;
	/* RFC 7301, 3.2: it speaks nothing of what was offered. */
	if (rc < 0 && request->http1 &&
	    ERR_GET_REASON(ERR_peek_error()) == SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL) {
		request->not_http1 = true;
		h2_pool_note_alone(request->upstream->sessions, request->host, request->port);
	}
	reason = tls_client_judge(ssl, request->host, rc, request->detail, sizeof(request->detail));
	if (reason == EGRESS_ALLOWED)
		request_succeed(request);
	else
		request_finish(request, reason, NULL);
}

/* The stream leads to the host. */
static void begin_tls(struct upstream_request *request)
{
	SSL *ssl;

	line_leave(&request->turn);
	if (!request->tls) {
		request_succeed(request);
		return;
	}
	ssl = tls_client_connection(request->upstream->tls, request->host, request->port,
				    request->client);
	if (ssl && !request->http1)
		tls_client_offer_h2(ssl);
	if (!ssl || stream_set_tls(request->stream, ssl) < 0) {
		ERR_clear_error();
		request_fail(request, EGRESS_INTERNAL, "%s: cannot set up TLS", request->host);
		return;
	}
	stream_set_ready(request->stream, on_handshake, request);
	on_handshake(request);
}

/* From here on the proxy's stream is the far end's. */
static void on_hop(void *context, enum egress_reason reason, const char *detail)
{
	struct upstream_request *request = context;

	request->hop = NULL;
	if (reason == EGRESS_ALLOWED)
		begin_tls(request);
	else
		request_fail(request, reason, "%s: %s", request->host, detail);
}

/* Through a proxy this is the proxy's address; the host's own is never known. */
static void on_dialled(void *context, const struct dial_result *result)
{
	struct upstream_request *request = context;
	char text[ADDRESS_TEXT_SIZE];

	request->dial = NULL;
	request->address = result->address;
	request->stream = result->stream;
	if (!result->stream) {
		request_fail(request, EGRESS_UPSTREAM_UNREACHABLE, "%s%s (%s) port %u: %s",
			     request->host, request->proxy ? ": the upstream proxy" : "",
			     address_format(&result->address, text),
			     request->proxy ? upstream_proxy_port(request->proxy) : request->port,
			     strerror(result->error));
		return;
	}
	stream_set_mark(request->stream, request->mark);
	stream_set_peer(request->stream, &result->address);
	if (!request->proxy) {
		begin_tls(request);
		return;
	}
	request->hop = proxy_hop_start(request->upstream->base, request->proxy, request->stream,
				       request->host, request->port, on_hop, request);
	if (!request->hop)
		request_fail(request, EGRESS_INTERNAL, "%s: cannot ask the upstream proxy",
			     request->host);
}

/* The wall against rebinding: judged on the very addresses that are dialled. Where the proxy is, is
 * the operator's to say; what is behind it, only an address as target tells: may_ask(). */
static bool may_dial(const struct upstream_request *request, const struct egress_address *address)
{
	return !cidr_contains(&request->upstream->synthetic, address) &&
	       (request->proxy || request->allow_private || !address_is_private(address));
}

/* A name is the proxy's to resolve, and to judge; only a literal can be judged here. */
static bool may_ask(const struct upstream_request *request, const struct egress_address *address)
{
	return request->allow_private ||
	       !(address_is_private(address) ||
		 cidr_contains(&request->upstream->synthetic, address));
}

/* May end the request. */
static void dial(struct upstream_request *request, const struct egress_address *addresses,
		 size_t count)
{
	struct egress_address chosen[RESOLVER_MAX_ADDRESSES];
	size_t chosen_count = 0;
	struct dial *started;

	for (size_t i = 0; i < count && chosen_count < RESOLVER_MAX_ADDRESSES; i++)
		if (may_dial(request, &addresses[i]))
			chosen[chosen_count++] = addresses[i];
	if (chosen_count == 0) {
		request->address = addresses[0];
		request_fail(request, EGRESS_PRIVATE_ADDRESS,
			     "%s is at a private or reserved address, which its route does not allow",
			     request->host);
		return;
	}
	started = dial_start(request->upstream->base, chosen, chosen_count,
			     request->proxy ? upstream_proxy_port(request->proxy) : request->port,
			     on_dialled, request);
	if (started)
		request->dial = started;
}

/* Also for the proxy's own name. */
static void on_resolved(void *context, const struct egress_address *addresses, size_t count,
			uint32_t ttl, const char *problem)
{
	struct upstream_request *request = context;

	(void)ttl;
	request->wait = NULL;
	if (count > 0)
		dial(request, addresses, count);
	else
		request_fail(request, EGRESS_UPSTREAM_UNRESOLVED, "%s: %s%s", request->host,
			     request->proxy ? "the upstream proxy: " : "", problem);
}

unsigned way_mark(const struct upstream *upstream, const struct upstream_target *target)
{
	bool relayed = upstream_proxy_serves(upstream->proxy, target->host, target->address);

	return upstream->generation << 2 | (target->tls ? 2u : 0) | (relayed ? STREAM_RELAYED : 0);
}

unsigned way_mark_of_request(const struct upstream_request *request)
{
	bool named = !request->by_address;

	return way_mark(request->upstream, &(struct upstream_target){
						   .host = named ? request->host : NULL,
						   .address = named ? NULL : &request->address,
						   .tls = request->tls,
					   });
}

void way_begin(struct upstream_request *request)
{
	struct upstream *upstream = request->upstream;
	const char *name = request->host;
	struct resolver_wait *wait;

	/* While the name is looked up and TCP connects. */
	if (request->tls)
		tls_client_warm(upstream->tls);
	request->mark = way_mark_of_request(request);
	if (request->mark & STREAM_RELAYED) {
		request->proxy = upstream_proxy_ref(upstream->proxy);
		name = upstream_proxy_host(request->proxy);
		if (request->by_address && !may_ask(request, &request->address)) {
			request_fail(request, EGRESS_PRIVATE_ADDRESS,
				     "%s is a private or reserved address, which its route does not allow",
				     request->host);
			return;
		}
	} else if (request->by_address) {
		dial(request, &request->address, 1);
		return;
	}
	wait = resolver_get(upstream->resolver, name, on_resolved, request);
	if (wait)
		request->wait = wait;
}
