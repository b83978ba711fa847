//! What connections begin with: PROXY headers, in and out, and TLS server names.

use std::time::Duration;

use lb_l4::stream::{Refused, Settings, TcpConfig};
use lbcore::proxy_protocol::{Parse, Proxied, Version, parse};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::setup::{Front, eventually, listener, pool, run};

#[test]
fn a_backend_is_told_the_clients_address_in_either_version() {
    for version in [Version::V1, Version::V2] {
        run(async {
            let backend = listener().await;
            let config = TcpConfig::default().send_proxy(Some(version));
            let front = Front::of(&backend, config).await;
            let (mut client, mut server) = front.session(&backend).await;
            client.write_all(b"hello").await.unwrap();
            client.shutdown().await.unwrap();
            let mut got = Vec::new();
            server.read_to_end(&mut got).await.unwrap();
            let Ok(Parse::Complete {
                header,
                version: sent,
                consumed,
            }) = parse(&got)
            else {
                panic!("no header: {got:?}");
            };
            assert_eq!(sent, version);
            assert_eq!(&got[consumed..], b"hello");
            let Proxied::Flow(flow) = header.proxied else {
                panic!("no flow: {header:?}");
            };
            assert_eq!(flow.source, client.local_addr().unwrap());
            assert_eq!(flow.destination, front.address);
            drop(server);
            // The header is not payload.
            eventually(|| front.handle.stats().active() == 0).await;
            assert_eq!(front.handle.stats().bytes_in, 5);
            front.finish().await;
        });
    }
}

#[test]
fn a_header_from_a_proxy_in_front_is_taken_off_and_passed_on() {
    run(async {
        let backend = listener().await;
        let config = TcpConfig::default()
            .accept_proxy()
            .send_proxy(Some(Version::V1));
        let front = Front::of(&backend, config).await;
        let mut client = TcpStream::connect(front.address).await.unwrap();
        let header = b"PROXY TCP4 192.0.2.1 203.0.113.10 40000 443\r\n";
        client.write_all(header).await.unwrap();
        client.write_all(b"hello").await.unwrap();
        client.shutdown().await.unwrap();
        let (mut server, _) = backend.accept().await.unwrap();
        let mut got = Vec::new();
        server.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, [&header[..], b"hello"].concat());
        drop(server);
        eventually(|| front.handle.stats().active() == 0).await;
        assert_eq!(front.handle.stats().bytes_in, 5);
        front.finish().await;
    });
}

#[test]
fn a_client_without_the_header_that_must_come_is_refused() {
    run(async {
        let backend = listener().await;
        let front = Front::of(&backend, TcpConfig::default().accept_proxy()).await;
        for cut in [&b"GET / HTTP/1.1\r\n"[..], b"PROXY TCP4 192.0.2.1"] {
            let mut client = TcpStream::connect(front.address).await.unwrap();
            client.write_all(cut).await.unwrap();
            client.shutdown().await.unwrap();
            assert!(!matches!(client.read(&mut [0]).await, Ok(1..)));
        }
        eventually(|| front.handle.stats().refused(Refused::ProxyHeader) == 2).await;
        assert_eq!(front.handle.stats().began, 0);
        front.finish().await;
    });
}

#[test]
fn a_client_that_sends_nothing_is_refused_when_its_time_is_over() {
    run(async {
        let backend = listener().await;
        let config = TcpConfig::default()
            .accept_proxy()
            .header_timeout(Duration::from_millis(50));
        let front = Front::of(&backend, config.clone()).await;
        let mut client = TcpStream::connect(front.address).await.unwrap();
        assert!(client.read(&mut [0]).await.is_err());
        assert_eq!(front.handle.stats().refused(Refused::ProxyTimeout), 1);
        front.finish().await;

        let names = Settings::by_server_name()
            .otherwise(pool([backend.local_addr().unwrap()]))
            .config(TcpConfig::default().header_timeout(Duration::from_millis(50)));
        let front = Front::start(names).await;
        let mut client = TcpStream::connect(front.address).await.unwrap();
        assert!(client.read(&mut [0]).await.is_err());
        assert_eq!(front.handle.stats().refused(Refused::TlsTimeout), 1);
        front.finish().await;
    });
}

/// What curl sent to `localhost`, recorded.
const HELLO: &[u8] = include_bytes!("../../../tests/fuzz/corpus/client_hello/openssl_tls13");

#[test]
fn tls_goes_to_the_pool_of_its_server_name_unchanged() {
    run(async {
        let name = server_name();
        let (named, other) = (listener().await, listener().await);
        let settings = Settings::by_server_name()
            .server_name(&name, pool([named.local_addr().unwrap()]))
            .unwrap()
            .otherwise(pool([other.local_addr().unwrap()]));
        let front = Front::start(settings).await;
        let mut client = TcpStream::connect(front.address).await.unwrap();
        let (first, rest) = HELLO.split_at(40);
        client.write_all(first).await.unwrap();
        client.write_all(rest).await.unwrap();
        let (mut server, _) = named.accept().await.unwrap();
        let mut got = vec![0; HELLO.len()];
        server.read_exact(&mut got).await.unwrap();
        assert_eq!(got, HELLO);
        server.write_all(b"back").await.unwrap();
        let mut back = [0; 4];
        client.read_exact(&mut back).await.unwrap();
        assert_eq!(front.handle.stats().bytes_in, HELLO.len() as u64);
        drop((client, server));
        front.finish().await;
    });
}

#[test]
fn tls_for_a_name_without_a_pool_and_what_is_no_tls_are_refused() {
    run(async {
        let backend = listener().await;
        let settings = Settings::by_server_name()
            .server_name("elsewhere.example", pool([backend.local_addr().unwrap()]))
            .unwrap();
        let front = Front::start(settings).await;
        for (bytes, why) in [
            (HELLO, Refused::ServerName),
            (b"GET / HTTP/1.1\r\n", Refused::TlsHello),
        ] {
            let mut client = TcpStream::connect(front.address).await.unwrap();
            client.write_all(bytes).await.unwrap();
            assert!(!matches!(client.read(&mut [0]).await, Ok(1..)));
            eventually(|| front.handle.stats().refused(why) == 1).await;
        }
        front.finish().await;
    });
}

fn server_name() -> String {
    use lb_l4::stream::client_hello::{Peek, peek};
    let Ok(Peek::Complete(hello)) = peek(HELLO) else {
        panic!("the recorded hello is whole");
    };
    hello.server_name.unwrap().as_str().to_owned()
}
