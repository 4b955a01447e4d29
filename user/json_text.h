/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef JSON_TEXT_H
#define JSON_TEXT_H

#include <jansson.h>

#include "attributes.h"

/* A JSON string of any text: '?' for what is no UTF-8. json_string() and "s" of json_pack() give
 * nothing then, and the whole answer is lost with it. The caller's; NULL when out of memory. */
json_t *json_text(const char *text) WARN_UNUSED;

#endif
