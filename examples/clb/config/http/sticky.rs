//! `sticky = { … }`: the same client to the same backend, by a cookie.

use std::time::Duration;

use lb_l7::cookie::{
    Attributes, CookieConfig, CookieError, CookieMode, CookiePersistence, KeyRing, SameSite, Secure,
};
use lbcore::hash::HashKey;

use super::super::hash;
use super::super::section::Section;

/// The same client to the same backend, by a cookie.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Sticky {
    /// Its name.
    cookie: String,
    /// Whose it is.
    mode: CookieMode,
    /// What signs it. Default: a key of this process, made at its start.
    keys: Option<KeyRing>,
    /// How long a client keeps its backend at most. Default without end.
    max_age: Option<Duration>,
    /// How long a client may be away. Default without end.
    max_idle: Option<Duration>,
}

impl Sticky {
    /// What the library is told; `own` signs where the file names no key.
    ///
    /// # Errors
    ///
    /// What no cookie can be; the parser lets nothing like it through.
    pub(crate) fn made(&self, own: &KeyRing) -> Result<CookiePersistence, CookieError> {
        let keys = self.keys.as_ref().unwrap_or(own);
        let mut config = CookieConfig::new(&self.cookie, keys.clone());
        config.mode = self.mode.clone();
        config.max_age = self.max_age;
        config.max_idle = self.max_idle;
        CookiePersistence::new(config)
    }
}

/// What the table says.
pub(super) fn read(section: &mut Section<'_>) -> Option<Sticky> {
    section.require("cookie", "the name of a cookie");
    let cookie = section.text("cookie", "the name of a cookie");
    let rewrites = section.choice("mode", "mode", &[("insert", false), ("rewrite", true)]);
    let key = section.text_as("key", hash::SEED_FORM, hash::seed);
    let previous = section.texts("previous_keys", hash::SEED_FORM, hash::seed);
    let mut time = |key| section.span(key, SECOND..=LONGEST);
    let (max_age, max_idle) = (time("max_age"), time("max_idle"));
    let attributes = attributes(section);
    let mode = if rewrites == Some(true) {
        for key in ATTRIBUTES.into_iter().filter(|key| section.has(key)) {
            section.wrong(key, "only with mode insert: the cookie is the backend's");
        }
        CookieMode::Rewrite
    } else {
        CookieMode::Insert(attributes)
    };
    if section.has("previous_keys") && !section.has("key") {
        section.wrong("previous_keys", "only with a key, which signs");
    }
    let previous = previous.into_iter().flatten().map(HashKey::new);
    let sticky = Sticky {
        cookie: cookie?.into(),
        mode,
        keys: key.map(|key| KeyRing::new(HashKey::new(key), previous)),
        max_age,
        max_idle,
    };
    let any = KeyRing::new(HashKey::from_seed(0), []);
    if let Err(error) = sticky.made(&any) {
        section.wrong(key_of(&error), error.to_string());
    }
    Some(sticky)
}

fn attributes(section: &mut Section<'_>) -> Attributes {
    let mut attributes = Attributes::default();
    attributes.lifetime = section.span("lifetime", SECOND..=LONGEST);
    if let Some(path) = section.text("path", "a path, such as \"/\"") {
        attributes.path = path.into();
    }
    attributes.domain = section.text("domain", "the name of a host").map(Into::into);
    if let Some(secure) = section.choice("secure", "word", &SECURE) {
        attributes.secure = secure;
    }
    if let Some(hidden) = section.flag("http_only") {
        attributes.http_only = hidden;
    }
    if let Some(same) = section.choice("same_site", "word", &SAME_SITE) {
        attributes.same_site = same;
    }
    attributes
}

const fn key_of(error: &CookieError) -> &'static str {
    match error {
        CookieError::Domain(_) => "domain",
        CookieError::IdleOfRewritten => "max_idle",
        CookieError::Path(_) => "path",
        CookieError::SameSiteNone => "same_site",
        CookieError::Time { field, .. } => field,
        _ => "cookie",
    }
}

const ATTRIBUTES: [&str; 6] = [
    "lifetime",
    "path",
    "domain",
    "secure",
    "http_only",
    "same_site",
];

const SECURE: [(&str, Secure); 3] = [
    ("https", Secure::OverHttps),
    ("always", Secure::Always),
    ("never", Secure::Never),
];

const SAME_SITE: [(&str, SameSite); 4] = [
    ("lax", SameSite::Lax),
    ("strict", SameSite::Strict),
    ("none", SameSite::None),
    ("unset", SameSite::Unset),
];

const SECOND: Duration = Duration::from_secs(1);
/// Browsers keep no cookie longer (RFC 6265bis, 5.5).
const LONGEST: Duration = Duration::from_secs(400 * 86_400);
