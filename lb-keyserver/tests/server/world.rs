//! An authority, the ends it signs for, and keys.

use std::sync::{Arc, Condvar, Mutex};

use lb_keyserver::store::{Input, MemoryStore, SignFailure, SigningKey, SoftKey};
use lb_keyserver::{MutualTls, PublicKey, Scheme};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SanType, SerialNumber, date_time_ymd,
};
use rustls::client::WebPkiServerVerifier;

/// An authority that signs for both ends.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn server(&self) -> MutualTls {
        self.sign(self.params("localhost", ExtendedKeyUsagePurpose::ServerAuth))
    }

    /// A node that is called `lb://node/<number>`, as is its certificate's serial number.
    pub(crate) fn node(&self, number: u64) -> MutualTls {
        self.sign(self.node_params(number))
    }

    pub(crate) fn node_params(&self, number: u64) -> CertificateParams {
        let mut params = self.params("", ExtendedKeyUsagePurpose::ClientAuth);
        let name = format!("lb://node/{number}");
        params.subject_alt_names = vec![SanType::URI(name.try_into().unwrap())];
        params.serial_number = Some(number.into());
        params
    }

    pub(crate) fn sign(&self, params: CertificateParams) -> MutualTls {
        self.sign_and_believe(params, self)
    }

    /// An end that this authority has signed for, and that believes another.
    pub(crate) fn sign_and_believe(&self, params: CertificateParams, other: &Self) -> MutualTls {
        let key = KeyPair::generate().unwrap();
        let chain = params.signed_by(&key, &self.0).unwrap().pem();
        let (key, ca) = (key.serialize_pem(), other.0.pem());
        MutualTls::from_pem(chain.as_bytes(), key.as_bytes(), ca.as_bytes()).unwrap()
    }

    /// What believes this authority, for a client that is put together by hand.
    pub(crate) fn verifier(&self) -> Arc<WebPkiServerVerifier> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        WebPkiServerVerifier::builder_with_provider(roots.into(), provider.into())
            .build()
            .unwrap()
    }

    /// A list that revokes certificates with these serial numbers.
    pub(crate) fn revocation_list(&self, serials: &[u64]) -> String {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2025, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2025, 1, 1),
            next_update: date_time_ymd(2099, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.0).unwrap().pem().unwrap()
    }

    fn params(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> CertificateParams {
        let names = Some(name.to_owned()).filter(|name| !name.is_empty());
        let mut params = CertificateParams::new(names.into_iter().collect::<Vec<_>>()).unwrap();
        params.extended_key_usages = vec![usage];
        params
    }
}

/// A key of each kind.
pub(crate) struct Keys {
    pub(crate) rsa: Arc<SoftKey>,
    pub(crate) p256: Arc<SoftKey>,
    pub(crate) p384: Arc<SoftKey>,
    pub(crate) p521: Arc<SoftKey>,
    pub(crate) ed25519: Arc<SoftKey>,
}

impl Keys {
    pub(crate) fn new() -> Self {
        Self {
            rsa: soft(&rcgen::PKCS_RSA_SHA256),
            p256: soft(&rcgen::PKCS_ECDSA_P256_SHA256),
            p384: soft(&rcgen::PKCS_ECDSA_P384_SHA384),
            p521: soft(&rcgen::PKCS_ECDSA_P521_SHA512),
            ed25519: soft(&rcgen::PKCS_ED25519),
        }
    }

    pub(crate) fn all(&self) -> [&Arc<SoftKey>; 5] {
        [&self.rsa, &self.p256, &self.p384, &self.p521, &self.ed25519]
    }

    pub(crate) fn store(&self) -> MemoryStore {
        let keys = self.all().into_iter().cloned();
        keys.fold(MemoryStore::new(), |store, key| store.with_shared_key(key))
    }
}

pub(crate) fn p256() -> Arc<SoftKey> {
    soft(&rcgen::PKCS_ECDSA_P256_SHA256)
}

fn soft(algorithm: &'static rcgen::SignatureAlgorithm) -> Arc<SoftKey> {
    let pair = KeyPair::generate_for(algorithm).unwrap();
    Arc::new(SoftKey::from_pem(pair.serialize_pem().as_bytes()).unwrap())
}

/// A copy of the public half, as a client has it.
pub(crate) fn public(key: &dyn SigningKey) -> Arc<PublicKey> {
    let spki = key.public_key().spki();
    Arc::new(PublicKey::from_spki(spki.as_ref()).unwrap())
}

/// A key that signs once it is let, as one in a hardware module that is slow.
#[derive(Debug)]
pub(crate) struct Gated {
    key: Arc<SoftKey>,
    gate: Arc<Gate>,
}

/// How far a [`Gated`] key is let.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: Mutex<(bool, usize)>,
    changed: Condvar,
}

impl Gate {
    /// Lets signatures pass.
    pub(crate) fn open(&self) {
        self.state.lock().unwrap().0 = true;
        self.changed.notify_all();
    }

    /// Waits until so many signatures stand at the gate, or have passed it. Blocks.
    pub(crate) fn wait_for(&self, count: usize) {
        let state = self.state.lock().unwrap();
        drop(
            self.changed
                .wait_while(state, |state| state.1 < count)
                .unwrap(),
        );
    }

    /// How many signatures have come to the gate.
    pub(crate) fn seen(&self) -> usize {
        self.state.lock().unwrap().1
    }
}

impl Gated {
    pub(crate) fn new(key: Arc<SoftKey>) -> (Self, Arc<Gate>) {
        let gate = Arc::<Gate>::default();
        let one = Arc::clone(&gate);
        (Self { key, gate: one }, gate)
    }
}

impl SigningKey for Gated {
    fn public_key(&self) -> &PublicKey {
        self.key.public_key()
    }

    fn sign(&self, scheme: Scheme, input: Input<'_>) -> Result<Vec<u8>, SignFailure> {
        let mut state = self.gate.state.lock().unwrap();
        state.1 += 1;
        self.gate.changed.notify_all();
        drop(
            self.gate
                .changed
                .wait_while(state, |state| !state.0)
                .unwrap(),
        );
        self.key.sign(scheme, input)
    }
}

/// A key with a fault.
#[derive(Debug)]
pub(crate) struct Faulty(pub(crate) Arc<SoftKey>, pub(crate) Option<SignFailure>);

impl SigningKey for Faulty {
    fn public_key(&self) -> &PublicKey {
        self.0.public_key()
    }

    fn sign(&self, _: Scheme, _: Input<'_>) -> Result<Vec<u8>, SignFailure> {
        Err(self.1.expect("a fault of a key"))
    }
}
