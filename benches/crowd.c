// The watched program: many threads that take many locks now and then.
//
//   crowd THREADS LOCKS SECONDS
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static pthread_mutex_t *locks;
static long lock_count;
static volatile int over;

static unsigned next(unsigned *seed) {
  *seed = *seed * 1664525u + 1013904223u;
  return *seed >> 8;
}

__attribute__((noinline)) static void use(pthread_mutex_t *lock, unsigned long_one) {
  pthread_mutex_lock(lock);
  if (long_one)
    usleep(2000);
  pthread_mutex_unlock(lock);
}

static void *worker(void *number) {
  unsigned seed = (unsigned)(long)number * 7919u + 1;
  while (!over) {
    for (int i = 0; i < 5; i++)
      use(&locks[next(&seed) % lock_count], next(&seed) % 50 == 0);
    usleep(5000 + next(&seed) % 10000);
  }
  return NULL;
}

int main(int argc, char **argv) {
  if (argc != 4)
    return 2;
  long threads = atol(argv[1]);
  lock_count = atol(argv[2]);
  locks = malloc(lock_count * sizeof *locks);
  pthread_t *ids = malloc(threads * sizeof *ids);
  for (long i = 0; i < lock_count; i++)
    pthread_mutex_init(&locks[i], NULL);
  for (long i = 0; i < threads; i++)
    pthread_create(&ids[i], NULL, worker, (void *)i);
  sleep(atoi(argv[3]));
  over = 1;
  for (long i = 0; i < threads; i++)
    pthread_join(ids[i], NULL);
  return 0;
}
