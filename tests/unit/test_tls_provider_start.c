// SPDX-License-Identifier: BSD-2-Clause
/* OpenSSL starts once in a process, and not again after it failed: a process for each start. Only its first
 * allocation is made to fail: OpenSSL 3.0 itself dies of some of the later ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/crypto.h>

#include "failing_allocator.h"
#include "tls_provider.h"

/* What is asked for when memory is there again, as by a worker that serves. */
enum { WORKS, REFUSED, BROKEN };

static int start(long at)
{
	SSL_CTX *context;
	int result = REFUSED;

	fail_at(at);
	if (tls_provider_load()) {
		fail_at(0);
		context = SSL_CTX_new(TLS_method());
		result = context ? WORKS : BROKEN;
		SSL_CTX_free(context);
	}
	return result;
}

static int start_apart(long at)
{
	pid_t pid = fork();
	int status = -1;

	if (pid == 0)
		_exit(start(at));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void out_of_memory(void **state)
{
	(void)state;
	assert_int_equal(start_apart(1), REFUSED);
}

static void enough(void **state)
{
	(void)state;
	assert_int_equal(start_apart(0), WORKS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(out_of_memory),
		cmocka_unit_test(enough),
	};

	if (CRYPTO_set_mem_functions(allocate, reallocate, release) != 1)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
