//! By chance: one drawn, or the best of a few.

mod alias;
mod peak_ewma;
mod power_of_two;
mod prequal;
mod random;

pub use alias::AliasTable;
pub use peak_ewma::{Latencies, PeakEwma};
pub use power_of_two::{InFlight, PowerOfTwo};
pub use prequal::{Boards, Knowledge, Prequal, ProbeBoard};
pub use random::Random;
