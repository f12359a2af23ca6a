mod explore;
mod random;
mod simulate;
