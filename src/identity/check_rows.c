/* SPDX-License-Identifier: Apache-2.0
 *
 * check_rows.c - the table of all checks, in the order in which results are shown.
 */
#include "identity/check_priv.h"

static void say_no_sources(struct checking *c)
{
    if (c->plan->source_count == 0 && !c->plan->is_any) {
        struct identity_result *result = check_say(c, "run.sources", STR(""), IDENTITY_WARN);
        result->found = STR("no source is configured");
        result->expected = STR("a source with the address that mail leaves from");
        result->mend = STR("source \"main\" { address = \"ADDRESS\"  ehlo = \"NAME\" }\n");
        result->detail = STR("what depends on the address is not checked; --ip names one by hand");
    }
}

const struct check_row check_rows[] = {
    { CHECK_OF_RUN, IDENTITY_CHECK_DOMAINS | IDENTITY_CHECK_SOURCES | IDENTITY_CHECK_LISTS, NULL,
            say_no_sources },
    { CHECK_OF_RUN, IDENTITY_CHECK_DOMAINS, NULL, check_cert },
    { CHECK_OF_SOURCE, IDENTITY_CHECK_DOMAINS | IDENTITY_CHECK_SOURCES, NULL, check_ptr },
    { CHECK_OF_SOURCE, IDENTITY_CHECK_DOMAINS | IDENTITY_CHECK_SOURCES, NULL, check_ehlo },
    { CHECK_OF_SOURCE, IDENTITY_CHECK_DOMAINS | IDENTITY_CHECK_SOURCES, NULL, check_spf_helo },
    { CHECK_OF_SOURCE, IDENTITY_CHECK_LISTS, check_list_count, check_list_of_source },
    { CHECK_OF_DOMAIN, IDENTITY_CHECK_DOMAINS, NULL, check_soa },
    { CHECK_OF_DOMAIN, IDENTITY_CHECK_DOMAINS, NULL, check_ns },
    { CHECK_OF_DOMAIN, IDENTITY_CHECK_DOMAINS, NULL, check_mx },
    { CHECK_OF_DOMAIN, IDENTITY_CHECK_DOMAINS, NULL, check_roles },
    { CHECK_OF_DOMAIN, IDENTITY_CHECK_DOMAINS, NULL, check_bounce_mx },
    { CHECK_OF_DOMAIN, IDENTITY_CHECK_DOMAINS, NULL, check_spf_record },
    { CHECK_OF_DOMAIN, IDENTITY_CHECK_DOMAINS, check_dkim_key_count, check_dkim_key },
    { CHECK_OF_DOMAIN, IDENTITY_CHECK_DOMAINS, check_any_count, check_dkim_any },
    { CHECK_OF_DOMAIN, IDENTITY_CHECK_DOMAINS, NULL, check_dmarc_record },
    { CHECK_OF_DOMAIN, IDENTITY_CHECK_DOMAINS, check_service_count, check_service },
    { CHECK_OF_DOMAIN, IDENTITY_CHECK_DOMAINS, NULL, check_sts },
    { CHECK_OF_DOMAIN, IDENTITY_CHECK_DOMAINS, NULL, check_tlsrpt },
    { CHECK_OF_DOMAIN, IDENTITY_CHECK_DOMAINS, NULL, check_tlsa },
    { CHECK_OF_DOMAIN, IDENTITY_CHECK_DOMAINS, NULL, check_dnssec },
    { CHECK_OF_DOMAIN, IDENTITY_CHECK_DOMAINS, NULL, check_caa },
    { CHECK_OF_DOMAIN, IDENTITY_CHECK_DOMAINS, NULL, check_ttl },
    { CHECK_OF_DOMAIN, IDENTITY_CHECK_DOMAINS, NULL, check_bimi },
    { CHECK_OF_DOMAIN, IDENTITY_CHECK_LISTS, check_list_count, check_list_of_domain },
    { CHECK_OF_PAIR, IDENTITY_CHECK_DOMAINS, NULL, check_spf_pass },
    { CHECK_OF_PAIR, IDENTITY_CHECK_DOMAINS, NULL, check_dmarc_align },
};
const uint32_t check_row_count = COUNT_OF(check_rows);
