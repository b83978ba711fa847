//! Bytes in bulk: every one right, and none hoarded.

use lb_l4::stream::TcpConfig;
use lbcore::rng::{Rng, Xoshiro};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::setup::{Front, eventually, listener, run};

/// More than every buffer on the way, many times.
const LENGTH: usize = 100 << 20;

/// Writes `LENGTH` bytes of this seed, in pieces of every size up to 256 KiB.
async fn send(mut to: TcpStream, seed: u64) -> TcpStream {
    let mut bytes = Noise::new(seed);
    let mut sizes = Xoshiro::new(seed + 1);
    let mut left = LENGTH;
    while left > 0 {
        let size = usize::try_from(sizes.below(256 * 1024) + 1)
            .unwrap()
            .min(left);
        to.write_all(bytes.take(size)).await.unwrap();
        left -= size;
    }
    to
}

/// Reads `LENGTH` bytes and compares each.
async fn receive(mut from: TcpStream, seed: u64) -> TcpStream {
    let mut bytes = Noise::new(seed);
    let mut buffer = vec![0; 100_000];
    let mut left = LENGTH;
    while left > 0 {
        let most = left.min(buffer.len());
        let n = from.read(&mut buffer[..most]).await.unwrap();
        assert_ne!(n, 0, "{left} bytes are missing");
        assert!(buffer[..n] == *bytes.take(n), "wrong with {left} to go");
        left -= n;
    }
    from
}

/// Bytes of a seed that do not repeat within what any buffer on the way holds.
struct Noise {
    block: Vec<u8>,
    at: usize,
}

impl Noise {
    fn new(seed: u64) -> Self {
        let mut rng = Xoshiro::new(seed);
        // A prime number of words, so that blocks never fall on the borders of pages.
        let block = (0..1_000_003).flat_map(|_| rng.next_u64().to_le_bytes());
        Self {
            block: block.collect(),
            at: 0,
        }
    }

    fn take(&mut self, n: usize) -> &[u8] {
        if self.at + n > self.block.len() {
            self.block.rotate_left(self.at);
            self.at = 0;
        }
        self.at += n;
        &self.block[self.at - n..self.at]
    }
}

async fn both_ways_at_once(config: TcpConfig) {
    let backend = listener().await;
    let front = Front::of(&backend, config).await;
    let (up, up_end) = front.session(&backend).await;
    let (down_end, down) = front.session(&backend).await;
    let (a, b, c, d) = tokio::join!(
        tokio::spawn(send(up, 1)),
        tokio::spawn(receive(up_end, 1)),
        tokio::spawn(send(down, 2)),
        tokio::spawn(receive(down_end, 2)),
    );
    drop((a.unwrap(), b.unwrap(), c.unwrap(), d.unwrap()));
    eventually(|| front.handle.stats().active() == 0).await;
    let stats = front.handle.stats();
    assert_eq!(stats.bytes_in, LENGTH as u64);
    assert_eq!(stats.bytes_out, LENGTH as u64);
    front.finish().await;
}

#[test]
fn a_hundred_megabytes_through_pipes_arrive_as_they_were_sent() {
    run(both_ways_at_once(TcpConfig::default()));
}

#[test]
fn a_hundred_megabytes_without_pipes_arrive_as_they_were_sent() {
    run(both_ways_at_once(TcpConfig::default().pipes(0)));
}

#[test]
fn a_client_that_never_reads_holds_up_its_backend_and_not_this_process() {
    run(async {
        let backend = listener().await;
        let front = Front::of(&backend, TcpConfig::default()).await;
        let (client, mut server) = front.session(&backend).await;
        // The kernel's buffers of both connections fill, and then the backend waits.
        let block = vec![7; 64 * 1024];
        let mut sent = 0;
        while let Ok(n) =
            tokio::time::timeout(std::time::Duration::from_millis(300), server.write(&block)).await
        {
            sent += n.unwrap();
        }
        let stats = front.handle.stats();
        // What this process holds is what it has read and not written.
        assert!(stats.bytes_out > 0 && sent as u64 > stats.bytes_out);
        assert!(sent < 64 << 20, "{sent}");
        drop((client, server));
        front.finish().await;
    });
}
