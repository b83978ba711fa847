//! A stream byte by byte, and a reader of HTTP/1 that shares nothing with the proxy's.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};

use super::{A_MOMENT, Fields};

/// One end of a stream.
pub(crate) struct Raw<IO = DuplexStream> {
    pub(crate) io: IO,
    pub(crate) unread: Vec<u8>,
}

/// The head of a message.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) line: String,
    pub(crate) fields: Fields,
}

/// A whole message.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

impl Head {
    pub(crate) fn parse(text: &str) -> Self {
        let mut lines = text.trim_end_matches("\r\n").split("\r\n");
        let line = lines.next().unwrap().to_owned();
        let fields = lines.map(|line| {
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{text}"));
            (name.to_owned(), value.to_owned())
        });
        let fields = fields.collect();
        Self { line, fields }
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut found = self
            .fields
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name));
        let first = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} twice in {self:?}");
        first
    }

    pub(crate) fn status(&self) -> u16 {
        self.line.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// How many bytes of body this says, as any recipient would read it (RFC 9112, 6.3).
    fn length(&self, to_head: bool) -> Length {
        let is_response = self.line.starts_with("HTTP/");
        if is_response && (to_head || matches!(self.status(), 100..=199 | 204 | 304)) {
            return Length::Exact(0);
        }
        match (
            self.field("transfer-encoding"),
            self.field("content-length"),
        ) {
            (Some("chunked"), None) => Length::Chunked,
            (None, Some(length)) => Length::Exact(length.parse().unwrap()),
            (None, None) if is_response => Length::UntilClose,
            (None, None) => Length::Exact(0),
            both => panic!("framing of {both:?}"),
        }
    }
}

enum Length {
    Exact(usize),
    Chunked,
    UntilClose,
}

impl<IO> Raw<IO> {
    pub(crate) const fn new(io: IO) -> Self {
        Self {
            io,
            unread: Vec::new(),
        }
    }
}

impl<IO: AsyncWrite + Unpin> Raw<IO> {
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.io.write_all(bytes.as_ref()).await.unwrap();
    }

    /// As [`send`](Self::send), to one who may have gone.
    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.io.write_all(bytes.as_ref()).await.is_ok()
    }

    /// Says that nothing more comes.
    pub(crate) async fn finish(&mut self) {
        self.io.shutdown().await.unwrap();
    }
}

impl<IO: AsyncRead + Unpin> Raw<IO> {
    /// What is up to and with `mark`; `None` if the stream ends before.
    pub(crate) async fn try_until(&mut self, mark: &str) -> Option<String> {
        loop {
            let found = self
                .unread
                .windows(mark.len())
                .position(|w| w == mark.as_bytes());
            if let Some(at) = found {
                let text = self.unread.drain(..at + mark.len()).collect();
                return Some(String::from_utf8(text).unwrap());
            }
            if self.io.read_buf(&mut self.unread).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    #[track_caller]
    pub(crate) fn until(&mut self, mark: &str) -> impl Future<Output = String> {
        let at = std::panic::Location::caller();
        async move {
            let text = self.try_until(mark).await;
            text.unwrap_or_else(|| {
                panic!("{at}: ended: {:?}", self.unread.escape_ascii().to_string())
            })
        }
    }

    pub(crate) async fn take(&mut self, bytes: usize) -> Vec<u8> {
        assert!(
            self.try_take(bytes).await,
            "ended at {:?}",
            self.unread.escape_ascii().to_string()
        );
        self.unread.drain(..bytes).collect()
    }

    async fn try_take(&mut self, bytes: usize) -> bool {
        while self.unread.len() < bytes {
            if self.io.read_buf(&mut self.unread).await.unwrap_or(0) == 0 {
                return false;
            }
        }
        true
    }

    /// All that comes until the stream ends.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.io.read_buf(&mut self.unread).await.unwrap_or(0) > 0 {}
        std::mem::take(&mut self.unread)
    }

    pub(crate) async fn rest_text(&mut self) -> String {
        String::from_utf8(self.rest().await).unwrap()
    }

    /// Nothing comes, and the stream does not end, as far as that needs no time.
    #[track_caller]
    pub(crate) fn quiet(&mut self) -> impl Future<Output = ()> {
        let at = std::panic::Location::caller();
        async move {
            assert!(
                self.unread.is_empty(),
                "{at}: {:?}",
                self.unread.escape_ascii().to_string()
            );
            let read = tokio::time::timeout(A_MOMENT, self.io.read_buf(&mut self.unread)).await;
            assert!(
                read.is_err(),
                "{at}: {read:?} {:?}",
                self.unread.escape_ascii().to_string()
            );
        }
    }

    /// The other side ends the stream within this time, and sends nothing before.
    #[track_caller]
    pub(crate) fn ends_within(&mut self, time: Duration) -> impl Future<Output = ()> {
        let at = std::panic::Location::caller();
        async move {
            let rest = tokio::time::timeout(time, self.rest()).await;
            let rest = rest.unwrap_or_else(|_| panic!("{at}: still open"));
            assert!(
                rest.is_empty(),
                "{at}: {:?}",
                rest.escape_ascii().to_string()
            );
        }
    }

    #[track_caller]
    pub(crate) fn head(&mut self) -> impl Future<Output = Head> {
        let text = self.until("\r\n\r\n");
        async move { Head::parse(&text.await) }
    }

    /// The body behind `head`, and its trailers; what there was of it, if it is not whole.
    pub(crate) async fn body(
        &mut self,
        head: &Head,
        to_head: bool,
    ) -> Result<(Vec<u8>, Fields), Vec<u8>> {
        match head.length(to_head) {
            Length::Exact(bytes) if self.try_take(bytes).await => {
                Ok((self.unread.drain(..bytes).collect(), Fields::new()))
            }
            Length::Exact(_) => Err(std::mem::take(&mut self.unread)),
            Length::UntilClose => Ok((self.rest().await, Fields::new())),
            Length::Chunked => self.chunks().await,
        }
    }

    async fn chunks(&mut self) -> Result<(Vec<u8>, Fields), Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let Some(size) = self.try_until("\r\n").await else {
                return Err(body);
            };
            let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
            if size == 0 {
                break;
            }
            if !self.try_take(size + 2).await {
                body.append(&mut self.unread);
                return Err(body);
            }
            body.extend(self.unread.drain(..size));
            assert_eq!(self.unread.drain(..2).as_slice(), b"\r\n");
        }
        let mut text = String::from("trailers\r\n");
        loop {
            let Some(line) = self.try_until("\r\n").await else {
                return Err(body);
            };
            if line == "\r\n" {
                return Ok((body, Head::parse(&text).fields));
            }
            text.push_str(&line);
        }
    }

    /// A whole message.
    #[track_caller]
    pub(crate) fn message(&mut self) -> impl Future<Output = Message> {
        let at = std::panic::Location::caller();
        async move {
            let text = self.try_until("\r\n\r\n").await;
            let text = text.unwrap_or_else(|| panic!("{at}: no message"));
            let head = Head::parse(&text);
            let body = self.body(&head, false).await;
            let (body, _) =
                body.unwrap_or_else(|part| panic!("{at}: {head:?} with {} bytes", part.len()));
            Message { head, body }
        }
    }
}
