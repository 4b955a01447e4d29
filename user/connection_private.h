/* SPDX-License-Identifier: BSD-2-Clause */
/* What connection.c shares with the protocols it carries; nobody else includes this. */
#ifndef CONNECTION_PRIVATE_H
#define CONNECTION_PRIVATE_H

#include <event2/event_struct.h>

#include "client_hello.h"
#include "connection.h"
#include "http1_body.h"

#define IDLE_SECONDS 300	     /* between requests, and before the first byte */
#define HANDSHAKE_SECONDS 10
#define GREETING_SECONDS 3	     /* no client of HTTP waits so long on a port that is not the web's */
#define HEAD_SECONDS 30		     /* from a head's first byte to its last */
/* Silence within an exchange. Long polls and event streams may say nothing for a day; hosts and
 * clients that are gone are found by TCP keep-alive long before. */
#define EXCHANGE_SECONDS (25 * 3600)
#define HALF_CLOSED_SECONDS 5	     /* the same, once the client has closed its side */
#define LINGER_SECONDS 2
#define TUNNEL_SECONDS (25 * 3600)

/* Scratch room and pools of one event loop, made with its first connection. */
#define PIPE_POOL_SIZE 64
#define LARGE_PIPES 8 /* so many at most, at rest or not; see tunnel.c */
struct proxy_shared {
	struct http1_scratch scratch;
	struct policy_header fields[HTTP1_FIELDS_MAX];
	struct tunnel_pipe {
		int read, write;
		bool large;
	} pipes[PIPE_POOL_SIZE], large_pipes[LARGE_PIPES];
	size_t pipe_count, large_count; /* at rest */
	size_t large_made;
	struct event full; /* connection_pressure.c */
};

/* What a protocol wants when its run() returns. */
enum protocol_next {
	PROTOCOL_WAIT,	  /* run me when a stream is ready */
	PROTOCOL_CONNECT, /* CONNECT was granted: `host` and `port` are the connection's name now */
	PROTOCOL_RELAY,	  /* switched (101): relay the streams; `sent` and `received` go first */
	PROTOCOL_CLOSE,	  /* see `reason`; also ALLOWED for an end in order */
};
struct connection;

/* A protocol is one of these; connection.c drives it and owns the streams. */
struct protocol {
	const char *name;
	/* NULL when out of memory. */
	void *(*start)(struct connection *connection);
	enum protocol_next (*run)(void *session);
	/* What is under way still stands under the policy in force? */
	bool (*allowed)(void *session);
	/* Nothing is under way: closing now loses nothing. */
	bool (*idle)(void *session);
	/* No more requests, but those under way; it ends by itself. NULL: it has only one. */
	void (*drain)(void *session);
	/* When memory is out: the most that one request holds which has not moved since `before_ms`
	 * (connection_now_ms()), and the end of those that hold at least so much. */
	size_t (*held)(const void *session, uint64_t before_ms);
	void (*shed)(void *session, size_t at_least, uint64_t before_ms);
	/* All that the connection holds, of all its requests together. */
	size_t (*total)(const void *session);
	/* Logs what is under way as ended by `reason`, and frees. */
	void (*end)(void *session, enum egress_reason reason, const char *detail);
};
extern const struct protocol http1_protocol;  /* HTTP/1 in both directions */
extern const struct protocol tunnel_protocol; /* bytes, as they are */

enum connection_state {
	CONNECTION_FIRST_BYTE,	 /* the client's first byte tells TLS from plain */
	CONNECTION_CLIENT_HELLO, /* peeking at the ClientHello: its SNI decides, or must agree */
	CONNECTION_HANDSHAKE,	 /* we are the TLS server */
	CONNECTION_DIALLING,	 /* a tunnel's way to the upstream */
	CONNECTION_PROTOCOL,	 /* `protocol` runs */
	CONNECTION_CLOSED,	 /* ended and logged; freed as soon as nobody is inside */
};

struct connection {
	struct proxy *proxy;
	struct connection *next, **link; /* proxy->connections */
	enum connection_state state;
	unsigned inside; /* depth of callbacks that still use this object */

	struct identity identity; /* as accepted */
	char host[EGRESS_NAME_SIZE]; /* the one name this connection is for; "" while unknown */
	uint16_t port;
	bool explicit; /* plain proxy protocol: CONNECT and absolute-form */
	bool tls;      /* we terminate the client's TLS */
	bool by_address; /* a cidr route: identity.address is the target */
	enum policy_mode mode; /* of `host`, once it is known */
	bool awaits;	 /* SO_RCVLOWAT is set, for the ClientHello */
	bool connecting; /* CONNECT awaits its 200 until the tunnel is dialled */
	bool probed;	 /* the upstream was asked what it speaks, with whatever result */
	bool begun;	 /* counts among begun_count: a protocol runs, or did */
	bool spoke;	 /* more came of the client than a TLS handshake that says nothing of HTTP */
	bool waited;	 /* it had not spoken after GREETING_SECONDS, and a record says so */

	struct stream *client;
	struct stream *upstream; /* a tunnel's; http1 keeps its own */
	struct upstream_request *dial;
	const struct protocol *protocol;
	void *session;
	/* Handed from one protocol to the next: bytes already read from one side, for the other. */
	struct bytes sent, received;
	struct bytes request_head; /* that asked for the switch; judged again on a reload */

	enum egress_reason reason; /* why a protocol wants to close, or the dial failed */
	char detail[256];

	uint64_t started_us; /* of the tunnel or connection, for the log */
	uint64_t deadline_ms, timer_ms;
	struct event timer;
};

/* Runs the connection: the streams' and dials' callback. Harmless from inside itself. */
void connection_wake(void *connection);
/* At most this long from now, unless set anew. */
void connection_deadline(struct connection *connection, unsigned seconds);
/* For how long the client may be silent at first: until there is a word on it, or IDLE_SECONDS. */
unsigned connection_patience(const struct connection *connection);
/* Ends it: logs what is under way, frees what it holds. The object itself lives until the last
 * callback is left. */
void connection_close(struct connection *connection, enum egress_reason reason, const char *detail);
/* For a protocol's run(): notes why, returns PROTOCOL_CLOSE. */
enum protocol_next connection_fault(struct connection *connection, enum egress_reason reason,
				    const char *detail);
/* The stream ends without looking complete: RST, and no close_notify. */
void connection_abort_client(struct connection *connection);
/* Writes a record after filling in what the connection knows. */
void connection_log(const struct connection *connection, struct access_record *record);
/* Is this host still named by the policy in force, on this port, and treated as `mode`? */
enum egress_reason connection_judge(const struct proxy *proxy, const char *host, uint16_t port,
				    enum policy_mode *ret_mode) WARN_UNUSED;
uint64_t connection_now_us(void);
uint64_t connection_now_ms(void); /* coarse */

/* connection_pressure.c: takes the policy's limit of buffers; ends what holds most of them when that is
 * met. */
void connection_pressure(struct proxy *proxy);
void connection_pressure_end(struct proxy *proxy);
/* Counts one that was ended for it. */
void connection_shed(struct connection *connection);
/* Undoes `inside++`: frees a connection that ended meanwhile. */
void connection_leave(struct connection *connection);
#define CONNECTION_SHED "all buffers are full, and this held the most"

/* Would the policy in force dial `upstream` for this host? False when it is at a private address
 * and the route has lost its allow_private. */
bool connection_may_keep(const struct proxy *proxy, const char *host, uint16_t port,
			 const struct stream *upstream) WARN_UNUSED;

/* http1_judge.c: a raw head that was allowed once: is it still, and its upstream (or NULL)? */
bool http1_head_allowed(const struct connection *connection, struct span head,
			const struct stream *upstream);

/* tunnel.c: closes the pipes at rest; accepts NULL. */
void tunnel_pipes_close(struct proxy_shared *shared);

/* connection_tls.c: our side of the handshake. */
/* Was one agreed on by ALPN? Then the client means to speak HTTP. */
bool connection_tls_agreed(const struct connection *connection);
/* The protocol that was agreed on; HTTP/1.1 without a word. */
const struct protocol *connection_tls_protocol(const struct connection *connection);
int connection_tls_start(struct connection *connection) WARN_UNUSED;
/* PROTOCOL_WAIT, or PROTOCOL_CONNECT when it is done, or PROTOCOL_CLOSE. */
enum protocol_next connection_tls_run(struct connection *connection);
/* Tells a client that has sent a ClientHello, in plain, that the name is refused. */
void connection_tls_refuse(struct connection *connection);

#endif
