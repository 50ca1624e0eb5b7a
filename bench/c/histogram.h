/* A log-linear histogram of times: each bucket is less than 1 % wide. */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>
#include <stdio.h>

enum { SUB_BUCKETS = 256, EXPONENTS = 64 };

typedef struct {
    uint64_t buckets[EXPONENTS * SUB_BUCKETS];
    uint64_t n;
    double sum_ns;
    int64_t max_ns;
} histogram;

static inline void note(histogram *h, int64_t ns)
{
    if (ns < 0)
        ns = 0;
    h->n++;
    h->sum_ns += ns;
    if (ns > h->max_ns)
        h->max_ns = ns;
    /* The exponent leaves 128 to 255 of the value, the 8 bits that are kept. */
    int exponent = ns < SUB_BUCKETS ? 0 : 63 - __builtin_clzll(ns) - 7;
    h->buckets[exponent * SUB_BUCKETS + (ns >> exponent)]++;
}

/* The middle of a bucket. */
static inline double bucket_us(int index)
{
    if (index < SUB_BUCKETS)
        return index / 1e3;
    int exponent = index / SUB_BUCKETS;
    int64_t mantissa = index % SUB_BUCKETS;
    return ((double)(mantissa << exponent) + (double)(1LL << exponent) / 2) / 1e3;
}

/* -1 if nothing was noted. */
static inline double percentile_us(const histogram *h, double percent)
{
    if (h->n == 0)
        return -1;
    uint64_t rank = h->n * percent / 100, seen = 0;
    if (rank >= h->n)
        rank = h->n - 1;
    for (int i = 0; i < EXPONENTS * SUB_BUCKETS; i++) {
        seen += h->buckets[i];
        if (seen > rank)
            return bucket_us(i);
    }
    return h->max_ns / 1e3;
}

static inline void print_histogram(const char *name, const histogram *h, const char *after)
{
    printf("\"%s\":{\"n\":%llu,\"mean\":%.1f,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,"
           "\"p999\":%.1f,\"max\":%.1f}%s",
           name, (unsigned long long)h->n, h->n ? h->sum_ns / h->n / 1e3 : -1,
           percentile_us(h, 50), percentile_us(h, 90), percentile_us(h, 99),
           percentile_us(h, 99.9), h->max_ns / 1e3, after);
}

#endif
