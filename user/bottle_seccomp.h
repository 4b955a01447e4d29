/* SPDX-License-Identifier: BSD-2-Clause */
/* The system calls that the bottle may not make: ways round the wall, and into the kernel. */
#ifndef BOTTLE_SECCOMP_H
#define BOTTLE_SECCOMP_H

#include "attributes.h"
#include "diag.h"

/* Loads the filter for this process and all it starts, for good. Sets no_new_privs. */
int bottle_seccomp_load(struct error *error) WARN_UNUSED;

#endif
