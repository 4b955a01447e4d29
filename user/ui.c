// SPDX-License-Identifier: BSD-2-Clause
/* The process with rights: opens the port, starts the other one, and asks the sidecar for it. */
#include "ui.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sockets.h"
#include "stop_signals.h"
#include "ui_ask.h"
#include "ui_files.h"
#include "ui_private.h"

/* ---- where ----------------------------------------------------------------------------------------- */

/* The descriptor; `ret` is where it is, port included. */
static int open_listener(const char *text, struct sockaddr_storage *ret, struct error *error)
{
	struct sockets_place place;
	socklen_t size;

	if (!sockets_parse_place(text, &place))
		return error_set(error, "'%s' is not ADDR:PORT, such as 127.0.0.1:0", text);
	if (!address_is_loopback(&place.address))
		return error_set(error, "'%s' is no loopback address, and the page is for this machine "
				 "alone; from elsewhere: ssh -L", text);
	size = address_to_sockaddr(&place.address, place.port, ret);
	return sockets_listen(text, (struct sockaddr *)ret, size, error);
}

/* ---- serving --------------------------------------------------------------------------------------- */

/* Until the other process ends, or a signal asks us to. */
static void serve(int pair, const char *name)
{
	while (stop_signals_wait(pair) && ui_answer(pair, name))
		;
}

static int end_child(pid_t child, struct error *error)
{
	int status = 0;

	if (stop_signals_came())
		kill(child, SIGKILL);
	waitpid(child, &status, 0);
	if (stop_signals_came())
		return 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == UI_EXIT_IDLE) {
		diag_notice("ui: nobody has had the page open for a while; ended");
		return 0;
	}
	return error_set(error, "the process that serves has ended");
}

static void say_ready(const struct ui_session *session, void (*ready)(const char *url))
{
	char url[128];

	/* Behind '#' no browser sends it, so that no log and no look ahead at links has it. */
	snprintf(url, sizeof(url), "%s/#%s", session->origin, session->token);
	ready(url);
	OPENSSL_cleanse(url, sizeof(url));
}

static int serve_with(const struct ui_options *options, struct ui_http *http, int listener,
		      void (*ready)(const char *url), struct error *error)
{
	int pair[2];
	pid_t parent = getpid(), child;
	char byte;

	/* Messages keep their bounds: no length to parse on the side with rights. */
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return error_set(error, "cannot make a socket pair: %s", strerror(errno));
	/* With the terminal goes who was told the link. */
	stop_signals_catch(true);
	child = fork();
	if (child == 0) {
		close(pair[0]);
		http->pair = pair[1];
		ui_http_run(http, listener, parent);
	}
	close(pair[1]);
	if (child < 0) {
		close(pair[0]);
		return error_set(error, "cannot start a process: %s", strerror(errno));
	}
	/* A link is given out when the other has no rights any more. */
	if (recv(pair[0], &byte, 1, 0) == 1) {
		say_ready(&http->session, ready);
		/* Only the other one judges sessions; here they would wait for a core file. */
		OPENSSL_cleanse(&http->session, sizeof(http->session));
		serve(pair[0], options->name);
	}
	close(pair[0]);
	return end_child(child, error);
}

int ui_serve(const struct ui_options *options, void (*ready)(const char *url), struct error *error)
{
	struct ui_http http = {.idle_s = options->idle_s};
	struct sockaddr_storage address = {0};
	int listener, result;

	if (ui_files_load(error) < 0)
		return -1;
	listener = open_listener(options->listen, &address, error);
	if (listener < 0)
		return -1;
	if (ui_session_new((struct sockaddr *)&address, &http.session))
		result = serve_with(options, &http, listener, ready, error);
	else
		result = error_set(error, "the kernel gives no random bytes");
	close(listener);
	return result;
}
