// SPDX-License-Identifier: BSD-2-Clause
#include "json_text.h"

#include <stdlib.h>

#include "utf8.h"

json_t *json_text(const char *text)
{
	char *copy = strdup(text);
	json_t *string = NULL;

	if (copy) {
		utf8_mend(copy);
		string = json_string(copy);
	}
	free(copy);
	return string;
}
