//! A host with one TCP connection: smoltcp's stack, over a queue of packets each way.

use std::cell::Cell;
use std::collections::VecDeque;
use std::net::SocketAddr;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

/// How a host's TCP is set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Bytes of its receive buffer, from which its window scale follows: 65,535 is 0.
    pub(crate) buffer: usize,
    pub(crate) timestamps: bool,
    pub(crate) mtu: usize,
}

pub(crate) struct Host {
    interface: Interface,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    pub(crate) wire: Wire,
    pub(crate) address: SocketAddr,
    timestamps: bool,
    /// What it has yet to send, and whether its side is closed behind that.
    sending: VecDeque<u8>,
    close: bool,
    pub(crate) received: Vec<u8>,
}

/// What waits to be received, and what was sent.
pub(crate) struct Wire {
    pub(crate) arrived: VecDeque<Vec<u8>>,
    pub(crate) sent: VecDeque<Vec<u8>>,
    mtu: usize,
}

thread_local! {
    /// smoltcp asks a bare function for its timestamps.
    static CLOCK: Cell<u32> = const { Cell::new(0) };
}

impl Host {
    pub(crate) fn new(address: SocketAddr, options: Options) -> Self {
        let mut wire = Wire {
            arrived: VecDeque::new(),
            sent: VecDeque::new(),
            mtu: options.mtu,
        };
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = u64::from(address.port());
        let mut interface = Interface::new(config, &mut wire, Instant::ZERO);
        let ip = IpAddress::from(address.ip());
        interface.update_ip_addrs(|them| {
            them.push(IpCidr::new(ip, 0)).unwrap();
        });
        // Everybody else is on the link.
        let mut sockets = SocketSet::new(Vec::new());
        let buffer = || tcp::SocketBuffer::new(vec![0; options.buffer]);
        let socket = sockets.add(tcp::Socket::new(buffer(), buffer()));
        let host = Self {
            interface,
            sockets,
            socket,
            wire,
            address,
            timestamps: options.timestamps,
            sending: VecDeque::new(),
            close: false,
            received: Vec::new(),
        };
        host.with_clock()
    }

    fn with_clock(mut self) -> Self {
        if self.timestamps {
            self.socket().set_tsval_generator(Some(|| CLOCK.get()));
        }
        self.socket().set_ack_delay(None);
        self
    }

    fn socket(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.socket)
    }

    pub(crate) fn listen(&mut self) {
        let port = self.address.port();
        self.socket().listen(port).unwrap();
    }

    pub(crate) fn connect(&mut self, to: SocketAddr) {
        let port = self.address.port();
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(self.socket);
        socket.connect(self.interface.context(), to, port).unwrap();
    }

    /// Sends all of this, and then closes its side.
    pub(crate) fn send_and_close(&mut self, data: &[u8]) {
        self.sending.extend(data);
        self.close = true;
    }

    pub(crate) fn abort(&mut self) {
        self.socket().abort();
    }

    pub(crate) fn state(&mut self) -> tcp::State {
        self.socket().state()
    }

    /// Takes what has arrived and says what it has to say.
    pub(crate) fn poll(&mut self, micros: i64) {
        // Another clock than the other host's, in milliseconds.
        let skew = u32::from(self.address.port()) << 16;
        CLOCK.set(u32::try_from(micros / 1_000).unwrap().wrapping_add(skew));
        let now = Instant::from_micros(micros);
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
        self.exchange();
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
    }

    fn exchange(&mut self) {
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(self.socket);
        while socket.can_recv() {
            let received = &mut self.received;
            socket
                .recv(|bytes| {
                    received.extend_from_slice(bytes);
                    (bytes.len(), ())
                })
                .unwrap();
        }
        if socket.can_send() && !self.sending.is_empty() {
            let sent = socket.send_slice(self.sending.make_contiguous()).unwrap();
            self.sending.drain(..sent);
        }
        if self.close && self.sending.is_empty() && socket.may_send() {
            socket.close();
            self.close = false;
        }
    }

    /// When it has something to do by itself, in microseconds.
    pub(crate) fn poll_at(&mut self, micros: i64) -> Option<i64> {
        let now = Instant::from_micros(micros);
        let at = self.interface.poll_at(now, &self.sockets)?;
        Some(at.total_micros())
    }
}

impl Device for Wire {
    type RxToken<'a> = Arrived;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Arrived, Sending<'_>)> {
        let packet = self.arrived.pop_front()?;
        Some((Arrived(packet), Sending(&mut self.sent)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sending<'_>> {
        Some(Sending(&mut self.sent))
    }

    /// Checksums are made and looked at by the stack.
    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        capabilities
    }
}

pub(crate) struct Arrived(Vec<u8>);

impl phy::RxToken for Arrived {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

pub(crate) struct Sending<'a>(&'a mut VecDeque<Vec<u8>>);

impl phy::TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = vec![0; len];
        let result = f(&mut packet);
        self.0.push_back(packet);
        result
    }
}
