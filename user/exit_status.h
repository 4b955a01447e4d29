/* SPDX-License-Identifier: BSD-2-Clause */
/* What our processes end with: a subcommand, the supervisor, the worker. Calls nothing of ours. */
#ifndef EXIT_STATUS_H
#define EXIT_STATUS_H

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_SANDBOX = 125 };

#endif
