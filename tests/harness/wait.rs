//! A condition and its deadline, instead of a sleep.

use std::time::{Duration, Instant};

/// How long anything local may take before a test calls it lost.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks at a condition: short beside any time-out under test, and long enough that
/// looking costs the process under test nothing.
const PAUSE: Duration = Duration::from_millis(2);

/// The host's clock; tests and benches read it here only.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "real processes run in real time")]
pub fn now() -> Instant {
    Instant::now()
}

/// The first `Some` that `look` gives, or `None` if `limit` passes without one.
///
/// Looks at least once, blocks the thread between looks, and looks once more after the limit.
pub fn until<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = now() + limit;
    loop {
        let late = now() >= deadline;
        match look() {
            None if late => return None,
            None => pause(PAUSE),
            found => return found,
        }
    }
}

/// Waits until `condition` holds.
///
/// # Panics
///
/// When it does not within `limit`; the message is `what`.
#[track_caller]
pub fn eventually(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    assert!(
        until(limit, || condition().then_some(())).is_some(),
        "not within {limit:?}: {what}"
    );
}

/// Waits until `condition` holds, and lets other tasks of this thread run meanwhile.
///
/// # Panics
///
/// When it does not within `limit`; the message is `what`.
pub async fn eventually_async(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = now() + limit;
    while !condition() {
        assert!(now() < deadline, "not within {limit:?}: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Lets real time pass: for a bench that measures a span, never to wait for an event.
#[expect(
    clippy::disallowed_methods,
    reason = "the one pause that all waiting shares"
)]
pub fn pause(span: Duration) {
    std::thread::sleep(span);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_holds_at_once_is_seen_without_any_patience() {
        assert_eq!(until(Duration::ZERO, || Some(7)), Some(7));
    }

    #[test]
    fn looking_goes_on_until_the_condition_holds() {
        let mut looks = 0;
        eventually(PATIENCE, "three looks", || {
            looks += 1;
            looks == 3
        });
        assert_eq!(looks, 3);
    }

    #[test]
    fn what_never_holds_ends_at_the_limit() {
        let start = now();
        assert_eq!(until::<()>(Duration::from_millis(20), || None), None);
        assert!(start.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    #[should_panic(expected = "the moon")]
    fn a_failure_says_what_was_awaited() {
        eventually(Duration::ZERO, "the moon", || false);
    }

    #[tokio::test]
    async fn other_tasks_run_while_one_waits() {
        let (sent, mut received) = tokio::sync::oneshot::channel();
        tokio::spawn(async move { sent.send(()) });
        eventually_async(PATIENCE, "the other task", || received.try_recv().is_ok()).await;
    }
}
