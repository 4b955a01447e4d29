/* SPDX-License-Identifier: BSD-2-Clause */
/* Turns an accepted socket into who asked for what. The kernel's record decides; the client's own
 * word (CONNECT, SNI, Host) comes later and has to agree. Any doubt is -1: the caller closes. Used
 * by the worker's loop; a look-up may wait for the supervisor, at most rpc.c's timeout. */
#include "identify.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "bytes.h"
#include "kernel.h"
#include "rpc.h"

/* Host ids count up from 1 and keep their name for life, so the low bits make a good index and
 * an entry never goes stale. A newer host takes the place of an older one. */
#define CACHE_SIZE 4096

struct identify {
	int flows_fd, calls_fd;
	const struct host_port *host_ports;
	size_t host_port_count;
	struct {
		uint32_t id; /* 0: empty */
		char *name;
	} cache[CACHE_SIZE], ids[CACHE_SIZE]; /* by id, and by the name's hash */
};

struct identify *identify_new(int flows_fd, int calls_fd)
{
	struct identify *identify = calloc(1, sizeof(*identify));

	if (!identify)
		return NULL;
	identify->flows_fd = flows_fd;
	identify->calls_fd = calls_fd;
	return identify;
}

void identify_host_ports(struct identify *identify, const struct host_port *ports, size_t count)
{
	identify->host_ports = ports;
	identify->host_port_count = count;
}

void identify_free(struct identify *identify)
{
	if (!identify)
		return;
	for (size_t i = 0; i < CACHE_SIZE; i++) {
		free(identify->cache[i].name);
		free(identify->ids[i].name);
	}
	free(identify);
}

/* As the kernel wrote it on the SYN: the client's end, in the namespace both ends are in. */
static int flow_key(const struct accepted *accepted, struct egress_flow_key *ret)
{
	struct egress_flow_key key = {.protocol = IPPROTO_TCP, .netns_cookie = accepted->netns_cookie};

	if (key.netns_cookie == 0 || !address_from_sockaddr((const struct sockaddr *)&accepted->peer,
							    &key.source, &key.source_port))
		return -1;
	*ret = key;
	return 0;
}

/* Asks the supervisor. Anything but a whole answer for this very id is a failure. No memory for the
 * copy is no failure: the name is right, and asked for again next time. */
static int look_up(struct identify *identify, uint32_t id, char name[EGRESS_NAME_SIZE])
{
	struct rpc_host host;
	size_t slot = id % CACHE_SIZE;
	char *copy;

	if (rpc_host_by_id(identify->calls_fd, id, &host) < 0 || host.reason != EGRESS_ALLOWED ||
	    host.id != id || host.name[0] == '\0')
		return -1;
	memcpy(name, host.name, EGRESS_NAME_SIZE);
	copy = strdup(host.name);
	if (!copy)
		return 0;
	free(identify->cache[slot].name);
	identify->cache[slot].id = id;
	identify->cache[slot].name = copy;
	return 0;
}

static int host_name(struct identify *identify, uint32_t id, char name[EGRESS_NAME_SIZE])
{
	const char *known = identify->cache[id % CACHE_SIZE].name;

	if (identify->cache[id % CACHE_SIZE].id != id)
		return look_up(identify, id, name);
	memcpy(name, known, strlen(known) + 1);
	return 0;
}

/* The ids at the end of the range stand for flows without one host; see egress_abi.h. */
static int name_flow(struct identify *identify, const struct egress_flow *flow,
		     struct identity *identity)
{
	switch (flow->host_id) {
	case 0:
		identity->kind = IDENTITY_ADDRESS;
		return 0;
	case EGRESS_HOST_MANY:
		identity->kind = IDENTITY_UNNAMED;
		return 0;
	case EGRESS_HOST_EXPLICIT:
		identity->kind = IDENTITY_EXPLICIT;
		return 0;
	default:
		identity->kind = IDENTITY_NAME;
		identity->host_id = flow->host_id;
		return host_name(identify, flow->host_id, identity->host);
	}
}

/* Also when the address cannot be told: strangers are served nothing. */
static bool came_by_loopback(int fd)
{
	struct sockaddr_storage local = {0};
	socklen_t length = sizeof(local);
	struct egress_address address;
	uint16_t port;

	return getsockname(fd, (struct sockaddr *)&local, &length) < 0 ||
	       !address_from_sockaddr((struct sockaddr *)&local, &address, &port) ||
	       address_is_loopback(&address);
}

/* Loopback inside is free, so the kernel keeps no record of it. Nobody but root comes into the
 * bottle's namespace from outside. */
static bool is_for_host(const struct identify *identify, int fd, struct identity *ret)
{
	struct sockaddr_storage local = {0};
	socklen_t length = sizeof(local);
	struct identity identity = {.kind = IDENTITY_HOST_PORT};
	uint16_t port;

	if (identify->host_port_count == 0 ||
	    getsockname(fd, (struct sockaddr *)&local, &length) < 0 ||
	    !address_from_sockaddr((struct sockaddr *)&local, &identity.address, &port) ||
	    !address_is_loopback(&identity.address))
		return false;
	for (size_t i = 0; i < identify->host_port_count; i++) {
		if (identify->host_ports[i].inside == port) {
			identity.port = identify->host_ports[i].outside;
			*ret = identity;
			return true;
		}
	}
	return false;
}

/* The record is taken before anything else is decided: one that stayed would give the next user of
 * the port this one's identity. */
int identify_accepted(struct identify *identify, const struct accepted *accepted,
		      struct identity *ret)
{
	struct identity identity = {.kind = IDENTITY_EXPLICIT};
	struct egress_flow_key key;
	struct egress_flow flow;
	int found;

	if (is_for_host(identify, accepted->fd, ret))
		return 0;
	if (identify->flows_fd < 0) {
		*ret = identity;
		return 0;
	}
	if (flow_key(accepted, &key) < 0)
		return -1;
	/* Taken, not read: a record that stayed would name a host for whoever has that port
	 * next. */
	found = kernel_take_flow(identify->flows_fd, &key, &flow);
	if (found < 0)
		return -1;
	if (found == 0) {
		/* The bottle's own SYN leaves a record. Without one, and by loopback, it is
		 * another process of a shared network namespace. */
		if (came_by_loopback(accepted->fd))
			identity.kind = IDENTITY_STRANGER;
		*ret = identity;
		return 0;
	}
	if (name_flow(identify, &flow, &identity) < 0)
		return -1;
	identity.has_process = true;
	identity.process = flow.process;
	/* An explicit client dialled our own listener: who it wants it says by itself. */
	if (identity.kind != IDENTITY_EXPLICIT) {
		identity.port = flow.destination_port;
		identity.address = flow.destination;
	}
	*ret = identity;
	return 0;
}

/* Only for counting: 0 costs the host a line in `status`, and allows nothing. */
uint32_t identify_host_id(struct identify *identify, const char *name)
{
	size_t slot = bytes_hash(name, strlen(name)) % CACHE_SIZE;
	struct rpc_host host;
	char *copy;

	if (identify->flows_fd < 0)
		return 0;
	if (identify->ids[slot].name && strcmp(identify->ids[slot].name, name) == 0)
		return identify->ids[slot].id;
	if (rpc_bind_name(identify->calls_fd, name, &host) < 0 || host.reason != EGRESS_ALLOWED)
		return 0;
	copy = strdup(name);
	if (copy) {
		free(identify->ids[slot].name);
		identify->ids[slot].id = host.id;
		identify->ids[slot].name = copy;
	}
	return host.id;
}
