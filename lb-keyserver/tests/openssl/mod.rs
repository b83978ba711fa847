//! The `openssl` command, as somebody else who makes keys and verifies signatures.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use lb_keyserver::store::{Input, SigningKey};
use lb_keyserver::{Hash, KeyKind, PublicKey, Scheme};

/// A folder that is this test's, and goes with it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("lb-keyserver-{}-{next}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).expect("made");
        Self(path)
    }

    pub(crate) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a command of openssl's, of words with blanks between them and files within `folder`.
#[track_caller]
pub(crate) fn openssl(folder: &Folder, command: &str) {
    run(folder, "openssl", command);
}

/// Runs a command within `folder`.
#[track_caller]
pub(crate) fn run(folder: &Folder, program: &str, command: &str) {
    let output = Command::new(program)
        .args(command.split_whitespace())
        .current_dir(folder.path())
        .output()
        .expect("installed");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {command}: {said}");
}

/// Makes a PKCS #8 key in PEM; a kind is what `genpkey -algorithm` takes, with its options.
pub(crate) fn genpkey(folder: &Folder, kind: &str, name: &str) {
    openssl(folder, &format!("genpkey -algorithm {kind} -out {name}"));
}

/// What `genpkey` makes each kind of.
pub(crate) const KINDS: [(&str, KeyKind); 5] = [
    ("EC -pkeyopt ec_paramgen_curve:P-256", KeyKind::EcdsaP256),
    ("EC -pkeyopt ec_paramgen_curve:P-384", KeyKind::EcdsaP384),
    ("EC -pkeyopt ec_paramgen_curve:P-521", KeyKind::EcdsaP521),
    ("ED25519", KeyKind::Ed25519),
    ("RSA -pkeyopt rsa_keygen_bits:2048", KeyKind::Rsa),
];

/// Signs by every scheme of a key, and has this project and openssl verify.
#[track_caller]
pub(crate) fn signs_as_openssl_expects(folder: &Folder, key: &dyn SigningKey) {
    let message = format!("signed by {}", key.public_key().ski()).into_bytes();
    for scheme in key.public_key().kind().schemes() {
        let digest = scheme.hash().map(|hash| hash.digest(&message));
        let input = match &digest {
            Some(digest) => Input::Digest(digest.as_ref()),
            None => Input::Message(&message),
        };
        let signature = key.sign(*scheme, input).expect("signed");
        assert!(
            key.public_key().verifies(*scheme, &message, &signature),
            "{scheme}"
        );
        verify(folder, key.public_key(), *scheme, &message, &signature);
    }
}

#[track_caller]
fn verify(folder: &Folder, key: &PublicKey, scheme: Scheme, message: &[u8], signature: &[u8]) {
    for (name, bytes) in [
        ("public", key.spki().as_ref()),
        ("message", message),
        ("signature", signature),
    ] {
        fs::write(folder.join(name), bytes).expect("written");
    }
    let hash = match scheme.hash() {
        Some(Hash::Sha256) => "sha256",
        Some(Hash::Sha384) => "sha384",
        Some(_) => "sha512",
        None => {
            let files = "-inkey public -keyform DER -in message -sigfile signature";
            return openssl(folder, &format!("pkeyutl -verify -pubin -rawin {files}"));
        }
    };
    let padding = match scheme.as_str().starts_with("rsa-pss") {
        // The salt has to be as long as the digest, and not merely of any length.
        true => "-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest",
        false => "",
    };
    let files = "-verify public -keyform DER -signature signature message";
    openssl(folder, &format!("dgst -{hash} {padding} {files}"));
}
