// SPDX-License-Identifier: BSD-2-Clause
/* A reload: read beside the loop, and by the workers at the same time; closed in the kernel what the
 * new policy does not allow, handed to the workers, opened what it does. At each step what only one of
 * the two policies allows is refused; a failure ends with the old policy in force and says so. */
#include "supervisor_private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "background.h"
#include "descriptor.h"

/* Of PULSE_S each: six seconds, which thousands of routes do not need. */
#define RELOAD_PULSES 3 /* so long may a worker take over it */
#define SOURCES_MAX 8

/* What a worker would find out, and could only say by not starting. */
static bool check_files(const struct config *config, struct error *first)
{
	struct error error = {0};

	if (cert_authority_check_roots(config->upstream.ca_file, config->upstream.proxy_ca_file,
				       &error) == 0)
		return true;
	diag_error("%s", error.text);
	error_set(first, "%s", error.text);
	return false;
}

/* ---- the files, of one moment ----------------------------------------------------------------- */

/* `start` changes a plan's routes and tokens by one link that both paths go through. Were each looked up
 * for itself, the routes could be of the one plan and the tokens of the other, where a slot's name is
 * another host's credential: so the link is followed once. */
struct place {
	int fd; /* of the directory; -1: the paths have none in common, and are as they were given */
	char directory[PATH_MAX]; /* without links */
	char policy[PATH_MAX], tokens[PATH_MAX]; /* "": as they were given */
};

static int place_failed(const struct supervisor_options *options, struct error *error)
{
	return error_set(error, "%s: %s", options->policy_path, strerror(errno));
}

static int place_find(const struct supervisor_options *options, struct place *ret, struct error *error)
{
	const char *slash = options->policy_path ? strrchr(options->policy_path, '/') : NULL;
	size_t length = slash ? (size_t)(slash - options->policy_path) : 0;
	char directory[PATH_MAX];

	if (length == 0 || length >= sizeof(directory) || !options->token_directory ||
	    strncmp(options->token_directory, options->policy_path, length + 1) != 0)
		return 0;
	snprintf(directory, sizeof(directory), "%.*s", (int)length, options->policy_path);
	if (!realpath(directory, ret->directory))
		return place_failed(options, error);
	if (snprintf(ret->policy, PATH_MAX, "%s%s", ret->directory, slash) >= PATH_MAX ||
	    snprintf(ret->tokens, PATH_MAX, "%s%s", ret->directory,
		     options->token_directory + length) >= PATH_MAX)
		return error_set(error, "%s: too long a path", options->policy_path);
	ret->fd = open(ret->directory, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return ret->fd < 0 ? place_failed(options, error) : 0;
}

/* Held, its number (stat(2), st_ino) is nobody else's: what has it now had it all the while. */
static int place_check(const struct place *place, struct error *error)
{
	struct stat held, there;

	if (place->fd < 0 || (fstat(place->fd, &held) == 0 && stat(place->directory, &there) == 0 &&
			      held.st_ino == there.st_ino && held.st_dev == there.st_dev))
		return 0;
	return error_set(error, "%s changed while it was read", place->directory);
}

static void place_free(struct place *place)
{
	if (!place)
		return;
	if (place->fd >= 0)
		close(place->fd);
	free(place);
}

static int place_open(const struct supervisor_options *options, struct place **ret,
		      struct error *error)
{
	struct place *place = calloc(1, sizeof(*place));

	if (!place)
		return error_set(error, "out of memory");
	place->fd = -1;
	if (place_find(options, place, error) < 0) {
		place_free(place);
		return -1;
	}
	*ret = place;
	return 0;
}

/* The secrets of a grant are those in force: an expiry must not fail for a file that is gone. */
static bool load_secrets(struct supervisor_load *load, struct config *config,
			 struct diag_list *errors)
{
	const char *tokens = load->place->tokens[0] ? load->place->tokens : load->options->token_directory;

	if (load->reread)
		return check_files(config, &load->error) &&
		       config_load_secrets_from(config, tokens, errors);
	if (config_copy_secrets(config, load->old))
		return true;
	error_set(&load->error, "the secrets in force are not those of the routes");
	return false;
}

/* A grant that is new is to change what it says, and nothing else. The file is last: what cannot be
 * in force is not written. */
static bool check_grants(struct supervisor_load *load, const struct config *config)
{
	for (size_t i = 0; i < load->grants.count; i++) {
		struct grant *grant = &load->grants.list[i];

		if (grant->state != GRANT_NEW || !load->old)
			continue;
		if (policy_permit_check(load->old->policy, config->policy, &grant->permit,
					&load->error) < 0)
			return false;
		/* What was told, and not what the file has meanwhile for who reloads it. */
		grant->permit.credential = grant->credential[0] != '\0';
		grant->makes_strict = policy_permit_makes_strict(load->old->policy, &grant->permit);
		if (grant->persist &&
		    grant_persist(load->options->policy_path, grant, &load->error) < 0)
			return false;
	}
	return true;
}

static struct config *make_config(struct supervisor_load *load, const struct config_source *sources,
				  size_t count, struct diag_list *errors)
{
	const size_t wanted = load->grants.count;
	struct grant_sources all = {0};
	struct error dropped = {0};
	struct config *config = grants_parse(&load->grants, sources, count, &all, errors, &dropped);
	bool fine = config != NULL;

	if (fine && !load->reread && load->grants.count < wanted) {
		error_set(&load->error, "%s", dropped.text);
		fine = false;
	}
	fine = fine && load_secrets(load, config, errors) &&
	       config_pack(all.list, all.count, config, &load->blob) && check_grants(load, config);
	grant_sources_free(&all);
	if (fine)
		return config;
	config_free(config);
	return NULL;
}

/* The policy's file; the rest is read by what it says. */
static bool read_policy(struct supervisor_load *load)
{
	const char *path = load->options->policy_path;

	if (place_open(load->options, &load->place, &load->error) == 0) {
		if (!path || !load->reread)
			return true;
		if (config_read_file_within(load->place->policy[0] ? load->place->policy : path,
					    load->old ? CONFIG_PATIENCE_MS : -1, &load->text,
					    &load->error) == 0)
			return true;
	}
	diag_error("%s", load->error.text);
	return false;
}

const char *supervisor_policy_file(const struct supervisor_options *options)
{
	return options->policy_name ? options->policy_name : options->policy_path;
}

static size_t fill_sources(const struct supervisor_load *load,
			   struct config_source sources[SOURCES_MAX])
{
	const struct supervisor_options *options = load->options;
	size_t count = 0;

	if (options->policy_path)
		sources[count++] = (struct config_source){supervisor_policy_file(options),
							  bytes_span(&load->text)};
	for (size_t i = 0; i < options->extra_count && count < SOURCES_MAX; i++)
		sources[count++] = options->extra[i];
	return count;
}

static struct config *judge_policy(struct supervisor_load *load)
{
	const bool learning = load->options->learning;
	struct config_source sources[SOURCES_MAX];
	const size_t count = fill_sources(load, sources);
	struct diag_list errors = {0};
	struct config *config = make_config(load, sources, count, &errors);

	if (config && load->reread && policy_is_audit(config->policy))
		diag_warning("%s: names, paths, methods and headers are not refused, only %s; "
			     "addresses and protocols are",
			     learning ? "--learn" : "enforcement: audit",
			     learning ? "recorded" : "logged");
	diag_list_first(&errors, &load->error);
	diag_list_print(&errors);
	diag_list_free(&errors);
	if (!config || place_check(load->place, &load->error) == 0)
		return config;
	diag_error("%s", load->error.text);
	config_free(config);
	return NULL;
}

struct config *supervisor_load_config(struct supervisor_load *load)
{
	struct config *config = read_policy(load) ? judge_policy(load) : NULL;

	place_free(load->place);
	load->place = NULL;
	return config;
}

static void release_load(struct supervisor_load *load)
{
	place_free(load->place);
	bytes_free(&load->text);
	bytes_wipe(&load->blob);
	grants_free(&load->grants);
}

/* `why` NULL: the new policy is in force. */
static void reload_ended(struct supervisor *s, const char *status, const char *why)
{
	struct error error = {0};

	supervisor_approvals_ended(s, why);
	grants_free(&s->next_grants);
	if (!s->next_reread)
		return;
	s->reload_at = time(NULL);
	snprintf(s->reload_error, sizeof(s->reload_error), "%s", why ? why : "");
	if (!why)
		s->policy_since = s->reload_at;
	if (ready_say(s->options.ready, status, &error) < 0)
		diag_error("reload: %s", error.text);
}

/* What a policy that is not in force any more, or never was, leaves. */
struct leftover {
	struct config *config;
	struct bytes blob, text;
};

static void free_leftover(void *context)
{
	struct leftover *left = context;

	config_free(left->config);
	bytes_wipe(&left->blob);
	bytes_free(&left->text);
	free(left);
	(void)malloc_trim(0); /* or a large policy's pieces keep the memory of two more of it */
}

/* Beside the loop, in which names wait: of a hundred thousand routes it takes some milliseconds each to
 * free the policy and to wipe the blob. */
static void forget(struct supervisor *s, struct config *config, struct bytes *blob, struct bytes *text)
{
	struct leftover *left = malloc(sizeof(*left));

	if (left) {
		*left = (struct leftover){config, *blob, *text};
		*blob = *text = (struct bytes){0};
		if (background_run(s->background, free_leftover, NULL, left) < 0)
			free_leftover(left);
		return;
	}
	config_free(config);
	bytes_wipe(blob);
	bytes_free(text);
}

/* Every worker has the new policy: open what it allows and forget the old one. */
static void commit_reload(struct supervisor *s)
{
	struct error error = {0};

	if (s->ledger && (ledger_open(s->ledger, s->next, &error) < 0 ||
			  kernel_set_policy_hash(s->kernel, s->next->hash, &error) < 0))
		diag_error("reload: %s; what could not be opened stays closed", error.text);
	s->restricted = false;
	forget(s, s->config, &s->blob, &s->text);
	s->config = s->next;
	s->number = s->next_number;
	s->next = NULL;
	s->blob = s->next_blob;
	s->next_blob = (struct bytes){0};
	s->text = s->next_text;
	s->next_text = (struct bytes){0};
	if (s->next_reread)
		diag_notice("policy reloaded");
	reload_ended(s, "serving; policy reloaded", NULL);
}

/* Until supervisor_reload_look() finds that no worker has it the wall stays closed for what only one of
 * the two policies allows, and nobody is told that the old one is in force. */
void supervisor_reload_abandon(struct supervisor *s, const char *why)
{
	diag_error("%s: %s; the old policy stays in force", s->next_reread ? "reload" : "grant", why);
	forget(s, s->next, &s->next_blob, &s->next_text);
	s->next = NULL;
	snprintf(s->abandoned, sizeof(s->abandoned), "%s", why);
	/* One that starts serves by what it was given before it says that it does. */
	for (unsigned i = 0; i < s->slot_count; i++)
		if (!s->slots[i]->ready && s->slots[i]->given != s->number)
			supervisor_kill_worker(s->slots[i], "starts with what was given up");
	supervisor_reload_look(s);
}

/* ledger_open() with the old policy undoes what ledger_restrict() closed. */
static void end_abandoned(struct supervisor *s)
{
	struct error error = {0};
	char why[sizeof(s->abandoned)];

	if (s->restricted && ledger_open(s->ledger, s->config, &error) < 0)
		diag_error("reload: %s; what could not be opened stays closed", error.text);
	s->restricted = false;
	memcpy(why, s->abandoned, sizeof(why));
	s->abandoned[0] = '\0';
	reload_ended(s, "serving; reload failed, the old policy is in force", why);
}

unsigned supervisor_wanted(const struct supervisor *s)
{
	return s->next ? s->next_number : s->number;
}

/* A worker that cannot be told is replaced by one that starts with it. */
static void send_wanted(struct slot *slot)
{
	struct supervisor *s = slot->s;
	int result;

	slot->given = supervisor_wanted(s);
	slot->owes = true;
	slot->pulses_owed = 0;
	if (s->next && s->next_fd >= 0)
		result = worker_send_memfd(&slot->worker, s->next_fd);
	else
		result = worker_send_config(&slot->worker, bytes_span(s->next ? &s->next_blob : &s->blob));
	if (result < 0)
		supervisor_kill_worker(slot, "takes no message");
}

/* Whether the worker has said that it has what is wanted. */
static bool has_wanted(const struct slot *slot)
{
	return slot->worker.pid > 0 && !slot->owes && slot->given == supervisor_wanted(slot->s);
}

/* One that is away, or starts with it, serves nobody by any other. */
static bool has_no_other(const struct slot *slot)
{
	return slot->worker.pid <= 0 ||
	       (slot->given == supervisor_wanted(slot->s) && (!slot->ready || !slot->owes));
}

static bool all(const struct supervisor *s, bool (*is)(const struct slot *slot))
{
	for (unsigned i = 0; i < s->slot_count; i++)
		if (!is(s->slots[i]))
			return false;
	return true;
}

/* What one worker has, others may refuse: until all have it, it can still be given up. */
void supervisor_reload_look(struct supervisor *s)
{
	if (s->ending)
		return;
	for (unsigned i = 0; i < s->slot_count; i++) {
		struct slot *slot = s->slots[i];

		if (slot->worker.pid > 0 && slot->ready && !slot->owes &&
		    slot->given != supervisor_wanted(s))
			send_wanted(slot);
	}
	if (s->next && all(s, has_wanted))
		commit_reload(s);
	else if (s->abandoned[0] && all(s, has_no_other))
		end_abandoned(s);
	supervisor_reload_pending(s);
}

/* A worker that was taken over must not keep its old policy by saying that it cannot take another.
 * What a fresh one refuses, which has read no byte of anybody's, is not to be had. */
void supervisor_reload_refused(struct slot *slot, const char *text)
{
	diag_error("reload: the worker refuses the new policy: %s", text);
	supervisor_kill_worker(slot, "refuses the policy");
}

void supervisor_reload_pulse(struct slot *slot)
{
	if (slot->ready && slot->owes && ++slot->pulses_owed > RELOAD_PULSES)
		supervisor_kill_worker(slot, "does not take the new policy");
}

/* ---- reading it, beside the loop: names and certificates are asked for meanwhile -------------- */

struct job {
	struct supervisor *s;
	struct supervisor_load load;
	int fd; /* for the workers: first what they read ahead, then the whole; negative: none */
	bool failed;
	struct config *config;
};

/* What grants add is made for what the file says, and so is not known yet. */
static int make_ahead(const struct supervisor_load *load)
{
	struct config_source sources[SOURCES_MAX];
	const size_t count = fill_sources(load, sources);
	struct bytes blob = {0};
	int fd;

	if (load->grants.count > 0 || !config_pack_sources(sources, count, &blob))
		return -1;
	fd = worker_memfd(bytes_span(&blob));
	bytes_free(&blob);
	return fd;
}

static void read_file(void *context)
{
	struct job *job = context;

	job->failed = !read_policy(&job->load);
	if (!job->failed)
		job->fd = make_ahead(&job->load);
}

static void judge(void *context)
{
	struct job *job = context;

	if (!job->failed)
		job->config = judge_policy(&job->load);
	/* Some milliseconds for a large one, in which names are asked for. */
	if (job->config)
		job->fd = worker_memfd(bytes_span(&job->load.blob));
}

/* The routes alone, with which a worker can do nothing: it waits for send_wanted(). Whoever does not
 * take it reads them then. */
static void send_ahead(struct supervisor *s, int fd)
{
	for (unsigned i = 0; i < s->slot_count; i++)
		if (s->slots[i]->ready && s->slots[i]->worker.pid > 0)
			(void)!worker_send_ahead(&s->slots[i]->worker, fd);
}

/* Closing comes first: from here on nothing passes that the new policy forbids, whatever the worker
 * still thinks. */
static void put_next_in_force(struct supervisor *s, const char *why_not)
{
	struct error error = {0};

	if (!s->next) {
		diag_error("%s: the old policy stays in force", s->next_reread ? "reload" : "grant");
		send_ahead(s, -1);
		reload_ended(s, "serving; reload failed, the old policy is in force", why_not);
		return;
	}
	s->restricted = s->ledger != NULL;
	/* A worker that is starting was given the old one: it hears of this when it is ready. One
	 * that has not started yet begins with it. */
	if (s->ledger && ledger_restrict(s->ledger, s->next, &error) < 0) {
		send_ahead(s, -1);
		supervisor_reload_abandon(s, error.text);
	} else {
		supervisor_reload_look(s);
	}
}

/* In the loop again. Secrets in the blob are wiped when nobody wants them any more. */
static void loaded(void *context)
{
	struct job *job = context;
	struct supervisor *s = job->s;
	struct error error = job->load.error;

	/* What is not known is that. */
	if (!job->config && !error.text[0] && !s->stopping) {
		error_no_memory(&error);
		diag_error("%s", error.text);
	}
	s->loading = false;
	if (s->stopping) {
		config_free(job->config);
		release_load(&job->load);
		descriptor_close(&job->fd);
		free(job);
		return;
	}
	place_free(job->load.place);
	s->next = job->config;
	s->next_grants = job->load.grants;
	if (s->next) {
		s->next_blob = job->load.blob;
		s->next_text = job->load.text;
	} else {
		bytes_wipe(&job->load.blob);
		bytes_free(&job->load.text);
	}
	if (s->next)
		s->next_number = ++s->numbers;
	for (unsigned i = 0; i < s->slot_count; i++)
		s->slots[i]->failed_starts = 0;
	s->next_fd = job->fd;
	put_next_in_force(s, error.text);
	s->next_fd = -1;
	descriptor_close(&job->fd);
	free(job);
	supervisor_reload_pending(s);
}

/* The thread would only begin with it when it has done this. */
static void file_is_read(void *context)
{
	struct job *job = context;

	if (job->fd >= 0)
		send_ahead(job->s, job->fd);
	descriptor_close(&job->fd);
	if (job->s->stopping || background_run(job->s->background, judge, loaded, job) < 0)
		loaded(job);
}

/* What is in force is what a grant changes: what is in the file meanwhile nobody has asked for. */
static int fill_load(struct supervisor *s, struct supervisor_load *load)
{
	struct span text = bytes_span(&s->text);

	load->options = &s->options;
	load->reread = s->next_reread;
	load->old = s->config;
	if (!load->reread && !bytes_append(&load->text, text.data, text.length))
		return -1;
	return supervisor_approvals_select(s, load->reread, &load->grants) ? 0 : -1;
}

/* The thread is made at the first reload: most supervisors never see one. */
static int begin_load(struct supervisor *s, bool reread)
{
	struct job *job;

	if (!s->background)
		s->background = background_new(s->base);
	job = s->background ? calloc(1, sizeof(*job)) : NULL;
	if (!job)
		return -1;
	job->s = s;
	job->fd = -1;
	s->next_reread = reread;
	if (fill_load(s, &job->load) == 0 &&
	    background_run(s->background, read_file, file_is_read, job) == 0) {
		s->loading = true;
		return 0;
	}
	release_load(&job->load);
	free(job);
	return -1;
}

void supervisor_regrant(struct supervisor *s)
{
	if (s->next || s->loading || s->abandoned[0] || begin_load(s, false) == 0)
		return;
	diag_error("grant: out of memory; the old policy stays in force");
	supervisor_approvals_ended(s, "out of memory");
}

void supervisor_reload(struct supervisor *s)
{
	if (s->next || s->loading || s->abandoned[0]) { /* one at a time; the last word counts */
		s->reload_again = true;
		return;
	}
	ready_reloading(s->options.ready);
	if (begin_load(s, true) == 0)
		return;
	diag_error("reload: out of memory; the old policy stays in force");
	reload_ended(s, "serving; reload failed, the old policy is in force", "out of memory");
}

void supervisor_reload_pending(struct supervisor *s)
{
	if (s->next || s->loading || s->abandoned[0] || s->stopping)
		return;
	if (!s->reload_again) {
		supervisor_approvals_next(s);
		return;
	}
	s->reload_again = false;
	supervisor_reload(s);
}
