// SPDX-License-Identifier: BSD-2-Clause
/* The ways out that are tried, each with its one line for people. */
#include "self_test_private.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif
#define PORT_DNS 53
#define PORT_QUIC 443
/* Our own responder on loopback; asked again, as often as `patience` says. */
#define DNS_TIMEOUT_MS 400
/* The way is one veth; a datagram that comes later did not come. */
#define INBOUND_TIMEOUT_MS 100

struct target {
	struct sockaddr_storage sa;
	socklen_t length;
};

static struct target target_of(const struct egress_address *address, uint16_t port)
{
	struct target target;

	memset(&target, 0, sizeof(target));
	target.length = address_to_sockaddr(address, port, &target.sa);
	return target;
}

/* As an IPv6 socket is given it: ::ffff:a.b.c.d stays what it is. */
static struct target target6_of(const struct egress_address *address, uint16_t port)
{
	struct target target;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&target.sa;

	memset(&target, 0, sizeof(target));
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(port);
	memcpy(&in6->sin6_addr, address, sizeof(in6->sin6_addr));
	target.length = sizeof(*in6);
	return target;
}

/* A socket whose packets go no further than the next hop; or -errno. */
static int open_socket(int family, int type, int protocol)
{
	/* Not blocking: where no wall answers, a SYN would be waited for by the minute. */
	int fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol), one = 1;

	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, IPPROTO_IP, IP_TTL, &one, sizeof(one));
	if (family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, &one, sizeof(one));
	return fd;
}

/* EINPROGRESS is success here: a SYN is out. */
static int finish(int fd, int result)
{
	int saved = result < 0 ? -errno : 0;

	close(fd);
	return saved == -EINPROGRESS ? 0 : saved;
}

static int try_create(int family, int type, int protocol)
{
	int fd = open_socket(family, type, protocol);

	return fd < 0 ? fd : finish(fd, 0);
}

static int try_connect(int type, const struct target *to)
{
	int fd = open_socket(to->sa.ss_family, type, 0);

	return fd < 0 ? fd : finish(fd, connect(fd, (const void *)&to->sa, to->length));
}

/* With MSG_NOSIGNAL, for a refused stream would end us. */
static int try_send(int type, const struct target *to, int flags)
{
	int fd = open_socket(to->sa.ss_family, type, 0);

	if (fd < 0)
		return fd;
	return finish(fd, (int)sendto(fd, "egress", 6, flags | MSG_NOSIGNAL,
				      (const void *)&to->sa, to->length));
}

/* ---- what must be refused ------------------------------------------------------------------- */

static int tcp4(struct attempt_place *place)
{
	struct target to = target_of(&place->v4, place->port);

	return try_connect(SOCK_STREAM, &to);
}

static int tcp6(struct attempt_place *place)
{
	struct target to = target_of(&place->v6, place->port);

	return try_connect(SOCK_STREAM, &to);
}

static int tcp_mapped(struct attempt_place *place)
{
	struct target to = target6_of(&place->v4, place->port);

	return try_connect(SOCK_STREAM, &to);
}

static int tcp_fast_open(struct attempt_place *place)
{
	struct target to = target_of(&place->v4, place->port);

	return try_send(SOCK_STREAM, &to, MSG_FASTOPEN);
}

static int udp4_connect(struct attempt_place *place)
{
	struct target to = target_of(&place->v4, place->port);

	return try_connect(SOCK_DGRAM, &to);
}

static int udp4(struct attempt_place *place)
{
	struct target to = target_of(&place->v4, place->port);

	return try_send(SOCK_DGRAM, &to, 0);
}

static int udp6(struct attempt_place *place)
{
	struct target to = target_of(&place->v6, place->port);

	return try_send(SOCK_DGRAM, &to, 0);
}

static int udp_mapped(struct attempt_place *place)
{
	struct target to = target6_of(&place->v4, place->port);

	return try_send(SOCK_DGRAM, &to, 0);
}

static int quic(struct attempt_place *place)
{
	struct target to = target_of(&place->v4, PORT_QUIC);

	return try_connect(SOCK_DGRAM, &to);
}

static int raw4(struct attempt_place *place)
{
	(void)place;
	return try_create(AF_INET, SOCK_RAW, IPPROTO_RAW);
}

static int raw6(struct attempt_place *place)
{
	(void)place;
	return try_create(AF_INET6, SOCK_RAW, IPPROTO_RAW);
}

/* EACCES is net.ipv4.ping_group_range, which comes before the wall. */
static int ping(struct attempt_place *place)
{
	(void)place;
	return try_create(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
}

static int mptcp(struct attempt_place *place)
{
	(void)place;
	return try_create(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);
}

static int udp_lite(struct attempt_place *place)
{
	(void)place;
	return try_create(AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE);
}

/* Over loopback, so that it is the packet wall alone that can tell. */
static int ip_options(struct attempt_place *place)
{
	static const uint8_t record_route[] = {7, 7, 4, 0, 0, 0, 0, 0};
	struct target to = target_of(&place->loopback, place->port);
	int fd = open_socket(AF_INET, SOCK_DGRAM, 0);

	if (fd < 0)
		return fd;
	/* Where the option cannot be had, the packet without it would prove nothing. */
	if (setsockopt(fd, IPPROTO_IP, IP_OPTIONS, record_route, sizeof(record_route)) < 0) {
		close(fd);
		return -ENOPROTOOPT;
	}
	/* This one is counted as loopback, too: the counter is set right by as many afterwards. */
	place->loopbacks++;
	return finish(fd, (int)sendto(fd, "egress", 6, 0, (void *)&to.sa, to.length));
}

/* To a loopback address, but by the wire. */
static int bind_device(struct attempt_place *place)
{
	struct target to = target_of(&place->loopback, place->port);
	int fd;

	if (!place->wire)
		return -ENOPROTOOPT;
	fd = open_socket(AF_INET, SOCK_DGRAM, 0);
	if (fd < 0)
		return fd;
	if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, place->wire,
		       (socklen_t)strlen(place->wire) + 1) < 0) {
		close(fd);
		return -ENOPROTOOPT;
	}
	place->loopbacks++;
	return finish(fd, (int)sendto(fd, "egress", 6, 0, (void *)&to.sa, to.length));
}

static int bind_port4(struct attempt_place *place)
{
	struct target at = target_of(&place->loopback, place->proxy_port);
	int fd = open_socket(AF_INET, SOCK_STREAM, 0);

	return fd < 0 ? fd : finish(fd, bind(fd, (void *)&at.sa, at.length));
}

static int bind_port6(struct attempt_place *place)
{
	struct target at = target6_of(&place->loopback, place->proxy_port);
	int fd = open_socket(AF_INET6, SOCK_STREAM, 0);

	return fd < 0 ? fd : finish(fd, bind(fd, (void *)&at.sa, at.length));
}

static bool readable(int fd, int milliseconds)
{
	struct pollfd poller = {.fd = fd, .events = POLLIN};

	return poll(&poller, 1, milliseconds) > 0 && (poller.revents & POLLIN);
}

/* A socket of the bottle waits for a datagram that comes from outside. */
static int inbound(struct attempt_place *place)
{
	struct target at = target_of(&place->address, place->port);
	int fd, result;

	if (place->outside_fd < 0)
		return -ENOPROTOOPT;
	fd = open_socket(AF_INET, SOCK_DGRAM, 0);
	if (fd < 0)
		return fd;
	if (bind(fd, (void *)&at.sa, at.length) < 0)
		return finish(fd, -1);
	if (sendto(place->outside_fd, "egress", 6, 0, (void *)&at.sa, at.length) < 0)
		result = -errno;
	else
		result = readable(fd, INBOUND_TIMEOUT_MS) ? 0 : -EPERM;
	close(fd);
	return result;
}

/* ---- what must work ------------------------------------------------------------------------- */

#define DNS_HEADER 12

/* A question for the A record. Returns its length. */
static size_t write_query(uint8_t query[512], const char *name, uint16_t id)
{
	static const uint8_t end[5] = {0, 0, 1, 0, 1}; /* the root, type A, class IN */
	const uint8_t header[DNS_HEADER] = {(uint8_t)(id >> 8), (uint8_t)id, 1, 0, 0, 1};
	size_t length = sizeof(header);

	memcpy(query, header, sizeof(header));
	for (size_t label; *name; name += label + (name[label] == '.')) {
		label = strcspn(name, ".");
		if (label == 0 || label > 63 || length + label + 8 > 512)
			break;
		query[length++] = (uint8_t)label;
		memcpy(query + length, name, label);
		length += label;
	}
	memcpy(query + length, end, sizeof(end));
	return length + sizeof(end);
}

/* An answer without an error and with a record in it. */
static bool is_answer(const uint8_t *reply, ssize_t length, uint16_t id)
{
	return length > DNS_HEADER && reply[0] == id >> 8 && reply[1] == (id & 0xff) &&
	       (reply[2] & 0x80) && (reply[3] & 0x0f) == 0 && (reply[6] || reply[7]);
}

static bool same_target(const struct target *a, const struct sockaddr_storage *b)
{
	struct egress_address x, y;
	uint16_t port_x, port_y;

	return address_from_sockaddr((const void *)&a->sa, &x, &port_x) &&
	       address_from_sockaddr((const void *)b, &y, &port_y) && port_x == port_y &&
	       memcmp(&x, &y, sizeof(x)) == 0;
}

/* Sends, and waits for the answer, which must seem to come from the server that was asked. */
static int exchange(int fd, struct attempt_place *place, const struct target *server,
		    bool connected)
{
	/* A late answer to the question before must not pass for this one's. */
	uint16_t id = (uint16_t)(getpid() ^ (int)++place->queries << 8);
	uint8_t query[512], reply[1500];
	size_t length = write_query(query, place->dns_name, id);
	struct sockaddr_storage from;
	socklen_t from_length = sizeof(from);
	ssize_t got;

	memset(&from, 0, sizeof(from));
	if (connected)
		got = send(fd, query, length, 0);
	else
		got = sendto(fd, query, length, 0, (const void *)&server->sa, server->length);
	if (got < 0)
		return -errno;
	if (!readable(fd, DNS_TIMEOUT_MS))
		return -ETIMEDOUT;
	got = recvfrom(fd, reply, sizeof(reply), 0, (void *)&from, &from_length);
	if (got < 0)
		return -errno;
	if (!is_answer(reply, got, id))
		return -EBADMSG;
	return same_target(server, &from) ? 0 : -EXDEV;
}

/* A datagram may be lost in a burst of others. */
static int ask(struct attempt_place *place, const struct egress_address *address, bool connected)
{
	struct target server = target_of(address, PORT_DNS);
	struct sockaddr_storage peer;
	socklen_t length = sizeof(peer);
	int fd, result = -ETIMEDOUT;

	if (place->dns_name[0] == '\0')
		return -ENOPROTOOPT;
	fd = open_socket(server.sa.ss_family, SOCK_DGRAM, 0);
	if (fd < 0)
		return fd;
	if (connected && connect(fd, (void *)&server.sa, server.length) < 0)
		return finish(fd, -1);
	for (unsigned i = 0; i < place->patience && result == -ETIMEDOUT; i++)
		result = exchange(fd, place, &server, connected);
	/* What asked getpeername(2) has to find the server it chose: resolvers compare. */
	if (result == 0 && connected &&
	    (getpeername(fd, (void *)&peer, &length) < 0 || !same_target(&server, &peer)))
		result = -EXDEV;
	close(fd);
	return result;
}

static int dns4(struct attempt_place *place)
{
	return ask(place, &place->v4, false);
}

static int dns6(struct attempt_place *place)
{
	return ask(place, &place->v6, false);
}

static int dns4_connected(struct attempt_place *place)
{
	return ask(place, &place->v4, true);
}

static int dns6_connected(struct attempt_place *place)
{
	return ask(place, &place->v6, true);
}

/* The first two also tell the kernel's name for the process: see self_test_owns(). */
const struct attempt attempts[] = {
	{"tcp6", "TCP to an IPv6 address", tcp6, true, false},
	{"tcp4", "TCP to an IPv4 address", tcp4, true, false},
	{"tcp-mapped", "TCP to ::ffff:a.b.c.d", tcp_mapped, true, false},
	{"tcp-fast-open", "data in the SYN, without connect()", tcp_fast_open, false, false},
	{"udp4-connect", "a connected datagram socket", udp4_connect, false, false},
	{"udp4", "a datagram to an IPv4 address", udp4, true, false},
	{"udp6", "a datagram to an IPv6 address", udp6, true, false},
	{"udp-mapped", "a datagram to ::ffff:a.b.c.d", udp_mapped, false, false},
	{"quic", "QUIC, UDP port 443", quic, false, false},
	{"raw4", "a raw IPv4 socket", raw4, true, false},
	{"raw6", "a raw IPv6 socket", raw6, false, false},
	{"ping", "a ping socket", ping, false, false},
	{"mptcp", "an MPTCP socket", mptcp, false, false},
	{"udp-lite", "a UDP-Lite socket", udp_lite, false, false},
	{"ip-options", "a packet with IP options", ip_options, true, false},
	{"bind-device", "a packet to 127/8 by the wire (SO_BINDTODEVICE)", bind_device, false,
	 false},
	{"bind-port4", "listening on the proxy's port", bind_port4, true, false},
	{"bind-port6", "listening on the proxy's port, IPv6", bind_port6, false, false},
	{"inbound", "a datagram from outside", inbound, false, false},
	{"dns4", "DNS to any IPv4 server is answered by us", dns4, true, true},
	{"dns6", "DNS to any IPv6 server is answered by us", dns6, false, true},
	{"dns4-peer", "and seems to come from there", dns4_connected, false, true},
	{"dns6-peer", "and seems to come from there, IPv6", dns6_connected, false, true},
};
/* A new way out needs a line here and nothing else. */
const size_t attempt_count = sizeof(attempts) / sizeof(attempts[0]);
_Static_assert(sizeof(attempts) / sizeof(attempts[0]) <= ATTEMPT_MAX, "room for the results");

/* What this kernel or namespace does not have is no hole, and no proof either. */
static bool is_absent(int result)
{
	return result == -EAFNOSUPPORT || result == -EPROTONOSUPPORT || result == -ESOCKTNOSUPPORT ||
	       result == -ENOPROTOOPT || result == -EOPNOTSUPP || result == -EACCES;
}

/* Datagrams are refused with ECONNREFUSED where the kernel lets us choose. */
enum self_test_state attempt_judge(const struct attempt *attempt, int result)
{
	if (is_absent(result))
		return SELF_TEST_ABSENT;
	if (attempt->service)
		return result == 0 ? SELF_TEST_STOPPED : SELF_TEST_THROUGH;
	return result == -EPERM || result == -ECONNREFUSED ? SELF_TEST_STOPPED : SELF_TEST_THROUGH;
}

void attempt_describe(const struct attempt *attempt, int result, char *text, size_t size)
{
	switch (attempt_judge(attempt, result)) {
	case SELF_TEST_STOPPED:
		if (attempt->service)
			snprintf(text, size, "works");
		else
			snprintf(text, size, "stopped (%s)", strerror(-result));
		return;
	case SELF_TEST_ABSENT:
		snprintf(text, size, "not here: %s", strerror(-result));
		return;
	default:
		break;
	}
	if (attempt->service)
		snprintf(text, size, "does NOT work: %s",
			 result == -EXDEV ? "the answer came from elsewhere" : strerror(-result));
	else if (result == 0)
		snprintf(text, size, "got THROUGH");
	else
		snprintf(text, size, "NOT stopped by the wall: %s", strerror(-result));
}
