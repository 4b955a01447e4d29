// SPDX-License-Identifier: BSD-2-Clause
/* ca: makes a bottle's CA on disk. A CA that is there is not replaced by accident: bottles trust
 * it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cert_authority.h"
#include "cmd.h"
#include "diag.h"

static const char help_text[] =
	"usage: egress-bpf ca init DIR [--replace] [--name CN]\n"
	"\n"
	"Makes a certificate authority for one bottle:\n"
	"  DIR/ca.pem       certificate and private key, mode 0600: for 'run --ca-dir DIR'\n"
	"  DIR/ca-cert.pem  the certificate alone: for the bottle to trust\n"
	"DIR is made (mode 0700) when it is not there.\n"
	"\n"
	"  --replace  also when there is a CA; what trusts the old one stops working\n"
	"  --name CN  the CA's name, at most 64 bytes (default: egress-bpf CA)\n"
	"  --help     this text\n"
	"\n"
	"Exit status: 0 made, 1 failed, 2 usage error.\n";

/* 0700 where we make it; an existing one is the operator's, whose mode the key's own 0600 does not
 * rely on. */
static int make_directory(const char *path, struct error *error)
{
	struct stat st;

	if (mkdir(path, 0700) == 0)
		return 0;
	if (errno != EEXIST)
		return error_set(error, "cannot make %s: %s", path, strerror(errno));
	if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode))
		return error_set(error, "%s is not a directory", path);
	return 0;
}

static int init(const char *directory, const char *name, bool replace, struct error *error)
{
	struct cert_authority *ca = NULL;
	int result = -1;

	if (cert_authority_new(name, &ca, error) == 0 && make_directory(directory, error) == 0)
		result = cert_authority_save(ca, directory, replace, error);
	cert_authority_free(ca);
	return result;
}

static int run_init(const char *directory, const char *name, bool replace)
{
	struct error error = {0};

	if (init(directory, name, replace, &error) < 0) {
		diag_error("ca init: %s", error.text);
		return EXIT_FAILED;
	}
	printf("%s/ca.pem       certificate and private key: keep it out of the bottle\n"
	       "%s/ca-cert.pem  certificate: for the bottle to trust\n",
	       directory, directory);
	return EXIT_OK;
}

int cmd_ca(int argc, char **argv)
{
	const char *name = "egress-bpf CA";
	bool replace = false;
	const struct cmd_option options[] = {{"replace", .flag = &replace}, {"name", .text = &name}, {0}};
	int status;

	/* A CA's key is made here: no core file is to have it. */
	cmd_guard_memory();
	status = cmd_options("ca", help_text, options, argc, argv);
	if (status >= 0)
		return status;
	if (argc - optind != 2 || strcmp(argv[optind], "init") != 0)
		return cmd_usage("ca", "say 'init' and one directory");
	if (!*name || strlen(name) > 64)
		return cmd_usage("ca", "--name takes 1 to 64 bytes");
	return run_init(argv[optind + 1], name, replace);
}
