//! Why a router could not be built.

use thiserror::Error;

use super::TargetFault;

/// A rule that cannot stand: the fault of whoever wrote it.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("rule `{rule}`: {fault}")]
#[non_exhaustive]
pub struct RouterError {
    /// The name of the rule.
    pub rule: String,
    /// What is wrong with it.
    pub fault: RuleFault,
}

/// What is wrong with a rule.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum RuleFault {
    /// A fixed answer cannot have a body under this status (RFC 9110, 6.4.1).
    #[error("an answer with status {0} has no body")]
    BodyOfNothing(u16),
    /// No cookie can have this name (RFC 6265, 4.1.1).
    #[error("`{0}` cannot be the name of a cookie")]
    CookieName(String),
    /// The proxy sets this field itself: it frames the message, or is for one hop alone (RFC 9110,
    /// 7.6.1).
    #[error("the field `{0}` frames the message or is for one hop, and is not for rules to change")]
    Field(String),
    /// Not a DNS name, an IPv4 address, an IPv6 address in brackets, or `*.` before a name.
    #[error(
        "`{0}` is no host: expected `example.com`, `*.example.com` or an address, without port"
    )]
    Host(String),
    /// Another rule has this name already; log and metrics could not tell them apart.
    #[error("another rule has the same name")]
    Name,
    /// Nothing to be found under in log and metrics.
    #[error("the name is empty")]
    NameEmpty,
    /// The path of a rule must begin with `/`, and has neither query nor fragment.
    #[error("`{0}` is no path: it begins with `/` and has no `?` and no `#`")]
    Path(String),
    /// No request can have this path: requests with it are refused.
    #[error("no request has the path `{path}`: {fault}")]
    PathRefused {
        /// The path of the rule.
        path: String,
        /// Why requests with it are refused.
        fault: TargetFault,
    },
    /// A regular expression that is wrong, too large, or not to be had in this build.
    #[error("the regular expression `{pattern}` cannot be used: {why}")]
    Pattern {
        /// The expression.
        pattern: String,
        /// What speaks against it.
        why: String,
    },
    /// A prefix can be replaced only in rules whose every match is by a prefix.
    #[error("a prefix is replaced, and not every match of the rule is by a prefix")]
    PrefixOfNothing,
    /// A query parameter must have a name.
    #[error("the name of a query parameter is empty")]
    QueryName,
    /// The redirect changes nothing, so clients would come back for ever.
    #[error("the redirect leads to where it comes from")]
    RedirectToItself,
    /// Only what is forwarded can be rewritten.
    #[error("there is a rewrite, and nothing is forwarded")]
    RewriteOfNothing,
    /// This rule can never be reached: the other matches the very same, and was written before.
    #[error("it matches the very same as rule `{0}`")]
    SameMatch(String),
    /// A fixed answer is final: 200 to 599.
    #[error("{0} is no status of a final answer: expected 200 to 599")]
    Status(u16),
    /// Nothing is left to choose from.
    #[error("every weight is zero")]
    Weights,
}
