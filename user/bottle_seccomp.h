/* SPDX-License-Identifier: BSD-2-Clause */
/* The system calls that the bottle may not make: ways round the wall, and into the kernel. */
#ifndef BOTTLE_SECCOMP_H
#define BOTTLE_SECCOMP_H

#include "attributes.h"
#include "diag.h"

/* Loads the filter for this process and all it starts, for good; needs no_new_privs or root. With
 * `ret_listener` connect() and bind() wait for whoever answers there (seccomp_unotify(2)), and fail by
 * ENOSYS when nobody holds it any more; the descriptor is the caller's, close-on-exec. */
int bottle_seccomp_load(int *ret_listener, struct error *error) WARN_UNUSED;

#endif
