//! `retry = { … }`: which failures another backend may mend.

use http::StatusCode;
use lb_l7::upstream::{RetryOn, RetryPolicy};

use super::super::section::{Section, one_of};
use super::super::suggest::did_you_mean;
use super::super::{DAY, MILLISECOND};

/// What the table says; what it does not say is as in `base`.
pub(super) fn read(section: &mut Section<'_>, base: &RetryPolicy) -> RetryPolicy {
    let mut policy = base.clone();
    section.table("retry", |section| {
        if let Some(tries) = section.integer("tries", 1..=16) {
            policy.tries = tries;
        }
        let on = section.texts("on", "what is retried", failure);
        if let Some(on) = on {
            policy.on = on.into_iter().fold(RetryOn::NONE, RetryOn::with);
        }
        if let Some(timeout) = section.span("per_try_timeout", MILLISECOND..=DAY) {
            policy.per_try_timeout = timeout;
        }
        if let Some(bytes) = section.integer("replay_bytes", 0..=REPLAY_MOST) {
            policy.replay_bytes = bytes;
        }
        if let Some(first) = section.span("back_off", MILLISECOND..=DAY) {
            policy.back_off = Some(first);
        }
        if let Some(longest) = section.span("longest_back_off", MILLISECOND..=DAY) {
            policy.longest_back_off = longest;
        }
        let form = "statuses, such as \"429\"";
        if let Some(statuses) = section.texts("statuses", form, status) {
            policy.statuses = statuses;
        }
    });
    policy
}

fn failure(text: &str) -> Result<RetryOn, String> {
    let known = || RetryOn::NAMES.iter().map(|(name, _)| *name);
    let found = RetryOn::NAMES.iter().find(|(name, _)| *name == text);
    found.map(|(_, on)| *on).ok_or_else(|| {
        let (names, meant) = (one_of(known()), did_you_mean(text, known()));
        format!("unknown failure {text:?}, expected {names}{meant}")
    })
}

fn status(text: &str) -> Result<StatusCode, String> {
    let status = text.parse().ok();
    let status = status.filter(|status: &StatusCode| (400..=599).contains(&status.as_u16()));
    status.ok_or_else(|| format!("expected a status in 400..=599, found {text:?}"))
}

/// Each request with a body may hold as much.
const REPLAY_MOST: usize = 1 << 30;
