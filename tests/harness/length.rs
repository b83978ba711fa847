//! How long a test that can be made longer runs.

/// `short`, or `long` when `TESTS_LONG` is set in the environment to anything but nothing.
///
/// A short run shows that a thing works; a long one, what happens to it over time.
#[must_use]
pub fn either<T>(short: T, long: T) -> T {
    if is_long() { long } else { short }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test takes no arguments of its own: only the environment can tell"
)]
fn is_long() -> bool {
    std::env::var("TESTS_LONG").is_ok_and(|value| !value.is_empty())
}
