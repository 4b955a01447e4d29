// SPDX-License-Identifier: BSD-2-Clause
#include "policy_advice.h"

#include "policy_internal.h"

/* Where a client waits for the server's greeting, so that nothing would come of a proxy that waits for
 * the client. Not where TLS begins (465, 993, 995): that is the client's to begin. */
static const struct greeting {
	uint16_t port;
	const char *protocol;
} greetings[] = {
	{21, "FTP"},	 {22, "SSH"},	       {25, "SMTP"},	      {110, "POP3"}, {119, "NNTP"},
	{143, "IMAP"},	 {587, "SMTP"},	       {873, "rsync"},	      {2525, "SMTP"},
	{3306, "MySQL"}, {3690, "Subversion"}, {4190, "ManageSieve"}, {5900, "VNC"},
};

const char *policy_greeted_in(uint16_t port)
{
	for (size_t i = 0; i < sizeof(greetings) / sizeof(greetings[0]); i++) {
		if (greetings[i].port == port)
			return greetings[i].protocol;
	}
	return NULL;
}

/* protocol: tcp is for all ports of a route: what else it is for would go unjudged. */
static bool has_other_ports(const struct policy_route *route)
{
	for (size_t i = 0; i < route->port_count; i++) {
		if (!policy_greeted_in(route->ports[i]))
			return true;
	}
	return false;
}

static void advise_on_route(const struct policy_route *route, struct diag_list *advice)
{
	if (route->mode == POLICY_TCP)
		return;
	for (size_t i = 0; i < route->port_count; i++) {
		const char *protocol = policy_greeted_in(route->ports[i]);

		if (protocol)
			diag_list_add(advice, route->file, route->line,
				      "%s: port %u is for %s, where the server speaks first, and this "
				      "route waits for %s; would be right: protocol: tcp%s",
				      route->host->name, route->ports[i], protocol,
				      route->mode == POLICY_PASSTHROUGH ? "TLS" : "HTTP",
				      has_other_ports(route) ? " in a route of its own" : "");
	}
}

void policy_advise(const struct policy *policy, struct diag_list *advice)
{
	for (size_t i = 0; i < policy->host_count; i++) {
		for (size_t j = 0; j < policy->hosts[i]->route_count; j++)
			advise_on_route(policy->hosts[i]->routes[j], advice);
	}
}
