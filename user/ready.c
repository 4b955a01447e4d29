// SPDX-License-Identifier: BSD-2-Clause
/* sd_notify(3)'s protocol without libsystemd: a datagram of text lines, sent only to whoever
 * started us. */
#include "ready.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

struct ready {
	struct sockaddr_un address;
	socklen_t address_length; /* 0: nobody listens */
	char *file;
	unsigned watchdog_ms;
};

/* ---- systemd ---------------------------------------------------------------------------------- */

/* A path, or '@' for an abstract name. */
static void read_socket(struct ready *ready)
{
	const char *name = getenv("NOTIFY_SOCKET");
	size_t length = name ? strlen(name) : 0;

	if (length < 2 || length >= sizeof(ready->address.sun_path) ||
	    (name[0] != '/' && name[0] != '@'))
		return;
	ready->address.sun_family = AF_UNIX;
	memcpy(ready->address.sun_path, name, length);
	if (name[0] == '@')
		ready->address.sun_path[0] = '\0';
	else
		length++; /* its NUL */
	ready->address_length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
}

static uint64_t number_of(const char *variable)
{
	const char *text = getenv(variable);

	return text && *text >= '0' && *text <= '9' ? strtoull(text, NULL, 10) : 0;
}

/* Half the period, as sd_watchdog_enabled(3) advises. Another process's WATCHDOG_PID is not meant
 * for us. */
static void read_watchdog(struct ready *ready)
{
	uint64_t period_us = number_of("WATCHDOG_USEC"), pid = number_of("WATCHDOG_PID");

	if (period_us < 2000 || period_us / 2000 > INT32_MAX ||
	    (pid != 0 && pid != (uint64_t)getpid()))
		return;
	ready->watchdog_ms = (unsigned)(period_us / 2000);
}

/* Nobody is worse off when it does not arrive: systemd then takes us for not ready. */
static void notify(const struct ready *ready, const char *text)
{
	int fd;

	if (!ready || ready->address_length == 0)
		return;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	(void)!sendto(fd, text, strlen(text), MSG_NOSIGNAL, (const void *)&ready->address,
		      ready->address_length);
	close(fd);
}

/* ---- the file ---------------------------------------------------------------------------------- */

/* Written beside and renamed: whoever waits for the file never reads half a pid. */
static int write_file(const char *path, struct error *error)
{
	char temporary[4096];
	int fd, saved = 0;

	if (snprintf(temporary, sizeof(temporary), "%s.%d", path, (int)getpid()) >=
	    (int)sizeof(temporary))
		return error_set(error, "--ready-file: the path is too long");
	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return error_set(error, "%s: %s", temporary, strerror(errno));
	if (dprintf(fd, "%d\n", (int)getpid()) < 0)
		saved = errno;
	if (close(fd) < 0 && !saved)
		saved = errno;
	if (!saved && rename(temporary, path) < 0)
		saved = errno;
	if (!saved)
		return 0;
	unlink(temporary);
	return error_set(error, "%s: %s", path, strerror(saved));
}

static int remove_file(const char *path, struct error *error)
{
	if (path && unlink(path) < 0 && errno != ENOENT)
		return error_set(error, "%s: %s", path, strerror(errno));
	return 0;
}

/* ---- both --------------------------------------------------------------------------------------- */

/* The variables go from the environment, or the bottle's command would have them and could speak
 * for us. */
int ready_open(const char *file, struct ready **ret, struct error *error)
{
	struct ready *ready;

	if (remove_file(file, error) < 0)
		return -1;
	ready = calloc(1, sizeof(*ready));
	if (!ready)
		return error_set(error, "out of memory");
	read_socket(ready);
	if (ready->address_length > 0)
		read_watchdog(ready);
	(void)unsetenv("NOTIFY_SOCKET");
	(void)unsetenv("WATCHDOG_USEC");
	(void)unsetenv("WATCHDOG_PID");
	ready->file = file ? strdup(file) : NULL;
	if (file && !ready->file) {
		free(ready);
		return error_set(error, "out of memory");
	}
	*ret = ready;
	return 0;
}

void ready_free(struct ready *ready)
{
	if (!ready)
		return;
	(void)!remove_file(ready->file, NULL);
	free(ready->file);
	free(ready);
}

int ready_say(struct ready *ready, const char *status, struct error *error)
{
	char text[512];

	if (!ready)
		return 0;
	/* What can fail comes first: systemd is not told of a file that is not there. */
	if (ready->file && write_file(ready->file, error) < 0)
		return -1;
	snprintf(text, sizeof(text), "READY=1\nSTATUS=%.400s", status);
	notify(ready, text);
	return 0;
}

void ready_reloading(struct ready *ready)
{
	struct timespec now;
	char text[128];

	clock_gettime(CLOCK_MONOTONIC, &now);
	/* Without its own time systemd does not take the message for Type=notify-reload:
	 * sd_notify(3). */
	snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64 "\nSTATUS=reloading",
		 (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u);
	notify(ready, text);
}

void ready_waiting(struct ready *ready, const char *status)
{
	char text[512];

	if (!ready)
		return;
	(void)!remove_file(ready->file, NULL);
	snprintf(text, sizeof(text), "STATUS=%.400s", status);
	notify(ready, text);
}

void ready_stopping(struct ready *ready)
{
	if (ready)
		(void)!remove_file(ready->file, NULL);
	notify(ready, "STOPPING=1\nSTATUS=stopping; the wall stays");
}

unsigned ready_watchdog_ms(const struct ready *ready)
{
	return ready ? ready->watchdog_ms : 0;
}

void ready_alive(struct ready *ready)
{
	notify(ready, "WATCHDOG=1");
}
