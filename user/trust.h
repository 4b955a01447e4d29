/* SPDX-License-Identifier: BSD-2-Clause */
/* What a sandbox needs to trust our CA: the system's roots with ours added, as PEM and as a Java
 * key store, and where programs look for them. Mounts nothing. */
#ifndef TRUST_H
#define TRUST_H

#include <stddef.h>

#include "attributes.h"
#include "bytes.h"
#include "diag.h"

/* Paths without duplicates; zero-initialised is empty. */
struct trust_paths {
	char **items;
	size_t count;
};
/* Leaves it empty; also after zero-initialising only. */
void trust_paths_free(struct trust_paths *paths);

/* Where systems keep their roots as one PEM file, in the order in which one of them is looked for: an
 * initialiser for const char *[]. */
#define TRUST_BUNDLES                                                                              \
	"/etc/ssl/certs/ca-certificates.crt",		     /* Debian, Alpine, Arch, Gentoo */    \
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", /* RHEL 7 and later, Fedora */        \
	"/etc/pki/tls/certs/ca-bundle.crt",		     /* RHEL; a link to it since 7 */      \
	"/etc/ssl/ca-bundle.pem",			     /* SUSE */                            \
	"/var/lib/ca-certificates/ca-bundle.pem",	     /* SUSE; what that leads to */        \
	"/etc/ssl/cert.pem",				     /* Alpine; LibreSSL */                \
	"/usr/lib/ssl/cert.pem" /* OpenSSL's own default on Debian */
/* And Java's key store, as such an initialiser: Debian, RHEL, what RHEL's is a link to. */
#define TRUST_JAVA_STORES                                                                          \
	"/etc/ssl/certs/java/cacerts", "/etc/pki/java/cacerts",                                    \
		"/etc/pki/ca-trust/extracted/java/cacerts"

/* The real paths of the PEM bundles that this system has (Debian, RHEL, Alpine, SUSE). The first is
 * the one to take the system's roots from. */
int trust_find_bundles(struct trust_paths *ret, struct error *error) WARN_UNUSED;
/* The real paths of Java's key stores: the system's, each JVM's under /usr/lib/jvm, the one of
 * `java_home` (may be NULL) and of the java in `search_path` ($PATH, may be NULL). */
int trust_find_java(const char *java_home, const char *search_path, struct trust_paths *ret,
		    struct error *error) WARN_UNUSED;

/* Appends the file's content (nothing when `path` is NULL) and then `ca_pem`. */
int trust_merge(const char *path, struct span ca_pem, struct bytes *ret, struct error *error)
	WARN_UNUSED;

/* The name under which OpenSSL looks for the certificate in a directory: "HASH.0". */
int trust_hash_name(struct span ca_pem, char ret_name[16], struct error *error) WARN_UNUSED;

/* Appends a key store ("JKS", password "changeit") with every certificate of a PEM text. Blocks
 * that are not certificates are skipped. -1 also when there is no certificate at all. */
int trust_jks(struct span pem, struct bytes *ret, struct error *error) WARN_UNUSED;

#endif
