/* SPDX-License-Identifier: BSD-2-Clause */
/* Environment variables by which tools are told where their roots are. */
#ifndef TRUST_VARIABLES_H
#define TRUST_VARIABLES_H

#include <stddef.h>

/* To be set to the path of the bundle for whatever runs in a bottle: each tool that has one of its own. */
extern const char *const trust_variables[];
extern const size_t trust_variable_count;

#endif
