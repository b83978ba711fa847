//! One table of the file, read key by key, with each mistake told where it stands.

use std::collections::HashMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::duration;
use super::notes::Notes;
use super::suggest::did_you_mean;

/// What stands under a key that takes a table, and true or false in its place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Said<T> {
    /// True or false.
    Flag(bool),
    /// A table.
    Table(T),
}

/// A table of the file, its place, and which of its keys are known.
///
/// Every reader returns `None` both where the key is absent and where its value is wrong; the
/// second is also noted as a mistake, so that what follows may go on with a default. Reading is
/// done within [`read`](Self::read), which in the end notes the keys that nobody asked for.
#[derive(Debug)]
pub(super) struct Section<'t> {
    table: &'t DeTable<'t>,
    notes: &'t Notes,
    /// Its own key, as `pool.web`; empty for the whole file.
    path: String,
    /// Where it begins, in bytes: the place of what is missing in it.
    at: usize,
    known: Vec<&'static str>,
}

impl<'t> Section<'t> {
    /// Reads the table at `path` with `fields`, then notes every key that it did not ask for.
    pub(super) fn read<T>(
        table: &'t DeTable<'t>,
        notes: &'t Notes,
        path: String,
        at: usize,
        fields: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let mut section = Self {
            table,
            notes,
            path,
            at,
            known: Vec::new(),
        };
        let value = fields(&mut section);
        section.note_unknown();
        value
    }

    /// The key of `key` in the whole file.
    pub(super) fn path_of(&self, key: &str) -> String {
        match (self.path.as_str(), key) {
            ("", key) => key.into(),
            (path, "") => path.into(),
            (path, key) => format!("{path}.{key}"),
        }
    }

    /// Where the value of `key` stands; where this table begins, if there is none.
    pub(super) fn place_of(&self, key: &str) -> usize {
        self.table
            .get(key)
            .map_or(self.at, |value| value.span().start)
    }

    /// Whether the file says anything under `key`.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Whether an empty list stands under `key`; says nothing of it.
    pub(super) fn is_empty(&self, key: &str) -> bool {
        let list = self
            .table
            .get(key)
            .and_then(|list| list.get_ref().as_array());
        list.is_some_and(|list| list.is_empty())
    }

    /// True or false under `key`, if that is there; says nothing of it.
    pub(super) fn peek_flag(&self, key: &str) -> Option<bool> {
        self.table.get(key)?.get_ref().as_bool()
    }

    /// Takes these keys for known, though nobody asks for them.
    pub(super) fn knows(&mut self, keys: &[&'static str]) {
        for key in keys {
            self.spanned(key);
        }
    }

    /// The notes, for checks that look beyond this table.
    pub(super) const fn notes(&self) -> &'t Notes {
        self.notes
    }

    /// Notes a mistake in the value of `key`.
    pub(super) fn wrong(&self, key: &str, text: impl Into<String>) {
        self.notes
            .mistake(self.place_of(key), &self.path_of(key), text);
    }

    /// Notes something odd in the value of `key`.
    pub(super) fn odd(&self, key: &str, text: impl Into<String>) {
        self.notes
            .warning(self.place_of(key), &self.path_of(key), text);
    }

    /// Notes `key` as missing, unless it is there.
    pub(super) fn require(&self, key: &'static str, expected: &str) {
        if !self.has(key) {
            self.wrong(key, format!("missing, expected {expected}"));
        }
    }

    /// The value of `key` as `convert` takes it; what it refuses was not what was `expected`.
    pub(super) fn value<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        convert: impl FnOnce(&'t DeValue<'t>) -> Option<T>,
    ) -> Option<T> {
        let value = self.spanned(key)?.get_ref();
        let converted = convert(value);
        if converted.is_none() {
            self.wrong(key, format!("expected {expected}, found {}", shown(value)));
        }
        converted
    }

    /// A text.
    pub(super) fn text(&mut self, key: &'static str, expected: &str) -> Option<&'t str> {
        self.value(key, expected, DeValue::as_str)
    }

    /// The text under `key`, if one is there; says nothing of it.
    pub(super) fn peek(&self, key: &str) -> Option<&'t str> {
        self.table.get(key)?.get_ref().as_str()
    }

    /// The good names of the tables listed under `key`; says nothing of them.
    ///
    /// Where a table stands in place of the list, as `[pool]` or `[pool.web]`, that is a mistake of
    /// its own: every name that may have been meant is taken, so that no reference is a second one.
    pub(super) fn names_in(&self, key: &str) -> Vec<&'t str> {
        if let Some(table) = self
            .table
            .get(key)
            .and_then(|value| value.get_ref().as_table())
        {
            let keys = table.keys().map(|key| key.get_ref().as_ref());
            return keys.chain(name_in(table)).collect();
        }
        tables_in(self.table, key).filter_map(name_in).collect()
    }

    /// The tables listed under `key`, each with its good name; says nothing of them.
    pub(super) fn named_in(&self, key: &str) -> impl Iterator<Item = (&'t str, &'t DeTable<'t>)> {
        tables_in(self.table, key).filter_map(|table| Some((name_in(table)?, table)))
    }

    /// A text that `convert` takes, or says why not.
    pub(super) fn text_as<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        convert: impl FnOnce(&'t str) -> Result<T, String>,
    ) -> Option<T> {
        match convert(self.text(key, expected)?) {
            Ok(value) => Some(value),
            Err(reason) => {
                self.wrong(key, reason);
                None
            }
        }
    }

    /// True or false.
    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        self.value(key, "true or false", DeValue::as_bool)
    }

    /// A whole number within `range`.
    pub(super) fn integer<T>(&mut self, key: &'static str, range: RangeInclusive<T>) -> Option<T>
    where
        T: Copy + Display + PartialOrd + TryFrom<i128>,
    {
        let expected = format!("a whole number in {}..={}", range.start(), range.end());
        self.value(key, &expected, |value| {
            let number = T::try_from(whole(value)?).ok()?;
            range.contains(&number).then_some(number)
        })
    }

    /// A number within `range`, with or without a fraction.
    pub(super) fn number(&mut self, key: &'static str, range: RangeInclusive<f64>) -> Option<f64> {
        let expected = format!("a number in {}..={}", range.start(), range.end());
        self.value(key, &expected, |value| {
            let number: f64 = match value {
                DeValue::Float(number) => number.as_str().parse().ok()?,
                value => whole(value)?.to_string().parse().ok()?,
            };
            range.contains(&number).then_some(number)
        })
    }

    /// A span of time within `range`.
    pub(super) fn span(
        &mut self,
        key: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let (least, most) = (
            duration::print(*range.start()),
            duration::print(*range.end()),
        );
        let expected = format!("a duration of {least} to {most}{}", examples_in(&range));
        self.value(key, &expected, |value| {
            let span = duration::parse(value.as_str()?)?;
            range.contains(&span).then_some(span)
        })
    }

    /// One of some words, as what it stands for.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        what: &str,
        words: &[(&'static str, T)],
    ) -> Option<T> {
        let names = || words.iter().map(|(name, _)| *name);
        let expected = one_of(names());
        let word = self.text(key, &expected)?;
        let found = words.iter().find(|(name, _)| *name == word);
        if found.is_none() {
            let meant = did_you_mean(word, names());
            self.wrong(
                key,
                format!("unknown {what} {word:?}, expected {expected}{meant}"),
            );
        }
        found.map(|(_, value)| *value)
    }

    /// A list of texts, each of which `convert` takes, or says why not.
    pub(super) fn texts<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        mut convert: impl FnMut(&'t str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let list = self.value(key, &format!("a list of {expected}"), DeValue::as_array)?;
        let mut values = Vec::with_capacity(list.len());
        for (index, item) in list.iter().enumerate() {
            let reason = match item.get_ref().as_str().map(&mut convert) {
                Some(Ok(value)) => {
                    values.push(value);
                    continue;
                }
                Some(Err(reason)) => reason,
                None => format!("expected {expected}, found {}", shown(item.get_ref())),
            };
            let path = format!("{}[{index}]", self.path_of(key));
            self.notes.mistake(item.span().start, &path, reason);
        }
        Some(values)
    }

    /// A table within this one.
    pub(super) fn table<T>(
        &mut self,
        key: &'static str,
        fields: impl FnOnce(&mut Self) -> T,
    ) -> Option<T> {
        let at = self.place_of(key);
        let path = self.path_of(key);
        let table = self.value(key, "a table", DeValue::as_table)?;
        Some(Self::read(table, self.notes, path, at, fields))
    }

    /// A table within this one, or true or false in its place.
    pub(super) fn flag_or_table<T>(
        &mut self,
        key: &'static str,
        fields: impl FnOnce(&mut Self) -> T,
    ) -> Option<Said<T>> {
        let expected = "a table, true or false";
        let flag = self.value(key, expected, |value| match value {
            DeValue::Boolean(flag) => Some(Some(*flag)),
            DeValue::Table(_) => Some(None),
            _ => None,
        });
        match flag? {
            Some(flag) => Some(Said::Flag(flag)),
            None => self.table(key, fields).map(Said::Table),
        }
    }

    /// A list of tables within this one, each known by its `name`, no two by the same.
    ///
    /// A table without a good name is known by its place in the list, from 0.
    pub(super) fn tables<T>(
        &mut self,
        key: &'static str,
        mut fields: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        // At the top of a file, a table is most probably a header with too few brackets.
        let is_header = |value: &DeValue<'_>| self.path.is_empty() && value.is_table();
        if self.table.get(key).is_some_and(|v| is_header(v.get_ref())) {
            self.spanned(key);
            self.wrong(key, format!("write [[{key}]], with two brackets"));
            return None;
        }
        let list = self.value(key, "a list of tables", DeValue::as_array)?;
        let mut seen: HashMap<&str, usize> = HashMap::with_capacity(list.len());
        let mut values = Vec::with_capacity(list.len());
        for (index, item) in list.iter().enumerate() {
            let at = item.span().start;
            let place = format!("{}[{index}]", self.path_of(key));
            let Some(table) = item.get_ref().as_table() else {
                let found = shown(item.get_ref());
                self.notes
                    .mistake(at, &place, format!("expected a table, found {found}"));
                continue;
            };
            let name = name_in(table);
            let path = name.map_or(place, |name| self.path_of(&format!("{key}.{name}")));
            if let Some(name) = name {
                if let Some(line) = seen.get(name) {
                    let text = format!("the name {name:?} is taken by the one in line {line}");
                    let at = table.get("name").map_or(at, |value| value.span().start);
                    self.notes.mistake(at, &format!("{path}.name"), text);
                }
                seen.entry(name).or_insert_with(|| self.notes.line(at));
            }
            values.extend(Self::read(table, self.notes, path, at, &mut fields));
        }
        Some(values)
    }

    /// Every pair of a table whose keys the file's writer chooses, with the place of its value.
    pub(super) fn pairs(&mut self, key: &'static str) -> Vec<(&'t str, &'t Spanned<DeValue<'t>>)> {
        let table = self.value(key, "a table", DeValue::as_table);
        let pairs = table.into_iter().flatten();
        pairs
            .map(|(name, value)| (name.get_ref().as_ref(), value))
            .collect()
    }

    /// The name of this table: letters, digits, `-`, `_` and `.`, at most [`NAME_MOST`] of them.
    pub(super) fn name(&mut self) -> Option<&'t str> {
        self.require("name", NAME_FORM);
        self.value("name", NAME_FORM, |value| {
            value.as_str().filter(|name| is_name(name))
        })
    }

    fn spanned(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.table.get(key)
    }

    fn note_unknown(&self) {
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if !self.known.contains(&name) {
                let text = match did_you_mean(name, self.known.iter().copied()).as_str() {
                    "" => format!(
                        "unknown key, expected {}",
                        one_of(self.known.iter().copied())
                    ),
                    meant => format!("unknown key{meant}"),
                };
                self.notes
                    .mistake(key.span().start, &self.path_of(name), text);
            }
        }
    }
}

/// The value as a message shows it: short texts and numbers whole, the rest by their kind.
pub(super) fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) if text.chars().count() <= SHOWN_MOST => format!("{text:?}"),
        DeValue::String(_) => "a long text".into(),
        DeValue::Integer(number) => {
            whole(value).map_or_else(|| number.as_str().into(), |n| n.to_string())
        }
        DeValue::Float(number) => number.as_str().into(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(_) => "a date".into(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}

/// `one of a, b, c`.
pub(super) fn one_of<'k>(words: impl IntoIterator<Item = &'k str>) -> String {
    let words: Vec<&str> = words.into_iter().collect();
    match words.as_slice() {
        [] => "nothing here".into(),
        [only] => format!("{only:?}"),
        words => format!("one of {}", words.join(", ")),
    }
}

/// Durations within `range`, for whoever does not know how they are written.
fn examples_in(range: &RangeInclusive<Duration>) -> String {
    let all = ["500ms", "2s", "5m"].into_iter();
    let good = all.filter(|text| duration::parse(text).is_some_and(|span| range.contains(&span)));
    let quoted: Vec<String> = good.map(|text| format!("{text:?}")).collect();
    match quoted.split_last() {
        None => String::new(),
        Some((only, [])) => format!(", such as {only}"),
        Some((last, others)) => format!(", such as {} or {last}", others.join(", ")),
    }
}

fn whole(value: &DeValue<'_>) -> Option<i128> {
    let number = value.as_integer()?;
    i128::from_str_radix(number.as_str(), number.radix()).ok()
}

/// The tables listed under `key` of `table`.
pub(super) fn tables_in<'t>(
    table: &'t DeTable<'t>,
    key: &str,
) -> impl Iterator<Item = &'t DeTable<'t>> + use<'t> {
    let list = table.get(key).and_then(|value| value.get_ref().as_array());
    list.into_iter()
        .flatten()
        .filter_map(|item| item.get_ref().as_table())
}

fn name_in<'t>(table: &'t DeTable<'t>) -> Option<&'t str> {
    let name = table.get("name")?.get_ref().as_str()?;
    is_name(name).then_some(name)
}

fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !text.is_empty() && text.len() <= NAME_MOST && text.chars().all(fits)
}

/// A name is a label of every metric and a word of every log line: long ones cost each of them.
const NAME_MOST: usize = 64;

const NAME_FORM: &str = "a name of 1 to 64 letters, digits, '-', '_' or '.'";

/// A longer text would push the rest of the message off the line.
const SHOWN_MOST: usize = 60;
