//! Opens files, and checks whose they are.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Dir, Mode, OFlags};
use zeroize::Zeroizing;

use super::{FileStore, FilesError};

/// What takes a file's path and its bytes.
pub(super) type Take<'a> = dyn FnMut(PathBuf, &[u8]) -> Result<(), FilesError> + 'a;

/// Reads the keys at a path, a folder's in the order of their names, and says how many names it
/// passed over.
pub(super) fn read(path: &Path, take: &mut Take<'_>) -> Result<usize, FilesError> {
    let (file, metadata) = open(CWD, path.as_os_str(), path)?;
    if !metadata.is_dir() {
        let bytes = content(file, &metadata, path)?;
        take(path.to_owned(), &bytes)?;
        return Ok(0);
    }
    check_owner(&metadata, path)?;
    if metadata.mode() & WRITE_OF_OTHERS != 0 {
        return Err(FilesError::Writable {
            path: path.to_owned(),
            mode: metadata.mode() & PERMISSIONS,
        });
    }
    let (names, ignored) = list(&file).map_err(|source| unreadable(path, source))?;
    for name in names {
        let path = path.join(&name);
        let (file, metadata) = open(&file, &name, &path)?;
        let bytes = content(file, &metadata, &path)?;
        take(path, &bytes)?;
    }
    Ok(ignored)
}

/// Reads a file that its owner alone has access to, as a key's: a PIN, a password, a key of TLS.
///
/// What is true of the files of a [`FileStore`] is true of this one; the buffer is zeroised when it is
/// dropped. Blocks.
///
/// # Errors
///
/// When the file cannot be read, is longer than [`FileStore::LONGEST`], or others have access to it.
pub fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, FilesError> {
    let (file, metadata) = open(CWD, path.as_os_str(), path)?;
    content(file, &metadata, path)
}

/// Opens it first and looks at it then, so that what is looked at is what will be read.
///
/// Does not wait for the other end of a pipe.
fn open(folder: impl AsFd, name: &OsStr, path: &Path) -> Result<(File, Metadata), FilesError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let opened = rustix::fs::openat(folder, name, flags, Mode::empty());
    let file = opened.map(File::from).map_err(io::Error::from);
    let both = file.and_then(|file| {
        let metadata = file.metadata()?;
        Ok((file, metadata))
    });
    both.map_err(|source| unreadable(path, source))
}

/// All of a file that others have no access to.
fn content(
    mut file: File,
    metadata: &Metadata,
    path: &Path,
) -> Result<Zeroizing<Vec<u8>>, FilesError> {
    let path = path.to_owned();
    if !metadata.is_file() {
        return Err(FilesError::NotAFile { path });
    }
    check_owner(metadata, &path)?;
    if metadata.mode() & ACCESS_OF_OTHERS != 0 {
        let mode = metadata.mode() & PERMISSIONS;
        return Err(FilesError::Exposed { path, mode });
    }
    // All of the room at once, as a buffer that grows leaves copies behind; and one byte more than a
    // key may take, to tell that there is more.
    let mut bytes = Zeroizing::new(vec![0; FileStore::LONGEST + 1]);
    let mut length = 0;
    while let Some(room) = bytes.get_mut(length..).filter(|room| !room.is_empty()) {
        match file.read(room) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(unreadable(&path, source)),
        }
    }
    if length > FileStore::LONGEST {
        return Err(FilesError::TooLong { path });
    }
    bytes.truncate(length);
    Ok(bytes)
}

fn check_owner(metadata: &Metadata, path: &Path) -> Result<(), FilesError> {
    let us = rustix::process::geteuid().as_raw();
    match metadata.uid() {
        ROOT => Ok(()),
        owner if owner == us => Ok(()),
        owner => Err(FilesError::Foreign {
            path: path.to_owned(),
            owner,
        }),
    }
}

/// The names of keys in a folder, in their order, and how many other names there are.
fn list(folder: &File) -> io::Result<(Vec<OsString>, usize)> {
    let mut names = Vec::new();
    let mut ignored = 0;
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if is_key(name) {
            names.push(name.to_owned());
        } else if !["..", "."].map(OsStr::new).contains(&name) {
            ignored += 1;
        }
    }
    names.sort_unstable();
    Ok((names, ignored))
}

fn is_key(name: &OsStr) -> bool {
    let extension = Path::new(name).extension();
    let is_hidden = name.as_bytes().starts_with(b".");
    extension.is_some_and(|extension| EXTENSIONS.map(OsStr::new).contains(&extension)) && !is_hidden
}

fn unreadable(path: &Path, source: io::Error) -> FilesError {
    FilesError::Unreadable {
        path: path.to_owned(),
        source,
    }
}

/// What there is at some paths, so far as it is seen without reading files.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Survey(Vec<(PathBuf, Result<Stamp, io::ErrorKind>)>);

impl Survey {
    pub(super) fn of(paths: &[PathBuf]) -> Self {
        let mut seen = Vec::new();
        for path in paths {
            let folder = open(CWD, path.as_os_str(), path).ok();
            let names = folder.and_then(|(folder, _)| list(&folder).ok());
            let (names, _) = names.unwrap_or_default();
            seen.push(look(path.clone()));
            seen.extend(names.into_iter().map(|name| look(path.join(name))));
        }
        Self(seen)
    }
}

/// Enough of a file's metadata to tell that it is another, or was written, since.
#[derive(Debug, Eq, PartialEq)]
struct Stamp {
    inode: (u64, u64),
    access: (u32, u32),
    size: u64,
    /// The time of change moves with the time of modification, and cannot be set back.
    changed: (i64, i64),
}

fn look(path: PathBuf) -> (PathBuf, Result<Stamp, io::ErrorKind>) {
    let stamp = fs::metadata(&path).map(|metadata| {
        // A folder's time moves with the names that are not looked at, too.
        let is_file = metadata.is_file();
        let size = if is_file { metadata.size() } else { 0 };
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        Stamp {
            inode: (metadata.dev(), metadata.ino()),
            access: (metadata.mode(), metadata.uid()),
            size,
            changed: if is_file { changed } else { (0, 0) },
        }
    });
    (path, stamp.map_err(|error| error.kind()))
}

/// The names of key files end in these.
const EXTENSIONS: [&str; 3] = ["pem", "key", "der"];

const ROOT: u32 = 0;

/// The bits of a mode (inode(7)) that say who may do what, and those of them that concern group and
/// world.
const PERMISSIONS: u32 = 0o7777;
const ACCESS_OF_OTHERS: u32 = 0o077;
const WRITE_OF_OTHERS: u32 = 0o022;
