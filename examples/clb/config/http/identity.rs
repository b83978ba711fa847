//! Who is believed, and what backends are told of a request: `trusted`, `forwarded`, `request_id`
//! and `trace`.

use http::HeaderName;
use lb_l7::headers::identity::{self as library, ClientFrom, IdentityConfig, IdentityError, Mode};
use lb_l7::headers::request_id::{self, Accept, Form};
use lb_l7::headers::trace::{self, TraceFrom, TraceMode};

use super::super::section::{Said, Section};
use super::super::{Prefix, prefix};
use super::fields;

/// Who is believed, and what backends are told of the client.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Identity {
    trusted: Vec<Prefix>,
    client_from: ClientFrom,
    x_forwarded: Mode,
    forwarded: Mode,
    by: Option<String>,
    via: Option<String>,
    trusted_only: Option<Vec<HeaderName>>,
    max_hops: u16,
}

impl Identity {
    /// What the library is told.
    ///
    /// # Errors
    ///
    /// Says what it does not take.
    pub(crate) fn made(&self) -> Result<library::Identity, String> {
        let mut config = IdentityConfig::default();
        let trusted = self.trusted.iter();
        let trusted = trusted.map(|p| lbcore::address_list::Prefix::new(p.address, p.bits));
        config.trusted = trusted
            .collect::<Result<_, _>>()
            .map_err(|error| error.to_string())?;
        self.library(config).map_err(|error| error.to_string())
    }

    fn library(&self, mut config: IdentityConfig) -> Result<library::Identity, IdentityError> {
        config.client_from = self.client_from;
        config.x_forwarded = self.x_forwarded;
        config.forwarded = self.forwarded;
        config.by = self.by.as_deref().map(Into::into);
        config.via = self.via.as_deref().map(Into::into);
        config.max_hops = self.max_hops;
        if let Some(fields) = &self.trusted_only {
            config.trusted_only.clone_from(fields);
        }
        library::Identity::new(config)
    }
}

/// `trusted = [ … ]` and `forwarded = { … }`.
pub(super) fn read(section: &mut Section<'_>) -> Identity {
    let trusted = section.texts("trusted", prefix::PREFIX_FORM, prefix::parse);
    let default = IdentityConfig::default();
    let mut identity = Identity {
        trusted: trusted.unwrap_or_default(),
        client_from: default.client_from,
        x_forwarded: default.x_forwarded,
        forwarded: default.forwarded,
        by: None,
        via: None,
        trusted_only: None,
        max_hops: default.max_hops,
    };
    section.table("forwarded", |section| forwarded(section, &mut identity));
    identity
}

fn forwarded(section: &mut Section<'_>, identity: &mut Identity) {
    if let Some(from) = section.choice("client_from", "field", &FROM) {
        identity.client_from = from;
    }
    if let Some(mode) = section.choice("x_forwarded", "mode", &MODES) {
        identity.x_forwarded = mode;
    }
    if let Some(mode) = section.choice("forwarded", "mode", &MODES) {
        identity.forwarded = mode;
    }
    identity.by = section
        .text("by", "a name such as \"_edge\"")
        .map(Into::into);
    identity.via = section
        .text("via", "a name such as \"edge\"")
        .map(Into::into);
    identity.trusted_only = section.texts("trusted_only", "names of fields", fields::name);
    if let Some(hops) = section.integer("max_hops", 1..=u16::MAX) {
        identity.max_hops = hops;
    }
    if let Err(error) = identity.library(IdentityConfig::default()) {
        let key = match error {
            IdentityError::By(_) => "by",
            IdentityError::Via(_) => "via",
            _ => "max_hops",
        };
        section.wrong(key, error.to_string());
    }
}

/// A name for each request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct RequestId {
    header: HeaderName,
    accept: Accept,
    form: Form,
}

impl RequestId {
    /// What the library is told.
    pub(crate) fn made(&self) -> request_id::RequestId {
        let mut made = request_id::RequestId::default();
        made.name = self.header.clone();
        made.accept = self.accept;
        made.form = self.form;
        made
    }
}

/// `request_id = true`, or a table.
pub(super) fn request_id(section: &mut Section<'_>) -> Option<RequestId> {
    let default = || {
        let default = request_id::RequestId::default();
        RequestId {
            header: default.name,
            accept: default.accept,
            form: default.form,
        }
    };
    let said = section.flag_or_table("request_id", |section| {
        let mut id = default();
        if let Some(header) = section.text_as("header", "the name of a field", fields::name) {
            id.header = header;
        }
        if let Some(accept) = section.choice("accept", "word", &ACCEPTS) {
            id.accept = accept;
        }
        if let Some(form) = section.choice("form", "form", &FORMS) {
            id.form = form;
        }
        id
    });
    match said? {
        Said::Flag(on) => on.then(default),
        Said::Table(id) => Some(id),
    }
}

/// What becomes of `traceparent`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Trace {
    mode: TraceMode,
    from: TraceFrom,
    sample_one_in: u32,
}

impl Trace {
    /// What the library is told.
    pub(crate) fn made(self) -> trace::Trace {
        let mut made = trace::Trace::default();
        made.mode = self.mode;
        made.from = self.from;
        made.sample_one_in = self.sample_one_in;
        made
    }
}

/// `trace = true`, or a table.
pub(super) fn trace(section: &mut Section<'_>) -> Option<Trace> {
    let said = section.flag_or_table("trace", |section| Trace {
        mode: section
            .choice("mode", "mode", &TRACE_MODES)
            .unwrap_or_default(),
        from: section
            .choice("from", "word", &TRACE_FROM)
            .unwrap_or_default(),
        sample_one_in: section.integer("sample", 0..=u32::MAX).unwrap_or(0),
    });
    match said? {
        Said::Flag(on) => on.then(Trace::default),
        Said::Table(trace) => Some(trace),
    }
}

const FROM: [(&str, ClientFrom); 3] = [
    ("x-forwarded-for", ClientFrom::XForwardedFor),
    ("forwarded", ClientFrom::Forwarded),
    ("peer", ClientFrom::Peer),
];

const MODES: [(&str, Mode); 4] = [
    ("append", Mode::Append),
    ("pass", Mode::Pass),
    ("remove", Mode::Remove),
    ("replace", Mode::Replace),
];

const ACCEPTS: [(&str, Accept); 3] = [
    ("trusted", Accept::Trusted),
    ("always", Accept::Always),
    ("never", Accept::Never),
];

const FORMS: [(&str, Form); 2] = [("uuid", Form::Uuid), ("hex", Form::Hex)];

const TRACE_MODES: [(&str, TraceMode); 3] = [
    ("join", TraceMode::Join),
    ("pass", TraceMode::Pass),
    ("off", TraceMode::Off),
];

const TRACE_FROM: [(&str, TraceFrom); 3] = [
    ("everyone", TraceFrom::Everyone),
    ("trusted", TraceFrom::Trusted),
    ("no-one", TraceFrom::NoOne),
];
