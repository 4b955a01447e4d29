// SPDX-License-Identifier: BSD-2-Clause
#include "cmd_bottle.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "cmd.h"
#include "control.h"
#include "diag.h"
#include "kernel.h"

static int say_which(const char *command, char **names)
{
	struct bytes text = {0};
	int status = EXIT_FAILED;

	for (size_t i = 0; names && names[i]; i++)
		if (!bytes_printf(&text, "%s%s", i > 0 ? ", " : "", names[i]))
			break;
	/* Which of several is never guessed: what is allowed or denied would be another
	 * bottle's. */
	if (text.length > 0)
		status = cmd_usage(command, "there are several bottles, say which: %.*s",
				   (int)text.length, bytes_span(&text).data);
	else
		diag_error("%s: no sidecar is running, or only root can see it", command);
	bytes_free(&text);
	return status;
}

int cmd_bottle(const char *command, const char *name, char **ret)
{
	char **names;
	int status = EXIT_OK;

	if (name && !kernel_name_valid(name))
		return cmd_usage(command, "'%s' cannot be a bottle's name", name);
	/* By the control sockets and not by the pins: a wall without a sidecar can be asked
	 * nothing. */
	names = name ? NULL : control_list();
	if (name)
		*ret = strdup(name);
	else if (names && names[0] && !names[1])
		*ret = strdup(names[0]);
	else
		status = say_which(command, names);
	for (size_t i = 0; names && names[i]; i++)
		free(names[i]);
	free((void *)names);
	if (status == EXIT_OK && !*ret) {
		diag_error("%s: out of memory", command);
		status = EXIT_FAILED;
	}
	return status;
}

int cmd_bottles(char ***ret, struct error *error)
{
	*ret = kernel_list();
	if (*ret || errno == ENOENT)
		return 0;
	return error_set(error, "cannot look into " KERNEL_PIN_ROOT ": %s; only root can", strerror(errno));
}
