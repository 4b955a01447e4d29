// SPDX-License-Identifier: BSD-2-Clause
/* rtnetlink(7) by hand: two questions, and libmnl would be one more library for them. Everything
 * about an interface inside may be the choice of root in the bottle; the lengths are the
 * kernel's. */
#include "tc_wall_links.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER_SIZE 65536 /* the kernel fills at most 32 KiB at once */
/* The kernel answers at once; this is for a bug, not for load. */
#define PATIENCE_S 5
#define ROOM (4 << 20) /* of a socket that is told of changes: some thousand of them */

/* Devices that send by others of the same namespace. With their lower end in another one they carry
 * IFLA_LINK_NETNSID, and lead out. */
static const char *const inner_kinds[] = {
	"dummy",  "bridge", "bond", "team",   "ifb",	"vrf",	     "nlmon",  "vlan",	"vxlan",
	"geneve", "gre",    "gretap", "erspan", "ipip", "sit",	     "ip6tnl", "ip6gre", "ip6gretap",
	"ip6erspan", "vti", "vti6", "macvlan", "macvtap", "ipvlan", "ipvtap", "veth", NULL,
};

struct answer {
	_Alignas(struct nlmsghdr) char bytes[ANSWER_SIZE];
};

/* One interface as the kernel describes it. */
struct link {
	struct egress_wire wire; /* `outside` may be a peer anywhere */
	bool loopback, elsewhere;
	int32_t namespace_id; /* of the other end, where `elsewhere` */
};

struct list {
	struct link *links;
	size_t count;
};

int links_socket(bool changes, struct error *error)
{
	struct sockaddr_nl address = {.nl_family = AF_NETLINK,
				      .nl_groups = changes ? RTMGRP_LINK : 0};
	struct timeval patience = {.tv_sec = PATIENCE_S};
	const int room = ROOM;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0) {
		error_set(error, "rtnetlink: %s", strerror(errno));
		if (fd >= 0)
			close(fd);
		return -1;
	}
	/* what is lost in an overrun waits until everything has been looked at again */
	if (changes)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	return fd;
}

void links_drain(int fd)
{
	char byte;

	/* An overrun is a change, too: the caller looks at everything anyway. */
	while (recv(fd, &byte, 1, MSG_DONTWAIT | MSG_TRUNC) >= 0 || errno == ENOBUFS)
		;
}

/* ---- asking ---------------------------------------------------------------------------------- */

/* Calls back for each message of the answer until that ends. -1 with errno. */
static int read_answer(int fd, int (*each)(void *context, const struct nlmsghdr *message),
		       void *context)
{
	struct answer *answer = malloc(sizeof(*answer));
	bool more = true;
	int result = 0;

	while (answer && more && result == 0) {
		ssize_t got = recv(fd, answer->bytes, sizeof(answer->bytes), 0);
		const struct nlmsghdr *message = (const void *)answer->bytes;
		size_t left = got > 0 ? (size_t)got : 0;

		if (got <= 0 && errno != EINTR)
			result = -1;
		for (; more && result == 0 && NLMSG_OK(message, left);
		     message = NLMSG_NEXT(message, left)) {
			if (message->nlmsg_type == NLMSG_ERROR) {
				const struct nlmsgerr *failure = NLMSG_DATA(message);

				errno = -failure->error;
				result = failure->error ? -1 : 0;
				more = false;
			} else if (message->nlmsg_type == NLMSG_DONE) {
				more = false;
			} else {
				result = each(context, message);
				/* Only the answer to a dump has an end of its own, NLMSG_DONE:
				 * netlink(7). */
				more = message->nlmsg_flags & NLM_F_MULTI;
			}
		}
	}
	if (!answer)
		result = -1;
	free(answer);
	return result;
}

/* `context` keeps what it had when the attribute is missing. */
static int take_id(void *context, const struct nlmsghdr *message)
{
	const struct rtgenmsg *head = NLMSG_DATA(message);
	const struct rtattr *attribute =
		(const void *)((const char *)head + NLMSG_ALIGN(sizeof(*head)));
	size_t left = message->nlmsg_len - NLMSG_SPACE(sizeof(*head));

	for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left))
		if (attribute->rta_type == NETNSA_NSID)
			memcpy(context, RTA_DATA(attribute), sizeof(int32_t));
	return 0;
}

/* What the socket's namespace calls the one that `home_fd` is; NETNSA_NSID_NOT_ASSIGNED when nothing
 * in it refers to that. */
static int id_of_home(int fd, int home_fd, int32_t *ret)
{
	struct {
		struct nlmsghdr header;
		struct rtgenmsg body __attribute__((aligned(NLMSG_ALIGNTO)));
		struct rtattr attribute __attribute__((aligned(NLMSG_ALIGNTO)));
		uint32_t value;
	} request = {
		.header = {.nlmsg_len = sizeof(request),
			   .nlmsg_type = RTM_GETNSID,
			   .nlmsg_flags = NLM_F_REQUEST},
		.body = {.rtgen_family = AF_UNSPEC},
		.attribute = {.rta_len = RTA_LENGTH(sizeof(uint32_t)), .rta_type = NETNSA_FD},
		.value = (uint32_t)home_fd,
	};
	int32_t id = NETNSA_NSID_NOT_ASSIGNED;

	if (send(fd, &request, sizeof(request), 0) < 0 || read_answer(fd, take_id, &id) < 0)
		return -1;
	*ret = id;
	return 0;
}

/* ---- one interface ----------------------------------------------------------------------------- */

/* Names come from the bottle and go to a terminal. */
static void copy_name(char to[16], const struct rtattr *attribute)
{
	size_t length = RTA_PAYLOAD(attribute) < 15 ? RTA_PAYLOAD(attribute) : 15;

	memset(to, 0, 16);
	memcpy(to, RTA_DATA(attribute), length);
	for (; *to; to++)
		if (*to <= ' ' || *to >= 0x7f || *to == '"' || *to == '\\')
			*to = '?';
}

static void read_kind(struct link *link, const struct rtattr *info)
{
	const struct rtattr *attribute = RTA_DATA(info);
	size_t left = RTA_PAYLOAD(info);

	for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left))
		if (attribute->rta_type == IFLA_INFO_KIND)
			copy_name(link->wire.kind, attribute);
}

static void read_attribute(struct link *link, const struct rtattr *attribute)
{
	/* NLA_F_NESTED is part of the number as it comes. */
	switch (attribute->rta_type & NLA_TYPE_MASK) {
	case IFLA_IFNAME:
		copy_name(link->wire.name, attribute);
		break;
	case IFLA_LINK:
		memcpy(&link->wire.outside, RTA_DATA(attribute), sizeof(link->wire.outside));
		break;
	case IFLA_LINK_NETNSID:
		memcpy(&link->namespace_id, RTA_DATA(attribute), sizeof(link->namespace_id));
		link->elsewhere = true;
		break;
	case IFLA_LINKINFO:
		read_kind(link, attribute);
		break;
	default:
		break;
	}
}

static struct link read_link(const struct nlmsghdr *message)
{
	const struct ifinfomsg *head = NLMSG_DATA(message);
	const struct rtattr *attribute = IFLA_RTA(head);
	size_t left = message->nlmsg_len - NLMSG_SPACE(sizeof(*head));
	struct link link = {.loopback = head->ifi_flags & IFF_LOOPBACK,
			    .wire.inside = (uint32_t)head->ifi_index};

	for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left))
		read_attribute(&link, attribute);
	return link;
}

static int add_link(void *context, const struct nlmsghdr *message)
{
	struct list *list = context;
	struct link *more;

	if (message->nlmsg_type != RTM_NEWLINK)
		return 0;
	more = reallocarray(list->links, list->count + 1, sizeof(*more));
	if (!more)
		return -1;
	list->links = more;
	more[list->count++] = read_link(message);
	return 0;
}

static int ask_links(int fd, struct list *list)
{
	struct {
		struct nlmsghdr header;
		struct ifinfomsg body;
	} request = {
		.header = {.nlmsg_len = sizeof(request),
			   .nlmsg_type = RTM_GETLINK,
			   .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
		.body = {.ifi_family = AF_UNSPEC},
	};

	if (send(fd, &request, sizeof(request), 0) < 0)
		return -1;
	return read_answer(fd, add_link, list);
}

/* ---- judging ------------------------------------------------------------------------------------- */

/* What is not on the list of known kinds leads out: better one wire too many in the report. */
static bool stays_inside(const struct link *link)
{
	if (link->loopback)
		return true;
	for (size_t i = 0; inner_kinds[i] && !link->elsewhere; i++)
		if (strcmp(link->wire.kind, inner_kinds[i]) == 0)
			return true;
	return false;
}

static bool leads_to(const struct link *link, int32_t id)
{
	return link->elsewhere && id >= 0 && link->namespace_id == id;
}

/* Only a veth has an end in another namespace that sees all its frames. */
static uint32_t state_of(const struct link *link, int32_t id)
{
	if (!leads_to(link, id))
		return EGRESS_WIRE_FOREIGN;
	if (strcmp(link->wire.kind, "veth") != 0)
		return LINKS_INTRUDES;
	return link->wire.outside ? EGRESS_WIRE_WALLED : EGRESS_WIRE_FOREIGN;
}

/* Twice over the list, for those that can be walled have to come first: `status` has
 * EGRESS_MAX_WIRES places. */
static void collect(const struct list *list, int32_t home_id, bool walled, struct egress_wire *wires,
		    size_t *count)
{
	for (size_t i = 0; i < list->count; i++) {
		const struct link *link = &list->links[i];
		uint32_t state = state_of(link, home_id);

		if (stays_inside(link) || (state == EGRESS_WIRE_WALLED) != walled)
			continue;
		wires[*count] = link->wire;
		wires[*count].state = state;
		/* An index of another namespace must not be taken for one of ours. */
		if (state == EGRESS_WIRE_FOREIGN)
			wires[*count].outside = 0;
		(*count)++;
	}
}

int links_out(int fd, int home_fd, struct egress_wire **ret, size_t *ret_count,
	      struct error *error)
{
	struct egress_wire *wires = NULL;
	struct list list = {0};
	int32_t home_id;
	size_t count = 0;
	int result = 0;

	links_drain(fd); /* a late answer to an earlier look */
	/* In this order: being described is what gives a namespace its id. */
	if (ask_links(fd, &list) < 0 || id_of_home(fd, home_fd, &home_id) < 0)
		result = error_set(error, "rtnetlink: %s", strerror(errno));
	else if (list.count > 0 && !(wires = calloc(list.count, sizeof(*wires))))
		result = error_set(error, "out of memory");
	if (result == 0 && wires) {
		collect(&list, home_id, true, wires, &count);
		collect(&list, home_id, false, wires, &count);
	}
	if (result == 0) {
		*ret = wires;
		*ret_count = count;
	}
	free(list.links);
	return result;
}

int links_into(int fd, int other_fd, struct egress_wire **ret, size_t *ret_count,
	       struct error *error)
{
	struct egress_wire *wires = NULL;
	struct list list = {0};
	int32_t id = NETNSA_NSID_NOT_ASSIGNED;
	size_t count = 0;
	int result = 0;

	links_drain(fd);
	if (ask_links(fd, &list) < 0 || id_of_home(fd, other_fd, &id) < 0)
		result = error_set(error, "rtnetlink: %s", strerror(errno));
	else if (list.count > 0 && !(wires = calloc(list.count, sizeof(*wires))))
		result = error_set(error, "out of memory");
	for (size_t i = 0; result == 0 && wires && i < list.count; i++)
		if (state_of(&list.links[i], id) == LINKS_INTRUDES)
			wires[count++] = list.links[i].wire;
	if (result == 0) {
		*ret = wires;
		*ret_count = count;
	}
	free(list.links);
	return result;
}

/* ---- hearing and removing ---------------------------------------------------------------------- */

/* Asked for at each link that may matter: the other namespace gets its id when it is first spoken of. */
static void hear_one(const struct nlmsghdr *message, int ask_fd, int other_fd,
		     void (*each)(void *context, const struct egress_wire *wire), void *context)
{
	struct link link;
	int32_t id;

	if (message->nlmsg_type != RTM_NEWLINK ||
	    message->nlmsg_len < NLMSG_LENGTH(sizeof(struct ifinfomsg)))
		return;
	link = read_link(message);
	if (!link.elsewhere)
		return;
	links_drain(ask_fd);
	if (id_of_home(ask_fd, other_fd, &id) < 0 || !leads_to(&link, id))
		return;
	link.wire.state = state_of(&link, id);
	each(context, &link.wire);
}

void links_hear(int fd, int ask_fd, int other_fd,
		void (*each)(void *context, const struct egress_wire *wire), void *context)
{
	struct answer *answer = malloc(sizeof(*answer));
	ssize_t got;

	while (answer && ((got = recv(fd, answer->bytes, sizeof(answer->bytes), MSG_DONTWAIT)) > 0 ||
			  errno == ENOBUFS)) {
		const struct nlmsghdr *message = (const void *)answer->bytes;
		size_t left = got > 0 ? (size_t)got : 0;

		for (; NLMSG_OK(message, left); message = NLMSG_NEXT(message, left))
			hear_one(message, ask_fd, other_fd, each, context);
	}
	if (!answer)
		links_drain(fd);
	free(answer);
}

static int nothing(void *context, const struct nlmsghdr *message)
{
	(void)context;
	(void)message;
	return 0;
}

int links_remove(int fd, uint32_t ifindex, struct error *error)
{
	struct {
		struct nlmsghdr header;
		struct ifinfomsg body;
	} request = {
		.header = {.nlmsg_len = sizeof(request),
			   .nlmsg_type = RTM_DELLINK,
			   .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
		.body = {.ifi_family = AF_UNSPEC, .ifi_index = (int)ifindex},
	};

	links_drain(fd);
	if (send(fd, &request, sizeof(request), 0) < 0 || read_answer(fd, nothing, NULL) < 0)
		return error_set(error, "rtnetlink: %s", strerror(errno));
	return 0;
}
