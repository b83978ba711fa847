//! The text format of Prometheus, version 0.0.4.

use std::fmt::{Display, Write};

use lb_l7::stats::{DEFAULT_BOUNDS, HistogramSnapshot};

use super::key_server::Durations;

/// What the page is, for `Content-Type`.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page of metrics being written; each family once, with all its samples.
#[derive(Debug, Default)]
pub(super) struct Page {
    text: String,
}

/// What kind of figure a family holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Only grows, until the process starts anew.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations, in buckets.
    Histogram,
}

/// One figure with the labels that tell it from others of its family.
pub(super) type Sample<'s, const N: usize> = ([(&'static str, &'s str); N], Figure);

/// The labels of a sample, as many as there are.
pub(super) type Labels<'s> = Vec<(&'static str, &'s str)>;

/// A figure as the format writes it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Figure {
    /// A count, exact at any size.
    Count(u64),
    /// A measure.
    Real(f64),
}

impl Figure {
    /// 1 for yes, and 0 for no.
    pub(super) fn flag(flag: bool) -> Self {
        Self::Count(flag.into())
    }
}

impl Page {
    /// Writes a family of one figure.
    pub(super) fn single(&mut self, name: &str, kind: Kind, help: &str, figure: Figure) {
        self.family(name, kind, help, [([], figure)]);
    }

    /// Writes a family, if it has any sample.
    pub(super) fn family<'s, const N: usize>(
        &mut self,
        name: &str,
        kind: Kind,
        help: &str,
        samples: impl IntoIterator<Item = Sample<'s, N>>,
    ) {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return;
        }
        self.head(name, kind, help);
        for (labels, figure) in samples {
            self.sample(name, &labels, figure);
        }
    }

    /// Writes a family whose samples have any labels, if it has any sample.
    pub(super) fn rows<'s>(
        &mut self,
        name: &str,
        kind: Kind,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'s>, Figure)>,
    ) {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return;
        }
        self.head(name, kind, help);
        for (labels, figure) in samples {
            self.sample(name, &labels, figure);
        }
    }

    /// Writes a family of durations, in seconds and in the library's buckets, if there is any.
    pub(super) fn durations<'s>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'s>, &'s HistogramSnapshot)>,
    ) {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return;
        }
        self.head(name, Kind::Histogram, help);
        let bounds = DEFAULT_BOUNDS.map(|bound| bound.as_secs_f64().to_string());
        for (labels, durations) in samples {
            let bucket = format!("{name}_bucket");
            let mut put = |bound: &str, count| {
                let mut labels = labels.clone();
                labels.push(("le", bound));
                let labels = shown(&labels);
                let _ = writeln!(self.text, "{bucket}{labels} {count}");
            };
            for (bound, (_, count)) in bounds.iter().zip(durations.cumulative(&DEFAULT_BOUNDS)) {
                put(bound, count);
            }
            put("+Inf", durations.count());
            let sum = Figure::Real(durations.sum().as_secs_f64());
            self.sample(&format!("{name}_sum"), &labels, sum);
            let count = Figure::Count(durations.count());
            self.sample(&format!("{name}_count"), &labels, count);
        }
    }

    /// Writes a family of durations with bounds of their own, in seconds.
    pub(super) fn histogram(&mut self, name: &str, help: &str, durations: &Durations) {
        self.head(name, Kind::Histogram, help);
        let bucket = format!("{name}_bucket");
        for (bound, count) in &durations.cumulative {
            let bound = bound.to_string();
            self.sample(&bucket, &[("le", &bound)], Figure::Count(*count));
        }
        let all = Figure::Count(durations.count);
        self.sample(&bucket, &[("le", "+Inf")], all);
        let sum = Figure::Real(durations.sum);
        self.sample(&format!("{name}_sum"), &[], sum);
        self.sample(&format!("{name}_count"), &[], all);
    }

    fn head(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], figure: Figure) {
        let labels = shown(labels);
        match figure {
            Figure::Count(count) => self.line(format_args!("{name}{labels} {count}")),
            Figure::Real(real) => self.line(format_args!("{name}{labels} {real}")),
        }
    }

    /// The page as written.
    pub(super) fn into_text(self) -> String {
        self.text
    }

    fn line(&mut self, line: impl Display) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{line}");
    }
}

/// `{name="value",…}`, or nothing without labels.
fn shown(labels: &[(&str, &str)]) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let pairs: Vec<String> = labels
        .iter()
        .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
        .collect();
    format!("{{{}}}", pairs.join(","))
}

/// Backslash, quote and line feed are written with a backslash.
fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_its_help_its_type_and_its_samples() {
        let mut page = Page::default();
        let samples = [([("a", "x"), ("b", "y")], Figure::Count(u64::MAX))];
        page.family("n_total", Kind::Counter, "Help.", samples);
        page.family("g", Kind::Gauge, "Other.", [([], Figure::Real(0.5))]);
        let expected = "# HELP n_total Help.\n# TYPE n_total counter\n\
                        n_total{a=\"x\",b=\"y\"} 18446744073709551615\n\
                        # HELP g Other.\n# TYPE g gauge\ng 0.5\n";
        assert_eq!(page.into_text(), expected);
    }

    #[test]
    fn a_family_without_samples_is_not_written() {
        let mut page = Page::default();
        page.family::<0>("n", Kind::Gauge, "Help.", []);
        assert_eq!(page.into_text(), "");
    }

    #[test]
    fn a_label_may_hold_anything() {
        assert_eq!(shown(&[("a", "q\"b\\n\n")]), "{a=\"q\\\"b\\\\n\\n\"}");
    }
}
