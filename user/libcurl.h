/* SPDX-License-Identifier: BSD-2-Clause */
/* libcurl, loaded when it is first needed: it brings fourteen libraries that neither `exec` nor a
 * sidecar should map. */
#ifndef LIBCURL_H
#define LIBCURL_H

#include <curl/curl.h>
#include <stdbool.h>

#include "attributes.h"
#include "diag.h"

/* What is used of it, by the names of its own header. */
#define LIBCURL_SYMBOLS(X)                                                                         \
	X(global_init) X(easy_init) X(easy_setopt) X(easy_perform) X(easy_getinfo) X(easy_cleanup)  \
	X(easy_reset) X(easy_strerror) X(slist_append) X(slist_free_all) X(multi_init)              \
	X(multi_add_handle) X(multi_remove_handle) X(multi_perform) X(multi_poll) X(multi_cleanup)

struct libcurl {
#define X(name) __typeof__(curl_##name) *name;
	LIBCURL_SYMBOLS(X)
#undef X
};

/* The functions, for the life of the process. `peer` is whom it is to speak to, for the message when
 * it is not installed. TLS only where the first call asked for it. */
int libcurl_load(const char *peer, bool tls, const struct libcurl **ret, struct error *error)
	WARN_UNUSED;

#endif
