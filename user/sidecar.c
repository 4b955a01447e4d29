// SPDX-License-Identifier: BSD-2-Clause
#include "sidecar.h"

#include <errno.h>
#include <glob.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include <sys/stat.h>

#include "cgroup.h"
#include "config.h"
#include "kernel.h"

#define STEP_MS 20
#define LINGER_ATTEMPTS 100
#define EMPTY_ATTEMPTS 250 /* of STEP_MS */
#define CONFLICT 409	   /* of the Engine API: the name is taken, or something is under way */

static void pause_briefly(void)
{
	nanosleep(&(struct timespec){.tv_nsec = STEP_MS * 1000000L}, NULL);
}

/* ---- names ------------------------------------------------------------------------------------ */

/* systemd reads '-' in a slice's name as '/': 'a-b' would be within the wall of 'a'. */
static void name_slice(char *parent, size_t size, const char *slug)
{
	int start = snprintf(parent, size, "egress_bpf_");

	snprintf(parent + start, size - (size_t)start, "%s.slice", slug);
	for (char *at = parent; *at; at++)
		if (*at == '-')
			*at = '_';
}

int sidecar_names(struct engine *engine, const char *slug, struct sidecar_names *ret,
		  struct error *error)
{
	json_t *info = NULL;
	const char *driver;

	if (engine_do(engine, "GET", "/info", NULL, 0, &info, error) < 0)
		return -1;
	driver = json_string_value(json_object_get(info, "CgroupDriver"));
	snprintf(ret->sidecar, sizeof(ret->sidecar), SIDECAR_PREFIX "%.48s", slug);
	snprintf(ret->holder, sizeof(ret->holder), SIDECAR_PREFIX "%.48s-net", slug);
	snprintf(ret->bottle, sizeof(ret->bottle), SIDECAR_PREFIX "%.48s-bottle", slug);
	snprintf(ret->network, sizeof(ret->network), "container:%s", ret->holder);
	if (driver && strcmp(driver, "systemd") == 0)
		name_slice(ret->parent, sizeof(ret->parent), slug);
	else
		snprintf(ret->parent, sizeof(ret->parent), "/egress-bpf/%.48s", slug);
	json_decref(info);
	return 0;
}

static char *cgroup_of(const char *root, const struct sidecar_names *names)
{
	char *path;

	return asprintf(&path, "%s%s%s", root, names->parent[0] == '/' ? "" : "/",
			names->parent) < 0 ? NULL : path;
}

/* ---- single containers ------------------------------------------------------------------------ */

/* 1 it runs, 0 it does not or is not there, -1 failed. `ret_pid` may be NULL. */
static int is_running(struct engine *engine, const char *name, pid_t *ret_pid, struct error *error)
{
	const json_t *state;
	json_t *reply = NULL;
	char path[256];
	int running;

	snprintf(path, sizeof(path), "/containers/%s/json", name);
	if (engine_do(engine, "GET", path, NULL, 404, &reply, error) < 0)
		return -1;
	state = json_object_get(reply, "State");
	running = json_is_true(json_object_get(state, "Running"));
	if (running && ret_pid)
		*ret_pid = (pid_t)json_integer_value(json_object_get(state, "Pid"));
	json_decref(reply);
	return running;
}

/* The status that the engine answered, whatever it is; -1: no answer. */
static long ask(struct engine *engine, const char *method, const char *path, const json_t *body,
		struct error *error)
{
	struct engine_reply reply = {0};

	if (engine_call(engine, method, path, body, 60, &reply, error) < 0)
		return -1;
	json_decref(reply.body);
	return reply.status;
}

/* CONFLICT: it is being removed, for a stop that did not live to see it. */
static int remove_container(struct engine *engine, const char *name, struct error *error)
{
	char path[256];

	snprintf(path, sizeof(path), "/containers/%s?force=1&v=1", name);
	for (int i = 0; i < EMPTY_ATTEMPTS; i++) {
		long status = ask(engine, "DELETE", path, NULL, error);

		if (status < 0)
			return -1;
		if (status != CONFLICT)
			break;
		pause_briefly();
	}
	return engine_do(engine, "DELETE", path, NULL, 404, NULL, error);
}

/* CONFLICT: a start that was killed had asked for one of this name, and the engine was still at it when
 * we looked. It does not run, for nobody asked for that: it goes, and ours comes. */
static int create_container(struct engine *engine, const char *name, const json_t *spec,
			    struct error *error)
{
	char path[256];

	snprintf(path, sizeof(path), "/containers/create?name=%s", name);
	for (int i = 0; i < EMPTY_ATTEMPTS; i++) {
		long status = ask(engine, "POST", path, spec, error);

		if (status < 0)
			return -1;
		if (status == 201)
			return 0;
		if (status == 404)
			return error_set(error, "the engine has no image '%s': build or pull it first "
					 "(container/Dockerfile makes that of egress-bpf)",
					 json_string_value(json_object_get(spec, "Image")));
		if (status != CONFLICT || is_running(engine, name, NULL, error) != 0 ||
		    remove_container(engine, name, error) < 0)
			break;
		pause_briefly();
	}
	return engine_do(engine, "POST", path, spec, 0, NULL, error);
}

/* Takes `spec` over. */
static int run_container(struct engine *engine, const char *name, json_t *spec,
			 struct error *error)
{
	char path[256];
	int result = -1;

	if (!spec)
		error_set(error, "out of memory");
	else
		result = create_container(engine, name, spec, error);
	json_decref(spec);
	snprintf(path, sizeof(path), "/containers/%s/start", name);
	return result == 0 ? engine_do(engine, "POST", path, NULL, 304, NULL, error) : -1;
}

/* Not before it works: a sidecar that cannot start is not to be tried for ever. Podman's API of before
 * 5.0 has no such call (404); there it is not restarted. */
static int keep_running(struct engine *engine, const char *name, struct error *error)
{
	json_t *body = json_pack("{s:{s:s}}", "RestartPolicy", "Name", "unless-stopped");
	char path[256];
	int result;

	snprintf(path, sizeof(path), "/containers/%s/update", name);
	result = engine_do(engine, "POST", path, body, 404, NULL, error);
	json_decref(body);
	return result;
}

/* ---- start ------------------------------------------------------------------------------------ */

struct start {
	struct engine *engine;
	const struct sidecar_options *options;
	struct sidecar_names names;
	struct sidecar_files files;
	char *root, *cgroup;
	bool made, holder, sidecar, bottle; /* begun by us */
};

static int check_machine(struct start *s, struct error *error)
{
	struct statfs fs;

	if (statfs("/sys/fs/bpf", &fs) < 0 || fs.f_type != BPF_FS_MAGIC)
		return error_set(error, "/sys/fs/bpf is not a bpffs, where the wall is pinned: "
				 "mount -t bpf bpf /sys/fs/bpf");
	if (cgroup_root(&s->root, error) < 0)
		return -1;
	s->cgroup = cgroup_of(s->root, &s->names);
	if (!s->cgroup)
		return error_set(error, "out of memory");
	return 0;
}

/* They are mounted: the engine's words for one that is missing name no cure, and a directory, or a
 * socket, is nothing that a route can name. */
static int check_files(const struct plan *plan, struct error *error)
{
	for (size_t i = 0; i < plan->file_count; i++) {
		struct stat status;

		if (stat(plan->files[i], &status) < 0)
			return error_set(error, "%s, which the routes name: %s", plan->files[i],
					 strerror(errno));
		if (!S_ISREG(status.st_mode))
			return error_set(error, "%s, which the routes name, is not a regular file",
					 plan->files[i]);
	}
	return 0;
}

/* The wall is to be round the parent that we asked for, and nothing else. */
static int check_parent(struct start *s, pid_t pid, struct error *error)
{
	char *path = NULL, *end;
	int result = 0;

	if (cgroup_of_pid(pid, &path, error) < 0)
		return -1;
	end = strrchr(path, '/');
	if (!end || (size_t)(end - path) != strlen(s->cgroup) ||
	    strncmp(path, s->cgroup, strlen(s->cgroup)) != 0)
		result = error_set(error, "the engine put %s into the cgroup %s, and not below %s",
				   s->names.holder, path, s->cgroup);
	free(path);
	return result;
}

static int start_holder(struct start *s, struct error *error)
{
	pid_t pid = 0;
	int running = is_running(s->engine, s->names.holder, &pid, error);

	if (running < 0)
		return -1;
	if (running == 0) {
		/* One that runs is kept, since containers are in its network; one that does not has
		 * the name. */
		if (remove_container(s->engine, s->names.holder, error) < 0)
			return -1;
		s->holder = true;
		if (run_container(s->engine, s->names.holder,
				  sidecar_spec_holder(s->options, &s->names), error) < 0)
			return -1;
		running = is_running(s->engine, s->names.holder, &pid, error);
	}
	if (running == 0)
		return error_set(error, "%s ended at once: is %s an image of egress-bpf?",
				 s->names.holder, s->options->image);
	return running < 0 ? -1 : check_parent(s, pid, error);
}

/* Its last words, as it is removed. */
static int tell_errors(struct start *s, struct error *error)
{
	struct bytes said = {0};
	struct span text;

	engine_read_errors(s->engine, s->names.sidecar, &said);
	text = span_trim(bytes_span(&said));
	for (size_t i = 0; i < text.length; i++) /* one line; no escapes for a terminal */
		if ((unsigned char)text.data[i] < ' ')
			((char *)text.data)[i] = ' ';
	error_set(error, "the sidecar ended before it was ready: %.*s",
		  (int)(text.length > 400 ? 400 : text.length), text.data ? text.data : "");
	bytes_free(&said);
	return -1;
}

static int await_ready(struct start *s, struct error *error)
{
	const unsigned steps = s->options->seconds * 1000 / STEP_MS;
	char path[4096];

	snprintf(path, sizeof(path), "%s/ready", s->files.state);
	for (unsigned i = 0; i < steps; i++) {
		if (access(path, F_OK) == 0)
			return 0;
		/* The file often, the engine seldom: each question is a request to a daemon. */
		if (i % 8 == 7) {
			int running = is_running(s->engine, s->names.sidecar, NULL, error);

			if (running <= 0)
				return running < 0 ? -1 : tell_errors(s, error);
		}
		pause_briefly();
	}
	return error_set(error, "the sidecar was not ready after %u s", s->options->seconds);
}

static int start_sidecar(struct start *s, struct error *error)
{
	if (remove_container(s->engine, s->names.sidecar, error) < 0)
		return -1;
	s->sidecar = true;
	if (run_container(s->engine, s->names.sidecar,
			  sidecar_spec_sidecar(s->options, &s->names, &s->files, s->root, s->cgroup),
			  error) < 0)
		return -1;
	return await_ready(s, error);
}

/* One that runs is somebody's work: it is not ended for a new sidecar or a new policy. */
static int start_bottle(struct start *s, struct error *error)
{
	int running;

	if (!s->options->bottle_image)
		return 0;
	running = is_running(s->engine, s->names.bottle, NULL, error);
	if (running != 0)
		return running < 0 ? -1 : 0;
	if (remove_container(s->engine, s->names.bottle, error) < 0)
		return -1;
	s->bottle = true;
	return run_container(s->engine, s->names.bottle,
			     sidecar_spec_bottle(s->options, &s->names, &s->files), error);
}

static int finish(struct start *s, struct error *error)
{
	if (start_bottle(s, error) < 0 || keep_running(s->engine, s->names.holder, error) < 0 ||
	    keep_running(s->engine, s->names.sidecar, error) < 0)
		return -1;
	sidecar_files_finish(&s->files);
	return 0;
}

/* ---- a new plan for a sidecar that runs ------------------------------------------------------- */

static bool has_file(const struct plan *plan, const char *path)
{
	for (size_t i = 0; i < plan->file_count; i++) {
		if (strcmp(plan->files[i], path) == 0)
			return true;
	}
	return false;
}

/* NULL, or what of the new plan only a new sidecar can have: what it was started with is mounted, and
 * the CA is what the bottle trusts. */
static const char *find_obstacle(const struct plan *old, const struct plan *new)
{
	struct bytes before = {0}, after = {0}, ignored = {0};
	const char *what = NULL;

	if (plan_read_ca(old, &before, &ignored, NULL) < 0 ||
	    plan_read_ca(new, &after, &ignored, NULL) < 0 ||
	    !span_equal(bytes_span(&before), bytes_span(&after)))
		what = "its CA";
	bytes_wipe(&before);
	bytes_wipe(&after);
	bytes_free(&ignored);
	if (strcmp(old->networks.bottle, new->networks.bottle) != 0 ||
	    strcmp(old->networks.sidecar, new->networks.sidecar) != 0)
		what = "its networks";
	for (size_t i = 0; i < new->file_count && !what; i++) {
		if (!has_file(old, new->files[i]))
			what = "a file of the host that its routes name";
	}
	return what;
}

/* What the sidecar would find out, with an error that somebody sees: the policy, and its tokens. */
static int check_generation(const struct plan *plan, const char *directory, uint8_t ret_hash[16],
			    struct error *error)
{
	const struct config_source source = {plan->routes_file, bytes_span(&plan->routes)};
	struct diag_list errors = {0};
	struct config *config = config_parse(&source, 1, &errors);
	char tokens[4096 + sizeof(SIDECAR_TOKENS)];
	int result = -1;

	snprintf(tokens, sizeof(tokens), "%s/" SIDECAR_TOKENS, directory);
	if (config && config_load_secrets_from(config, tokens, &errors)) {
		memcpy(ret_hash, config->hash, sizeof(config->hash));
		result = 0;
	} else {
		error_set(error, "%s", errors.kept && !errors.no_memory ? errors.items[0].text
									: "out of memory");
	}
	config_free(config);
	diag_list_free(&errors);
	return result;
}

static struct stat ready_file(const struct start *s)
{
	struct stat status = {0};
	char path[4096];

	snprintf(path, sizeof(path), "%s/ready", s->files.state);
	if (stat(path, &status) < 0)
		status.st_ino = 0;
	return status;
}

static bool has_policy(const char *slug, const uint8_t hash[16])
{
	struct kernel_status status;
	bool same;

	if (kernel_read_status(slug, &status, NULL) < 0)
		return false;
	same = memcmp(status.settings.policy_hash, hash, sizeof(status.settings.policy_hash)) == 0;
	kernel_status_free(&status);
	return same;
}

/* A reload ends with a new file in the old one's place; whether it was taken the wall knows. */
static int reload(struct start *s, const uint8_t hash[16], struct error *error)
{
	const struct stat before = ready_file(s);
	const unsigned steps = s->options->seconds * 1000 / STEP_MS;
	char path[256];

	snprintf(path, sizeof(path), "/containers/%s/kill?signal=HUP", s->names.sidecar);
	if (engine_do(s->engine, "POST", path, NULL, 0, NULL, error) < 0)
		return -1;
	for (unsigned i = 0; i < steps; i++) {
		const struct stat now = ready_file(s);

		if (now.st_ino != 0 && (now.st_ino != before.st_ino ||
					now.st_mtim.tv_sec != before.st_mtim.tv_sec ||
					now.st_mtim.tv_nsec != before.st_mtim.tv_nsec))
			return has_policy(s->options->plan->slug, hash)
				       ? 0
				       : error_set(error,
						   "%s did not take the new policy, and goes on with "
						   "the old one: 'docker logs %s' says why",
						   s->names.sidecar, s->names.sidecar);
		pause_briefly();
	}
	return error_set(error, "%s did not answer within %u s", s->names.sidecar,
			 s->options->seconds);
}

static int put_generation(struct start *s, unsigned old, struct error *error)
{
	unsigned generation = 0;
	char directory[4096];
	uint8_t hash[16];
	int result = sidecar_files_put(&s->files, s->options->plan, &generation, error);

	snprintf(directory, sizeof(directory), "%s/%u", s->files.plan, generation);
	if (result == 0)
		result = check_generation(s->options->plan, directory, hash, error);
	if (result == 0)
		result = sidecar_files_switch(&s->files, generation, error);
	if (result == 0 && reload(s, hash, error) < 0) {
		/* An engine may restart it at any time: it is to find what it runs with now. */
		(void)!sidecar_files_switch(&s->files, old, NULL);
		result = -1;
	}
	sidecar_files_sweep(&s->files);
	return result;
}

/* The sidecar alone would read new routes with the tokens of the old ones: with another order of
 * slots, one host's credential would go to another. So both change at once, here. */
static int update(struct start *s, struct error *error)
{
	const char *slug = s->options->plan->slug, *obstacle = NULL;
	struct plan *old = NULL;
	char *directory = NULL;
	unsigned generation;
	int result = -1;

	if (sidecar_files_find(slug, &s->files, error) < 0)
		return -1;
	generation = sidecar_files_current(&s->files, &directory);
	if (generation == 0)
		error_set(error, "%s runs, but what it was started with is gone; 'egress-bpf stop %s' "
				 "first", s->names.sidecar, slug);
	else if (plan_read(directory, &old, error) == 0)
		obstacle = find_obstacle(old, s->options->plan);
	if (obstacle)
		error_set(error, "%s runs, and cannot change %s: 'egress-bpf stop %s' first",
			  s->names.sidecar, obstacle, slug);
	else if (old && await_ready(s, error) == 0) /* before that SIGHUP would end it */
		result = put_generation(s, generation, error);
	if (result == 0)
		result = finish(s, error); /* its start may have been killed after it was ready */
	plan_free(old);
	free(directory);
	return result;
}

/* ---- undoing, and stop ------------------------------------------------------------------------ */

static bool await_empty(const char *cgroup)
{
	for (int i = 0; i < EMPTY_ATTEMPTS; i++) {
		if (access(cgroup, F_OK) < 0 || cgroup_any_pid(cgroup) == 0)
			return true;
		pause_briefly();
	}
	return false;
}

/* rmdir(2) leaves what is in use: by other bottles, or by containers that the engine still clears up. */
static bool remove_with_parent(const char *path)
{
	char copy[4096], *slash;
	bool gone = rmdir(path) == 0 || errno == ENOENT;

	snprintf(copy, sizeof(copy), "%s", path);
	slash = strrchr(copy, '/');
	if (slash)
		*slash = '\0';
	rmdir(copy);
	return gone;
}

/* The engine makes the parent in every hierarchy, and leaves it; systemd removes its own. */
static void remove_parents(const char *cgroup, const struct sidecar_names *names)
{
	char pattern[256];
	bool gone = names->parent[0] != '/';
	glob_t found;

	snprintf(pattern, sizeof(pattern), "/sys/fs/cgroup/*%s", names->parent);
	for (int i = 0; i < EMPTY_ATTEMPTS && !gone; i++) {
		gone = remove_with_parent(cgroup);
		if (glob(pattern, GLOB_NOSORT, NULL, &found) == 0)
			for (size_t k = 0; k < found.gl_pathc; k++)
				gone &= remove_with_parent(found.gl_pathv[k]);
		globfree(&found);
		if (!gone)
			pause_briefly();
	}
}

/* Nobody may be in the bottle when its wall goes. */
static int remove_wall(const char *slug, const char *cgroup, const struct sidecar_names *names,
		       struct error *error)
{
	if (!await_empty(cgroup))
		return error_set(error, "processes are still in the bottle (%s), so its wall stays: end "
				 "the containers that share %s, then stop again", cgroup,
				 names->holder);
	if (kernel_detach(slug, true, error) < 0)
		return -1;
	remove_parents(cgroup, names);
	return sidecar_files_remove(slug, error);
}

static void undo(struct start *s)
{
	if (s->bottle)
		(void)!remove_container(s->engine, s->names.bottle, NULL);
	if (s->sidecar)
		(void)!remove_container(s->engine, s->names.sidecar, NULL);
	/* A bottle that was there before us keeps its wall. */
	if (s->holder && remove_container(s->engine, s->names.holder, NULL) == 0)
		(void)!remove_wall(s->options->plan->slug, s->cgroup, &s->names, NULL);
	else if (s->made)
		(void)!sidecar_files_remove(s->options->plan->slug, NULL);
}

static int start_all(struct start *s, struct error *error)
{
	s->made = sidecar_files_make(s->options->plan, &s->files, error) == 0;
	if (!s->made || start_holder(s, error) < 0 || start_sidecar(s, error) < 0)
		return -1;
	return finish(s, error);
}

int sidecar_start(struct engine *engine, const struct sidecar_options *options,
		  struct sidecar_names *ret_names, struct error *error)
{
	struct start s = {.engine = engine, .options = options};
	int result = -1, running = -1, lock = -1;

	lock = sidecar_files_lock(options->plan->slug, true, error);

	if (lock >= 0 && sidecar_names(engine, options->plan->slug, &s.names, error) == 0 &&
	    check_machine(&s, error) == 0 && check_files(options->plan, error) == 0)
		running = is_running(engine, s.names.sidecar, NULL, error);
	if (running >= 0)
		result = running ? update(&s, error) : start_all(&s, error);
	if (result < 0)
		undo(&s);
	else
		*ret_names = s.names;
	sidecar_files_unlock(options->plan->slug, lock);
	sidecar_files_free(&s.files);
	free(s.root);
	free(s.cgroup);
	return result;
}

/* In order: connections that are under way get ten seconds. */
static int end_container(struct engine *engine, const char *name, struct error *error)
{
	char path[256];

	snprintf(path, sizeof(path), "/containers/%s/stop?t=10", name);
	if (engine_do(engine, "POST", path, NULL, 404, NULL, error) < 0)
		return -1;
	return remove_container(engine, name, error);
}

/* A container that the engine was at when its start was killed comes to light a moment later. */
static int end_containers(struct engine *engine, const struct sidecar_names *names, bool linger,
			  struct error *error)
{
	for (int i = 0; i < (linger ? LINGER_ATTEMPTS : 1); i++) {
		if (i > 0)
			pause_briefly();
		/* From the inside out: who is in the holder's network ends before the holder
		 * does. */
		if (end_container(engine, names->bottle, error) < 0 ||
		    end_container(engine, names->sidecar, error) < 0 ||
		    remove_container(engine, names->holder, error) < 0)
			return -1;
	}
	return 0;
}

int sidecar_stop(struct engine *engine, const char *slug, struct error *error)
{
	struct sidecar_names names;
	char *root = NULL, *cgroup;
	int result = -1;

	if (sidecar_names(engine, slug, &names, error) < 0 || cgroup_root(&root, error) < 0)
		return -1;
	cgroup = cgroup_of(root, &names);
	if (!cgroup)
		error_set(error, "out of memory");
	else if (end_containers(engine, &names, sidecar_files_unfinished(slug), error) == 0)
		result = remove_wall(slug, cgroup, &names, error);
	/* What a start that was killed has left; one that runs keeps its own. */
	sidecar_files_unlock(slug, sidecar_files_lock(slug, false, NULL));
	free(cgroup);
	free(root);
	return result;
}
