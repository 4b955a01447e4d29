// SPDX-License-Identifier: BSD-2-Clause
/* A wire from one scratch namespace to another: rtnetlink(7), netdevice(7), packet(7). */
#include "self_test_private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <netpacket/packet.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define WIRE_OUTSIDE "egress1"
#define SETTLE_ATTEMPTS 600 /* of 5 ms */

/* struct in6_ifreq of linux/ipv6.h does not go together with netinet/in.h everywhere. */
struct address6_request {
	struct in6_addr address;
	uint32_t prefix_length;
	int index;
};

/* ---- rtnetlink ------------------------------------------------------------------------------- */

struct message {
	struct nlmsghdr header;
	struct ifinfomsg link;
	char attributes[512];
};

/* The buffer is large enough for the one message that is made of it. */
static struct rtattr *add(struct message *m, unsigned short type, const void *data, size_t length)
{
	struct rtattr *attribute = (void *)((char *)m + NLMSG_ALIGN(m->header.nlmsg_len));

	attribute->rta_type = type;
	attribute->rta_len = (unsigned short)RTA_LENGTH(length);
	if (length)
		memcpy(RTA_DATA(attribute), data, length);
	m->header.nlmsg_len = NLMSG_ALIGN(m->header.nlmsg_len) + RTA_ALIGN(attribute->rta_len);
	return attribute;
}

static void end_nest(const struct message *m, struct rtattr *nest)
{
	nest->rta_len = (unsigned short)((const char *)m + m->header.nlmsg_len - (char *)nest);
}

/* One message, one acknowledgement: NLM_F_ACK is set. */
static int transact(const struct message *m)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), result;
	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
		char rest[512];
	} answer;

	if (fd < 0)
		return -errno;
	if (send(fd, m, m->header.nlmsg_len, 0) < 0)
		result = -errno;
	else if (recv(fd, &answer, sizeof(answer), 0) < (ssize_t)NLMSG_LENGTH(sizeof(int)) ||
		 answer.header.nlmsg_type != NLMSG_ERROR)
		result = -EPROTO;
	else
		result = answer.error.error;
	close(fd);
	return result;
}

/* Both ends have one hardware address: without ARP a frame is sent to the sender's own. */
static int make_veth(int outside_fd)
{
	static const uint8_t hardware[6] = {2, 0, 0, 0, 0, 1};
	static const struct ifinfomsg nothing;
	struct message m = {
		.header = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct ifinfomsg)),
			   .nlmsg_type = RTM_NEWLINK,
			   .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL},
	};
	struct rtattr *info, *data, *peer;

	add(&m, IFLA_IFNAME, WIRE_INSIDE, sizeof(WIRE_INSIDE));
	add(&m, IFLA_ADDRESS, hardware, sizeof(hardware));
	info = add(&m, IFLA_LINKINFO, NULL, 0);
	add(&m, IFLA_INFO_KIND, "veth", 4);
	data = add(&m, IFLA_INFO_DATA, NULL, 0);
	peer = add(&m, VETH_INFO_PEER, &nothing, sizeof(nothing));
	add(&m, IFLA_IFNAME, WIRE_OUTSIDE, sizeof(WIRE_OUTSIDE));
	add(&m, IFLA_ADDRESS, hardware, sizeof(hardware));
	add(&m, IFLA_NET_NS_FD, &outside_fd, sizeof(outside_fd));
	end_nest(&m, peer);
	end_nest(&m, data);
	end_nest(&m, info);
	return transact(&m);
}

/* ---- addresses and routes -------------------------------------------------------------------- */

/* ioctl(2) on network interfaces needs any socket of the namespace. */
static int control(int family, unsigned long request, void *argument)
{
	int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0), result;

	if (fd < 0)
		return -errno;
	result = ioctl(fd, request, argument) < 0 ? -errno : 0;
	close(fd);
	return result;
}

static void set_v4(struct sockaddr *sa, const char *address)
{
	struct sockaddr_in *in = (struct sockaddr_in *)sa;

	memset(in, 0, sizeof(*in));
	in->sin_family = AF_INET;
	(void)inet_pton(AF_INET, address, &in->sin_addr);
}

int link_up(const char *name, bool no_arp)
{
	struct ifreq request = {.ifr_flags = 0};
	int result;

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	result = control(AF_INET, SIOCGIFFLAGS, &request);
	if (result < 0)
		return result;
	request.ifr_flags = (short)(request.ifr_flags | IFF_UP | (no_arp ? IFF_NOARP : 0));
	return control(AF_INET, SIOCSIFFLAGS, &request);
}

static int set_address(const char *name, const char *address)
{
	struct ifreq request = {.ifr_flags = 0};
	int result;

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	set_v4(&request.ifr_addr, address);
	result = control(AF_INET, SIOCSIFADDR, &request);
	if (result < 0)
		return result;
	set_v4(&request.ifr_netmask, "255.255.255.0");
	return control(AF_INET, SIOCSIFNETMASK, &request);
}

/* All of 2001:db8::/32 is then on the wire. */
static int set_address6(const char *name, const char *address)
{
	struct address6_request request = {.prefix_length = 32, .index = (int)if_nametoindex(name)};

	(void)inet_pton(AF_INET6, address, &request.address);
	return control(AF_INET6, SIOCSIFADDR, &request);
}

/* So that the attempts leave by the wire if the wall lets them. */
static int route_everything(void)
{
	char name[] = WIRE_INSIDE;
	struct rtentry route = {.rt_flags = RTF_UP, .rt_dev = name};

	set_v4(&route.rt_dst, "0.0.0.0");
	set_v4(&route.rt_genmask, "0.0.0.0");
	return control(AF_INET, SIOCADDRT, &route);
}

int wire_make(int outside_fd, struct error *error)
{
	int result = make_veth(outside_fd);

	if (result == 0)
		result = link_up(WIRE_INSIDE, true);
	if (result == 0)
		result = set_address(WIRE_INSIDE, WIRE_ADDRESS);
	if (result == 0)
		result = route_everything();
	if (result < 0)
		return error_set(error, "cannot lay a wire between two network namespaces (veth): "
				 "%s", strerror(-result));
	/* A machine without IPv6 goes without. */
	(void)set_address6(WIRE_INSIDE, WIRE_ADDRESS6);
	return 0;
}

/* ---- the far end ------------------------------------------------------------------------------ */

int wire_sniff(struct error *error)
{
	struct sockaddr_ll at = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = (int)if_nametoindex(WIRE_OUTSIDE),
	};
	int result = link_up(WIRE_OUTSIDE, true), fd;

	if (result == 0)
		result = set_address(WIRE_OUTSIDE, WIRE_PEER);
	if (result < 0)
		return error_set(error, "%s: %s", WIRE_OUTSIDE, strerror(-result));
	/* SOCK_DGRAM: without the link's header (packet(7)), so that is_traffic() begins at the IP
	 * header. */
	fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_ALL));
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0) {
		result = errno;
		if (fd >= 0)
			close(fd);
		return error_set(error, "cannot listen on the wire: %s", strerror(result));
	}
	return fd;
}

/* The kernel's own neighbour and group messages are ICMPv6, after a hop-by-hop header or not. */
static bool is_traffic(const uint8_t *packet, ssize_t length, uint16_t protocol)
{
	if (protocol == ETH_P_IP)
		return true;
	return protocol == ETH_P_IPV6 && length > 6 && packet[6] != IPPROTO_ICMPV6 &&
	       packet[6] != IPPROTO_HOPOPTS;
}

unsigned wire_count(int sniffer_fd)
{
	struct sockaddr_ll from = {.sll_family = 0};
	uint8_t packet[64];
	unsigned count = 0;

	for (;;) {
		socklen_t length = sizeof(from);
		ssize_t got = recvfrom(sniffer_fd, packet, sizeof(packet), 0, (void *)&from,
				       &length);

		if (got < 0)
			return count;
		/* What this end sends itself is seen, too: its probes, its neighbour messages. */
		if (from.sll_pkttype != PACKET_OUTGOING &&
		    is_traffic(packet, got, ntohs(from.sll_protocol)))
			count++;
	}
}

/* To a port that nobody else uses; it may be lost, and is sent again. */
static void send_probe(int fd, const char *address)
{
	struct sockaddr_in to;

	set_v4((struct sockaddr *)&to, address);
	to.sin_port = htons(WIRE_PROBE_PORT);
	(void)!sendto(fd, "probe", 5, MSG_DONTWAIT, (struct sockaddr *)&to, sizeof(to));
}

/* A veth carries packets some time after it is up: an attempt before that would seem to be
 * stopped. */
int wire_settle(int inside_fd, int outside_fd, int sniffer_fd, struct error *error)
{
	bool out = false, in = false;
	char probe[8];

	for (int i = 0; i < SETTLE_ATTEMPTS; i++) {
		send_probe(inside_fd, WIRE_PEER);
		send_probe(outside_fd, WIRE_ADDRESS);
		out |= wire_count(sniffer_fd) > 0;
		in |= recv(inside_fd, probe, sizeof(probe), MSG_DONTWAIT) > 0;
		if (out && in)
			return 0;
		nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
	}
	return error_set(error, "nothing comes over the wire between two network namespaces (veth)");
}
