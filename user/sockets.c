// SPDX-License-Identifier: BSD-2-Clause
/* The proxy's sockets, opened in the bottle's namespace and kept by the supervisor, so that
 * connections wait in them while there is no worker. A socket belongs to the namespace of its
 * making for good. */
#include "sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "address.h"
#include "descriptor.h"

/* The kernel cuts it to net.core.somaxconn; it bridges the time without a worker. */
#define BACKLOG 4096
#define FEW 16 /* who wait for a page or for the counters */
#define DUMMY_ADDRESS 0xc0000008 /* 192.0.0.8 */
#define DUMMY_LABEL "lo:dummy"
#define RESERVED_PORTS "sys/net/ipv4/ip_local_reserved_ports"
#define RESERVED_SIZE 4096 /* the kernel takes no more than a page at a time */

/* Where the programs of bpf/ steer to: our_address() has the same two. */
static const char *const loopbacks[] = {"127.0.0.1", "::1"};

/* What each accepted socket inherits, so that it is not said anew for each: no waiting to fill segments,
 * and clients that are gone without a word are found. */
static bool set_inherited(int fd)
{
	static const int on = 1;

	return setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0 &&
	       setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) == 0;
}

/* V6ONLY, since a socket for both families would take mapped addresses that policy means as
 * IPv4. */
static int open_socket(int type, const struct egress_address *address, uint16_t port)
{
	struct sockaddr_storage sa;
	socklen_t length = address_to_sockaddr(address, port, &sa);
	int fd = socket(sa.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;

	if (fd < 0)
		return -errno;
	if (sa.ss_family == AF_INET6 &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0)
		goto fail;
	/* For a restart while old connections linger; for UDP it would let others share the port. */
	if (type == SOCK_STREAM && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
		goto fail;
	if (bind(fd, (struct sockaddr *)&sa, length) < 0)
		goto fail;
	if (type == SOCK_STREAM && (!set_inherited(fd) || listen(fd, BACKLOG) < 0))
		goto fail;
	return fd;
fail:
	on = errno;
	close(fd);
	return -on;
}

/* 0 when it cannot be told. */
static uint16_t port_of(int fd)
{
	struct sockaddr_storage sa;
	socklen_t length = sizeof(sa);
	struct egress_address address;
	uint16_t port = 0;

	if (getsockname(fd, (struct sockaddr *)&sa, &length) < 0 ||
	    !address_from_sockaddr((struct sockaddr *)&sa, &address, &port))
		return 0;
	return port;
}

int sockets_listen(const char *where, struct sockaddr *address, socklen_t size, struct error *error)
{
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;

	if (fd >= 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (fd >= 0 && bind(fd, address, size) == 0 && listen(fd, FEW) == 0 &&
	    getsockname(fd, address, &size) == 0)
		return fd;
	error_set(error, "cannot listen at %s: %s", where, strerror(errno));
	descriptor_close(&fd);
	return -1;
}

uint64_t sockets_netns_cookie(int fd)
{
	uint64_t cookie;
	socklen_t size = sizeof(cookie);

	return getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size) == 0 ? cookie : 0;
}

void sockets_close(struct sockets *sockets)
{
	descriptors_close(sockets->proxy, sockets->proxy_count);
	descriptors_close(sockets->host, sockets->host_count);
	descriptors_close(sockets->dns_udp, sockets->dns_count);
	descriptors_close(sockets->dns_tcp, sockets->dns_count);
	*sockets = (struct sockets){0};
}

/* The socket's own end of sending and receiving, which what it accepts would inherit, is taken back by
 * the connect(2). */
static int relisten(const int *fds, size_t count, int *ret_number)
{
	static const struct sockaddr nowhere = {.sa_family = AF_UNSPEC};
	int result = 0;

	for (size_t i = 0; i < count; i++) {
		int listens = 1;
		socklen_t size = sizeof(listens);

		if (getsockopt(fds[i], SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) < 0 || listens)
			continue;
		if (connect(fds[i], &nowhere, sizeof(nowhere)) < 0 || listen(fds[i], BACKLOG) < 0)
			result = -errno;
		else
			(*ret_number)++;
	}
	return result;
}

int sockets_relisten(const struct sockets *s)
{
	int number = 0, proxy = relisten(s->proxy, s->proxy_count, &number),
	    dns = relisten(s->dns_tcp, s->dns_count, &number),
	    host = relisten(s->host, s->host_count, &number);

	return proxy < 0 ? proxy : dns < 0 ? dns : host < 0 ? host : number;
}

/* One UDP and one TCP socket on the same port, or neither. */
static int open_dns_pair(struct sockets *s, const struct egress_address *address, uint16_t port)
{
	int udp = open_socket(SOCK_DGRAM, address, port), tcp;

	if (udp < 0)
		return udp;
	tcp = open_socket(SOCK_STREAM, address, port_of(udp));
	if (tcp < 0) {
		close(udp);
		return tcp;
	}
	s->dns_udp[s->dns_count] = udp;
	s->dns_tcp[s->dns_count] = tcp;
	s->dns_count++;
	s->dns_port = port_of(udp);
	return 0;
}

/* A kernel without IPv6, or with it switched off. */
static bool no_such_family(int result)
{
	return result == -EADDRNOTAVAIL || result == -EAFNOSUPPORT;
}

/* Any port will do, as long as both families have the same: the kernel wall is told. */
static int open_dns(struct sockets *s, uint16_t wanted, struct error *error)
{
	struct egress_address v4, v6;
	int result = -EINVAL;

	if (!address_parse(loopbacks[0], &v4) || !address_parse(loopbacks[1], &v6))
		return error_set(error, "internal: loopback address");
	for (int attempt = 0; attempt < 16; attempt++) {
		/* A port that is free for IPv4 may be taken for IPv6: then another, for both. */
		result = open_dns_pair(s, &v4, attempt == 0 ? wanted : 0);
		if (result == 0) {
			result = open_dns_pair(s, &v6, s->dns_port);
			if (result == 0 || no_such_family(result))
				return 0;
			descriptors_close(s->dns_udp, s->dns_count);
			descriptors_close(s->dns_tcp, s->dns_count);
			s->dns_count = 0;
		}
		if (result != -EADDRINUSE)
			break;
	}
	return error_set(error, "cannot listen for DNS on 127.0.0.1:%u: %s", wanted,
			 strerror(-result));
}

/* The worker of a supervisor that was killed holds the port until it has seen that, a moment later. */
#define PORT_ATTEMPTS 40
static int await_port(const struct egress_address *address, uint16_t port)
{
	int fd = open_socket(SOCK_STREAM, address, port);

	for (int i = 1; fd == -EADDRINUSE && i < PORT_ATTEMPTS; i++) {
		nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
		fd = open_socket(SOCK_STREAM, address, port);
	}
	return fd;
}

/* The port is not exchanged for another: people have it in their HTTP_PROXY. */
static int open_proxy(struct sockets *s, const struct egress_address *address, uint16_t port,
		      bool optional, struct error *error)
{
	char text[ADDRESS_TEXT_SIZE];
	int fd = await_port(address, port);

	if (optional && no_such_family(fd))
		return 0;
	if (fd < 0)
		return error_set(error, "cannot listen on %s port %u: %s%s",
				 address_format(address, text), port, strerror(-fd),
				 fd == -EADDRINUSE ? "; choose another by --listen ADDR:PORT" : "");
	s->proxy[s->proxy_count++] = fd;
	s->proxy_port = port_of(fd);
	return 0;
}

/* IPv4 alone: what runs on the host's port is not known to speak more. */
static int open_host_ports(const struct sockets_options *options, struct sockets *s,
			   struct error *error)
{
	struct egress_address loopback;

	if (!address_parse(loopbacks[0], &loopback))
		return error_set(error, "internal: loopback address");
	for (size_t i = 0; i < options->host_port_count; i++) {
		uint16_t port = options->host_ports[i].inside;
		int fd = open_socket(SOCK_STREAM, &loopback, port);

		if (fd < 0)
			return error_set(error, "cannot listen on 127.0.0.1 port %u: %s", port,
					 strerror(-fd));
		s->host[s->host_count++] = fd;
	}
	return 0;
}

bool sockets_parse_place(const char *text, struct sockets_place *ret)
{
	const char *colon = strrchr(text, ':');
	char host[ADDRESS_TEXT_SIZE] = "", *end;
	size_t length = colon ? (size_t)(colon - text) : 0;
	unsigned long port;

	if (length == 0 || length >= sizeof(host) || colon[1] < '0' || colon[1] > '9')
		return false;
	memcpy(host, text, length);
	if (host[0] == '[' && host[length - 1] == ']') {
		host[length - 1] = '\0';
		memmove(host, host + 1, length - 1);
	}
	port = strtoul(colon + 1, &end, 10);
	if (*end != '\0' || port > UINT16_MAX || !address_parse(host, &ret->address))
		return false;
	ret->port = (uint16_t)port;
	return true;
}

bool sockets_parse_listen(const char *text, struct sockets_place *ret)
{
	return sockets_parse_place(text, ret) && ret->port > 0;
}

/* A socket on all addresses has loopback among them: no other fits beside it. */
static bool is_any(const struct egress_address *address)
{
	static const struct egress_address any6;

	return memcmp(address, &any6, sizeof(any6)) == 0 ||
	       (address_is_v4(address) && address_to_v4(address) == 0);
}

/* One of the two addresses that connections are steered to. */
static bool is_our_loopback(const struct egress_address *address)
{
	char text[ADDRESS_TEXT_SIZE];

	address_format(address, text);
	return strcmp(text, loopbacks[0]) == 0 || strcmp(text, loopbacks[1]) == 0;
}

/* The kernel's list, "a-b,c" without its line break, into `list`. */
static int read_reserved(int fd, char list[RESERVED_SIZE])
{
	ssize_t length = read(fd, list, RESERVED_SIZE - 1);

	if (length < 0)
		return -errno;
	list[length] = '\0';
	if (length == RESERVED_SIZE - 1) /* cut: to write it back would free what was behind */
		return -E2BIG;
	list[strcspn(list, "\n")] = '\0';
	return 0;
}

/* Containers have /proc/sys read-only, whosever the sysctl is. This one is of the bottle's namespace, and
 * writable in a proc of our own that is mounted nowhere (CAP_SYS_ADMIN). */
static int open_in_own_proc(void)
{
	int context = fsopen("proc", FSOPEN_CLOEXEC), tree = -1, fd = -1;

	if (context >= 0 && fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		tree = fsmount(context, FSMOUNT_CLOEXEC, 0);
	if (tree >= 0)
		fd = openat(tree, RESERVED_PORTS, O_RDWR | O_CLOEXEC);
	descriptor_close(&tree);
	descriptor_close(&context);
	return fd;
}

/* -errno as for who has no proc of its own. */
static int open_reserved(void)
{
	int fd = open("/proc/" RESERVED_PORTS, O_RDWR | O_CLOEXEC), result = -errno;

	if (fd < 0 && errno == EROFS)
		fd = open_in_own_proc();
	return fd < 0 ? result : fd;
}

/* The list is that of the namespace we are in. What is written replaces it. */
static int reserve_ports(const struct sockets *s)
{
	int fd = open_reserved(), result = fd < 0 ? fd : 0;
	char list[RESERVED_SIZE], longer[RESERVED_SIZE];
	int length;

	if (result == 0)
		result = read_reserved(fd, list);
	if (result == 0) {
		length = snprintf(longer, sizeof(longer), "%s%s%u,%u", list, list[0] ? "," : "",
				  s->proxy_port, s->dns_port);
		if (length >= (int)sizeof(longer) - 1)
			result = -E2BIG;
		else if (pwrite(fd, longer, (size_t)length, 0) != length)
			result = -errno;
	}
	if (fd >= 0)
		close(fd);
	return result;
}

/* The address that was asked for comes first: a mistake in it is named before anything else is opened. */
static int open_in_place(const struct sockets_options *options, struct sockets *s,
			 struct error *error)
{
	struct sockets_place asked = options->listen;
	struct egress_address loopback;

	if (!asked.port) {
		asked.port = SOCKETS_PROXY_PORT;
		if (!address_parse(loopbacks[0], &asked.address))
			return error_set(error, "internal: loopback address");
	}
	if (!options->wall || !is_our_loopback(&asked.address)) {
		if (open_proxy(s, &asked.address, asked.port, false, error) < 0)
			return -1;
	}
	if (!options->wall)
		return 0;
	for (size_t i = 0; i < 2; i++) {
		if (!address_parse(loopbacks[i], &loopback))
			return error_set(error, "internal: loopback address");
		if (is_any(&asked.address) && address_is_v4(&asked.address) == (i == 0))
			continue;
		if (open_proxy(s, &loopback, asked.port, i > 0, error) < 0)
			return -1;
	}
	if (open_dns(s, options->dns_port ? options->dns_port : SOCKETS_DNS_PORT, error) < 0)
		return -1;
	if (open_host_ports(options, s, error) < 0)
		return -1;
	s->reserve_result = options->reserve ? reserve_ports(s) : 0;
	return 0;
}

/* A namespace without a wire is born with `lo` down. */
static void bring_loopback_up(void)
{
	struct ifreq request = {.ifr_name = "lo"};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return;
	if (ioctl(fd, SIOCGIFFLAGS, &request) == 0 && !(request.ifr_flags & IFF_UP)) {
		request.ifr_flags |= IFF_UP;
		/* Where this fails, binding says what is wrong. */
		(void)ioctl(fd, SIOCSIFFLAGS, &request);
	}
	close(fd);
}

static bool has_address(void)
{
	struct ifaddrs *list = NULL;
	bool found = false;

	/* In doubt nothing is added. */
	if (getifaddrs(&list) < 0)
		return true;
	for (const struct ifaddrs *i = list; i && !found; i = i->ifa_next)
		found = i->ifa_addr && i->ifa_addr->sa_family == AF_INET &&
			ntohl(((const struct sockaddr_in *)(const void *)i->ifa_addr)
				      ->sin_addr.s_addr) >> 24 != 127;
	freeifaddrs(list);
	return found;
}

static bool set_address(int fd, unsigned long request, uint32_t value)
{
	struct ifreq change = {.ifr_name = DUMMY_LABEL};
	struct sockaddr_in *in = (void *)&change.ifr_addr;

	in->sin_family = AF_INET;
	in->sin_addr.s_addr = htonl(value);
	return ioctl(fd, request, &change) == 0;
}

/* getaddrinfo() with AI_ADDRCONFIG asks for no IPv4 address where the machine has none but 127.0.0.1.
 * This one is for machines that only need to have one (RFC 7600); it leads nowhere, and the wall
 * refuses it. Where it cannot be set, only such programs notice. */
static void give_address(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return;
	/* SIOCSIFADDR also gives the mask of the address's class, a route to 254 more addresses:
	 * hence the /32. */
	if (!has_address() && set_address(fd, SIOCSIFADDR, DUMMY_ADDRESS))
		(void)set_address(fd, SIOCSIFNETMASK, UINT32_MAX);
	close(fd);
}

/* The thread changes its namespace, so nothing else may run on it meanwhile: it is the supervisor's
 * start. */
int sockets_open(const struct sockets_options *options, struct sockets *ret, struct error *error)
{
	struct sockets s = {0};
	int home = -1, result;

	if (options->netns_fd >= 0) {
		home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
		if (home < 0)
			return error_set(error, "cannot open our network namespace: %s",
					 strerror(errno));
		if (setns(options->netns_fd, CLONE_NEWNET) < 0) {
			result = error_set(error, "cannot enter the bottle's network namespace: %s",
					   strerror(errno));
			close(home);
			return result;
		}
		bring_loopback_up();
		if (options->reserve)
			give_address();
	}
	result = open_in_place(options, &s, error);
	/* To go on from inside the bottle's namespace would be to dial through it. */
	if (home >= 0 && setns(home, CLONE_NEWNET) < 0) {
		diag_error("cannot go back to our network namespace: %s", strerror(errno));
		abort();
	}
	if (home >= 0)
		close(home);
	if (result < 0)
		sockets_close(&s);
	else
		*ret = s;
	return result;
}
