// SPDX-License-Identifier: BSD-2-Clause
/* The database is the bottle's own, and SQLite and NSS would parse it with our rights. So a child
 * copies it to a tmpfs that nobody else sees, gives up everything, and lets certutil loose on the
 * copy; what comes back is bytes in two memfds. pkcs11.txt is not copied: it names libraries to load,
 * and here those would be the host's. */
#include "provision_nss.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CERTUTIL "/usr/bin/certutil"
#define NICKNAME "egress-bpf"
/* Behind the workers' ids (worker_uid.h) and below the subordinate ones: nobody else has it, so nobody
 * may trace the child. */
#define UID 94208
#define SECONDS 20
#define FILE_LIMIT ((size_t)16 << 20)
#define PLACE "/tmp" /* where the child mounts its tmpfs */
#define DATABASE ("sql:" PLACE)
#define CERTIFICATES (PLACE "/cert9.db")
#define KEYS (PLACE "/key4.db")
#define CA (PLACE "/ca.pem")
#define OUTPUT (PLACE "/output")
#define COPIES 8 /* of one name: a CA that was made anew keeps its subject */

enum outcome { CHANGED = 10, UNCHANGED, CANNOT_CONFINE, CANNOT_READ, CANNOT_CHANGE };

bool provision_nss_usable(void)
{
	return geteuid() == 0 && access(CERTUTIL, X_OK) == 0;
}

/* ---- in the child ----------------------------------------------------------------------------- */

static bool put_file(const char *path, struct span content)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	bool done = fd >= 0 && span_write(content, fd) == 0 && fchown(fd, UID, UID) == 0;

	if (fd >= 0)
		close(fd);
	return done;
}

/* The ids of the file system are the bottle's (rootfs_open_process()), and go back first. */
static bool make_place(const struct provision_nss *job)
{
	setfsuid(0);
	setfsgid(0);
	return unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC) == 0 &&
	       mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("tmpfs", PLACE, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
		     "size=64m,mode=0700,uid=94208,gid=94208") == 0 &&
	       put_file(CERTIFICATES, job->certificates) &&
	       (job->keys.length == 0 || put_file(KEYS, job->keys)) && put_file(CA, job->ca_pem);
}

static void limit(int resource, rlim_t value)
{
	const struct rlimit limits = {value, value};

	(void)setrlimit(resource, &limits);
}

/* no_new_privs, so that no program of the host gives anything back; the death signal after the ids,
 * for a change of those clears it (prctl(2)). */
static bool give_up(void)
{
	limit(RLIMIT_CPU, SECONDS);
	limit(RLIMIT_AS, (rlim_t)1 << 30);
	limit(RLIMIT_FSIZE, FILE_LIMIT);
	limit(RLIMIT_CORE, 0);
	return setgroups(0, NULL) == 0 && setresgid(UID, UID, UID) == 0 &&
	       setresuid(UID, UID, UID) == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == 0;
}

/* Its words are about hostile content: they go nowhere. True when it ended with 0. */
static bool certutil(const char *const *arguments)
{
	static const char *const environment[] = {"HOME=" PLACE, NULL};
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);
		int output = open(OUTPUT, O_WRONLY | O_CREAT | O_TRUNC, 0600);

		if (null < 0 || output < 0 || dup2(null, 0) < 0 || dup2(output, 1) < 0 ||
		    dup2(null, 2) < 0)
			_exit(127);
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
		/* The memfds, too: only what the child itself reads back goes into them. */
		close_range(3, ~0u, 0);
		execve(CERTUTIL, (char *const *)arguments, (char *const *)environment);
		_exit(127);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
	       WEXITSTATUS(status) == 0;
}

static int read_file(const char *path, struct bytes *ret)
{
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), result;

	result = fd < 0 ? -1 : bytes_read(ret, fd, FILE_LIMIT);
	if (fd >= 0)
		close(fd);
	return result;
}

/* The certificates of our name, one behind the other. */
static bool lists(bool *ret_any, bool *ret_ours, struct span ca_der)
{
	static const char *const any[] = {CERTUTIL, "-L", "-d", DATABASE, NULL};
	static const char *const named[] = {CERTUTIL, "-L", "-r", "-n", NICKNAME, "-d", DATABASE,
					    NULL};
	struct bytes output = {0};

	if (!certutil(any))
		return false;
	*ret_any = certutil(named) && read_file(OUTPUT, &output) == 0 && output.length > 0;
	*ret_ours = *ret_any && span_equal(bytes_span(&output), ca_der);
	bytes_free(&output);
	return true;
}

static enum outcome change(const struct provision_nss *job)
{
	/* An empty password file: certutil would ask at a terminal otherwise. */
	static const char *const drop[] = {CERTUTIL, "-D", "-n", NICKNAME, "-f", "/dev/null", "-d",
					   DATABASE, NULL};
	static const char *const add[] = {CERTUTIL, "-A", "-n", NICKNAME, "-t", "C,,", "-i", CA, "-f",
					  "/dev/null", "-d", DATABASE, NULL};
	bool any, ours;

	if (!lists(&any, &ours, job->ca_der))
		return CANNOT_READ;
	if (job->remove ? !any : ours)
		return UNCHANGED;
	for (int i = 0; any && i < COPIES; i++) {
		if (!certutil(drop) || !lists(&any, &ours, job->ca_der))
			return CANNOT_CHANGE;
	}
	if (!job->remove && (!certutil(add) || !lists(&any, &ours, job->ca_der) || !ours))
		return CANNOT_CHANGE;
	return CHANGED;
}

static bool hand_over(const char *path, int fd)
{
	struct bytes content = {0};
	bool done = access(path, F_OK) < 0 ||
		    (read_file(path, &content) == 0 && span_write(bytes_span(&content), fd) == 0);

	bytes_free(&content);
	return done;
}

static NORETURN void run_child(const struct provision_nss *job, int certificates_fd, int keys_fd)
{
	enum outcome outcome = CANNOT_CONFINE;

	if (make_place(job) && give_up()) {
		alarm(SECONDS);
		outcome = change(job);
	}
	if (outcome == CHANGED &&
	    !(hand_over(CERTIFICATES, certificates_fd) && hand_over(KEYS, keys_fd)))
		outcome = CANNOT_CHANGE;
	_exit((int)outcome);
}

/* ---- outside ---------------------------------------------------------------------------------- */

static const char *problem_of(int status)
{
	if (!WIFEXITED(status))
		return "certutil took too long";
	switch (WEXITSTATUS(status)) {
	case CANNOT_CONFINE:
		return "certutil cannot be confined here";
	case CANNOT_READ:
		return "certutil cannot read it";
	default:
		return "certutil cannot change it: it may have a password";
	}
}

static int take_back(int fd, struct bytes *ret, struct error *error)
{
	if (lseek(fd, 0, SEEK_SET) < 0 || bytes_read(ret, fd, FILE_LIMIT) < 0)
		return error_set(error, "what certutil made of it is larger than 16 MiB");
	return 0;
}

static int run(const struct provision_nss *job, int certificates_fd, int keys_fd,
	       struct error *error)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0)
		run_child(job, certificates_fd, keys_fd);
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return error_set(error, "fork: %s", strerror(errno));
	if (WIFEXITED(status) && WEXITSTATUS(status) == UNCHANGED)
		return 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == CHANGED)
		return 1;
	return error_set(error, "%s", problem_of(status));
}

int provision_nss_change(const struct provision_nss *job, struct bytes *ret_certificates,
			 struct bytes *ret_keys, struct error *error)
{
	int certificates_fd = memfd_create("cert9.db", MFD_CLOEXEC);
	int keys_fd = memfd_create("key4.db", MFD_CLOEXEC), result = -1;

	if (certificates_fd < 0 || keys_fd < 0)
		error_set(error, "memfd_create: %s", strerror(errno));
	else
		result = run(job, certificates_fd, keys_fd, error);
	if (result == 1 && (take_back(certificates_fd, ret_certificates, error) < 0 ||
			    take_back(keys_fd, ret_keys, error) < 0))
		result = -1;
	if (certificates_fd >= 0)
		close(certificates_fd);
	if (keys_fd >= 0)
		close(keys_fd);
	return result;
}
