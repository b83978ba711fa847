//! `hedge = { … }`: whether a slow answer has another backend asked as well.

use std::time::Duration;

use lb_l7::upstream::Hedge;

use super::super::MILLISECOND;
use super::super::section::{Said, Section};

/// What the table says: true is the default and false is none, which a rule may say of itself;
/// `None` where nothing is said.
#[expect(clippy::option_option, reason = "none at all is something to say")]
pub(super) fn read(section: &mut Section<'_>) -> Option<Option<Hedge>> {
    let said = section.flag_or_table("hedge", |section| {
        let after = section.span("after", MILLISECOND..=LONGEST);
        let percentile = section.number("percentile", 50.0..=99.99);
        let floor = section.span("floor", MILLISECOND..=LONGEST);
        for key in ["percentile", "floor"] {
            if section.has("after") && section.has(key) {
                section.wrong(key, "only without after, which is a delay of its own");
            }
        }
        let hedge = match (after, percentile) {
            (Some(after), _) => Hedge::after(after),
            (None, percentile) => Hedge::quantile(
                percentile.unwrap_or(PERCENTILE) / 100.0,
                floor.unwrap_or(FLOOR),
            ),
        };
        hedge.most(section.integer("most", 1..=3).unwrap_or(1))
    });
    Some(match said? {
        Said::Flag(true) => Some(Hedge::default()),
        Said::Flag(false) => None,
        Said::Table(hedge) => Some(hedge),
    })
}

/// As by [`Hedge::default`].
const PERCENTILE: f64 = 95.0;
const FLOOR: Duration = Duration::from_millis(10);

/// Who waits longer than this has no tail to cut.
const LONGEST: Duration = Duration::from_secs(60);
