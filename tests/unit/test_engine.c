// SPDX-License-Identifier: BSD-2-Clause
/* The engine's client against one that misbehaves: a server of canned octets on a unix socket. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine.h"

static char directory[] = "/tmp/egress-engine-XXXXXX";
static char path[108];

/* A child that answers each connection with `answer` and keeps what it was asked in DIR/asked. */
static pid_t serve(const char *answer, size_t length, bool hold)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), peer;
	char asked[128], octets[4096];
	pid_t pid;

	snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	unlink(path);
	assert_return_code(bind(fd, (struct sockaddr *)&at, sizeof(at)), errno);
	assert_return_code(listen(fd, 5), errno);
	snprintf(asked, sizeof(asked), "%s/asked", directory);
	pid = fork();
	while (pid == 0 && (peer = accept(fd, NULL, NULL)) >= 0) {
		ssize_t got = read(peer, octets, sizeof(octets));
		FILE *file = fopen(asked, "w");

		if (file && got > 0)
			fwrite(octets, 1, (size_t)got, file);
		if (file)
			fclose(file);
		(void)!write(peer, answer, length);
		if (hold)
			pause();
		close(peer);
	}
	close(fd);
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static struct engine *engine_at(const char *socket)
{
	struct engine *engine = NULL;
	struct error error = {0};

	if (engine_open(socket, &engine, &error) < 0)
		fail_msg("%s", error.text);
	return engine;
}

static void asked_for(const char *text)
{
	char asked[128], octets[4096];
	size_t got;
	FILE *file;

	snprintf(asked, sizeof(asked), "%s/asked", directory);
	file = fopen(asked, "r");
	assert_non_null(file);
	got = fread(octets, 1, sizeof(octets) - 1, file);
	fclose(file);
	octets[got] = '\0';
	if (!strstr(octets, text))
		fail_msg("'%s' is not in '%s'", text, octets);
}

static void calls(void **state)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
				     "5\r\n{\"a\":\r\n2\r\n1}\r\n0\r\n\r\n";
	const pid_t pid = serve(answer, sizeof(answer) - 1, false);
	struct engine *engine = engine_at(path);
	json_t *body = json_pack("{s:s}", "x", "y"), *reply = NULL;
	struct error error = {0};

	(void)state;
	/* A proxy of the environment is for the network, not for this. */
	setenv("http_proxy", "http://127.0.0.1:1", 1);
	assert_int_equal(engine_do(engine, "POST", "/a?b=c", body, 0, &reply, &error), 0);
	assert_int_equal(json_integer_value(json_object_get(reply, "a")), 1);
	asked_for("POST /a?b=c HTTP/1.1\r\n");
	asked_for("Content-Type: application/json\r\n");
	asked_for("\r\n\r\n{\"x\":\"y\"}");
	json_decref(reply);
	assert_int_equal(engine_do(engine, "DELETE", "/a", NULL, 0, NULL, &error), 0);
	asked_for("DELETE /a HTTP/1.1\r\n");
	assert_int_equal(engine_do(engine, "POST", "/start", NULL, 0, NULL, &error), 0);
	asked_for("Content-Length: 0\r\n");
	unsetenv("http_proxy");
	json_decref(body);
	engine_free(engine);
	end(pid);
}

static void refusals(void **state)
{
	static const char answer[] = "HTTP/1.1 409 Conflict\r\nContent-Length: 31\r\n\r\n"
				     "{\"message\":\"name is in use, so\"}";
	const pid_t pid = serve(answer, sizeof(answer) - 1, false);
	struct engine *engine = engine_at(path);
	struct error error = {0};

	(void)state;
	assert_int_equal(engine_do(engine, "GET", "/x", NULL, 0, NULL, &error), -1);
	assert_non_null(strstr(error.text, "409"));
	assert_int_equal(engine_do(engine, "GET", "/x", NULL, 409, NULL, &error), 0);
	engine_free(engine);
	end(pid);
}

static void nonsense(void **state)
{
	static const struct {
		const char *answer;
		int result;
	} rows[] = {
		{"", -1},
		{"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}", -1},
		{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nxyz", 0},
		{"rubbish\r\n\r\n", -1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const pid_t pid = serve(rows[i].answer, strlen(rows[i].answer), false);
		struct engine *engine = engine_at(path);
		struct engine_reply reply = {0};
		struct error error = {0};

		assert_int_equal(engine_call(engine, "GET", "/", NULL, 5, &reply, &error),
				 rows[i].result);
		assert_null(reply.body);
		engine_free(engine);
		end(pid);
	}
}

static void endless(void **state)
{
	static char answer[(17 << 20) + 64];
	int length = snprintf(answer, sizeof(answer),
			      "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", 17 << 20);
	struct engine_reply reply = {0};
	struct error error = {0};
	struct engine *engine;
	pid_t pid;

	(void)state;
	memset(answer + length, ' ', 17 << 20);
	pid = serve(answer, (size_t)length + (17 << 20), false);
	engine = engine_at(path);
	assert_int_equal(engine_call(engine, "GET", "/", NULL, 20, &reply, &error), -1);
	engine_free(engine);
	end(pid);
}

static void nobody_there(void **state)
{
	struct engine_reply reply = {0};
	struct error error = {0};
	struct engine *engine;

	(void)state;
	unlink(path);
	engine = engine_at(path);
	assert_int_equal(engine_call(engine, "GET", "/", NULL, 5, &reply, &error), -1);
	assert_non_null(strstr(error.text, path));
	engine_free(engine);
	assert_int_equal(engine_open("tcp://127.0.0.1:2375", &engine, &error), -1);
}

/* An answer that begins and never ends: news is its first octet, and a stop is heard at once. */
static void follows(void **state)
{
	static const char head[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
	static const char news[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n";
	const time_t start = time(NULL);
	struct engine *engine = engine_at(path);
	pid_t pid = serve(news, sizeof(news) - 1, true);
	int stop[2];

	(void)state;
	assert_return_code(pipe(stop), errno);
	engine_follow(engine, "/events", stop[0], 20);
	end(pid);
	pid = serve(head, sizeof(head) - 1, true);
	assert_int_equal(write(stop[1], "x", 1), 1);
	engine_follow(engine, "/events", stop[0], 20);
	assert_true(time(NULL) - start < 15);
	end(pid);
	engine_free(engine);
	close(stop[0]);
	close(stop[1]);
}

static int begin(void **state)
{
	(void)state;
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/sock", directory);
	return 0;
}

static int finish(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(calls),	cmocka_unit_test(refusals),
		cmocka_unit_test(nonsense),	cmocka_unit_test(endless),
		cmocka_unit_test(nobody_there), cmocka_unit_test(follows),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, begin, finish);
}
