// SPDX-License-Identifier: BSD-2-Clause
/* One allocation after the other fails while a policy is read: it is then read whole or refused, with
 * nothing left allocated and no secret in what was freed. libyaml, libidn2, PCRE2 and OpenSSL call the
 * functions below, too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <glob.h>
#include <malloc.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "config.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)

int main(void)
{
	puts("1..1\nok 1 - allocations # SKIP the sanitizer's allocator is in the place of ours");
	return 0;
}

#else

#define SECRET "s3cret-of-this-test"
#define FEW_ROUTES "dns:\n  name: proxy\n  pool: 10.99.0.0/16\nroutes: []\n"

/* ---- the allocator ------------------------------------------------------------------------------ */

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void __libc_free(void *memory);

static struct {
	bool active, failed, leaked;
	long at, count; /* which one fails, and how many there were */
	long live;
} heap;

static bool fails(void)
{
	if (!heap.active || ++heap.count != heap.at)
		return false;
	heap.failed = true;
	errno = ENOMEM;
	return true;
}

static void *counted(void *memory)
{
	heap.live += memory != NULL;
	return memory;
}

static bool holds_secret(void *memory)
{
	return heap.active && memory &&
	       memmem(memory, malloc_usable_size(memory), SECRET, strlen(SECRET));
}

void *malloc(size_t size)
{
	return fails() ? NULL : counted(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
	return fails() ? NULL : counted(__libc_calloc(count, size));
}

void *realloc(void *old, size_t size)
{
	bool secret = holds_secret(old);
	uintptr_t before = (uintptr_t)old;
	void *memory = fails() ? NULL : __libc_realloc(old, size);

	heap.leaked |= secret && memory && (uintptr_t)memory != before;
	if (!old)
		return counted(memory);
	return memory;
}

void free(void *memory)
{
	heap.leaked |= holds_secret(memory);
	heap.live -= memory != NULL;
	__libc_free(memory);
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
	if (fd < 0 && fails())
		return MAP_FAILED;
	return (void *)syscall(SYS_mmap, address, length, protection, flags, fd, offset);
}

/* ---- the sweep ---------------------------------------------------------------------------------- */

/* What is swept: NULL with `error` set, or the whole. */
typedef struct config *(*read_fn)(const void *context, struct error *error);

struct wanted {
	char *text;
	uint8_t hash[sizeof((struct config){0}.hash)];
};

static void check_whole(const struct config *config, const struct wanted *wanted, const char *what, long at)
{
	char *text = config_effective(config);

	if (!text || strcmp(text, wanted->text) != 0 ||
	    memcmp(config->hash, wanted->hash, sizeof(wanted->hash)) != 0)
		fail_msg("%s, allocation %ld: read only in part", what, at);
	free(text);
}

/* One read with the `at`th allocation failing; false when there are not so many. */
static bool read_without(read_fn read, const void *context, const struct wanted *wanted, const char *what,
			 long at)
{
	struct error error = {0};
	struct config *config;
	long live = heap.live;

	heap.at = at;
	heap.count = 0;
	heap.failed = false;
	heap.active = true;
	config = read(context, &error);
	heap.active = false;
	if (config)
		check_whole(config, wanted, what, at);
	else if (!strstr(error.text, "out of memory"))
		fail_msg("%s, allocation %ld: \"%s\"", what, at, error.text);
	if (!config)
		assert_true(heap.failed);
	heap.active = true;
	heap.at = 0;
	config_free(config);
	heap.active = false;
	if (heap.live != live)
		fail_msg("%s, allocation %ld: %ld more are left", what, at, heap.live - live);
	if (heap.leaked)
		fail_msg("%s, allocation %ld: a secret in what was freed", what, at);
	return heap.failed;
}

/* Read once before, for what libraries allocate once. */
static void sweep(read_fn read, const void *context, const char *what, long stride)
{
	struct error error = {0};
	struct config *config = read(context, &error);
	struct wanted wanted;
	long at = 1;

	if (!config)
		fail_msg("%s: %s", what, error.text);
	wanted.text = config_effective(config);
	assert_non_null(wanted.text);
	memcpy(wanted.hash, config->hash, sizeof(wanted.hash));
	config_free(config);
	while (read_without(read, context, &wanted, what, at))
		at += stride;
	assert_in_range(at, 10, 1000000);
	free(wanted.text);
}

static struct config *read_source(const void *context, struct error *error)
{
	struct diag_list errors = {0};
	struct config *config = config_parse(context, 1, &errors);

	if (!config)
		diag_list_first(&errors, error);
	diag_list_free(&errors);
	return config;
}

/* Two files of which the second replaces what the first says. */
static struct config *read_both(const void *context, struct error *error)
{
	struct config_source sources[] = {*(const struct config_source *)context,
					  {"more", span_from(FEW_ROUTES)}};
	struct diag_list errors = {0};
	struct config *config = config_parse(sources, 2, &errors);

	if (!config)
		diag_list_first(&errors, error);
	diag_list_free(&errors);
	return config;
}

static struct config *read_with_secrets(const void *context, struct error *error)
{
	struct diag_list errors = {0};
	struct config *config = config_parse(context, 1, &errors);

	if (config && !config_load_secrets(config, &errors)) {
		config_free(config);
		config = NULL;
	}
	if (!config)
		diag_list_first(&errors, error);
	diag_list_free(&errors);
	return config;
}

static struct config *unpack(const void *context, struct error *error)
{
	return config_unpack(bytes_span(context), error);
}

/* ---- what is read ------------------------------------------------------------------------------- */

static void test_good_files(void **state)
{
	glob_t files;

	(void)state;
	assert_int_equal(glob("tests/unit/policies/good/*", 0, NULL, &files), 0);
	for (size_t i = 0; i < files.gl_pathc; i++) {
		struct config_source source = {.name = files.gl_pathv[i]};
		struct bytes text = {0};
		struct error error = {0};

		assert_int_equal(config_read_file(source.name, &text, &error), 0);
		source.text = bytes_span(&text);
		sweep(read_source, &source, source.name, 1);
		sweep(read_both, &source, source.name, 7);
		bytes_free(&text);
	}
	globfree(&files);
}

/* Whose memory is mapped, not malloc(3)'s. */
static void test_large(void **state)
{
	struct config_source source = {.name = "large"};
	struct bytes text = {0};

	(void)state;
	assert_true(bytes_append_text(&text, "routes:\n"));
	for (int i = 0; i < 3000; i++)
		assert_true(bytes_printf(&text, "- host: h%d.example.test\n  path_allowlist: [/a%d/]\n", i, i));
	source.text = bytes_span(&text);
	sweep(read_source, &source, source.name, 307);
	bytes_free(&text);
}

static const char with_secrets[] =
	"upstream:\n  proxy: http://proxy.test:3128\n"
	"  proxy_auth: {username: me, token_env: OOM_TOKEN_0}\n"
	"routes:\n"
	"- host: a.test\n  auth: {scheme: Bearer, token_env: OOM_TOKEN_0}\n"
	"- host: b.test\n  auth: {scheme: Basic, username: x, token_env: OOM_TOKEN_0}\n"
	"- host: c.test\n  auth: {header: x-key, token_env: OOM_TOKEN_1}\n"
	"- host: d.test\n  auth: {scheme: Basic, token_env: OOM_TOKEN_2}\n";

static void test_secrets(void **state)
{
	const struct config_source source = {"secrets", span_from(with_secrets)};
	struct error error = {0};
	struct config *config;
	struct bytes blob = {0};
	char long_token[400] = "";
	unsigned char pair[100];

	(void)state;
	setenv("OOM_TOKEN_0", SECRET, 1);
	memset(long_token, 'x', sizeof(long_token) - 1);
	memcpy(long_token, SECRET, strlen(SECRET));
	setenv("OOM_TOKEN_1", long_token, 1);
	EVP_EncodeBlock(pair, (const unsigned char *)SECRET ":x", (int)strlen(SECRET ":x"));
	setenv("OOM_TOKEN_2", (const char *)pair, 1);
	sweep(read_with_secrets, &source, "environment", 1);
	config = read_with_secrets(&source, &error);
	assert_non_null(config);
	assert_true(config_pack(&source, 1, config, &blob));
	config_free(config);
	sweep(unpack, &blob, "blob", 1);
	bytes_wipe(&blob);
}

/* An error that cannot be kept is one all the same. */
static void test_errors(void **state)
{
	const struct config_source source = {"bad", span_from("routes: [{hots: a.test}]\nx: 1\n")};

	(void)state;
	for (heap.at = 1, heap.failed = true; heap.failed; heap.at++) {
		struct diag_list errors = {0};
		struct error error = {0};
		struct config *config;
		long live = heap.live;

		heap.count = 0;
		heap.failed = false;
		heap.active = true;
		config = config_parse(&source, 1, &errors);
		heap.active = false;
		assert_null(config);
		assert_true(errors.count > 0);
		diag_list_first(&errors, &error);
		assert_non_null(strstr(error.text, heap.failed ? "" : "unknown key"));
		assert_true(error.text[0]);
		diag_list_free(&errors);
		assert_int_equal(heap.live, live);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_files),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_secrets),
		cmocka_unit_test(test_errors),
	};

	/* OpenSSL keeps a queue of errors from the first one on. */
	ERR_raise(ERR_LIB_USER, ERR_R_MALLOC_FAILURE);
	ERR_clear_error();
	return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
