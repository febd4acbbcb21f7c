/* Loaded before the C library: makes large allocations of a process fail, and counts them.
 *
 * FAILING_ABOVE  bytes above which an allocation is large
 * FAILING_PLACE  number of the place in the program whose large allocations fail, from 1; 0 for those of every place
 * FAILING_TOLD   file that is created when one fails
 *
 * With a place, the allocations of the main thread succeed: they are of the options and not of an image. */

#define _GNU_SOURCE
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DEPTH 16
#define PLACES 4096

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t), *__libc_memalign(size_t, size_t);

static size_t above = SIZE_MAX;
static long wanted;
static const char *told;
static uint64_t places[PLACES];
static long known;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static __thread int inside;

__attribute__((constructor)) static void begin(void) {
    void *frames[DEPTH];
    const char *value = getenv("FAILING_ABOVE");
    inside = 1;
    backtrace(frames, DEPTH); /* loads what it needs */
    inside = 0;
    told = getenv("FAILING_TOLD");
    wanted = atol(getenv("FAILING_PLACE") ?: "0");
    if (value != NULL)
        above = strtoull(value, NULL, 10);
}

/* The number of the place that called the allocator. */
static long place(void) {
    void *frames[DEPTH];
    uint64_t hash = 0xcbf29ce484222325;
    long number = 0;
    int depth = backtrace(frames, DEPTH);
    for (int i = 3; i < depth; i++)
        hash = (hash ^ (uintptr_t)frames[i]) * 0x100000001b3;
    pthread_mutex_lock(&lock);
    while (number < known && places[number] != hash)
        number++;
    if (number == known && known < PLACES)
        places[known++] = hash;
    pthread_mutex_unlock(&lock);
    return number + 1;
}

static int fails(size_t size) {
    int fail, file;
    if (size <= above || inside || (wanted != 0 && getpid() == (pid_t)syscall(SYS_gettid)))
        return 0;
    inside = 1;
    fail = wanted == 0 || place() == wanted;
    if (fail && told != NULL && (file = open(told, O_WRONLY | O_CREAT, 0600)) >= 0)
        close(file);
    inside = 0;
    if (fail)
        errno = ENOMEM;
    return fail;
}

void *malloc(size_t size) { return fails(size) ? NULL : __libc_malloc(size); }

void *calloc(size_t count, size_t size) {
    size_t all;
    if (__builtin_mul_overflow(count, size, &all))
        return NULL;
    return fails(all) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size) { return fails(size) ? NULL : __libc_realloc(old, size); }

int posix_memalign(void **out, size_t align, size_t size) {
    if (fails(size) || (*out = __libc_memalign(align, size)) == NULL)
        return ENOMEM;
    return 0;
}

void *aligned_alloc(size_t align, size_t size) {
    return fails(size) ? NULL : __libc_memalign(align, size);
}
