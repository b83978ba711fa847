use proptest::prelude::*;

use super::*;

fn key(seed: u64) -> HashKey {
    HashKey::from_seed(seed)
}

#[test]
fn bytes_are_written_as_base64url() {
    // RFC 4648, 10, thrice "foobar" and once "foobaz".
    let text = encode(b"foobarfoobarfoobarfoob\xfb\xff");
    assert_eq!(&text, b"Zm9vYmFyZm9vYmFyZm9vYmFyZm9vYvv_");
    assert_eq!(decode(&text).unwrap(), *b"foobarfoobarfoobarfoob\xfb\xff");
    for wrong in [
        &text[1..],
        b"Zm9vYmFyZm9vYmFyZm9vYmFyZm9vYvv/",
        b"Zm9vYmFyZm9vYmFyZm9vYmFyZm9vYv+_",
        b"=",
    ] {
        assert_eq!(decode(wrong), None);
        assert!(!has_form(wrong));
    }
    assert!(has_form(&text));
}

#[test]
fn a_token_has_one_form_for_ever() {
    let token = Token::new(BackendId::new(0x0102_0304_0506_0708), 0x090a_0b0c).renewed(0x0d0e_0f10);
    let text = token.emit(&HashKey::new([7; 16]), b"iname");
    let body: Vec<u8> = (1..=16).collect();
    let signature = HashKey::new([7; 16]).sip24(&[&body[..], b"iname"].concat());
    let bytes = [&body[..], &signature.to_be_bytes()].concat();
    assert_eq!(decode(&text).unwrap().to_vec(), bytes);
}

#[test]
fn a_token_of_another_key_or_purpose_is_refused() {
    let token = Token::new(BackendId::new(1), 2);
    let text = token.emit(&key(1), b"ia");
    assert_eq!(Token::parse(&text, &[key(1)], b"ia"), Some(token));
    assert_eq!(Token::parse(&text, &[key(2)], b"ia"), None);
    assert_eq!(Token::parse(&text, &[], b"ia"), None);
    assert_eq!(Token::parse(&text, &[key(1)], b"ra"), None);
    assert_eq!(Token::parse(&text, &[key(1)], b"iab"), None);
}

#[test]
fn a_previous_key_is_believed_and_told_apart() {
    let token = Token::new(BackendId::new(1), 2);
    let text = token.emit(&key(1), b"ia");
    let read = |keys: &[HashKey]| Token::parse(&text, keys, b"ia").unwrap();
    assert!(!read(&[key(1), key(2)]).is_by_old_key());
    assert!(!read(&[key(1), key(1)]).is_by_old_key());
    assert!(read(&[key(2), key(1)]).is_by_old_key());
    assert!(read(&[key(2), key(3), key(1)]).is_by_old_key());
}

#[test]
fn a_time_that_does_not_fit_is_the_last_that_does() {
    let late = Token::new(BackendId::new(1), u64::MAX);
    assert_eq!((late.issued(), late.seen()), (0xffff_ffff, 0xffff_ffff));
    let renewed = Token::new(BackendId::new(1), 5).renewed(u64::MAX);
    assert_eq!((renewed.issued(), renewed.seen()), (5, 0xffff_ffff));
}

proptest! {
    #[test]
    fn what_is_signed_is_read(backend: u64, issued: u32, seen: u32, label in "[!-~]{0,66}") {
        let token = Token::new(BackendId::new(backend), issued.into()).renewed(seen.into());
        let text = token.emit(&key(1), label.as_bytes());
        prop_assert_eq!(Token::parse(&text, &[key(1)], label.as_bytes()), Some(token));
    }

    #[test]
    fn every_flip_of_one_bit_is_refused(backend: u64, issued: u32) {
        let text = Token::new(BackendId::new(backend), issued.into()).emit(&key(1), b"ia");
        for at in 0..TOKEN_LENGTH {
            for bit in 0..8 {
                let mut forged = text;
                forged[at] ^= 1 << bit;
                prop_assert_eq!(Token::parse(&forged, &[key(1), key(2)], b"ia"), None);
            }
        }
    }

    #[test]
    fn what_was_not_signed_is_refused(text in "[A-Za-z0-9_-]{32}") {
        prop_assert_eq!(Token::parse(text.as_bytes(), &[key(1)], b"ia"), None);
    }

    #[test]
    fn each_text_is_one_sequence_of_bytes(text in "[A-Za-z0-9_-]{32}") {
        prop_assert_eq!(&encode(&decode(text.as_bytes()).unwrap())[..], text.as_bytes());
    }
}
