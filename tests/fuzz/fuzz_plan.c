// SPDX-License-Identifier: BSD-2-Clause
/* Any bytes as a manifest and, behind a line "%%", as a provider's routes: refused with errors that
 * say what would be right, or a plan whose routes.yaml says the same (plan_make() compares them). */
#include <assert.h>
#include <string.h>

#include "fuzz_main.h"
#include "plan_make.h"

#define DIVIDER "%%\n"

static void check_errors(const struct diag_list *errors)
{
	assert(errors->count > 0);
	for (size_t i = 0; i < errors->kept; i++) {
		assert(strstr(errors->items[i].text, "would be right: "));
		assert(strcmp(errors->items[i].source, PLAN_ROUTES) != 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	const char *divider = size ? memmem(text, size, DIVIDER, sizeof(DIVIDER) - 1) : NULL;
	struct config_source manifest = {"m", {text, divider ? (size_t)(divider - text) : size}};
	struct config_source provider = {"p", {"", 0}};
	struct plan_draft draft = {.bottle = NULL};
	struct diag_list errors = {0};

	if (divider) {
		provider.text.data = divider + sizeof(DIVIDER) - 1;
		provider.text.length = size - (size_t)(provider.text.data - text);
	}
	if (!plan_make(&draft, &manifest, "a", &provider, divider != NULL, "/plans/a", &errors))
		check_errors(&errors);
	plan_draft_free(&draft);
	diag_list_free(&errors);
	return 0;
}
