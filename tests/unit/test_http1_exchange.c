// SPDX-License-Identifier: BSD-2-Clause
/* Exchanges over socket pairs: the real connection, HTTP/1 and stream code between a client and an
 * upstream that the test plays. Faked at link time: upstream, identify, leaves and log. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "connection.h"
#include "fake_proxy.h"

static const char get[] = "GET /v1/x?q=1 HTTP/1.1\r\nHost: api.test\r\nAccept: */*\r\n\r\n";

static void one_get(void **state)
{
	struct fake *f = *state;

	fake_connect(f);
	fake_client_sends(f, get);
	assert_string_equal(fake_upstream_got(f), "GET /v1/x?q=1 HTTP/1.1\r\n"
						  "Host: api.test\r\n"
						  "Accept: */*\r\n"
						  "Authorization: Bearer s3cret\r\n\r\n");
	fake_upstream_sends(f, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello");
	assert_string_equal(fake_client_got(f), "HTTP/1.1 200 OK\r\nX-A: b\r\n"
						"Content-Length: 5\r\n\r\nhello");
	assert_int_equal(f->log_count, 1);
	assert_int_equal(f->last.status, 200);
	assert_int_equal(f->last.reason, EGRESS_ALLOWED);
	assert_int_equal(f->last.bytes_down, 5);
	assert_int_equal(f->put_count, 1);
	assert_false(fake_client_closed(f));
}

static void refused_path_keeps_connection(void **state)
{
	struct fake *f = *state;
	const char *answer;

	fake_connect(f);
	fake_client_sends(f, "GET /other HTTP/1.1\r\nHost: api.test\r\n\r\n");
	answer = fake_client_got(f);
	assert_non_null(strstr(answer, "HTTP/1.1 403 Forbidden\r\n"));
	assert_non_null(strstr(answer, "X-Egress-Reason: path_not_allowed\r\n"));
	assert_non_null(strstr(answer, "\"reason\":\"path_not_allowed\""));
	assert_null(strstr(answer, "Connection: close"));
	assert_int_equal(f->get_count, 0);
	fake_client_sends(f, get);
	assert_int_equal(f->get_count, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_get, fake_setup, fake_teardown),
		cmocka_unit_test_setup_teardown(refused_path_keeps_connection, fake_setup,
						fake_teardown),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
