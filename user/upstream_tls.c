// SPDX-License-Identifier: BSD-2-Clause
/* The certificate check, which all credentials hang on: TLS 1.2 or later, the chain to roots that
 * were loaded at the start, the name that the policy allowed. There is no switch to turn it off.
 * Sessions are resumed only for the same host, port and client certificate. */
#include "upstream_tls.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bytes.h"
#include "ciphers.h"
#include "roots.h"
#include "tls_provider.h"
#include "trust.h"

#define SLOT_COUNT 1024 /* sessions kept; a power of two */

/* The newest session of a host and port; a collision replaces, it only costs a full handshake. */
struct session_slot {
	char *host;
	uint16_t port;
	uint64_t cert; /* client_cert_id(): a session says who we are, too */
	SSL_SESSION *session;
};

enum roots { ROOTS_PARSED, ROOTS_READ, ROOTS_BEING_PARSED };

struct tls_client {
	SSL_CTX *context; /* its app data is this; NULL once this is gone */
	enum roots roots;
	struct bytes bundle; /* PEM, until it is parsed */
	pthread_t parser;
	struct session_slot slots[SLOT_COUNT];
};

/* ---- roots ---------------------------------------------------------------------------------- */

/* SSL_CERT_FILE is for programs that have an environment, tests for one: a worker's is empty. */
static const char *system_bundle(void)
{
	static const char *const places[] = {TRUST_BUNDLES};
	const char *chosen = getenv(X509_get_default_cert_file_env());

	if (chosen && *chosen)
		return chosen;
	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++)
		if (access(places[i], R_OK) == 0)
			return places[i];
	return NULL;
}

static int load_file(SSL_CTX *context, const char *what, const char *path, struct error *error)
{
	struct error wrong = {0};

	if (roots_add_file(SSL_CTX_get_cert_store(context), path, &wrong) == 0)
		return 0;
	return error_set(error, "%s: %s", what, wrong.text);
}

/* On a thread of its own, or not: until it has ended nothing else touches `client`. A bundle that
 * cannot be parsed leaves a store that verifies nobody. */
static void *parse_roots(void *context)
{
	struct tls_client *client = context;

	if (!roots_add_pem(SSL_CTX_get_cert_store(client->context), &client->bundle))
		diag_error("system roots: the bundle cannot be parsed: origins that need it are refused");
	bytes_free(&client->bundle);
	return NULL;
}

/* Looked at just so far that an empty or foreign file is told at the start. */
static int read_bundle(struct tls_client *client, const char *path, struct error *error)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int result = fd < 0 ? -1 : bytes_read(&client->bundle, fd, ROOTS_LIMIT);

	if (result < 0)
		error_set(error, "system roots: cannot read %s: %s", path, strerror(errno));
	else if (!memmem(client->bundle.data, client->bundle.length, "-----BEGIN ", 11))
		result = error_set(error, "system roots: no certificate in %s", path);
	if (fd >= 0)
		close(fd);
	client->roots = result == 0 ? ROOTS_READ : ROOTS_PARSED;
	return result;
}

/* The bundle as one file, read now: OpenSSL's default directory would be read at each look-up,
 * which blocks, and which a worker without a file system cannot do. Parsing takes 10 ms and more,
 * OpenSSL 3 being slow at it, and waits until somebody wants TLS. */
static int load_roots(struct tls_client *client, const char *ca_file, struct error *error)
{
	const char *bundle = system_bundle();

	if (bundle && read_bundle(client, bundle, error) < 0)
		return -1;
	if (!bundle)
		SSL_CTX_set_default_verify_paths(client->context);
	if (ca_file && load_file(client->context, "upstream.ca_file", ca_file, error) < 0)
		return -1;
	ERR_clear_error();
	return 0;
}

void tls_client_warm(struct tls_client *client)
{
	if (client->roots == ROOTS_READ &&
	    pthread_create(&client->parser, NULL, parse_roots, client) == 0)
		client->roots = ROOTS_BEING_PARSED;
}

void tls_client_ready(struct tls_client *client)
{
	if (client->roots == ROOTS_BEING_PARSED)
		pthread_join(client->parser, NULL);
	else if (client->roots == ROOTS_READ)
		parse_roots(client);
	client->roots = ROOTS_PARSED;
}

/* ---- sessions ------------------------------------------------------------------------------- */

/* One place each: a table of fixed size cannot be filled by a bottle. */
static struct session_slot *slot_of(struct tls_client *client, const char *host, uint16_t port,
				    uint64_t cert)
{
	uint64_t hash = bytes_hash(host, strlen(host)) + port + (cert >> 1);

	return &client->slots[hash & (SLOT_COUNT - 1)];
}

static void slot_clear(struct session_slot *slot)
{
	SSL_SESSION_free(slot->session);
	free(slot->host);
	*slot = (struct session_slot){0};
}

/* Who a connection goes to, for the session callback; the SSL owns it by its app data. */
struct peer {
	uint16_t port;
	bool h2; /* offered */
	uint64_t cert;
	char host[];
};

static int peer_index = -1;

static void peer_free(void *parent, void *peer, CRYPTO_EX_DATA *data, int index, long argl,
		      void *argp)
{
	(void)parent, (void)data, (void)index, (void)argl, (void)argp;
	free(peer);
}

static bool set_peer(SSL *ssl, const char *host, uint16_t port, uint64_t cert)
{
	size_t size = strlen(host) + 1;
	struct peer *peer = malloc(sizeof(*peer) + size);

	if (!peer)
		return false;
	peer->port = port;
	peer->h2 = false;
	peer->cert = cert;
	memcpy(peer->host, host, size);
	if (SSL_set_ex_data(ssl, peer_index, peer) == 1)
		return true;
	free(peer);
	return false;
}

/* OpenSSL gives its reference away when this returns 1. Runs only for verified connections:
 * tickets come after the handshake (1.3) or at its very end (1.2). */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
	struct tls_client *client = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	const struct peer *peer = SSL_get_ex_data(ssl, peer_index);
	struct session_slot *slot;
	char *host;

	if (!client || !peer || SSL_get_verify_result(ssl) != X509_V_OK)
		return 0;
	slot = slot_of(client, peer->host, peer->port, peer->cert);
	host = strdup(peer->host);
	if (!host)
		return 0;
	slot_clear(slot);
	*slot = (struct session_slot){
		.host = host, .port = peer->port, .cert = peer->cert, .session = session};
	return 1;
}

static void resume(struct tls_client *client, SSL *ssl, const char *host, uint16_t port,
		   uint64_t cert)
{
	struct session_slot *slot = slot_of(client, host, port, cert);

	if (slot->session && slot->port == port && slot->cert == cert &&
	    strcmp(slot->host, host) == 0 &&
	    SSL_SESSION_is_resumable(slot->session))
		SSL_set_session(ssl, slot->session);
}

/* ---- connections ---------------------------------------------------------------------------- */

/* No renegotiation and no compression: nothing needs them, and both have been attacked (CRIME,
 * CVE-2009-3555). */
static bool set_up(struct tls_client *client)
{
	SSL_CTX *context = client->context =
		SSL_CTX_new_ex(NULL, tls_provider_query(), TLS_client_method());

	if (peer_index < 0)
		peer_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, peer_free);
	if (!context || peer_index < 0 ||
	    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1 ||
	    SSL_CTX_set_ciphersuites(context, ciphers_suites()) != 1 ||
	    SSL_CTX_set_app_data(context, client) != 1)
		return false;
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(context, on_session);
	/* Zero is success for this one. */
	return SSL_CTX_set_alpn_protos(context, (const unsigned char *)"\x08http/1.1", 9) == 0;
}

/* `only`: the roots, instead of the system's and `upstream.ca_file`. */
static int client_new(const struct config *config, const char *only, struct tls_client **ret,
		      struct error *error)
{
	struct tls_client *client = calloc(1, sizeof(*client));
	int result = -1;

	if (!client)
		return error_set(error, "out of memory");
	if (!set_up(client))
		error_set(error, "cannot set up TLS: out of memory");
	else if (only)
		result = load_file(client->context, "upstream.proxy_ca_file", only, error);
	else
		result = load_roots(client, config->upstream.ca_file, error);
	if (result == 0)
		*ret = client;
	else
		tls_client_free(client);
	return result;
}

int tls_client_new(const struct config *config, struct tls_client **ret, struct error *error)
{
	return client_new(config, NULL, ret, error);
}

int tls_client_new_for_proxy(const struct config *config, struct tls_client **ret,
			     struct error *error)
{
	return client_new(config, config->upstream.proxy_ca_file, ret, error);
}

void tls_client_free(struct tls_client *client)
{
	if (!client)
		return;
	if (client->roots == ROOTS_BEING_PARSED)
		tls_client_ready(client);
	bytes_free(&client->bundle);
	if (client->context)
		SSL_CTX_set_app_data(client->context, NULL);
	SSL_CTX_free(client->context);
	for (size_t i = 0; i < SLOT_COUNT; i++)
		slot_clear(&client->slots[i]);
	free(client);
}

static bool set_name(SSL *ssl, const char *host)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(ssl);

	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	/* An IP literal is matched against iPAddress and is no SNI (RFC 6066, 3). */
	if (X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1)
		return true;
	ERR_clear_error();
	return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

/* Without a name there would be nothing to verify: refused. */
SSL *tls_client_connection(struct tls_client *client, const char *host, uint16_t port,
			   const struct client_cert *cert)
{
	uint64_t id = client_cert_id(cert);
	SSL *ssl;

	tls_client_ready(client);
	ssl = SSL_new(client->context);
	if (!ssl)
		return NULL;
	if (!*host || !set_name(ssl, host) || !set_peer(ssl, host, port, id) ||
	    (cert && !client_cert_use(cert, ssl))) {
		SSL_free(ssl);
		return NULL;
	}
	SSL_set_connect_state(ssl);
	resume(client, ssl, host, port, id);
	return ssl;
}

void tls_client_offer_h2(SSL *ssl)
{
	struct peer *peer = SSL_get_ex_data(ssl, peer_index);

	/* Zero is success for this one. */
	peer->h2 = SSL_set_alpn_protos(ssl, (const unsigned char *)"\x02h2\x08http/1.1", 12) == 0;
}

bool tls_client_chose_h2(const SSL *ssl)
{
	const struct peer *peer = SSL_get_ex_data(ssl, peer_index);
	const unsigned char *name;
	unsigned int length;

	SSL_get0_alpn_selected(ssl, &name, &length);
	return peer->h2 && length == 2 && memcmp(name, "h2", 2) == 0;
}

bool tls_client_chose(const SSL *ssl)
{
	const unsigned char *name;
	unsigned int length;

	SSL_get0_alpn_selected(ssl, &name, &length);
	return length > 0;
}

/* A server that chooses what was not offered is not who it says, or broken. */
static bool protocol_agreed(const SSL *ssl)
{
	const unsigned char *name;
	unsigned int length;

	SSL_get0_alpn_selected(ssl, &name, &length);
	return length == 0 || tls_client_chose_h2(ssl) || (length == 8 && memcmp(name, "http/1.1", 8) == 0);
}

/* The verdict comes first: a failed handshake with a bad certificate is a bad certificate. */
enum egress_reason tls_client_judge(SSL *ssl, const char *host, int rc, char *detail, size_t size)
{
	long verdict = SSL_get_verify_result(ssl);
	unsigned long code = ERR_peek_error();
	const char *reason = ERR_reason_error_string(code);

	ERR_clear_error();
	if (verdict != X509_V_OK) {
		snprintf(detail, size, "%s: %s", host, X509_verify_cert_error_string(verdict));
		return EGRESS_UPSTREAM_CERTIFICATE;
	}
	if (rc == 1 && protocol_agreed(ssl))
		return EGRESS_ALLOWED;
	if (rc == 1)
		reason = "the server chose a protocol that was not offered";
	else if (ERR_SYSTEM_ERROR(code))
		reason = strerror(ERR_GET_REASON(code));
	snprintf(detail, size, "%s: TLS: %s", host, reason ? reason : "handshake failed");
	return EGRESS_UPSTREAM_PROTOCOL;
}
