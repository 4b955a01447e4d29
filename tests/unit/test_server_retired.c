// SPDX-License-Identifier: BSD-2-Clause
/* An old policy is not freed by the request that held it last. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "no_timers.h"
#include "server_retired.h"

struct state {
	struct event_base *base;
	struct background *background;
	struct retired *retired;
};

static int setup(void **state)
{
	static struct state s;

	s.base = event_base_new();
	s.background = background_new(s.base);
	s.retired = retired_new(s.base, s.background);
	assert_non_null(s.retired);
	*state = &s;
	return 0;
}

static int teardown(void **state)
{
	struct state *s = *state;

	background_free(s->background);
	retired_free(s->retired);
	event_base_free(s->base);
	return 0;
}

static struct config *make(void)
{
	static const char text[] = "routes: [{host: api.test, path_allowlist: [/v1/]}]\n";
	const struct config_source source = {"test.yaml", {text, strlen(text)}};
	struct diag_list errors = {0};
	struct config *config = config_parse(&source, 1, &errors);

	assert_non_null(config);
	return config;
}

static void run(const struct state *s, unsigned ms)
{
	const struct timeval time = {ms / 1000, ms % 1000 * 1000};

	event_base_loopexit(s->base, &time);
	event_base_dispatch(s->base);
}

/* A loop that has nothing to wait for: whether it is in use is all that there is to see. */
static bool looks(const struct state *s)
{
	return event_base_get_num_events(s->base, EVENT_BASE_COUNT_ADDED) >
	       1; /* the background's own */
}

static void kept_while_held(void **state)
{
	const struct state *s = *state;
	struct config *config = make();
	struct policy *held = policy_ref(config->policy), *too = policy_ref(config->policy);

	retired_add(s->retired, config);
	for (int i = 0; i < 2; i++) {
		run(s, RETIRED_LOOK_MS + 100);
		assert_true(looks(s));
		assert_true(policy_is_shared(held));
	}
	policy_unref(too);
	assert_true(policy_is_shared(held)); /* ours is not the last */
	policy_unref(held);
	for (int i = 0; i < 100 && looks(s); i++)
		run(s, 100);
	assert_false(looks(s));
}

/* No look was to be had, and nobody would have looked before the next reload. */
static void kept_without_memory(void **state)
{
	const struct state *s = *state;
	struct config *config = make();
	struct policy *held = policy_ref(config->policy);

	no_timers = true;
	retired_add(s->retired, config);
	no_timers = false;
	assert_false(looks(s));
	retired_pulse(s->retired);
	assert_true(looks(s));
	policy_unref(held);
	for (int i = 0; i < 100 && looks(s); i++)
		run(s, 100);
	assert_false(looks(s));
}

static void free_at_once(void **state)
{
	const struct state *s = *state;

	retired_add(s->retired, make());
	assert_false(looks(s));
}

/* The end of the worker does not wait for requests. */
static void held_at_the_end(void **state)
{
	const struct state *s = *state;
	struct config *config = make();
	struct policy *held = policy_ref(config->policy);

	retired_add(s->retired, config);
	teardown(state);
	assert_false(policy_is_shared(held));
	policy_unref(held);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(kept_while_held, setup, teardown),
		cmocka_unit_test_setup_teardown(kept_without_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(free_at_once, setup, teardown),
		cmocka_unit_test_setup(held_at_the_end, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
