/* SPDX-License-Identifier: BSD-2-Clause */
/* The files of the page, PREFIX/share/egress-bpf/ui, as they were when `ui` began. */
#ifndef UI_FILES_H
#define UI_FILES_H

#include "attributes.h"
#include "bytes.h"
#include "diag.h"

struct ui_file {
	const char *path, *type; /* as the browser asks for it, and is told */
	const char *name;
	struct bytes text;
};

/* Reads all of them, from beside the program. -1 with `error` set. They stay until the process ends. */
int ui_files_load(struct error *error) WARN_UNUSED;
/* NULL: there is no such path. */
const struct ui_file *ui_files_find(const char *path);

#endif
