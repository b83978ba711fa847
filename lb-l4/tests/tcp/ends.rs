//! How sessions end: as their peers end them.

use std::io::ErrorKind;
use std::time::Duration;

use lb_l4::stream::{End, TcpConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::setup::{Front, eventually, listener, run};

#[test]
fn a_client_that_has_said_all_still_hears_the_answer() {
    run(async {
        let backend = listener().await;
        let front = Front::of(&backend, TcpConfig::default()).await;
        let (mut client, mut server) = front.session(&backend).await;
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();

        let mut got = Vec::new();
        server.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"question");
        server.write_all(b"answer").await.unwrap();
        drop(server);

        got.clear();
        client.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"answer");
        eventually(|| front.handle.stats().active() == 0).await;
        let stats = front.handle.stats();
        assert_eq!(stats.ended(End::Client), 1);
        assert_eq!((stats.bytes_in, stats.bytes_out), (8, 6));
        front.finish().await;
    });
}

#[test]
fn a_backend_that_has_said_all_still_hears_the_client() {
    run(async {
        let backend = listener().await;
        let front = Front::of(&backend, TcpConfig::default()).await;
        let (mut client, mut server) = front.session(&backend).await;
        server.write_all(b"banner").await.unwrap();
        server.shutdown().await.unwrap();
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"banner");

        client.write_all(b"goodbye").await.unwrap();
        client.shutdown().await.unwrap();
        got.clear();
        server.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"goodbye");
        eventually(|| front.handle.stats().ended(End::Backend) == 1).await;
        front.finish().await;
    });
}

#[test]
fn a_reset_by_the_client_resets_the_backend() {
    run(async {
        let backend = listener().await;
        let front = Front::of(&backend, TcpConfig::default()).await;
        let (mut client, mut server) = front.session(&backend).await;
        client.write_all(b"x").await.unwrap();
        server.read_u8().await.unwrap();
        client.set_zero_linger().unwrap();
        drop(client);
        let error = server.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        eventually(|| front.handle.stats().ended(End::ClientReset) == 1).await;
        front.finish().await;
    });
}

#[test]
fn a_reset_by_the_backend_resets_the_client() {
    run(async {
        let backend = listener().await;
        let front = Front::of(&backend, TcpConfig::default()).await;
        let (mut client, mut server) = front.session(&backend).await;
        client.write_all(b"x").await.unwrap();
        server.read_u8().await.unwrap();
        server.set_zero_linger().unwrap();
        drop(server);
        let error = client.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        eventually(|| front.handle.stats().ended(End::BackendReset) == 1).await;
        front.finish().await;
    });
}

#[test]
fn a_session_in_which_nothing_moves_is_reset_at_its_idle_timeout() {
    run(async {
        let backend = listener().await;
        let config = TcpConfig::default().idle_timeout(Duration::from_millis(200));
        let front = Front::of(&backend, config).await;
        let (mut client, mut server) = front.session(&backend).await;
        let error = client.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let error = server.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert_eq!(front.handle.stats().ended(End::Idle), 1);
        front.finish().await;
    });
}

#[test]
fn a_session_under_way_outlives_the_shutdown_and_a_new_client_is_refused() {
    run(async {
        let backend = listener().await;
        let front = Front::of(&backend, TcpConfig::default()).await;
        let (mut client, mut server) = front.session(&backend).await;
        // Whoever is accepted still is refused by the backend.
        drop((backend, front.stop));
        // The listening socket closes: the kernel refuses.
        while tokio::net::TcpStream::connect(front.address).await.is_ok() {}

        client.write_all(b"more").await.unwrap();
        let mut got = [0; 4];
        server.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"more");
        assert!(!front.ended.is_finished());
        drop((client, server));
        front.ended.await.unwrap().unwrap();
        assert_eq!(front.handle.stats().active(), 0);
    });
}

#[test]
fn what_is_left_at_the_drains_deadline_is_reset() {
    run(async {
        let backend = listener().await;
        let config = TcpConfig::default().drain_timeout(Duration::from_millis(50));
        let front = Front::of(&backend, config).await;
        let (mut client, mut server) = front.session(&backend).await;
        client.write_all(b"x").await.unwrap();
        server.read_u8().await.unwrap();
        let handle = front.handle.clone();
        front.finish().await;
        let error = client.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let error = server.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert_eq!(handle.stats().ended(End::Deadline), 1);
    });
}
