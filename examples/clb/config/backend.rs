//! `backends = [ { … } ]`: the servers of a pool.

use lbcore::Backend;
use lbcore::backend::{Address, Admin};

use super::section::Section;

/// One backend; `None` if it cannot be told what it would be. Port 0 is the one that was asked for,
/// where packets are forwarded and nobody connects.
pub(super) fn read(section: &mut Section<'_>, keeps_ports: bool) -> Option<Backend> {
    let name = section.name();
    section.require("address", ADDRESS_FORM);
    let address = section.text_as("address", ADDRESS_FORM, |text| address(text, keeps_ports));
    let weight = section.integer("weight", 0..=u16::MAX);
    let priority = section.integer("priority", 0..=u8::MAX);
    let zone = section.text("zone", "the name of a zone");
    let max_connections = section.integer("max_connections", 0..=u32::MAX);
    let admin = section.choice("admin", "state", &ADMINS);
    let mut backend = Backend::new(name?, address?)
        .weight(weight.unwrap_or(1))
        .priority(priority.unwrap_or(0))
        .admin(admin.unwrap_or_default());
    if let Some(zone) = zone {
        backend = backend.zone(zone);
    }
    // As in the limits of listeners, 0 is none.
    if let Some(most) = max_connections.filter(|most| *most > 0) {
        backend = backend.max_connections(most);
    }
    Some(backend)
}

/// Where a backend may be: a port of its own, or an absolute path.
fn address(text: &str, keeps_ports: bool) -> Result<Address, String> {
    let address: Address = text
        .parse()
        .map_err(|_| format!("{text:?} is not an address, expected {ADDRESS_FORM}"))?;
    match &address {
        Address::Socket(socket) if socket.port() == 0 && !keeps_ports => {
            Err(format!("{text:?} has port 0, expected a port in 1..=65535"))
        }
        Address::Socket(socket) if socket.ip().is_unspecified() => Err(format!(
            "{text:?} names no host, expected the address of a backend"
        )),
        Address::Socket(_) => Ok(address),
        Address::Unix(path) => unix_path(path.to_str().unwrap_or_default()).map(|()| address),
        _ => Err(format!(
            "{text:?} lies within a process, expected {ADDRESS_FORM}"
        )),
    }
}

/// Whether `path` can name a Unix socket.
pub(super) fn unix_path(path: &str) -> Result<(), String> {
    if !path.starts_with('/') {
        return Err(format!(
            "\"unix:{path}\" is relative, expected an absolute path"
        ));
    }
    if path.len() > UNIX_MOST {
        let length = path.len();
        return Err(format!(
            "the path has {length} bytes, expected at most {UNIX_MOST}"
        ));
    }
    Ok(())
}

const ADMINS: [(&str, Admin); 3] = [
    ("ready", Admin::Ready),
    ("drain", Admin::Drain),
    ("maintenance", Admin::Maintenance),
];

pub(super) const ADDRESS_FORM: &str = "IP:PORT, [IPv6]:PORT or unix:/path";

/// `sun_path` has 108 bytes, one of which ends it (unix(7)).
const UNIX_MOST: usize = 107;
