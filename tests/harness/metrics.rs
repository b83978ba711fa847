//! Figures of a process, as Prometheus reads them (text exposition format 0.0.4).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::http;

/// One reading of all figures.
///
/// # Examples
///
/// ```
/// use harness::metrics::Metrics;
///
/// let text = "# TYPE bytes_total counter\nbytes_total{listener=\"a\",way=\"in\"} 7\n";
/// let metrics = Metrics::parse(text).unwrap();
/// assert_eq!(metrics.sum("bytes_total", &[("way", "in")]), 7.0);
/// assert_eq!(metrics.sum("bytes_total", &[("way", "out")]), 0.0);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    samples: Vec<Sample>,
}

#[derive(Clone, Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Metrics {
    /// Reads `/metrics` of the admin port at `address`.
    ///
    /// # Panics
    ///
    /// When it does not answer by 200 and text of this format.
    #[track_caller]
    #[must_use]
    pub fn of(address: SocketAddr) -> Self {
        let answer = http::get(address, "/metrics").unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(answer.status, 200, "{}", answer.body);
        Self::parse(&answer.body).unwrap_or_else(|line| panic!("no figure: {line}"))
    }

    /// Reads text of this format.
    ///
    /// # Errors
    ///
    /// The first line that is neither a figure nor a comment.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(str::trim);
        let figures = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let samples = figures.map(|line| Sample::parse(line).ok_or_else(|| line.to_owned()));
        Ok(Self {
            samples: samples.collect::<Result<_, _>>()?,
        })
    }

    /// The sum of the figures of that name which have all of these labels; zero of none.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).map(|sample| sample.value).sum()
    }

    /// Whether there is a figure of that name with these labels, be it zero.
    #[must_use]
    pub fn has(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        self.matching(name, labels).next().is_some()
    }

    fn matching<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| {
            let has = |(label, value): &(&str, &str)| {
                sample.labels.get(*label).is_some_and(|own| own == value)
            };
            sample.name == name && labels.iter().all(has)
        })
    }
}

impl Sample {
    /// `name value` or `name{label="text",…} value`; a time stamp may follow.
    fn parse(line: &str) -> Option<Self> {
        let end = line.find(|c: char| c == '{' || c.is_ascii_whitespace())?;
        let (name, mut rest) = line.split_at(end);
        let mut labels = BTreeMap::new();
        if let Some(inside) = rest.strip_prefix('{') {
            rest = inside;
            while !rest.starts_with('}') {
                let (label, after) = rest.split_once("=\"")?;
                let (value, after) = quoted(after)?;
                labels.insert(label.to_owned(), value);
                rest = after.strip_prefix(',').unwrap_or(after);
            }
            rest = &rest[1..];
        }
        Some(Self {
            name: name.to_owned(),
            labels,
            value: rest.split_ascii_whitespace().next()?.parse().ok()?,
        })
    }
}

/// Text up to its closing quote, and what follows the quote.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((place, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[place + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                escaped => value.push(escaped),
            },
            plain => value.push(plain),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# HELP requests_total All of them.
# TYPE requests_total counter
requests_total{pool=\"a\",code=\"200\"} 5
requests_total{pool=\"a\",code=\"500\",} 2 1395066363000
requests_total{pool=\"b\",code=\"200\"} 1e3

up 1
odd{name=\"a \\\"b\\\\ {c}, d\\n\"} +Inf
";

    #[test]
    fn figures_are_summed_over_the_labels_that_are_left_open() {
        let metrics = Metrics::parse(TEXT).unwrap();
        assert_eq!(metrics.sum("requests_total", &[]), 1_007.0);
        assert_eq!(metrics.sum("requests_total", &[("pool", "a")]), 7.0);
        let one = [("pool", "a"), ("code", "500")];
        assert_eq!(metrics.sum("requests_total", &one), 2.0);
        assert_eq!(metrics.sum("up", &[]), 1.0);
        assert!(metrics.has("up", &[]) && !metrics.has("down", &[]));
        assert!(!metrics.has("up", &[("pool", "a")]));
    }

    #[test]
    fn labels_may_hold_what_separates_them() {
        let metrics = Metrics::parse(TEXT).unwrap();
        let name = [("name", "a \"b\\ {c}, d\n")];
        assert_eq!(metrics.sum("odd", &name), f64::INFINITY);
    }

    #[test]
    fn a_line_that_is_no_figure_is_told() {
        for bad in [
            "up",
            "up one",
            "up{a=\"b} 1",
            "up{a} 1",
            "up{a=\"b\"",
            "up{a=\"b\"}",
        ] {
            assert_eq!(Metrics::parse(bad).unwrap_err(), bad);
        }
    }
}
