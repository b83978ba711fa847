//! Takes packets out of their tunnels, as a server's kernel does whose tunnels are compiled in: a
//! TUN device of the given name gets the outer packets, and the inner ones come out of it.
#![forbid(unsafe_code)]

use lb_l4::Clock;
use lb_l4::method::tunnel::decapsulate;
use lb_l4::packet::{DropReason, Link, Packet, Verdict};
use lb_l4::transport::tun::{Offloading, TunConfig};
use lb_l4::transport::{Transport, Tun};
use lb_l4::wire::{Frame, parse};

fn main() -> std::io::Result<()> {
    let name = std::env::args().nth(1).expect("the name of the device");
    let config = TunConfig::default()
        .name(name)
        .mtu(MTU)
        .offloading(Offloading::Off);
    let mut tun = Tun::open(config)?;
    let clock = Clock::monotonic();
    loop {
        while tun.forward(|burst| burst.iter_mut().for_each(take_out))? > 0 {}
        tun.wait(clock.now(), None, &[])?;
    }
}

/// Outer packets of 1,500 bytes are the most that the segment has.
const MTU: usize = 1_500;

/// The port of GUE that `clb` sends to unless told otherwise.
const GUE: u16 = 6080;

fn take_out(packet: &mut Packet<'_>) {
    let inner = match parse(packet.bytes(), Link::Ip) {
        Ok(Frame::Ip(outer)) => decapsulate(packet, &outer, Some(GUE)).map_err(|it| it.reason()),
        Ok(_) => Err(DropReason::Unsupported),
        Err(error) => Err(error.reason()),
    };
    packet.set_verdict(match inner {
        Ok(_) => Verdict::Reply,
        Err(reason) => Verdict::Drop(reason),
    });
}
