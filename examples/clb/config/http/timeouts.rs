//! `timeouts = { … }`: how long each phase of an exchange may take.

use std::time::Duration;

use lb_l7::Timeouts;

use super::super::section::Section;
use super::super::{DAY, MILLISECOND};

/// What the table says; what it does not say is as in `base`.
pub(super) fn read(section: &mut Section<'_>, base: Timeouts) -> Timeouts {
    let mut timeouts = base;
    section.table("timeouts", |section| {
        for (key, field) in KEYS {
            if let Some(span) = section.span(key, MILLISECOND..=DAY) {
                *field(&mut timeouts) = span;
            }
        }
    });
    timeouts
}

type Field = fn(&mut Timeouts) -> &mut Duration;

const KEYS: [(&str, Field); 11] = [
    ("handshake", |t| &mut t.handshake),
    ("request_head", |t| &mut t.request_head),
    ("body_idle", |t| &mut t.body_idle),
    ("connect", |t| &mut t.connect),
    ("first_byte", |t| &mut t.first_byte),
    ("between_bytes", |t| &mut t.between_bytes),
    ("write_idle", |t| &mut t.write_idle),
    ("total", |t| &mut t.total),
    ("keep_alive", |t| &mut t.keep_alive),
    ("tunnel_idle", |t| &mut t.tunnel_idle),
    ("expect_continue", |t| &mut t.expect_continue),
];
