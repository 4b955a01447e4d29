/* SPDX-License-Identifier: BSD-2-Clause */
/* Compiler attributes that back what the contracts say. */
#ifndef ATTRIBUTES_H
#define ATTRIBUTES_H

#define WARN_UNUSED __attribute__((warn_unused_result))
#define NONNULL __attribute__((nonnull))
#define NORETURN __attribute__((noreturn))
#define PRINTF(string, first) __attribute__((format(printf, string, first)))
#define UNUSED __attribute__((unused))
#define CLEANUP(function) __attribute__((cleanup(function)))

/* A sanitizer's own calls are many, change with each version, and end in standard error: no filter
 * can be right for them. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

#endif
