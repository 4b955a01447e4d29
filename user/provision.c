// SPDX-License-Identifier: BSD-2-Clause
/* Which files of a bottle's file system hold its trust, and what each shall hold. Everything is
 * read and settled first, then written by rootfs.c in one go: all or nothing. */
#include "provision.h"

#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "provision_nss.h"
#include "trust.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
/* Far more stores than an image has; the names in its directories are the bottle's choice. */
#define MAX_FILES 256
#define MAX_NAMES 4096
#define MAX_HOMES 32 /* each database takes certutil a second */
#define BACKUP ".before-egress-bpf"
#define HASH_DIRECTORY "/etc/ssl/certs"
#define DEFAULT_BUNDLE "/etc/ssl/certs/ca-certificates.crt"

static const char *const bundles[] = {TRUST_BUNDLES};

/* Where the system's own tool takes local CAs from, when it makes the bundles anew. p11-kit reads
 * RHEL's by itself, and NSS there reads p11-kit. */
static const char *const anchors[] = {
	"/usr/local/share/ca-certificates/egress-bpf.crt",	 /* Debian, Alpine */
	"/etc/pki/ca-trust/source/anchors/egress-bpf.crt",	 /* RHEL, Fedora */
	"/etc/pki/trust/anchors/egress-bpf.crt",		 /* SUSE */
	"/etc/ca-certificates/trust-source/anchors/egress-bpf.crt", /* Arch */
};

static const char *const java_stores[] = {
	TRUST_JAVA_STORES,
	"/opt/java/openjdk/lib/security/cacerts", /* Eclipse Temurin's images */
};

struct work {
	const struct rootfs *root;
	struct span ca_pem;
	struct bytes ca_der;
	bool remove;
	struct rootfs_file *files[MAX_FILES];
	size_t count;
	const struct rootfs_file *bundle; /* the first there is */
	struct provision_report *report;
	struct error *error;
};

void provision_report_free(struct provision_report *report)
{
	rootfs_names_free(report->lines, report->count);
	*report = (struct provision_report){.lines = NULL};
}

/* A path of our own tables or of the bottle's directories; whoever prints it makes it harmless. */
static int note(struct work *w, const char *path, const char *text)
{
	struct provision_report *report = w->report;
	char **lines = reallocarray(report->lines, report->count + 1, sizeof(*lines));

	if (!lines)
		return error_set(w->error, "out of memory");
	report->lines = lines;
	if (asprintf(&lines[report->count], "%s: %s", path, text) < 0)
		return error_set(w->error, "out of memory");
	report->count++;
	return 0;
}

/* ---- files ---------------------------------------------------------------------------------- */

/* Adds the file to those that change. 1, and no file, when it is not there or known already;
 * `missing` says that it may be made. */
static int take(struct work *w, const char *path, bool missing, struct rootfs_file **ret)
{
	struct rootfs_file *file;
	int result = rootfs_file_open(w->root, path, &file, w->error);

	if (result != 0)
		return result;
	for (size_t i = 0; result == 0 && i < w->count; i++) {
		if (rootfs_file_same(w->files[i], file))
			result = 1;
	}
	if (!file->exists && !missing)
		result = 1;
	if (result == 0 && w->count == MAX_FILES)
		result = error_set(w->error, "more than %d stores in the bottle", MAX_FILES);
	if (result != 0) {
		rootfs_file_free(file);
		return result;
	}
	w->files[w->count++] = *ret = file;
	return 0;
}

/* Settles what the file shall hold, moved out of `content`; empty: it shall not be. */
static int settle(struct work *w, struct rootfs_file *file, struct bytes *content)
{
	const char *did = "as it should be";

	file->after = *content;
	*content = (struct bytes){.data = NULL};
	if (file->after.length == 0)
		file->action = file->exists ? ROOTFS_REMOVE : ROOTFS_KEEP;
	else if (!file->exists || !span_equal(bytes_span(&file->before), bytes_span(&file->after)))
		file->action = ROOTFS_WRITE;
	if (file->action == ROOTFS_KEEP)
		return w->remove ? 0 : note(w, file->path, did);
	w->report->changed++;
	return note(w, file->path, w->remove ? "taken out" : "put in");
}

static int settle_bundle(struct work *w, struct rootfs_file *file)
{
	struct bytes stripped = {0}, content = {0};
	int result = provision_strip(bytes_span(&file->before), w->ca_pem, &stripped);

	if (result == 0 && !w->remove)
		result = provision_join(bytes_span(&stripped), w->ca_pem, &content);
	else if (result == 0)
		result = bytes_append(&content, bytes_span(&stripped).data, stripped.length) ? 0 : -1;
	if (result < 0)
		result = error_set(w->error, "out of memory");
	/* A bundle that was empty before us stays; one of ours alone goes. */
	else if (file->exists && file->before.length == 0 && w->remove)
		file->action = ROOTFS_KEEP;
	else
		result = settle(w, file, &content);
	bytes_free(&stripped);
	bytes_free(&content);
	return result;
}

static int do_bundles(struct work *w)
{
	struct rootfs_file *file;
	int result;

	for (size_t i = 0; i < COUNT(bundles); i++) {
		result = take(w, bundles[i], false, &file);
		if (result < 0 || (result == 0 && settle_bundle(w, file) < 0))
			return -1;
		if (result == 0 && !w->bundle)
			w->bundle = file;
	}
	if (w->bundle || w->remove)
		return 0;
	/* No roots at all: ours is then the only one that programs can use. */
	if (rootfs_make_directory(w->root, HASH_DIRECTORY, w->error) < 0 ||
	    take(w, DEFAULT_BUNDLE, true, &file) != 0)
		return error_set(w->error, "%s in the bottle cannot be made", DEFAULT_BUNDLE);
	w->bundle = file;
	return settle_bundle(w, file);
}

/* A file of ours alone. */
static int settle_own(struct work *w, struct rootfs_file *file)
{
	struct bytes content = {0};

	if (!w->remove && provision_join(SPAN(""), w->ca_pem, &content) < 0)
		return error_set(w->error, "out of memory");
	return settle(w, file, &content);
}

/* Made even when the bundle has been changed: the system's own tool would write it anew without
 * us. */
static int do_anchors(struct work *w)
{
	struct rootfs_file *file;
	int result;

	for (size_t i = 0; i < COUNT(anchors); i++) {
		result = take(w, anchors[i], !w->remove, &file);
		if (result < 0 || (result == 0 && settle_own(w, file) < 0))
			return -1;
	}
	return 0;
}

/* ---- OpenSSL's directory -------------------------------------------------------------------- */

/* "HASH.N", as c_rehash(1) names them. */
static bool is_hash_name(const char *name)
{
	return strlen(name) == 10 && strspn(name, "0123456789abcdef") == 8 && name[8] == '.' &&
	       name[9] >= '0' && name[9] <= '9';
}

/* Files of ours, of whatever CA, are dropped, but for the one that is to stay. */
static int drop_old_hashes(struct work *w, const char *wanted)
{
	struct bytes nothing = {0};
	struct rootfs_file *file;
	char **names, path[PATH_MAX];
	size_t count;
	int result = rootfs_list(w->root, HASH_DIRECTORY, MAX_NAMES, &names, &count, w->error);

	if (result < 0)
		return -1;
	for (size_t i = 0; result >= 0 && i < count; i++) {
		if (!is_hash_name(names[i]) || strcmp(names[i], wanted) == 0)
			continue;
		snprintf(path, sizeof(path), HASH_DIRECTORY "/%s", names[i]);
		/* What cannot be read is not ours. */
		if (rootfs_file_open(w->root, path, &file, NULL) != 0)
			continue;
		if (w->count < MAX_FILES && strcmp(file->name, names[i]) == 0 &&
		    provision_is_ours(bytes_span(&file->before))) {
			w->files[w->count++] = file;
			result = settle(w, file, &nothing);
		} else {
			rootfs_file_free(file);
		}
	}
	rootfs_names_free(names, count);
	return result < 0 ? -1 : 0;
}

/* The first number whose file is free or ours: HASH.0, unless another CA has the same hash. */
static int do_hash(struct work *w)
{
	char name[16], path[64];
	struct rootfs_file *file;
	int result = 1;

	if (!rootfs_has(w->root, HASH_DIRECTORY))
		return 0;
	if (trust_hash_name(w->ca_pem, name, w->error) < 0)
		return -1;
	for (int i = 0; !w->remove && result != 0 && i < 10; i++) {
		name[9] = (char)('0' + i);
		snprintf(path, sizeof(path), HASH_DIRECTORY "/%s", name);
		result = rootfs_file_open(w->root, path, &file, w->error);
		if (result < 0)
			return -1;
		if (result == 0 && (strcmp(file->name, name) != 0 ||
				    (file->exists && !provision_is_ours(bytes_span(&file->before))))) {
			rootfs_file_free(file);
			result = 1;
		}
	}
	if (!w->remove && result == 0) {
		/* MAX_FILES is far: only our own tables came before. */
		w->files[w->count++] = file;
		if (settle_own(w, file) < 0)
			return -1;
	}
	return drop_old_hashes(w, !w->remove && result == 0 ? name : "");
}

/* ---- Java ----------------------------------------------------------------------------------- */

/* What to look for in a key store that we cannot parse. */
static int find_der(struct work *w)
{
	BIO *bio = BIO_new_mem_buf(w->ca_pem.data, (int)w->ca_pem.length);
	X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	unsigned char *der = NULL;
	int length = certificate ? i2d_X509(certificate, &der) : -1;
	bool done = length > 0 && bytes_append(&w->ca_der, der, (size_t)length);

	OPENSSL_free(der);
	X509_free(certificate);
	BIO_free(bio);
	return done ? 0 : error_set(w->error, "out of memory");
}

/* The store as the bundle has it; the old one is kept beside it, for --remove. */
static int rebuild_store(struct work *w, struct rootfs_file *store, struct rootfs_file *backup)
{
	struct bytes content = {0}, old = {0};
	int result;

	if (memmem(bytes_span(&store->before).data, store->before.length, w->ca_der.data,
		   w->ca_der.length)) {
		store->action = ROOTFS_KEEP;
		return note(w, store->path, "as it should be");
	}
	result = trust_jks(bytes_span(&w->bundle->after), &content, w->error);
	if (result == 0 && !backup->exists) {
		if (!bytes_append(&old, bytes_span(&store->before).data, store->before.length))
			result = error_set(w->error, "out of memory");
		else
			result = settle(w, backup, &old);
	}
	if (result == 0)
		result = settle(w, store, &content);
	bytes_free(&content);
	bytes_free(&old);
	return result;
}

/* Without a backup it is not ours to change. */
static int restore_store(struct work *w, struct rootfs_file *store, struct rootfs_file *backup)
{
	struct bytes content = {0}, nothing = {0};

	if (!backup->exists)
		return 0;
	if (!bytes_append(&content, bytes_span(&backup->before).data, backup->before.length))
		return error_set(w->error, "out of memory");
	return settle(w, store, &content) < 0 ? -1 : settle(w, backup, &nothing);
}

static int do_store(struct work *w, const char *path)
{
	struct rootfs_file *store, *backup;
	int result = take(w, path, false, &store);

	if (result != 0)
		return result < 0 ? -1 : 0;
	if (rootfs_file_beside(store, BACKUP, &backup, w->error) < 0)
		return -1;
	if (w->count == MAX_FILES) {
		rootfs_file_free(backup);
		return error_set(w->error, "more than %d stores in the bottle", MAX_FILES);
	}
	/* Made before and taken away after the store changes: were we killed between, it would be
	 * there. */
	w->files[w->count++] = backup;
	if (!w->remove) {
		w->files[w->count - 1] = store;
		w->files[w->count - 2] = backup;
	}
	return w->remove ? restore_store(w, store, backup) : rebuild_store(w, store, backup);
}

/* The bundle is settled by now: a store is made from it. */
static int do_java(struct work *w)
{
	static const char *const places[] = {"lib/security", "jre/lib/security"};
	char **names, path[PATH_MAX];
	size_t count;
	int result = find_der(w);

	for (size_t i = 0; result == 0 && i < COUNT(java_stores); i++)
		result = do_store(w, java_stores[i]);
	if (result < 0 || rootfs_list(w->root, "/usr/lib/jvm", 32, &names, &count, w->error) < 0)
		return -1;
	for (size_t i = 0; i < count; i++) {
		for (size_t k = 0; result == 0 && k < COUNT(places); k++) {
			snprintf(path, sizeof(path), "/usr/lib/jvm/%s/%s/cacerts", names[i],
				 places[k]);
			result = do_store(w, path);
		}
	}
	rootfs_names_free(names, count);
	return result;
}

/* ---- NSS ------------------------------------------------------------------------------------ */

/* What stays as it is for want of a tool or a password does not keep the rest from being done. */
static int note_missed(struct work *w, const char *path, const char *why)
{
	char text[sizeof(struct error) + 128];

	w->report->missed++;
	snprintf(text, sizeof(text), "an NSS database, not changed (%s): inside, run certutil -A -t C,, "
				     "-n egress-bpf -d sql:DIRECTORY -i CERTIFICATE", why);
	return note(w, path, text);
}

/* SQLite in the hands of the bottle is nothing to open as root: see provision_nss.c. */
static int change_database(struct work *w, struct rootfs_file *database, struct rootfs_file *keys)
{
	struct provision_nss job = {.certificates = bytes_span(&database->before),
				    .ca_pem = w->ca_pem,
				    .ca_der = bytes_span(&w->ca_der),
				    .remove = w->remove};
	struct bytes certificates = {0}, key_content = {0};
	struct error problem = {0};
	int result;

	if (keys)
		job.keys = bytes_span(&keys->before);
	result = provision_nss_change(&job, &certificates, &key_content, &problem);
	if (result < 0)
		result = note_missed(w, database->path, problem.text);
	else if (result == 0)
		result = w->remove ? 0 : note(w, database->path, "as it should be");
	else if (keys && key_content.length > 0 &&
		 !span_equal(bytes_span(&key_content), job.keys) && settle(w, keys, &key_content) < 0)
		result = -1;
	else
		result = settle(w, database, &certificates);
	bytes_free(&certificates);
	/* The bottle's own private keys may be in it. */
	bytes_wipe(&key_content);
	return result;
}

static int do_database(struct work *w, const char *directory)
{
	struct rootfs_file *database, *keys = NULL;
	char path[PATH_MAX];
	int result;

	if (snprintf(path, sizeof(path), "%s/cert9.db", directory) >= (int)sizeof(path))
		return 0;
	result = take(w, path, false, &database);
	if (result != 0)
		return result < 0 ? -1 : 0;
	if (!provision_nss_usable())
		return w->remove ? 0 : note_missed(w, path, "needs root, and certutil on this machine: "
							     "libnss3-tools or nss-tools");
	snprintf(path, sizeof(path), "%.4000s/key4.db", directory);
	result = take(w, path, false, &keys);
	return result < 0 ? -1 : change_database(w, database, result == 0 ? keys : NULL);
}

/* What a browser keeps below a home; Firefox has a directory for each profile. */
static int do_home(struct work *w, const char *home)
{
	char **names, path[PATH_MAX];
	size_t count;
	int result;

	snprintf(path, sizeof(path), "%.4000s/.pki/nssdb", home);
	result = do_database(w, path);
	snprintf(path, sizeof(path), "%.4000s/.mozilla/firefox", home);
	if (result < 0 || rootfs_list(w->root, path, 16, &names, &count, w->error) < 0)
		return -1;
	for (size_t i = 0; result == 0 && i < count; i++) {
		snprintf(path, sizeof(path), "%.3000s/.mozilla/firefox/%s", home, names[i]);
		result = do_database(w, path);
	}
	rootfs_names_free(names, count);
	return result;
}

static int do_nss(struct work *w)
{
	char **names, path[PATH_MAX];
	size_t count;
	int result = do_database(w, "/etc/pki/nssdb");

	if (result == 0)
		result = do_home(w, "/root");
	if (result < 0 || rootfs_list(w->root, "/home", MAX_HOMES, &names, &count, w->error) < 0)
		return -1;
	for (size_t i = 0; result == 0 && i < count; i++) {
		snprintf(path, sizeof(path), "/home/%s", names[i]);
		result = do_home(w, path);
	}
	rootfs_names_free(names, count);
	return result;
}

/* ---- all ------------------------------------------------------------------------------------ */

/* Files are freed here whatever happened; the report keeps what was said. */
int provision(const struct rootfs *root, struct span ca_pem, bool remove,
	      struct provision_report *report, struct error *error)
{
	struct work w = {.root = root,
			 .ca_pem = ca_pem,
			 .remove = remove,
			 .report = report,
			 .error = error};
	int result = -1;

	if (do_bundles(&w) == 0 && do_anchors(&w) == 0 && do_hash(&w) == 0 && do_java(&w) == 0 &&
	    do_nss(&w) == 0)
		result = rootfs_apply(w.files, w.count, error);
	for (size_t i = 0; i < w.count; i++)
		rootfs_file_free(w.files[i]);
	bytes_free(&w.ca_der);
	return result;
}
