/* SPDX-License-Identifier: BSD-2-Clause */
/* What the broker's files share. Its functions return 0 or more, or -errno: the number goes to the
 * program that called. All of them may run in several threads at once. */
#ifndef BOTTLE_BROKER_PRIVATE_H
#define BOTTLE_BROKER_PRIVATE_H

#include <linux/seccomp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/un.h>

/* Socket files and what to connect to for each. */
struct broker_name {
	dev_t device;
	ino_t inode;
	int visible; /* O_PATH: while we hold it, the inode's number is nobody else's; -1: let in */
	int real;    /* O_PATH: the socket that is meant */
};
struct broker_names {
	pthread_mutex_t lock;
	struct broker_name *items;
	size_t count;
};

struct broker {
	int listener;
	int processes; /* /proc of our own pid namespace; also the working directory */
	int hidden;    /* the root of a file system that is mounted nowhere */
	uint64_t netns_cookie; /* of the bottle */
	dev_t closed_device;   /* what covers the host's sockets in the bottle */
	ino_t closed_inode;
	struct broker_names names;
};

/* One call of the bottle, on its way. */
struct broker_call {
	struct broker_call *next;
	struct broker *broker;
	struct seccomp_notif request;
	int socket; /* a duplicate of the caller's: whatever it does to its descriptors, this stays */
	int domain;
	pthread_t thread;
	int64_t since; /* ms */
	atomic_bool interrupted; /* a signal waits for the caller */
};

struct broker_address {
	socklen_t length;
	union {
		struct sockaddr any;
		struct sockaddr_un un;
		char bytes[sizeof(struct sockaddr_storage) + 1];
	};
};

/* ---- bottle_broker_target.c: the caller ------------------------------------------------------ */

/* A duplicate of its descriptor `fd`. */
int broker_target_socket(const struct broker *broker, pid_t thread, int fd);
/* Copies the address once; everything is decided by the copy. */
int broker_target_address(pid_t thread, uint64_t pointer, int length, struct broker_address *ret);
/* O_PATH. */
int broker_target_directory(const struct broker *broker, pid_t thread);
int broker_target_umask(const struct broker *broker, pid_t thread, mode_t *ret);
/* `path` with "/proc/self" and its like as the caller means them: they would be ours, and we are not
 * in its /proc. */
int broker_target_path(const struct broker *broker, pid_t thread, const char *path, char *ret,
		       size_t size);
/* A signal is waiting that it would take now. */
bool broker_target_interrupted(const struct broker *broker, pid_t thread);

/* ---- bottle_broker_names.c ------------------------------------------------------------------- */

/* Takes over both descriptors, also on failure. `visible` may be -1. */
int broker_names_add(struct broker_names *names, const struct stat *status, int visible, int real);
/* A duplicate of `real`; -ENOENT. */
int broker_names_find(struct broker_names *names, const struct stat *status);

/* ---- bottle_broker_calls.c ------------------------------------------------------------------- */

/* Makes the call. 1: the caller is to make it itself, and the kernel will refuse. */
int broker_connect(struct broker_call *call);
int broker_bind(struct broker_call *call);
/* The caller still waits. */
bool broker_call_waits(const struct broker_call *call);

#endif
