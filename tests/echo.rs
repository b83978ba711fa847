//! An echo server at the address it is given, with as many descriptors as the host allows; with a
//! name, it says that first on each connection.
#![forbid(unsafe_code)]

use harness::host;
use harness::server::{Behaviour, Server};

fn main() {
    let _ = host::raise_descriptors();
    let address = std::env::args().nth(1).expect("an address to listen at");
    let behaviour = std::env::args().nth(2);
    let behaviour = behaviour.map_or(Behaviour::Echo, Behaviour::Named);
    let _server = Server::tcp_at(address, behaviour);
    loop {
        std::thread::park();
    }
}
