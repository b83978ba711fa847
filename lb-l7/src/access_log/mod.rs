//! One line for each exchange: combined or JSON, sampled, and never waiting for a disk.
//!
//! ```text
//!   Report ──▶ WorkerLog (one a worker): sample, make the line ──▶ batch of 64 KiB
//!                                                                   │ bounded queue; full: dropped
//!                                              thread "access-log" ◀┘ and counted
//!                                                 └──▶ file, standard output, or your own Write
//! ```
//!
//! # The two formats
//!
//! [`Format::Combined`] is that of Apache and nginx, and behind it, apart by spaces: authority,
//! listener, route and upstream, each quoted; the backend's address, quoted, and the tries; seconds
//! in all, and seconds from the request's head to the response's first byte; the
//! [termination](crate::report::Termination), its detail, and the request's identity, quoted. What is
//! unknown is `-`, a status that was not sent `000`.
//!
//! ```text
//! 10.0.0.9 - - [23/Nov/2026:04:05:06 +0000] "GET / HTTP/1.1" 200 12 "-" "curl/8.5"
//!   "example.com" "web" "all" "app" "10.0.0.11:8080" 1 0.001234 0.001100 done - "-"
//! ```
//!
//! (One line, shown as two.) [`Format::Json`] is one object a line; an unknown value's key and a flag
//! that is not set are left out:
//!
//! | keys | value |
//! |---|---|
//! | `time` | end of the exchange, RFC 3339 in UTC, microseconds |
//! | `client`, `port`, `listener`, `protocol` | who asked, where, by which HTTP |
//! | `tls`, `cipher`, `server_name`, `resumed`, `client_certificate` | only with TLS |
//! | `method`, `authority`, `path`, `id`, `referer`, `user_agent` | the request |
//! | `route`, `upstream` | names |
//! | `backend`, `backend_address`, `backend_protocol`, `tries`, `reused`, `hedged` | the last try |
//! | `status` | as sent; 499 for a client that left before its answer |
//! | `head_in`, `body_in`, `head_out`, `body_out` | bytes |
//! | `total`, `reading_head`, `queued`, `connecting`, `waiting`, `responding` | seconds |
//! | `termination`, `detail` | how it ended |
//! | `sample` | how many exchanges the line stands for, if more than one |
//!
//! Whatever bytes a client sends, a line is one line, and a JSON line is JSON. Both formats can be
//! read back to the very bytes: in the combined one, `\xHH` is a byte; in JSON, a byte that is not
//! part of UTF-8 is the character U+EF00 plus the byte, and those characters are themselves shown as
//! three such bytes. A field longer than 8,192 bytes is cut there.
//!
//! # Examples
//!
//! ```
//! use http::Version;
//! use lb_l7::access_log::{AccessLog, Config, Target};
//! use lb_l7::report::{ClientSide, Report, RequestLine};
//!
//! let log = AccessLog::open(Target::Writer(Box::new(std::io::sink())), &Config::default())?;
//! let mut worker = log.worker();
//! let client = ClientSide::new("10.0.0.9:51234".parse()?, "web", Version::HTTP_11);
//! worker.record(&Report::new(client, RequestLine::new("GET", b"example.com", b"/")));
//! log.flush();
//! assert_eq!(log.stats().written, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod calendar;
mod combined;
mod date;
mod desk;
mod escape;
mod json;
mod line;
mod text;
mod worker;
mod writer;

use std::fmt;
use std::io::{self, Write};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{self, SyncSender};
use std::thread;
use std::time::Duration;

use desk::{Desk, Message};
use line::LineWriter;
use worker::Sampler;
pub use worker::WorkerLog;
use writer::Writer;

/// How a line is written; the [module](self) shows both.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Format {
    /// That of Apache and nginx, with more behind it.
    #[default]
    Combined,
    /// One JSON object.
    Json,
}

/// Where lines go.
#[non_exhaustive]
pub enum Target {
    /// To the end of this file, which is made if it does not exist.
    File(PathBuf),
    /// To standard output.
    Stdout,
    /// To this, whole lines at a time, by the log's thread.
    Writer(Box<dyn Write + Send>),
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Stdout => f.write_str("Stdout"),
            Self::Writer(_) => f.write_str("Writer"),
        }
    }
}

/// How an [`AccessLog`] is kept.
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// How a line is written. The default is [`Format::Combined`].
    pub format: Format,
    /// One in so many exchanges is logged; those that failed always are
    /// ([`Report::is_error`](crate::report::Report::is_error)). The default is every one.
    pub sample: NonZeroU32,
    /// How many batches of 64 KiB may wait for the disk before lines are dropped; at least one.
    ///
    /// The default, 64, is 4 MiB: a tenth of a second at 200,000 lines a second of 200 bytes.
    pub queue: usize,
    /// How long a line may wait in a batch that does not fill; at least a millisecond. The default is
    /// one second.
    pub flush_interval: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            format: Format::Combined,
            sample: NonZeroU32::MIN,
            queue: 64,
            flush_interval: Duration::from_secs(1),
        }
    }
}

/// A log of exchanges; clones are the same log.
///
/// A thread of its own does the writing. It ends, after the last line, when this, its clones and all
/// [`WorkerLog`]s are dropped; a program that exits should [`flush`](Self::flush) first.
///
/// It holds at most [`Config::queue`] batches of 64 KiB, sixteen spare buffers of twice that, and one
/// batch for each worker; each batch may be longer by one line.
#[derive(Clone)]
pub struct AccessLog {
    desk: Arc<Desk>,
    queue: SyncSender<Message>,
    config: Config,
}

impl AccessLog {
    /// Opens the target, and starts the thread that writes to it.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened, or the thread not be started.
    pub fn open(target: Target, config: &Config) -> io::Result<Self> {
        let desk = Arc::new(Desk::default());
        let writer = Writer::open(target, Arc::clone(&desk))?;
        let (queue, messages) = mpsc::sync_channel(config.queue.max(1));
        let interval = config.flush_interval.max(SHORTEST_INTERVAL);
        thread::Builder::new()
            .name("access-log".into())
            .spawn(move || writer.run(&messages, interval))?;
        Ok(Self {
            desk,
            queue,
            config: *config,
        })
    }

    /// An end for one more worker.
    #[must_use]
    pub fn worker(&self) -> WorkerLog {
        WorkerLog::new(
            Arc::clone(&self.desk),
            self.queue.clone(),
            LineWriter::new(self.config.format),
            Sampler::new(self.config.sample),
        )
    }

    /// Asks for the file to be opened anew: it was renamed, to be put away.
    ///
    /// Returns at once; the thread does it before it writes the next line. If the file cannot be
    /// opened, the old one is kept, and [`LogStats::reopen_failed`] counts it.
    pub fn reopen(&self) {
        self.desk.reopen.store(true, Relaxed);
        // A full queue wakes the thread as well.
        let _ = self.queue.try_send(Message::Wake);
    }

    /// Waits until all that was recorded before is written.
    ///
    /// Blocks the thread for as long as the disk takes: not for a runtime's worker.
    pub fn flush(&self) {
        let (answer, answered) = mpsc::sync_channel(1);
        if self.queue.send(Message::Flush(answer)).is_ok() {
            // No answer comes only from a thread that is gone, and then nothing can be written.
            let _ = answered.recv();
        }
    }

    /// What became of the lines so far.
    #[must_use]
    pub fn stats(&self) -> LogStats {
        LogStats {
            written: self.desk.written.load(Relaxed),
            dropped: self.desk.lines_dropped(),
            failed: self.desk.failed.load(Relaxed),
            reopen_failed: self.desk.reopen_failed.load(Relaxed),
        }
    }
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLog")
            .field("config", &self.config)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// What became of the lines of an [`AccessLog`]; lines that still wait are in none of these.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LogStats {
    /// Lines written.
    pub written: u64,
    /// Lines dropped because the disk did not keep up.
    pub dropped: u64,
    /// Lines of batches that the target refused, in whole or in part.
    pub failed: u64,
    /// Times that the file could not be opened anew.
    pub reopen_failed: u64,
}

/// A shorter one would keep the thread busy with looking.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests;
