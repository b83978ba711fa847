//! `keys` and `[pkcs11]`: where the keys are.

use std::path::PathBuf;
use std::time::Duration;

use lb_keyserver::store::{FileStore, read_secret};

use super::super::section::Section;
use super::super::{DAY, MILLISECOND};

/// Where the keys are; at least one of the two.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Keys {
    /// A folder of files.
    pub(crate) folder: Option<PathBuf>,
    /// How often the folder is looked at. Default 5 s.
    pub(crate) every: Duration,
    /// A hardware module.
    pub(crate) module: Option<Module>,
}

/// A hardware module, by PKCS #11.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Module {
    /// The library of its maker.
    pub(crate) library: PathBuf,
    /// The label of the token in it.
    pub(crate) token: String,
    /// The file whose first line is the PIN. Default: the token asks for none.
    pub(crate) pin_file: Option<PathBuf>,
}

/// The keys of the file that say where keys are.
pub(super) fn read(file: &mut Section<'_>) -> Option<Keys> {
    let notes = file.notes();
    let folder = file.text_as("keys", "the path of a folder", |text| {
        let path = notes.beside(text);
        match FileStore::open([&path]) {
            Ok(_) => Ok(path),
            Err(error) => Err(error.to_string()),
        }
    });
    let every = file.span("reload_every", MILLISECOND..=DAY);
    if every.is_some() && !file.has("keys") {
        file.wrong("reload_every", "only with keys, which it is about");
    }
    let module = file.table("pkcs11", module).flatten();
    if !file.has("keys") && !file.has("pkcs11") {
        file.wrong(
            "keys",
            "missing, expected the path of a folder, or a table pkcs11",
        );
    }
    (folder.is_some() || module.is_some()).then(|| Keys {
        folder,
        every: every.unwrap_or(EVERY),
        module,
    })
}

fn module(section: &mut Section<'_>) -> Option<Module> {
    let notes = section.notes();
    section.require("module", "the path of a library");
    section.require("token", "the label of a token");
    let library = section.text_as("module", "the path of a library", |text| {
        let path = notes.beside(text);
        match std::fs::metadata(&path) {
            Ok(_) => Ok(path),
            Err(error) => Err(format!("{}: cannot be read: {error}", path.display())),
        }
    });
    let token = section.text("token", "the label of a token");
    let pin_file = section.text_as("pin_file", "a path", |text| {
        let path = notes.beside(text);
        match read_secret(&path) {
            Ok(_) => Ok(path),
            Err(error) => Err(error.to_string()),
        }
    });
    if !cfg!(feature = "pkcs11") {
        section.wrong("", "this program was built without the feature pkcs11");
    }
    Some(Module {
        library: library?,
        token: token?.into(),
        pin_file,
    })
}

/// A new key is in use before the certificate that needs it is.
const EVERY: Duration = Duration::from_secs(5);
