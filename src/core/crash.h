/* SPDX-License-Identifier: Apache-2.0
 *
 * crash.h - named places at which a test build kills itself, to see what a restart makes of it.
 *
 * OUTPOST_CRASH=name:n in the environment: SIGKILL at the n-th time (1 where :n is missing) that
 * the place of that name is reached. Other builds have no such places.
 */
#ifndef OUTPOST_CORE_CRASH_H
#define OUTPOST_CORE_CRASH_H

#ifdef OUTPOST_CRASH_POINTS
void crash_point(const char *name); /* any thread */
#define CRASH_POINT(name) crash_point(name)
#else
#define CRASH_POINT(name) ((void)0)
#endif

#endif
