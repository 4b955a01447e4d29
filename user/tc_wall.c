// SPDX-License-Identifier: BSD-2-Clause
/* Keeps the wires of a bottle walled. What cannot be walled is reported and does not stop the
 * bottle: the programs on its cgroup stand whatever becomes of a wire. Runs in the supervisor's
 * loop; no name or number from the bottle is trusted further than to be shown. */
#include "tc_wall.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tc_wall_links.h"

/* Root in the bottle can change links as fast as it likes, and make thousands that take long to look
 * at: we rest this many times as long as we looked. No longer, since a new wire stands open till then. */
#define CALM_TIMES 4
#define CALM_MAX_US 200000

/* A change on either side matters: the inner end may be renamed, the outer one moved or made
 * anew. */
enum { CHANGES_INSIDE, CHANGES_HERE, CHANGES };

/* The links of one namespace that lead into the other and were there when we came: whoever made them
 * did so before the bottle was ours to judge. They are told of, and left alone. */
struct accepted {
	struct egress_wire *links;
	size_t count;
};

struct tc_wall {
	struct kernel *kernel;
	int home_fd;	  /* our own namespace */
	int netns_fd;	  /* the bottle's */
	int ask[CHANGES]; /* asks in each */
	int fds[CHANGES]; /* told of changes */
	struct accepted accepted[CHANGES];
	struct event *changes[CHANGES], *calm;
	bool again; /* something changed while it was to be calm */
	struct egress_wire *wires;
	size_t count;
};

/* ---- looking ----------------------------------------------------------------------------------- */

/* Each wire is told of once, and again when its state changes. */
static bool was_reported(const struct tc_wall *wall, const struct egress_wire *wire)
{
	for (size_t i = 0; i < wall->count; i++)
		if (memcmp(&wall->wires[i], wire, sizeof(*wire)) == 0)
			return true;
	return false;
}

static void report(const struct egress_wire *wire, const struct error *error)
{
	const char *kind = wire->kind[0] ? wire->kind : "device of no known kind";

	if (wire->state == EGRESS_WIRE_WALLED)
		diag_notice("wall 0: %s is walled from outside, at interface %u", wire->name,
			    wire->outside);
	else if (wire->state == EGRESS_WIRE_FAILED)
		diag_warning("wall 0: %s is NOT WALLED from outside: %s", wire->name, error->text);
	else if (strcmp(wire->kind, "veth") == 0)
		diag_warning("wall 0: %s is a veth whose other end is not in our network namespace: "
			     "NOT WALLED from outside", wire->name);
	else
		diag_warning("wall 0: %s is a %s: NOT WALLED from outside", wire->name, kind);
}

/* As at a pod's end, while we looked. Of a veth both ends go, and what is no more leads nowhere. */
static bool is_gone(uint32_t interface)
{
	char name[IF_NAMESIZE];

	return !if_indextoname(interface, name) && errno == ENXIO;
}

/* Asked for again at each look: somebody may have removed the filter. */
static void wall_one(struct tc_wall *wall, struct egress_wire *wire, bool tell)
{
	struct error error = {0};

	if (wire->state == EGRESS_WIRE_WALLED &&
	    kernel_wall_wire(wall->kernel, wire->outside, &error) < 0)
		wire->state = EGRESS_WIRE_FAILED;
	if (wire->state == EGRESS_WIRE_FAILED && is_gone(wire->outside))
		return;
	if (tell && !was_reported(wall, wire))
		report(wire, &error);
}

/* ---- links that nobody here sees the frames of --------------------------------------------------- */

static bool is_accepted(const struct accepted *accepted, const struct egress_wire *wire)
{
	for (size_t i = 0; i < accepted->count; i++)
		if (accepted->links[i].inside == wire->inside)
			return true;
	return false;
}

/* Root in the bottle that holds the host's CAP_NET_ADMIN can make a link of any kind on a device of ours,
 * and by it send past the wall: the veth gives our namespace an id in there (IFLA_LINK_NETNSID), and ours
 * gives one to the bottle's. No program is asked before the link is there, so it is taken away. */
static bool take_away(struct tc_wall *wall, size_t where, const struct egress_wire *wire)
{
	const char *place = where == CHANGES_INSIDE ? "the bottle's" : "our";
	struct error error = {0};

	if (links_remove(wall->ask[where], wire->inside, &error) < 0) {
		diag_warning("wall 0: %s in %s namespace leads past the wall, and stays: %s", wire->name,
			     place, error.text);
		return false;
	}
	diag_warning("wall 0: %s, a %s in %s namespace, led past the wall and was taken away",
		     wire->name, wire->kind, place);
	return true;
}

/* Of the list: what was accepted is foreign, what is new goes. */
static size_t take_away_all(struct tc_wall *wall, struct egress_wire *wires, size_t count)
{
	size_t kept = 0;

	for (size_t i = 0; i < count; i++) {
		bool intrudes = wires[i].state == LINKS_INTRUDES;

		if (intrudes && !is_accepted(&wall->accepted[CHANGES_INSIDE], &wires[i]) &&
		    take_away(wall, CHANGES_INSIDE, &wires[i]))
			continue;
		wires[kept] = wires[i];
		if (intrudes) {
			wires[kept].state = EGRESS_WIRE_FOREIGN;
			wires[kept].outside = 0; /* a peer's number is for a veth's alone */
		}
		kept++;
	}
	return kept;
}

static int take_away_here(struct tc_wall *wall, struct error *error)
{
	struct egress_wire *links;
	size_t count;

	if (links_into(wall->ask[CHANGES_HERE], wall->netns_fd, &links, &count, error) < 0)
		return -1;
	for (size_t i = 0; i < count; i++)
		if (!is_accepted(&wall->accepted[CHANGES_HERE], &links[i]))
			(void)take_away(wall, CHANGES_HERE, &links[i]);
	free(links);
	return 0;
}

/* The new list takes the old one's place also when the map cannot be written, so that nothing is
 * told twice. */
static int look(struct tc_wall *wall, struct error *error)
{
	struct egress_wire *wires;
	size_t count;

	if (links_out(wall->ask[CHANGES_INSIDE], wall->home_fd, &wires, &count, error) < 0)
		return -1;
	count = take_away_all(wall, wires, count);
	for (size_t i = 0; i < count; i++) /* root in the bottle may make thousands */
		wall_one(wall, &wires[i], i < EGRESS_MAX_WIRES);
	free(wall->wires);
	wall->wires = wires;
	wall->count = count;
	if (take_away_here(wall, error) < 0)
		return -1;
	return kernel_set_wires(wall->kernel, wires,
				count < EGRESS_MAX_WIRES ? count : EGRESS_MAX_WIRES, error);
}

static int64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* A failed look is tried again at the next change; what was walled stays walled. */
static void look_again(struct tc_wall *wall)
{
	int64_t calm_us, began = now_us();
	struct error error = {0};
	struct timeval calm = {0};

	wall->again = false;
	if (look(wall, &error) < 0)
		diag_error("wall 0: %s", error.text);
	calm_us = CALM_TIMES * (now_us() - began);
	calm.tv_usec = calm_us < CALM_MAX_US ? calm_us : CALM_MAX_US;
	evtimer_add(wall->calm, &calm);
}

static bool is_walled(const struct tc_wall *wall, uint32_t outside)
{
	for (size_t i = 0; i < wall->count; i++)
		if (wall->wires[i].state == EGRESS_WIRE_WALLED && wall->wires[i].outside == outside)
			return true;
	return false;
}

/* At once, whatever else the bottle keeps us busy with; the look that follows reports. */
static void heard(struct tc_wall *wall, size_t where, const struct egress_wire *wire)
{
	uint32_t end = where == CHANGES_INSIDE ? wire->outside : wire->inside;
	struct error error = {0};

	if (wire->state == LINKS_INTRUDES && !is_accepted(&wall->accepted[where], wire))
		(void)take_away(wall, where, wire);
	else if (wire->state == EGRESS_WIRE_WALLED && !is_walled(wall, end) &&
		 kernel_wall_wire(wall->kernel, end, &error) < 0 && !is_gone(end))
		diag_warning("wall 0: %s is NOT WALLED from outside: %s", wire->name, error.text);
}

static void heard_inside(void *context, const struct egress_wire *wire)
{
	heard(context, CHANGES_INSIDE, wire);
}

static void heard_here(void *context, const struct egress_wire *wire)
{
	heard(context, CHANGES_HERE, wire);
}

static void on_change(evutil_socket_t fd, short what, void *context)
{
	struct tc_wall *wall = context;

	(void)what;
	if (fd == wall->fds[CHANGES_INSIDE])
		links_hear(fd, wall->ask[CHANGES_INSIDE], wall->home_fd, heard_inside, wall);
	else
		links_hear(fd, wall->ask[CHANGES_HERE], wall->netns_fd, heard_here, wall);
	if (evtimer_pending(wall->calm, NULL))
		wall->again = true;
	else
		look_again(wall);
}

static void on_calm(evutil_socket_t fd, short what, void *context)
{
	struct tc_wall *wall = context;

	(void)fd;
	(void)what;
	if (wall->again)
		look_again(wall);
}

/* ---- life -------------------------------------------------------------------------------------- */

/* To go on from inside the bottle's namespace would be to dial through it. */
static int open_inside(struct tc_wall *wall, int netns_fd, struct error *error)
{
	if (setns(netns_fd, CLONE_NEWNET) < 0)
		return error_set(error, "cannot enter the bottle's network namespace: %s",
				 strerror(errno));
	wall->ask[CHANGES_INSIDE] = links_socket(false, error);
	wall->fds[CHANGES_INSIDE] = links_socket(true, error);
	if (setns(wall->home_fd, CLONE_NEWNET) < 0)
		abort();
	return wall->ask[CHANGES_INSIDE] < 0 || wall->fds[CHANGES_INSIDE] < 0 ? -1 : 0;
}

/* After the sockets for changes are there, so that nothing comes in between unheard. */
static int accept_present(struct tc_wall *wall, struct error *error)
{
	struct accepted *in = &wall->accepted[CHANGES_INSIDE], *here = &wall->accepted[CHANGES_HERE];

	if (links_into(wall->ask[CHANGES_INSIDE], wall->home_fd, &in->links, &in->count, error) < 0)
		return -1;
	return links_into(wall->ask[CHANGES_HERE], wall->netns_fd, &here->links, &here->count, error);
}

static int open_all(struct tc_wall *wall, int netns_fd, struct error *error)
{
	wall->home_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (wall->home_fd < 0)
		return error_set(error, "cannot open our network namespace: %s", strerror(errno));
	if (open_inside(wall, netns_fd, error) < 0)
		return -1;
	wall->netns_fd = fcntl(netns_fd, F_DUPFD_CLOEXEC, 3);
	if (wall->netns_fd < 0)
		return error_set(error, "cannot keep the bottle's network namespace: %s",
				 strerror(errno));
	wall->ask[CHANGES_HERE] = links_socket(false, error);
	wall->fds[CHANGES_HERE] = links_socket(true, error);
	if (wall->ask[CHANGES_HERE] < 0 || wall->fds[CHANGES_HERE] < 0 ||
	    accept_present(wall, error) < 0)
		return -1;
	return look(wall, error);
}

int tc_wall_open(struct kernel *kernel, int netns_fd, struct tc_wall **ret, struct error *error)
{
	struct tc_wall *wall = calloc(1, sizeof(*wall));

	if (!wall)
		return error_set(error, "out of memory");
	wall->kernel = kernel;
	wall->home_fd = wall->netns_fd = -1;
	for (size_t i = 0; i < CHANGES; i++)
		wall->ask[i] = wall->fds[i] = -1;
	if (open_all(wall, netns_fd, error) < 0) {
		tc_wall_free(wall);
		return -1;
	}
	*ret = wall;
	return 0;
}

int tc_wall_watch(struct tc_wall *wall, struct event_base *base, struct error *error)
{
	wall->calm = evtimer_new(base, on_calm, wall);
	for (size_t i = 0; i < CHANGES && wall->calm; i++) {
		wall->changes[i] = event_new(base, wall->fds[i], EV_READ | EV_PERSIST, on_change,
					     wall);
		if (!wall->changes[i] || event_add(wall->changes[i], NULL) < 0)
			return error_set(error, "cannot watch for new interfaces");
	}
	return wall->calm ? 0 : error_set(error, "out of memory");
}

void tc_wall_free(struct tc_wall *wall)
{
	if (!wall)
		return;
	if (wall->calm)
		event_free(wall->calm);
	for (size_t i = 0; i < CHANGES; i++) {
		if (wall->changes[i])
			event_free(wall->changes[i]);
		if (wall->fds[i] >= 0)
			close(wall->fds[i]);
		if (wall->ask[i] >= 0)
			close(wall->ask[i]);
		free(wall->accepted[i].links);
	}
	if (wall->netns_fd >= 0)
		close(wall->netns_fd);
	if (wall->home_fd >= 0)
		close(wall->home_fd);
	free(wall->wires);
	free(wall);
}
