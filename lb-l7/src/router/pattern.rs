//! Regular expressions: the only file that knows whether the feature `regex` is on.

use super::RuleFault;

/// A compiled regular expression over bytes.
#[derive(Clone, Debug)]
pub(super) struct Pattern(#[cfg(feature = "regex")] regex::bytes::Regex);

#[cfg(feature = "regex")]
impl Pattern {
    /// One that must match the whole text.
    pub(super) fn whole(text: &str) -> Result<Self, RuleFault> {
        // What is no expression by itself must not become one inside the group.
        Self::part(text)?;
        Self::part(&format!(r"\A(?:{text})\z"))
    }

    /// One that may match any part of the text.
    pub(super) fn part(text: &str) -> Result<Self, RuleFault> {
        // Bytes, not letters: normal paths are ASCII, and headers may be anything.
        let built = regex::bytes::RegexBuilder::new(text)
            .unicode(false)
            .size_limit(LARGEST)
            .dfa_size_limit(LARGEST)
            .nest_limit(DEEPEST)
            .build();
        built.map(Self).map_err(|error| RuleFault::Pattern {
            pattern: text.into(),
            why: error.to_string(),
        })
    }

    pub(super) fn matches(&self, text: &[u8]) -> bool {
        self.0.is_match(text)
    }

    /// `text` with its first match replaced; `None` when there is none.
    pub(super) fn replace(&self, text: &[u8], to: &str) -> Option<Vec<u8>> {
        match self.0.replace(text, to.as_bytes()) {
            std::borrow::Cow::Borrowed(_) => None,
            std::borrow::Cow::Owned(replaced) => Some(replaced),
        }
    }
}

#[cfg(not(feature = "regex"))]
impl Pattern {
    pub(super) fn whole(text: &str) -> Result<Self, RuleFault> {
        Self::part(text)
    }

    pub(super) fn part(text: &str) -> Result<Self, RuleFault> {
        Err(RuleFault::Pattern {
            pattern: text.into(),
            why: "this program was built without the feature `regex`".into(),
        })
    }

    #[expect(clippy::unused_self, reason = "there is no value of this type")]
    pub(super) fn matches(&self, _text: &[u8]) -> bool {
        false
    }

    #[expect(clippy::unused_self, reason = "there is no value of this type")]
    pub(super) fn replace(&self, _text: &[u8], _to: &str) -> Option<Vec<u8>> {
        None
    }
}

/// Bytes of a compiled expression, and of what it caches while matching: 256 KiB.
#[cfg(feature = "regex")]
const LARGEST: usize = 1 << 18;

/// Groups in groups.
#[cfg(feature = "regex")]
const DEEPEST: u32 = 32;
