//! What a listener of http has done so far.

use lb_l7::limit::LimitReached;
use lb_l7::stats::{ListenerFigures, Protocol, Refused};

use super::super::listeners::Names;
use super::Serving;
use crate::admin::snapshot::{self, Certificate, Exchanges, Http, LogLines, Upstream};

impl Serving {
    /// Puts what it has done into `figures`; `names` knows the backends of pools.
    pub(in super::super) fn fill(&self, figures: &mut snapshot::Listener, names: &Names<'_>) {
        let stats = self.proxy.stats();
        figures.accepted = stats.accepted;
        figures.active = stats.open();
        let refused = Refused::ALL.iter().copied();
        figures.refused = refused
            .map(|why| (why.as_str(), stats.refused(why)))
            .collect();
        let turned_away: u64 = figures.refused.values().sum();
        figures.sessions = stats.accepted.saturating_sub(turned_away);
        let http = self.requests(&stats, names);
        let routes = || http.routes.values().map(|exchanges| &exchanges.0);
        figures.bytes_in = routes().map(|route| route.bytes_in).sum();
        figures.bytes_out = routes().map(|route| route.bytes_out).sum();
        figures.http = Some(Box::new(http));
    }

    fn requests(&self, stats: &ListenerFigures, names: &Names<'_>) -> Http {
        let protocols = Protocol::ALL.iter().copied();
        let terminations = stats.terminations();
        let routes = self.proxy.route_stats().into_iter();
        let turned = self.proxy.limit_stats();
        Http {
            requests: protocols
                .map(|one| (one.as_str(), stats.requests(one)))
                .collect(),
            terminations: terminations
                .map(|(how, count)| (how.as_str(), count))
                .collect(),
            turned_away: LimitReached::ALL
                .iter()
                .map(|by| (by.as_str(), turned.turned_away(*by)))
                .collect(),
            handshakes: stats.handshakes,
            resumed: stats.resumed,
            routes: routes
                .map(|(name, figures)| (name, Exchanges(figures)))
                .collect(),
            upstreams: self.upstreams(names),
            access_log: self.log_lines(),
            ..self.tls_figures()
        }
    }

    fn upstreams(&self, names: &Names<'_>) -> std::collections::BTreeMap<String, Upstream> {
        let each = self.proxy.upstream_stats().into_iter();
        each.map(|(pool, stats)| {
            // What backends did that are gone is in the sum alone.
            let backends = stats.backends().into_iter();
            let backends = backends
                .filter_map(|(id, figures)| Some((names(&pool, id)?, Exchanges(figures))))
                .collect();
            let all = Exchanges(stats.read());
            (pool, Upstream { all, backends })
        })
        .collect()
    }

    /// Lets go of the counters of backends that `names` knows no longer, once no exchange is left of
    /// them: pools whose backends change all the time would gather counters without end.
    pub(super) fn forget_gone(&self, names: &Names<'_>) {
        for (pool, stats) in self.proxy.upstream_stats() {
            for (id, figures) in stats.backends() {
                if figures.in_flight() == 0 && names(&pool, id).is_none() {
                    stats.forget(id);
                }
            }
        }
    }

    fn tls_figures(&self) -> Http {
        let Some(tls) = &self.tls else {
            return Http::default();
        };
        let certificates = tls.entrance.certificates().into_iter();
        Http {
            tls_refused: tls.entrance.refused().collect(),
            certificates: certificates
                .map(|(name, not_after)| Certificate { name, not_after })
                .collect(),
            ..Http::default()
        }
    }

    fn log_lines(&self) -> Option<LogLines> {
        let stats = self.log.as_ref()?.log.stats();
        Some(LogLines {
            written: stats.written,
            dropped: stats.dropped,
            failed: stats.failed,
        })
    }
}
