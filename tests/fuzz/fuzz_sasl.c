/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_sasl.c - any lines as an AUTH exchange; the first byte chooses mechanism and initial
 * response.
 */
#include "core/str.h"
#include "proto/sasl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    struct sasl sasl = { 0 };
    struct str line = STR(""), challenge, rest = str_of((const char *)data + 1, size - 1);
    struct str mechanism = data[0] & 1 ? STR("PLAIN") : STR("LOGIN");
    bool has_initial = (data[0] & 2) && str_cut(&rest, '\n', &line);
    enum sasl_step step = sasl_begin(&sasl, mechanism, has_initial, line, &challenge);
    while (step == SASL_CONTINUE && str_cut(&rest, '\n', &line)) {
        step = sasl_input(&sasl, line, &challenge);
    }
    if (step == SASL_CREDENTIALS) {
        ASSERT(sasl.user.len > 0 && sasl.user.len <= SASL_USER_BYTES_MAX);
        ASSERT(sasl.password.len > 0 && sasl.password.len <= SASL_PASSWORD_BYTES_MAX);
        ASSERT(memchr(sasl.user.ptr, '\0', sasl.user.len) == NULL);
        ASSERT(memchr(sasl.password.ptr, '\0', sasl.password.len) == NULL);
    }
    sasl_done(&sasl);
    return 0;
}
