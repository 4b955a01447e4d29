// SPDX-License-Identifier: BSD-2-Clause
/* Secrets from the environment and from files, and the blob that carries them to the worker. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Supervisor and worker are the same binary; this is for a mistake, not for compatibility. */
#define PACK_MAGIC 0x45475032u /* "EGP2" */
#define PACK_MAX_ITEMS 1000000

/* ---- loading --------------------------------------------------------------------------------- */

/* `key` names the file in messages. Certificates, which are `public`, may be anybody's to read.
 * Group-readable is usual for mounted secrets; everybody's is a mistake worth stopping for. The
 * size is checked again while reading: it may grow. */
static int check_file(int fd, const char *key, const char *path, bool public, struct error *error)
{
	struct stat status;

	if (fstat(fd, &status) < 0)
		return error_set(error, "%s %s: %s", key, path, strerror(errno));
	if (!S_ISREG(status.st_mode))
		return error_set(error, "%s %s is not a regular file", key, path);
	if (!public && (status.st_mode & S_IROTH))
		return error_set(error,
				 "%s %s can be read by everybody on this machine (mode %04o); "
				 "would be right: chmod o-r",
				 key, path, (unsigned)status.st_mode & 07777);
	if (status.st_size > POLICY_SECRET_SIZE)
		return error_set(error, "%s %s is larger than 64 KiB", key, path);
	return 0;
}

/* Appends the file's content; O_NONBLOCK because a FIFO must not hang us before we look at it. */
static int read_small_file(const char *key, const char *path, bool public, struct bytes *ret,
			   struct error *error)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), result = -1;
	ssize_t got = 1;

	if (fd < 0)
		return error_set(error, "%s %s: %s", key, path, strerror(errno));
	if (check_file(fd, key, path, public, error) < 0)
		goto out;
	while (got > 0 && ret->length <= POLICY_SECRET_SIZE) {
		/* For the most that there can be: growing would leave copies of the secret
		 * behind. */
		char *room = bytes_reserve(ret, POLICY_SECRET_SIZE + 1 - ret->length);

		got = room ? read(fd, room, POLICY_SECRET_SIZE + 1 - ret->length) : -1;
		if (got > 0)
			bytes_added(ret, (size_t)got);
	}
	if (got < 0)
		error_set(error, "%s %s: %s", key, path, strerror(errno));
	else if (ret->length > POLICY_SECRET_SIZE)
		error_set(error, "%s %s is larger than 64 KiB", key, path);
	else
		result = 0;
out:
	close(fd);
	return result;
}

/* An editor's or echo's last line break is not part of the secret. */
static struct span trim_line_end(struct span text)
{
	if (text.length > 0 && text.data[text.length - 1] == '\n')
		text.length--;
	if (text.length > 0 && text.data[text.length - 1] == '\r')
		text.length--;
	return text;
}

/* Unset is said here, empty by policy_check_secret(): different mistakes. */
static int load_from_environment(const struct policy_secret *secret, struct bytes *ret,
				 struct error *error)
{
	const char *value = getenv(secret->source);

	if (!value)
		return error_set(error,
				 "token_env: the variable %s is not set; would be right: %s=SECRET in "
				 "the environment that starts egress-bpf (sudo --preserve-env=%s)",
				 secret->source, secret->source, secret->source);
	return bytes_append_text(ret, value) ? 0 : error_set(error, "out of memory");
}

/* The name comes from the policy, and must not lead out of the directory. */
static int load_from_directory(const struct policy_secret *secret, const char *directory,
			       struct bytes *ret, struct error *error)
{
	const char *name = secret->source;
	char path[PATH_MAX];

	if (!*name || *name == '.' || strchr(name, '/'))
		return error_set(error, "token_env: '%s' cannot be a file of %s", name, directory);
	if (snprintf(path, sizeof(path), "%s/%s", directory, name) >= (int)sizeof(path))
		return error_set(error, "token_env: %s/%s is too long a path", directory, name);
	return read_small_file("token_env", path, false, ret, error);
}

/* `directory` stands for the environment; NULL: it does not. */
static int read_secret(const struct policy_secret *secret, const char *directory, struct bytes *ret,
		       struct error *error)
{
	if (secret->kind == POLICY_SECRET_FILE)
		return read_small_file("token_file", secret->source, false, ret, error);
	if (directory)
		return load_from_directory(secret, directory, ret, error);
	return load_from_environment(secret, ret, error);
}

typedef int (*set_secret_fn)(struct config *config, size_t index, struct span value,
			     struct error *error);

/* The buffer is wiped whatever comes. A variable is taken as it is: who sets one sees what is in
 * it. */
static bool load_secret(struct config *config, const struct policy_secret *secret, size_t index,
			set_secret_fn set, const char *directory, struct diag_list *errors)
{
	bool by_file = directory || secret->kind == POLICY_SECRET_FILE;
	struct bytes content = {0};
	struct error error = {0};
	struct span value;
	int result = read_secret(secret, directory, &content, &error);

	if (result == 0) {
		value = bytes_span(&content);
		result = set(config, index, by_file ? trim_line_end(value) : value, &error);
	}
	bytes_wipe(&content);
	if (result < 0)
		diag_list_add_error(errors, secret->file, secret->line, &error);
	return result == 0;
}

static int set_route_secret(struct config *config, size_t index, struct span value,
			    struct error *error)
{
	return policy_set_secret(config->policy, index, value, error);
}

static int set_proxy_password(struct config *config, size_t index, struct span value,
			      struct error *error)
{
	struct policy_secret *secret = &config->upstream.proxy_password;

	(void)index;
	if (policy_check_secret(secret, value, error) < 0)
		return -1;
	secret->value = span_copy(value);
	return secret->value ? 0 : error_set(error, "out of memory");
}

/* Both files before either is used: half a pair is not kept. */
static bool load_client(struct config *config, size_t index, struct diag_list *errors)
{
	const struct policy_client *client = policy_client_at(config->policy, index);
	struct bytes certificate = {0}, key = {0};
	struct client_cert *cert = NULL;
	struct error error = {0};

	if (read_small_file("client_cert", client->certificate, true, &certificate, &error) == 0 &&
	    read_small_file("client_key", client->key.source, false, &key, &error) == 0 &&
	    client_cert_new(bytes_span(&certificate), bytes_span(&key), &cert, &error) == 0)
		policy_set_client(config->policy, index, cert);
	else
		diag_list_add_error(errors, client->key.file, client->key.line, &error);
	bytes_free(&certificate);
	bytes_wipe(&key);
	return cert;
}

/* Goes on after a failure, so that all that is missing is named at once. */
bool config_load_secrets_from(struct config *config, const char *directory,
			      struct diag_list *errors)
{
	const struct policy_secret *password = &config->upstream.proxy_password;
	bool loaded = true;

	for (size_t i = 0; i < policy_secret_count(config->policy); i++)
		loaded &= load_secret(config, policy_secret_at(config->policy, i), i,
				      set_route_secret, directory, errors);
	if (password->source)
		loaded &= load_secret(config, password, 0, set_proxy_password, directory, errors);
	for (size_t i = 0; i < policy_client_count(config->policy); i++)
		loaded &= load_client(config, i, errors);
	return loaded;
}

bool config_load_secrets(struct config *config, struct diag_list *errors)
{
	return config_load_secrets_from(config, NULL, errors);
}

static bool same_source(const struct policy_secret *a, const struct policy_secret *b)
{
	return a->kind == b->kind && strcmp(a->source, b->source) == 0;
}

static bool copy_secret(struct config *config, size_t index, const struct config *from)
{
	const struct policy_secret *secret = policy_secret_at(config->policy, index);

	for (size_t i = 0; i < policy_secret_count(from->policy); i++) {
		const struct policy_secret *known = policy_secret_at(from->policy, i);

		if (known->value && same_source(known, secret))
			return policy_set_secret(config->policy, index, span_from(known->value), NULL) == 0;
	}
	return false;
}

static bool copy_client(struct config *config, size_t index, const struct config *from)
{
	const struct policy_client *client = policy_client_at(config->policy, index);

	for (size_t i = 0; i < policy_client_count(from->policy); i++) {
		const struct policy_client *known = policy_client_at(from->policy, i);

		if (!known->loaded || strcmp(known->certificate, client->certificate) != 0 ||
		    !same_source(&known->key, &client->key))
			continue;
		policy_set_client(config->policy, index, client_cert_ref(known->loaded));
		return true;
	}
	return false;
}

bool config_copy_secrets(struct config *config, const struct config *from)
{
	const struct policy_secret *password = &config->upstream.proxy_password;
	const struct policy_secret *known = &from->upstream.proxy_password;
	bool copied = true;

	for (size_t i = 0; i < policy_secret_count(config->policy); i++)
		copied &= copy_secret(config, i, from);
	for (size_t i = 0; i < policy_client_count(config->policy); i++)
		copied &= copy_client(config, i, from);
	if (!password->source)
		return copied;
	return copied && known->source && known->value && same_source(known, password) &&
	       set_proxy_password(config, 0, span_from(known->value), NULL) == 0;
}

size_t config_secret_count(const struct config *config)
{
	return policy_secret_count(config->policy) + policy_client_count(config->policy) +
	       (config->upstream.proxy_password.source ? 1 : 0);
}

const struct policy_secret *config_secret_at(const struct config *config, size_t index)
{
	size_t secrets = policy_secret_count(config->policy);
	size_t clients = policy_client_count(config->policy);

	if (index < secrets)
		return policy_secret_at(config->policy, index);
	return index < secrets + clients
		       ? &policy_client_at(config->policy, index - secrets)->key
		       : &config->upstream.proxy_password;
}

/* ---- the blob: magic, sources (name, text), secrets of routes, the proxy's password,
 * certificates and keys ------------------------------------------------------------------------ */

static bool pack_number(struct bytes *blob, uint32_t number)
{
	return bytes_append(blob, &number, sizeof(number));
}

static bool pack_text(struct bytes *blob, struct span text)
{
	return text.length <= UINT32_MAX && pack_number(blob, (uint32_t)text.length) &&
	       bytes_append(blob, text.data, text.length);
}

static bool pack_sources(const struct config_source *sources, size_t count, struct bytes *blob)
{
	if (!pack_number(blob, PACK_MAGIC) || !pack_number(blob, (uint32_t)count))
		return false;
	for (size_t i = 0; i < count; i++) {
		if (!pack_text(blob, span_from(sources[i].name)) ||
		    !pack_text(blob, sources[i].text))
			return false;
	}
	return true;
}

/* A secret that is missing fails the whole: the worker must not start with a route that cannot
 * authenticate. */
static bool pack_all(const struct config_source *sources, size_t count,
		     const struct config *config, struct bytes *blob)
{
	const struct policy_secret *password = &config->upstream.proxy_password;
	size_t secrets = policy_secret_count(config->policy);

	if (!pack_sources(sources, count, blob) || !pack_number(blob, (uint32_t)secrets))
		return false;
	for (size_t i = 0; i < secrets; i++) {
		const struct policy_secret *secret = policy_secret_at(config->policy, i);

		if (!secret->value || !pack_text(blob, span_from(secret->value)))
			return false;
	}
	if (password->source &&
	    (!password->value || !pack_text(blob, span_from(password->value))))
		return false;
	for (size_t i = 0; i < policy_client_count(config->policy); i++) {
		const struct client_cert *cert = policy_client_at(config->policy, i)->loaded;

		if (!cert || !pack_text(blob, client_cert_certificate(cert)) ||
		    !pack_text(blob, client_cert_key(cert)))
			return false;
	}
	return true;
}

static size_t packed_sources_size(const struct config_source *sources, size_t count)
{
	size_t size = 2 * sizeof(uint32_t);

	for (size_t i = 0; i < count; i++)
		size += 2 * sizeof(uint32_t) + strlen(sources[i].name) + sources[i].text.length;
	return size;
}

/* How much pack_all() writes. Reserving it at once leaves no copies of secrets behind in blocks
 * that the growing buffer gave up. */
static size_t packed_size(const struct config_source *sources, size_t count,
			  const struct config *config)
{
	const char *password = config->upstream.proxy_password.value;
	size_t size = packed_sources_size(sources, count) + 2 * sizeof(uint32_t) +
		      (password ? strlen(password) : 0);

	for (size_t i = 0; i < policy_secret_count(config->policy); i++) {
		const char *value = policy_secret_at(config->policy, i)->value;

		size += sizeof(uint32_t) + (value ? strlen(value) : 0);
	}
	for (size_t i = 0; i < policy_client_count(config->policy); i++) {
		const struct client_cert *cert = policy_client_at(config->policy, i)->loaded;

		if (cert)
			size += 2 * sizeof(uint32_t) + client_cert_certificate(cert).length +
				client_cert_key(cert).length;
	}
	return size;
}

bool config_pack(const struct config_source *sources, size_t count, const struct config *config,
		 struct bytes *ret_blob)
{
	struct bytes blob = {0};

	if (!bytes_reserve(&blob, packed_size(sources, count, config)) ||
	    !pack_all(sources, count, config, &blob)) {
		bytes_wipe(&blob);
		return false;
	}
	*ret_blob = blob;
	return true;
}

bool config_pack_sources(const struct config_source *sources, size_t count, struct bytes *ret_blob)
{
	struct bytes blob = {0};

	if (!bytes_reserve(&blob, packed_sources_size(sources, count)) ||
	    !pack_sources(sources, count, &blob)) {
		bytes_free(&blob);
		return false;
	}
	*ret_blob = blob;
	return true;
}

static bool unpack_number(struct span *rest, uint32_t *ret_number)
{
	if (rest->length < sizeof(*ret_number))
		return false;
	memcpy(ret_number, rest->data, sizeof(*ret_number));
	rest->data += sizeof(*ret_number);
	rest->length -= sizeof(*ret_number);
	return true;
}

static bool unpack_text(struct span *rest, struct span *ret_text)
{
	uint32_t length;

	if (!unpack_number(rest, &length) || rest->length < length)
		return false;
	*ret_text = (struct span){rest->data, length};
	rest->data += length;
	rest->length -= length;
	return true;
}

void config_free_sources(struct config_source *sources, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free((char *)sources[i].name);
	free(sources);
}

/* Counts are checked against what is left, so that a damaged blob cannot make us allocate without
 * end. */
static struct config_source *unpack_sources(struct span *rest, size_t *ret_count,
					    struct error *error)
{
	struct config_source *sources;
	uint32_t magic, count, done;
	struct span name;

	if (!unpack_number(rest, &magic) || magic != PACK_MAGIC || !unpack_number(rest, &count) ||
	    count == 0 || count > PACK_MAX_ITEMS || count > rest->length) {
		error_set(error, "the configuration is damaged");
		return NULL;
	}
	sources = calloc(count, sizeof(*sources));
	for (done = 0; sources && done < count; done++) {
		if (!unpack_text(rest, &name) || !unpack_text(rest, &sources[done].text)) {
			error_set(error, "the configuration is damaged");
			break;
		}
		sources[done].name = span_copy(name);
		if (!sources[done].name)
			break;
	}
	if (sources && done == count) {
		*ret_count = count;
		return sources;
	}
	if (sources)
		config_free_sources(sources, done);
	error_no_memory(error); /* where nothing was said yet */
	return NULL;
}

static int unpack_clients(struct span *rest, struct config *config, struct error *error)
{
	struct span certificate, key;
	struct client_cert *cert;

	for (size_t i = 0; i < policy_client_count(config->policy); i++) {
		if (!unpack_text(rest, &certificate) || !unpack_text(rest, &key))
			return error_set(error, "the configuration is cut short");
		if (client_cert_new(certificate, key, &cert, error) < 0)
			return -1;
		policy_set_client(config->policy, i, cert);
	}
	return 0;
}

/* In the order of pack_all(). What is left over is an error, too: it would mean that the two
 * disagree. */
int config_unpack_secrets(struct span rest, struct config *config, struct error *error)
{
	struct span value;
	uint32_t count;

	if (!unpack_number(&rest, &count) || count != policy_secret_count(config->policy))
		return error_set(error, "the configuration's secrets do not fit its routes");
	for (uint32_t i = 0; i < count; i++) {
		if (!unpack_text(&rest, &value))
			return error_set(error, "the configuration is cut short");
		if (policy_set_secret(config->policy, i, value, error) < 0)
			return -1;
	}
	if (config->upstream.proxy_password.source) {
		if (!unpack_text(&rest, &value))
			return error_set(error, "the configuration is cut short");
		if (set_proxy_password(config, 0, value, error) < 0)
			return -1;
	}
	if (unpack_clients(&rest, config, error) < 0)
		return -1;
	return rest.length == 0 ? 0 : error_set(error, "the configuration is too long");
}

struct config_source *config_packed_sources(struct span blob, size_t *ret_count)
{
	return unpack_sources(&blob, ret_count, NULL);
}

struct config *config_unpack_sources(struct span *blob, struct error *error)
{
	struct diag_list errors = {0};
	struct config_source *sources;
	struct config *config;
	size_t count = 0;

	sources = unpack_sources(blob, &count, error);
	if (!sources)
		return NULL;
	config = config_parse(sources, count, &errors);
	if (!config)
		diag_list_first(&errors, error);
	diag_list_free(&errors);
	config_free_sources(sources, count);
	return config;
}

struct config *config_unpack(struct span blob, struct error *error)
{
	struct config *config = config_unpack_sources(&blob, error);

	if (!config || config_unpack_secrets(blob, config, error) == 0)
		return config;
	config_free(config);
	return NULL;
}
