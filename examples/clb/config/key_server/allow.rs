//! `[[allow]]`: which node may use which key, and how.

use std::fmt;

use lb_keyserver::access::{Identity, NamePattern, Rule, Who};
use lb_keyserver::quota::{Limits, Rate};
use lb_keyserver::{Mode, Scheme, Ski};

use super::super::section::{Section, one_of};
use super::super::suggest::did_you_mean;

/// One rule; `modes` are those that the server speaks, if they are good.
pub(super) fn read(section: &mut Section<'_>, modes: Option<&[Mode]>) -> Option<Rule> {
    section.require("identity", WHO_FORM);
    section.require("keys", KEYS_FORM);
    let who = section.text_as("identity", WHO_FORM, |text| {
        let wrong = |error| format!("{text:?}: {error}, expected {WHO_FORM}");
        text.parse::<Who>().map_err(wrong)
    });
    let keys = keys(section);
    let schemes = section.texts("schemes", "names of schemes", scheme);
    let words = Mode::ALL.map(|mode| (mode.as_str(), mode));
    let mode = section.choice("mode", "mode", &words);
    let names = section.texts("server_names", "names of hosts", |text| {
        let wrong = |error| format!("{text:?}: {error}");
        text.parse::<NamePattern>().map_err(wrong)
    });
    for key in ["keys", "schemes", "server_names"] {
        if section.is_empty(key) {
            section.wrong(key, "empty: nothing would be allowed");
        }
    }
    let trusts = section.flag("trust_names").unwrap_or(false);
    if trusts && !section.has("server_names") {
        section.wrong("trust_names", "only with server_names, which it is about");
    }
    let limits = limits(section);
    let rule = match keys? {
        Some(keys) => Rule::new(who?).keys(keys),
        None => Rule::new(who?).all_keys(),
    };
    let rule = match schemes {
        Some(schemes) => rule.schemes(schemes),
        None => rule,
    };
    let rule = rule
        .least_mode(mode.unwrap_or_default())
        .server_names(names.unwrap_or_default())
        .limits(limits);
    let rule = if trusts { rule.trusting_claims() } else { rule };
    check_mode(section, &rule, modes);
    Some(rule)
}

/// A rule that asks for more than the server speaks allows nothing.
fn check_mode(section: &Section<'_>, rule: &Rule, modes: Option<&[Mode]>) {
    let least = rule.asks_for();
    if modes.is_none_or(|modes| modes.iter().any(|mode| *mode >= least)) {
        return;
    }
    let key = match section.has("server_names") && least == Mode::Strict {
        true => "server_names",
        false => "mode",
    };
    let least = least.as_str();
    section.wrong(
        key,
        format!("asks for the mode {least}, which is not among modes"),
    );
}

/// A name of a client, for lists of them.
pub(super) fn identity(text: &str) -> Result<Identity, String> {
    let wrong = |error| format!("{text:?}: {error}, expected {IDENTITY_FORM}");
    text.parse().map_err(wrong)
}

/// These, or none for all.
fn keys(section: &mut Section<'_>) -> Option<Option<Vec<Ski>>> {
    if section.peek("keys") == Some(ALL) {
        section.knows(&["keys"]);
        return Some(None);
    }
    let notes = section.notes();
    let names = section.texts("keys", KEYS_FORM, |text| match text.parse::<Ski>() {
        _ if text == ALL => Ok(None),
        Ok(ski) => Ok(Some(ski)),
        Err(_) => {
            let path = notes.beside(text);
            let told = |reason: &dyn fmt::Display| format!("{}: {reason}", path.display());
            let bytes = std::fs::read(&path)
                .map_err(|error| told(&format_args!("cannot be read: {error}")))?;
            let (ski, _) = super::name_of(&bytes).map_err(|error| told(&error))?;
            Ok(Some(ski))
        }
    })?;
    Some(names.into_iter().collect())
}

fn scheme(text: &str) -> Result<Scheme, String> {
    Scheme::named(text).ok_or_else(|| {
        let names = || Scheme::ALL.map(Scheme::as_str);
        let meant = did_you_mean(text, names());
        format!(
            "unknown scheme {text:?}, expected {}{meant}",
            one_of(names())
        )
    })
}

fn limits(section: &mut Section<'_>) -> Limits {
    let mut rate = |rate_key, burst_key| {
        let rate = section.integer(rate_key, 1..=RATE_MOST);
        let burst = section.integer(burst_key, 1..=RATE_MOST);
        if section.has(burst_key) && !section.has(rate_key) {
            section.wrong(
                burst_key,
                format!("only with {rate_key}, which it is beyond"),
            );
        }
        rate.map_or_else(Rate::default, |rate| Rate::new(rate, burst.unwrap_or(rate)))
    };
    let limits = Limits::default()
        .per_identity(rate("rate", "burst"))
        .per_key(rate("key_rate", "key_burst"));
    let most = section.integer("in_flight", 1..=IN_FLIGHT_MOST);
    limits.in_flight(most.unwrap_or(0))
}

pub(super) const IDENTITY_FORM: &str = "a name out of a certificate, such as \"lb://node/7\"";

const WHO_FORM: &str = "a name out of a certificate, such as \"lb://node/7\" or \"lb://node/*\"";

const KEYS_FORM: &str = "keys by the path of a certificate, by 40 hexadecimal digits, or \"*\"";

/// All keys, in a list or in place of one.
const ALL: &str = "*";

/// Beyond what any machine signs.
const RATE_MOST: u64 = 10_000_000;
/// Beyond what any connection carries.
const IN_FLIGHT_MOST: u32 = 1_000_000;
