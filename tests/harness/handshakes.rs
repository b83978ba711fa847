//! Full handshakes at a steady rate, and what became of each.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

use crate::tls::TlsClient;
use crate::wait;

/// What became of a load of handshakes.
#[non_exhaustive]
#[derive(Debug)]
pub struct Handshakes {
    /// Those that ended well.
    pub done: u64,
    /// Why the others did not, and when they began, after the load did.
    pub failed: Vec<(Duration, io::Error)>,
    /// The longest that one of them took, from the connection to the last message.
    pub slowest: Duration,
}

impl Handshakes {
    /// Asserts that none failed, and that there were about as many as were asked for.
    ///
    /// # Panics
    ///
    /// When one did; the message holds the first of them.
    #[track_caller]
    pub fn assert_all(&self, rate: u32, span: Duration) {
        let (failed, first) = (self.failed.len(), self.failed.first());
        assert!(failed == 0, "{failed} of {}: {first:?}", self.done);
        let asked = f64::from(rate) * span.as_secs_f64();
        let done = u32::try_from(self.done).map_or(f64::INFINITY, f64::from);
        assert!(done >= asked * 0.9, "{done} handshakes, not {asked}");
    }
}

/// Begins `rate` handshakes a second for as long as `span`, whether earlier ones have ended or not.
///
/// An open load: a server that is slow gets more at once, not less. Each handshake is given up as
/// [`TlsClient::connect`] does.
///
/// # Panics
///
/// When `rate` is zero.
pub async fn at_rate(
    client: &TlsClient,
    address: SocketAddr,
    rate: u32,
    span: Duration,
) -> Handshakes {
    let began = wait::now();
    let mut beats = tokio::time::interval(Duration::from_secs(1) / rate);
    // What the machine was too slow to begin is made up for at once, and so counted.
    beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let mut under_way = JoinSet::new();
    let beats_in_all = span.as_nanos() * u128::from(rate) / 1_000_000_000;
    for _ in 0..beats_in_all {
        beats.tick().await;
        let client = client.clone();
        under_way.spawn(async move { (wait::now(), one(&client, address).await) });
    }
    let mut seen = Handshakes {
        done: 0,
        failed: Vec::new(),
        slowest: Duration::ZERO,
    };
    for (at, ended) in under_way.join_all().await {
        match ended {
            Ok(took) => {
                seen.done += 1;
                seen.slowest = seen.slowest.max(took);
            }
            Err(error) => seen.failed.push((at - began, error)),
        }
    }
    seen
}

async fn one(client: &TlsClient, address: SocketAddr) -> io::Result<Duration> {
    let began: Instant = wait::now();
    let mut stream = client.connect(address).await?;
    let took = began.elapsed();
    // How the server takes the end is none of the handshake.
    let _ = stream.shutdown().await;
    Ok(took)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::free_address;
    use crate::keys::Keys;
    use crate::peer::https_server;

    #[tokio::test]
    async fn as_many_are_made_as_the_rate_says_and_each_failure_is_told() {
        let (client, span) = (TlsClient::new(&[]), Duration::from_millis(200));
        let address = free_address();
        let nobody = at_rate(&client, address, 50, span).await;
        assert_eq!((nobody.done, nobody.failed.len()), (0, 10));
        let _server = https_server(address, "hello", &Keys::p256("a.test")).start();
        let seen = at_rate(&client, address, 50, span).await;
        seen.assert_all(50, span);
        assert_eq!(seen.done, 10);
        assert!(seen.slowest > Duration::ZERO);
    }
}
