//! The keys of a key server, out of all places that its file names.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwap;
use lb_keyserver::Ski;
#[cfg(feature = "pkcs11")]
use lb_keyserver::store::pkcs11::{Pkcs11Config, Pkcs11Store, Token};
use lb_keyserver::store::{FileStore, KeyStore, Reloaded, SigningKey};
use tracing::{error, info};

use crate::admin::key_server::KeyReloads;
use crate::config::{self, Module};

/// The keys of the moment. Clones are one and the same.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    places: Arc<ArcSwap<Places>>,
    reloads: Arc<Reloads>,
}

/// What came of reading them again.
#[derive(Debug, Default)]
struct Reloads {
    good: AtomicU64,
    failed: AtomicU64,
    /// Whether the last one failed.
    is_failing: AtomicBool,
}

/// Keys of files, of a module, or of both.
#[derive(Debug)]
struct Places {
    config: config::Keys,
    files: Option<FileStore>,
    #[cfg(feature = "pkcs11")]
    module: Option<Pkcs11Store>,
}

impl Keys {
    /// Reads them. Blocks, on a token for as long as that takes.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the first that cannot be used.
    pub(super) fn open(from: &config::Keys) -> Result<Self, String> {
        let places = Arc::new(Places::open(from)?);
        Ok(Self {
            places: Arc::new(ArcSwap::new(places)),
            reloads: Arc::default(),
        })
    }

    /// Reads all of them again, where they are now; of each place either all keys are taken up, or
    /// none. Blocks.
    ///
    /// # Errors
    ///
    /// Says what is wrong; the keys of that place stay as they were.
    pub(super) fn reload(&self, from: &config::Keys) -> Result<(), String> {
        let places = self.places.load_full();
        let reloaded = if places.config == *from {
            places.reload()
        } else {
            Places::open(from).map(|places| self.places.store(Arc::new(places)))
        };
        self.reloads.count(reloaded.is_ok());
        reloaded
    }

    /// Reads the files again if they have changed, and tells what came of it. Blocks.
    pub(super) fn look(&self) {
        if let Some(is_good) = self.places.load_full().look() {
            self.reloads.count(is_good);
        }
    }

    /// How often they were read again, and how often they could not be.
    pub(super) fn reloads(&self) -> KeyReloads {
        KeyReloads {
            ok: self.reloads.good.load(Relaxed),
            failed: self.reloads.failed.load(Relaxed),
        }
    }
}

impl KeyStore for Keys {
    fn key(&self, ski: &Ski) -> Option<Arc<dyn SigningKey>> {
        let places = self.places.load();
        let of_files = places.files.as_ref().and_then(|files| files.key(ski));
        #[cfg(feature = "pkcs11")]
        let of_files = of_files.or_else(|| places.module.as_ref()?.key(ski));
        of_files
    }

    fn names(&self) -> Vec<Ski> {
        let places = self.places.load();
        let mut names = places.files.as_ref().map_or_else(Vec::new, KeyStore::names);
        #[cfg(feature = "pkcs11")]
        names.extend(places.module.iter().flat_map(KeyStore::names));
        names.sort();
        names.dedup();
        names
    }
}

impl Reloads {
    /// Counts one, and tells when all is well again.
    fn count(&self, is_good: bool) {
        let count = if is_good { &self.good } else { &self.failed };
        count.fetch_add(1, Relaxed);
        if self.is_failing.swap(!is_good, Relaxed) && is_good {
            info!("the keys could be read again");
        }
    }
}

impl Places {
    fn open(from: &config::Keys) -> Result<Self, String> {
        let files = from.folder.as_ref().map(|folder| FileStore::open([folder]));
        let files = files.transpose().map_err(|error| error.to_string())?;
        let module = from.module.as_ref().map(open_module).transpose()?;
        #[cfg(not(feature = "pkcs11"))]
        let _: Option<()> = module;
        Ok(Self {
            config: from.clone(),
            files,
            #[cfg(feature = "pkcs11")]
            module,
        })
    }

    fn reload(&self) -> Result<(), String> {
        if let Some(files) = &self.files {
            tell(&files.reload().map_err(|error| error.to_string())?);
        }
        #[cfg(feature = "pkcs11")]
        if let Some(module) = &self.module {
            tell(
                &module
                    .reload()
                    .map_err(|error| format!("pkcs11: {error}"))?,
            );
        }
        Ok(())
    }

    /// Whether that went well; none if nothing has changed.
    fn look(&self) -> Option<bool> {
        let files = self.files.as_ref().filter(|files| files.changed())?;
        let reloaded = files.reload();
        match &reloaded {
            Ok(reloaded) => tell(reloaded),
            Err(error) => {
                let error = error.to_string();
                error!(
                    error,
                    "the keys cannot be read again: they stay as they were"
                );
            }
        }
        Some(reloaded.is_ok())
    }
}

fn tell(reloaded: &Reloaded) {
    for (skis, what) in [(&reloaded.added, "added"), (&reloaded.removed, "removed")] {
        for ski in skis {
            info!(%ski, "a key was {what}");
        }
    }
}

#[cfg(feature = "pkcs11")]
fn open_module(from: &Module) -> Result<Pkcs11Store, String> {
    use zeroize::Zeroizing;

    let told = |reason: &dyn std::fmt::Display| format!("pkcs11: {reason}");
    let pin = match &from.pin_file {
        None => Zeroizing::default(),
        Some(file) => {
            let bytes = lb_keyserver::store::read_secret(file).map_err(|error| told(&error))?;
            let line = bytes
                .split(|byte| *byte == b'\n')
                .next()
                .unwrap_or_default();
            let line = str::from_utf8(line.trim_ascii_end());
            let line = line.map_err(|_| told(&format_args!("{}: no text", file.display())))?;
            Zeroizing::new(line.to_owned())
        }
    };
    let token = Token::Label(from.token.clone());
    Pkcs11Store::open(Pkcs11Config::new(&from.library, token, pin)).map_err(|error| told(&error))
}

#[cfg(not(feature = "pkcs11"))]
fn open_module(_: &Module) -> Result<(), String> {
    Err("pkcs11: this program was built without the feature".into())
}
