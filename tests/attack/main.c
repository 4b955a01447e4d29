// SPDX-License-Identifier: BSD-2-Clause
/* attack --list | attack NAME: runs one attack, with its target from the environment. */
#include "attack.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char mark[64];
struct sockaddr_in target4, home4;
struct sockaddr_in6 target6, mapped, home6;
static struct attack *attacks;

void attack_register(struct attack *attack)
{
	attack->next = attacks;
	attacks = attack;
}

void give_up(const char *format, ...)
{
	int error = errno;
	va_list arguments;

	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fprintf(stderr, "%s%s\n", error ? ": " : "", error ? strerror(error) : "");
	exit(1);
}

int need(int result, const char *what)
{
	if (result < 0)
		give_up("%s", what);
	return result;
}

const char *setting(const char *name)
{
	const char *value = getenv(name);

	errno = 0;
	if (!value || !*value)
		give_up("%s is not set", name);
	return value;
}

int open_socket(int family, int type, int protocol)
{
	char what[64];

	snprintf(what, sizeof(what), "socket(%d, %d, %d)", family, type, protocol);
	return need(socket(family, type | SOCK_CLOEXEC, protocol), what);
}

void set_option(int fd, int level, int name, const void *value, size_t size)
{
	char what[64];

	snprintf(what, sizeof(what), "setsockopt(%d, %d)", level, name);
	need(setsockopt(fd, level, name, value, (socklen_t)size), what);
}

void set_int(int fd, int level, int name, int value)
{
	set_option(fd, level, name, &value, sizeof(value));
}

void try_send(int fd, const void *address, socklen_t size)
{
	/* twice: an ICMP error of the first may be reported by the second */
	for (int i = 0; i < 2; i++)
		if (sendto(fd, mark, strlen(mark), MSG_DONTWAIT | MSG_NOSIGNAL, address, size) < 0)
			perror("sendto");
}

void try_stream(int fd, const void *address, socklen_t size)
{
	struct pollfd ready = {.fd = fd, .events = POLLOUT};

	fcntl(fd, F_SETFL, O_NONBLOCK);
	if (connect(fd, address, size) < 0 && errno != EINPROGRESS) {
		perror("connect");
		return;
	}
	poll(&ready, 1, 500);
	if (send(fd, mark, strlen(mark), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		perror("send");
}

unsigned wire_index(char name[16])
{
	struct if_nameindex *list = if_nameindex(), *item;
	unsigned index = 1;

	strcpy(name, "lo");
	for (item = list; item && item->if_index; item++)
		if (strcmp(item->if_name, "lo") != 0 && index == 1) {
			index = item->if_index;
			snprintf(name, 16, "%s", item->if_name);
		}
	if (list)
		if_freenameindex(list);
	return index;
}

uint16_t checksum(const void *data, size_t size, uint32_t sum)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < size; i++)
		sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

static void fill_udp(struct udphdr *udp)
{
	*udp = (struct udphdr){.source = htons(4711), .dest = target4.sin_port,
			       .len = htons((uint16_t)(sizeof(*udp) + strlen(mark)))};
	memcpy(udp + 1, mark, strlen(mark));
}

size_t forge_udp4(uint8_t *packet)
{
	struct iphdr ip = {.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_UDP,
			   .saddr = inet_addr("203.0.113.1"), .daddr = target4.sin_addr.s_addr};
	size_t size = sizeof(ip) + sizeof(struct udphdr) + strlen(mark);

	ip.tot_len = htons((uint16_t)size);
	ip.check = checksum(&ip, sizeof(ip), 0);
	memcpy(packet, &ip, sizeof(ip));
	fill_udp((struct udphdr *)(packet + sizeof(ip)));
	return size;
}

size_t forge_udp6(uint8_t *packet)
{
	struct ip6_hdr ip = {.ip6_dst = target6.sin6_addr};
	size_t payload = sizeof(struct udphdr) + strlen(mark);
	struct udphdr *udp = (struct udphdr *)(packet + sizeof(ip));

	ip.ip6_flow = htonl(6u << 28);
	ip.ip6_plen = htons((uint16_t)payload);
	ip.ip6_nxt = IPPROTO_UDP;
	ip.ip6_hlim = 64;
	inet_pton(AF_INET6, "2001:db8:e2e::1", &ip.ip6_src);
	memcpy(packet, &ip, sizeof(ip));
	fill_udp(udp);
	udp->check = checksum(udp, payload, (uint32_t)~ntohs(checksum(&ip.ip6_src, 32, 0)) % 65536 +
						    (uint32_t)payload + IPPROTO_UDP);
	return sizeof(ip) + payload;
}

static void read_target(void)
{
	uint16_t port = htons((uint16_t)atoi(setting("PORT")));

	snprintf(mark, sizeof(mark), "%s", setting("MARK"));
	target4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = port};
	target6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = port};
	home4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(9),
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	home6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(9),
				      .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	if (inet_pton(AF_INET, setting("V4"), &target4.sin_addr) != 1 ||
	    inet_pton(AF_INET6, setting("V6"), &target6.sin6_addr) != 1)
		give_up("V4 or V6 is no address");
	mapped = target6;
	memset(&mapped.sin6_addr, 0, 10);
	memset(&mapped.sin6_addr.s6_addr[10], 0xff, 2);
	memcpy(&mapped.sin6_addr.s6_addr[12], &target4.sin_addr, 4);
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	for (struct attack *a = attacks; argc == 2 && a; a = a->next) {
		if (strcmp(argv[1], "--list") == 0) {
			printf("%s\t%s\t%s\n", a->name, a->flags, a->purpose);
		} else if (strcmp(argv[1], a->name) == 0) {
			alarm(20);
			read_target();
			a->run();
			return 0;
		}
	}
	return argc == 2 && strcmp(argv[1], "--list") == 0 ? 0 : 2;
}
