// SPDX-License-Identifier: BSD-2-Clause
/* One line of people's words from the counters; numbers come from the kernel wall and from the
 * proxy, each counting what it decided. */
#include "bottle_summary.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "reason.h"
#include "refusal.h"

/* What fits on two lines of a terminal. */
#define MOST_HOSTS 8

struct line {
	char *text;
	size_t size, length;
	const char *separator;
};

/* Cut, never overrun; what is cut is the least interesting. */
static void PRINTF(2, 3) add(struct line *line, const char *format, ...)
{
	va_list arguments;
	int added;

	if (line->length + 1 >= line->size)
		return;
	va_start(arguments, format);
	added = vsnprintf(line->text + line->length, line->size - line->length, format, arguments);
	va_end(arguments);
	if (added > 0)
		line->length += (size_t)added;
	if (line->length >= line->size)
		line->length = line->size - 1;
}

/* Nothing is said of zeros. */
static void add_item(struct line *line, const char *name, const char *what, uint64_t count)
{
	if (count == 0)
		return;
	add(line, "%s%s%s (%" PRIu64 ")", line->separator, name, what, count);
	line->separator = ", ";
}

static uint64_t host_refused(const struct kernel_host_status *host)
{
	return host->counters.refused + host->verdicts.refused;
}

/* What no host's counters hold: names that are not allowed, addresses, protocols. */
static void add_reasons(struct line *line, const struct kernel_status *status)
{
	static const enum egress_reason reasons[] = {
		EGRESS_HOST_NOT_ALLOWED, EGRESS_ADDRESS_NOT_ALLOWED, EGRESS_PROTOCOL_NOT_ALLOWED};

	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
		add_item(line, reason_name(reasons[i]), "",
			 status->counters[reasons[i]] + status->verdicts[reasons[i]]);
}

/* The lines above this one name what an operator could allow, with its reason; of what failed in
 * another way (a client without trust in the CA, an origin's certificate) nothing else tells
 * without a log. */
static void add_failures(struct line *line, const struct kernel_status *status)
{
	line->separator = "; of these ";
	for (int i = EGRESS_ALLOWED + 1; i < EGRESS_REASON_COUNT; i++)
		if (!refusal_is_pending((enum egress_reason)i))
			add_item(line, reason_name((enum egress_reason)i), "",
				 status->counters[i] + status->verdicts[i]);
}

void bottle_summary(const struct kernel_status *status, char *ret_line, size_t size)
{
	struct line line = {ret_line, size, 0, ": "};
	uint64_t refused = 0;
	size_t shown = 0, more = 0;

	for (int i = EGRESS_ALLOWED + 1; i < EGRESS_REASON_COUNT; i++)
		refused += status->counters[i] + status->verdicts[i];
	add(&line, "%" PRIu64 " allowed, %" PRIu64 " refused",
	    (uint64_t)status->verdicts[EGRESS_ALLOWED], refused);
	for (size_t i = 0; i < status->host_count; i++) {
		const struct kernel_host_status *host = &status->hosts[i];

		if (host->verdicts.allowed == 0 && host_refused(host) == 0)
			continue;
		if (shown++ >= MOST_HOSTS) {
			more++;
			continue;
		}
		add_item(&line, host->host.name, "", host->verdicts.allowed);
		add_item(&line, host->host.name, " refused", host_refused(host));
	}
	add_item(&line, "other hosts", "", more);
	add_reasons(&line, status);
	add_failures(&line, status);
}
