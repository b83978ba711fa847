//! How many allocations were made.

use stats_alloc::INSTRUMENTED_SYSTEM;

/// Allocations of this process so far; freeing is not counted.
pub fn so_far() -> u64 {
    let stats = INSTRUMENTED_SYSTEM.stats();
    (stats.allocations + stats.reallocations) as u64
}
