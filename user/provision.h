/* SPDX-License-Identifier: BSD-2-Clause */
/* Our CA in the trust of a root file system, put there and taken back from outside. */
#ifndef PROVISION_H
#define PROVISION_H

#include "attributes.h"
#include "rootfs.h"

/* What was found and done, for people: "PATH: added". */
struct provision_report {
	char **lines;
	size_t count;
	size_t changed; /* files */
	size_t missed;	/* stores that programs may read and that we leave alone */
};
void provision_report_free(struct provision_report *report);

/* The first certificate of a PEM text, alone and in our own spelling: a key that stands beside it
 * stays out. -1 with `error` set when there is none, or when it is not a CA's. */
int provision_certificate(const char *path, struct span text, struct bytes *ret_pem,
			  struct error *error) WARN_UNUSED;

/* Adds the certificate to bundles, anchors, OpenSSL's directory and Java's key stores (Debian,
 * Alpine, RHEL, SUSE, Arch), or removes what was added. Idempotent; an older CA of ours is replaced.
 * All or nothing: when one file cannot be written, those before it are put back. */
int provision(const struct rootfs *root, struct span ca_pem, bool remove,
	      struct provision_report *report, struct error *error) WARN_UNUSED;

/* Appends `bundle` without what we once added and without this certificate. */
int provision_strip(struct span bundle, struct span ca_pem, struct bytes *ret) WARN_UNUSED;
/* Appends the bundle, which has been stripped, and our block. */
int provision_join(struct span bundle, struct span ca_pem, struct bytes *ret) WARN_UNUSED;
/* Whether a file begins with our block: then we made it. */
bool provision_is_ours(struct span text);

#endif
