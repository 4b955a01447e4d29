// SPDX-License-Identifier: BSD-2-Clause
/* By dlopen(3), and not at link time: `exec` starts in a few milliseconds, and these libraries alone
 * would take as long. */
#include "libcurl.h"

#include <dlfcn.h>

#define LIBRARY "libcurl.so.4"

static struct libcurl api;
static void *library;

int libcurl_load(const char *peer, bool tls, const struct libcurl **ret, struct error *error)
{
	void *opened;

	*ret = &api;
	if (library)
		return 0;
	opened = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (!opened)
		return error_set(error, LIBRARY ", which speaks to %s, is not on this machine: install "
				 "Debian's libcurl4", peer);
#define X(symbol)                                                                                  \
	*(void **)&api.symbol = dlsym(opened, "curl_" #symbol);                                    \
	if (!api.symbol) {                                                                         \
		dlclose(opened);                                                                   \
		return error_set(error, LIBRARY " lacks curl_" #symbol);                           \
	}
	LIBCURL_SYMBOLS(X)
#undef X
	if (api.global_init(tls ? CURL_GLOBAL_SSL : CURL_GLOBAL_NOTHING) != CURLE_OK) {
		dlclose(opened);
		return error_set(error, LIBRARY " does not start");
	}
	library = opened;
	return 0;
}
