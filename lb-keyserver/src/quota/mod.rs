//! How much each client may sign. Pure.

mod limits;
mod quotas;
mod table;

pub use limits::{Limits, Rate};
pub use quotas::{Permit, QuotaConfig, QuotaExceeded, Quotas};
