//! The ports that are taken or at rest, by backend end.

use std::collections::HashMap;
use std::net::SocketAddr;

use lbcore::flow::Protocol;

use super::config::MOST_ADDRESSES;
use crate::method::fullnat::port_set::PortSet;

/// One local end of one backend end, as it is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Port {
    /// The number of the backend end.
    pub(super) end: u32,
    /// The place of the address among those of its family.
    pub(super) address: u8,
    /// Counted from the first port of this worker.
    pub(super) number: u16,
}

/// Every backend end for which a port is taken or at rest. Such an end has a number, which another
/// one gets when it has none any more.
#[derive(Debug, Default)]
pub(super) struct Ends {
    by_end: HashMap<(Protocol, SocketAddr), u32>,
    spaces: Vec<Space>,
    /// Places in `spaces` that no backend end has.
    vacant: Vec<u32>,
}

impl Ends {
    pub(super) fn len(&self) -> usize {
        self.by_end.len()
    }

    pub(super) fn number(&self, protocol: Protocol, backend: SocketAddr) -> Option<u32> {
        self.by_end.get(&(protocol, backend)).copied()
    }

    pub(super) fn end(&self, number: u32) -> Option<(Protocol, SocketAddr)> {
        Some(self.spaces.get(number as usize)?.end)
    }

    /// The number of a backend end, which gets one if it has none.
    pub(super) fn enter(&mut self, protocol: Protocol, backend: SocketAddr) -> u32 {
        let end = (protocol, backend);
        if let Some(number) = self.by_end.get(&end) {
            return *number;
        }
        let new = Space {
            end,
            full: 0,
            sets: Vec::new(),
        };
        let place = self.vacant.pop();
        let vacant = place.and_then(|place| Some((place, self.spaces.get_mut(place as usize)?)));
        let place = if let Some((place, vacant)) = vacant {
            *vacant = new;
            place
        } else {
            self.spaces.push(new);
            // Each has a port, of which there are no more than fit in memory.
            u32::try_from(self.spaces.len() - 1).unwrap_or(u32::MAX)
        };
        self.by_end.insert(end, place);
        place
    }

    /// Forgets a backend end for which no port is taken or at rest.
    pub(super) fn leave(&mut self, number: u32) {
        let Some(empty) = self.spaces.get(number as usize) else {
            return;
        };
        if empty.sets.is_empty() && self.by_end.remove(&empty.end).is_some() {
            self.vacant.push(number);
        }
    }

    /// An address with a free port there, of so many: the one that `hash` says, or the next one.
    pub(super) fn with_room(&self, number: u32, addresses: usize, hash: u64) -> Option<u8> {
        let full = self.spaces.get(number as usize)?.full;
        with_room(full, addresses, hash)
    }

    /// The next free port there from `from` on, below `len` and around it.
    pub(super) fn free_from(&self, number: u32, address: u8, from: u32, len: u32) -> Option<u32> {
        let mut sets = self.spaces.get(number as usize)?.sets.iter();
        match sets.find(|(of, _)| *of == address) {
            Some((_, set)) => set.used.free_from(from, len),
            None => Some(from),
        }
    }

    /// Takes a port, of so many on its address; whether it was free.
    pub(super) fn take(&mut self, port: Port, len: u32) -> bool {
        let Some(space) = self.spaces.get_mut(port.end as usize) else {
            return false;
        };
        let set = space.set(port.address);
        let taken = set.used.take(port.number.into());
        if set.used.len() == len {
            space.full |= 1 << port.address;
        }
        taken
    }

    /// Takes a port that is free or at rest; whether it could. One that is claimed at rest a second
    /// time, before its first rest would have been over, is not.
    pub(super) fn claim(&mut self, port: Port, len: u32) -> bool {
        let number = port.number.into();
        if let Some(space) = self.spaces.get_mut(port.end as usize)
            && let Some((_, set)) = space.sets.iter_mut().find(|(of, _)| *of == port.address)
            && set.resting.contains(number)
            && set.disturbed.take(number)
        {
            return set.resting.free(number);
        }
        self.take(port, len)
    }

    /// Gives a port free whose rest is over, unless it was claimed meanwhile.
    pub(super) fn wake(&mut self, port: Port) {
        if let Some(space) = self.spaces.get_mut(port.end as usize)
            && space.set(port.address).disturbed.free(port.number.into())
        {
            space.forget_unused(port.address);
            self.leave(port.end);
            return;
        }
        self.free(port);
    }

    /// Whether a session has this port.
    pub(super) fn is_taken(&self, port: Port) -> bool {
        let set_of = || {
            let mut sets = self.spaces.get(port.end as usize)?.sets.iter();
            Some(&sets.find(|(of, _)| *of == port.address)?.1)
        };
        let number = port.number.into();
        set_of().is_some_and(|set| set.used.contains(number) && !set.resting.contains(number))
    }

    /// Lets a port that is taken rest.
    pub(super) fn rest(&mut self, port: Port) {
        if let Some(space) = self.spaces.get_mut(port.end as usize) {
            space.set(port.address).resting.take(port.number.into());
        }
    }

    /// Gives a port free that is taken or at rest.
    pub(super) fn free(&mut self, port: Port) {
        let Some(space) = self.spaces.get_mut(port.end as usize) else {
            return;
        };
        let set = space.set(port.address);
        set.used.free(port.number.into());
        set.resting.free(port.number.into());
        space.full &= !(1 << port.address);
        space.forget_unused(port.address);
        self.leave(port.end);
    }
}

/// The local ends of one backend end.
#[derive(Debug)]
struct Space {
    end: (Protocol, SocketAddr),
    /// Which addresses have no free port.
    full: u64,
    /// By address, those with a port that is taken or at rest.
    sets: Vec<(u8, Set)>,
}

impl Space {
    fn set(&mut self, address: u8) -> &mut Set {
        let place = match self.sets.iter().position(|(of, _)| *of == address) {
            Some(place) => place,
            None => {
                self.sets.push((address, Set::default()));
                self.sets.len() - 1
            }
        };
        #[expect(clippy::indexing_slicing, reason = "found or pushed just now")]
        &mut self.sets[place].1
    }

    fn forget_unused(&mut self, address: u8) {
        let is_used = |set: &Set| set.used.len() > 0 || set.disturbed.len() > 0;
        self.sets.retain(|(of, set)| *of != address || is_used(set));
    }
}

/// The ports of one local address towards one backend end.
#[derive(Debug, Default)]
struct Set {
    /// Those taken and those at rest.
    used: PortSet,
    resting: PortSet,
    /// Those that were claimed out of their rest, of which the end is still to come.
    disturbed: PortSet,
}

/// An address that is not full: the one that `hash` says, or the next one.
fn with_room(full: u64, addresses: usize, hash: u64) -> Option<u8> {
    let all = u64::MAX >> (MOST_ADDRESSES - addresses.min(MOST_ADDRESSES));
    let room = all & !full;
    // The high bits, as those who place by hash take the low ones.
    let wanted = (hash >> 32) % addresses as u64;
    let behind = room & (u64::MAX << wanted);
    let address = if behind == 0 { room } else { behind }.trailing_zeros();
    u8::try_from(address).ok().filter(|_| room != 0)
}
