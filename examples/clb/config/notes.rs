//! What is wrong with a configuration file, and where.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};

/// One thing said about the file: its line, the key it is about, and what was expected there.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Note {
    /// Counted from 1.
    pub(crate) line: usize,
    /// As `pool.web.scheduler`; empty where the text is no TOML at all.
    pub(crate) key: String,
    /// What was expected and what stands there.
    pub(crate) text: String,
}

impl fmt::Display for Note {
    /// The line and what follows it; the file's name goes before.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.line)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.text)
    }
}

/// Collects what is wrong while the file is read, so that one run tells every mistake.
#[derive(Debug)]
pub(super) struct Notes {
    /// Where each line of the file begins, in bytes.
    lines: Vec<usize>,
    /// The folder that its paths begin from.
    folder: PathBuf,
    mistakes: RefCell<Vec<Note>>,
    warnings: RefCell<Vec<Note>>,
}

impl Notes {
    /// Notes about this text, of a file in `folder`.
    pub(super) fn about(text: &str, folder: &Path) -> Self {
        let breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            lines: std::iter::once(0).chain(breaks).collect(),
            folder: folder.into(),
            mistakes: RefCell::default(),
            warnings: RefCell::default(),
        }
    }

    /// The line, from 1, that the byte at `at` stands in.
    pub(super) fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|begin| *begin <= at)
    }

    /// Where the file means when it says `path`: beside itself, unless the path is absolute.
    pub(super) fn beside(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// Something that keeps the file from being used.
    pub(super) fn mistake(&self, at: usize, key: &str, text: impl Into<String>) {
        self.mistakes.borrow_mut().push(self.note(at, key, text));
    }

    /// Something that is probably not meant, and can be used.
    pub(super) fn warning(&self, at: usize, key: &str, text: impl Into<String>) {
        self.warnings.borrow_mut().push(self.note(at, key, text));
    }

    /// How many mistakes there are so far.
    pub(super) fn mistakes(&self) -> usize {
        self.mistakes.borrow().len()
    }

    /// The mistakes and the warnings, each in the order of the file.
    pub(super) fn into_parts(self) -> (Vec<Note>, Vec<Note>) {
        let mut mistakes = self.mistakes.into_inner();
        let mut warnings = self.warnings.into_inner();
        mistakes.sort();
        warnings.sort();
        (mistakes, warnings)
    }

    fn note(&self, at: usize, key: &str, text: impl Into<String>) -> Note {
        Note {
            line: self.line(at),
            key: key.into(),
            text: text.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_stands_in_the_line_whose_begin_it_has_reached() {
        let notes = Notes::about("ab\nc\n\nd", Path::new(""));
        assert_eq!([0, 1, 2].map(|at| notes.line(at)), [1, 1, 1]);
        assert_eq!([3, 4, 5, 6].map(|at| notes.line(at)), [2, 2, 3, 4]);
    }

    #[test]
    fn a_path_is_beside_the_file_unless_it_is_absolute() {
        let notes = Notes::about("", Path::new("/etc/clb"));
        assert_eq!(notes.beside("keys/a.pem"), Path::new("/etc/clb/keys/a.pem"));
        assert_eq!(notes.beside("/run/a.pem"), Path::new("/run/a.pem"));
    }

    #[test]
    fn notes_are_told_in_the_order_of_the_file() {
        let notes = Notes::about("a\nb\nc", Path::new(""));
        notes.mistake(4, "c", "third");
        notes.mistake(0, "", "first");
        notes.warning(2, "b", "second");
        let (mistakes, warnings) = notes.into_parts();
        let told: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["1: first", "3: c: third"]);
        assert_eq!(warnings[0].to_string(), "2: b: second");
    }
}
