// SPDX-License-Identifier: BSD-2-Clause
/* --version: what a report of a fault needs to say. */
#include "version.h"

#include <bpf/libbpf.h>
#include <event2/event.h>
#include <nghttp2/nghttp2.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <sys/utsname.h>

/* The Makefile knows it where there is a repository. */
#ifndef EGRESS_COMMIT
#define EGRESS_COMMIT ""
#endif

#if defined(__SANITIZE_ADDRESS__)
#define BUILD_KIND ", with AddressSanitizer"
#elif defined(__SANITIZE_THREAD__)
#define BUILD_KIND ", with ThreadSanitizer"
#else
#define BUILD_KIND ""
#endif

void version_print(void)
{
	struct utsname host;

	printf("egress-bpf " EGRESS_VERSION "%s" EGRESS_COMMIT "%s\n",
	       EGRESS_COMMIT[0] ? " (commit " : "", EGRESS_COMMIT[0] ? ")" : "");
	printf("built with gcc " __VERSION__ BUILD_KIND "\n");
	printf("libbpf %u.%u, %s, libevent %s, nghttp2 %s\n", libbpf_major_version(),
	       libbpf_minor_version(), OpenSSL_version(OPENSSL_VERSION), event_get_version(),
	       nghttp2_version(0)->version_str);
	printf("needs Linux 5.15 or later with cgroup v2");
	if (uname(&host) == 0)
		printf("; this is Linux %s, %s", host.release, host.machine);
	putchar('\n');
}
