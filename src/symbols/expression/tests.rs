use super::*;

fn ask(kind: Kind, text: &str) -> Option<String> {
    lock_expression(text, 0, kind)
}

#[test]
fn lines_of_real_programs() {
    for (line, want) in [
        ("pthread_mutex_lock(&acct->lock);", "acct->lock"),
        ("    pthread_mutex_init(&q->mu, NULL);", "q->mu"),
        ("if (pthread_mutex_trylock(&cache.shard[i & 7].mu) == 0) {", "cache.shard[i&7].mu"),
        ("  int rc = pthread_mutex_timedlock(mu, &deadline);", "mu"),
        ("pthread_cond_wait(&q->nonempty, &q->mu);", "q->mu"),
        ("while (!done) pthread_cond_timedwait(&cv, &mu, &ts);", "mu"),
        ("std::lock_guard<std::mutex> g(self.mu);", "self.mu"),
        ("const std::lock_guard<std::mutex> lock{mutex_};", "mutex_"),
        ("std::lock_guard<decltype(m)> hold(m);", "m"),
        ("std::lock_guard<std::mutex> lock(*mu_);", "mu_"),
        ("std::unique_lock lk{m_};", "m_"),
        ("std::unique_lock<std::mutex> lk(s->m, std::defer_lock);", "s->m"),
        ("std::unique_lock<std::shared_timed_mutex> lk(table_[hash(key) % 16].mu);", "table_[hash(key)%16].mu"),
        ("auto lk = std::unique_lock<std::mutex>{pool.mu};", "pool.mu"),
        ("auto lk = std::unique_lock(pool.mu);", "pool.mu"),
        ("std::scoped_lock l(only);", "only"),
        ("std::scoped_lock guard{state_->mutex};", "state_->mutex"),
        ("mu.lock();", "mu"),
        ("this->mu.lock();", "mu"),
        ("auto guard = self.inner.lock().unwrap();", "self.inner"),
        ("shards_[i].mu.lock();", "shards_[i].mu"),
        ("get_lock(key)->lock();", "get_lock(key)"),
        ("(*it)->second.mu.lock();", "(*it)->second.mu"),
        ("pthread_mutex_lock(&(*it)->mu);", "(*it)->mu"),
        ("((struct node *)p)->mu.lock();", "((struct node*)p)->mu"),
        ("std::lock_guard<std::mutex> l(get_mutex());", "get_mutex()"),
        ("std::lock_guard<std::mutex> l(Registry::instance().mu);", "Registry::instance().mu"),
        ("std::lock_guard<std::mutex> l(detail::g_mu); // not (this)", "detail::g_mu"),
        ("MutexLock l(&mutex_);", "mutex_"),
        ("  InstrumentedMutexLock guard_lock(&mutex_);", "mutex_"),
        ("absl::MutexLock lock(&mu_);", "mu_"),
        ("QMutexLocker locker(&m_mutex);", "m_mutex"),
        ("boost::mutex::scoped_lock l(io_mutex);", "io_mutex"),
        ("base::AutoLock auto_lock(lock_);", "lock_"),
        ("SpinLockHolder h(&pageheap_lock);", "pageheap_lock"),
        ("mutex_.Lock();", "mutex_"),
        ("db->mutex()->Lock();", "db->mutex()"),
        ("mtx_lock(&m);", "m"),
        ("mtx_init(&srv.m, mtx_plain);", "srv.m"),
        ("uv_mutex_lock(&loop->wq_mutex);", "loop->wq_mutex"),
        ("g_mutex_lock (&priv->lock);", "priv->lock"),
        ("LOCK(cs_main);", "cs_main"),
        ("PTHREAD_MUTEX_LOCK(&worker->lock);", "worker->lock"),
        ("apr_thread_mutex_lock(pool->mutex);", "pool->mutex"),
        ("pthread_mutex_lock((pthread_mutex_t *)&obj->lock);", "obj->lock"),
        ("pthread_mutex_lock(reinterpret_cast<pthread_mutex_t*>(&storage));", "storage"),
        ("pthread_mutex_lock(&(a->b));", "a->b"),
        ("for (;;) { pthread_mutex_lock(&m); f(); pthread_mutex_unlock(&m); }", "m"),
        ("pthread_mutex_lock(\n    &very->long_name\n        .mu);", "very->long_name.mu"),
        ("std::lock_guard<std::mutex>\n    guard(mu);", "mu"),
    ] {
        assert_eq!(ask(Kind::Mutex, line).as_deref(), Some(want), "{line}");
    }
}

#[test]
fn other_kinds() {
    for (kind, line, want) in [
        (Kind::Rwlock, "pthread_rwlock_rdlock(&tbl.rw);", "tbl.rw"),
        (Kind::Rwlock, "this->mutex_.lock_shared();", "mutex_"),
        (Kind::Rwlock, "std::shared_lock<std::shared_mutex> r(rw_);", "rw_"),
        (Kind::Rwlock, "ReadLock rl(&rwlock_);", "rwlock_"),
        (Kind::Spinlock, "pthread_spin_lock(&ring->spin);", "ring->spin"),
        (Kind::Semaphore, "sem_wait(&s);", "s"),
        (Kind::Semaphore, "while (sem_trywait(&pool->slots) != 0)", "pool->slots"),
        (Kind::Semaphore, "slots_.acquire();", "slots_"),
        (Kind::Condvar, "pthread_cond_wait(&q->nonempty, &q->mu);", "q->nonempty"),
        (Kind::Condvar, "cv_.wait(lk, [&] { return ready; });", "cv_"),
        (Kind::Condvar, "self->cv.wait_for(lk, 10ms);", "self->cv"),
        (Kind::Barrier, "pthread_barrier_wait(&start);", "start"),
        (Kind::Once, "std::call_once(init_flag, [] { init(); });", "init_flag"),
        (Kind::Once, "pthread_once(&once, make_key);", "once"),
        (Kind::Join, "pthread_join(tid[i], NULL);", "tid[i]"),
        (Kind::Join, "worker.join();", "worker"),
    ] {
        assert_eq!(ask(kind, line).as_deref(), Some(want), "{line}");
    }
}

#[test]
fn rather_nothing_than_nonsense() {
    for line in [
        "",
        "}",
        "std::scoped_lock l(a, b);",
        "std::lock(a, b);",
        "LOCK2(cs_main, cs_wallet);",
        "lk.lock();",
        "lock();",
        "clock_gettime(CLOCK_MONOTONIC, &ts);",
        "block(x);",
        "pthread_mutex_unlock(&m);",
        "pthread_mutexattr_init(&attr);",
        "pthread_mutex_lock(a ? &b : &c);",
        "pthread_mutex_lock(NULL);",
        "pthread_mutex_lock(",
        "pthread_mutex_lock(&a); pthread_mutex_lock(&b);",
        "void Cache::lock(Mutex &m) {",
        "printf(\"pthread_mutex_lock(&m)\");",
        "// pthread_mutex_lock(&m);",
        "log_lock_error(\"x\");",
        "int lock_count = count(a);",
        "std::lock_guard<std::mutex> g;",
        "cv_.wait(lk);",
        "\u{0}\u{1}((((((((((",
        "<<<<>>>>::..->",
    ] {
        assert_eq!(ask(Kind::Mutex, line), None, "{line}");
    }
    assert_eq!(ask(Kind::Semaphore, "pthread_mutex_lock(&m);"), None);
}

#[test]
fn the_column_tells_which() {
    let line = "pthread_mutex_lock(&a); pthread_mutex_lock(&b);";
    assert_eq!(lock_expression(line, 1, Kind::Mutex).as_deref(), Some("a"));
    assert_eq!(lock_expression(line, 25, Kind::Mutex).as_deref(), Some("b"));
    assert_eq!(lock_expression(line, 24, Kind::Mutex), None);
    // Both kinds on one line are told apart without it.
    let line = "pthread_mutex_init(&q->mu, 0); pthread_cond_init(&q->cv, 0);";
    assert_eq!(ask(Kind::Condvar, line).as_deref(), Some("q->cv"));
    assert_eq!(ask(Kind::Mutex, line).as_deref(), Some("q->mu"));
}

#[test]
fn the_callers_argument() {
    assert_eq!(argument("lock_it(&acct->lock, 3);", "lock_it", 0).as_deref(), Some("acct->lock"));
    assert_eq!(argument("x = take(3, s.mu);", "take", 1).as_deref(), Some("s.mu"));
    assert_eq!(argument("take(a); take(b);", "take", 0), None);
    assert_eq!(argument("other(a);", "take", 0), None);
    assert_eq!(argument("take(a);", "take", 1), None);
}

#[test]
fn what_a_method_is_called_of() {
    assert_eq!(receiver("\ts.once.Do(func() { other.Do(f) })", "Do"), None);
    assert_eq!(receiver("\ts.once.Do(func() {\n other.Do(f)", "Do").as_deref(), Some("s.once"));
    assert_eq!(receiver("v, ok := c.shards[i].m.Load(key)", "Load").as_deref(), Some("c.shards[i].m"));
    assert_eq!(receiver("Do(f)", "Do"), None);
    assert_eq!(receiver("get().Do(f)", "Do").as_deref(), Some("get()"));
}
