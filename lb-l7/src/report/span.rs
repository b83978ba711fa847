//! Spans of `tracing`, for those who follow single exchanges.

use tracing::field::{Empty, display};
use tracing::{Level, Span};

use super::{ClientSide, Report, RequestLine};

/// A span of one exchange, at the level *debug*, target `lb_l7::exchange`.
///
/// Costs one atomic load while no subscriber wants that level, and is then disabled. What is not
/// known yet is filled in by [`finish_span`].
#[must_use]
pub fn span(client: &ClientSide<'_>, request: &RequestLine<'_>) -> Span {
    tracing::span!(
        target: "lb_l7::exchange",
        Level::DEBUG,
        "exchange",
        listener = client.listener,
        client = %client.address,
        method = request.method,
        authority = %request.authority.escape_ascii(),
        path = %request.path.escape_ascii(),
        id = request.id.map(|id| display(id.escape_ascii())),
        route = Empty,
        upstream = Empty,
        backend = Empty,
        tries = Empty,
        status = Empty,
        termination = Empty,
        detail = Empty,
    )
}

/// Fills in what the end of the exchange tells.
///
/// Costs nothing on a disabled span.
pub fn finish_span(span: &Span, report: &Report<'_>) {
    if span.is_disabled() {
        return;
    }
    if let Some(route) = report.route {
        span.record("route", route);
    }
    if let Some(upstream) = report.upstream {
        span.record("upstream", upstream);
    }
    if let Some(backend) = report.backend {
        span.record("backend", display(backend.address));
        span.record("tries", backend.tries);
    }
    if let Some(status) = report.logged_status() {
        span.record("status", status.as_u16());
    }
    span.record("termination", report.termination.as_str());
    if let Some(detail) = report.detail {
        span.record("detail", detail);
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::{Debug, Write as _};
    use std::sync::{Arc, Mutex};

    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber, subscriber};

    use super::*;
    use crate::report::tests::{address, report};
    use crate::report::{Party, Phase, Termination, Why};

    /// Writes down the fields of every span, if it is wanted.
    #[derive(Clone, Default)]
    struct Fields {
        wanted: bool,
        text: Arc<Mutex<String>>,
    }

    impl Visit for Fields {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            write!(self.text.lock().unwrap(), "{field}={value:?};").unwrap();
        }
    }

    impl Subscriber for Fields {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            self.wanted && metadata.target() == "lb_l7::exchange"
        }

        fn new_span(&self, span: &Attributes<'_>) -> Id {
            span.record(&mut self.clone());
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, values: &Record<'_>) {
            values.record(&mut self.clone());
        }

        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, _: &Event<'_>) {}
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn a_span_has_the_request_first_and_the_end_at_the_end() {
        let fields = Fields {
            wanted: true,
            ..Fields::default()
        };
        let address = address();
        let mut report = report(&address);
        report.request.path = b"/\n";
        report.status = None;
        report.termination = Termination::new(Party::Backend, Phase::ResponseHead, Why::Timeout);
        report.detail = Some("first-byte");
        subscriber::with_default(fields.clone(), || {
            let span = span(&report.client, &report.request);
            fields.text.lock().unwrap().push('|');
            finish_span(&span, &report);
        });
        assert_eq!(
            *fields.text.lock().unwrap(),
            "listener=\"web\";client=10.0.0.9:51234;method=\"GET\";authority=example.com;path=/\\n;\
             id=4bf92f3577b34da6;|route=\"all\";upstream=\"app\";backend=10.0.0.11:8080;tries=1;\
             status=504;termination=\"backend-timeout-in-response-head\";detail=\"first-byte\";"
        );
    }

    #[test]
    fn what_nobody_wants_is_disabled() {
        let address = address();
        let report = report(&address);
        let fields = Fields::default();
        subscriber::with_default(fields.clone(), || {
            let span = span(&report.client, &report.request);
            assert!(span.is_disabled());
            finish_span(&span, &report);
        });
        assert_eq!(*fields.text.lock().unwrap(), "");
    }
}
