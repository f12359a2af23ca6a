//! What a language's table of lock operations is made of. The tables themselves are each language's own.

/// How many calls of a slow path there are, and how many of them a site leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// The slow path.
    pub function: &'static str,
    /// Calls that a site leads to.
    pub reached: usize,
    /// All calls.
    pub of: usize,
}

/// What happens to a lock, or to the thread (the goroutine, the task).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Event {
    /// It is asked for, and was not free at once.
    Requested(Mode),
    /// It was free, and is held now.
    Acquired(Mode),
    /// What was asked for last by this thread is held now.
    AcquiredAfterWait(Mode),
    /// A try took it.
    TryAcquired(Mode),
    /// It is no longer held.
    Released(Mode),
    /// Who holds it alone lets other readers have it, too.
    Downgraded,
    /// A try begins.
    Try(Mode),
    /// A try ends, with its result.
    Tried(Mode),
    /// A count was changed: of a wait group.
    Counted,
    /// A wait for something that is no lock begins, or is over.
    Wait,
    /// A wait for something that is no lock is over, where that is a place of its own.
    Waited,
    /// Somebody who waits is woken.
    Wake,
    /// A message is sent or received, or one of several is.
    Message,
    /// A channel is closed.
    Closed,
    /// A thread is about to be made, or was made.
    Created,
    /// A thread is at its end.
    Ended,
    /// The scheduler takes a thread off the processor, or gives it one again.
    Parked,
    /// Memory that nobody reaches is found: it may be used for something else from now on.
    Collected,
    /// A signal is handled: trampolines are hidden meanwhile.
    Signal,
}

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    /// By one.
    Exclusive,
    /// With other readers.
    Shared,
}

/// The instruction that an operation is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Atomic {
    /// `lock cmpxchg`.
    CompareExchange,
    /// `lock xadd`.
    ExchangeAdd,
    /// `xchg`.
    Exchange,
}

/// When an atomic did what it was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Success {
    /// The zero flag is set.
    Equal,
    /// The zero flag is set, and none of these bits was in the value before (which `eax` has).
    EqualAndClear(u8),
    /// The value before was at least this.
    AtLeast(i8),
    /// In any case.
    Always,
}

/// An operation that is an inlined atomic.
#[derive(Debug)]
pub struct AtomicRow {
    /// The source function in which the atomic stands.
    pub operation: &'static str,
    /// The atomic.
    pub atomic: Atomic,
    /// From the lock's address to the atomic's word, bytes.
    pub offset: u8,
    /// When it succeeded.
    pub success: Success,
    /// What that means.
    pub event: Event,
    /// What it means if it did not.
    pub failure: Option<Event>,
    /// Whether a cold call always follows, as proof and for the self-check.
    pub has_cold_call: bool,
}

/// A slow path that is called where an operation was inlined.
#[derive(Debug)]
pub struct ColdRow {
    /// The function that is called.
    pub function: &'static str,
    /// The operation that calls it.
    pub operation: &'static str,
    /// Whether other operations call this function too: then only calls in this one count.
    pub shared: bool,
    /// What the call itself means, with the offset of the first argument in the lock: the call is sent elsewhere.
    pub event: Option<(Event, u8)>,
}

/// Where a function's hook finds what the event is about. The registers are those at the hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Object {
    /// The first argument.
    First,
    /// The first argument, and the second as a number.
    FirstAndSecond,
    /// The second argument, and the third as a small number.
    SecondAndThird,
    /// The third argument.
    Third,
    /// The goroutine that the first argument, or the result, is.
    Goroutine,
    /// The result's truth value.
    Truth,
    /// The running thread alone.
    Nothing,
}

/// An operation that is a whole function.
#[derive(Debug)]
pub struct FunctionRow {
    /// The function.
    pub function: &'static str,
    /// What its beginning means.
    pub entry: Option<Event>,
    /// What each of its returns means.
    pub exit: Option<Event>,
    /// What the event is about.
    pub object: Object,
}
