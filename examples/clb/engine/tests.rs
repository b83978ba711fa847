//! The engine over real sockets on loopback: what a change keeps, and what it ends.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::*;

/// Backends that say their name to every client and then echo, by name and address.
async fn backend(name: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.write_all(name.as_bytes()).await;
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    format!("{{ name = \"{name}\", address = \"{address}\" }}")
}

fn config(text: &str) -> Config {
    config::parse(text)
        .unwrap_or_else(|notes| panic!("{notes:?}"))
        .config
}

/// A file with these listeners, as name and rest, over one pool.
fn file(scheduler: &str, backends: &[&str], listeners: &[(&str, &str)]) -> Config {
    let backends = backends.join(", ");
    let pool =
        format!("[[pool]]\nname = \"p\"\nscheduler = \"{scheduler}\"\nbackends = [{backends}]\n");
    let listeners = listeners.iter().map(|(name, rest)| {
        format!("[[listener]]\nname = \"{name}\"\nprotocol = \"tcp\"\npool = \"p\"\n{rest}\n")
    });
    config(&(pool + &listeners.collect::<String>()))
}

async fn started(config: Config) -> Engine {
    let workers = Workers::start(1).expect("a thread");
    let (asker, _questions) = Asker::new();
    Engine::start(config, workers, asker).await.expect("served")
}

/// A session through the listener of this name, and the name of its backend.
async fn session(engine: &Engine, listener: &str) -> (TcpStream, String) {
    let address = engine
        .address(listener)
        .expect("a listener")
        .socket()
        .expect("TCP");
    let mut stream = TcpStream::connect(address).await.expect("accepted");
    let mut name = [0];
    stream.read_exact(&mut name).await.expect("a name");
    (stream, String::from_utf8_lossy(&name).into_owned())
}

async fn echoes(stream: &mut TcpStream) {
    stream.write_all(b"hello").await.expect("sent");
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await.expect("echoed");
    assert_eq!(&answer, b"hello");
}

/// Ends a session in order, so that its bytes are counted.
async fn end(mut stream: TcpStream) {
    stream.shutdown().await.expect("half closed");
    assert_eq!(stream.read(&mut [0]).await.expect("the end"), 0);
}

async fn figures(engine: &mut Engine, name: &str) -> snapshot::Listener {
    let snapshot = engine.snapshot().await;
    let found = snapshot
        .listeners
        .into_iter()
        .find(|listener| listener.name == name);
    found.expect("a listener of this name")
}

const FREE: &str = "listen = \"127.0.0.1:0\"";

#[tokio::test]
async fn a_change_of_pool_scheduler_or_settings_breaks_no_session_and_moves_no_socket() {
    let (a, b) = (backend("a").await, backend("b").await);
    let mut engine = started(file("random", &[&a], &[("l", FREE)])).await;
    let address = engine.address("l").cloned();
    let (mut first, name) = session(&engine, "l").await;
    assert_eq!(name, "a");

    engine
        .reload(file("random", &[&b], &[("l", FREE)]))
        .await
        .expect("changed");
    let (mut second, name) = session(&engine, "l").await;
    assert_eq!(name, "b", "new sessions go where the new file says");
    let idle = format!("{FREE}\nidle_timeout = \"5s\"");
    engine
        .reload(file("round-robin", &[&a], &[("l", &idle)]))
        .await
        .expect("changed");
    let (mut third, name) = session(&engine, "l").await;
    assert_eq!(name, "a", "the listener follows a pool that was rebuilt");

    for stream in [&mut first, &mut second, &mut third] {
        echoes(stream).await;
    }
    assert_eq!(engine.address("l").cloned(), address);
    assert_eq!(engine.snapshot().await.reloads.applied, 2);
}

#[tokio::test]
async fn a_listener_that_moves_or_goes_drains_and_its_bytes_stay_counted() {
    let a = backend("a").await;
    let mut engine = started(file("random", &[&a], &[("l", FREE), ("other", FREE)])).await;
    let old = engine.address("l").cloned().expect("an address");
    let (mut stream, _) = session(&engine, "l").await;

    engine
        .reload(file("random", &[&a], &[("l", "listen = \"127.0.0.2:0\"")]))
        .await
        .expect("moved");
    assert_ne!(engine.address("l"), Some(&old));
    echoes(&mut stream).await;
    let (other, _) = session(&engine, "l").await;
    end(other).await;
    end(stream).await;

    while engine.listeners.len() > 1 {
        engine.reap();
        tokio::task::yield_now().await;
    }
    let moved = figures(&mut engine, "l").await;
    let gone = figures(&mut engine, "other").await;
    assert_eq!((moved.state, moved.sessions), ("serving", 2));
    assert_eq!((moved.bytes_in, moved.bytes_out), (5, 7));
    assert_eq!((gone.state, gone.address.as_str()), ("gone", ""));
}

#[tokio::test]
async fn a_change_that_cannot_be_made_changes_nothing() {
    let (a, b) = (backend("a").await, backend("b").await);
    let mut engine = started(file("random", &[&a], &[("l", FREE)])).await;
    let holder = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = holder.local_addr().expect("an address");
    let listen = format!("listen = \"{taken}\"");

    let told = engine
        .reload(file("random", &[&b], &[("l", FREE), ("new", &listen)]))
        .await;
    let told = told.expect_err("the port is another's");
    assert!(told.contains("listener.new"), "{told}");
    let (_, name) = session(&engine, "l").await;
    assert_eq!(
        (name.as_str(), engine.snapshot().await.reloads.refused),
        ("a", 1)
    );
}

#[tokio::test]
async fn a_port_of_another_balancer_is_refused_and_one_of_our_own_is_taken_over() {
    let a = backend("a").await;
    for protocol in [config::Protocol::Tcp, config::Protocol::Udp] {
        let of = |name: &str, at: &str| {
            let listen = format!("listen = \"{at}\"");
            let mut config = file("random", &[&a], &[(name, &listen)]);
            config.listeners[0].protocol = protocol;
            config
        };
        let mut first = started(of("l", "127.0.0.1:0")).await;
        let at = first.address("l").expect("an address").to_string();
        let mut other = started(of("o", "127.0.0.1:0")).await;
        let told = other.reload(of("n", &at)).await;
        let told = told.expect_err("the port is another's");
        assert!(told.contains("listener.n") && told.contains(&at), "{told}");
        first.reload(of("m", &at)).await.expect("renamed");
        assert_eq!(first.address("m").map(ToString::to_string), Some(at));
        assert_eq!(first.address("l"), None);
    }
}

#[tokio::test]
async fn a_drain_ends_when_the_last_session_does() {
    let a = backend("a").await;
    let mut engine = started(file("random", &[&a], &[("l", FREE)])).await;
    let address = engine
        .address("l")
        .expect("a listener")
        .socket()
        .expect("TCP");
    let (stream, _) = session(&engine, "l").await;
    engine.drain();
    assert!(engine.snapshot().await.draining);
    assert_eq!(engine.drain_most(), Duration::from_secs(31));
    tokio::select! {
        biased;
        () = engine.drained() => panic!("a session is under way"),
        () = tokio::task::yield_now() => {}
    }
    end(stream).await;
    engine.drained().await;
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens");
}

#[tokio::test]
async fn a_udp_listener_takes_new_settings_on_its_old_sockets() {
    let echo = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let backend = echo.local_addr().expect("an address");
    tokio::spawn(async move {
        let mut bytes = [0; 64];
        while let Ok((length, from)) = echo.recv_from(&mut bytes).await {
            let _ = echo.send_to(&bytes[..length], from).await;
        }
    });
    let file = |rest: &str| {
        config(&format!(
            "[[pool]]\nname = \"p\"\nscheduler = \"random\"\nbackends = [{{ name = \"a\", address = \"{backend}\" }}]\n\
             [[listener]]\nname = \"l\"\nprotocol = \"udp\"\nlisten = \"127.0.0.1:0\"\npool = \"p\"\n{rest}\n"
        ))
    };
    let mut engine = started(file("")).await;
    let address = engine.address("l").cloned().expect("a listener");
    let client = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    client
        .connect(address.socket().expect("UDP"))
        .await
        .expect("connected");
    for rest in ["", "idle_timeout = \"5s\"", "one_packet = true"] {
        engine.reload(file(rest)).await.expect("changed");
        client.send(b"hello").await.expect("sent");
        let mut answer = [0; 64];
        assert_eq!(client.recv(&mut answer).await.expect("echoed"), 5);
    }
    assert_eq!(engine.address("l"), Some(&address));
    // A datagram is counted after it is sent: its receiver may look first.
    while figures(&mut engine, "l").await.bytes_out < 15 {
        tokio::task::yield_now().await;
    }
    let figures = figures(&mut engine, "l").await;
    assert_eq!((figures.bytes_in, figures.bytes_out), (15, 15));
}
