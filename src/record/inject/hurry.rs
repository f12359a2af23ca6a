//! While others are stopped, the thread that stopped them is to run before all others, where that is allowed.

/// See the module.
pub struct Hurry {
    before: Option<(i32, libc::sched_param)>,
}

impl Hurry {
    /// From now on, until it is dropped.
    pub fn begin() -> Self {
        const PRIORITY: i32 = 20;
        let mut parameters = libc::sched_param { sched_priority: 0 };
        // SAFETY: of this thread; `parameters` is valid to write to and to read.
        let before = unsafe {
            let policy = libc::sched_getscheduler(0);
            let known = policy >= 0 && libc::sched_getparam(0, &raw mut parameters) == 0;
            let wanted = libc::sched_param { sched_priority: PRIORITY };
            (known && libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const wanted) == 0)
                .then_some((policy, parameters))
        };
        Self { before }
    }
}

impl Drop for Hurry {
    fn drop(&mut self) {
        if let Some((policy, parameters)) = self.before {
            // SAFETY: as above.
            unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) };
        }
    }
}
