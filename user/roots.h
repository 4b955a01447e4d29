/* SPDX-License-Identifier: BSD-2-Clause */
/* Files of certificates that are trusted as roots. */
#ifndef ROOTS_H
#define ROOTS_H

#include <openssl/x509.h>
#include <stdbool.h>

#include "attributes.h"
#include "bytes.h"
#include "diag.h"

/* Far above Mozilla's list, which has some 220 KiB. */
#define ROOTS_LIMIT ((size_t)16 << 20)

/* Every certificate of a PEM text; false when there is none, or no memory. */
bool roots_add_pem(X509_STORE *store, const struct bytes *pem) WARN_UNUSED;
/* Those of a regular file; any other is an error at once, a FIFO too, and so is one without a
 * certificate: nothing would be trusted, and nobody would know why. -1 with `error` set. */
int roots_add_file(X509_STORE *store, const char *path, struct error *error) WARN_UNUSED;

#endif
