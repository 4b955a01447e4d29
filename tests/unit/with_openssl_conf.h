/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef WITH_OPENSSL_CONF_H
#define WITH_OPENSSL_CONF_H

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tls_provider.h"

/* What `look` says when the provider was loaded with this openssl.cnf. In a process that OpenSSL
 * has done nothing in yet, as only the first of a test is. -1: it could not be tried. */
static int with_openssl_conf(const char *text, int (*look)(void))
{
	char path[] = "/tmp/with_openssl_conf.XXXXXX";
	int fd = mkstemp(path), status = -1;
	pid_t pid;

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text) || close(fd) < 0)
		return -1;
	pid = fork();
	if (pid == 0) {
		setenv("OPENSSL_CONF", path, 1);
		(void)tls_provider_load();
		_exit(look());
	}
	if (pid > 0)
		(void)waitpid(pid, &status, 0);
	unlink(path);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#endif
