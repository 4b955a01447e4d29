// SPDX-License-Identifier: BSD-2-Clause
/* The same calls by io_uring: no system call of connect(), sendmsg() or socket() is made. */
#include "attack.h"

#include <linux/io_uring.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct ring {
	int fd;
	unsigned flags;
	struct io_uring_params params;
	uint8_t *submit, *complete;
	struct io_uring_sqe *entries;
};

static void *map_ring(int fd, size_t size, off_t where)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, where);

	if (memory == MAP_FAILED)
		give_up("mmap of a ring");
	return memory;
}

static struct ring ring_open(unsigned flags)
{
	struct ring r = {.flags = flags, .params = {.flags = flags, .sq_thread_idle = 1000}};
	struct io_uring_params *p = &r.params;

	r.fd = need((int)syscall(SYS_io_uring_setup, 8, p), "io_uring_setup");
	r.submit = map_ring(r.fd, p->sq_off.array + p->sq_entries * 4, IORING_OFF_SQ_RING);
	r.complete = map_ring(r.fd, p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe),
			      IORING_OFF_CQ_RING);
	r.entries = map_ring(r.fd, p->sq_entries * sizeof(*r.entries), IORING_OFF_SQES);
	return r;
}

/* Submits one entry and waits for its result. */
static int ring_do(struct ring *r, struct io_uring_sqe entry)
{
	unsigned *tail = (unsigned *)(r->submit + r->params.sq_off.tail);
	unsigned *array = (unsigned *)(r->submit + r->params.sq_off.array);
	unsigned *done = (unsigned *)(r->complete + r->params.cq_off.tail);
	unsigned *head = (unsigned *)(r->complete + r->params.cq_off.head);
	unsigned slot = *tail & (r->params.sq_entries - 1);
	struct io_uring_cqe *results = (void *)(r->complete + r->params.cq_off.cqes);
	int result;

	r->entries[slot] = entry;
	array[slot] = slot;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	if (!(r->flags & IORING_SETUP_SQPOLL))
		need((int)syscall(SYS_io_uring_enter, r->fd, 1, 0, 0, NULL, 0), "io_uring_enter");
	else
		syscall(SYS_io_uring_enter, r->fd, 1, 0, IORING_ENTER_SQ_WAKEUP, NULL, 0);
	for (int i = 0; i < 100 && __atomic_load_n(done, __ATOMIC_ACQUIRE) == *head; i++)
		usleep(10000);
	if (__atomic_load_n(done, __ATOMIC_ACQUIRE) == *head)
		return -1;
	result = results[*head & (r->params.cq_entries - 1)].res;
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	if (result < 0)
		fprintf(stderr, "io_uring operation %d: %s\n", entry.opcode, strerror(-result));
	return result;
}

static int ring_connect(struct ring *r, int fd, const void *address, size_t size)
{
	return ring_do(r, (struct io_uring_sqe){.opcode = IORING_OP_CONNECT, .fd = fd,
						.addr = (uintptr_t)address, .off = size});
}

static void ring_sendmsg(struct ring *r, int fd, void *address, socklen_t size)
{
	struct iovec data = {mark, strlen(mark)};
	struct msghdr m = {.msg_name = address, .msg_namelen = size, .msg_iov = &data,
			   .msg_iovlen = 1};

	ring_do(r, (struct io_uring_sqe){.opcode = IORING_OP_SENDMSG, .fd = fd,
					 .addr = (uintptr_t)&m, .len = 1});
}

static int ring_socket(struct ring *r, int family, int type, int protocol)
{
	return need(ring_do(r, (struct io_uring_sqe){.opcode = IORING_OP_SOCKET, .fd = family,
						     .off = (unsigned)type, .len = (unsigned)protocol}),
		    "IORING_OP_SOCKET");
}

ATTACK(uring_connect4, "", "io_uring: TCP connect over IPv4")
{
	struct ring r = ring_open(0);

	ring_connect(&r, open_socket(AF_INET, SOCK_STREAM, 0), &target4, sizeof(target4));
}
ATTACK(uring_connect6, "", "io_uring: TCP connect over IPv6")
{
	struct ring r = ring_open(0);

	ring_connect(&r, open_socket(AF_INET6, SOCK_STREAM, 0), &target6, sizeof(target6));
}
ATTACK(uring_sendmsg4, "", "io_uring: UDP sendmsg over IPv4")
{
	struct ring r = ring_open(0);

	ring_sendmsg(&r, open_socket(AF_INET, SOCK_DGRAM, 0), &target4, sizeof(target4));
}
ATTACK(uring_sendmsg6, "", "io_uring: UDP sendmsg over IPv6")
{
	struct ring r = ring_open(0);

	ring_sendmsg(&r, open_socket(AF_INET6, SOCK_DGRAM, 0), &target6, sizeof(target6));
}
ATTACK(uring_sqpoll_sendmsg, "", "io_uring with SQPOLL: a kernel thread sends")
{
	struct ring r = ring_open(IORING_SETUP_SQPOLL);

	ring_sendmsg(&r, open_socket(AF_INET, SOCK_DGRAM, 0), &target4, sizeof(target4));
}
ATTACK(uring_sqpoll_connect, "", "io_uring with SQPOLL: a kernel thread connects")
{
	struct ring r = ring_open(IORING_SETUP_SQPOLL);

	ring_connect(&r, open_socket(AF_INET, SOCK_STREAM, 0), &target4, sizeof(target4));
}
ATTACK(uring_socket_tcp, "", "io_uring: the socket too is made by an operation, then connected")
{
	struct ring r = ring_open(0);

	ring_connect(&r, ring_socket(&r, AF_INET, SOCK_STREAM, 0), &target4, sizeof(target4));
}
ATTACK(uring_socket_udp, "", "io_uring: UDP socket by an operation, then sendmsg")
{
	struct ring r = ring_open(0);

	ring_sendmsg(&r, ring_socket(&r, AF_INET, SOCK_DGRAM, 0), &target4, sizeof(target4));
}
ATTACK(uring_socket_raw, "", "io_uring: raw socket by an operation")
{
	struct ring r = ring_open(0);

	ring_sendmsg(&r, ring_socket(&r, AF_INET, SOCK_RAW, 253), &target4, sizeof(target4));
}
ATTACK(uring_socket_mptcp, "", "io_uring: MPTCP socket by an operation")
{
	struct ring r = ring_open(0);

	ring_connect(&r, ring_socket(&r, AF_INET, SOCK_STREAM, 262), &target4, sizeof(target4));
}
ATTACK(uring_send_address, "", "io_uring: IORING_OP_SEND with an address")
{
	struct ring r = ring_open(0);

	ring_do(&r, (struct io_uring_sqe){.opcode = IORING_OP_SEND,
					  .fd = open_socket(AF_INET, SOCK_DGRAM, 0),
					  .addr = (uintptr_t)mark, .len = (unsigned)strlen(mark),
					  .addr2 = (uintptr_t)&target4,
					  .addr_len = sizeof(target4)});
}
ATTACK(uring_send_zero_copy, "", "io_uring: IORING_OP_SEND_ZC with an address")
{
	struct ring r = ring_open(0);

	ring_do(&r, (struct io_uring_sqe){.opcode = IORING_OP_SEND_ZC,
					  .fd = open_socket(AF_INET, SOCK_DGRAM, 0),
					  .addr = (uintptr_t)mark, .len = (unsigned)strlen(mark),
					  .addr2 = (uintptr_t)&target4,
					  .addr_len = sizeof(target4)});
	usleep(20000);
}
