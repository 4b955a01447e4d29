// SPDX-License-Identifier: BSD-2-Clause
/* The page's listener when there are neither descriptors nor memory; nobody of ours is behind it. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ui_ask.h"
#include "ui_confine.h"
#include "ui_files.h"
#include "ui_private.h"

/* ---- what stands in for the modules below ----------------------------------------------------- */

int ui_ask(int pair, json_t *request, struct error *error)
{
	(void)pair, (void)request, (void)error;
	return -1;
}

bool ui_confine(pid_t parent)
{
	(void)parent;
	return true;
}

const struct ui_file *ui_files_find(const char *path)
{
	(void)path;
	return NULL;
}

void ui_exchange_answer(struct ui_http *http, struct evhttp_request *request, int fd)
{
	(void)http, (void)request, (void)fd;
}

void ui_exchange_stream(struct ui_http *http, struct evhttp_request *request, int fd)
{
	(void)http, (void)request, (void)fd;
}

/* ---- what stands before the C library --------------------------------------------------------- */

static int refused_accepts, refused_watches, listening = -1;

int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
	if (refused_accepts-- > 0) {
		errno = EMFILE;
		return -1;
	}
	return (int)syscall(SYS_accept4, fd, address, length, flags);
}

/* The first is the one at the start. */
int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
	static int watches;

	if (fd == listening && operation == EPOLL_CTL_ADD && watches++ > 0 && refused_watches-- > 0) {
		errno = ENOMEM;
		return -1;
	}
	return (int)syscall(SYS_epoll_ctl, epoll, operation, fd, event);
}

/* ---- the test --------------------------------------------------------------------------------- */

static struct sockaddr_in address;

static pid_t serve(void)
{
	socklen_t length = sizeof(address);
	int pair[2];
	pid_t pid;
	char byte;

	address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	listening = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listening, (struct sockaddr *)&address, length), 0);
	assert_int_equal(listen(listening, 8), 0);
	assert_int_equal(getsockname(listening, (struct sockaddr *)&address, &length), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		static struct ui_http http = {.idle_s = 60};

		(void)dup2(open("/dev/null", O_WRONLY), STDERR_FILENO); /* libevent's own word on it */
		http.pair = pair[1];
		ui_http_run(&http, listening, getppid());
	}
	close(pair[1]);
	assert_int_equal(read(pair[0], &byte, 1), 1);
	close(pair[0]);
	return pid;
}

/* Whether there is an answer, a refusal, within so many seconds. */
static bool answers(int seconds)
{
	static const char request[] = "GET / HTTP/1.0\r\n\r\n";
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char answer[16] = "";

	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(write(fd, request, sizeof(request) - 1), sizeof(request) - 1);
	if (poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, seconds * 1000) == 1)
		assert_true(read(fd, answer, sizeof(answer) - 1) > 0);
	close(fd);
	return strncmp(answer, "HTTP/1.", 7) == 0;
}

/* No descriptor for a connection; then, after a pause, none to watch for others: it was deaf as long as
 * a page was open. */
static void listens_again(void **state)
{
	pid_t pid;
	bool answered;

	(void)state;
	refused_accepts = 1;
	refused_watches = 1;
	pid = serve();
	answered = answers(30);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	close(listening);
	assert_true(answered);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(listens_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
