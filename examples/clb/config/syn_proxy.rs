//! `syn_proxy`: when the handshakes of clients are answered in the place of backends.

use lb_l4::syn_proxy::{SynProxyConfig, SynProxyMode};
use toml::de::DeValue;

use super::section::Section;

/// What the listener says of it; nothing if it says nothing.
pub(super) fn read(section: &mut Section<'_>) -> Option<SynProxyConfig> {
    let is_table = section.value("syn_proxy", FORM, |value| match value {
        DeValue::String(_) => Some(false),
        DeValue::Table(_) => Some(true),
        _ => None,
    })?;
    match is_table {
        true => section.table("syn_proxy", table),
        false => {
            let mode = section.choice("syn_proxy", "mode", &MODES)?;
            Some(SynProxyConfig::default().mode(mode))
        }
    }
}

/// Above which rate, and what is promised in the name of the backends.
fn table(section: &mut Section<'_>) -> SynProxyConfig {
    section.require("above", "SYNs a second, 0 for always");
    let base = SynProxyConfig::default();
    let above = section.integer("above", 0..=u32::MAX);
    let mode = SynProxyMode::Above {
        syns_per_second: above.unwrap_or(0),
    };
    base.mode(mode)
        .mss(section.integer("mss", 88..=65_495).unwrap_or(base.mss))
        .window_scale(
            section
                .integer("window_scale", 0..=14)
                .unwrap_or(base.window_scale),
        )
        .sack(section.flag("sack").unwrap_or(base.sack))
        .timestamps(section.flag("timestamps").unwrap_or(base.timestamps))
        .ecn(section.flag("ecn").unwrap_or(base.ecn))
        .window(
            section
                .integer("window", 536..=u16::MAX)
                .unwrap_or(base.window),
        )
}

const FORM: &str = "\"off\", \"always\", or a table that says above which rate";

const MODES: [(&str, SynProxyMode); 2] =
    [("off", SynProxyMode::Off), ("always", SynProxyMode::Always)];
