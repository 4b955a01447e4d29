// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "connection_private.h"
#include "http2.h"

/* ---- what the upstream speaks -------------------------------------------------------------- */

static bool list_has(const unsigned char *list, size_t length, const char *name)
{
	size_t wanted = strlen(name);

	for (size_t i = 0; i < length; i += 1u + list[i])
		if (list[i] == wanted && i + 1 + wanted <= length &&
		    memcmp(list + i + 1, name, wanted) == 0)
			return true;
	return false;
}

static bool hello_offers_h2(SSL *ssl)
{
	const unsigned char *data;
	size_t length;

	/* ProtocolNameList behind its length (RFC 7301, 3.1). */
	return SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_application_layer_protocol_negotiation,
					 &data, &length) == 1 &&
	       length > 2 && list_has(data + 2, length - 2, "h2");
}

static struct upstream_target target_of(const struct connection *c)
{
	const struct policy_host *host = policy_find_host(c->proxy->config->policy, c->host);

	/* A host that asks for a certificate agrees on nothing without one. */
	return (struct upstream_target){
		.host = c->host,
		.port = c->port,
		.tls = true,
		.client = host ? policy_host_client(host, c->port) : NULL,
		.allow_private = host && policy_host_allows_private(host, c->port),
	};
}

/* What was dialled waits for the first request. */
static void on_probed(void *context, const struct upstream_result *result)
{
	struct connection *c = context;
	struct upstream_target target = target_of(c);

	c->dial = NULL;
	if (result->reason == EGRESS_ALLOWED)
		upstream_put(c->proxy->upstream, &target, result->stream);
	connection_wake(c);
}

/* True while the answer is not there. A failure is not reported here: the request that follows
 * meets it, too, and its client can read why. */
static bool probe(struct connection *c)
{
	struct upstream_target target = target_of(c);

	if (policy_is_local(c->host))
		return false;
	if (!c->probed && upstream_protocol(c->proxy->upstream, c->host, c->port) == UPSTREAM_UNKNOWN) {
		c->probed = true;
		connection_deadline(c, 2 * HANDSHAKE_SECONDS);
		c->dial = upstream_get(c->proxy->upstream, &target, false, on_probed, c);
	}
	return c->dial;
}

/* ---- the handshake -------------------------------------------------------------------------- */

/* Runs on every ClientHello, resumptions and second attempts included, before any session is
 * looked up: no ticket gets round the name. */
static int check_name(SSL *ssl, int *ret_alert, void *argument)
{
	struct connection *c = SSL_get_app_data(ssl);
	char name[EGRESS_NAME_SIZE];

	(void)argument;
	if (client_hello_name(ssl, name) && strcmp(name, c->host) == 0)
		return hello_offers_h2(ssl) && probe(c) ? SSL_CLIENT_HELLO_RETRY
							: SSL_CLIENT_HELLO_SUCCESS;
	c->reason = EGRESS_NAME_MISMATCH;
	snprintf(c->detail, sizeof(c->detail), "the TLS server name is not the host's");
	*ret_alert = SSL_AD_UNRECOGNIZED_NAME;
	return SSL_CLIENT_HELLO_ERROR;
}

/* What the upstream speaks, if the client does; else we translate. Instead of the leaf cache's, which
 * knows no HTTP/2. Clients that offer only what we do not speak are told so (RFC 7301, 3.2). */
static int select_protocol(SSL *ssl, const unsigned char **ret, unsigned char *ret_length,
			   const unsigned char *offered, unsigned int offered_length, void *context)
{
	static const unsigned char same[] = "\x02h2\x08http/1.1\x08http/1.0";
	static const unsigned char older[] = "\x08http/1.1\x02h2\x08http/1.0";
	const struct connection *c = SSL_get_app_data(ssl);
	bool h2 = upstream_protocol(c->proxy->upstream, c->host, c->port) == UPSTREAM_HTTP2;
	unsigned char *chosen;

	(void)context;
	if (SSL_select_next_proto(&chosen, ret_length, h2 ? same : older, sizeof(same) - 1, offered,
				  offered_length) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*ret = chosen;
	return SSL_TLSEXT_ERR_OK;
}

bool connection_tls_agreed(const struct connection *c)
{
	const unsigned char *name;
	unsigned int length;

	SSL_get0_alpn_selected(stream_ssl(c->client), &name, &length);
	return length > 0;
}

const struct protocol *connection_tls_protocol(const struct connection *c)
{
	const unsigned char *name;
	unsigned int length;

	SSL_get0_alpn_selected(stream_ssl(c->client), &name, &length);
	return length == 2 && memcmp(name, "h2", 2) == 0 ? &http2_protocol : &http1_protocol;
}

int connection_tls_start(struct connection *c)
{
	SSL_CTX *context = leaf_cache_get(c->proxy->leaves, c->host);
	SSL *ssl;

	if (!context)
		return -1;
	SSL_CTX_set_client_hello_cb(context, check_name, NULL);
	SSL_CTX_set_alpn_select_cb(context, select_protocol, NULL);
	ssl = SSL_new(context);
	if (!ssl)
		return -1;
	/* It allocates, and check_name() goes by it. */
	if (SSL_set_app_data(ssl, c) != 1) {
		SSL_free(ssl);
		return -1;
	}
	SSL_set_accept_state(ssl);
	c->reason = EGRESS_ALLOWED;
	return stream_set_tls(c->client, ssl) < 0 ? -1 : 0;
}

/* What clients say that do not take our leaf: OpenSSL and rustls; Go; Java and browsers (RFC 8446, 6.2). */
static bool is_distrust(unsigned long code)
{
	const int reason = ERR_GET_REASON(code);

	return ERR_GET_LIB(code) == ERR_LIB_SSL &&
	       (reason == SSL_R_TLSV1_ALERT_UNKNOWN_CA || reason == SSL_R_SSLV3_ALERT_BAD_CERTIFICATE ||
		reason == SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN);
}

enum protocol_next connection_tls_run(struct connection *c)
{
	int rc = stream_handshake(c->client);
	unsigned long code;
	const char *text;

	if (rc == -EAGAIN)
		return PROTOCOL_WAIT;
	if (rc == 1)
		return PROTOCOL_CONNECT;
	if (c->reason != EGRESS_ALLOWED) {
		ERR_clear_error();
		return PROTOCOL_CLOSE;
	}
	code = ERR_peek_last_error();
	text = ERR_reason_error_string(code);
	snprintf(c->detail, sizeof(c->detail), "TLS handshake with the client: %s%s",
		 text ? text : "connection closed",
		 is_distrust(code) ? " (it does not trust the bottle's CA)" : "");
	ERR_clear_error();
	c->reason = EGRESS_BAD_REQUEST;
	return PROTOCOL_CLOSE;
}

void connection_tls_refuse(struct connection *c)
{
	/* A TLS 1.0 record (the version before negotiation): fatal alert unrecognized_name. */
	static const unsigned char alert[] = {21, 3, 1, 0, 2, SSL3_AL_FATAL,
					      TLS1_AD_UNRECOGNIZED_NAME};

	(void)!send(stream_fd(c->client), alert, sizeof(alert), MSG_NOSIGNAL | MSG_DONTWAIT);
	/* What the client sent is still unread, and closing on it would turn into an RST that
	 * overtakes the alert: read it away. */
	(void)!recv(stream_fd(c->client), NULL, CLIENT_HELLO_BYTES, MSG_TRUNC | MSG_DONTWAIT);
}
