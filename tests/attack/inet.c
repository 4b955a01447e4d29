// SPDX-License-Identifier: BSD-2-Clause
/* Every way to send TCP and UDP over IPv4, IPv6, and IPv4 mapped into IPv6. */
#include "attack.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int udp4(void) { return open_socket(AF_INET, SOCK_DGRAM, 0); }
static int udp6(void) { return open_socket(AF_INET6, SOCK_DGRAM, 0); }
static int tcp4(void) { return open_socket(AF_INET, SOCK_STREAM, 0); }
static int tcp6(void) { return open_socket(AF_INET6, SOCK_STREAM, 0); }

ATTACK(tcp4_connect, "", "TCP over IPv4 by connect()") { STREAM_TO(tcp4(), target4); }
ATTACK(tcp6_connect, "", "TCP over IPv6 by connect()") { STREAM_TO(tcp6(), target6); }
ATTACK(tcp_mapped_connect, "", "TCP to ::ffff:a.b.c.d by connect()") { STREAM_TO(tcp6(), mapped); }
ATTACK(tcp6_socket_v4_address, "", "TCP over an IPv6 socket with a sockaddr_in")
{
	STREAM_TO(tcp6(), target4);
}

ATTACK(udp4_sendto, "", "UDP over IPv4 by sendto(), not connected") { SEND_TO(udp4(), target4); }
ATTACK(udp6_sendto, "", "UDP over IPv6 by sendto(), not connected") { SEND_TO(udp6(), target6); }
ATTACK(udp_mapped_sendto, "", "UDP to ::ffff:a.b.c.d by sendto()") { SEND_TO(udp6(), mapped); }
ATTACK(udp6_socket_v4_address, "", "UDP over an IPv6 socket with a sockaddr_in")
{
	SEND_TO(udp6(), target4);
}

static void connected(int fd, const void *address, socklen_t size)
{
	if (connect(fd, address, size) < 0)
		perror("connect");
	try_send(fd, NULL, 0);
}

ATTACK(udp4_connect_send, "", "UDP over IPv4 by connect() and send()")
{
	connected(udp4(), &target4, sizeof(target4));
}
ATTACK(udp6_connect_send, "", "UDP over IPv6 by connect() and send()")
{
	connected(udp6(), &target6, sizeof(target6));
}
ATTACK(udp_mapped_connect_send, "", "UDP to ::ffff:a.b.c.d by connect() and send()")
{
	connected(udp6(), &mapped, sizeof(mapped));
}
ATTACK(udp_write, "", "UDP by connect() and plain write()")
{
	int fd = udp4();

	if (connect(fd, (void *)&target4, sizeof(target4)) == 0 && write(fd, mark, strlen(mark)) < 0)
		perror("write");
}

/* ---- sendmsg, sendmmsg, segmentation offload ------------------------------------------------ */

static void message(int fd, void *address, socklen_t size, void *control, size_t control_size)
{
	struct iovec data = {mark, strlen(mark)};
	struct msghdr m = {.msg_name = address, .msg_namelen = size, .msg_iov = &data,
			   .msg_iovlen = 1, .msg_control = control,
			   .msg_controllen = control_size};

	if (sendmsg(fd, &m, MSG_DONTWAIT) < 0)
		perror("sendmsg");
}

ATTACK(udp4_sendmsg, "", "UDP over IPv4 by sendmsg()")
{
	message(udp4(), &target4, sizeof(target4), NULL, 0);
}
ATTACK(udp6_sendmsg, "", "UDP over IPv6 by sendmsg()")
{
	message(udp6(), &target6, sizeof(target6), NULL, 0);
}
ATTACK(udp_mapped_sendmsg, "", "UDP to ::ffff:a.b.c.d by sendmsg()")
{
	message(udp6(), &mapped, sizeof(mapped), NULL, 0);
}

static void messages(int fd, void *first, void *second, socklen_t size)
{
	struct iovec data = {mark, strlen(mark)};
	struct mmsghdr m[2] = {{.msg_hdr = {.msg_iov = &data, .msg_iovlen = 1, .msg_name = first,
					    .msg_namelen = size}},
			       {.msg_hdr = {.msg_iov = &data, .msg_iovlen = 1, .msg_name = second,
					    .msg_namelen = size}}};

	for (int i = 0; i < 2; i++)
		if (sendmmsg(fd, m + i, (unsigned)(2 - i), MSG_DONTWAIT) < 0)
			perror("sendmmsg");
}

ATTACK(udp4_sendmmsg, "", "UDP over IPv4 by sendmmsg(), the first message harmless")
{
	messages(udp4(), &home4, &target4, sizeof(target4));
}
ATTACK(udp6_sendmmsg, "", "UDP over IPv6 by sendmmsg(), the first message harmless")
{
	messages(udp6(), &home6, &target6, sizeof(target6));
}
ATTACK(udp_mapped_sendmmsg, "", "UDP to ::ffff:a.b.c.d by sendmmsg()")
{
	messages(udp6(), &mapped, &mapped, sizeof(mapped));
}

static void segments(int fd, const void *address, socklen_t size)
{
	char data[2000];

	for (size_t i = 0; i + 20 <= sizeof(data); i += 20)
		snprintf(data + i, 20, "%.19s", mark);
	set_int(fd, IPPROTO_UDP, UDP_SEGMENT, 200);
	if (sendto(fd, data, sizeof(data), MSG_DONTWAIT, address, size) < 0)
		perror("sendto");
}

ATTACK(udp4_gso, "", "UDP over IPv4 with UDP_SEGMENT")
{
	segments(udp4(), &target4, sizeof(target4));
}
ATTACK(udp6_gso, "", "UDP over IPv6 with UDP_SEGMENT")
{
	segments(udp6(), &target6, sizeof(target6));
}

ATTACK(udp_zerocopy, "", "UDP with MSG_ZEROCOPY: the pages are read when they are sent")
{
	int fd = udp4();

	set_int(fd, SOL_SOCKET, SO_ZEROCOPY, 1);
	if (sendto(fd, mark, strlen(mark), MSG_ZEROCOPY, (void *)&target4, sizeof(target4)) < 0)
		perror("sendto");
}
/* No SYN is sent: the socket is told that it is connected. */
ATTACK(tcp_repair, "", "TCP_REPAIR: a connection that never was, and data on it")
{
	int fd = open_socket(AF_INET, SOCK_STREAM, 0);

	set_int(fd, IPPROTO_TCP, TCP_REPAIR, 1);
	if (connect(fd, (void *)&target4, sizeof(target4)) < 0)
		perror("connect");
	setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &(int){0}, sizeof(int));
	if (send(fd, mark, strlen(mark), MSG_DONTWAIT) < 0)
		perror("send");
}

static void corked(int fd, const void *first, const void *second, socklen_t size)
{
	sendto(fd, "", 0, MSG_MORE, second, size);
	sendto(fd, mark, strlen(mark), MSG_MORE, first, size);
	if (sendto(fd, mark, strlen(mark), 0, second, size) < 0)
		perror("sendto");
}

ATTACK(udp4_cork, "", "UDP corked with MSG_MORE, the address changed in between")
{
	corked(udp4(), &home4, &target4, sizeof(target4));
}
ATTACK(udp6_cork, "", "UDP over IPv6 corked with MSG_MORE, the address changed in between")
{
	corked(udp6(), &home6, &target6, sizeof(target6));
}
ATTACK(udp_cork_family, "", "UDP corked over IPv6, finished with a mapped address")
{
	corked(udp6(), &mapped, &mapped, sizeof(mapped));
}

/* ---- TCP Fast Open -------------------------------------------------------------------------- */

static void fast_open(int fd, const void *address, socklen_t size)
{
	if (sendto(fd, mark, strlen(mark), MSG_FASTOPEN | MSG_DONTWAIT, address, size) < 0)
		perror("sendto");
	usleep(100000);
}
static void fast_open_option(int fd, const void *address, socklen_t size)
{
	set_int(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1);
	try_stream(fd, address, size);
}

ATTACK(tfo4_sendto, "", "Fast Open over IPv4 by sendto(MSG_FASTOPEN)")
{
	fast_open(tcp4(), &target4, sizeof(target4));
}
ATTACK(tfo6_sendto, "", "Fast Open over IPv6 by sendto(MSG_FASTOPEN)")
{
	fast_open(tcp6(), &target6, sizeof(target6));
}
ATTACK(tfo_mapped_sendto, "", "Fast Open to ::ffff:a.b.c.d by sendto(MSG_FASTOPEN)")
{
	fast_open(tcp6(), &mapped, sizeof(mapped));
}
ATTACK(tfo4_option, "", "Fast Open over IPv4 by TCP_FASTOPEN_CONNECT")
{
	fast_open_option(tcp4(), &target4, sizeof(target4));
}
ATTACK(tfo6_option, "", "Fast Open over IPv6 by TCP_FASTOPEN_CONNECT")
{
	fast_open_option(tcp6(), &target6, sizeof(target6));
}
ATTACK(tfo_no_cookie, "", "Fast Open without a cookie: data in the first SYN")
{
	int fd = tcp4();

	set_int(fd, IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, 1);
	fast_open(fd, &target4, sizeof(target4));
}

/* ---- sockets that change their mind --------------------------------------------------------- */

static void dissolve(int fd)
{
	struct sockaddr nobody = {.sa_family = AF_UNSPEC};

	if (connect(fd, &nobody, sizeof(nobody)) < 0)
		perror("connect(AF_UNSPEC)");
}

ATTACK(unspec_reconnect_udp4, "", "UDP: connected to loopback, AF_UNSPEC, then connected outside")
{
	int fd = udp4();

	connect(fd, (void *)&home4, sizeof(home4));
	dissolve(fd);
	connected(fd, &target4, sizeof(target4));
}
ATTACK(unspec_reconnect_tcp4, "", "TCP: connect to loopback fails, AF_UNSPEC, then outside")
{
	int fd = tcp4();

	connect(fd, (void *)&home4, sizeof(home4));
	dissolve(fd);
	STREAM_TO(fd, target4);
}
ATTACK(unspec_reconnect_udp6, "", "UDP over IPv6: loopback, AF_UNSPEC, then a mapped address")
{
	int fd = udp6();

	connect(fd, (void *)&home6, sizeof(home6));
	dissolve(fd);
	SEND_TO(fd, mapped);
}
ATTACK(unspec_sendto, "", "UDP sendto() with a sockaddr_in whose family is AF_UNSPEC")
{
	struct sockaddr_in address = target4;

	address.sin_family = AF_UNSPEC;
	SEND_TO(udp4(), address);
}
ATTACK(tcp_unspec_fastopen, "", "TCP sendto(MSG_FASTOPEN) with family AF_UNSPEC, then AF_INET")
{
	struct sockaddr_in address = target4;
	int fd = tcp4();

	address.sin_family = AF_UNSPEC;
	sendto(fd, mark, strlen(mark), MSG_FASTOPEN | MSG_DONTWAIT, (void *)&address, sizeof(address));
	fast_open(fd, &target4, sizeof(target4));
}
ATTACK(connected_elsewhere6, "", "UDP connected to ::1, then sendto() an IPv6 address outside")
{
	int fd = udp6();

	connect(fd, (void *)&home6, sizeof(home6));
	SEND_TO(fd, target6);
}
ATTACK(connected_elsewhere_v4, "", "UDP connected to ::1, then sendto() with a sockaddr_in")
{
	int fd = udp6();

	connect(fd, (void *)&home6, sizeof(home6));
	SEND_TO(fd, target4);
}
ATTACK(dns_connected_elsewhere, "", "UDP connected to port 53 (steered), then sendto() outside")
{
	struct sockaddr_in dns = target4;
	int fd = udp4();

	dns.sin_port = htons(53);
	connect(fd, (void *)&dns, sizeof(dns));
	SEND_TO(fd, target4);
}
ATTACK(addrform_udp, "", "IPV6_ADDRFORM makes a UDP socket IPv4, which then sends outside")
{
	struct sockaddr_in6 here = mapped;
	int fd = udp6();

	memcpy(&here.sin6_addr.s6_addr[12], &home4.sin_addr, 4);
	need(connect(fd, (void *)&here, sizeof(here)), "connect");
	set_int(fd, IPPROTO_IPV6, IPV6_ADDRFORM, AF_INET);
	SEND_TO(fd, target4);
	dissolve(fd);
	connected(fd, &target4, sizeof(target4));
}
ATTACK(addrform_tcp, "", "IPV6_ADDRFORM makes a TCP socket IPv4, which then connects outside")
{
	struct sockaddr_in6 here = mapped;
	int server = tcp4(), fd = tcp6();
	socklen_t size = sizeof(home4);

	home4.sin_port = 0;
	need(bind(server, (void *)&home4, sizeof(home4)), "bind");
	need(listen(server, 1), "listen");
	getsockname(server, (void *)&home4, &size);
	memcpy(&here.sin6_addr.s6_addr[12], &home4.sin_addr, 4);
	here.sin6_port = home4.sin_port;
	need(connect(fd, (void *)&here, sizeof(here)), "connect");
	set_int(fd, IPPROTO_IPV6, IPV6_ADDRFORM, AF_INET);
	dissolve(fd);
	STREAM_TO(fd, target4);
}
ATTACK(listen_reconnect, "", "TCP: a listening socket shut down and connected outside")
{
	int fd = tcp4();

	need(listen(fd, 1), "listen");
	shutdown(fd, SHUT_RDWR);
	STREAM_TO(fd, target4);
}

/* ---- the address changes during the call ---------------------------------------------------- */

struct flicker {
	struct sockaddr_in address;
	in_addr_t one, other;
	uint16_t one_port, other_port;
	atomic_bool stop;
};

static void *flicker_run(void *context)
{
	struct flicker *f = context;
	volatile struct sockaddr_in *shown = &f->address;

	while (!atomic_load_explicit(&f->stop, memory_order_relaxed)) {
		shown->sin_addr.s_addr = f->one;
		shown->sin_port = f->one_port;
		shown->sin_addr.s_addr = f->other;
		shown->sin_port = f->other_port;
	}
	return NULL;
}

static void race(void (*step)(struct sockaddr_in *address))
{
	struct flicker f = {.address = target4, .one = home4.sin_addr.s_addr,
			    .one_port = home4.sin_port, .other = target4.sin_addr.s_addr,
			    .other_port = target4.sin_port};
	struct timespec start, now;
	pthread_t thread;

	clock_gettime(CLOCK_MONOTONIC, &start);
	if (pthread_create(&thread, NULL, flicker_run, &f) != 0)
		give_up("pthread_create");
	do {
		step(&f.address);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000 < 300);
	atomic_store(&f.stop, true);
	pthread_join(thread, NULL);
}

static void race_connect(struct sockaddr_in *address)
{
	int fd = open_socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	connect(fd, (void *)address, sizeof(*address));
	close(fd);
}
static void race_sendto(struct sockaddr_in *address)
{
	static int fd = -1;

	if (fd < 0)
		fd = udp4();
	sendto(fd, mark, strlen(mark), MSG_DONTWAIT, (void *)address, sizeof(*address));
}
static void race_sendmsg(struct sockaddr_in *address)
{
	static int fd = -1;
	struct iovec data = {mark, strlen(mark)};
	struct msghdr m = {.msg_name = address, .msg_namelen = sizeof(*address), .msg_iov = &data,
			   .msg_iovlen = 1};

	if (fd < 0)
		fd = udp4();
	sendmsg(fd, &m, MSG_DONTWAIT);
}

ATTACK(race_tcp_connect, "", "another thread changes the address while connect() reads it")
{
	race(race_connect);
}
ATTACK(race_udp_sendto, "", "another thread changes the address while sendto() reads it")
{
	race(race_sendto);
}
ATTACK(race_udp_sendmsg, "", "another thread changes the address while sendmsg() reads it")
{
	race(race_sendmsg);
}

static void *reconnect_run(void *context)
{
	int fd = *(int *)context;

	for (int i = 0; i < 20000; i++) {
		connect(fd, (void *)(i % 2 ? &target4 : &home4), sizeof(target4));
	}
	return NULL;
}

ATTACK(race_udp_reconnect, "", "one thread reconnects the UDP socket on which another sends")
{
	struct sockaddr_in source = {.sin_family = AF_INET};
	int fd = udp4();
	pthread_t thread;

	inet_pton(AF_INET, setting("HOST4"), &source.sin_addr);
	if (bind(fd, (void *)&source, sizeof(source)) < 0)
		perror("bind");
	if (pthread_create(&thread, NULL, reconnect_run, &fd) != 0)
		give_up("pthread_create");
	for (int i = 0; i < 20000; i++)
		send(fd, mark, strlen(mark), MSG_DONTWAIT);
	pthread_join(thread, NULL);
}
