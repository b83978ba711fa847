//! `request_limits = { … }`: how many requests a listener and each of its clients may have.

use lb_l7::limit::{AdaptiveConfig, Bandwidth, ClientPrefixes, Rate, RequestLimits};

use super::super::section::{Said, Section};

/// How many requests a listener and each of its clients may have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Requests {
    rate: Rate,
    client_rate: Rate,
    client_bandwidth: Bandwidth,
    prefixes: ClientPrefixes,
    clients: u32,
    concurrency: u32,
    adaptive: Option<AdaptiveConfig>,
}

impl Requests {
    /// What the library is told.
    pub(crate) fn made(&self) -> RequestLimits {
        let limits = RequestLimits::default()
            .rate(self.rate)
            .client_rate(self.client_rate)
            .client_bandwidth(self.client_bandwidth)
            .prefixes(self.prefixes)
            .clients(self.clients)
            .concurrency(self.concurrency);
        match self.adaptive {
            Some(adaptive) => limits.adaptive(adaptive),
            None => limits,
        }
    }
}

impl Default for Requests {
    fn default() -> Self {
        let limits = RequestLimits::default();
        Self {
            rate: limits.rate,
            client_rate: limits.client_rate,
            client_bandwidth: limits.client_bandwidth,
            prefixes: limits.prefixes,
            clients: limits.clients,
            concurrency: limits.concurrency,
            adaptive: None,
        }
    }
}

/// What the table says; what it does not say has its default.
pub(super) fn read(section: &mut Section<'_>) -> Requests {
    let minute = "client_per_minute";
    let mut limits = Requests {
        rate: rate(section, "per_second", "burst", Rate::per_second),
        client_rate: rate(section, minute, "client_burst", Rate::per_minute),
        ..Requests::default()
    };
    let mut bytes = |key| section.integer(key, 0..=u64::MAX >> 1).unwrap_or(0);
    limits.client_bandwidth = Bandwidth::default()
        .bytes_in(bytes("client_bytes_per_second_in"))
        .bytes_out(bytes("client_bytes_per_second_out"));
    if let Some(bits) = section.integer("prefix_v4", 0..=32) {
        limits.prefixes.v4 = bits;
    }
    if let Some(bits) = section.integer("prefix_v6", 0..=128) {
        limits.prefixes.v6 = bits;
    }
    if let Some(clients) = section.integer("clients", 1..=CLIENTS_MOST) {
        limits.clients = clients;
    }
    limits.concurrency = section.integer("concurrency", 0..=u32::MAX).unwrap_or(0);
    limits.adaptive = match section.flag_or_table("adaptive", adaptive) {
        Some(Said::Flag(true)) => Some(AdaptiveConfig::default()),
        Some(Said::Table(config)) => Some(config),
        None | Some(Said::Flag(false)) => None,
    };
    limits
}

/// So many in a time, and so many at once after a pause.
fn rate(
    section: &mut Section<'_>,
    key: &'static str,
    burst: &'static str,
    of: fn(u64) -> Rate,
) -> Rate {
    let most = section.integer(key, 0..=RATE_MOST);
    let at_once = section.integer(burst, 1..=RATE_MOST);
    if at_once.is_some() && !section.has(key) {
        section.wrong(burst, format!("only with {key}"));
    }
    let rate = of(most.unwrap_or(0));
    match at_once.filter(|_| most.is_some()) {
        Some(requests) => rate.burst(requests),
        None => rate,
    }
}

fn adaptive(section: &mut Section<'_>) -> AdaptiveConfig {
    let mut config = AdaptiveConfig::default();
    let tolerance = section.integer("tolerance", 101..=1_000);
    config.tolerance = tolerance.unwrap_or(config.tolerance);
    let mut number = |key| section.integer(key, 1..=u32::MAX);
    config.min = number("min").unwrap_or(config.min);
    config.max = number("max").unwrap_or(config.max);
    config.start = number("start").unwrap_or(config.start);
    if config.min > config.max {
        let text = format!(
            "expected at most the max ({}), found {}",
            config.max, config.min
        );
        section.wrong("min", text);
    }
    config
}

/// More than any machine answers, and far from what a bucket can hold.
const RATE_MOST: u64 = 1_000_000_000;
/// About 250 bytes each: 4 GiB.
const CLIENTS_MOST: u32 = 1 << 24;
