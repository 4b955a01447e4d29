// SPDX-License-Identifier: BSD-2-Clause
#include "ask.h"

#include <string.h>

const char *ask_state_name(enum ask_state state)
{
	static const char *const names[ASK_STATES] = {
		[ASK_UNKNOWN] = "unknown", [ASK_PENDING] = "pending", [ASK_ALLOWED] = "allowed",
		[ASK_DENIED] = "denied",   [ASK_BUSY] = "busy",	      [ASK_INVALID] = "invalid",
	};

	return (unsigned)state < ASK_STATES ? names[state] : names[ASK_UNKNOWN];
}

/* C0 and C1; U+061C; U+FEFF; U+200B to 200F, U+2028 to 202E, U+2060 to 206F. A NUL ends the text, so
 * that no byte behind it is looked at. */
size_t ask_unsafe(const char *text)
{
	const unsigned char *at = (const unsigned char *)text;

	if (*at < 0x20 || *at == 0x7f)
		return 1;
	if ((at[0] == 0xc2 && at[1] < 0xa0) || (at[0] == 0xd8 && at[1] == 0x9c))
		return at[1] ? 2 : 1;
	if (at[0] == 0xef && at[1] == 0xbb && at[2] == 0xbf)
		return 3;
	if (at[0] != 0xe2)
		return 0;
	if (at[1] == 0x80 && ((at[2] >= 0x8b && at[2] <= 0x8f) || (at[2] >= 0xa8 && at[2] <= 0xae)))
		return 3;
	return at[1] == 0x81 && at[2] >= 0xa0 && at[2] <= 0xaf ? 3 : 0;
}

/* Cut between characters, so that what is left is UTF-8 still. */
void ask_set_reason(struct ask *ask, struct span from)
{
	size_t length = from.length, used = 0, unsafe;

	if (length >= sizeof(ask->reason))
		length = sizeof(ask->reason) - 1;
	while (length > 0 && length < from.length && ((unsigned char)from.data[length] & 0xc0) == 0x80)
		length--;
	memset(ask->reason, 0, sizeof(ask->reason));
	if (length > 0)
		memcpy(ask->reason, from.data, length);
	for (const char *at = ask->reason; at < ask->reason + length; at += unsafe ? unsafe : 1) {
		unsafe = ask_unsafe(at);
		ask->reason[used++] = *at;
		if (unsafe)
			ask->reason[used - 1] = '?';
	}
	memset(ask->reason + used, 0, sizeof(ask->reason) - used);
}

const char *ask_fault(const struct ask *ask)
{
	if (!refusal_host_valid(span_from(ask->host)))
		return "host: say a name";
	if (ask->port == 0)
		return "port: say 1 to 65535";
	if (ask->method[0] && !refusal_method_valid(span_from(ask->method)))
		return "method: say a method's name";
	if (ask->path[0] && !refusal_path_valid(span_from(ask->path)))
		return "path: it begins with /, is ASCII, and has no query and no fragment";
	return ask->reason[0] ? NULL : "reason: say why, in a sentence";
}
