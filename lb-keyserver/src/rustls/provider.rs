//! A crypto provider whose chance is taped.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::crypto::{
    ActiveKeyExchange, CompletedKeyExchange, CryptoProvider, GetRandomFailed, SecureRandom,
    SharedSecret, SupportedKxGroup,
};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::{
    CipherSuiteCommon, Error, NamedGroup, OtherError, ProtocolVersion, SupportedCipherSuite,
    SupportedProtocolVersion, Tls12CipherSuite, Tls13CipherSuite,
};
use zeroize::Zeroizing;

use super::schedule::TapedHkdf;
use super::tape::{self, Completed, Diverged, Started};
use super::transcript::TapedHash;

/// `inner`, so that a handshake with a [`RemoteKey`](super::RemoteKey) can be repeated.
///
/// Wraps the source of randomness, the key-exchange groups, and what the cipher suites hash and
/// derive by. A
/// configuration with remote keys must compute with it; everything else may, as outside of a
/// [`Handshake`](super::Handshake) it does what `inner` does, at the cost of one look at a thread
/// local.
///
/// rustls wants what a provider consists of to live for ever, so each wrapper is made once in the
/// life of the process, and given again when the same is asked for again: a configuration may be
/// loaded as often as one likes. What is wrapped already is left as it is.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
///
/// use lb_keyserver::rustls::remote_provider;
/// use rustls::ServerConfig;
/// use rustls::crypto::aws_lc_rs;
///
/// let provider = Arc::new(remote_provider(&aws_lc_rs::default_provider()));
/// let config = ServerConfig::builder_with_provider(provider)
///     .with_safe_default_protocol_versions()?;
/// # Ok::<(), rustls::Error>(())
/// ```
#[must_use]
pub fn remote_provider(inner: &CryptoProvider) -> CryptoProvider {
    let mut wrappers = WRAPPERS.lock().unwrap_or_else(PoisonError::into_inner);
    let groups = inner.kx_groups.iter();
    let suites = inner.cipher_suites.iter();
    CryptoProvider {
        secure_random: wrappers.random(inner.secure_random),
        kx_groups: groups.map(|group| wrappers.group(*group)).collect(),
        cipher_suites: suites.map(|suite| wrappers.suite(*suite)).collect(),
        ..inner.clone()
    }
}

/// Every wrapper of this process, beside what it wraps.
struct Wrappers {
    randoms: Vec<Pair<dyn SecureRandom>>,
    groups: Vec<Pair<dyn SupportedKxGroup>>,
    tls12: Vec<Pair<Tls12CipherSuite>>,
    tls13: Vec<Pair<Tls13CipherSuite>>,
}

type Pair<T> = (&'static T, &'static T);

static WRAPPERS: Mutex<Wrappers> = Mutex::new(Wrappers {
    randoms: Vec::new(),
    groups: Vec::new(),
    tls12: Vec::new(),
    tls13: Vec::new(),
});

impl Wrappers {
    fn random(&mut self, inner: &'static dyn SecureRandom) -> &'static dyn SecureRandom {
        interned(&mut self.randoms, inner, || {
            Box::leak(Box::new(TapedRandom(inner)))
        })
    }

    fn group(&mut self, inner: &'static dyn SupportedKxGroup) -> &'static dyn SupportedKxGroup {
        interned(&mut self.groups, inner, || {
            Box::leak(Box::new(TapedGroup(inner)))
        })
    }

    fn suite(&mut self, inner: SupportedCipherSuite) -> SupportedCipherSuite {
        match inner {
            SupportedCipherSuite::Tls12(suite) => {
                SupportedCipherSuite::Tls12(interned(&mut self.tls12, suite, || {
                    let common = taped(&suite.common);
                    Box::leak(Box::new(Tls12CipherSuite { common, ..*suite }))
                }))
            }
            SupportedCipherSuite::Tls13(suite) => {
                SupportedCipherSuite::Tls13(interned(&mut self.tls13, suite, || {
                    Box::leak(Box::new(Tls13CipherSuite {
                        common: taped(&suite.common),
                        hkdf_provider: Box::leak(Box::new(TapedHkdf(suite.hkdf_provider))),
                        ..*suite
                    }))
                }))
            }
        }
    }
}

fn taped(common: &CipherSuiteCommon) -> CipherSuiteCommon {
    CipherSuiteCommon {
        suite: common.suite,
        hash_provider: Box::leak(Box::new(TapedHash(common.hash_provider))),
        confidentiality_limit: common.confidentiality_limit,
    }
}

/// The wrapper of `inner`, which is itself if it is one.
///
/// Compared are addresses and, where there are some, tables of methods: two things without any
/// content may share an address, but hardly do different things by the same methods.
fn interned<T: ?Sized>(
    known: &mut Vec<Pair<T>>,
    inner: &'static T,
    wrap: impl FnOnce() -> &'static T,
) -> &'static T {
    let found = known
        .iter()
        .find(|(wrapped, wrapper)| std::ptr::eq(*wrapped, inner) || std::ptr::eq(*wrapper, inner));
    if let Some((_, wrapper)) = found {
        return wrapper;
    }
    let wrapper = wrap();
    known.push((inner, wrapper));
    wrapper
}

#[derive(Debug)]
struct TapedRandom(&'static dyn SecureRandom);

impl SecureRandom for TapedRandom {
    fn fill(&self, into: &mut [u8]) -> Result<(), GetRandomFailed> {
        let played = tape::with(|tape| tape.play_random(into)).transpose();
        if played.map_err(|Diverged| GetRandomFailed)? == Some(true) {
            return Ok(());
        }
        self.0.fill(into)?;
        let recorded = tape::with(|tape| tape.record_random(into));
        recorded
            .unwrap_or(Ok(()))
            .map_err(|Diverged| GetRandomFailed)
    }

    fn fips(&self) -> bool {
        self.0.fips()
    }
}

#[derive(Debug)]
struct TapedGroup(&'static dyn SupportedKxGroup);

impl SupportedKxGroup for TapedGroup {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        if !tape::is_installed() {
            return self.0.start();
        }
        let played = tape::with(|tape| tape.play_started(self.0.name())).transpose();
        if let Some(started) = played.map_err(failed)?.flatten() {
            return Ok(Box::new(started));
        }
        let started = Started::new(self.0.start()?);
        let recorded = tape::with(|tape| tape.record_started(started.clone()));
        recorded.unwrap_or(Ok(())).map_err(failed)?;
        Ok(Box::new(started))
    }

    fn start_and_complete(&self, peer: &[u8]) -> Result<CompletedKeyExchange, Error> {
        let group = self.0.name();
        let played = tape::with(|tape| {
            let completed = tape.play_completed(group, peer)?;
            Ok(completed.map(|exchange| CompletedKeyExchange {
                group,
                pub_key: exchange.public.to_vec(),
                secret: SharedSecret::from(&**exchange.secret),
            }))
        });
        if let Some(exchange) = played.transpose().map_err(failed)?.flatten() {
            return Ok(exchange);
        }
        let exchange = self.0.start_and_complete(peer)?;
        let recorded = tape::with(|tape| {
            tape.record_completed(Completed {
                group,
                peer: peer.into(),
                public: exchange.pub_key.as_slice().into(),
                secret: Zeroizing::new(exchange.secret.secret_bytes().into()),
            })
        });
        recorded.unwrap_or(Ok(())).map_err(failed)?;
        Ok(exchange)
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        self.0.ffdhe_group()
    }

    fn name(&self) -> NamedGroup {
        self.0.name()
    }

    fn fips(&self) -> bool {
        self.0.fips()
    }

    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        self.0.usable_for_version(version)
    }
}

impl ActiveKeyExchange for Started {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        self.take().ok_or_else(|| failed(Diverged))?.complete(peer)
    }

    fn complete_for_tls_version(
        self: Box<Self>,
        peer: &[u8],
        version: &SupportedProtocolVersion,
    ) -> Result<SharedSecret, Error> {
        let inner = self.take().ok_or_else(|| failed(Diverged))?;
        inner.complete_for_tls_version(peer, version)
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn group(&self) -> NamedGroup {
        self.group
    }
}

fn failed(diverged: Diverged) -> Error {
    Error::Other(OtherError(Arc::new(diverged)))
}

#[cfg(test)]
mod tests {
    use rustls::crypto::aws_lc_rs;

    use super::*;
    use crate::rustls::tape::Tape;

    /// Where the parts of a provider are.
    fn parts(provider: &CryptoProvider) -> Vec<*const ()> {
        let suites = provider.cipher_suites.iter().map(|suite| match suite {
            SupportedCipherSuite::Tls12(suite) => std::ptr::from_ref(*suite).cast(),
            SupportedCipherSuite::Tls13(suite) => std::ptr::from_ref(*suite).cast(),
        });
        let groups = provider
            .kx_groups
            .iter()
            .map(|group| std::ptr::from_ref(*group).cast());
        let random = std::ptr::from_ref(provider.secure_random).cast();
        suites.chain(groups).chain([random]).collect()
    }

    #[test]
    fn the_same_is_wrapped_once_however_often_it_is_asked_for() {
        let inner = aws_lc_rs::default_provider();
        let wrapped = remote_provider(&inner);
        assert_eq!(parts(&wrapped), parts(&remote_provider(&inner)));
        assert_eq!(parts(&wrapped), parts(&remote_provider(&wrapped)));
        for (inner, wrapper) in parts(&inner).iter().zip(parts(&wrapped)) {
            assert_ne!(*inner, wrapper);
        }
    }

    #[test]
    fn different_groups_stay_different() {
        let inner = aws_lc_rs::default_provider();
        let wrapped = remote_provider(&inner);
        let names = |provider: &CryptoProvider| -> Vec<_> {
            provider
                .kx_groups
                .iter()
                .map(|group| group.name())
                .collect()
        };
        assert_eq!(names(&wrapped), names(&inner));
        let suites = |provider: &CryptoProvider| -> Vec<_> {
            provider
                .cipher_suites
                .iter()
                .map(SupportedCipherSuite::suite)
                .collect()
        };
        assert_eq!(suites(&wrapped), suites(&inner));
        for (group, own) in wrapped.kx_groups.iter().zip(inner.kx_groups) {
            assert_eq!(group.fips(), own.fips());
            assert!(group.ffdhe_group().is_none());
            for version in [ProtocolVersion::TLSv1_2, ProtocolVersion::TLSv1_3] {
                assert_eq!(
                    group.usable_for_version(version),
                    own.usable_for_version(version)
                );
            }
        }
        assert_eq!(wrapped.secure_random.fips(), inner.secure_random.fips());
    }

    #[test]
    fn chance_repeats_itself_with_a_tape_and_not_without() {
        let random = remote_provider(&aws_lc_rs::default_provider()).secure_random;
        let draw = || {
            let mut bytes = [0; 32];
            random.fill(&mut bytes).unwrap();
            bytes
        };
        assert_ne!(draw(), draw());
        let mut tape = Some(Box::<Tape>::default());
        let first = tape::installed(&mut tape, || [draw(), draw()]);
        assert_ne!(first[0], first[1]);
        tape.as_mut().unwrap().rewind();
        assert_eq!(tape::installed(&mut tape, || [draw(), draw()]), first);
        tape.as_mut().unwrap().rewind();
        let short = tape::installed(&mut tape, || random.fill(&mut [0; 31]));
        assert!(short.is_err());
    }

    #[test]
    fn exchanges_repeat_themselves_and_those_of_tls_1_2_are_completed_once() {
        let provider = remote_provider(&aws_lc_rs::default_provider());
        for group in &provider.kx_groups {
            let peer = || group.start().unwrap();
            let mut tape = Some(Box::<Tape>::default());
            let theirs = peer();
            let complete = |peer: &[u8]| {
                let done = group.start_and_complete(peer).unwrap();
                (done.pub_key, done.secret.secret_bytes().to_vec())
            };
            let first = tape::installed(&mut tape, || complete(theirs.pub_key()));
            tape.as_mut().unwrap().rewind();
            assert_eq!(
                tape::installed(&mut tape, || complete(theirs.pub_key())),
                first
            );
            let secret = theirs.complete(&first.0).unwrap();
            assert_eq!(secret.secret_bytes(), first.1);

            tape.as_mut().unwrap().rewind();
            let another = peer();
            let diverged = tape::installed(&mut tape, || {
                group.start_and_complete(another.pub_key()).is_err() && group.start().is_err()
            });
            assert!(diverged);
        }
        let group = provider
            .kx_groups
            .iter()
            .find(|group| group.usable_for_version(ProtocolVersion::TLSv1_2));
        let group = group.unwrap();
        let mut tape = Some(Box::<Tape>::default());
        let first = tape::installed(&mut tape, || group.start().unwrap());
        tape.as_mut().unwrap().rewind();
        let second = tape::installed(&mut tape, || group.start().unwrap());
        assert_eq!(first.pub_key(), second.pub_key());
        assert_eq!(first.group(), group.name());
        let theirs = group.start_and_complete(first.pub_key()).unwrap();
        let version = &rustls::version::TLS12;
        let done = second
            .complete_for_tls_version(&theirs.pub_key, version)
            .unwrap();
        assert_eq!(done.secret_bytes(), theirs.secret.secret_bytes());
        assert!(first.complete(&theirs.pub_key).is_err());
    }
}
