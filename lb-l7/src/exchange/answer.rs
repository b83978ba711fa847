//! Answers of the proxy's own: refusals, redirects, and what a rule or a filter says.

use std::future::poll_fn;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, response};

use super::{Exchange, Incoming};
use crate::body::BodyLength;
use crate::clock;
use crate::front::{Front, FrontError};
use crate::report::{Party, Phase, Termination, Why};
#[cfg(feature = "tls")]
use crate::router::host::split_port;
use crate::router::{Matched, Respond};
use crate::settings::Target;
use crate::timeout::after;

/// Says why the proxy answered itself, by the name of the termination.
pub(crate) const REASON: HeaderName = HeaderName::from_static("x-lb-reason");

impl<F: Front> Exchange<'_, F> {
    /// Tells the client that its exchange has ended as `ended` says, as far as that can be told.
    pub(super) async fn refuse(&mut self, incoming: &Incoming, ended: Termination) -> Termination {
        if self.front.takes_refusals() {
            return ended;
        }
        let status = ended.status().filter(|_| !self.is_answered);
        let Some(status) = status else {
            self.front.abort();
            return ended;
        };
        let mut response = self.explained(status, ended);
        if let Some(seconds) = self.record.retry_after.take() {
            let seconds = HeaderValue::from(seconds);
            response
                .headers_mut()
                .insert(http::header::RETRY_AFTER, seconds);
        }
        // What cannot be parsed, or is not read, makes the next request unsafe to look for.
        if matches!(
            ended.why(),
            Why::Malformed | Why::Misdirected | Why::Timeout
        ) {
            self.front.close_after();
        }
        self.respond_with(incoming, response).await;
        ended
    }

    /// A refusal that says why, if it may.
    pub(super) fn explained(&self, status: StatusCode, ended: Termination) -> Response<Bytes> {
        let mut response = refusal(status);
        if self.settings.explain {
            let reason = HeaderValue::from_static(ended.as_str());
            response.headers_mut().insert(REASON, reason);
        }
        response
    }

    pub(super) async fn redirect(
        &mut self,
        incoming: &Incoming,
        matched: Matched<'_, Target>,
        status: StatusCode,
    ) -> Termination {
        let location = matched.location(&incoming.parts, &self.peer.scheme());
        let Ok(Some(location)) = location else {
            let malformed = Termination::new(Party::Client, Phase::RequestHead, Why::Malformed);
            return self.refuse(incoming, malformed).await;
        };
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = status;
        response.headers_mut().insert(LOCATION, location);
        matched
            .rule()
            .response_headers
            .apply(response.headers_mut());
        self.respond_with(incoming, response).await
    }

    pub(super) async fn respond(
        &mut self,
        incoming: &Incoming,
        matched: Matched<'_, Target>,
        respond: &Respond,
    ) -> Termination {
        let mut response = Response::new(respond.body.clone());
        *response.status_mut() = respond.status;
        *response.headers_mut() = respond.headers.clone();
        matched
            .rule()
            .response_headers
            .apply(response.headers_mut());
        self.respond_with(incoming, response).await
    }

    /// Sends a whole response.
    pub(super) async fn respond_with(
        &mut self,
        incoming: &Incoming,
        response: Response<Bytes>,
    ) -> Termination {
        // A body that nobody reads stands before the next request, and so may bytes that were meant
        // for another protocol.
        if !incoming.length.is_empty() || incoming.upgrade.is_some() {
            self.front.close_after();
        }
        let (mut parts, body) = response.into_parts();
        if incoming.parts.method == Method::HEAD {
            let length = HeaderValue::from(body.len());
            parts.headers.insert(CONTENT_LENGTH, length);
        }
        clock::add_date(&mut parts.headers);
        for filter in &self.settings.filters {
            filter.on_response(&incoming.parts, &mut parts);
        }
        self.send(&incoming.parts.method, &parts, body).await
    }

    async fn send(&mut self, method: &Method, parts: &response::Parts, body: Bytes) -> Termination {
        self.is_answered = true;
        self.record.status = Some(parts.status);
        let length = body.len() as u64;
        self.record.answered(self.now);
        if self.drain.is_begun() {
            self.front.close_after();
        }
        self.front.send_head(parts, BodyLength::Exact(length));
        if !body.is_empty() && *method != Method::HEAD {
            self.record.traffic.body_out += length;
            self.front.send_data(body);
        }
        self.front.finish();
        let deadline = after(self.now, self.settings.timeouts.write_idle);
        let flushed = poll_fn(|cx| self.front.poll_flush(cx));
        let flushed = self.alarm.limit(deadline, flushed).await;
        self.tick();
        match flushed {
            Some(Ok(())) => Termination::new(Party::Proxy, Phase::ResponseBody, Why::Answered),
            Some(Err(error)) => ended_by_client(&error, Phase::ResponseBody),
            None => {
                self.front.abort();
                Termination::new(Party::Client, Phase::ResponseBody, Why::Timeout)
            }
        }
    }
}

/// What a client did to end an exchange.
pub(super) const fn ended_by_client(error: &FrontError, phase: Phase) -> Termination {
    let why = match error {
        FrontError::Closed => Why::Closed,
        FrontError::Malformed(_) | FrontError::Protocol => Why::Malformed,
        FrontError::Reset(_) => Why::Reset,
    };
    Termination::new(Party::Client, phase, why)
}

/// A short text that says what the status says.
pub(crate) fn refusal(status: StatusCode) -> Response<Bytes> {
    let mut text = BytesMut::with_capacity(40);
    text.extend_from_slice(status.as_str().as_bytes());
    text.extend_from_slice(b" ");
    text.extend_from_slice(status.canonical_reason().unwrap_or("").as_bytes());
    text.extend_from_slice(b"\n");
    let mut response = Response::new(text.freeze());
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

/// The host of an authority, without its port or a trailing dot.
#[cfg(feature = "tls")]
pub(super) fn host_of(authority: &[u8]) -> &[u8] {
    let (host, _) = split_port(authority);
    host.strip_suffix(b".").unwrap_or(host)
}
