mod apart;
mod circles;
mod explore;
mod programs;
mod random;
mod simulate;
mod sizes;
