//! Which failures are worth another try.

use std::time::Duration;

use http::{Method, StatusCode};
use lbcore::rng::Rng;
use thiserror::Error;

use crate::upstream::{ChannelError, ChannelErrorKind};

/// How one try failed.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Failure {
    /// There was no connection, so that nothing was sent.
    ConnectFailed,
    /// The request cannot be sent as it is, by whichever connection.
    Own,
    /// The backend said that it did not process the request: REFUSED_STREAM, or GOAWAY with a lower
    /// last stream (RFC 9113, 8.7).
    Refused,
    /// The exchange was broken off, or made no sense.
    Reset {
        /// Whether nothing of the request had been sent.
        unprocessed: bool,
    },
    /// A connection that had been idle turned out to be closed, before any byte of an answer.
    Stale {
        /// Whether nothing of the request had been sent.
        unprocessed: bool,
    },
    /// The try took longer than a try may.
    Timeout,
}

impl Failure {
    /// How an exchange failed over a connection that was, or was not, used before.
    pub(crate) const fn of(error: &ChannelError, is_reused: bool) -> Self {
        let unprocessed = error.unprocessed;
        match error.kind {
            ChannelErrorKind::Request
            | ChannelErrorKind::RequestLength
            | ChannelErrorKind::TunnelUnsupported => Self::Own,
            ChannelErrorKind::GoAway | ChannelErrorKind::RefusedStream if unprocessed => {
                Self::Refused
            }
            _ if error.is_stale(is_reused) => Self::Stale { unprocessed },
            _ => Self::Reset { unprocessed },
        }
    }

    /// Whether the backend provably has not processed the request.
    const fn is_unprocessed(self) -> bool {
        match self {
            Self::ConnectFailed | Self::Own | Self::Refused => true,
            Self::Reset { unprocessed } | Self::Stale { unprocessed } => unprocessed,
            Self::Timeout => false,
        }
    }
}

/// The kinds of failure that a policy retries.
///
/// # Examples
///
/// ```
/// use lb_l7::upstream::RetryOn;
///
/// let on = RetryOn::DEFAULT.with(RetryOn::STATUS_503);
/// assert!(on.contains(RetryOn::CONNECT_FAILURE) && !on.contains(RetryOn::STATUS_502));
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct RetryOn(u16);

impl RetryOn {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// The backend could not be reached.
    pub const CONNECT_FAILURE: Self = Self(1);
    /// The backend refused the stream.
    pub const REFUSED_STREAM: Self = Self(1 << 1);
    /// An idle connection turned out to be closed.
    pub const STALE: Self = Self(1 << 2);
    /// The backend broke the exchange off before it had answered.
    pub const RESET: Self = Self(1 << 3);
    /// A try took too long.
    pub const TIMEOUT: Self = Self(1 << 4);
    /// The answer was 502.
    pub const STATUS_502: Self = Self(1 << 5);
    /// The answer was 503.
    pub const STATUS_503: Self = Self(1 << 6);
    /// The answer was 504.
    pub const STATUS_504: Self = Self(1 << 7);

    /// What shows that the request has reached nobody, and a reset.
    pub const DEFAULT: Self = Self::CONNECT_FAILURE
        .with(Self::REFUSED_STREAM)
        .with(Self::STALE)
        .with(Self::RESET);

    /// Their names in configuration.
    pub const NAMES: [(&'static str, Self); 8] = [
        ("connect-failure", Self::CONNECT_FAILURE),
        ("refused-stream", Self::REFUSED_STREAM),
        ("stale", Self::STALE),
        ("reset", Self::RESET),
        ("timeout", Self::TIMEOUT),
        ("502", Self::STATUS_502),
        ("503", Self::STATUS_503),
        ("504", Self::STATUS_504),
    ];

    /// These and `other`.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These without `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all of `other` are among these.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl Default for RetryOn {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// When a request that failed is sent again.
///
/// Whatever it says, a request is sent again only if its method is idempotent (RFC 9110, 9.2.2) or the
/// backend provably has not processed it, and only if all of its body was kept.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use lb_l7::upstream::{RetryOn, RetryPolicy};
///
/// let policy = RetryPolicy::default()
///     .tries(3)
///     .on(RetryOn::DEFAULT.with(RetryOn::STATUS_503))
///     .per_try_timeout(Duration::from_secs(2));
/// assert!(policy.check().is_ok());
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RetryPolicy {
    /// How often a request is sent at most. 1..=16; default 3; 1: no retry.
    pub tries: u32,
    /// What is retried. Default [`RetryOn::DEFAULT`].
    pub on: RetryOn,
    /// Further statuses that are retried, 4xx and 5xx. Default none.
    pub statuses: Vec<StatusCode>,
    /// How long a try may take before it counts as failed. Default [`Duration::MAX`]: no limit but
    /// that of the request.
    pub per_try_timeout: Duration,
    /// Bytes of a body that are kept for a further try; a longer one is sent once. Default 64 KiB.
    /// Cost: as much memory for each request with a body under way.
    pub replay_bytes: usize,
    /// How long to wait before the second try; twice as long before each further one, and each time
    /// anything between nothing and that (full jitter). Default none: another backend need not wait.
    pub back_off: Option<Duration>,
    /// The longest such wait. Default 250 ms.
    pub longest_back_off: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            tries: 3,
            on: RetryOn::DEFAULT,
            statuses: Vec::new(),
            per_try_timeout: Duration::MAX,
            replay_bytes: 64 * 1024,
            back_off: None,
            longest_back_off: Duration::from_millis(250),
        }
    }
}

impl RetryPolicy {
    /// Never retries.
    #[must_use]
    pub fn never() -> Self {
        Self::default().tries(1)
    }

    /// Sets [`tries`](Self::tries).
    #[must_use]
    pub const fn tries(mut self, tries: u32) -> Self {
        self.tries = tries;
        self
    }

    /// Sets what is retried.
    #[must_use]
    pub const fn on(mut self, on: RetryOn) -> Self {
        self.on = on;
        self
    }

    /// Sets further [`statuses`](Self::statuses).
    #[must_use]
    pub fn statuses(mut self, statuses: impl Into<Vec<StatusCode>>) -> Self {
        self.statuses = statuses.into();
        self
    }

    /// Sets [`per_try_timeout`](Self::per_try_timeout).
    #[must_use]
    pub const fn per_try_timeout(mut self, timeout: Duration) -> Self {
        self.per_try_timeout = timeout;
        self
    }

    /// Sets [`replay_bytes`](Self::replay_bytes).
    #[must_use]
    pub const fn replay_bytes(mut self, bytes: usize) -> Self {
        self.replay_bytes = bytes;
        self
    }

    /// Sets [`back_off`](Self::back_off).
    #[must_use]
    pub const fn back_off(mut self, first: Option<Duration>) -> Self {
        self.back_off = first;
        self
    }

    /// Sets [`longest_back_off`](Self::longest_back_off).
    #[must_use]
    pub const fn longest_back_off(mut self, longest: Duration) -> Self {
        self.longest_back_off = longest;
        self
    }

    /// Whether every value is in its range.
    ///
    /// # Errors
    ///
    /// Says which is not.
    pub fn check(&self) -> Result<(), RetryPolicyError> {
        let is_error = |status: &StatusCode| status.is_client_error() || status.is_server_error();
        if !(1..=MOST_TRIES).contains(&self.tries) {
            Err(RetryPolicyError::Tries(self.tries))
        } else if self.per_try_timeout.is_zero() {
            Err(RetryPolicyError::PerTryTimeout)
        } else if let Some(status) = self.statuses.iter().find(|status| !is_error(status)) {
            Err(RetryPolicyError::Status(*status))
        } else {
            Ok(())
        }
    }

    /// How much of a body is worth keeping: nothing, where there is no further try.
    pub(crate) const fn kept_bytes(&self) -> usize {
        if self.tries > 1 { self.replay_bytes } else { 0 }
    }

    /// Whether a request that was sent so many times, from 1, may be sent again; not once anything of
    /// an answer has gone to the client.
    ///
    /// The budget is to be asked after this, not before: what is not retried anyway costs nothing of
    /// it. RFC 9110, 9.2.2; RFC 9112, 9.3.1.
    pub(crate) fn may_retry(
        &self,
        method: &Method,
        is_replayable: bool,
        failure: Failure,
        tries: u32,
    ) -> bool {
        tries < self.tries
            && is_replayable
            && self.wants(failure)
            && (method.is_idempotent() || failure.is_unprocessed())
    }

    /// As [`may_retry`](Self::may_retry), after an answer of this status: which is no proof that
    /// nothing was done.
    pub(crate) fn may_retry_status(&self, method: &Method, status: StatusCode, tries: u32) -> bool {
        tries < self.tries && self.retries_status(status) && method.is_idempotent()
    }

    /// Whether answers of this status are retried.
    pub(crate) fn retries_status(&self, status: StatusCode) -> bool {
        let named = match status {
            StatusCode::BAD_GATEWAY => RetryOn::STATUS_502,
            StatusCode::SERVICE_UNAVAILABLE => RetryOn::STATUS_503,
            StatusCode::GATEWAY_TIMEOUT => RetryOn::STATUS_504,
            _ => return self.statuses.contains(&status),
        };
        self.on.contains(named) || self.statuses.contains(&status)
    }

    /// How long to wait before the next try, after `tries` of them.
    ///
    /// Source: Brooker, "Exponential Backoff And Jitter" (AWS, 2015), full jitter.
    #[must_use]
    pub fn wait(&self, tries: u32, rng: &mut impl Rng) -> Duration {
        let Some(first) = self.back_off else {
            return Duration::ZERO;
        };
        let factor = 2_u32.saturating_pow(tries.saturating_sub(1));
        let most = first.saturating_mul(factor).min(self.longest_back_off);
        let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(rng.below(nanos.saturating_add(1)))
    }

    const fn wants(&self, failure: Failure) -> bool {
        let kind = match failure {
            Failure::ConnectFailed => RetryOn::CONNECT_FAILURE,
            Failure::Own => return false,
            Failure::Refused => RetryOn::REFUSED_STREAM,
            Failure::Reset { .. } => RetryOn::RESET,
            Failure::Stale { .. } => RetryOn::STALE,
            Failure::Timeout => RetryOn::TIMEOUT,
        };
        self.on.contains(kind)
    }
}

/// What is wrong with a [`RetryPolicy`]; its writer can mend it.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum RetryPolicyError {
    /// A try that may take no time fails before it begins.
    #[error("`per_try_timeout` must be greater than 0")]
    PerTryTimeout,
    /// A status that is no error is the answer that was wanted.
    #[error("`statuses` has {0}, which is no error")]
    Status(StatusCode),
    /// No try at all, or more than anybody waits for.
    #[error("`tries` is {0}; it must be 1 to {MOST_TRIES}")]
    Tries(u32),
}

/// More than this many tries have failed for a reason that a further one shares.
const MOST_TRIES: u32 = 16;

#[cfg(test)]
mod tests {
    use lbcore::rng::Xoshiro;

    use super::*;

    const RESET: Failure = Failure::Reset { unprocessed: false };
    const STALE: Failure = Failure::Stale { unprocessed: false };

    fn may(policy: &RetryPolicy, failure: Failure) -> bool {
        policy.may_retry(&Method::GET, true, failure, 1)
    }

    #[test]
    fn only_idempotent_methods_are_sent_again_unless_it_was_not_processed() {
        let on = RetryOn::DEFAULT.with(RetryOn::TIMEOUT);
        let policy = RetryPolicy::default().on(on);
        let custom = Method::from_bytes(b"PURGE").unwrap();
        let rows = [
            (Method::GET, true),
            (Method::HEAD, true),
            (Method::OPTIONS, true),
            (Method::TRACE, true),
            (Method::PUT, true),
            (Method::DELETE, true),
            (Method::POST, false),
            (Method::PATCH, false),
            (Method::CONNECT, false),
            (custom, false),
        ];
        let unproven = [RESET, STALE, Failure::Timeout];
        let proven = [
            Failure::ConnectFailed,
            Failure::Refused,
            Failure::Reset { unprocessed: true },
            Failure::Stale { unprocessed: true },
        ];
        for (method, is_idempotent) in rows {
            for failure in unproven {
                assert_eq!(
                    policy.may_retry(&method, true, failure, 1),
                    is_idempotent,
                    "{method}"
                );
            }
            for failure in proven {
                assert!(policy.may_retry(&method, true, failure, 1), "{method}");
                assert!(!policy.may_retry(&method, false, failure, 1), "{method}");
            }
            assert!(
                !policy.may_retry(&method, true, Failure::Own, 1),
                "{method}"
            );
            let policy = RetryPolicy::default().on(RetryOn::STATUS_503);
            let status = StatusCode::SERVICE_UNAVAILABLE;
            assert_eq!(
                policy.may_retry_status(&method, status, 1),
                is_idempotent,
                "{method}"
            );
        }
    }

    #[test]
    fn each_kind_is_retried_only_if_the_policy_names_it() {
        let rows = [
            (Failure::ConnectFailed, RetryOn::CONNECT_FAILURE),
            (Failure::Refused, RetryOn::REFUSED_STREAM),
            (RESET, RetryOn::RESET),
            (STALE, RetryOn::STALE),
            (Failure::Timeout, RetryOn::TIMEOUT),
        ];
        let all = RetryOn::NAMES
            .into_iter()
            .fold(RetryOn::NONE, |all, (_, kind)| all.with(kind));
        for (failure, kind) in rows {
            let may = |on| may(&RetryPolicy::default().on(on), failure);
            assert!(may(kind) && may(all), "{failure:?}");
            assert!(
                !may(RetryOn::NONE) && !may(all.without(kind)),
                "{failure:?}"
            );
            assert_eq!(
                may(RetryOn::default()),
                failure != Failure::Timeout,
                "{failure:?}"
            );
        }
    }

    #[test]
    fn each_status_is_retried_only_if_the_policy_names_or_lists_it() {
        let rows = [
            (StatusCode::BAD_GATEWAY, RetryOn::STATUS_502),
            (StatusCode::SERVICE_UNAVAILABLE, RetryOn::STATUS_503),
            (StatusCode::GATEWAY_TIMEOUT, RetryOn::STATUS_504),
        ];
        let all = RetryOn::NAMES
            .into_iter()
            .fold(RetryOn::NONE, |all, (_, kind)| all.with(kind));
        for (status, kind) in rows {
            let may = |policy: RetryPolicy| policy.may_retry_status(&Method::GET, status, 1);
            let on = |on| RetryPolicy::default().on(on);
            assert!(may(on(kind)) && may(on(all)) && !may(on(all.without(kind))));
            assert!(!may(RetryPolicy::default()));
            assert!(may(on(RetryOn::NONE).statuses([status])));
        }
        let listed = RetryPolicy::default().statuses([StatusCode::TOO_EARLY]);
        assert!(listed.retries_status(StatusCode::TOO_EARLY));
        for status in [
            StatusCode::OK,
            StatusCode::NOT_FOUND,
            StatusCode::BAD_GATEWAY,
        ] {
            assert!(!listed.retries_status(status));
        }
    }

    #[test]
    fn no_more_tries_than_may_be() {
        for most in 1..4 {
            let policy = RetryPolicy::default()
                .tries(most)
                .statuses([StatusCode::BAD_GATEWAY]);
            for tries in 1..5 {
                assert_eq!(
                    policy.may_retry(&Method::GET, true, STALE, tries),
                    tries < most
                );
                let status = StatusCode::BAD_GATEWAY;
                assert_eq!(
                    policy.may_retry_status(&Method::GET, status, tries),
                    tries < most
                );
            }
        }
        assert!(!may(&RetryPolicy::never(), STALE));
        assert_eq!(RetryPolicy::never().kept_bytes(), 0);
        assert_eq!(RetryPolicy::default().kept_bytes(), 64 * 1024);
        assert_eq!(RetryPolicy::default().replay_bytes(7).kept_bytes(), 7);
    }

    #[test]
    fn a_failure_is_sorted_by_what_it_proves() {
        use ChannelErrorKind as Kind;
        let rows = [
            (Kind::ClosedBeforeResponse, STALE, RESET),
            (Kind::Reset, STALE, RESET),
            (Kind::ClosedInHead, RESET, RESET),
            (Kind::ClosedInBody, RESET, RESET),
            (Kind::Protocol, RESET, RESET),
            (Kind::Request, Failure::Own, Failure::Own),
            (Kind::RequestLength, Failure::Own, Failure::Own),
            (Kind::TunnelUnsupported, Failure::Own, Failure::Own),
        ];
        for (kind, reused, fresh) in rows {
            let error = ChannelError {
                kind,
                unprocessed: false,
            };
            assert_eq!(Failure::of(&error, true), reused, "{kind:?}");
            assert_eq!(Failure::of(&error, false), fresh, "{kind:?}");
        }
        let unprocessed = true;
        for kind in [Kind::GoAway, Kind::RefusedStream] {
            let error = ChannelError { kind, unprocessed };
            assert_eq!(Failure::of(&error, true), Failure::Refused);
            assert_eq!(Failure::of(&error, false), Failure::Refused);
        }
        let error = ChannelError {
            kind: Kind::Reset,
            unprocessed,
        };
        assert_eq!(Failure::of(&error, true), Failure::Stale { unprocessed });
        assert_eq!(Failure::of(&error, false), Failure::Reset { unprocessed });
    }

    #[test]
    fn waits_grow_twofold_up_to_the_longest_and_are_spread_over_all_of_it() {
        let mut rng = Xoshiro::new(7);
        assert_eq!(RetryPolicy::default().wait(3, &mut rng), Duration::ZERO);
        let millis = Duration::from_millis;
        let policy = RetryPolicy::default().back_off(Some(millis(100)));
        for (tries, most) in [(1, 100), (2, 200), (3, 250), (40, 250)] {
            let waits: Vec<_> = (0..500).map(|_| policy.wait(tries, &mut rng)).collect();
            let (least, longest) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
            assert!(*longest <= millis(most) && *longest > millis(most * 9 / 10));
            assert!(*least < millis(most / 10));
        }
        let short = policy.longest_back_off(millis(10));
        assert!((0..100).all(|_| short.wait(1, &mut rng) <= millis(10)));
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        let good = RetryPolicy::default();
        assert_eq!(good.check(), Ok(()));
        for tries in [0, 17] {
            assert_eq!(
                good.clone().tries(tries).check(),
                Err(RetryPolicyError::Tries(tries))
            );
        }
        for tries in [1, 16] {
            assert_eq!(good.clone().tries(tries).check(), Ok(()));
        }
        let zero = good.clone().per_try_timeout(Duration::ZERO);
        assert_eq!(zero.check(), Err(RetryPolicyError::PerTryTimeout));
        assert_eq!(
            good.clone()
                .per_try_timeout(Duration::from_nanos(1))
                .check(),
            Ok(())
        );
        let fine = good
            .clone()
            .statuses([StatusCode::TOO_EARLY, StatusCode::BAD_GATEWAY]);
        assert_eq!(fine.check(), Ok(()));
        let bad = good.statuses([StatusCode::TOO_EARLY, StatusCode::FOUND]);
        assert_eq!(
            bad.check(),
            Err(RetryPolicyError::Status(StatusCode::FOUND))
        );
    }
}
