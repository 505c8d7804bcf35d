/* SPDX-License-Identifier: Apache-2.0
 *
 * date.h - reading the Date of a message (RFC 5322 3.3 and the obsolete forms of 4.3).
 *
 * Writing one is core/time.h's work.
 */
#ifndef OUTPOST_MAIL_DATE_H
#define OUTPOST_MAIL_DATE_H

#include "core/base.h"

/* Years 1900 to 9999. The day of the week is skipped, comments too; an unknown zone name counts as
 * +0000 (RFC 5322 4.3). E_SYNTAX, also for a day or time that does not exist. */
MUST_USE enum err date_parse(struct str text, struct wall *ret_wall);

#endif
