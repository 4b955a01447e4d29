// SPDX-License-Identifier: BSD-2-Clause
/* Any bytes as what a sidecar says: as its answer, and as a line of events, which a taken worker may have
 * written. An event is printed as one line at most, of whole characters that a terminal only shows. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control.h"
#include "events.h"
#include "fuzz_main.h"
#include "utf8.h"

static void check_answer(const uint8_t *data, size_t size)
{
	struct error error = {.text = ""};
	int pair[2];
	json_t *answer;

	REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	REQUIRE(send(pair[0], data, size, MSG_DONTWAIT) == (ssize_t)size);
	close(pair[0]);
	answer = control_answer(pair[1], &error);
	REQUIRE(!answer || !json_string_value(json_object_get(answer, "error")));
	json_decref(answer);
}

static void check_printed(const char *text, size_t size)
{
	json_t *checked = json_stringn(text, size); /* refuses what is not UTF-8 */

	REQUIRE(checked);
	json_decref(checked);
	REQUIRE(size == 0 || text[size - 1] == '\n');
	for (size_t i = 0; i + 1 < size; i++)
		REQUIRE(utf8_unsafe(text + i) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *event = json_loadb((const char *)data, size, 0, NULL);
	char *text = NULL;
	size_t length = 0;
	FILE *to = open_memstream(&text, &length);

	REQUIRE(to);
	if (size > 0)
		check_answer(data, size);
	events_print(to, event, false);
	(void)events_has_host(event, "*.a.test");
	fclose(to);
	check_printed(text, length);
	free(text);
	json_decref(event);
	return 0;
}
