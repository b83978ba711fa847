//! The files of a log: opening one, going on with it, beginning the next.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::chain::{Chain, Head};
use super::key::{CheckpointKey, Seal};
use super::line::{Body, MAX_LINE, ReadLine};
use super::writer::Disk;

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Its end, or its first line, is none of such a log: it was tampered with, or is something
    /// else. Verify it, and move it away.
    #[error("the file does not end as an audit log does")]
    Broken,
    /// Others than its owner may write it.
    #[error("others than its owner may write the file")]
    Exposed,
    /// Another process has it open.
    #[error("another process writes this log")]
    InUse,
    /// It cannot be read or written.
    #[error("cannot open the log: {0}")]
    Io(#[from] io::Error),
    /// It was begun with another key, or with none, or has one and none is given: move it away.
    #[error("the log was begun with another checkpoint key")]
    OtherKey,
}

/// An open file of a log.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    /// The folder, when it may not have the file's name on the disk yet.
    folder: Option<File>,
}

impl LogFile {
    /// Opens the log at `path`, or begins it, and locks it; says where it ends, and what the last
    /// process left of a line, which is cut off.
    pub(super) fn open(
        path: &Path,
        key: Option<&CheckpointKey>,
        at: u64,
    ) -> Result<(Self, Tail), OpenError> {
        let mut log = match append(path, false) {
            Ok(file) => Self::locked(path, file)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Self::begin(path, Head::default(), key, at)?.0
            }
            Err(error) => return Err(error.into()),
        };
        let metadata = log.file.metadata()?;
        if metadata.is_file() && metadata.len() == 0 {
            // Somebody made it, to own it: it holds nothing that could be lost.
            log = Self::begin(path, Head::default(), key, at)?.0;
        }
        // Another process may have taken the name at the same time, or gone on to the next file.
        if !same(&fs::symlink_metadata(path)?, &log.file.metadata()?) {
            return Err(OpenError::InUse);
        }
        check_first(&mut log.file, key)?;
        let tail = Tail::read(&mut log.file)?;
        if !tail.torn.is_empty() {
            let length = log.file.metadata()?.len();
            let whole = length.saturating_sub(tail.torn.len() as u64);
            log.file.set_len(whole)?;
        }
        Ok((log, tail))
    }

    fn locked(path: &Path, file: File) -> Result<Self, OpenError> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(OpenError::Broken);
        }
        if metadata.mode() & 0o022 != 0 {
            return Err(OpenError::Exposed);
        }
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => OpenError::InUse,
            TryLockError::Error(error) => OpenError::Io(error),
        })?;
        Ok(Self {
            path: path.to_owned(),
            file,
            folder: None,
        })
    }

    /// Makes a file of one line, and gives it its name when that line is on the disk: no crash
    /// leaves a file under this name that does not begin as a log does.
    fn begin(
        path: &Path,
        head: Head,
        key: Option<&CheckpointKey>,
        at: u64,
    ) -> io::Result<(Self, Head)> {
        let next = beside(path, ".next");
        match fs::remove_file(&next) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = append(&next, true)?;
        file.try_lock().map_err(io::Error::from)?;
        let (mut chain, mut line) = (Chain::new(head, key.cloned(), 1), Vec::new());
        chain.begin(at, &mut line);
        file.write_all(&line)?;
        file.sync_all()?;
        let folder = path.parent().filter(|path| !path.as_os_str().is_empty());
        let folder = Some(File::open(folder.unwrap_or_else(|| Path::new(".")))?);
        // The last thing that can fail: from here on the name is the new file's.
        fs::rename(&next, path)?;
        let path = path.to_owned();
        Ok((Self { path, file, folder }, chain.head()))
    }
}

impl Disk for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        if let Some(folder) = &self.folder {
            folder.sync_all()?;
        }
        self.folder = None;
        Ok(())
    }

    fn size(&mut self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// The file keeps its content under its name and the number of its last line; the name is the
    /// new file's. At every moment of this the name is a whole file's.
    fn rotate(&mut self, head: Head, key: Option<&CheckpointKey>, at: u64) -> io::Result<Head> {
        let number = head.lines.saturating_sub(1);
        let old = beside(&self.path, &format!(".{number:020}"));
        match fs::hard_link(&self.path, &old) {
            // Left from an attempt that came no further.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if !same(&fs::symlink_metadata(&old)?, &self.file.metadata()?) {
                    return Err(error);
                }
            }
            linked => linked?,
        }
        let (next, head) = Self::begin(&self.path, head, key, at)?;
        *self = next;
        Ok(head)
    }
}

/// Where a log ends.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) head: Head,
    /// What follows the last line's end.
    pub(super) torn: Vec<u8>,
}

impl Tail {
    /// Reads the end of a log: two lines' worth, whatever its size.
    fn read(file: &mut File) -> Result<Self, OpenError> {
        let length = file.metadata()?.len();
        let mut end = Vec::with_capacity(2 * MAX_LINE);
        file.seek(SeekFrom::Start(length.saturating_sub(2 * MAX_LINE as u64)))?;
        file.take(2 * MAX_LINE as u64).read_to_end(&mut end)?;
        let feeds = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte == b'\n');
        let last = feeds(&end).ok_or(OpenError::Broken)?;
        let torn = end.split_off(last + 1);
        end.truncate(last);
        let first = feeds(&end).map_or(0, |feed| feed + 1);
        let line =
            ReadLine::parse(end.get(first..).unwrap_or(&[])).map_err(|_| OpenError::Broken)?;
        if torn.len() >= MAX_LINE {
            return Err(OpenError::Broken);
        }
        let lines = line.seq.checked_add(1).ok_or(OpenError::Broken)?;
        let hash = line.hash;
        let head = Head { lines, hash };
        Ok(Self { head, torn })
    }
}

/// Whether the first line is a beginning, by that key.
fn check_first(file: &mut File, key: Option<&CheckpointKey>) -> Result<(), OpenError> {
    let mut start = Vec::with_capacity(MAX_LINE);
    file.seek(SeekFrom::Start(0))?;
    file.take(MAX_LINE as u64).read_to_end(&mut start)?;
    let first = start.split(|byte| *byte == b'\n').next().unwrap_or(&[]);
    let line = ReadLine::parse(first).map_err(|_| OpenError::Broken)?;
    let Body::Begin { at, mac } = line.body else {
        return Err(OpenError::Broken);
    };
    let seal = Seal {
        is_begin: true,
        seq: line.seq,
        prev: &line.prev,
        at,
    };
    match (key, mac) {
        (None, None) => Ok(()),
        (Some(key), Some(mac)) if key.verifies(&seal, &mac) => Ok(()),
        _ => Err(OpenError::OtherKey),
    }
}

/// Opens for appending alone, through no symbolic link; a new one is the owner's alone.
fn append(path: &Path, is_new: bool) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .append(true)
        .create_new(is_new)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

fn same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log just begun in a folder of its own, and where it ends.
    fn begun(name: &str) -> (PathBuf, LogFile, Head) {
        let name = format!("lb-audit-file-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).expect("made");
        let (file, tail) = LogFile::open(&folder.join("log"), None, 1).expect("opened");
        (folder, file, tail.head)
    }

    #[test]
    fn what_a_rotation_left_that_came_no_further_does_not_hinder_the_next() {
        let (folder, mut file, head) = begun("left");
        let old = folder.join("log.00000000000000000000");
        fs::hard_link(folder.join("log"), &old).expect("linked");
        fs::write(folder.join("log.next"), b"half a li").expect("written");
        let next = file.rotate(head, None, 2).expect("rotated");
        assert_eq!(next.lines, 2);
        file.sync().expect("synced");
        assert_ne!(
            fs::read(&old).expect("read"),
            fs::read(folder.join("log")).expect("read")
        );
        assert_eq!(Tail::read(&mut file.file).expect("good").head, next);
        fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn a_rotation_overwrites_nothing_and_where_it_fails_the_old_file_goes_on() {
        let (folder, mut file, head) = begun("taken");
        let old = folder.join("log.00000000000000000000");
        fs::write(&old, b"another's").expect("written");
        let before = fs::read(folder.join("log")).expect("read");
        let error = file.rotate(head, None, 2).expect_err("the name is taken");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&old).expect("read"), b"another's");
        assert_eq!(fs::read(folder.join("log")).expect("read"), before);
        assert_eq!(file.size().expect("there"), before.len() as u64);
        fs::remove_dir_all(&folder).expect("removed");
        let gone = file.rotate(head, None, 2).expect_err("there is no folder");
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
    }
}
