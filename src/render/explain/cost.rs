//! What costs time, in sentences.

use super::names::Names;
use super::phrases::Phrases;
use crate::analysis::findings::cost::{Cost, HeldAcross, LongHold, What};
use crate::analysis::findings::{Finding, Subject};
use crate::model::{StackId, Stacks};
use crate::render::units::{count, duration, percent, plural};

/// One line. `phrases`: for the place, which tells findings about one lock apart.
pub(super) fn title(cost: &Cost, finding: &Finding, names: &Names<'_>, phrases: &Phrases<'_>) -> String {
    let here = || match finding.subject.at.first() {
        Some(stack) => format!(" in {}", phrases.blamed(*stack)),
        None => String::new(),
    };
    let lock = finding.subject.locks.first().map_or_else(|| "a lock".to_owned(), |lock| names.lock(*lock));
    let lost = duration(cost.lost_ns);
    match &cost.what {
        What::LongHold(LongHold { few: Some((few, least_ns)), holds, .. }) => format!(
            "{lock} is held for {} and longer{}, {} of {} times: others waited {lost} for that",
            duration(*least_ns),
            here(),
            count(*few),
            count(*holds)
        ),
        What::LongHold(LongHold { mean_ns, .. }) => {
            format!("{lock} is held for {} at a time{}: others waited {lost} for that", duration(*mean_ns), here())
        }
        What::HotLock { held_share, threads, .. } => {
            format!("{lock} is held {} of the time: {threads} threads waited {lost} for it", percent(*held_share))
        }
        What::TinySection { p50_ns, .. } => {
            format!("{lock} is held for {} only, and threads waited {lost} for it", duration(*p50_ns))
        }
        What::Convoy { contended_share, .. } => {
            format!(
                "{} of those who take {lock} wait, {lost} in all, though it is mostly free",
                percent(*contended_share)
            )
        }
        What::RwlockNotWorthIt { reads, writes, .. } => format!(
            "{lock} is written {} times and read {} times: readers hardly ever meet",
            count(*writes),
            count(*reads)
        ),
        What::Starvation { longest_wait_ns, usual_hold_ns, .. } => format!(
            "{lock} was waited for up to {}, and is hardly ever held for more than {}",
            duration(*longest_wait_ns),
            duration(*usual_hold_ns)
        ),
        What::PendingWriter { .. } => {
            format!("readers of {lock} waited {lost} while others only read: a writer waits before them")
        }
        What::SlowOnce { calls, took_ns } => {
            let calls = plural(*calls, "call", "calls");
            format!("{lock} took {} to initialise: {calls} waited {lost} for that", duration(*took_ns))
        }
        What::ThunderingHerd { posts, woken, in_vain } => format!(
            "{lock} woke {} threads by {} signals, {} of them for nothing",
            count(*woken),
            count(*posts),
            percent(*in_vain as f64 / (*woken).max(1) as f64)
        ),
        What::SharedCacheLine { other, .. } => {
            format!("{lock} and {} lie in one cache line, and different threads take them", names.lock(*other))
        }
        What::NeverShared { acquisitions } => {
            format!("{lock} was taken {} times, each time by the same thread", count(*acquisitions))
        }
        What::Saturating { held_share, .. } => {
            format!("{lock} is held {} of the time, and is waited for more and more", percent(*held_share))
        }
        What::HeldAcross(HeldAcross { call, calls, took_ns, .. }) => format!(
            "{lock} is held across {call}{}, {}, {}: others waited {lost} for that",
            here(),
            plural(*calls, "time", "times"),
            duration(*took_ns)
        ),
    }
}

/// Why, in one sentence: who, where and how much.
pub(super) fn reason(cost: &Cost, finding: &Finding, phrases: &Phrases<'_>) -> String {
    let Subject { locks, at, related, .. } = &finding.subject;
    let lock = phrases.lock(locks.first().copied().unwrap_or_default());
    let place = |stack: Option<&StackId>| phrases.blamed(stack.copied().unwrap_or(Stacks::UNKNOWN));
    let (here, there) = (place(at.first()), place(related.first()));
    let waited = || match related.is_empty() {
        true => String::new(),
        false => format!(", most of it in {there}"),
    };
    let lost = match cost.of_threads > 0.0 {
        true => format!("{} ({} of their threads' time)", duration(cost.lost_ns), percent(cost.of_threads)),
        false => duration(cost.lost_ns),
    };
    match &cost.what {
        What::LongHold(hold) => {
            let LongHold { holds, mean_ns, p50_ns, max_ns, few, of_wait, .. } = hold;
            let how = match few {
                Some((few, least_ns)) => format!(
                    "{} of its {} holds take {} and longer, up to {}, while half of them take less than {}",
                    count(*few),
                    count(*holds),
                    duration(*least_ns),
                    duration(*max_ns),
                    duration(*p50_ns)
                ),
                None => format!(
                    "{} of {} on average, up to {}",
                    plural(*holds, "hold", "holds"),
                    duration(*mean_ns),
                    duration(*max_ns)
                ),
            };
            format!(
                "{here} holds {lock}: {how}; others waited {lost} for it meanwhile, {} of all waiting for this lock{}",
                percent(*of_wait),
                waited()
            )
        }
        What::HotLock { held_share, threads, places, mean_hold_ns } => format!(
            "{lock} is held for {} at a time, {} of the run, from {}, {here} first: no more than {:.1} times as much work \
             fits through it; {threads} threads waited {lost}{}",
            duration(*mean_hold_ns),
            percent(*held_share),
            plural(*places, "place", "places"),
            1.0 / held_share.max(0.01),
            waited()
        ),
        What::TinySection { p50_ns, acquisitions, contended } => format!(
            "half of the holds of {lock} in {here} take less than {}, but {} of {} acquisitions waited: {lost}{}",
            duration(*p50_ns),
            count(*contended),
            count(*acquisitions),
            waited()
        ),
        What::Convoy { contended_share, held_share, mean_hold_ns, mean_wait_ns } => format!(
            "{} of the acquisitions of {lock} wait, {} on average, for holds of {}, and while they wait it is held {} of \
             the time only: the rest is sleeping and waking up; threads waited {lost}{}",
            percent(*contended_share),
            duration(*mean_wait_ns),
            duration(*mean_hold_ns),
            percent(*held_share),
            waited()
        ),
        What::RwlockNotWorthIt { reads, writes, readers } => format!(
            "{} of the acquisitions of {lock} write, and where it is read, {readers:.1} readers have it at one time; threads \
             waited {lost}{}",
            percent(*writes as f64 / (reads.saturating_add(*writes)).max(1) as f64),
            waited()
        ),
        What::Starvation { waits, longest_wait_ns, usual_hold_ns, threads } => format!(
            "{} waited up to {} for {lock} in {there}, {}, while {here} and others had it again and again, never for more \
             than {}; lost: {lost}",
            plural(*threads, "thread", "threads"),
            duration(*longest_wait_ns),
            plural(*waits, "time", "times"),
            duration(*usual_hold_ns)
        ),
        What::PendingWriter { waits, mean_hold_ns } => format!(
            "{here} reads {lock} for {} on average; a writer waits for that, and {} of readers wait behind the writer: \
             {lost}{}",
            duration(*mean_hold_ns),
            plural(*waits, "acquisition", "acquisitions"),
            waited()
        ),
        What::SlowOnce { calls, took_ns } => format!(
            "the initialisation of {lock} in {here} took {}; {} waited for it, {lost}{}",
            duration(*took_ns),
            plural(*calls, "other call", "other calls"),
            waited()
        ),
        What::ThunderingHerd { posts, woken, in_vain } => format!(
            "{} signals of {lock}, most of them in {here}, woke {} threads; {} of these waited again at once{}: {lost}",
            count(*posts),
            count(*woken),
            count(*in_vain),
            if related.is_empty() { String::new() } else { format!(" in {there}") }
        ),
        What::SharedCacheLine { other, apart, acquisitions } => format!(
            "{lock}, taken in {here}, and {}, taken in {there}, are {apart} bytes apart; each was taken {} times and more, \
             by different threads: about {lost} of fetching the line, if each fetch takes 50 ns",
            phrases.lock(*other),
            count(*acquisitions)
        ),
        What::NeverShared { acquisitions } => format!(
            "{}, most of them in {here}, and all by one thread: about {lost}, if each takes 20 ns; no other thread took \
             {lock} while the program was recorded",
            plural(*acquisitions, "acquisition", "acquisitions")
        ),
        What::Saturating { held_share, quarters } => {
            let quarters = quarters.map(duration).join(", ");
            format!(
                "{lock} is held {} of the run, most of it in {here}, and the waiting grows from quarter to quarter: \
                 {quarters}",
                percent(*held_share)
            )
        }
        What::HeldAcross(HeldAcross { call, function: Some((waits, at_least)), calls, took_ns, longest_ns }) => {
            let waiter =
                related.get(1).map_or_else(String::new, |stack| format!(", most of it in {}", phrases.blamed(*stack)));
            let taken = if related.is_empty() { String::new() } else { format!(", taken in {there}") };
            format!(
                "{here} calls {call} with {lock} held{taken}: {}, {} in all, {} on average, {} at most; others waited \
                 {}{lost} for the lock because of it, in {}{waiter}",
                plural(*calls, "time", "times"),
                duration(*took_ns),
                duration(took_ns / (*calls).max(1)),
                duration(*longest_ns),
                if *at_least { "at least " } else { "" },
                plural(*waits, "wait", "waits"),
            )
        }
        What::HeldAcross(HeldAcross { call, function: None, calls, took_ns, longest_ns }) => {
            let waiter =
                related.get(1).map_or_else(String::new, |stack| format!(", most of it in {}", phrases.blamed(*stack)));
            let taken = if related.is_empty() { String::new() } else { format!(", taken in {there}") };
            format!(
                "{here} waits for {call} with {lock} held{taken}: {}, {} in all, {} at most; others waited {lost} for the \
                 lock because of it{waiter}",
                plural(*calls, "time", "times"),
                duration(*took_ns),
                duration(*longest_ns)
            )
        }
    }
}

/// What to do.
pub(super) fn advice(cost: &Cost) -> &'static str {
    match &cost.what {
        What::LongHold(LongHold { keeps_readers: true, .. }) => {
            "Prepare the new value before taking the lock, and only swap it in while holding it."
        }
        What::LongHold(LongHold { few: Some(_), .. }) => {
            "Find what makes these few long (a resize, a flush, a first time) and do that outside of the lock or in parts."
        }
        What::LongHold(_) => "Move what does not need the lock out of that hold.",
        What::HotLock { .. } => "Split it by what it protects (one lock for each part or shard), or do less under it.",
        What::TinySection { .. } => {
            "If it protects one value, make that an atomic; else keep a part per thread and add up, or do more work under one \
             acquisition."
        }
        What::Convoy { .. } => {
            "Take it more rarely (batch), and let a running thread take a free lock instead of handing it over in turn."
        }
        What::RwlockNotWorthIt { .. } => "Make it a mutex: it is cheaper, and nothing is lost.",
        What::Starvation { .. } => {
            "Leave the lock alone for longer between two holds, hand the work over in a queue, or use a fair lock."
        }
        What::PendingWriter { .. } => "Shorten that reader's hold: copy what it needs and give the lock back.",
        What::SlowOnce { .. } => "Initialise it before the threads start, or where only those wait who need it.",
        What::ThunderingHerd { .. } => "Signal one thread for each piece of work instead of all.",
        What::SharedCacheLine { .. } => "Align each lock to 64 bytes, or put it beside the data that it protects.",
        What::NeverShared { .. } => "If no other thread ever needs it, remove the lock.",
        What::Saturating { .. } => "Hold it for less, or split it, before the load grows further.",
        What::HeldAcross(HeldAcross { call, function: Some(_), .. }) => advice_about(call),
        What::HeldAcross(_) => "Do that before taking the lock or after giving it back.",
    }
}

/// The function of libc that a call of Go's library is like.
fn like(call: &str) -> &str {
    const PREFIXES: [(&str, &str); 17] = [
        ("time.Sleep", "sleep"),
        ("net.", "recv"),
        ("net/", "recv"),
        ("crypto/tls.", "recv"),
        ("os/exec.", "wait"),
        ("os.(*Process).", "wait"),
        ("os.StartProcess", "fork"),
        ("os.(*File).Read", "read"),
        ("os.Read", "read"),
        ("os.(*File).Sync", "fsync"),
        ("os.(*File).Write", "write"),
        ("os.Write", "write"),
        ("io.Read", "read"),
        ("io.Copy", "write"),
        ("bufio.(*Writer).", "write"),
        ("fmt.Fprint", "write"),
        ("log.", "write"),
    ];
    PREFIXES.iter().find(|(prefix, _)| call.starts_with(prefix)).map_or(call, |(_, like)| like)
}

/// What to do about a call that blocks under a lock.
fn advice_about(call: &str) -> &'static str {
    match like(call) {
        "nanosleep" | "clock_nanosleep" | "usleep" | "sleep" | "pause" => {
            "Sleep before taking the lock or after giving it back; to wait for a change of what it protects, wait on a \
             condition variable, which gives the lock back meanwhile."
        }
        "poll" | "ppoll" | "select" | "pselect" | "epoll_wait" | "epoll_pwait" | "accept" | "accept4" => {
            "Wait for events without the lock, and take it for what they change."
        }
        "recv" | "recvfrom" | "recvmsg" | "recvmmsg" | "send" | "sendto" | "sendmsg" | "sendmmsg" | "connect"
        | "getaddrinfo" | "getnameinfo" | "gethostbyname" | "gethostbyaddr" => {
            "Talk to the network without the lock: take what is needed out under it, and put the answer in under it."
        }
        "fork" | "wait" | "waitpid" | "wait3" | "wait4" | "waitid" | "pclose" => {
            "Start processes and wait for them before taking the lock or after giving it back."
        }
        "flock" | "lockf" | "fcntl" => "Take the file's lock first and this one inside it, for short.",
        "read" | "pread" | "readv" | "preadv" | "fread" | "fgets" | "getline" | "getdelim" => {
            "Read without the lock, and take it to put in what was read."
        }
        "write" | "pwrite" | "writev" | "pwritev" | "fwrite" | "fputs" | "puts" | "fflush" | "fsync" | "fdatasync"
        | "msync" | "sync" | "syncfs" | "sync_file_range" | "sendfile" | "splice" | "copy_file_range" => {
            "Copy under the lock what is to be written, give the lock back, and write then; where the order of writes matters, \
             let one thread write from a queue."
        }
        _ => "Do that before taking the lock or after giving it back.",
    }
}

/// What happens at the places, and what they are beside the finding.
pub(super) fn labels(cost: &Cost, finding: &Finding, names: &Names<'_>) -> Vec<(String, &'static str)> {
    let lock = finding.subject.locks.first().map_or_else(|| "a lock".to_owned(), |lock| names.lock(*lock));
    let waits = (format!("waits for {lock}"), "others wait here");
    let takes = (format!("takes {lock}"), "it is held from here on");
    match &cost.what {
        What::LongHold(_) => vec![(format!("takes {lock} and keeps it"), "it is held from here on"), waits],
        What::SlowOnce { .. } => {
            vec![(format!("initialises {lock}"), "here"), (format!("waits for {lock}"), "others wait here")]
        }
        What::ThunderingHerd { .. } => {
            vec![(format!("signals {lock}"), "here"), ("is woken, and waits again".to_owned(), "they are woken here")]
        }
        What::SharedCacheLine { other, .. } => {
            vec![
                (format!("takes {lock}"), "here"),
                (format!("takes {}", names.lock(*other)), "the other is taken here"),
            ]
        }
        What::HeldAcross(HeldAcross { call, function, .. }) => {
            let does = if function.is_some() { "calls" } else { "waits for" };
            vec![
                (format!("{does} {call} with {lock} held"), "here"),
                (format!("had taken {lock}"), "it was taken here"),
                waits,
            ]
        }
        _ => vec![takes, waits],
    }
}
