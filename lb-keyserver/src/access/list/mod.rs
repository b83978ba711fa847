//! The rules, and who is revoked.

use std::collections::{HashMap, HashSet};
use std::fmt;

use super::identity::{Identities, Identity};
use super::pattern::{Who, parent};
use super::rule::{BadRule, Rule};
use crate::mode::Mode;
use crate::quota::Limits;
use crate::scheme::Scheme;
use crate::ski::Ski;
use crate::wire::ErrorCode;

/// Who may sign with which keys: rules, of which one has to allow what is asked, and the names that
/// are refused whatever the rules say.
///
/// A value that does not change: to reload, make another and swap it in, then close every connection
/// that it no longer admits ([`is_admitted`](Self::is_admitted)). The default allows nobody anything.
///
/// # Examples
///
/// ```
/// use lb_keyserver::access::{AccessList, Denial, Identities, Identity, Rule};
/// use lb_keyserver::{Mode, Scheme, Ski};
///
/// let key: Ski = "a9993e364706816aba3e25717850c26c9cd0d89d".parse()?;
/// let list = AccessList::new([Rule::new("lb://node/*".parse()?).keys([key])])?;
/// let node = Identities::from("lb://node/7".parse::<Identity>()?);
///
/// let ask = |list: &AccessList, mode| {
///     list.check(&node, &key, Scheme::Ed25519, mode, None).map(|_| ())
/// };
/// assert_eq!(ask(&list, Mode::Bound), Ok(()));
/// assert_eq!(ask(&list, Mode::Plain), Err(Denial::Mode));
/// let list = list.revoke("lb://node/7".parse()?);
/// assert_eq!(ask(&list, Mode::Bound), Err(Denial::Revoked));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct AccessList {
    rules: Vec<Rule>,
    /// Which rules speak of a name, by their places in `rules`.
    exactly: HashMap<Identity, Vec<u32>>,
    /// Which rules speak of a family.
    under: HashMap<Box<str>, Vec<u32>>,
    revoked: HashSet<Identity>,
}

impl AccessList {
    /// A list of these rules, and nobody revoked.
    ///
    /// # Errors
    ///
    /// Names the first rule that allows nothing, and why.
    pub fn new(rules: impl IntoIterator<Item = Rule>) -> Result<Self, BadRule> {
        let mut list = Self::default();
        for (place, rule) in rules.into_iter().enumerate() {
            if let Some(fault) = rule.fault() {
                return Err(BadRule { rule: place, fault });
            }
            let number = u32::try_from(place).unwrap_or(u32::MAX);
            match &rule.who {
                Who::Exactly(name) => list.exactly.entry(name.clone()).or_default(),
                Who::Under(prefix) => list.under.entry(prefix.clone()).or_default(),
            }
            .push(number);
            list.rules.push(rule);
        }
        Ok(list)
    }

    /// The same, with that name refused: of a node, or of one certificate's key.
    #[must_use]
    pub fn revoke(mut self, name: Identity) -> Self {
        self.revoked.insert(name);
        self
    }

    /// The rules, in order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether that client, asking so, may have a signature; names the rule that says so.
    ///
    /// `server_name` is the name that the TLS client asked for: out of its ClientHello in the strict
    /// mode, in the others as the client claims. That the scheme is one of the key's kind is not
    /// checked here.
    ///
    /// Cost: two look-ups in a hash table for each of the client's names, and one for each rule that
    /// speaks of it; no lock, no allocation.
    ///
    /// # Errors
    ///
    /// Says how far it came: to a peer, all of them are [`Denial::CODE`].
    pub fn check<'a>(
        &'a self,
        client: &'a Identities,
        key: &Ski,
        scheme: Scheme,
        mode: Mode,
        server_name: Option<&str>,
    ) -> Result<Grant<'a>, Denial> {
        if self.is_revoked(client) {
            return Err(Denial::Revoked);
        }
        let mut nearest = Denial::UnknownIdentity;
        for grant in self.speaking_of(client) {
            let rule = grant.rule;
            let denial = if !rule.keys.allow(key) {
                Denial::Key
            } else if !rule.allows_scheme(scheme) {
                Denial::Scheme
            } else if mode < rule.asks_for() {
                Denial::Mode
            } else if !rule.allows_name(server_name) {
                Denial::ServerName
            } else {
                return Ok(grant);
            };
            nearest = nearest.max(denial);
        }
        Err(nearest)
    }

    /// Whether a client may connect, having settled on that mode.
    ///
    /// # Errors
    ///
    /// When it is revoked, no rule speaks of it, or every rule that does asks for a stronger mode.
    pub fn may_connect(&self, client: &Identities, mode: Mode) -> Result<(), Denial> {
        if self.is_revoked(client) {
            return Err(Denial::Revoked);
        }
        match self.lowest_mode(client) {
            None => Err(Denial::UnknownIdentity),
            Some(lowest) if mode < lowest => Err(Denial::Mode),
            Some(_) => Ok(()),
        }
    }

    /// The weakest mode in which a client may ask for anything; `None` when it may for nothing.
    #[must_use]
    pub fn lowest_mode(&self, client: &Identities) -> Option<Mode> {
        let rules = self.speaking_of(client).map(|grant| grant.rule.asks_for());
        rules.min().filter(|_| !self.is_revoked(client))
    }

    /// Whether a connection of that client may stay: it is not revoked, and some rule speaks of it.
    #[must_use]
    pub fn is_admitted(&self, client: &Identities) -> bool {
        self.lowest_mode(client).is_some()
    }

    /// Whether one of its names is revoked.
    #[must_use]
    pub fn is_revoked(&self, client: &Identities) -> bool {
        !self.revoked.is_empty() && client.iter().any(|name| self.revoked.contains(name))
    }

    /// The rules that speak of a client: name by name, those of the very name before families.
    fn speaking_of<'a>(&'a self, client: &'a Identities) -> impl Iterator<Item = Grant<'a>> {
        client.iter().flat_map(move |name| {
            let exactly = self.exactly.get(name);
            let under = parent(name).and_then(|prefix| self.under.get(prefix));
            let numbers = exactly.into_iter().chain(under).flatten();
            numbers.filter_map(move |number| {
                let rule = self.rules.get(usize::try_from(*number).ok()?)?;
                Some(Grant {
                    rule,
                    number: *number,
                    identity: name,
                })
            })
        })
    }
}

impl fmt::Debug for AccessList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessList")
            .field("rules", &self.rules)
            .field("revoked", &self.revoked)
            .finish_non_exhaustive()
    }
}

/// That something is allowed: by which rule, and to which of the client's names.
#[derive(Clone, Copy, Debug)]
pub struct Grant<'a> {
    rule: &'a Rule,
    number: u32,
    identity: &'a Identity,
}

impl<'a> Grant<'a> {
    /// The rule.
    #[must_use]
    pub const fn rule(&self) -> &'a Rule {
        self.rule
    }

    /// The place of the rule in its list, the first being 0.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// The name of the client that the rule speaks of: it is on this one's account.
    #[must_use]
    pub const fn identity(&self) -> &'a Identity {
        self.identity
    }

    /// How much the rule lets that name sign.
    #[must_use]
    pub const fn limits(&self) -> &'a Limits {
        &self.rule.limits
    }
}

/// Why a client may not. In the order in which rules are checked, so that the greatest of several
/// is the nearest to being allowed.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, thiserror::Error)]
#[non_exhaustive]
pub enum Denial {
    /// One of the client's names is revoked.
    #[error("the client is revoked")]
    Revoked,
    /// No rule speaks of the client.
    #[error("no rule speaks of the client")]
    UnknownIdentity,
    /// The key is not the client's to use.
    #[error("no rule allows the client this key")]
    Key,
    /// The key is, but not with this scheme.
    #[error("no rule allows the client this scheme")]
    Scheme,
    /// The mode is weaker than the rule asks for.
    #[error("the client must ask in a stronger mode")]
    Mode,
    /// The TLS client asks for a name that is not on the rule's list.
    #[error("no rule allows the client this server name")]
    ServerName,
}

impl Denial {
    /// Every one of them, the farthest from being allowed first.
    pub const ALL: [Self; 6] = [
        Self::Revoked,
        Self::UnknownIdentity,
        Self::Key,
        Self::Scheme,
        Self::Mode,
        Self::ServerName,
    ];

    /// What the client is told, of whichever: the same as of a key that does not exist, so that
    /// nobody learns which keys there are.
    pub const CODE: ErrorCode = ErrorCode::KeyNotFound;

    /// Its name in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::UnknownIdentity => "unknown-identity",
            Self::Key => "key",
            Self::Scheme => "scheme",
            Self::Mode => "mode",
            Self::ServerName => "server-name",
        }
    }
}

#[cfg(test)]
mod tests;
