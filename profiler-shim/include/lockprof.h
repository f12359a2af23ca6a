/* lockprof.h: what a program may tell lockprof. Optional: nothing here has to be linked.
 *
 * The functions are weak: without the recorder their address is null, and the macros below cost a
 * comparison. Copy this file into your program, or add its folder to the include path.
 */
#ifndef LOCKPROF_H
#define LOCKPROF_H

#ifdef __cplusplus
extern "C" {
#endif

/* Names a lock (a mutex, rwlock, semaphore, condition variable ...) in reports, after it was initialised.
 * The text is copied, up to 255 bytes. The name ends with the lock. */
__attribute__((weak)) void lockprof_set_name(const void *lock, const char *name);

#define LOCKPROF_SET_NAME(lock, name)            \
    do {                                         \
        if (lockprof_set_name)                   \
            lockprof_set_name((lock), (name));   \
    } while (0)

#ifdef __cplusplus
}
#endif

#endif
