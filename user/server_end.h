/* SPDX-License-Identifier: BSD-2-Clause */
/* That a worker ends: whoever hangs while it does, or whose loop hangs when the supervisor has ended, is
 * ended by a timer of the kernel's (SIGALRM, whose default action needs nobody's cooperation). */
#ifndef SERVER_END_H
#define SERVER_END_H

#define SERVER_END_S 8 /* more than the supervisor's own patience: by its word it ends sooner */

/* From now on SIGUSR2 is the parent's end (PR_SET_PDEATHSIG) and leaves SERVER_END_S. After the last change
 * of ids, which would undo it, and before the filter of system calls. The end of the control socket tells
 * the same where this cannot be had, and of a parent that has ended already. */
void server_end_with_parent(void);
/* SERVER_END_S from here to the process's end, if it does not end by itself. */
void server_end_soon(void);

#endif
