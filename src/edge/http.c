/* SPDX-License-Identifier: Apache-2.0
 *
 * http.c - the one adapter over libcurl: a thread that runs all transfers, a pipe that brings their
 * ends to the loop. No redirects, no proxies, no cookies; documents over HTTPS only.
 */
#include "edge/http.h"

#include "core/buf.h"
#include "core/list.h"
#include "core/str.h"
#include "edge/errno_priv.h"
#include "edge/net.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <curl/curl.h>

enum { POLL_MS = 1000, WHY_CAP = CURL_ERROR_SIZE };

struct transfer {
    struct list link;
    CURL *curl;
    struct curl_slist *resolve, *headers, *rcpts;
    struct buf body;
    struct buf sending; /* what is sent, from sent_bytes on */
    size_t sent_bytes;
    size_t body_bytes_max;
    bool is_too_big;
    char why[WHY_CAP];
    CURLcode code;
    http_answered *answered;
    void *ctx;
};

struct http {
    struct net *net;
    const char *ca_path;
    CURLM *multi;
    int event_fd;
    pthread_t thread;
    atomic_bool is_ending;
    pthread_mutex_t lock; /* of the two lists */
    struct list fresh;    /* from the loop to the thread */
    struct list ended;    /* from the thread to the loop */
    uint32_t open_count;
    bool is_busy, is_closed; /* closed from within a callback: freed after it */
};

static void transfer_free(struct transfer *transfer)
{
    if (transfer->curl != NULL) {
        curl_easy_cleanup(transfer->curl);
    }
    curl_slist_free_all(transfer->resolve);
    curl_slist_free_all(transfer->headers);
    curl_slist_free_all(transfer->rcpts);
    buf_done(&transfer->body);
    buf_done(&transfer->sending);
    mem_free(transfer);
}

/* ---- on the thread ---- */

static void take_fresh(struct http *http, struct list *running)
{
    struct list *link;
    pthread_mutex_lock(&http->lock);
    while ((link = list_take_first(&http->fresh)) != NULL) {
        struct transfer *transfer = CONTAINER_OF(link, struct transfer, link);
        list_add_last(running, link);
        curl_multi_add_handle(http->multi, transfer->curl);
    }
    pthread_mutex_unlock(&http->lock);
}

static void hand_over(struct http *http, struct transfer *transfer, CURLcode code)
{
    const uint64_t one = 1;
    curl_multi_remove_handle(http->multi, transfer->curl);
    transfer->code = code;
    pthread_mutex_lock(&http->lock);
    list_del(&transfer->link);
    list_add_last(&http->ended, &transfer->link);
    pthread_mutex_unlock(&http->lock);
    (void)!write(http->event_fd, &one, sizeof one); /* full means that it is readable */
}

static void take_ended(struct http *http)
{
    CURLMsg *said;
    int left;
    while ((said = curl_multi_info_read(http->multi, &left)) != NULL) {
        struct transfer *transfer = NULL;
        if (said->msg == CURLMSG_DONE) {
            CURLcode code = said->data.result;
            curl_easy_getinfo(said->easy_handle, CURLINFO_PRIVATE, &transfer);
            hand_over(http, transfer, code);
        }
    }
}

static void *run_transfers(void *ctx)
{
    struct http *http = ctx;
    struct list running, *link;
    list_init(&running);
    while (!atomic_load(&http->is_ending)) {
        int count;
        take_fresh(http, &running);
        (void)curl_multi_perform(http->multi, &count); /* errors show in the transfers */
        take_ended(http);
        (void)curl_multi_poll(http->multi, NULL, 0, POLL_MS, NULL);
    }
    while ((link = list_take_first(&running)) != NULL) {
        struct transfer *transfer = CONTAINER_OF(link, struct transfer, link);
        curl_multi_remove_handle(http->multi, transfer->curl);
        transfer_free(transfer);
    }
    return NULL;
}

static size_t on_body(char *ptr, size_t size, size_t count, void *ctx)
{
    struct transfer *transfer = ctx;
    size_t len = size * count;
    if (len > transfer->body_bytes_max - transfer->body.len) {
        transfer->is_too_big = true;
        return 0; /* ends the transfer */
    }
    buf_add(&transfer->body, str_of(ptr, len));
    return buf_err(&transfer->body) == OK ? len : 0;
}

/* ---- on the loop ---- */

static enum err err_of(const struct transfer *transfer)
{
    if (transfer->is_too_big) {
        return E_TOO_BIG;
    }
    switch ((int)transfer->code) { /* libcurl has a hundred codes */
    case CURLE_OK:
        return OK;
    case CURLE_OPERATION_TIMEDOUT:
        return E_TIMEOUT;
    case CURLE_COULDNT_CONNECT:
        return E_REFUSED;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_ISSUER_ERROR:
        return E_DENIED;
    case CURLE_OUT_OF_MEMORY:
        return E_NOMEM;
    default:
        return E_IO;
    }
}

static void deliver(struct transfer *transfer)
{
    long status = 0;
    const char *type = NULL;
    curl_easy_getinfo(transfer->curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(transfer->curl, CURLINFO_CONTENT_TYPE, &type);
    struct http_reply reply = { .err = err_of(transfer),
        .status = (uint16_t)(status > 0 && status < 1000 ? status : 0),
        .content_type = type != NULL ? type : "",
        .body = buf_str(&transfer->body),
        .why = transfer->why };
    if (reply.err == E_TOO_BIG) {
        reply.why = "the document is larger than allowed";
    } else if (reply.err != OK && transfer->why[0] == '\0') {
        reply.why = curl_easy_strerror(transfer->code);
    }
    transfer->answered(transfer->ctx, &reply);
}

static void http_free(struct http *http);

static struct transfer *next_ended(struct http *http)
{
    pthread_mutex_lock(&http->lock);
    struct list *link = list_take_first(&http->ended);
    pthread_mutex_unlock(&http->lock);
    return link != NULL ? CONTAINER_OF(link, struct transfer, link) : NULL;
}

static void on_event(void *ctx)
{
    struct http *http = ctx;
    uint64_t count;
    struct transfer *transfer;
    (void)!read(http->event_fd, &count, sizeof count);
    http->is_busy = true;
    while (!http->is_closed && (transfer = next_ended(http)) != NULL) {
        http->open_count--;
        deliver(transfer);
        transfer_free(transfer);
    }
    http->is_busy = false;
    if (http->is_closed) {
        http_free(http);
    }
}

/* ---- the calls ---- */

static bool is_url_safe(const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text <= ' ' || *text >= 0x7f || strchr("\"'<>\\^`{|}@#", *text) != NULL) {
            return false;
        }
    }
    return true;
}

/* What holds for documents and for what is sent. */
static bool set_common(struct transfer *transfer, uint64_t ms_max, const char *ca_path)
{
    CURL *curl = transfer->curl;
    return curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_PROXY, "") == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)ms_max) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_USERAGENT, "outpost/" OUTPOST_VERSION) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, transfer->why) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_WRITEDATA, transfer) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_PRIVATE, transfer) == CURLE_OK &&
           (ca_path == NULL || curl_easy_setopt(curl, CURLOPT_CAINFO, ca_path) == CURLE_OK);
}

static bool set_options(
        struct transfer *transfer, const struct http_request *request, const char *ca_path)
{
    char url[HTTP_URL_CAP], at[HTTP_URL_CAP], ip[IP_TEXT_CAP];
    fmt(url, sizeof url, "https://%s:%u%s", request->host, (unsigned)request->at.port,
            request->path);
    struct str text = ip_format(request->at.ip, ip);
    bool is_v6 = request->at.ip.family == IP_V6;
    fmt(at, sizeof at, "%s:%u:%s%.*s%s", request->host, (unsigned)request->at.port,
            is_v6 ? "[" : "", STR_ARG(text), is_v6 ? "]" : "");
    transfer->resolve = curl_slist_append(NULL, at);
    CURL *curl = transfer->curl;
    return transfer->resolve != NULL && curl_easy_setopt(curl, CURLOPT_URL, url) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https") == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_RESOLVE, transfer->resolve) == CURLE_OK &&
           set_common(transfer, request->ms_max, ca_path);
}

static struct transfer *transfer_new(http_answered *answered, void *ctx)
{
    struct transfer *transfer = mem_new(sizeof *transfer);
    if (transfer == NULL) {
        return NULL;
    }
    buf_init(&transfer->body, HTTP_BODY_BYTES_MAX);
    transfer->answered = answered;
    transfer->ctx = ctx;
    transfer->curl = curl_easy_init();
    if (transfer->curl == NULL) {
        transfer_free(transfer);
        return NULL;
    }
    return transfer;
}

static void transfer_start(struct http *http, struct transfer *transfer)
{
    pthread_mutex_lock(&http->lock);
    list_add_last(&http->fresh, &transfer->link);
    pthread_mutex_unlock(&http->lock);
    http->open_count++;
    curl_multi_wakeup(http->multi);
}

enum err http_get(
        struct http *http, const struct http_request *request, http_answered *answered, void *ctx)
{
    if (strlen(request->host) + strlen(request->path) + 64 > HTTP_URL_CAP ||
            !is_url_safe(request->host) || !is_url_safe(request->path) || request->path[0] != '/' ||
            request->at.ip.family == IP_NONE) {
        return E_USAGE;
    }
    if (http->open_count >= HTTP_OPEN_COUNT_MAX) {
        return E_FULL;
    }
    struct transfer *transfer = transfer_new(answered, ctx);
    if (transfer == NULL) {
        return E_NOMEM;
    }
    transfer->body_bytes_max = request->body_bytes_max < HTTP_BODY_BYTES_MAX
                                       ? request->body_bytes_max
                                       : HTTP_BODY_BYTES_MAX;
    if (!set_options(transfer, request, http->ca_path)) {
        transfer_free(transfer);
        return E_NOMEM;
    }
    transfer_start(http, transfer);
    return OK;
}

/* ---- sending ---- */

static size_t on_upload(char *ptr, size_t size, size_t count, void *ctx)
{
    struct transfer *transfer = ctx;
    struct str rest = str_from(buf_str(&transfer->sending), transfer->sent_bytes);
    struct str part = str_sub(rest, 0, size * count);
    if (part.len > 0) {
        memcpy(ptr, part.ptr, part.len);
    }
    transfer->sent_bytes += part.len;
    return part.len;
}

static bool add_line(struct curl_slist **list, const char *line)
{
    struct curl_slist *longer = curl_slist_append(*list, line);
    *list = longer != NULL ? longer : *list;
    return longer != NULL;
}

static bool set_post(struct transfer *transfer, const struct http_sending *sending)
{
    CURL *curl = transfer->curl;
    bool is_good = true;
    for (size_t i = 0; is_good && i < COUNT_OF(sending->header) && sending->header[i]; i++) {
        is_good = add_line(&transfer->headers, sending->header[i]);
    }
    is_good = is_good && add_line(&transfer->headers, "Expect:");
    if (sending->body.len > 0) {
        is_good =
                is_good && curl_easy_setopt(curl, CURLOPT_POST, 1L) == CURLE_OK &&
                curl_easy_setopt(curl, CURLOPT_POSTFIELDS, transfer->sending.ptr) == CURLE_OK &&
                curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)sending->body.len) == CURLE_OK;
    }
    return is_good && curl_easy_setopt(curl, CURLOPT_HTTPHEADER, transfer->headers) == CURLE_OK;
}

static bool set_mail(struct transfer *transfer, const struct http_sending *sending)
{
    CURL *curl = transfer->curl;
    long tls = (long)(sending->is_tls_required ? CURLUSESSL_ALL : CURLUSESSL_TRY);
    return add_line(&transfer->rcpts, sending->mail_to) &&
           curl_easy_setopt(curl, CURLOPT_MAIL_FROM, sending->mail_from) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_MAIL_RCPT, transfer->rcpts) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_USE_SSL, tls) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_upload) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_READDATA, transfer) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)sending->body.len) ==
                   CURLE_OK;
}

static bool set_sending(
        struct transfer *transfer, const struct http_sending *sending, const char *ca_path)
{
    CURL *curl = transfer->curl;
    bool is_mail = sending->mail_to != NULL;
    bool is_good = curl_easy_setopt(curl, CURLOPT_URL, sending->url) == CURLE_OK &&
                   curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR,
                           is_mail ? "smtp,smtps" : "http,https") == CURLE_OK &&
                   set_common(transfer, sending->ms_max, ca_path);
    if (is_good && sending->username != NULL) {
        is_good = curl_easy_setopt(curl, CURLOPT_USERNAME, sending->username) == CURLE_OK &&
                  curl_easy_setopt(curl, CURLOPT_PASSWORD, sending->password) == CURLE_OK;
    }
    return is_good && (is_mail ? set_mail(transfer, sending) : set_post(transfer, sending));
}

enum err http_send(
        struct http *http, const struct http_sending *sending, http_answered *answered, void *ctx)
{
    if (sending->body.len > HTTP_SENDING_BYTES_MAX) {
        return E_TOO_BIG;
    }
    if (http->open_count >= HTTP_OPEN_COUNT_MAX) {
        return E_FULL;
    }
    struct transfer *transfer = transfer_new(answered, ctx);
    if (transfer == NULL) {
        return E_NOMEM;
    }
    buf_init(&transfer->sending, HTTP_SENDING_BYTES_MAX);
    buf_add(&transfer->sending, sending->body);
    transfer->body_bytes_max = HTTP_BODY_BYTES_MAX;
    if (buf_err(&transfer->sending) != OK || !set_sending(transfer, sending, http->ca_path)) {
        transfer_free(transfer);
        return E_NOMEM;
    }
    transfer_start(http, transfer);
    return OK;
}

static enum err thread_start(struct http *http)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* no signal of ours is for it */
    int number = pthread_create(&http->thread, NULL, run_transfers, http);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return number == 0 ? OK : E_FULL;
}

static void http_drop(struct http *http)
{
    if (http->event_fd >= 0) {
        close(http->event_fd);
    }
    curl_multi_cleanup(http->multi);
    pthread_mutex_destroy(&http->lock);
    mem_free(http);
}

enum err http_open(struct net *net, const char *ca_path, struct http **ret_http, struct why *why)
{
    struct http *http = mem_new(sizeof *http);
    if (http == NULL) {
        return E_NOMEM;
    }
    http->net = net;
    http->ca_path = ca_path;
    pthread_mutex_init(&http->lock, NULL);
    list_init(&http->fresh);
    list_init(&http->ended);
    http->multi = curl_multi_init();
    http->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    enum err err = http->multi == NULL ? E_NOMEM : http->event_fd < 0 ? E_FULL : OK;
    if (err == OK) {
        err = net_watch_fd_real(net, http->event_fd, on_event, http);
    }
    if (err == OK && thread_start(http) != OK) {
        net_unwatch_fd_real(net, http->event_fd);
        err = E_FULL;
    }
    if (err != OK) {
        why_set(why, "HTTPS: no transfers can be started: %s", err_name(err));
        http_drop(http);
        return err;
    }
    *ret_http = http;
    return OK;
}

static void http_free(struct http *http)
{
    struct list *link;
    atomic_store(&http->is_ending, true);
    curl_multi_wakeup(http->multi);
    pthread_join(http->thread, NULL);
    net_unwatch_fd_real(http->net, http->event_fd);
    while ((link = list_take_first(&http->fresh)) != NULL ||
            (link = list_take_first(&http->ended)) != NULL) {
        transfer_free(CONTAINER_OF(link, struct transfer, link));
    }
    http_drop(http);
}

void http_close(struct http *http)
{
    if (http == NULL) {
        return;
    }
    http->is_closed = true;
    if (!http->is_busy) {
        http_free(http);
    }
}
