/* SPDX-License-Identifier: BSD-2-Clause */
/* A bottle on a wire: its veth ends on a bridge of the "host", which is a namespace of the test's own,
 * and beyond the bridge, in a third namespace, a neighbour and a sniffer. Attacks run with the
 * rights of root in the bottle's network namespace, in whatever cgroup they like. */
#ifndef TEST_TC_WIRE_H
#define TEST_TC_WIRE_H

#include "wall.h"

#include "tc_wall.h"

#define BOTTLE_DIRECT "198.51.100.1" /* in DIRECT_NET */
#define FAR_DIRECT "198.51.100.2"
#define BOTTLE_STRANGE "203.0.113.129" /* in no route: STEERED_NET is the lower half here */
#define FAR_STRANGE "203.0.113.130"
#define BOTTLE_DIRECT6 "2001:db8:5::1"
#define FAR_DIRECT6 "2001:db8:5::2"
#define FAR_STRANGE6 "2001:db8:6::2"
#define DIRECT_PORT 7000
#define PUBLISHED_PORT 8088 /* by wall_open() */
#define MARK "EGRESS-TC-MARK"

struct wire {
	struct wall *wall;
	struct wall far; /* as a place to run in only */
	struct tc_wall *tc; /* the test's to open; freed with the wire */
	int holder, sniffer;
};

/* The neighbour's namespace, the bridge, and "eth0" in the bottle's. */
void wire_up(struct wall *wall, struct wire *ret);
/* The bottle's wall lets DIRECT_NET and the /64 of FAR_DIRECT6 out, at DIRECT_PORT. */
void wire_allow_direct(struct wall *wall);
/* All of that for a cmocka setup, whose `state` is the wall's; and the end of it. */
int wire_setup_direct(void **state, struct wire *ret);
int wire_teardown(void **state, struct wire *wire);
/* Another veth of the bottle's, NAME in there. */
void wire_add(struct wire *wire, const char *name, int number);
void wire_shell(const struct wall *at, const char *format, ...) PRINTF(2, 3);
void wire_pause(int milliseconds);
uint16_t wire_checksum(const void *bytes, size_t length); /* RFC 1071; an even length */

/* What has reached the neighbour's side since the last call: what attacks make, or any frame. */
struct sniffed {
	int marked; /* the mark, ARP or a neighbour solicitation of the bottle's */
	int any;    /* from the bottle's link addresses, or marked */
};
struct sniffed wire_sniffed(struct wire *wire);
/* The same for what is to come: a busy machine delivers late. Until something is there, so many times. */
struct sniffed wire_sniffed_soon(struct wire *wire, int times);

/* 0 when it could be tried. */
struct attack {
	const char *name;
	int (*body)(void *cgroup_path);
};
extern const struct attack attacks[];
extern const size_t attack_count;
int attack_frame(void *unused); /* the plainest: one frame, by a packet socket */

#endif
