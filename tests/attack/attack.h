/* SPDX-License-Identifier: BSD-2-Clause */
/* What the attack programs share. An attack tries to get MARK, or a packet for a port or address
 * that only it uses, out of the bottle. Its exit status says nothing: a sniffer outside judges. */
#ifndef ATTACK_H
#define ATTACK_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct attack {
	const char *name, *purpose;
	/* words: "serial" alone on the machine, "inbound" somebody outside knocks at the port,
	 * "breaks" the wall may be gone afterwards, "prejoin" starts outside the bottle */
	const char *flags;
	void (*run)(void);
	struct attack *next;
};
void attack_register(struct attack *attack);

#define ATTACK(ident, flag_words, purpose_text)                                                    \
	static void attack_##ident(void);                                                          \
	__attribute__((constructor)) static void register_##ident(void)                           \
	{                                                                                          \
		static struct attack attack = {.name = #ident, .purpose = purpose_text,            \
					       .flags = flag_words, .run = attack_##ident};        \
		attack_register(&attack);                                                          \
	}                                                                                          \
	static void attack_##ident(void)

/* What this run carries out, from the environment. */
extern char mark[64];		       /* text that nobody else sends */
extern struct sockaddr_in target4;     /* somewhere outside, with a port that is only ours */
extern struct sockaddr_in6 target6;    /* an address outside that is only ours */
extern struct sockaddr_in6 mapped;     /* ::ffff:target4 */
extern struct sockaddr_in home4;       /* 127.0.0.1 and a port nobody listens on */
extern struct sockaddr_in6 home6;

/* Prints what failed and why, and ends this attack: the reason of a skip. */
__attribute__((noreturn, format(printf, 1, 2))) void give_up(const char *format, ...);
/* A result that must not be negative. */
int need(int result, const char *what);
/* The environment variable, or give_up(). */
const char *setting(const char *name);

int open_socket(int family, int type, int protocol);
void set_option(int fd, int level, int name, const void *value, size_t size);
void set_int(int fd, int level, int name, int value);
/* Ignore their results: what arrives outside counts. */
void try_send(int fd, const void *address, socklen_t size);
/* Non-blocking connect, half a second, then MARK. */
void try_stream(int fd, const void *address, socklen_t size);
/* Index and name of the first interface that is not loopback; without any the loopback's. */
unsigned wire_index(char name[16]);
uint16_t checksum(const void *data, size_t size, uint32_t sum);
/* An IPv4 or IPv6 datagram (UDP, MARK) to the target, checksums in place; returns its size. */
size_t forge_udp4(uint8_t *packet);
size_t forge_udp6(uint8_t *packet);
/* Detaches the cgroup's programs, and writes the maps of the tc wall's that have this name, if any. */
void write_wire_maps(const char *name);

#define SEND_TO(fd, address) try_send(fd, &(address), sizeof(address))
#define STREAM_TO(fd, address) try_stream(fd, &(address), sizeof(address))

#endif
