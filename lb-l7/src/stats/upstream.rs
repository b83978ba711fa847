//! What an upstream came to: the sum of its backends, and what never reached one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use lbcore::BackendId;

use super::counter::{Writer, Writers};
use super::exchange::{ExchangeFigures, ExchangeStats};
use crate::report::Report;

/// The counters of one upstream and of each of its backends; clones are the same counters.
///
/// An exchange is counted once, at the backend of its last try or, if it was never given one, here;
/// the upstream's figures are the sum. A backend that is [`forgotten`](Self::forget) leaves what it
/// has counted to the upstream, so that no sum goes back.
///
/// # Examples
///
/// ```
/// use lb_l7::stats::{UpstreamStats, Writers};
/// use lbcore::BackendId;
///
/// let writers = Writers::new(1);
/// let stats = UpstreamStats::new(&writers);
/// let mut writer = writers.take().ok_or("no worker is left")?;
/// // Kept with the connections to this backend, and not looked up for each exchange.
/// let backend = stats.backend(BackendId::new(1));
/// backend.began(&mut writer);
/// assert_eq!(stats.read().in_flight(), 1);
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone)]
pub struct UpstreamStats {
    inner: Arc<Inner>,
}

struct Inner {
    writers: Writers,
    /// Exchanges that were never given a backend.
    unplaced: ExchangeStats,
    backends: RwLock<Backends>,
}

#[derive(Default)]
struct Backends {
    present: BTreeMap<BackendId, ExchangeStats>,
    forgotten: ExchangeFigures,
}

impl UpstreamStats {
    /// Counters for these workers, without backends.
    #[must_use]
    pub fn new(writers: &Writers) -> Self {
        Self {
            inner: Arc::new(Inner {
                writers: writers.clone(),
                unplaced: ExchangeStats::new(writers),
                backends: RwLock::default(),
            }),
        }
    }

    /// The counters of a backend, made at the first call.
    ///
    /// Takes a lock that readers share: ask once a connection, and keep the answer.
    #[must_use]
    pub fn backend(&self, id: BackendId) -> ExchangeStats {
        let backends = &self.inner.backends;
        let known = backends
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .present
            .get(&id)
            .cloned();
        known.unwrap_or_else(|| {
            let mut backends = backends.write().unwrap_or_else(PoisonError::into_inner);
            let new = || ExchangeStats::new(&self.inner.writers);
            backends.present.entry(id).or_insert_with(new).clone()
        })
    }

    /// Counts an exchange that ended without a backend: none was up, or none was free in time.
    #[inline]
    pub fn record_unplaced(&self, writer: &mut Writer, report: &Report<'_>) {
        self.inner.unplaced.record(writer, report);
    }

    /// Takes a backend off the list; its figures so far stay in the sum.
    ///
    /// To be called when its last exchange has ended: what is counted by clones of its counters
    /// afterwards is lost.
    pub fn forget(&self, id: BackendId) {
        let mut backends = self
            .inner
            .backends
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(gone) = backends.present.remove(&id) {
            backends.forgotten += &gone.read();
        }
    }

    /// The figures of each backend, in the order of their identities.
    #[must_use]
    pub fn backends(&self) -> Vec<(BackendId, ExchangeFigures)> {
        let backends = self
            .inner
            .backends
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let read = |(id, stats): (&BackendId, &ExchangeStats)| (*id, stats.read());
        backends.present.iter().map(read).collect()
    }

    /// The figures of the whole upstream.
    ///
    /// Exchanges without a backend never count as begun, so they are not under way either.
    #[must_use]
    pub fn read(&self) -> ExchangeFigures {
        let backends = self
            .inner
            .backends
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let mut sum = backends.forgotten.clone();
        for stats in backends.present.values() {
            sum += &stats.read();
        }
        let unplaced = self.inner.unplaced.read();
        sum.began += unplaced.recorded();
        sum += &unplaced;
        sum
    }
}

impl fmt::Debug for UpstreamStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.backends()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{address, report};
    use crate::stats::StatusClass;

    const ONE: BackendId = BackendId::new(1);
    const TWO: BackendId = BackendId::new(2);

    #[test]
    fn an_upstream_is_the_sum_of_its_backends_and_of_what_had_none() {
        let writers = Writers::new(1);
        let stats = UpstreamStats::new(&writers);
        let mut writer = writers.take().unwrap();
        let address = address();
        let report = report(&address);
        for (id, times) in [(TWO, 2), (ONE, 1), (TWO, 2)] {
            for _ in 0..times {
                stats.backend(id).began(&mut writer);
                stats.backend(id).record(&mut writer, &report);
            }
        }
        stats.backend(ONE).began(&mut writer);
        stats.record_unplaced(&mut writer, &report);
        let each: Vec<_> = stats.backends();
        let recorded: Vec<_> = each.iter().map(|(id, sum)| (*id, sum.recorded())).collect();
        assert_eq!(recorded, [(ONE, 1), (TWO, 4)]);
        let sum = stats.read();
        assert_eq!((sum.began, sum.recorded(), sum.in_flight()), (7, 6, 1));
        assert_eq!(sum.class(StatusClass::Success), 6);
    }

    #[test]
    fn a_forgotten_backend_leaves_its_figures_to_the_upstream() {
        let writers = Writers::new(1);
        let stats = UpstreamStats::new(&writers);
        let mut writer = writers.take().unwrap();
        let address = address();
        let report = report(&address);
        stats.backend(ONE).record(&mut writer, &report);
        let before = stats.read();
        stats.forget(ONE);
        stats.forget(TWO);
        assert!(stats.backends().is_empty());
        assert_eq!(stats.read(), before);
        // It may come back, and begins anew.
        stats.backend(ONE).record(&mut writer, &report);
        assert_eq!(stats.backends()[0].1.recorded(), 1);
        assert_eq!(stats.read().recorded(), 2);
        assert!(format!("{stats:?}").starts_with("{BackendId(1): "));
    }
}
