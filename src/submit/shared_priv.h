/* SPDX-License-Identifier: Apache-2.0
 *
 * shared_priv.h - what all loops count and remember together, without a lock.
 */
#ifndef OUTPOST_SUBMIT_SHARED_PRIV_H
#define OUTPOST_SUBMIT_SHARED_PRIV_H

#include "submit/submit.h"

/* Counts a connection from ip. E_FULL: over a limit of config, nothing is counted. */
MUST_USE enum err shared_connect(
        struct submit_shared *shared, const struct config *config, struct ip ip);
void shared_disconnect(struct submit_shared *shared, struct ip ip);
bool shared_is_loaded(const struct submit_shared *shared, const struct config *config);

/* Logins that a worker found good in the last SUBMIT_LOGIN_MS, for this password hash. */
bool shared_knows(struct submit_shared *shared, const struct config_credential *credential,
        struct str password, struct mono now);
void shared_remember(struct submit_shared *shared, const struct config_credential *credential,
        struct str password, struct mono now);

/* Failed logins. is_limited: too many from there or for that login; ask before hashing. */
bool shared_is_limited(
        struct submit_shared *shared, struct ip ip, struct str user, struct mono now);
void shared_failed(struct submit_shared *shared, struct ip ip, struct str user, struct mono now);

#endif
