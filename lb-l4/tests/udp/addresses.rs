//! From which address, and over which protocol.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use lb_l4::stream::udp::{UdpBalancer, UdpBindError, UdpConfig, UdpService, UdpSettings};
use lbcore::schedule::RoundRobin;

use crate::harness::{Running, client, echo, exchange, pool, receive, socket};

/// Asks at `local`, and gives the address that the answer came from.
fn ask(running: &Running, backend: &UdpSocket, client: &UdpSocket, local: &str) -> SocketAddr {
    let local: IpAddr = local.parse().unwrap();
    client
        .send_to(b"question", (local, running.address.port()))
        .unwrap();
    echo(backend);
    let mut bytes = [0; 99];
    let (len, from) = client.recv_from(&mut bytes).unwrap();
    assert_eq!(&bytes[..len], b"question");
    from
}

#[test]
fn at_a_wildcard_answers_come_from_the_address_that_was_asked() {
    let backend = socket("127.0.0.1");
    let running = Running::start("0.0.0.0:0", pool(&[&backend]));
    let client = socket("127.0.0.1");
    for local in ["127.0.0.1", "127.0.0.7", "127.0.0.8", "127.0.0.7"] {
        let from = ask(&running, &backend, &client, local);
        assert_eq!(
            from,
            SocketAddr::new(local.parse().unwrap(), running.address.port())
        );
    }
    // One client, three addresses asked.
    running.settles(|it| (it.datagrams_out, it.sessions.began), (4, 3));
}

#[test]
fn a_wildcard_of_ipv6_serves_both_protocols() {
    let backend = socket("127.0.0.1");
    let running = Running::start("[::]:0", pool(&[&backend]));
    let from = ask(&running, &backend, &socket("::1"), "::1");
    assert_eq!(from.ip(), "::1".parse::<IpAddr>().unwrap());
    let from = ask(&running, &backend, &socket("127.0.0.1"), "127.0.0.9");
    assert_eq!(from.ip(), "127.0.0.9".parse::<IpAddr>().unwrap());
}

#[test]
fn a_client_of_ipv6_reaches_a_backend_of_either_protocol() {
    for address in ["127.0.0.1", "::1"] {
        let backend = socket(address);
        let running = Running::start("[::1]:0", pool(&[&backend]));
        exchange(&client(running.address), &backend, b"hello");
    }
}

#[test]
fn clients_at_one_address_are_told_apart_by_their_ports() {
    let backend = socket("127.0.0.1");
    let running = Running::start("127.0.0.1:0", pool(&[&backend]));
    let clients = [client(running.address), client(running.address)];
    for it in &clients {
        it.send(it.local_addr().unwrap().to_string().as_bytes())
            .unwrap();
    }
    assert_ne!(echo(&backend), echo(&backend));
    for it in &clients {
        assert_eq!(receive(it), it.local_addr().unwrap().to_string().as_bytes());
    }
}

#[test]
fn sockets_of_the_callers_own_are_served_where_they_are_bound() {
    let backend = socket("127.0.0.1");
    let own = vec![socket("127.0.0.3"), socket("127.0.0.4")];
    let balancer = UdpBalancer::of_sockets(own, pool(&[&backend])).unwrap();
    let addresses = balancer.addresses().to_vec();
    let running = Running::of(balancer);
    for address in addresses {
        exchange(&client(address), &backend, b"hello");
    }
    running.until("both", |it| it.sessions.began == 2);
}

#[test]
fn a_socket_can_be_served_beside_the_others() {
    let backend = socket("127.0.0.1");
    let running = Running::start("127.0.0.1:0", pool(&[&backend]));
    let own = socket("127.0.0.6");
    let address = own.local_addr().unwrap();
    let handle = running.handle.clone();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let no_drain = UdpConfig::default().drain_timeout(std::time::Duration::ZERO);
        let nobody = UdpSettings::new(lbcore::Pool::new(RoundRobin)).config(no_drain);
        runtime.block_on(handle.serve_socket(own, async {
            drop(stopped.await);
            handle.update(nobody).unwrap();
        }))
    });
    exchange(&client(address), &backend, b"beside");
    exchange(&client(running.address), &backend, b"first");
    running.until("both", |it| it.sessions.began == 2);
    drop(stop);
    client(address).send(b"too late").unwrap();
    serving.join().unwrap().unwrap();
}

#[test]
fn a_port_that_somebody_has_is_refused_unless_it_is_to_be_shared() {
    let backend = socket("127.0.0.1");
    let service = |address: SocketAddr| UdpService::new(address, pool(&[&backend])).workers(2);
    let first = UdpBalancer::bind(service("127.0.0.1:0".parse().unwrap())).unwrap();
    let taken = first.addresses()[0];
    let error = UdpBalancer::bind(service(taken)).unwrap_err();
    assert!(
        matches!(&error, UdpBindError::Listen { address, error }
            if *address == taken && error.kind() == ErrorKind::AddrInUse),
        "{error}"
    );
    let second = UdpBalancer::bind(service(taken).share_port()).unwrap();
    assert_eq!(second.addresses(), [taken; 2]);
    drop((first, second));
    drop(UdpBalancer::bind(service(taken)).unwrap());
}
