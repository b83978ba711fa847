use rcgen::{
    CertificateRevocationListParams, DnValue, KeyIdMethod, PKCS_ECDSA_P256_SHA256,
    RevokedCertParams, SerialNumber, date_time_ymd,
};

use super::certificates::Folder;
use super::*;

fn asking(authority: &Authority, client_auth: ClientAuth) -> Tls {
    let shop = authority.certificate(&["shop.example"]);
    let config = TlsConfig::default().client_auth(client_auth);
    Tls::new(Certificates::new().with(shop), config).unwrap()
}

fn alice(authority: &Authority, serial: u64) -> Certificate {
    let mut params = params(&[]);
    let name = &mut params.distinguished_name;
    *name = rcgen::DistinguishedName::new();
    name.push(DnType::OrganizationName, "A, \"B\"");
    name.push(DnType::CommonName, DnValue::Utf8String("Älice".to_owned()));
    params.serial_number = Some(SerialNumber::from(serial));
    authority.issue_as(params, &PKCS_ECDSA_P256_SHA256).load()
}

#[tokio::test]
async fn a_certificate_is_required_optional_or_not_asked_for() {
    use Refusal::{ClientCertificateMissing as Missing, ClientCertificateRefused as Refused};
    let (authority, stranger) = (Authority::new("ca"), Authority::new("stranger"));
    let none = backend(authority.client().sessions(0));
    let show = |one| backend(authority.client().sessions(0).certificate(one));
    let known = show(alice(&authority, 1));
    let unknown = show(alice(&stranger, 1));
    let required = asking(&authority, ClientAuth::required(authority.roots()));
    let optional = asking(&authority, ClientAuth::optional(authority.roots()));
    let not = asking(&authority, ClientAuth::none());
    for (tls, client, refusal) in [
        (&required, &none, Some(Missing)),
        (&required, &known, None),
        (&required, &unknown, Some(Refused)),
        (&optional, &none, None),
        (&optional, &known, None),
        (&optional, &unknown, Some(Refused)),
        (&not, &none, None),
        (&not, &unknown, None),
    ] {
        let (served, _) = meet(tls, client, "shop.example").await;
        let asked = !std::ptr::eq(tls, &raw const not);
        match served {
            Ok(stream) => {
                assert_eq!(refusal, None);
                let shown = Handshake::of(&stream).client_certificate;
                assert_eq!(
                    shown.is_some(),
                    asked && std::ptr::eq(client, &raw const known)
                );
            }
            Err(refused) => assert_eq!(Some(refused.error.refusal()), refusal),
        }
    }
}

#[tokio::test]
async fn what_is_told_of_a_client_is_what_its_certificate_says() {
    let authority = Authority::new("ca");
    let certificate = alice(&authority, 0xBEEF);
    let tls = asking(&authority, ClientAuth::required(authority.roots()));
    let client = backend(authority.client().certificate(certificate.clone()));
    let first = agreed(&tls, &client, "shop.example").await;
    let shown = first.client_certificate.unwrap();
    assert_eq!(shown.subject, r#"CN=\c3\84lice,O=A\, \"B\""#);
    assert_eq!(shown.serial, "beef");
    assert_eq!(shown.not_after, certificate.not_after());
    assert!(shown.issuer.contains("CN=ca"), "{}", shown.issuer);

    let headers = shown.headers();
    assert_eq!(headers.len(), ClientCertificate::HEADERS.len());
    assert!(
        ClientCertificate::HEADERS
            .iter()
            .all(|name| headers.contains_key(name))
    );
    assert_eq!(headers["x-client-cert-verified"], "true");
    assert_eq!(headers["x-client-cert-subject"], shown.subject.as_str());
    assert_eq!(headers["x-client-cert-issuer"], shown.issuer.as_str());
    assert_eq!(headers["x-client-cert-serial"], "beef");
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der(&certificate));
    let digits: String = digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(headers["x-client-cert-sha256"], digits.as_str());
    assert_eq!(
        ClientCertificate::headers_without()["x-client-cert-verified"],
        "false"
    );

    let again = agreed(&tls, &client, "shop.example").await;
    assert!(again.resumed);
    assert_eq!(again.client_certificate, Some(shown), "kept in the ticket");
}

fn revoking(authority: &Authority, serial: u64) -> String {
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2020, 1, 1),
        next_update: date_time_ymd(2021, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: vec![RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        }],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    list.signed_by(&authority.issuer).unwrap().pem().unwrap()
}

#[tokio::test]
async fn backends_are_told_of_it_in_place_of_what_the_client_says() {
    let authority = Authority::new("ca");
    let tls = asking(&authority, ClientAuth::optional(authority.roots()));
    let with = backend(authority.client().certificate(alice(&authority, 7)));
    let without = backend(authority.client());
    for (client, subject) in [
        (with, Some(r#"CN=\c3\84lice,O=A\, \"B\""#)),
        (without, None),
    ] {
        let handshake = agreed(&tls, &client, "shop.example").await;
        let told = match &handshake.client_certificate {
            Some(certificate) => certificate.headers(),
            None => ClientCertificate::headers_without(),
        };
        let mut peer = crate::Peer::unnamed();
        peer.tls = Some(Arc::new(handshake));
        for asked in [false, true] {
            let mut fields = http::HeaderMap::new();
            for name in ClientCertificate::HEADERS {
                fields.append(&name, http::HeaderValue::from_static("mine"));
                fields.append(&name, http::HeaderValue::from_static("mine too"));
            }
            let settings = crate::Settings::to(lbcore::Pool::new(lbcore::schedule::RoundRobin));
            let settings = settings.unwrap().certificate_headers(asked);
            for alias in ["x_client_cert_verified", "x-client-cert-from-tomorrow"] {
                fields.append(alias, http::HeaderValue::from_static("mine"));
            }
            let kept = if asked {
                told.clone()
            } else {
                http::HeaderMap::new()
            };
            settings.certify(&peer, &settings.hop(&peer), &mut fields);
            assert_eq!(fields, kept);
        }
        let verified = told["x-client-cert-verified"].to_str().unwrap();
        assert_eq!(verified, subject.is_some().to_string());
        let named = told.get("x-client-cert-subject");
        assert_eq!(named.map(|name| name.to_str().unwrap()), subject);
    }
}

#[test]
fn a_trusted_proxy_s_word_on_a_certificate_passes_unless_there_is_a_better_one() {
    let peer = crate::Peer::unnamed();
    let config = crate::headers::identity::IdentityConfig {
        trusted: vec![lbcore::address_list::Prefix::from(peer.address.ip())],
        ..Default::default()
    };
    for asked in [false, true] {
        let identity = crate::headers::identity::Identity::new(config.clone()).unwrap();
        let settings = crate::Settings::to(lbcore::Pool::new(lbcore::schedule::RoundRobin));
        let settings = settings.unwrap().identity(identity);
        let settings = settings.certificate_headers(asked);
        let mut fields = http::HeaderMap::new();
        fields.append(
            "x-client-cert-verified",
            http::HeaderValue::from_static("true"),
        );
        fields.append(
            "x-client-certificate",
            http::HeaderValue::from_static("other"),
        );
        settings.certify(&peer, &settings.hop(&peer), &mut fields);
        assert_eq!(fields.contains_key("x-client-cert-verified"), !asked);
        assert!(fields.contains_key("x-client-certificate"));
    }
}

#[tokio::test]
async fn a_revoked_certificate_is_refused() {
    let authority = Authority::new("ca");
    let folder = Folder::new("revoked");
    let file = folder.file("list.pem", revoking(&authority, 7));
    let auth = ClientAuth::required(authority.roots())
        .revoked_by_file(file)
        .unwrap();
    let tls = asking(&authority, auth);
    for (serial, refusal) in [(7, Some(Refusal::ClientCertificateRefused)), (8, None)] {
        let client = backend(authority.client().certificate(alice(&authority, serial)));
        let (served, _) = meet(&tls, &client, "shop.example").await;
        assert_eq!(served.err().map(|refused| refused.error.refusal()), refusal);
    }
}

#[test]
fn a_bad_revocation_list_is_named() {
    let authority = Authority::new("ca");
    let auth = ClientAuth::required(authority.roots());
    let error = auth
        .clone()
        .revoked_by(authority.pem.as_bytes())
        .unwrap_err();
    assert!(matches!(error.fault(), LoadFault::NoRevocationList));
    let broken = "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n";
    let folder = Folder::new("bad-list");
    let file = folder.file("list.pem", broken);
    let error = auth.revoked_by_file(&file).unwrap_err();
    assert!(matches!(error.fault(), LoadFault::BadRevocationList));
    assert_eq!(error.file(), Some(&*file));
}

#[tokio::test]
async fn one_name_may_ask_for_certificates_where_others_do_not() {
    let authority = Authority::new("ca");
    let staff = authority
        .certificate(&["staff.example"])
        .client_auth(ClientAuth::required(authority.roots()));
    let shop = authority.certificate(&["shop.example"]);
    let both = Certificates::new().with(shop).with(staff);
    let tls = Tls::new(both, TlsConfig::default()).unwrap();
    let client = backend(authority.client());
    agreed(&tls, &client, "shop.example").await;
    let refusal = refused(&tls, &client, "staff.example").await;
    assert_eq!(refusal, Refusal::ClientCertificateMissing);
    let client = backend(authority.client().certificate(alice(&authority, 1)));
    let shake = agreed(&tls, &client, "staff.example").await;
    assert!(shake.client_certificate.is_some());
}

#[test]
fn every_part_of_the_demand_is_in_its_digest() {
    let (a, b) = (Authority::new("a"), Authority::new("b"));
    let required = ClientAuth::required(a.roots());
    let listed = |serial| {
        let list = revoking(&a, serial);
        required
            .clone()
            .revoked_by(list.as_bytes())
            .unwrap()
            .digest()
    };
    let digests = [
        ClientAuth::none().digest(),
        required.digest(),
        ClientAuth::optional(a.roots()).digest(),
        ClientAuth::required(b.roots()).digest(),
        listed(1),
        listed(2),
    ];
    let different: std::collections::HashSet<_> = digests.iter().collect();
    assert_eq!(different.len(), digests.len());
    assert_eq!(required.digest(), ClientAuth::required(a.roots()).digest());
    assert_ne!(required.digest(), [0; 32]);
}
