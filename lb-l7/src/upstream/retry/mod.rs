//! Whether a request that failed is sent again. Pure.
//!
//! A retry must never make a backend do twice what it should do once: only a request of an idempotent
//! method (RFC 9110, 9.2.2; RFC 9112, 9.3.1), or one that provably was not processed, is sent again,
//! whatever the policy says. And it must never make an overload worse: the budget holds retries to a
//! share of all requests.

mod budget;
mod hedge;
mod policy;

pub use budget::{RetryBudget, RetryBudgetConfig, RetryBudgetConfigError};
pub(crate) use hedge::LearnedDelay;
pub use hedge::{Hedge, HedgeDelay};
pub(crate) use policy::Failure;
pub use policy::{RetryOn, RetryPolicy, RetryPolicyError};
