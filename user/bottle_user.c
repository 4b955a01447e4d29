// SPDX-License-Identifier: BSD-2-Clause
/* Whom the command runs as: never more than who called. Root only if asked for, or if nobody else
 * can be told. */
#include "bottle_user.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static bool parse_id(const char *text, uint32_t *ret_id)
{
	char *end;
	unsigned long id;

	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	id = strtoul(text, &end, 10);
	/* (uid_t)-1 means 'leave as it is' to setresuid(2): never an id. */
	if (errno != 0 || *end || id >= UINT32_MAX)
		return false;
	*ret_id = (uint32_t)id;
	return true;
}

/* The first call only counts. */
static int fill_groups(struct bottle_user *user, struct error *error)
{
	int count = 0;

	getgrouplist(user->name, user->gid, NULL, &count);
	user->groups = calloc((size_t)count + 1, sizeof(*user->groups));
	if (!user->groups)
		return error_set(error, "out of memory");
	if (getgrouplist(user->name, user->gid, user->groups, &count) < 0)
		return error_set(error, "cannot read the groups of %s", user->name);
	user->group_count = (size_t)count;
	return 0;
}

static int fill_from_entry(struct bottle_user *user, const struct passwd *entry,
			   struct error *error)
{
	user->uid = entry->pw_uid;
	user->gid = entry->pw_gid;
	user->name = strdup(entry->pw_name);
	user->home = strdup(entry->pw_dir);
	user->shell = strdup(entry->pw_shell[0] ? entry->pw_shell : "/bin/sh");
	if (!user->name || !user->home || !user->shell)
		return error_set(error, "out of memory");
	return fill_groups(user, error);
}

/* A number needs no entry in the user database; its group is then `gid`. */
static int fill_from_id(struct bottle_user *user, uid_t uid, gid_t gid, struct error *error)
{
	const struct passwd *entry = getpwuid(uid);

	if (entry)
		return fill_from_entry(user, entry, error);
	user->uid = uid;
	user->gid = gid;
	return 0;
}

/* getpwnam(3) before the number: a user may be named like one. */
static int find(const char *name, const char *sudo_uid, const char *sudo_gid,
		struct bottle_user *user, struct error *error)
{
	uint32_t uid = 0, gid = 0;

	if (name) {
		const struct passwd *entry = getpwnam(name);

		if (entry)
			return fill_from_entry(user, entry, error);
		if (!parse_id(name, &uid))
			return error_set(error, "there is no user '%s'", name);
		return fill_from_id(user, uid, uid, error);
	}
	if (!sudo_uid)
		return 0;
	if (!parse_id(sudo_uid, &uid) || (sudo_gid && !parse_id(sudo_gid, &gid)))
		return error_set(error, "SUDO_UID and SUDO_GID must be numbers");
	/* sudo from a root shell: as root, with the environment as it is. */
	return uid == 0 ? 0 : fill_from_id(user, uid, sudo_gid ? gid : uid, error);
}

int bottle_user_find(const char *name, const char *sudo_uid, const char *sudo_gid,
		     struct bottle_user *ret_user, struct error *error)
{
	struct bottle_user user = {0};

	if (find(name, sudo_uid, sudo_gid, &user, error) < 0) {
		bottle_user_release(&user);
		return -1;
	}
	*ret_user = user;
	return 0;
}

void bottle_user_release(struct bottle_user *user)
{
	free(user->groups);
	free(user->name);
	free(user->home);
	free(user->shell);
	*user = (struct bottle_user){0};
}
