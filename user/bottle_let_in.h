/* SPDX-License-Identifier: BSD-2-Clause */
/* How the kernel wall knows a unix socket that --bind-socket lets in. */
#ifndef BOTTLE_LET_IN_H
#define BOTTLE_LET_IN_H

#include "../bpf/egress_abi.h"
#include "attributes.h"
#include "diag.h"

/* The file behind `path` in the kernel's own numbers: those of stat(2) are other ones on btrfs and
 * overlayfs. -1 with `error` set when it is no unix socket. */
int bottle_let_in_find(const char *path, struct egress_unix_file *ret, struct error *error)
	WARN_UNUSED;

#endif
