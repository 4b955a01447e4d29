// SPDX-License-Identifier: BSD-2-Clause
/* The claim is made from what was in force at the end, which is all that was in force: links are
 * attached before the command starts, and nobody in the bottle can detach them. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "report.h"

static void PRINTF(3, 4) add(char *text, size_t size, const char *format, ...)
{
	size_t length = strlen(text);
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text + length, size - length, format, arguments);
	va_end(arguments);
}

/* As `status` counts them. */
static size_t attached(const struct kernel_status *status)
{
	size_t count = 0;

	for (size_t i = 0; i < status->link_count; i++)
		count += status->links[i].attached;
	return count;
}

/* What stands against the claim, or NULL. */
static const char *objection(const struct report *report)
{
	const struct kernel_status *status = report->status;

	if (!status)
		return "there was no kernel wall, or its counters could not be read: nothing is known "
		       "of what went past the proxy";
	if (attached(status) < status->link_count || status->link_count == 0)
		return "not all of the wall's programs were in force at the end";
	if (status->settings.shared_netns)
		return "the bottle shared the host's network namespace: packet sockets, sockets made "
		       "before it began, and processes outside of it are beyond the wall";
	if (status->wire_count > 0)
		return "the bottle's network namespace had interfaces besides loopback";
	if (status->counters[EGRESS_COUNTER_DIRECT] > 0)
		return "a direct route let packets out past the proxy";
	if (report->socket_count > 0)
		return "unix sockets of the host were let in, and what is behind them is beyond the "
		       "wall";
	return NULL;
}

/* False also says why, in words for whoever relies on it. */
bool report_proof(const struct report *report, char *ret_text, size_t size)
{
	const struct kernel_status *status = report->status;
	const char *against = objection(report);
	uint64_t refused = 0;

	ret_text[0] = '\0';
	if (against) {
		add(ret_text, size, "Not proven: %s.", against);
		return false;
	}
	for (int i = EGRESS_ALLOWED + 1; i < EGRESS_REASON_COUNT; i++)
		refused += status->counters[i];
	add(ret_text, size,
	    "No packet left the bottle but through the proxy: it had no network interface but "
	    "loopback, and %zu kernel programs stood round it. They steered %" PRIu64
	    " connections to the proxy and refused %" PRIu64 "; 0 were let out past it.",
	    status->link_count, status->counters[EGRESS_COUNTER_STEERED], refused);
	if (status->settings.unix_wall != EGRESS_UNIX_WALLED &&
	    status->settings.unix_wall != EGRESS_UNIX_BROKERED)
		add(ret_text, size, " Unix sockets of the host were hidden, not refused by the "
		    "kernel: one made since in a directory that both see is beyond this.");
	if (report->host_port_count > 0)
		add(ret_text, size, " Ports of the host's loopback that were let in: %zu.",
		    report->host_port_count);
	return true;
}
