//! Greets each client by its own address, behind a forwarder that rewrites sources (FULLNAT).
//!
//! `toa 0.0.0.0:8080 10.0.0.100` believes what 10.0.0.100, a local address of the forwarder, tells in
//! the option TOA of a SYN, and nobody else.
#![expect(clippy::print_stdout, reason = "it says whom it serves")]
#![expect(clippy::print_stderr, reason = "and whom it could not serve")]

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use lb_l4::toa;
use lbcore::address_list::{AddressRules, Prefix};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let address = words.next().ok_or("usage: toa ADDRESS:PORT NODE...")?;
    let nodes: Vec<Prefix> = words.map(|it| it.parse()).collect::<Result<_, _>>()?;
    if nodes.is_empty() {
        return Err("no node is named, and rules that name none would believe everyone".into());
    }
    let nodes = AddressRules::new(nodes, []);
    let listener = TcpListener::bind(address)?;
    toa::keep_syn(&listener)?;
    loop {
        let (socket, peer) = listener.accept()?;
        if let Err(error) = greet(socket, peer, &nodes) {
            eprintln!("{peer}: {error}");
        }
    }
}

fn greet(mut socket: TcpStream, peer: SocketAddr, nodes: &AddressRules) -> io::Result<()> {
    let client = toa::client_of(&socket, nodes)?.unwrap_or(peer);
    println!("{client} by way of {peer}");
    writeln!(socket, "hello, {client}")
}
