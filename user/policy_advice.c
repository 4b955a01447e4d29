// SPDX-License-Identifier: BSD-2-Clause
#include "policy_advice.h"

#include "policy_internal.h"

struct greeting {
	uint16_t port;
	const char *protocol;
};

/* Where a client waits for the server's greeting, so that nothing would come of a proxy that waits for
 * the client. */
static const struct greeting greetings[] = {
	{21, "FTP"},	 {22, "SSH"},	       {25, "SMTP"},	      {110, "POP3"}, {119, "NNTP"},
	{143, "IMAP"},	 {587, "SMTP"},	       {873, "rsync"},	      {2525, "SMTP"},
	{3306, "MySQL"}, {3690, "Subversion"}, {4190, "ManageSieve"}, {5900, "VNC"},
};
/* Where it begins TLS first. */
static const struct greeting tls_greetings[] = {
	{465, "SMTPS"}, {990, "FTPS"}, {993, "IMAPS"}, {995, "POP3S"}};

static const char *find(const struct greeting *table, size_t count, uint16_t port)
{
	for (size_t i = 0; i < count; i++) {
		if (table[i].port == port)
			return table[i].protocol;
	}
	return NULL;
}

const char *policy_greeted_in(uint16_t port, bool tls)
{
	const char *found = find(greetings, sizeof(greetings) / sizeof(greetings[0]), port);

	if (!found && tls)
		found = find(tls_greetings, sizeof(tls_greetings) / sizeof(tls_greetings[0]), port);
	return found;
}

/* What helps is for all ports of a route: what else it is for would go unjudged. */
static bool has_other_ports(const struct policy_route *route, bool within_tls)
{
	for (size_t i = 0; i < route->port_count; i++) {
		const bool plain = policy_greeted_in(route->ports[i], false);

		if (plain == within_tls || !policy_greeted_in(route->ports[i], true))
			return true;
	}
	return false;
}

static void advise_on_port(const struct policy_route *route, uint16_t port, struct diag_list *advice)
{
	const bool passes = route->mode == POLICY_PASSTHROUGH,
		   within_tls = !policy_greeted_in(port, false);
	const char *protocol = policy_greeted_in(port, !passes);

	if (!protocol)
		return;
	diag_list_add(advice, route->file, route->line,
		      "%s: port %u is for %s, where the server speaks first%s, and this route waits for "
		      "%s; would be right: %s%s",
		      route->host->name, port, protocol, within_tls ? " within TLS" : "",
		      passes ? "TLS" : "HTTP", within_tls ? "tls: passthrough" : "protocol: tcp",
		      has_other_ports(route, within_tls) ? " in a route of its own" : "");
}

static void advise_on_route(const struct policy_route *route, struct diag_list *advice)
{
	if (route->mode == POLICY_TCP)
		return;
	for (size_t i = 0; i < route->port_count; i++)
		advise_on_port(route, route->ports[i], advice);
}

void policy_advise(const struct policy *policy, struct diag_list *advice)
{
	for (size_t i = 0; i < policy->host_count; i++) {
		for (size_t j = 0; j < policy->hosts[i]->route_count; j++)
			advise_on_route(policy->hosts[i]->routes[j], advice);
	}
}
