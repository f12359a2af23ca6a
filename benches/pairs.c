// The measured program: locks and unlocks, and says what one pair takes, in nanoseconds.
//
//   pairs loop DEPTH PAIRS ROUNDS PAUSE_US   uncontended, at the end of DEPTH calls; the best round
//   pairs paths PAIRS ROUNDS PAUSE_US        the same through 16 call paths in pseudo-random order
//   pairs tilt DEPTH PAIRS                   without a pause: the mean
//   pairs fold DEPTH PAIRS ROUNDS            with the recorder stopped, if there is one: all is aggregated
//   pairs cold DEPTH KB ROUNDS               so many KB of memory are touched between two pairs; the median round
//   pairs frames PAIRS ROUNDS PAUSE_US       as loop with 10 calls, each of which has 8 KB on the stack
//   pairs conds PAIRS ROUNDS PAUSE_US        a condition variable is made, signalled under the lock, and destroyed
//   pairs calls CALLS ROUNDS                 a read that fails at once, with no lock held; the best round
//   pairs held CALLS ROUNDS PAUSE_US         the same with the lock held
//   pairs rate THREADS PAIRS SECONDS         so many pairs a second by all threads together, in bursts of a millisecond
//   pairs crowd THREADS PAIRS                threads on one lock, PAIRS each: wall time by all pairs
//
// The pauses give a recorder the time to empty its buffers, so that a round shows what an event costs.
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static volatile long counter;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e9 + t.tv_nsec;
}

__attribute__((noinline)) static void pair(void) {
  pthread_mutex_lock(&lock);
  counter++;
  pthread_mutex_unlock(&lock);
}

__attribute__((noinline)) static double round_of(long pairs) {
  double start = now();
  for (long i = 0; i < pairs; i++) {
    pthread_mutex_lock(&lock);
    counter++;
    pthread_mutex_unlock(&lock);
  }
  return (now() - start) / pairs;
}

static double best_of(double (*round)(long), long pairs, long rounds, long pause) {
  double best = 1e18;
  for (long i = 0; i < rounds; i++) {
    double took = round(pairs);
    if (took < best) best = took;
    if (pause) usleep(pause);
  }
  return best;
}

// Not a tail call: every frame stays on the stack.
__attribute__((noinline)) static double descend(long depth, double (*round)(long), long pairs, long rounds, long pause) {
  volatile double best;
  if (depth <= 1)
    best = best_of(round, pairs, rounds, pause);
  else
    best = descend(depth - 1, round, pairs, rounds, pause);
  return best;
}

static volatile long returned;
#define PATH(n) \
  __attribute__((noinline)) static void path_##n(void) { pair(); returned = n; }
PATH(0) PATH(1) PATH(2) PATH(3) PATH(4) PATH(5) PATH(6) PATH(7)
PATH(8) PATH(9) PATH(10) PATH(11) PATH(12) PATH(13) PATH(14) PATH(15)
static void (*const paths[16])(void) = {path_0, path_1, path_2,  path_3,  path_4,  path_5,  path_6,  path_7,
                                        path_8, path_9, path_10, path_11, path_12, path_13, path_14, path_15};

__attribute__((noinline)) static double round_of_paths(long pairs) {
  unsigned long random = 88172645463325252ul;
  double start = now();
  for (long i = 0; i < pairs; i++) {
    random ^= random << 13, random ^= random >> 7, random ^= random << 17;
    paths[random >> 60]();
  }
  return (now() - start) / pairs;
}

static char *memory;
static long kilobytes;

__attribute__((noinline)) static void touch(void) {
  for (long i = 0; i < kilobytes * 1024; i += 64) memory[i]++;
}

// The clock is read around the pair only, and what the reading takes is measured in the same way.
__attribute__((noinline)) static double round_of_cold(long pairs) {
  double with = 0, without = 0;
  for (long i = 0; i < pairs; i++) {
    touch();
    double start = now();
    pthread_mutex_lock(&lock);
    pthread_mutex_unlock(&lock);
    with += now() - start;
    touch();
    start = now();
    without += now() - start;
  }
  return (with - without) / pairs;
}

static int compare(const void *one, const void *other) {
  double a = *(const double *)one, b = *(const double *)other;
  return (a > b) - (a < b);
}

static double rounds_took[1000];

__attribute__((noinline)) static double cold(long depth, long rounds) {
  volatile double median;
  if (depth > 1) {
    median = cold(depth - 1, rounds);
    return median;
  }
  for (long i = 0; i < rounds; i++) {
    rounds_took[i] = round_of_cold(2000);
    usleep(20000);
  }
  qsort(rounds_took, rounds, sizeof(double), compare);
  median = rounds_took[rounds / 2];
  return median;
}

__attribute__((noinline)) static double descend_large(long depth, long pairs, long rounds, long pause) {
  volatile char large[8192];
  large[depth] = 1;
  volatile double best;
  if (depth <= 1)
    best = best_of(round_of, pairs, rounds, pause);
  else
    best = descend_large(depth - 1, pairs, rounds, pause);
  return best + large[depth] - 1;
}

__attribute__((noinline)) static double round_of_conds(long pairs) {
  double start = now();
  for (long i = 0; i < pairs; i++) {
    pthread_cond_t cond;
    pthread_cond_init(&cond, NULL);
    pthread_mutex_lock(&lock);
    pthread_cond_signal(&cond);
    pthread_mutex_unlock(&lock);
    pthread_cond_destroy(&cond);
  }
  return (now() - start) / pairs;
}

__attribute__((noinline)) static double round_of_calls(long calls) {
  double start = now();
  char nothing;
  for (long i = 0; i < calls; i++) counter += read(-1, &nothing, 1);
  return (now() - start) / calls;
}

static void *contend(void *pairs) {
  round_of((long)pairs);
  return NULL;
}

static double pairs_per_ns, until;

static void *keep_pace(void *nothing) {
  pthread_mutex_t own[8];
  for (int i = 0; i < 8; i++) pthread_mutex_init(&own[i], NULL);
  double start = now();
  for (long done = 0; now() < until; usleep(1000))
    for (long wanted = (now() - start) * pairs_per_ns; done < wanted; done++) {
      pthread_mutex_lock(&own[done & 7]);
      pthread_mutex_unlock(&own[done & 7]);
    }
  return nothing;
}

int main(int count, char **words) {
  const char *what = count > 1 ? words[1] : "";
  long number[4] = {0};
  for (int i = 2; i < count && i < 6; i++) number[i - 2] = atol(words[i]);
  double result;
  if (!strcmp(what, "loop")) {
    result = descend(number[0], round_of, number[1], number[2], number[3]);
  } else if (!strcmp(what, "paths")) {
    result = descend(1, round_of_paths, number[0], number[1], number[2]);
  } else if (!strcmp(what, "tilt")) {
    result = descend(number[0], round_of, number[1], 1, 0);
  } else if (!strcmp(what, "fold")) {
    // The recorder is this program's parent.
    int recorded = getenv("LD_PRELOAD") != NULL;
    if (recorded) kill(getppid(), SIGSTOP);
    descend(number[0], round_of, 100000, 1, 0);
    result = descend(number[0], round_of, number[1], number[2], 0);
    if (recorded) kill(getppid(), SIGCONT);
  } else if (!strcmp(what, "cold") && number[2] <= 1000) {
    kilobytes = number[1];
    memory = calloc(kilobytes + 1, 1024);
    result = cold(number[0], number[2]);
  } else if (!strcmp(what, "frames")) {
    result = descend_large(10, number[0], number[1], number[2]);
  } else if (!strcmp(what, "conds")) {
    result = descend(1, round_of_conds, number[0], number[1], number[2]);
  } else if (!strcmp(what, "calls")) {
    pair();
    result = best_of(round_of_calls, number[0], number[1], 0);
  } else if (!strcmp(what, "held")) {
    pthread_mutex_lock(&lock);
    result = best_of(round_of_calls, number[0], number[1], number[2]);
    pthread_mutex_unlock(&lock);
  } else if (!strcmp(what, "rate") && number[0] > 0 && number[0] <= 64) {
    pthread_t threads[64];
    pairs_per_ns = number[1] / 1e9 / number[0];
    until = now() + number[2] * 1e9;
    for (int i = 0; i < number[0]; i++) pthread_create(&threads[i], NULL, keep_pace, NULL);
    for (int i = 0; i < number[0]; i++) pthread_join(threads[i], NULL);
    result = number[1];
  } else if (!strcmp(what, "crowd") && number[0] <= 64) {
    pthread_t threads[64];
    double start = now();
    for (int i = 0; i < number[0]; i++) pthread_create(&threads[i], NULL, contend, (void *)number[1]);
    for (int i = 0; i < number[0]; i++) pthread_join(threads[i], NULL);
    result = (now() - start) / (number[0] * number[1]);
  } else {
    fprintf(stderr, "see the source for the arguments\n");
    return 2;
  }
  printf("%f\n", result);
}
