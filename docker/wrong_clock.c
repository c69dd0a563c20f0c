/* Preloaded into a process, it sets its wall clock ahead by WRONG_CLOCK_MS and leaves its monotonic clock alone: docker/kafka.sh, KAFKA_CLOCK.
 *
 * libfaketime, which does this for others, bends a JVM's timed waits too (version 0.9.10): a broker under it took seconds where it takes milliseconds. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static int (*right)(clockid_t, struct timespec *);
static long long ahead_ns;

__attribute__((constructor)) static void begin(void) {
    const char *ms = getenv("WRONG_CLOCK_MS");
    ahead_ns = ms ? atoll(ms) * 1000000 : 0;
    right = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    if (!right) begin(); /* another library's constructor may ask first */
    int failed = right(clock, time);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        long long ns = time->tv_nsec + ahead_ns;
        time->tv_sec += ns / 1000000000;
        time->tv_nsec = ns % 1000000000;
    }
    return failed;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    (void)zone;
    struct timespec now;
    int failed = clock_gettime(CLOCK_REALTIME, &now);
    if (!failed) {
        time->tv_sec = now.tv_sec;
        time->tv_usec = now.tv_nsec / 1000;
    }
    return failed;
}

time_t time(time_t *told) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (told) *told = now.tv_sec;
    return now.tv_sec;
}
