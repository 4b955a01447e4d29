/* SPDX-License-Identifier: BSD-2-Clause */
/* A CA in an NSS database (SQLite, "sql:"), by the host's certutil(1) on a copy. */
#ifndef PROVISION_NSS_H
#define PROVISION_NSS_H

#include <stdbool.h>

#include "attributes.h"
#include "bytes.h"
#include "diag.h"

struct provision_nss {
	struct span certificates, keys; /* cert9.db and key4.db; the second may be empty */
	struct span ca_pem, ca_der;
	bool remove;
};
/* Whether this machine has certutil, and we may use it: it runs as a user of its own. */
bool provision_nss_usable(void);
/* 1 with both files as they are to be, 0 when they are as they should be, -1 with `error` set: not a
 * database, or one with a password. The content is hostile: what reads it has no rights, no network
 * and no files but the copy. */
int provision_nss_change(const struct provision_nss *job, struct bytes *ret_certificates,
			 struct bytes *ret_keys, struct error *error) WARN_UNUSED;

#endif
