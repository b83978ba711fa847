//! Who may sign with which keys, and how. Pure.
//!
//! | file | holds |
//! |---|---|
//! | `identity` | the names of a client, read from its certificate |
//! | `rule` | what one rule lets whom do |
//! | `list` | the rules, and who is revoked |
//!
//! Nothing is allowed that no rule allows, and a revoked name is refused whatever the rules say.

mod identity;
mod list;
mod pattern;
mod rule;
mod san;

pub use identity::{BadCertificate, BadIdentity, Identities, Identity};
pub use list::{AccessList, Denial, Grant};
pub use pattern::{BadPattern, NamePattern, Who};
pub use rule::{BadRule, Keys, Rule, RuleFault};
