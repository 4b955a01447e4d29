// SPDX-License-Identifier: BSD-2-Clause
/* A policy file from nowhere: parsed or refused with a line, never a crash. */
#include <stdlib.h>

#include "config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config_source source = {.name = "fuzz", .text = {(const char *)data, size}};
	struct diag_list errors = {0};
	struct config *config = config_parse(&source, 1, &errors);

	/* Either a policy or a reason why not, never both and never neither. */
	if ((config == NULL) == (errors.count == 0))
		abort();
	config_free(config);
	diag_list_free(&errors);
	return 0;
}
