//! Which versions, cipher suites and groups are spoken.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::{self, cipher_suite as suite, kx_group as group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::version::{TLS12, TLS13};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};

/// Which versions, cipher suites and key-exchange groups a connection may use.
///
/// rustls has no suite without forward secrecy or without authenticated encryption: no RSA key
/// exchange, no CBC, no 3DES, no CCM; and no version before TLS 1.2. So the presets that bear the
/// names of Alibaba Cloud's CLB give the subset of its suites that is left:
///
/// | name | versions | suites | CLB's has besides |
/// |---|---|---|---|
/// | [`modern`](Self::modern) | 1.3, 1.2 | the three of 1.3, and ECDHE with AES-GCM or ChaCha20 | – |
/// | [`tls_cipher_policy_1_0`](Self::named) | refused | | |
/// | [`tls_cipher_policy_1_1`](Self::named) | refused | | |
/// | [`tls_cipher_policy_1_2`](Self::named) | 1.2 | ECDHE with AES-GCM | RSA key exchange, CBC, 3DES |
/// | [`tls_cipher_policy_1_2_strict`](Self::named) | 1.2 | ECDHE with AES-GCM | ECDHE with CBC |
/// | [`tls_cipher_policy_1_2_strict_with_1_3`](Self::named) | 1.3, 1.2 | the three of 1.3, and ECDHE with AES-GCM | CCM, ECDHE with CBC |
///
/// "ECDHE with AES-GCM" is `ECDHE-ECDSA-AES128-GCM-SHA256`, `ECDHE-ECDSA-AES256-GCM-SHA384`, and the
/// same two with RSA, in OpenSSL's spelling; which of them a connection takes depends on the
/// certificate. "The three of 1.3" are `TLS_AES_128_GCM_SHA256`, `TLS_AES_256_GCM_SHA384` and
/// `TLS_CHACHA20_POLY1305_SHA256` (RFC 8446, B.4). The groups are X25519, P-256 and P-384, and in
/// `modern` X25519MLKEM768 before them, which keeps what is recorded today from a quantum computer
/// of tomorrow (draft-ietf-tls-ecdhe-mlkem); it costs some 2 KiB in a handshake.
///
/// Among suites and groups the order of whoever connects decides: the client's, and towards backends
/// ours, which is that of the lists above.
///
/// # Examples
///
/// ```
/// use lb_l7::tls::TlsPolicy;
///
/// let policy = TlsPolicy::named("tls_cipher_policy_1_2_strict")?;
/// assert_eq!(policy.versions().collect::<Vec<_>>(), ["TLSv1.2"]);
/// assert!(TlsPolicy::named("tls_cipher_policy_1_0").is_err());
/// # Ok::<(), lb_l7::tls::PolicyError>(())
/// ```
#[derive(Clone)]
#[doc(alias = "cipher policy")]
pub struct TlsPolicy {
    name: &'static str,
    versions: &'static [&'static SupportedProtocolVersion],
    provider: Arc<CryptoProvider>,
}

impl TlsPolicy {
    /// The names that [`named`](Self::named) knows and can give.
    pub const NAMES: [&str; 4] = [
        "modern",
        "tls_cipher_policy_1_2",
        "tls_cipher_policy_1_2_strict",
        "tls_cipher_policy_1_2_strict_with_1_3",
    ];

    /// TLS 1.3 and 1.2, with all suites of rustls, and the post-quantum group first.
    #[must_use]
    pub fn modern() -> Self {
        let suites = [
            SUITES_1_3,
            &SUITES_1_2[..],
            &[
                suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
                suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
            ],
        ];
        let groups = [&[group::X25519MLKEM768][..], &CLASSICAL_GROUPS];
        Self::new("modern", BOTH, suites.concat(), groups.concat())
    }

    /// The preset of that name: one of [`NAMES`](Self::NAMES).
    ///
    /// # Errors
    ///
    /// When there is no such name, or it asks for versions that rustls does not have.
    pub fn named(name: &str) -> Result<Self, PolicyError> {
        let groups = CLASSICAL_GROUPS.to_vec();
        let only_1_2 = |name| Self::new(name, ONLY_1_2, SUITES_1_2.to_vec(), groups.clone());
        match name {
            "modern" => Ok(Self::modern()),
            "tls_cipher_policy_1_0" => Err(PolicyError::TooOld("tls_cipher_policy_1_0", "1.0")),
            "tls_cipher_policy_1_1" => Err(PolicyError::TooOld("tls_cipher_policy_1_1", "1.1")),
            "tls_cipher_policy_1_2" => Ok(only_1_2("tls_cipher_policy_1_2")),
            "tls_cipher_policy_1_2_strict" => Ok(only_1_2("tls_cipher_policy_1_2_strict")),
            "tls_cipher_policy_1_2_strict_with_1_3" => Ok(Self::new(
                "tls_cipher_policy_1_2_strict_with_1_3",
                BOTH,
                [SUITES_1_3, &SUITES_1_2].concat(),
                groups,
            )),
            _ => Err(PolicyError::Unknown(name.to_owned())),
        }
    }

    fn new(
        name: &'static str,
        versions: &'static [&'static SupportedProtocolVersion],
        cipher_suites: Vec<SupportedCipherSuite>,
        kx_groups: Vec<&'static dyn SupportedKxGroup>,
    ) -> Self {
        let provider = CryptoProvider {
            cipher_suites,
            kx_groups,
            ..aws_lc_rs::default_provider()
        };
        Self {
            name,
            versions,
            provider: Arc::new(provider),
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The versions that it allows, such as `TLSv1.3`, the newest first.
    pub fn versions(&self) -> impl Iterator<Item = &'static str> {
        self.versions
            .iter()
            .map(|version| super::handshake::version_name(version.version))
    }

    /// The cipher suites that it allows, by the names of RFC 8446, B.4, and RFC 5289.
    pub fn cipher_suites(&self) -> impl Iterator<Item = &'static str> {
        let suites = self.provider.cipher_suites.iter();
        suites.map(|suite| super::handshake::suite_name(suite.suite()))
    }

    /// What rustls computes with; for a [`rustls::ServerConfig`] of one's own.
    #[must_use]
    pub const fn provider(&self) -> &Arc<CryptoProvider> {
        &self.provider
    }

    /// Computes with what `wrap` makes of its provider, which should have the same suites and groups.
    ///
    /// For keys that live elsewhere: a handshake that waits for a signature of theirs may need a
    /// source of randomness that can be wound back.
    #[must_use]
    pub fn map_provider(self, wrap: impl FnOnce(&CryptoProvider) -> CryptoProvider) -> Self {
        Self {
            provider: Arc::new(wrap(&self.provider)),
            ..self
        }
    }

    /// The versions, as rustls takes them.
    #[must_use]
    pub const fn protocol_versions(&self) -> &'static [&'static SupportedProtocolVersion] {
        self.versions
    }
}

impl Default for TlsPolicy {
    /// [`modern`](Self::modern).
    fn default() -> Self {
        Self::modern()
    }
}

impl fmt::Debug for TlsPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TlsPolicy").field(&self.name).finish()
    }
}

/// Why there is no such policy; whoever wrote the configuration has to choose another.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PolicyError {
    /// It allows a version that is broken, deprecated (RFC 8996), and not in rustls.
    #[error(
        "{0} allows TLS {1}, which RFC 8996 forbids and this program does not contain; \
         use tls_cipher_policy_1_2 or newer"
    )]
    TooOld(
        /// The policy's name.
        &'static str,
        /// The oldest version that it allows.
        &'static str,
    ),
    /// There is no policy of that name.
    #[error("no TLS policy is named {0:?}; there are {names}", names = TlsPolicy::NAMES.join(", "))]
    Unknown(
        /// What was asked for.
        String,
    ),
}

const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
const ONLY_1_2: &[&SupportedProtocolVersion] = &[&TLS12];

const SUITES_1_3: &[SupportedCipherSuite] = &[
    suite::TLS13_AES_256_GCM_SHA384,
    suite::TLS13_AES_128_GCM_SHA256,
    suite::TLS13_CHACHA20_POLY1305_SHA256,
];

const SUITES_1_2: [SupportedCipherSuite; 4] = [
    suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
];

const CLASSICAL_GROUPS: [&dyn SupportedKxGroup; 3] =
    [group::X25519, group::SECP256R1, group::SECP384R1];
