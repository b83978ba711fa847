//! Serving: the caller's own loop, threads of their own, and changes under traffic.

use std::future::Future;
use std::io::ErrorKind;

use lb_l4::stream::{BindError, End, Settings, TcpBalancer, TcpService};
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::setup::{Front, listener, pool, run};

/// Holds a future to what a caller's runtime may ask of it.
fn sendable<F: Future + Send>(future: F) -> F {
    future
}

#[test]
fn a_connection_of_the_callers_own_is_balanced() {
    run(async {
        let backend = listener().await;
        let web = pool([backend.local_addr().unwrap()]);
        let service = TcpService::new("127.0.0.1:0".parse().unwrap(), web);
        let balancer = TcpBalancer::bind(service).await.unwrap();
        let (mut near, far) = tokio::io::duplex(64);
        let serve = sendable(balancer.serve_connection(far, None));
        let talk = async {
            let (mut server, _) = backend.accept().await.unwrap();
            near.write_all(b"ping").await.unwrap();
            near.shutdown().await.unwrap();
            let mut got = Vec::new();
            server.read_to_end(&mut got).await.unwrap();
            assert_eq!(got, b"ping");
            server.write_all(b"pong").await.unwrap();
            drop(server);
            got.clear();
            near.read_to_end(&mut got).await.unwrap();
            assert_eq!(got, b"pong");
        };
        let (end, ()) = tokio::join!(serve, talk);
        assert_eq!(end.unwrap(), End::Client);
        assert_eq!(balancer.handle().stats().ended(End::Client), 1);
    });
}

#[test]
fn sockets_of_the_callers_own_are_reset_when_the_caller_gives_up() {
    run(async {
        let (front, backend) = (listener().await, listener().await);
        let web = pool([backend.local_addr().unwrap()]);
        let service = TcpService::new("127.0.0.1:0".parse().unwrap(), web);
        let balancer = TcpBalancer::bind(service).await.unwrap();
        let client = TcpStream::connect(front.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, front.accept());
        let (accepted, peer) = accepted.unwrap();
        let serve = balancer.serve_connection(accepted, Some(peer));
        tokio::select! {
            _ = serve => panic!("nobody has ended it"),
            server = backend.accept() => drop(server),
        }
        let error = client.unwrap().read_u8().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn each_worker_may_have_a_thread_and_a_runtime_of_its_own() {
    let backend = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let web = pool([backend.local_addr().unwrap()]);
    let service = TcpService::new("127.0.0.1:0".parse().unwrap(), web).workers(2);
    let balancer = run(async { TcpBalancer::bind(service).await.unwrap() });
    let address = balancer.addresses()[0].socket().unwrap();
    let handle = balancer.handle();
    let (stop, stopped) = tokio::sync::watch::channel(());
    let threads: Vec<_> = balancer
        .into_workers()
        .into_iter()
        .map(|worker| {
            let mut stopped = stopped.clone();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                let until = async move { stopped.changed().await };
                runtime.block_on(worker.run_until(until)).unwrap();
            })
        })
        .collect();
    for _ in 0..20 {
        use std::io::{Read, Write};
        let mut client = std::net::TcpStream::connect(address).unwrap();
        let (mut server, _) = backend.accept().unwrap();
        client.write_all(b"ping").unwrap();
        let mut got = [0; 4];
        server.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"ping");
    }
    drop(stop);
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    assert_eq!(handle.stats().began, 20);
    assert_eq!(handle.stats().active(), 0);
}

#[test]
fn new_settings_decide_over_new_sessions_and_old_ones_go_on() {
    run(async {
        let (old, new) = (listener().await, listener().await);
        let front = Front::start(Settings::new(pool([old.local_addr().unwrap()]))).await;
        let (mut client, mut server) = front.session(&old).await;
        let update = Settings::new(pool([new.local_addr().unwrap()]));
        front.handle.update(update).unwrap();

        let (_other, _served) = front.session(&new).await;
        client.write_all(b"still").await.unwrap();
        let mut got = [0; 5];
        server.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"still");
        drop((client, server, _other, _served));
        front.finish().await;
    });
}

#[test]
fn a_port_that_somebody_has_is_refused_unless_it_is_to_be_shared() {
    run(async {
        let backend = listener().await;
        let service = |address: &str| {
            let web = pool([backend.local_addr().unwrap()]);
            TcpService::new(address.parse().unwrap(), web).workers(2)
        };
        let first = TcpBalancer::bind(service("127.0.0.1:0")).await.unwrap();
        let taken = first.addresses()[0].to_string();
        let error = TcpBalancer::bind(service(&taken)).await.unwrap_err();
        assert!(
            matches!(&error, BindError::Listen { address, error }
                if address.to_string() == taken && error.kind() == ErrorKind::AddrInUse),
            "{error}"
        );
        let second = TcpBalancer::bind(service(&taken).share_port())
            .await
            .unwrap();
        assert_eq!(second.addresses(), first.addresses());
        drop((first, second));
        TcpBalancer::bind(service(&taken)).await.unwrap();
    });
}

#[test]
fn a_session_that_is_over_keeps_nobody_from_its_port() {
    run(async {
        let backend = listener().await;
        let web = || pool([backend.local_addr().unwrap()]);
        let front = Front::start(web().into()).await;
        let address = front.address;
        let (mut client, server) = front.session(&backend).await;
        // The balancer closes towards the client first, and so is the one in TIME-WAIT.
        drop(server);
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        drop(client);
        front.finish().await;
        let plain = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let kept = plain.bind(&address.into()).unwrap_err();
        assert_eq!(kept.kind(), ErrorKind::AddrInUse, "it is in TIME-WAIT");
        let service = TcpService::new(address.into(), web());
        TcpBalancer::bind(service).await.unwrap();
    });
}
