//! The file of `clb keyserver`: who may sign what, with which keys.

mod allow;
mod audit;
mod keys;
mod limits;
mod ski;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use lb_keyserver::Mode;
use lb_keyserver::access::{Identity, Rule};

pub(crate) use audit::Audit;
pub(crate) use keys::{Keys, Module};
pub(crate) use limits::Limits;
pub(crate) use ski::name_of;

use super::file::{self, Pem};
use super::remote_keys::{Identity as MutualTls, identity};
use super::section::Section;
use super::{Admin, DAY, Note, Parsed, Sockets};

/// All that the file of a key server says, checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KeyServer {
    /// Where nodes come in.
    pub(crate) listen: SocketAddr,
    /// Who this server is, and whose nodes it believes.
    pub(crate) identity: MutualTls,
    /// Which of their certificates are revoked. Default none.
    pub(crate) revoked_by: Option<Pem>,
    /// Names that are turned away, whatever their certificates say. Default none.
    pub(crate) revoked: Vec<Identity>,
    /// How nodes may ask. Default bound and strict.
    pub(crate) modes: Vec<Mode>,
    /// Where the keys are; at least one place.
    pub(crate) keys: Keys,
    /// Who may use which; what none of them allows nobody may.
    pub(crate) rules: Vec<Rule>,
    /// What is written of each signature. Default nothing.
    pub(crate) audit: Option<Audit>,
    /// Where metrics are served. Default nowhere.
    pub(crate) admin: Option<Admin>,
    /// How much nodes may ask at once.
    pub(crate) limits: Limits,
    /// Threads that sign. Default: one a core.
    pub(crate) signers: Option<NonZeroUsize>,
    /// How long answers may take that are awaited at the end. Default 10 s.
    pub(crate) drain_timeout: Duration,
}

/// Reads a whole file in `folder`, and checks all of it, and of the files that it names.
///
/// # Errors
///
/// Every mistake of the file, in its order.
pub(crate) fn parse_key_server_in(
    text: &str,
    folder: &Path,
) -> Result<Parsed<KeyServer>, Vec<Note>> {
    super::read_in(text, folder, whole)
}

/// The whole file.
fn whole(file: &mut Section<'_>) -> Option<KeyServer> {
    let mut sockets = Sockets::default();
    file.require("listen", ADDRESS_FORM);
    let listen = file.text_as("listen", ADDRESS_FORM, |text| {
        let address = text.parse::<SocketAddr>();
        address.map_err(|_| format!("{text:?} is not an address, expected {ADDRESS_FORM}"))
    });
    if let Some(listen) = listen {
        sockets.claim_for(file, listen, "nodes");
    }
    let identity = identity(file);
    let revoked_by = file::read(file, "crl");
    let revoked = file.texts("revoked", allow::IDENTITY_FORM, allow::identity);
    let modes = modes(file);
    let keys = keys::read(file);
    let rules = file.tables("allow", |section| allow::read(section, modes.as_deref()));
    if !file.has("allow") {
        file.odd("allow", "missing: nobody may sign anything");
    }
    if let (Some(lists), Some(identity)) = (&revoked_by, &identity)
        && let Err(error) = identity.made().clone().revoked_by(lists.bytes())
    {
        file.wrong("crl", lists.told(error.fault()));
    }
    let audit = file.table("audit", audit::read).flatten();
    let admin = file
        .table("admin", |section| super::admin(section, &mut sockets))
        .flatten();
    let limits = file.table("limits", limits::read).unwrap_or_default();
    let signers = file.integer("signers", 1..=SIGNERS_MOST);
    let drain_timeout = file.span("drain_timeout", Duration::ZERO..=DAY);
    Some(KeyServer {
        listen: listen?,
        identity: identity?,
        revoked_by,
        revoked: revoked.unwrap_or_default(),
        modes: modes?,
        keys: keys?,
        rules: rules.unwrap_or_default(),
        audit,
        admin,
        limits,
        signers: signers.and_then(|count| NonZeroUsize::new(count.into())),
        drain_timeout: drain_timeout.unwrap_or(DRAIN_TIMEOUT),
    })
}

/// How nodes may ask, the weakest first.
fn modes(file: &mut Section<'_>) -> Option<Vec<Mode>> {
    if !file.has("modes") {
        file.knows(&["modes"]);
        return Some(vec![Mode::Bound, Mode::Strict]);
    }
    let mut modes = file.texts("modes", "modes", mode)?;
    modes.sort();
    modes.dedup();
    if file.is_empty("modes") {
        file.wrong("modes", "empty, expected at least one mode");
    }
    (!modes.is_empty()).then_some(modes)
}

fn mode(text: &str) -> Result<Mode, String> {
    Mode::named(text).ok_or_else(|| {
        let names = || Mode::ALL.map(Mode::as_str);
        let meant = super::did_you_mean(text, names());
        format!(
            "unknown mode {text:?}, expected {}{meant}",
            super::one_of(names())
        )
    })
}

const ADDRESS_FORM: &str = "IP:PORT or [IPv6]:PORT";

/// As many as `workers` may be.
const SIGNERS_MOST: u16 = super::WORKERS_MOST;

/// Far longer than any signature takes, and shorter than a service manager's patience.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
