/* SPDX-License-Identifier: Apache-2.0
 *
 * banned.h - calls that have a safer form in core/: using one is a compile error.
 */
#ifndef OUTPOST_CORE_BANNED_H
#define OUTPOST_CORE_BANNED_H

/* The system headers must be read first, or the poison would hit their declarations. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#undef alloca /* a macro in glibc */

#ifndef __clang_analyzer__
#pragma GCC poison strcpy strcat strncpy strncat sprintf vsprintf strtok gets atoi atol strtol
#pragma GCC poison strtoul strtoll strtoull gmtime localtime ctime alloca popen
/* OpenSSL has parameters of these names, so only the call is banned. */
#define rand() banned_use_prng_or_edge_random
#define srand(seed) banned_use_prng_or_edge_random
#endif

#endif
