//! The same promises, as OpenSSL sees them. Skipped loudly where there is no `openssl`.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use lbcore::connect::Accept;
use rcgen::PKCS_RSA_SHA256;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::certificates::Folder;
use super::*;

/// Whether the tests below can run.
fn is_there() -> bool {
    let there = Command::new("openssl").arg("version").output().is_ok();
    if !there {
        use std::io::Write as _;
        let _ = writeln!(io::stderr(), "SKIPPED: there is no openssl on this machine");
    }
    there
}

/// Serves TLS on loopback until the test ends: one answer, and the end, to each client.
async fn serve(tls: Tls) -> SocketAddr {
    serve_and_tell(tls).await.0
}

/// Serves, and tells of every client why it was refused, if it was.
async fn serve_and_tell(tls: Tls) -> (SocketAddr, UnboundedReceiver<Option<Refusal>>) {
    let (tell, told) = unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (raw, _) = listener.accept().await.unwrap();
            let accepted = tls.accept(b"", raw).await;
            let _ = tell.send(accepted.as_ref().err().map(AcceptError::refusal));
            if let Ok(mut stream) = accepted {
                let said = if Handshake::of(&stream).resumed {
                    "again"
                } else {
                    "new"
                };
                let _ = stream.write_all(said.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        }
    });
    (address, told)
}

/// What `openssl s_client` prints, and whether it was content.
async fn s_client(address: SocketAddr, arguments: &[&str]) -> (String, bool) {
    let mut command = Command::new("openssl");
    let connect = address.to_string();
    command
        .args([
            "s_client",
            "-connect",
            &connect,
            "-servername",
            "shop.example",
        ])
        .args(["-cipher", "ALL:COMPLEMENTOFALL:@SECLEVEL=0", "-ign_eof"])
        .args(arguments)
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    (text, output.status.success())
}

fn under(policy: &str, certificate: Certificate) -> Tls {
    let config = TlsConfig::default().policy(TlsPolicy::named(policy).unwrap());
    Tls::new(Certificates::new().with(certificate), config).unwrap()
}

#[tokio::test]
async fn openssl_negotiates_what_the_policy_says_and_nothing_else() {
    if !is_there() {
        return;
    }
    let authority = Authority::new("ca");
    let rsa = authority
        .issue_of(&["shop.example"], &PKCS_RSA_SHA256)
        .load();
    for policy in TlsPolicy::NAMES {
        let (address, mut told) = serve_and_tell(under(policy, rsa.clone())).await;
        for (_, arguments, outcome) in POLICY_ROWS.iter().filter(|row| row.0 == policy) {
            let arguments: Vec<_> = arguments.split(' ').collect();
            let (text, _) = s_client(address, &arguments).await;
            let refusal = told.recv().await.unwrap();
            let cipher = text.lines().find(|line| line.starts_with("New, "));
            match outcome {
                Ok(cipher_agreed) => {
                    assert!(cipher.unwrap().ends_with(cipher_agreed), "{text}");
                    assert_eq!(refusal, None);
                }
                Err(reason) => {
                    assert!(cipher.is_none_or(|line| line.contains("(NONE)")), "{text}");
                    assert_eq!(refusal, Some(*reason), "{policy} {arguments:?} {text}");
                }
            }
        }
    }
}

/// Policy, what `openssl s_client` insists on, and the suite or the refusal that it must get.
const POLICY_ROWS: [(&str, &str, Result<&str, Refusal>); 22] = {
    const MODERN: &str = "modern";
    const ONLY_1_2: &str = "tls_cipher_policy_1_2";
    const STRICT: &str = "tls_cipher_policy_1_2_strict";
    const WITH_1_3: &str = "tls_cipher_policy_1_2_strict_with_1_3";
    const VERSION: Result<&str, Refusal> = Err(Refusal::NoSharedVersion);
    const CIPHER: Result<&str, Refusal> = Err(Refusal::NoSharedCipher);
    const GCM_256: Result<&str, Refusal> = Ok("ECDHE-RSA-AES256-GCM-SHA384");
    const GCM_128: &str = "ECDHE-RSA-AES128-GCM-SHA256";
    const CHACHA: &str = "ECDHE-RSA-CHACHA20-POLY1305";
    [
        (MODERN, "-tls1", VERSION),
        (MODERN, "-tls1_1", VERSION),
        (MODERN, "-tls1_2", GCM_256),
        (MODERN, "-tls1_3", Ok("TLS_AES_256_GCM_SHA384")),
        (
            MODERN,
            "-tls1_2 -cipher ECDHE-RSA-CHACHA20-POLY1305",
            Ok(CHACHA),
        ),
        (MODERN, "-tls1_2 -cipher ECDHE-RSA-AES128-SHA256", CIPHER),
        (MODERN, "-tls1_2 -cipher AES128-GCM-SHA256", CIPHER),
        (MODERN, "-tls1_2 -cipher AES128-SHA", CIPHER),
        (MODERN, "-tls1_3 -groups P-521", CIPHER),
        (ONLY_1_2, "-tls1_1", VERSION),
        (ONLY_1_2, "-tls1_2", GCM_256),
        (ONLY_1_2, "-tls1_3", VERSION),
        (
            ONLY_1_2,
            "-tls1_2 -cipher ECDHE-RSA-AES128-GCM-SHA256",
            Ok(GCM_128),
        ),
        (
            ONLY_1_2,
            "-tls1_2 -cipher ECDHE-RSA-CHACHA20-POLY1305",
            CIPHER,
        ),
        (ONLY_1_2, "-tls1_2 -cipher AES256-GCM-SHA384", CIPHER),
        (STRICT, "-tls1_2", GCM_256),
        (STRICT, "-tls1_3", VERSION),
        (WITH_1_3, "-tls1_1", VERSION),
        (WITH_1_3, "-tls1_2", GCM_256),
        (
            WITH_1_3,
            "-tls1_2 -cipher ECDHE-RSA-CHACHA20-POLY1305",
            CIPHER,
        ),
        (
            WITH_1_3,
            "-ciphersuites TLS_CHACHA20_POLY1305_SHA256",
            Ok("TLS_CHACHA20_POLY1305_SHA256"),
        ),
        (
            WITH_1_3,
            "-tls1_3 -ciphersuites TLS_AES_128_CCM_SHA256",
            CIPHER,
        ),
    ]
};

#[tokio::test]
async fn openssl_resumes_at_another_machine_of_the_same_ring() {
    if !is_there() {
        return;
    }
    let authority = Authority::new("ca");
    let machine = |byte| {
        let config = TlsConfig::default().tickets(Tickets::Shared(ring(byte)));
        let shop = authority.certificate(&["shop.example"]);
        Tls::new(Certificates::new().with(shop), config).unwrap()
    };
    let folder = Folder::new("openssl-resume");
    let session = folder.0.join("session.pem");
    let session = session.to_str().unwrap();
    let (a, b, stranger) = (
        serve(machine(1)).await,
        serve(machine(1)).await,
        serve(machine(2)).await,
    );
    for version in ["-tls1_2", "-tls1_3"] {
        for (address, arguments, said) in [
            (a, ["-sess_out", session], "new"),
            (b, ["-sess_in", session], "again"),
            (stranger, ["-sess_in", session], "new"),
        ] {
            let [kind, file] = arguments;
            let (text, _) = s_client(address, &[version, kind, file]).await;
            let begun = if said == "new" {
                "New, TLSv1"
            } else {
                "Reused, TLSv1"
            };
            assert!(text.contains(begun), "{version} {kind}: {text}");
            assert!(text.contains(said));
        }
    }
}

#[tokio::test]
async fn openssl_sees_the_chain_the_staple_and_the_demand() {
    if !is_there() {
        return;
    }
    let authority = Authority::new("ca");
    let folder = Folder::new("openssl-chain");
    let roots = folder.file("ca.pem", &authority.pem);
    let mut params = params(&["shop.example"]);
    params.serial_number = Some(rcgen::SerialNumber::from(0x77));
    let shop = authority.issue_as(params, &PKCS_ECDSA_P256_SHA256);
    let (certificate, key) = (
        folder.file("shop.pem", &shop.certificate),
        folder.file("shop.key", &shop.key),
    );
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (roots, certificate, key) = (text(&roots), text(&certificate), text(&key));
    let loaded = Certificate::from_pem_files(&certificate, &key).unwrap();
    let asking = TlsConfig::default().client_auth(ClientAuth::required(authority.roots()));
    let staple = staple(&authority, &folder, &shop);
    let stapled = loaded.staple_file(staple).unwrap();
    let tls = Tls::new(Certificates::new().with(stapled), asking).unwrap();
    let address = serve(tls).await;
    let believe = ["-CAfile", &*roots, "-verify_return_error", "-status"];
    let name = ["-verify_hostname", "shop.example"];

    let show = ["-cert", &*certificate, "-key", &*key];
    let (text, content) = s_client(address, &[&believe[..], &name, &show].concat()).await;
    assert!(
        content && text.contains("Verify return code: 0 (ok)"),
        "{text}"
    );
    assert!(
        text.contains("CN = ca"),
        "the authorities that are believed: {text}"
    );
    assert!(
        text.contains("OCSP response") && !text.contains("no response sent"),
        "{text}"
    );
    assert!(text.contains("new"));

    let (text, _) = s_client(address, &[&believe[..], &name].concat()).await;
    assert!(text.contains("certificate required"), "{text}");
}

#[tokio::test]
async fn an_rsa_key_in_its_old_form_is_read() {
    if !is_there() {
        return;
    }
    let authority = Authority::new("ca");
    let issued = authority.issue_of(&["shop.example"], &PKCS_RSA_SHA256);
    let folder = Folder::new("openssl-keys");
    let plain = folder.file("plain.pem", &issued.key);
    let convert = |arguments: &[&str]| {
        let output = Command::new("openssl")
            .args(arguments)
            .arg("-in")
            .arg(&plain)
            .output()
            .unwrap();
        assert!(output.status.success());
        output.stdout
    };
    let old = convert(&["rsa", "-traditional"]);
    assert!(old.starts_with(b"-----BEGIN RSA PRIVATE KEY-----"));
    let loaded = Certificate::from_pem(issued.certificate.as_bytes(), &old);
    assert_eq!(loaded.unwrap().names().count(), 1);
    for locked in [
        convert(&["rsa", "-traditional", "-aes128", "-passout", "pass:x"]),
        convert(&["pkey", "-aes128", "-passout", "pass:x"]),
    ] {
        let error = Certificate::from_pem(issued.certificate.as_bytes(), &locked).unwrap_err();
        assert!(matches!(error.fault(), LoadFault::EncryptedKey), "{error}");
    }
}

/// An answer of the authority that the certificate of serial number 0x77 is good.
fn staple(authority: &Authority, folder: &Folder, shop: &Issued) -> std::path::PathBuf {
    let index = "V\t400101000000Z\t\t77\tunknown\t/CN=nobody looks here\n";
    let response = folder.0.join("ocsp.der");
    let output = Command::new("openssl")
        .args(["ocsp", "-noverify", "-ndays", "1", "-index"])
        .arg(folder.file("index.txt", index))
        .args([
            "-CA".as_ref(),
            folder.file("ca.pem", &authority.pem).as_os_str(),
        ])
        .args([
            "-issuer".as_ref(),
            folder.file("ca.pem", &authority.pem).as_os_str(),
        ])
        .args([
            "-rsigner".as_ref(),
            folder.file("ca.pem", &authority.pem).as_os_str(),
        ])
        .args([
            "-rkey".as_ref(),
            folder.file("ca.key", &authority.key).as_os_str(),
        ])
        .args([
            "-cert".as_ref(),
            folder.file("shop.pem", &shop.certificate).as_os_str(),
        ])
        .args(["-respout".as_ref(), response.as_os_str()])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    response
}
