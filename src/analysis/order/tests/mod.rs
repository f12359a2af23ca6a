mod circles;
mod cross_run;
mod explore;
mod larger;
pub(in crate::analysis) mod programs;
mod random;
pub(in crate::analysis) mod simulate;
mod sizes;
