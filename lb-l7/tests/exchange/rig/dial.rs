//! Connections to backends of this process.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

use lbcore::backend::Address;
use lbcore::connect::Connect;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;

/// What becomes of the next connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Door {
    Refused,
    Silent,
}

/// Hands the other end of each connection to the test.
#[derive(Clone)]
pub(crate) struct Dial {
    accepted: mpsc::UnboundedSender<(String, DuplexStream)>,
    doors: Arc<Mutex<VecDeque<Door>>>,
    pipe: usize,
}

impl Dial {
    pub(crate) fn new(pipe: usize) -> (Self, mpsc::UnboundedReceiver<(String, DuplexStream)>) {
        let (accepted, receiver) = mpsc::unbounded_channel();
        let dial = Self {
            accepted,
            doors: Arc::default(),
            pipe,
        };
        (dial, receiver)
    }

    /// What the next connections meet, one after the other; those behind are open.
    pub(crate) fn meet(&self, doors: &[Door]) {
        self.doors.lock().unwrap().extend(doors);
    }
}

impl Connect for Dial {
    type Stream = DuplexStream;

    async fn connect(&self, address: &Address) -> io::Result<DuplexStream> {
        let door = self.doors.lock().unwrap().pop_front();
        match door {
            Some(Door::Refused) => return Err(io::ErrorKind::ConnectionRefused.into()),
            Some(Door::Silent) => std::future::pending().await,
            None => {}
        }
        let (near, far) = tokio::io::duplex(self.pipe);
        let gone = |_| io::Error::from(io::ErrorKind::ConnectionRefused);
        self.accepted
            .send((address.to_string(), far))
            .map_err(gone)?;
        Ok(near)
    }
}
