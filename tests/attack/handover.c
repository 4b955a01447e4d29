// SPDX-License-Identifier: BSD-2-Clause
/* Sockets that were not made in the bottle, or are somebody else's. */
#include "attack.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void use_socket(int fd)
{
	struct sockaddr_in address = target4;
	socklen_t size = sizeof(int);
	int type = SOCK_DGRAM;

	getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size);
	if (type == SOCK_STREAM) {
		if (send(fd, mark, strlen(mark), MSG_NOSIGNAL) < 0)
			perror("send");
		return;
	}
	SEND_TO(fd, address);
}

static struct sockaddr_un unix_address(const char *name, bool abstract, socklen_t *ret_size)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int length;

	if (abstract)
		length = 1 + snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1,
				      "egress-attack-%s", name);
	else
		length = 1 + snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s",
				      setting("OUTSIDE"), name);
	*ret_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)length);
	return address;
}

static int call_outsider(const char *name, int type, bool abstract)
{
	socklen_t size;
	struct sockaddr_un address = unix_address(name, abstract, &size);
	int fd = open_socket(AF_UNIX, type, 0);

	need(connect(fd, (void *)&address, size), address.sun_path + abstract);
	return fd;
}

/* ---- a unix socket's other end relays ------------------------------------------------------- */

static void relay(const char *name, int type, bool abstract)
{
	int fd = call_outsider(name, type, abstract);

	if (send(fd, mark, strlen(mark), MSG_NOSIGNAL) < 0)
		perror("send");
}

ATTACK(unix_relay_path, "", "a process outside relays what comes by a unix socket with a path")
{
	relay("relay", SOCK_STREAM, false);
}
ATTACK(unix_relay_abstract, "", "the same by an abstract unix socket")
{
	relay("relay", SOCK_STREAM, true);
}
ATTACK(unix_relay_dgram_path, "", "the same by datagrams to a path")
{
	relay("relay-dgram", SOCK_DGRAM, false);
}
ATTACK(unix_relay_dgram_abstract, "", "the same by datagrams to an abstract address")
{
	relay("relay-dgram", SOCK_DGRAM, true);
}

/* ---- and hands sockets over ----------------------------------------------------------------- */

static void take_and_use(bool abstract, int which)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(3 * sizeof(int))];
	char text[8];
	struct iovec data = {text, sizeof(text)};
	struct msghdr m = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = control,
			   .msg_controllen = sizeof(control)};
	int fd = call_outsider("give", SOCK_STREAM, abstract), fds[3];
	struct cmsghdr *header;

	need((int)recvmsg(fd, &m, 0), "recvmsg");
	header = CMSG_FIRSTHDR(&m);
	errno = 0;
	if (!header || header->cmsg_type != SCM_RIGHTS)
		give_up("no descriptors came");
	memcpy(fds, CMSG_DATA(header), sizeof(fds));
	use_socket(fds[which]);
}

ATTACK(scm_rights_udp_path, "", "a UDP socket handed over by SCM_RIGHTS, by path")
{
	take_and_use(false, 0);
}
ATTACK(scm_rights_udp_abstract, "", "a UDP socket handed over by SCM_RIGHTS, abstract")
{
	take_and_use(true, 0);
}
ATTACK(scm_rights_tcp_path, "", "a connected TCP socket handed over by SCM_RIGHTS, by path")
{
	take_and_use(false, 1);
}
ATTACK(scm_rights_tcp_abstract, "", "a connected TCP socket handed over by SCM_RIGHTS, abstract")
{
	take_and_use(true, 1);
}
ATTACK(scm_rights_raw_path, "", "a raw socket handed over by SCM_RIGHTS, by path")
{
	take_and_use(false, 2);
}
ATTACK(scm_rights_raw_abstract, "", "a raw socket handed over by SCM_RIGHTS, abstract")
{
	take_and_use(true, 2);
}

/* ---- taken from another process ------------------------------------------------------------- */

ATTACK(pidfd_getfd, "", "takes sockets out of another process by pidfd_getfd()")
{
	int process = need((int)syscall(SYS_pidfd_open, atoi(setting("OUTSIDER")), 0), "pidfd_open");

	for (int number = 3; number < 40; number++) {
		int fd = (int)syscall(SYS_pidfd_getfd, process, number, 0);
		struct sockaddr_in address;
		socklen_t size = sizeof(address);

		if (fd < 0) {
			if (number == 3)
				perror("pidfd_getfd");
			continue;
		}
		if (getsockname(fd, (void *)&address, &size) == 0 && address.sin_family == AF_INET)
			use_socket(fd);
	}
}
ATTACK(proc_fd_of_other, "", "opens another process's socket by /proc/PID/fd")
{
	char path[64];
	int fd;

	for (int number = 3; number < 40; number++) {
		snprintf(path, sizeof(path), "/proc/%s/fd/%d", setting("OUTSIDER"), number);
		fd = open(path, O_RDWR | O_NONBLOCK);
		if (fd >= 0)
			use_socket(fd);
	}
	perror("open");
}

/* ---- relays on the network ------------------------------------------------------------------ */

static void to_relay4(const char *host, int type, uint16_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = open_socket(AF_INET, type, 0);

	inet_pton(AF_INET, host, &address.sin_addr);
	type == SOCK_STREAM ? STREAM_TO(fd, address) : SEND_TO(fd, address);
	usleep(200000);
}
static void to_relay6(const char *host, int type, uint16_t port)
{
	struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	int fd = open_socket(AF_INET6, type, 0);

	inet_pton(AF_INET6, host, &address.sin6_addr);
	type == SOCK_STREAM ? STREAM_TO(fd, address) : SEND_TO(fd, address);
	usleep(200000);
}

ATTACK(loopback_relay_tcp4, "", "another cgroup's process relays from 127.0.0.1, TCP")
{
	to_relay4("127.0.0.1", SOCK_STREAM, 7777);
}
ATTACK(loopback_relay_tcp4_any, "", "the same by the unspecified address 0.0.0.0")
{
	to_relay4("0.0.0.0", SOCK_STREAM, 7777);
}
ATTACK(loopback_relay_tcp6, "", "another cgroup's process relays from ::1, TCP")
{
	to_relay6("::1", SOCK_STREAM, 7777);
}
ATTACK(loopback_relay_tcp_mapped, "", "another cgroup's process relays, by ::ffff:127.0.0.1")
{
	to_relay6("::ffff:127.0.0.1", SOCK_STREAM, 7777);
}
ATTACK(loopback_relay_tcp6_any, "", "the same by the unspecified address ::")
{
	to_relay6("::", SOCK_STREAM, 7777);
}
ATTACK(loopback_relay_udp4, "", "another cgroup's process relays from 127.0.0.1, UDP")
{
	to_relay4("127.0.0.1", SOCK_DGRAM, 7778);
}
ATTACK(loopback_relay_udp6, "", "another cgroup's process relays from ::1, UDP")
{
	to_relay6("::1", SOCK_DGRAM, 7778);
}
ATTACK(loopback_relay_udp_mapped, "", "another cgroup's process relays, UDP to ::ffff:127.0.0.1")
{
	to_relay6("::ffff:127.0.0.1", SOCK_DGRAM, 7778);
}
ATTACK(host_relay_tcp4, "", "another cgroup's process relays from the host's own address, TCP")
{
	to_relay4(setting("HOST4"), SOCK_STREAM, 7777);
}
ATTACK(host_relay_udp4, "", "another cgroup's process relays from the host's own address, UDP")
{
	to_relay4(setting("HOST4"), SOCK_DGRAM, 7778);
}
ATTACK(loopback_relay_fastopen, "", "data in the SYN to a relay on 127.0.0.1")
{
	struct sockaddr_in address = home4;
	int fd = open_socket(AF_INET, SOCK_STREAM, 0);

	address.sin_port = htons(7777);
	set_int(fd, IPPROTO_TCP, 34 /* TCP_FASTOPEN_NO_COOKIE */, 1);
	if (sendto(fd, mark, strlen(mark), MSG_FASTOPEN | MSG_DONTWAIT, (void *)&address,
		   sizeof(address)) < 0)
		perror("sendto");
	usleep(200000);
	send(fd, mark, strlen(mark), MSG_DONTWAIT | MSG_NOSIGNAL);
	usleep(100000);
}
ATTACK(loopback_relay_udp_connected, "", "UDP connected to a relay on 127.0.0.1")
{
	struct sockaddr_in address = home4;
	int fd = open_socket(AF_INET, SOCK_DGRAM, 0);

	address.sin_port = htons(7778);
	if (connect(fd, (void *)&address, sizeof(address)) < 0)
		perror("connect");
	try_send(fd, NULL, 0);
}
ATTACK(loopback_relay_multicast, "", "UDP to all of loopback's receivers: 127.255.255.255")
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = target4.sin_port};
	int fd = open_socket(AF_INET, SOCK_DGRAM, 0);

	set_int(fd, SOL_SOCKET, SO_BROADCAST, 1);
	inet_pton(AF_INET, "203.0.113.255", &address.sin_addr);
	SEND_TO(fd, address);
}

/* ---- inbound: somebody outside comes and fetches -------------------------------------------- */

static void answer_who_knocks(int family, bool reuse)
{
	struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = target4.sin_port};
	struct sockaddr_in any4 = {.sin_family = AF_INET, .sin_port = target4.sin_port};
	void *address = family == AF_INET ? (void *)&any4 : (void *)&any;
	socklen_t size = family == AF_INET ? sizeof(any4) : sizeof(any);
	int tcp = open_socket(family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	int udp = open_socket(family, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	struct pollfd ready[2] = {{.fd = tcp, .events = POLLIN}, {.fd = udp, .events = POLLIN}};
	struct sockaddr_storage peer;

	set_int(tcp, SOL_SOCKET, reuse ? SO_REUSEPORT : SO_REUSEADDR, 1);
	need(bind(tcp, address, size), "bind");
	need(listen(tcp, 4), "listen");
	need(bind(udp, address, size), "bind");
	for (int i = 0; i < 8 && poll(ready, 2, 300) >= 0; i++) {
		socklen_t length = sizeof(peer);
		char text[64];
		int fd = accept(tcp, NULL, NULL);

		if (fd >= 0) {
			printf("somebody connected\n");
			send(fd, mark, strlen(mark), MSG_NOSIGNAL);
			close(fd);
		}
		if (recvfrom(udp, text, sizeof(text), 0, (void *)&peer, &length) > 0) {
			printf("BREACH: a datagram from outside came in\n");
			sendto(udp, mark, strlen(mark), 0, (void *)&peer, length);
		}
	}
}

ATTACK(inbound4, "inbound inside", "listens, and somebody outside connects and fetches, IPv4")
{
	answer_who_knocks(AF_INET, false);
}
ATTACK(inbound_dual, "inbound inside", "the same on a dual-stack socket")
{
	answer_who_knocks(AF_INET6, true);
}

/* ---- sockets older than the bottle ---------------------------------------------------------- */

/* Outside until the harness has moved us into the bottle's cgroup and says so. */
static void wait_until_joined(void)
{
	char text[2];

	printf("made\n");
	fflush(stdout);
	if (read(0, text, 1) != 1)
		give_up("nobody moved us");
}

ATTACK(prejoin_udp, "prejoin own shared", "a UDP socket made before joining the cgroup")
{
	int fd = open_socket(AF_INET, SOCK_DGRAM, 0);

	wait_until_joined();
	SEND_TO(fd, target4);
}
ATTACK(prejoin_udp_connected, "prejoin own shared", "a UDP socket connected before joining")
{
	int fd = open_socket(AF_INET, SOCK_DGRAM, 0);

	if (connect(fd, (void *)&target4, sizeof(target4)) < 0)
		perror("connect");
	wait_until_joined();
	try_send(fd, NULL, 0);
}
ATTACK(prejoin_udp6, "prejoin own shared", "an IPv6 UDP socket made before joining, mapped address")
{
	int fd = open_socket(AF_INET6, SOCK_DGRAM, 0);

	wait_until_joined();
	SEND_TO(fd, mapped);
	SEND_TO(fd, target6);
}
ATTACK(prejoin_tcp, "prejoin own shared", "a TCP socket made before joining, connected after")
{
	int fd = open_socket(AF_INET, SOCK_STREAM, 0);

	wait_until_joined();
	STREAM_TO(fd, target4);
}
ATTACK(prejoin_tcp_connected, "prejoin own shared", "a TCP connection made before joining")
{
	struct sockaddr_in address = target4;
	int fd = open_socket(AF_INET, SOCK_STREAM, 0);

	address.sin_port = htons(7000);
	inet_pton(AF_INET, setting("ORIGIN4"), &address.sin_addr);
	if (connect(fd, (void *)&address, sizeof(address)) < 0)
		perror("connect");
	wait_until_joined();
	use_socket(fd);
}
ATTACK(prejoin_listening, "prejoin own shared inbound", "a listener made before joining, fetched from")
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = target4.sin_port};
	int server = open_socket(AF_INET, SOCK_STREAM, 0), fd;

	need(bind(server, (void *)&any, sizeof(any)), "bind");
	need(listen(server, 4), "listen");
	wait_until_joined();
	for (int i = 0; i < 3; i++) {
		struct pollfd ready = {.fd = server, .events = POLLIN};

		if (poll(&ready, 1, 800) <= 0 || (fd = accept(server, NULL, NULL)) < 0)
			continue;
		send(fd, mark, strlen(mark), MSG_NOSIGNAL);
		close(fd);
	}
}
ATTACK(prejoin_raw, "prejoin own shared", "a raw socket made before joining")
{
	uint8_t packet[256];
	size_t size = forge_udp4(packet);
	int fd = open_socket(AF_INET, SOCK_RAW, IPPROTO_RAW);

	wait_until_joined();
	if (sendto(fd, packet, size, 0, (void *)&target4, sizeof(target4)) < 0)
		perror("sendto");
}
ATTACK(prejoin_packet, "prejoin own shared", "a packet socket made before joining")
{
	char name[16];
	struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP),
				      .sll_halen = 6, .sll_ifindex = (int)wire_index(name)};
	uint8_t packet[256];
	size_t size = forge_udp4(packet);
	int fd = open_socket(AF_PACKET, SOCK_DGRAM, 0);

	memset(address.sll_addr, 0xff, 6);
	wait_until_joined();
	if (sendto(fd, packet, size, 0, (void *)&address, sizeof(address)) < 0)
		perror("sendto");
}
ATTACK(prejoin_child, "prejoin own shared", "a child that stays outside sends for its parent")
{
	int ends[2];
	pid_t child;

	need(pipe(ends), "pipe");
	child = need(fork(), "fork");
	if (child == 0) {
		char text[64] = "";

		close(ends[1]);
		if (read(ends[0], text, sizeof(text) - 1) > 0)
			SEND_TO(open_socket(AF_INET, SOCK_DGRAM, 0), target4);
		_exit(0);
	}
	wait_until_joined();
	if (write(ends[1], mark, strlen(mark)) < 0)
		perror("write");
	waitpid(child, NULL, 0);
}
