// SPDX-License-Identifier: BSD-2-Clause
/* CONNECT through the operator's proxy. What it sends before its answer's end is hostile like any
 * upstream; its credential is written to it alone, and wiped when it was sent. */
#include "upstream_proxy.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "http1_head.h"
#include "upstream_tls.h"

/* As for origins' heads. */
#define HEAD_LIMIT (16 * 1024)
/* 1xx answers before a final one (RFC 9110, 15.2). */
#define INTERIM_LIMIT 8
#define WORDS_LIMIT 160	    /* of a refusal's body that are passed on */
#define WORDS_READ 1024	    /* of it that are looked at */
#define WORDS_WAIT_MS 1000  /* for them; the refusal itself is known by then */

struct upstream_proxy {
	unsigned references;
	char *host;
	uint16_t port;
	struct tls_client *tls; /* NULL: http:// */
	char *authorization;	/* "Basic ..."; NULL: none */
	struct config_no_proxy *direct;
	size_t direct_count;
};

/* ---- settings ------------------------------------------------------------------------------- */

/* config.c has checked the form: scheme://host:port, the host maybe in brackets. */
static bool take_url(struct upstream_proxy *proxy, const char *url)
{
	const char *host = strstr(url, "://") + 3, *colon = strrchr(host, ':');
	bool bracketed = host[0] == '[';
	size_t length = (size_t)(colon - host);

	proxy->port = (uint16_t)atoi(colon + 1);
	proxy->host = strndup(host + bracketed, length - 2 * bracketed);
	return proxy->host;
}

/* RFC 7617. A user without a password fails: half a credential is none. */
static bool take_credential(struct upstream_proxy *proxy, const struct config *config)
{
	const char *user = config->upstream.proxy_user;
	const char *password = config->upstream.proxy_password.value;
	size_t length = user && password ? strlen(user) + 1 + strlen(password) : 0;
	char *pair;

	if (!user)
		return true;
	/* Not by asprintf(3), which frees what it has outgrown with the password in it. */
	pair = password ? malloc(length + 1) : NULL;
	if (!pair)
		return false;
	stpcpy(stpcpy(stpcpy(pair, user), ":"), password);
	proxy->authorization = malloc(sizeof("Basic ") + (length + 2) / 3 * 4);
	if (proxy->authorization) {
		memcpy(proxy->authorization, "Basic ", sizeof("Basic "));
		EVP_EncodeBlock((unsigned char *)proxy->authorization + strlen("Basic "),
				(const unsigned char *)pair, (int)length);
	}
	OPENSSL_clear_free(pair, length);
	return proxy->authorization;
}

static bool take_direct(struct upstream_proxy *proxy, const struct config *config)
{
	size_t count = config->upstream.no_proxy_count;

	proxy->direct = calloc(count ? count : 1, sizeof(*proxy->direct));
	if (!proxy->direct)
		return false;
	for (; proxy->direct_count < count; proxy->direct_count++) {
		struct config_no_proxy *to = &proxy->direct[proxy->direct_count];
		const struct config_no_proxy *from =
			&config->upstream.no_proxy[proxy->direct_count];

		to->cidr = from->cidr;
		to->name = from->name ? strdup(from->name) : NULL;
		if (from->name && !to->name)
			return false;
	}
	return true;
}

int upstream_proxy_new(const struct config *config, struct upstream_proxy **ret,
		       struct error *error)
{
	const char *url = config->upstream.proxy;
	struct upstream_proxy *proxy;

	if (!url) {
		*ret = NULL;
		return 0;
	}
	proxy = calloc(1, sizeof(*proxy));
	if (!proxy)
		return error_set(error, "out of memory");
	proxy->references = 1;
	if (!take_url(proxy, url) || !take_credential(proxy, config) ||
	    !take_direct(proxy, config)) {
		error_set(error, "upstream.proxy: out of memory, or no password");
	} else if (strncmp(url, "https://", 8) != 0 ||
		   tls_client_new_for_proxy(config, &proxy->tls, error) == 0) {
		*ret = proxy;
		return 0;
	}
	upstream_proxy_unref(proxy);
	return -1;
}

struct upstream_proxy *upstream_proxy_ref(struct upstream_proxy *proxy)
{
	proxy->references++;
	return proxy;
}

void upstream_proxy_unref(struct upstream_proxy *proxy)
{
	if (!proxy || --proxy->references > 0)
		return;
	if (proxy->authorization)
		OPENSSL_clear_free(proxy->authorization, strlen(proxy->authorization));
	for (size_t i = 0; i < proxy->direct_count; i++)
		free(proxy->direct[i].name);
	free(proxy->direct);
	free(proxy->host);
	tls_client_free(proxy->tls);
	free(proxy);
}

/* "x" is x alone and "*.x" everything below x, as in routes. */
static bool name_matches(const char *pattern, const char *host)
{
	size_t length = strlen(host), tail;

	if (strncmp(pattern, "*.", 2) != 0)
		return strcasecmp(pattern, host) == 0;
	tail = strlen(pattern + 1);
	return length > tail && strcasecmp(host + length - tail, pattern + 1) == 0;
}

/* Names are matched as names and addresses as addresses: no look-up decides about the way. */
bool upstream_proxy_serves(const struct upstream_proxy *proxy, const char *host,
			   const struct egress_address *address)
{
	for (size_t i = 0; proxy && i < proxy->direct_count; i++) {
		const struct config_no_proxy *direct = &proxy->direct[i];

		if (host ? direct->name && name_matches(direct->name, host)
			 : !direct->name && cidr_contains(&direct->cidr, address))
			return false;
	}
	return proxy;
}

const char *upstream_proxy_host(const struct upstream_proxy *proxy)
{
	return proxy->host;
}

uint16_t upstream_proxy_port(const struct upstream_proxy *proxy)
{
	return proxy->port;
}

/* ---- one hop -------------------------------------------------------------------------------- */

enum hop_state {
	HOP_HANDSHAKE, /* TLS to the proxy */
	HOP_SENDING,   /* CONNECT */
	HOP_HEAD,      /* its answer, until the empty line and not a byte further */
	HOP_WORDS,     /* refused: the body may say why */
};

struct proxy_hop {
	struct upstream_proxy *proxy;
	struct stream *stream;
	enum hop_state state;
	struct bytes out;  /* holds the credential */
	struct bytes head; /* of the answer */
	size_t scanned;
	unsigned interim, status;
	uint64_t words_left; /* what the answer says of its body's length */
	struct bytes words;
	char phrase[80];
	struct event timer;
	proxy_hop_fn done;
	void *context;
};

void proxy_hop_cancel(struct proxy_hop *hop)
{
	if (!hop)
		return;
	event_del(&hop->timer);
	/* The stream is the caller's and may live on: it must not call us. */
	stream_set_ready(hop->stream, NULL, NULL);
	upstream_proxy_unref(hop->proxy);
	bytes_wipe(&hop->out);
	bytes_free(&hop->head);
	bytes_free(&hop->words);
	free(hop);
}

/* The hop is gone before `done`, which may free the stream. */
static void finish(struct proxy_hop *hop, enum egress_reason reason, const char *detail)
{
	proxy_hop_fn done = hop->done;
	void *context = hop->context;

	proxy_hop_cancel(hop);
	done(context, reason, detail);
}

static void fail(struct proxy_hop *hop, enum egress_reason reason, const char *format, ...)
	PRINTF(3, 4);
static void fail(struct proxy_hop *hop, enum egress_reason reason, const char *format, ...)
{
	char detail[384];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(detail, sizeof(detail), format, arguments);
	va_end(arguments);
	finish(hop, reason, detail);
}

static void connection_lost(struct proxy_hop *hop, ssize_t error)
{
	ERR_clear_error();
	fail(hop, EGRESS_UPSTREAM_UNREACHABLE,
	     "the upstream proxy closed the connection before it answered CONNECT%s%s",
	     error < 0 ? ": " : "", error < 0 ? strerror((int)-error) : "");
}

/* ---- a refusal's words ---------------------------------------------------------------------- */

/* Somebody else's text, on its way into a log and to the bottle: printable ASCII, one line. */
static void clean(struct span text, char *ret, size_t size)
{
	size_t used = 0;
	bool space = false;

	text = span_trim(text);
	for (size_t i = 0; i < text.length && used + 2 < size; i++) {
		unsigned char c = (unsigned char)text.data[i];

		if (c <= 0x20 || c >= 0x7f) {
			space = used > 0;
			continue;
		}
		if (space)
			ret[used++] = ' ';
		space = false;
		ret[used++] = (char)c;
	}
	ret[used] = '\0';
}

/* 407 is the operator's mistake, and gets the key that mends it. */
static void refuse(struct proxy_hop *hop)
{
	char words[WORDS_LIMIT];
	const char *advice = "";

	clean(bytes_span(&hop->words), words, sizeof(words));
	if (hop->status == 407)
		advice = hop->proxy->authorization
				 ? " (it does not take the credential of upstream.proxy_auth)"
				 : " (it wants a credential: upstream.proxy_auth)";
	fail(hop, EGRESS_UPSTREAM_REFUSED, "the upstream proxy refused: %u %s%s%s%s", hop->status,
	     hop->phrase, advice, words[0] ? ": " : "", words);
}

static void on_words_timer(evutil_socket_t fd, short what, void *context)
{
	(void)fd, (void)what;
	refuse(context);
}

static void read_words(struct proxy_hop *hop)
{
	char buffer[WORDS_READ];
	size_t room;
	ssize_t n;

	do {
		room = WORDS_READ - hop->words.length;
		if (room > hop->words_left)
			room = (size_t)hop->words_left;
		n = room > 0 ? stream_read(hop->stream, buffer, room) : 0;
		if (n > 0)
			hop->words_left -= (uint64_t)n;
	} while (n > 0 && bytes_append(&hop->words, buffer, (size_t)n));
	ERR_clear_error();
	if (n != -EAGAIN)
		refuse(hop);
}

/* HTML is for people with browsers; and chunks would have to be decoded. */
static bool has_words(const struct http1_head *head)
{
	for (size_t i = 0; i < head->count; i++) {
		struct span name = head->fields[i].name, value = head->fields[i].value;

		if (span_equal_nocase(name, SPAN("content-encoding")))
			return false;
		if (span_equal_nocase(name, SPAN("content-type")) && value.length >= 9 &&
		    span_equal_nocase((struct span){value.data, 9}, SPAN("text/html")))
			return false;
	}
	return head->framing == HTTP1_LENGTH || head->framing == HTTP1_NO_BODY;
}

/* A proxy that refuses without a body is not waited for. */
static void begin_words(struct proxy_hop *hop, const struct http1_head *head)
{
	const struct timeval wait = {WORDS_WAIT_MS / 1000, WORDS_WAIT_MS % 1000 * 1000};

	hop->status = head->status;
	clean(head->phrase, hop->phrase, sizeof(hop->phrase));
	hop->words_left = head->framing == HTTP1_LENGTH ? head->length : UINT64_MAX;
	hop->state = HOP_WORDS;
	if (!has_words(head) || event_add(&hop->timer, &wait) < 0)
		hop->words_left = 0;
}

/* ---- the answer to CONNECT ------------------------------------------------------------------ */

/* True when there is something to go on with. */
static bool take_head(struct proxy_hop *hop)
{
	struct policy_header fields[HTTP1_FIELDS_MAX];
	struct http1_head head = {.fields = fields};
	llhttp_t parser;

	if (http1_response_parse(bytes_span(&hop->head), &parser, &head) != 0 ||
	    head.status == 101) {
		fail(hop, EGRESS_UPSTREAM_PROTOCOL,
		     "the upstream proxy's answer to CONNECT is not valid HTTP");
		return false;
	}
	if (head.status >= 200 && head.status < 300) {
		/* Whatever it says about a body: there is none (RFC 9110, 9.3.6). */
		finish(hop, EGRESS_ALLOWED, NULL);
		return false;
	}
	if (head.status >= 200) {
		begin_words(hop, &head);
	} else if (++hop->interim > INTERIM_LIMIT) {
		fail(hop, EGRESS_UPSTREAM_PROTOCOL, "the upstream proxy answers without end");
		return false;
	}
	hop->head.length = hop->scanned = 0;
	return true;
}

/* Takes from the stream no byte behind the head, which would be the far end's: SMTP and SSH servers
 * speak first. */
static bool read_head(struct proxy_hop *hop)
{
	char buffer[2048];
	size_t before = hop->head.length, room = HEAD_LIMIT - before;
	ssize_t n = stream_peek(hop->stream, buffer, room < sizeof(buffer) ? room : sizeof(buffer)), taken;
	long end;

	if (n == -EAGAIN)
		return false;
	if (n <= 0) {
		connection_lost(hop, n);
		return false;
	}
	if (!bytes_append(&hop->head, buffer, (size_t)n)) {
		fail(hop, EGRESS_INTERNAL, "out of memory");
		return false;
	}
	end = http1_head_end(bytes_span(&hop->head), &hop->scanned);
	if (end < 0 || (end == 0 && hop->head.length == HEAD_LIMIT)) {
		fail(hop, EGRESS_UPSTREAM_PROTOCOL,
		     "the upstream proxy's answer to CONNECT is %s",
		     end < 0 ? "not valid HTTP" : "too long");
		return false;
	}
	if (end > 0) {
		/* What was peeked at behind the head stays in the socket. */
		n = (ssize_t)((size_t)end - before);
		hop->head.length = (size_t)end;
	}
	taken = stream_read(hop->stream, buffer, (size_t)n);
	if (taken != n) {
		connection_lost(hop, taken);
		return false;
	}
	return end == 0 || take_head(hop);
}

/* ---- the machine ---------------------------------------------------------------------------- */

static bool shake_hands(struct proxy_hop *hop)
{
	int rc = stream_handshake(hop->stream);
	enum egress_reason reason;
	char text[256];

	if (rc == -EAGAIN)
		return false;
	reason = tls_client_judge(stream_ssl(hop->stream), hop->proxy->host, rc, text, sizeof(text));
	if (reason != EGRESS_ALLOWED) {
		fail(hop, reason, "the upstream proxy %s", text);
		return false;
	}
	hop->state = HOP_SENDING;
	return true;
}

/* Wiped at once: it holds the credential. */
static bool send_request(struct proxy_hop *hop)
{
	struct span rest = bytes_span(&hop->out);
	ssize_t n = stream_write(hop->stream, rest.data, rest.length);

	if (n == -EAGAIN)
		return false;
	if (n <= 0) {
		connection_lost(hop, n);
		return false;
	}
	bytes_consume(&hop->out, (size_t)n);
	if (hop->out.length == 0) {
		bytes_wipe(&hop->out);
		hop->state = HOP_HEAD;
	}
	return true;
}

static void on_ready(void *context)
{
	struct proxy_hop *hop = context;
	static bool (*const steps[])(struct proxy_hop *) = {
		[HOP_HANDSHAKE] = shake_hands,
		[HOP_SENDING] = send_request,
		[HOP_HEAD] = read_head,
		[HOP_WORDS] = NULL,
	};

	/* A step that returns false waits, or has ended the hop. */
	while (steps[hop->state]) {
		if (!steps[hop->state](hop))
			return;
	}
	read_words(hop);
}

/* An IPv6 address in brackets (RFC 3986, 3.2.2). */
static bool compose(struct proxy_hop *hop, const char *host, uint16_t port)
{
	const char *open = strchr(host, ':') ? "[" : "", *close = *open ? "]" : "";
	const char *authorization = hop->proxy->authorization;

	/* Room at once, so that growing leaves no copy of the credential behind. */
	return bytes_reserve(&hop->out, 2 * EGRESS_NAME_SIZE + 256 +
						(authorization ? strlen(authorization) : 0)) &&
	       bytes_printf(&hop->out, "CONNECT %s%s%s:%u HTTP/1.1\r\nHost: %s%s%s:%u\r\n", open,
			    host, close, port, open, host, close, port) &&
	       (!authorization ||
		(bytes_append_text(&hop->out, "Proxy-Authorization: ") &&
		 bytes_append_text(&hop->out, authorization) &&
		 bytes_append_text(&hop->out, "\r\n"))) &&
	       bytes_append_text(&hop->out, "\r\n");
}

static bool begin_tls(struct proxy_hop *hop)
{
	SSL *ssl = tls_client_connection(hop->proxy->tls, hop->proxy->host, hop->proxy->port, NULL);

	hop->state = HOP_HANDSHAKE;
	return ssl && stream_set_tls(hop->stream, ssl) == 0;
}

/* stream_again() has the loop call on_ready(): never from inside this call. */
struct proxy_hop *proxy_hop_start(struct event_base *base, struct upstream_proxy *proxy,
				  struct stream *stream, const char *host, uint16_t port,
				  proxy_hop_fn done, void *context)
{
	struct proxy_hop *hop = calloc(1, sizeof(*hop));

	if (!hop)
		return NULL;
	hop->proxy = upstream_proxy_ref(proxy);
	hop->stream = stream;
	hop->state = HOP_SENDING;
	hop->done = done;
	hop->context = context;
	evtimer_assign(&hop->timer, base, on_words_timer, hop);
	if (!compose(hop, host, port) || (proxy->tls && !begin_tls(hop))) {
		ERR_clear_error();
		proxy_hop_cancel(hop);
		return NULL;
	}
	stream_set_ready(stream, on_ready, hop);
	stream_again(stream);
	return hop;
}
