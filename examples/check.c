/* SPDX-License-Identifier: Apache-2.0
 * cc check.c $(pkg-config --cflags --libs outpost-check)
 * ./a.out example.com 192.0.2.1 [ZONE-FILE] */
#include <outpost-check.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    struct outpost_check_options options = { 0 };
    struct outpost_check_result *result;
    options.zone_file = argc > 3 ? argv[3] : NULL;
    int error = argc < 3 ? OUTPOST_CHECK_E_ARGUMENT
                         : outpost_check(argv[1], argv[2], &options, &result);
    if (error)
        return fprintf(stderr, "%s\n", outpost_check_error_text(error)), 1;
    printf("ptr %s, spf %s, dkim %s, dmarc %s %s\n", result->ptr.value, result->spf.result_name,
            outpost_check_status_name(result->default_dkim.status),
            outpost_check_status_name(result->dmarc.status), result->dmarc.policy);
    outpost_check_free(result);
    return 0;
}
