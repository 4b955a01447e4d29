// SPDX-License-Identifier: BSD-2-Clause
#include "tc_wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

void wire_pause(int milliseconds)
{
	nanosleep(&(struct timespec){milliseconds / 1000, milliseconds % 1000 * 1000000L}, NULL);
}

void wire_shell(const struct wall *at, const char *format, ...)
{
	char command[512];
	va_list arguments;
	int status;

	va_start(arguments, format);
	vsnprintf(command, sizeof(command), format, arguments);
	va_end(arguments);
	if (at)
		wall_enter(at);
	status = system(command);
	if (at)
		wall_leave(at);
	if (status != 0)
		fail_msg("%s: %d", command, status);
}

static int hold_namespace(void *memory)
{
	if (unshare(CLONE_NEWNET) < 0)
		return 1;
	address_up("lo");
	*(volatile int *)memory = 1;
	pause();
	return 1;
}

static int open_sniffer(const struct wall *far)
{
	struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	int fd;

	wall_enter(far);
	at.sll_ifindex = (int)if_nametoindex("far0");
	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_ALL));
	assert_return_code(fd, errno);
	assert_return_code(bind(fd, (void *)&at, sizeof(at)), errno);
	wall_leave(far);
	return fd;
}

void wire_add(struct wire *wire, const char *name, int number)
{
	wire_shell(NULL, "ip link add tcb%d type veth peer name tcp%d address 02:00:00:00:00:b%d && "
		   "ip link set tcb%d master tcbr addrgenmode none up", number, number, number, number);
	wire_shell(NULL, "ip link set tcp%d name %s addrgenmode none netns /proc/%d/fd/%d", number,
		   name, getpid(), wire->wall->netns);
	wire_shell(wire->wall, "ip link set %s addrgenmode none up", name);
}

void wire_up(struct wall *wall, struct wire *ret)
{
	volatile int *ready = wall->memory;
	char path[64];

	memset(ret, 0, sizeof(*ret));
	ret->wall = wall;
	*ready = 0;
	ret->holder = wall_start(wall, false, hold_namespace);
	for (int i = 0; i < 500 && !*ready; i++)
		wire_pause(10);
	assert_int_equal(*ready, 1);
	ret->far = *wall;
	snprintf(path, sizeof(path), "/proc/%d/ns/net", ret->holder);
	ret->far.netns = open(path, O_RDONLY | O_CLOEXEC);
	assert_return_code(ret->far.netns, errno);
	wire_shell(NULL, "ip link add tcbr type bridge mcast_snooping 0 && "
		   "ip link set tcbr addrgenmode none up");
	wire_shell(NULL, "ip link add tcfar type veth peer name far0 address 02:00:00:00:00:fa netns "
		   "%d && ip link set tcfar master tcbr addrgenmode none up", ret->holder);
	wire_shell(&ret->far, "ip addr add " FAR_DIRECT "/24 dev far0 && "
		   "ip addr add " FAR_STRANGE "/25 dev far0 && ip link set far0 up && "
		   "ip addr add " FAR_DIRECT6 "/64 dev far0 nodad && "
		   "ip addr add " FAR_STRANGE6 "/64 dev far0 nodad");
	wire_add(ret, "eth0", 0);
	wire_shell(wall, "ip addr add " BOTTLE_DIRECT "/24 dev eth0 && "
		   "ip addr add " BOTTLE_STRANGE "/25 dev eth0 && "
		   "ip addr add " BOTTLE_DIRECT6 "/64 dev eth0 nodad && "
		   "ip addr add 2001:db8:6::1/64 dev eth0 nodad");
	ret->sniffer = open_sniffer(&ret->far);
	wire_pause(200); /* for what a new interface says by itself */
	(void)wire_sniffed(ret);
}

void wire_allow_direct(struct wall *wall)
{
	struct egress_target target = {
		.port_count = 1, .ports = {DIRECT_PORT}, .flags = EGRESS_TARGET_DIRECT};
	struct egress_target targets[2] = {target, target};
	struct egress_cidr_key keys[2] = {{.prefix_length = 120}, {.prefix_length = 64}};

	assert_true(address_parse(DIRECT_NET, &keys[0].address));
	assert_true(address_parse("2001:db8:5::", &keys[1].address));
	assert_int_equal(kernel_set_cidrs(wall->kernel, keys, targets, 2, NULL), 0);
}

int wire_setup_direct(void **state, struct wire *ret)
{
	if (wall_setup(state) < 0)
		return -1;
	wire_allow_direct(*state);
	wire_up(*state, ret);
	return 0;
}

int wire_teardown(void **state, struct wire *wire)
{
	tc_wall_free(wire->tc);
	wire->tc = NULL;
	close(wire->sniffer);
	close(wire->far.netns);
	wall_kill(wire->holder);
	(void)!system("ip link del tcfar 2>&-; for i in 0 1 2; do ip link del tcb$i 2>&-; done;"
		      "ip link del tcbr 2>&-");
	return wall_teardown(state);
}

static bool is_solicitation(const unsigned char *frame, ssize_t length)
{
	return length >= 55 && frame[12] == 0x86 && frame[13] == 0xdd && frame[20] == IPPROTO_ICMPV6 &&
	       frame[54] == 135;
}

struct sniffed wire_sniffed(struct wire *wire)
{
	static const unsigned char bottle[5] = {2};
	struct sniffed result = {0};
	unsigned char frame[2048];
	ssize_t length;

	wire_pause(60);
	while ((length = recv(wire->sniffer, frame, sizeof(frame), 0)) > 0 || errno == ENETDOWN) {
		bool marked = memmem(frame, (size_t)length, MARK, strlen(MARK));
		bool ours = memcmp(frame + 6, bottle, 5) == 0 && (frame[11] & 0xf0) == 0xb0;
		bool arp = frame[12] == 0x08 && frame[13] == 0x06;

		result.marked += marked || (ours && (arp || is_solicitation(frame, length)));
		result.any += marked || ours;
	}
	return result;
}

struct sniffed wire_sniffed_soon(struct wire *wire, int times)
{
	struct sniffed result = wire_sniffed(wire);

	while (result.any == 0 && --times > 0)
		result = wire_sniffed(wire);
	return result;
}

uint16_t wire_checksum(const void *bytes, size_t length)
{
	const uint16_t *words = bytes;
	uint32_t sum = 0;

	for (size_t i = 0; i < length / 2; i++)
		sum += words[i];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}
