//! A web server in this process that takes its time.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

/// Servers that answer every request without a body by 200, each after a time of its own.
///
/// All run on one thread, and end with this value.
#[derive(Debug)]
pub struct SlowWeb {
    addresses: Vec<SocketAddr>,
    _stop: oneshot::Sender<()>,
}

impl SlowWeb {
    /// One server for each delay.
    ///
    /// # Panics
    ///
    /// When no port is free.
    #[track_caller]
    #[must_use]
    pub fn start(delays: &[Duration]) -> Self {
        let (stop, stopped) = oneshot::channel();
        let bound: Vec<_> = delays.iter().map(|delay| (listen(), *delay)).collect();
        let address = |(listener, _): &(std::net::TcpListener, Duration)| listener.local_addr();
        let addresses: Result<_, _> = bound.iter().map(address).collect();
        std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime can be started").block_on(async {
                for (listener, delay) in bound {
                    tokio::spawn(accept(listener, delay));
                }
                // Whether it is told or forgotten, it ends.
                let _ = stopped.await;
            });
        });
        Self {
            addresses: addresses.expect("a listener is bound"),
            _stop: stop,
        }
    }

    /// Where they are, in the order of their delays.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

fn listen() -> std::net::TcpListener {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener
        .set_nonblocking(true)
        .expect("a socket can be told not to block");
    listener
}

async fn accept(listener: std::net::TcpListener, delay: Duration) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(serve(stream, delay));
    }
}

async fn serve(mut stream: TcpStream, delay: Duration) -> io::Result<()> {
    let mut heard = Vec::with_capacity(1024);
    while stream.read_buf(&mut heard).await? > 0 {
        while let Some(end) = heard.windows(4).position(|four| four == b"\r\n\r\n") {
            heard.drain(..end + 4);
            tokio::time::sleep(delay).await;
            stream.write_all(ANSWER).await?;
        }
    }
    Ok(())
}

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::run;
    use crate::wait::{self, PATIENCE};

    #[test]
    fn the_slow_one_is_slow_and_the_connection_is_kept() {
        let (fast, slow) = (Duration::ZERO, Duration::from_millis(50));
        let web = SlowWeb::start(&[fast, slow]);
        let ask = |server: usize| {
            let began = wait::now();
            let url = format!("http://{}/[1-4]", web.addresses()[server]);
            let wanted = ["--silent", "--write-out", "%{num_connects} ", &url];
            assert_eq!(
                run("curl", wanted, PATIENCE),
                "hello1 hello0 hello0 hello0 "
            );
            wait::now() - began
        };
        ask(0);
        assert!(ask(1) >= 4 * slow);
    }
}
