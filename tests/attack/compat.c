// SPDX-License-Identifier: BSD-2-Clause
/* System calls of 32-bit programs, made by this one: for their setsockopt(2) the kernel asks no program of
 * the cgroup, on 6.18 as on 5.15. */
#include "attack.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef __x86_64__
/* The value is copied to where 32 bits can say it is. */
static void set_option32(int fd, int level, int name, const void *value, size_t size)
{
	void *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	long result = 366; /* setsockopt, of asm/unistd_32.h */

	if (low == MAP_FAILED)
		give_up("mmap: %s", strerror(errno));
	memcpy(low, value, size);
	__asm__ volatile("int $0x80"
			 : "+a"(result)
			 : "b"(fd), "c"(level), "d"(name), "S"(low), "D"(size)
			 : "memory", "r8", "r9", "r10", "r11");
	if (result < 0)
		give_up("setsockopt: %s", strerror((int)-result));
}
#else
static void set_option32(int fd, int level, int name, const void *value, size_t size)
{
	(void)fd, (void)level, (void)name, (void)value, (void)size;
	give_up("this machine's 32-bit system calls are not known here");
}
#endif

ATTACK(igmp_membership32, "", "joins an IPv4 group by a 32-bit system call: the kernel reports it")
{
	struct ip_mreqn group = {0};
	char name[16];

	group.imr_ifindex = (int)wire_index(name);
	inet_pton(AF_INET, setting("GROUP4"), &group.imr_multiaddr);
	set_option32(open_socket(AF_INET, SOCK_DGRAM, 0), IPPROTO_IP, IP_ADD_MEMBERSHIP, &group,
		     sizeof(group));
	sleep(1);
}
ATTACK(mld_membership32, "", "joins an IPv6 group by a 32-bit system call: the kernel reports it")
{
	struct ipv6_mreq group = {0};
	char name[16];

	group.ipv6mr_interface = wire_index(name);
	inet_pton(AF_INET6, setting("GROUP6"), &group.ipv6mr_multiaddr);
	set_option32(open_socket(AF_INET6, SOCK_DGRAM, 0), IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &group,
		     sizeof(group));
	sleep(2);
}
