//! Whether a question is answered with a signature.

use std::fmt;
use std::sync::Arc;

use lbcore::Instant;

use super::refusal::Refusal;
use crate::access::{AccessList, Denial, Identities};
use crate::mode::Mode;
use crate::question::{Question, ToSign};
use crate::quota::{Permit, Quotas};
use crate::store::{KeyStore, SigningKey};
use crate::wire::Opcode;

/// What decisions are made by: which keys there are, who may use which, and how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules<'a> {
    pub(crate) store: &'a dyn KeyStore,
    pub(crate) access: &'a AccessList,
    pub(crate) quotas: &'a Quotas,
}

/// A signature that is to be made.
pub(crate) struct Granted {
    pub(crate) key: Arc<dyn SigningKey>,
    pub(crate) to_sign: ToSign,
    #[expect(dead_code, reason = "held until there is an answer")]
    pub(crate) permit: Permit,
}

impl fmt::Debug for Granted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key.public_key().ski();
        f.debug_struct("Granted").field("key", &key).finish()
    }
}

/// The mode that a question counts as: one that shows its handshake is as good as strict on a
/// connection that did not have to.
pub(crate) fn mode_of(agreed: Mode, question: &Question<'_>) -> Mode {
    match question.opcode() {
        Opcode::STRICT_TLS12 | Opcode::STRICT_TLS13 => Mode::Strict,
        _ => agreed,
    }
}

/// Decides, in an order that tells a client nothing of keys that it may not use: first whether it
/// may, then whether the key is there, then whether what it wants signed is good, and last whether
/// it has anything left of its quota.
pub(crate) fn decide(
    now: Instant,
    rules: &Rules<'_>,
    client: &Identities,
    agreed: Mode,
    question: &Question<'_>,
) -> Result<Granted, Refusal> {
    let (ski, scheme) = (question.ski(), question.scheme());
    let mode = mode_of(agreed, question);
    let check = |name| rules.access.check(client, &ski, scheme, mode, name);
    // In the strict mode the name is in the handshake, which is read only for a client that may use
    // the key if the name is right.
    let grant = match mode {
        Mode::Strict => check(None).map(Some).or_else(|why| match why {
            Denial::ServerName => Ok(None),
            why => Err(why),
        })?,
        Mode::Plain | Mode::Bound => Some(check(question.server_name())?),
    };
    let key = rules.store.key(&ski).ok_or(Refusal::UnknownKey)?;
    let to_sign = question.to_sign(key.public_key())?;
    let grant = match (mode, grant) {
        (Mode::Plain | Mode::Bound, Some(grant)) => grant,
        _ => check(to_sign.server_name())?,
    };
    let permit = rules.quotas.take(now, &grant, &ski)?;
    Ok(Granted {
        key,
        to_sign,
        permit,
    })
}
