use std::time::Duration;

use lbcore::Instant;
use lbcore::ticket_ring::{TicketRing, TicketSecret};
use proptest::prelude::*;

use super::certificates::Folder;
use super::*;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Two processes, as far as tickets are concerned: nothing is shared but the ring's bytes.
fn listener(authority: &Authority, tickets: Tickets) -> Tls {
    let shop = authority.certificate(&["shop.example"]);
    let config = TlsConfig::default().tickets(tickets);
    Tls::new(Certificates::new().with(shop), config).unwrap()
}

#[tokio::test]
async fn machines_with_the_same_ring_resume_each_others_sessions() {
    let authority = Authority::new("ca");
    for policy in ["modern", "tls_cipher_policy_1_2"] {
        let policy = TlsPolicy::named(policy).unwrap();
        let client = backend(authority.client().policy(policy));
        let [a, b] = [0, 0].map(|_| listener(&authority, Tickets::Shared(ring(1))));
        let stranger = listener(&authority, Tickets::Shared(ring(2)));
        assert!(!agreed(&a, &client, "shop.example").await.resumed);
        assert!(agreed(&b, &client, "shop.example").await.resumed);
        assert!(!agreed(&stranger, &client, "shop.example").await.resumed);
    }
}

#[tokio::test]
async fn nodes_of_a_cluster_resume_each_others_sessions_while_the_ring_turns() {
    let authority = Authority::new("ca");
    let secret = |byte| TicketSecret::new([byte; TicketSecret::LEN]);
    let mut ring = TicketRing::new(1);
    ring.start(secret(1), secret(2));
    let hour = secs(3600);
    let keys = [0, 0].map(|_| Arc::new(TicketKeys::of_cluster(&ring, hour).unwrap()));
    let nodes = keys
        .each_ref()
        .map(|keys| listener(&authority, Tickets::Shared(Arc::clone(keys))));
    let client = backend(authority.client());
    let resumed = async |node: usize| agreed(&nodes[node], &client, "shop.example").await.resumed;
    assert!(!resumed(0).await);
    assert!(resumed(1).await);
    // The first node turns; the second has not heard of it yet.
    ring.turn(secret(3));
    keys[0].follow(&ring).unwrap();
    assert!(resumed(0).await, "by a ticket of the key before");
    assert!(resumed(1).await, "by a ticket of the key that comes next");
    for byte in 4..7 {
        ring.turn(secret(byte));
    }
    keys[1].follow(&ring).unwrap();
    assert!(!resumed(1).await, "no key is kept for ever");
    assert!(keys[1].follow(&TicketRing::default()).is_err());
    assert!(resumed(1).await, "an empty ring changes nothing");
}

#[tokio::test]
async fn a_ring_turns_without_losing_the_old_sessions() {
    let authority = Authority::new("ca");
    let keys = ring(1);
    let tls = listener(&authority, Tickets::Shared(Arc::clone(&keys)));
    let client = backend(authority.client());
    agreed(&tls, &client, "shop.example").await;
    keys.rotate(key(2), [key(1)]);
    assert!(agreed(&tls, &client, "shop.example").await.resumed);
    keys.rotate(key(3), [key(2)]);
    assert!(
        agreed(&tls, &client, "shop.example").await.resumed,
        "by a ticket of the second"
    );
    keys.rotate(key(4), []);
    assert!(!agreed(&tls, &client, "shop.example").await.resumed);
}

#[tokio::test]
async fn tickets_outlive_new_certificates_and_can_be_off() {
    let authority = Authority::new("ca");
    let tls = listener(&authority, Tickets::Own);
    let client = backend(authority.client());
    assert!(!agreed(&tls, &client, "shop.example").await.resumed);
    assert!(agreed(&tls, &client, "shop.example").await.resumed);
    let renewed = authority.certificate(&["shop.example"]);
    tls.update(Certificates::new().with(renewed.clone()))
        .unwrap();
    assert!(agreed(&tls, &client, "shop.example").await.resumed);
    let off = TlsConfig::default().tickets(Tickets::Off);
    tls.reconfigure(Certificates::new().with(renewed), off)
        .unwrap();
    assert!(!agreed(&tls, &client, "shop.example").await.resumed);

    let tls = listener(&authority, Tickets::Off);
    assert!(tls.ticket_keys().is_none());
    for policy in ["modern", "tls_cipher_policy_1_2"] {
        let policy = TlsPolicy::named(policy).unwrap();
        let client = backend(authority.client().policy(policy));
        for _ in 0..2 {
            assert!(!agreed(&tls, &client, "shop.example").await.resumed);
        }
    }
}

/// Or a session begun without a certificate could be carried to where one is required.
#[tokio::test]
async fn a_ticket_is_worth_nothing_where_more_is_asked_of_clients() {
    let authority = Authority::new("ca");
    let tickets = || Tickets::Shared(ring(1));
    let open = listener(&authority, tickets());
    let required = TlsConfig::default()
        .client_auth(ClientAuth::required(authority.roots()))
        .tickets(tickets());
    let shop = authority.certificate(&["shop.example"]);
    let closed = Tls::new(Certificates::new().with(shop), required).unwrap();
    let client = backend(authority.client());
    agreed(&open, &client, "shop.example").await;
    let refusal = refused(&closed, &client, "shop.example").await;
    assert_eq!(refusal, Refusal::ClientCertificateMissing);
}

#[test]
fn keys_have_the_lengths_of_nginx() {
    let folder = Folder::new("ticket-keys");
    for length in [0, 16, 47, 48, 49, 79, 80, 81] {
        let file = folder.file("ticket.key", vec![7; length]);
        match TicketKey::from_file(&file) {
            Ok(key) => {
                assert!([48, 80].contains(&length), "{length}");
                assert_eq!(key.name(), &[7; 16]);
            }
            Err(error) => {
                assert!(![48, 80].contains(&length), "{length}");
                assert!(matches!(error.fault(), LoadFault::BadTicketKey(n) if *n == length));
                assert_eq!(error.file(), Some(&*file));
            }
        }
    }
}

#[test]
fn a_random_ring_turns_when_its_time_has_come() {
    let keys = Arc::new(TicketKeys::random(secs(100)).unwrap());
    let tickets = keys.scoped([0; 32]);
    assert_eq!(tickets.lifetime(), 200);
    assert!(tickets.enabled());
    let start = Instant::ZERO + secs(5);
    assert_eq!(keys.poll_timeout(), None);
    keys.handle_timeout(start);
    assert_eq!(keys.poll_timeout(), Some(start + secs(100)));

    let first = tickets.encrypt(b"one").unwrap();
    keys.handle_timeout(start + secs(100) - Duration::from_nanos(1));
    assert_eq!(
        tickets.encrypt(b"").unwrap()[..16],
        first[..16],
        "too early"
    );
    keys.handle_timeout(start + secs(100));
    assert_eq!(keys.poll_timeout(), Some(start + secs(200)));
    let second = tickets.encrypt(b"two").unwrap();
    assert_ne!(second[..16], first[..16]);
    assert_eq!(tickets.decrypt(&first).as_deref(), Some(&b"one"[..]));

    keys.handle_timeout(start + secs(200));
    assert_eq!(tickets.decrypt(&first), None, "two turns old");
    assert_eq!(tickets.decrypt(&second).as_deref(), Some(&b"two"[..]));

    // 300 was due; at 400 even the newest key is too old.
    let third = tickets.encrypt(b"three").unwrap();
    keys.handle_timeout(start + secs(400) - Duration::from_nanos(1));
    assert_eq!(tickets.decrypt(&third).as_deref(), Some(&b"three"[..]));
    let fourth = tickets.encrypt(b"four").unwrap();
    keys.handle_timeout(start + secs(600));
    assert_eq!(tickets.decrypt(&fourth), None);
}

#[test]
fn a_shared_ring_does_not_turn_by_itself() {
    let keys = ring(1);
    keys.handle_timeout(Instant::ZERO);
    keys.handle_timeout(Instant::MAX);
    assert_eq!(keys.poll_timeout(), None);
    let tickets = keys.scoped([0; 32]);
    assert_eq!(tickets.lifetime(), 86_400);
    assert_eq!(tickets.encrypt(b"").unwrap()[..16], [1; 16]);
    let keys = Arc::new(TicketKeys::random(Duration::MAX).unwrap());
    assert_eq!(keys.scoped([0; 32]).lifetime(), 604_800, "RFC 8446, 4.6.1");
    let keys = Arc::new(TicketKeys::random(Duration::ZERO).unwrap());
    assert_eq!(keys.scoped([0; 32]).lifetime(), 2);
}

#[test]
fn a_listener_turns_its_own_keys() {
    let tls = serving(Authority::new("ca").certificate(&["a"]));
    assert_eq!(tls.poll_timeout(), None);
    tls.handle_timeout(Instant::ZERO);
    assert_eq!(tls.poll_timeout(), Some(Instant::ZERO + TicketKeys::EVERY));
}

proptest! {
    #[test]
    fn a_ticket_opens_where_it_was_sealed_and_nowhere_else(
        plain in prop::collection::vec(any::<u8>(), 0..300),
        flip in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let (ours, theirs) = (ring(1).scoped([0; 32]), ring(1).scoped([1; 32]));
        let mut ticket = ours.encrypt(&plain).unwrap();
        prop_assert_eq!(ours.decrypt(&ticket), Some(plain));
        prop_assert_eq!(theirs.decrypt(&ticket), None);
        let cut = flip.index(ticket.len());
        prop_assert_eq!(ours.decrypt(&ticket[..cut]), None);
        ticket[cut] ^= 1 << bit;
        prop_assert_eq!(ours.decrypt(&ticket), None);
    }

    #[test]
    fn no_bytes_make_the_ring_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let tickets = ring(1).scoped([0; 32]);
        prop_assert_eq!(tickets.decrypt(&bytes), None);
        let named = [&[1; 16][..], &bytes].concat();
        prop_assert_eq!(tickets.decrypt(&named), None);
    }
}
