//! What is found, and what only comes close.
