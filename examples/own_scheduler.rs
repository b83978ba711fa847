//! A scheduler of your own.
fn main() {}
