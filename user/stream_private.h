/* SPDX-License-Identifier: BSD-2-Clause */
/* Between stream.c and stream_tls.c. */
#ifndef STREAM_PRIVATE_H
#define STREAM_PRIVATE_H

#include <event2/event_struct.h>

#include "stream.h"

/* `*_blocked` is the edge (EV_READ or EV_WRITE) that an operation waits for after it would have
 * blocked; until the edge comes, trying again is known to be in vain and costs no system call. A
 * TLS read may wait for EV_WRITE and a write for EV_READ (key update, RFC 8446, 4.6.3). */
struct stream {
	int fd;
	short read_blocked, write_blocked;
	bool ended;    /* the peer's FIN has come; what came before it may still be there to read */
	bool drained;  /* recv(2) would give nothing, as far as we know */
	bool checking; /* `again` runs for that alone */
	bool stirred;  /* something came since it was set */
	bool spent;    /* the last read emptied OpenSSL's buffer, which is freed then */
	size_t came;   /* since OpenSSL was called */
	int tls_error;         /* -errno; OpenSSL must not be called again after a fatal error */
	bool shutdown_pending; /* close_notify did not fit in the socket's buffer yet */
	bool shut;   /* nothing leaves any more */
	bool more;   /* the write at hand has others behind it */
	bool corked; /* and the kernel may wait for them with what it has */
	bool bulk;   /* reads into a large buffer, and counts among bulk_count */
	unsigned char full_reads; /* in a row, up to BULK_AFTER */
	SSL *ssl;
	const struct stream_ops *ops; /* framed: nothing above is used but through the carrier */
	void *object;
	SSL *outer; /* that `ssl` runs inside of, and owns; NULL: it runs on the socket */
	int tls_write_error;   /* the same, for writing alone */
	const char *tls_fault; /* in words; OpenSSL's memory */
	unsigned mark;
	bool has_peer;
	struct egress_address peer;
	stream_ready_fn ready;
	void *context;
	/* A framed stream ends here: there are hundreds to a connection, and they have no socket. */
	struct event event; /* registered once: one epoll_ctl(2) for the connection's life */
	struct event again;
	short edges;        /* of `event` */
	struct event *room; /* the edge that `event` lacks, once a write has been in vain */
};

/* So that what a short recv(2) cannot tell is looked for soon. False: nobody will look. */
bool stream_check_later(struct stream *stream);
/* After a recv(2) of `count` bytes with room for `size`. */
void stream_note_count(struct stream *stream, size_t count, size_t size);
/* A write would have blocked. False: no memory, nobody will tell of room. */
bool stream_wait_for_room(struct stream *stream);
/* As send(2), errno as well. */
ssize_t stream_send_out(struct stream *stream, const void *data, size_t length);

/* As stream_read(), stream_peek() and stream_write(), on one that has TLS. */
ssize_t stream_tls_read(struct stream *stream, void *buffer, size_t size, bool peek);
ssize_t stream_tls_write(struct stream *stream, const void *data, size_t length);
/* close_notify, best effort: 0 when it is out or cannot be, -EAGAIN when it has to wait. */
int stream_tls_close_notify(struct stream *stream, SSL *ssl);
/* Says goodbye and frees the TLS, if there is one. */
void stream_tls_free(struct stream *stream);

#endif
