/* SPDX-License-Identifier: BSD-2-Clause */
/* What this program is made of, for `--version` and bug reports. Calls nothing of ours. */
#ifndef VERSION_H
#define VERSION_H

/* Several lines on standard output: version and commit, libraries as they are loaded, the least
 * kernel. */
void version_print(void);

#endif
