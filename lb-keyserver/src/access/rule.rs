//! What one rule lets whom do.

use std::collections::HashSet;

use super::pattern::{NamePattern, Who};
use crate::mode::Mode;
use crate::quota::Limits;
use crate::scheme::Scheme;
use crate::ski::Ski;

/// What a client may do, of those that a [`Who`] means.
///
/// Rules only allow: what one rule does not allow, another may.
///
/// # Examples
///
/// ```
/// use lb_keyserver::access::Rule;
/// use lb_keyserver::quota::{Limits, Rate};
/// use lb_keyserver::{Mode, Ski};
///
/// let key: Ski = "a9993e364706816aba3e25717850c26c9cd0d89d".parse()?;
/// let rule = Rule::new("lb://node/*".parse()?)
///     .keys([key])
///     .server_names(["*.example.com".parse()?])
///     .limits(Limits::default().per_identity(Rate::new(2_000, 4_000)));
/// assert_eq!(rule.asks_for(), Mode::Strict);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Rule {
    /// Whom it speaks of.
    pub who: Who,
    /// The keys that they may use; none until some are named.
    pub keys: Keys,
    /// The schemes that they may use; `None`, the default, is all that a key's kind has.
    pub schemes: Option<Vec<Scheme>>,
    /// The weakest mode in which they may ask. Default [`Mode::Bound`]: the plain mode is for
    /// those alone whose rule says so.
    pub least_mode: Mode,
    /// The names that their TLS clients may ask for; empty, the default, is any, and none.
    ///
    /// Only in [`Mode::Strict`] does the server see the ClientHello. In the other modes the name is
    /// what the client claims, and a stolen node claims what it likes: a rule with names therefore
    /// asks for the strict mode, whatever [`least_mode`](Self::least_mode) is, unless
    /// [`trusts_claims`](Self::trusts_claims).
    pub server_names: Vec<NamePattern>,
    /// Whether a name that is only claimed will do. Default no.
    pub trusts_claims: bool,
    /// How much each of them may sign; none by default.
    pub limits: Limits,
}

impl Rule {
    /// Speaks of them, and allows nothing until keys are named.
    #[must_use]
    pub fn new(who: Who) -> Self {
        Self {
            who,
            keys: Keys::Only(HashSet::new()),
            schemes: None,
            least_mode: Mode::default(),
            server_names: Vec::new(),
            trusts_claims: false,
            limits: Limits::default(),
        }
    }

    /// Sets [`keys`](Self::keys) to these.
    #[must_use]
    pub fn keys(mut self, keys: impl IntoIterator<Item = Ski>) -> Self {
        self.keys = Keys::Only(keys.into_iter().collect());
        self
    }

    /// Sets [`keys`](Self::keys) to all that the server has, and will have.
    #[must_use]
    pub fn all_keys(mut self) -> Self {
        self.keys = Keys::All;
        self
    }

    /// Sets [`schemes`](Self::schemes).
    #[must_use]
    pub fn schemes(mut self, schemes: impl IntoIterator<Item = Scheme>) -> Self {
        self.schemes = Some(schemes.into_iter().collect());
        self
    }

    /// Sets [`least_mode`](Self::least_mode).
    #[must_use]
    pub fn least_mode(mut self, mode: Mode) -> Self {
        self.least_mode = mode;
        self
    }

    /// Sets [`server_names`](Self::server_names).
    #[must_use]
    pub fn server_names(mut self, names: impl IntoIterator<Item = NamePattern>) -> Self {
        self.server_names = names.into_iter().collect();
        self
    }

    /// Takes a name that is only claimed: sets [`trusts_claims`](Self::trusts_claims).
    #[must_use]
    pub fn trusting_claims(mut self) -> Self {
        self.trusts_claims = true;
        self
    }

    /// Sets [`limits`](Self::limits).
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The weakest mode in which it allows anything.
    #[must_use]
    pub fn asks_for(&self) -> Mode {
        if self.server_names.is_empty() || self.trusts_claims {
            self.least_mode
        } else {
            Mode::Strict
        }
    }

    pub(super) fn fault(&self) -> Option<RuleFault> {
        match (&self.keys, &self.schemes) {
            (Keys::Only(keys), _) if keys.is_empty() => Some(RuleFault::NoKey),
            (_, Some(schemes)) if schemes.is_empty() => Some(RuleFault::NoScheme),
            _ => None,
        }
    }

    pub(super) fn allows_scheme(&self, scheme: Scheme) -> bool {
        self.schemes
            .as_ref()
            .is_none_or(|some| some.contains(&scheme))
    }

    pub(super) fn allows_name(&self, name: Option<&str>) -> bool {
        let is_meant = |name| self.server_names.iter().any(|pattern| pattern.means(name));
        self.server_names.is_empty() || name.is_some_and(is_meant)
    }
}

/// Which keys a rule allows.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "all, or some")]
pub enum Keys {
    /// Whatever keys the server has.
    All,
    /// These.
    Only(HashSet<Ski>),
}

impl Keys {
    /// Whether it allows that key.
    #[must_use]
    pub fn allow(&self, key: &Ski) -> bool {
        match self {
            Self::All => true,
            Self::Only(keys) => keys.contains(key),
        }
    }
}

/// A rule that cannot be meant: a fault of whoever wrote it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("rule {rule}: {fault}")]
#[non_exhaustive]
pub struct BadRule {
    /// Which one, the first being 0.
    pub rule: usize,
    /// What is wrong with it.
    pub fault: RuleFault,
}

/// What is wrong with a rule.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleFault {
    /// It names no key, and so allows nothing.
    #[error("it names no key")]
    NoKey,
    /// It has a list of schemes, which is empty, and so allows nothing.
    #[error("its list of schemes is empty")]
    NoScheme,
}
