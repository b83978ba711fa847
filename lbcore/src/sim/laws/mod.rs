//! The laws of the public traits: functions that check anyone's implementation.

mod health;
mod persist;
mod scheduler;
mod session;

pub use health::health_check_laws;
pub use persist::persistence_laws;
pub use scheduler::scheduler_laws;
pub use session::session_table_laws;
