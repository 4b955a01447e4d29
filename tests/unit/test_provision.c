// SPDX-License-Identifier: BSD-2-Clause
/* A CA in other people's root file systems: what is put in comes out again, byte for byte, and
 * nothing that lies in such a root leads out of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cert_authority.h"
#include "provision.h"
#include "trust.h"

#define OTHER                                                                                      \
	"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"

static struct bytes ca, second_ca;
static char top[] = "/tmp/egress-root-XXXXXX";
static char root_path[64], outside[64];

/* ---- texts ---------------------------------------------------------------------------------- */

static void survives(const char *text)
{
	struct bytes joined = {0}, stripped = {0}, again = {0};
	struct span pem = bytes_span(&ca);

	assert_int_equal(provision_join(span_from(text), pem, &joined), 0);
	assert_int_equal(provision_strip(bytes_span(&joined), pem, &stripped), 0);
	assert_true(span_equal(bytes_span(&stripped), span_from(text)));
	/* Another CA's block goes, too; and what has none stays as it is. */
	assert_int_equal(provision_strip(bytes_span(&joined), bytes_span(&second_ca), &again), 0);
	assert_true(span_equal(bytes_span(&again), span_from(text)));
	bytes_consume(&again, again.length);
	assert_int_equal(provision_strip(span_from(text), pem, &again), 0);
	assert_true(span_equal(bytes_span(&again), span_from(text)));
	bytes_free(&joined);
	bytes_free(&stripped);
	bytes_free(&again);
}

static void texts_survive(void **state)
{
	(void)state;
	survives("");
	survives("\n");
	survives(OTHER);
	survives("# comment\r\n" OTHER "\n\n" OTHER);
	survives("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----");
	survives("-----BEGIN CERTIFICATE-----\nno end\n");
	survives("# egress-bpf CA begin\n" OTHER); /* no end: nothing is ours */
}

static void finds_the_certificate_without_a_mark(void **state)
{
	struct bytes text = {0}, stripped = {0};
	struct span pem = bytes_span(&ca);

	(void)state;
	assert_true(bytes_append_text(&text, OTHER));
	for (size_t i = 0; i < pem.length; i++) {
		if (pem.data[i] == '\n' && !bytes_append_text(&text, "\r"))
			fail();
		assert_true(bytes_append(&text, pem.data + i, 1));
	}
	assert_true(bytes_append_text(&text, OTHER));
	assert_int_equal(provision_strip(bytes_span(&text), pem, &stripped), 0);
	assert_true(span_equal(bytes_span(&stripped), SPAN(OTHER OTHER)));
	bytes_free(&text);
	bytes_free(&stripped);
}

static void takes_the_certificate_alone(void **state)
{
	struct bytes text = {0}, got = {0};
	struct error error = {0};

	(void)state;
	assert_true(bytes_append_text(&text, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE "
					     "KEY-----\nwords\n"));
	assert_true(bytes_append(&text, bytes_span(&ca).data, ca.length));
	assert_int_equal(provision_certificate("x", bytes_span(&text), &got, &error), 0);
	assert_true(span_equal(bytes_span(&got), bytes_span(&ca)));
	assert_int_equal(provision_certificate("x", SPAN("nothing"), &got, &error), -1);
	assert_string_equal(error.text, "x: no certificate in it (PEM)");
	bytes_free(&text);
	bytes_free(&got);
}

/* ---- a root --------------------------------------------------------------------------------- */

static void in_root(const char *path, char ret[256])
{
	snprintf(ret, 256, "%s%s", root_path, path);
}

static void make_directories(const char *path)
{
	char whole[256];

	in_root(path, whole);
	for (char *at = whole + strlen(root_path) + 1; *at; at++) {
		if (*at != '/')
			continue;
		*at = '\0';
		mkdir(whole, 0755);
		*at = '/';
	}
	mkdir(whole, 0755);
}

static void write_text(const char *whole, const char *text)
{
	FILE *file = fopen(whole, "w");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void write_in_root(const char *path, const char *text)
{
	char whole[256];

	in_root(path, whole);
	write_text(whole, text);
}

static void link_in_root(const char *target, const char *path)
{
	char whole[256];

	in_root(path, whole);
	assert_int_equal(symlink(target, whole), 0);
}

static size_t read_text(const char *whole, char *ret, size_t size)
{
	FILE *file = fopen(whole, "r");
	size_t length;

	if (!file)
		return 0;
	length = fread(ret, 1, size - 1, file);
	fclose(file);
	ret[length] = '\0';
	return length;
}

static bool holds(const char *path, struct span pem)
{
	char whole[256], text[16384];
	size_t length;

	in_root(path, whole);
	length = read_text(whole, text, sizeof(text));
	return length > 0 && memmem(text, length, pem.data, pem.length);
}

static bool is_text(const char *path, const char *want)
{
	char whole[256], text[16384] = "";

	in_root(path, whole);
	read_text(whole, text, sizeof(text));
	return strcmp(text, want) == 0;
}

static int run(const struct bytes *pem, bool remove, struct provision_report *report,
	       struct error *error)
{
	struct rootfs *root;
	int result;

	*report = (struct provision_report){.lines = NULL};
	*error = (struct error){.text = ""};
	if (rootfs_open_directory(root_path, &root, error) < 0)
		fail_msg("%s", error->text);
	result = provision(root, bytes_span(pem), remove, report, error);
	rootfs_close(root);
	return result;
}

/* Returns how many files changed. */
static size_t run_good(const struct bytes *pem, bool remove)
{
	struct provision_report report;
	struct error error;
	size_t changed;

	if (run(pem, remove, &report, &error) < 0)
		fail_msg("%s", error.text);
	changed = report.changed;
	provision_report_free(&report);
	return changed;
}

static void refuses(const char *message)
{
	struct provision_report report;
	struct error error;

	assert_int_equal(run(&ca, false, &report, &error), -1);
	provision_report_free(&report);
	if (!strstr(error.text, message))
		fail_msg("\"%s\" does not say \"%s\"", error.text, message);
}

#define DEBIAN "/etc/ssl/certs/ca-certificates.crt"
#define RHEL "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"

static void debian(void **state)
{
	char hash[64], whole[256], java[16384], store[16384];
	size_t java_length;
	struct error error = {0};

	(void)state;
	make_directories("/etc/ssl/certs/java");
	make_directories("/usr/local/share/ca-certificates");
	make_directories("/usr/lib/jvm/java-17/lib/security");
	make_directories("/usr/lib/ssl");
	write_in_root(DEBIAN, OTHER);
	write_in_root("/etc/ssl/certs/java/cacerts", "old store");
	link_in_root("/etc/ssl/certs/java/cacerts", "/usr/lib/jvm/java-17/lib/security/cacerts");
	link_in_root("../../../etc/ssl/certs/ca-certificates.crt", "/usr/lib/ssl/cert.pem");
	snprintf(hash, sizeof(hash), "/etc/ssl/certs/");
	assert_int_equal(trust_hash_name(bytes_span(&ca), hash + strlen(hash), &error), 0);
	write_in_root(hash, OTHER); /* another CA of the same hash keeps its place */
	assert_int_equal(run_good(&ca, false), 5);
	assert_true(holds(DEBIAN, bytes_span(&ca)));
	assert_true(holds(DEBIAN, SPAN(OTHER)));
	assert_true(holds("/usr/local/share/ca-certificates/egress-bpf.crt", bytes_span(&ca)));
	assert_true(is_text(hash, OTHER));
	hash[strlen(hash) - 1] = '1';
	assert_true(holds(hash, bytes_span(&ca)));
	in_root("/etc/ssl/certs/java/cacerts", whole);
	java_length = read_text(whole, java, sizeof(java));
	assert_true(java_length > 100 && memcmp(java, "\xfe\xed\xfe\xed", 4) == 0);
	assert_int_equal(run_good(&ca, false), 0);
	assert_int_equal(read_text(whole, store, sizeof(store)), java_length);
	assert_memory_equal(store, java, java_length);
	/* A new CA: the old one is nowhere any more. */
	assert_int_equal(run_good(&second_ca, false), 4);
	assert_false(holds(DEBIAN, bytes_span(&ca)));
	assert_true(holds(DEBIAN, bytes_span(&second_ca)));
	assert_int_equal(run_good(&second_ca, true), 5);
	assert_true(is_text(DEBIAN, OTHER));
	assert_true(is_text("/etc/ssl/certs/java/cacerts", "old store"));
	assert_int_equal(run_good(&second_ca, true), 0);
	in_root("/usr/local/share/ca-certificates/egress-bpf.crt", whole);
	assert_int_equal(access(whole, F_OK), -1);
}

static void alpine(void **state)
{
	struct stat link;
	char whole[256];

	(void)state;
	make_directories("/etc/ssl/certs");
	make_directories("/usr/local/share/ca-certificates");
	write_in_root(DEBIAN, OTHER);
	link_in_root("certs/ca-certificates.crt", "/etc/ssl/cert.pem");
	assert_int_equal(run_good(&ca, false), 3);
	in_root("/etc/ssl/cert.pem", whole);
	assert_int_equal(lstat(whole, &link), 0);
	assert_true(S_ISLNK(link.st_mode));
	assert_true(holds("/etc/ssl/cert.pem", bytes_span(&ca)));
	assert_int_equal(run_good(&ca, true), 3);
	assert_true(is_text(DEBIAN, OTHER));
}

static void rhel(void **state)
{
	(void)state;
	make_directories("/etc/pki/ca-trust/extracted/pem");
	make_directories("/etc/pki/ca-trust/extracted/java");
	make_directories("/etc/pki/ca-trust/source/anchors");
	make_directories("/etc/pki/tls/certs");
	make_directories("/etc/pki/nssdb");
	write_in_root(RHEL, OTHER);
	write_in_root("/etc/pki/ca-trust/extracted/java/cacerts", "old");
	write_in_root("/etc/pki/nssdb/cert9.db", "SQLite");
	link_in_root(RHEL, "/etc/pki/tls/certs/ca-bundle.crt");
	assert_int_equal(run_good(&ca, false), 4);
	assert_true(holds(RHEL, bytes_span(&ca)));
	assert_true(holds("/etc/pki/ca-trust/source/anchors/egress-bpf.crt", bytes_span(&ca)));
	assert_true(is_text("/etc/pki/nssdb/cert9.db", "SQLite"));
	assert_int_equal(run_good(&ca, true), 4);
	assert_true(is_text(RHEL, OTHER));
}

static void nothing_at_all(void **state)
{
	char whole[256];

	(void)state;
	assert_int_equal(run_good(&ca, true), 0);
	assert_int_equal(run_good(&ca, false), 2); /* a bundle, and OpenSSL's directory */
	assert_true(holds(DEBIAN, bytes_span(&ca)));
	assert_int_equal(run_good(&ca, true), 2);
	in_root(DEBIAN, whole);
	assert_int_equal(access(whole, F_OK), -1);
}

/* ---- hostile roots -------------------------------------------------------------------------- */

static void links_stay_inside(void **state)
{
	char whole[256], target[400], file[300];

	(void)state;
	snprintf(file, sizeof(file), "%s/bundle", outside);
	write_text(file, OTHER);
	make_directories("/etc/ssl");
	make_directories("/usr/local/share");
	in_root("/etc/ssl/certs", whole);
	assert_int_equal(symlink(outside, whole), 0); /* means ROOT/OUTSIDE, which is not there */
	in_root("/usr/local/share/ca-certificates", whole);
	snprintf(target, sizeof(target), "../../../../../../../../..%s", outside);
	assert_int_equal(symlink(target, whole), 0);
	in_root("/etc/ssl/cert.pem", whole);
	assert_int_equal(symlink(file, whole), 0);
	in_root("/etc/ssl/ca-bundle.pem", whole);
	snprintf(target, sizeof(target), "/proc/self/root%s", file);
	assert_int_equal(symlink(target, whole), 0);
	refuses("cannot be made");
	assert_int_equal(read_text(file, target, sizeof(target)), strlen(OTHER));
	snprintf(file, sizeof(file), "%s/egress-bpf.crt", outside);
	assert_int_equal(access(file, F_OK), -1);
}

static void hard_links_keep_their_content(void **state)
{
	char whole[256], file[300], text[512];

	(void)state;
	snprintf(file, sizeof(file), "%s/bundle", outside);
	write_text(file, OTHER);
	make_directories("/etc/ssl/certs");
	in_root(DEBIAN, whole);
	assert_int_equal(link(file, whole), 0);
	run_good(&ca, false);
	assert_true(holds(DEBIAN, bytes_span(&ca)));
	read_text(file, text, sizeof(text));
	assert_string_equal(text, OTHER);
}

static void special_files(void **state)
{
	char whole[256];

	(void)state;
	make_directories("/etc/ssl/certs");
	in_root(DEBIAN, whole);
	assert_int_equal(mkfifo(whole, 0666), 0);
	refuses("not a regular file");
	unlink(whole);
	make_directories(DEBIAN);
	refuses("not a regular file");
	rmdir(whole);
	assert_int_equal(symlink("/etc/ssl/certs/ca-certificates.crt", whole), 0);
	refuses("Too many levels of symbolic links");
	unlink(whole);
	assert_int_equal(symlink("..", whole), 0);
	refuses(DEBIAN);
}

/* The last file cannot be written: those before it are as they were. */
static void all_or_nothing(void **state)
{
	char whole[256];

	(void)state;
	make_directories("/etc/ssl/certs");
	make_directories("/usr/local/share/ca-certificates/egress-bpf.crt");
	write_in_root(DEBIAN, OTHER);
	refuses("egress-bpf.crt in the bottle is not a regular file");
	assert_true(is_text(DEBIAN, OTHER));
	in_root("/usr/local/share/ca-certificates/egress-bpf.crt", whole);
	rmdir(whole);
	{
		struct rootfs *root;
		struct rootfs_file *files[2];
		struct error error = {0};

		assert_int_equal(rootfs_open_directory(root_path, &root, &error), 0);
		assert_int_equal(rootfs_file_open(root, DEBIAN, &files[0], &error), 0);
		make_directories("/etc/x");
		assert_int_equal(rootfs_file_open(root, "/etc/x/y", &files[1], &error), 0);
		in_root("/etc/x", whole);
		assert_int_equal(rmdir(whole), 0);
		for (int i = 0; i < 2; i++) {
			files[i]->action = ROOTFS_WRITE;
			assert_true(bytes_append_text(&files[i]->after, "new"));
		}
		assert_int_equal(rootfs_apply(files, 2, &error), -1);
		assert_non_null(strstr(error.text, "/etc/x/y in the bottle: "));
		assert_true(is_text(DEBIAN, OTHER));
		rootfs_file_free(files[0]);
		rootfs_file_free(files[1]);
		rootfs_close(root);
	}
}

static void keeps_mode(void **state)
{
	struct stat st;
	char whole[256];

	(void)state;
	make_directories("/etc/ssl/certs");
	write_in_root(DEBIAN, OTHER);
	in_root(DEBIAN, whole);
	assert_int_equal(chmod(whole, 04640), 0);
	run_good(&ca, false);
	assert_int_equal(stat(whole, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
}

static void not_the_hosts(void **state)
{
	struct rootfs *root;
	struct error error = {0};

	(void)state;
	assert_int_equal(rootfs_open_directory("/", &root, &error), -1);
	assert_non_null(strstr(error.text, "the host's own"));
}

/* ---- frame ---------------------------------------------------------------------------------- */

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	(void)st, (void)kind, (void)at;
	return remove(path);
}

static int make_root(void **state)
{
	(void)state;
	snprintf(root_path, sizeof(root_path), "%s/root", top);
	snprintf(outside, sizeof(outside), "%s/outside", top);
	return mkdir(root_path, 0755) == 0 && mkdir(outside, 0755) == 0 ? 0 : -1;
}

static int remove_root(void **state)
{
	(void)state;
	return nftw(root_path, remove_entry, 8, FTW_DEPTH | FTW_PHYS) == 0 &&
			       nftw(outside, remove_entry, 8, FTW_DEPTH | FTW_PHYS) == 0
		       ? 0
		       : -1;
}

static int make_ca(struct bytes *ret)
{
	struct cert_authority *authority = NULL;
	struct error error = {0};
	int result = cert_authority_new("egress-bpf test", &authority, &error);

	if (result == 0)
		result = cert_authority_pem(authority, ret);
	cert_authority_free(authority);
	return result;
}

static int make_all(void **state)
{
	(void)state;
	return mkdtemp(top) && make_ca(&ca) == 0 && make_ca(&second_ca) == 0 ? 0 : -1;
}

static int remove_all(void **state)
{
	(void)state;
	bytes_free(&ca);
	bytes_free(&second_ca);
	return rmdir(top);
}

#define IN_ROOT(test) cmocka_unit_test_setup_teardown(test, make_root, remove_root)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(texts_survive),
		cmocka_unit_test(finds_the_certificate_without_a_mark),
		cmocka_unit_test(takes_the_certificate_alone),
		IN_ROOT(debian),
		IN_ROOT(alpine),
		IN_ROOT(rhel),
		IN_ROOT(nothing_at_all),
		IN_ROOT(links_stay_inside),
		IN_ROOT(hard_links_keep_their_content),
		IN_ROOT(special_files),
		IN_ROOT(all_or_nothing),
		IN_ROOT(keeps_mode),
		IN_ROOT(not_the_hosts),
	};

	return cmocka_run_group_tests_name("provision", tests, make_all, remove_all);
}
