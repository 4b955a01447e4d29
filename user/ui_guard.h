/* SPDX-License-Identifier: BSD-2-Clause */
/* Who may use the page. Other users of the machine, other pages in the same browser, and names that were
 * rebound to loopback all reach the port; this tells them from the one who was given the link. Pure. */
#ifndef UI_GUARD_H
#define UI_GUARD_H

#include <stdbool.h>
#include <sys/socket.h>

#include "attributes.h"

#define UI_SECRET_SIZE 33 /* 128 bits in hexadecimal digits, and NUL */

struct ui_session {
	char host[64];	 /* "127.0.0.1:41234": the only Host there is */
	char origin[72]; /* "http://" and that */
	char cookie_name[32];
	char token[UI_SECRET_SIZE]; /* ""; it was used */
	char cookie[UI_SECRET_SIZE], key[UI_SECRET_SIZE];
};

/* What of a request is judged; NULL: the header is not there. */
struct ui_headers {
	const char *host, *origin, *fetch_site, *cookie, *key;
};

/* New secrets for a page served at `address`. False: the kernel has no random bytes. */
bool ui_session_new(const struct sockaddr *address, struct ui_session *ret) WARN_UNUSED;

/* Host is ours (a rebound name is not), and no other site's page is behind the request: Origin, which
 * `changes` demands, and Sec-Fetch-Site (Fetch Metadata, W3C) say so. */
bool ui_guard_host(const struct ui_session *session, const struct ui_headers *headers) WARN_UNUSED;
bool ui_guard_site(const struct ui_session *session, const struct ui_headers *headers, bool changes)
	WARN_UNUSED;
/* Cookie and key both. The key is what the cookie alone cannot be: cookies are shared by all ports of a
 * host (RFC 6265, 8.5), so any server on this loopback may be sent ours. */
bool ui_guard_session(const struct ui_session *session, const struct ui_headers *headers) WARN_UNUSED;
/* Once: true for the token, which is dead from then on. */
bool ui_session_exchange(struct ui_session *session, const char *token) WARN_UNUSED;

#endif
