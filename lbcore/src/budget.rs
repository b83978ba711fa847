//! What the whole process may use, and what it gives up first when that runs short.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use crate::atomic::{AtomicU64, Ordering::Relaxed};

/// What can run out.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Resource {
    /// Bytes of buffers.
    Bytes,
    /// File descriptors.
    Descriptors,
    /// Sessions under way.
    Sessions,
}

impl Resource {
    /// Each of them, in order.
    pub const ALL: [Self; 3] = [Self::Bytes, Self::Descriptors, Self::Sessions];
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bytes => "bytes",
            Self::Descriptors => "descriptors",
            Self::Sessions => "sessions",
        })
    }
}

/// How short a resource is.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Stage {
    /// There is enough.
    #[default]
    Normal,
    /// It runs short: nothing is taken for comfort, such as idle keep-alive connections or new
    /// entries of persistence. New work is still taken.
    Saving,
    /// It is used up: new work is refused. What is under way goes on.
    Full,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Normal => "normal",
            Self::Saving => "saving",
            Self::Full => "full",
        })
    }
}

/// How much of each resource there is; 0, the default of each, is no limit.
///
/// # Examples
///
/// ```
/// use lbcore::budget::BudgetConfig;
///
/// let config = BudgetConfig::default().bytes(64 << 20).descriptors(20_000);
/// assert_eq!((config.sessions, config.saving_percent), (0, 90));
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BudgetConfig {
    /// Bytes of buffers.
    pub bytes: u64,
    /// File descriptors.
    pub descriptors: u64,
    /// Sessions at once.
    pub sessions: u64,
    /// From this share on, in percent, the process saves. At most 100 (more is taken as 100);
    /// default 90.
    pub saving_percent: u8,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self {
            bytes: 0,
            descriptors: 0,
            sessions: 0,
            saving_percent: 90,
        }
    }
}

impl BudgetConfig {
    /// Sets [`bytes`](Self::bytes).
    #[must_use]
    pub const fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = bytes;
        self
    }

    /// Sets [`descriptors`](Self::descriptors).
    #[must_use]
    pub const fn descriptors(mut self, descriptors: u64) -> Self {
        self.descriptors = descriptors;
        self
    }

    /// Sets [`sessions`](Self::sessions).
    #[must_use]
    pub const fn sessions(mut self, sessions: u64) -> Self {
        self.sessions = sessions;
        self
    }

    /// Sets [`saving_percent`](Self::saving_percent).
    #[must_use]
    pub const fn saving_percent(mut self, percent: u8) -> Self {
        self.saving_percent = percent;
        self
    }
}

/// A resource was refused, and the refusal counted. Nobody's fault: try again later, or elsewhere.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("out of {resource}")]
#[expect(
    clippy::exhaustive_structs,
    reason = "what ran out is all there is to say"
)]
pub struct Exhausted {
    /// What ran out.
    pub resource: Resource,
}

/// What a budget has given and refused of one resource.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ResourceStats {
    /// In use now; above the limit by what was taken for work under way.
    pub used: u64,
    /// How much there is; `u64::MAX` without a limit.
    pub limit: u64,
    /// How short it is.
    pub stage: Stage,
    /// What was refused to comfort while saving or full.
    pub refused_optional: u64,
    /// What was refused to new work when full.
    pub refused_work: u64,
    /// What was given above the limit, to work under way.
    pub overdrawn: u64,
}

/// The resources of a process, shared by everything in it. A clone is the same budget.
///
/// Three doors, in the order in which they close: [`try_take_optional`](Self::try_take_optional)
/// for comfort, [`try_take`](Self::try_take) for new work, and [`take_for_work`](Self::take_for_work),
/// which never closes, for what is under way.
///
/// Source: Envoy, "Overload manager", whose actions are taken one after another as pressure rises.
///
/// # Examples
///
/// ```
/// use lbcore::budget::{Budget, BudgetConfig, Resource, Stage};
///
/// let budget = Budget::new(BudgetConfig::default().sessions(10));
/// let nine = budget.try_take(Resource::Sessions, 9)?;
/// assert_eq!(budget.pressure(), Stage::Saving);
/// assert!(budget.try_take_optional(Resource::Sessions, 1).is_err());
/// let ten = budget.try_take(Resource::Sessions, 1)?;
/// assert!(budget.try_take(Resource::Sessions, 1).is_err());
/// drop((nine, ten));
/// assert_eq!(budget.pressure(), Stage::Normal);
/// # Ok::<(), lbcore::budget::Exhausted>(())
/// ```
#[derive(Clone, Debug)]
#[doc(alias = "overload manager")]
pub struct Budget(Arc<[Account; 3]>);

impl Budget {
    /// Nothing is in use.
    #[must_use]
    pub fn new(config: BudgetConfig) -> Self {
        let account = |limit| Account::new(limit, config.saving_percent);
        Self(Arc::new([
            account(config.bytes),
            account(config.descriptors),
            account(config.sessions),
        ]))
    }

    /// Takes `amount` for new work, until the grant is dropped.
    ///
    /// Exact across threads: no two callers get the same last one. Cost: one atomic update, no lock.
    ///
    /// # Errors
    ///
    /// When fewer than `amount` are left; counted.
    pub fn try_take(&self, resource: Resource, amount: u64) -> Result<Grant, Exhausted> {
        let account = self.account(resource);
        if account.take_below(account.limit, amount) {
            return Ok(self.grant(resource, amount));
        }
        account.refused_work.fetch_add(1, Relaxed);
        Err(Exhausted { resource })
    }

    /// Takes `amount` for comfort: for what makes later work cheaper and nothing fails without.
    ///
    /// # Errors
    ///
    /// When it would bring the resource to [`Stage::Saving`], or it is there already; counted.
    pub fn try_take_optional(&self, resource: Resource, amount: u64) -> Result<Grant, Exhausted> {
        let account = self.account(resource);
        if account.take_below(account.saving.saturating_sub(1), amount) {
            return Ok(self.grant(resource, amount));
        }
        account.refused_optional.fetch_add(1, Relaxed);
        Err(Exhausted { resource })
    }

    /// Takes `amount` for work that is under way, above the limit if need be; that is counted.
    pub fn take_for_work(&self, resource: Resource, amount: u64) -> Grant {
        let account = self.account(resource);
        if account.take_below(account.limit, amount) {
            return self.grant(resource, amount);
        }
        account.overdrawn.fetch_add(1, Relaxed);
        // What 64 bits cannot count is not counted, and so not given back either.
        let counted = account.take_below(u64::MAX, amount);
        self.grant(resource, if counted { amount } else { 0 })
    }

    /// How short this resource is.
    #[must_use]
    pub fn stage(&self, resource: Resource) -> Stage {
        self.account(resource).stage()
    }

    /// How short the shortest resource is. Cost: three loads.
    #[must_use]
    pub fn pressure(&self) -> Stage {
        let stages = self.0.iter().map(Account::stage);
        stages.max().unwrap_or_default()
    }

    /// What has been given and refused of this resource.
    #[must_use]
    pub fn stats(&self, resource: Resource) -> ResourceStats {
        let account = self.account(resource);
        ResourceStats {
            used: account.used.load(Relaxed),
            limit: account.limit,
            stage: account.stage(),
            refused_optional: account.refused_optional.load(Relaxed),
            refused_work: account.refused_work.load(Relaxed),
            overdrawn: account.overdrawn.load(Relaxed),
        }
    }

    fn grant(&self, resource: Resource, amount: u64) -> Grant {
        Grant {
            budget: self.clone(),
            resource,
            amount,
        }
    }

    fn account(&self, resource: Resource) -> &Account {
        let [bytes, descriptors, sessions] = &*self.0;
        match resource {
            Resource::Bytes => bytes,
            Resource::Descriptors => descriptors,
            Resource::Sessions => sessions,
        }
    }
}

impl Default for Budget {
    /// Counts, and refuses nothing.
    fn default() -> Self {
        Self::new(BudgetConfig::default())
    }
}

/// Some of a resource, given back when this is dropped.
#[must_use = "dropped, it is given back"]
#[derive(Debug)]
pub struct Grant {
    budget: Budget,
    resource: Resource,
    amount: u64,
}

impl Grant {
    /// Of what.
    #[must_use]
    pub const fn resource(&self) -> Resource {
        self.resource
    }

    /// How much.
    #[must_use]
    pub const fn amount(&self) -> u64 {
        self.amount
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        let account = self.budget.account(self.resource);
        account.used.fetch_sub(self.amount, Relaxed);
    }
}

/// One resource. Its words guard no other memory, so that relaxed order is enough.
#[derive(Debug)]
struct Account {
    used: AtomicU64,
    limit: u64,
    /// From here on it is saved.
    saving: u64,
    refused_optional: AtomicU64,
    refused_work: AtomicU64,
    overdrawn: AtomicU64,
}

impl Account {
    fn new(limit: u64, saving_percent: u8) -> Self {
        let limit = if limit == 0 { u64::MAX } else { limit };
        let percent = u128::from(saving_percent.min(100));
        let saving = (u128::from(limit) * percent).div_ceil(100);
        Self {
            used: AtomicU64::new(0),
            limit,
            saving: u64::try_from(saving).unwrap_or(limit),
            refused_optional: AtomicU64::new(0),
            refused_work: AtomicU64::new(0),
            overdrawn: AtomicU64::new(0),
        }
    }

    /// Takes `amount` if no more than `most` are then in use.
    fn take_below(&self, most: u64, amount: u64) -> bool {
        let take = |used: u64| used.checked_add(amount).filter(|used| *used <= most);
        self.used.fetch_update(Relaxed, Relaxed, take).is_ok()
    }

    fn stage(&self) -> Stage {
        match self.used.load(Relaxed) {
            used if used >= self.limit => Stage::Full,
            used if used >= self.saving => Stage::Saving,
            _ => Stage::Normal,
        }
    }
}
