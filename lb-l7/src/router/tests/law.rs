//! The index finds what a look at every rule would find.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// A rule of one match, in words of a small alphabet so that rules meet.
#[derive(Clone, Debug)]
struct Written {
    host: Option<&'static str>,
    path: Option<PathMatch>,
    methods: Vec<Method>,
    header: Option<ValueMatch>,
    query: Option<ValueMatch>,
    cookie: Option<ValueMatch>,
}

impl Written {
    fn to_match(&self) -> Match {
        let mut fits = on();
        fits.host = self.host.map(Into::into);
        fits.path.clone_from(&self.path);
        fits.methods.clone_from(&self.methods);
        let header = HeaderName::from_static("a");
        fits.headers
            .extend(self.header.clone().map(|value| (header, value)));
        fits.query
            .extend(self.query.clone().map(|value| ("a".into(), value)));
        fits.cookies
            .extend(self.cookie.clone().map(|value| ("a".into(), value)));
        fits
    }

    /// Where it stands in the order of precedence, the first being the least; `None` if it does not
    /// fit. `order` is where it was written.
    fn rank(&self, asked: &Asked, order: usize) -> Option<[usize; 5]> {
        let host = host_rank(self.host, asked.host)?;
        let (kind, length) = path_rank(self.path.as_ref(), &asked.path)?;
        let values = [
            (&self.header, asked.header),
            (&self.query, asked.query),
            (&self.cookie, asked.cookie),
        ];
        let mut count = 0;
        for (wanted, value) in values {
            if let Some(wanted) = wanted {
                count += 1;
                if !value_fits(wanted, value?) {
                    return None;
                }
            }
        }
        if !self.methods.is_empty() {
            count += 1;
            if !self.methods.contains(&asked.method) {
                return None;
            }
        }
        // Expressions go by the order of writing alone.
        let fewer = if kind == 2 { 0 } else { 9 - count };
        Some([host, kind, length, fewer, order])
    }
}

fn host_rank(rule: Option<&str>, asked: &str) -> Option<usize> {
    match rule {
        None | Some("*") => Some(1000),
        Some(name) if name == asked => Some(0),
        Some(name) => {
            let suffix = name.strip_prefix('*')?;
            (asked.len() > suffix.len() && asked.ends_with(suffix)).then(|| 999 - suffix.len())
        }
    }
}

fn path_rank(rule: Option<&PathMatch>, asked: &str) -> Option<(usize, usize)> {
    match rule {
        None => Some((3, 0)),
        Some(PathMatch::Exact(path)) => (path == asked).then_some((0, 0)),
        Some(PathMatch::Prefix(path)) => {
            let path = path.trim_end_matches('/');
            let below = asked.strip_prefix(path)?;
            (below.is_empty() || below.starts_with('/')).then(|| (1, 999 - path.len()))
        }
        Some(PathMatch::Regex(pattern)) => {
            let whole = match pattern.as_str() {
                "/a.*" => asked.starts_with("/a"),
                "/[ab]+" => matches!(asked, "/a" | "/b" | "/ab"),
                ".*/b" => asked.ends_with("/b"),
                "/a|/a/b" => matches!(asked, "/a" | "/a/b"),
                _ => unreachable!("none else is written"),
            };
            whole.then_some((2, 0))
        }
    }
}

fn value_fits(wanted: &ValueMatch, value: &str) -> bool {
    match wanted {
        ValueMatch::Exact(text) => text == value,
        ValueMatch::Present => true,
        ValueMatch::Regex(_) => unreachable!("none is written"),
    }
}

/// What a request asks for.
#[derive(Clone, Debug)]
struct Asked {
    host: &'static str,
    path: String,
    method: Method,
    header: Option<&'static str>,
    query: Option<&'static str>,
    cookie: Option<&'static str>,
}

impl Asked {
    fn to_parts(&self) -> Parts {
        let query = self
            .query
            .map(|value| format!("?a={value}"))
            .unwrap_or_default();
        let mut parts = get(self.host, &format!("{}{query}", self.path));
        parts.method = self.method.clone();
        if let Some(value) = self.header {
            parts = with(parts, "a", value);
        }
        if let Some(value) = self.cookie {
            let value = HeaderValue::try_from(format!("a={value}")).unwrap();
            parts.headers.insert("cookie", value);
        }
        parts
    }
}

fn path() -> impl Strategy<Value = String> {
    let segment = select(vec!["a", "b", "ab", "a-b", "c"]);
    let end = select(vec!["", "/"]);
    (prop::collection::vec(segment, 0..4), end).prop_map(|(segments, end)| {
        let path: String = segments.iter().flat_map(|segment| ["/", segment]).collect();
        if path.is_empty() {
            "/".into()
        } else {
            path + end
        }
    })
}

fn written() -> impl Strategy<Value = Written> {
    let host = prop::option::of(select(vec![
        "*", "a", "b", "b.a", "c.b.a", "*.a", "*.b.a", "*.b",
    ]));
    let pattern = select(vec!["/a.*", "/[ab]+", ".*/b", "/a|/a/b"]);
    let path = prop_oneof![
        1 => Just(None),
        4 => path().prop_map(|path| Some(PathMatch::Exact(path))),
        4 => path().prop_map(|path| Some(PathMatch::Prefix(path))),
        1 => pattern.prop_map(|pattern| Some(PathMatch::Regex(pattern.into()))),
    ];
    let methods = prop::collection::vec(select(vec![Method::GET, Method::POST]), 0..2);
    let value = || {
        let exact = select(vec!["1", "2"]).prop_map(|text| ValueMatch::Exact(text.into()));
        prop::option::weighted(0.2, prop_oneof![Just(ValueMatch::Present), exact])
    };
    (host, path, methods, value(), value(), value()).prop_map(
        |(host, path, methods, header, query, cookie)| Written {
            host,
            path,
            methods,
            header,
            query,
            cookie,
        },
    )
}

fn asked() -> impl Strategy<Value = Asked> {
    let host = select(vec![
        "a", "b", "b.a", "c.b.a", "d.c.b.a", "c.a", "x.b", "x", "xa",
    ]);
    let value = || prop::option::of(select(vec!["1", "2"]));
    let method = select(vec![Method::GET, Method::POST, Method::PUT]);
    (host, path(), method, value(), value(), value()).prop_map(
        |(host, path, method, header, query, cookie)| Asked {
            host,
            path,
            method,
            header,
            query,
            cookie,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_index_finds_what_a_look_at_every_rule_finds(
        mut all in prop::collection::vec(written(), 0..40),
        asked in prop::collection::vec(asked(), 20),
    ) {
        let router = loop {
            let rules = all.iter().enumerate();
            let rules = rules.map(|(at, rule)| Rule::forward(at.to_string(), at).on(rule.to_match()));
            match Router::builder().rules(rules).build() {
                Ok(router) => break router,
                // Some are the same by chance, and the error tells which.
                Err(error) => {
                    let RuleFault::SameMatch(first) = error.fault else { panic!("{error}") };
                    let second: usize = error.rule.parse().unwrap();
                    prop_assert!(first.parse::<usize>().unwrap() < second);
                    all.remove(second);
                }
            }
        };
        for asked in asked {
            let ranks = all.iter().enumerate();
            let ranks = ranks.filter_map(|(at, rule)| Some((rule.rank(&asked, at)?, at)));
            let expected = ranks.min().map(|(_, at)| at);
            let parts = asked.to_parts();
            let found = router.route(&parts, 0).map(|matched| *matched.target().unwrap());
            prop_assert_eq!(found, expected, "{:?}", asked);
        }
    }
}
