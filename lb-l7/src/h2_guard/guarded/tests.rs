use std::future::poll_fn;

use bytes::Bytes;
use h2::Reason;
use http::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;

use super::*;
use crate::h2_guard::{Flood, Illegal};

const START: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0flooding";

/// GET http://a/ on stream 1, whole.
const REQUEST: &[u8] = b"\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01a";

/// Serves `io` until its end; gives how many requests came, and why it was stopped.
fn serve<IO>(io: IO, limits: H2Limits) -> JoinHandle<(usize, Option<Stop>)>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        let (guarded, alarm) = Guarded::new(io, limits);
        let mut builder = h2::server::Builder::new();
        limits.configure(&mut builder);
        let Ok(mut connection) = builder.handshake::<_, Bytes>(guarded).await else {
            return (0, alarm.stop());
        };
        let mut requests = 0;
        while let Some(Ok((_, mut respond))) =
            poll_fn(|cx| poll_accept(&mut connection, &alarm, cx)).await
        {
            requests += 1;
            let _ = respond.send_response(Response::new(()), true);
        }
        (requests, alarm.stop())
    })
}

/// The kind and payload of each frame that came before the end.
async fn frames(client: &mut DuplexStream) -> Vec<(u8, Vec<u8>)> {
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).await.unwrap();
    let mut rest = &*bytes;
    let mut frames = Vec::new();
    while let Some((head, after)) = rest.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        frames.push((head[3], after[..length].to_vec()));
        rest = &after[length..];
    }
    frames
}

/// The code of the last GOAWAY.
fn goaway(frames: &[(u8, Vec<u8>)]) -> Option<Reason> {
    let (_, payload) = frames.iter().rfind(|(kind, _)| *kind == 7)?;
    let code = payload.get(4..8)?.try_into().ok()?;
    Some(Reason::from(u32::from_be_bytes(code)))
}

fn few_pings() -> H2Limits {
    H2Limits {
        pings: 3,
        ..H2Limits::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_ends_by_enhance_your_calm_after_what_came_before() {
    let (mut client, server) = tokio::io::duplex(64 << 10);
    let served = serve(server, few_pings());
    client.write_all(START).await.unwrap();
    // One byte at a time: the cut is in the midst of a frame.
    for byte in [REQUEST, &PING.repeat(10)].concat() {
        if client.write_all(&[byte]).await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    let frames = frames(&mut client).await;
    assert_eq!(goaway(&frames), Some(Reason::ENHANCE_YOUR_CALM));
    let answers = frames.iter().filter(|(kind, _)| *kind == 1).count();
    assert_eq!(answers, 1);
    // The answer paid for one more.
    let pongs = frames.iter().filter(|(kind, _)| *kind == 6).count();
    assert!((3..=4).contains(&pongs), "{pongs}");
    drop(client);
    let stop = Some(Stop::Flood(Flood::Ping));
    assert_eq!(served.await.unwrap(), (1, stop));
}

#[tokio::test(start_paused = true)]
async fn a_broken_rule_ends_by_its_own_code() {
    let (mut client, server) = tokio::io::duplex(64 << 10);
    let served = serve(server, H2Limits::default());
    let bytes = [START, PING, b"\0\0\x07\x06\0\0\0\0\0"].concat();
    client.write_all(&bytes).await.unwrap();
    let frames = frames(&mut client).await;
    assert_eq!(goaway(&frames), Some(Reason::FRAME_SIZE_ERROR));
    assert!(frames.iter().any(|(kind, _)| *kind == 6));
    drop(client);
    let stop = Some(Stop::Illegal(Illegal::FrameLength));
    assert_eq!(served.await.unwrap(), (0, stop));
}

#[tokio::test(start_paused = true)]
async fn a_flooder_that_does_not_read_is_not_waited_for() {
    // Room for the server's SETTINGS and a few answers to PING; the client never reads.
    let (mut client, server) = tokio::io::duplex(256);
    let served = serve(server, few_pings());
    client.write_all(START).await.unwrap();
    while client.write_all(PING).await.is_ok() {}
    let (_, stop) = served.await.unwrap();
    assert_eq!(stop, Some(Stop::Flood(Flood::Ping)));
}

#[tokio::test(start_paused = true)]
async fn the_last_stream_of_a_connection_drains_it() {
    let limits = H2Limits {
        streams_in_all: Some(1),
        ..H2Limits::default()
    };
    let (mut client, server) = tokio::io::duplex(64 << 10);
    let served = serve(server, limits);
    client.write_all(&[START, REQUEST].concat()).await.unwrap();
    // The server draws a line by a PING before it says which stream was the last.
    let mut pong = None;
    let mut seen = Vec::new();
    while pong.is_none() {
        let mut head = [0; 9];
        client.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; usize::from(head[2])];
        client.read_exact(&mut payload).await.unwrap();
        if head[3] == 6 {
            pong = Some(payload.clone());
        }
        seen.push((head[3], payload));
    }
    assert_eq!(goaway(&seen), Some(Reason::NO_ERROR));
    let pong = [b"\0\0\x08\x06\x01\0\0\0\0", &*pong.unwrap()].concat();
    client.write_all(&pong).await.unwrap();
    assert_eq!(goaway(&frames(&mut client).await), Some(Reason::NO_ERROR));
    drop(client);
    assert_eq!(served.await.unwrap(), (1, None));
}

#[tokio::test(start_paused = true)]
async fn closing_waits_for_the_client_s_end_but_not_for_ever() {
    let (mut client, server) = tokio::io::duplex(64 << 10);
    let served = serve(server, few_pings());
    client
        .write_all(&[START, &PING.repeat(5)].concat())
        .await
        .unwrap();
    assert!(goaway(&frames(&mut client).await).is_some());
    // What is still under way is taken, and is no error for the client.
    let before = tokio::time::Instant::now();
    client.write_all(&PING.repeat(100)).await.unwrap();
    served.await.unwrap();
    assert_eq!(before.elapsed(), LINGER_TIME);

    let (mut client, server) = tokio::io::duplex(1024);
    let served = serve(server, few_pings());
    client
        .write_all(&[START, &PING.repeat(5)].concat())
        .await
        .unwrap();
    assert!(goaway(&frames(&mut client).await).is_some());
    let mut taken = 0;
    while client.write_all(&[0; 1024]).await.is_ok() {
        taken += 1024;
    }
    served.await.unwrap();
    assert!(
        (LINGER_BYTES..=LINGER_BYTES + 4096).contains(&taken),
        "{taken}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_ends_is_not_waited_for() {
    let (mut client, server) = tokio::io::duplex(64 << 10);
    let served = serve(server, H2Limits::default());
    client.write_all(START).await.unwrap();
    client.shutdown().await.unwrap();
    let before = tokio::time::Instant::now();
    assert_eq!(served.await.unwrap(), (0, None));
    assert_eq!(before.elapsed(), Duration::ZERO);
}

/// Takes all by vectored writes, three bytes at a time.
struct Vectored(Vec<u8>);

impl AsyncRead for Vectored {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Vectored {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.extend(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes: Vec<u8> = bufs.iter().flat_map(|buf| buf.to_vec()).take(3).collect();
        self.0.extend(&bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn vectored_writes_are_forwarded_and_seen() {
    let limits = H2Limits {
        provoked_resets: 1,
        ..H2Limits::default()
    };
    let (mut guarded, alarm) = Guarded::new(Vectored(Vec::new()), limits);
    assert!(guarded.is_write_vectored());
    let reset = b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x01";
    let mut bytes = Bytes::from(reset.repeat(2));
    while !bytes.is_empty() {
        let (one, two) = bytes.split_at(bytes.len().min(2));
        let bufs = [IoSlice::new(one), IoSlice::new(two)];
        assert_eq!(alarm.stop(), None);
        let n = guarded.write_vectored(&bufs).await.unwrap();
        bytes.advance(n);
    }
    assert_eq!(alarm.stop(), Some(Stop::Flood(Flood::ProvokedReset)));
    assert_eq!(guarded.io.0, reset.repeat(2));
}
