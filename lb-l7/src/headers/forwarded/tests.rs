use proptest::prelude::*;

use super::*;

fn read(line: &str) -> Result<Vec<Element<'_>>, ForwardedError> {
    parse(line.as_bytes()).collect()
}

fn address(text: &str) -> Node<'static> {
    Node::Address(text.parse().unwrap())
}

#[test]
fn examples_of_the_rfc_are_read() {
    // RFC 7239, 4 and 7.1.
    let one = |line| read(line).unwrap()[0];
    assert_eq!(
        one("for=\"_gazonk\"").node(),
        Some(Node::Obfuscated(b"_gazonk"))
    );
    let v6 = one("For=\"[2001:db8:cafe::17]:4711\"");
    assert_eq!(v6.node(), Some(address("2001:db8:cafe::17")));
    let all = one("for=192.0.2.60;proto=http;by=203.0.113.43");
    assert_eq!(all.node(), Some(address("192.0.2.60")));
    assert_eq!(all.proto, Some(&b"http"[..]));
    assert_eq!(all.by, Some(&b"203.0.113.43"[..]));
    assert_eq!(all.host, None);
    let two = read("for=192.0.2.43, for=198.51.100.17;by=203.0.113.60;proto=http;host=example.com");
    let two = two.unwrap();
    assert_eq!(two.len(), 2);
    assert_eq!(two[1].host, Some(&b"example.com"[..]));
    assert_eq!(one("for=unknown").node(), Some(Node::Unknown));
}

#[test]
fn what_is_empty_or_unknown_is_passed_over() {
    assert_eq!(read("").unwrap(), []);
    assert_eq!(read(" , ,").unwrap(), []);
    let line = " ,for=192.0.2.1 ; ; secret=\"a,b;c\" ;, ;";
    assert_eq!(read(line), Err(ForwardedError::Form));
    let line = " ,for=192.0.2.1 ; ; secret=\"a,b;c\" ;,for=\"[::1]\";";
    let elements = read(line).unwrap();
    assert_eq!(elements.len(), 2);
    assert_eq!(elements[1].node(), Some(address("::1")));
    // A quoted comma ends nothing.
    assert_eq!(read("host=\"a,for=1.1.1.1\"").unwrap().len(), 1);
}

#[test]
fn faults_end_the_reading() {
    for (line, error) in [
        ("for", ForwardedError::Form),
        ("=a", ForwardedError::Form),
        ("for=", ForwardedError::Form),
        ("for =a", ForwardedError::Form),
        ("for= a", ForwardedError::Form),
        ("for=a b=c", ForwardedError::Form),
        ("for=\"a\"b", ForwardedError::Form),
        ("for=a;@", ForwardedError::Form),
        ("for=\"a", ForwardedError::Quote),
        ("for=\"a\\\"b\"", ForwardedError::Quote),
        ("for=a;FOR=b", ForwardedError::Duplicate),
        ("proto=a;proto=a", ForwardedError::Duplicate),
    ] {
        assert_eq!(read(line), Err(error), "{line}");
        let mut elements = parse(line.as_bytes());
        assert_eq!(elements.next(), Some(Err(error)));
        assert_eq!(elements.next(), None);
    }
    assert_eq!(
        read("for=a, for=b, c").map(|all| all.len()),
        Err(ForwardedError::Form)
    );
    assert!(read("for=a;ext=1;ext=2").is_ok());
}

#[test]
fn nodes_have_ports_and_other_texts_are_no_nodes() {
    for (text, node) in [
        ("192.0.2.1", Some(address("192.0.2.1"))),
        ("192.0.2.1:80", Some(address("192.0.2.1"))),
        ("192.0.2.1:_p", Some(address("192.0.2.1"))),
        ("192.0.2.1:", None),
        ("192.0.2.1:123456", None),
        ("192.0.2.1:8x", None),
        ("192.0.2", None),
        ("[2001:db8::1]", Some(address("2001:db8::1"))),
        ("[2001:db8::1]:65535", Some(address("2001:db8::1"))),
        ("[2001:db8::1]80", None),
        ("[2001:db8::1", None),
        ("[192.0.2.1]", None),
        ("2001:db8::1", None),
        ("UNKNOWN:80", Some(Node::Unknown)),
        ("_a.B-9_", Some(Node::Obfuscated(b"_a.B-9_"))),
        ("_", None),
        ("_a b", None),
        ("", None),
    ] {
        assert_eq!(Node::parse(text.as_bytes()), node, "{text}");
    }
}

fn written(write: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut out = BytesMut::new();
    write(&mut out);
    out.to_vec()
}

#[test]
fn an_ipv6_address_is_quoted_and_a_mapped_one_is_ipv4() {
    let text = |ip: &str| written(|out| put_address(out, ip.parse().unwrap()));
    assert_eq!(text("192.0.2.1"), b"192.0.2.1");
    assert_eq!(text("::ffff:192.0.2.1"), b"192.0.2.1");
    assert_eq!(text("2001:db8::1"), b"\"[2001:db8::1]\"");
}

#[test]
fn a_value_is_quoted_if_it_is_no_token() {
    let text = |value: &str| written(|out| put_value(out, value.as_bytes()));
    assert_eq!(text("example.com"), b"example.com");
    assert_eq!(text("example.com:8443"), b"\"example.com:8443\"");
    assert_eq!(text("a\"b\\c"), b"\"a\\\"b\\\\c\"");
    assert_eq!(text(""), b"\"\"");
}

proptest! {
    #[test]
    fn every_address_that_is_written_is_read(ip: IpAddr) {
        let line = [b"for=".to_vec(), written(|out| put_address(out, ip))].concat();
        let element = parse(&line).next().unwrap().unwrap();
        prop_assert_eq!(element.node(), Some(Node::Address(ip.to_canonical())));
    }

    #[test]
    fn reading_ends_on_any_bytes(line in "[for=\",;\\\\\\[\\]:_a0. -]{0,60}") {
        let elements = parse(line.as_bytes()).count();
        prop_assert!(elements <= line.len());
    }
}
