//! By load: the least of all, by one measure or another.

mod heap;
mod least;
mod least_connections;
mod locality;
mod never_queue;
mod overflow;
mod ratio;
mod shortest_expected_delay;

pub use least::Least;
pub use least_connections::LeastConnections;
pub use locality::{Localities, LocalityLeastConnections};
pub use never_queue::NeverQueue;
pub use overflow::Overflow;
pub use ratio::Ratio;
pub use shortest_expected_delay::ShortestExpectedDelay;
