// SPDX-License-Identifier: BSD-2-Clause
/* Refusals on their way to the supervisor, the bounded table there, and what a bottle says of itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ask.h"
#include "pending.h"
#include "pending_ids.h"

static struct refusal refused(uint64_t id, const char *host, const char *path)
{
	return (struct refusal){
		.id = id,
		.reason = EGRESS_PATH_NOT_ALLOWED,
		.port = 443,
		.protocol = SPAN("https"),
		.host = span_from(host),
		.method = SPAN("GET"),
		.path = span_from(path),
	};
}

/* ---- packing ------------------------------------------------------------------------------------ */

static struct refusal round_trip(const struct refusal *refusal, char packed[REFUSAL_PACKED_MAX])
{
	struct refusal ret;
	size_t length = refusal_pack(refusal, packed);

	assert_true(length <= REFUSAL_PACKED_MAX);
	assert_true(refusal_unpack((struct span){packed, length}, &ret));
	return ret;
}

static void test_round_trip(void **state)
{
	char packed[REFUSAL_PACKED_MAX], path[3000];
	struct refusal r = refused(7, "a.test", "/x/y?token=secret"), got;

	(void)state;
	got = round_trip(&r, packed);
	assert_int_equal(got.id, 7);
	assert_int_equal(got.port, 443);
	assert_true(span_equal(got.host, SPAN("a.test")));
	assert_true(span_equal(got.path, SPAN("/x/y")));
	assert_false(got.path_cut);
	/* What is no text is made text, and known not to be what was asked for. */
	r.path = SPAN("/\x1b[2J\x80 x");
	got = round_trip(&r, packed);
	assert_true(span_equal(got.path, SPAN("/_[2J__x")));
	assert_true(got.path_cut);
	memset(path, 'x', sizeof(path));
	path[0] = '/';
	r.path = (struct span){path, sizeof(path)};
	got = round_trip(&r, packed);
	assert_int_equal(got.path.length, REFUSAL_PATH_MAX);
	assert_true(got.path_cut);
	r.host = SPAN("a\x1b.test");
	r.method = SPAN("G T");
	r.path = SPAN("a.test:443");
	got = round_trip(&r, packed);
	assert_int_equal(got.host.length + got.method.length + got.path.length, 0);
}

/* Every byte of a record in turn is another: it is refused, or holds nothing but what it may. */
static void test_hostile_records(void **state)
{
	struct refusal r = refused(7, "a.test", "/x"), got;
	char packed[REFUSAL_PACKED_MAX], *copy;
	size_t length = refusal_pack(&r, packed);

	(void)state;
	for (size_t cut = 0; cut < length; cut++) {
		copy = malloc(cut + 1);
		memcpy(copy, packed, cut);
		assert_false(refusal_unpack((struct span){copy, cut}, &got));
		free(copy);
	}
	for (size_t at = 0; at < length; at++) {
		for (int value = 0; value < 256; value++) {
			copy = malloc(length);
			memcpy(copy, packed, length);
			copy[at] = (char)value;
			if (refusal_unpack((struct span){copy, length}, &got)) {
				assert_true(got.host.length == 0 || refusal_host_valid(got.host));
				assert_true(got.path.length == 0 || refusal_path_valid(got.path));
				assert_true(got.reason < EGRESS_REASON_COUNT);
			}
			free(copy);
		}
	}
}

/* ---- the table ------------------------------------------------------------------------------------ */

static void add(struct pending *pending, uint64_t id, const char *host, const char *path)
{
	struct refusal r = refused(id, host, path);

	assert_true(pending_add(pending, &r, id * 10, false));
}

static void test_groups(void **state)
{
	struct pending *pending = pending_new();
	struct pending_group *groups[PENDING_GROUPS];
	const struct pending_sample *sample;
	char path[32];

	(void)state;
	add(pending, 1, "a.test", "/v1/items/1");
	add(pending, 2, "a.test", "/v1/items/1");
	assert_int_equal(pending_list(pending, groups), 1);
	assert_true(groups[0]->one_path);
	assert_string_equal(groups[0]->prefix, "/v1/items/1");
	assert_int_equal(groups[0]->sample_count, 1);
	for (uint64_t i = 3; i < 20; i++) {
		snprintf(path, sizeof(path), "/v1/items/%d", (int)i);
		add(pending, i, "a.test", path);
	}
	add(pending, 20, "a.test", "/v1/other/1");
	add(pending, 21, "b.test", "/v1/items/1");
	assert_int_equal(pending_list(pending, groups), 3);
	assert_string_equal(groups[0]->host, "b.test");
	assert_string_equal(groups[2]->prefix, "/v1/items/");
	assert_false(groups[2]->one_path);
	assert_int_equal(groups[2]->count, 19);
	assert_int_equal(groups[2]->sample_count, PENDING_SAMPLES);
	/* The newest are the samples, each with its own path. */
	assert_ptr_equal(pending_find(pending, 19, false, &sample), groups[2]);
	assert_string_equal(sample->path, "/v1/items/19");
	assert_null(pending_find(pending, 19, true, &sample));
	assert_null(pending_find(pending, 1, false, &sample));
	pending_free(pending);
	pending_free(NULL);
}

static void test_bounds(void **state)
{
	struct pending *pending = pending_new();
	struct pending_group *groups[PENDING_GROUPS];
	char host[32];
	size_t count;

	(void)state;
	add(pending, 1, "silent.test", "/x");
	assert_int_equal(pending_list(pending, groups), 1);
	assert_true(pending_deny(pending, groups[0]));
	for (uint64_t i = 2; i < 10002; i++) {
		snprintf(host, sizeof(host), "h%d.test", (int)i);
		add(pending, i, host, "/x");
	}
	count = pending_list(pending, groups);
	assert_int_equal(count, PENDING_GROUPS);
	assert_int_equal(pending_evicted(pending), 10001 - PENDING_GROUPS);
	assert_string_equal(groups[0]->host, "h10001.test");
	assert_string_equal(groups[count - 1]->host, "silent.test");
	assert_true(groups[count - 1]->denied);
	pending_lost(pending, 3);
	assert_int_equal(pending_lost_count(pending), 3);
	/* What is silenced has an end, too. */
	for (size_t i = 0; i < PENDING_DENIED - 1; i++)
		assert_true(pending_deny(pending, groups[i]));
	assert_false(pending_deny(pending, groups[PENDING_DENIED - 1]));
	pending_undeny(pending, groups[0]);
	assert_true(pending_deny(pending, groups[PENDING_DENIED - 1]));
	pending_free(pending);
}

/* Denied is the place, whatever the reason is by which it is refused later. */
static void test_another_reason(void **state)
{
	struct pending *pending = pending_new();
	struct pending_group *groups[PENDING_GROUPS];
	struct refusal other = refused(2, "a.test", "/x");

	(void)state;
	add(pending, 1, "a.test", "/x");
	pending_list(pending, groups);
	assert_true(pending_deny(pending, groups[0]));
	other.reason = EGRESS_METHOD_NOT_ALLOWED;
	assert_true(pending_add(pending, &other, 20, false));
	assert_int_equal(pending_list(pending, groups), 2);
	assert_true(groups[0]->denied);
	pending_undeny(pending, groups[0]);
	assert_false(groups[1]->denied);
	pending_free(pending);
}

/* ---- a bottle's words ------------------------------------------------------------------------------- */

static void assert_reason(const char *from, const char *expected)
{
	struct ask ask;

	ask_set_reason(&ask, span_from(from));
	assert_string_equal(ask.reason, expected);
}

/* A worker that was taken over: what an id meant to who read it, it means for good. */
static void test_ids(void **state)
{
	struct pending_ids *ids = pending_ids_new();
	const uint64_t far = (uint64_t)1 << 40;

	(void)state;
	assert_true(pending_ids_bind(ids, 17, SPAN("pypi.org")));
	assert_true(pending_ids_same(ids, 17, SPAN("pypi.org")));
	assert_false(pending_ids_same(ids, 17, SPAN("evil.org")));
	assert_false(pending_ids_bind(ids, 17, SPAN("evil.org")));
	assert_false(pending_ids_bind(ids, 17, SPAN("pypi.org")));
	/* Out of order, and a flood that pushes it out. */
	assert_true(pending_ids_bind(ids, 9, SPAN("a")));
	for (uint64_t i = 18; i < 40000; i++)
		assert_true(pending_ids_bind(ids, i, SPAN("b")));
	assert_false(pending_ids_bind(ids, 17, SPAN("evil.org")));
	assert_false(pending_ids_same(ids, 17, SPAN("pypi.org")));
	assert_false(pending_ids_bind(ids, 0, SPAN("c")));
	assert_false(pending_ids_same(ids, 0, SPAN("")));
	/* The ids cannot be used up by one. */
	assert_false(pending_ids_bind(ids, far, SPAN("d")));
	assert_int_equal(pending_ids_newest(ids), 39999);
	assert_true(pending_ids_bind(ids, (uint64_t)40000 + UINT32_MAX, SPAN("d")));
	assert_true(pending_ids_bind(ids, 39999 + 100, SPAN("e")));
	pending_ids_free(ids);
}

static void test_words(void **state)
{
	struct ask ask = {.port = 443, .host = "a.test", .reason = "x"};
	char long_text[2000];

	(void)state;
	assert_reason("for the test, \xc3\xa9\xf0\x9f\x8d\xb6", "for the test, \xc3\xa9\xf0\x9f\x8d\xb6");
	assert_reason("\x1b]0;x\x07\n\xc2\x9b" "1m\xe2\x80\xae\xe2\x81\xa6\xef\xbb\xbf\xd8\x9c.", "?]0;x???1m????.");
	/* Cut between characters; what is cut off in the middle is not read past its end. */
	memset(long_text, 'x', sizeof(long_text));
	memcpy(long_text + ASK_REASON_SIZE - 3, "\xe2\x80\xae", 3);
	long_text[sizeof(long_text) - 1] = '\0';
	ask_set_reason(&ask, span_from(long_text));
	assert_int_equal(strlen(ask.reason), ASK_REASON_SIZE - 3);
	assert_reason("\xc2", "?");
	assert_reason("\xe2\x80", "\xe2\x80");

	snprintf(ask.reason, sizeof(ask.reason), "x");
	assert_null(ask_fault(&ask));
	snprintf(ask.path, sizeof(ask.path), "/a?b");
	assert_non_null(ask_fault(&ask));
	snprintf(ask.path, sizeof(ask.path), "/a");
	snprintf(ask.method, sizeof(ask.method), "G T");
	assert_non_null(ask_fault(&ask));
	assert_string_equal(ask_state_name(ASK_DENIED), "denied");
	assert_string_equal(ask_state_name((enum ask_state)99), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),     cmocka_unit_test(test_hostile_records),
		cmocka_unit_test(test_groups),	       cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_another_reason), cmocka_unit_test(test_words),
		cmocka_unit_test(test_ids),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
