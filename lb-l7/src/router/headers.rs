//! Fields that a rule adds, sets and removes.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::RuleFault;

/// What a rule does to the fields of a message: first removes, then sets, then adds.
///
/// Names and values are of types that hold no line end, so nothing can be smuggled through them.
/// Fields that frame a message, that are for one hop, and `host` (see [`Rewrite`]) are refused when
/// the router is built.
///
/// [`Rewrite`]: super::Rewrite
///
/// # Examples
///
/// ```
/// use http::{HeaderMap, HeaderValue, header};
/// use lb_l7::router::HeaderOps;
///
/// let ops = HeaderOps::default()
///     .remove(header::SERVER)
///     .set(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
/// let mut fields = HeaderMap::new();
/// fields.insert(header::SERVER, HeaderValue::from_static("one"));
/// ops.apply(&mut fields);
/// assert_eq!(fields.get(header::SERVER), None);
/// assert_eq!(fields[header::X_FRAME_OPTIONS], "DENY");
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HeaderOps {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
}

impl HeaderOps {
    /// Removes every line of this name.
    #[must_use]
    pub fn remove(mut self, name: HeaderName) -> Self {
        self.remove.push(name);
        self
    }

    /// Puts one line of this name in the place of all there are.
    #[must_use]
    pub fn set(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.set.push((name, value));
        self
    }

    /// Puts a line behind those there are.
    #[must_use]
    pub fn add(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.add.push((name, value));
        self
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    /// Does it.
    ///
    /// Names and values are shared, not copied. A map that is full (32,768 lines, far above what a
    /// front accepts) is left without what does not fit.
    pub fn apply(&self, fields: &mut HeaderMap) {
        for name in &self.remove {
            fields.remove(name);
        }
        for (name, value) in &self.set {
            let _full = fields.try_insert(name, value.clone());
        }
        for (name, value) in &self.add {
            let _full = fields.try_append(name, value.clone());
        }
    }

    /// Refuses names that are not a rule's to change.
    pub(super) fn check(&self) -> Result<(), RuleFault> {
        let changed = self.set.iter().chain(&self.add).map(|(name, _)| name);
        self.remove.iter().chain(changed).try_for_each(check_name)
    }
}

/// Refuses a field that the proxy sets itself.
pub(super) fn check_name(name: &HeaderName) -> Result<(), RuleFault> {
    let refused = REFUSED.contains(name) || REFUSED_TOO.contains(&name.as_str());
    (!refused)
        .then_some(())
        .ok_or_else(|| RuleFault::Field(name.as_str().into()))
}

/// What frames a message or is for one hop alone (RFC 9110, 7.6.1), and `host`.
const REFUSED: [HeaderName; 7] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::HOST,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The same, of names that the crate `http` does not know.
const REFUSED_TOO: [&str; 3] = ["http2-settings", "keep-alive", "proxy-connection"];
