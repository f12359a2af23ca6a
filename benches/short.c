// A program that is over soon: its own work is less than what a recorder does before and after it.
//
//   short MILLISECONDS FILE
//
// Four threads take locks for that long; with 0 there are none. FILE gets the time of `main`'s start and end, in ns of
// CLOCK_MONOTONIC.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static pthread_mutex_t locks[8];
static long long end;

static long long now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000ll + time.tv_nsec;
}

static void *work(void *unused) {
  (void)unused;
  for (unsigned i = 0; now() < end; i++) {
    pthread_mutex_lock(&locks[i % 8]);
    pthread_mutex_unlock(&locks[i % 8]);
    for (volatile int pause = 0; pause < 5000; pause++)
      ;
  }
  return NULL;
}

int main(int argc, char **argv) {
  long long begin = now();
  if (argc != 3)
    return 2;
  end = begin + atoll(argv[1]) * 1000000;
  if (end > begin) {
    pthread_t threads[4];
    for (int i = 0; i < 8; i++)
      pthread_mutex_init(&locks[i], NULL);
    for (int i = 0; i < 4; i++)
      if (pthread_create(&threads[i], NULL, work, NULL))
        return 1;
    for (int i = 0; i < 4; i++)
      pthread_join(threads[i], NULL);
  }
  FILE *file = fopen(argv[2], "w");
  if (!file)
    return 1;
  fprintf(file, "%lld %lld\n", begin, now());
  return fclose(file) ? 1 : 0;
}
