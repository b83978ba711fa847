//! Keys in a hardware module, by PKCS #11 (OASIS, 2.40 and 3.0).
//!
//! The module is a shared library from the maker of the hardware, loaded into this process; SoftHSM
//! is one without hardware. A private key does not leave it: it is asked for each signature.

mod emit;
mod mechanism;
mod token;
mod worker;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use cryptoki::error::{Error, RvError};
use cryptoki::session::Session;
use zeroize::Zeroizing;

use self::token::{Found, Reach};
use self::worker::Workers;
use super::{Input, KeyStore, Reloaded, SignFailure, SigningKey};
use crate::public_key::PublicKey;
use crate::scheme::Scheme;
use crate::ski::Ski;

/// The keys of one token.
///
/// All private keys that may sign are served if their public half can be found: in the key itself,
/// or in a public key or a certificate with the same CKA_ID. A key that asks for the PIN at each
/// signature is not.
///
/// The library talks to a token from threads of its own, which hold a session each; whoever asks for
/// a signature waits for one of them, [`within`](Pkcs11Config::within) at most. A session that has
/// ended, as when a token was taken out and put back, is opened anew, once for a signature. A PIN that
/// the token refuses is never given to it again, since a token locks itself after a few: what helps is
/// another store.
///
/// Several stores may share a module and a token.
pub struct Pkcs11Store {
    reach: Arc<Reach>,
    workers: Arc<Workers>,
    picture: ArcSwap<Picture>,
    reloading: Mutex<()>,
}

type Picture = HashMap<Ski, Arc<Pkcs11Key>>;

impl Pkcs11Store {
    /// Loads the module, logs in to the token, and finds its keys; each of them signs once, to show
    /// that it and its public half belong together.
    ///
    /// Blocks for as long as the token takes.
    ///
    /// # Errors
    ///
    /// When the module cannot be loaded, there is no such token, it refuses the PIN, or a key is not
    /// that of its public half.
    pub fn open(config: Pkcs11Config) -> Result<Self, Pkcs11Error> {
        let reach = Arc::new(Reach::new(config)?);
        // Before the threads, so that a bad PIN is tried once and not by each.
        let session = reach.open()?;
        let workers = Workers::start(&reach).map_err(Pkcs11Error::Thread)?;
        let store = Self {
            reach,
            workers: Arc::new(workers),
            picture: ArcSwap::default(),
            reloading: Mutex::new(()),
        };
        store.take_up(&session)?;
        Ok(store)
    }

    /// Looks for the token's keys again, and takes all of them up at once or none.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); the keys then stay as they were.
    pub fn reload(&self) -> Result<Reloaded, Pkcs11Error> {
        self.take_up(&self.reach.open()?)
    }

    fn take_up(&self, session: &Session) -> Result<Reloaded, Pkcs11Error> {
        let _alone = self
            .reloading
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let old = self.picture.load_full();
        let (found, mut ignored) = token::keys(session)?;
        let mut next = Picture::new();
        for found in found {
            let ski = found.public.ski();
            if let Some(key) = old.get(&ski) {
                next.insert(ski, Arc::clone(key));
            } else if prove(session, &found)? {
                let key = Pkcs11Key {
                    public: found.public,
                    workers: Arc::clone(&self.workers),
                };
                next.insert(ski, Arc::new(key));
            } else {
                ignored += 1;
            }
        }
        let reloaded = Reloaded::between(&old, &next, ignored);
        self.picture.store(Arc::new(next));
        Ok(reloaded)
    }
}

impl KeyStore for Pkcs11Store {
    fn key(&self, ski: &Ski) -> Option<Arc<dyn SigningKey>> {
        let picture = self.picture.load();
        Some(Arc::<Pkcs11Key>::clone(picture.get(ski)?))
    }

    fn names(&self) -> Vec<Ski> {
        self.picture.load().keys().copied().collect()
    }
}

impl fmt::Debug for Pkcs11Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pkcs11Store")
            .field("config", self.reach.config())
            .field("keys", &self.picture.load().len())
            .finish_non_exhaustive()
    }
}

/// A private key on a token.
struct Pkcs11Key {
    public: PublicKey,
    workers: Arc<Workers>,
}

impl SigningKey for Pkcs11Key {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, scheme: Scheme, input: Input<'_>) -> Result<Vec<u8>, SignFailure> {
        if scheme.kind() != self.public.kind() {
            return Err(SignFailure::Crypto);
        }
        let payload = mechanism::payload(scheme, input).ok_or(SignFailure::Crypto)?;
        let raw = self.workers.sign(self.public.ski(), scheme, payload)?;
        mechanism::signature(scheme, raw).ok_or(SignFailure::Crypto)
    }
}

impl fmt::Debug for Pkcs11Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pkcs11Key")
            .field("ski", &self.public.ski())
            .field("kind", &self.public.kind())
            .finish_non_exhaustive()
    }
}

/// Which token, and how to use it.
///
/// # Examples
///
/// ```
/// use lb_keyserver::store::pkcs11::{Pkcs11Config, Token};
/// use zeroize::Zeroizing;
///
/// let pin = Zeroizing::new("1234".to_owned());
/// let config = Pkcs11Config::new("/usr/lib/softhsm/libsofthsm2.so", Token::Label("edge".into()), pin)
///     .threads(2);
/// assert!(!format!("{config:?}").contains("1234"));
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct Pkcs11Config {
    /// The maker's shared library. It runs with all rights of this process.
    pub module: PathBuf,
    /// The token.
    pub token: Token,
    /// The PIN of the token's normal user. Where it comes from, such as a file that only this user
    /// may read, is the program's matter.
    pub pin: Zeroizing<String>,
    /// How many signatures are made at a time; one at least. [`THREADS`](Self::THREADS) by default.
    pub threads: usize,
    /// How long to wait for a signature. [`WITHIN`](Self::WITHIN) by default.
    pub within: Duration,
}

impl Pkcs11Config {
    /// Threads by default: hardware that signs several at a time seldom does more.
    pub const THREADS: usize = 4;
    /// The time for a signature by default: as long as a handshake waits for it, too.
    pub const WITHIN: Duration = crate::sign::SignRequest::WITHIN;

    /// Uses that token by that module.
    #[must_use]
    pub fn new(module: impl Into<PathBuf>, token: Token, pin: Zeroizing<String>) -> Self {
        Self {
            module: module.into(),
            token,
            pin,
            threads: Self::THREADS,
            within: Self::WITHIN,
        }
    }

    /// Sets [`threads`](Self::threads).
    #[must_use]
    pub fn threads(self, threads: usize) -> Self {
        Self { threads, ..self }
    }

    /// Sets [`within`](Self::within).
    #[must_use]
    pub fn within(self, within: Duration) -> Self {
        Self { within, ..self }
    }
}

impl fmt::Debug for Pkcs11Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pkcs11Config")
            .field("module", &self.module)
            .field("token", &self.token)
            .field("threads", &self.threads)
            .field("within", &self.within)
            .finish_non_exhaustive()
    }
}

/// How a token is found again.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Token {
    /// By the label that it was initialised with, without the blanks at its end.
    Label(String),
    /// By the number of its slot, which some modules change when they start.
    Slot(u64),
}

/// Why the keys of a token cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Pkcs11Error {
    /// A key made a signature that its public half does not verify: two pairs share a CKA_ID.
    #[error("the private key of {ski} does not belong to its public key: do two share one ID?")]
    Mismatch {
        /// The public half's name.
        ski: Ski,
    },
    /// The key is no longer there.
    #[error("the key is no longer on the token")]
    NoKey,
    /// No slot has the token in it.
    #[error("the token is not there")]
    NoToken,
    /// The token refused the PIN, or had refused it before.
    #[error("the token refuses the PIN; it is not tried again, as that would lock the token")]
    Pin,
    /// The threads could not be started.
    #[error("no thread for the token: {0}")]
    Thread(#[source] io::Error),
    /// The module or the token has a fault.
    #[error("the PKCS #11 module: {0}")]
    Token(#[from] Error),
    /// Two tokens have that label.
    #[error("two tokens have that label: name the slot")]
    TwoTokens,
}

/// Whether a key can sign at all; an error if its signature is not its public half's.
fn prove(session: &Session, found: &Found) -> Result<bool, Pkcs11Error> {
    for scheme in found.public.kind().schemes() {
        let digest = scheme.hash().map(|hash| hash.digest(PROOF));
        let input = digest.as_ref().map_or(Input::Message(PROOF), |digest| {
            Input::Digest(digest.as_ref())
        });
        let Some(payload) = mechanism::payload(*scheme, input) else {
            continue;
        };
        match session.sign(&mechanism::mechanism(*scheme), found.handle, &payload) {
            Ok(raw) => {
                let signature = mechanism::signature(*scheme, raw).unwrap_or_default();
                let ski = found.public.ski();
                return match found.public.verifies(*scheme, PROOF, &signature) {
                    true => Ok(true),
                    false => Err(Pkcs11Error::Mismatch { ski }),
                };
            }
            // The token does not have the mechanism, and may have the next.
            Err(Error::Pkcs11(RvError::MechanismInvalid | RvError::MechanismParamInvalid, _)) => {}
            Err(other) => return Err(other.into()),
        }
    }
    Ok(false)
}

/// What a key signs to show whose it is. TLS signs nothing as short: 1.3 puts 64 blanks before what it
/// signs (RFC 8446, 4.4.3), and 1.2 two randoms of 32 bytes (RFC 5246, 7.4.3).
const PROOF: &[u8] = b"lb-keyserver: which public key is this one's?";
