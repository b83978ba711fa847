//! How TLS is spoken with the clients of a listener.

use std::sync::Arc;

use lb_keyserver::rustls::remote_provider;
use lb_l7::tls::{self as library, Alpn, TicketKey, TicketKeys, TlsConfig, TlsError};

use crate::config::{SharedKey, Tickets, Tls};

/// What signs tickets, kept from file to file as long as it may be.
#[derive(Clone, Debug, Default)]
pub(super) struct Ring(Option<(Tickets, Arc<TicketKeys>)>);

impl Ring {
    /// The ring for these tickets: the same, where only its keys are others.
    fn next(&self, to: &Tickets) -> Result<Self, TlsError> {
        let keys = match (&self.0, to) {
            (_, Tickets::Off) => return Ok(Self(None)),
            (Some((Tickets::Own, keys)), Tickets::Own) => Arc::clone(keys),
            (_, Tickets::Own) => Arc::new(TicketKeys::random(TicketKeys::EVERY)?),
            (Some((Tickets::Shared(known), keys)), Tickets::Shared(now)) if known == now => {
                Arc::clone(keys)
            }
            (_, Tickets::Shared(now)) => Arc::new(shared(now)?),
        };
        Ok(Self(Some((to.clone(), keys))))
    }

    fn tickets(&self) -> library::Tickets {
        match &self.0 {
            Some((_, keys)) => library::Tickets::Shared(Arc::clone(keys)),
            None => library::Tickets::Off,
        }
    }
}

/// The first seals, and all open.
fn shared(keys: &[SharedKey]) -> Result<TicketKeys, TlsError> {
    let mut keys = keys.iter().map(|shared| shared.key.clone());
    let newest = match keys.next() {
        Some(newest) => newest,
        // The parser lets no empty list through.
        None => TicketKey::random()?,
    };
    Ok(TicketKeys::shared(newest, keys))
}

/// What the library is told, and the ring that goes with it.
pub(super) fn made(
    from: &Tls,
    speaks_http2: bool,
    known: &Ring,
) -> Result<(library::Tls, Ring), String> {
    let told = |error: &dyn std::fmt::Display| error.to_string();
    let ring = known.next(&from.tickets).map_err(|e| told(&e))?;
    let alpn = [Alpn::Http2, Alpn::Http1];
    let policy = from.policy().map_err(|e| told(&e))?;
    let policy = match from.remote_keys().next() {
        // A handshake that waits for its signature is repeated when it is there.
        Some(_) => policy.map_provider(remote_provider),
        None => policy,
    };
    let config = TlsConfig::default()
        .policy(policy)
        .client_auth(from.client_auth().map_err(|e| told(&e))?)
        .alpn(if speaks_http2 { &alpn[..] } else { &alpn[1..] })
        .tickets(ring.tickets());
    let tls = library::Tls::new(from.certificates(), config).map_err(|e| told(&e))?;
    Ok((tls, ring))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Target};

    /// The TLS of a listener that says this of its tickets.
    fn tls(tickets: &str) -> Tls {
        let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).expect("made");
        let text = format!(
            "[[listener]]\nname = \"l\"\nprotocol = \"https\"\nlisten = \"127.0.0.1:1\"\n\
             rule = [{{ respond = {{ status = 200 }} }}]\n{tickets}\n\
             certificates = [{{ cert = '''\n{}''', key = '''\n{}''' }}]\n",
            made.cert.pem(),
            made.signing_key.serialize_pem(),
        );
        let mut config = config::parse(&text).expect("good").config;
        match config.listeners.remove(0).target {
            Target::Http(http) => http.tls.expect("TLS"),
            other => panic!("{other:?}"),
        }
    }

    fn next(ring: &Ring, tickets: &str) -> Ring {
        made(&tls(tickets), true, ring).expect("made").1
    }

    fn same(left: &Ring, right: &Ring) -> bool {
        match (&left.0, &right.0) {
            (Some((_, left)), Some((_, right))) => Arc::ptr_eq(left, right),
            (left, right) => left.is_none() && right.is_none(),
        }
    }

    #[test]
    fn the_ring_stays_while_its_keys_do() {
        let path = |name: &str, byte: u8| {
            let name = format!("clb-ticket-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::write(&path, [byte; 48]).expect("written");
            path.display().to_string()
        };
        let (one, two) = (path("one", 1), path("two", 2));
        let own = next(&Ring::default(), "");
        assert!(same(&own, &next(&own, "tickets = true")));
        let shared = next(&own, &format!("tickets = [\"{one}\"]"));
        assert!(!same(&own, &shared));
        assert!(same(
            &shared,
            &next(&shared, &format!("tickets = [\"{one}\"]"))
        ));
        let both = next(&shared, &format!("tickets = [\"{two}\", \"{one}\"]"));
        assert!(!same(&shared, &both));
        assert!(!same(&both, &next(&both, "")));
        assert!(next(&both, "tickets = false").0.is_none());
        for path in [one, two] {
            let _ = std::fs::remove_file(path);
        }
    }
}
