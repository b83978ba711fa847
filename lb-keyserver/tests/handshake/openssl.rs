//! The command `openssl s_client` against a listener on loopback.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use lb_keyserver::KeyKind;
use lb_keyserver::rustls::RemoteTls;
use lbcore::connect::Accept;
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::tls::{self, Fault, Signer, Site};

/// A listener that answers one line to each client, and who signs for it.
async fn listener(config: ServerConfig, signer: Signer) -> (SocketAddr, Arc<RemoteTls<Signer>>) {
    let server = Arc::new(RemoteTls::new(Arc::new(config), signer));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepting = Arc::clone(&server);
    tokio::spawn(async move {
        while let Ok((raw, _)) = listener.accept().await {
            let server = Arc::clone(&accepting);
            tokio::spawn(async move {
                let Ok(mut stream) = server.accept(&[], raw).await else {
                    return;
                };
                let mut line = [0; 5];
                if stream.read_exact(&mut line).await.is_ok() {
                    let _ = stream.write_all(b"served\n").await;
                    let _ = stream.shutdown().await;
                }
            });
        }
    });
    (address, server)
}

/// What `openssl s_client` says; it sends one line.
async fn s_client(address: SocketAddr, trusted: &PathBuf, options: &[&str]) -> String {
    let mut child = Command::new("openssl")
        .args([
            "s_client",
            "-connect",
            &address.to_string(),
            "-servername",
            tls::NAME,
        ])
        .args([
            "-verify_return_error",
            "-verify_hostname",
            tls::NAME,
            "-ign_eof",
            "-CAfile",
        ])
        .arg(trusted)
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the command openssl is installed");
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"hello\n").await.unwrap();
    let output = tokio::time::timeout(Duration::from_secs(20), child.wait_with_output());
    let output = output.await.expect("openssl ends").unwrap();
    drop(input);
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

fn file(name: &str, content: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let path = folder.join(format!("{}-{name}", std::process::id()));
    std::fs::write(&path, content).unwrap();
    path
}

#[tokio::test]
async fn openssl_is_served_by_every_kind_of_key_in_both_versions() {
    for kind in [
        KeyKind::EcdsaP256,
        KeyKind::EcdsaP384,
        KeyKind::Ed25519,
        KeyKind::Rsa,
    ] {
        let site = Site::new(kind);
        let trusted = file(&format!("{kind}.pem"), &site.pem);
        let config = tls::server_config(tls::provider(), site.remote());
        let (address, server) = listener(config, Signer::new([site])).await;
        for (options, said) in [
            (&["-tls1_3"][..], "TLSv1.3"),
            (&["-tls1_2"], "TLSv1.2"),
            // The first group gets the share, and the server wants the second.
            (&["-tls1_3", "-groups", "P-521:X25519"], "TLSv1.3"),
        ] {
            let text = s_client(address, &trusted, options).await;
            for word in [said, "Verify return code: 0 (ok)", "served"] {
                assert!(
                    text.contains(word),
                    "{kind} {options:?}: no {word:?} in {text}"
                );
            }
        }
        assert_eq!(server.signer().signed(), 3, "{kind}");
    }
}

#[tokio::test]
async fn openssl_resumes_without_a_signature() {
    let site = Site::new(KeyKind::EcdsaP256);
    let trusted = file("resumed.pem", &site.pem);
    let mut config = tls::server_config(tls::provider(), site.remote());
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
    let (address, server) = listener(config, Signer::new([site])).await;
    for (number, version) in ["-tls1_3", "-tls1_2"].into_iter().enumerate() {
        let session = file(&format!("session{version}"), "");
        let session = session.to_str().unwrap();
        let first = s_client(address, &trusted, &[version, "-sess_out", session]).await;
        assert!(
            first.contains("\nNew, ") && first.contains("served"),
            "{first}"
        );
        let again = s_client(address, &trusted, &[version, "-sess_in", session]).await;
        assert!(
            again.contains("\nReused, ") && again.contains("served"),
            "{again}"
        );
        assert_eq!(server.signer().signed(), number + 1, "{version}");
    }
}

#[tokio::test]
async fn openssl_reads_the_alert_when_nobody_signs() {
    let site = Site::new(KeyKind::EcdsaP256);
    let trusted = file("refused.pem", &site.pem);
    let config = tls::server_config(tls::provider(), site.remote());
    let refusing = Fault::Refuses(lb_keyserver::SignError::NoServer);
    let (address, _) = listener(config, Signer::new([site]).fault(refusing)).await;
    for options in [
        &["-tls1_3"][..],
        &["-tls1_2"],
        &["-tls1_3", "-groups", "P-521:X25519"],
    ] {
        let text = s_client(address, &trusted, options).await;
        assert!(text.contains("alert internal error"), "{options:?}: {text}");
    }
}
