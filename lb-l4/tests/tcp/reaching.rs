//! Reaching a backend: the next one when one fails, within bounds.

use std::time::Duration;

use lb_l4::connect::{Dial, MemoryNet, Stream};
use lb_l4::stream::{Refused, Settings, TcpBalancer, TcpConfig, TcpService};
use lbcore::backend::Address;
use lbcore::connect::Connect;
use lbcore::schedule::RoundRobin;
use lbcore::{Backend, Pool};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::setup::{Front, eventually, is_turned_away, listener, pool, refusing, run};

#[test]
fn a_backend_that_refuses_is_followed_by_the_next() {
    run(async {
        let (_kept, refusing) = refusing();
        let backend = listener().await;
        let web = pool([refusing, backend.local_addr().unwrap()]);
        let front = Front::start(Settings::new(web.clone())).await;
        for _ in 0..4 {
            let (mut client, mut server) = front.session(&backend).await;
            client.write_all(b"x").await.unwrap();
            assert_eq!(server.read_u8().await.unwrap(), b'x');
        }
        let stats = front.handle.stats();
        assert_eq!(stats.began, 4);
        assert!(stats.connect_failed >= 2, "{stats:?}");
        eventually(|| front.handle.stats().active() == 0).await;
        front.finish().await;
        assert!(web.stats().iter().all(|backend| backend.in_flight() == 0));
    });
}

#[test]
fn a_session_that_reaches_nobody_is_refused_after_its_tries() {
    run(async {
        let kept: Vec<_> = (0..4).map(|_| refusing()).collect();
        let web = pool(kept.iter().map(|(_, address)| *address));
        let settings = Settings::new(web).config(TcpConfig::default().connect_tries(3));
        let front = Front::start(settings).await;
        assert!(is_turned_away(front.address).await);
        let stats = front.handle.stats();
        assert_eq!(stats.refused(Refused::ConnectFailed), 1);
        assert_eq!(stats.connect_failed, 3);
        front.finish().await;
    });
}

/// Never connects.
struct Never;

impl Connect for Never {
    type Stream = Stream;

    async fn connect(&self, _: &Address) -> std::io::Result<Stream> {
        std::future::pending().await
    }
}

#[test]
fn tries_that_hang_end_with_the_connect_budget() {
    run(async {
        let kept: Vec<_> = (0..4).map(|_| refusing()).collect();
        let config = TcpConfig::default()
            .connect_timeout(Duration::from_millis(40))
            .connect_budget(Duration::from_millis(60))
            .connect_tries(4);
        let web = pool(kept.iter().map(|(_, address)| *address));
        let settings = Settings::new(web).config(config);
        let service = TcpService::new("127.0.0.1:0".parse().unwrap(), settings).connect(Never);
        let balancer = TcpBalancer::bind(service).await.unwrap();
        let (_near, far) = tokio::io::duplex(64);
        let refused = balancer.serve_connection(far, None).await;
        assert_eq!(refused.unwrap_err(), Refused::ConnectFailed);
        // The second try has what the first left.
        assert_eq!(balancer.handle().stats().connect_failed, 2);
    });
}

#[test]
fn an_empty_pool_refuses_at_once() {
    run(async {
        let front = Front::start(Settings::new(Pool::new(RoundRobin))).await;
        assert!(is_turned_away(front.address).await);
        assert_eq!(front.handle.stats().refused(Refused::NoBackends), 1);
        front.finish().await;
    });
}

#[test]
fn unix_sockets_are_served_on_both_sides() {
    run(async {
        let folder = std::env::temp_dir().join(format!("lb-l4-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (front_path, back_path) = (folder.join("front"), folder.join("back"));
        let backend = tokio::net::UnixListener::bind(&back_path).unwrap();
        let to_backend = Address::Unix(back_path.into());
        let web = Pool::new(RoundRobin).backend(Backend::new("b", to_backend));
        let at_front = Address::Unix(front_path.clone().into());
        let service = TcpService::new(at_front, web).workers(2);
        let balancer = TcpBalancer::bind(service).await.unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(balancer.run_until(stopped));

        let mut client = UnixStream::connect(&front_path).await.unwrap();
        let (mut server, _) = backend.accept().await.unwrap();
        client.write_all(b"ping").await.unwrap();
        client.shutdown().await.unwrap();
        let mut got = Vec::new();
        server.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"ping");
        server.write_all(b"pong").await.unwrap();
        drop(server);
        got.clear();
        client.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"pong");
        drop(stop);
        running.await.unwrap().unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
    });
}

#[test]
fn a_service_in_this_process_is_reached_in_memory() {
    run(async {
        let net = MemoryNet::default();
        let mut app = net.listen("app");
        let web = Pool::new(RoundRobin).backend(Backend::new("app", "memory:app".parse().unwrap()));
        let service = TcpService::new("127.0.0.1:0".parse().unwrap(), web)
            .connect(Dial::default().memory(net));
        let balancer = TcpBalancer::bind(service).await.unwrap();
        let address = balancer.addresses()[0].socket().unwrap();
        let handle = balancer.handle();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(balancer.run_until(stopped));

        let mut client = TcpStream::connect(address).await.unwrap();
        let mut server = app.accept().await.unwrap();
        client.write_all(b"ping").await.unwrap();
        client.shutdown().await.unwrap();
        let mut got = Vec::new();
        server.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"ping");
        server.write_all(b"pong").await.unwrap();
        drop(server);
        got.clear();
        client.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"pong");
        eventually(|| handle.stats().active() == 0).await;
        drop(stop);
        running.await.unwrap().unwrap();
    });
}
