// SPDX-License-Identifier: BSD-2-Clause
/* Any bytes as a policy file: it is either refused with errors that say what would be right, or it
 * is a policy that can be asked, described, packed and unpacked to the same. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "fuzz_main.h"

static void check_errors(const struct diag_list *errors)
{
	assert(errors->count > 0);
	for (size_t i = 0; i < errors->kept; i++)
		assert(strstr(errors->items[i].text, "would be right: "));
}

static void check_config(const struct config_source *source, struct config *config)
{
	struct error error = {0};
	struct bytes blob = {0};
	struct config *copy;
	bool complete = true;

	free(policy_describe(config->policy));
	for (size_t i = 0; i < policy_secret_count(config->policy); i++)
		complete &= policy_set_secret(config->policy, i, SPAN("user:secret"), &error) == 0;
	assert(config_pack(source, 1, config, &blob) == complete);
	if (!complete)
		return;
	copy = config_unpack(bytes_span(&blob), &error);
	assert(copy && memcmp(copy->hash, config->hash, sizeof(copy->hash)) == 0);
	config_free(copy);
	bytes_wipe(&blob);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config_source source = {"fuzz", {(const char *)data, size}};
	struct diag_list errors = {0};
	struct config *config = config_parse(&source, 1, &errors);
	struct error error = {0};

	if (config)
		check_config(&source, config);
	else
		check_errors(&errors);
	config_free(config);
	diag_list_free(&errors);
	config_free(config_unpack(source.text, &error));
	return 0;
}
