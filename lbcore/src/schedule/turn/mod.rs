//! By turns, whatever the load.

mod cycle;
mod round_robin;
mod weighted_failover;
mod weighted_round_robin;

pub use round_robin::RoundRobin;
pub use weighted_failover::WeightedFailover;
pub use weighted_round_robin::{Position, Turns, WeightedRoundRobin};
