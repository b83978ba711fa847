//! The laws of transports.

use lb_l4::packet::InterfaceId;
use lb_l4::transport::AfXdp;
use lb_l4::transport::af_xdp::{Attach, BusyPoll};
use lb_l4::transport::laws::transport_laws;

use crate::link::{open, small, veth};
use crate::namespace::Namespace;

fn end(interface: &str, attach: Attach) -> AfXdp {
    open(&small(interface).attach(attach)).pop().unwrap()
}

#[test]
fn rings_shared_with_a_driver_keep_the_laws() {
    let Some(_namespace) = Namespace::entered() else {
        return;
    };
    veth(1);
    transport_laws(|| (end("near", Attach::Native), end("far", Attach::Native)));
}

#[test]
fn rings_shared_with_the_kernel_keep_the_laws() {
    let Some(_namespace) = Namespace::entered() else {
        return;
    };
    veth(1);
    transport_laws(|| (end("near", Attach::Generic), end("far", Attach::Generic)));
}

#[test]
fn a_worker_that_runs_the_driver_keeps_the_laws() {
    let Some(_namespace) = Namespace::entered() else {
        return;
    };
    veth(1);
    let config = small("near")
        .number(InterfaceId(3))
        .busy_poll(BusyPoll::default());
    transport_laws(|| (open(&config).pop().unwrap(), end("far", Attach::Any)));
}
