//! Keys in files.

mod source;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

pub use self::source::read_secret;

use self::source::Survey;
use super::{BadKey, KeyStore, Reloaded, SigningKey, SoftKey};
use crate::ski::Ski;

/// Keys in files, of which the store shows one picture until it is told to read them again.
///
/// In a folder, every file named `*.pem`, `*.key` or `*.der` is a key, and must be one; folders within
/// it, names that begin with a dot and all other names are passed over. A file may also be given by
/// its own path. Each holds one private key, of PKCS #8, PKCS #1 or SEC 1, in PEM or DER, and at most
/// [`LONGEST`](Self::LONGEST) bytes.
///
/// A file has to be its owner's alone (mode 0600 or less), a folder must not be writable by group or
/// world, and either belongs to the user that this process runs as or to root. Symbolic links are
/// followed, and what counts is where they lead: it is the opened file that is checked and read, so
/// that nobody swaps it in between.
///
/// [`key`](KeyStore::key) never blocks: no lock, no I/O. All other methods do file I/O, and do not
/// belong on an asynchronous thread.
///
/// # Examples
///
/// ```
/// use std::os::unix::fs::OpenOptionsExt;
/// use std::io::Write;
///
/// use lb_keyserver::store::{FileStore, KeyStore};
///
/// # let folder = std::env::temp_dir().join(format!("lb-keyserver-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// let mut create = std::fs::OpenOptions::new();
/// let mut file = create.write(true).create(true).mode(0o600).open(folder.join("a.pem"))?;
/// file.write_all(rcgen::KeyPair::generate()?.serialize_pem().as_bytes())?;
///
/// let store = FileStore::open([&folder])?;
/// assert_eq!(store.names().len(), 1);
///
/// std::fs::remove_file(folder.join("a.pem"))?;
/// assert!(store.changed());
/// assert_eq!(store.reload()?.removed.len(), 1);
/// # std::fs::remove_dir(&folder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct FileStore {
    paths: Vec<PathBuf>,
    picture: ArcSwap<Picture>,
    /// What was there when it was last read, whether or not that went well. Held while reading, so
    /// that two reloads do not overtake each other.
    seen: Mutex<Survey>,
}

/// A key, and the file that it is from.
type Picture = HashMap<Ski, (PathBuf, Arc<SoftKey>)>;

impl FileStore {
    /// Bytes that a file may have at most: an RSA key of 8,192 bits in PEM has 6,400, and what is
    /// much longer is no key.
    pub const LONGEST: usize = 64 * 1024;

    /// Reads all keys at these paths, each a folder or a file.
    ///
    /// No key at all is no error: the first may come later.
    ///
    /// # Errors
    ///
    /// At the first file that is no key, or that others could read or could have written; it names
    /// the file.
    pub fn open<P: Into<PathBuf>>(paths: impl IntoIterator<Item = P>) -> Result<Self, FilesError> {
        let store = Self {
            paths: paths.into_iter().map(Into::into).collect(),
            picture: ArcSwap::default(),
            seen: Mutex::default(),
        };
        store.reload()?;
        Ok(store)
    }

    /// Reads all keys again: either all of them are good and are taken up at once, or everything
    /// stays as it was.
    ///
    /// Signatures that are being made go on with the keys that they have.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn reload(&self) -> Result<Reloaded, FilesError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // Before the reading: what changes during it differs from what was seen, and so is read
        // once more, rather than never.
        *seen = Survey::of(&self.paths);
        let mut next = Picture::new();
        let mut ignored = 0;
        for path in &self.paths {
            ignored += source::read(path, &mut |path, bytes| add(&mut next, path, bytes))?;
        }
        let old = self.picture.load_full();
        let reloaded = Reloaded::between(&old, &next, ignored);
        self.picture.store(Arc::new(next));
        Ok(reloaded)
    }

    /// Whether there is anything else at these paths than when they were last read: another name,
    /// inode, size, mode, owner or time of change.
    ///
    /// For asking every few seconds. After a [`reload`](Self::reload) that failed, it is false until
    /// something changes again, so that a fault is reported once. Costs one system call a file.
    #[must_use]
    pub fn changed(&self) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        *seen != Survey::of(&self.paths)
    }

    /// The file that a key is from.
    #[must_use]
    pub fn path(&self, ski: &Ski) -> Option<PathBuf> {
        let picture = self.picture.load();
        picture.get(ski).map(|(path, _)| path.clone())
    }
}

impl KeyStore for FileStore {
    fn key(&self, ski: &Ski) -> Option<Arc<dyn SigningKey>> {
        let picture = self.picture.load();
        let (_, key) = picture.get(ski)?;
        Some(Arc::<SoftKey>::clone(key))
    }

    fn names(&self) -> Vec<Ski> {
        self.picture.load().keys().copied().collect()
    }
}

impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStore")
            .field("paths", &self.paths)
            .field("keys", &self.picture.load().len())
            .finish_non_exhaustive()
    }
}

/// Why keys were not read from files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// The file is no key that can be used.
    #[error("{}: {source}", path.display())]
    Bad {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: BadKey,
    },
    /// Others than the owner could read or write the file.
    #[error("{} has mode {mode:04o}: only its owner may have access (0600)", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file or folder is neither this user's nor root's.
    #[error("{} belongs to user {owner}, who is neither root nor this process's", path.display())]
    Foreign {
        /// The file or folder.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// It is neither a file nor a folder, or a folder where a file should be.
    #[error("{} is no file", path.display())]
    NotAFile {
        /// What it is.
        path: PathBuf,
    },
    /// The file has more than [`FileStore::LONGEST`] bytes.
    #[error("{} is too long for a key", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// The same key is in two files, and removing one would not remove the key.
    #[error("{} and {} hold the same key, {ski}", first.display(), second.display())]
    Twice {
        /// The key.
        ski: Ski,
        /// One file.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// The file or folder cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others than the owner could put keys into the folder.
    #[error("{} has mode {mode:04o}: only its owner may write to it (0700)", path.display())]
    Writable {
        /// The folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
}

fn add(picture: &mut Picture, path: PathBuf, bytes: &[u8]) -> Result<(), FilesError> {
    let key = match SoftKey::from_bytes(bytes) {
        Ok(key) => Arc::new(key),
        Err(source) => return Err(FilesError::Bad { path, source }),
    };
    let ski = key.public_key().ski();
    match picture.insert(ski, (path.clone(), key)) {
        None => Ok(()),
        Some((first, _)) => Err(FilesError::Twice {
            ski,
            first,
            second: path,
        }),
    }
}
