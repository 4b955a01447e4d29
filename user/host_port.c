// SPDX-License-Identifier: BSD-2-Clause
/* "N" or "INSIDE:OUTSIDE": a port inside the bottle and the host's behind it. */
#include "host_port.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

/* The digit is looked at before strtoul(3) is asked, which takes blanks and signs: "-1" would be a port.
 * `end` may follow as well as the text's end. */
static bool parse_port(const char *text, char end, const char **ret_end, uint16_t *ret)
{
	unsigned long port;
	char *stopped;

	if (*text < '0' || *text > '9')
		return false;
	port = strtoul(text, &stopped, 10);
	if (port == 0 || port > UINT16_MAX || (*stopped != '\0' && *stopped != end))
		return false;
	*ret = (uint16_t)port;
	*ret_end = stopped;
	return true;
}

int host_port_parse(const char *text, struct host_port *ret, struct error *error)
{
	struct host_port parsed;
	const char *end;

	if (!parse_port(text, ':', &end, &parsed.inside))
		return error_set(error, "'%s' is not a port N, nor INSIDE:OUTSIDE", text);
	/* One number is both: what most people mean by "the port". */
	parsed.outside = parsed.inside;
	if (*end == ':' && !parse_port(end + 1, '\0', &end, &parsed.outside))
		return error_set(error, "'%s' is not a port N, nor INSIDE:OUTSIDE", text);
	*ret = parsed;
	return 0;
}

void host_port_format(const struct host_port *host_port, char ret_text[HOST_PORT_TEXT_SIZE])
{
	snprintf(ret_text, HOST_PORT_TEXT_SIZE, "%u:%u", host_port->inside, host_port->outside);
}
