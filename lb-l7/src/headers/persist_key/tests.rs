use http::HeaderValue;

use super::*;

fn key(source: KeySource) -> impl Fn(&str, &str) -> Option<u64> {
    let keys = PersistKey::new(source, HashKey::from_seed(1));
    move |target, cookie| {
        let mut headers = HeaderMap::new();
        headers.insert("cookie", HeaderValue::from_str(cookie).unwrap());
        headers.append("x-user", HeaderValue::from_str(cookie).unwrap());
        headers.append("x-user", HeaderValue::from_static("other"));
        let client = "192.0.2.1".parse().unwrap();
        keys.of(&Subject {
            client,
            headers: &headers,
            target,
        })
    }
}

/// The key of these bytes.
fn of(bytes: &str) -> Option<u64> {
    let keys = KeyExtractor::new(KeyParts::Application, HashKey::from_seed(1));
    Some(keys.of_bytes(bytes.as_bytes()))
}

#[test]
fn each_source_reads_its_part() {
    let cookie = key(KeySource::Cookie("id".into()));
    assert_eq!(cookie("/", "a=1; id=7; id=8"), of("7"));
    assert_eq!(cookie("/", "a=1; ID=7"), None);
    assert_eq!(cookie("/", "id="), None);
    let header = key(KeySource::Header(HeaderName::from_static("x-user")));
    assert_eq!(header("/", "u"), of("u"));
    assert_eq!(header("/", ""), None);
    assert_eq!(
        key(KeySource::Header(HeaderName::from_static("x-none")))("/", "u"),
        None
    );
    let path = key(KeySource::Path);
    assert_eq!(path("/a/b?c=d?e", ""), of("/a/b"));
    assert_eq!(path("", ""), None);
    assert_eq!(key(KeySource::Target)("/a?b", ""), of("/a?b"));
}

#[test]
fn a_query_parameter_is_found_by_its_whole_name() {
    let query = key(KeySource::Query("u".into()));
    assert_eq!(query("/?u=7", ""), of("7"));
    assert_eq!(query("/?xu=1&uu=2&u&u=7&u=8", ""), of("7"));
    assert_eq!(query("/?a=u=7", ""), None);
    assert_eq!(query("/u=7", ""), None);
    assert_eq!(query("/?u=", ""), None);
    assert_eq!(query("/?u=a=b", ""), of("a=b"));
}

#[test]
fn clients_of_one_network_share_a_key_if_asked() {
    let keys = PersistKey::new(KeySource::Client, HashKey::from_seed(1));
    let of = |keys: &PersistKey, client: &str| {
        let headers = HeaderMap::new();
        let client = client.parse().unwrap();
        keys.of(&Subject {
            client,
            headers: &headers,
            target: "/",
        })
        .unwrap()
    };
    assert_eq!(of(&keys, "192.0.2.1"), of(&keys, "::ffff:192.0.2.1"));
    assert_ne!(of(&keys, "192.0.2.1"), of(&keys, "192.0.2.2"));
    let near = keys.clone().prefixes(24, 64).unwrap();
    assert_eq!(of(&near, "192.0.2.1"), of(&near, "192.0.2.2"));
    assert_ne!(of(&near, "192.0.2.1"), of(&near, "192.0.3.1"));
    assert_eq!(of(&near, "2001:db8::1"), of(&near, "2001:db8::2"));
    assert!(keys.clone().prefixes(33, 64).is_err() && keys.prefixes(32, 129).is_err());
}

#[test]
fn another_secret_makes_other_keys() {
    let headers = HeaderMap::new();
    let client = "192.0.2.1".parse().unwrap();
    let subject = Subject {
        client,
        headers: &headers,
        target: "/a",
    };
    let [one, two] = [1, 2].map(|seed| PersistKey::new(KeySource::Path, HashKey::from_seed(seed)));
    assert_ne!(one.of(&subject), two.of(&subject));
}
