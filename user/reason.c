// SPDX-License-Identifier: BSD-2-Clause
/* What each reason means outside: the HTTP status of a refusal, and what would help. One entry for
 * each of egress_abi.h. */
#include "reason.h"

#include <stddef.h>

static const struct {
	int status;
	const char *cure;
} reasons[EGRESS_REASON_COUNT] = {
	[EGRESS_ALLOWED] = {200, "nothing is wrong"},
	[EGRESS_HOST_NOT_ALLOWED] = {403, "add a route for this host to the policy"},
	[EGRESS_ADDRESS_NOT_ALLOWED] = {403, "use the host's name, or add a cidr route"},
	[EGRESS_PORT_NOT_ALLOWED] = {403, "add the port to the ports of the host's route"},
	[EGRESS_PROTOCOL_NOT_ALLOWED] = {403, "use TCP, and the protocol that the route names "
					       "(protocol: tcp for what is not HTTP)"},
	[EGRESS_PATH_NOT_ALLOWED] = {403, "add the path to the host's route"},
	[EGRESS_METHOD_NOT_ALLOWED] = {403, "add the method to the host's route"},
	[EGRESS_HEADER_NOT_ALLOWED] = {403, "send the header that the route asks for, once"},
	[EGRESS_AMBIGUOUS_PATH] = {403, "send the path in its plain form: no dot segments, no "
					"doubled, encoded or back slashes"},
	[EGRESS_NAME_MISMATCH] = {403, "use one host name for address, TLS and Host header"},
	[EGRESS_PLAINTEXT_AUTH] = {403, "use https, or set allow_plaintext on the route"},
	[EGRESS_BAD_REQUEST] = {400, "send a well-formed HTTP request"},
	[EGRESS_TOO_LARGE] = {431, "send fewer or shorter header lines"},
	[EGRESS_LIMIT] = {429, "a limit of this sandbox is used up: open fewer connections or names"},
	[EGRESS_PRIVATE_ADDRESS] = {403, "set allow_private on the route if that address is meant"},
	[EGRESS_UPSTREAM_UNRESOLVED] = {502, "check the host's name and the resolvers outside"},
	[EGRESS_UPSTREAM_UNREACHABLE] = {502, "check that the host is up and reachable from outside"},
	[EGRESS_UPSTREAM_CERTIFICATE] = {502, "the host's certificate is not trusted: check its "
					      "name and dates, or upstream.ca_file"},
	[EGRESS_UPSTREAM_TIMEOUT] = {504, "the host did not answer in time: try again"},
	[EGRESS_UPSTREAM_PROTOCOL] = {502, "the host's answer is not valid HTTP"},
	[EGRESS_ROUTE_REMOVED] = {403, "the policy was reloaded and no longer has this route"},
	[EGRESS_UPSTREAM_REFUSED] = {502, "the proxy outside (upstream.proxy) does not let this "
					  "through: ask who runs it"},
	[EGRESS_INTERNAL] = {500, "a fault in egress-bpf: its log says more"},
	[EGRESS_SOCKET_NOT_ALLOWED] = {403, "let the unix socket in with --bind-socket"},
};

/* A number that is none is shown as internal, never read past the table. */
const char *reason_name(enum egress_reason reason)
{
	static const char *const names[EGRESS_REASON_COUNT] = {
#define X(symbol, text) [EGRESS_##symbol] = (text),
		EGRESS_REASONS(X)
#undef X
	};

	return (unsigned)reason < EGRESS_REASON_COUNT ? names[reason] : names[EGRESS_INTERNAL];
}

const char *reason_cure(enum egress_reason reason)
{
	if ((unsigned)reason >= EGRESS_REASON_COUNT)
		reason = EGRESS_INTERNAL;
	return reasons[reason].cure;
}

int reason_status(enum egress_reason reason)
{
	if ((unsigned)reason >= EGRESS_REASON_COUNT)
		reason = EGRESS_INTERNAL;
	return reasons[reason].status;
}
