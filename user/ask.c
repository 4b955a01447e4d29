// SPDX-License-Identifier: BSD-2-Clause
#include "ask.h"

#include <string.h>

#include "utf8.h"

const char *ask_state_name(enum ask_state state)
{
	static const char *const names[ASK_STATES] = {
		[ASK_UNKNOWN] = "unknown", [ASK_PENDING] = "pending", [ASK_ALLOWED] = "allowed",
		[ASK_DENIED] = "denied",   [ASK_BUSY] = "busy",	      [ASK_INVALID] = "invalid",
	};

	return (unsigned)state < ASK_STATES ? names[state] : names[ASK_UNKNOWN];
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
		unsafe = utf8_unsafe(at);
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
