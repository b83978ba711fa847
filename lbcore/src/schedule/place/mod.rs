//! By a key: the same on every node that knows the same backends.

mod bounded;
mod compact;
mod crc32;
mod ketama;
mod maglev;
mod placement;
mod race;
mod rendezvous;
mod shelf;
mod turns;

pub use bounded::{BoundedCursor, BoundedLoad, BoundedPlan, FactorError};
pub use ketama::{Ketama, KetamaRing};
pub use maglev::{Maglev, MaglevTable, TableSizeError};
pub use placement::{ATTEMPTS, Placement};
pub use rendezvous::{Rendezvous, RendezvousTable, RowBits};

pub(super) use crc32::Crc32;
