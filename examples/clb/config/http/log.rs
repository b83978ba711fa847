//! `access_log = { … }`: where each request is logged.

use std::num::NonZeroU32;
use std::path::PathBuf;

use lb_l7::access_log::Format;

use super::super::section::Section;

/// Where each request is logged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct AccessLog {
    /// How a line is written. Default combined.
    pub(crate) format: Format,
    /// Where it is written.
    pub(crate) target: LogTarget,
    /// One in so many requests is logged; those that failed always. Default 1.
    pub(crate) sample: NonZeroU32,
}

/// Where lines go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum LogTarget {
    /// To the end of this file.
    File(PathBuf),
    /// To standard output.
    Stdout,
}

/// What the table says.
pub(super) fn read(section: &mut Section<'_>) -> Option<AccessLog> {
    let format = section.choice("format", "format", &FORMATS);
    let sample = section.integer("sample", 1..=u32::MAX);
    section.require("file", FILE_FORM);
    let file = section.text("file", FILE_FORM)?;
    let target = match file {
        "stdout" => LogTarget::Stdout,
        "" => {
            section.wrong("file", format!("empty, expected {FILE_FORM}"));
            return None;
        }
        file => LogTarget::File(section.notes().beside(file)),
    };
    Some(AccessLog {
        format: format.unwrap_or_default(),
        target,
        sample: sample.and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN),
    })
}

const FORMATS: [(&str, Format); 2] = [("combined", Format::Combined), ("json", Format::Json)];

const FILE_FORM: &str = "a path, or \"stdout\"";
