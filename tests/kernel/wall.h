/* SPDX-License-Identifier: BSD-2-Clause */
/* A wall for tests: a scratch cgroup, a network namespace, our sockets, and processes in it. */
#ifndef TEST_WALL_H
#define TEST_WALL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <netinet/in.h>
#include <sys/socket.h>

#include "kernel.h"

#ifndef MAP_32BIT
#define MAP_32BIT 0
#endif

#define PROXY_PORT 15001
#define DNS_PORT 15053

struct wall {
	char name[40], cgroup[300];
	bool shared;
	bool root_wall;
	uint32_t pid_namespace; /* for the root wall */
	const char *let_in; /* a path; then there is a wall for unix sockets, too */
	bool unix_broker;   /* as in kernel_open_options */
	int netns, home; /* the bottle's and the test's own network namespace */
	struct kernel *kernel;
	int proxy4, proxy6, dns_udp4, dns_udp6, dns_tcp4;
	void *memory; /* shared with the processes inside */
};

/* What the fixture allows. */
#define HOST_ONE "198.18.0.1"	  /* host 1, one.example, ports 443 and 80 */
#define HOST_GONE "198.18.0.9"	  /* host 9, gone.example, its route removed */
#define STEERED_NET "203.0.113.0" /* /24, port 6379, to the proxy */
#define SHARED_ADDRESS "203.0.113.80" /* in STEERED_NET; of several hosts, port 443 */
#define STEERED_NET6 "2001:db8:1::" /* /48, port 6379, to the proxy */
#define DIRECT_NET "198.51.100.0" /* /24, ports 7000 and 1222, TCP and UDP, let out */

/* cmocka fixtures; *state is a struct wall. */
int wall_setup(void **state);
int wall_setup_shared(void **state);
int wall_setup_unix(void **state, const char *let_in, bool broker);
int wall_setup_root(void **state, uint32_t pid_namespace);
int wall_teardown(void **state);
/* Runs the whole group in a child and cleans up whatever it left, also when it was killed. */
int wall_main(int (*run)(void));

int wall_open(struct wall *wall, struct error *error);
void wall_allow(struct wall *wall);
void wall_enter(const struct wall *wall); /* the namespace, for this thread */
void wall_leave(const struct wall *wall);
/* Runs `body` in a process of the bottle, or beside it in the same namespace. Its result. */
int wall_run(struct wall *wall, int (*body)(void *memory));
int wall_run_outside(struct wall *wall, int (*body)(void *memory));
/* The same without waiting; ends the process with wall_kill(). */
int wall_start(struct wall *wall, bool inside, int (*body)(void *memory));
int wall_wait(int pid);
void wall_kill(int pid);
/* Until the other process has set it; 0 when it did not within five seconds. */
int wall_wait_for(volatile int *flag);
uint64_t wall_counter(const struct wall *wall, unsigned index);

/* Sockets: all return 0 or a descriptor, or -errno. */
struct sockaddr_storage sockaddr_of(int family, const char *address, uint16_t port);
int try_connect(int family, int type, const char *address, uint16_t port);
int try_send(int family, const char *address, uint16_t port);
/* For what must arrive: a virtual machine on a busy one has delivered after more than three seconds. */
void be_patient(int fd);
int open_listener(int family, int type, const char *address, uint16_t port);
/* As a 32-bit program calls setsockopt(2), which the kernel asks no program of the cgroup about; `value`
 * by MAP_32BIT. Where it takes none: as others do. */
long set_option32(int fd, int level, int name, void *value, size_t size);
bool takes_32bit_calls(void);
/* An accepted connection's record: 1, 0, -1 as kernel_take_flow(). */
int take_flow_of(const struct wall *wall, int accepted, struct egress_flow *ret_flow);
void address_up(const char *interface);

#endif
