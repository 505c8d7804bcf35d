/* SPDX-License-Identifier: Apache-2.0
 *
 * mutant_priv.h - known bugs, each behind a switch, for the test that every one is caught.
 *
 * In normal builds MUTANT() is constant false and the code behind it disappears.
 */
#ifndef OUTPOST_SPOOL_MUTANT_PRIV_H
#define OUTPOST_SPOOL_MUTANT_PRIV_H

#define MUTANT_LIST(X)                                                                             \
    X(ack_before_sync)                                                                             \
    X(skip_sync)                                                                                   \
    X(crc_of_header_only)                                                                          \
    X(append_after_torn_tail)                                                                      \
    X(ignore_prev_end)                                                                             \
    X(reuse_before_both_checkpoints)                                                               \
    X(no_segment_check)                                                                            \
    X(retry_failed_sync)                                                                           \
    X(skip_old_slot_sync)                                                                          \
    X(write_into_poisoned)                                                                         \
    X(void_only_failing_batch)                                                                     \
    X(ignore_durable_upto)                                                                         \
    X(durable_upto_of_good_headers_only)                                                           \
    X(no_idle_mark)                                                                                \
    X(recovery_without_sync)                                                                       \
    X(sync_after_reading)                                                                          \
    X(checkpoint_unsynced)                                                                         \
    X(checkpoint_single)                                                                           \
    X(outcome_buffered)                                                                            \
    X(dsn_and_link_split)                                                                          \
    X(read_error_is_end)                                                                           \
    X(publish_before_sync)

#ifdef OUTPOST_MUTANTS
enum mutant {
    MUTANT_NONE,
#define MUTANT_ENUM(name) MUTANT_##name,
    MUTANT_LIST(MUTANT_ENUM)
#undef MUTANT_ENUM
            MUTANT_COUNT
};
extern enum mutant mutant_chosen;
#define MUTANT(name) (mutant_chosen == MUTANT_##name)
#else
#define MUTANT(name) false
#endif

#endif
