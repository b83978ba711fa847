//! Packets through `clb` in a network of its own: real kernels at both ends, every method, both
//! families.
//!
//! `TESTS_LONG=1` sends files of 100 MiB instead of 8, and 10,000 short connections instead of 1,000.

mod changes;
mod checks;
mod flood;
mod judge;
mod methods;
mod path;
mod rig;
mod setting;
mod told;
