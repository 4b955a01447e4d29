/* SPDX-License-Identifier: BSD-2-Clause */
/* Whom the command runs as. */
#ifndef BOTTLE_USER_H
#define BOTTLE_USER_H

#include <stddef.h>
#include <sys/types.h>

#include "attributes.h"
#include "diag.h"

struct bottle_user {
	uid_t uid;
	gid_t gid;
	gid_t *groups;
	size_t group_count;
	char *name, *home, *shell; /* NULL: leave the environment's */
};

/* `name` (a user's name or a number), else the one who called sudo (`sudo_uid`, `sudo_gid`: the
 * variables' values or NULL), else uid 0 without any other group. Caller frees what it fills. */
int bottle_user_find(const char *name, const char *sudo_uid, const char *sudo_gid,
		     struct bottle_user *ret_user, struct error *error) WARN_UNUSED;
void bottle_user_release(struct bottle_user *user);

#endif
