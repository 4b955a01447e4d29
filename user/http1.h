/* SPDX-License-Identifier: BSD-2-Clause */
/* The way of requests across: what http1*.c share. HTTP/1 connections use http1_protocol alone;
 * http2.c runs one of these for each of its streams. */
#ifndef HTTP1_H
#define HTTP1_H

#include "connection_private.h"
#include "http1_forward.h"
#include "http1_refusal.h"
#include "http1_target.h"

enum http1_state {
	HTTP1_AWAIT_HEAD, /* nothing under way; `in` may hold part of a head */
	HTTP1_GATHERING,  /* the body of a request to the proxy itself is read */
	HTTP1_DIALLING,	  /* judged and allowed; the upstream is not there yet */
	HTTP1_RELAYING,	  /* request and response pass, both at the same time */
	HTTP1_ANSWERING,  /* an answer of our own is being written */
	HTTP1_LINGERING,  /* all is written; what the client still sends is thrown away, so that
			     no RST overtakes the answer */
};

struct http1;
struct http1_exchange {
	struct http1 *http1;
	struct connection *connection;
	struct bytes head; /* the request's, raw: judged again when the policy changes */
	struct span method, target;
	struct http1_asked asked;
	struct policy *policy; /* a reference: `route` lives in it */
	const struct policy_host *host; /* the same; NULL: none */
	const struct policy_route *route;
	struct bytes request; /* the head as sent, to send again; holds the credential */

	struct client_cert *client; /* the route's, borrowed from the policy; NULL: none */
	struct upstream_request *dial;
	struct stream *upstream;
	struct bytes received; /* read from the upstream, not yet used */
	size_t scanned;
	unsigned interim; /* 1xx responses so far */
	bool reused, retried;
	bool untouched; /* the upstream says that it has not acted on it */
	bool needs_http1; /* asks for a connection of HTTP/1.1 */
	bool settled;	  /* that was the last change of mind: HTTP/2 would not carry it */
	bool anyhow;	  /* takes it from any host then */
	bool not_http1;	  /* the upstream did not agree to it */
	bool old_client;     /* HTTP/1.0 */
	bool asks_first;     /* "Expect": whether its body comes hangs on the answer */
	bool client_keeps;   /* its connection serves another request */
	bool upstream_keeps; /* the same on the other side */
	bool upgrade;	     /* asked for */
	bool switched;	     /* and granted, on a framed stream: bytes both ways */
	bool sent;	     /* the request is written whole */
	bool unsendable;     /* the upstream takes no more of it, but may still answer */
	bool responded;	     /* the final response's head was composed */
	bool cut;	     /* and no more of it will come */
	bool answered;	     /* it was passed on whole, before the request was */

	struct http1_body up, down;
	enum egress_reason reason;
	enum egress_reason audited; /* of policy_verdict */
	char detail[256];
	unsigned status;
	uint64_t id; /* of its record, where the client was told; 0: not yet taken */
	uint64_t started_us;
	uint64_t dialled_us; /* when the upstream's connection was asked for; 0: it was there */
	uint64_t waited_us;  /* for it */
	uint64_t added_us;   /* of our own, before the request was on its way; 0: it never was */
};

struct http1 {
	struct connection *connection;
	struct stream *client; /* the connection's, or one stream of it */
	bool framed;	       /* the latter: for one request, and then over */
	stream_ready_fn wake;  /* runs this again */
	void *wake_context;
	enum http1_state state;
	enum egress_reason reason; /* of the end */
	char detail[128];
	struct bytes in; /* read from the client, not yet used */
	size_t scanned;
	bool client_eof;
	struct bytes answer;
	bool close_after; /* the answer */
	bool connect_after;
	uint64_t drains_until_ms; /* while it lingers */
	uint64_t moved_ms; /* when it last ran */
	struct http1_exchange *exchange;
};

/* What a step of the machine says: go on with the new state, or return this from run(). */
enum http1_step { HTTP1_STEP_NEXT, HTTP1_STEP_WAIT, HTTP1_STEP_CLOSE, HTTP1_STEP_CONNECT,
		  HTTP1_STEP_RELAY };

/* http1_exchange.c */
void http1_exchange_free(struct http1_exchange *exchange);
/* Writes the record. */
void http1_exchange_log(struct http1_exchange *exchange, enum egress_reason reason,
			const char *detail);
enum http1_step http1_dial(struct http1 *h, bool fresh);
enum http1_step http1_dialling(struct http1 *h);
enum http1_step http1_relay(struct http1 *h);

/* http1_judge.c: what a head asks for and whether it may. `head` comes out without hop fields.
 * Returns the reason; `verdict` has route and hint when policy spoke. */
enum egress_reason http1_judge(const struct connection *c, struct http1_head *head,
			       struct http1_asked *ret_asked, struct policy_verdict *ret_verdict);

/* http1_local.c: pages of the proxy itself. */
enum http1_step http1_local_answer(struct http1 *h, struct http1_answer *page);
enum http1_step http1_local_page(struct http1 *h, const struct http1_head *head);

/* http1_requests.c: "/requests" and "/requests/ID". */
#define HTTP1_REQUESTS "/requests"
enum http1_step http1_requests_page(struct http1 *h, const struct http1_head *head, struct span path);
enum http1_step http1_gather(struct http1 *h);

/* http1.c */
/* For one request on a framed stream, which stays the caller's. NULL when out of memory. */
struct http1 *http1_new_framed(struct connection *connection, struct stream *stream,
			       stream_ready_fn wake, void *context) WARN_UNUSED;
/* PROTOCOL_WAIT, or PROTOCOL_CLOSE when it is over. */
enum protocol_next http1_run(void *session);
bool http1_allowed(void *session);
/* What it holds in memory, the upstream's side included, if it has not moved since `before_ms`. */
size_t http1_held(const void *session, uint64_t before_ms);
/* Logs what is under way as ended by `reason`, and frees. */
void http1_end(void *session, enum egress_reason reason, const char *detail);
/* The time that the client's side may be silent; that of a framed stream is its session's. */
void http1_deadline(struct http1 *h, unsigned seconds);
/* Answers the exchange under way with a refusal, or with an answer that is already composed.
 * `close`: the connection ends with it. */
enum http1_step http1_refuse(struct http1 *h, enum egress_reason reason, unsigned status,
			     const char *detail, const char *hint, bool close);
/* The exchange is over: logs it, frees it; on to the next one or to the end. */
enum http1_step http1_finish(struct http1 *h, bool close);
enum http1_step http1_fault(struct http1 *h, enum egress_reason reason, const char *detail);
/* Reads into `to`. As stream_read(), or -ENOMEM. */
ssize_t http1_read(struct connection *c, struct stream *from, struct bytes *to);

#endif
