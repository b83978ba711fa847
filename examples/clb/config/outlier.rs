//! `outlier = { … }`: taking out backends by the errors that traffic meets.

use std::time::Duration;

use super::section::Section;
use super::{DAY, MILLISECOND, duration};

/// When traffic's errors take a backend out, and for how long; 0 switches a detector off.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outlier {
    /// Over how long rates and latencies are gathered. Default 10 s.
    pub(crate) interval: Duration,
    /// Failures in a row that eject. Default 5.
    pub(crate) consecutive_failures: u32,
    /// How many backends must have traffic before rates are judged. Default 5.
    pub(crate) min_hosts: u32,
    /// How many sessions a backend must have ended in an interval to be judged. Default 100.
    pub(crate) min_requests: u64,
    /// The share of failures, in percent, that ejects. Default 85.
    pub(crate) failure_percentage: u8,
    /// A success rate so many standard deviations below the mean ejects. Default 1.9.
    pub(crate) success_rate_deviations: f64,
    /// And it must be so many percentage points below. Default 5.
    pub(crate) success_rate_margin: u8,
    /// A latency so many standard deviations above the mean ejects. Default 0.
    pub(crate) latency_deviations: f64,
    /// And it must be so many times the mean. Default 2.
    pub(crate) latency_ratio: f64,
    /// The first ejection lasts this long, the n-th n times as long. Default 30 s.
    pub(crate) base_ejection: Duration,
    /// No ejection lasts longer. Default 300 s.
    pub(crate) max_ejection: Duration,
    /// The most that may be ejected at once, in percent of the pool. Default 10.
    pub(crate) max_ejected_percent: u8,
}

/// The outlier ejection of a pool.
pub(super) fn read(section: &mut Section<'_>) -> Outlier {
    let base_ejection = section.span("base_ejection", MILLISECOND..=DAY);
    let max_ejection = section.span("max_ejection", MILLISECOND..=DAY);
    let base_ejection = base_ejection.unwrap_or(BASE_EJECTION);
    if let Some(most) = max_ejection.filter(|most| *most < base_ejection) {
        let (least, found) = (duration::print(base_ejection), duration::print(most));
        let text = format!("expected at least the base_ejection ({least}), found {found}");
        section.wrong("max_ejection", text);
    }
    let count = |section: &mut Section<'_>, key| section.integer(key, 0..=COUNT_MOST);
    let percent = |section: &mut Section<'_>, key| section.integer(key, 0..=100);
    let number = |section: &mut Section<'_>, key| section.number(key, 0.0..=NUMBER_MOST);
    Outlier {
        interval: section
            .span("interval", MILLISECOND..=DAY)
            .unwrap_or(Duration::from_secs(10)),
        consecutive_failures: count(section, "consecutive_failures").unwrap_or(5),
        min_hosts: count(section, "min_hosts").unwrap_or(5),
        min_requests: count(section, "min_requests").unwrap_or(100).into(),
        failure_percentage: percent(section, "failure_percentage").unwrap_or(85),
        success_rate_deviations: number(section, "success_rate_deviations").unwrap_or(1.9),
        success_rate_margin: percent(section, "success_rate_margin").unwrap_or(5),
        latency_deviations: number(section, "latency_deviations").unwrap_or(0.0),
        latency_ratio: number(section, "latency_ratio").unwrap_or(2.0),
        base_ejection,
        max_ejection: max_ejection.unwrap_or_else(|| MAX_EJECTION.max(base_ejection)),
        max_ejected_percent: percent(section, "max_ejected_percent").unwrap_or(10),
    }
}

/// Envoy's `base_ejection_time`.
const BASE_EJECTION: Duration = Duration::from_secs(30);
/// Envoy's `max_ejection_time`.
const MAX_EJECTION: Duration = Duration::from_secs(300);
/// More in a row than anyone waits for.
const COUNT_MOST: u32 = 1_000_000;
/// More deviations than any distribution has.
const NUMBER_MOST: f64 = 1_000.0;
