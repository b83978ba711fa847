//! Fields of messages, and what a request must have in them.

use http::{HeaderMap, HeaderName, HeaderValue};
use lb_l7::router::{HeaderOps, Router, Rule, ValueMatch};
use toml::Spanned;
use toml::de::DeValue;

use super::super::section::{Section, shown};

/// A field's name, in any case.
pub(super) fn name(text: &str) -> Result<HeaderName, String> {
    HeaderName::try_from(text).map_err(|_| format!("{text:?} is not the name of a field"))
}

/// Fields with one value each.
pub(super) fn fields(
    section: &mut Section<'_>,
    key: &'static str,
) -> Vec<(HeaderName, HeaderValue)> {
    each(section, key, |text, value| {
        let name = name(text)?;
        let text = value
            .get_ref()
            .as_str()
            .ok_or_else(|| format!("expected a text, found {}", shown(value.get_ref())))?;
        let value = HeaderValue::try_from(text)
            .map_err(|_| "a field has no line ends and no control characters".to_owned())?;
        Ok((name, value))
    })
}

/// The same as a map.
pub(in super::super) fn map(section: &mut Section<'_>, key: &'static str) -> HeaderMap {
    fields(section, key).into_iter().collect()
}

/// `{ set, add, remove }`: what is done to the fields of a message.
pub(super) fn ops(section: &mut Section<'_>) -> HeaderOps {
    let mut ops = HeaderOps::default();
    let removed = section.texts("remove", "names of fields", name);
    for name in removed.into_iter().flatten() {
        ops = ops.remove(name);
    }
    for (name, value) in fields(section, "set") {
        ops = ops.set(name, value);
    }
    for (name, value) in fields(section, "add") {
        ops = ops.add(name, value);
    }
    let rule = Rule::forward("fields", ()).request_headers(ops.clone());
    match Router::builder().rule(rule).build() {
        Ok(_) => ops,
        Err(error) => {
            section.wrong("", error.fault.to_string());
            HeaderOps::default()
        }
    }
}

/// What values must be: `"exactly this"`, `true` for any, or `{ regex = "…" }`; each under a name
/// that `convert` takes.
pub(super) fn wanted<N>(
    section: &mut Section<'_>,
    key: &'static str,
    convert: impl Fn(&str) -> Result<N, String>,
) -> Vec<(N, ValueMatch)> {
    each(section, key, |text, value| {
        Ok((convert(text)?, value_match(value.get_ref())?))
    })
}

fn value_match(value: &DeValue<'_>) -> Result<ValueMatch, String> {
    match value {
        DeValue::String(text) => return Ok(ValueMatch::Exact(text.as_ref().into())),
        DeValue::Boolean(true) => return Ok(ValueMatch::Present),
        DeValue::Table(table) if table.len() == 1 => {
            let pattern = table
                .get("regex")
                .and_then(|value| value.get_ref().as_str());
            if let Some(pattern) = pattern {
                return Ok(ValueMatch::Regex(pattern.into()));
            }
        }
        _ => {}
    }
    let found = shown(value);
    Err(format!(
        "expected a text, true for any, or {{ regex = \"…\" }}, found {found}"
    ))
}

fn each<'t, T>(
    section: &mut Section<'t>,
    key: &'static str,
    convert: impl Fn(&'t str, &'t Spanned<DeValue<'t>>) -> Result<T, String>,
) -> Vec<T> {
    let mut all = Vec::new();
    for (name, value) in section.pairs(key) {
        match convert(name, value) {
            Ok(one) => all.push(one),
            Err(reason) => {
                let path = section.path_of(&format!("{key}.{name:?}"));
                section.notes().mistake(value.span().start, &path, reason);
            }
        }
    }
    all
}
