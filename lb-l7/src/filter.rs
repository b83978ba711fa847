//! A program's own hand on requests and responses.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use http::{HeaderMap, Response, request, response};

use crate::peer::Peer;
use crate::report::Report;

/// Sees every exchange, and may change it or answer it.
///
/// Filters run in the order in which they were added, before the router: what one writes into a
/// request is what routes it. All methods have a default that does nothing, and none may block: one
/// that has to ask somebody gives [`Decision::Wait`].
///
/// # Examples
///
/// ```
/// use bytes::Bytes;
/// use http::{Response, StatusCode, request};
/// use lb_l7::{Decision, Filter, Peer};
///
/// /// Lets nobody in without a token.
/// #[derive(Debug)]
/// struct Token(&'static str);
///
/// impl Filter for Token {
///     fn on_request(&self, request: &mut request::Parts, _: &Peer) -> Decision {
///         let told = request.headers.remove("x-token");
///         if told.is_some_and(|told| told == self.0) {
///             return Decision::Continue;
///         }
///         let mut refusal = Response::new(Bytes::from_static(b"no token\n"));
///         *refusal.status_mut() = StatusCode::FORBIDDEN;
///         Decision::Respond(Box::new(refusal))
///     }
/// }
///
/// let (mut request, ()) = http::Request::new(()).into_parts();
/// let decision = Token("let me in").on_request(&mut request, &Peer::unnamed());
/// assert!(matches!(decision, Decision::Respond(_)));
/// ```
pub trait Filter: fmt::Debug + Send + Sync {
    /// A request has come; its body has not been read. Hop-by-hop fields are off it already.
    fn on_request(&self, request: &mut request::Parts, peer: &Peer) -> Decision {
        let _ = (request, peer);
        Decision::Continue
    }

    /// A response goes to the client, from a backend or from the proxy itself.
    fn on_response(&self, request: &request::Parts, response: &mut response::Parts) {
        let _ = (request, response);
    }

    /// An exchange is over; called exactly once for each.
    fn on_report(&self, report: &Report<'_>) {
        let _ = report;
    }
}

/// What becomes of a request.
#[non_exhaustive]
pub enum Decision {
    /// It goes on, with these fields added.
    Add(HeaderMap),
    /// It goes on.
    Continue,
    /// It is answered here; the backend never sees it.
    Respond(Box<Response<Bytes>>),
    /// That depends on somebody who has to be asked.
    Wait(Pin<Box<dyn Future<Output = Self> + Send>>),
}

impl fmt::Debug for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add(fields) => f.debug_tuple("Add").field(fields).finish(),
            Self::Continue => f.write_str("Continue"),
            Self::Respond(response) => f.debug_tuple("Respond").field(response).finish(),
            Self::Wait(_) => f.write_str("Wait(..)"),
        }
    }
}
