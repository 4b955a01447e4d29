// SPDX-License-Identifier: BSD-2-Clause
/* Unix sockets that somebody outside binds while we look, and a second thread that changes, all the
 * time, what is looked at: address, descriptor, link, working directory. Whoever judges one thing and
 * uses another loses. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "attack.h"

#define SECONDS 3
#define HELD 100 /* the descriptor that is swapped */

static struct sockaddr_un outside, own, moving;
static char own_directory[] = "/tmp/late-XXXXXX", link_path[96], name[64];
static int own_socket, outside_directory, inside_directory;
static atomic_bool over;

static bool over_at(time_t end)
{
	return time(NULL) >= end;
}

/* The youngest, or the first that comes. False when there is none for two seconds. */
static bool find_outside(const char *kind)
{
	char prefix[32];

	outside.sun_family = AF_UNIX;
	snprintf(prefix, sizeof(prefix), "late-%s-", kind);
	for (int i = 0; i < 20; i++) {
		DIR *stream = opendir(setting("OUTSIDE"));
		const struct dirent *entry;
		bool found = false;

		while (stream && !found && (entry = readdir(stream))) {
			found = strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
			if (found)
				snprintf(name, sizeof(name), "%.60s", entry->d_name);
		}
		if (stream)
			closedir(stream);
		if (found) {
			snprintf(outside.sun_path, sizeof(outside.sun_path), "%.40s/%.60s",
				 setting("OUTSIDE"), name);
			return true;
		}
		usleep(100000);
	}
	return false;
}

/* A socket of the same name that is ours, and everything that is swapped between the two. */
static void prepare(int type)
{
	if (!find_outside(type == SOCK_STREAM ? "stream" : "dgram"))
		give_up("nobody binds anything outside");
	if (!mkdtemp(own_directory))
		give_up("mkdtemp: %s", strerror(errno));
	own.sun_family = AF_UNIX;
	snprintf(own.sun_path, sizeof(own.sun_path), "%s/%s", own_directory, name);
	snprintf(link_path, sizeof(link_path), "%s/link", own_directory);
	own_socket = open_socket(AF_UNIX, type, 0);
	need(bind(own_socket, (void *)&own, sizeof(own)), "bind");
	if (type == SOCK_STREAM)
		need(listen(own_socket, 4096), "listen");
	outside_directory = need(open(setting("OUTSIDE"), O_PATH | O_DIRECTORY), "open");
	inside_directory = need(open(own_directory, O_PATH | O_DIRECTORY), "open");
}

static void clean(void)
{
	DIR *stream = opendir(own_directory);
	const struct dirent *entry;

	while (stream && (entry = readdir(stream)))
		(void)unlinkat(inside_directory, entry->d_name, 0);
	if (stream)
		closedir(stream);
	rmdir(own_directory);
}

static void *swap_address(void *unused)
{
	(void)unused;
	while (!atomic_load(&over)) {
		memcpy(&moving, &own, sizeof(own));
		memcpy(&moving, &outside, sizeof(outside));
	}
	return NULL;
}

static void *swap_link(void *unused)
{
	char next[112];

	(void)unused;
	snprintf(next, sizeof(next), "%s-next", link_path);
	for (bool to_own = true; !atomic_load(&over); to_own = !to_own) {
		if (symlink(to_own ? own.sun_path : outside.sun_path, next) < 0 ||
		    rename(next, link_path) < 0)
			break;
	}
	unlink(next);
	return NULL;
}

static void *swap_directory(void *unused)
{
	(void)unused;
	while (!atomic_load(&over)) {
		if (fchdir(inside_directory) < 0 || fchdir(outside_directory) < 0)
			break;
	}
	return NULL;
}

/* Sockets of another family and of ours, in turn, at the one number that is used. */
static void *swap_socket(void *unused)
{
	int other = open_socket(AF_INET, SOCK_STREAM, 0);

	(void)unused;
	while (!atomic_load(&over)) {
		int mine = socket(AF_UNIX, SOCK_STREAM, 0);

		dup2(other, HELD);
		dup2(mine, HELD);
		usleep(50);
		close(mine);
	}
	return NULL;
}

static void call_at(const struct sockaddr_un *address)
{
	int fd = open_socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0), taken;

	if (connect(fd, (const void *)address, sizeof(*address)) == 0)
		(void)!send(fd, mark, strlen(mark), MSG_NOSIGNAL);
	close(fd);
	taken = accept4(own_socket, NULL, NULL, SOCK_NONBLOCK);
	if (taken >= 0)
		close(taken);
}

/* The same call again and again; what is outside is looked for anew, since it is soon replaced. */
static void race(void *(*swap)(void *), void (*call)(void))
{
	time_t end = time(NULL) + SECONDS;
	pthread_t thread;
	long calls = 0;

	fcntl(own_socket, F_SETFL, O_NONBLOCK);
	if (pthread_create(&thread, NULL, swap, NULL) != 0)
		give_up("no thread");
	while (!over_at(end)) {
		for (int i = 0; i < 200; i++, calls++)
			call();
		(void)find_outside("stream");
	}
	atomic_store(&over, true);
	pthread_join(thread, NULL);
	printf("%ld calls\n", calls);
	clean();
}

static void call_moving(void)
{
	call_at(&moving);
}

ATTACK(unix_relay_late_swapped_address, "", "the address is another one when it is read again")
{
	prepare(SOCK_STREAM);
	moving = own;
	race(swap_address, call_moving);
}

static void call_link(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", link_path);
	call_at(&address);
}

ATTACK(unix_relay_late_swapped_link, "", "the path's link leads elsewhere when it is followed again")
{
	prepare(SOCK_STREAM);
	race(swap_link, call_link);
}

static void call_relative(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", name);
	/* ours, under the name that those outside have now */
	if (linkat(AT_FDCWD, own.sun_path, inside_directory, name, 0) < 0 && errno != EEXIST)
		give_up("link: %s", strerror(errno));
	call_at(&address);
}

ATTACK(unix_relay_late_swapped_directory, "", "the working directory is another one when it is used")
{
	prepare(SOCK_STREAM);
	race(swap_directory, call_relative);
}

static void call_held(void)
{
	if (connect(HELD, (const void *)&outside, sizeof(outside)) == 0)
		(void)!send(HELD, mark, strlen(mark), MSG_NOSIGNAL);
}

ATTACK(unix_relay_late_swapped_socket, "", "a socket of another family is a unix socket when it is used")
{
	prepare(SOCK_STREAM);
	race(swap_socket, call_held);
}

static void bind_held(void)
{
	static int number;
	struct sockaddr_un address = {.sun_family = AF_UNIX}, bound = {0};
	socklen_t size = sizeof(bound);
	int taken, mine;

	snprintf(address.sun_path, sizeof(address.sun_path), "%.60s/pull/%.16s-%d", setting("OUTSIDE"),
		 mark, number++);
	if (bind(HELD, (const void *)&address, sizeof(address)) < 0)
		return;
	mine = dup(HELD); /* unless it was swapped since */
	if (getsockname(mine, (void *)&bound, &size) < 0 || bound.sun_path[0] == '\0') {
		unlink(address.sun_path);
		close(mine);
		return;
	}
	atomic_store(&over, true);
	chmod(address.sun_path, 0777);
	listen(mine, 16);
	for (int i = 0; i < 10; i++) {
		usleep(100000);
		fcntl(mine, F_SETFL, O_NONBLOCK);
		taken = accept(mine, NULL, NULL);
		if (taken >= 0)
			(void)!send(taken, mark, strlen(mark), MSG_NOSIGNAL);
	}
	unlink(address.sun_path);
	clean();
	_exit(0);
}

ATTACK(unix_relay_late_swapped_bind, "", "the same when it is bound, for a process outside to call")
{
	prepare(SOCK_STREAM);
	race(swap_socket, bind_held);
}

/* Through what leads there by another process, or by nothing but links of the kernel's. */
ATTACK(unix_relay_late_by_proc, "", "by /proc/self/root, and by another process' root and cwd")
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	pid_t child;

	prepare(SOCK_STREAM);
	fcntl(own_socket, F_SETFL, O_NONBLOCK);
	child = fork();
	if (child == 0) {
		(void)!fchdir(outside_directory);
		sleep(SECONDS);
		_exit(0);
	}
	for (time_t end = time(NULL) + SECONDS - 1; !over_at(end); usleep(50000)) {
		(void)find_outside("stream");
		snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/root%.88s",
			 outside.sun_path);
		call_at(&address);
		snprintf(address.sun_path, sizeof(address.sun_path), "/proc/%d/root%.86s", child,
			 outside.sun_path);
		call_at(&address);
		snprintf(address.sun_path, sizeof(address.sun_path), "/proc/%d/cwd/%.60s", child, name);
		call_at(&address);
		snprintf(address.sun_path, sizeof(address.sun_path), "/proc/thread-self/fd/%d/%.60s",
			 outside_directory, name);
		call_at(&address);
	}
	clean();
}

ATTACK(unix_relay_late_dgram_pair, "", "a datagram to a path, from a socket of a pair")
{
	struct iovec text = {mark, strlen(mark)};
	struct msghdr message = {.msg_iov = &text, .msg_iovlen = 1, .msg_name = &outside,
				 .msg_namelen = sizeof(outside)};
	struct mmsghdr many = {.msg_hdr = message};
	int pair[2];

	need(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), "socketpair");
	for (int i = 0; i < 4; i++, usleep(700000)) {
		if (!find_outside("dgram"))
			continue;
		SEND_TO(pair[0], outside);
		(void)!sendmsg(pair[0], &message, 0);
		(void)!sendmmsg(pair[0], &many, 1, 0);
	}
}
